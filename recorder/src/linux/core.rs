//! The recorder's core: what both adapters record through.
//!
//! It lives as long as the process: adapters hold it and not a handle, and
//! `atexit` writes the cause into it.
//!
//! All that writes goes through [`Core::own`], so that a forked child cannot.

use std::path::PathBuf;
use std::time::Duration;

use crate::linux::asked::Bell;
use crate::linux::clock::Clock;
use crate::linux::durable::Syncs;
use crate::linux::fork::Heirs;
use crate::linux::guard::Guard;
use crate::linux::kept::Kept;
use crate::linux::memory::{Memory, Sentinel};
use crate::linux::message;
use crate::linux::pool::Pool;
use crate::linux::rings::Rings;
use crate::linux::seeded::{self, Bug};
use crate::linux::sites::Sites;
use crate::linux::spans::Spans;
use crate::linux::sync::{AtomicU64, Ordering, fence};
use crate::linux::thread;
use crate::redaction::Redaction;
use tracing_core::Metadata;
use ttlog_format::RECORD_MAX_WORDS;
use ttlog_format::block;
use ttlog_format::header::{TOTALS_OFFSET, totals};
use ttlog_format::span::SpanId;

mod blocks;
mod call_sites;
mod causes;
#[cfg(all(test, not(loom)))]
mod heap;
mod incidents;
mod records;
mod snapshots;
mod threads;

pub(crate) use call_sites::Seen;
use incidents::Incidents;
pub(crate) use incidents::{Struck, Trace};
pub(crate) use records::Parent;
pub(crate) use snapshots::Snapshots;

/// The words that descriptions may take before a record.
const DESCRIPTIONS_WORDS: usize = 96;

/// How many spans of a stack a block begins with: outermost and innermost.
const STACK_KEPT: usize = 16;

/// The most live threads that have a ring, each with a block at least.
const RINGS_MAX: usize = 1 << 15;

// A fresh block has room for its stack, the descriptions before a record, and any record.
const _: () = assert!(
    block::HEADER_WORDS + 4 + 2 * STACK_KEPT + 2 * DESCRIPTIONS_WORDS + RECORD_MAX_WORDS
        <= block::OWNER_WORD
);

/// The core of a recorder.
pub(crate) struct Core {
    /// Never used twice in a process.
    pub(crate) id: u64,
    pub(crate) memory: Memory,
    pub(crate) clock: Clock,
    pub(crate) spans: Spans,
    pub(crate) rings: Rings,
    pub(crate) path: PathBuf,
    pool: Pool,
    sites: Sites,
    redaction: Redaction,
    /// Where everything lies, and what else blocks of call sites say of the recording.
    about: block::About,
    /// Identity of the recording.
    pub(crate) recording: u64,
    sentinel: Sentinel,
    /// What becomes of forked children.
    pub(crate) heirs: Heirs,
    /// What becomes of a mapping that loses its file.
    pub(crate) guard: Guard,
    /// What signals ring that were asked for.
    pub(crate) bell: Bell,
    threads: AtomicU64,
    /// How many threads began to end, and how many of these have.
    ends_begun: AtomicU64,
    ends_done: AtomicU64,
    causes: AtomicU64,
    pub(crate) incidents: Incidents,
    pub(crate) snapshots: Snapshots,
    pub(crate) syncs: Syncs,
    /// Whether panics are incidents.
    pub(crate) panics: bool,
    /// Whether fatal signals are causes.
    pub(crate) faults: bool,
    dropped_without_block: AtomicU64,
    places_used: AtomicU64,
    sites_without_room: AtomicU64,
    window_ticks: u64,
    pub(crate) second_ticks: u64,
    /// When threads that died without a word may be looked for again, in ticks, and
    /// from which ring on.
    next_look: AtomicU64,
    look_from: AtomicU64,
    /// When all clocks are to be sampled again, in ticks, and how often they were.
    next_sample: AtomicU64,
    samples: AtomicU64,
    /// Holds the lock that says that the recording is in use, and is read back for
    /// snapshots.
    pub(crate) file: Option<Kept>,
}

/// A core in the process that it records: what a fork of that process never has.
///
/// Not to be kept over a call of the user's code, which may fork.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a>(&'a Core);

impl std::ops::Deref for Here<'_> {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        self.0
    }
}

impl<'a> Here<'a> {
    /// The core, as long as it lives.
    #[inline]
    pub(crate) fn core(self) -> &'a Core {
        self.0
    }

    /// The recording's path.
    pub(crate) fn path(self) -> &'a std::path::Path {
        &self.0.path
    }
}

/// What a core is made of.
pub(crate) struct Parts {
    pub(crate) memory: Memory,
    pub(crate) about: block::About,
    pub(crate) recording: u64,
    pub(crate) sentinel: Sentinel,
    pub(crate) heirs: Heirs,
    pub(crate) guard: Guard,
    pub(crate) clock: Clock,
    pub(crate) window: Duration,
    /// Ticks in a second, as far as is known at the start.
    pub(crate) ticks_per_second: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Option<Kept>,
    pub(crate) snapshots: Snapshots,
    pub(crate) panics: bool,
    pub(crate) faults: bool,
    pub(crate) redaction: Redaction,
}

