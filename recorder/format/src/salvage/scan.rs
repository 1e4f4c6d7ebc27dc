//! From the places of the pool to the blocks that can be read.
//!
//! A block is believed if it passes its check, is of this recording and lies at
//! its place. A writer may be at work: a block is taken as it is only if its
//! magic and sequence number are the same before and after it was read, and only
//! up to what was committed before.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::file::File;
use super::{Error, Source};
use crate::block::{self, Commit, HEADER_BYTES, HEADER_WORDS, Kind, Next, Retired, State, word};
use crate::clock::Sample;
use crate::record::{RECORD_MIN_WORDS, Walk};
use crate::{BLOCK_BYTES, BLOCK_WORDS};

/// How often a block that changes while it is read is tried.
const ATTEMPTS: usize = 3;

/// A block that can be read.
pub(super) struct Block {
    /// Its header.
    pub(super) header: block::Header,
    /// What is committed, `None` if that word is damaged.
    pub(super) commit: Option<Commit>,
    /// Events that its thread had dropped, `None` if that word is damaged.
    pub(super) dropped: Option<u32>,
    /// What became of its thread, `None` if that word is damaged.
    pub(super) next: Option<Next>,
    words: Arc<[u64]>,
}

impl Block {
    /// Its records: what is committed, or all that pass their check if that is not known.
    pub(super) fn records(&self) -> Walk<'_> {
        let end = self.commit.map_or(BLOCK_WORDS, |commit| commit.bytes / 8);
        Walk::new(&self.words, self.header.key(), HEADER_WORDS, end)
    }

    /// The words of the block, as far as they are committed.
    pub(super) fn words(&self) -> &Arc<[u64]> {
        &self.words
    }

    /// Sequence number and place of the thread's block before, if it has one.
    pub(super) fn previous(&self) -> Option<(u64, u32)> {
        let header = &self.header;
        let linked = header.kind == Kind::Records && header.previous_sequence != 0;
        linked.then_some((header.previous_sequence, header.previous_index))
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
    fn neighbours(&self) -> impl Iterator<Item = (u64, u32)> + use<> {
        let after = self
            .next_index()
            .map(|index| (self.header.sequence.saturating_add(1), index));
        self.previous().into_iter().chain(after)
    }
}

/// What was found at a place of the pool.
enum Place {
    Free,
    Taken(Retired),
    Damaged,
    Block(Block),
}

/// What was found at the places of the pool.
pub(super) struct Pool {
    places: Vec<Place>,
    /// Blocks that lie behind the file's end.
    missing: u64,
    sequences: HashSet<u64>,
}

impl Pool {
    /// Reads all places.
    pub(super) fn scan<S: Source + ?Sized>(file: &File<'_, S>) -> Result<Pool, Error> {
        let layout = file.header.layout;
        let bytes = file.len.saturating_sub(layout.pool_offset());
        let there = bytes
            .div_ceil(BLOCK_BYTES as u64)
            .min(u64::from(layout.blocks)) as u32;
        let places = (0..there).map(|index| read_place(file, index));
        let mut places = places.collect::<Result<Vec<Place>, Error>>()?;
        look_again(file, &mut places)?;
        expose_zeroed(&mut places);
        let sequences = expose_duplicates(&mut places);
        Ok(Pool {
            places,
            missing: u64::from(layout.blocks - there),
            sequences,
        })
    }

    /// The blocks that can be read, in the order of their places.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.places.iter().filter_map(as_block)
    }

    /// How many records there can be at most.
    pub(super) fn records_max(&self) -> usize {
        let words = self
            .blocks()
            .map(|block| block.words.len().saturating_sub(HEADER_WORDS));
        words.map(|words| words / RECORD_MIN_WORDS).sum()
    }

    /// The blocks of each thread, oldest first, by its number.
    pub(super) fn chains(&self) -> BTreeMap<u32, Vec<&Block>> {
        let mut chains: BTreeMap<u32, Vec<&Block>> = BTreeMap::new();
        for block in self
            .blocks()
            .filter(|block| block.header.kind == Kind::Records)
        {
            chains.entry(block.header.thread).or_default().push(block);
        }
        for chain in chains.values_mut() {
            chain.sort_by_key(|block| block.header.sequence);
        }
        chains
    }

    /// All clock samples that blocks hold.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        self.blocks().map(|block| block.header.clocks)
    }

    /// The totals of threads that are gone, by place.
    pub(super) fn retired(&self) -> impl Iterator<Item = Retired> {
        self.places.iter().filter_map(|place| match place {
            Place::Taken(retired) => Some(*retired),
            Place::Block(block) => Some(block.header.retired),
            Place::Free | Place::Damaged => None,
        })
    }

    /// Blocks that fail their check or lie behind the file's end.
    pub(super) fn damaged_blocks(&self) -> u64 {
        let damaged = self
            .places
            .iter()
            .filter(|place| matches!(place, Place::Damaged))
            .count();
        self.missing.saturating_add(damaged as u64)
    }

    /// Whether the thread whose newest block this is had a newer one, so that its
    /// totals are among the retired.
    pub(super) fn is_retired(&self, newest: &Block) -> bool {
        newest
            .next_index()
            .is_some_and(|index| !self.is_lost(index))
    }

    /// Whether the block with this sequence number can be read.
    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.sequences.contains(&sequence)
    }

    /// Whether what lay at `index` is lost to damage.
    pub(super) fn is_lost(&self, index: u32) -> bool {
        let in_file = self.places.get(index as usize);
        in_file.map_or(self.missing > 0, |place| matches!(place, Place::Damaged))
    }
}

