//! From the places of the pool to an index of the blocks that can be read.
//!
//! A block is believed if it passes its check, is of this recording and lies at
//! its place. A writer may be at work: a block is taken as it is only if its
//! magic and sequence number are the same before and after it was read, and only
//! up to what was committed before.
//!
//! Where places are damaged, their blocks' headers are made out again as far as that can
//! be proven: see [`super::mend`]. A file of which nothing is damaged is gone over once.
//!
//! A recording that is small is kept whole: its process may be alive, and take its blocks
//! faster than they are told.
//!
//! Places are looked at in parts, none of which needs to know of another: whoever has
//! threads may have several looked at at once.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::file::{File, Mended};
use super::mend::{self, Budget, Effort, Known, Outcome};
use super::pool::{Block, Place, Pool};
use super::{Error, Source, replay};
use crate::block::{
    self, HEADER_BYTES, HEADER_WORDS, Kind, Next, Retired, State, THREAD_NAME_BYTES, word,
};
use crate::check::Key;
use crate::clock::Sample;
use crate::header::totals;
use crate::record::{self, Walk};
use crate::site::{self, CallSite};
use crate::{BLOCK_BYTES, BLOCK_WORDS};

/// How often a block that changes while it is read is tried.
const ATTEMPTS: usize = 3;

/// Blocks that are read at once.
const BLOCKS_A_READ: u32 = 16;

/// Places in a part; few in tests, whose recordings are small.
const PLACES_A_PART: u32 = if cfg!(test) { 7 } else { 512 };

/// Whose a block is.
#[derive(Clone, Copy, Default)]
pub(super) struct Owner {
    pub(super) sequence: u64,
    /// The operating system's id.
    pub(super) id: u32,
    /// The name, padded by zeros.
    pub(super) name: [u8; THREAD_NAME_BYTES],
}

/// What is wanted of the blocks once.
#[derive(Default)]
pub(super) struct Survey {
    /// All call sites, by address. Most are kept twice; either copy will do.
    pub(super) sites: HashMap<u64, Arc<CallSite>>,
    /// By the numbers of threads, what their newest blocks say.
    pub(super) owners: HashMap<u32, Owner>,
    /// Of places at which there was a block.
    samples: Vec<(u32, Sample)>,
}

impl Survey {
    /// Notes what a block says of its thread.
    fn note(&mut self, thread: u32, found: Owner) {
        let owner = self.owners.entry(thread).or_default();
        if found.sequence >= owner.sequence {
            *owner = found;
        }
    }

    /// Takes in what is wanted of the blocks behind these.
    fn append(&mut self, mut other: Survey) {
        for (address, site) in other.sites {
            self.sites.entry(address).or_insert(site);
        }
        for (thread, owner) in other.owners {
            self.note(thread, owner);
        }
        self.samples.append(&mut other.samples);
    }

    /// All clock samples that blocks hold.
    pub(super) fn samples(&self, pool: &Pool) -> impl Iterator<Item = Sample> {
        let samples = self.samples.iter();
        let samples = samples.filter_map(|&(index, sample)| pool.block(index).map(|_| sample));
        // Of a header that was made out again it may not be known.
        samples.filter(|&sample| sample != Sample::default())
    }
}

/// Some of a recording's places, to be looked at.
pub struct Part<'f, 's, S: ?Sized> {
    scan: Scan<'f, 's, S>,
    places: Range<u32>,
    looked: Option<Result<(), Error>>,
}

impl<S: Source + ?Sized> Part<'_, '_, S> {
    /// Looks at the places, of which nobody else needs to know for that.
    pub fn look(&mut self) {
        self.looked = Some(self.scan.look(self.places.clone()));
    }
}

/// Reads all places, and keeps what they hold if that is wanted; `look` may look at the
/// parts, in any order or at once.
pub(super) fn scan<S: Source + ?Sized>(
    file: &File<'_, S>,
    keep: bool,
    look: impl FnOnce(&mut [Part<'_, '_, S>]),
) -> Result<(Pool, Survey, HashMap<u32, Mended>), Error> {
    let there = file.places();
    // Before the places are looked at: a living process uses more of them meanwhile.
    let used = file.totals()?[totals::PLACES_USED];
    let part = |first| Part {
        scan: Scan::new(file, keep),
        places: first..there.min(first + PLACES_A_PART),
        looked: None,
    };
    let mut parts: Vec<Part<'_, '_, S>> = Vec::new();
    let mut next = 0;
    while let Some(first) = file.held_from(next)?.filter(|&first| first < there) {
        parts.push(part(first));
        next = first + PLACES_A_PART;
    }
    look(&mut parts);
    let mut scan = Scan::new(file, keep);
    scan.pool = Pool::free(there);
    for mut part in parts {
        if part.looked.is_none() {
            part.look();
        }
        part.looked.unwrap_or(Ok(()))?;
        scan.append(part.scan);
    }
    scan.look_again()?;
    let mended = scan.mend()?;
    let Scan {
        mut pool, survey, ..
    } = scan;
    pool.is_found = file.is_found();
    pool.close(file.missing_places(), used);
    Ok((pool, survey, mended))
}

