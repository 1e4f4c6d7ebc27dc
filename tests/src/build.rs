//! Programs that a test needs beside those that cargo built for it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Bugs for the negative controls: a recorder that commits a record before it is
/// written, one that lets a signal handler into a record that is open, one whose own
/// signal handler allocates, one that goes on writing in a forked child, and one that
/// retires recordings whose process lives.
const SEEDED: &str = "--cfg ttlog_seeded_commit_order --cfg ttlog_seeded_reentry \
                      --cfg ttlog_seeded_handler_allocates --cfg ttlog_seeded_child_writes \
                      --cfg ttlog_seeded_retires_the_living";

/// A binary with the recorder's seeded bugs; the one without lies where cargo puts
/// binaries.
///
/// # Panics
/// If it cannot be built.
pub fn seeded(beside: &str, binary: &str) -> PathBuf {
    let target = Path::new(beside).ancestors().nth(2);
    let target = target.expect("a target directory").join("seeded");
    build(&target, "ttlog-tests", binary, SEEDED)
}

/// A binary that lies where cargo puts binaries, of a program that aborts on a panic.
///
/// # Panics
/// If it cannot be built.
pub fn aborting(beside: &str, binary: &str) -> PathBuf {
    let target = Path::new(beside).ancestors().nth(2);
    let target = target.expect("a target directory").join("aborting");
    build(&target, "ttlog-tests", binary, "-C panic=abort")
}

/// Builds a binary into a target directory, for the `dev` profile.
///
/// # Panics
/// If it cannot be built.
pub fn build(target: &Path, package: &str, binary: &str, flags: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
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
    target.join("debug").join(binary)
}
