//! One thread's ring: the block that it holds, and what it must know to go on.
//!
//! The owning thread is the only one that writes here, and a signal handler on
//! it, which finds the ring busy.
//!
//! Numbers are atomics for the sake of `Sync` alone; who owns the ring is what
//! orders them: the pool's state of the block hands both over.

use crate::linux::memory::Memory;
use crate::linux::open_block::OpenBlock;
use crate::linux::pool::NO_BLOCK;
use crate::linux::seeded::{self, Bug};
use crate::linux::sync::{AtomicU64, Number, Numbers, Ordering};
use ttlog_format::block::OWNER_WORD;
use ttlog_format::block::THREAD_NAME_BYTES;
use ttlog_format::check::Key;
use ttlog_format::clock::Sample;
use ttlog_format::record::Kind;
use ttlog_format::span::SpanId;

/// How many entered spans a thread's stack holds; deeper ones are counted.
pub(crate) const STACK: usize = 256;

/// How many words lie between what is written and what is prefetched: a few records, and
/// never in another block. To guess which is the next costs one thread less, and two far
/// more, since they guess the same.
pub(crate) const AHEAD: u64 = 128;

/// How many spans a thread remembers to have described in its block.
const DESCRIBED: usize = 32;

/// A thread's ring. One that nobody owns may be all zeros.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
// No two threads' rings share a cache line, nor two that are fetched together.
#[repr(align(128))]
pub(crate) struct Ring {
    busy: AtomicU64,
    /// Index of the block, or [`NO_BLOCK`].
    pub(crate) block: Number,
    pub(crate) sequence: Number,
    /// Index of the block before, as long as this one holds no event: the last
    /// words are there. Or [`NO_BLOCK`].
    pub(crate) previous: Number,
    base: Number,
    key: Number,
    position: Number,
    block_events: Number,
    /// Events recorded before this block.
    pub(crate) events_before: Number,
    /// Events dropped, and how many of them the block's header tells.
    pub(crate) dropped: AtomicU64,
    pub(crate) told: Number,
    /// Number in the recording and operating system's id.
    pub(crate) thread: Number,
    pub(crate) thread_id: Number,
    name: Numbers<{ THREAD_NAME_BYTES / 8 }>,
    /// When the thread last sampled all clocks, and what they said.
    sample: Numbers<4>,
    depth: Number,
    stack: Numbers<STACK>,
    described: Numbers<DESCRIBED>,
    has_described_any: Number,
    /// The newest record that has a word to be stored later, as long as that may be:
    /// the span that it is about, its kind, its ticks, and the recording's word.
    later_span: Number,
    later_kind: Number,
    later_ticks: Number,
    later_word: Number,
    /// Where the thread looks for a free span slot first.
    pub(crate) slot_hint: Number,
}

impl Ring {
    /// Makes the ring that of another thread, without a block.
    pub(crate) fn reset(&self) {
        self.block.set(NO_BLOCK);
        self.sequence.set(0);
        self.previous.set(NO_BLOCK);
        self.block_events.set(0);
        self.events_before.set(0);
        self.dropped.store(0, Ordering::Relaxed);
        self.told.set(0);
        self.set_sample(Sample::from_words([0; 4]));
        self.depth.set(0);
        self.busy.store(0, Ordering::Relaxed);
        self.forget_described();
    }

    /// Begins a record, unless one is open on this thread already: then this is
    /// a signal handler, and its record is not to be had.
    #[inline]
    pub(crate) fn enter(&self) -> bool {
        // Without this check: the bug that the negative control of signals must find.
        if self.busy.load(Ordering::Relaxed) != 0 && !seeded::is(Bug::Reentry) {
            return false;
        }
        self.busy.store(1, Ordering::Relaxed);
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        true
    }

    /// Ends a record.
    #[inline]
    pub(crate) fn leave(&self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        self.busy.store(0, Ordering::Relaxed);
    }

