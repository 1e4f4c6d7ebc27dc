//! Histories: what was recorded, and what is read back.

mod damage;
mod followed;
mod found;
mod live;
mod mended;
mod scrubbed;
mod told;
mod wild;

use super::image::{EPOCH_NS, EVENT, Image, SPAN, number, text};
use super::*;
use crate::block::{self, HEADER_BYTES};
use crate::cause;
use crate::header::totals;
use crate::record::Kind;
use crate::value::Value;

const MS: u64 = 1_000_000;

/// The numbers of the readable events, in the order shown.
fn numbers(recording: &Recording) -> Vec<u64> {
    let events = recording
        .entries
        .iter()
        .filter(|entry| entry.what == What::Event);
    events
        .map(|event| number_of(&event.fields.to_vec()))
        .collect()
}

fn number_of(fields: &[Field]) -> u64 {
    match fields.first() {
        Some(Field {
            index: 0,
            value: Value::U64(n),
        }) => *n,
        other => panic!("not the number that was written: {other:?}"),
    }
}

fn balanced(counts: Counts) -> bool {
    let parts = [
        counts.readable,
        counts.overwritten,
        counts.dropped,
        counts.torn,
    ];
    parts
        .iter()
        .try_fold(0u64, |sum, &part| sum.checked_add(part))
        == Some(counts.written)
}

fn counts(readable: u64, overwritten: u64, dropped: u64, torn: u64) -> Counts {
    let written = readable + overwritten + dropped + torn;
    Counts {
        written,
        readable,
        overwritten,
        dropped,
        torn,
    }
}

fn id(slot: u32) -> SpanId {
    SpanId::in_slot(slot, 1)
}

fn open(image: &mut Image, thread: u32, ticks: u64, slot: u32, parent: Option<SpanId>) {
    let parent = parent.map_or(0, SpanId::to_u64);
    let body = [ticks, SPAN, id(slot).to_u64(), parent, number(0, slot)];
    image.append(thread, Kind::SpanOpen, &body);
}

/// Two call site blocks, two threads with two blocks each, two open spans, a cause.
fn story() -> Image {
    let mut image = Image::new(7, 3);
    image.call_sites(0);
    image.call_sites(6);
    image.take(1, 1, 10 * MS);
    open(&mut image, 1, 11 * MS, 0, None);
    image.append(1, Kind::SpanEnter, &[12 * MS, id(0).to_u64()]);
    for n in 0..5 {
        image.event(1, (13 + u64::from(n)) * MS, n);
    }
    image.take(2, 2, 13 * MS);
    image.event(2, 14 * MS + 1, 100);
    let long = [
        &[15 * MS + 1, EVENT, number(0, 101)],
        &text(1, "cut", 1000)[..],
    ]
    .concat();
    image.append(2, Kind::EventRoot, &long);
    image.drop_events(2, 3);
    image.take(4, 1, 20 * MS);
    image.append(1, Kind::Stack, &[20 * MS, 1, 1, id(0).to_u64()]);
    image.event(1, 21 * MS, 5);
    image.append(
        1,
        Kind::EventIn,
        &[22 * MS, EVENT, id(1).to_u64(), number(0, 6)],
    );
    image.take(3, 2, 22 * MS);
    image.event(2, 23 * MS, 102);
    let opening = [11 * MS, SPAN, id(0).to_u64(), 0, number(0, 0)];
    image.slot(id(0), &[(Kind::SpanOpen, &opening)]);
    let opening = [11 * MS, SPAN, id(1).to_u64(), id(0).to_u64(), number(0, 1)];
    image.slot(id(1), &[(Kind::SpanOpen, &opening)]);
    image.total(totals::DROPPED_WITHOUT_BLOCK, 4);
    let exit = Cause {
        kind: cause::Kind::Exit,
        ticks: 30 * MS,
        number: 0,
        thread_id: 1001,
        wall_ns: EPOCH_NS + 30 * MS,
        ..cause::Cause::default()
    };
    image.put(
        cause::offset(0),
        &exit.encode(super::image::header(7, 3).recording),
    );
    image
}

