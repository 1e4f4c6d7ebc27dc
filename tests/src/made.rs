//! Recordings made in memory: what a recorder would have left, and what none ever would.
//!
//! Whatever is put into one, [`Made::seal`] renews the checks around it: what is wrong with it lies
//! behind them, where damage never comes to and only somebody who means harm does.
//!
//! Ticks are nanoseconds here, and the wall clock shows [`EPOCH_NS`] at tick 0.

use ttlog_format::block::{
    self, HEADER_BYTES, HEADER_WORDS, Kind, Next, OWNER_WORD, Retired, word,
};
use ttlog_format::cause::{self, CAUSE_WORDS, CAUSES, Cause};
use ttlog_format::check::{CHECK_BITS, Key};
use ttlog_format::clock::{Sample, Source};
use ttlog_format::header::{Header, INCIDENTS, Layout, TOTALS_OFFSET, newest, totals};
use ttlog_format::incident::{self, Incident, PAGE_WORDS, Page};
use ttlog_format::record::{self, Kind as Record, RECORD_MIN_WORDS};
use ttlog_format::site::{self, Level, Parts};
use ttlog_format::span::{self, SLOT_HEADER_WORDS, SLOT_WORDS, SpanId};
use ttlog_format::value;
use ttlog_format::{BLOCK_WORDS, RECORD_MAX_WORDS};

/// The wall clock at tick 0.
pub const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// Identity of all of these recordings.
pub const RECORDING: u64 = 0x1234_5678_9abc_def1;

/// The call site of events, with the fields `n` and `text`.
pub const EVENT: u64 = 0xe000;

/// The call site of spans, with the field `id`.
pub const SPAN: u64 = 0x5000;

/// A recording's bytes.
#[derive(Clone, Debug)]
pub struct Made {
    /// The header, which [`Made::seal`] writes.
    pub header: Header,
    /// All of them.
    pub bytes: Vec<u8>,
}

/// All clocks at `ticks`.
pub fn sample(ticks: u64) -> Sample {
    Sample {
        ticks,
        monotonic_ns: ticks.wrapping_add(500),
        boottime_ns: ticks.wrapping_add(900),
        wall_ns: EPOCH_NS.wrapping_add(ticks),
    }
}

/// The header of a recording of so many blocks and span slots.
pub fn header(blocks: u32, span_slots: u32) -> Header {
    Header {
        recording: RECORDING,
        layout: Layout { span_slots, blocks },
        pid: 7,
        start_time: 1,
        boot_id: "0123456789abcdef0123456789abcdef".into(),
        executable: "/bin/victim".into(),
        host: "host".into(),
        name: "victim".into(),
        clock: Source::Tsc,
        samples: [sample(0), sample(1000)],
        window_ns: 5_000_000_000,
        filter: "debug".into(),
        ..Header::default()
    }
}

/// The header of the block at `index`, the `sequence`th that was taken, by a thread that
/// had none before.
pub fn block_header(index: u32, sequence: u64, thread: u32) -> block::Header {
    let mut thread_name = [0; block::THREAD_NAME_BYTES];
    thread_name[..6].copy_from_slice(b"worker");
    block::Header {
        recording: RECORDING,
        sequence,
        index,
        kind: if thread == 0 {
            Kind::CallSites
        } else {
            Kind::Records
        },
        thread,
        thread_id: thread.wrapping_add(1000),
        thread_name,
        events_before: 0,
        previous_sequence: 0,
        previous_index: 0,
        previous_events: 0,
        clocks: sample(sequence.wrapping_mul(1000)),
        retired: Retired::default(),
        pair: 0,
    }
}

/// The words of a block: its header, and the records, each a kind and a body that begins
/// with its ticks; those that have no room are left out.
pub fn block(header: &block::Header, records: &[(Record, Vec<u64>)]) -> Vec<u64> {
    let mut words = header.encode(0).to_vec();
    let key = header.key();
    let mut events = 0;
    for (kind, body) in records {
        let record = sealed(*kind, body, words.len(), key);
        if words.len() + record.len() <= OWNER_WORD {
            words.extend(record);
            events += u32::from(kind.is_event());
        }
    }
    words[word::COMMIT] = key.guard(word::COMMIT, block::commit(words.len() * 8, events));
    words
}

/// Has a block say which comes after it.
pub fn goes_on(words: &mut [u64], header: &block::Header, next: Next) {
    words[word::NEXT] = header.key().guard(word::NEXT, next.encode());
}

/// The words of a record at `position`, whose last word, if it is stored later, says nothing.
pub fn sealed(kind: Record, body: &[u64], position: usize, key: Key) -> Vec<u64> {
    let len = 1 + body.len() + usize::from(kind.has_later_word());
    let mut words = vec![record::header(kind, len)];
    words.extend(body);
    words.resize(len, 0);
    record::seal_in_place(&mut words, position, key);
    words
}

