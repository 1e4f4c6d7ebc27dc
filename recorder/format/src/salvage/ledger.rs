//! The account: what was recovered, overwritten, dropped, torn.
//!
//! The law: `written = readable + overwritten + dropped + torn`, for every thread
//! and for the whole, whatever the bytes are. A number that damage makes a guess
//! is a lower bound, and `exact` says so.

use super::pool::{Block, Pool};
use super::{Counts, Ledger};
use crate::header::totals;

/// What is known without any thread: damage, the totals, and threads that are gone.
pub(super) fn of_recording(pool: &Pool, totals: [Option<u64>; totals::WORDS]) -> Ledger {
    let known = |which: usize| totals[which].unwrap_or(0);
    let mut ledger = Ledger {
        damaged_blocks: pool.damaged_blocks(),
        mended_blocks: pool.mended,
        spans_without_slot: known(totals::SPANS_WITHOUT_SLOT),
        sites_without_room: known(totals::SITES_WITHOUT_ROOM),
        incidents: known(totals::INCIDENTS),
        snapshots_skipped: known(totals::SNAPSHOTS_SKIPPED),
        lost_stretches: known(totals::LOST_STRETCHES),
        failed_syncs: known(totals::FAILED_SYNCS),
        damaged_totals: totals.iter().filter(|total| total.is_none()).count() as u64,
        exact: totals.iter().all(Option::is_some)
            && pool.damaged_blocks() == 0
            && !pool.is_guessed
            && known(totals::LOST_STRETCHES) == 0,
        ..Ledger::default()
    };
    ledger.counts.dropped = known(totals::DROPPED_WITHOUT_BLOCK);
    for retired in pool.retired() {
        ledger.counts = ledger.counts.plus(Counts {
            overwritten: retired.events,
            dropped: retired.dropped,
            ..Counts::default()
        });
    }
    ledger.counts = ledger.counts.balanced();
    ledger
}

impl Ledger {
    /// Adds the thread whose blocks lie at these places, oldest first, once they have
    /// been told.
    pub(super) fn settle(&mut self, chain: &[u32], pool: &Pool) -> Counts {
        let (counts, exact) = of_thread(chain, pool);
        let newest = chain.last().and_then(|&newest| pool.block(newest));
        if newest.is_some_and(|newest| pool.is_retired(newest)) {
            self.take_from_retired(counts);
        } else {
            self.counts = self.counts.plus(counts);
        }
        self.exact &= exact;
        counts
    }

    /// Takes what can be read of a thread that is gone out of the retired totals,
    /// where all of its events are.
    fn take_from_retired(&mut self, counts: Counts) {
        let found = counts.readable.saturating_add(counts.torn);
        let rest = self.counts.overwritten.checked_sub(found);
        self.exact &= rest.is_some();
        self.counts.overwritten = rest.unwrap_or(0);
        self.counts = self.counts.plus(Counts {
            overwritten: 0,
            dropped: 0,
            ..counts
        });
    }
}

impl Counts {
    fn plus(self, other: Counts) -> Counts {
        Counts {
            written: 0,
            readable: self.readable.saturating_add(other.readable),
            overwritten: self.overwritten.saturating_add(other.overwritten),
            dropped: self.dropped.saturating_add(other.dropped),
            torn: self.torn.saturating_add(other.torn),
        }
        .balanced()
    }

    /// The parts, cut so that their sum is a number, and the sum.
    fn balanced(self) -> Counts {
        let mut room = u64::MAX;
        let mut part = |count: u64| {
            let count = count.min(room);
            room -= count;
            count
        };
        let (readable, torn) = (part(self.readable), part(self.torn));
        let (dropped, overwritten) = (part(self.dropped), part(self.overwritten));
        Counts {
            written: u64::MAX - room,
            readable,
            overwritten,
            dropped,
            torn,
        }
    }
}

/// The account of a thread, and whether it is exact.
fn of_thread(chain: &[u32], pool: &Pool) -> (Counts, bool) {
    let (mut counts, mut exact) = (Counts::default(), true);
    let (mut recorded, mut dropped) = (0, 0);
    let mut blocks = chain
        .iter()
        .filter_map(|&index| pool.block(index))
        .peekable();
    while let Some(block) = blocks.next() {
        let readable = u64::from(block.readable);
        let said = said_events(block, blocks.peek().copied());
        exact &= said.is_some();
        let expected = said.unwrap_or(readable).max(readable);
        counts.readable += readable;
        counts.torn += lost_before(block, pool);
        // What was taken for newer records before it had been told is overwritten.
        if !block.taken_since {
            counts.torn += expected - readable;
        }
        recorded = block.events_before.saturating_add(expected);
        // It only grows: the newest block knows best, and the biggest is a lower bound.
        dropped = dropped.max(block.dropped.unwrap_or(0));
        if blocks.peek().is_none() {
            exact &= block.dropped.is_some() && block.next.is_some();
        }
    }
    counts.overwritten = recorded.saturating_sub(counts.readable + counts.torn);
    counts.dropped = dropped.into();
    (counts.balanced(), exact)
}

/// How many events a block had: it says so itself, or the thread's next block does.
fn said_events(block: &Block, next: Option<&Block>) -> Option<u64> {
    let next = next.filter(|next| next.previous_sequence == block.sequence);
    let events = block.said_events();
    events.or(next.map(|next| u64::from(next.previous_events)))
}

/// Events of the thread's block before this one, if damage took it.
fn lost_before(block: &Block, pool: &Pool) -> u64 {
    match block.previous() {
        Some((sequence, index)) if !pool.holds(sequence) && pool.is_lost(index) => {
            u64::from(block.previous_events)
        }
        _ => 0,
    }
}
