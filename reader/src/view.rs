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
//! is lost is shown with the address and its values.
//!
//! `-o json` writes one object a line in the layout of
//! `tracing_subscriber::fmt().json()`.
//!
//! Lines are written while the recording is read, of which little is in memory, however
//! big it is; with `-n N`, the last N are. Several recordings come one after the other.
//!
//! How far that has come is said on stderr, if it is a terminal and it takes longer than a
//! second; where lines are written to a terminal, too, only until the first of them: they
//! would mix, and whoever sees lines coming needs nothing else.

mod lines;

use std::ffi::OsString;
use std::io::Write;

use clap::ValueEnum;
use ttlog_format::salvage::{ENTRIES_AROUND, Entry, Ledger, Recording};

use crate::error::Error;
use crate::filter;
use crate::output::Look;
use crate::reading::Reading;

use lines::{Show, Writer};

/// Show the events of recordings, oldest first
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader view 4711                  what process 4711 recorded, dead or alive
  ttlog-reader view -n 20 -p warn DIR     the last 20 warnings and errors of the newest recording
  ttlog-reader view -o json FILE | jq .   for programs")]
pub(crate) struct Arguments {
    /// Files, directories (their newest recording), pids, or - for stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) inputs: Vec<OsString>,

    #[command(flatten)]
    filter: filter::Arguments,

    /// Show the last N alone
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,

    /// Show what happened to spans, too
    #[arg(long)]
    spans: bool,

    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    look: Look,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// A line for the eye
    #[default]
    Short,
    /// An object a line, as tracing-subscriber writes them
    Json,
}

/// Writes what was asked for of one recording, and returns its account.
///
/// # Errors
/// It cannot be read, or `out` cannot be written.
pub(crate) fn write(
    mut reading: Reading<'_>,
    asked: &Arguments,
    out: impl Write + Send,
) -> Result<Ledger, Error> {
    let zone = asked.look.zone();
    let filter = reading.filter(&asked.filter, asked.spans, &zone)?;
    let passes = |recording: &Recording, entry: &Entry| filter.passes(recording, entry);
    let style = asked.look.style();
    let writer = Writer::new(asked.output, &style, out);
    lines::write_beside(writer, |show| match asked.lines {
        Some(most) => {
            let last = reading.last(most, passes)?;
            show(reading.entries.recording(), last.into());
            Ok(())
        }
        None => tell(&mut reading, passes, show),
    })?;
    Ok(reading.entries.recording().ledger)
}

/// Has all entries told, and those that pass shown, as long as that can be done.
fn tell(
    reading: &mut Reading<'_>,
    passes: impl Fn(&Recording, &Entry) -> bool,
    show: Show<'_>,
) -> Result<(), Error> {
    loop {
        let mut entries = Vec::with_capacity(ENTRIES_AROUND);
        let mut told = 0;
        while told < ENTRIES_AROUND && reading.tell()? {
            told += 1;
            let entry = reading.entries.told();
            if passes(reading.entries.recording(), entry) {
                entries.push(entry.clone());
            }
        }
        if told == 0 || !show(reading.entries.recording(), entries) {
            return Ok(());
        }
    }
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
        let mut out = Vec::new();
        let ledger = write(reading, &line.view, &mut out).unwrap();
        assert_eq!(ledger, recording.ledger);
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
