//! The life of a record: it is encoded in a [`Scratch`] (all user code runs there);
//! its thread's ring is entered; its call site is made known, its span described,
//! and a block taken, each only where it must be; then it is appended.

use super::{Core, DESCRIPTIONS_WORDS, Here};
use crate::linux::open_block::OpenBlock;
use crate::linux::pool::NO_BLOCK;
use crate::linux::ring::Ring;
use crate::linux::scratch::Scratch;
use crate::linux::sites;
use crate::linux::spans::Opening;
use crate::linux::sync::{Number, Ordering};
use crate::linux::thread;
use tracing_core::Metadata;
use ttlog_format::header::{newest, totals};
use ttlog_format::record::{self, Kind};
use ttlog_format::span::{SLOT_WORDS, SpanId};

impl Here<'_> {
    /// Records an event: `scratch` holds `[header, ticks, site, …]`.
    #[inline]
    pub(crate) fn event(
        self,
        kind: Kind,
        scratch: &mut Scratch,
        metadata: &'static Metadata<'static>,
        span: Option<SpanId>,
    ) {
        let words = scratch.finish(kind);
        let recorded = thread::with(self, |ring| {
            if !ring.enter() {
                ring.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.know(ring, metadata, words.len());
            self.append(ring, words, None, span, true);
            self.leave(ring);
        });
        if recorded.is_none() {
            self.add_dropped(1);
        }
    }

    /// Opens a span: `scratch` holds `[header, ticks, site, span, parent, values…]`.
    pub(crate) fn open(
        self,
        scratch: &mut Scratch,
        metadata: &'static Metadata<'static>,
        parent: Option<SpanId>,
    ) -> SpanId {
        let words = scratch.finish(Kind::SpanOpen);
        let ticks = self.clock.ticks();
        let opened = thread::with(self, |ring| {
            let ours = ring.enter();
            let site = if ours {
                self.know(ring, metadata, words.len())
            } else {
                self.sites.find(metadata)
            };
            let id = self.open_slot(&ring.slot_hint, words, ticks, metadata, site, parent);
            if ours {
                words[3] = id.to_u64();
                words[4] = parent.map_or(0, SpanId::to_u64);
                self.append(ring, words, Some(ticks), parent, false);
                ring.set_described(id);
                self.leave(ring);
            }
            id
        });
        opened.unwrap_or_else(|| {
            let hint = Number::new(0);
            let site = self.sites.find(metadata);
            self.open_slot(&hint, words, ticks, metadata, site, parent)
        })
    }

    fn open_slot(
        self,
        hint: &Number,
        words: &[u64],
        ticks: u64,
        metadata: &'static Metadata<'static>,
        site: Option<u16>,
        parent: Option<SpanId>,
    ) -> SpanId {
        let opening = Opening {
            ticks,
            address: sites::address(metadata),
            site: site.unwrap_or(u16::MAX),
            parent,
            values: words.get(5..).unwrap_or(&[]),
        };
        let (id, without_slot) = self
            .spans
            .open(&self.memory, self.recording, hint, &opening);
        if let Some(number) = without_slot {
            self.store_total(totals::SPANS_WITHOUT_SLOT, number);
        }
        id
    }

    /// Records later values of a span: `scratch` holds `[header, ticks, span, values…]`.
    pub(crate) fn values(self, scratch: &mut Scratch, span: SpanId) {
        let words = scratch.finish(Kind::SpanValues);
        let ticks = self.clock.ticks();
        self.about(words, ticks, span);
        let values = words.get(3..).unwrap_or(&[]);
        self.spans
            .values(&self.memory, self.recording, span, ticks, values);
    }

    /// Records that a span follows from another.
    pub(crate) fn follows(self, span: SpanId, follows: SpanId) {
        let mut words = [
            record::header(Kind::SpanFollows, 4),
            0,
            span.to_u64(),
            follows.to_u64(),
        ];
        self.about(&mut words, self.clock.ticks(), span);
    }

    fn about(self, words: &mut [u64], ticks: u64, span: SpanId) {
        thread::with(self, |ring| {
            if ring.enter() {
                self.append(ring, words, Some(ticks), Some(span), false);
                self.leave(ring);
            }
        });
    }

    /// The calling thread enters a span.
    #[inline]
    pub(crate) fn enter(self, span: SpanId) {
        let ticks = self.clock.ticks();
        let mut words = [record::header(Kind::SpanEnter, 3), 0, span.to_u64()];
        thread::with(self, |ring| {
            self.spans.enter(
                &self.memory,
                span,
                ticks,
                ring.thread.get() | (ring.thread_id.get() << 32),
            );
            if ring.enter() {
                self.append(ring, &mut words, Some(ticks), Some(span), false);
                ring.push(span);
                self.leave(ring);
            }
        });
    }

    /// The calling thread leaves a span.
    #[inline]
    pub(crate) fn exit(self, span: SpanId) {
        let mut words = [record::header(Kind::SpanExit, 3), 0, span.to_u64()];
        thread::with(self, |ring| {
            if ring.enter() {
                self.append(ring, &mut words, None, Some(span), false);
                ring.pop(span);
                self.leave(ring);
            }
        });
    }

    /// Closes a span, and its parents of which it was the last to hold.
    pub(crate) fn close(self, span: SpanId) {
        let mut next = Some(span);
        while let Some(span) = next {
            let mut words = [record::header(Kind::SpanClose, 3), 0, span.to_u64()];
            self.about(&mut words, self.clock.ticks(), span);
            let parent = self.spans.close(&self.memory, span);
            next = parent.filter(|&parent| self.spans.release(parent));
        }
    }

    /// The innermost span that the calling thread is in.
    #[inline]
    pub(crate) fn current(self) -> Option<SpanId> {
        thread::with_known(&self, Ring::current).flatten()
    }
}

