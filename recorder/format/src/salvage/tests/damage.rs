//! What befell the file, and what is read back all the same.

use std::collections::HashSet;

use super::super::file::read;
use super::super::image::Image;
use super::*;
use crate::block::Retired;
use crate::header::{INCIDENTS_OFFSET, TOTALS_OFFSET};
use crate::span;
use crate::{BLOCK_BYTES, BLOCK_WORDS};
use proptest::prelude::*;

#[test]
fn a_slot_whose_opening_is_damaged_is_counted() {
    let mut image = story();
    let offset = image.layout().slot_offset(1);
    image.bytes[offset as usize + 5 * 8] ^= 1;
    let recording = image.salvage();
    assert_eq!(recording.ledger.damaged_spans, 1);
    assert!(recording.spans[&id(0)].open);
    assert!(!recording.spans.contains_key(&id(1)));
}

#[test]
fn a_cause_that_is_lost_is_not_taken_for_one_that_never_was() {
    let story = story();
    assert_eq!(story.salvage().ledger.damaged_causes, 0);
    let [first, second] = [0, 1].map(|place| cause::offset(place) as usize);
    // Zeroed, all of them; the one there is; what says that there is no second.
    for (zeroed, damaged, left) in [
        (first..INCIDENTS_OFFSET as usize, 8, 0),
        (first..second, 1, 0),
        (second..second + 8, 1, 1),
        (second + 8..INCIDENTS_OFFSET as usize, 0, 1),
    ] {
        let mut image = story.clone();
        image.bytes[zeroed].fill(0);
        let recording = image.salvage();
        assert_eq!(recording.ledger.damaged_causes, damaged);
        assert_eq!(recording.causes.len(), left);
    }
    let mut image = story.clone();
    let begun = cause::begun(image.recording(), 0);
    image.put(first as u64, &[begun]);
    let recording = image.salvage();
    assert!(recording.causes.is_empty() && recording.ledger.damaged_causes == 0);
}

#[test]
fn a_damaged_record_costs_itself_alone() {
    let mut image = story();
    let last = image.used_words(4) - 1;
    image.flip(4, last);
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [0, 1, 100, 2, 101, 3, 4, 5, 102]);
    assert_eq!(recording.threads[0].counts, counts(6, 0, 0, 1));
    assert!(recording.ledger.exact);
}

/// An event in one span, out of it, in another, out of it; a record is damaged.
fn in_spans_with_damage_at(record: usize) -> Recording {
    let mut image = Image::new(7, 3);
    image.call_sites(0);
    image.take(1, 1, 10);
    let mut starts = Vec::new();
    let mut next = 0;
    for slot in 0..2 {
        for kind in [
            Kind::SpanOpen,
            Kind::SpanEnter,
            Kind::Event,
            Kind::SpanExit,
            Kind::Event,
        ] {
            let ticks = 11 + starts.len() as u64;
            starts.push(image.used_words(1));
            match kind {
                Kind::SpanOpen => open(&mut image, 1, ticks, slot, None),
                Kind::Event => {
                    image.event(1, ticks, next);
                    next += 1;
                }
                _ => image.append(1, kind, &[ticks, id(slot).to_u64()]),
            }
        }
    }
    image.flip(1, starts[record]);
    image.salvage()
}

#[test]
fn behind_a_damaged_record_no_event_is_in_a_span_that_it_was_not_in() {
    let was_in = [Some(id(0)), None, Some(id(1)), None];
    for record in 0..10 {
        let recording = in_spans_with_damage_at(record);
        for event in recording
            .entries
            .iter()
            .filter(|entry| entry.what.is_event())
        {
            let number = number_of(&event.fields.to_vec()) as usize;
            let shown = event.span.is_none() || event.span == was_in[number];
            assert!(
                shown,
                "{record} is damaged, {number} is in {:?}",
                event.span
            );
        }
        assert_eq!(recording.threads[0].stack, [], "{record} is damaged");
    }
}

#[test]
fn the_events_of_a_damaged_block_are_torn() {
    let mut image = story();
    image.put(image.block_offset(1), &[u64::MAX; BLOCK_WORDS]);
    let recording = image.salvage();
    assert_eq!(recording.threads[0].counts, counts(2, 0, 0, 5));
    assert_eq!(
        (recording.ledger.damaged_blocks, recording.ledger.exact),
        (1, false)
    );
}

#[test]
fn a_block_of_zeros_where_one_was_is_damage() {
    let mut image = story();
    image.put(image.block_offset(1), &[0; BLOCK_WORDS]);
    let recording = image.salvage();
    assert_eq!(recording.threads[0].counts, counts(2, 0, 0, 5));
    assert_eq!(
        (recording.ledger.damaged_blocks, recording.ledger.exact),
        (1, false)
    );
}

