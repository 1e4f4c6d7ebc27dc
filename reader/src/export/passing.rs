//! The part of a recording that passes a filter, told as if there were no more.
//!
//! Its tables are those of the whole, and so is its account.

use std::io;

use ttlog_format::salvage::{Entries, Entry, Mark, Recording, Span};
use ttlog_format::span::SpanId;

use crate::filter::Filter;

/// What passes of what is told.
pub(super) struct Passing<'s> {
    pub(super) entries: Box<dyn Entries + 's>,
    pub(super) filter: Filter,
}

impl Entries for Passing<'_> {
    fn recording(&self) -> &Recording {
        self.entries.recording()
    }

    fn tell(&mut self) -> io::Result<bool> {
        while self.entries.tell()? {
            let (recording, entry) = (self.entries.recording(), self.entries.told());
            if self.filter.passes(recording, entry) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn told(&self) -> &Entry {
        self.entries.told()
    }

    fn into_recording(self: Box<Self>) -> Recording {
        self.entries.into_recording()
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.entries.rewind()
    }

    fn mark(&self) -> Mark {
        self.entries.mark()
    }

    fn hold(&mut self, id: SpanId) {
        self.entries.hold(id);
    }

    fn release(&mut self, id: SpanId) {
        self.entries.release(id);
    }

    fn want(&mut self, id: SpanId) {
        self.entries.want(id);
    }

    fn wanted(&mut self, give: &mut dyn FnMut(&Span) -> io::Result<()>) -> io::Result<()> {
        self.entries.wanted(give)
    }
}
