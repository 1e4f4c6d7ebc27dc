//! `export`: a recording, or its last seconds, in a file to keep, to send or to look at.
//!
//! ```text
//! $ ttlog-reader export /dev/shm/ttlog-1000/ttlog-4711-1764000000123.ring
//! ttlog-4711-1764000000123.bin
//! $ ttlog-reader export --window 30s -o /var/tmp 4711
//! /var/tmp/ttlog-4711-1764000000123.bin
//! $ ttlog-reader export --all -o - 4711 | ssh desk ttlog-reader view -
//! 12:34:56.121 [DEBUG] request{id=7}:query{table="users"}: 3 rows
//! …
//! $ ttlog-reader export --format csv -p warn 4711
//! ttlog-4711-1764000000123.csv
//! ```
//!
//! | `--format` | what it is | who reads it |
//! |---|---|---|
//! | `bin` | a snapshot: all there is, compressed | `ttlog-reader` |
//! | `jsonl` | the lines of `view -o json` | what reads logs |
//! | `csv` | a table of the events | spreadsheets |
//! | `chrome` | a trace of spans and events, as JSON | ui.perfetto.dev, speedscope |
//! | `perfetto` | the same trace, smaller | ui.perfetto.dev |
//! | `ctf` | a directory: all entries as events | babeltrace2, Trace Compass |
//!
//! It holds the window that was set when it was recorded (`--window` for another, `--all`
//! for everything, `--since` for all from a moment on), and of that what the filters let
//! through, which are those of `view`.
//!
//! A snapshot holds besides, however old they are, the open spans, causes, incidents, and
//! what had become of the process. Where not all was asked for, `info` says so of it, and
//! what was; its account is that of the whole. It is an LZ4 frame around a CBOR sequence,
//! which `lz4 -dc` and any CBOR library read; `snapshot.cddl` of ttlog-format describes it.
//!
//! A table has a line an event, UTC, and the spans, message and fields as `view` shows them.
//! What a spreadsheet would take for a formula has a `'` before it.
//!
//! A trace shows each thread with the spans it was in, one in the other; each span for as
//! long as it was open, whoever was in it; and events as moments. What was there when the
//! process died ends then, and is marked `open_at_death`; what was there before the window
//! begins with it, `began_before`. A span that is left before one that was entered after it
//! cuts that in two, of which the second is `continued`.
//!
//! The recording is gone through for what is to be in it, for the spans and for the events,
//! so little of it is in memory at once. What a living process overwrites meanwhile is
//! missing, and counted as that.
//!
//! It goes into the current directory, or to where `-o` says, and its path is
//! printed. Nothing is overwritten: a taken name gets the next number, and a file that
//! `-o` names must not be there, but for `--force`, which replaces it when the new one
//! is whole. Until then that has a name with a dot, and it is readable by its owner alone.
//! A directory, too, has its name when all of it is there.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use jiff::SignedDuration;
use ttlog_format::header::Header;
use ttlog_format::salvage::{Entry, Ledger, Recording};
use ttlog_format::verdict::Verdict;

use crate::again::Arounds;
use crate::error::Error;
use crate::filter::{self, Filter};
use crate::find::millis_of_name;
use crate::output::zone;
use crate::reading::Reading;
use crate::text::push_span;

use chrome::Chrome;
use csv::Csv;
use ctf::Ctf;
use format::{Wanted, write_to};
use hidden::{Hidden, create_new, refused};
use lines::Lines;
use lots::Lots;
use passing::Passing;
use perfetto::Perfetto;
use snapshot::Snapshot;
use tracks::{Survey, Tracks};

mod chrome;
mod csv;
mod ctf;
mod drawn;
mod format;
pub(crate) mod hidden;
mod lines;
mod lots;
mod passing;
mod perfetto;
mod snapshot;
mod tracks;
#[cfg(test)]
mod whatever;

/// How many names are tried, each with the next number.
pub(crate) const NAMES_MAX: u32 = 10_000;

/// Write recordings, or their last seconds, into files of their own
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader export 4711                     the last seconds of process 4711, into this directory
  ttlog-reader export --all -o crash.bin FILE  all that can be read of FILE
  ttlog-reader export --format csv -p warn DIR its warnings and errors as a table
  ttlog-reader export -o - DIR | ssh desk ttlog-reader view -")]
pub(crate) struct Arguments {
    /// Files, directories (their newest recording), pids, or - for stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) inputs: Vec<OsString>,

    /// Where to: a file that is not there yet, a directory, or - for stdout
    #[arg(short, long, value_name = "OUT")]
    output: Option<OsString>,

    /// Put OUT in the place of a file of that name
    #[arg(long)]
    force: bool,

    /// What to write
    #[arg(long, value_enum, default_value_t)]
    format: Kind,

    /// Everything, and not only the last seconds
    #[arg(long, conflicts_with = "window")]
    all: bool,