#[test]
fn a_damaged_commit_word_costs_nothing_that_the_next_block_knows() {
    let mut image = story();
    image.flip(1, block::word::COMMIT);
    assert_eq!(image.salvage().ledger.counts, counts(10, 0, 7, 0));
    assert!(image.salvage().ledger.exact);
    image.flip(4, block::word::COMMIT);
    assert_eq!(image.salvage().ledger.counts, counts(10, 0, 7, 0));
    assert!(!image.salvage().ledger.exact);
}

#[test]
fn a_moved_block_is_damage_and_shown_once() {
    let mut image = story();
    let (from, to) = (
        image.block_offset(4) as usize,
        image.block_offset(5) as usize,
    );
    image.bytes.copy_within(from..from + BLOCK_BYTES, to);
    let recording = image.salvage();
    assert_eq!(numbers(&recording).len(), 10);
    assert_eq!(
        (recording.ledger.damaged_blocks, recording.ledger.exact),
        (1, false)
    );
    image.put(image.block_offset(4), &[0; BLOCK_WORDS]);
    let recording = image.salvage();
    assert_eq!(
        numbers(&recording).len(),
        10,
        "its own place has it no more"
    );
    assert!(!recording.ledger.exact);
}

#[test]
fn either_copy_of_the_call_sites_will_do() {
    for (lost, damaged) in [(&[0][..], 1), (&[6], 1), (&[0, 6], 2)] {
        let mut image = story();
        let ones = [u64::MAX; BLOCK_WORDS];
        lost.iter()
            .for_each(|&index| image.put(image.block_offset(index), &ones));
        let ledger = image.salvage().ledger;
        let without = if damaged == 2 { 10 } else { 0 };
        assert_eq!(
            (ledger.damaged_blocks, ledger.events_without_site),
            (damaged, without)
        );
    }
}

#[test]
fn either_header_will_do() {
    for at in [0, 8, 40, 100] {
        let mut image = story();
        image.bytes[at] ^= 1;
        assert_eq!(numbers(&image.salvage()).len(), 10, "byte {at}");
        let copy = image.layout().copy_offset() as usize;
        image.bytes[copy + 100] ^= 1;
        let recording = image.salvage();
        assert_eq!(
            numbers(&recording).len(),
            10,
            "a byte of each is made right"
        );
        assert_eq!(recording.header.name, "victim");
        assert!(!recording.ledger.lacks_header);
    }
}

#[test]
fn where_there_is_neither_header_nor_block_it_is_said_what_there_is() {
    for at in [0, 8, 40] {
        let mut image = Image::new(2, 0);
        let copy = image.layout().copy_offset() as usize;
        for byte in [at, 1000, copy, copy + 100, copy + 1000] {
            image.bytes[byte] ^= 1;
        }
        let error = salvage(&image.bytes).unwrap_err();
        let told = match at {
            0 => matches!(error, Error::NotARecording(ref first) if first.len() == 16),
            8 => matches!(
                error,
                Error::Unsupported {
                    version: 0,
                    features: 0
                }
            ),
            _ => matches!(error, Error::NoHeader),
        };
        assert!(told, "byte {at}: {error:?}");
    }
}

#[test]
fn two_headers_of_a_newer_version_are_no_damage_and_one_is() {
    let mut image = story();
    let copy = image.layout().copy_offset() as usize;
    image.bytes[8] += 1;
    assert_eq!(numbers(&image.salvage()).len(), 10);
    image.bytes[copy + 8] += 1;
    let error = salvage(&image.bytes).unwrap_err();
    let is_newer = matches!(error, Error::Unsupported { version: 2, .. });
    assert!(is_newer, "{error:?}");
}

#[test]
fn what_is_no_recording_is_said_to_be_none() {
    for bytes in [
        &b""[..],
        b"ttlog",
        b"\x7fELF and so on, and so on",
        &[0; 70000],
    ] {
        let error = salvage(bytes).unwrap_err();
        let Error::NotARecording(first) = error else {
            panic!("{error:?}")
        };
        assert_eq!(first, bytes[..bytes.len().min(16)]);
    }
    assert!(matches!(salvage(&b"ttlogrec"[..]), Err(Error::NoHeader)));
}

#[test]
fn a_damaged_total_is_not_believed() {
    let mut image = story();
    image.total(totals::DROPPED_WITHOUT_BLOCK, 4);
    let counts = image.salvage().ledger.counts;
    image.bytes[TOTALS_OFFSET as usize + 3] ^= 1;
    let ledger = image.salvage().ledger;
    assert!(!ledger.exact && balanced(ledger.counts), "{ledger:?}");
    assert_eq!(ledger.counts.dropped, counts.dropped - 4);
    assert_eq!(ledger.damaged_totals, 1);
}