/// The record of a call site, without its header.
pub fn site(address: u64, flags: u8, name: &str, fields: &[&str]) -> (Record, Vec<u64>) {
    let mut words = [0; RECORD_MAX_WORDS];
    let parts = Parts {
        address,
        level: Level::Info,
        flags,
        name,
        target: "target",
        file: "file.rs",
        line: 3,
        fields: fields.iter().copied(),
    };
    let len = site::encode(parts, 1, &mut words);
    (Record::CallSite, words[1..len].to_vec())
}

/// The records of the block of call sites: [`EVENT`] and [`SPAN`].
pub fn sites() -> Vec<(Record, Vec<u64>)> {
    vec![
        site(EVENT, 0, "event", &["n", "message"]),
        site(SPAN, site::SPAN, "span", &["id"]),
    ]
}

/// An event of [`EVENT`] with the number `n`, in the thread's span.
pub fn event(ticks: u64, n: u32) -> (Record, Vec<u64>) {
    (Record::Event, vec![ticks, EVENT, number(0, n)])
}

/// The opening of a span of [`SPAN`].
pub fn open(ticks: u64, id: SpanId, parent: Option<SpanId>) -> (Record, Vec<u64>) {
    let parent = parent.map_or(0, SpanId::to_u64);
    let body = vec![ticks, SPAN, id.to_u64(), parent, number(0, 7)];
    (Record::SpanOpen, body)
}

/// A number as the value of a field.
pub fn number(field: u8, n: u32) -> u64 {
    value::head(field, value::Kind::U32, n)
}

/// A text as the value of a field.
pub fn text(field: u8, text: &str) -> Vec<u64> {
    let len = u16::try_from(text.len()).expect("a text that fits a record");
    let mut words = vec![value::text_head(field, value::Kind::Str, len, len.into())];
    words.extend(words_of(text.as_bytes()));
    words
}

/// Bytes as words, padded by zeros.
pub fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(padded)
    })
}

/// Words as bytes.
pub fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The words of a slot in which a span lives.
pub fn slot(id: SpanId, records: &[(Record, Vec<u64>)]) -> Vec<u64> {
    let key = Key::of_span(RECORDING, id.to_u64());
    let mut words = vec![id.to_u64(), 0, 0, 0];
    for (kind, body) in records {
        let record = sealed(*kind, body, words.len(), key);
        if words.len() + record.len() <= SLOT_WORDS {
            words.extend(record);
        }
    }
    let committed = (words.len() - SLOT_HEADER_WORDS) as u32;
    words[span::word::COMMITTED] = key.guard(span::word::COMMITTED, committed);
    words
}

impl Made {
    /// A recording in which nothing was recorded.
    pub fn new(blocks: u32, span_slots: u32) -> Made {
        let header = header(blocks, span_slots);
        let len = usize::try_from(header.layout.file_bytes()).expect("a small recording");
        let mut made = Made {
            header,
            bytes: vec![0; len],
        };
        made.write_headers();
        let beginning = made.header.beginning();
        made.bytes[..beginning.len()].copy_from_slice(&beginning[..]);
        made
    }

    /// The header at both of its places.
    fn write_headers(&mut self) {
        let page = self.header.encode();
        self.bytes[..page.len()].copy_from_slice(&page[..]);
        let copy = self.bytes.len() - page.len();
        self.bytes[copy..].copy_from_slice(&page[..]);
    }

    /// Puts words to a place in the file.
    pub fn put(&mut self, offset: u64, words: &[u64]) {
        let bytes = bytes_of(words);
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }

    /// Puts a block to its place, as [`block()`] makes it.
    pub fn put_block(&mut self, header: &block::Header, records: &[(Record, Vec<u64>)]) {
        let offset = self.header.layout.block_offset(header.index);
        self.put(offset, &block(header, records));
    }

    /// Puts a span into its slot, as [`slot`] makes it.
    pub fn put_slot(&mut self, id: SpanId, records: &[(Record, Vec<u64>)]) {
        let slot_index = id.slot().expect("a span with a slot");
        let offset = self.header.layout.slot_offset(slot_index);
        self.put(offset, &slot(id, records));
    }

    /// Puts an incident to its place.
    pub fn put_incident(&mut self, told: &Incident) {
        let mut page = Page::new(told, RECORDING);
        page.push_stack(&told.stack);
        page.push_frames(&told.frames);
        told.modules.iter().for_each(|it| page.push_module(it));
        page.push_symbols(&told.symbols);
        let offset = incident::offset(incident::place(told.number));
        self.put(offset, page.words());
    }

