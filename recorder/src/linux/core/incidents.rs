//! Writing incidents: who was struck, by what, and in the middle of which spans.
//!
//! A page is made in memory of its own and then stored, its first word last. Of two
//! incidents that want the same place, the second to come is counted and not kept:
//! nobody waits.

use super::{Here, STACK_KEPT};
use crate::linux::sync::{AtomicU64, Ordering};
use crate::linux::thread;
use ttlog_format::header::{INCIDENTS, totals};
use ttlog_format::incident::{self, Incident, Kind, Module, Page};
use ttlog_format::span::{SLOT_WORDS, SpanId};

/// How many of the innermost spans an incident describes itself.
const DESCRIBED: usize = 8;

/// The incidents so far, and who has which place.
#[derive(Default)]
pub(crate) struct Incidents {
    count: AtomicU64,
    /// By place: the number of the incident, plus 1, whose page it is.
    owners: [AtomicU64; INCIDENTS as usize],
    /// By place: 1 while somebody writes there.
    writing: [AtomicU64; INCIDENTS as usize],
}

impl Incidents {
    /// How many there were, those included that are not kept.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// An incident that has its page.
pub(crate) struct Struck {
    number: u64,
    page: Page,
}

/// Where an incident came from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Trace<'a> {
    /// Return addresses, innermost first.
    pub(crate) frames: &'a [u64],
    /// What they lie in.
    pub(crate) modules: &'a [Module],
}

impl Here<'_> {
    /// Records an incident on the calling thread; `None` if it is not kept.
    pub(crate) fn incident(
        self,
        kind: Kind,
        message: &str,
        location: &str,
        trace: Trace<'_>,
    ) -> Option<Struck> {
        let number = self.incidents.count.fetch_add(1, Ordering::Relaxed);
        self.store_total(totals::INCIDENTS, number + 1);
        let clocks = self.clock.sample();
        let thread = thread::known_ring(&self).map(|ring| ring.thread.get() as u32);
        let incident = Incident {
            kind,
            number,
            ticks: clocks.ticks,
            wall_ns: clocks.wall_ns,
            thread: thread.unwrap_or(0),
            thread_id: thread::id(),
            thread_name: thread::own_name(),
            message: message.to_owned(),
            location: location.to_owned(),
            ..Incident::default()
        };
        let mut page = Page::new(&incident, self.recording);
        self.push_spans(&mut page);
        page.push_frames(trace.frames);
        trace
            .modules
            .iter()
            .for_each(|module| page.push_module(module));
        let struck = Struck { number, page };
        self.store_page(&struck, 0).then_some(struck)
    }

    /// The spans that the calling thread is in, and what the innermost of them are.
    fn push_spans(self, page: &mut Page) {
        let stack = thread::known_ring(&self).map(|ring| {
            let (_, stack) = ring.stack();
            let outermost = stack.len().min(STACK_KEPT);
            let innermost = stack.len().saturating_sub(STACK_KEPT).max(outermost);
            let kept = stack[..outermost].iter().chain(&stack[innermost..]);
            kept.filter_map(|id| SpanId::from_u64(id.get())).collect()
        });
        let stack: Vec<SpanId> = stack.unwrap_or_default();
        page.push_stack(&stack);
        for &span in stack.iter().rev().take(DESCRIBED) {
            let mut words = [0; SLOT_WORDS];
            let len = self
                .spans
                .copy(&self.memory, self.recording, span, &mut words);
            if let Some(words) = len.and_then(|len| words.get(..len)) {
                page.push_description(span, words);
            }
        }
    }

    /// Adds the frames in words to an incident that is still kept.
    pub(crate) fn add_symbols(self, struck: &mut Struck, symbols: &[String]) {
        let at = struck.page.push_symbols(symbols);
        self.store_page(struck, at);
    }

    /// Stores an incident's page from the word `at` on, the first of these last;
    /// whether it has the place.
    fn store_page(self, struck: &Struck, at: usize) -> bool {
        let place = incident::place(struck.number);
        let (owner, writing) = (
            &self.incidents.owners[place],
            &self.incidents.writing[place],
        );
        if writing.swap(1, Ordering::Acquire) != 0 {
            return false;
        }
        let is_new = at == 0 && owner.load(Ordering::Relaxed) <= struck.number;
        let ours = is_new || owner.load(Ordering::Relaxed) == struck.number + 1;
        if ours && let Some((&first, rest)) = struck.page.words()[at..].split_first() {
            owner.store(struck.number + 1, Ordering::Relaxed);
            let base = incident::offset(place) as usize / 8 + at;
            self.memory.store(base, 0);
            for (i, &word) in (1..).zip(rest) {
                self.memory.store(base + i, word);
            }
            self.memory.publish(base, first);
        }
        writing.store(0, Ordering::Release);
        ours
    }
}
