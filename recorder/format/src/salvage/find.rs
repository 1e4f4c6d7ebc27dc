//! Recordings found by their blocks: in a file without a header, a copy whose beginning is
//! cut off, a disk image, a core dump.
//!
//! Blocks say in which recording they are, and where in its pool. So the bytes are gone
//! over once, and what begins as a block does, at whatever offset, and passes its check is
//! put to its place; of two for one place, the newest life counts. Where blocks lie one
//! behind the other as in a file, what is between them belongs there, too, and may be a
//! damaged one. The header is one that passes its check, or else made up of what blocks of
//! call sites say; causes and incidents are looked for where they lie before the blocks,
//! and span slots are known by their own openings.
//!
//! The bound on the work and the memory: one look at every byte, about thirty bytes for a
//! block that is found, and none for anything else, whatever the bytes are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::file::{File, read, words};
use super::{Error, Source};
use crate::block::{self, About, HEADER_WORDS, MAGIC_BLOCK, State, are_near, corrected, word};
use crate::cause::{self, CAUSE_WORDS, CAUSES, Cause};
use crate::clock::{self, Sample};
use crate::header::{HEADER_BYTES, Header, Layout, MAGIC, TOTALS_OFFSET, text, totals};
use crate::record::{self, Kind};
use crate::span::{self, SLOT_BYTES, SLOT_HEADER_WORDS, SLOT_WORDS, SpanId};
use crate::{BLOCK_BYTES, incident};

/// Bytes that are read at once.
const STEP: usize = 1 << 20;

/// Bytes behind a magic that are looked at.
const AHEAD: usize = HEADER_BYTES;

/// Bytes for which there may be a block, and a slot; a few more in what is small.
const BYTES_A_BLOCK: u64 = BLOCK_BYTES as u64 / 2;
const SLOTS_MAX: usize = 1 << 20;
const FEW: u64 = 1024;

/// Headers that are damaged and may be made right, for so many bytes one.
const BYTES_A_CORRECTION: u64 = BLOCK_BYTES as u64;

/// Places at either end of a stretch of blocks that may be damaged ones: as many as it is
/// long, within these.
const PLACES_BESIDE: std::ops::RangeInclusive<u32> = 8..=4096;

/// How often a place is looked for, for one that there may be.
const TRIES_A_PLACE: u64 = 64;

/// Beginnings of a file that are tried.
const BASES_MAX: usize = 16;

/// Recordings that are told apart: who sees more of them sees noise that somebody made.
const RECORDINGS_MAX: usize = 1 << 12;

/// Sizes of a span table that are tried where nothing tells it, in steps of 64 KiB.
const TABLES_MAX: u32 = 64;

/// Recordings of which a slot may be that lies where it does not tell.
const RECORDINGS_TRIED: usize = 32;

/// A recording that was found by its blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its header, or what its blocks say of it.
    pub header: Header,
    /// Where its header or the copy of that lies, if one was found.
    pub header_at: Option<u64>,
    /// Where the first of what was found of it lies.
    pub at: u64,
    /// How many blocks were found.
    pub blocks: u32,
    /// The newest that is known of the time: when a block was taken, nanoseconds since 1970.
    pub newest_ns: u64,
    /// By index: where each block that was found, or may be there, begins.
    pub(super) places: Vec<(u32, i64)>,
    /// By number: where each span slot that is in use begins.
    pub(super) slots: Vec<(u32, u64)>,
    /// Where the whole file's beginning would lie, if that is known.
    base: Option<i64>,
}

impl Found {
    /// All recordings that are to be found in `source`, those first that recorded last.
    ///
    /// # Errors
    /// The bytes cannot be read.
    ///
    /// # Panics
    /// Never.
    pub fn all(source: &(impl Source + ?Sized)) -> Result<Vec<Found>, Error> {
        let len = source.len().map_err(Error::Read)?;
        let mut look = Look::new(len);
        look.over(source)?;
        look.gathered(source)
    }

