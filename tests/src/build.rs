//! Programs that a test needs beside those that cargo built for it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A recorder that does a bug, for the negative controls.
const SEEDED: &str = "--cfg ttlog_seeded";

/// The variable that says which: `recorder/src/linux/seeded.rs` has their names.
pub const BUG: &str = "TTLOG_SEEDED";

/// A binary whose recorder does the bug that its environment names, see [`BUG`]; the one
/// that never does any lies where cargo puts binaries.
///
/// # Panics
/// If it cannot be built.
pub fn seeded(beside: &str, binary: &str) -> PathBuf {
    let target = Path::new(beside).ancestors().nth(2);
    let target = target.expect("a target directory").join("seeded");
    build(&target, "dev", "ttlog-tests", binary, SEEDED)
}

/// A binary that lies where cargo puts binaries, of a program that aborts on a panic.
///
/// # Panics
/// If it cannot be built.
pub fn aborting(beside: &str, binary: &str) -> PathBuf {
    let target = Path::new(beside).ancestors().nth(2);
    let target = target.expect("a target directory").join("aborting");
    build(&target, "dev", "ttlog-tests", binary, "-C panic=abort")
}

/// Builds a binary into a target directory, in this profile, and says where it lies.
///
/// # Panics
/// If it cannot be built.
pub fn build(target: &Path, profile: &str, package: &str, binary: &str, flags: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--profile",
        profile,
        "--package",
        package,
        "--bin",
        binary,
        "--target-dir",
    ]);
    command.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !flags.is_empty() {
        command
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", flags);
    }
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "{binary} cannot be built: {status}");
    let directory = if profile == "dev" { "debug" } else { profile };
    target.join(directory).join(binary)
}
