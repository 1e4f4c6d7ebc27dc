//! Recordings made in memory, for tests: what a recorder would have left.
//!
//! Ticks are nanoseconds here, and the wall clock shows [`EPOCH_NS`] at tick 0.

use std::collections::HashMap;

use super::{Recording, salvage};
use crate::RECORD_MAX_WORDS;
use crate::block::{
    self, HEADER_BYTES, HEADER_WORDS, Kind, OWNER_WORD, RECORDS_END_BYTES, Retired, State, word,
};
use crate::check::Key;
use crate::clock::{Sample, Source};
use crate::header::{Header, Layout, TOTALS_OFFSET, totals};
use crate::record;
use crate::site::{self, Level, Parts};
use crate::span::{self, SLOT_HEADER_WORDS, SLOT_WORDS, SpanId};
use crate::value;

pub(crate) const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// The call site of events, with the fields `n` and `text`.
pub(crate) const EVENT: u64 = 0xe000;

/// The call site of spans, with the field `id`.
pub(crate) const SPAN: u64 = 0x5000;

const RECORDING: u64 = 0x1234_5678_9abc_def1;

/// All clocks at `ticks`.
pub(crate) fn sample(ticks: u64) -> Sample {
    let (monotonic_ns, boottime_ns) = (ticks + 500, ticks + 900);
    Sample {
        ticks,
        monotonic_ns,
        boottime_ns,
        wall_ns: EPOCH_NS + ticks,
    }
}

pub(crate) fn header(blocks: u32, span_slots: u32) -> Header {
    Header {
        recording: RECORDING,
        layout: Layout { span_slots, blocks },
        pid: 7,
        uid: 0,
        start_time: 1,
        boot_id: String::new(),
        executable: "/bin/victim".into(),
        build_id: String::new(),
        host: "host".into(),
        name: "victim".into(),
        clock: Source::Tsc,
        samples: [sample(0), sample(1000)],
        window_ns: 5_000_000_000,
        asked_bytes: 0,
        filter: "debug".into(),
        ..Header::default()
    }
}

fn about(layout: Layout) -> block::About {
    let mut name = [0; 32];
    name[..6].copy_from_slice(b"victim");
    block::About {
        pid: 7,
        name,
        layout,
    }
}

/// The last block of a thread, as its writer knows it.
#[derive(Clone, Copy)]
struct Newest {
    index: u32,
    sequence: u64,
    key: Key,
    bytes: usize,
    events: u32,
    before: u64,
    dropped: u32,
}

/// A recording that is being made.
#[derive(Clone)]
pub(crate) struct Image {
    header: Header,
    pub(crate) bytes: Vec<u8>,
    sequence: u64,
    used: u64,
    newest: HashMap<u32, Newest>,
}

impl Image {
    pub(crate) fn new(blocks: u32, span_slots: u32) -> Image {
        Image::of(RECORDING, blocks, span_slots)
    }

    /// Of a recording with this identity.
    pub(crate) fn of(recording: u64, blocks: u32, span_slots: u32) -> Image {
        let header = Header {
            recording,
            ..header(blocks, span_slots)
        };
        let mut bytes = vec![0; header.layout.file_bytes() as usize];
        let copy = header.layout.copy_offset() as usize;
        let beginning = header.beginning();
        bytes[..beginning.len()].copy_from_slice(&beginning[..]);
        bytes[copy..].copy_from_slice(&header.encode()[..]);
        Image {
            header,
            bytes,
            sequence: 0,
            used: 0,
            newest: HashMap::new(),
        }
    }

    pub(crate) fn salvage(&self) -> Recording {
        salvage(&self.bytes).unwrap()
    }

    pub(crate) fn recording(&self) -> u64 {
        self.header.recording
    }

    pub(crate) fn layout(&self) -> Layout {
        self.header.layout
    }

    pub(crate) fn put(&mut self, offset: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }

    pub(crate) fn word(&self, offset: u64) -> u64 {
        u64::from_le_bytes(self.bytes[offset as usize..][..8].try_into().unwrap())
    }

    pub(crate) fn block_offset(&self, index: u32) -> u64 {
        self.layout().block_offset(index)
    }

    /// Flips a bit of a word of a block.
    pub(crate) fn flip(&mut self, index: u32, word: usize) {
        let offset = self.block_offset(index) as usize + word * 8;
        self.bytes[offset] ^= 1;
    }