    /// The same, if `source` does not begin with a header; `None` if it does, or the copy at
    /// its end tells what it is.
    ///
    /// # Errors
    /// The bytes cannot be read, or there is neither header nor block: they are no
    /// recording.
    ///
    /// # Panics
    /// Never.
    pub fn unless_headed(source: &(impl Source + ?Sized)) -> Result<Option<Vec<Found>>, Error> {
        let Err(fault) = File::by_header(source)? else {
            return Ok(None);
        };
        let found = Found::all(source)?;
        match found.is_empty() {
            true => Err(fault),
            false => Ok(Some(found)),
        }
    }

    /// Where in the source that lies which is at `offset` of a whole file's beginning.
    pub(super) fn head_offset(&self, offset: u64) -> Option<u64> {
        u64::try_from(self.base?.checked_add_unsigned(offset)?).ok()
    }
}

/// A block that passes its check.
struct Hit {
    recording: u64,
    index: u32,
    sequence: u64,
    offset: u64,
}

/// What blocks say of a recording.
#[derive(Default)]
struct Said {
    about: Option<About>,
    first: Sample,
    last: Sample,
}

/// Somebody who looks through bytes.
struct Look {
    len: u64,
    hits: Vec<Hit>,
    said: HashMap<u64, Said>,
    headers: BTreeMap<u64, (u64, Header)>,
    /// What looks like the slot of an open span: where, and its id.
    slots: Vec<(u64, SpanId)>,
    /// Up to where what is found lies in a block.
    in_block: u64,
    corrections: u64,
}

impl Look {
    fn new(len: u64) -> Look {
        Look {
            len,
            hits: Vec::new(),
            said: HashMap::new(),
            headers: BTreeMap::new(),
            slots: Vec::new(),
            in_block: 0,
            corrections: len / BYTES_A_CORRECTION + FEW / 16,
        }
    }

    fn over(&mut self, source: &(impl Source + ?Sized)) -> Result<(), Error> {
        let mut bytes = vec![0; STEP + AHEAD];
        let (mut at, mut kept) = (0u64, 0);
        loop {
            let found = read(source, &mut bytes[kept..], at + kept as u64)?;
            let filled = kept + found;
            let is_over = filled < bytes.len();
            let looked = if is_over { filled } else { filled - AHEAD };
            self.at(&bytes[..filled], looked, at);
            if is_over {
                return Ok(());
            }
            bytes.copy_within(looked.., 0);
            (at, kept) = (at + looked as u64, AHEAD);
        }
    }

    /// Looks at what begins in the first `until` of `bytes`, which lie at `offset`.
    fn at(&mut self, bytes: &[u8], until: usize, offset: u64) {
        const FIRST: u64 = u64::from_le_bytes(*b"ttl\0\0\0\0\0");
        const FIRST_BITS: u64 = 0xff_ffff;
        let mut at = 0;
        while let Some(word) = word_at(bytes, at).filter(|_| at < until) {
            if word & FIRST_BITS == FIRST {
                self.magic(word, &bytes[at..], offset + at as u64);
            } else if let Some(id) = SpanId::from_u64(word) {
                if offset + at as u64 >= self.in_block {
                    self.slot(id, &bytes[at..], offset + at as u64);
                }
            } else {
                // None of what is looked for begins with so many zeros.
                let are_zeros = word_at(bytes, at + 8) == Some(0);
                at += if are_zeros { 8 } else { 0 };
            }
            at += 1;
        }
    }

    fn magic(&mut self, magic: u64, bytes: &[u8], offset: u64) {
        if magic == u64::from_le_bytes(MAGIC) {
            if let Ok(header) = Header::decode(bytes)
                && self.headers.len() < RECORDINGS_MAX
            {
                self.headers
                    .entry(header.recording)
                    .or_insert((offset, header));
            }
        } else if are_near(magic, MAGIC_BLOCK[0]) {
            let words = std::array::from_fn(|i| word_at(bytes, 8 * i).unwrap_or(0));
            let header = match block::decode(&words) {
                State::Block(header) => Some(header),
                _ => self.corrected(&words),
            };
            if let Some(header) = header {
                self.block(&header, offset);
            }
        }
    }

    fn corrected(&mut self, words: &[u64; HEADER_WORDS]) -> Option<Box<block::Header>> {
        // What is all but zeros or noise is not worth it.
        let is_like_one = words[word::RECORDING] != 0 && words[word::SEQUENCE] != 0;
        if !is_like_one || self.corrections == 0 {
            return None;
        }
        self.corrections -= 1;
        corrected(words)
    }

