//! From a thread's records to entries, and to the spans that it was in.
//!
//! The blocks of a thread are one story, told in the order in which they were
//! taken. Where a part is missing, the next block says itself which spans the
//! thread is in; nothing is carried over a gap. Behind a damaged record the spans
//! are not known that were entered before it: an event may be shown in none.

use std::collections::HashMap;
use std::sync::Arc;

use super::scan::{Block, Pool};
use super::spans::Spans;
use super::timeline::Timeline;
use super::{Entry, Fields, Span, Thread, What};
use crate::block::HEADER_WORDS;
use crate::record::{Kind, Raw};
use crate::site::{self, CallSite};
use crate::span::SpanId;

/// How far from the innermost span the one that is left is looked for: a bound
/// on the work, beyond any depth that a program reaches.
const DEPTH_MAX: usize = 1024;

/// All call sites, by address. Most are kept twice; either copy will do.
pub(super) fn call_sites(pool: &Pool) -> HashMap<u64, Arc<CallSite>> {
    let mut sites = HashMap::new();
    for site in pool
        .blocks()
        .flat_map(Block::records)
        .filter_map(site::decode)
    {
        sites.entry(site.address).or_insert_with(|| Arc::new(site));
    }
    sites
}

/// What a thread's records came to.
pub(super) struct Replay {
    /// Events read from each block.
    pub(super) readable: Vec<u64>,
    /// The spans that the thread was in at the end, outermost first.
    pub(super) stack: Vec<SpanId>,
}

impl Replay {
    /// Replays the blocks of a thread, oldest first.
    ///
    /// The entries are appended, with ticks where [`date`] will put the time.
    pub(super) fn of(
        thread: u32,
        chain: &[&Block],
        spans: &mut Spans,
        entries: &mut Vec<Entry>,
    ) -> Replay {
        let mut teller = Teller {
            thread,
            stack: Vec::new(),
            ticks: 0,
            block: None,
            spans,
            entries,
        };
        let mut readable = Vec::with_capacity(chain.len());
        let mut before = 0;
        for block in chain {
            if block.header.previous_sequence != before {
                teller.stack.clear();
            }
            before = block.header.sequence;
            teller.block = Some(block.words());
            let mut events = 0;
            let mut end = HEADER_WORDS;
            for record in block.records() {
                if record.position != end {
                    teller.stack.clear();
                }
                end = record.end();
                events += u64::from(record.kind.is_event());
                teller.tell(record);
            }
            if end != block.words().len() {
                teller.stack.clear();
            }
            readable.push(events);
        }
        Replay {
            readable,
            stack: teller.stack,
        }
    }
}

struct Teller<'a> {
    thread: u32,
    stack: Vec<SpanId>,
    /// Of the last entry: a thread's own are never out of order, nor at one time.
    ticks: u64,
    /// Where the records are.
    block: Option<&'a Arc<[u64]>>,
    spans: &'a mut Spans,
    entries: &'a mut Vec<Entry>,
}

