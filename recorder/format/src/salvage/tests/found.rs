//! Recordings that are found by their blocks.

use super::super::image::{self, Image};
use super::*;
use crate::clock;
use crate::header::{HEADER_BYTES, INCIDENTS_OFFSET};
use crate::incident::{self, Incident};
use crate::{BLOCK_BYTES, span};

const ALL: [u64; 10] = [0, 1, 100, 2, 101, 3, 4, 5, 6, 102];

/// The story without its headers.
fn headless() -> Vec<u8> {
    let mut image = story();
    let copy = image.layout().copy_offset() as usize;
    for at in [0, copy] {
        image.bytes[at..at + HEADER_BYTES].fill(0);
    }
    image.bytes
}

fn found(bytes: &[u8]) -> (Found, Recording) {
    let found = Found::all(bytes).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let recording = salvage(bytes).unwrap();
    (found.into_iter().next().unwrap(), recording)
}

#[test]
fn without_a_header_all_is_told_as_with_one() {
    let whole = story().salvage();
    let (found, recording) = found(&headless());
    assert_eq!(found.header_at, None);
    assert_eq!(found.at, story().block_offset(0));
    assert_eq!(recording.entries, whole.entries);
    assert_eq!(recording.spans, whole.spans);
    assert_eq!(recording.causes, whole.causes);
    assert_eq!(recording.threads, whole.threads);
    assert_eq!(recording.ledger.counts, whole.ledger.counts);
    // What blocks of call sites say.
    assert_eq!(recording.header.layout, whole.header.layout);
    assert_eq!(
        (recording.header.pid, &*recording.header.name),
        (7, "victim")
    );
    let ledger = recording.ledger;
    assert!(ledger.lacks_header && ledger.damaged_causes == 0 && !ledger.exact);
}

#[test]
fn a_beginning_that_is_cut_off_at_any_byte_costs_what_lay_in_it() {
    let image = story();
    let whole = image.salvage();
    let last = image.block_offset(3) as usize;
    for cut in (1..last)
        .step_by(1021)
        .chain([4096, 65536, last - 9, last - 8])
    {
        let recording = salvage(&image.bytes[cut..]).unwrap();
        let expected: Vec<u64> = whole
            .entries
            .iter()
            .filter(|entry| entry.what.is_event())
            .zip(ALL)
            .filter(|(entry, number)| {
                let first = *number < 5;
                let index = match (entry.thread, first) {
                    (0, true) => 1,
                    (0, false) => 4,
                    (_, _) if *number == 102 => 3,
                    _ => 2,
                };
                image.block_offset(index) as usize >= cut
            })
            .map(|(_, number)| number)
            .collect();
        let told = numbers(&recording);
        let is_there = expected.iter().all(|number| told.contains(number));
        assert!(is_there, "cut at {cut}: {told:?}, not {expected:?}");
        assert!(told.len() <= ALL.len() && balanced(recording.ledger.counts));
        let slot = image.layout().slot_offset(1) as usize;
        let is_open = recording.spans.get(&id(1)).is_some_and(|span| span.open);
        assert_eq!(is_open, cut <= slot, "cut at {cut}");
    }
}

#[test]
fn scattered_pages_are_put_where_they_belong() {
    let image = story();
    let whole = image.salvage();
    let pages: Vec<&[u8]> = image.bytes.chunks(BLOCK_BYTES).collect();
    for step in [3, 7, 11] {
        let mut disk = vec![0x5a; 4096 * 2];
        for at in 0..pages.len() {
            disk.extend(pages[at * step % pages.len()]);
            disk.extend([0xa5; 4096]);
        }
        let (found, recording) = found(&disk);
        assert!(found.header_at.is_some());
        assert_eq!(numbers(&recording), ALL, "every {step}th");
        assert_eq!(recording.ledger.counts.readable, 10);
        assert!(recording.spans[&id(1)].open);
        assert_eq!(recording.header, whole.header);
    }
}

