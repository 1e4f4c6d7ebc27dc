//! Recordings that are written to while they are read.

use std::cell::Cell;

use super::super::image::Image;
use super::*;
use crate::BLOCK_BYTES;

/// A source in which a block changes just when it has been looked at for the `nth` time.
struct Live {
    before: Vec<u8>,
    after: Vec<u8>,
    offset: u64,
    reads: Cell<usize>,
    nth: usize,
}

impl Source for Live {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        if buffer.len() > BLOCK_BYTES {
            // Several blocks at once, and just now somebody writes there: since what is
            // found does not pass its checks, it is looked at once more, with care.
            let found = self.before.read_at(buffer, offset)?;
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
        let changed = self.reads.get() > self.nth;
        if changed { &self.after } else { &self.before }.read_at(buffer, offset)
    }

    fn len(&self) -> std::io::Result<u64> {
        Source::len(&self.before)
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
        let (before, after) = (before.bytes.clone(), image.bytes.clone());
        let live = Live {
            before,
            after,
            offset: image.block_offset(0),
            reads: Cell::new(0),
            nth,
        };
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
    let before = image.bytes.clone();
    image.take(0, 1, MS);
    image.event(1, 2 * MS, 0);
    image.take(1, 1, 3 * MS);
    image.event(1, 4 * MS, 1);
    let offset = image.block_offset(0);
    let live = Live {
        before,
        after: image.bytes,
        offset,
        reads: Cell::new(0),
        nth: 1,
    };
    // The place is read as free; the next one is not, since its read comes later.
    struct Later(Live);
    impl Source for Later {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
            if offset == self.0.offset && buffer.len() > BLOCK_BYTES {
                let (first, rest) = buffer.split_at_mut(BLOCK_BYTES);
                let found = self.0.before.read_at(first, offset)?;
                self.0.reads.set(usize::MAX / 2);
                return Ok(found + self.0.after.read_at(rest, offset + found as u64)?);
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