    /// Puts a cause to its place.
    pub fn put_cause(&mut self, cause: &Cause) {
        let offset = cause::offset(cause::place(cause.number));
        self.put(offset, &cause.encode(RECORDING));
    }

    /// Changes words at a place in the file.
    fn change<const N: usize>(&mut self, offset: u64, change: impl FnOnce(&mut [u64; N])) {
        let Some(bytes) = self.bytes.get_mut(offset as usize..) else {
            return;
        };
        let Some(bytes) = bytes.as_chunks_mut::<8>().0.first_chunk_mut::<N>() else {
            return;
        };
        let mut words = bytes.map(u64::from_le_bytes);
        change(&mut words);
        *bytes = words.map(u64::to_le_bytes);
    }

    /// Renews every check in the file, of which the places are those of `layout`; what
    /// `header` says beside is written, too.
    pub fn seal(&mut self, layout: Layout) {
        self.write_headers();
        for which in 0..totals::WORDS {
            self.change::<1>(TOTALS_OFFSET + which as u64 * 8, |[word]| {
                *word = totals::encode(which, *word >> (64 - 40), RECORDING);
            });
        }
        for place in 0..newest::PLACES {
            let offset = newest::OFFSET + (place * newest::WORDS * 8) as u64;
            self.change::<{ newest::WORDS }>(offset, |words| seal_newest(words, place));
        }
        for place in 0..CAUSES {
            self.change(cause::offset(place), seal_cause);
        }
        for place in 0..INCIDENTS as usize {
            self.change(incident::offset(place), seal_incident);
        }
        for index in 0..layout.span_slots {
            self.change(layout.slot_offset(index), seal_slot);
        }
        for index in 0..layout.blocks {
            self.change(layout.block_offset(index), seal_block);
        }
    }
}

fn seal_newest(words: &mut [u64; newest::WORDS], place: usize) {
    let [_, ticks, monotonic, boottime, wall] = *words;
    if *words != [0; newest::WORDS] {
        let sample = Sample::from_words([ticks, monotonic, boottime, wall]);
        *words = newest::encode(sample, RECORDING, place);
    }
}

/// Renews the checks of a cause, if there is one.
pub fn seal_cause(words: &mut [u64; CAUSE_WORDS]) {
    if *words == [0; CAUSE_WORDS] {
        return;
    }
    let key = Key::of_cause(RECORDING, words[2]);
    words[0] &= 0xffff;
    words[0] |= key.over(0, &words[..cause::SURVIVED]) << (64 - CHECK_BITS);
    words[cause::SURVIVED] = key.tally(cause::SURVIVED, words[cause::SURVIVED] >> 24);
}

/// Renews the checks of an incident's page.
pub fn seal_incident(words: &mut [u64; PAGE_WORDS]) {
    let key = Key::of_incident(RECORDING, words[2]);
    seal_records(words, 0, key);
}

/// Renews the checks of a slot, if a span lives there.
pub fn seal_slot(words: &mut [u64; SLOT_WORDS]) {
    if words[span::word::ID] != 0 {
        let key = Key::of_span(RECORDING, words[span::word::ID]);
        let committed = words[span::word::COMMITTED] as u32;
        words[span::word::COMMITTED] = key.guard(span::word::COMMITTED, committed);
        seal_records(words, SLOT_HEADER_WORDS, key);
    }
}

/// Renews the checks of a block, if one of its magics stands there.
pub fn seal_block(words: &mut [u64; BLOCK_WORDS]) {
    let magics = block::MAGIC_BLOCK.iter();
    let Some(pair) = magics.enumerate().find(|it| *it.1 == words[word::MAGIC]) else {
        return;
    };
    let header = header_in(words, pair.0);
    let key = header.key();
    let unused = word::RETIRED + 2 * (1 - header.pair);
    let mut sealed = header.encode(words[word::DROPPED] as u32);
    sealed[unused..unused + 2].copy_from_slice(&words[unused..unused + 2]);
    for at in [word::COMMIT, word::NEXT] {
        sealed[at] = key.guard(at, words[at] as u32);
    }
    words[..HEADER_WORDS].copy_from_slice(&sealed);
    seal_records(words, HEADER_WORDS, key);
}

