//! Processes that divide: the ways to do it, and waiting for the other half.

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::actor;

/// A way to divide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// fork(3), at which the C library makes the allocator fit for use in the child.
    Fork,
    /// A bare clone(2), at which nobody does anything.
    Clone,
    /// The same, into a pid namespace; for root.
    CloneApart,
}

/// Divides the process: 0 in the child, there the child with this number; in its parent
/// the child's id.
///
/// # Panics
/// If it cannot be divided.
pub fn divide(number: u64, way: Way) -> i32 {
    let flags = match way {
        Way::Fork => 0,
        Way::Clone => libc::SIGCHLD,
        Way::CloneApart => libc::SIGCHLD | libc::CLONE_NEWPID,
    };
    let pid = if way == Way::Fork {
        // SAFETY: the child does what any thread does, which is what these tests are about.
        unsafe { libc::fork() }
    } else {
        // SAFETY: as above; and the child allocates nothing.
        unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) as i32 }
    };
    assert!(pid >= 0, "{way:?}: {}", std::io::Error::last_os_error());
    if pid == 0 {
        actor::become_child(number);
    }
    pid
}

/// Ends the process at once, and well if it went well.
pub fn leave(well: bool) -> ! {
    // SAFETY: it ends the process, and calls nothing of it.
    unsafe { libc::_exit(i32::from(!well)) }
}

/// Waits for a child, and says how it ended.
///
/// # Panics
/// If there is no such child.
pub fn end_of(pid: i32) -> String {
    match waitpid(Pid::from_raw(pid), None).expect("a child") {
        WaitStatus::Exited(_, status) => format!("exited {status}"),
        WaitStatus::Signaled(_, signal, _) => signal.to_string(),
        status => panic!("{status:?}"),
    }
}

/// Waits for the child with this number, and tells of it.
pub fn tell_of(number: u64, pid: i32) {
    let end = end_of(pid);
    println!("child {number} {pid} {end}");
}
