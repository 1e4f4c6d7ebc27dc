//! The recorder's core: what both adapters record through.
//!
//! It lives as long as the process: adapters hold it and not a handle, and
//! `atexit` writes the cause into it.
//!
//! The life of a record: it is encoded in a [`Scratch`] (all user code runs
//! there); its thread's ring is entered; its call site is made known, its span
//! described, and a block taken, each only where it must be; then it is appended.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Clock;
use crate::memory::{Memory, Sentinel};
use crate::open_block::OpenBlock;
use crate::pool::{NOBODY, Pool};
use crate::ring::Ring;
use crate::scratch::Scratch;
use crate::sites::{self, Sites};
use crate::spans::{Opening, Spans};
use crate::sync::{AtomicU64, Ordering};
use crate::thread;
use tracing_core::Metadata;
use ttlog_format::block;
use ttlog_format::cause::{self, Cause};
use ttlog_format::header::{Layout, TOTALS_OFFSET, newest, totals};
use ttlog_format::record::{self, Kind};
use ttlog_format::span::{SLOT_WORDS, SpanId};
use ttlog_format::{BLOCK_WORDS, RECORD_MAX_WORDS};

mod blocks;
mod call_sites;
mod threads;

/// The words that descriptions may take before a record.
const DESCRIPTIONS_WORDS: usize = 96;

/// How many spans of a stack a block begins with: outermost and innermost.
const STACK_KEPT: usize = 16;

// A fresh block has room for its stack, the descriptions before a record, and any record.
const _: () = assert!(
    block::HEADER_WORDS + 4 + 2 * STACK_KEPT + 2 * DESCRIPTIONS_WORDS + RECORD_MAX_WORDS
        <= BLOCK_WORDS
);

/// The core of a recorder.
pub(crate) struct Core {
    /// Never used twice in a process.
    pub(crate) id: u64,
    pub(crate) memory: Memory,
    pub(crate) clock: Clock,
    pub(crate) spans: Spans,
    pub(crate) rings: Box<[Ring]>,
    pub(crate) path: PathBuf,
    pool: Pool,
    sites: Sites,
    layout: Layout,
    recording: u64,
    sentinel: Sentinel,
    threads: AtomicU64,
    causes: AtomicU64,
    dropped_without_block: AtomicU64,
    sites_without_room: AtomicU64,
    window_ticks: u64,
    second_ticks: u64,
    /// When all clocks were last sampled, in ticks, and how often.
    sampled: AtomicU64,
    samples: AtomicU64,
    /// Holds the lock that says that the recording is in use.
    _file: Option<File>,
}

/// What a core is made of.
pub(crate) struct Parts {
    pub(crate) memory: Memory,
    pub(crate) layout: Layout,
    pub(crate) recording: u64,
    pub(crate) sentinel: Sentinel,
    pub(crate) clock: Clock,
    pub(crate) window: Duration,
    /// Ticks in a second, as far as is known at the start.
    pub(crate) ticks_per_second: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Option<File>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Core {
        static CORES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let blocks = parts.layout.blocks;
        let window = u128::from(parts.ticks_per_second) * parts.window.as_nanos() / 1_000_000_000;
        Core {
            id: CORES.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            memory: parts.memory,
            clock: parts.clock,
            spans: Spans::new(parts.layout.span_slots),
            rings: (0..blocks).map(|_| Ring::new()).collect(),
            path: parts.path,
            pool: Pool::new(blocks),
            sites: Sites::new(),
            layout: parts.layout,
            recording: parts.recording,
            sentinel: parts.sentinel,
            threads: AtomicU64::new(0),
            causes: AtomicU64::new(0),
            dropped_without_block: AtomicU64::new(0),
            sites_without_room: AtomicU64::new(0),
            second_ticks: parts.ticks_per_second,
            sampled: AtomicU64::new(parts.clock.ticks()),
            samples: AtomicU64::new(0),
            window_ticks: u64::try_from(window).unwrap_or(u64::MAX),
            _file: parts.file,
        }
    }