/// What the words of a block's header say, whatever their check does.
fn header_in(words: &[u64; BLOCK_WORDS], pair: usize) -> block::Header {
    let halves = |at: usize| (words[at] as u32, (words[at] >> 32) as u32);
    let (index, kind) = halves(word::INDEX);
    let (thread, thread_id) = halves(word::THREAD);
    let (previous_index, previous_events) = halves(word::PREVIOUS);
    let mut thread_name = [0; block::THREAD_NAME_BYTES];
    thread_name.copy_from_slice(&bytes_of(&words[word::NAME..word::EVENTS_BEFORE]));
    let retired = word::RETIRED + 2 * pair;
    let clocks = word::CLOCKS;
    block::Header {
        recording: words[word::RECORDING],
        sequence: words[word::SEQUENCE],
        index,
        kind: if kind == Kind::CallSites as u32 {
            Kind::CallSites
        } else {
            Kind::Records
        },
        thread,
        thread_id,
        thread_name,
        events_before: words[word::EVENTS_BEFORE],
        previous_sequence: words[word::PREVIOUS_SEQUENCE],
        previous_index,
        previous_events,
        clocks: Sample::from_words(std::array::from_fn(|i| words[clocks + i])),
        retired: Retired {
            events: words[retired],
            dropped: words[retired + 1],
        },
        pair,
    }
}

/// Renews the checks of records, one after the other, as long as their lengths lead on.
fn seal_records(words: &mut [u64], start: usize, key: Key) {
    let mut position = start;
    while let Some(&header) = words.get(position)
        && record::kind(header).is_some()
        && record::words(header) >= RECORD_MIN_WORDS
        && let Some(record) = words.get_mut(position..position + record::words(header))
    {
        record::seal_in_place(record, position, key);
        position += record::words(header);
    }
}

/// A small recording of all kinds: two threads, one of them in spans, of which two are open,
/// over seven blocks, the last of which is free.
pub fn story() -> Made {
    let mut made = Made::new(7, 4);
    let id = |slot: u32| SpanId::in_slot(slot, 1);
    made.put_block(&block_header(0, 1, 0), &sites());
    made.put_block(&block_header(6, 2, 0), &sites());
    let enter = |ticks, id: SpanId| (Record::SpanEnter, vec![ticks, id.to_u64()]);
    let outer = slot(id(0), &[open(3100, id(0), None)]);
    made.put_slot(id(0), &[open(3100, id(0), None)]);
    let values = (Record::SpanValues, vec![4400, id(1).to_u64(), number(0, 8)]);
    made.put_slot(id(1), &[open(3200, id(1), Some(id(0))), values.clone()]);

    let first = block_header(1, 3, 1);
    let mut told = vec![open(3100, id(0), None), enter(3110, id(0)), event(3120, 0)];
    let mut body = vec![3300, EVENT, number(0, 1)];
    body.extend(text(1, "a message"));
    told.push((Record::Event, body));
    let mut words = block(&first, &told);
    goes_on(&mut words, &first, Next::At(3));
    made.put(made.header.layout.block_offset(1), &words);

    let other = block_header(2, 4, 2);
    let in_span = (Record::EventIn, vec![4200, EVENT, id(1).to_u64()]);
    let told = [open(3200, id(1), Some(id(0))), in_span, event(4300, 100)];
    made.put_block(&other, &told);

    let next = block::Header {
        events_before: 2,
        previous_sequence: 3,
        previous_index: 1,
        previous_events: 2,
        ..block_header(3, 5, 1)
    };
    let mut description = vec![5000, id(0).to_u64()];
    description.extend(outer);
    let stack = vec![5000, 1, 1, id(0).to_u64()];
    let follows = vec![5300, id(1).to_u64(), id(0).to_u64()];
    let told = [
        (Record::Description, description),
        (Record::Stack, stack),
        event(5100, 2),
        values,
        (Record::SpanFollows, follows),
        open(5400, id(2), Some(id(0))),
        enter(5500, id(2)),
        (Record::EventRoot, vec![5600, EVENT, number(0, 3)]),
        (Record::SpanExit, vec![5700, id(2).to_u64()]),
        (Record::SpanClose, vec![5800, id(2).to_u64()]),
    ];
    made.put_block(&next, &told);
    made.put_cause(&Cause {
        kind: cause::Kind::Signal,
        ticks: 5900,
        thread: 1,
        thread_id: 1001,
        wall_ns: EPOCH_NS + 5900,
        signal: 11,
        code: 1,
        address: Some(8),
        ..Cause::default()
    });
    made.put_incident(&Incident {
        ticks: 5850,
        wall_ns: EPOCH_NS + 5850,
        thread: 1,
        thread_id: 1001,
        thread_name: "worker".into(),
        message: "index out of bounds".into(),
        location: "src/main.rs:7:5".into(),
        stack: vec![id(0)],
        frames: vec![0x1000, 0x2000],
        symbols: vec!["main".into()],
        ..Incident::default()
    });
    made
}

const _: () = assert!(HEADER_BYTES == HEADER_WORDS * 8);
