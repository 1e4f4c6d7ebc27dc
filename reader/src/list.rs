//! `list`: which recordings there are, and what became of their processes.
//!
//! ```text
//! $ ttlog-reader list
//! pid   name      verdict         last heard of            size  covers
//! ─────────────────────────────────────────────────────────────────────
//! 4711  payments  alive           22:13:20, just now   11.0 MiB  12.3 s
//!   /dev/shm/ttlog-1000/ttlog-4711-1699999988123.ring
//! 4522  payments  signal SIGSEGV  21:48:01, 25 min ago  11.0 MiB  10.9 s
//!   /dev/shm/ttlog-1000/ttlog-4522-1699998360441.ring
//! 1 snapshot in /tmp: --snapshots lists it
//! looked in /dev/shm/ttlog-1000, /tmp/ttlog-1000
//! next: ttlog-reader postmortem 4522
//! $ ttlog-reader list -o json | jq -r 'select(.verdict.kind == "signal").path'
//! /dev/shm/ttlog-1000/ttlog-4522-1699998360441.ring
//! ```
//!
//! Without a directory, recordings are looked for in `TTLOG_DIR` and where recorders
//! record by default, `ttlog-<uid>` in /dev/shm and in the temporary directory; for
//! root, in those of every user. The newest start is first. `covers` is the time
//! from the first event that is readable to the last sign of life.
//!
//! `--snapshots` lists `.bin` files too, those in `TTLOG_SNAPSHOT_DIR` and the user's own
//! in the temporary directory as well. Without it a line says how many there are. Such
//! lines, and what to run next, are for a terminal: they go to stderr, if both are one.
//!
//! A file that is named is listed, whatever its name. One that cannot be read is told of
//! on stderr and keeps no other back. Where there is none at all, that is said, with the
//! directories in those that were named that hold some, and is no failure. Where a terminal is narrow, columns
//! that can be done without are left out; a path is whole.
//!
//! `-o json` writes one object a line: `path`, `kind` (`recording` or `snapshot`), `pid`,
//! `name`, `verdict`, `bytes` of the file, `started`, `ends`, `covered_ns`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use ttlog_format::verdict::{Kind, Verdict};
use unicode_width::UnicodeWidthChar;

use crate::advice;
use crate::colour;
use crate::error::Error;
use crate::escape::escape;
use crate::find::{self, Found, RECORDING, SNAPSHOT};
use crate::info;
use crate::input::Opened;
use crate::json;
use crate::measure::{cut, now_ns, short_moment, size};
use crate::output::{Look, Output, terminal_width};
use crate::signal;
use crate::text::{Style, age, count, utc};

/// Characters of a name that a line has room for.
const NAME_MAX: usize = 14;

/// Directories that are named where there is nothing in those that were asked for.
const BELOW_MAX: usize = 3;

/// And of why a snapshot was made: a panic's message has no end of its own.
const WHY_MAX: usize = 40;

