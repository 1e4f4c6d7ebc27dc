//! How far a recording has been told that is still being written to.
//!
//! Whoever follows a living process reads its recording again and again, each time from
//! where the last time ended. The law: of what is told, nothing is told twice, and a
//! thread's own entries stay in their order, whatever was taken for newer ones meanwhile.

use std::collections::HashMap;

/// How far a recording has been told.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// By the numbers of threads, which entry of each was the last.
    pub(super) threads: HashMap<u32, Last>,
    /// The last moment that a record spoke of when the blocks were looked through.
    pub(super) seen_ticks: u64,
    /// Events that were recorded and are not told yet.
    pub(super) behind: u64,
}

impl Mark {
    /// Events that were recorded and not told: those to be told next, and those of their
    /// threads that were overwritten before them.
    pub fn behind(&self) -> u64 {
        self.behind
    }
}

/// The last entry of a thread that was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    /// Of its block.
    pub(super) sequence: u64,
    /// Where its record lies, and whether it is what that says that happened later.
    pub(super) place: (usize, bool),
    /// Events of its thread so far.
    pub(super) events: u64,
    /// When the last entry before its block was, in ticks.
    pub(super) ticks_before: u64,
    /// As it was dated: what follows is dated no earlier.
    pub(super) wall_ns: u64,
}

impl Last {
    /// Whether an entry of this thread was told before.
    pub(super) fn covers(&self, sequence: u64, place: (usize, bool)) -> bool {
        (sequence, place) <= (self.sequence, self.place)
    }
}
