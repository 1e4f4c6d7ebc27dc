//! Recordings that were made to be dear: every check passes.

use std::fs::{self, File};
use std::path::Path;

use ttlog_format::block::{self, Next, State};
use ttlog_format::header::BLOCKS_MAX;
use ttlog_format::record::{self, Kind as Record};
use ttlog_format::span::{SLOTS_MAX, SpanId};
use ttlog_format::value::{self, head};
use ttlog_format::{BLOCK_WORDS, RECORD_MAX_WORDS};

use super::Case;
use crate::made::{
    EVENT, Made, RECORDING, SPAN, block_header, event, goes_on, header, number, open, site, sites,
    text,
};

/// Blocks of a recording: 16 MiB of them.
const BLOCKS: u32 = 4096;

/// Spans that lie in one another.
const DEPTH: u32 = 100_000;

pub(super) fn cases() -> Vec<Case> {
    let case = |name, make| Case { name, make };
    vec![
        case("blocks that are only declared", declared),
        case("more blocks than there can be", |path| {
            let header = header(u32::MAX, u32::MAX);
            fs::write(path, &header.encode()[..]).expect("room");
        }),
        case("blocks and slots in a hole of a terabyte", sparse),
        case("a thread for every block", |path| {
            write(path, &a_thread_for_every_block(BLOCKS));
        }),
        case("a thread for every block, 64 MiB", |path| {
            write(path, &a_thread_for_every_block(4 * BLOCKS));
        }),
        case("blocks that point to each other", |path| {
            write(path, &chains(BLOCKS));
        }),
        case("spans that lie in themselves", |path| {
            write(path, &cycles(BLOCKS));
        }),
        case("spans nested deep", |path| {
            write(path, &nested(BLOCKS, ""));
        }),
        case("spans nested deep, with texts", |path| {
            write(path, &nested(BLOCKS, &"x".repeat(100)));
        }),
        case("a span of many long values", |path| {
            write(path, &values(BLOCKS));
        }),
        case("a span for every slot", slots),
        case("events of as many fields as fit", fields),
        case("call sites of as many fields as fit", call_sites),
        case("the smallest records there can be", smallest),
    ]
}

