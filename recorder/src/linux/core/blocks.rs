//! From one block to the next: taking it, what goes with the old one, and what
//! the new one begins with.
//!
//! The old records of a block are gone, and the totals of a thread that went with
//! them count, at one and the same store.

use super::{Core, STACK_KEPT};
use crate::linux::open_block::OpenBlock;
use crate::linux::pool::{NO_BLOCK, Taken};
use crate::linux::ring::{AHEAD, Ring};
use crate::linux::sync::Ordering;
use ttlog_format::block::{self, Next, Retired};
use ttlog_format::clock::Sample;
use ttlog_format::header::totals;
use ttlog_format::record::{self, Kind};

impl Core {
    /// Goes on in another block, if one is to be had.
    #[cold]
    pub(crate) fn switch(&self, ring: &Ring) -> bool {
        self.let_go(ring);
        let now = self.clock.ticks();
        let taken = self.take(now);
        if let Some(taken) = taken {
            self.go_on_in(ring, taken, now);
        }
        taken.is_some()
    }

    /// The thread's last sample of all clocks, or one of now where that is a
    /// millisecond old: busy threads take blocks in less time than it takes to ask.
    fn sample(&self, ring: &Ring, now: u64) -> Sample {
        let last = ring.sample();
        if now.saturating_sub(last.ticks) < self.second_ticks / 1000 {
            return last;
        }
        let sample = self.clock.sample();
        ring.set_sample(sample);
        sample
    }

    /// Makes a block that was taken the ring's.
    fn go_on_in(&self, ring: &Ring, taken: Taken, now: u64) {
        let base = self.base(taken.index);
        // While the header is made; what lies further is fetched record by record.
        (0..AHEAD as usize)
            .step_by(8)
            .for_each(|word| self.memory.prefetch(base + word));
        let (retired, pair) = self.retire(taken);
        let previous = ring.block.get();
        let is_first = previous == NO_BLOCK;
        let header = block::Header {
            recording: self.recording,
            sequence: taken.sequence,
            index: taken.index,
            kind: block::Kind::Records,
            thread: ring.thread.get() as u32,
            thread_id: ring.thread_id.get() as u32,
            thread_name: ring.name(),
            events_before: ring.events(),
            previous_sequence: ring.sequence.get(),
            previous_index: if is_first { 0 } else { previous as u32 },
            previous_events: ring.block_events() as u32,
            clocks: self.sample(ring, now),
            retired,
            pair,
        };
        let mut open = OpenBlock::begin(&self.memory, base, &header);
        self.count_place(taken);
        open.store_owner(&self.memory, &header);
        ring.forget_described();
        self.write_stack(ring, &mut open, now);
        let dropped = ring.dropped.load(Ordering::Relaxed);
        open.publish(
            &self.memory,
            &header,
            u32::try_from(dropped).unwrap_or(u32::MAX),
        );
        if !is_first {
            ring.open_block()
                .store_next(&self.memory, Next::At(taken.index));
        }
        ring.told.set(dropped);
        ring.events_before.set(header.events_before);
        ring.move_to(taken.index, taken.sequence, &open);
        ring.previous.set(previous);
    }

    /// Gives the block before up: the last words are in the newest.
    #[cold]
    pub(super) fn let_go(&self, ring: &Ring) {
        let previous = ring.previous.get();
        if previous != NO_BLOCK {
            self.pool.fill(previous as u32);
            ring.previous.set(NO_BLOCK);
        }
    }

    fn take(&self, now: u64) -> Option<Taken> {
        let kept_since = now.saturating_sub(self.window_ticks);
        loop {
            let taken = self.pool.take(kept_since);
            // Some of the dead may have to be kept for the window, all the same.
            if taken.is_some() || !self.end_dead_threads(now) {
                return taken;
            }
        }
    }

    /// Adds the totals of the thread whose last block was taken to those of its
    /// place. Gives them, and the pair that is to hold them.
    pub(super) fn retire(&self, taken: Taken) -> (Retired, usize) {
        let Some(holder) = self.pool.holder(taken.index) else {
            return (Retired::default(), 0);
        };
        if taken.was_last {
            let events = holder.retired_events.get() + holder.last_events.get();
            let dropped = holder.retired_dropped.get() + holder.last_dropped.get();
            holder.retired_events.set(events);
            holder.retired_dropped.set(dropped);
            holder.last_events.set(0);
            holder.last_dropped.set(0);
        }
        let retired = Retired {
            events: holder.retired_events.get(),
            dropped: holder.retired_dropped.get(),
        };
        (retired, self.pool.pair(taken.index, taken.was_last))
    }

    /// Counts a place that was taken for the first time, once it is no more zeros: should it
    /// be zeros again, that is damage.
    pub(super) fn count_place(&self, taken: Taken) {
        if taken.was_free {
            let used = self.places_used.fetch_add(1, Ordering::Relaxed) + 1;
            self.store_total(totals::PLACES_USED, used);
        }
    }

    /// Begins a block with the spans that its thread is in: what they are, then
    /// their ids.
    fn write_stack(&self, ring: &Ring, open: &mut OpenBlock, ticks: u64) {
        let (depth, stack) = ring.stack();
        if depth == 0 {
            let words = [record::header(Kind::Stack, 4), ticks, 0, 0];
            return open.write(&self.memory, &words);
        }
        let outermost = stack.len().min(STACK_KEPT);
        let innermost = stack.len().saturating_sub(STACK_KEPT).max(outermost);
        if let Some(current) = ring.current() {
            self.describe(ring, open, current, ticks);
        }
        let mut words = [0; 4 + 2 * STACK_KEPT];
        let ids = stack[..outermost].iter().chain(&stack[innermost..]);
        let mut len = 4;
        for id in ids {
            words[len] = id.get();
            len += 1;
        }
        words[..4].copy_from_slice(&[
            record::header(Kind::Stack, len),
            ticks,
            depth,
            outermost as u64,
        ]);
        open.write(&self.memory, &words[..len]);
    }

    pub(super) fn base(&self, index: u32) -> usize {
        self.about.layout.block_offset(index) as usize / 8
    }
}
