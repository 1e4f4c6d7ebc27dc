//! How much memory a program takes at most.

use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

/// What a program that ran took.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// KiB that it had in memory at most.
    pub kib: u64,
    /// For how long it used a processor.
    pub cpu: Duration,
    /// How its run ended, as of wait(2); `None` if it had to be killed.
    pub status: Option<i32>,
}

/// Runs a program that says nothing of interest, and returns the KiB that it had in memory
/// at most, and how its run ended, as of wait(2).
///
/// # Panics
/// If it cannot be run.
pub fn peak_kib(command: &mut Command) -> (u64, i32) {
    let used = used(command, Duration::MAX);
    (used.kib, used.status.expect("nobody killed it"))
}

/// Runs a program that says nothing of interest, and kills it if it takes longer than
/// `patience`.
///
/// # Panics
/// If it cannot be run.
#[expect(
    clippy::zombie_processes,
    reason = "wait4(2) waits for it, and tells more"
)]
pub fn used(command: &mut Command, patience: Duration) -> Used {
    let mut child = command.stdout(Stdio::null()).spawn().expect("it runs");
    let begun = Instant::now();
    let mut is_killed = false;
    loop {
        let is_late = !is_killed && begun.elapsed() > patience;
        if is_late {
            child.kill().expect("a child can be killed");
            is_killed = true;
        }
        let is_waited_for = patience == Duration::MAX || is_killed;
        if let Some((kib, cpu, status)) = waited(child.id(), is_waited_for) {
            let status = (!is_killed).then_some(status);
            return Used { kib, cpu, status };
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What a child took, once it is over, which may be waited for.
fn waited(child: u32, is_waited_for: bool) -> Option<(u64, Duration, i32)> {
    let mut status = 0;
    let options = if is_waited_for { 0 } else { libc::WNOHANG };
    // SAFETY: all zeros is a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are written to, and the child is waited for here alone.
    let waited = unsafe { libc::wait4(child as i32, &raw mut status, options, &raw mut used) };
    if waited == 0 {
        return None;
    }
    let error = io::Error::last_os_error();
    assert_eq!(waited, child as i32, "{error}");
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    let cpu = time(used.ru_utime) + time(used.ru_stime);
    Some((used.ru_maxrss as u64, cpu, status))
}