impl Teller<'_> {
    fn tell(&mut self, record: Raw<'_>) {
        let word = |i: usize| record.words.get(i).copied().unwrap_or(0);
        let span = |i: usize| SpanId::from_u64(word(i));
        match record.kind {
            Kind::Event => self.event(record, self.stack.last().copied(), 3),
            Kind::EventIn => self.event(record, span(3), 4),
            Kind::EventRoot => self.event(record, None, 3),
            Kind::SpanOpen => {
                self.spans.open(record.words);
                self.happened(record, What::Open, span(3), 5);
                if record.later != 0 {
                    self.stack.extend(span(3));
                    self.happened_later(record, What::Enter, span(3));
                }
            }
            Kind::SpanEnter => {
                self.stack.extend(span(2));
                self.happened(record, What::Enter, span(2), 3);
            }
            Kind::SpanExit => {
                self.leave(span(2));
                self.happened(record, What::Exit, span(2), 3);
                if record.later != 0 {
                    self.happened_later(record, What::Close, span(2));
                }
            }
            Kind::SpanClose => self.happened(record, What::Close, span(2), 3),
            Kind::SpanValues => {
                self.spans.values(record.words);
                self.happened(record, What::Values, span(2), 3);
            }
            Kind::SpanFollows => {
                if let Some(from) = span(3) {
                    self.happened(record, What::Follows(from), span(2), 4);
                }
            }
            Kind::Description => self.spans.description(record.words),
            Kind::Stack => {
                let ids = record.words.get(4..).unwrap_or(&[]);
                self.stack = ids.iter().copied().filter_map(SpanId::from_u64).collect();
            }
            // None of these is a thread's.
            Kind::CallSite | Kind::Incident | Kind::Frames | Kind::Module | Kind::Symbols => {}
        }
    }

    fn event(&mut self, record: Raw<'_>, span: Option<SpanId>, values: usize) {
        let site = record.words.get(2).copied().unwrap_or(0);
        self.add(record, What::Event, site, span, values);
    }

    fn happened(&mut self, record: Raw<'_>, what: What, span: Option<SpanId>, values: usize) {
        if span.is_some() {
            self.add(record, what, 0, span, values);
        }
    }

    /// What a record says that happened so many ticks after it.
    fn happened_later(&mut self, record: Raw<'_>, what: What, span: Option<SpanId>) {
        if span.is_some() {
            let ticks = ticks_of(record).saturating_add(record.later.into());
            self.push(what, ticks, 0, span, Fields::default());
        }
    }

    fn add(&mut self, record: Raw<'_>, what: What, site: u64, span: Option<SpanId>, values: usize) {
        let end = record.position + record.words.len();
        let fields = self.block.map(|block| {
            let start = (record.position + values).min(end);
            Fields::in_block(block, start, end)
        });
        let ticks = ticks_of(record);
        self.push(what, ticks, site, span, fields.unwrap_or_default());
    }

    fn push(&mut self, what: What, ticks: u64, site: u64, span: Option<SpanId>, fields: Fields) {
        self.ticks = ticks.max(self.ticks.saturating_add(1));
        self.entries.push(Entry {
            what,
            wall_ns: self.ticks,
            thread: self.thread,
            site,
            span,
            fields,
        });
    }

    /// Removes the last occurrence of a span, which need not be the innermost.
    fn leave(&mut self, span: Option<SpanId>) {
        let near = self.stack.len().saturating_sub(DEPTH_MAX);
        let found = self.stack[near..].iter().rposition(|&id| Some(id) == span);
        if let Some(i) = found {
            self.stack.remove(near + i);
        }
    }
}

fn ticks_of(record: Raw<'_>) -> u64 {
    record.words.get(1).copied().unwrap_or(0)
}

/// Puts the entries into time order, dates them, and tells spans and threads
/// what follows from them.
pub(super) fn date(
    entries: &mut [Entry],
    threads: &mut [Thread],
    spans: &mut HashMap<SpanId, Span>,
    timeline: &Timeline,
) {
    // No two of a thread are at one time, and no memory is needed for it.
    entries.sort_unstable_by_key(|entry| (entry.wall_ns, entry.thread));
    for entry in entries {
        entry.wall_ns = timeline.wall_ns(entry.wall_ns);
        if let Some(thread) = threads.get_mut(entry.thread as usize) {
            let first = thread.covered_ns.map_or(entry.wall_ns, |(first, _)| first);
            thread.covered_ns = Some((first, entry.wall_ns));
        }
        if entry.what == What::Event {
            continue;
        }
        if let Some(span) = entry.span.and_then(|id| spans.get_mut(&id)) {
            entry.site = span.site;
            if entry.what == What::Enter {
                span.entered_ns = span.entered_ns.max(Some(entry.wall_ns));
            }
        }
    }
}
