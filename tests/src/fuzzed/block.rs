//! A block: its header, its guarded words, its records, and what they tell in a recording
//! that has nothing else but its call sites.

use std::io;
use std::sync::OnceLock;

use ttlog_format::block::{
    self, Commit, HEADER_BYTES, HEADER_WORDS, Kind, Next, OWNER_WORD, RECORDS_END_BYTES, State,
    word,
};
use ttlog_format::check::Key;
use ttlog_format::header::Layout;
use ttlog_format::record::{self, Raw, Walk};
use ttlog_format::salvage::{Source, salvage};
use ttlog_format::{BLOCK_BYTES, BLOCK_WORDS};

use super::told_in_full;
use crate::made::{Made, RECORDING, block_header, bytes_of, seal_block, sites, words_of};

/// Bits of the first byte: whether checks are renewed, which pair of totals counts, and
/// whether it stays to be said whose block it is.
const SEALED: u8 = 1;
const PAIR: u8 = 2;
const AS_IT_IS: u8 = 4;

/// The place of the block in its recording, and of its call sites.
const PLACE: u32 = 1;
const SITES: u32 = 0;

/// Bytes of a block, of which those that are missing are zeros.
pub fn block(bytes: &[u8]) {
    block_by(bytes, block::committed);
}

/// The same, with what is committed told by `committed`.
pub fn block_by(bytes: &[u8], committed: impl Fn(&[u64], Key) -> Option<Commit>) {
    let (&flags, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let mut words = [0; BLOCK_WORDS];
    let given = words_of(&bytes[..bytes.len().min(BLOCK_BYTES)]);
    words
        .iter_mut()
        .zip(given)
        .for_each(|(word, it)| *word = it);
    if flags & SEALED != 0 {
        words[word::MAGIC] = block::MAGIC_BLOCK[usize::from(flags & PAIR != 0)];
        if flags & AS_IT_IS == 0 {
            words[word::RECORDING] = RECORDING;
            let kind = words[word::INDEX] & !0xffff_ffff;
            words[word::INDEX] = kind | u64::from(PLACE);
        }
        seal_block(&mut words);
    }
    let told = decoded(&words, committed);
    in_a_recording(&words, told);
}

/// What holds of the block alone; of one that can be read, how many events it has.
fn decoded(words: &[u64], committed: impl Fn(&[u64], Key) -> Option<Commit>) -> Option<u64> {
    let State::Block(header) = block::decode(words) else {
        return None;
    };
    let key = header.key();
    let dropped = block::dropped(words, key);
    let again = header.encode(dropped.unwrap_or(0));
    assert_eq!(block::decode(&again), State::Block(header.clone()));
    assert_eq!(again[word::CHECK], words[word::CHECK]);
    if dropped.is_some() {
        assert_eq!(again[word::DROPPED], words[word::DROPPED]);
    }
    if let Some(next) = block::next(words, key) {
        assert_eq!(key.guard(word::NEXT, next.encode()), words[word::NEXT]);
        assert!(next != Next::At(u32::MAX));
    }
    let commit = committed(words, key);
    let end = commit.map_or(OWNER_WORD, |commit| commit.bytes / 8);
    if let Some(commit) = commit {
        assert!((HEADER_BYTES..=RECORDS_END_BYTES).contains(&commit.bytes));
        let again = key.guard(word::COMMIT, block::commit(commit.bytes, commit.events));
        assert_eq!(again, words[word::COMMIT]);
    }
    let events = walked(words, key, end);
    let is_told = header.kind == Kind::Records
        && header.recording == RECORDING
        && header.index == PLACE
        && header.sequence != block_header(SITES, 1, 0).sequence;
    is_told.then_some(events)
}

/// What holds of a block's records; returns how many are events.
fn walked(words: &[u64], key: Key, end: usize) -> u64 {
    let mut walk = Walk::new(words, key, HEADER_WORDS, end);
    let (mut at, mut gaps, mut events) = (HEADER_WORDS, false, 0);
    for found in walk.by_ref() {
        assert!(found.position >= at && found.end() <= end);
        gaps |= found.position > at;
        at = found.end();
        is_sealed(words, found, key);
        events += u64::from(found.kind.is_event());
    }
    assert_eq!(walk.damaged(), gaps || at < end);
    events
}

/// A record that passes its check has the check that its words get.
pub(super) fn is_sealed(area: &[u64], found: Raw<'_>, key: Key) {
    let mut again = area[found.position..found.end()].to_vec();
    let header = again[0];
    record::seal_in_place(&mut again, found.position, key);
    assert_eq!(again[0], header);
    assert_eq!(record::words(header), again.len());
    assert_eq!(record::kind(header), Some(found.kind));
}

/// The block at its place in a recording: all of its events are told, or it is damaged.
fn in_a_recording(words: &[u64], events: Option<u64>) {
    let bytes = bytes_of(words);
    let source = Around::of(&bytes);
    let recording = salvage(&source).expect("a recording");
    told_in_full(&recording, &recording.entries);
    if let Some(events) = events {
        assert_eq!(recording.ledger.counts.readable, events);
    }
}

/// A recording of which all but a block is always the same.
struct Around<'b> {
    made: &'static Made,
    block: &'b [u8],
    at: u64,
}

impl<'b> Around<'b> {
    fn of(block: &'b [u8]) -> Around<'b> {
        static MADE: OnceLock<Made> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let mut made = Made::new(2, 0);
            made.put_block(&block_header(SITES, 1, 0), &sites());
            made
        });
        let layout: Layout = made.header.layout;
        let at = layout.block_offset(PLACE);
        Around { made, block, at }
    }
}

impl Source for Around<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let found = self.made.bytes.read_at(buffer, offset)?;
        let end = offset + found as u64;
        let (from, to) = (self.at.max(offset), (self.at + BLOCK_BYTES as u64).min(end));
        if from < to {
            let of_block = (from - self.at) as usize..(to - self.at) as usize;
            let of_buffer = (from - offset) as usize..(to - offset) as usize;
            buffer[of_buffer].copy_from_slice(&self.block[of_block]);
        }
        Ok(found)
    }

    fn len(&self) -> io::Result<u64> {
        Source::len(&self.made.bytes)
    }
}