    /// Whether events were dropped that the block's header does not tell of.
    #[inline]
    pub(crate) fn has_untold(&self) -> bool {
        self.dropped.load(Ordering::Relaxed) != self.told.get()
    }

    /// The block that the ring writes to.
    #[inline]
    pub(crate) fn open_block(&self) -> OpenBlock {
        OpenBlock {
            base: self.base.get() as usize,
            key: Key::from_bits(self.key.get()),
            position: self.position.get() as usize,
            events: self.block_events.get() as u32,
        }
    }

    /// Appends to the block.
    #[inline]
    pub(crate) fn append(&self, append: impl FnOnce(&mut OpenBlock)) {
        let mut block = self.open_block();
        append(&mut block);
        self.advance(&block);
    }

    /// Remembers how far the block is written.
    #[inline]
    fn advance(&self, block: &OpenBlock) {
        self.position.set(block.position as u64);
        self.block_events.set(u64::from(block.events));
    }

    /// Has the processor fetch what is written to after the next few records.
    #[inline]
    pub(crate) fn prefetch(&self, memory: &Memory) {
        let ahead = self.position.get() + AHEAD;
        if ahead < OWNER_WORD as u64 {
            let at = (self.base.get() + ahead) as usize;
            memory.prefetch(at);
            memory.prefetch(at + 8);
        }
    }

    /// Goes on in another block.
    pub(crate) fn move_to(&self, index: u32, sequence: u64, block: &OpenBlock) {
        self.later_span.set(0);
        self.block.set(u64::from(index));
        self.sequence.set(sequence);
        self.base.set(block.base as u64);
        self.key.set(block.key.to_bits());
        self.advance(block);
    }

    /// How many words are left in the block.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        OWNER_WORD.saturating_sub(self.position.get() as usize)
    }

    /// Remembers that the record just appended has a word to be stored later.
    #[inline]
    pub(crate) fn may_say_later(&self, kind: Kind, span: SpanId, ticks: u64) {
        self.later_span.set(span.to_u64());
        self.later_kind.set(kind as u64);
        self.later_ticks.set(ticks);
        self.later_word
            .set(self.base.get() + self.position.get() - 1);
    }

    /// Which word takes what more is to be said of a span, and what: if the thread's
    /// newest record is of that kind and about that span, and has said nothing yet.
    #[inline]
    pub(crate) fn say_later(&self, kind: Kind, span: SpanId, ticks: u64) -> Option<(usize, u64)> {
        let word = self.later_word.get();
        let is_newest = self.later_span.get() == span.to_u64()
            && self.later_kind.get() == kind as u64
            && word + 1 == self.base.get() + self.position.get();
        let after = ticks.saturating_sub(self.later_ticks.get()).max(1);
        let after = u32::try_from(after).ok().filter(|_| is_newest)?;
        self.later_span.set(0);
        let said = match seeded::is(Bug::LaterBare) {
            true => u64::from(after),
            false => {
                let position = (word - self.base.get()) as usize;
                Key::from_bits(self.key.get()).guard(position, after)
            }
        };
        Some((word as usize, said))
    }

    /// Events in the block.
    pub(crate) fn block_events(&self) -> u64 {
        self.block_events.get()
    }

    /// Events that the thread has recorded.
    pub(crate) fn events(&self) -> u64 {
        self.events_before.get() + self.block_events.get()
    }

    /// The last sample of all clocks; all zeros where there is none.
    pub(crate) fn sample(&self) -> Sample {
        Sample::from_words(std::array::from_fn(|i| self.sample[i].get()))
    }

    pub(crate) fn set_sample(&self, sample: Sample) {
        for (word, value) in self.sample.iter().zip(sample.to_words()) {
            word.set(value);
        }
    }

    pub(crate) fn set_name(&self, name: [u8; THREAD_NAME_BYTES]) {
        for (word, chunk) in self.name.iter().zip(name.as_chunks::<8>().0) {
            word.set(u64::from_le_bytes(*chunk));
        }
    }

    pub(crate) fn name(&self) -> [u8; THREAD_NAME_BYTES] {
        let mut name = [0; THREAD_NAME_BYTES];
        for (word, chunk) in self.name.iter().zip(name.as_chunks_mut::<8>().0) {
            *chunk = word.get().to_le_bytes();
        }
        name
    }

    /// Enters a span.
    #[inline]
    pub(crate) fn push(&self, span: SpanId) {
        let depth = self.depth.get();
        if let Some(place) = self.stack.get(depth as usize) {
            place.set(span.to_u64());
        }
        self.depth.set(depth + 1);
    }

    /// Leaves a span: its last occurrence goes, wherever it is.
    #[inline]
    pub(crate) fn pop(&self, span: SpanId) {
        let depth = self.depth.get();
        if depth > STACK as u64 {
            return self.depth.set(depth - 1);
        }
        let kept = &self.stack[..depth as usize];
        if let Some(at) = kept.iter().rposition(|place| place.get() == span.to_u64()) {
            for i in at..depth as usize - 1 {
                kept[i].set(kept[i + 1].get());
            }
            self.depth.set(depth - 1);
        }
    }

    /// The innermost span that the thread is in.
    #[inline]
    pub(crate) fn current(&self) -> Option<SpanId> {
        let kept = (self.depth.get() as usize).min(STACK);
        kept.checked_sub(1)
            .and_then(|top| SpanId::from_u64(self.stack[top].get()))
    }

    /// How many spans the thread is in, and those of them that are kept, outermost first.
    pub(crate) fn stack(&self) -> (u64, &[Number]) {
        let depth = self.depth.get();
        (depth, &self.stack[..(depth as usize).min(STACK)])
    }

    /// Whether the block holds a description of the span.
    #[inline]
    pub(crate) fn has_described(&self, span: SpanId) -> bool {
        self.described[place(span)].get() == span.to_u64()
    }

    #[inline]
    pub(crate) fn set_described(&self, span: SpanId) {
        self.described[place(span)].set(span.to_u64());
        self.has_described_any.set(1);
    }

    pub(crate) fn forget_described(&self) {
        if self.has_described_any.get() != 0 {
            self.described.iter().for_each(|place| place.set(0));
            self.has_described_any.set(0);
        }
    }
}