#[test]
fn of_two_lives_of_a_block_the_newer_counts_and_nothing_is_told_twice() {
    let before = {
        let mut image = Image::new(3, 0);
        image.call_sites(2);
        image.take(0, 1, MS);
        image.event(1, 2 * MS, 0);
        image
    };
    let mut after = before.clone();
    after.take(1, 1, 3 * MS);
    after.event(1, 4 * MS, 1);
    after.take(0, 1, 5 * MS);
    after.event(1, 6 * MS, 2);
    for disk in [
        [&before.bytes[8..], &after.bytes[..]].concat(),
        [&[7; 5], &after.bytes[..], &before.bytes[..]].concat(),
    ] {
        let (_, recording) = found(&disk);
        assert_eq!(numbers(&recording), [1, 2]);
    }
}

#[test]
fn several_recordings_are_told_apart_and_the_newest_comes_first() {
    let mut other = Image::of(77, 3, 0);
    other.call_sites(2);
    other.take(0, 3, 900 * MS);
    other.event(3, 901 * MS, 7);
    let disk = [&[1; 4096][..], &story().bytes, &[2; 512], &other.bytes].concat();
    let found = Found::all(&disk[..]).unwrap();
    let ids: Vec<u64> = found.iter().map(|it| it.header.recording).collect();
    assert_eq!(ids, [77, story().salvage().header.recording]);
    let told = |found| {
        let mut stream = Stream::open_found(&disk[..], found, |_| {}).unwrap();
        let mut told = 0;
        while stream.tell().unwrap() {
            told += u64::from(stream.told().what.is_event());
        }
        told
    };
    assert_eq!((told(&found[0]), told(&found[1])), (1, 10));
}

#[test]
fn what_has_a_header_is_not_looked_through() {
    assert_eq!(Found::unless_headed(&story().bytes).unwrap(), None);
    let found = Found::unless_headed(&headless()).unwrap();
    assert_eq!(found.map(|found| found.len()), Some(1));
    let error = Found::unless_headed(&[7; 70_000][..]).unwrap_err();
    assert!(matches!(error, Error::NotARecording(_)));
}

#[test]
fn a_damaged_block_between_others_is_made_out_without_a_header() {
    let mut bytes = headless();
    let at = story().block_offset(1) as usize;
    bytes[at..at + block::HEADER_BYTES].fill(0xff);
    let (_, recording) = found(&bytes);
    assert_eq!(numbers(&recording), ALL);
    assert_eq!(recording.ledger.mended_blocks, 1);
}

/// Nobody's headers, and from the block at `from` on two bytes of what each says wrong.
fn worse(mut image: Image, damaged: std::ops::Range<u32>) -> Vec<u8> {
    for index in damaged {
        for word in [block::word::NAME, block::word::EVENTS_BEFORE] {
            image.flip(index, word);
        }
    }
    let copy = image.layout().copy_offset() as usize;
    for at in [0, copy] {
        image.bytes[at..at + HEADER_BYTES].fill(0);
    }
    image.bytes
}

#[test]
fn where_most_blocks_are_damaged_those_that_are_not_tell_where_they_lie() {
    let blocks = 130;
    let mut image = Image::new(blocks, 0);
    for index in 0..blocks {
        let ticks = MS * u64::from(index + 1);
        image.take(index, 1, ticks);
        image.event(1, ticks, index);
    }
    let (found, recording) = found(&worse(image, 70..blocks));
    assert_eq!(found.blocks, 70);
    assert!(numbers(&recording).into_iter().eq(0..u64::from(blocks)));
}

#[test]
fn how_fast_ticks_pass_is_guessed_by_the_machines_age_where_one_moment_is_left() {
    let at = |ms: u64| clock::Sample {
        ticks: 3 * (MS * ms + 900),
        ..image::sample(MS * ms)
    };
    let mut image = Image::new(4, 0);
    for (index, ms) in (0..).zip([1, 1, 90, 90]) {
        image.take(index, 1, at(ms).ticks);
        image.event(1, at(ms).ticks + u64::from(index), index);
        image.begun(index, at(ms));
    }
    let (_, recording) = found(&worse(image, 0..2));
    assert_eq!(numbers(&recording), [0, 1, 2, 3]);
    assert_eq!(recording.entries[0].wall_ns, at(1).wall_ns);
    assert!(recording.ledger.lacks_rate);
}