#[test]
fn what_was_recorded_comes_back() {
    let recording = story().salvage();
    assert_eq!(numbers(&recording), [0, 1, 100, 2, 101, 3, 4, 5, 6, 102]);
    assert_eq!(recording.threads[0].counts, counts(7, 0, 0, 0));
    assert_eq!(recording.threads[1].counts, counts(3, 0, 3, 0));
    let ledger = recording.ledger;
    assert_eq!(ledger.counts, counts(10, 0, 7, 0));
    assert_eq!(
        (
            ledger.damaged_blocks,
            ledger.damaged_spans,
            ledger.truncated
        ),
        (0, 0, 1)
    );
    assert_eq!(
        (
            ledger.events_without_site,
            ledger.missing_bytes,
            ledger.exact
        ),
        (0, 0, true)
    );
    assert_eq!(
        (recording.threads[0].id, recording.threads[0].name.as_str()),
        (1001, "worker")
    );
    assert_eq!(recording.causes.len(), 1);
    assert_eq!(recording.end_ns, EPOCH_NS + 30 * MS);
    assert_eq!(recording.sites[&EVENT].fields, ["n", "text"]);
    let covered = (EPOCH_NS + 14 * MS + 1, EPOCH_NS + 23 * MS);
    assert_eq!(recording.threads[1].covered_ns, Some(covered));
}

#[test]
fn events_are_shown_in_their_spans() {
    let recording = story().salvage();
    let spans: Vec<Option<SpanId>> = recording
        .entries
        .iter()
        .filter(|entry| entry.what == What::Event && entry.thread == 0)
        .map(|entry| entry.span)
        .collect();
    assert_eq!(spans, [vec![Some(id(0)); 6], vec![Some(id(1))]].concat());
    assert_eq!(recording.threads[0].stack, [id(0)]);
    assert_eq!(recording.threads[1].stack, []);
    let context = recording.context(Some(id(1)));
    assert_eq!(
        context.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [id(0), id(1)]
    );
    assert!(
        context
            .iter()
            .all(|(_, span)| span.open && span.opened_ns == EPOCH_NS + 11 * MS)
    );
    assert_eq!(recording.spans[&id(0)].entered_ns, Some(EPOCH_NS + 12 * MS));
}

#[test]
fn every_entry_is_dated_and_in_time_order() {
    let recording = story().salvage();
    assert!(recording.entries.is_sorted_by_key(|entry| entry.wall_ns));
    assert_eq!(recording.entries[0].wall_ns, EPOCH_NS + 11 * MS);
}

#[test]
fn ticks_that_run_backwards_keep_the_order_of_their_thread() {
    let mut image = Image::new(2, 0);
    image.take(0, 1, MS);
    image.take(1, 2, MS);
    for (n, ms) in [(0, 5), (1, 3), (2, 6)] {
        image.event(1, ms * MS, n);
    }
    image.event(2, 4 * MS, 10);
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [10, 0, 1, 2]);
    assert!(recording.entries.is_sorted_by_key(|entry| entry.wall_ns));
}

#[test]
fn an_exit_removes_the_last_occurrence_and_not_the_innermost() {
    let mut image = Image::new(1, 0);
    image.take(0, 1, MS);
    for slot in [1, 2, 1, 3] {
        image.append(1, Kind::SpanEnter, &[2 * MS, id(slot).to_u64()]);
    }
    image.append(1, Kind::SpanExit, &[3 * MS, id(1).to_u64()]);
    image.append(1, Kind::SpanExit, &[3 * MS, id(9).to_u64()]);
    image.event(1, 4 * MS, 0);
    let recording = image.salvage();
    assert_eq!(recording.threads[0].stack, [id(1), id(2), id(3)]);
    assert_eq!(recording.entries.last().unwrap().span, Some(id(3)));
}

