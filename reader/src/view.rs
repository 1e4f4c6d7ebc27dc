//! `view`: the events of a recording, one line each, oldest first.
//!
//! ```text
//! $ ttlog-reader view -n 3 /dev/shm/ttlog-1000/ttlog-4711-1764000000123.ring
//! 12:34:56.121 [DEBUG] request{id=7}:query{table="users"}: 3 rows
//! 12:34:56.123 [INFO] request{id=7}: user logged in user_id=42
//! 12:34:56.124 [WARN] pool exhausted waiting=17 oldest="POST /login…"
//! $ ttlog-reader view -p warn 4711
//! 12:34:56.124 [WARN] pool exhausted waiting=17 oldest="POST /login…"
//! $ ttlog-reader view -o json 4711 | jq -r .fields.message
//! user logged in
//! ```
//!
//! A line is the local time of day (`--utc` for UTC), the level, the spans that
//! the event was in with the fields that they had then, outermost first, the
//! message, and the other fields. A `?` stands for a span of which nothing is
//! left, `…` follows what was cut when it was recorded. An event whose call site
//! is lost is shown with the address and its values. Where the day changes, it is
//! said. On a terminal what comes behind the level is aligned, and a pager shows it.
//!
//! `-o full` adds the date, nanoseconds, the thread, the target and the place in the
//! source; `-o cat` is the message alone; `-o json` writes one object a line in the
//! layout of `tracing_subscriber::fmt().json()`.
//!
//! Several recordings are merged by time, each line with the name and the pid of the
//! process, in JSON as `recording`; of one and its snapshots, the recording is shown. `-f` goes on as long as the processes live, without
//! touching them, shows all that is left when they end, and says on stderr what became of
//! them, and how many events were overwritten before they could be shown; `-n 0` begins
//! with what comes next.
//!
//! Lines are written while recordings are read, of which little is in memory, however
//! big they are; with `-n N`, the last N are, and with `-r`, all lines.
//!
//! How far that has come is said on stderr, if it is a terminal and it takes longer than a
//! second; where lines are written to a terminal, too, only until the first of them: they
//! would mix, and whoever sees lines coming needs nothing else.

mod backwards;
mod follow;
mod lines;
mod merged;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ttlog_format::salvage::Ledger;

use crate::error::Error;
use crate::escape::escape;
use crate::filter::{self, Covered, Filter};
use crate::input::Located;
use crate::output::Look;
use crate::reading::Reading;
use crate::text::count;

use lines::{Batch, Show, Writer};
use merged::Merged;

/// Show the events of recordings, oldest first
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader view 4711                  what process 4711 recorded, dead or alive
  ttlog-reader view -n 20 -p warn DIR     the last 20 warnings and errors of the newest recording
  ttlog-reader view --field id=7 FILE     everything about the request with id 7
  ttlog-reader view --since -100ms --thread worker-1 FILE
                                          what worker-1 did in the last 100 ms
  ttlog-reader view -f -p info 4711       as it goes on, and at last what became of it
  ttlog-reader view web.ring db.ring      several, merged by time
  ttlog-reader view -o json FILE | jq .   for programs")]
pub(crate) struct Arguments {
    /// Files, directories (their newest recording), pids, or - for stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) inputs: Vec<OsString>,

    /// Show the last N alone
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,

    /// Go on as long as the processes live, and tell what became of them
    #[arg(short, long)]
    follow: bool,

    /// Show the newest first
    #[arg(short, long, conflicts_with = "follow")]
    reverse: bool,

    /// Show what happened to spans, too
    #[arg(long)]
    spans: bool,

    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    look: Look,

    /// Do not pipe what goes to a terminal through PAGER, or less
    #[arg(long)]
    no_pager: bool,

    #[command(flatten)]
    filter: filter::Arguments,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for the eye
    #[default]
    Short,
    /// A line with all that is known of an event
    Full,
    /// An object a line, as tracing-subscriber writes them
    Json,
    /// The message alone
    Cat,
}

impl Arguments {
    /// Whether there should be a pager, if lines go to a terminal.
    pub(crate) fn is_paged(&self) -> bool {
        !self.no_pager && !self.follow
    }
}

/// What came of showing recordings.
#[derive(Default)]
pub(crate) struct Seen {
    /// The accounts.
    pub(crate) ledgers: Vec<(PathBuf, Ledger)>,
    /// Why some were not shown, or not to their end.
    pub(crate) errors: Vec<Error>,
    /// What is to be said besides.
    pub(crate) words: Vec<String>,
    /// That a thread was asked for that nobody is, if so.
    missing_thread: Option<String>,
}

/// Shows what was asked for of recordings, merged by time.
///
/// # Errors
/// What was asked for makes no sense, or `out` cannot be written.
pub(crate) fn show(
    located: &[Located<'_>],
    asked: &Arguments,
    on_screen: bool,
    out: impl Write + Send,
) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    let mut readings = Vec::new();
    for (of, located) in located.iter().enumerate() {
        match located.reading() {
            Ok(reading) => readings.push((of, reading)),
            Err(error) => seen.errors.push(error),
        }
    }
    drop_copies(&mut readings, &mut seen);
    let follow = |of| asked.follow.then(|| located.get(of)).flatten();
    show_readings(readings, asked, on_screen, follow, out, &mut seen)?;
    Ok(seen)
}