fn as_block(place: &Place) -> Option<&Block> {
    match place {
        Place::Block(block) => Some(block),
        _ => None,
    }
}

fn read_place<S: Source + ?Sized>(file: &File<'_, S>, index: u32) -> Result<Place, Error> {
    let offset = file.header.layout.block_offset(index);
    let life = |words: &[u64]| (words[word::MAGIC], words[word::SEQUENCE]);
    let mut retired = Retired::default();
    for _ in 0..ATTEMPTS {
        let (before, found) = file.words::<HEADER_WORDS>(offset)?;
        if before[word::MAGIC] == 0 && found == HEADER_BYTES {
            return Ok(Place::Free);
        }
        let (words, _) = file.words::<BLOCK_WORDS>(offset)?;
        let (after, found) = file.words::<HEADER_WORDS>(offset)?;
        if found < HEADER_BYTES {
            return Ok(Place::Damaged);
        }
        if life(&before) == life(&words) && life(&words) == life(&after) {
            return Ok(judge(file.header.recording, index, &before, &words));
        }
        if let State::Taken(totals) = block::decode(&after) {
            retired = totals;
        } else if let State::Block(header) = block::decode(&after) {
            retired = header.retired;
        }
    }
    // It is taken faster than it can be read: what it held is overwritten.
    Ok(Place::Taken(retired))
}

fn judge(recording: u64, index: u32, before: &[u64], words: &[u64]) -> Place {
    match block::decode(words) {
        State::Free => Place::Free,
        State::Taken(retired) => Place::Taken(retired),
        State::Block(header) if header.recording == recording && header.index == index => {
            let key = header.key();
            let commit = block::committed(before, key).or_else(|| block::committed(words, key));
            let end = commit.map_or(words.len(), |commit| commit.bytes / 8);
            Place::Block(Block {
                commit,
                dropped: block::dropped(words, key),
                next: block::next(words, key),
                words: words[..end].into(),
                header: *header,
            })
        }
        State::Block(_) | State::Damaged => Place::Damaged,
    }
}

/// Reads the places again to which blocks point and at which something older was
/// found: they were written while the scan was under way.
fn look_again<S: Source + ?Sized>(file: &File<'_, S>, places: &mut [Place]) -> Result<(), Error> {
    let mut wanted: Vec<(u64, u32)> = places
        .iter()
        .filter_map(as_block)
        .flat_map(Block::neighbours)
        .collect();
    let mut looked = HashSet::new();
    while let Some((sequence, index)) = wanted.pop() {
        let Some(place) = places.get_mut(index as usize) else {
            continue;
        };
        let older = match place {
            Place::Free | Place::Taken(_) => true,
            Place::Block(block) => block.header.sequence < sequence,
            Place::Damaged => false,
        };
        if older && looked.insert(index) {
            *place = read_place(file, index)?;
            wanted.extend(as_block(place).into_iter().flat_map(Block::neighbours));
        }
    }
    Ok(())
}

/// A place that a block points to was used, and is never free again: zeros there
/// are damage.
fn expose_zeroed(places: &mut [Place]) {
    let used: Vec<u32> = places
        .iter()
        .filter_map(as_block)
        .flat_map(Block::neighbours)
        .map(|(_, index)| index)
        .collect();
    for index in used {
        if let Some(place @ Place::Free) = places.get_mut(index as usize) {
            *place = Place::Damaged;
        }
    }
}

/// A sequence number is given once: of two blocks with the same, the second is damage.
fn expose_duplicates(places: &mut [Place]) -> HashSet<u64> {
    let mut sequences = HashSet::new();
    for place in places {
        let twice = as_block(place).is_some_and(|block| !sequences.insert(block.header.sequence));
        if twice {
            *place = Place::Damaged;
        }
    }
    sequences
}
