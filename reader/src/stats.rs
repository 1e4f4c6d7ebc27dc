//! `stats`: what fills the ring, how far back it reaches because of that, and which
//! filter would let it reach further.
//!
//! ```text
//! $ ttlog-reader stats 4711
//! payments (pid 4711): 48,256 events and 83,134 records of spans are readable, 8.5
//! MiB. The last 1.6 s are complete, since 22:13:18.646, at 29,516 events and 5.2 MiB
//! a second; 8,686 older events overwritten.
//! Most bytes are of the target hyper::proto (61.0 %), and of DEBUG src/conn.rs:88
//! "flushed 90 bytes" (40.1 %).
//! Without DEBUG and TRACE of hyper::proto the ring would reach back about 3.8 s, not
//! 1.6 s:
//!   TTLOG_FILTER=debug,hyper::proto=info
//! Its price: 31,204 events and 0 records of spans would not have been recorded.
//!
//! level  call site                          records      bytes   share  per s
//! ───────────────────────────────────────────────────────────────────────────
//! DEBUG  src/conn.rs:88 "flushed 90 bytes"   20,310    3.4 MiB  40.1 %  9,134
//! INFO   src/http.rs:12 span request         14,930  885.3 KiB  10.2 %  6,926
//! …
//! … and 33 more, 28.8 %: --by call-site shows them
//!
//! level  events  of spans      bytes   share   per s    bytes/s
//! ─────────────────────────────────────────────────────────────
//! …
//! span     records      bytes  events in  bytes in   share
//! ────────────────────────────────────────────────────────
//! request   14,930  885.3 KiB      7,021 563.1 KiB  16.7 %
//! …
//! ```
//!
//! Counted is what is readable and asked for: events, and what happened to spans
//! (openings, enters, exits, closes, later values). Bytes are those of their records in
//! the ring, and, for spans, of the descriptions that stand in each block before the first
//! record that names them; the beginnings and ends of blocks are nobody's. Of a snapshot,
//! which has neither, it is about so many: those that the records would take.
//!
//! The time that is complete begins where the last of the threads begins of which
//! something is overwritten: a quiet thread's last words may be hours older, and count,
//! but there are gaps between them and the others'. Rates are over that time. (What `list`
//! and `postmortem` call covered is longer: all since the first entry that is readable.)
//!
//! Without something that takes a share s of the bytes, the same ring reaches back 1/(1-s)
//! times as far, about. Where a call site takes a fifth or more, else a target, the filter
//! is told that would silence it: the one in force (`TTLOG_FILTER`, or the builder's), with
//! a directive for that target, one level below. What that costs is told, too: other
//! targets of that beginning are silenced with it.
//!
//! `per s` is of events and records of spans together, and so are the orders `events` and
//! `rate`.
//!
//! A call site is a line of code. One that says something is named by its first message,
//! or its fields; a span's by its name. A span's row tells of the records about it, and
//! of the events directly in it.
//!
//! On a terminal, tables are fitted to its width: names are cut, and numbers that say less
//! are left out, those last by which rows are in order. `--by` shows one table whole.
//!
//! `-o json` writes one object for each recording: `name`, `pid`, `path`, `from`, `ends`,
//! `complete_ns`, `reaches_to` (`beginning`, `overwritten`, or the `window` of a snapshot),
//! `events`, `span_records`, `bytes`, `bytes_are_exact`, `events_per_s`, `bytes_per_s`,
//! `ledger`, and
//!
//! - `call_sites`, `levels`, `targets`, `threads`, `spans`: rows, each with what it is of
//!   (`level`, `target`, `filename`, `line_number`, `span`, `message`; a thread's `id` and
//!   `name`; the address as `call_site` where no more is known), `events`, `span_records`,
//!   `bytes`, `share` (of 1), `events_per_s`, `bytes_per_s`; a span's with `span_bytes` and
//!   `event_bytes`. The `span` of events that are in none is null;
//! - `advice`: null, or `filter` (null where the one in force is not known whole),
//!   `directive`, what would not have been recorded (`events`, `span_records`, `share`), and
//!   about how far back the ring would reach, `complete_ns` (null: more than 100 times as
//!   far).