    fn block(&mut self, header: &block::Header, offset: u64) {
        if self.hits.len() as u64 >= self.len / BYTES_A_BLOCK + FEW {
            return;
        }
        let is_new = !self.said.contains_key(&header.recording);
        if is_new && self.said.len() == RECORDINGS_MAX {
            return;
        }
        self.in_block = offset + BLOCK_BYTES as u64;
        self.hits.push(Hit {
            recording: header.recording,
            index: header.index,
            sequence: header.sequence,
            offset,
        });
        let said = self.said.entry(header.recording).or_default();
        let clocks = header.clocks;
        if said.last == Sample::default() {
            (said.first, said.last) = (clocks, clocks);
        }
        if clocks.monotonic_ns < said.first.monotonic_ns {
            said.first = clocks;
        }
        if clocks.monotonic_ns > said.last.monotonic_ns {
            said.last = clocks;
        }
        said.about = About::of(header).or(said.about);
    }

    /// Notes what looks like a slot: a span's id, and an opening that names it.
    fn slot(&mut self, id: SpanId, bytes: &[u8], offset: u64) {
        const NAMED: usize = (SLOT_HEADER_WORDS + 3) * 8;
        if word_at(bytes, NAMED) != Some(id.to_u64()) || self.slots.len() == SLOTS_MAX {
            return;
        }
        let opening = word_at(bytes, SLOT_HEADER_WORDS * 8).unwrap_or(0);
        let fits = (6..=SLOT_WORDS - SLOT_HEADER_WORDS).contains(&record::words(opening));
        let is_opening = record::kind(opening) == Some(Kind::SpanOpen) && fits;
        let is_open = is_opening && id.slot().is_some() && id.generation() != 0;
        let is_apart = self
            .slots
            .last()
            .is_none_or(|last| last.0 + SLOT_BYTES as u64 <= offset);
        if is_open && is_apart {
            self.slots.push((offset, id));
        }
    }

    /// What was found, by recording.
    fn gathered(mut self, source: &(impl Source + ?Sized)) -> Result<Vec<Found>, Error> {
        self.hits.sort_unstable_by_key(|hit| {
            (hit.recording, hit.index, Reverse(hit.sequence), hit.offset)
        });
        let mut offsets: Vec<u64> = self.hits.iter().map(|hit| hit.offset).collect();
        offsets.sort_unstable();
        let mut beside = Beside {
            taken: &offsets,
            len: self.len,
            tries: TRIES_A_PLACE * (self.len / BLOCK_BYTES as u64 + FEW),
            left: self.len / BLOCK_BYTES as u64 + FEW,
        };
        let mut found = Vec::new();
        for hits in self.hits.chunk_by(|a, b| a.recording == b.recording) {
            let id = hits[0].recording;
            let said = self.said.get(&id);
            let header = self.headers.remove(&id);
            found.extend(one(hits, said, header, &mut beside));
        }
        for found in &mut found {
            found.find_head(source)?;
        }
        self.assign_slots(source, &mut found)?;
        found.sort_by_key(|found| (Reverse(found.newest_ns), found.at));
        Ok(found)
    }