    /// A call site block with [`EVENT`] and [`SPAN`], at place `index`.
    pub(crate) fn call_sites(&mut self, index: u32) {
        self.begin(index, Kind::CallSites, 0, 0, Retired::default());
        self.site(0, EVENT, 0, "event", &["n", "text"]);
        self.site(0, SPAN, site::SPAN, "span", &["id"]);
    }

    fn site(&mut self, thread: u32, address: u64, flags: u8, name: &str, fields: &[&str]) {
        let mut words = [0; RECORD_MAX_WORDS];
        let (level, fields) = (Level::Info, fields.iter().copied());
        let (target, file) = ("target", "file.rs");
        let parts = Parts {
            address,
            level,
            flags,
            name,
            target,
            file,
            line: 3,
            fields,
        };
        let len = site::encode(parts, 1, &mut words);
        self.append(thread, record::Kind::CallSite, &words[1..len]);
    }

    /// The thread takes the block at place `index`, whatever was there.
    pub(crate) fn take(&mut self, index: u32, thread: u32, ticks: u64) {
        self.begin(index, Kind::Records, thread, ticks, Retired::default());
    }

    /// The thread takes the last block of `gone`, a thread that is no more.
    pub(crate) fn take_last_of(&mut self, gone: u32, thread: u32, ticks: u64) {
        let old = self.newest.remove(&gone).unwrap();
        let events = old.before + u64::from(old.events);
        let retired = Retired {
            events,
            dropped: old.dropped.into(),
        };
        self.begin(old.index, Kind::Records, thread, ticks, retired);
    }

    fn begin(&mut self, index: u32, kind: Kind, thread: u32, ticks: u64, retired: Retired) {
        self.sequence += 1;
        let old = self.newest.get(&thread).copied();
        let mut thread_name = [0; 32];
        thread_name[..6].copy_from_slice(b"worker");
        let header = block::Header {
            recording: self.header.recording,
            sequence: self.sequence,
            index,
            kind,
            thread,
            thread_id: thread + 1000,
            thread_name,
            events_before: old.map_or(0, |old| old.before + u64::from(old.events)),
            previous_sequence: old.map_or(0, |old| old.sequence),
            previous_index: old.map_or(0, |old| old.index),
            previous_events: old.map_or(0, |old| old.events),
            clocks: sample(ticks),
            retired,
            pair: usize::from(retired != Retired::default()),
        };
        let dropped = old.map_or(0, |old| old.dropped);
        let (before, sequence) = (header.events_before, header.sequence);
        let header = match kind {
            Kind::CallSites => block::About::write(&about(self.layout()), header),
            Kind::Records => header,
        };
        let newest = Newest {
            index,
            sequence,
            key: header.key(),
            bytes: HEADER_BYTES,
            events: 0,
            before,
            dropped,
        };
        self.newest.insert(thread, newest);
        let offset = self.block_offset(index);
        let was_free = self.word(offset) == 0;
        self.put(offset, &header.encode(dropped));
        self.put(offset + OWNER_WORD as u64 * 8, &header.encode_owner());
        self.used += u64::from(was_free);
        self.total(totals::PLACES_USED, self.used);
        if let Some(old) = old.filter(|old| kind == Kind::Records && old.index != index) {
            let next = block::Next::At(index).encode();
            let offset = self.block_offset(old.index) + 8 * word::NEXT as u64;
            self.put(offset, &[old.key.guard(word::NEXT, next)]);
        }
    }

    /// Has a block say that it was begun when clocks showed this.
    pub(crate) fn begun(&mut self, index: u32, clocks: Sample) {
        self.say(index, |header| header.clocks = clocks);
    }

    /// Has the header of a block say something else.
    pub(crate) fn say(&mut self, index: u32, change: impl FnOnce(&mut block::Header)) {
        let offset = self.block_offset(index);
        let was: [u64; HEADER_WORDS] = std::array::from_fn(|i| self.word(offset + 8 * i as u64));
        let State::Block(mut header) = block::decode(&was) else {
            panic!("a block");
        };
        change(&mut header);
        let mut words = header.encode(0);
        for own in [word::COMMIT, word::DROPPED, word::NEXT] {
            words[own] = was[own];
        }
        self.put(offset, &words);
    }

