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
use ttlog_format::salvage::Ledger;
use ttlog_format::verdict::Verdict;

use crate::error::Error;
use crate::filter::{self, Filter};
use crate::find::millis_of_name;
use crate::output::zone;
use crate::reading::Reading;
use crate::shown::Shown;
use crate::text::span;

use chrome::Chrome;
use csv::Csv;
use ctf::Ctf;
use format::{Wanted, write_to};
use hidden::{Hidden, create_new, refused};
use lines::Lines;
use passing::Passing;
use perfetto::Perfetto;
use snapshot::Snapshot;
use tracks::{Survey, Tracks};

mod chrome;
mod csv;
mod ctf;
mod drawn;
mod format;
mod hidden;
mod lines;
mod passing;
mod perfetto;
mod snapshot;
mod tracks;
#[cfg(test)]
mod whatever;

/// How many names are tried, each with the next number.
const NAMES_MAX: u32 = 10_000;

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
            (Kind::Csv, _) => write_to(entries, wanted, &mut Csv::new(&mut out)),
            (_, _) => write_to(entries, wanted, &mut Lines::new(&mut out)),
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
        let mut ctf = Ctf::new(BufWriter::new(&metadata), BufWriter::new(&stream));
        write_to(&mut *self.reading.entries, &self.wanted, &mut ctf)?;
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

/// The spans around an entry as `view` shows them: `request{id=7}:query{table="users"}`
fn spans_of(shown: &Shown<'_>) -> String {
    let missing = shown.spans_missing.then(|| "?".to_owned());
    let spans = missing.into_iter().chain(shown.spans.iter().map(span));
    spans.collect::<Vec<_>>().join(":")
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
            let name = Name::of(export);
            let place = |number| match directory {
                Some(directory) => directory.join(name.numbered(number)),
                None => PathBuf::from(name.numbered(number)),
            };
            let hidden = Hidden::holding(export, directory, &place(0))?;
            hidden.publish_at_first_free((0..NAMES_MAX).map(place))
        }
    }
}

/// The default name of an export, of nothing but numbers and what it is.
struct Name {
    pid: u32,
    millis: u64,
    ending: &'static str,
}

impl Name {
    /// Named like the recording, or after the moment of its start.
    fn of(export: &Export<'_>) -> Name {
        let header = &export.reading.entries.recording().header;
        let millis = millis_of_name(&export.reading.path);
        Name {
            pid: header.pid,
            millis: millis.unwrap_or(header.samples[0].wall_ns / 1_000_000),
            ending: export.kind.ending(),
        }
    }

