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

use std::ffi::OsString;
use std::io::{self, Write};

use clap::ValueEnum;
use ttlog_format::salvage::Entry;

use crate::filter::{Filter, Severity};
use crate::input::Opened;
use crate::json;
use crate::output::Look;
use crate::text;

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

    /// Show this level and more severe ones
    #[arg(short = 'p', long, value_enum, ignore_case = true)]
    level: Option<Severity>,

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

/// Writes what was asked for of one recording.
pub(crate) fn write(opened: &Opened, asked: &Arguments, out: impl Write) -> io::Result<()> {
    let recording = &opened.recording;
    let filter = Filter {
        severity: asked.level,
        last: asked.lines,
        spans: asked.spans,
    };
    let entries = filter.pick(recording).into_iter();
    match asked.output {
        Output::Json => {
            let mut lines = json::Lines::new(recording);
            write_lines(out, entries, |line, entry| lines.push(line, entry))
        }
        Output::Short => {
            let style = asked.look.style();
            let mut lines = text::Lines::new(recording, &style);
            write_lines(out, entries, |line, entry| lines.push(line, entry))
        }
    }
}

/// Writes a line of each entry, made in the place of the one before.
fn write_lines<'a>(
    mut out: impl Write,
    mut entries: impl Iterator<Item = &'a Entry>,
    mut push: impl FnMut(&mut Vec<u8>, &Entry),
) -> io::Result<()> {
    let mut line = Vec::new();
    entries.try_for_each(|entry| {
        line.clear();
        push(&mut line, entry);
        out.write_all(&line)
    })
}
