//! What is told entry by entry, from a file that is not in memory, is what is read at once.

use std::cell::RefCell;
use std::ops::Range;

use super::super::entries::Entries;
use super::super::file::File;
use super::super::image::Image;
use super::super::spans::Known;
use super::*;

/// As a recording that is too big to be kept, with so many spans.
fn told_with<S: Source + ?Sized>(source: &S, spans: usize) -> Result<Stream<'_, S>, Error> {
    // Behind first, as it may be where several look at once.
    let look = |parts: &mut [Part<'_, '_, S>]| parts.iter_mut().rev().for_each(Part::look);
    Stream::begin(File::open(source)?, false, Known::at_most(spans), look)
}

fn told<S: Source + ?Sized>(source: &S) -> Result<Stream<'_, S>, Error> {
    told_with(source, usize::MAX)
}

fn rest<S: Source + ?Sized>(stream: &mut Stream<'_, S>) -> Vec<Entry> {
    let mut entries = Vec::new();
    while stream.tell().unwrap() {
        entries.push(stream.told().clone());
    }
    entries
}

/// Everything but the spans, of which those that are closed are forgotten.
fn assert_same(stream: &mut Stream<'_, Vec<u8>>, whole: &Recording, what: &str) {
    assert_eq!(rest(stream), whole.entries, "{what}");
    let found = stream.recording();
    assert_eq!(found.ledger, whole.ledger, "{what}");
    assert_eq!(found.threads, whole.threads, "{what}");
    assert_eq!(found.causes, whole.causes, "{what}");
    assert_eq!(found.sites, whole.sites, "{what}");
    assert_eq!(found.end_ns, whole.end_ns, "{what}");
    for (id, span) in whole.spans.iter().filter(|(_, span)| span.open) {
        assert_eq!(found.spans.get(id), Some(span), "{what}");
    }
}

/// A request after the other: opened, entered, spoken in, left, closed, if that is not lost.
fn requests(blocks: u32, threads: u32, requests: u32, are_closed: bool) -> Image {
    let mut image = Image::new(blocks, threads);
    image.call_sites(0);
    let mut places = 1..blocks;
    let mut ticks = 10;
    for thread in 1..=threads {
        image.take(places.next().unwrap(), thread, ticks);
        open(&mut image, thread, ticks, thread - 1, None);
    }
    for n in 0..requests {
        let thread = 1 + n % threads;
        ticks += 100;
        if image.room(thread) < 40 {
            image.take(places.next().unwrap(), thread, ticks);
        }
        let (request, parent) = (SpanId::in_slot(100 + n, 1), id(thread - 1));
        let opening = [ticks, SPAN, request.to_u64(), parent.to_u64(), number(0, n)];
        image.append(thread, Kind::SpanOpen, &opening);
        image.append(thread, Kind::SpanEnter, &[ticks + 1, request.to_u64()]);
        image.event(thread, ticks + 2, n);
        image.append(thread, Kind::SpanExit, &[ticks + 3, request.to_u64()]);
        if are_closed {
            image.append(thread, Kind::SpanClose, &[ticks + 4, request.to_u64()]);
        }
    }
    image
}

/// How many spans are known at most while it is told, each entry being shown in its own.
fn most_known(image: &Image, spans: usize) -> usize {
    let mut stream = told_with(&image.bytes, spans).unwrap();
    let mut most = 0;
    while stream.tell().unwrap() {
        let (entry, recording) = (stream.told(), stream.recording());
        let context = recording.context(entry.span);
        let is_request = entry.span.is_some_and(|id| id.slot() >= Some(100));
        let depth = if is_request { 2 } else { 1 };
        assert_eq!(context.len(), depth, "{entry:?}");
        most = most.max(recording.spans.len());
    }
    most
}

#[test]
fn it_is_what_is_read_at_once() {
    for image in [story(), requests(60, 3, 300, true)] {
        let whole = image.salvage();
        let mut stream = told(&image.bytes).unwrap();
        assert_same(&mut stream, &whole, "the first time");
        stream.rewind().unwrap();
        assert_same(&mut stream, &whole, "again");
        assert!(!stream.tell().unwrap());
    }
}

