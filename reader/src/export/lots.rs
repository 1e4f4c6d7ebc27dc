//! Entries that are written a lot at a time, each by itself.
//!
//! What is told of a span after an entry may say more of it. So as many entries are told
//! first as a recording keeps spans for, and then written: all of them say of a span what
//! `view` says of it, and what was written for one is good for the next.

use std::io;

use ttlog_format::salvage::{ENTRIES_AROUND, Entry, Recording};

use super::format::{Format, Place};

/// A way to write down entries, which is told them in lots.
pub(super) struct Lots<F> {
    format: F,
    /// How many entries were told since a lot was written.
    told: usize,
    waiting: Vec<Entry>,
}

impl<F: Format> Lots<F> {
    pub(super) fn of(format: F) -> Lots<F> {
        Lots {
            format,
            told: 0,
            waiting: Vec::new(),
        }
    }

    fn count(&mut self, recording: &Recording) -> io::Result<()> {
        self.told += 1;
        match self.told >= ENTRIES_AROUND {
            true => self.write(recording),
            false => Ok(()),
        }
    }

    fn write(&mut self, recording: &Recording) -> io::Result<()> {
        self.told = 0;
        self.format.told_more();
        let mut waiting = self.waiting.drain(..);
        waiting.try_for_each(|entry| self.format.entry(recording, &entry))
    }
}

impl<F: Format> Format for Lots<F> {
    fn begin(&mut self, recording: &Recording) -> io::Result<()> {
        self.format.begin(recording)
    }

    fn entry(&mut self, recording: &Recording, entry: &Entry) -> io::Result<()> {
        self.waiting.push(entry.clone());
        self.count(recording)
    }

    fn passed_over(&mut self, recording: &Recording, _: &Entry, _: Place) -> io::Result<()> {
        self.count(recording)
    }

    fn end(&mut self, recording: &Recording) -> io::Result<()> {
        self.write(recording)?;
        self.format.end(recording)
    }
}
