//! `jsonl`: exactly the lines of `view -o json`.
//!
//! They are made of as many entries at once as there, since what is told of a span after an
//! entry may say more of it.

use std::io::{self, Write};

use ttlog_format::salvage::{ENTRIES_AROUND, Entry, Recording};

use super::format::{Format, Place};
use crate::json;

/// Lines that are written to `out`.
pub(super) struct Lines<W> {
    lines: json::Lines,
    /// How many entries were told since lines were written.
    told: usize,
    waiting: Vec<Entry>,
    made: Vec<u8>,
    out: W,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Lines<W> {
        Lines {
            lines: json::Lines::default(),
            told: 0,
            waiting: Vec::new(),
            made: Vec::new(),
            out,
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
        self.lines.forget_spans();
        for entry in self.waiting.drain(..) {
            self.made.clear();
            self.lines.push(&mut self.made, recording, &entry);
            self.out.write_all(&self.made)?;
        }
        Ok(())
    }
}

impl<W: Write> Format for Lines<W> {
    fn begin(&mut self, _: &Recording) -> io::Result<()> {
        Ok(())
    }

    fn entry(&mut self, recording: &Recording, entry: &Entry) -> io::Result<()> {
        self.waiting.push(entry.clone());
        self.count(recording)
    }

    fn passed_over(&mut self, recording: &Recording, _: &Entry, _: Place) -> io::Result<()> {
        self.count(recording)
    }

    fn end(&mut self, recording: &Recording) -> io::Result<()> {
        self.write(recording)
    }
}