    /// Gives each slot to the recording whose key its opening passes under.
    fn assign_slots(
        &self,
        source: &(impl Source + ?Sized),
        found: &mut [Found],
    ) -> Result<(), Error> {
        let mut by_base: HashMap<i64, usize> = HashMap::new();
        for (at, found) in found.iter().enumerate() {
            found.base.into_iter().for_each(|base| {
                by_base.entry(base).or_insert(at);
            });
        }
        for &(offset, id) in &self.slots {
            let number = id.slot().unwrap_or(0);
            let base = (offset as i64).wrapping_sub(Layout::default().slot_offset(number) as i64);
            let where_it_belongs = by_base.get(&base).copied();
            let many = found.len() > RECORDINGS_TRIED;
            let others = (0..found.len()).filter(|_| !many);
            let mut bytes = [0; SLOT_BYTES];
            if where_it_belongs.is_none() && many {
                continue;
            }
            read(source, &mut bytes, offset)?;
            let words: Vec<u64> = bytes
                .as_chunks()
                .0
                .iter()
                .map(|it| u64::from_le_bytes(*it))
                .collect();
            let owner = where_it_belongs.into_iter().chain(others).find(|&at| {
                let found = &found[at];
                let is_aligned = |&(_, place): &(u32, i64)| {
                    (base.wrapping_sub(place)).rem_euclid(BLOCK_BYTES as i64) == 0
                };
                let mut records = span::records(&words, found.header.recording, id);
                found.places.first().is_some_and(is_aligned)
                    && records
                        .next()
                        .is_some_and(|it| it.position == SLOT_HEADER_WORDS)
            });
            if let Some(at) = owner {
                found[at].slots.push((number, offset));
            }
        }
        for found in found {
            let base = found.base;
            let is_there = |&(slot, offset): &(u32, u64)| {
                let there = Layout::default().slot_offset(slot) as i64;
                base.is_some_and(|base| base.wrapping_add(there) == offset as i64)
            };
            // Of two that are for one number, the one that lies where it should.
            found
                .slots
                .sort_by_key(|slot| (slot.0, !is_there(slot), Reverse(slot.1)));
            found.slots.dedup_by_key(|slot| slot.0);
        }
        Ok(())
    }
}

/// The word that begins at a byte.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word))
}

/// What is known of the places at which no block was found.
struct Beside<'h> {
    /// Where blocks were found.
    taken: &'h [u64],
    len: u64,
    /// How many more places may be looked for, and found.
    tries: u64,
    left: u64,
}

impl Beside<'_> {
    /// Where the place lies that is the `index`th of a pool that begins at `start`, if
    /// something of it is there, and no block that was found.
    fn place(&mut self, start: i64, index: u32) -> Option<(u32, i64)> {
        self.tries = self.tries.checked_sub(1)?;
        let bytes = BLOCK_BYTES as i64;
        let at = start.checked_add(i64::from(index) * bytes)?;
        let (first, end) = (at.max(0) as u64, at.checked_add(bytes)?);
        let end = u64::try_from(end)
            .ok()
            .filter(|&end| end > 0)?
            .min(self.len);
        let next = self
            .taken
            .partition_point(|&taken| taken + (bytes as u64) <= first);
        let is_free = self.taken.get(next).is_none_or(|&taken| taken >= end);
        if first >= end || !is_free || self.left == 0 {
            return None;
        }
        self.left -= 1;
        Some((index, at))
    }
}

/// Where the pool begins in which a block lies as the `index`th.
fn pool_start((index, offset): (u32, i64)) -> i64 {
    offset.wrapping_sub(i64::from(index) * BLOCK_BYTES as i64)
}

/// The recording of these blocks, which are in the order of their places.
fn one(
    hits: &[Hit],
    said: Option<&Said>,
    header: Option<(u64, Header)>,
    beside: &mut Beside<'_>,
) -> Option<Found> {
    let said = said?;
    let known = header.as_ref().map(|(_, header)| header.layout.blocks);
    let mut newest: Vec<&Hit> = hits.iter().collect();
    newest.dedup_by_key(|hit| hit.index);
    newest.retain(|hit| known.is_none_or(|blocks| hit.index < blocks));
    let last = newest.last()?.index;
    let first = newest.iter().map(|hit| hit.offset).min()?;
    let places: Vec<(u32, i64)> = newest
        .iter()
        .map(|hit| (hit.index, hit.offset as i64))
        .collect();
    let header_at = header.as_ref().map(|(at, _)| *at);
    let about = said.about.map(|about| about.layout.blocks);
    // Where nothing tells how many blocks there are, more than were found may be.
    let most = known.or(about).unwrap_or(u32::MAX);
    let header = header.map_or_else(|| made_up(hits[0].recording, said, last), |(_, it)| it);
    Some(Found {
        header_at,
        at: first.min(header_at.unwrap_or(first)),
        blocks: places.len() as u32,
        newest_ns: said.last.wall_ns,
        places: with_neighbours(&places, most, beside),
        slots: Vec::new(),
        base: None,
        header,
    })
}