/// A block of each of so many recordings.
fn of_others(recordings: u64) -> Vec<u8> {
    let block = |recording| {
        let header = block::Header {
            recording,
            sequence: 1,
            thread: 1,
            ..block::Header::default()
        };
        let words = header.encode(0).into_iter();
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.resize(BLOCK_BYTES, 0);
        bytes
    };
    (1..=recordings).flat_map(block).collect()
}

#[test]
fn among_many_recordings_a_slot_is_sought_where_it_belongs_alone() {
    let image = story();
    let slots = image.layout().slot_offset(0) as usize;
    let (slots, pool) = (slots..slots + BLOCK_BYTES, image.block_offset(0) as usize);
    for (others, is_told) in [(5, true), (40, false)] {
        let mut disk = of_others(others);
        disk.extend(&image.bytes[slots.clone()]);
        disk.extend(&image.bytes[pool..]);
        assert_eq!(Found::all(&disk[..]).unwrap().len() as u64, others + 1);
        let recording = salvage(&disk).unwrap();
        assert_eq!(numbers(&recording), ALL);
        let is_open = recording.spans.get(&id(1)).is_some_and(|span| span.open);
        assert_eq!(is_open, is_told, "among {others} others");
    }
}

#[test]
fn where_totals_and_causes_are_gone_an_incident_tells_where_the_beginning_lies() {
    let mut image = story();
    let fell = Incident {
        ticks: 25 * MS,
        wall_ns: EPOCH_NS + 25 * MS,
        message: "it fell over".into(),
        ..Incident::default()
    };
    let page = incident::Page::new(&fell, image.recording());
    image.put(incident::offset(0), page.words());
    let copy = image.layout().copy_offset() as usize;
    image.bytes[..INCIDENTS_OFFSET as usize].fill(0);
    image.bytes[copy..].fill(0);
    let (_, recording) = found(&image.bytes);
    assert_eq!(recording.incidents, [fell]);
    assert_eq!(numbers(&recording), ALL);
    // Without it, nothing does.
    image.bytes[incident::offset(0) as usize] ^= 1;
    assert!(found(&image.bytes).1.incidents.is_empty());
}

/// What is as bad as can be, of a mebibyte: it takes time and memory in proportion.
#[test]
fn bytes_that_are_all_magic_are_gone_over_once() {
    let mut hostile: Vec<Vec<u8>> = Vec::new();
    for magic in [&b"ttlgblk0"[..], b"ttlogrec", b"ttlgnew0", b"tttttttt"] {
        hostile.push(magic.repeat((1 << 20) / magic.len()));
    }
    // A block of a recording of its own at every 192 bytes, at an index as high as can be.
    let mut bytes = Vec::new();
    for recording in 1..(1 << 20) / block::HEADER_BYTES as u64 {
        let header = block::Header {
            recording,
            sequence: u64::MAX - recording,
            index: u32::MAX - (recording % 5) as u32,
            thread: recording as u32,
            ..block::Header::default()
        };
        let words = header.encode(0);
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    hostile.push(bytes);
    // Slots of spans that are open, all over.
    let slot = Image::slot_words(id(5), &[(Kind::SpanOpen, &[1, SPAN, id(5).to_u64(), 0])]);
    let mut slot: Vec<u8> = slot.iter().flat_map(|word| word.to_le_bytes()).collect();
    slot.resize(span::SLOT_BYTES, 0);
    hostile.push([slot.repeat((1 << 20) / span::SLOT_BYTES), headless()].concat());
    for bytes in hostile {
        let found = Found::all(&bytes[..]).unwrap();
        let places: usize = found.iter().map(|found| found.places.len()).sum();
        assert!(places <= bytes.len() / 1024 + 4096, "{places}");
        for found in found.iter().take(3) {
            let mut stream = Stream::open_found(&bytes[..], found, |_| {}).unwrap();
            while stream.tell().unwrap() {}
        }
    }
}