#[test]
fn totals_that_do_not_add_up_still_balance() {
    let mut image = story();
    image.total(totals::DROPPED_WITHOUT_BLOCK, u64::MAX - 1);
    let offset = image.block_offset(5);
    image.put(
        offset + 8 * block::word::RETIRED as u64,
        &[u64::MAX, u64::MAX],
    );
    image.put(offset, &[block::MAGIC_TAKEN[0]]);
    let counts = image.salvage().ledger.counts;
    assert!(balanced(counts), "{counts:?}");
    assert_eq!(counts.readable, 10);
}

/// What a damaged recording may show: what was written, each once.
fn assert_honest(bytes: &[u8], written: &[(u32, Vec<Field>)], what: &str) {
    let Ok(recording) = salvage(bytes) else {
        return;
    };
    let mut seen = HashSet::new();
    for event in recording
        .entries
        .iter()
        .filter(|entry| entry.what == What::Event)
    {
        let thread = recording.threads[event.thread as usize].number;
        let shown = |w: &&(u32, Vec<Field>)| w.0 == thread && w.1 == event.fields.to_vec();
        assert!(written.iter().any(|w| shown(&w)), "{what}: {event:?}");
        assert!(
            seen.insert(number_of(&event.fields.to_vec())),
            "{what}: {event:?} twice"
        );
    }
    assert_eq!(
        seen.len() as u64,
        recording.ledger.counts.readable,
        "{what}"
    );
    assert!(
        balanced(recording.ledger.counts),
        "{what}: {:?}",
        recording.ledger
    );
    assert!(
        recording
            .threads
            .iter()
            .all(|thread| balanced(thread.counts)),
        "{what}"
    );
    let lost = written.len() - seen.len();
    let told = recording.ledger.counts.torn > 0 || !recording.ledger.exact;
    assert!(
        lost == 0 || told,
        "{what}: {lost} lost in silence, {:?}",
        recording.ledger
    );
}

fn written(image: &Image) -> Vec<(u32, Vec<Field>)> {
    let recording = image.salvage();
    let events = recording
        .entries
        .iter()
        .filter(|entry| entry.what == What::Event);
    let thread = |event: &Entry| recording.threads[event.thread as usize].number;
    events
        .map(|event| (thread(event), event.fields.to_vec()))
        .collect()
}

/// Every byte of the image that is in use, and some of those that are not.
fn offsets(image: &Image) -> Vec<usize> {
    let mut used: Vec<usize> = (0..2560).chain(4096..4096 + 24).chain(8192..8256).collect();
    let slots = image.layout().slot_offset(0) as usize;
    used.extend(slots..slots + 3 * span::SLOT_BYTES);
    for index in 0..image.layout().blocks {
        let start = image.block_offset(index) as usize;
        used.extend(start..start + image.used_words(index) * 8);
    }
    used.extend((0..image.bytes.len()).step_by(509));
    used.sort_unstable();
    used.dedup();
    used
}

#[test]
fn no_flipped_byte_shows_what_was_not_written() {
    let mut image = story();
    let written = written(&image);
    for at in offsets(&image) {
        for mask in [1u8 << (at % 8), 0xff] {
            image.bytes[at] ^= mask;
            assert!(salvage(&image.bytes).is_ok(), "byte {at}");
            assert_honest(
                &image.bytes,
                &written,
                &format!("byte {at} flipped by {mask:#x}"),
            );
            image.bytes[at] ^= mask;
        }
    }
}

#[test]
fn no_cut_shows_what_was_not_written() {
    let image = story();
    let written = written(&image);
    for len in offsets(&image) {
        assert_honest(&image.bytes[..len], &written, &format!("cut at {len}"));
    }
    let cut = salvage(&image.bytes[..image.block_offset(4) as usize]).unwrap();
    assert_eq!((cut.ledger.damaged_blocks, cut.ledger.exact), (3, false));
    assert_eq!(cut.ledger.missing_bytes, 3 * BLOCK_BYTES as u64 + 4096);
    assert_eq!(numbers(&cut).len(), 8);
}

#[test]
fn no_stretch_of_noise_shows_what_was_not_written() {
    let image = story();
    let written = written(&image);
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for start in (0..image.bytes.len() - 700).step_by(331) {
        let mut bytes = image.bytes.clone();
        for byte in &mut bytes[start..start + 700] {
            noise = noise.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ 0x55;
            *byte = noise as u8;
        }
        assert_honest(&bytes, &written, &format!("noise at {start}"));
    }
}

