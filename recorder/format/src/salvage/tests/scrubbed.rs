//! Copies without some values: nothing of these is in them, and all else is.

use super::super::image::Image;
use super::*;
use crate::BLOCK_BYTES;
use crate::header::newest;
use crate::redaction::Names;
use crate::value::{Borrowed, Value};
use proptest::prelude::*;

const CANARY: &[u8; 24] = b"a canary that is denied.";

/// A story in which values are told that are denied, of events and of spans.
fn secrets() -> Image {
    let mut image = story();
    let canary = text(1, "a canary that is denied.", 24);
    for (thread, ticks) in [(1, 60 * MS), (2, 61 * MS)] {
        let mut event = vec![ticks, EVENT, number(0, 200 + thread)];
        event.extend(&canary);
        image.append(thread, Kind::Event, &event);
    }
    // Of a span of which nothing tells where it is from.
    let mut later = vec![62 * MS, id(2).to_u64()];
    later.extend(text(0, "a canary that is denied.", 24));
    image.append(2, Kind::SpanValues, &later);
    let mut opening = vec![11 * MS, SPAN, id(0).to_u64(), 0];
    opening.extend(text(0, "a canary that is denied.", 24));
    image.slot(id(0), &[(Kind::SpanOpen, &opening)]);
    // What was closed, free, or not committed is there as well.
    let closed = image.layout().slot_offset(2) as usize + 64;
    image.bytes[closed..closed + 24].copy_from_slice(CANARY);
    let behind = image.block_offset(1) as usize + BLOCK_BYTES - 24;
    image.bytes[behind..behind + 24].copy_from_slice(CANARY);
    let free = image.block_offset(5) as usize + 512;
    image.bytes[free..free + 24].copy_from_slice(CANARY);
    image
}

fn denied() -> Names {
    let mut names = Names::none();
    assert!(names.deny("text") && names.deny("id"));
    names
}

fn copied(bytes: &Vec<u8>) -> (Vec<u8>, Scrubbed) {
    copied_without(bytes, &denied())
}

/// A copy without the values of fields with these names, and of those of which nobody knows
/// them.
pub(super) fn copied_without(source: &impl Source, names: &Names) -> (Vec<u8>, Scrubbed) {
    let value = |_: &Value<Borrowed<'_>>| false;
    let rule = Rule {
        names,
        value: &value,
    };
    let mut copy = Vec::new();
    let scrubbed = scrub(source, &rule, &mut copy).unwrap();
    (copy, scrubbed)
}

fn has_canary(bytes: &[u8]) -> bool {
    bytes.windows(24).any(|bytes| bytes == CANARY)
}

/// The fields of what is from this site, without those that are denied.
fn without(recording: &Recording, site: u64, field: &Field) -> Field {
    let site = recording.sites.get(&site);
    let name = site.and_then(|site| site.fields.get(usize::from(field.index)));
    let is_denied = name.is_none_or(|name| denied().deny_field(name));
    Field {
        index: field.index,
        value: if is_denied {
            Value::Redacted
        } else {
            field.value.clone()
        },
    }
}

/// What a copy of a recording has to tell.
fn expected(recording: Recording) -> Recording {
    let of = |site: u64, fields: Vec<Field>| -> Vec<Field> {
        let fields = fields.iter();
        fields
            .map(|field| without(&recording, site, field))
            .collect()
    };
    let entries = recording.entries.iter().map(|entry| Entry {
        fields: of(entry.site, entry.fields.to_vec()).into(),
        ..entry.clone()
    });
    let spans = recording.spans.iter().map(|(&id, span)| {
        let fields = span.fields.iter();
        let fields = fields.map(|(at, field)| (*at, without(&recording, span.site, field)));
        let span = Span {
            fields: fields.collect(),
            ..(**span).clone()
        };
        (id, std::sync::Arc::new(span))
    });
    Recording {
        entries: entries.collect(),
        spans: spans.collect(),
        header: crate::header::Header {
            scrubbed: true,
            ..recording.header.clone()
        },
        // A header that was mended is written as it must have been.
        ledger: Ledger {
            exact: recording.ledger.exact || recording.ledger.mended_blocks > 0,
            ..recording.ledger
        },
        ..recording.clone()
    }
}

