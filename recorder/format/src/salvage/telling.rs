//! A thread that is being told, and how far that is.
//!
//! Its blocks are told one after the other, from the one in which an earlier stream ended.

use std::ops::Range;
use std::sync::Arc;

use super::Entry;
use super::mark::Last;
use super::pool::{Block, Pool};
use super::replay::{Page, Teller};

/// A thread that is being told.
pub(super) struct Telling {
    pub(super) teller: Teller,
    /// Where its blocks are in the pool's order.
    pub(super) chain: Range<u32>,
    /// The one of them that is next, or being told.
    pub(super) at: u32,
    pub(super) page: Option<Box<Page>>,
    /// What it told last, made in the place of the one before: most are of the same block.
    pub(super) told: Entry,
    pub(super) covered_ns: Option<(u64, u64)>,
    /// What was told of it before, by an earlier stream.
    pub(super) after: Option<Last>,
    /// Where the record of the entry that was told last lies in its block.
    pub(super) told_place: (usize, bool),
    /// When its block began to be told, the ticks of the entry before.
    pub(super) ticks_before: u64,
}

/// The block that is next, or being told.
pub(super) struct Held<'p> {
    pub(super) place: u32,
    pub(super) block: &'p mut Block,
    /// Its words, if they were kept.
    pub(super) kept: Option<&'p Arc<[u64]>>,
}

impl Telling {
    /// A thread by its index, of which nothing is told yet.
    pub(super) fn new(index: u32, chain: Range<u32>) -> Telling {
        Telling {
            teller: Teller {
                thread: index,
                ..Teller::default()
            },
            at: chain.start,
            chain,
            page: None,
            told: Entry::default(),
            covered_ns: None,
            after: None,
            told_place: (0, false),
            ticks_before: 0,
        }
    }

    /// Passes over the blocks before the one in which the last entry was that was told.
    pub(super) fn pass_over(&mut self, after: Option<Last>, pool: &mut Pool) {
        self.after = after;
        let Some(after) = after else {
            return;
        };
        let sequence = |block: Option<&Block>| block.map(|block| block.sequence);
        while sequence(self.block(pool)).is_some_and(|it| it < after.sequence) {
            self.at += 1;
        }
        pool.believe(self.chain.start..self.at);
        if sequence(self.block(pool)) == Some(after.sequence) {
            self.teller.ticks = after.ticks_before;
        }
    }

    /// Whether the entry of the record at a place was told by an earlier stream.
    pub(super) fn was_told(&self, place: (usize, bool)) -> bool {
        let sequence = self.teller.before;
        self.after
            .is_some_and(|after| after.covers(sequence, place))
    }

    /// The last entry that was told, here or by an earlier stream.
    pub(super) fn last(&self, pool: &Pool) -> Option<Last> {
        let Some((_, wall_ns)) = self.covered_ns else {
            return self.after;
        };
        // A block that was told to its end is the one before the next.
        let at = self.at - u32::from(self.page.is_none());
        let place = pool.chain(&(at..at + 1)).first();
        let block = pool.block(*place?)?;
        let events = match &self.page {
            Some(page) => page.events_told(),
            None => block.readable,
        };
        Some(Last {
            sequence: block.sequence,
            place: self.told_place,
            events: block.events_before.saturating_add(events.into()),
            ticks_before: self.ticks_before,
            wall_ns,
        })
    }

    /// Where the block lies that is next, or being told.
    pub(super) fn place(&self, pool: &Pool) -> Option<u32> {
        let at = self.at.checked_sub(self.chain.start)? as usize;
        pool.chain(&self.chain).get(at).copied()
    }

    /// What the index has of it.
    pub(super) fn block<'p>(&self, pool: &'p Pool) -> Option<&'p Block> {
        pool.block(self.place(pool)?)
    }

    /// The same, to note what became of it; and what was kept of it, and where it lies.
    pub(super) fn block_mut<'p>(&self, pool: &'p mut Pool) -> Option<Held<'p>> {
        let place = self.place(pool)?;
        let (block, kept) = pool.block_mut(place)?;
        Some(Held { place, block, kept })
    }
}
