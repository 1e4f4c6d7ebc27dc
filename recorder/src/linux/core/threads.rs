//! Threads that come, end, or die without a word.
//!
//! A thread has a ring while it lives. What it recorded and dropped goes with its
//! last block to the pool, which keeps that for a while.

use super::Core;
use crate::linux::ring::Ring;
use crate::linux::sync::{Ordering, fence};
use crate::linux::thread;
use ttlog_format::block::{self, Next};

impl Core {
    /// A ring with a block for the calling thread; `None` if there is none.
    pub(crate) fn begin_thread(
        &self,
        name: [u8; block::THREAD_NAME_BYTES],
        thread_id: u32,
    ) -> Option<u32> {
        let index = self.rings.own()?;
        let ring = self.rings.get(index)?;
        ring.enter();
        ring.set_name(name);
        ring.thread_id.set(u64::from(thread_id));
        ring.thread
            .set(self.threads.fetch_add(1, Ordering::Relaxed) + 1);
        ring.slot_hint.set(ring.thread.get().wrapping_mul(61));
        let has_block = self.switch(ring);
        ring.leave();
        if !has_block {
            self.rings.free(index);
        }
        has_block.then_some(index)
    }

    /// The thread of a ring ends.
    pub(crate) fn end_thread(&self, index: u32) {
        if let Some(ring) = self.rings.get(index) {
            self.end(ring, index, self.clock.ticks());
        }
    }

    fn end(&self, ring: &Ring, index: u32, now: u64) {
        self.ends_begun.fetch_add(1, Ordering::Relaxed);
        // Whoever counts and sees any of what follows sees that it has begun.
        fence(Ordering::Release);
        self.let_go(ring);
        let block = ring.block.get() as u32;
        let dropped = ring.dropped.load(Ordering::Relaxed);
        // While the block is still this ring's.
        ring.open_block().store_next(&self.memory, Next::Ended);
        self.pool.end(block, now, ring.events(), dropped);
        self.rings.free(index);
        self.ends_done.fetch_add(1, Ordering::Release);
    }

    /// Ends threads that died without a word, a few at a time, and says whether
    /// there were any: the pool is short, and their blocks are still held. Each look
    /// asks the kernel; where a whole round has found none, the next is a while off.
    #[cold]
    pub(super) fn end_dead_threads(&self, now: u64) -> bool {
        const AT_ONCE: usize = 64;
        const LOOKS: usize = 1024;
        if now < self.next_look.load(Ordering::Relaxed) {
            return false;
        }
        let from = self.look_from.load(Ordering::Relaxed);
        let held = self
            .rings
            .owned(from as usize)
            .map(|(index, ring)| (index, ring, ring.block.get() as u32, ring.sequence.get()))
            .filter(|&(_, _, block, sequence)| self.pool.is_held(block, sequence));
        let (mut looks, mut found, mut next) = (0, 0, from);
        for (index, ring, block, sequence) in held.take(LOOKS) {
            looks += 1;
            next = u64::from(index) + 1;
            let gone = thread::is_gone(ring.thread_id.get() as u32);
            if gone && self.pool.seize(block, sequence) {
                self.end(ring, index, now);
                found += 1;
            }
            if found == AT_ONCE {
                break;
            }
        }
        self.look_from.store(next, Ordering::Relaxed);
        if found == 0 && looks < LOOKS {
            let next = now.saturating_add(self.second_ticks / 100);
            self.next_look.store(next, Ordering::Relaxed);
        }
        found > 0
    }
}
