//! A recording as it would lie in a whole file: header, totals, causes, incidents, span
//! slots, and the places of the pool, wherever their bytes really are.
//!
//! Nearly always that is a file, and they are where its header says. What was
//! [`Found`] by its blocks may have its pieces anywhere. And a block whose header was
//! damaged and made out again has the words here that belong there: nobody who reads
//! needs to know.
//!
//! Every read has a fixed size and says how many bytes it found: what the file
//! lacks is zeros to those who decode, and never an error.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use zerocopy::IntoBytes;

use super::find::Found;
use super::{Error, Source};
use crate::block::HEADER_WORDS;
use crate::cause::{self, CAUSE_WORDS, CAUSES, Cause};
use crate::clock::Sample;
use crate::header::{
    Fault, HEADER_BYTES, Header, INCIDENTS, Layout, MAGIC, TOTALS_OFFSET, newest, totals,
};
use crate::incident::{self, Incident, PAGE_WORDS};
use crate::span::SLOT_BYTES;
use crate::{BLOCK_BYTES, BLOCK_WORDS};

/// A source in which a recording was found.
pub(super) struct File<'a, S: ?Sized> {
    source: &'a S,
    /// The header, its copy, or what is known without either.
    pub(super) header: Header,
    /// How many bytes there are.
    len: u64,
    /// Where its pieces lie, if not where the header says.
    found: Option<Cow<'a, Found>>,
    /// By place, headers of blocks that were damaged.
    mended: HashMap<u32, Mended>,
}

/// The header of a block as it was found, and as it must have been.
#[derive(Clone)]
pub(super) struct Mended {
    pub(super) was: [u64; HEADER_WORDS],
    pub(super) is: [u64; HEADER_WORDS],
}

impl Mended {
    /// Puts those words right that are as they were found: whoever takes the block anew
    /// writes others.
    pub(super) fn mend(&self, words: &mut [u64]) {
        for (word, (was, is)) in words.iter_mut().zip(self.was.iter().zip(&self.is)) {
            if word == was {
                *word = *is;
            }
        }
    }
}

impl<'a, S: Source + ?Sized> File<'a, S> {
    /// The recording that `source` begins with, by its header, or by the copy at its end
    /// where the first is damaged; the newest that is to be found in it by its blocks where
    /// it has neither.
    pub(super) fn open(source: &'a S) -> Result<Self, Error> {
        let fault = match File::by_header(source)? {
            Ok(file) => return Ok(file),
            Err(fault) => fault,
        };
        let newest = Found::all(source)?.into_iter().next();
        newest
            .map(|found| File::of_found(source, Cow::Owned(found)))
            .ok_or(fault)?
    }

    /// The same by its header alone; why it has none, if so.
    pub(super) fn by_header(source: &'a S) -> Result<Result<Self, Error>, Error> {
        let len = source.len().map_err(Error::Read)?;
        let mut first = [0; HEADER_BYTES];
        let found = read(source, &mut first, 0)?;
        let first = &first[..found];
        let header = match Header::decode(first) {
            Ok(header) => header,
            // Two of whatever knows more are no damage, and nothing is looked for behind them.
            Err(fault @ Fault::Version { .. })
                if fault_of_copy(source, len)? == Some(fault.clone()) =>
            {
                return Err(error(fault, first));
            }
            // A flipped bit can look like a newer version: the copy knows better.
            Err(fault) => match copy(source, len, first)? {
                Some(header) => header,
                None => return Ok(Err(error(fault, first))),
            },
        };
        Ok(Ok(File {
            source,
            header,
            len,
            found: None,
            mended: HashMap::new(),
        }))
    }

    /// The recording that was found in `source`.
    pub(super) fn of_found(source: &'a S, found: Cow<'a, Found>) -> Result<Self, Error> {
        Ok(File {
            source,
            header: found.header.clone(),
            len: source.len().map_err(Error::Read)?,
            found: Some(found),
            mended: HashMap::new(),
        })
    }

    /// How many places of the pool there are bytes for.
    pub(super) fn places(&self) -> u32 {
        let layout = self.header.layout;
        let bytes = self.len.saturating_sub(layout.pool_offset());
        let there = bytes.div_ceil(BLOCK_BYTES as u64);
        match &self.found {
            Some(found) => found.places.len() as u32,
            None => there.min(u64::from(layout.blocks)) as u32,
        }
    }

