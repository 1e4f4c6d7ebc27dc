//! From a thread's records to entries, and to the spans that it was in.
//!
//! The blocks of a thread are one story, told in the order in which they were
//! taken, one record after the other. Where a part is missing, the next block says
//! itself which spans the thread is in; nothing is carried over a gap. Behind a damaged
//! record the spans are not known that were entered before it: an event may be shown
//! in none.

use std::sync::Arc;

use super::spans::Spans;
use super::{Entry, Room, What};
use crate::block::HEADER_WORDS;
use crate::check::Key;
use crate::record::{self, Kind, Raw, Walk};
use crate::span::SpanId;

/// How far from the innermost span the one that is left is looked for: a bound
/// on the work, beyond any depth that a program reaches.
const DEPTH_MAX: usize = 1024;

/// Whether a record of this kind is an entry, and not about other records.
pub(super) fn is_entry(kind: Kind) -> bool {
    kind as u8 <= Kind::SpanFollows as u8
}

/// How far a thread has been told.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// Index among the threads.
    pub(super) thread: u32,
    /// The spans that the thread is in, outermost first.
    pub(super) stack: Vec<SpanId>,
    /// Of the last entry: a thread's own are never out of order, nor at one time.
    pub(super) ticks: u64,
    /// Sequence number of the block before.
    pub(super) before: u64,
}

/// A block that is being told.
#[derive(Debug)]
pub(super) struct Page {
    words: Arc<[u64]>,
    key: Key,
    /// Whether these are words whose records have all passed their checks.
    is_sound: bool,
    /// Where the next record should be.
    end: usize,
    /// Events so far.
    pub(super) events: u32,
    /// Whether there were words that are no record.
    pub(super) is_damaged: bool,
    /// The record that is told next.
    next: Option<Found>,
    /// What it says that happened later, if it does, and how many ticks.
    later: Option<(Found, u32)>,
}

/// Where a record lies that passed its check.
#[derive(Clone, Copy, Debug)]
struct Found {
    kind: Kind,
    position: usize,
    len: usize,
    /// Whether it is what the record says that happened later.
    is_later: bool,
    /// Words of the descriptions before it.
    before: u16,
}

impl Found {
    /// What it takes of the block, in bytes.
    #[inline]
    fn room(&self) -> Room {
        if self.is_later {
            return Room::default();
        }
        let words = self.len + usize::from(self.kind.has_later_word());
        Room {
            record: words as u32 * 8,
            spans: u32::from(self.before) * 8,
        }
    }
}

impl Page {
    /// A block up to what is committed, with the key of its records, and whether these
    /// are known to pass their checks.
    pub(super) fn new(words: Arc<[u64]>, key: Key, is_sound: bool) -> Page {
        Page {
            words,
            key,
            is_sound,
            end: HEADER_WORDS,
            events: 0,
            is_damaged: false,
            next: None,
            later: None,
        }
    }

    /// The next record that passes its check.
    #[inline]
    fn record(&self) -> Option<Raw<'_>> {
        if !self.is_sound {
            return Walk::new(&self.words, self.key, self.end, self.words.len()).next();
        }
        let header = *self.words.get(self.end)?;
        let words = self.words.get(self.end..self.end + record::words(header))?;
        Raw::of(record::kind(header)?, self.end, words, self.key)
    }

    /// Where the record of the next entry lies, and whether that is what it says that
    /// happened later.
    pub(super) fn next_place(&self) -> Option<(usize, bool)> {
        self.next.map(|found| (found.position, found.is_later))
    }

    /// Events so far, without the one that is told next.
    pub(super) fn events_told(&self) -> u32 {
        let is_event = |found: &Found| found.kind.is_event();
        self.events - u32::from(self.next.as_ref().is_some_and(is_event))
    }

    /// The span that the next entry names: one that it speaks of, is in or opens a child of.
    pub(super) fn named(&self) -> Option<SpanId> {
        let found = self.next?;
        let at = match found.kind {
            Kind::Event | Kind::EventRoot => return None,
            Kind::EventIn => 3,
            Kind::SpanOpen if found.is_later => 3,
            Kind::SpanOpen => 4,
            _ => 2,
        };
        let word = self.words.get(found.position + at).copied();
        word.and_then(SpanId::from_u64)
    }
}

impl Teller {
    /// Begins a block with this sequence number, of which it is said which was before.
    pub(super) fn begin(&mut self, sequence: u64, previous: u64) {
        if previous != self.before {
            self.stack.clear();
        }
        self.before = sequence;
    }

    /// Finds the next record of a block that is an entry, and takes in what is said before
    /// it of spans; returns its ticks, and `None` at the block's end.
    pub(super) fn find(&mut self, page: &mut Page, spans: &mut Spans<'_>) -> Option<u64> {
        if let Some((found, after)) = page.later.take() {
            self.ticks = self.ticks.saturating_add(after.into());
            page.next = Some(found);
            return Some(self.ticks);
        }
        let mut before = 0;
        while let Some(record) = page.record() {
            let is_next = record.position == page.end;
            if !is_next {
                self.stack.clear();
            }
            let found = Found {
                kind: record.kind,
                position: record.position,
                len: record.words.len(),
                is_later: false,
                before,
            };
            let (later, end) = (record.later, record.end());
            let is_told = is_told(record);
            let ticks = record.words.get(1).copied().unwrap_or(0);
            if !is_told {
                let is_description = record.kind == Kind::Description;
                before += if is_description { found.len as u16 } else { 0 };
                self.prepare(record, spans);
            }
            page.is_damaged |= !is_next;
            page.end = end;
            page.events += u32::from(found.kind.is_event());
            if is_told {
                self.ticks = ticks.max(self.ticks.saturating_add(1));
                page.next = Some(found);
                let is_later = Found {
                    is_later: true,
                    ..found
                };
                page.later = (later != 0).then_some((is_later, later));
                return Some(self.ticks);
            }
        }
        if page.end != page.words.len() {
            page.is_damaged = true;
            page.end = page.words.len();
            self.stack.clear();
        }
        None
    }