    fn numbered(&self, number: u32) -> String {
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
mod tests {
    use super::snapshot::made;
    use super::*;
    use crate::fixture;
    use crate::input::{Opened, open};
    use crate::reading::of_recording;
    use std::fs;
    use ttlog_format::snapshot::{self, Made, Maker};
    use ttlog_format::verdict::Kind;

    /// A recording of process 4711, to be exported into a directory.
    struct Desk {
        directory: tempfile::TempDir,
        opened: Opened,
    }

    impl Desk {
        fn new() -> Desk {
            let verdict = Verdict {
                kind: Kind::Killed,
                ..Verdict::default()
            };
            Desk {
                directory: tempfile::tempdir().unwrap(),
                opened: Opened {
                    path: "/nonexistent/ttlog-4711-1700000000123.ring".into(),
                    recording: fixture::recording(),
                    verdict,
                    made: None,
                },
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn export(&self, asked: &[&str], output: &Path) -> Result<String, Error> {
            let mut out = Vec::new();
            write(self.reading(), &arguments(asked, output), &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        }

        fn reading(&self) -> Reading<'_> {
            let Opened {
                path,
                recording,
                verdict,
                made,
            } = &self.opened;
            of_recording(path.to_str().unwrap(), recording, verdict, made.clone())
        }

        fn made(&self, asked: &[&str]) -> Made {
            let reading = self.reading();
            let window_ns = window_of(&reading, &arguments(asked, Path::new("-")));
            made(&reading, window_ns, "")
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.directory.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        export: Arguments,
    }

    fn arguments(asked: &[&str], output: &Path) -> Arguments {
        let line = ["export", "4711", "-o"].iter().map(OsString::from);
        let line = line.chain([output.into()]);
        let line = line.chain(asked.iter().map(OsString::from));
        <Line as clap::Parser>::try_parse_from(line).unwrap().export
    }

    #[test]
    fn a_recording_goes_to_a_file_of_its_number_and_is_read_back() {
        let desk = Desk::new();
        let printed = desk.export(&["--all"], desk.directory.path()).unwrap();
        let path = desk.path("ttlog-4711-1700000000123.bin");
        assert_eq!(printed, format!("{}\n", path.display()));
        let opened = open(&path).unwrap();
        let (read, whole) = (&opened.recording, &desk.opened.recording);
        assert_eq!(read.entries.len(), whole.entries.len());
        assert_eq!(read.entries[1], whole.entries[1]);
        assert_eq!(read.end_ns, whole.end_ns);
        assert_eq!(opened.verdict.kind, Kind::Killed);
        let made = opened.made.unwrap();
        assert_eq!((made.by, made.window_ns), (Maker::Reader, None));
        assert_eq!(made.recording, desk.opened.path.to_str().unwrap());
        assert_eq!(
            desk.names(),
            ["ttlog-4711-1700000000123.bin"],
            "and no other"
        );
    }

    #[test]
    #[cfg(unix)]
    fn it_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;

        let desk = Desk::new();
        desk.export(&[], &desk.path("crash.bin")).unwrap();
        let found = fs::metadata(desk.path("crash.bin")).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_taken_name_gets_the_next_number() {
        let desk = Desk::new();
        for _ in 0..3 {
            desk.export(&[], desk.directory.path()).unwrap();
        }
        let expected =
            ["-1.bin", "-2.bin", ".bin"].map(|end| format!("ttlog-4711-1700000000123{end}"));
        assert_eq!(desk.names(), expected);
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let desk = Desk::new();
        let path = desk.path("crash.bin");
        fs::write(&path, "mine").unwrap();
        let error = desk.export(&[], &path).unwrap_err().to_string();
        assert!(error.contains("is there already; choose"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(desk.names(), ["crash.bin"], "nothing is left behind");

        desk.export(&["--force"], &path).unwrap();
        assert!(open(&path).is_ok());
        assert_eq!(desk.names(), ["crash.bin"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_planted_link_is_not_followed() {
        let desk = Desk::new();
        let path = desk.path("crash.bin");
        std::os::unix::fs::symlink(desk.path("target"), &path).unwrap();
        assert!(desk.export(&[], &path).is_err());
        assert_eq!(desk.names(), ["crash.bin"]);
    }

    #[test]
    fn without_links_it_is_renamed_and_still_overwrites_nothing() {
        let desk = Desk::new();
        let (_, hidden) = Hidden::create(desk.directory.path().to_owned()).unwrap();
        hidden.rename(&desk.path("a.bin")).unwrap();
        assert!(hidden.rename(&desk.path("a.bin")).is_err());
        drop(hidden);
        assert_eq!(desk.names(), ["a.bin"]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_that_names_the_file() {
        let desk = Desk::new();
        let path = desk.path("absent/crash.bin");
        let error = desk.export(&[], &path).unwrap_err().to_string();
        assert!(error.contains("absent/crash.bin: "), "{error}");
    }

    #[test]
    fn stdout_gets_the_snapshot_and_nothing_else() {
        let mut out = Vec::new();
        let desk = Desk::new();
        let asked = arguments(&[], Path::new("-"));
        write(desk.reading(), &asked, &mut out).unwrap();
        let (recording, _) = snapshot::read(&out[..], out.len() as u64).unwrap();
        assert_eq!(recording.header, desk.opened.recording.header);
    }

    #[test]
    fn the_window_is_the_recorded_one_unless_another_is_wanted() {
        let mut desk = Desk::new();
        let window = |desk: &Desk, asked: &[&str]| desk.made(asked).window_ns;
        assert_eq!(window(&desk, &[]), Some(5_000_000_000));
        assert_eq!(window(&desk, &["--window", "500ms"]), Some(500_000_000));
        assert_eq!(window(&desk, &["--all"]), None);
        desk.opened.made = Some(Made {
            window_ns: Some(1),
            ..Made::default()
        });
        assert_eq!(window(&desk, &["--all"]), Some(1), "there is no more");
    }

    #[test]
    fn a_snapshot_of_a_snapshot_keeps_how_that_came_to_be() {
        let mut desk = Desk::new();
        desk.opened.made = Some(Made {
            by: Maker::Process,
            why: "panic".into(),
            wall_ns: 7,
            recording: "/a.ring".into(),
            ..Made::default()
        });
        let now = desk.made(&["--all"]);
        assert_eq!(
            (now.by, &*now.why, &*now.recording),
            (Maker::Reader, "panic", "/a.ring")
        );
        desk.opened.made.as_mut().unwrap().filter = Some("-p info".into());
        let reading = desk.reading();
        let twice = made(&reading, None, "--thread main").filter;
        assert_eq!(twice.as_deref(), Some("-p info --thread main"));
        drop(reading);
        desk.opened.verdict.kind = Kind::Unknown;
        assert_eq!(Some(desk.made(&["--all"])), desk.opened.made);
    }

    #[test]
    fn lengths_of_time_are_read_with_their_units() {
        assert_eq!(window("30s"), Ok(30_000_000_000));
        assert_eq!(window("500ms"), Ok(500_000_000));
        assert_eq!(window("2m"), Ok(120_000_000_000));
        assert_eq!(window("1h"), Ok(3_600_000_000_000));
        for other in ["", "30", "-5s", "s", "5 parsecs", "9999999h"] {
            assert!(window(other).is_err(), "{other}");
        }
    }

    #[test]
    fn several_recordings_need_a_directory() {
        let desk = Desk::new();
        let crowded = |output: &Path| is_crowded(&arguments(&["4712"], output));
        assert!(crowded(Path::new("-")));
        assert!(crowded(&desk.path("crash.bin")));
        assert!(!crowded(desk.directory.path()));
        assert!(!is_crowded(&arguments(&[], Path::new("-"))));
    }

    #[test]
    fn names_come_of_numbers_alone() {
        let mut desk = Desk::new();
        desk.opened.path = "../../evil\n.ring".into();
        desk.opened.recording.header.name = "../evil".into();
        let printed = desk.export(&[], desk.directory.path()).unwrap();
        let path = desk.path("ttlog-4711-0.bin");
        assert_eq!(printed, format!("{}\n", path.display()));
    }
}