/// List recordings, the newest first, and what became of their processes
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader list                       your recordings; as root, those of every user
  ttlog-reader list /var/lib/payments     those in a directory
  ttlog-reader list --snapshots           snapshots, too
  ttlog-reader list /srv/*/ttlog/*.ring   files
  ttlog-reader list -o json | jq -r 'select(.verdict.kind == \"signal\").path'")]
pub(crate) struct Arguments {
    /// Directories of recordings, and files [default: TTLOG_DIR, and where recorders record by
    /// default]
    #[arg(value_name = "PATH")]
    inputs: Vec<OsString>,

    /// List snapshots, too
    #[arg(short, long)]
    snapshots: bool,

    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    look: Look,
}

/// Where recordings were looked for, and which there are.
pub(crate) struct Findings {
    /// Whether nobody said where to look.
    by_default: bool,
    directories: Vec<PathBuf>,
    /// The newest first.
    pub(crate) paths: Vec<PathBuf>,
    /// How many snapshots are in a directory that are not listed.
    left_out: Vec<(PathBuf, usize)>,
    /// Directories that could not be read.
    pub(crate) errors: Vec<Error>,
    /// Where there is none: the directories in those that were named that hold some.
    below: Vec<PathBuf>,
}

/// Finds the recordings that are asked for.
pub(crate) fn find(asked: &Arguments) -> Findings {
    let by_default = asked.inputs.is_empty();
    let named = asked.inputs.iter().map(PathBuf::from);
    let (files, named): (Vec<PathBuf>, Vec<PathBuf>) = named.partition(|path| is_file(path));
    let directories = if by_default {
        default_directories()
    } else {
        named
    };
    let mut found: Vec<Found> = files.into_iter().map(named_one).collect();
    let mut errors = Vec::new();
    for directory in &directories {
        match find::all_in(directory, None, RECORDING) {
            Ok(there) => found.extend(there),
            // Nobody has recorded in a default place that is not there.
            Err(cause) if is_missing(&cause) && by_default => {}
            Err(cause) => errors.push(Error::open(directory, cause)),
        }
    }
    let mut left_out = Vec::new();
    for (directory, snapshots) in snapshots(&directories, by_default) {
        match asked.snapshots {
            true => found.extend(snapshots),
            false => left_out.push((directory, snapshots.len())),
        }
    }
    found.sort_by(|a, b| (b.timestamp, &b.path).cmp(&(a.timestamp, &a.path)));
    let below = match found.is_empty() && !by_default {
        true => directories.iter().flat_map(|it| below(it)).collect(),
        false => Vec::new(),
    };
    Findings {
        by_default,
        below,
        directories,
        paths: found.into_iter().map(|found| found.path).collect(),
        left_out,
        errors,
    }
}

/// Whether it is there and no directory: whether it is a recording is found out when it
/// is read.
fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_dir())
}

/// A file that was named; one whose name does not say since when goes last.
fn named_one(path: PathBuf) -> Found {
    let timestamp = find::millis_of_name(&path).unwrap_or(0);
    Found { timestamp, path }
}

/// The directories in a directory that hold recordings, by name.
fn below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|it| it.is_dir());
    let holds_some = |path: &PathBuf| {
        let there = find::all_in(path, None, RECORDING);
        there.is_ok_and(|mut there| there.next().is_some())
    };
    let entries = entries.flatten().filter(is_directory);
    let mut found: Vec<PathBuf> = entries.map(|it| it.path()).filter(holds_some).collect();
    found.sort();
    found
}

/// The snapshots beside recordings; by default also those in the places for snapshots.
fn snapshots(directories: &[PathBuf], by_default: bool) -> Vec<(PathBuf, Vec<Found>)> {
    let own = std::env::var_os("TTLOG_SNAPSHOT_DIR").map(PathBuf::from);
    let more = own.into_iter().chain([std::env::temp_dir()]);
    let mut places = directories.to_vec();
    for place in more.filter(|_| by_default) {
        push_unless_known(&mut places, place);
    }
    places
        .into_iter()
        .filter_map(|place| {
            let there = find::all_in(&place, None, SNAPSHOT).ok()?;
            let there: Vec<Found> = there
                .filter(|found| !by_default || is_ours(&found.path))
                .collect();
            (!there.is_empty()).then_some((place, there))
        })
        .collect()
}

/// Whether this user can read a file that lies where everybody's do.
#[cfg(unix)]
fn is_ours(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let owner = fs::symlink_metadata(path).map(|found| found.uid());
    user() == Some(0) || owner.ok() == user()
}

#[cfg(not(unix))]
fn is_ours(_path: &Path) -> bool {
    true
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
        push_unless_known(&mut directories, directory);
    }
    directories
}

fn push_unless_known(directories: &mut Vec<PathBuf>, directory: PathBuf) {
    if !directories.iter().any(|known| is_same(known, &directory)) {
        directories.push(directory);
    }
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
        Some(match self.places() {
            none if none.is_empty() => "no recordings: there is no default place yet".into(),
            places => format!("no recordings in {places}{}", self.further_down()),
        })
    }

    /// `, but in directories there: /var/lib/a, /var/lib/b and 3 more`
    fn further_down(&self) -> String {
        let shown: Vec<String> = self
            .below
            .iter()
            .take(BELOW_MAX)
            .map(|it| shown(it))
            .collect();
        let (there, shown) = match self.below.len() {
            0 => return String::new(),
            1 => ("a directory", shown.join(", ")),
            _ => ("directories", shown.join(", ")),
        };
        let more = match self.below.len().saturating_sub(BELOW_MAX) {
            0 => String::new(),
            more => format!(" and {} more", count(more)),
        };
        format!(", but in {there} there: {shown}{more}")
    }

    /// What is not in the list, and where it was looked for.
    pub(crate) fn elsewhere(&self) -> Vec<String> {
        let left_out = self.left_out.iter().map(|(directory, many)| {
            let directory = shown(directory);
            match many {
                1 => format!("1 snapshot in {directory}: --snapshots lists it"),
                _ => format!("{many} snapshots in {directory}: --snapshots lists them"),
            }
        });
        let is_told = self.by_default && self.none().is_none() && !self.directories.is_empty();
        let places = is_told.then(|| format!("looked in {}", self.places()));
        left_out.chain(places).collect()
    }

    fn places(&self) -> String {
        let places = self.directories.iter().map(|directory| shown(directory));
        places.collect::<Vec<_>>().join(", ")
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

/// What is listed.
pub(crate) struct Listed {
    output: Output,
    style: Style,
    width: Option<usize>,
    now_ns: u64,
    rows: Vec<Row>,
}

/// A recording in words.
struct Row {
    cells: Vec<String>,
    kind: Kind,
    path: PathBuf,
    /// Of a snapshot, why it was made.
    why: Option<String>,
}

const HEADER: [&str; 6] = ["pid", "name", "verdict", "last heard of", "size", "covers"];

/// The columns that can be done without, the first first.
const SPARE: [&str; 3] = ["covers", "size", "name"];

#[derive(Serialize)]
struct Object<'a> {
    path: String,
    kind: &'static str,
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
            style: asked.look.style(),
            width: terminal_width(),
            now_ns: now_ns(),
            rows: Vec::new(),
        }
    }

    /// Adds a recording: at once for programs, and as a row of the table to come.
    pub(crate) fn add(&mut self, opened: &Opened, out: impl Write) -> io::Result<()> {
        match self.output {
            Output::Json => json::write_line(out, &Object::new(opened)),
            Output::Text => {
                self.rows.push(Row::new(opened, &self.style, self.now_ns));
                Ok(())
            }
        }
    }

    /// Writes the table, each row with its path below: a path is longer than a line
    /// has room for, and wanted whole.
    pub(crate) fn write(&self, mut out: impl Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| row.cells.clone()).collect();
        let text = info::fitted(&HEADER, &cells, 4, &SPARE, self.width);
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        writeln!(out, "{}", self.style.paint(colour::HEADING, header))?;
        writeln!(out, "{}", lines.next().unwrap_or_default())?;
        let verdict_at = header.find("verdict").unwrap_or_default();
        for (line, row) in lines.zip(&self.rows) {
            let line = self.painted(line, verdict_at, row);
            writeln!(out, "{line}\n  {}{}", shown(&row.path), row.why())?;
        }
        Ok(())
    }

    /// A line with its verdict in colour, which begins at a column.
    fn painted(&self, line: &str, column: usize, row: &Row) -> String {
        let (before, rest) = line.split_at(byte_of_column(line, column));
        match rest.strip_prefix(row.cells[2].as_str()) {
            Some(after) => {
                let verdict = self
                    .style
                    .paint(colour::of_verdict(row.kind), &row.cells[2]);
                format!("{before}{verdict}{after}")
            }
            None => line.to_owned(),
        }
    }

    /// What to run next: the newest that has died is what somebody came for.
    pub(crate) fn next(&self) -> Option<String> {
        let died = |row: &&Row| !matches!(row.kind, Kind::Alive | Kind::Ended);
        let row = self.rows.iter().find(died).or_else(|| self.rows.first())?;
        let command = match row.kind {
            Kind::Alive => "view",
            _ => "postmortem",
        };
        Some(format!(
            "ttlog-reader {command} {}",
            advice::typed(&row.path)?
        ))
    }
}

/// Where in a line a column begins.
fn byte_of_column(line: &str, column: usize) -> usize {
    let mut taken = 0;
    for (at, c) in line.char_indices() {
        if taken >= column {
            return at;
        }
        taken += c.width().unwrap_or(0);
    }
    line.len()
}

impl Row {
    fn new(opened: &Opened, style: &Style, now_ns: u64) -> Row {
        let header = &opened.recording.header;
        Row {
            cells: vec![
                header.pid.to_string(),
                name(&header.name),
                verdict(&opened.verdict),
                short_moment(style, now_ns, opened.recording.end_ns),
                size(bytes(opened)),
                age(covered_ns(opened)),
            ],
            kind: opened.verdict.kind,
            path: opened.path.clone(),
            why: opened
                .made
                .as_ref()
                .map(|made| cut(&escape(made.why.as_bytes()), WHY_MAX)),
        }
    }

    fn why(&self) -> String {
        match &self.why {
            Some(why) if !why.is_empty() => format!(" (snapshot: {why})"),
            Some(_) => " (snapshot)".into(),
            None => String::new(),
        }
    }
}

impl Object<'_> {
    fn new(opened: &Opened) -> Object<'_> {
        let header = &opened.recording.header;
        Object {
            path: opened.path.to_string_lossy().into_owned(),
            kind: match opened.made {
                None => "recording",
                Some(_) => "snapshot",
            },
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
    cut(&escape(name.as_bytes()), NAME_MAX)
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

/// From the first entry that is readable to the end.
fn covered_ns(opened: &Opened) -> u64 {
    let recording = &opened.recording;
    let first = recording.entries.first();
    first.map_or(0, |first| recording.end_ns.saturating_sub(first.wall_ns))
}

#[cfg(test)]
mod tests;
