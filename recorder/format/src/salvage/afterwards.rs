//! What came after a cause: whoever goes on recording has not died of it.
//!
//! Everything is compared in ticks, the clock that causes and records share.

use super::timeline::Timeline;
use super::{Entry, Thread};
use crate::cause::Cause;

/// Finds out for how long the cause's own thread, and any thread, went on; the
/// entries still have ticks where the time will be.
pub(super) fn look(
    causes: &mut [Cause],
    entries: &[Entry],
    threads: &[Thread],
    timeline: &Timeline,
) {
    for cause in causes {
        // A handler that was called by the recorder's may itself have recorded.
        let survived = cause.survived_ticks.unwrap_or(0);
        let over = cause.ticks.saturating_add(survived);
        let later = entries.iter().filter(|entry| entry.wall_ns > over);
        let is_own = |entry: &&Entry| {
            let thread = threads.get(entry.thread as usize);
            thread.is_some_and(|thread| thread.number == cause.thread && cause.thread != 0)
        };
        let since = |last: Option<u64>| {
            let passed = |ticks| {
                timeline
                    .wall_ns(ticks)
                    .saturating_sub(timeline.wall_ns(over))
            };
            last.map_or(0, |ticks| passed(ticks).max(1))
        };
        cause.any_after_ns = since(later.clone().map(|entry| entry.wall_ns).max());
        cause.own_after_ns = since(later.filter(is_own).map(|entry| entry.wall_ns).max());
    }
}