/// All that is to be compared, in an order.
fn told(recording: &Recording) -> String {
    let mut spans: Vec<_> = recording.spans.iter().collect();
    spans.sort_by_key(|(id, _)| **id);
    let mut sites: Vec<_> = recording.sites.iter().collect();
    sites.sort_by_key(|(address, _)| **address);
    let ledger = Ledger {
        truncated: 0,
        mended_blocks: 0,
        ..recording.ledger
    };
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{ledger:?}\n{sites:?}\n{spans:?}\n{}",
        recording.header,
        recording.entries,
        recording.causes,
        recording.incidents,
        recording.threads,
        recording.end_ns
    )
}

#[test]
fn a_copy_tells_all_but_what_is_denied_and_holds_nothing_else() {
    let image = secrets();
    assert!(has_canary(&image.bytes));
    let (copy, scrubbed) = copied(&image.bytes);
    assert_eq!(copy.len(), image.bytes.len());
    assert!(!has_canary(&copy));
    let recording = salvage(&copy).unwrap();
    assert_eq!(told(&recording), told(&expected(image.salvage())));
    assert!(scrubbed.values >= 4 && scrubbed.records <= scrubbed.values);
    // Of a copy there is nothing left to take out, and it is what it was.
    assert_eq!(copied(&copy), (copy, Scrubbed::default()));
}

#[test]
fn what_a_value_says_is_looked_for_too() {
    let image = secrets();
    let value = |value: &Value<Borrowed<'_>>| {
        value
            .text()
            .is_some_and(|text| text.lossy().contains("canary"))
    };
    let rule = Rule {
        names: &Names::none(),
        value: &value,
    };
    let mut copy = Vec::new();
    scrub(&image.bytes, &rule, &mut copy).unwrap();
    assert!(!has_canary(&copy));
    let recording = salvage(&copy).unwrap();
    assert_eq!(numbers(&recording), numbers(&image.salvage()));
}

proptest! {
    #[test]
    fn whatever_befell_it_a_copy_tells_what_it_told(
        flips in proptest::collection::vec((any::<usize>(), 0..8u32), 0..30),
        canaries in proptest::collection::vec(any::<usize>(), 0..20),
        cut in proptest::option::of(any::<usize>()),
    ) {
        let mut bytes = secrets().bytes;
        let len = bytes.len();
        for (at, bit) in flips {
            bytes[at % len] ^= 1 << bit;
        }
        for at in canaries {
            let at = (at % (len - 24)) & !7;
            bytes[at..at + 24].copy_from_slice(CANARY);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut % len);
        }
        let Ok(before) = salvage(&bytes) else { return Ok(()) };
        let (copy, _) = copied(&bytes);
        prop_assert!(!has_canary(&copy));
        let after = salvage(&copy).unwrap();
        let happened = |recording: &Recording| {
            let entries = recording.entries.iter();
            entries.map(|entry| (entry.what, entry.wall_ns)).collect::<Vec<_>>()
        };
        prop_assert_eq!(happened(&after), happened(&before));
        if crate::header::Header::decode(&bytes).is_err() {
            // What was found by its blocks is put together, and gets a header.
            return Ok(());
        }
        prop_assert_eq!(copy.len(), bytes.len());
        if before.ledger.damaged_spans > 0 {
            // A slot that does not say which span it holds is left out.
            return Ok(());
        }
        let mut expected = expected(before.clone());
        if before.ledger.mended_blocks > 0 {
            expected.ledger.exact = after.ledger.exact;
        }
        prop_assert_eq!(told(&after), told(&expected));
    }
}

#[test]
fn a_block_that_belongs_elsewhere_is_not_copied() {
    let mut other = Image::of(77, 7, 3);
    other.take(5, 1, MS);
    other.event(1, 2 * MS, 900);
    let image = story();
    for (bytes, from) in [(&other.bytes, 5), (&image.bytes, 1)] {
        let mut image = image.clone();
        let (from, to) = (image.block_offset(from), image.block_offset(5));
        let block = bytes[from as usize..][..BLOCK_BYTES].to_vec();
        image.bytes[to as usize..][..BLOCK_BYTES].copy_from_slice(&block);
        let told = numbers(&image.salvage());
        assert_eq!(told, numbers(&story().salvage()));
        let (copy, _) = copied(&image.bytes);
        assert_eq!(numbers(&salvage(&copy).unwrap()), told);
        assert!(copy[to as usize..][..BLOCK_BYTES] != block);
    }
}