    /// How many there are none for.
    pub(super) fn missing_places(&self) -> u64 {
        u64::from(self.header.layout.blocks.saturating_sub(self.places()))
    }

    /// The first place from `place` on that does not lie in a hole of the file.
    pub(super) fn held_from(&self, place: u32) -> Result<Option<u32>, Error> {
        if self.found.is_some() {
            return Ok(Some(place));
        }
        let layout = self.header.layout;
        let held = self.data_from(layout.block_offset(place))?;
        let index = |held: u64| held.saturating_sub(layout.pool_offset()) / BLOCK_BYTES as u64;
        Ok(held.map(|held| u32::try_from(index(held)).unwrap_or(u32::MAX).max(place)))
    }

    /// Where from `offset` on something lies that is no hole of the file.
    fn data_from(&self, offset: u64) -> Result<Option<u64>, Error> {
        self.source.data_from(offset).map_err(Error::Read)
    }

    /// Whether it was found by its blocks: nobody can say then whether a place at which
    /// none was found was in use.
    pub(super) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// The index by which blocks name a place.
    pub(super) fn index(&self, place: u32) -> u32 {
        let found = self.found.as_deref();
        let found = found.map(|found| found.places.get(place as usize));
        found.map_or(place, |found| found.map_or(u32::MAX, |&(index, _)| index))
    }

    /// The place with this index; one that is not there where there are no bytes for it.
    pub(super) fn place(&self, index: u32) -> u32 {
        let Some(found) = &self.found else {
            return index;
        };
        let place = found
            .places
            .binary_search_by_key(&index, |&(index, _)| index);
        place.map_or(u32::MAX, |place| place as u32)
    }

    /// Where the bytes of a place begin.
    ///
    /// Where the file's beginning is cut off, that may be before it.
    fn place_offset(&self, place: u32) -> Option<i64> {
        match &self.found {
            Some(found) => found.places.get(place as usize).map(|it| it.1),
            None => i64::try_from(self.header.layout.block_offset(place)).ok(),
        }
    }

    /// Fills `words` from the beginning of a place on, with zeros for what is missing, and
    /// tells how many bytes there are up to where the file ends.
    fn read_from(&self, words: &mut [u64], place: u32) -> Result<usize, Error> {
        let bytes = words.as_mut_bytes();
        let Some(offset) = self.place_offset(place) else {
            bytes.fill(0);
            return Ok(0);
        };
        let cut = offset.min(0).unsigned_abs().min(bytes.len() as u64) as usize;
        bytes[..cut].fill(0);
        let found = cut + read(self.source, &mut bytes[cut..], offset.max(0) as u64)?;
        bytes[found..].fill(0);
        for word in words {
            *word = u64::from_le(*word);
        }
        Ok(found)
    }

    /// The words of a place and of those behind it, with zeros for what is missing, and how
    /// many bytes there were.
    pub(super) fn read_places(&self, words: &mut [u64], first: u32) -> Result<usize, Error> {
        if self.found.is_none() {
            return self.read_from(words, first);
        }
        let mut all = 0;
        for (place, words) in (first..).zip(words.chunks_mut(BLOCK_WORDS)) {
            let found = self.read_from(words, place)?;
            all += found;
            if found < BLOCK_BYTES {
                break;
            }
        }
        Ok(all)
    }

    /// The words of a place, as they must have been, and how many bytes there were.
    pub(super) fn read_place(&self, words: &mut [u64], place: u32) -> Result<usize, Error> {
        let found = self.read_from(words, place)?;
        self.mend_words(words, place);
        Ok(found)
    }

    /// The first words of a place, and how many bytes there were.
    pub(super) fn place_header(&self, place: u32) -> Result<([u64; HEADER_WORDS], usize), Error> {
        let mut words = [0; HEADER_WORDS];
        let found = self.read_from(&mut words, place)?;
        self.mend_words(&mut words, place);
        Ok((words, found))
    }

    fn mend_words(&self, words: &mut [u64], place: u32) {
        if !self.mended.is_empty()
            && let Some(mended) = self.mended.get(&place)
        {
            mended.mend(words);
        }
    }

    /// From here on these headers are read as they must have been.
    pub(super) fn mend(&mut self, mended: HashMap<u32, Mended>) {
        self.mended = mended;
    }

