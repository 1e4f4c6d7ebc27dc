//! The life of a record: it is encoded in a [`Scratch`] (all user code runs there);
//! its thread's ring is entered; its call site is made known, its span described,
//! and a block taken, each only where it must be; then it is appended.

use super::{Core, DESCRIPTIONS_WORDS, Here, Seen};
use crate::linux::open_block::OpenBlock;
use crate::linux::pool::NO_BLOCK;
use crate::linux::ring::Ring;
use crate::linux::scratch::Scratch;
use crate::linux::seeded::{self, Bug};
use crate::linux::spans::Opening;
use crate::linux::sync::{Number, Ordering};
use crate::linux::thread;
use tracing_core::Metadata;
use ttlog_format::header::{newest, totals};
use ttlog_format::record::{self, Kind};
use ttlog_format::span::{SLOT_WORDS, SpanId};

/// The parent that a span is opened with.
#[derive(Clone, Copy)]
pub(crate) enum Parent {
    /// The span that the thread is in.
    Current,
    /// This one, or none.
    Given(Option<SpanId>),
}

impl Parent {
    fn in_ring(self, ring: &Ring) -> Option<SpanId> {
        match self {
            Parent::Current => ring.current(),
            Parent::Given(parent) => parent,
        }
    }
}

impl<'a> Here<'a> {
    /// Records an event: `scratch` holds `[header, ticks, site, …]`.
    #[inline]
    pub(crate) fn event(
        self,
        kind: Kind,
        scratch: &mut Scratch,
        (metadata, seen): (&'static Metadata<'static>, Seen),
        span: Option<SpanId>,
    ) {
        let words = scratch.finish(kind);
        let Some(ring) = thread::ring(self) else {
            return self.add_dropped(1);
        };
        if !ring.enter() {
            ring.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Seen::With(redactions) = seen
            && !seeded::is(Bug::SiteLate)
        {
            self.know(ring, metadata, words.len(), redactions);
        }
        if self.make_room(ring, words.len(), span) {
            let ticks = self.now(words);
            ring.prefetch(&self.memory);
            ring.append(|block| block.append(&self.memory, words, true));
            if let (true, Seen::With(redactions)) = (seeded::is(Bug::SiteLate), seen) {
                self.know(ring, metadata, words.len(), redactions);
            }
            self.after(ticks);
            if ring.previous.get() != NO_BLOCK {
                self.let_go(ring);
            }
        } else {
            ring.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.leave(ring);
    }

    /// Opens a span: `scratch` holds `[header, ticks, site, span, parent, values…]`.
    #[inline]
    pub(crate) fn open(
        self,
        scratch: &mut Scratch,
        (metadata, seen): (&'static Metadata<'static>, Seen),
        parent: Parent,
    ) -> SpanId {
        let words = scratch.finish(Kind::SpanOpen);
        let Some(ring) = thread::ring(self) else {
            return self.open_without_ring(words, (metadata, seen), parent);
        };
        let parent = parent.in_ring(ring);
        let ours = ring.enter();
        let site = match seen {
            Seen::Plain(index) => Some(index),
            Seen::With(redactions) if ours => self.know(ring, metadata, words.len(), redactions),
            Seen::With(_) => self.sites.find(metadata),
        };
        let ticks = self.now(words);
        let is_plain = seen.redactions().are_none();
        let id = self.open_slot(&ring.slot_hint, words, (site, is_plain), parent);
        if ours {
            if self.append_with_later(ring, words, parent, (Kind::SpanOpen, id, ticks)) {
                ring.set_described(id);
            }
            self.leave(ring);
        }
        id
    }

    #[cold]
    fn open_without_ring(
        self,
        words: &mut [u64],
        (metadata, seen): (&'static Metadata<'static>, Seen),
        parent: Parent,
    ) -> SpanId {
        let parent = match parent {
            Parent::Current => None,
            Parent::Given(parent) => parent,
        };
        self.now(words);
        let site = self.sites.find(metadata);
        let is_plain = seen.redactions().are_none();
        self.open_slot(&Number::new(0), words, (site, is_plain), parent)
    }

    #[inline]
    fn open_slot(
        self,
        hint: &Number,
        words: &mut [u64],
        (site, is_plain): (Option<u16>, bool),
        parent: Option<SpanId>,
    ) -> SpanId {
        let opening = Opening {
            words,
            site: site.unwrap_or(u16::MAX),
            is_plain,
            parent,
        };
        let (id, without_slot) = self.spans.open(&self.memory, self.recording, hint, opening);
        if let Some(number) = without_slot {
            self.store_total(totals::SPANS_WITHOUT_SLOT, number);
        }
        id
    }

    /// Records later values of a span: `scratch` holds `[header, ticks, span, values…]`.
    pub(crate) fn values(self, scratch: &mut Scratch, span: SpanId) {
        let words = scratch.finish(Kind::SpanValues);
        let ticks = self.now(words);
        if let Some(ring) = self.entered() {
            self.append(ring, words, ticks, span);
            self.leave(ring);
        }
        let values = words.get(3..).unwrap_or(&[]);
        self.spans
            .values(&self.memory, self.recording, span, ticks, values);
    }

    /// Records that a span follows from another.
    pub(crate) fn follows(self, span: SpanId, follows: SpanId) {
        let ticks = self.clock.ticks();
        let header = record::header(Kind::SpanFollows, 4);
        let words = [header, ticks, span.to_u64(), follows.to_u64()];
        if let Some(ring) = self.entered() {
            self.append(ring, &words, ticks, span);
            self.leave(ring);
        }
    }

    /// The calling thread enters a span.
    #[inline]
    pub(crate) fn enter(self, span: SpanId) {
        let ticks = self.clock.ticks();
        let Some(ring) = thread::ring(self) else {
            return;
        };
        let by = ring.thread.get() | (ring.thread_id.get() << 32);
        self.spans.enter(&self.memory, span, ticks, by);
        if ring.enter() {
            if !self.said_later(ring, Kind::SpanOpen, span, ticks) {
                let header = record::header(Kind::SpanEnter, 3);
                self.append(ring, &[header, ticks, span.to_u64()], ticks, span);
            }
            ring.push(span);
            self.leave(ring);
        }
    }

    /// The calling thread leaves a span.
    #[inline]
    pub(crate) fn exit(self, span: SpanId) {
        let ticks = self.clock.ticks();
        let words = [record::header(Kind::SpanExit, 4), ticks, span.to_u64()];
        if let Some(ring) = self.entered() {
            let later = (Kind::SpanExit, span, ticks);
            self.append_with_later(ring, &words, Some(span), later);
            ring.pop(span);
            self.leave(ring);
        }
    }

    /// Closes a span, and its parents of which it was the last to hold.
    #[inline]
    pub(crate) fn close(self, span: SpanId) {
        let mut next = Some(span);
        while let Some(span) = next {
            let ticks = self.clock.ticks();
            if let Some(ring) = self.entered() {
                if !self.said_later(ring, Kind::SpanExit, span, ticks) {
                    let header = record::header(Kind::SpanClose, 3);
                    self.append(ring, &[header, ticks, span.to_u64()], ticks, span);
                }
                self.leave(ring);
            }
            let parent = self.spans.close(&self.memory, span);
            next = parent.filter(|&parent| self.spans.release(parent));
        }
    }

    /// The innermost span that the calling thread is in.
    #[inline]
    pub(crate) fn current(self) -> Option<SpanId> {
        thread::known_ring(self.core())?.current()
    }

    /// The calling thread's ring, entered; `None` where a record is open in it.
    #[inline]
    fn entered(self) -> Option<&'a Ring> {
        thread::ring(self).filter(|ring| ring.enter())
    }
}

/// Inside a ring that was entered.
impl Core {
    /// Puts the time into a record, and gives it.
    #[inline]
    fn now(&self, words: &mut [u64]) -> u64 {
        let ticks = self.clock.ticks();
        if let Some(word) = words.get_mut(1) {
            *word = ticks;
        }
        ticks
    }

