//! A whole recording: salvaged, told to its end, told again, and told on from a mark.

use std::sync::OnceLock;

use ttlog_format::block::{self, word};
use ttlog_format::clock::Source;
use ttlog_format::header::{CAUSES_OFFSET, INCIDENT_BYTES, INCIDENTS, Layout, TOTALS_OFFSET};
use ttlog_format::incident;
use ttlog_format::record::{self, Kind};
use ttlog_format::salvage::{Entries, Entry, Recording, Stream, salvage};
use ttlog_format::span::SLOT_WORDS;
use ttlog_format::{BLOCK_BYTES, BLOCK_WORDS};

use super::{Input, are_same, told_in_full};
use crate::made::{Made, story};

/// What a script can do.
const KINDS_OF_CHANGES: u8 = 14;

/// Bytes of a recording: plain, or a script.
pub fn ring(bytes: &[u8]) {
    ring_by(bytes, |_| true);
}

/// The same, with entries told alone for which `is_told` holds.
pub fn ring_by(bytes: &[u8], is_told: impl Fn(&Entry) -> bool) {
    let mut input = Input(bytes);
    let file = match input.byte() % 2 {
        0 => input.rest().to_vec(),
        _ => by_script(input),
    };
    read_whole(&file, is_told);
}

fn read_whole(file: &[u8], is_told: impl Fn(&Entry) -> bool) {
    let Ok(mut stream) = Stream::open(file) else {
        assert!(salvage(file).is_err());
        return;
    };
    let mut entries = tell(&mut stream);
    entries.retain(is_told);
    told_in_full(stream.recording(), &entries);
    let first = summary(stream.recording());
    stream.rewind().expect("bytes in memory");
    are_same(&tell(&mut stream), &entries, "told twice");
    are_same(&summary(stream.recording()), &first, "told twice");
    let recording = salvage(file).expect("it was told before");
    are_same(&summary(&recording), &first, "told and salvaged");
    of_the_same_story(&recording, &entries);
    goes_on_from_a_mark(file, &recording, &entries);
}

fn tell(entries: &mut dyn Entries) -> Vec<Entry> {
    let mut told = Vec::new();
    while entries.tell().expect("bytes in memory") {
        let entry = entries.told();
        entry.fields.iter().for_each(drop);
        told.push(entry.clone());
    }
    told
}

/// The tables, as far as they do not depend on who tells.
fn summary(recording: &Recording) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        recording.header.clone(),
        recording.causes.clone(),
        recording.incidents.clone(),
        recording.threads.clone(),
        recording.ledger,
        recording.end_ns,
    )
}

/// What is salvaged at once are the same entries; of a span's, what it is called may have
/// been told later.
fn of_the_same_story(recording: &Recording, told: &[Entry]) {
    assert_eq!(recording.entries.len(), told.len());
    for (whole, told) in recording.entries.iter().zip(told) {
        let site = if told.what.is_event() {
            whole.site
        } else {
            told.site
        };
        let whole = Entry {
            site,
            ..whole.clone()
        };
        are_same(&whole, told, "salvaged and told");
        assert!(recording.around(told.span).count() <= 1024);
    }
}

/// Told up to its middle, and from there by another stream: nothing is told twice, and
/// nothing is left out.
fn goes_on_from_a_mark(file: &[u8], recording: &Recording, all: &[Entry]) {
    let mut stream = Stream::open(file).expect("it was told before");
    let mut told = Vec::new();
    while told.len() < all.len() / 2 && stream.tell().expect("bytes in memory") {
        told.push(stream.told().clone());
    }
    let mark = Entries::mark(&stream);
    let rest = Stream::open_after(file, |_| {}, mark, true);
    told.extend(tell(&mut rest.expect("it was told before")));
    for thread in 0..recording.threads.len() as u32 {
        let of_thread = |entries: &[Entry]| -> Vec<Entry> {
            let entries = entries.iter().filter(|entry| entry.thread == thread);
            let undated = entries.map(|entry| Entry {
                wall_ns: 0,
                site: 0,
                ..entry.clone()
            });
            undated.collect()
        };
        are_same(&of_thread(&told), &of_thread(all), "told on from a mark");
    }
}