#[test]
fn so_it_is_whatever_byte_is_damaged() {
    let mut image = story();
    for at in (0..image.bytes.len()).step_by(13) {
        image.bytes[at] ^= 0x11;
        let whole = image.salvage();
        assert_same(
            &mut told(&image.bytes).unwrap(),
            &whole,
            &format!("byte {at}"),
        );
        image.bytes[at] ^= 0x11;
    }
}

#[test]
fn spans_that_are_closed_are_forgotten() {
    let image = requests(400, 2, 5_000, true);
    let most = most_known(&image, usize::MAX);
    assert!(most <= ENTRIES_AROUND + 10, "{most} of 5,000");
}

#[test]
fn where_closes_are_lost_the_oldest_spans_are_forgotten() {
    let image = requests(400, 2, 5_000, false);
    let most = most_known(&image, 500);
    assert!(most <= 600, "{most} of 5,000");
    // With room for all of them, all stay.
    assert_eq!(most_known(&image, 10_000), 5_002);
}

#[test]
fn a_span_stays_while_something_open_lies_in_it_or_somebody_holds_it() {
    let mut image = requests(400, 1, 0, true);
    let (outer, inner, held) = (id(50), id(51), id(52));
    let opening = |id: SpanId, parent: u64| [11, SPAN, id.to_u64(), parent, number(0, 1)];
    image.append(1, Kind::SpanOpen, &opening(outer, 0));
    image.append(1, Kind::SpanOpen, &opening(inner, outer.to_u64()));
    image.append(1, Kind::SpanOpen, &opening(held, 0));
    image.append(1, Kind::SpanClose, &[12, outer.to_u64()]);
    image.append(1, Kind::SpanClose, &[13, held.to_u64()]);
    for n in 0..2_000u32 {
        if image.room(1) < 20 {
            image.take(2 + n / 20, 1, 100);
        }
        let other = SpanId::in_slot(100 + n, 1);
        image.append(1, Kind::SpanOpen, &opening(other, 0));
        image.append(1, Kind::SpanClose, &[100, other.to_u64()]);
    }
    let mut stream = told(&image.bytes).unwrap();
    stream.hold(held);
    rest(&mut stream);
    let context = stream.recording().context(Some(inner));
    assert_eq!(context.len(), 2);
    assert!(stream.recording().spans.contains_key(&held));
    stream.release(held);
    assert!(!stream.recording().spans.contains_key(&held));
}

/// A source whose bytes may be exchanged.
struct Live(RefCell<Vec<u8>>);

impl Source for Live {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.borrow().read_at(buffer, offset)
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }
}

#[test]
fn a_block_that_is_taken_before_its_turn_is_overwritten_and_no_damage() {
    let mut image = in_two_blocks();
    let live = Live(RefCell::new(image.bytes.clone()));
    let mut stream = told(&live).unwrap();
    image.take(0, 1, 5 * MS);
    image.event(1, 6 * MS, 6);
    live.0.replace(image.bytes.clone());
    let entries = rest(&mut stream);
    let shown: Vec<u64> = entries
        .iter()
        .map(|e| number_of(&e.fields.to_vec()))
        .collect();
    assert_eq!(shown, [4, 5]);
    let ledger = stream.recording().ledger;
    assert_eq!(ledger.counts, counts(2, 4, 0, 0));
    assert!(ledger.exact && ledger.damaged_blocks == 0);

    // Of one that is not taken, the same bytes gone are damage.
    stream.rewind().unwrap();
    rest(&mut stream);
    let offset = image.block_offset(1) as usize;
    live.0.borrow_mut()[offset + HEADER_BYTES..offset + HEADER_BYTES + 32].fill(0);
    stream.rewind().unwrap();
    rest(&mut stream);
    assert_eq!(stream.recording().ledger.counts, counts(1, 4, 0, 1));
}