/// Of several that are of one recording, the recording itself is shown, or else the first:
/// what a directory holds of a process is often it and snapshots of it. These may have what
/// was overwritten since, and whoever looks is told.
fn drop_copies(readings: &mut Vec<(usize, Reading<'_>)>, seen: &mut Seen) {
    let identity = |reading: &Reading<'_>| reading.entries.recording().header.recording;
    let mut kept: HashMap<u64, (bool, usize, PathBuf)> = HashMap::new();
    for (of, reading) in readings.iter() {
        let this = (reading.made.is_some(), *of, reading.path.clone());
        let best = kept
            .entry(identity(reading))
            .or_insert_with(|| this.clone());
        if this < *best {
            *best = this;
        }
    }
    readings.retain(|(of, reading)| {
        let best = kept.get(&identity(reading));
        let best = best.filter(|(_, best, _)| best != of);
        seen.words.extend(best.map(|(.., shown)| {
            let [path, shown] = [&reading.path, shown].map(|it| path_words(it));
            format!(
                "{path} is left out: {shown} is of the same recording (view it alone for what \
                 it has besides)"
            )
        }));
        best.is_none()
    });
}

fn path_words(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

/// Shows what was asked for of what is being read, and follows those for which there is
/// something to be read on.
pub(crate) fn show_readings<'l, 'p: 'l>(
    mut readings: Vec<(usize, Reading<'_>)>,
    asked: &Arguments,
    on_screen: bool,
    follow: impl Fn(usize) -> Option<&'l Located<'p>>,
    out: impl Write + Send,
    seen: &mut Seen,
) -> Result<(), Error> {
    let filter = filter(&mut readings, asked)?;
    let style = asked.look.style();
    let layout = lines::Layout::new(asked, &style, on_screen);
    let writer = Writer::new(layout, &names(&readings), out);
    let mut shown = 0;
    lines::write_beside(writer, |show| {
        let show: Show<'_> = &mut |batch: Batch<'_>| {
            shown += batch.entries.len();
            show(batch)
        };
        let followed: Vec<_> = readings
            .iter()
            .filter_map(|&(of, _)| Some((of, follow(of)?)))
            .collect();
        if followed.is_empty() {
            show_once(readings, asked, &filter, show, seen);
            return Ok(());
        }
        drop(readings);
        follow::follow(&followed, asked, &filter, show, seen);
        Ok(())
    })?;
    let events = seen
        .ledgers
        .iter()
        .map(|(_, ledger)| ledger.counts.readable);
    let events = events.fold(0, u64::saturating_add);
    if shown == 0 && events > 0 && !asked.filter.is_empty() {
        let events = count(events);
        let why = seen.missing_thread.take();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        seen.words.push(format!(
            "none of {events} events is what was asked for{why}"
        ));
    }
    Ok(())
}

/// What is shown of all of them; moments are told by the events of all.
fn filter(readings: &mut [(usize, Reading<'_>)], asked: &Arguments) -> Result<Filter, Error> {
    let zone = asked.look.zone();
    if let [(_, one)] = readings {
        return one.filter(&asked.filter, asked.spans, &zone);
    }
    let mut covered: Covered = None;
    if asked.filter.needs_covered() {
        for (_, reading) in readings {
            covered = match (covered, reading.covered(&asked.filter)?) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
        }
    }
    asked.filter.filter(asked.spans, &zone, covered)
}

fn show_once(
    readings: Vec<(usize, Reading<'_>)>,
    asked: &Arguments,
    filter: &Filter,
    show: Show<'_>,
    seen: &mut Seen,
) {
    let mut merged = Merged::new(readings, 0);
    match asked.lines {
        Some(most) => merged.show_last(most, filter, show),
        None => merged.show_all(filter, show),
    }
    seen.errors.append(&mut merged.errors);
    let recordings = merged.readings.iter().map(|(_, it)| it.entries.recording());
    let threads = recordings.flat_map(|recording| &recording.threads);
    seen.missing_thread = asked.filter.missing_thread(threads);
    for (_, reading) in merged.readings {
        let ledger = reading.entries.recording().ledger;
        seen.ledgers.push((reading.path, ledger));
    }
}

/// What tells the lines of a recording from those of another, `payments[4711]`, by its
/// number; nothing where there is but one.
fn names(readings: &[(usize, Reading<'_>)]) -> Vec<String> {
    let most = readings.iter().map(|(of, _)| of + 1).max();
    let mut names = vec![String::new(); most.unwrap_or(0)];
    if readings.len() == 1 {
        return names;
    }
    for (of, reading) in readings {
        let header = &reading.entries.recording().header;
        names[*of] = format!("{}[{}]", header.name, header.pid);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::reading::of_recording;
    use ttlog_format::verdict::Verdict;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        view: Arguments,
    }

    fn lines(asked: &[&str]) -> Vec<String> {
        let line = ["view", "4711", "--utc"].iter().chain(asked);
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        let (recording, verdict) = (fixture::recording(), Verdict::default());
        let reading = of_recording("demo.ring", &recording, &verdict, None);
        let (mut out, mut seen) = (Vec::new(), Seen::default());
        let readings = vec![(0, reading)];
        let none = |_| None;
        show_readings(readings, &line.view, false, none, &mut out, &mut seen).unwrap();
        assert_eq!(seen.ledgers, [("demo.ring".into(), recording.ledger)]);
        let text = String::from_utf8(out).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_last_n_are_the_newest() {
        let all = lines(&[]);
        assert!(all.is_sorted() && all.len() > 2, "{all:?}");
        for n in [0, 1, 2, all.len(), 100] {
            let from = all.len().saturating_sub(n);
            assert_eq!(lines(&["-n", &n.to_string()]), all[from..], "{n}");
        }
    }

    #[test]
    fn what_happened_to_spans_is_shown_where_it_is_asked_for() {
        let spans = lines(&["--spans", "-o", "json"]).len() - lines(&["-o", "json"]).len();
        let recording = fixture::recording();
        let happened = recording
            .entries
            .iter()
            .filter(|entry| !entry.what.is_event());
        assert_eq!(spans, happened.count());
        assert!(spans > 0);
    }
}