/// The file of a script: a story, changed.
fn by_script(mut input: Input<'_>) -> Vec<u8> {
    static STORY: OnceLock<Made> = OnceLock::new();
    let mut made = STORY.get_or_init(story).clone();
    let layout = layout();
    let mut damage: Vec<(usize, u8)> = Vec::new();
    let mut len = made.bytes.len();
    while !input.is_empty() {
        match input.byte() % KINDS_OF_CHANGES {
            0 | 1 => {
                let offset = block_at(&mut input) + 8 * u64::from(input.below(512));
                made.put(offset, &[input.word()]);
            }
            2 | 3 => {
                let offset = block_at(&mut input) + 8 * u64::from(input.below(64));
                made.put(offset, &[input.byte().into()]);
            }
            4 => {
                let words = layout.span_slots * SLOT_WORDS as u32;
                let offset = layout.slot_offset(0) + 8 * u64::from(input.below(words));
                made.put(offset, &[input.word()]);
            }
            5 => {
                let offset = CAUSES_OFFSET + 8 * u64::from(input.below(128));
                made.put(offset, &[input.word()]);
            }
            6 => {
                let place = input.below(INCIDENTS as u32) as usize;
                let words = INCIDENT_BYTES as u32 / 8;
                let offset = incident::offset(place) + 8 * u64::from(input.below(words));
                made.put(offset, &[input.word()]);
            }
            7 => {
                let offset = TOTALS_OFFSET + 8 * u64::from(input.below(20));
                made.put(offset, &[input.word()]);
            }
            8 => change_header(&mut input, &mut made),
            9 => append(&mut input, &mut made),
            10 => copy_block(&mut input, &mut made),
            11 => {
                let at = u32::from_le_bytes(input.bytes()) as usize;
                damage.push((at % made.bytes.len(), input.byte()));
            }
            12 => len = u32::from_le_bytes(input.bytes()) as usize % (made.bytes.len() + 1),
            _ => {
                let offset = block_at(&mut input) + 8 * word::COMMIT as u64;
                let commit = block::commit(input.short().into(), input.short().into());
                made.put(offset, &[commit.into()]);
            }
        }
    }
    made.seal(layout);
    for (at, by) in damage {
        made.bytes[at] ^= by;
    }
    made.bytes.truncate(len);
    made.bytes
}

fn block_at(input: &mut Input<'_>) -> u64 {
    layout().block_offset(u32::from(input.byte()) % layout().blocks)
}

/// Where everything lies in the story, whatever is done to its header.
fn layout() -> Layout {
    Layout {
        span_slots: 4,
        blocks: 7,
    }
}

fn change_header(input: &mut Input<'_>, made: &mut Made) {
    let header = &mut made.header;
    let which = input.byte();
    let value = input.word();
    let sample = &mut header.samples[usize::from(which >> 7)];
    match which % 10 {
        0 => header.layout.blocks = value as u32,
        1 => header.layout.span_slots = value as u32,
        2 => header.clock = Source::Monotonic,
        3 => sample.ticks = value,
        4 => sample.monotonic_ns = value,
        5 => sample.wall_ns = value,
        6 => header.window_ns = value,
        7 => header.recording = value,
        8 => header.layout.blocks = (value % 10) as u32,
        _ => header.layout.span_slots = (value % 8) as u32,
    }
}

/// Appends a record to a block, as its thread would have done.
fn append(input: &mut Input<'_>, made: &mut Made) {
    let offset = block_at(input) as usize;
    let block = &mut made.bytes[offset..offset + BLOCK_BYTES];
    let commit = offset_of_word(block, word::COMMIT);
    let (bytes, events) = ((commit & 0xffff) as usize, (commit >> 16) as u16);
    let kind = Kind::from_u8(input.byte() % 17).unwrap_or(Kind::Event);
    let later = usize::from(kind.has_later_word());
    let len = 2 + usize::from(input.byte() % 24) + later;
    if !bytes.is_multiple_of(8) || bytes + len * 8 > BLOCK_BYTES {
        return;
    }
    let mut record = vec![record::header(kind, len)];
    record.extend((1..len).map(|_| match input.byte() {
        0 => input.word(),
        small => u64::from(small),
    }));
    block[bytes..][..len * 8].copy_from_slice(&crate::made::bytes_of(&record));
    let events = events.wrapping_add(kind.is_event().into());
    let commit = block::commit(bytes + len * 8, events.into());
    block[8 * word::COMMIT..][..8].copy_from_slice(&u64::from(commit).to_le_bytes());
}

fn offset_of_word(block: &[u8], word: usize) -> u32 {
    let bytes = block[word * 8..].first_chunk().expect("words of a block");
    u32::from_le_bytes(*bytes)
}

/// Copies a block to another place, as if it had been taken there.
fn copy_block(input: &mut Input<'_>, made: &mut Made) {
    let from = block_at(input) as usize;
    let to = u32::from(input.byte()) % layout().blocks;
    let sequence = input.byte();
    let offset = layout().block_offset(to);
    made.bytes
        .copy_within(from..from + BLOCK_BYTES, offset as usize);
    if sequence > 0 {
        let kind = offset_of_word(&made.bytes[from + 4..], word::INDEX);
        let index = u64::from(to) | (u64::from(kind) << 32);
        made.put(offset + 8 * word::INDEX as u64, &[index]);
        made.put(offset + 8 * word::SEQUENCE as u64, &[sequence.into()]);
    }
}

const _: () = assert!(BLOCK_WORDS == 512);