#[test]
fn what_an_entry_takes_is_what_its_record_does_and_the_descriptions_before_it() {
    let mut image = Image::new(2, 0);
    image.take(0, 1, MS);
    open(&mut image, 1, 2 * MS, 1, None);
    image.and_later(1, 20);
    image.event(1, 3 * MS, 0);
    image.take(1, 1, 4 * MS);
    image.append(1, Kind::Stack, &[4 * MS, 1, 1, id(1).to_u64()]);
    let opening = [2 * MS, SPAN, id(1).to_u64(), 0, number(0, 1)];
    let slot = Image::slot_words(id(1), &[(Kind::SpanOpen, &opening)]);
    let description = [&[4 * MS, id(1).to_u64()], &slot[..]].concat();
    image.append(1, Kind::Description, &description);
    image.event(1, 5 * MS, 1);
    image.append(1, Kind::SpanExit, &[6 * MS, id(1).to_u64()]);
    image.and_later(1, 30);
    image.event(1, 7 * MS, 2);
    let mut stream = told(&image.bytes).unwrap();
    let mut found = Vec::new();
    while stream.tell().unwrap() {
        let room = Entries::room(&stream).unwrap();
        found.push((stream.told().what, room.record / 8, room.spans / 8));
        if room.record > 0 {
            assert_eq!(stream.told().record_bytes(), room.record);
        }
    }
    let before = 1 + description.len() as u32;
    let expected = [
        (What::Open, 7, 0),
        (What::Enter, 0, 0),
        (What::Event, 4, 0),
        (What::Event, 4, before),
        (What::Exit, 4, 0),
        (What::Close, 0, 0),
        (What::Event, 4, 0),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_block_that_is_being_taken_when_its_turn_comes_is_overwritten() {
    let mut image = in_two_blocks();
    let live = Live(RefCell::new(image.bytes.clone()));
    let mut stream = told(&live).unwrap();
    image.put(image.block_offset(0), &[block::MAGIC_TAKEN[1]]);
    live.0.replace(image.bytes);
    rest(&mut stream);
    let ledger = stream.recording().ledger;
    assert_eq!(ledger.counts, counts(2, 4, 0, 0));
    assert_eq!((ledger.damaged_blocks, ledger.exact), (0, true));
}

#[test]
fn a_block_that_was_mended_and_is_taken_before_its_turn_is_overwritten() {
    let mut image = in_two_blocks();
    image.flip(0, block::word::NAME);
    let live = Live(RefCell::new(image.bytes.clone()));
    let mut stream = told(&live).unwrap();
    image.take(0, 1, 5 * MS);
    image.event(1, 6 * MS, 6);
    live.0.replace(image.bytes);
    rest(&mut stream);
    let ledger = stream.recording().ledger;
    assert_eq!(ledger.counts, counts(2, 4, 0, 0));
    assert_eq!((ledger.mended_blocks, ledger.exact), (1, true));
}

#[test]
fn a_block_that_is_cut_off_before_its_turn_is_lost_and_not_overwritten() {
    let image = in_two_blocks();
    // Within its magic, its header and its records, of which the first is whole.
    let ends = [4, 20, 100, HEADER_BYTES + 40];
    for (end, readable) in ends.into_iter().zip([4, 4, 4, 5]) {
        let live = Live(RefCell::new(image.bytes.clone()));
        let mut stream = told(&live).unwrap();
        let end = image.block_offset(1) as usize + end;
        live.0.borrow_mut().truncate(end);
        rest(&mut stream);
        let counts = stream.recording().ledger.counts;
        assert_eq!(counts, super::counts(readable, 0, 0, 6 - readable));
    }
}

/// Four events in one block of a thread, two in the next.
fn in_two_blocks() -> Image {
    let mut image = Image::new(3, 0);
    image.take(0, 1, MS);
    (0..4).for_each(|n| image.event(1, 2 * MS, n));
    image.take(1, 1, 3 * MS);
    (4..6).for_each(|n| image.event(1, 4 * MS, n));
    image
}

#[test]
fn of_what_is_wanted_and_around_it_that_is_given_which_is_known() {
    let mut image = Image::new(1, 1);
    image.take(0, 1, MS);
    image.event(1, 3 * MS, 0);
    let opening = [2 * MS, SPAN, id(0).to_u64(), id(9).to_u64(), number(0, 0)];
    image.slot(id(0), &[(Kind::SpanOpen, &opening)]);
    let whole = image.salvage();
    let mut stream = told(&image.bytes).unwrap();
    let tellers: [&mut dyn Entries; 2] = [&mut Whole::new(&whole), &mut stream];
    for entries in tellers {
        entries.want(id(8));
        while entries.tell().unwrap() {}
        let mut given = Vec::new();
        let mut give = |span: &Span| {
            given.push(span.id);
            Ok(())
        };
        entries.wanted(&mut give).unwrap();
        assert_eq!(given, [Some(id(0))]);
    }
}

#[test]
fn who_lets_go_of_what_is_not_known_changes_nothing() {
    let image = story();
    let mut stream = told(&image.bytes).unwrap();
    stream.release(id(77));
    assert_same(&mut stream, &image.salvage(), "released");
    assert!(!stream.recording().spans.contains_key(&id(77)));
}

/// Spans of a thread that has block `place`, each in the one before if they are `nested`;
/// it takes the blocks behind that as it needs them.
fn spans_in(image: &mut Image, (thread, place): (u32, u32), spans: Range<u32>, nested: bool) {
    image.take(place, thread, 10);
    let mut places = place + 1..;
    let mut parent = 0;
    for n in spans {
        if image.room(thread) < 20 {
            image.take(places.next().unwrap(), thread, u64::from(n));
        }
        let opening = [n.into(), SPAN, id(n).to_u64(), parent, number(0, n)];
        image.append(thread, Kind::SpanOpen, &opening);
        parent = if nested { id(n).to_u64() } else { 0 };
    }
}

#[test]
fn a_span_that_is_open_or_held_is_not_among_the_oldest() {
    let mut image = Image::new(100, 1);
    let opening = [5, SPAN, id(0).to_u64(), 0, number(0, 0)];
    image.slot(id(0), &[(Kind::SpanOpen, &opening)]);
    spans_in(&mut image, (1, 0), 50..2_000, false);
    let mut stream = told_with(&image.bytes, 100).unwrap();
    stream.hold(id(51));
    rest(&mut stream);
    let spans = &stream.recording().spans;
    assert!(spans[&id(0)].open && spans.contains_key(&id(51)));
    assert!(!spans.contains_key(&id(50)) && !spans.contains_key(&id(52)));
}

#[test]
fn of_the_spans_around_one_that_stays_so_many_stay_as_are_shown() {
    let mut image = Image::new(100, 0);
    spans_in(&mut image, (1, 0), 50..250, true);
    spans_in(&mut image, (2, 50), 300..2_000, false);
    let mut stream = told_with(&image.bytes, 100).unwrap();
    stream.hold(id(249));
    rest(&mut stream);
    let recording = stream.recording();
    assert_eq!(recording.context(Some(id(249))).len(), CONTEXT_MAX);
    assert!(!recording.spans.contains_key(&id(50)));
}

#[test]
fn a_span_that_is_to_be_named_next_is_not_forgotten() {
    for is_later in [false, true] {
        let mut image = Image::new(100, 0);
        let opening =
            |ticks, of: u32, parent: u64| [ticks, SPAN, id(of).to_u64(), parent, number(0, of)];
        image.take(0, 1, 1);
        image.append(1, Kind::SpanOpen, &opening(2, 10, 0));
        match is_later {
            true => image.and_later(1, 10_000),
            false => {
                let inner = opening(10_000, 11, id(10).to_u64());
                image.append(1, Kind::SpanOpen, &inner);
            }
        }
        spans_in(&mut image, (2, 1), 50..2_000, false);
        let mut stream = told_with(&image.bytes, 100).unwrap();
        let entries = rest(&mut stream);
        let last = entries.last().unwrap();
        let context = stream.recording().context(last.span);
        let outermost = context.first().map(|(id, span)| (*id, span.site));
        assert_eq!(outermost, Some((id(10), SPAN)), "{last:?}");
        assert!(!stream.recording().spans.contains_key(&id(50)));
    }
}

#[test]
fn a_span_that_is_closed_twice_is_one_of_those_that_were_closed_last() {
    let mut image = Image::new(100, 0);
    image.take(0, 1, 1);
    let last = 50 + ENTRIES_AROUND as u32;
    for n in 50..=last {
        if image.room(1) < 20 {
            image.take(1 + n / 20, 1, 1);
        }
        let opening = [2, SPAN, id(n).to_u64(), 0, number(0, n)];
        image.append(1, Kind::SpanOpen, &opening);
        image.append(1, Kind::SpanClose, &[2, id(n).to_u64()]);
        if n == 51 {
            image.append(1, Kind::SpanClose, &[2, id(n).to_u64()]);
        }
    }
    let mut stream = told(&image.bytes).unwrap();
    rest(&mut stream);
    let spans = &stream.recording().spans;
    assert!(!spans.contains_key(&id(50)));
    assert!((51..=last).all(|n| spans.contains_key(&id(n))));
}