/// The header that blocks tell of, the last of which has this index.
fn made_up(recording: u64, said: &Said, last: u32) -> Header {
    let about = said.about.unwrap_or_default();
    let is_monotonic = |sample: Sample| sample.ticks.abs_diff(sample.monotonic_ns) < 1_000_000;
    Header {
        recording,
        layout: Layout {
            blocks: about.layout.blocks.max(last.saturating_add(1)),
            span_slots: about.layout.span_slots.min(span::SLOTS_MAX as u32),
        },
        pid: about.pid,
        name: text(&about.name),
        clock: match is_monotonic(said.first) && is_monotonic(said.last) {
            true => clock::Source::Monotonic,
            false => clock::Source::Tsc,
        },
        samples: [said.first, said.last],
        ..Header::default()
    }
}

/// The places of blocks, and between and beside them those that may be damaged ones.
fn with_neighbours(places: &[(u32, i64)], blocks: u32, beside: &mut Beside<'_>) -> Vec<(u32, i64)> {
    let mut all = Vec::with_capacity(places.len());
    for run in places.chunk_by(|&a, &b| pool_start(a) == pool_start(b)) {
        let start = pool_start(run[0]);
        let (first, last) = (run[0].0, run[run.len() - 1].0);
        let many = (last - first).clamp(*PLACES_BESIDE.start(), *PLACES_BESIDE.end());
        let before = first.saturating_sub(many)..first;
        let behind = last.saturating_add(1)..last.saturating_add(1 + many).min(blocks);
        all.extend(before.filter_map(|index| beside.place(start, index)));
        for pair in run.windows(2) {
            all.push(pair[0]);
            for index in pair[0].0 + 1..pair[1].0 {
                if beside.tries == 0 {
                    break;
                }
                all.extend(beside.place(start, index));
            }
        }
        all.push(run[run.len() - 1]);
        all.extend(behind.filter_map(|index| beside.place(start, index)));
    }
    // What was found is better than what may be.
    let is_found = |place: &(u32, i64)| places.binary_search(place).is_ok();
    all.sort_by_key(|place| (place.0, !is_found(place)));
    all.dedup_by_key(|place| place.0);
    all
}

impl Found {
    /// Finds out where the whole file's beginning would lie, by what lies behind it.
    fn find_head(&mut self, source: &(impl Source + ?Sized)) -> Result<(), Error> {
        for (at, base) in self.bases().into_iter().enumerate() {
            self.base = Some(base);
            if self.has_totals(source)? || (at < BASES_MAX && self.has_ends(source)?) {
                if self.header.layout.span_slots == 0 {
                    self.header.layout.span_slots = self.slots_behind(base);
                }
                return Ok(());
            }
        }
        self.base = None;
        Ok(())
    }

    fn bases(&self) -> Vec<i64> {
        let layout = self.header.layout;
        let mut counted: HashMap<i64, u32> = HashMap::new();
        for &place in &self.places {
            *counted.entry(pool_start(place)).or_default() += 1;
        }
        let mut starts: Vec<(u32, i64)> =
            counted.into_iter().map(|(it, many)| (many, it)).collect();
        starts.sort_by_key(|&(many, start)| (Reverse(many), start));
        starts.truncate(BASES_MAX);
        let tables = match layout.span_slots {
            0 if self.header_at.is_none() => 0..=TABLES_MAX,
            _ => 0..=0,
        };
        let of_header = self.header_at.into_iter().flat_map(|at| {
            let at = at as i64;
            [at, at.wrapping_sub(layout.copy_offset() as i64)]
        });
        let of_blocks = starts.into_iter().flat_map(|(_, start)| {
            let step = Layout::SPANS_OFFSET as i64;
            let before = start.wrapping_sub(layout.pool_offset() as i64);
            tables
                .clone()
                .map(move |more| before.wrapping_sub(step * i64::from(more)))
        });
        of_header.chain(of_blocks).collect()
    }

