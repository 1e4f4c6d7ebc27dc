//! What a recorder is to do where there is a choice.

use std::time::Duration;

/// What becomes of a forked child's events. It never writes into its parent's
/// recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fork {
    /// The child's first event begins a recording of its own, beside its parent's. A
    /// child of a bare clone(2), in which the C library has not made the allocator fit
    /// for use, records nothing and counts.
    #[default]
    Record,
    /// A child records nothing, and counts what it did not record.
    Ignore,
}

/// What a recording survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Any end of the process. What a power loss leaves is what the kernel had written
    /// to the disk, and nothing of a recording in memory.
    #[default]
    Process,
    /// A power loss too: a thread writes the recording to its disk at this interval, at
    /// least a millisecond, from the beginning of one sync to that of the next. What a
    /// power loss may cost is what was recorded within the interval and the longest sync
    /// before it; [`Stats::longest_sync`](crate::Stats::longest_sync) says how long that
    /// one took, from when it was due. Of the rest all is there that newer events had not
    /// replaced, so that a recording should hold more than an interval's events.
    ///
    /// Who records does not wait for a sync, but pays for a page's first store after one
    /// by a fault, and for a disk that is frozen by waiting. The end of the process waits
    /// for a sync that is under way; what is not on the disk then, the kernel writes in
    /// half a minute or so.
    ///
    /// It is an error at the start if the directory is in memory, or if none was set:
    /// by default recordings go where a reboot leaves nothing.
    Interval(Duration),
}