use std::ffi::OsString;
use std::io::Write;

use ttlog_format::salvage::{Ledger, Recording};

use crate::columns;
use crate::error::Error;
use crate::filter;
use crate::json;
use crate::output::{Look, Output};
use crate::page::Page;
use crate::reading::Reading;

use object::Object;
use reach::{Advice, Reach};
use rows::{By, Row, Sort};
use tally::Tallies;

mod object;
mod reach;
mod rows;
mod screen;
mod tally;

/// Rows of the first table of an overview, and of the others.
const TOP: [usize; 2] = [10, 5];

/// Tell what fills the ring, how far back it reaches, and what would let it reach further
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader stats 4711                         what fills the ring of process 4711
  ttlog-reader stats --by target --since -1s DIR  who spoke most in the last second
  ttlog-reader stats -o json FILE | jq -r .advice.filter")]
pub(crate) struct Arguments {
    /// Files, directories (their newest recording), pids, or - for stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) inputs: Vec<OsString>,

    /// Show one table, whole [default: the beginnings of all]
    #[arg(long, value_enum)]
    by: Option<By>,

    /// Order the rows by
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,

    /// Show the first N rows of a table [default: 10 and 5; all with --by and in JSON]
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    look: Look,

    /// Fit lines into so many columns [default: the terminal's, else they are whole]
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,

    // Last, since its heading holds for what comes after it.
    #[command(flatten)]
    filter: filter::Arguments,
}

/// A recording, of which everything has been counted that was asked for.
struct Told<'t> {
    recording: &'t Recording,
    tallies: &'t Tallies,
    reach: Reach,
    advice: Option<Advice<'t>>,
    /// Whether all that is readable was asked for.
    is_everything: bool,
    /// Whether all tables were.
    is_overview: bool,
    sort: Sort,
}

impl<'t> Told<'t> {
    /// The rows of a table, in the order that was asked for.
    fn rows(&self, by: By) -> Vec<Row<'t>> {
        rows::rows(self.tallies, self.recording, by, self.sort)
    }

    fn rows_by_bytes(&self, by: By) -> Vec<Row<'t>> {
        rows::rows(self.tallies, self.recording, by, Sort::Bytes)
    }
}

/// Writes what was asked for of one recording, and returns its account.
///
/// # Errors
/// It cannot be read, or `out` cannot be written.
pub(crate) fn write(
    mut reading: Reading<'_>,
    asked: &Arguments,
    mut out: impl Write,
) -> Result<Ledger, Error> {
    let (tallies, reach) = count(&mut reading, asked)?;
    let recording = reading.entries.recording();
    let is_everything = asked.filter.is_empty();
    let advice = || Advice::on(&tallies, &reach, &recording.header.filter);
    let told = Told {
        recording,
        tallies: &tallies,
        reach,
        advice: is_everything.then(advice).flatten(),
        is_everything,
        is_overview: asked.by.is_none(),
        sort: asked.sort,
    };
    let written = match asked.output {
        Output::Json => json::write_line(out, &Object::new(&told, asked, &reading.path)),
        Output::Text => out.write_all(text(&told, asked).as_bytes()),
    };
    written.map_err(Error::output)?;
    Ok(recording.ledger)
}

/// Goes through a recording twice: how far back it reaches is known at its end.
fn count(reading: &mut Reading<'_>, asked: &Arguments) -> Result<(Tallies, Reach), Error> {
    let covered = reading.cover(&asked.filter)?;
    let reach = Reach::of(reading.entries.recording(), reading.made.as_ref());
    reading.rewind()?;
    let zone = asked.look.zone();
    let filter = asked.filter.filter(true, &zone, covered)?;
    let reach = reach.between(filter.between_ns());
    let mut tallies = Tallies::new();
    while reading.tell()? {
        let (entry, recording) = (reading.entries.told(), reading.entries.recording());
        if filter.passes(recording, entry) {
            let room = reading.entries.room();
            tallies.add(recording, entry, room, reach.is_complete_at(entry.wall_ns));
        }
    }
    Ok((tallies, reach))
}

