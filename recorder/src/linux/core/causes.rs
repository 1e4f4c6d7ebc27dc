//! Stamping causes into the head of the recording.
//!
//! Signal handlers do it: nothing here allocates, waits, or calls the system but
//! for the clocks and the thread's id.

use super::Here;
use crate::linux::sync::Ordering;
use crate::linux::thread;
use ttlog_format::cause::{self, Cause, SURVIVED};

impl Here<'_> {
    /// Appends a cause, of which everything but its number, moment and thread is
    /// given; returns its number and ticks.
    pub(crate) fn cause(self, cause: Cause) -> (u64, u64) {
        let number = self.causes.fetch_add(1, Ordering::Relaxed);
        let clocks = self.clock.sample();
        let known = thread::known_ring(&self).map(|ring| (ring.thread.get(), ring.thread_id.get()));
        let (thread, thread_id) = known.unwrap_or_else(|| (0, u64::from(thread::id())));
        let cause = Cause {
            ticks: clocks.ticks,
            number,
            thread: thread as u32,
            thread_id: thread_id as u32,
            wall_ns: clocks.wall_ns,
            ..cause
        };
        let words = cause.encode(self.recording);
        let base = base(number);
        // What an older cause left there does not count any more, nor half of this one.
        let begun = cause::begun(self.recording, cause::place(number));
        self.memory.store(base, begun);
        for (i, &word) in words.iter().enumerate().skip(1) {
            self.memory.store(base + i, word);
        }
        self.memory.publish(base, words[0]);
        (number, clocks.ticks)
    }

    /// Says of a cause, given as [`Here::cause`] returned it, that the handler which
    /// was called next has returned, and that the process goes on.
    pub(crate) fn survived(self, (number, ticks): (u64, u64)) {
        let since = self.clock.ticks().saturating_sub(ticks);
        let word = cause::survived(self.recording, number, since);
        self.memory.store(base(number) + SURVIVED, word);
    }
}

fn base(number: u64) -> usize {
    cause::offset(cause::place(number)) as usize / 8
}
