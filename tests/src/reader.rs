//! The reader's binary, as a program finds it: by its contract.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::build;

/// The `ttlog-reader` beside the binary `victim`, which lies where cargo puts
/// binaries; built if it is not there or not new.
///
/// # Panics
/// If it cannot be built.
pub fn program(victim: &Path) -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = victim.parent().expect("a directory");
        let target = directory.parent().expect("a target directory");
        let profile = directory.file_name().expect("a profile's directory");
        build::reader(target, profile.to_str().expect("UTF-8"))
    })
}

/// The lines of JSON that a command of the reader prints.
///
/// # Panics
/// If it fails, or prints anything else.
pub fn json(victim: &str, args: &[&str], recording: &Path) -> Vec<Value> {
    let output = Command::new(program(Path::new(victim)))
        .args(args)
        .arg(recording)
        .args(["-o", "json"])
        .output()
        .expect("ttlog-reader runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ttlog-reader {args:?}: {}: {words}",
        output.status
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}
