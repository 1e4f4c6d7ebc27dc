//! What came after a cause: whoever goes on recording has not died of it.
//!
//! Everything is compared in ticks, the clock that causes and records share.

use super::timeline::Timeline;
use crate::cause::Cause;

/// Finds out for how long the cause's own thread, and any thread, went on; of each
/// thread, `last` has its number and the ticks of its last entry.
pub(super) fn look(causes: &mut [Cause], last: &[(u32, u64)], timeline: &Timeline) {
    for cause in causes {
        // A handler that was called by the recorder's may itself have recorded.
        let survived = cause.survived_ticks.unwrap_or(0);
        let over = cause.ticks.saturating_add(survived);
        let later = last.iter().filter(|&&(_, ticks)| ticks > over);
        let is_own = |&&(thread, _): &&(u32, u64)| thread == cause.thread && cause.thread != 0;
        let since = |last: Option<u64>| {
            let passed = |ticks| {
                timeline
                    .wall_ns(ticks)
                    .saturating_sub(timeline.wall_ns(over))
            };
            last.map_or(0, |ticks| passed(ticks).max(1))
        };
        cause.any_after_ns = since(later.clone().map(|&(_, ticks)| ticks).max());
        cause.own_after_ns = since(later.filter(is_own).map(|&(_, ticks)| ticks).max());
    }
}