    /// The span slots that may be in use, in stretches of `most` at most.
    pub(super) fn slots(&self, most: u32) -> Result<Vec<Range<u32>>, Error> {
        if let Some(found) = &self.found {
            let slots = found.slots.iter();
            return Ok(slots.map(|&(slot, _)| slot..slot + 1).collect());
        }
        let slots = self.header.layout.span_slots;
        let (mut stretches, mut next) = (Vec::new(), 0);
        while let Some(first) = self.held_slot(next)?.filter(|&first| first < slots) {
            next = first.saturating_add(most);
            stretches.push(first..next.min(slots));
        }
        Ok(stretches)
    }

    /// The first slot from `slot` on that does not lie in a hole of the file.
    fn held_slot(&self, slot: u32) -> Result<Option<u32>, Error> {
        let held = self.data_from(self.header.layout.slot_offset(slot))?;
        let index = |held: u64| held.saturating_sub(Layout::SPANS_OFFSET) / SLOT_BYTES as u64;
        Ok(held.map(|held| u32::try_from(index(held)).unwrap_or(u32::MAX).max(slot)))
    }

    /// Fills `buffer` from a slot on, and tells how many bytes there were.
    pub(super) fn read_slots(&self, buffer: &mut [u8], first: u32) -> Result<usize, Error> {
        read(self.source, buffer, self.slot_offset(first))
    }

    /// The first words of a slot, zeros for what is missing.
    pub(super) fn slot<const N: usize>(&self, slot: u32) -> Result<[u64; N], Error> {
        self.words_at(self.slot_offset(slot))
    }

    fn slot_offset(&self, slot: u32) -> u64 {
        let Some(found) = &self.found else {
            return self.header.layout.slot_offset(slot);
        };
        let at = found.slots.binary_search_by_key(&slot, |&(slot, _)| slot);
        at.map_or(self.len, |at| found.slots[at].1)
    }

    /// Where the last of it ends that there are bytes for, as it would lie in a whole file.
    pub(super) fn end(&self) -> u64 {
        let layout = self.header.layout;
        let end = match self.found.as_deref().map(|found| found.places.last()) {
            None => self.len,
            Some(None) => layout.pool_offset(),
            Some(Some(&(last, _))) if last < layout.blocks.saturating_sub(1) => {
                layout.block_offset(last) + BLOCK_BYTES as u64
            }
            Some(Some(_)) => layout.file_bytes(),
        };
        end.min(layout.file_bytes())
    }

    /// The `N` words at `offset` of the whole file's beginning, zeros for what is missing.
    pub(super) fn words<const N: usize>(&self, offset: u64) -> Result<[u64; N], Error> {
        match &self.found {
            None => self.words_at(offset),
            Some(found) => match found.head_offset(offset) {
                Some(offset) => self.words_at(offset),
                None => Ok([0; N]),
            },
        }
    }

    fn words_at<const N: usize>(&self, offset: u64) -> Result<[u64; N], Error> {
        words(self.source, offset)
    }

    /// The totals, `None` for those that are damaged or behind the file's end.
    pub(super) fn totals(&self) -> Result<[Option<u64>; totals::WORDS], Error> {
        let words = self.words::<{ totals::WORDS }>(TOTALS_OFFSET)?;
        let total = |which| totals::decode(which, words[which], self.header.recording);
        Ok(std::array::from_fn(total))
    }

    /// The newest clock samples.
    pub(super) fn samples(&self) -> Result<Vec<Sample>, Error> {
        let mut samples = Vec::new();
        for place in 0..newest::PLACES {
            let offset = newest::OFFSET + (place * newest::WORDS * 8) as u64;
            let words = self.words::<{ newest::WORDS }>(offset)?;
            samples.extend(newest::decode(&words, self.header.recording, place));
        }
        Ok(samples)
    }

    /// The causes, in the order of their numbers, and how many places are damaged that
    /// may have held one: behind one that never did there is none.
    pub(super) fn causes(&self) -> Result<(Vec<Cause>, u64), Error> {
        let (mut causes, mut damaged) = (Vec::new(), 0);
        for place in 0..CAUSES {
            match self.cause(place)? {
                cause::Found::None if place < 4 => break,
                cause::Found::None | cause::Found::Begun => {}
                cause::Found::Cause(cause) => causes.push(cause),
                cause::Found::Damaged => damaged += 1,
            }
        }
        causes.sort_by_key(|cause| cause.number);
        Ok((causes, damaged))
    }