    /// So much before the end, such as 30s, 500ms, 2m or 1h
    #[arg(long, value_name = "TIME", value_parser = window)]
    window: Option<u64>,

    /// Of lines and tables, what happened to spans, too
    #[arg(long)]
    spans: bool,

    /// Times that are asked for are UTC instead of local time
    #[arg(long)]
    utc: bool,

    #[command(flatten)]
    filter: filter::Arguments,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A snapshot
    #[default]
    Bin,
    /// The lines of view -o json
    Jsonl,
    /// A table of the events
    Csv,
    /// A trace, as the JSON that most viewers read
    Chrome,
    /// A trace, as Perfetto has it
    Perfetto,
    /// A directory in the Common Trace Format
    Ctf,
}

impl Kind {
    /// What its names end in.
    fn ending(self) -> &'static str {
        match self {
            Kind::Bin => "bin",
            Kind::Jsonl => "jsonl",
            Kind::Csv => "csv",
            Kind::Chrome => "trace.json",
            Kind::Perfetto => "pftrace",
            Kind::Ctf => "ctf",
        }
    }

    /// Whether what happened to spans is in it, asked for or not.
    fn is_of_spans(self) -> bool {
        !matches!(self, Kind::Jsonl | Kind::Csv)
    }
}

impl Arguments {
    /// How often a recording is read: for its index, for what is known only at its end, and
    /// for each part of what is written.
    pub(crate) fn passes(&self) -> u64 {
        match self.format {
            Kind::Bin => 4,
            Kind::Jsonl | Kind::Csv | Kind::Ctf => 2,
            Kind::Chrome | Kind::Perfetto => 3,
        }
    }
}

/// A length of time, in nanoseconds.
fn window(text: &str) -> Result<u64, String> {
    let length: SignedDuration = text.parse().map_err(|_| "expected 30s, 500ms, 2m or 1h")?;
    let ns = u64::try_from(length.as_nanos());
    ns.map_err(|_| "it is negative, or longer than 584 years".into())
}

/// Writes what was asked for of one recording, and its path to `out`; and returns its
/// account.
///
/// # Errors
/// It cannot be read, the file cannot be made, or `out` cannot be written.
pub(crate) fn write(
    reading: Reading<'_>,
    asked: &Arguments,
    out: impl Write,
) -> Result<Ledger, Error> {
    if asked.format == Kind::Ctf && asked.output.as_deref() == Some(OsStr::new("-")) {
        let words = "a trace in CTF is a directory, and stdout is none: give one, or no -o";
        return Err(Error::usage(words.into()));
    }
    let mut export = Export::new(reading, asked)?;
    match asked.output.as_deref() {
        Some(output) if output == "-" => export.write(out).map_err(Error::output)?,
        output => {
            let path = to_file(&mut export, output.map(Path::new), asked.force)?;
            print(&path, out).map_err(Error::output)?;
        }
    }
    Ok(export.ledger())
}

/// What is to be written, and of what.
struct Export<'s> {
    reading: Reading<'s>,
    kind: Kind,
    wanted: Wanted,
    prepared: Prepared,
}

/// What has been found out for it.
enum Prepared {
    Snapshot(Box<Snapshot>),
    Tracks(Survey, Box<Verdict>),
    Nothing,
}

impl<'s> Export<'s> {
    fn new(mut reading: Reading<'s>, asked: &Arguments) -> Result<Export<'s>, Error> {
        let spans = asked.spans || asked.format.is_of_spans();
        let filter = reading.filter(&asked.filter, spans, &zone(asked.utc))?;
        let window_ns = window_of(&reading, asked);
        let wanted = Wanted::new(reading.entries.recording(), window_ns, filter);
        let prepared = match asked.format {
            Kind::Bin => {
                let words = asked.filter.to_string();
                if !words.is_empty() {
                    reading = passing(reading, wanted.filter.clone());
                }
                let snapshot = Snapshot::of(&mut reading, window_ns, &words)?;
                Prepared::Snapshot(Box::new(snapshot))
            }
            Kind::Jsonl | Kind::Csv | Kind::Ctf => Prepared::Nothing,
            Kind::Chrome | Kind::Perfetto => {
                let survey = Survey::of(&mut reading)?;
                Prepared::Tracks(survey, Box::new(reading.verdict()))
            }
        };
        Ok(Export {
            reading,
            kind: asked.format,
            wanted,
            prepared,
        })
    }

    fn write(&mut self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        let entries = &mut *self.reading.entries;
        let wanted = &self.wanted;
        match (self.kind, &self.prepared) {
            (_, Prepared::Snapshot(snapshot)) => snapshot.write(entries, &mut out),
            (Kind::Perfetto, Prepared::Tracks(survey, _)) => {
                let perfetto = Perfetto::new(&mut out);
                write_to(entries, wanted, &mut Tracks::new(survey, wanted, perfetto))
            }
            (_, Prepared::Tracks(survey, verdict)) => {
                let chrome = Chrome::new((**verdict).clone(), &mut out);
                write_to(entries, wanted, &mut Tracks::new(survey, wanted, chrome))
            }
            (Kind::Csv, _) => write_to(entries, wanted, &mut Lots::of(Csv::new(&mut out))),
            (_, _) => write_to(entries, wanted, &mut Lots::of(Lines::new(&mut out))),
        }?;
        out.flush()
    }

    /// Whether it is a directory.
    fn is_directory(&self) -> bool {
        self.kind == Kind::Ctf
    }

    /// Writes what goes into a directory of its own.
    fn write_into(&mut self, directory: &Path) -> io::Result<()> {
        let new = |name| create_new(&directory.join(name));
        let (metadata, stream) = (new("metadata")?, new("stream")?);
        let ctf = Ctf::new(BufWriter::new(&metadata), BufWriter::new(&stream));
        write_to(&mut *self.reading.entries, &self.wanted, &mut Lots::of(ctf))?;
        metadata.sync_all()?;
        stream.sync_all()
    }

    /// The account of the recording.
    fn ledger(&self) -> Ledger {
        match &self.prepared {
            Prepared::Snapshot(snapshot) => *snapshot.ledger(),
            Prepared::Tracks(..) | Prepared::Nothing => self.reading.entries.recording().ledger,
        }
    }
}

/// The part of what is read that passes.
fn passing<'s>(reading: Reading<'s>, filter: Filter) -> Reading<'s> {
    let entries = reading.entries;
    Reading {
        entries: Box::new(Passing { entries, filter }),
        ..reading
    }
}