#[test]
fn a_span_entered_at_once_and_closed_at_once_takes_two_records() {
    let mut image = Image::new(1, 0);
    image.take(0, 1, MS);
    open(&mut image, 1, 2 * MS, 1, None);
    image.and_later(1, 20);
    image.event(1, 3 * MS, 0);
    image.append(1, Kind::SpanExit, &[4 * MS, id(1).to_u64()]);
    image.and_later(1, 30);
    image.event(1, 5 * MS, 1);
    let recording = image.salvage();
    let told: Vec<(What, Option<SpanId>)> = recording
        .entries
        .iter()
        .map(|entry| (entry.what, entry.span))
        .collect();
    let span = Some(id(1));
    let expected = [
        (What::Open, span),
        (What::Enter, span),
        (What::Event, span),
        (What::Exit, span),
        (What::Close, span),
        (What::Event, None),
    ];
    assert_eq!(told, expected);
    let at = |i: usize| recording.entries[i].wall_ns;
    assert_eq!((at(1) - at(0), at(4) - at(3)), (20, 30));
    assert_eq!(recording.spans[&id(1)].entered_ns, Some(at(1)));
}

#[test]
fn a_stack_is_not_carried_over_a_gap() {
    let mut image = Image::new(3, 0);
    image.take(0, 1, MS);
    image.append(1, Kind::SpanEnter, &[2 * MS, id(1).to_u64()]);
    image.take(1, 1, 3 * MS);
    image.event(1, 4 * MS, 0);
    assert_eq!(image.salvage().entries[1].span, Some(id(1)));
    image.take(2, 1, 5 * MS);
    image.event(1, 6 * MS, 1);
    assert_eq!(image.salvage().entries[2].span, Some(id(1)));
    image.take(1, 2, 7 * MS);
    assert_eq!(image.salvage().entries[1].span, None);
}

#[test]
fn fields_recorded_later_are_kept_once_with_their_moments() {
    let mut image = Image::new(1, 1);
    let whole = text(0, "a long first value", 18);
    let opening = |value: &[u64]| [&[2 * MS, SPAN, id(0).to_u64(), 0][..], value].concat();
    let later = [3 * MS, id(0).to_u64(), number(1, 7)];
    let (cut, ring) = (opening(&text(0, "a long", 18)), opening(&whole));
    let slot = [(Kind::SpanOpen, &cut[..]), (Kind::SpanValues, &later[..])];
    image.slot(id(0), &slot);
    image.take(0, 1, MS);
    image.append(1, Kind::SpanOpen, &ring);
    let copy = Image::slot_words(id(0), &slot);
    image.append(
        1,
        Kind::Description,
        &[&[2 * MS, id(0).to_u64()], &copy[..]].concat(),
    );
    image.append(1, Kind::SpanValues, &later);
    image.append(1, Kind::SpanValues, &[4 * MS, id(0).to_u64(), number(1, 8)]);
    let recording = image.salvage();
    let span = &recording.spans[&id(0)];
    let moments: Vec<u64> = span
        .fields
        .iter()
        .map(|(ns, _)| (ns - EPOCH_NS) / MS)
        .collect();
    assert_eq!(moments, [2, 3, 4]);
    assert_eq!(
        span.fields[0].1.value.text().unwrap().bytes,
        b"a long first value"
    );
    assert_eq!(recording.ledger.damaged_spans, 0);
}

#[test]
fn a_description_tells_of_a_span_whose_opening_is_gone() {
    let mut image = Image::new(1, 0);
    image.take(0, 1, 9 * MS);
    let opening = [2 * MS, SPAN, id(5).to_u64(), id(4).to_u64(), number(0, 5)];
    let slot = Image::slot_words(id(5), &[(Kind::SpanOpen, &opening)]);
    image.append(
        1,
        Kind::Description,
        &[&[10 * MS, id(5).to_u64()], &slot[..]].concat(),
    );
    // A copy of another span's slot tells nothing of this one.
    image.append(
        1,
        Kind::Description,
        &[&[10 * MS, id(6).to_u64()], &slot[..]].concat(),
    );
    let recording = image.salvage();
    let span = &recording.spans[&id(5)];
    assert_eq!(
        (span.site, span.parent, span.open),
        (SPAN, Some(id(4)), false)
    );
    assert_eq!(span.opened_ns, EPOCH_NS + 2 * MS);
    assert!(!recording.spans.contains_key(&id(6)));
}

