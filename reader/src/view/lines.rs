//! Lines that another thread makes and writes, while more entries are told.
//!
//! A lot of entries takes with it what its lines need of the recording, of which more is
//! known soon: the spans that they are in, as they are now. Few lots wait at a time, and
//! lines are written before they are many, so that what is in memory does not grow with
//! the recording. Whoever tells more of a span that a lot has makes a copy of it, so a lot
//! whose spans have a lot of values is waited for.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use ttlog_format::salvage::{CONTEXT_MAX, Entry, Recording, Span};
use ttlog_format::span::SpanId;
use ttlog_format::value::Value;

use super::backwards::Backwards;
use super::{Arguments, Output};
use crate::colour;
use crate::error::Error;
use crate::json;
use crate::text::{self, Detail, Style};

/// Bytes of lines that are written at once.
const WRITTEN_BYTES: usize = 1 << 17;

/// Lots that wait for their lines.
const LOTS_WAITING: usize = 1;

/// Bytes of values that the spans of a lot have, up to which nobody waits for it.
const LIGHT_BYTES: usize = 2 << 20;

/// Entries that passed, in the order of time, and the recordings that they are of.
pub(super) struct Batch<'a> {
    /// Each with its number among those that were asked for.
    pub(super) recordings: &'a [(usize, &'a Recording)],
    /// Each with the number of its recording.
    pub(super) entries: Vec<(usize, Entry)>,
    /// The how-manieth time it is that these are read: threads may be others then.
    pub(super) round: u64,
}