    /// What is at a place of causes, read again where it may have been written meanwhile.
    fn cause(&self, place: usize) -> Result<cause::Found, Error> {
        let read = || {
            let words = self.words::<CAUSE_WORDS>(cause::offset(place))?;
            Ok(cause::find(&words, self.header.recording, place))
        };
        match read()? {
            cause::Found::Damaged => read(),
            found => Ok(found),
        }
    }

    /// The incidents, in the order of their numbers; the spans that they describe are
    /// given to `describe`.
    pub(super) fn incidents(
        &self,
        mut describe: impl FnMut(&[u64]),
    ) -> Result<Vec<Incident>, Error> {
        let mut incidents: Vec<Incident> = Vec::new();
        for place in 0..INCIDENTS as usize {
            let page = self.words::<PAGE_WORDS>(incident::offset(place))?;
            let found = incident::decode(&page, self.header.recording, &mut describe);
            incidents.extend(found.filter(|found| incident::place(found.number) == place));
        }
        incidents.sort_by_key(|incident| incident.number);
        Ok(incidents)
    }

    /// Bytes that the file lacks.
    pub(super) fn missing_bytes(&self) -> u64 {
        match self.found {
            None => self.header.layout.file_bytes().saturating_sub(self.len),
            Some(_) => 0,
        }
    }

    /// Whether neither header was to be found.
    pub(super) fn lacks_header(&self) -> bool {
        self.found
            .as_ref()
            .is_some_and(|found| found.header_at.is_none())
    }
}

/// Fills `buffer` from `offset` on, and tells how many bytes there were.
pub(super) fn read(
    source: &(impl Source + ?Sized),
    buffer: &mut [u8],
    offset: u64,
) -> Result<usize, Error> {
    let mut found = 0;
    while found < buffer.len() {
        let Some(offset) = offset.checked_add(found as u64) else {
            break;
        };
        match source.read_at(&mut buffer[found..], offset) {
            Ok(0) => break,
            Ok(bytes) => found = found.saturating_add(bytes).min(buffer.len()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    Ok(found)
}

/// The `N` words at `offset`, zeros for what is missing.
pub(super) fn words<const N: usize>(
    source: &(impl Source + ?Sized),
    offset: u64,
) -> Result<[u64; N], Error> {
    let mut bytes = [[0u8; 8]; N];
    read(source, bytes.as_flattened_mut(), offset)?;
    Ok(bytes.map(u64::from_le_bytes))
}

/// Why the copy at the end is no header that is known, if so.
fn fault_of_copy(source: &(impl Source + ?Sized), len: u64) -> Result<Option<Fault>, Error> {
    let mut bytes = [0; HEADER_BYTES];
    let offset = len.saturating_sub(HEADER_BYTES as u64);
    let found = read(source, &mut bytes, offset)?;
    Ok(Header::decode(&bytes[..found]).err())
}

/// The header by its copy at the end, or by what is left of both.
fn copy(source: &(impl Source + ?Sized), len: u64, first: &[u8]) -> Result<Option<Header>, Error> {
    let Some(offset) = len.checked_sub(HEADER_BYTES as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; HEADER_BYTES];
    let found = read(source, &mut bytes, offset)?;
    let copy = &bytes[..found];
    // Of a file whose beginning is cut off, nothing lies where the copy says.
    let is_whole = |header: &Header| header.layout.file_bytes() == len;
    let header = Header::decode(copy).ok().filter(is_whole);
    Ok(header.or_else(|| {
        [first, copy]
            .into_iter()
            .filter_map(Header::corrected)
            .find(is_whole)
    }))
}

fn error(fault: Fault, first: &[u8]) -> Error {
    match fault {
        Fault::Version { version, features } => Error::Unsupported { version, features },
        Fault::Short | Fault::Magic if !first.starts_with(&MAGIC) => {
            Error::NotARecording(first[..first.len().min(16)].to_vec())
        }
        Fault::Short | Fault::Magic | Fault::Damaged => Error::NoHeader,
    }
}

const _: () = assert!(Layout::SPANS_OFFSET.is_multiple_of(SLOT_BYTES as u64));
