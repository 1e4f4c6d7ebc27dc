//! What reading costs on one core, in million events a second.
//!
//! ```text
//! cargo bench -p ttlog-format --bench decode [-- WORDS]
//! ```
//!
//! The recording lies in memory: four threads that took turns, each event a static message,
//! two numbers and a text of 13 bytes. Only what WORDS are part of is done. A figure is the best of the repetitions, and their
//! median: other work on the machine only ever takes time away.

use std::hint::black_box;
use std::time::Instant;

use ttlog_format::block::{self, HEADER_BYTES, HEADER_WORDS, Kind, Next, OWNER_WORD, Retired};
use ttlog_format::check::Key;
use ttlog_format::clock::{Sample, Source};
use ttlog_format::header::{Header, Layout};
use ttlog_format::record::{self, Walk};
use ttlog_format::salvage::{Entry, Stream, salvage};
use ttlog_format::site::{self, Level, Parts};
use ttlog_format::{BLOCK_BYTES, BLOCK_WORDS, RECORD_MAX_WORDS, value};

const RECORDING: u64 = 0x1234_5678_9abc_def1;
const SITE: u64 = 0xe000;
const THREADS: u32 = 4;
/// Of repetitions that are short, some are not disturbed by what else the machine does.
const REPETITIONS: [usize; 2] = [200, 12];

/// Of a recording that is kept in memory while it is told, and of one that is not.
const SIZES_MIB: [u32; 2] = [1, 32];

fn main() {
    for (mib, times) in SIZES_MIB.into_iter().zip(REPETITIONS) {
        let (bytes, events) = recording((mib << 20) / BLOCK_BYTES as u32);
        println!("{events} events in a recording of {mib} MiB, {THREADS} threads");
        report("checked: every record", events, times, || checked(&bytes));
        report("decoded: and every value", events, times, || {
            decoded(&bytes)
        });
        report("told: index, stream and merge", events, times, || {
            told(&bytes, |entry| {
                black_box(entry);
            })
        });
        report("told: and every value", events, times, || {
            told(&bytes, |entry| {
                entry.fields.iter().for_each(|field| {
                    black_box(field);
                })
            })
        });
        report("salvaged: all entries in memory", events, times, || {
            salvage(&bytes).expect("a recording").entries.len() as u64
        });
    }
}

/// Prints how fast `read` is, which returns how many events it found.
fn report(what: &str, events: u64, times: usize, mut read: impl FnMut() -> u64) {
    let asked = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    if asked.is_some_and(|asked| !what.contains(&asked)) {
        return;
    }
    let mut took: Vec<f64> = (0..times)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(black_box(read()), events, "{what}");
            began.elapsed().as_secs_f64()
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let speed = |seconds: f64| events as f64 / seconds / 1e6;
    let (best, median) = (speed(took[0]), speed(took[times / 2]));
    println!("  {what:<32} {best:>6.1} best {median:>6.1} median, million events a second");
}

