//! The index of the blocks that can be read: what the account, the order and the clocks
//! need of each, about a hundred bytes, and none of its records.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::places::Places;
use crate::block::{Kind, Next, OWNER_WORD, Owner, Retired};

/// What the index has of a block that can be read.
pub(super) struct Block {
    /// The how-manieth block taken.
    pub(super) sequence: u64,
    /// Events that its thread recorded before it.
    pub(super) events_before: u64,
    /// Of the thread's block before, 0 if there is none.
    pub(super) previous_sequence: u64,
    /// Of the earliest record in it; 0 where that is not known.
    pub(super) first_ticks: u64,
    /// Totals of threads that are gone.
    pub(super) retired: Retired,
    pub(super) kind: Kind,
    /// Number of its thread.
    pub(super) thread: u32,
    pub(super) previous_index: u32,
    /// Events in the thread's block before.
    pub(super) previous_events: u32,
    /// Bytes and events committed, `None` if that word is damaged.
    pub(super) commit: Option<(u16, u16)>,
    /// Events that its thread had dropped, `None` if that word is damaged.
    pub(super) dropped: Option<u32>,
    /// What became of its thread, `None` if that word is damaged.
    pub(super) next: Option<Next>,
    /// Events that were read from it, once it has been told.
    pub(super) readable: u32,
    /// Whether all of its records passed their checks.
    pub(super) is_sound: bool,
    /// Whether it was taken for something else before it had been told.
    pub(super) taken_since: bool,
}

impl Block {
    /// Whose it is.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            sequence: self.sequence,
            thread: self.thread,
            kind: self.kind,
        }
    }

    /// The events that it says it has.
    pub(super) fn said_events(&self) -> Option<u64> {
        self.commit.map(|(_, events)| events.into())
    }

    /// Where its records end, in words: what is committed, or all of it if that is
    /// not known.
    pub(super) fn end(&self) -> usize {
        self.commit
            .map_or(OWNER_WORD, |(bytes, _)| usize::from(bytes) / 8)
    }

    /// Sequence number and place of the thread's block before, if it has one.
    pub(super) fn previous(&self) -> Option<(u64, u32)> {
        let linked = self.kind == Kind::Records && self.previous_sequence != 0;
        linked.then_some((self.previous_sequence, self.previous_index))
    }

    /// Place of the thread's next block, if it is known to have one.
    fn next_index(&self) -> Option<u32> {
        match self.next? {
            Next::At(index) => Some(index),
            Next::None | Next::Ended => None,
        }
    }

    /// The places of the blocks before and after, and the least sequence number
    /// that is to be found there.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = (u64, u32)> + use<> {
        let after = self
            .next_index()
            .map(|index| (self.sequence.saturating_add(1), index));
        self.previous().into_iter().chain(after)
    }
}

/// What was found at a place of the pool.
pub(super) enum Place {
    Free,
    Taken(Retired),
    Damaged,
    Block(Block),
}

/// What was found at the places of the pool.
#[derive(Default)]
pub(super) struct Pool {
    pub(super) places: Places,
    /// Blocks that lie behind the file's end.
    pub(super) missing: u64,
    /// Whether it was found by its blocks: those that are missing may never have been.
    pub(super) is_found: bool,
    /// Places that were in use, and are zeros, or were not found.
    vanished: u64,
    /// Blocks whose headers were damaged and made out all the same.
    pub(super) mended: u64,
    /// Whether that was done without all that they said.
    pub(super) is_guessed: bool,
    /// Of all blocks, in their order.
    sequences: Vec<u64>,
    /// Places of the threads' blocks, by thread, oldest first.
    order: Vec<u32>,
    /// Of each place the words up to what is committed, if they are kept.
    pub(super) kept: HashMap<u32, Arc<[u64]>>,
    /// The last moment that a record speaks of.
    pub(super) last_ticks: u64,
    /// How many entries there are, at most.
    pub(super) entries: usize,
}