    /// Takes in a record that is about others.
    fn prepare(&mut self, record: Raw<'_>, spans: &mut Spans<'_>) {
        match record.kind {
            Kind::Description => spans.description(record.words),
            Kind::Stack => {
                let ids = record.words.get(4..).unwrap_or(&[]);
                let ids = ids.iter().copied().filter_map(SpanId::from_u64);
                self.stack = ids.collect();
            }
            _ => {}
        }
    }

    /// Tells the record that was found, with ticks where the time will be, and returns
    /// what it takes of the ring; `None` if it is no entry.
    #[inline]
    pub(super) fn tell_found(
        &mut self,
        page: &mut Page,
        spans: &mut Spans<'_>,
        entry: &mut Entry,
    ) -> Option<Room> {
        let found = page.next.take()?;
        let end = found.position + found.len;
        let words = page.words.get(found.position..end)?;
        let told = match (found.kind, found.is_later) {
            (Kind::SpanOpen, true) => self.entered_later(words)?,
            (_, true) => Told::of_span(What::Close, id_at(words, 2)?, found.len),
            (kind, false) => self.told(kind, words, spans)?,
        };
        entry.what = told.what;
        entry.wall_ns = self.ticks;
        entry.thread = self.thread;
        entry.site = told.site;
        entry.span = told.span;
        let values = (found.position + told.values).min(end);
        entry.fields.replace(&page.words, values, end);
        Some(found.room())
    }

    /// What a record tells; spans and the thread's stack take in what follows from it.
    #[inline]
    fn told(&mut self, kind: Kind, words: &[u64], spans: &mut Spans<'_>) -> Option<Told> {
        Some(match kind {
            Kind::Event => Told::event(words, self.stack.last().copied(), 3),
            Kind::EventIn => Told::event(words, id_at(words, 3), 4),
            Kind::EventRoot => Told::event(words, None, 3),
            Kind::SpanOpen => {
                let id = id_at(words, 3)?;
                spans.open(id, words);
                Told::of_span(What::Open, id, 5)
            }
            Kind::SpanEnter => {
                let id = id_at(words, 2)?;
                self.stack.push(id);
                Told::of_span(What::Enter, id, 3)
            }
            Kind::SpanExit => {
                let id = id_at(words, 2)?;
                self.leave(id);
                Told::of_span(What::Exit, id, 3)
            }
            Kind::SpanClose => Told::of_span(What::Close, id_at(words, 2)?, 3),
            Kind::SpanValues => {
                let id = id_at(words, 2)?;
                spans.values(id, *words.get(1)?, words.get(3..)?);
                Told::of_span(What::Values, id, 3)
            }
            Kind::SpanFollows => {
                Told::of_span(What::Follows(id_at(words, 3)?), id_at(words, 2)?, 4)
            }
            // These are about other records, or none of a thread's.
            Kind::Description
            | Kind::Stack
            | Kind::CallSite
            | Kind::Incident
            | Kind::Frames
            | Kind::Module
            | Kind::Symbols => return None,
        })
    }

    /// What the opening of a span says that happened after it.
    fn entered_later(&mut self, words: &[u64]) -> Option<Told> {
        let id = id_at(words, 3)?;
        self.stack.push(id);
        Some(Told::of_span(What::Enter, id, words.len()))
    }

    /// Removes the last occurrence of a span, which need not be the innermost.
    fn leave(&mut self, span: SpanId) {
        let near = self.stack.len().saturating_sub(DEPTH_MAX);
        let found = self.stack[near..].iter().rposition(|&id| id == span);
        if let Some(i) = found {
            self.stack.remove(near + i);
        }
    }
}

/// Whether a record is an entry: a span without an id is none.
#[inline]
fn is_told(record: Raw<'_>) -> bool {
    let is_there = |i: usize| record.words.get(i).is_some_and(|&id| id != 0);
    match record.kind {
        kind if kind.is_event() => true,
        Kind::SpanOpen => is_there(3),
        Kind::SpanFollows => is_there(2) && is_there(3),
        kind => is_entry(kind) && is_there(2),
    }
}

/// The id of a span at a place among the words of a record.
#[inline]
fn id_at(words: &[u64], at: usize) -> Option<SpanId> {
    words.get(at).copied().and_then(SpanId::from_u64)
}

/// What a record tells, beside who told it and when.
struct Told {
    what: What,
    site: u64,
    span: Option<SpanId>,
    /// Where the values are among its words.
    values: usize,
}

impl Told {
    #[inline]
    fn event(words: &[u64], span: Option<SpanId>, values: usize) -> Told {
        Told {
            what: What::Event,
            site: words.get(2).copied().unwrap_or(0),
            span,
            values,
        }
    }

    /// What happened to a span.
    #[inline]
    fn of_span(what: What, span: SpanId, values: usize) -> Told {
        Told {
            what,
            site: 0,
            span: Some(span),
            values,
        }
    }
}