/// Recordings of so many blocks, all of which are dear in another way.
pub(super) fn growing(blocks: u32) -> [(&'static str, Made); 5] {
    [
        ("a thread for every block", a_thread_for_every_block(blocks)),
        ("blocks that point to each other", chains(blocks)),
        ("spans that lie in themselves", cycles(blocks)),
        ("spans nested deep", nested(blocks, "")),
        ("a span of many long values", values(blocks)),
    ]
}

fn write(path: &Path, made: &Made) {
    fs::write(path, &made.bytes).expect("room");
}

/// A short file that says it has all that it could have.
fn declared(path: &Path) {
    let header = header(BLOCKS_MAX, SLOTS_MAX as u32);
    let mut bytes = vec![0; 1 << 17];
    bytes[..4096].copy_from_slice(&header.encode()[..]);
    fs::write(path, bytes).expect("room");
}

/// A file that has all of it, and holds nothing; its last block is there.
fn sparse(path: &Path) {
    use std::os::unix::fs::FileExt;
    let blocks = BLOCKS_MAX;
    let header = header(blocks, SLOTS_MAX as u32);
    let file = File::create(path).expect("room");
    file.set_len(1 << 40).expect("a sparse file");
    file.write_all_at(&header.encode()[..], 0).expect("room");
    let last = block_header(blocks - 1, 7, 1);
    let words = crate::made::block(&last, &[event(7100, 1)]);
    let bytes = crate::made::bytes_of(&words);
    let offset = header.layout.block_offset(blocks - 1);
    file.write_all_at(&bytes, offset).expect("room");
}

/// As many threads as blocks; `blocks` of them.
fn a_thread_for_every_block(blocks: u32) -> Made {
    let mut made = Made::new(blocks, 0);
    made.put_block(&block_header(0, 1, 0), &sites());
    for index in 1..blocks {
        let sequence = u64::from(index) + 1;
        let at = sequence * 1000;
        let mut name = block_header(index, sequence, index);
        name.thread_name = [b'x'; 32];
        made.put_block(&name, &[event(at + 1, index), event(at + 2, index)]);
    }
    made
}

/// Every block names others as those before and after it, back and forth.
fn chains(blocks: u32) -> Made {
    let mut made = Made::new(blocks, 0);
    made.put_block(&block_header(0, 1, 0), &sites());
    for index in 1..blocks {
        let sequence = u64::from(index) + 1;
        let mixed = index.wrapping_mul(0x9e37_79b9) % blocks;
        let header = block::Header {
            previous_sequence: u64::MAX - sequence,
            previous_index: mixed,
            previous_events: u32::MAX,
            events_before: u64::MAX / 2,
            ..block_header(index, sequence, index % 3 + 1)
        };
        let mut words = crate::made::block(&header, &[event(sequence * 1000, index)]);
        goes_on(&mut words, &header, Next::At(blocks - index));
        let offset = made.header.layout.block_offset(index);
        made.put(offset, &words);
    }
    made
}

/// Fills blocks of one thread with records, one after the other; returns how many.
fn fill(made: &mut Made, from: u32, records: &mut dyn Iterator<Item = (Record, Vec<u64>)>) -> u32 {
    let blocks = made.header.layout.blocks;
    let mut next = records.next();
    let (mut index, mut before, mut events) = (from, 0, 0u64);
    while let Some(first) = next.take()
        && index < blocks
    {
        let header = block::Header {
            events_before: events,
            previous_sequence: before,
            previous_index: index.saturating_sub(1),
            ..block_header(index, u64::from(index) + 1, 1)
        };
        let mut room = BLOCK_WORDS - block::HEADER_WORDS;
        let mut in_block = Vec::new();
        let mut record = Some(first);
        while let Some(it) = record.take() {
            let len = 1 + it.1.len() + usize::from(it.0.has_later_word());
            if len > room {
                next = Some(it);
                break;
            }
            room -= len;
            events += u64::from(it.0.is_event());
            in_block.push(it);
            record = records.next();
        }
        made.put_block(&header, &in_block);
        before = header.sequence;
        index += 1;
    }
    index - from
}

/// Spans that are their own parents and those of their parents, by their slots, by
/// descriptions and by their openings.
fn cycles(blocks: u32) -> Made {
    let mut made = Made::new(blocks, 1024);
    made.put_block(&block_header(0, 1, 0), &sites());
    let id = |slot: u32| SpanId::in_slot(slot, 1);
    for slot in 0..1024 {
        let parent = id((slot + 1) % 1024);
        let opening = open(1000, id(slot), Some(parent));
        made.put_slot(id(slot), &[opening, open(1001, id(slot), Some(id(slot)))]);
    }
    let mut told = (0u32..).flat_map(|n| {
        let (slot, ticks) = (n % 1024, 2000 + u64::from(n));
        let span = id(slot).to_u64();
        let mut description = vec![ticks, span];
        description.extend(crate::made::slot(
            id(slot),
            &[open(1000, id(slot), Some(id((slot + 7) % 1024)))],
        ));
        [
            (Record::Description, description),
            (Record::EventIn, vec![ticks, EVENT, span]),
            open(ticks, id(slot), Some(id((slot + 512) % 1024))),
        ]
    });
    fill(&mut made, 1, &mut told);
    made
}

/// Spans in one another, and events in the innermost.
fn nested(blocks: u32, words: &str) -> Made {
    // An opening takes 8 words: they fill half of it at most.
    let depth = DEPTH.min(blocks * 30);
    let mut made = Made::new(blocks, 0);
    let span = site(SPAN, site_is_span(), "a_span", &["id", "text"]);
    let sites = [site(EVENT, 0, "event", &["n", "message"]), span];
    made.put_block(&block_header(0, 1, 0), &sites);
    let id = |n: u32| SpanId::in_slot(n, 1);
    let opened = (0..depth).map(|n| {
        let parent = n.checked_sub(1).map(id);
        let (kind, mut body) = open(1000 + u64::from(n), id(n), parent);
        if !words.is_empty() {
            body.extend(text(1, words));
        }
        (kind, body)
    });
    let ticks = 1000 + u64::from(depth);
    let events = (0u32..).map(|n| {
        let innermost = id(depth - 1 - n % 64).to_u64();
        (
            Record::EventIn,
            vec![ticks + u64::from(n), EVENT, innermost],
        )
    });
    fill(&mut made, 1, &mut opened.chain(events));
    made
}

fn site_is_span() -> u8 {
    ttlog_format::site::SPAN
}

/// One span, into whose every field long texts were recorded, and events in it.
fn values(blocks: u32) -> Made {
    let mut made = Made::new(blocks, 0);
    made.put_block(&block_header(0, 1, 0), &sites());
    let id = SpanId::in_slot(0, 1);
    let long = "x".repeat(1900);
    let values = (0..2000u32).map(|n| {
        let mut body = vec![2000 + u64::from(n), id.to_u64()];
        body.extend(text(n as u8, &long));
        (Record::SpanValues, body)
    });
    let ticks = 10_000;
    let events = (0u32..).map(|n| {
        (
            Record::EventIn,
            vec![ticks + u64::from(n), EVENT, id.to_u64()],
        )
    });
    let opened = std::iter::once(open(1000, id, None));
    fill(&mut made, 1, &mut opened.chain(values).chain(events));
    made
}

/// As many open spans as there are slots, each in the one before.
fn slots(path: &Path) {
    let slots = 1 << 16;
    let mut made = Made::new(2, slots);
    made.put_block(&block_header(0, 1, 0), &sites());
    let id = |slot: u32| SpanId::in_slot(slot, 1);
    for slot in 0..slots {
        let parent = slot.checked_sub(1).map(id);
        made.put_slot(id(slot), &[open(1000 + u64::from(slot), id(slot), parent)]);
    }
    write(path, &made);
}

/// Events of 253 values each, of which no two have the same name.
fn fields(path: &Path) {
    let mut made = Made::new(BLOCKS, 0);
    made.put_block(&block_header(0, 1, 0), &sites());
    let mut events = (0u32..).map(|n| {
        let mut body = vec![2000 + u64::from(n), EVENT];
        let values = RECORD_MAX_WORDS - 3;
        body.extend((0..values).map(|i| head(i as u8, value::Kind::Bool, 1)));
        (Record::Event, body)
    });
    fill(&mut made, 1, &mut events);
    write(path, &made);
}

/// Call sites with as many names as have room, many of them, and an event of each.
fn call_sites(path: &Path) {
    let mut made = Made::new(BLOCKS, 0);
    let names = vec![""; 240];
    let blocks = BLOCKS / 2;
    for index in 0..blocks {
        let address = |n: u32| u64::from(index * 4 + n) * 16 + 16;
        let sites: Vec<_> = (0..2).map(|n| site(address(n), 0, "e", &names)).collect();
        made.put_block(&block_header(index, u64::from(index) + 1, 0), &sites);
    }
    let mut events = (0u32..).map(|n| {
        let address = u64::from(n % (blocks * 4)) * 16 + 16;
        (
            Record::Event,
            vec![2000 + u64::from(n), address, number(0, n)],
        )
    });
    fill(&mut made, blocks, &mut events);
    write(path, &made);
}

/// Records of two words, which say nothing but that there was an event.
fn smallest(path: &Path) {
    let mut made = Made::new(BLOCKS, 0);
    made.put_block(&block_header(0, 1, 0), &sites());
    let mut events = (0u64..).map(|n| (Record::Event, vec![2000 + n]));
    fill(&mut made, 1, &mut events);
    let first = made.header.layout.block_offset(1) as usize;
    let words: Vec<u64> = crate::made::words_of(&made.bytes[first..first + 4096]).collect();
    assert!(matches!(block::decode(&words), State::Block(it) if it.recording == RECORDING));
    assert_eq!(record::words(words[block::HEADER_WORDS]), 2);
    write(path, &made);
}
