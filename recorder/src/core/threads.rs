//! Threads that come, end, come back from their destructors, or die without a word.
//!
//! A ring is its thread's until the pool takes the thread's last block.

use super::Core;
use crate::ring::Ring;
use crate::sync::Ordering;
use crate::thread;
use ttlog_format::block;

impl Core {
    /// A ring with a block for the calling thread; `None` if there is none.
    pub(crate) fn begin_thread(
        &self,
        name: [u8; block::THREAD_NAME_BYTES],
        thread_id: u32,
    ) -> Option<u32> {
        let start = self.threads.load(Ordering::Relaxed) as usize;
        let rings = self.rings.len();
        let index = (0..rings)
            .map(|i| (start + i) % rings)
            .find(|&i| self.rings[i].own())?;
        let ring = &self.rings[index];
        ring.enter();
        ring.set_name(name);
        ring.thread_id.set(u64::from(thread_id));
        ring.thread
            .set(self.threads.fetch_add(1, Ordering::Relaxed) + 1);
        ring.slot_hint.set(ring.thread.get().wrapping_mul(61));
        let has_block = self.switch(ring);
        ring.leave();
        if !has_block {
            ring.free();
            return None;
        }
        Some(index as u32)
    }

    fn hold(&self, ring: &Ring, index: u64) {
        if let Some(holder) = self.pool.holder(ring.block.get() as u32) {
            holder.ring.set(index);
        }
    }

    /// The thread of a ring ends; gives what [`Core::reopen_thread`] wants.
    pub(crate) fn end_thread(&self, index: u32) -> u64 {
        let Some(ring) = self.rings.get(index as usize) else {
            return 0;
        };
        self.let_go(ring);
        self.hold(ring, u64::from(index));
        self.pool.end(ring.block.get() as u32, self.clock.ticks())
    }

    /// A thread that has ended takes its last block back, unless it was taken.
    pub(crate) fn reopen_thread(&self, index: u32, state: u64) -> bool {
        let Some(ring) = self.rings.get(index as usize) else {
            return false;
        };
        // Turns are never given twice: a state that matches is one's own end.
        let block = ring.block.get() as u32;
        self.pool.reopen(block, state, ring.sequence.get())
    }

    /// Ends the threads that died without a word, a few at a time: the pool is
    /// short, and their blocks are still held. Where none of those looked at is
    /// gone, the next look is a while off: each asks the kernel.
    #[cold]
    pub(super) fn end_dead_threads(&self, now: u64) {
        const AT_ONCE: usize = 64;
        if now < self.next_look.load(Ordering::Relaxed) {
            return;
        }
        let (start, rings) = (now as usize, self.rings.len());
        let holders = (0..rings)
            .map(|i| start.wrapping_add(i) % rings)
            .map(|index| (index, &self.rings[index]))
            .filter(|(_, ring)| ring.is_owned())
            .map(|(index, ring)| (index, ring, ring.block.get() as u32, ring.sequence.get()))
            .filter(|&(_, _, block, sequence)| self.pool.is_held(block, sequence));
        let mut found = false;
        for (index, ring, block, sequence) in holders.take(AT_ONCE) {
            let gone = thread::is_gone(ring.thread_id.get() as u32);
            if gone && self.pool.seize(block, sequence) {
                self.let_go(ring);
                self.hold(ring, index as u64);
                self.pool.end(block, now);
                found = true;
            }
        }
        if !found {
            self.next_look.store(
                now.saturating_add(self.second_ticks / 100),
                Ordering::Relaxed,
            );
        }
    }
}
