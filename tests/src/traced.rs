//! What there is to know of a process that is traced: its threads' registers and rest, and
//! what lies where in its memory.
//!
//! It is read, and nothing of the process is changed by that.

use std::ops::Range;

use nix::libc;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// The registers of a thread that has stopped.
///
/// # Panics
/// If it has not.
pub fn registers(thread: Pid) -> libc::user_regs_struct {
    ptrace::getregs(thread).expect("registers")
}

/// Eight bytes of the memory of a thread that has stopped.
pub fn bytes(thread: Pid, at: u64) -> Option<[u8; 8]> {
    let word = ptrace::read(thread, at as ptrace::AddressType).ok()?;
    Some(word.to_le_bytes())
}

/// The name of a thread.
pub fn name(process: Pid, thread: Pid) -> String {
    let name = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/comm"));
    name.unwrap_or_default().trim_end().to_owned()
}

/// How often a thread has come to rest by now, `None` while it is not at rest. As long as
/// that is the same, it has not run.
pub fn rest(process: Pid, thread: Pid) -> Option<String> {
    let read = |name| std::fs::read_to_string(format!("/proc/{process}/task/{thread}/{name}"));
    // Who still runs towards its rest is waited for: so it has been counted.
    if read("syscall").ok()?.starts_with("running") {
        return None;
    }
    let status = read("status").ok()?;
    let switches = |line: &&str| line.contains("ctxt_switches");
    Some(status.lines().filter(switches).collect())
}

/// Where a process has mapped the file with this inode, and shares it.
pub fn mapped_file(process: Pid, inode: u64) -> Range<u64> {
    let inode = inode.to_string();
    mapped(process, |line| {
        let mut columns = line.split_whitespace();
        // What it shares with nobody, a library, may have the inode on another device.
        let is_shared = columns.nth(1).is_some_and(|access| access.ends_with('s'));
        is_shared && columns.nth(2) == Some(&inode)
    })
}

/// Where the first of a process's mappings lies of which this holds.
pub fn mapped(process: Pid, is_it: impl Fn(&str) -> bool) -> Range<u64> {
    let maps = maps(process);
    let found = maps.lines().find(|line| is_it(line)).and_then(range);
    found.unwrap_or(0..0)
}

/// What lies at an address, as `file+offset`, by which `addr2line` finds the line.
pub fn place(process: Pid, address: u64) -> String {
    let maps = maps(process);
    let holds = |line: &&str| range(line).is_some_and(|range| range.contains(&address));
    let Some(line) = maps.lines().find(holds) else {
        return String::from("nothing");
    };
    let name = line.split_whitespace().nth(5).unwrap_or("no file");
    // Code lies in memory as the file's first mapping and its distance from that say.
    let first = maps.lines().find(|line| line.ends_with(name));
    let start = first.and_then(range).map_or(0, |range| range.start);
    format!("{name}+{:#x}", address - start)
}

fn maps(process: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{process}/maps")).expect("proc(5)")
}

/// The addresses in a line of `maps`.
fn range(line: &str) -> Option<Range<u64>> {
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some(address(from)?..address(to)?)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::daemon::eventually;

    /// The first rest of a thread that is about to wait.
    fn first_rest(thread: Pid) -> String {
        eventually("a rest", || rest(Pid::this(), thread))
    }

    #[test]
    fn a_thread_has_another_rest_once_it_has_run() {
        let (tell, told) = mpsc::channel();
        let (wake, woken) = mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid()).expect("the test waits");
            while woken.recv().is_ok() {
                tell.send(nix::unistd::gettid()).expect("the test waits");
            }
        });
        let thread = told.recv().expect("it began");
        for _ in 0..100 {
            wake.send(()).expect("it waits");
            told.recv().expect("it ran");
            let before = first_rest(thread);
            wake.send(()).expect("it waits");
            told.recv().expect("it ran");
            assert_ne!(rest(Pid::this(), thread), Some(before));
        }
        drop(wake);
        sleeper.join().expect("no panic");
    }

    #[test]
    fn who_does_not_run_has_the_same_rest() {
        let (tell, told) = mpsc::channel();
        let (wake, woken) = mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid()).expect("the test waits");
            let _ = woken.recv();
        });
        let thread = told.recv().expect("it began");
        let waiting = format!("/proc/self/task/{thread}/syscall");
        let futex = format!("{} ", libc::SYS_futex);
        eventually("a thread that waits", || {
            let call = std::fs::read_to_string(&waiting).ok()?;
            call.starts_with(&futex).then_some(())
        });
        assert_eq!(rest(Pid::this(), thread), Some(first_rest(thread)));
        drop(wake);
        sleeper.join().expect("no panic");
    }

    #[test]
    fn what_lies_at_an_address_is_named() {
        let here = place(Pid::this(), rest as *const () as u64);
        let program = std::env::current_exe().expect("a program");
        assert!(
            here.starts_with(&format!("{}+0x", program.display())),
            "{here}"
        );
        assert_eq!(place(Pid::this(), 8), "nothing");
    }
}
