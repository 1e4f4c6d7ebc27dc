//! The pool: who holds which block, and which is taken next.
//!
//! All of it is private memory; the mapping is never asked. The state of a block
//! is one word, and taking it is one compare-and-swap of that word. Two queues,
//! of full blocks and of last ones, only say in which order to try: whoever
//! stands still between their words delays nobody, and an entry that is stale or
//! lost costs a second look.
//!
//! States: free; held by a live thread, or for ever by the call sites; full; last,
//! the newest block of a thread that is gone. Some free ones are kept for call sites
//! that come late: theirs lie at places of their own, and a block that somebody has
//! filled, taken for its place and not for its age, leaves a hole in a history. A held
//! block's state bears the sequence number under which it was taken, a full or last
//! one's the turn at which it became so, which grows with every block given up.
//!
//! Nothing here is touched but when a block changes hands, and then by many at a time:
//! what each of them writes to lies apart from what the others do.

use crate::linux::seeded::{self, Bug};
use crate::linux::sync::{Apart, AtomicU64, Number, Ordering, Table, zeros};

const FREE: u64 = 0;
const HELD: u64 = 1;
const FULL: u64 = 2;
const LAST: u64 = 3;
const TAG: u64 = 3;

/// Of so many blocks, two are kept for call sites.
const BLOCKS_TO_A_PAIR: usize = 64;

/// States, or cells of a queue, in two cache lines, which are fetched together.
const STATES_A_LINE: usize = 16;

/// No block.
pub(crate) const NO_BLOCK: u64 = u64::MAX;

/// The state of a block that is held under this sequence number.
fn held(sequence: u64) -> u64 {
    HELD | (sequence << 2)
}

/// Who holds which block, and which is taken next.
pub(crate) struct Pool {
    states: Table<AtomicU64>,
    full: Table<AtomicU64>,
    last: Table<AtomicU64>,
    last_ends: Ends,
    /// Blocks below this index have been taken at least once.
    fresh: AtomicU64,
    /// How many blocks are `last`.
    lasts: AtomicU64,
    /// What every taking and every giving up changes, side by side: to whoever changes
    /// one of them first, the others come with it.
    moved: Apart<Moved>,
    /// By block: written by whoever holds it, and not touched before a thread has ended
    /// in it.
    holders: Table<Holder>,
    /// By block, a bit: which pair of its header holds the totals of those that are gone.
    pairs: Box<[AtomicU64]>,
}

#[derive(Default)]
struct Moved {
    sequence: AtomicU64,
    turn: AtomicU64,
    full: Ends,
}

/// What is known of a block besides its state.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Holder {
    /// Of a last block: when its thread ended, in ticks.
    pub(crate) ended: Number,
    /// Of a last block: what its thread recorded, in all of its blocks.
    pub(crate) last_events: Number,
    /// Likewise what it dropped.
    pub(crate) last_dropped: Number,
    /// Totals of threads that are gone and whose last block was here.
    pub(crate) retired_events: Number,
    /// Likewise what they dropped.
    pub(crate) retired_dropped: Number,
}

/// A block that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) index: u32,
    pub(crate) sequence: u64,
    /// Whether it was the last block of a thread that is gone.
    pub(crate) was_last: bool,
    /// Whether it had never been taken.
    pub(crate) was_free: bool,
}

impl Pool {
    /// A pool of free blocks; `None` where memory does not suffice.
    pub(crate) fn new(blocks: u32) -> Option<Pool> {
        let blocks = blocks as usize;
        Some(Pool {
            states: Table::new(blocks)?,
            full: cells(blocks)?,
            last: cells(blocks)?,
            last_ends: Ends::default(),
            fresh: AtomicU64::new(0),
            lasts: AtomicU64::new(0),
            moved: Apart::default(),
            holders: Table::new(blocks)?,
            pairs: zeros(blocks.div_ceil(64))?,
        })
    }