    /// Appends a record about a span.
    #[inline]
    fn append(&self, ring: &Ring, words: &[u64], ticks: u64, span: SpanId) {
        if self.make_room(ring, words.len(), Some(span)) {
            ring.append(|block| block.append(&self.memory, words, false));
            self.after(ticks);
        }
    }

    /// Appends a record that may say more later, and tells whether it did.
    #[inline(always)]
    fn append_with_later(
        &self,
        ring: &Ring,
        words: &[u64],
        about: Option<SpanId>,
        (kind, span, ticks): (Kind, SpanId, u64),
    ) -> bool {
        let there_is_room = self.make_room(ring, words.len() + 1, about);
        if there_is_room {
            ring.prefetch(&self.memory);
            ring.append(|block| block.append_with_later(&self.memory, words));
            ring.may_say_later(kind, span, ticks);
            self.after(ticks);
        }
        there_is_room
    }

    /// Has the thread's newest record say what happened to the span that it is about,
    /// if that is all that happened since.
    #[inline]
    fn said_later(&self, ring: &Ring, kind: Kind, span: SpanId, ticks: u64) -> bool {
        let later = ring.say_later(kind, span, ticks);
        if let Some((word, after)) = later {
            self.memory.store(word, after);
        }
        later.is_some()
    }

    /// Sees to it that a record of so many words has room, and that the span that it is
    /// about is described before it. Whether there is room.
    #[inline]
    fn make_room(&self, ring: &Ring, words: usize, about: Option<SpanId>) -> bool {
        let is_described = about.is_none_or(|span| ring.has_described(span));
        (is_described && ring.room() >= words) || self.make_ready(ring, words, about)
    }

    #[cold]
    fn make_ready(&self, ring: &Ring, words: usize, about: Option<SpanId>) -> bool {
        let undescribed = || about.filter(|&span| !ring.has_described(span));
        let wanted = match undescribed() {
            Some(_) => words + DESCRIPTIONS_WORDS,
            None => words,
        };
        if ring.room() < wanted {
            self.switch(ring);
        }
        if let Some(span) = undescribed()
            && ring.room() >= words + DESCRIPTIONS_WORDS
        {
            let ticks = self.clock.ticks();
            ring.append(|block| self.describe(ring, block, span, ticks));
        }
        ring.room() >= words
    }

    /// Samples all clocks, where it is time.
    #[inline]
    fn after(&self, ticks: u64) {
        if ticks > self.next_sample.load(Ordering::Relaxed) {
            self.sample_again(ticks);
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
        let due = self.next_sample.load(Ordering::Relaxed);
        let next = ticks.saturating_add(self.second_ticks);
        let ours = due < ticks
            && self
                .next_sample
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
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
