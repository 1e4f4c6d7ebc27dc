//! Recordings that are written to while they are read.

use std::cell::Cell;

use super::super::image::Image;
use super::scrubbed::copied_without;
use super::*;
use crate::BLOCK_BYTES;
use crate::redaction::Names;

/// A source in which a block or a slot changes just when it has been looked at for the
/// `nth` time, and with every look from then on as long as it has more lives.
struct Live {
    lives: Vec<Vec<u8>>,
    offset: u64,
    reads: Cell<usize>,
    nth: usize,
}

impl Live {
    fn new(lives: &[&Image], offset: u64, nth: usize) -> Live {
        Live {
            lives: lives.iter().map(|image| image.bytes.clone()).collect(),
            offset,
            reads: Cell::new(0),
            nth,
        }
    }
}

impl Source for Live {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        if buffer.len() > BLOCK_BYTES {
            // Several blocks at once, and just now somebody writes there: since what is
            // found does not pass its checks, it is looked at once more, with care.
            let found = self.lives[0].read_at(buffer, offset)?;
            let middle = (self.offset.saturating_sub(offset) as usize) + 3 * HEADER_BYTES / 2;
            buffer
                .iter_mut()
                .skip(middle)
                .take(8)
                .for_each(|byte| *byte ^= 1);
            return Ok(found);
        }
        if offset == self.offset {
            self.reads.set(self.reads.get() + 1);
        }
        let life = self.reads.get().saturating_sub(self.nth);
        self.lives[life.min(self.lives.len() - 1)].read_at(buffer, offset)
    }

    fn len(&self) -> std::io::Result<u64> {
        Source::len(&self.lives[0])
    }
}

#[test]
fn a_block_that_is_taken_while_it_is_read_is_read_again() {
    let mut image = Image::new(2, 0);
    image.take(0, 1, MS);
    (0..4).for_each(|n| image.event(1, 2 * MS, n));
    let before = image.clone();
    image.take(1, 1, 3 * MS);
    image.event(1, 4 * MS, 4);
    image.take(0, 1, 5 * MS);
    image.event(1, 6 * MS, 5);
    for nth in 0..4 {
        let live = Live::new(&[&before, &image], image.block_offset(0), nth);
        let recording = salvage(&live).unwrap();
        let ledger = recording.ledger;
        assert!(balanced(ledger.counts) && ledger.exact && ledger.damaged_blocks == 0);
        let shown = numbers(&recording);
        // After its last read, all that comes to it comes too late to be seen.
        let whole = if nth < 3 { &[4, 5][..] } else { &[0, 1, 2, 3] };
        assert_eq!(shown, whole, "read {nth}");
    }
}

#[test]
fn a_block_that_was_free_when_it_was_looked_at_is_looked_at_again() {
    let mut image = Image::new(2, 0);
    let before = image.clone();
    image.take(0, 1, MS);
    image.event(1, 2 * MS, 0);
    image.take(1, 1, 3 * MS);
    image.event(1, 4 * MS, 1);
    let offset = image.block_offset(0);
    let live = Live::new(&[&before, &image], offset, 1);
    // The place is read as free; the next one is not, since its read comes later.
    struct Later(Live);
    impl Source for Later {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
            if offset == self.0.offset && buffer.len() > BLOCK_BYTES {
                let (first, rest) = buffer.split_at_mut(BLOCK_BYTES);
                let found = self.0.lives[0].read_at(first, offset)?;
                self.0.reads.set(usize::MAX / 2);
                return Ok(found + self.0.lives[1].read_at(rest, offset + found as u64)?);
            }
            self.0.read_at(buffer, offset)
        }
        fn len(&self) -> std::io::Result<u64> {
            Source::len(&self.0)
        }
    }
    let recording = salvage(&Later(live)).unwrap();
    assert_eq!(numbers(&recording), [0, 1]);
    assert!(recording.ledger.exact);
}

#[test]
fn a_thread_that_goes_on_faster_than_it_is_read_is_not_taken_for_gone() {
    let mut image = Image::new(3, 0);
    for (block, ticks) in [(0, MS), (1, 2 * MS), (2, 3 * MS), (0, 4 * MS), (1, 5 * MS)] {
        image.take(block, 1, ticks);
        image.event(1, ticks, block);
    }
    let before = image.clone();
    image.take(2, 1, 6 * MS);
    image.event(1, 6 * MS, 7);
    // The last place, which the newest block points to, as it was before.
    let old = image.block_offset(2) as usize..image.block_offset(3) as usize;
    image.bytes[old.clone()].copy_from_slice(&before.bytes[old]);
    let recording = image.salvage();
    assert_eq!(recording.ledger.counts, counts(3, 2, 0, 0));
    assert!(recording.ledger.exact);
    assert_eq!(recording.ledger.counts, recording.threads[0].counts);
}

/// A block of a thread that recorded four events and is gone; one that another thread has
/// taken of it; the moment between; and one of which the header is zeros.
fn lives_of_a_block() -> [Image; 4] {
    let mut first = Image::new(1, 0);
    first.take(0, 1, MS);
    (0..4).for_each(|n| first.event(1, 2 * MS, n));
    let mut second = first.clone();
    second.take_last_of(1, 2, 3 * MS);
    let mut between = first.clone();
    let offset = between.block_offset(0);
    between.put(offset + 8 * (block::word::RETIRED as u64 + 2), &[4, 0]);
    between.put(offset, &[block::MAGIC_TAKEN[1]]);
    let mut zeros = first.clone();
    zeros.put(offset, &[0; block::HEADER_WORDS]);
    [first, second, between, zeros]
}

