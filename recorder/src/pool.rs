//! The pool: who holds which block, and which is taken next.
//!
//! All of it is private memory; the mapping is never asked. A hand goes round
//! over the blocks. What it may take is taken by one compare-and-swap of that
//! block's state, so nobody waits and a thread that stands still anywhere in
//! here costs nobody a block but the one it holds.
//!
//! States: free; held by a live thread, or for ever by the call sites; full,
//! since the hand was at `turn`; last, the newest block of a thread that is gone.
//!
//! Why is a full block passed over once if it was filled less than half a round
//! ago? The hand meets blocks in the order in which they were taken. A slow
//! thread's may have been filled just now, and history is to be the last bytes
//! *in time*.

use crate::sync::{AtomicU64, Number, Ordering, atomics};

const FREE: u64 = 0;
const HELD: u64 = 1;
const FULL: u64 = 2;
const LAST: u64 = 3;
const TAG: u64 = 3;

/// No ring.
pub(crate) const NOBODY: u64 = u64::MAX;

/// Who holds which block, and which is taken next.
pub(crate) struct Pool {
    states: Box<[AtomicU64]>,
    /// How far the hand has gone, in blocks.
    hand: AtomicU64,
    sequence: AtomicU64,
    /// How many blocks are `last`.
    lasts: AtomicU64,
    /// By block: written by whoever holds it.
    holders: Box<[Holder]>,
}

/// What is known of a block besides its state.
pub(crate) struct Holder {
    /// The ring that holds it or held it last, or [`NOBODY`].
    pub(crate) ring: Number,
    /// When its thread ended, in ticks.
    pub(crate) ended: Number,
    /// Totals of threads that are gone and whose last block was here.
    pub(crate) retired_events: Number,
    /// Likewise what they dropped.
    pub(crate) retired_dropped: Number,
    /// Which pair of the block's header holds these totals.
    pub(crate) pair: Number,
}

/// A block that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) index: u32,
    pub(crate) sequence: u64,
    /// The ring of the thread that is gone and whose last block it was.
    pub(crate) retired_ring: Option<u32>,
}

impl Pool {
    pub(crate) fn new(blocks: u32) -> Pool {
        let holder = || Holder {
            ring: Number::new(NOBODY),
            ended: Number::new(0),
            retired_events: Number::new(0),
            retired_dropped: Number::new(0),
            pair: Number::new(0),
        };
        Pool {
            states: atomics(blocks as usize, FREE),
            hand: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            lasts: AtomicU64::new(0),
            holders: (0..blocks).map(|_| holder()).collect(),
        }
    }

    pub(crate) fn blocks(&self) -> usize {
        self.states.len()
    }

    pub(crate) fn holder(&self, index: u32) -> Option<&Holder> {
        self.holders.get(index as usize)
    }

    pub(crate) fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// Takes the oldest block that may be taken. Last words are kept that are
    /// younger than `kept_since` ticks, while they fill less than a quarter.
    pub(crate) fn take(&self, kept_since: u64) -> Option<Taken> {
        let hand = self.hand.load(Ordering::Relaxed);
        self.take_from(hand, kept_since, true)
            .or_else(|| self.take_from(hand, kept_since, false))
    }

    /// Takes the first block that may be taken from `place` on, however young.
    pub(crate) fn take_near(&self, place: usize) -> Option<Taken> {
        self.take_from(place as u64, 0, false)
    }

    fn take_from(&self, hand: u64, kept_since: u64, spare_young: bool) -> Option<Taken> {
        let blocks = self.states.len() as u64;
        for step in 0..blocks {
            let index = ((hand + step) % blocks) as u32;
            // Acquire: the end of a thread that is seen is seen with its time.
            let state = self.states[index as usize].load(Ordering::Acquire);
            let young = || (hand + step).saturating_sub(state >> 2) < blocks / 2;
            let free = match state & TAG {
                FREE => true,
                FULL => !(spare_young && young()),
                LAST => self.may_retire(index, kept_since),
                _ => false,
            };
            if free && let Some(taken) = self.claim(index, state) {
                self.hand.fetch_max(hand + step + 1, Ordering::Relaxed);
                return Some(taken);
            }
        }
        None
    }

    fn may_retire(&self, index: u32, kept_since: u64) -> bool {
        let quarter = self.states.len() as u64 / 4;
        let ended = self.holders[index as usize].ended.get();
        ended < kept_since || self.lasts.load(Ordering::Relaxed) >= quarter
    }