fn text(told: &Told<'_>, asked: &Arguments) -> String {
    let width = columns::width(asked.width);
    let mut page = Page::new(asked.look.style(), width);
    screen::summarize(told, &mut page);
    for (i, by) in asked.tables().iter().enumerate() {
        let most = asked.most(usize::from(i > 0));
        screen::tabulate(told, *by, most, &mut page, width);
    }
    if asked.inputs.len() > 1 {
        page.line("");
    }
    page.into_text()
}

impl Arguments {
    fn tables(&self) -> &[By] {
        match &self.by {
            Some(by) => std::slice::from_ref(by),
            None => &rows::ALL,
        }
    }

    /// How many rows of a table are shown.
    fn most(&self, table: usize) -> usize {
        self.top.unwrap_or(match (self.output, self.by) {
            (Output::Text, None) => TOP[table],
            _ => usize::MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::is_hazard;
    use crate::fixture::{self, any_recording};
    use crate::reading::of_recording;
    use proptest::prelude::*;
    use serde_json::json;
    use ttlog_format::verdict::Verdict;
    use unicode_width::UnicodeWidthStr;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        stats: Arguments,
    }

    fn written(recording: &Recording, asked: &[&str]) -> String {
        let line = ["stats", "4711", "--utc"].iter().chain(asked);
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        let verdict = Verdict::default();
        let reading = of_recording("demo.ring", recording, &verdict, None);
        let mut out = Vec::new();
        let ledger = write(reading, &line.stats, &mut out).unwrap();
        assert_eq!(ledger, recording.ledger);
        String::from_utf8(out).unwrap()
    }

    fn object(asked: &[&str]) -> serde_json::Value {
        let all = [&["-o", "json"], asked].concat();
        serde_json::from_str(&written(&fixture::recording(), &all)).unwrap()
    }

    /// What the rows of a table have under a key.
    fn column(object: &serde_json::Value, table: &str, key: &str) -> serde_json::Value {
        let rows = object[table].as_array().unwrap().iter();
        rows.map(|row| row[key].clone()).collect()
    }

    #[test]
    fn it_is_told_in_sentences_and_tables() {
        let text = written(&fixture::recording(), &["--width", "80", "--color=never"]);
        let expected = r#"payments (pid 4711): 4 events and 2 records of spans are readable, about 416 B.
The last 5.0 ms are complete, since 22:13:20.000, at 800 events and 81.2 KiB a
second; 1 older event overwritten, 1 dropped.
Most bytes are of the target app::auth (57.7 %), and of WARN client.rs:88
"connection reset" (30.8 %).
Without WARN, INFO, DEBUG and TRACE of hyper::client the ring would reach back
about 7.2 ms, not 5.0 ms:
  TTLOG_FILTER=debug,hyper::client=error
Its price: 1 event and 0 records of spans would not have been recorded.

level  call site                        records  bytes   share  per s   bytes/s
───────────────────────────────────────────────────────────────────────────────
WARN   client.rs:88 "connection reset"        1  128 B  30.8 %    200  25.0 KiB
ERROR  src/auth.rs:7 "evil\n\x1b[2J"          1   96 B  23.1 %    200  18.7 KiB
INFO   src/auth.rs:7 "user logged in"         1   56 B  13.5 %    200  10.9 KiB
INFO   src/auth.rs:7 span request             1   56 B  13.5 %    200  10.9 KiB
?      0xdead field0=… field1=…               1   48 B  11.5 %    200   9.3 KiB
DEBUG  src/auth.rs:7 span query               1   32 B   7.7 %    200   6.2 KiB

level  events  of spans  bytes   share  per s   bytes/s
───────────────────────────────────────────────────────
WARN        1         0  128 B  30.8 %    200  25.0 KiB
INFO        1         1  112 B  26.9 %    400  21.8 KiB
ERROR       1         0   96 B  23.1 %    200  18.7 KiB
?           1         0   48 B  11.5 %    200   9.3 KiB
DEBUG       0         1   32 B   7.7 %    200   6.2 KiB

target         events  of spans  bytes   share  per s   bytes/s
───────────────────────────────────────────────────────────────
app::auth           2         2  240 B  57.7 %    800  46.8 KiB
hyper::client       1         0  128 B  30.8 %    200  25.0 KiB
?                   1         0   48 B  11.5 %    200   9.3 KiB

thread           events  of spans  bytes    share  per s   bytes/s
──────────────────────────────────────────────────────────────────
worker-1 (4712)       4         2  416 B  100.0 %  1,200  81.2 KiB

span          records  bytes  events in  bytes in   share
─────────────────────────────────────────────────────────
(in no span)        0    0 B          2     224 B  53.8 %
query               1   32 B          1      56 B  21.2 %
request             1   56 B          0       0 B  13.5 %
?                   0    0 B          1      48 B  11.5 %
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn everything_is_counted_by_all_that_it_is_asked_by() {
        let object = object(&[]);
        assert_eq!(
            (&object["events"], &object["span_records"]),
            (&4.into(), &2.into())
        );
        assert_eq!(
            (&object["bytes"], &object["bytes_are_exact"]),
            (&416.into(), &false.into())
        );
        assert_eq!(object["complete_ns"], 5_000_000);
        assert_eq!(object["events_per_s"], 800.0);
        assert_eq!(object["ledger"]["overwritten"], 1);
        let bytes = |table| column(&object, table, "bytes");
        assert_eq!(bytes("call_sites"), json!([128, 96, 56, 56, 48, 32]));
        assert_eq!(
            column(&object, "levels", "level"),
            json!(["WARN", "INFO", "ERROR", null, "DEBUG"])
        );
        assert_eq!(bytes("levels"), json!([128, 112, 96, 48, 32]));
        assert_eq!(
            column(&object, "targets", "target"),
            json!(["app::auth", "hyper::client", null])
        );
        assert_eq!(bytes("targets"), json!([240, 128, 48]));
        assert_eq!(object["threads"][0]["id"], 4712);
        assert_eq!(bytes("threads"), json!([416]));
        assert_eq!(
            column(&object, "spans", "span"),
            json!([null, "query", "request", "?"])
        );
        assert_eq!(
            column(&object, "spans", "span_bytes"),
            json!([0, 32, 56, 0])
        );
        assert_eq!(
            column(&object, "spans", "event_bytes"),
            json!([224, 56, 0, 48])
        );
        let flood = &object["call_sites"][0];
        assert_eq!(
            (&flood["message"], &flood["filename"]),
            (&"connection reset".into(), &"client.rs".into())
        );
    }

    #[test]
    fn what_floods_is_named_with_the_filter_that_would_help() {
        let advice = &object(&[])["advice"];
        assert_eq!(advice["filter"], "debug,hyper::client=error");
        assert_eq!(
            (&advice["events"], &advice["span_records"]),
            (&1.into(), &0.into())
        );
        assert_eq!(advice["complete_ns"], 5_000_000 * 416 / 288);
        assert_eq!(object(&["-p", "warn"])["advice"], json!(null));
    }

    #[test]
    fn rows_are_in_the_order_that_was_asked_for() {
        let lines = |sort| column(&object(&["--sort", sort]), "call_sites", "bytes");
        assert_eq!(lines("bytes"), json!([128, 96, 56, 56, 48, 32]));
        // Each is of one record, so that names decide: files, lines and targets.
        assert_eq!(lines("name"), json!([128, 96, 56, 56, 32, 48]));
        assert_eq!(lines("events"), lines("name"));
        assert_eq!(lines("rate"), lines("name"));
        let levels = |sort| column(&object(&["--sort", sort]), "levels", "level");
        assert_eq!(
            levels("events"),
            json!(["INFO", "ERROR", "WARN", "DEBUG", null])
        );
        assert_eq!(
            levels("name"),
            json!(["ERROR", "WARN", "INFO", "DEBUG", null])
        );
    }

    #[test]
    fn one_table_is_whole_and_only_so_many_rows_are_shown_of_it_as_were_asked_for() {
        let object = object(&["--by", "level", "--top", "2"]);
        assert_eq!(column(&object, "levels", "level"), json!(["WARN", "INFO"]));
        assert!(object.get("call_sites").is_none());
        let text = written(&fixture::recording(), &["--by", "level", "--top", "2"]);
        assert!(text.ends_with("… and 3 more, 42.3 %\n"), "{text}");
    }

    #[test]
    fn only_what_was_asked_for_is_counted() {
        let errors = object(&["-p", "error"]);
        assert_eq!(
            (&errors["events"], &errors["bytes"]),
            (&2.into(), &144.into())
        );
        let late = object(&["--since", "-1ms"]);
        assert_eq!(
            (&late["events"], &late["complete_ns"]),
            (&2.into(), &1_000_000.into())
        );
        assert_eq!(late["events_per_s"], 2_000.0);
        let none = object(&["--thread", "nobody"]);
        assert_eq!(
            (&none["events"], &none["call_sites"]),
            (&0.into(), &json!([]))
        );
        let text = written(&fixture::recording(), &["--thread", "nobody"]);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("0 events and 0 records of spans are readable and asked for"));
    }

    #[test]
    fn nothing_is_advised_where_nothing_is_overwritten() {
        let mut recording = fixture::recording();
        recording.ledger.counts.overwritten = 0;
        let text = written(&recording, &[]);
        assert!(text.contains("; none is overwritten, 1 dropped."), "{text}");
        assert!(!text.contains("TTLOG_FILTER"));
    }

    fn fits(recording: &Recording) {
        for width in ["60", "80", "200"] {
            let text = written(recording, &["--color", "never", "--width", width]);
            let columns: usize = width.parse().unwrap();
            for line in text.lines().filter(|line| !line.contains("TTLOG_FILTER")) {
                assert!(line.width() <= columns, "{line:?} in {width}");
                assert!(!line.chars().any(is_hazard), "{line:?}");
            }
        }
    }

    #[test]
    fn what_rows_are_in_order_by_is_not_left_out() {
        for (sort, by, head) in [
            ("rate", "call-site", "per s"),
            ("rate", "target", "per s"),
            ("events", "target", "of spans"),
            ("bytes", "level", "bytes"),
            ("events", "span", "events in"),
            ("bytes", "span", "share"),
        ] {
            let asked = ["--sort", sort, "--by", by, "--width", "40"];
            let text = written(&fixture::recording(), &asked);
            let mut lines = text.lines().skip_while(|line| !line.is_empty());
            let heads = lines.nth(1).unwrap_or_default();
            assert!(heads.contains(head), "{sort} {by}: {text}");
        }
    }

    #[test]
    fn the_commands_own_options_do_not_stand_among_the_filters() {
        let command = <Line as clap::CommandFactory>::command();
        let heading = |id| {
            let mut all = command.get_arguments();
            all.find(|arg| arg.get_id() == id)
                .unwrap()
                .get_help_heading()
        };
        for own in ["by", "sort", "top", "output", "width"] {
            assert_eq!(heading(own), None, "{own}");
        }
        assert_eq!(heading("level"), Some("Filters"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut recording = fixture::recording();
        for site in recording.sites.values_mut() {
            let site = std::sync::Arc::make_mut(site);
            site.file = format!("/somewhere/registry/src/{}/src/日本語.rs", "a".repeat(90));
            site.target = "app::".repeat(40);
            site.name = "span".repeat(40);
        }
        recording.threads[0].name = "名".repeat(60);
        fits(&recording);
    }

    proptest! {
        #[test]
        fn of_no_recording_anything_reaches_the_terminal_as_it_is(recording in any_recording()) {
            fits(&recording);
            let json = written(&recording, &["-o", "json"]);
            prop_assert!(!json.trim_end().chars().any(is_hazard), "{}", json);
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
    }
}
