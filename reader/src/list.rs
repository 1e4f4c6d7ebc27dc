//! `list`: which recordings there are, and what became of their processes.
//!
//! ```text
//! $ ttlog-reader list
//! pid   name      verdict         last heard of                size  covers
//! ─────────────────────────────────────────────────────────────────────────
//! 4711  payments  alive           2023-11-14 22:13:20.123  11.0 MiB  12.3 s
//!   /dev/shm/ttlog-1000/ttlog-4711-1699999988123.ring
//! 4522  payments  signal SIGSEGV  2023-11-14 21:48:01.870  11.0 MiB  10.9 s
//!   /dev/shm/ttlog-1000/ttlog-4522-1699998360441.ring
//! $ ttlog-reader list -o json | jq -r 'select(.verdict.kind == "signal").path'
//! /dev/shm/ttlog-1000/ttlog-4522-1699998360441.ring
//! ```
//!
//! Without a directory, recordings are looked for in `TTLOG_DIR` and where recorders
//! record by default, `ttlog-<uid>` in /dev/shm and in the temporary directory; for
//! root, in those of every user. The newest start is first. `covers` is the time
//! from the first event that is readable to the last sign of life.
//!
//! One that cannot be read is told of on stderr and keeps no other back. Where there
//! is none at all, that is said, and is no failure.
//!
//! `-o json` writes one object a line: `path`, `pid`, `name`, `verdict`, `bytes` of
//! the file, `started`, `ends`, `covered_ns`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use comfy_table::ContentArrangement;
use serde::Serialize;
use ttlog_format::verdict::{Kind, Verdict};

use crate::error::Error;
use crate::escape::escape;
use crate::find::{self, Found, RECORDING};
use crate::info;
use crate::input::Opened;
use crate::json;
use crate::output::{Output, zone};
use crate::signal;
use crate::text::{Style, age, utc};

/// Characters of a name that a line has room for.
const NAME_MAX: usize = 14;

/// List recordings, the newest first, and what became of their processes
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader list                       your recordings; as root, those of every user
  ttlog-reader list /var/lib/payments     those in a directory
  ttlog-reader list -o json | jq -r 'select(.verdict.kind == \"signal\").path'")]
pub(crate) struct Arguments {
    /// Directories of recordings [default: TTLOG_DIR, and where recorders record by default]
    #[arg(value_name = "DIR")]
    directories: Vec<OsString>,

    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Show UTC instead of local time
    #[arg(long)]
    utc: bool,
}

/// Where recordings were looked for, and which there are.
pub(crate) struct Findings {
    directories: Vec<PathBuf>,
    /// The newest first.
    pub(crate) paths: Vec<PathBuf>,
    /// Directories that could not be read.
    pub(crate) errors: Vec<Error>,
}

/// Finds the recordings that are asked for.
pub(crate) fn find(asked: &Arguments) -> Findings {
    let directories = match asked.directories.is_empty() {
        true => default_directories(),
        false => asked.directories.iter().map(PathBuf::from).collect(),
    };
    let mut found: Vec<Found> = Vec::new();
    let mut errors = Vec::new();
    for directory in &directories {
        match find::all_in(directory, None, RECORDING) {
            Ok(there) => found.extend(there),
            // Nobody has recorded in a default place that is not there.
            Err(cause) if is_missing(&cause) && asked.directories.is_empty() => {}
            Err(cause) => errors.push(Error::open(directory, cause)),
        }
    }
    found.sort_by(|a, b| (b.timestamp, &b.path).cmp(&(a.timestamp, &a.path)));
    Findings {
        directories,
        paths: found.into_iter().map(|found| found.path).collect(),
        errors,
    }
}

fn is_missing(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::NotFound
}

/// Where recorders of this user record unless they are told otherwise; those of all
/// users for root, and where users have no numbers.
fn default_directories() -> Vec<PathBuf> {
    let own = std::env::var_os("TTLOG_DIR").map(PathBuf::from);
    let places = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let of_users = places.iter().flat_map(|place| match user() {
        None | Some(0) => directories_of_users(place),
        Some(uid) => vec![place.join(format!("ttlog-{uid}"))],
    });
    let mut directories: Vec<PathBuf> = Vec::new();
    for directory in own.into_iter().chain(of_users) {
        if !directories.iter().any(|known| is_same(known, &directory)) {
            directories.push(directory);
        }
    }
    directories
}

