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
    other(beside, "seeded", binary, SEEDED)
}

/// A binary that lies where cargo puts binaries, of a program that aborts on a panic.
///
/// # Panics
/// If it cannot be built.
pub fn aborting(beside: &str, binary: &str) -> PathBuf {
    other(beside, "aborting", binary, "-C panic=abort")
}

/// A binary of this package, built by other flags into a directory of its own. All but the
/// recorder and what it is in is built without optimisation: it is built for this alone.
fn other(beside: &str, directory: &str, binary: &str, flags: &str) -> PathBuf {
    let target = Path::new(beside).ancestors().nth(2);
    let target = target.expect("a target directory").join(directory);
    let mut command = cargo("build", &target);
    command
        .args(["--package", "ttlog-tests", "--bin", binary])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", flags);
    for package in ["\"*\"", "ttlog-reader"] {
        command.arg(format!(
            "--config=profile.dev.package.{package}.opt-level=0"
        ));
    }
    runs(&mut command, binary);
    target.join("debug").join(binary)
}

/// The reader, into a target directory.
///
/// Of the dev profile it is made as `cargo test --workspace` makes it, so that nothing is
/// made anew after that: by itself it would have other features of what it depends on.
///
/// # Panics
/// If it cannot be built.
pub fn reader(target: &Path, profile: &str) -> PathBuf {
    let binary = "ttlog-reader";
    if profile == "debug" {
        let mut command = cargo("test", target);
        runs(
            command.args(["--workspace", "--no-run", "--test", "doctor"]),
            binary,
        );
    } else {
        let mut command = cargo("build", target);
        runs(
            command.args(["--package", binary, "--profile", profile]),
            binary,
        );
    }
    target.join(profile).join(binary)
}

fn cargo(does: &str, target: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([does, "--quiet", "--target-dir"]).arg(target);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn runs(command: &mut Command, what: &str) {
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "{what} cannot be built: {status}");
}