/// What is read where the first block has another of these lives with every look, and what
/// a copy holds that is made meanwhile: it is looked at three times for call sites before.
fn read_and_copied(lives: &[&Image]) -> [Recording; 2] {
    let offset = lives[0].block_offset(0);
    let (copy, _) = copied_without(&Live::new(lives, offset, 4), &Names::none());
    let read = salvage(&Live::new(lives, offset, 1));
    [read.unwrap(), salvage(&copy).unwrap()]
}

#[test]
fn of_a_block_that_is_taken_faster_than_it_is_read_the_totals_count_that_were_seen_last() {
    let [first, second, between, zeros] = &lives_of_a_block();
    for (after, overwritten) in [
        ([second, second, second], 4),
        ([between, between, between], 4),
        ([between, zeros, zeros], 4),
        ([zeros, zeros, zeros], 0),
    ] {
        let lives = after.map(|after| [first, second, after]).concat();
        for recording in read_and_copied(&lives) {
            let ledger = recording.ledger;
            assert_eq!(ledger.counts, counts(0, overwritten, 0, 0));
            assert_eq!((ledger.damaged_blocks, ledger.exact), (0, true));
            assert_eq!(recording.threads, []);
        }
    }
}

#[test]
fn what_is_read_of_a_block_while_it_is_taken_is_no_damage() {
    let [first, second, ..] = &lives_of_a_block();
    let offset = first.block_offset(0);
    for before in [first, &Image::new(1, 0)] {
        // Its magic is read, and then the rest has changed.
        let mut torn = second.clone();
        torn.put(offset, &[before.word(offset)]);
        let lives = [before, &torn, second];
        for recording in read_and_copied(&lives) {
            let ledger = recording.ledger;
            assert_eq!(ledger.counts, counts(0, 4, 0, 0));
            assert_eq!((ledger.damaged_blocks, ledger.exact), (0, true));
            assert_eq!(recording.threads[0].number, 2);
        }
    }
}

#[test]
fn a_block_that_is_taken_while_it_is_copied_is_read_again() {
    let mut before = Image::new(3, 0);
    before.call_sites(2);
    before.take(0, 1, MS);
    (0..4).for_each(|n| before.event(1, 2 * MS, n));
    let mut after = before.clone();
    after.take(1, 1, 3 * MS);
    after.event(1, 4 * MS, 4);
    after.take(0, 1, 5 * MS);
    after.event(1, 6 * MS, 5);
    for nth in 0..8 {
        let live = Live::new(&[&before, &after], before.block_offset(0), nth);
        let (copy, _) = copied_without(&live, &Names::none());
        let recording = salvage(&copy).unwrap();
        let ledger = recording.ledger;
        assert!(balanced(ledger.counts) && ledger.damaged_blocks == 0);
        // It is looked at three times for call sites, and three times to be copied.
        let whole = if nth < 6 { &[4, 5][..] } else { &[0, 1, 2, 3] };
        assert_eq!(numbers(&recording), whole, "read {nth}");
    }
}

/// The same slot, in which one span lives after the other.
fn lives_of_a_slot() -> [(SpanId, Image); 2] {
    [1, 2].map(|generation| {
        let (mut image, id) = (Image::new(1, 1), SpanId::in_slot(0, generation));
        let opening = [MS * generation, SPAN, id.to_u64(), 0, number(0, 1)];
        image.slot(id, &[(Kind::SpanOpen, &opening)]);
        (id, image)
    })
}

fn open_spans(source: &impl Source) -> Vec<SpanId> {
    let recording = salvage(source).unwrap();
    assert_eq!(recording.ledger.damaged_spans, 0);
    let open = recording.spans.values().filter(|span| span.open);
    open.filter_map(|span| span.id).collect()
}

#[test]
fn a_slot_that_is_taken_while_it_is_read_is_read_again() {
    let [(first, before), (second, after)] = &lives_of_a_slot();
    let offset = before.layout().slot_offset(0);
    for nth in 0..7 {
        // It is looked at with others, and then three times by itself.
        let live = Live::new(&[before, after], offset, nth);
        let expected = if nth < 4 { second } else { first };
        assert_eq!(open_spans(&live), [*expected], "read {nth}");
        // It is looked at three times for call sites, and three times to be copied.
        let live = Live::new(&[before, after], offset, nth);
        let (copy, _) = copied_without(&live, &Names::none());
        let expected = if nth < 6 { second } else { first };
        assert_eq!(open_spans(&copy), [*expected], "copied, read {nth}");
    }
}

#[test]
fn a_slot_that_is_taken_faster_than_it_is_read_tells_of_no_span() {
    let [(_, before), (_, after)] = &lives_of_a_slot();
    let offset = before.layout().slot_offset(0);
    let lives = [[before, after, before]; 3].concat();
    assert_eq!(open_spans(&Live::new(&lives, offset, 2)), []);
    let live = Live::new(&lives, offset, 4);
    let (copy, _) = copied_without(&live, &Names::none());
    assert_eq!(open_spans(&copy), []);
}