#[test]
fn a_description_tells_of_no_other_span_than_the_one_that_it_is_of() {
    let mut image = Image::new(1, 0);
    image.take(0, 1, 9 * MS);
    let opening = [2 * MS, SPAN, id(6).to_u64(), 0, number(0, 6)];
    let later = [3 * MS, id(6).to_u64(), number(0, 7)];
    let records = [
        (Kind::SpanOpen, &opening[..]),
        (Kind::SpanValues, &later[..]),
    ];
    let slot = Image::slot_words(id(5), &records);
    image.append(
        1,
        Kind::Description,
        &[&[10 * MS, id(5).to_u64()], &slot[..]].concat(),
    );
    assert!(image.salvage().spans.is_empty());
}

#[test]
fn a_thread_of_which_the_id_or_the_name_is_not_known_has_the_other() {
    let mut image = Image::new(1, 0);
    image.take(0, 1, MS);
    image.event(1, 2 * MS, 0);
    let told = |image: &Image| {
        let thread = image.salvage().threads[0].clone();
        (thread.id, thread.name)
    };
    image.say(0, |header| header.thread_id = 0);
    assert_eq!(told(&image), (0, "worker".into()));
    image.say(0, |header| {
        (header.thread_id, header.thread_name) = (1001, [0; 32])
    });
    assert_eq!(told(&image), (1001, String::new()));
}

#[test]
fn overwritten_blocks_are_accounted_for() {
    let mut image = Image::new(2, 0);
    image.take(0, 1, MS);
    (0..4).for_each(|n| image.event(1, 2 * MS, n));
    image.take(1, 1, 3 * MS);
    (4..7).for_each(|n| image.event(1, 4 * MS, n));
    image.take(0, 1, 5 * MS);
    image.event(1, 6 * MS, 7);
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [4, 5, 6, 7]);
    assert_eq!(recording.ledger.counts, counts(4, 4, 0, 0));
    assert!(recording.ledger.exact);
}

#[test]
fn the_totals_of_a_thread_that_is_gone_stay_wherever_the_process_dies() {
    let mut image = Image::new(1, 0);
    image.take(0, 1, MS);
    (0..4).for_each(|n| image.event(1, 2 * MS, n));
    image.drop_events(1, 2);
    assert_eq!(image.salvage().ledger.counts, counts(4, 0, 2, 0));

    let mut taken = image.clone();
    let offset = taken.block_offset(0);
    let pair = offset + 8 * (block::word::RETIRED as u64 + 2);
    taken.put(pair, &[4, 2]);
    assert_eq!(
        taken.salvage().ledger.counts,
        counts(4, 0, 2, 0),
        "the pair does not count yet"
    );
    taken.put(offset, &[block::MAGIC_TAKEN[1]]);
    assert_eq!(
        taken.salvage().ledger.counts,
        counts(0, 4, 2, 0),
        "the pair counts"
    );

    image.take_last_of(1, 2, 3 * MS);
    image.event(2, 4 * MS, 10);
    let recording = image.salvage();
    assert_eq!(recording.ledger.counts, counts(1, 4, 2, 0));
    assert_eq!(recording.threads.len(), 1);
    assert!(recording.ledger.exact);
}

#[test]
fn what_is_left_of_a_thread_that_is_gone_is_counted_once() {
    let mut image = Image::new(4, 0);
    image.call_sites(3);
    image.take(0, 1, MS);
    (0..3).for_each(|n| image.event(1, 2 * MS, n));
    image.take(1, 1, 3 * MS);
    image.drop_events(1, 2);
    (3..7).for_each(|n| image.event(1, 4 * MS, n));
    assert_eq!(image.salvage().ledger.counts, counts(7, 0, 2, 0));

    image.take_last_of(1, 2, 5 * MS);
    image.event(2, 6 * MS, 10);
    let recording = image.salvage();
    assert_eq!(recording.ledger.counts, counts(4, 4, 2, 0));
    assert_eq!(numbers(&recording), [0, 1, 2, 10]);
    assert!(recording.ledger.exact);

    // Where it went on is damaged: whether it is gone is not known.
    image.put(image.block_offset(1), &[0; crate::BLOCK_WORDS]);
    let recording = image.salvage();
    assert_eq!(recording.ledger.counts.readable, 3);
    assert!(!recording.ledger.exact && balanced(recording.ledger.counts));
}