impl Core {
    /// A core that records nothing yet; `None` where memory does not suffice.
    pub(crate) fn new(parts: Parts) -> Option<Core> {
        static CORES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        thread::prepare();
        message::prepare();
        let layout = parts.about.layout;
        let blocks = layout.blocks;
        let window = u128::from(parts.ticks_per_second) * parts.window.as_nanos() / 1_000_000_000;
        Some(Core {
            id: CORES.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            memory: parts.memory,
            clock: parts.clock,
            spans: Spans::new(layout.span_slots)?,
            rings: Rings::new((blocks as usize).min(RINGS_MAX))?,
            path: parts.path,
            pool: Pool::new(blocks)?,
            sites: Sites::new()?,
            redaction: parts.redaction,
            about: parts.about,
            recording: parts.recording,
            sentinel: parts.sentinel,
            heirs: parts.heirs,
            guard: parts.guard,
            bell: Bell::default(),
            threads: AtomicU64::new(0),
            ends_begun: AtomicU64::new(0),
            ends_done: AtomicU64::new(0),
            causes: AtomicU64::new(0),
            incidents: Incidents::default(),
            snapshots: parts.snapshots,
            syncs: Syncs::new(),
            panics: parts.panics,
            faults: parts.faults,
            dropped_without_block: AtomicU64::new(0),
            places_used: AtomicU64::new(0),
            sites_without_room: AtomicU64::new(0),
            second_ticks: parts.ticks_per_second,
            next_look: AtomicU64::new(0),
            look_from: AtomicU64::new(0),
            next_sample: AtomicU64::new(parts.clock.ticks() + parts.ticks_per_second),
            samples: AtomicU64::new(0),
            window_ticks: u64::try_from(window).unwrap_or(u64::MAX),
            file: parts.file,
        })
    }

    /// The door to whatever writes here, closed to a fork of the process that does.
    #[inline]
    pub(crate) fn own(&self) -> Option<Here<'_>> {
        // Without this check: the bug that the negative control of forks must find.
        let open = seeded::is(Bug::ChildWrites) || !self.sentinel.is_wiped();
        open.then_some(Here(self))
    }

    /// The metadata of a span's call site.
    pub(crate) fn metadata(&self, span: SpanId) -> Option<&'static Metadata<'static>> {
        self.sites.metadata(self.spans.site(span)?)
    }

    /// The id of a span that a process without a recording opens: it has no slot, and
    /// no record.
    pub(crate) fn elsewhere(&self, metadata: &'static Metadata<'static>) -> SpanId {
        SpanId::without_slot(self.sites.find(metadata).unwrap_or(u16::MAX), 0)
    }

    /// Slots of the span table.
    pub(crate) fn span_slots(&self) -> usize {
        self.about.layout.span_slots as usize
    }

    /// Counts events that are dropped where no block can count them.
    #[cold]
    pub(crate) fn add_dropped(&self, events: u64) {
        let before = self
            .dropped_without_block
            .fetch_add(events, Ordering::Relaxed);
        self.store_total(totals::DROPPED_WITHOUT_BLOCK, before + events);
    }

    /// Mirrors a total; of two threads that store, the larger must stay.
    pub(crate) fn store_total(&self, which: usize, total: u64) {
        let word = TOTALS_OFFSET as usize / 8 + which;
        let tally = totals::encode(which, total, self.recording);
        self.memory.raise(word, tally);
    }

    /// What was recorded and what was not, so far.
    ///
    /// A thread that ends meanwhile is counted here and there, or twice: then it is
    /// counted again. Whoever stands in the middle of its end, on a machine that is
    /// busy, is waited for, up to a tenth of a second.
    pub(crate) fn counts(&self) -> (u64, u64) {
        const TRIES: usize = 100;
        let (mut counts, mut before) = ((0, 0), None);
        for _ in 0..TRIES {
            let done = self.ends_done.load(Ordering::Acquire);
            counts = self.count();
            fence(Ordering::Acquire);
            if self.ends_begun.load(Ordering::Relaxed) == done {
                break;
            }
            if before.replace(done) == Some(done) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        counts
    }

    fn count(&self) -> (u64, u64) {
        let rings = self
            .rings
            .owned(0)
            .map(|(_, ring)| (ring.events(), ring.dropped.load(Ordering::Relaxed)));
        let holders = self.pool.holders().iter();
        let gone = holders.map(|holder| {
            let events = holder.last_events.get() + holder.retired_events.get();
            let dropped = holder.last_dropped.get() + holder.retired_dropped.get();
            (events, dropped)
        });
        let lost = (0, self.dropped_without_block.load(Ordering::Relaxed));
        rings
            .chain(gone)
            .chain([lost])
            .fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }
}