/// Whether two readings of a block's beginning are of one life of it.
pub(super) fn is_same_life(a: &[u64], b: &[u64]) -> bool {
    let life = |words: &[u64]| {
        (
            words.get(word::MAGIC).copied(),
            words.get(word::SEQUENCE).copied(),
        )
    };
    life(a) == life(b)
}

/// A scan that is under way.
struct Scan<'f, 's, S: ?Sized> {
    file: &'f File<'s, S>,
    keep: bool,
    /// The block that is looked at.
    words: Vec<u64>,
    pool: Pool,
    survey: Survey,
}

impl<'f, 's, S: Source + ?Sized> Scan<'f, 's, S> {
    fn new(file: &'f File<'s, S>, keep: bool) -> Self {
        Scan {
            file,
            keep,
            words: Vec::new(),
            pool: Pool::default(),
            survey: Survey::default(),
        }
    }

    /// Takes in what was found at the places behind these.
    fn append(&mut self, other: Self) {
        self.pool.append(other.pool);
        self.survey.append(other.survey);
    }

    fn look(&mut self, places: Range<u32>) -> Result<(), Error> {
        let there = places.end;
        let mut words = vec![0; BLOCKS_A_READ as usize * BLOCK_WORDS];
        for first in places.step_by(BLOCKS_A_READ as usize) {
            let found = self.file.read_places(&mut words, first)?;
            for (index, words) in (first..there).zip(words.chunks(BLOCK_WORDS)) {
                let end = (index - first + 1) as usize * BLOCK_BYTES;
                let is_taken_in = found >= end && self.take_in(index, words, words);
                if !(is_taken_in && self.is_believed(index)) {
                    self.look_at(index)?;
                }
            }
        }
        Ok(())
    }

    /// Whether what was read of a place once can be believed: it passes its check, and
    /// where it will not be read again, so do all of its records.
    fn is_believed(&self, index: u32) -> bool {
        let block = self.pool.block(index);
        !self.keep || block.is_none_or(|block| block.is_sound)
    }

    /// Reads a place with care.
    fn look_at(&mut self, index: u32) -> Result<(), Error> {
        let mut words = std::mem::take(&mut self.words);
        words.resize(BLOCK_WORDS, 0);
        let looked = self.look_into(index, &mut words);
        self.words = words;
        looked
    }

    fn look_into(&mut self, index: u32, words: &mut [u64]) -> Result<(), Error> {
        let mut retired = Retired::default();
        for _ in 0..ATTEMPTS {
            let (before, _) = self.file.place_header(index)?;
            self.file.read_place(words, index)?;
            let (after, found) = self.file.place_header(index)?;
            if found < HEADER_BYTES {
                self.put(index, Place::Damaged);
                return Ok(());
            }
            if is_same_life(&before, words) && is_same_life(words, &after) {
                if !self.take_in(index, &before, words) {
                    self.put(index, Place::Damaged);
                }
                return Ok(());
            }
            retired = block::decode(&after).retired().unwrap_or(retired);
        }
        // It is taken faster than it can be read: what it held is overwritten.
        self.put(index, Place::Taken(retired));
        Ok(())
    }

    fn put(&mut self, index: u32, place: Place) {
        self.pool.places.put(index, place);
        self.pool.kept.remove(&index);
    }

    /// Takes in what lies at a place, and tells whether it is in order.
    fn take_in(&mut self, index: u32, before: &[u64], words: &[u64]) -> bool {
        let header = match block::decode(words) {
            State::Free => {
                // Where a block was begun, that of which the magic is zeros is damaged.
                let is_free = words.iter().all(|&word| word == 0);
                self.put(index, Place::Free);
                return is_free;
            }
            State::Taken(retired) => {
                self.put(index, Place::Taken(retired));
                return true;
            }
            State::Block(header) => header,
            State::Damaged => return false,
        };
        if header.recording != self.file.header.recording || header.index != self.file.index(index)
        {
            return false;
        }
        let key = header.key();
        let commit = block::committed(before, key).or_else(|| block::committed(words, key));
        let mut block = Block {
            sequence: header.sequence,
            events_before: header.events_before,
            previous_sequence: header.previous_sequence,
            first_ticks: 0,
            retired: header.retired,
            kind: header.kind,
            thread: header.thread,
            previous_index: self.file.place(header.previous_index),
            previous_events: header.previous_events,
            commit: commit.map(|commit| (commit.bytes as u16, commit.events as u16)),
            dropped: block::dropped(words, key),
            next: self.next(words, key),
            readable: 0,
            is_sound: false,
            taken_since: false,
        };
        let words = words.get(..block.end()).unwrap_or(words);
        (block.first_ticks, block.is_sound) = self.survey(words, key, block.kind);
        self.note(index, &header);
        self.put(index, Place::Block(block));
        if self.keep {
            self.pool.kept.insert(index, words.into());
        }
        true
    }

    /// What became of a block's thread, by the places of the pool.
    fn next(&self, words: &[u64], key: Key) -> Option<Next> {
        block::next(words, key).map(|next| match next {
            Next::At(index) => Next::At(self.file.place(index)),
            Next::None | Next::Ended => next,
        })
    }