    /// Appends and commits a record; `body` begins with its ticks.
    pub(crate) fn append(&mut self, thread: u32, kind: record::Kind, body: &[u64]) {
        let mut newest = self.newest[&thread];
        let key = newest.key;
        let words = sealed(kind, body, newest.bytes / 8, key);
        assert!(
            newest.bytes + words.len() * 8 <= RECORDS_END_BYTES,
            "the block is full"
        );
        let offset = self.block_offset(newest.index);
        self.put(offset + newest.bytes as u64, &words);
        newest.bytes += words.len() * 8;
        newest.events += u32::from(kind.is_event());
        let commit = block::commit(newest.bytes, newest.events);
        let commit = key.guard(word::COMMIT, commit);
        self.put(offset + 8 * word::COMMIT as u64, &[commit]);
        self.newest.insert(thread, newest);
    }

    /// Has the thread's newest record say that more happened so many ticks later.
    pub(crate) fn and_later(&mut self, thread: u32, ticks: u32) {
        let newest = self.newest[&thread];
        let key = newest.key;
        let last = newest.bytes - 8;
        let offset = self.block_offset(newest.index) + last as u64;
        self.put(offset, &[key.guard(last / 8, ticks)]);
    }

    /// Words for which the thread's block has room.
    pub(crate) fn room(&self, thread: u32) -> usize {
        (RECORDS_END_BYTES - self.newest[&thread].bytes) / 8
    }

    /// An event of [`EVENT`] in the thread's current span, with the number `n`.
    pub(crate) fn event(&mut self, thread: u32, ticks: u64, n: u32) {
        self.append(thread, record::Kind::Event, &[ticks, EVENT, number(0, n)]);
    }

    /// The thread could not record so many events.
    pub(crate) fn drop_events(&mut self, thread: u32, dropped: u32) {
        let newest = self.newest.get_mut(&thread).unwrap();
        newest.dropped += dropped;
        let (index, dropped) = (newest.index, newest.dropped);
        let guarded = newest.key.guard(word::DROPPED, dropped);
        let offset = self.block_offset(index) + 8 * word::DROPPED as u64;
        self.put(offset, &[guarded]);
    }

    /// The words of a slot in which `id` lives; every record's body begins with its ticks.
    pub(crate) fn slot_words(id: SpanId, records: &[(record::Kind, &[u64])]) -> Vec<u64> {
        let key = Key::of_span(RECORDING, id.to_u64());
        let mut words = vec![id.to_u64(), 0, 0, 0];
        for (kind, body) in records {
            words.extend(sealed(*kind, body, words.len(), key));
        }
        assert!(words.len() <= SLOT_WORDS, "the slot is full");
        let committed = (words.len() - SLOT_HEADER_WORDS) as u32;
        words[span::word::COMMITTED] = key.guard(span::word::COMMITTED, committed);
        words
    }

    /// Puts a span into its slot.
    pub(crate) fn slot(&mut self, id: SpanId, records: &[(record::Kind, &[u64])]) {
        let offset = self.layout().slot_offset(id.slot().unwrap());
        self.put(offset, &Image::slot_words(id, records));
    }

    pub(crate) fn total(&mut self, word: usize, count: u64) {
        let tally = totals::encode(word, count, self.header.recording);
        self.put(TOTALS_OFFSET + 8 * word as u64, &[tally]);
    }

    /// Words from the beginning of the block at `index` that are in use.
    pub(crate) fn used_words(&self, index: u32) -> usize {
        let newest = self.newest.values().find(|newest| newest.index == index);
        newest.map_or(HEADER_WORDS, |newest| newest.bytes / 8)
    }
}

fn sealed(kind: record::Kind, body: &[u64], position: usize, key: Key) -> Vec<u64> {
    let len = 1 + body.len() + usize::from(kind.has_later_word());
    let mut words = vec![record::header(kind, len)];
    words.extend(body);
    words.resize(len, 0);
    record::seal_in_place(&mut words, position, key);
    words
}

/// A number as the value of a field.
pub(crate) fn number(field: u8, n: u32) -> u64 {
    value::head(field, value::Kind::U32, n)
}

/// A text of which `stored` was kept, as the value of a field.
pub(crate) fn text(field: u8, stored: &str, whole: u32) -> Vec<u64> {
    let mut words = vec![value::text_head(
        field,
        value::Kind::Str,
        stored.len() as u16,
        whole,
    )];
    for chunk in stored.as_bytes().chunks(8) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        words.push(u64::from_le_bytes(padded));
    }
    words
}
