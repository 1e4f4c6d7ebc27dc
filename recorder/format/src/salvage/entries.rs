//! A recording told entry by entry, as often as somebody wants to hear it.
//!
//! Whoever shows it needs one entry at a time, and what is known of the spans around
//! it; so what is told may be a file of a gigabyte, of which no more is in memory.

use std::collections::HashSet;
use std::io;

use super::{Entry, Mark, Recording, Span};
use crate::span::SpanId;

/// Of how many entries that were told last the spans are known.
pub const ENTRIES_AROUND: usize = 1024;

/// What an entry takes of the ring, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Of its own record; none where the record before it says it, too.
    pub record: u32,
    /// Of the descriptions before it: what the spans are that it names.
    pub spans: u32,
}

/// A recording told entry by entry.
pub trait Entries {
    /// The recording, which may lack its entries. Of its spans, all are there that the
    /// last [`ENTRIES_AROUND`] entries are in; its accounts are those of the last time
    /// that all was told.
    fn recording(&self) -> &Recording;

    /// Tells the next entry, in time order; false once all is told.
    ///
    /// # Errors
    /// What is told cannot be read.
    fn tell(&mut self) -> io::Result<bool>;

    /// The entry that was told last, one that says nothing before there is any. It is made
    /// in the place of the one before: whoever needs it longer keeps a copy.
    fn told(&self) -> &Entry;

    /// What the entry that was told last takes of the ring; `None` where it is told from
    /// elsewhere.
    fn room(&self) -> Option<Room> {
        None
    }

    /// The recording as of what was told last, without its entries.
    fn into_recording(self: Box<Self>) -> Recording;

    /// Begins again with the first entry.
    ///
    /// # Errors
    /// What is told cannot be read.
    fn rewind(&mut self) -> io::Result<()>;

    /// How far it has been told, where more can come of it.
    fn mark(&self) -> Mark {
        Mark::default()
    }

    /// Keeps a span, and those around it, as long as nobody lets go of it.
    fn hold(&mut self, _: SpanId) {}

    /// Lets go of a span that was held once.
    fn release(&mut self, _: SpanId) {}

    /// Wants a span and those around it from [`Entries::wanted`]; so are those that are
    /// open, that somebody is in, and that incidents speak of.
    fn want(&mut self, id: SpanId);

    /// Gives the wanted spans, each once: those of which nothing more is to come, and
    /// once all is told, the others.
    ///
    /// # Errors
    /// What `give` says.
    fn wanted(&mut self, give: &mut dyn FnMut(&Span) -> io::Result<()>) -> io::Result<()>;
}

/// A recording whose entries are there.
pub struct Whole<'r> {
    recording: &'r Recording,
    next: usize,
    told: Entry,
    wanted: Wanted,
}

impl<'r> Whole<'r> {
    /// Tells `recording`.
    pub fn new(recording: &'r Recording) -> Whole<'r> {
        Whole {
            recording,
            next: 0,
            told: Entry::default(),
            wanted: Wanted::default(),
        }
    }
}

impl Entries for Whole<'_> {
    fn recording(&self) -> &Recording {
        self.recording
    }

    fn tell(&mut self) -> io::Result<bool> {
        let entry = self.recording.entries.get(self.next);
        self.next = self.next.saturating_add(1);
        if let Some(entry) = entry {
            self.told.clone_from(entry);
        }
        Ok(entry.is_some())
    }

    fn told(&self) -> &Entry {
        &self.told
    }

    fn into_recording(self: Box<Self>) -> Recording {
        Recording {
            entries: Vec::new(),
            ..self.recording.clone()
        }
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.next = 0;
        self.wanted = Wanted::default();
        Ok(())
    }

    fn want(&mut self, id: SpanId) {
        self.wanted.want(id);
    }

    fn wanted(&mut self, give: &mut dyn FnMut(&Span) -> io::Result<()>) -> io::Result<()> {
        if self.next <= self.recording.entries.len() {
            return Ok(());
        }
        self.wanted.give(self.recording, give)
    }
}

/// Spans that are wanted of a recording that has all of its spans.
#[derive(Default)]
pub(crate) struct Wanted(HashSet<SpanId>);

impl Wanted {
    pub(crate) fn want(&mut self, id: SpanId) {
        self.0.insert(id);
    }

    /// Gives them, those that are always wanted, and their parents, by their ids.
    pub(crate) fn give(
        &mut self,
        recording: &Recording,
        give: &mut dyn FnMut(&Span) -> io::Result<()>,
    ) -> io::Result<()> {
        let open = recording.spans.iter().filter(|(_, span)| span.open);
        let mut next: Vec<SpanId> = open.map(|(&id, _)| id).collect();
        next.extend(always_wanted(recording));
        next.extend(std::mem::take(&mut self.0));
        let mut found: HashSet<SpanId> = HashSet::new();
        while let Some(id) = next.pop() {
            if let Some(span) = recording.spans.get(&id)
                && found.insert(id)
            {
                next.extend(span.parent);
            }
        }
        let mut found: Vec<SpanId> = found.into_iter().collect();
        found.sort_unstable();
        let spans = found.iter().filter_map(|id| recording.spans.get(id));
        spans.into_iter().try_for_each(|span| give(span))
    }
}

/// Spans that somebody is in, and those that incidents speak of.
pub(super) fn always_wanted(recording: &Recording) -> impl Iterator<Item = SpanId> {
    let threads = recording.threads.iter();
    let entered = threads.flat_map(|thread| thread.stack.iter().copied());
    let incidents = recording.incidents.iter();
    entered.chain(incidents.flat_map(|incident| incident.stack.iter().copied()))
}
