//! Work done aside, on a thread of its own: what needs more stack than whoever asks
//! for it may have, or more time than it may take.
//!
//! Such a thread takes no signal that is the host's, and a panic on it, which would
//! be a bug here, ends nothing but it and is not heard of.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::linux::{fatal, guard};

/// Salvage, compression and what they call take a small part of it.
const STACK_BYTES: usize = 1 << 20;

thread_local! {
    static IS_ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is one of those here.
pub(crate) fn is_here() -> bool {
    IS_ASIDE.get()
}

/// Does `work` on a thread of its own and waits for it, at most as long as `patience`
/// says; the work goes on after that. `None` if it took longer, or there is no thread.
pub(crate) fn wait_for<T: Send + 'static>(
    patience: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::sync_channel(1);
    spawn("ttlog", move || {
        take_own_faults();
        // Nobody waits any more: the result is of no use.
        let _ = done.send(work());
    })
    .ok()?;
    match patience {
        Some(patience) => result.recv_timeout(patience).ok(),
        None => result.recv().ok(),
    }
}

/// A thread that is there, and waits for leave to begin. Dropped, it ends.
///
/// So whatever can fail of a start has failed before anything is done that stays.
pub(crate) struct Ready(mpsc::SyncSender<()>);

impl Ready {
    /// A thread with this name that is to do `work`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn new(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Ready> {
        let (leave, waiting) = mpsc::sync_channel(1);
        spawn(name, move || {
            if waiting.recv().is_ok() {
                take_own_faults();
                work();
            }
        })?;
        Ok(Ready(leave))
    }

    /// Gives it leave.
    pub(crate) fn begin(self) {
        let _ = self.0.send(());
    }
}

/// Has the calling thread survive a recording that loses its file.
fn take_own_faults() {
    if fatal::is_installed() {
        guard::arm();
    }
}

/// A thread with this name that takes no signal but those of its own faults.
///
/// # Errors
/// There is no thread to be had.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let begin = move || {
        IS_ASIDE.set(true);
        work();
    };
    let builder = Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    with_signals_blocked(|| builder.spawn(begin))
}

/// Calls `spawn` with signals blocked, which a new thread inherits. Those of faults stay as
/// they are: one that is sent, and that all of the host's threads block, is not taken here.
fn with_signals_blocked<T>(spawn: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // What the guard has unblocked is blocked as far as the host knows.
    let is_own = |signal| signal == libc::SIGBUS && guard::has_unblocked();
    for signal in fatal::SIGNALS.into_iter().filter(|&it| !is_own(it)) {
        // SAFETY: the set was initialised above.
        unsafe { libc::sigdelset(all.as_mut_ptr(), signal) };
    }
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are valid to read and to write; the mask is this thread's own.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) };
    let result = spawn();
    if failed == 0 {
        let set = libc::SIG_SETMASK;
        // SAFETY: the call above has initialised the set that was in force before.
        unsafe { libc::pthread_sigmask(set, before.as_ptr(), std::ptr::null_mut()) };
    }
    result
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn who_has_no_leave_to_begin_ends_without_having_done_anything() {
        for begins in [false, true] {
            let done = Arc::new(AtomicBool::new(false));
            let work = Arc::clone(&done);
            let ready = Ready::new("ready", move || work.store(true, Ordering::Release));
            let ready = ready.unwrap();
            match begins {
                true => ready.begin(),
                false => drop(ready),
            }
            // The thread has its share until it ends.
            while Arc::strong_count(&done) > 1 {
                std::thread::yield_now();
            }
            assert_eq!(done.load(Ordering::Acquire), begins);
        }
    }
}