/// Inside a ring that was entered.
impl Core {
    /// Appends a record and, before it, the description of the span that it is about.
    #[inline]
    fn append(
        &self,
        ring: &Ring,
        words: &mut [u64],
        ticks: Option<u64>,
        about: Option<SpanId>,
        is_event: bool,
    ) {
        let undescribed = |open: &OpenBlock| {
            let span = about.filter(|&span| !ring.has_described(span));
            span.map(|span| (span, open.room() >= words.len() + DESCRIPTIONS_WORDS))
        };
        let mut open = ring.open_block();
        let fits = undescribed(&open).map_or(open.room() >= words.len(), |(_, fits)| fits);
        if !fits && self.switch(ring) {
            open = ring.open_block();
        }
        if open.room() < words.len() {
            ring.dropped
                .fetch_add(u64::from(is_event), Ordering::Relaxed);
        } else {
            let ticks = ticks.unwrap_or_else(|| self.clock.ticks());
            if let Some((span, true)) = undescribed(&open) {
                self.describe(ring, &mut open, span, ticks);
            }
            if let Some(word) = words.get_mut(1) {
                *word = ticks;
            }
            open.append(&self.memory, words, is_event);
            ring.advance(&open);
            if ticks.saturating_sub(self.sampled.load(Ordering::Relaxed)) > self.second_ticks {
                self.sample_again(ticks);
            }
            if is_event && ring.previous.get() != NO_BLOCK {
                self.let_go(ring);
            }
        }
    }

    /// Ends a record, and tells how many events were dropped because it was open.
    #[inline]
    fn leave(&self, ring: &Ring) {
        ring.leave();
        while ring.has_untold() && ring.enter() {
            let dropped = ring.dropped.load(Ordering::Relaxed);
            ring.told.set(dropped);
            let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
            ring.open_block().store_dropped(&self.memory, dropped);
            ring.leave();
        }
    }

    /// Stores a sample of all clocks, about once in a second in which anything is
    /// recorded: a quiet process is dated by it, and a step of the wall clock seen.
    #[cold]
    fn sample_again(&self, ticks: u64) {
        let last = self.sampled.load(Ordering::Relaxed);
        let ours = last < ticks
            && self
                .sampled
                .compare_exchange(last, ticks, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if ours {
            let place = self.samples.fetch_add(1, Ordering::Relaxed) as usize % newest::PLACES;
            let words = newest::encode(self.clock.sample(), self.recording, place);
            let base = newest::OFFSET as usize / 8 + place * newest::WORDS;
            for (i, &word) in words.iter().enumerate().skip(1) {
                self.memory.store(base + i, word);
            }
            self.memory.publish(base, words[0]);
        }
    }

    /// Describes a span and those of its parents that the block has not described,
    /// parents first, as far as the room for descriptions goes.
    #[cold]
    pub(super) fn describe(&self, ring: &Ring, open: &mut OpenBlock, span: SpanId, ticks: u64) {
        let mut chain = [None; 8];
        let mut next = Some(span);
        for link in &mut chain {
            *link = next.filter(|&span| !ring.has_described(span));
            next = link.and_then(|span| self.spans.parent(span));
        }
        let mut room = DESCRIPTIONS_WORDS;
        for &span in chain.iter().flatten().rev() {
            let mut words = [0; 3 + SLOT_WORDS];
            let mut slot = [0; SLOT_WORDS];
            let Some(len) = self
                .spans
                .copy(&self.memory, self.recording, span, &mut slot)
            else {
                continue;
            };
            if 3 + len > room {
                continue;
            }
            room -= 3 + len;
            words[..3].copy_from_slice(&[
                record::header(Kind::Description, 3 + len),
                ticks,
                span.to_u64(),
            ]);
            words[3..3 + len].copy_from_slice(&slot[..len]);
            open.append(&self.memory, &words[..3 + len], false);
            ring.set_described(span);
        }
    }
}