    /// Whether totals of this recording lie behind the base.
    fn has_totals(&self, source: &(impl Source + ?Sized)) -> Result<bool, Error> {
        let recording = self.header.recording;
        if let Some(offset) = self.head_offset(TOTALS_OFFSET) {
            let words: [u64; totals::WORDS] = words(source, offset)?;
            let mut which = 0..totals::WORDS;
            // A total has 24 bits of check: one alone may pass by chance.
            let is_total = |which: usize| totals::decode(which, words[which], recording).is_some();
            if which
                .by_ref()
                .filter(|&which| is_total(which))
                .nth(1)
                .is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether causes or incidents do.
    fn has_ends(&self, source: &(impl Source + ?Sized)) -> Result<bool, Error> {
        let recording = self.header.recording;
        for place in 0..CAUSES {
            if let Some(offset) = self.head_offset(cause::offset(place)) {
                let words: [u64; CAUSE_WORDS] = words(source, offset)?;
                if Cause::decode(&words, recording).is_some() {
                    return Ok(true);
                }
            }
        }
        for place in 0..CAUSES {
            if let Some(offset) = self.head_offset(incident::offset(place)) {
                let words: [u64; incident::PAGE_WORDS] = words(source, offset)?;
                if incident::decode(&words, recording, |_| {}).is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// How many span slots there are room for between the head and the pool.
    fn slots_behind(&self, base: i64) -> u32 {
        let start = self.places.first().map_or(0, |&place| pool_start(place));
        let bytes = start
            .wrapping_sub(base)
            .wrapping_sub(Layout::SPANS_OFFSET as i64);
        let most = span::SLOTS_MAX as i64;
        (bytes / SLOT_BYTES as i64).clamp(0, most) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::image::{self, Image, SPAN};
    use super::*;

    #[test]
    fn so_many_headers_are_told_apart_and_no_more() {
        let mut look = Look::new(0);
        let magic = u64::from_le_bytes(MAGIC);
        for recording in 1..=RECORDINGS_MAX as u64 + 1 {
            let header = Header {
                recording,
                ..image::header(1, 0)
            };
            look.magic(magic, &header.encode()[..], recording);
        }
        assert_eq!(look.headers.len(), RECORDINGS_MAX);
        assert!(look.headers.contains_key(&(RECORDINGS_MAX as u64)));
    }

    #[test]
    fn blocks_of_recordings_beyond_so_many_are_none_and_those_of_others_are_found() {
        let mut look = Look::new(1 << 30);
        let most = RECORDINGS_MAX as u64;
        for recording in (1..=most + 1).chain([1, most]) {
            let header = block::Header {
                recording,
                ..block::Header::default()
            };
            look.block(&header, 0);
        }
        let found: Vec<u64> = look.hits.iter().map(|hit| hit.recording).collect();
        assert!(found.into_iter().eq((1..=most).chain([1, most])));
        assert_eq!(look.said.len(), RECORDINGS_MAX);
    }

    #[test]
    fn so_many_slots_are_found_and_no_more() {
        let id = SpanId::in_slot(5, 1);
        let opening = [1, SPAN, id.to_u64(), 0, image::number(0, 1)];
        let slot = Image::slot_words(id, &[(Kind::SpanOpen, &opening)]);
        let slot: Vec<u8> = slot.into_iter().flat_map(u64::to_le_bytes).collect();
        let mut look = Look::new(0);
        look.slots = vec![(0, id); SLOTS_MAX - 1];
        for offset in [1 << 20, 2 << 20] {
            look.slot(id, &slot, offset);
        }
        assert_eq!(look.slots.len(), SLOTS_MAX);
        assert_eq!(look.slots.last(), Some(&(1 << 20, id)));
    }

    #[test]
    fn where_no_more_places_may_be_looked_for_the_blocks_that_were_found_are_there() {
        // Between these there are more than anybody may look for.
        let last = u32::MAX - 1;
        let block = |index: u32| (index, i64::from(index) * BLOCK_BYTES as i64);
        let mut beside = Beside {
            taken: &[0, block(last).1 as u64],
            len: 1 << 50,
            tries: 5,
            left: 1 << 30,
        };
        let found = with_neighbours(&[block(0), block(last)], u32::MAX, &mut beside);
        let expected: Vec<_> = (0..=5).chain([last]).map(block).collect();
        assert_eq!(found, expected);
    }
}