    /// Makes out the headers of damaged blocks as far as that can be proven, and takes in
    /// what these blocks hold.
    fn mend(&mut self) -> Result<HashMap<u32, Mended>, Error> {
        let mut mended = HashMap::new();
        let mut damaged = self.pool.damaged();
        let mut budget = Budget::new(self.pool.places.iter().count() as u32);
        let mut is_news = true;
        for effort in mend::ROUNDS {
            // What was made out tells of others; where nothing was, the same is not asked again.
            if effort == Effort::Said && !std::mem::take(&mut is_news) {
                continue;
            }
            let before = damaged.len();
            damaged = self.mend_those(damaged, effort, &mut budget, &mut mended)?;
            is_news |= effort == Effort::Check || damaged.len() < before;
        }
        // What lies beside blocks that were found, and is none, is nobody's damage.
        for place in damaged.into_iter().filter(|_| self.file.is_found()) {
            self.put(place, Place::Free);
        }
        Ok(mended)
    }

    /// Makes out the headers of these places; returns those of which that did not succeed.
    fn mend_those(
        &mut self,
        damaged: Vec<u32>,
        effort: Effort,
        budget: &mut Budget,
        mended: &mut HashMap<u32, Mended>,
    ) -> Result<Vec<u32>, Error> {
        if damaged.is_empty() {
            return Ok(damaged);
        }
        let recording = self.file.header.recording;
        let mut known = Known::new(recording, &self.pool, &self.survey.owners);
        let mut words = [0; BLOCK_WORDS];
        let (mut left, mut to_come) = (Vec::new(), damaged.len());
        for place in damaged {
            self.file.read_place(&mut words, place)?;
            budget.begin(to_come);
            to_come -= 1;
            let around = (self.file, &self.pool);
            match known.mend(&words, place, around, effort, budget) {
                None => left.push(place),
                Some(Outcome::Taken) => {
                    self.put(place, Place::Taken(Retired::default()));
                    (self.pool.mended, self.pool.is_guessed) = (self.pool.mended + 1, true);
                }
                Some(Outcome::Block {
                    mended: header,
                    is_proven,
                }) => {
                    header.mend(&mut words);
                    self.take_in(place, &words, &words);
                    self.pool.mended += 1;
                    self.pool.is_guessed |= !is_proven;
                    mended.insert(place, *header);
                }
            }
        }
        Ok(left)
    }

    /// Goes through a block's records, and returns the ticks of the earliest, and whether
    /// all of them pass their checks.
    fn survey(&mut self, words: &[u64], key: Key, kind: Kind) -> (u64, bool) {
        let mut first = u64::MAX;
        let mut walk = Walk::new(words, key, HEADER_WORDS, words.len());
        for found in walk.by_ref() {
            if found.kind == record::Kind::CallSite {
                let site = site::decode(found);
                if let Some(site) = site {
                    let sites = &mut self.survey.sites;
                    sites.entry(site.address).or_insert_with(|| Arc::new(site));
                }
            }
            let ticks = found.words.get(1).copied().unwrap_or(0);
            first = first.min(ticks);
            if kind == Kind::Records && replay::is_entry(found.kind) {
                let last = ticks.saturating_add(found.later.into());
                self.pool.last_ticks = self.pool.last_ticks.max(last);
                self.pool.entries += 1 + usize::from(found.later != 0);
            }
        }
        (if first == u64::MAX { 0 } else { first }, !walk.damaged())
    }

    /// Notes what the header says of the thread and of the time.
    fn note(&mut self, index: u32, header: &block::Header) {
        let samples = &mut self.survey.samples;
        // What is looked at once more is in the place of what was seen before.
        samples.pop_if(|(before, _)| *before == index);
        samples.push((index, header.clocks));
        if header.kind == Kind::Records {
            let owner = Owner {
                sequence: header.sequence,
                id: header.thread_id,
                name: header.thread_name,
            };
            if owner.id != 0 || owner.name[0] != 0 {
                self.survey.note(header.thread, owner);
            }
        }
    }

    /// Reads the places again to which blocks point and at which something older was
    /// found: they were written while the scan was under way.
    fn look_again(&mut self) -> Result<(), Error> {
        let older = |pool: &Pool, (sequence, index): (u64, u32)| {
            let place = pool.places.get(index);
            matches!(place, Some(Place::Taken(_))) || pool.is_older(index, sequence)
        };
        let mut wanted: Vec<(u64, u32)> = self
            .pool
            .blocks()
            .flat_map(Block::neighbours)
            .filter(|&wanted| older(&self.pool, wanted))
            .collect();
        let mut looked = HashSet::new();
        while let Some((sequence, index)) = wanted.pop() {
            if older(&self.pool, (sequence, index)) && looked.insert(index) {
                self.look_at(index)?;
                wanted.extend(
                    self.pool
                        .block(index)
                        .into_iter()
                        .flat_map(Block::neighbours),
                );
            }
        }
        Ok(())
    }
}
