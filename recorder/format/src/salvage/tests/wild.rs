//! Words that a wild write has put where others were.

use super::super::image::Image;
use super::*;

/// Two spans in each other, entered at once and closed at once, an event in each, and
/// another block behind.
fn spans_that_are_said_later() -> Image {
    let mut image = Image::new(3, 0);
    image.call_sites(0);
    image.take(1, 1, MS);
    for (slot, ticks) in [(0, 2 * MS), (1, 4 * MS)] {
        open(&mut image, 1, ticks, slot, (slot > 0).then(|| id(0)));
        image.and_later(1, 20);
        image.event(1, ticks + MS, slot);
    }
    for (slot, ticks) in [(1, 6 * MS), (0, 8 * MS)] {
        image.append(1, Kind::SpanExit, &[ticks, id(slot).to_u64()]);
        image.and_later(1, 30);
        image.event(1, ticks + MS, 10 + slot);
    }
    image.drop_events(1, 2);
    image.take(2, 1, 10 * MS);
    image.event(1, 11 * MS, 20);
    image
}

#[test]
fn a_word_that_is_put_into_anothers_place_makes_nothing_up() {
    let image = spans_that_are_said_later();
    let events = |recording: &Recording| -> Vec<(u64, Option<SpanId>)> {
        let events = recording.entries.iter().filter(|it| it.what.is_event());
        let spans = events.map(|it| it.span);
        numbers(recording).into_iter().zip(spans).collect()
    };
    let said = image.salvage();
    let (said, counts) = (events(&said), said.ledger.counts);
    let spans = [Some(id(0)), Some(id(1)), Some(id(0)), None, None];
    assert!(said.iter().map(|it| it.1).eq(spans), "{said:?}");
    let block = image.block_offset(1);
    let words = image.used_words(1);
    let pairs = (0..words).flat_map(|from| (0..words).map(move |to| (from, to)));
    for (from, to) in pairs {
        let mut image = image.clone();
        let word = image.word(block + 8 * from as u64);
        image.put(block + 8 * to as u64, &[word]);
        let recording = image.salvage();
        for (number, span) in events(&recording) {
            let was = said.iter().find(|it| it.0 == number).map(|it| it.1);
            let is_so = was.is_some_and(|was| span == was || span.is_none());
            assert!(is_so, "word {from} at {to}: {number} in {span:?}");
        }
        let ledger = recording.ledger;
        assert!(balanced(ledger.counts), "word {from} at {to}: {ledger:?}");
        if ledger.exact {
            let found = (ledger.counts.written, ledger.counts.dropped);
            let was = (counts.written, counts.dropped);
            assert_eq!(found, was, "word {from} at {to}");
        }
    }
}