    fn claim(&self, index: u32, state: u64) -> Option<Taken> {
        // Acquire: what the last holder wrote into `holders` and its ring is seen.
        self.states[index as usize]
            .compare_exchange(state, HELD, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let retired_ring = (state & TAG == LAST).then(|| {
            self.lasts.fetch_sub(1, Ordering::Relaxed);
            self.holders[index as usize].ring.get() as u32
        });
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        Some(Taken {
            index,
            sequence,
            retired_ring,
        })
    }

    /// The holder gives the block up for a newer one.
    pub(crate) fn fill(&self, index: u32) {
        let turn = self.hand.load(Ordering::Relaxed);
        self.leave(index, FULL | (turn << 2));
    }

    /// The holder's thread has ended at `now`; returns what [`Pool::reopen`] wants.
    pub(crate) fn end(&self, index: u32, now: u64) -> u64 {
        let state = LAST | (self.hand.load(Ordering::Relaxed) << 2);
        if let Some(holder) = self.holder(index) {
            holder.ended.set(now);
            self.lasts.fetch_add(1, Ordering::Relaxed);
            self.leave(index, state);
        }
        state
    }

    /// Takes one's own last block back, unless somebody else has taken it.
    pub(crate) fn reopen(&self, index: u32, state: u64) -> bool {
        let ours = self.states.get(index as usize).is_some_and(|word| {
            word.compare_exchange(state, HELD, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        });
        if ours {
            self.lasts.fetch_sub(1, Ordering::Relaxed);
        }
        ours
    }

    /// Whether a live thread (or the call sites) holds the block.
    pub(crate) fn is_held(&self, index: usize) -> bool {
        self.states
            .get(index)
            .is_some_and(|word| word.load(Ordering::Acquire) & TAG == HELD)
    }

    fn leave(&self, index: u32, state: u64) {
        if let Some(word) = self.states.get(index as usize) {
            // Release: the next holder sees what this one wrote.
            word.store(state, Ordering::Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_in_turn_and_held_ones_never() {
        let pool = Pool::new(4);
        let taken: Vec<Taken> = (0..4).filter_map(|_| pool.take(0)).collect();
        assert_eq!(
            taken.iter().map(|t| t.index).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        assert_eq!(pool.take(0), None);
        pool.fill(2);
        assert_eq!(pool.take(0).map(|t| (t.index, t.sequence)), Some((2, 5)));
    }

    #[test]
    fn a_block_filled_just_now_is_passed_over_once() {
        let pool = Pool::new(8);
        for _ in 0..8 {
            pool.take(0);
        }
        for index in 1..8 {
            pool.fill(index);
        }
        for _ in 0..6 {
            let index = pool.take(0).map(|t| t.index);
            index.into_iter().for_each(|index| pool.fill(index));
        }
        // Block 0 was taken first of all and is filled only now.
        pool.fill(0);
        let next: Vec<u32> = (0..3)
            .filter_map(|_| pool.take(0))
            .map(|t| t.index)
            .collect();
        assert!(!next[..2].contains(&0), "{next:?}");
    }

    #[test]
    fn last_words_are_kept_for_the_window_while_they_fill_less_than_a_quarter() {
        let pool = Pool::new(8);
        for index in 0..8 {
            pool.take(0);
            pool.holder(index).unwrap().ring.set(u64::from(index));
        }
        pool.end(3, 100);
        assert_eq!(pool.take(50), None, "kept within the window");
        assert_eq!(
            pool.take(101).and_then(|t| t.retired_ring),
            Some(3),
            "not past it"
        );
        pool.end(4, 100);
        pool.end(5, 100);
        assert_eq!(
            pool.take(50).and_then(|t| t.retired_ring),
            Some(4),
            "a quarter is reached"
        );
        assert_eq!(pool.take(50), None);
    }

    #[test]
    fn ones_own_last_block_comes_back_unless_it_is_taken() {
        let pool = Pool::new(8);
        pool.take(0);
        let state = pool.end(0, 7);
        assert!(pool.reopen(0, state));
        let state = pool.end(0, 7);
        assert_eq!(pool.take_near(0).map(|t| t.index), Some(1));
        assert!(
            (0..8)
                .filter_map(|_| pool.take(8))
                .any(|taken| taken.index == 0)
        );
        assert!(!pool.reopen(0, state));
    }
}
