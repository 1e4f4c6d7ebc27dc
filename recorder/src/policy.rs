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
    /// A power loss too, save for the last so long, and for what was being written
    /// then: a thread writes the recording to its disk at this interval, at least a
    /// millisecond. On a file system in memory that is an error at the start.
    Interval(Duration),
}