#[test]
fn a_duplicate_sequence_number_is_damage() {
    // Two blocks that both pass their check: only a forger writes that.
    let mut image = Image::new(2, 0);
    image.take(0, 1, MS);
    image.event(1, 2 * MS, 0);
    let header = block::decode(&words(&image, 0));
    let block::State::Block(header) = header else {
        panic!("{header:?}")
    };
    let forged = block::Header {
        index: 1,
        retired: Retired::default(),
        ..*header
    };
    image.put(image.block_offset(1), &forged.encode(0));
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [0]);
    assert_eq!(
        (recording.ledger.damaged_blocks, recording.ledger.exact),
        (1, false)
    );
}

fn words(image: &Image, index: u32) -> Vec<u64> {
    let offset = image.block_offset(index);
    (0..BLOCK_WORDS as u64)
        .map(|i| image.word(offset + 8 * i))
        .collect()
}

proptest! {
    /// What passes every check and makes no sense: no check may be all that
    /// stands between nonsense and a panic.
    #[test]
    fn nonsense_under_valid_checks_is_accounted_for(
        records in proptest::collection::vec(
            (1..=12u8, proptest::collection::vec(prop_oneof![0..9u64, any::<u64>()], 1..9)), 0..40,
        ),
        headers in proptest::collection::vec((any::<[u64; 4]>(), any::<[u32; 3]>(), any::<[u64; 4]>()), 0..4),
        total in any::<u64>(),
    ) {
        let mut image = Image::new(6, 2);
        image.take(0, 1, MS);
        for (kind, body) in &records {
            image.append(1, Kind::from_u8(*kind).unwrap(), body);
        }
        let block::State::Block(first) = block::decode(&words(&image, 0)) else { panic!() };
        for (index, (long, short, clocks)) in (1..).zip(headers) {
            let header = block::Header {
                index,
                sequence: long[0],
                events_before: long[1],
                previous_sequence: long[2],
                retired: Retired { events: long[3], dropped: long[1] },
                thread: short[0] % 3,
                previous_index: short[1] % 8,
                previous_events: short[2],
                clocks: crate::clock::Sample::from_words(clocks),
                ..*first
            };
            image.put(image.block_offset(index), &header.encode(short[1]));
        }
        image.total(totals::DROPPED_WITHOUT_BLOCK, total);
        let recording = image.salvage();
        prop_assert!(balanced(recording.ledger.counts), "{:?}", recording.ledger);
        prop_assert!(recording.threads.iter().all(|thread| balanced(thread.counts)));
        prop_assert_eq!(event_count(&recording), recording.ledger.counts.readable);
    }
}

fn event_count(recording: &Recording) -> u64 {
    let events = recording
        .entries
        .iter()
        .filter(|entry| entry.what == What::Event);
    events.count() as u64
}

/// A source of which every other read is interrupted, and no read gives much.
struct Halting {
    bytes: Vec<u8>,
    reads: std::cell::Cell<u64>,
}

impl Source for Halting {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get().is_multiple_of(2) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let len = buffer.len().min(1000);
        self.bytes[..].read_at(&mut buffer[..len], offset)
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

#[test]
fn reads_that_are_interrupted_and_short_are_gone_on_with() {
    let image = story();
    let whole = image.salvage();
    let recording = salvage(&Halting {
        bytes: image.bytes,
        reads: 0.into(),
    });
    let recording = recording.unwrap();
    assert_eq!(recording.entries, whole.entries);
    assert_eq!(recording.ledger, whole.ledger);
}

/// A source that has a byte at every offset, and gives one at a time.
struct Endless;

impl Source for Endless {
    fn read_at(&self, buffer: &mut [u8], _: u64) -> std::io::Result<usize> {
        buffer[0] = 7;
        Ok(1)
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[test]
fn nothing_is_read_behind_the_last_offset_that_there_is() {
    let mut bytes = [0; 4];
    assert_eq!(read(&Endless, &mut bytes, u64::MAX - 1).unwrap(), 2);
    assert_eq!(bytes, [7, 7, 0, 0]);
}

/// A source that cannot be read from here on.
struct Unreadable {
    bytes: Vec<u8>,
    from: u64,
}

impl Source for Unreadable {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        match offset + buffer.len() as u64 > self.from {
            true => Err(std::io::ErrorKind::PermissionDenied.into()),
            false => self.bytes[..].read_at(buffer, offset),
        }
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

#[test]
fn what_cannot_be_read_is_an_error_wherever_that_is_and_no_damage() {
    let bytes = story().bytes;
    let len = bytes.len() as u64;
    for from in (0..len).step_by(1024) {
        let bytes = bytes.clone();
        let read = salvage(&Unreadable { bytes, from });
        assert!(matches!(read, Err(Error::Read(_))), "{from}");
    }
}
