//! A recorder's numbers about itself.

use std::time::Duration;

/// What was recorded so far, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events recorded, those included that newer ones have replaced.
    pub events: u64,
    /// Events dropped: no block was to be had, or a signal handler logged while
    /// its own thread was recording.
    pub dropped: u64,
    /// Spans that are open now and have a slot.
    pub open_spans: usize,
    /// Panics, and requests for a snapshot.
    pub incidents: u64,
    /// Snapshots made.
    pub snapshots: u64,
    /// Snapshots that a panic would have been worth, and that were not made: there
    /// had been too many, or another was being made.
    pub snapshots_skipped: u64,
    /// Stretches of the recording that have lost their file: it was truncated, or its
    /// disk is gone. What is recorded there will not be found.
    pub lost_stretches: u64,
    /// Times that the recording was written to its disk, as
    /// [`Durability::Interval`](crate::Durability::Interval) asks.
    pub syncs: u64,
    /// Times that this failed. Nothing takes one back, and the recording says so too.
    pub failed_syncs: u64,
    /// The longest that one took, counted from the moment at which it was due, and the
    /// one that is under way included: what a power loss may cost is the interval and this.
    pub longest_sync: Duration,
}
