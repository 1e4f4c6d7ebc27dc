//! How much memory a program takes at most.

use std::io;
use std::process::{Command, Stdio};

use nix::libc;

/// Runs a program that says nothing of interest, and returns the KiB that it had in memory
/// at most, and how its run ended, as of wait(2).
///
/// # Panics
/// If it cannot be run.
#[expect(
    clippy::zombie_processes,
    reason = "wait4(2) waits for it, and tells more"
)]
pub fn peak_kib(command: &mut Command) -> (u64, i32) {
    let child = command.stdout(Stdio::null()).spawn().expect("it runs");
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are written to, and the child is waited for here alone.
    let waited = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut used) };
    let error = io::Error::last_os_error();
    assert_eq!(waited, child.id() as i32, "{error}");
    (used.ru_maxrss as u64, status)
}