    /// Whether this process is a fork of the one that records here: it must not
    /// write.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.sentinel.is_wiped()
    }

    /// Slots of the span table.
    pub(crate) fn span_slots(&self) -> usize {
        self.layout.span_slots as usize
    }

    // Records.

    /// Records an event: `scratch` holds `[header, ticks, site, …]`.
    #[inline]
    pub(crate) fn event(
        &self,
        kind: Kind,
        scratch: &mut Scratch,
        metadata: &'static Metadata<'static>,
        span: Option<SpanId>,
    ) {
        let words = scratch.finish(kind);
        let recorded = thread::with(self, |ring| {
            if !ring.enter() {
                return;
            }
            self.know(ring, metadata);
            self.append(ring, words, None, span, true);
            ring.leave();
        });
        if recorded.is_none() {
            self.count_dropped();
        }
    }

    /// Opens a span: `scratch` holds `[header, ticks, site, span, parent, values…]`.
    pub(crate) fn open(
        &self,
        scratch: &mut Scratch,
        metadata: &'static Metadata<'static>,
        parent: Option<SpanId>,
    ) -> SpanId {
        // A parent outlives its children, in the table as in a registry.
        if let Some(parent) = parent {
            self.spans.retain(parent);
        }
        let words = scratch.finish(Kind::SpanOpen);
        let ticks = self.clock.ticks();
        let opened = thread::with(self, |ring| {
            let ours = ring.enter();
            let site = if ours {
                self.know(ring, metadata)
            } else {
                self.sites.find(metadata)
            };
            let id = self.open_slot(&ring.slot_hint, words, ticks, metadata, site, parent);
            if ours {
                words[3] = id.to_u64();
                words[4] = parent.map_or(0, SpanId::to_u64);
                self.append(ring, words, Some(ticks), parent, false);
                ring.set_described(id);
                ring.leave();
            }
            id
        });
        opened.unwrap_or_else(|| {
            let hint = crate::sync::Number::new(0);
            let site = self.sites.find(metadata);
            self.open_slot(&hint, words, ticks, metadata, site, parent)
        })
    }

    fn open_slot(
        &self,
        hint: &crate::sync::Number,
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
    pub(crate) fn values(&self, scratch: &mut Scratch, span: SpanId) {
        let words = scratch.finish(Kind::SpanValues);
        let ticks = self.clock.ticks();
        self.about(words, ticks, span);
        let values = words.get(3..).unwrap_or(&[]);
        self.spans
            .values(&self.memory, self.recording, span, ticks, values);
    }

    /// Records that a span follows from another.
    pub(crate) fn follows(&self, span: SpanId, follows: SpanId) {
        let mut words = [
            record::header(Kind::SpanFollows, 4),
            0,
            span.to_u64(),
            follows.to_u64(),
        ];
        self.about(&mut words, self.clock.ticks(), span);
    }

    fn about(&self, words: &mut [u64], ticks: u64, span: SpanId) {
        thread::with(self, |ring| {
            if ring.enter() {
                self.append(ring, words, Some(ticks), Some(span), false);
                ring.leave();
            }
        });
    }

    /// The calling thread enters a span.
    #[inline]
    pub(crate) fn enter(&self, span: SpanId) {
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
                ring.leave();
            }
        });
    }

    /// The calling thread leaves a span.
    #[inline]
    pub(crate) fn exit(&self, span: SpanId) {
        let mut words = [record::header(Kind::SpanExit, 3), 0, span.to_u64()];
        thread::with(self, |ring| {
            if ring.enter() {
                self.append(ring, &mut words, None, Some(span), false);
                ring.pop(span);
                ring.leave();
            }
        });
    }

    /// Closes a span, and its parents of which it was the last to hold.
    pub(crate) fn close(&self, span: SpanId) {
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
    pub(crate) fn current(&self) -> Option<SpanId> {
        thread::with_known(self, Ring::current).flatten()
    }

    /// The metadata of a span's call site.
    pub(crate) fn metadata(&self, span: SpanId) -> Option<&'static Metadata<'static>> {
        self.sites.metadata(self.spans.site(span)?)
    }

    // Inside a ring that was entered.

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
            if is_event && ring.previous.get() != NOBODY {
                self.let_go(ring);
            }
        }
        self.tell_dropped(ring, &open);
    }

    #[inline]
    fn tell_dropped(&self, ring: &Ring, open: &OpenBlock) {
        let dropped = ring.dropped.load(Ordering::Relaxed);
        if dropped != ring.told.get() {
            ring.told.set(dropped);
            open.store_dropped(&self.memory, u32::try_from(dropped).unwrap_or(u32::MAX));
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
    fn describe(&self, ring: &Ring, open: &mut OpenBlock, span: SpanId, ticks: u64) {
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

    // Counts and causes.

    #[cold]
    pub(crate) fn count_dropped(&self) {
        if !self.is_forked() {
            let dropped = self.dropped_without_block.fetch_add(1, Ordering::Relaxed) + 1;
            self.store_total(totals::DROPPED_WITHOUT_BLOCK, dropped);
        }
    }

    /// Mirrors a total; of two threads that store, the larger must stay.
    fn store_total(&self, which: usize, total: u64) {
        let word = TOTALS_OFFSET as usize / 8 + which;
        self.memory.raise(word, total);
    }

    /// What was recorded and what was not, so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let owned = self.rings.iter().filter(|ring| ring.is_owned());
        let rings = owned.map(|ring| (ring.events(), ring.dropped.load(Ordering::Relaxed)));
        let gone = self.pool.holders().iter();
        let gone = gone.map(|holder| (holder.retired_events.get(), holder.retired_dropped.get()));
        let lost = (0, self.dropped_without_block.load(Ordering::Relaxed));
        rings
            .chain(gone)
            .chain([lost])
            .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }

    /// Appends a cause.
    pub(crate) fn cause(&self, kind: cause::Kind) {
        if self.is_forked() {
            return;
        }
        let number = self.causes.fetch_add(1, Ordering::Relaxed);
        let clocks = self.clock.sample();
        let cause = Cause {
            kind,
            ticks: clocks.ticks,
            number,
            thread_id: thread::id(),
            wall_ns: clocks.wall_ns,
        };
        let words = cause.encode(self.recording);
        let base = cause::offset(cause::place(number)) as usize / 8;
        self.memory.store(base, 0);
        words
            .iter()
            .enumerate()
            .skip(1)
            .for_each(|(i, &word)| self.memory.store(base + i, word));
        self.memory.publish(base, words[0]);
    }
}