#[test]
fn of_descriptions_that_name_no_span_or_hold_no_record_nothing_is_copied() {
    let mut image = story();
    let canary = text(0, "a canary that is denied.", 24);
    let opening = [&[60 * MS, SPAN, id(5).to_u64(), 0], &canary[..]].concat();
    let slot = Image::slot_words(id(5), &[(Kind::SpanOpen, &opening)]);
    for (named, slot) in [
        (0, &slot[..]),
        (id(5).to_u64(), &slot[..1]),
        (id(5).to_u64(), &[]),
    ] {
        let description = [&[60 * MS, named], slot].concat();
        image.append(2, Kind::Description, &description);
    }
    assert!(has_canary(&image.bytes));
    let (copy, _) = copied(&image.bytes);
    assert!(!has_canary(&copy));
    let recording = salvage(&copy).unwrap();
    assert_eq!(told(&recording), told(&expected(image.salvage())));
}

/// What a copy without nothing tells of a value that was recorded later of a span, of which
/// these records tell.
fn copied_later(span: SpanId, records: &[(Kind, &[u64])]) -> Value {
    let mut image = Image::new(2, 0);
    image.call_sites(0);
    image.take(1, 1, MS);
    for (kind, body) in records {
        image.append(1, *kind, body);
    }
    let later = [4 * MS, span.to_u64(), number(0, 7)];
    image.append(1, Kind::SpanValues, &later);
    let (copy, _) = copied_without(&image.bytes, &Names::none());
    let recording = salvage(&copy).unwrap();
    let last = recording.entries.last().unwrap();
    assert_eq!((last.what, last.span), (What::Values, Some(span)));
    last.fields.to_vec()[0].value.clone()
}

#[test]
fn of_a_span_that_is_told_to_be_from_two_call_sites_no_later_value_is_copied() {
    let opening = |site| [2 * MS, site, id(1).to_u64(), 0, number(0, 1)];
    for (site, copied) in [(SPAN, Value::U64(7)), (EVENT, Value::Redacted)] {
        let (first, second) = (opening(SPAN), opening(site));
        let records = [(Kind::SpanOpen, &first[..]), (Kind::SpanOpen, &second)];
        assert_eq!(copied_later(id(1), &records), copied);
    }
}

#[test]
fn where_a_span_is_from_is_told_by_descriptions_of_it_alone() {
    for (of, copied) in [(id(5), Value::U64(7)), (id(6), Value::Redacted)] {
        let opening = [2 * MS, SPAN, id(5).to_u64(), 0, number(0, 1)];
        let slot = Image::slot_words(of, &[(Kind::SpanOpen, &opening)]);
        let description = [&[3 * MS, of.to_u64()], &slot[..]].concat();
        let records = [(Kind::Description, &description[..])];
        assert_eq!(copied_later(id(5), &records), copied);
    }
}

#[test]
fn a_slot_of_a_span_that_belongs_elsewhere_is_damaged_in_the_copy_too() {
    let mut image = secrets();
    let [from, to] = [0, 2].map(|slot| image.layout().slot_offset(slot) as usize);
    image.bytes.copy_within(from..from + 256, to);
    let before = image.salvage();
    assert_eq!(before.ledger.damaged_spans, 1);
    let (copy, _) = copied(&image.bytes);
    assert!(!has_canary(&copy));
    assert_eq!(told(&salvage(&copy).unwrap()), told(&expected(before)));
    assert!(copy[to + 8..to + 256].iter().all(|&byte| byte == 0));
}

#[test]
fn of_the_newest_clock_samples_those_are_copied_that_pass_their_checks() {
    let mut image = story();
    let offset = |place: usize| newest::OFFSET + (8 * newest::WORDS * place) as u64;
    for place in 0..newest::PLACES {
        let sample = super::super::image::sample(50 * MS);
        let words = newest::encode(sample, image.recording(), place);
        image.put(offset(place), &words);
    }
    let bytes = |bytes: &[u8], place| bytes[offset(place) as usize..][..8 * newest::WORDS].to_vec();
    let (copy, _) = copied(&image.bytes);
    for place in 0..newest::PLACES {
        assert_eq!(bytes(&copy, place), bytes(&image.bytes, place));
    }
    image.bytes[offset(1) as usize + 9] ^= 1;
    let (copy, _) = copied(&image.bytes);
    assert_eq!(bytes(&copy, 0), bytes(&image.bytes, 0));
    assert_eq!(bytes(&copy, 1), [0; 8 * newest::WORDS]);
}