    /// The full blocks.
    #[inline]
    fn full(&self) -> Queue<'_> {
        Queue {
            cells: &self.full,
            ends: &self.moved.full,
        }
    }

    /// The last blocks of threads that are gone.
    #[inline]
    fn last(&self) -> Queue<'_> {
        Queue {
            cells: &self.last,
            ends: &self.last_ends,
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

    /// The pair of a block's header that holds the totals of those that are gone, or, where
    /// they have changed, the other one.
    pub(crate) fn pair(&self, index: u32, has_changed: bool) -> usize {
        let bit = 1 << (index % 64);
        self.pairs.get(index as usize / 64).map_or(0, |pairs| {
            let before = match has_changed {
                true => !pairs.fetch_xor(bit, Ordering::Relaxed),
                false => pairs.load(Ordering::Relaxed),
            };
            usize::from(before & bit != 0)
        })
    }

    /// The state of a block. Those of neighbours lie apart: neighbours are taken one
    /// after the other, by threads that would wait for each other's cache lines.
    #[inline]
    fn state(&self, index: usize) -> Option<&AtomicU64> {
        let lines = self.states.len() / STATES_A_LINE;
        let place = match index < lines * STATES_A_LINE {
            true => index % lines * STATES_A_LINE + index / lines,
            false => index,
        };
        self.states.get(place)
    }

    /// Takes the oldest block that may be taken. Last words are kept that are
    /// younger than `kept_since` ticks, while they fill less than a quarter.
    pub(crate) fn take(&self, kept_since: u64) -> Option<Taken> {
        let sequence = self.next_sequence();
        self.take_fresh(sequence)
            .or_else(|| self.take_oldest(kept_since, sequence))
            .or_else(|| self.take_from(0, kept_since, sequence))
    }

    /// A sequence number that nobody else has. It is asked for first: what else moves
    /// comes with it.
    fn next_sequence(&self) -> u64 {
        self.moved.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes the first block that may be taken from `place` on, however young.
    pub(crate) fn take_near(&self, place: usize) -> Option<Taken> {
        self.take_from(place, 0, self.next_sequence())
    }

    fn take_fresh(&self, sequence: u64) -> Option<Taken> {
        while self.fresh.load(Ordering::Relaxed) < self.states.len() as u64 {
            let index = self.fresh.fetch_add(1, Ordering::Relaxed);
            if self.is_kept(index as usize) {
                continue;
            }
            let state = self.state(index as usize)?.load(Ordering::Relaxed);
            if state == FREE
                && let Some(taken) = self.claim(index as u32, FREE, sequence)
            {
                return Some(taken);
            }
        }
        None
    }

    /// Whether a block is kept for call sites as long as it is free: some at the
    /// beginning, and as many half a pool behind.
    fn is_kept(&self, index: usize) -> bool {
        let (blocks, half) = (self.states.len(), self.states.len() / 2);
        index < 2 * half && index % half < blocks / BLOCKS_TO_A_PAIR
    }

    fn take_oldest(&self, kept_since: u64, sequence: u64) -> Option<Taken> {
        // Every round takes an entry out, and there are no more than so many.
        for _ in 0..2 * self.full.len() {
            // A thread's own blocks are full before its last is: the last are looked at first.
            let last = self.last().peek();
            let full = self.full().peek();
            let last = last.filter(|entry| self.may_retire(entry.index, kept_since));
            let entry = match (full, last) {
                (None, None) => return None,
                (Some(full), Some(last)) if full.turn < last.turn => self.full().pop(),
                (_, Some(_)) => self.last().pop(),
                (Some(_), None) => self.full().pop(),
            };
            let taken = entry.and_then(|entry| self.claim_entry(entry, kept_since, sequence));
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// Takes the block of an entry that was taken out of its queue, unless it is
    /// stale. Others may have taken the one that was looked at: a last block that
    /// must be kept goes back.
    fn claim_entry(&self, entry: Entry, kept_since: u64, sequence: u64) -> Option<Taken> {
        let state = self.state(entry.index as usize)?.load(Ordering::Acquire);
        if state >> 2 != entry.turn {
            return None;
        }
        match state & TAG {
            FULL => self.claim(entry.index, state, sequence),
            LAST if self.may_retire(entry.index, kept_since) => {
                self.claim(entry.index, state, sequence)
            }
            LAST => {
                self.last().push(entry);
                None
            }
            _ => None,
        }
    }

    /// Looks at every block: what the queues have lost is found here.
    fn take_from(&self, place: usize, kept_since: u64, sequence: u64) -> Option<Taken> {
        let blocks = self.states.len();
        (0..blocks)
            .map(|step| (place + step) % blocks)
            .find_map(|index| {
                // Acquire: the end of a thread that is seen is seen with its time.
                let state = self.state(index)?.load(Ordering::Acquire);
                let may = match state & TAG {
                    FREE | FULL => true,
                    LAST => self.may_retire(index as u32, kept_since),
                    _ => false,
                };
                if may {
                    self.claim(index as u32, state, sequence)
                } else {
                    None
                }
            })
    }

    fn may_retire(&self, index: u32, kept_since: u64) -> bool {
        self.lasts_are_many()
            || self
                .holder(index)
                .is_none_or(|holder| holder.ended.get() < kept_since)
    }

    fn lasts_are_many(&self) -> bool {
        self.lasts.load(Ordering::Relaxed) >= self.states.len() as u64 / 4
    }

    fn claim(&self, index: u32, state: u64, sequence: u64) -> Option<Taken> {
        let word = self.state(index as usize)?;
        if seeded::is(Bug::TakenTwice) {
            word.store(held(sequence), Ordering::Relaxed);
        } else {
            // Acquire: what the last holder wrote into `holders` and its ring is seen.
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            word.compare_exchange(state, held(sequence), success, failure)
                .ok()?;
        }
        let was_last = state & TAG == LAST;
        if was_last {
            self.lasts.fetch_sub(1, Ordering::Relaxed);
        }
        Some(Taken {
            index,
            sequence,
            was_last,
            was_free: state == FREE,
        })
    }

    /// The holder gives the block up for a newer one.
    pub(crate) fn fill(&self, index: u32) {
        self.leave(index, FULL, self.full());
    }

    /// The holder's thread has ended at `now`, having recorded and dropped so many events.
    pub(crate) fn end(&self, index: u32, now: u64, events: u64, dropped: u64) {
        if let Some(holder) = self.holder(index) {
            holder.ended.set(now);
            holder.last_events.set(events);
            holder.last_dropped.set(dropped);
            self.lasts.fetch_add(1, Ordering::Relaxed);
            self.leave(index, LAST, self.last());
        }
    }

    /// Takes over the block of a holder that died without a word, if it holds it
    /// still; of two that find it dead, one does, and then ends it.
    pub(crate) fn seize(&self, index: u32, sequence: u64) -> bool {
        self.state(index as usize).is_some_and(|word| {
            word.compare_exchange(
                held(sequence),
                held(0),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .is_ok()
        })
    }

    /// Whether the block is held as the one with this sequence number.
    pub(crate) fn is_held(&self, index: u32, sequence: u64) -> bool {
        self.state(index as usize)
            .is_some_and(|word| word.load(Ordering::Acquire) == held(sequence))
    }

    fn leave(&self, index: u32, tag: u64, queue: Queue<'_>) {
        let turn = self.moved.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let state = tag | (turn << 2);
        if let Some(word) = self.state(index as usize) {
            // Release: the next holder sees what this one wrote.
            word.store(state, Ordering::Release);
            queue.push(Entry { turn, index });
        }
    }
}

/// Blocks in the order in which they were given up; a hint, the states decide.
#[derive(Clone, Copy)]
struct Queue<'a> {
    /// Packed entries, 0 where there is none; a power of two of them.
    cells: &'a [AtomicU64],
    ends: &'a Ends,
}

/// Where a queue begins and ends.
#[derive(Default)]
struct Ends {
    head: AtomicU64,
    tail: AtomicU64,
}

/// The cells of a queue of so many blocks.
fn cells(blocks: usize) -> Option<Table<AtomicU64>> {
    Table::new((2 * blocks).next_power_of_two())
}

#[derive(Clone, Copy)]
struct Entry {
    /// From 1; the state of the block bears the same, or the entry is stale.
    turn: u64,
    index: u32,
}

const INDEX_BITS: u32 = 24;

impl Entry {
    fn pack(self) -> u64 {
        (self.turn << INDEX_BITS) | u64::from(self.index)
    }

    fn unpack(packed: u64) -> Option<Entry> {
        let index = packed as u32 & ((1 << INDEX_BITS) - 1);
        (packed != 0).then_some(Entry {
            turn: packed >> INDEX_BITS,
            index,
        })
    }
}

impl<'a> Queue<'a> {
    fn cell(&self, ticket: u64) -> &'a AtomicU64 {
        // Neighbours lie apart, as the states do.
        let (ticket, len) = (ticket as usize & (self.cells.len() - 1), self.cells.len());
        let place = match len / STATES_A_LINE {
            0 => ticket,
            lines => ticket % lines * STATES_A_LINE + ticket / lines,
        };
        &self.cells[place]
    }

    /// Appends an entry. One that is met in its cell, left by somebody who stood
    /// still while the queue went by, is appended behind it.
    fn push(&self, entry: Entry) {
        let mut packed = entry.pack();
        for _ in 0..4 {
            let ticket = self.ends.tail.fetch_add(1, Ordering::Relaxed);
            packed = self.cell(ticket).swap(packed, Ordering::AcqRel);
            if packed == 0 {
                return;
            }
        }
    }

    /// The oldest entry, if it is there already.
    fn peek(&self) -> Option<Entry> {
        let (mut head, tail) = (
            self.ends.head.load(Ordering::Relaxed),
            self.ends.tail.load(Ordering::Acquire),
        );
        while head < tail {
            if let Some(entry) = Entry::unpack(self.cell(head).load(Ordering::Acquire)) {
                return Some(entry);
            }
            head += 1;
        }
        None
    }

    /// Takes the oldest entry out, passing over those that are not there yet.
    fn pop(&self) -> Option<Entry> {
        loop {
            let entry = self.take_out(self.next_ticket()?);
            if entry.is_some() {
                return entry;
            }
        }
    }

    /// The ticket of the oldest entry, now the caller's; `None` if there is none.
    fn next_ticket(&self) -> Option<u64> {
        loop {
            let head = self.ends.head.load(Ordering::Relaxed);
            if head >= self.ends.tail.load(Ordering::Acquire) {
                return None;
            }
            let ours = self.ends.head.compare_exchange(
                head,
                head + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if ours.is_ok() {
                return Some(head);
            }
        }
    }

    /// Takes out the entry of a ticket. Who stood still until the queue had gone by
    /// finds one that is much younger, and puts it back: taken now, it would leave a
    /// hole in its thread's history.
    fn take_out(&self, ticket: u64) -> Option<Entry> {
        let entry = Entry::unpack(self.cell(ticket).swap(0, Ordering::AcqRel))?;
        let passed = self
            .ends
            .tail
            .load(Ordering::Acquire)
            .saturating_sub(ticket);
        if passed > self.cells.len() as u64 {
            self.push(entry);
            return None;
        }
        Some(entry)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