/// Every block, one after the other.
fn blocks(bytes: &[u8], mut each: impl FnMut(Walk<'_>)) {
    let pool = Layout::SPANS_OFFSET as usize;
    let mut words = vec![0; BLOCK_WORDS];
    for block in bytes[pool..].chunks_exact(BLOCK_BYTES) {
        for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        if let block::State::Block(header) = block::decode(&words)
            && let Some(commit) = block::committed(&words, header.key())
            && header.kind == Kind::Records
        {
            each(Walk::new(
                &words,
                header.key(),
                HEADER_WORDS,
                commit.bytes / 8,
            ));
        }
    }
}

fn checked(bytes: &[u8]) -> u64 {
    let mut events = 0;
    blocks(bytes, |walk| {
        events += walk.filter(|record| record.kind.is_event()).count() as u64
    });
    events
}

fn decoded(bytes: &[u8]) -> u64 {
    let mut events = 0;
    blocks(bytes, |walk| {
        for record in walk.filter(|record| record.kind.is_event()) {
            value::fields(&record.words[3..]).for_each(|field| {
                black_box(field);
            });
            events += 1;
        }
    });
    events
}

/// Has a recording told, and every entry looked at.
fn told(bytes: &Vec<u8>, look: impl Fn(&Entry)) -> u64 {
    let mut stream = Stream::open(bytes).expect("a recording");
    let mut events = 0;
    while stream.tell().expect("bytes") {
        look(stream.told());
        events += 1;
    }
    events
}

/// A full recording of so many blocks, and how many events are in it.
fn recording(blocks: u32) -> (Vec<u8>, u64) {
    let header = header(blocks);
    let mut bytes = vec![0; header.layout.file_bytes() as usize];
    let copy = header.layout.copy_offset() as usize;
    let beginning = header.beginning();
    bytes[..beginning.len()].copy_from_slice(&beginning[..]);
    bytes[copy..].copy_from_slice(&header.encode()[..]);
    let mut before: [Option<(u64, u32, u64, u32)>; THREADS as usize] = Default::default();
    let mut total = 0;
    for index in 0..blocks {
        let thread = index % THREADS;
        let of_sites = index == 0;
        let (sequence, ticks) = (u64::from(index) + 1, 1_000 + u64::from(index) * 100_000);
        let (last_sequence, last_index, events_before, last_events) =
            before[thread as usize].unwrap_or_default();
        let header = block::Header {
            recording: RECORDING,
            sequence,
            index,
            kind: if of_sites {
                Kind::CallSites
            } else {
                Kind::Records
            },
            thread: if of_sites { 0 } else { thread + 1 },
            thread_id: thread + 100,
            thread_name: [0; 32],
            events_before,
            previous_sequence: last_sequence,
            previous_index: last_index,
            previous_events: last_events,
            clocks: sample(ticks),
            retired: Retired::default(),
            pair: 0,
        };
        let mut words = header.encode(0).to_vec();
        let events = match of_sites {
            true => call_site(&mut words, header.key()),
            // The threads run at once: what each says lies between what the others say.
            false => fill(
                &mut words,
                header.key(),
                ticks - ticks % 400_000 + u64::from(thread),
            ),
        };
        let commit = block::commit(words.len() * 8, events);
        words[block::word::COMMIT] = header.key().guard(block::word::COMMIT, commit);
        let next = if index + THREADS < blocks {
            Next::At(index + THREADS)
        } else {
            Next::None
        };
        words[block::word::NEXT] = header.key().guard(block::word::NEXT, next.encode());
        let offset = header_offset(blocks, index);
        for (place, word) in bytes[offset..]
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .zip(&words)
        {
            *place = word.to_le_bytes();
        }
        if !of_sites {
            let all = events_before + u64::from(events);
            before[thread as usize] = Some((sequence, index, all, events));
            total += u64::from(events);
        }
    }
    (bytes, total)
}

fn header_offset(blocks: u32, index: u32) -> usize {
    header(blocks).layout.block_offset(index) as usize
}

fn header(blocks: u32) -> Header {
    Header {
        recording: RECORDING,
        layout: Layout {
            span_slots: 0,
            blocks,
        },
        clock: Source::Tsc,
        samples: [sample(0), sample(1000)],
        ..Header::default()
    }
}

fn sample(ticks: u64) -> Sample {
    let (monotonic_ns, boottime_ns) = (ticks / 2, ticks / 2);
    Sample {
        ticks,
        monotonic_ns,
        boottime_ns,
        wall_ns: 1_700_000_000_000_000_000 + monotonic_ns,
    }
}

fn call_site(words: &mut Vec<u64>, key: Key) -> u32 {
    let parts = Parts {
        address: SITE,
        level: Level::Info,
        flags: 0,
        name: "event",
        target: "bench",
        file: "bench.rs",
        line: 1,
        fields: ["message", "user_id", "elapsed_us", "path"].into_iter(),
    };
    let mut record = [0; RECORD_MAX_WORDS];
    let len = site::encode(parts, 1, &mut record);
    append(words, key, &record[..len]);
    0
}

/// Fills a block with events, and tells how many there are.
fn fill(words: &mut Vec<u64>, key: Key, ticks: u64) -> u32 {
    let mut events = 0;
    loop {
        let mut record = vec![0, ticks + u64::from(events) * 4_000, SITE];
        text(&mut record, 0, b"user logged in");
        record.push(value::head(1, value::Kind::U32, events));
        record.push(value::head(2, value::Kind::U32, events * 7));
        text(&mut record, 3, b"/v1/accounts/");
        record[0] = record::header(record::Kind::Event, record.len());
        if words.len() + record.len() > OWNER_WORD {
            return events;
        }
        append(words, key, &record);
        events += 1;
    }
}

fn text(record: &mut Vec<u64>, field: u8, text: &[u8]) {
    let (stored, whole) = (text.len() as u16, text.len() as u32);
    record.push(value::text_head(field, value::Kind::Str, stored, whole));
    for chunk in text.chunks(8) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        record.push(u64::from_le_bytes(padded));
    }
}

fn append(words: &mut Vec<u64>, key: Key, record: &[u64]) {
    let position = words.len();
    words.extend_from_slice(record);
    record::seal_in_place(&mut words[position..], position, key);
}

const _: () = assert!(HEADER_BYTES == HEADER_WORDS * 8);