#[inline]
fn place(span: SpanId) -> usize {
    span.to_u64() as usize % DESCRIBED
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn ring() -> Ring {
        let ring = zerocopy::FromZeros::new_zeroed();
        Ring::reset(&ring);
        ring
    }

    fn id(n: u32) -> SpanId {
        SpanId::in_slot(n, 1)
    }

    fn stack(ring: &Ring) -> Vec<u64> {
        ring.stack().1.iter().map(Number::get).collect()
    }

    #[test]
    fn leaving_takes_the_last_occurrence_and_not_the_top() {
        let ring = ring();
        [1, 2, 1, 3].into_iter().for_each(|n| ring.push(id(n)));
        ring.pop(id(1));
        assert_eq!(stack(&ring), [1, 2, 3].map(|n| id(n).to_u64()));
        ring.pop(id(9));
        assert_eq!(stack(&ring).len(), 3);
        [1, 2, 3].into_iter().for_each(|n| ring.pop(id(n)));
        assert_eq!(ring.current(), None);
    }

    #[test]
    fn a_stack_that_is_too_deep_is_counted_and_comes_back() {
        let ring = ring();
        (0..STACK as u32 + 10).for_each(|n| ring.push(id(n)));
        assert_eq!(ring.stack().0, STACK as u64 + 10);
        assert_eq!(ring.current(), Some(id(STACK as u32 - 1)));
        (0..STACK as u32 + 10).rev().for_each(|n| ring.pop(id(n)));
        assert_eq!((ring.stack().0, ring.current()), (0, None));
    }

    #[test]
    fn a_record_does_not_begin_within_a_record() {
        let ring = ring();
        assert!(ring.enter());
        assert!(!ring.enter());
        ring.leave();
        assert!(ring.enter());
    }
}