/// Appends the spans around an entry, as `view` shows them: `request{id=7}:query{table="users"}`
fn push_spans(out: &mut Vec<u8>, spans: &mut Arounds, recording: &Recording, entry: &Entry) {
    if let Some(id) = entry.span {
        spans.push_around(out, recording, id, entry.wall_ns, |out, spans, missing| {
            out.extend(missing.then_some(b'?'));
            for (at, span) in spans.iter().enumerate() {
                out.extend((missing || at > 0).then_some(b':'));
                push_span(out, span);
            }
        });
    }
}

/// The path as it is: it was given by whoever runs this, who may want to use it.
fn print(path: &Path, mut out: impl Write) -> io::Result<()> {
    out.write_all(path.as_os_str().as_encoded_bytes())?;
    out.write_all(b"\n")
}

/// Whether several recordings would go to one place that can hold but one.
pub(crate) fn is_crowded(asked: &Arguments) -> bool {
    let one = |output: &OsStr| output == "-" || !Path::new(output).is_dir();
    asked.inputs.len() > 1 && asked.output.as_deref().is_some_and(one)
}

/// How much goes into it, `None` for everything. Whoever says from when on need not say how
/// long that is.
fn window_of(reading: &Reading<'_>, asked: &Arguments) -> Option<u64> {
    let header = &reading.entries.recording().header;
    let is_all = asked.all || asked.filter.has_since();
    let recorded = (!is_all).then_some(header.window_ns);
    let source = reading.made.as_ref();
    narrower(
        asked.window.or(recorded),
        source.and_then(|made| made.window_ns),
    )
}

/// A snapshot of a snapshot holds no more than that.
fn narrower(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

/// Makes the file, and returns its path.
fn to_file(export: &mut Export<'_>, output: Option<&Path>, force: bool) -> Result<PathBuf, Error> {
    match output {
        Some(path) if !path.is_dir() => {
            let hidden = Hidden::holding(export, path.parent(), path)?;
            let published = match force {
                true => hidden.replace(path),
                false => hidden.publish(path),
            };
            published.map_err(|cause| refused(path, cause))?;
            Ok(path.to_owned())
        }
        directory => {
            let header = &export.reading.entries.recording().header;
            let name = Name::of(&export.reading.path, header, export.kind.ending());
            let place = |number| match directory {
                Some(directory) => directory.join(name.numbered(number)),
                None => PathBuf::from(name.numbered(number)),
            };
            let hidden = Hidden::holding(export, directory, &place(0))?;
            hidden.publish_at_first_free((0..NAMES_MAX).map(place))
        }
    }
}

/// The default name of a file, of nothing but numbers and what it is.
pub(crate) struct Name {
    pid: u32,
    millis: u64,
    ending: &'static str,
}

impl Name {
    /// Named like the recording, or after the moment of its start.
    pub(crate) fn of(path: &Path, header: &Header, ending: &'static str) -> Name {
        let millis = millis_of_name(path);
        Name {
            pid: header.pid,
            millis: millis.unwrap_or(header.samples[0].wall_ns / 1_000_000),
            ending,
        }
    }

    pub(crate) fn numbered(&self, number: u32) -> String {
        let Name {
            pid,
            millis,
            ending,
        } = self;
        match number {
            0 => format!("ttlog-{pid}-{millis}.{ending}"),
            number => format!("ttlog-{pid}-{millis}-{number}.{ending}"),
        }
    }
}

#[cfg(test)]
mod tests;
