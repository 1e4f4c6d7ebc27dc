//! `jsonl`: exactly the lines of `view -o json`.

use std::io::{self, Write};

use ttlog_format::salvage::{Entry, Recording};

use super::format::Format;
use crate::json;

/// Lines that are written to `out`.
pub(super) struct Lines<W> {
    lines: json::Lines,
    made: Vec<u8>,
    out: W,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Lines<W> {
        Lines {
            lines: json::Lines::default(),
            made: Vec::new(),
            out,
        }
    }
}

impl<W: Write> Format for Lines<W> {
    fn begin(&mut self, _: &Recording) -> io::Result<()> {
        Ok(())
    }

    fn entry(&mut self, recording: &Recording, entry: &Entry) -> io::Result<()> {
        self.made.clear();
        self.lines.push(&mut self.made, recording, entry);
        self.out.write_all(&self.made)
    }

    fn told_more(&mut self) {
        self.lines.forget_spans();
    }

    fn end(&mut self, _: &Recording) -> io::Result<()> {
        Ok(())
    }
}