/// Those named by a number: others in a temporary directory are no user's default.
fn directories_of_users(place: &Path) -> Vec<PathBuf> {
    let is_users = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let uid = name.and_then(|name| name.strip_prefix("ttlog-"));
        uid.is_some_and(|uid| uid.parse::<u32>().is_ok())
    };
    let mut directories = find::directories_of_users(place);
    directories.retain(is_users);
    directories
}

fn is_same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(unix)]
fn user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn user() -> Option<u32> {
    None
}

impl Findings {
    /// That there is nothing, in words, where there is nothing.
    pub(crate) fn none(&self) -> Option<String> {
        if !self.paths.is_empty() || !self.errors.is_empty() {
            return None;
        }
        let directories: Vec<String> = self
            .directories
            .iter()
            .map(|directory| escape(directory.as_os_str().as_encoded_bytes()))
            .collect();
        Some(match directories.join(", ") {
            none if none.is_empty() => "no recordings: there is no default place yet".into(),
            places => format!("no recordings in {places}"),
        })
    }
}

/// What is listed.
pub(crate) struct Listed {
    output: Output,
    style: Style,
    rows: Vec<Row>,
}

/// A recording in words.
struct Row {
    cells: [String; 6],
    path: String,
}

#[derive(Serialize)]
struct Object<'a> {
    path: String,
    pid: u32,
    name: &'a str,
    verdict: &'a Verdict,
    bytes: u64,
    started: String,
    ends: String,
    covered_ns: u64,
}

impl Listed {
    /// Nothing yet.
    pub(crate) fn new(asked: &Arguments) -> Listed {
        Listed {
            output: asked.output,
            style: Style {
                zone: zone(asked.utc),
                colour: false,
            },
            rows: Vec::new(),
        }
    }

    /// Adds a recording: at once for programs, and as a row of the table to come.
    pub(crate) fn add(&mut self, opened: &Opened, out: impl Write) -> io::Result<()> {
        match self.output {
            Output::Json => json::write_line(out, &Object::new(opened)),
            Output::Text => {
                self.rows.push(Row::new(opened, &self.style));
                Ok(())
            }
        }
    }

    /// Writes the table, each row with its path below: a path is longer than a line
    /// has room for, and wanted whole.
    pub(crate) fn write(self, mut out: impl Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = info::table();
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["pid", "name", "verdict", "last heard of", "size", "covers"]);
        for row in &self.rows {
            table.add_row(row.cells.iter());
        }
        let text = info::lines(table, 1, 4);
        let mut lines = text.lines();
        for line in lines.by_ref().take(2) {
            writeln!(out, "{line}")?;
        }
        for (line, row) in lines.zip(&self.rows) {
            writeln!(out, "{line}\n  {}", row.path)?;
        }
        Ok(())
    }
}

impl Row {
    fn new(opened: &Opened, style: &Style) -> Row {
        let header = &opened.recording.header;
        Row {
            cells: [
                header.pid.to_string(),
                name(&header.name),
                verdict(&opened.verdict),
                style.moment(opened.recording.end_ns),
                size(bytes(opened)),
                age(covered_ns(opened)),
            ],
            path: escape(opened.path.as_os_str().as_encoded_bytes()),
        }
    }
}

impl Object<'_> {
    fn new(opened: &Opened) -> Object<'_> {
        let header = &opened.recording.header;
        Object {
            path: opened.path.to_string_lossy().into_owned(),
            pid: header.pid,
            name: &header.name,
            verdict: &opened.verdict,
            bytes: bytes(opened),
            started: utc(header.samples[0].wall_ns),
            ends: utc(opened.recording.end_ns),
            covered_ns: covered_ns(opened),
        }
    }
}

fn name(name: &str) -> String {
    let name = escape(name.as_bytes());
    match name.char_indices().nth(NAME_MAX) {
        None => name,
        Some(_) => name.chars().take(NAME_MAX - 1).chain(['…']).collect(),
    }
}