/// Shows entries, and tells whether there is somebody who looks.
pub(super) type Show<'a> = &'a mut dyn FnMut(Batch<'_>) -> bool;

/// Entries that were told one after the other, and what their lines need.
struct Lot {
    entries: Vec<(usize, Entry)>,
    parts: Vec<Part>,
}

/// What lines need of a recording.
struct Part {
    of: usize,
    /// The spans that entries are in, and those around them.
    spans: HashMap<SpanId, Arc<Span>>,
    /// The tables, unless they are those of the lot before.
    tables: Option<Recording>,
}

/// How big the tables of a recording were in which round: in one they only grow.
type Noted = HashMap<usize, (usize, usize, u64)>;

/// Has entries told by `tell`, and their lines written by another thread.
///
/// # Errors
/// Lines cannot be written; and those of `tell`.
pub(super) fn write_beside<W: Write + Send, T>(
    mut writer: Writer<'_, W>,
    tell: impl FnOnce(Show<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let told = {
        let writer = &Mutex::new(&mut writer);
        thread::scope(|scope| {
            let (lots, waiting) = sync_channel(LOTS_WAITING);
            let (used, returned) = channel();
            let mut away = Away { returned, lots: 0 };
            let write_all = move || {
                waiting.iter().try_for_each(|lot| {
                    // Who is not there any more has no use for it.
                    let _ = used.send(lock(writer).write(lot)?);
                    Ok(())
                })
            };
            let beside = Builder::new().spawn_scoped(scope, write_all);
            let (mut written, mut noted) = (Ok(()), Noted::new());
            let told = tell(&mut |batch| {
                away.free();
                let lot = Lot::new(batch, &mut noted);
                if beside.is_ok() {
                    let is_light = lot.is_light();
                    let is_sent = lots.send(lot).is_ok();
                    away.lots += usize::from(is_sent);
                    return is_sent && (is_light || away.wait());
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
        })?
    };
    writer.finish().map_err(Error::output)?;
    Ok(told)
}

/// Lots that were sent.
struct Away {
    /// Those that nobody needs any more.
    returned: Receiver<Lot>,
    /// How many are not freed yet.
    lots: usize,
}

impl Away {
    /// Frees lots in the thread that has allocated them, which so waits for no other's.
    fn free(&mut self) {
        self.lots -= self.returned.try_iter().map(drop).count();
    }

    /// Waits until all are freed, and tells whether they are.
    fn wait(&mut self) -> bool {
        let lots = self.returned.iter().take(self.lots);
        self.lots -= lots.map(drop).count();
        self.lots == 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lot {
    fn new(batch: Batch<'_>, noted: &mut Noted) -> Lot {
        let round = batch.round;
        let part = |&(of, recording): &(usize, &Recording)| Part {
            of,
            spans: spans_around(recording, of, &batch.entries),
            tables: changed(recording, of, round, noted).then(|| tables(recording)),
        };
        Lot {
            parts: batch.recordings.iter().map(part).collect(),
            entries: batch.entries,
        }
    }

    /// Whether its spans have few values, so that several lots may be in memory.
    fn is_light(&self) -> bool {
        let spans = self.parts.iter().flat_map(|part| part.spans.values());
        spans.map(|span| bytes_of(span)).sum::<usize>() <= LIGHT_BYTES
    }
}

/// Bytes that the values of a span take.
fn bytes_of(span: &Span) -> usize {
    let text = |value: &Value| value.text().map_or(0, |text| text.bytes.len());
    let texts = span.fields.iter().map(|(_, field)| text(&field.value));
    size_of_val(&*span.fields) + texts.sum::<usize>()
}

/// Whether a recording has other tables than those that are noted, which then are its.
fn changed(recording: &Recording, of: usize, round: u64, noted: &mut Noted) -> bool {
    let now = (recording.sites.len(), recording.threads.len(), round);
    noted.insert(of, now) != Some(now)
}

/// The spans of a recording that entries are in, and those around each that are shown.
fn spans_around(
    recording: &Recording,
    of: usize,
    entries: &[(usize, Entry)],
) -> HashMap<SpanId, Arc<Span>> {
    let mut spans = HashMap::new();
    // Of each span, how many around it are there, itself included, at least.
    let mut reach: HashMap<SpanId, usize> = HashMap::new();
    let own = entries.iter().filter(|(number, _)| *number == of);
    for (_, entry) in own {
        let mut next = entry.span;
        for wanted in (1..=CONTEXT_MAX).rev() {
            let Some(id) = next.filter(|id| reach.get(id).is_none_or(|&known| known < wanted))
            else {
                break;
            };
            let Some(span) = recording.spans.get(&id) else {
                break;
            };
            reach.insert(id, wanted);
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

/// How lines are written.
pub(super) struct Layout<'s> {
    pub(super) output: Output,
    pub(super) style: &'s Style,
    /// Whether they are looked at where they are written, on a terminal.
    pub(super) on_screen: bool,
    /// The newest first.
    pub(super) reverse: bool,
    /// Whether whoever looks waits for each.
    pub(super) at_once: bool,
}

impl<'s> Layout<'s> {
    /// As it was asked for.
    pub(super) fn new(asked: &Arguments, style: &'s Style, on_screen: bool) -> Layout<'s> {
        Layout {
            output: asked.output,
            style,
            on_screen,
            reverse: asked.reverse,
            at_once: asked.follow,
        }
    }
}

/// Writes the lines of recordings.
pub(super) struct Writer<'s, W> {
    layout: Layout<'s>,
    of: Vec<Of<'s>>,
    days: Days,
    /// Lines that are not written yet.
    made: Vec<u8>,
    /// Those that wait for the end, if the newest comes first.
    backwards: Backwards,
    out: W,
}

/// The lines of a recording.
struct Of<'s> {
    lines: Lines<'s>,
    recording: Option<Recording>,
}

enum Lines<'s> {
    Text(text::Lines<'s>),
    Json(json::Lines),
}

impl<'s, W: Write> Writer<'s, W> {
    /// Writes lines of so many recordings to `out`, each with the name of its own, if that
    /// has one.
    pub(super) fn new(layout: Layout<'s>, names: &[String], out: W) -> Writer<'s, W> {
        let of = names.iter().map(|name| Of {
            lines: Lines::new(&layout, Some(name).filter(|name| !name.is_empty())),
            recording: None,
        });
        Writer {
            of: of.collect(),
            days: Days::new(&layout),
            layout,
            made: Vec::new(),
            backwards: Backwards::default(),
            out,
        }
    }

    /// Writes a line of each entry, and gives back what nobody needs any more.
    fn write(&mut self, mut lot: Lot) -> io::Result<Lot> {
        self.take(&mut lot);
        self.write_lines(&lot)?;
        self.leave(&mut lot);
        Ok(lot)
    }

    /// Takes what the lines of a lot need.
    fn take(&mut self, lot: &mut Lot) {
        for part in &mut lot.parts {
            if let Some(of) = self.of.get_mut(part.of) {
                of.take(part);
            }
        }
    }

    /// Gives it back: a span that stayed here would be copied when more is told of it.
    fn leave(&mut self, lot: &mut Lot) {
        for part in &mut lot.parts {
            if let Some(of) = self.of.get_mut(part.of) {
                of.swap_spans(part);
            }
        }
    }

    fn write_lines(&mut self, lot: &Lot) -> io::Result<()> {
        for &(number, ref entry) in &lot.entries {
            let Some(of) = self.of.get_mut(number) else {
                continue;
            };
            let Some(recording) = &of.recording else {
                continue;
            };
            if self.layout.reverse {
                let push = |out: &mut Vec<u8>| of.lines.push(out, recording, entry);
                self.backwards.push(entry.wall_ns, push)?;
                continue;
            }
            self.days
                .push(&mut self.made, entry.wall_ns, self.layout.style);
            of.lines.push(&mut self.made, recording, entry);
            if self.made.len() >= WRITTEN_BYTES {
                self.out.write_all(&self.made)?;
                self.made.clear();
            }
        }
        self.out.write_all(&self.made)?;
        self.made.clear();
        if self.layout.at_once {
            self.out.flush()?;
        }
        Ok(())
    }

    /// Writes what had to wait for the end: of lines the newest of which comes first, all.
    fn finish(&mut self) -> io::Result<()> {
        let (days, out) = (&mut self.days, &mut self.out);
        let mut day = Vec::new();
        self.backwards.give(|line, wall_ns| {
            day.clear();
            days.push(&mut day, wall_ns, self.layout.style);
            out.write_all(&day)?;
            out.write_all(line)
        })
    }
}

impl Of<'_> {
    /// Takes what lines need now.
    fn take(&mut self, part: &mut Part) {
        let are_new = part.tables.is_some();
        self.recording = part.tables.take().or(self.recording.take());
        self.swap_spans(part);
        match &mut self.lines {
            Lines::Text(lines) => lines.forget_spans(),
            Lines::Json(lines) => {
                lines.forget_spans();
                if are_new {
                    lines.forget_threads();
                }
            }
        }
    }

    /// Puts the spans of a lot in the place of those that are here.
    fn swap_spans(&mut self, part: &mut Part) {
        if let Some(recording) = &mut self.recording {
            std::mem::swap(&mut recording.spans, &mut part.spans);
        }
    }
}

impl<'s> Lines<'s> {
    fn new(layout: &Layout<'s>, name: Option<&String>) -> Lines<'s> {
        let detail = match layout.output {
            Output::Short => Detail::Short,
            Output::Full => Detail::Full,
            Output::Cat => Detail::Words,
            Output::Json => {
                let lines = json::Lines::default();
                return Lines::Json(match name {
                    Some(name) => lines.named(name),
                    None => lines,
                });
            }
        };
        let lines = text::Lines::new(layout.style, detail).aligned(layout.on_screen);
        Lines::Text(match name {
            Some(name) => lines.named(name),
            None => lines,
        })
    }

    fn push(&mut self, out: &mut Vec<u8>, recording: &Recording, entry: &Entry) {
        match self {
            Lines::Text(lines) => lines.push(out, recording, entry),
            Lines::Json(lines) => lines.push(out, recording, entry),
        }
    }
}

/// Says when the day changes, where lines give the time of day alone.
struct Days {
    are_said: bool,
    on_screen: bool,
    /// The day of the line before, nanoseconds since 1970.
    today: Range<u64>,
}

impl Days {
    fn new(layout: &Layout<'_>) -> Days {
        Days {
            are_said: layout.output == Output::Short,
            on_screen: layout.on_screen,
            today: 0..0,
        }
    }

    /// Appends the day before a line of another than the one before: on a screen as a line
    /// of its own, also before the first; elsewhere at the beginning of the line, since
    /// one is an event there.
    fn push(&mut self, out: &mut Vec<u8>, wall_ns: u64, style: &Style) {
        if !self.are_said || self.today.contains(&wall_ns) {
            return;
        }
        let is_first = self.today.is_empty();
        let (day, today) = style.day(wall_ns);
        self.today = today;
        if self.on_screen {
            let line = style.paint(colour::FAINT, &format!("── {day} ──"));
            out.extend(line.bytes().chain([b'\n']));
        } else if !is_first {
            out.extend(day.bytes().chain([b' ']));
        }
    }
}

#[cfg(test)]
mod tests;
