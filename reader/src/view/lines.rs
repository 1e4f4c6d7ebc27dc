//! Lines that another thread makes and writes, while more entries are told.
//!
//! A lot of entries takes with it what its lines need of the recording, of which more is
//! known soon: the spans that they are in, as they are now. Few lots wait at a time, and
//! lines are written before they are many, so that what is in memory does not grow with
//! the recording.

use std::collections::HashMap;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use ttlog_format::salvage::{Entry, Recording, Span};
use ttlog_format::span::SpanId;

use super::Output;
use crate::error::Error;
use crate::json;
use crate::text::{self, Style};

/// Bytes of lines that are written at once.
const WRITTEN_BYTES: usize = 1 << 17;

/// Lots that wait for their lines.
const LOTS_WAITING: usize = 2;

/// Shows entries of a recording, and tells whether there is somebody who looks.
pub(super) type Show<'a> = &'a mut dyn FnMut(&Recording, Vec<Entry>) -> bool;

/// Entries that were told one after the other, and what their lines need.
struct Lot {
    entries: Vec<Entry>,
    /// The spans that these are in.
    spans: HashMap<SpanId, Arc<Span>>,
    /// The tables of the recording, unless they are those of the lot before.
    tables: Option<Recording>,
}

/// Has entries told by `tell`, and their lines written by another thread.
///
/// # Errors
/// Lines cannot be written; and those of `tell`.
pub(super) fn write_beside<W: Write + Send>(
    writer: Writer<'_, W>,
    tell: impl FnOnce(Show<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let writer = &Mutex::new(writer);
    thread::scope(|scope| {
        let (lots, waiting) = sync_channel(LOTS_WAITING);
        let (used, returned) = channel();
        let write_all = move || {
            waiting.iter().try_for_each(|lot| {
                // Who is not there any more has no use for it.
                let _ = used.send(lock(writer).write(lot)?);
                Ok(())
            })
        };
        let beside = Builder::new().spawn_scoped(scope, write_all);
        let (mut written, mut tables) = (Ok(()), None);
        let told = tell(&mut |recording, entries| {
            // Freed by the thread that has allocated it, which so waits for no other's.
            returned.try_iter().for_each(drop);
            let lot = Lot::new(recording, entries, &mut tables);
            if beside.is_ok() {
                return lots.send(lot).is_ok();
            }
            // Where no thread can be made, it is done here.
            written = lock(writer).write(lot).map(drop);
            written.is_ok()
        });
        drop(lots);
        if let Ok(beside) = beside {
            written = beside.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        written.map_err(Error::output)?;
        told
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lot {
    /// Entries of `recording`, as it is known now; how big its tables are is compared with
    /// what is noted, since they only grow.
    fn new(recording: &Recording, entries: Vec<Entry>, noted: &mut Option<(usize, usize)>) -> Lot {
        let now = Some((recording.sites.len(), recording.threads.len()));
        let is_noted = *noted == now;
        *noted = now;
        Lot {
            spans: spans_around(recording, &entries),
            tables: (!is_noted).then(|| tables(recording)),
            entries,
        }
    }
}

/// The spans that entries are in, and those around them.
fn spans_around(recording: &Recording, entries: &[Entry]) -> HashMap<SpanId, Arc<Span>> {
    let mut spans = HashMap::new();
    let mut last = None;
    for entry in entries {
        let mut next = entry.span.filter(|_| entry.span != last);
        last = entry.span;
        while let Some(id) = next
            && !spans.contains_key(&id)
            && let Some(span) = recording.spans.get(&id)
        {
            spans.insert(id, Arc::clone(span));
            next = span.parent;
        }
    }
    spans
}

/// What of a recording says where its entries come from.
fn tables(recording: &Recording) -> Recording {
    Recording {
        header: recording.header.clone(),
        causes: Vec::new(),
        incidents: Vec::new(),
        sites: recording.sites.clone(),
        threads: recording.threads.clone(),
        ledger: recording.ledger,
        spans: HashMap::new(),
        entries: Vec::new(),
        end_ns: recording.end_ns,
    }
}

/// Writes the lines of one recording.
pub(super) struct Writer<'s, W> {
    lines: Lines<'s>,
    recording: Option<Recording>,
    /// Lines that are not written yet.
    made: Vec<u8>,
    out: W,
}

enum Lines<'s> {
    Short(text::Lines<'s>),
    Json(json::Lines),
}

impl<'s, W: Write> Writer<'s, W> {
    /// Writes to `out`, as it was asked for.
    pub(super) fn new(output: Output, style: &'s Style, out: W) -> Writer<'s, W> {
        Writer {
            lines: match output {
                Output::Short => Lines::Short(text::Lines::new(style)),
                Output::Json => Lines::Json(json::Lines::default()),
            },
            recording: None,
            made: Vec::new(),
            out,
        }
    }

    /// Writes a line of each entry, and gives back what nobody needs any more.
    fn write(&mut self, mut lot: Lot) -> io::Result<Lot> {
        self.recording = lot.tables.take().or(self.recording.take());
        let Some(recording) = &mut self.recording else {
            return Ok(lot);
        };
        std::mem::swap(&mut recording.spans, &mut lot.spans);
        match &mut self.lines {
            Lines::Short(lines) => lines.forget_spans(),
            Lines::Json(lines) => lines.forget_spans(),
        }
        self.made.clear();
        for entry in &lot.entries {
            match &mut self.lines {
                Lines::Short(lines) => lines.push(&mut self.made, recording, entry),
                Lines::Json(lines) => lines.push(&mut self.made, recording, entry),
            }
            if self.made.len() >= WRITTEN_BYTES {
                self.out.write_all(&self.made)?;
                self.made.clear();
            }
        }
        self.out.write_all(&self.made)?;
        Ok(lot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use jiff::tz::TimeZone;

    /// What can take so many bytes.
    struct Room(usize);

    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let left = self.0.checked_sub(bytes.len());
            self.0 = left.ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_more_is_told_where_nothing_more_can_be_written() {
        let recording = fixture::recording();
        let style = Style {
            zone: TimeZone::UTC,
            colour: false,
        };
        let writer = Writer::new(Output::Short, &style, Room(10_000));
        let mut lots = 0;
        let written = write_beside(writer, |show| {
            while show(&recording, recording.entries.clone()) {
                lots += 1;
            }
            Ok(())
        });
        assert!(written.unwrap_err().is_output());
        assert!((1..10_000).contains(&lots), "{lots}");
    }

    #[test]
    fn a_lot_has_the_spans_around_its_entries_and_tables_that_are_new() {
        let mut recording = fixture::recording();
        let entry = |recording: &Recording| recording.entries[1].clone();
        let mut noted = None;
        let mut lot = |recording: &Recording| {
            let lot = Lot::new(recording, vec![entry(recording)], &mut noted);
            (lot.spans.len(), lot.tables.map(|tables| tables.sites.len()))
        };
        let sites = recording.sites.len();
        assert_eq!(lot(&recording), (2, Some(sites)));
        assert_eq!(lot(&recording), (2, None));
        recording.sites.clear();
        recording.spans.clear();
        assert_eq!(lot(&recording), (0, Some(0)));
    }
}