/// `signal SIGSEGV`
fn verdict(verdict: &Verdict) -> String {
    match (verdict.kind, verdict.signal) {
        (Kind::Signal, Some(signal)) => format!("signal {}", signal::name(signal)),
        (kind, _) => kind.to_string(),
    }
}

/// Of the file as it is; what it should be, where that is gone.
fn bytes(opened: &Opened) -> u64 {
    let layout = opened.recording.header.layout;
    fs::metadata(&opened.path).map_or_else(|_| layout.file_bytes(), |found| found.len())
}

fn size(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// From the first entry that is readable to the end.
fn covered_ns(opened: &Opened) -> u64 {
    let recording = &opened.recording;
    let first = recording.entries.first();
    first.map_or(0, |first| recording.end_ns.saturating_sub(first.wall_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn asked(directories: &[&Path], output: Output) -> Arguments {
        Arguments {
            directories: directories.iter().map(OsString::from).collect(),
            output,
            utc: true,
        }
    }

    fn opened() -> Opened {
        let mut recording = fixture::recording();
        recording.header.name = "evil\x1b[2J and very long".into();
        Opened {
            path: "/somewhere/ttlog-4711-1.ring".into(),
            recording,
            verdict: Verdict {
                kind: Kind::Signal,
                signal: Some(11),
                ..Verdict::default()
            },
            made: None,
        }
    }

    fn listed(output: Output) -> String {
        let (mut out, mut listed) = (Vec::new(), Listed::new(&asked(&[], output)));
        listed.add(&opened(), &mut out).unwrap();
        listed.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_recording_is_a_row_of_80_columns_and_its_path() {
        let text = listed(Output::Text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert_eq!(
            lines[2].split_whitespace().collect::<Vec<_>>().join(" "),
            r"4711 evil\x1b[2J a… signal SIGSEGV 2023-11-14 22:13:20.005 11.0 MiB 5.0 ms"
        );
        assert_eq!(lines[3], "  /somewhere/ttlog-4711-1.ring");
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract() {
        let object: serde_json::Value = serde_json::from_str(&listed(Output::Json)).unwrap();
        assert_eq!(object["path"], "/somewhere/ttlog-4711-1.ring");
        assert_eq!(object["pid"], 4711);
        assert_eq!(object["name"], "evil\x1b[2J and very long");
        assert_eq!(object["verdict"]["kind"], "signal");
        assert_eq!(object["bytes"], fixture::header().layout.file_bytes());
    }

    #[test]
    fn recordings_of_all_directories_are_found_the_newest_first() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (directory, name) in [
            (&one, "ttlog-1-100.ring"),
            (&two, "ttlog-2-300.ring"),
            (&one, "ttlog-3-200.ring"),
            (&one, "ttlog-4-400.bin"),
            (&two, "notes.txt"),
        ] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let found = find(&asked(&[one.path(), two.path()], Output::Text));
        let names = found
            .paths
            .iter()
            .filter_map(|path| path.file_name()?.to_str());
        let newest_first = ["ttlog-2-300.ring", "ttlog-3-200.ring", "ttlog-1-100.ring"];
        assert_eq!(names.collect::<Vec<_>>(), newest_first);
        assert!(found.none().is_none());
    }

    #[test]
    fn users_directories_are_named_by_numbers() {
        let place = tempfile::tempdir().unwrap();
        for name in [
            "ttlog-0",
            "ttlog-1000",
            "ttlog-crash-x2Fp0C",
            "ttlog-",
            "other",
        ] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let mut found = directories_of_users(place.path());
        found.sort();
        assert_eq!(
            found,
            ["ttlog-0", "ttlog-1000"].map(|name| place.path().join(name))
        );
    }

    #[test]
    fn a_directory_that_was_asked_for_and_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        assert_eq!(find(&asked(&[&missing], Output::Text)).errors.len(), 1);
        let empty = find(&asked(&[directory.path()], Output::Text));
        assert!(empty.errors.is_empty());
        assert!(empty.none().unwrap().starts_with("no recordings in /"));
    }
}