impl Pool {
    /// The blocks that can be read, in the order of their places.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.places.iter().filter_map(|(_, place)| as_block(place))
    }

    /// The block at a place of [`Pool::chain`].
    pub(super) fn block(&self, index: u32) -> Option<&Block> {
        as_block(self.places.get(index)?)
    }

    /// The same, to note what became of it, and what was kept of it.
    pub(super) fn block_mut(&mut self, index: u32) -> Option<(&mut Block, Option<&Arc<[u64]>>)> {
        match self.places.get_mut(index)? {
            Place::Block(block) => Some((block, self.kept.get(&index))),
            _ => None,
        }
    }

    /// Takes the events that blocks of [`Pool::chain`] say they have for read.
    pub(super) fn believe(&mut self, range: Range<u32>) {
        for at in range {
            let index = self.order.get(at as usize).copied();
            if let Some((block, _)) = index.and_then(|index| self.block_mut(index)) {
                block.readable = block.said_events().map_or(0, |events| events as u32);
            }
        }
    }

    /// The threads by number, each with where its blocks are in the order.
    pub(super) fn chains(&self) -> Vec<(u32, Range<u32>)> {
        let mut chains: Vec<(u32, Range<u32>)> = Vec::new();
        for (at, &index) in (0..).zip(&self.order) {
            let thread = self.block(index).map_or(0, |block| block.thread);
            match chains.last_mut() {
                Some((last, range)) if *last == thread => range.end = at + 1,
                _ => chains.push((thread, at..at + 1)),
            }
        }
        chains
    }

    /// The places of a thread's blocks, oldest first.
    pub(super) fn chain(&self, range: &Range<u32>) -> &[u32] {
        let range = range.start as usize..range.end as usize;
        self.order.get(range).unwrap_or(&[])
    }

    /// The totals of threads that are gone, by place.
    pub(super) fn retired(&self) -> impl Iterator<Item = Retired> {
        self.places.iter().filter_map(|(_, place)| match place {
            Place::Taken(retired) => Some(*retired),
            Place::Block(block) => Some(block.retired),
            Place::Free | Place::Damaged => None,
        })
    }

    /// Blocks that fail their check or lie behind the file's end.
    pub(super) fn damaged_blocks(&self) -> u64 {
        let damaged = self
            .places
            .iter()
            .filter(|(_, place)| matches!(place, Place::Damaged))
            .count();
        let counted = self.vanished.saturating_add(damaged as u64);
        match self.is_found {
            true => counted,
            false => self.missing.saturating_add(counted),
        }
    }

    /// Whether the thread whose newest block this is had a newer one that was taken since,
    /// so that its totals are among the retired. Where something older was found, the
    /// thread goes on in what was written later than that was read.
    pub(super) fn is_retired(&self, newest: &Block) -> bool {
        newest
            .next_index()
            .is_some_and(|index| !self.is_lost(index) && !self.is_older(index, newest.sequence))
    }

    /// Whether what was found at a place was there before the block with this sequence
    /// number was taken.
    pub(super) fn is_older(&self, index: u32, sequence: u64) -> bool {
        let place = self.places.get(index);
        place.is_some_and(|place| match place {
            Place::Free => true,
            Place::Block(block) => block.sequence < sequence,
            Place::Taken(_) | Place::Damaged => false,
        })
    }

    /// Whether the block with this sequence number can be read.
    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.sequences.binary_search(&sequence).is_ok()
    }

    /// Whether what lay at `index` is lost to damage.
    pub(super) fn is_lost(&self, index: u32) -> bool {
        let in_file = self.places.get(index);
        in_file.map_or(self.missing > 0, |place| matches!(place, Place::Damaged))
    }

    /// Nothing yet, of so many places.
    pub(super) fn free(places: u32) -> Pool {
        Pool {
            places: Places::free(places),
            ..Pool::default()
        }
    }

    /// Takes in what was found at the places behind these.
    pub(super) fn append(&mut self, other: Pool) {
        self.places.append(other.places);
        self.kept.extend(other.kept);
        self.last_ticks = self.last_ticks.max(other.last_ticks);
        self.entries += other.entries;
    }

    /// Makes an index of what was found, of a pool that has so many places more, and in
    /// which so many were in use, where that is known.
    pub(super) fn close(&mut self, missing: u64, used: Option<u64>) {
        self.missing = missing;
        self.expose_zeroed();
        let is_known = missing == 0 || self.is_found;
        self.expose_vanished(used.filter(|_| is_known).unwrap_or(0));
        self.expose_duplicates();
        self.put_in_order();
    }

    /// A place that a block points to was used, and is never free again: zeros there
    /// are damage.
    fn expose_zeroed(&mut self) {
        let zeroed = |places: &Places, index: u32| matches!(places.get(index), Some(Place::Free));
        let used: Vec<u32> = self
            .blocks()
            .flat_map(Block::neighbours)
            .map(|(_, index)| index)
            .filter(|&index| zeroed(&self.places, index))
            .collect();
        for index in used {
            self.places.put(index, Place::Damaged);
        }
    }

    /// Fewer places that are not zeros than there were: nobody can say which, but that is
    /// damage.
    fn expose_vanished(&mut self, used: u64) {
        let there = self.places.iter();
        let there = there.filter(|(_, place)| !matches!(place, Place::Free));
        let vanished = used.saturating_sub(there.count() as u64);
        let most = u64::from(self.places.len()).saturating_add(self.missing);
        self.vanished = vanished.min(most);
    }

    /// The places that are damaged.
    pub(super) fn damaged(&self) -> Vec<u32> {
        let places = self.places.iter();
        let damaged = places.filter(|(_, place)| matches!(place, Place::Damaged));
        damaged.map(|(index, _)| index).collect()
    }

    /// A sequence number is given once: of two blocks with the same, the second is damage.
    fn expose_duplicates(&mut self) {
        let mut found: Vec<(u64, u32)> = self
            .places
            .iter()
            .filter_map(|(index, place)| Some((as_block(place)?.sequence, index)))
            .collect();
        found.sort_unstable();
        for pair in found.windows(2) {
            if pair[0].0 == pair[1].0 {
                self.places.put(pair[1].1, Place::Damaged);
            }
        }
        self.sequences = found.into_iter().map(|(sequence, _)| sequence).collect();
    }

    fn put_in_order(&mut self) {
        let mut order: Vec<(u32, u64, u32)> = self
            .places
            .iter()
            .filter_map(|(index, place)| Some((as_block(place)?, index)))
            .filter(|(block, _)| block.kind == Kind::Records)
            .map(|(block, index)| (block.thread, block.sequence, index))
            .collect();
        order.sort_unstable();
        self.order = order.into_iter().map(|(.., index)| index).collect();
    }
}

pub(super) fn as_block(place: &Place) -> Option<&Block> {
    match place {
        Place::Block(block) => Some(block),
        _ => None,
    }
}

const _: () = assert!(size_of::<Place>() <= 104);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_believed_of_what_is_no_block_or_in_no_chain() {
        let mut pool = Pool::free(3);
        pool.places.put(1, Place::Damaged);
        pool.order = vec![1, 2];
        pool.believe(0..3);
        assert!(matches!(pool.places.get(1), Some(Place::Damaged)));
        assert!(matches!(pool.places.get(2), Some(Place::Free)));
        assert!(pool.blocks().next().is_none());
    }
}
