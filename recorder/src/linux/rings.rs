//! The rings of all threads: a table of fixed size, and a bit for each that is owned.
//!
//! The lowest free one is owned first, so that threads which come and go use the
//! same few, and the memory of the others is never touched.

use crate::linux::ring::Ring;
use crate::linux::sync::{AtomicU64, Ordering, Table, zeros};

/// The rings of all threads.
pub(crate) struct Rings {
    rings: Table<Ring>,
    owned: Box<[AtomicU64]>,
}

impl Rings {
    /// So many rings, free; `None` where memory does not suffice.
    pub(crate) fn new(len: usize) -> Option<Rings> {
        let owned: Box<[AtomicU64]> = zeros(len.div_ceil(64))?;
        if let Some(last) = owned.last().filter(|_| !len.is_multiple_of(64)) {
            // Behind the last ring there is none to be had.
            last.store(u64::MAX << (len % 64), Ordering::Relaxed);
        }
        Some(Rings {
            rings: Table::new(len)?,
            owned,
        })
    }

    /// The ring with this index.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Ring> {
        self.rings.get(index as usize)
    }

    /// Makes the lowest free ring the calling thread's.
    pub(crate) fn own(&self) -> Option<u32> {
        let mut words = self.owned.iter().enumerate();
        words.find_map(|(i, word)| {
            let mut owned = word.load(Ordering::Relaxed);
            while owned != u64::MAX {
                let bit = owned.trailing_ones();
                // Acquire: what the last owner wrote is over.
                owned = word.fetch_or(1 << bit, Ordering::Acquire);
                if owned & (1 << bit) == 0 {
                    let index = i as u32 * 64 + bit;
                    self.get(index)?.reset();
                    return Some(index);
                }
            }
            None
        })
    }

    /// Gives a ring back.
    pub(crate) fn free(&self, index: u32) {
        if let Some(word) = self.owned.get(index as usize / 64) {
            word.fetch_and(!(1 << (index % 64)), Ordering::Release);
        }
    }

    /// The rings that threads own, from the one with index `start` on and around.
    pub(crate) fn owned(&self, start: usize) -> impl Iterator<Item = (u32, &Ring)> {
        let len = self.rings.len();
        (0..len)
            .map(move |i| start.wrapping_add(i) % len)
            .filter(|index| {
                let word = self.owned[index / 64].load(Ordering::Acquire);
                word & (1 << (index % 64)) != 0
            })
            .map(|index| (index as u32, &self.rings[index]))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_ring_is_owned_first_and_no_more_than_there_are() {
        for len in [1, 5, 63, 64, 65, 128, 200] {
            let rings = Rings::new(len).unwrap();
            let all: Vec<u32> = std::iter::from_fn(|| rings.own()).collect();
            assert_eq!(all, (0..len as u32).collect::<Vec<_>>());
            assert_eq!(rings.owned(3).count(), len);
            rings.free(len as u32 - 1);
            rings.free(0);
            assert_eq!(rings.owned(7).count(), len.saturating_sub(2));
            assert_eq!(rings.own(), Some(0));
            assert_eq!(rings.own(), Some(len as u32 - 1).filter(|_| len > 1));
            assert_eq!(rings.own(), None);
            rings.free(64 * len as u32);
            assert_eq!(rings.own(), None, "there is no such ring");
        }
    }
}
