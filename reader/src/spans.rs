//! `spans`: which spans are open at the end, and how long the others lasted.
//!
//! ```text
//! $ ttlog-reader spans 4711
//! payments (pid 4711): 25 spans are open at the end, 2023-11-14 22:13:20.423; 10,961
//! closed.
//!
//! open at the end, by level, the longest first
//!   open for  opened        thread         span
//!   798.3 ms  22:13:19.625  worker (4712)  request{method=GET uri=/report}
//!   798.3 ms  22:13:19.625  worker (4712)  query{table="orders"} in request
//!     1.1 ms  22:13:20.422  worker (4713)  request{method=POST uri=/orders}
//! … and 22 more: --top 25 shows them
//!
//! span           open  open for  closed     total     p50     p99   longest    busy
//! ─────────────────────────────────────────────────────────────────────────────────
//! request          13  798.3 ms   1,335     5.9 s  3.3 ms  6.5 ms     1.2 s  1.1 s
//! query            12  798.3 ms   1,293     4.9 s  3.1 ms  5.9 ms     1.2 s  ≥ 0.9 s
//! parse_headers     –         –   8,333    29.9 ms  3.6 µs  6.5 µs  117.2 µs  29.9 ms
//!
//! closed, the longest first
//!     lasted  opened        thread         span
//!      1.2 s  22:13:18.424  worker (4713)  request{method=GET uri=/report}
//!      1.2 s  22:13:18.424  worker (4713)  query{table="orders" rows=1200} in request
//! …
//! ```
//!
//! What is open at the end comes first: that is what a process that died was at, or what
//! one that lives has not done yet. What an application opened is more severe, mostly, than
//! what its runtime did, and is asked for first; among equals the longest is.
//!
//! A name is a row; where spans of several places have it, each place is. Durations are
//! from opening to close, and percentiles are durations that occurred: of 100 spans, 99
//! lasted no longer than `p99`. How long open ones are open is kept apart from that: they
//! would have lasted longer. `busy` is for how long somebody was in them, `≥` where some of
//! that is overwritten.
//!
//! An opening that is overwritten is known all the same, where a later block or the span
//! table says when it was. Of how many spans it is not known when they were opened, or
//! closed, is told.
//!
//! A thread is the one that closed a span; of open ones, that is in it, else that opened it.
//!
//! A span counts if its closing passes the filters, its end if it is open: `--since` and
//! `--until` are about that, `--thread` about who closed it. `--span` finds those in a span
//! of that name, too. With filters it is told that the numbers are of what was asked for,
//! and where nothing is, of how many spans.
//!
//! `-o json` writes one object for each recording: `name`, `pid`, `path`, `ends`, `open`,
//! `closed`, `spans_without_slot`, and
//!
//! - `open_spans`, all of them, and the first ten of `closed_spans`; with `--top` so many
//!   of each, and of the rows: `name`, `target`, `filename`, `line_number`, `fields`,
//!   `parents` (names, outermost first), `opened` and `lasted_ns` (null where it is not
//!   known when one was opened), `open`, `busy_ns`, `busy_is_exact`, `thread` (`id`, `name`);
//! - `spans`: rows of `name`, `target`, `level`, `filename`, `line_number`, `open`,
//!   `open_for`, `closed`, `lasted`, `busy_ns`, `busy_is_exact`, `opening_unknown`,
//!   `closing_unknown`; `open_for` and `lasted` are null or have `total_ns`, `p50_ns`,
//!   `p99_ns`, `longest_ns`.

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
use crate::text::Style;

use account::{Account, Longest};
use object::Object;
use rows::{Row, Sort};

mod account;
mod object;
mod rows;
mod screen;

/// How many names, and how many of the longest spans, a screen has room for.
const TOP: usize = 10;

/// Tell which spans are open at the end, and how long the others lasted
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader spans 4711                          what 4711 was at, and how long things took
  ttlog-reader spans --span request --sort p99 DIR  of requests and what is in them, the slowest
  ttlog-reader spans -o json FILE | jq '.open_spans[].fields'")]
pub(crate) struct Arguments {
    /// Files, directories (their newest recording), pids, or - for stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) inputs: Vec<OsString>,

    /// Order the names by
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,

    /// Show N names, and N of the longest spans [default: 10; in JSON all names and open spans]
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

impl Arguments {
    /// How many of the closed spans are shown.
    fn most_closed(&self) -> usize {
        self.top.unwrap_or(TOP)
    }

    /// How many names are, and how many of the spans that are open.
    fn most(&self) -> usize {
        self.top.unwrap_or(match self.output {
            Output::Text => TOP,
            Output::Json => usize::MAX,
        })
    }
}

/// A recording, of whose spans everything is known.
struct Told<'t> {
    recording: &'t Recording,
    rows: Vec<Row>,
    sort: Sort,
    /// Those that lasted longest: closed, and open.
    closed: Longest,
    open: Longest,
    /// How many rows are shown.
    most: usize,
    /// How many spans there are, whether they were asked for or not.
    spans: u64,
    /// Whether all were asked for.
    is_everything: bool,
    style: Style,
}

/// Writes what was asked for of one recording, and returns its account.
///
/// # Errors
/// It cannot be read, what was asked for makes no sense, or `out` cannot be written.
pub(crate) fn write(
    mut reading: Reading<'_>,
    asked: &Arguments,
    mut out: impl Write,
) -> Result<Ledger, Error> {
    if asked.filter.is_for_messages() {
        let words = "spans have no message that --grep could match: --field finds their values";
        return Err(Error::usage(words.into()));
    }
    let style = asked.look.style();
    let filter = reading.filter(&asked.filter, true, &style.zone)?;
    let passes = |recording: &_, entry: &_| filter.passes(recording, entry);
    let mut account = Account::keeping(asked.most_closed(), asked.most());
    while reading.tell()? {
        let entry = reading.entries.told();
        account.add(reading.entries.recording(), entry, passes);
    }
    let recording = reading.entries.recording();
    let found = account.settle(recording, passes);
    let told = Told {
        recording,
        rows: rows::rows(found.groups, asked.sort),
        sort: asked.sort,
        closed: found.closed,
        open: found.open,
        most: asked.most(),
        spans: found.spans,
        is_everything: asked.filter.is_empty(),
        style,
    };
    let written = match asked.output {
        Output::Json => json::write_line(out, &Object::new(&told, &reading.path)),
        Output::Text => out.write_all(text(&told, asked).as_bytes()),
    };
    written.map_err(Error::output)?;
    Ok(recording.ledger)
}

fn text(told: &Told<'_>, asked: &Arguments) -> String {
    let width = columns::width(asked.width);
    let mut page = Page::new(told.style.clone(), width);
    screen::tell(told, width, &mut page);
    if asked.inputs.len() > 1 {
        page.line("");
    }
    page.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::is_hazard;
    use crate::fixture::{self, any_recording, at};
    use crate::reading::of_recording;
    use proptest::prelude::*;
    use serde_json::json;
    use std::sync::Arc;
    use ttlog_format::salvage::{Entry, Span, What};
    use ttlog_format::span::SpanId;
    use ttlog_format::value::{Field, Value};
    use ttlog_format::verdict::Verdict;
    use unicode_width::UnicodeWidthStr;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        spans: Arguments,
    }

    fn write_to(recording: &Recording, asked: &[&str], out: &mut Vec<u8>) -> Result<(), Error> {
        let line = ["spans", "4711", "--utc"].iter().chain(asked);
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        let verdict = Verdict::default();
        let reading = of_recording("demo.ring", recording, &verdict, None);
        write(reading, &line.spans, out).map(|ledger| assert_eq!(ledger, recording.ledger))
    }

    fn written(recording: &Recording, asked: &[&str]) -> String {
        let mut out = Vec::new();
        write_to(recording, asked, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn object(recording: &Recording, asked: &[&str]) -> serde_json::Value {
        let all = [&["-o", "json"], asked].concat();
        serde_json::from_str(&written(recording, &all)).unwrap()
    }

    fn column(rows: &serde_json::Value, key: &str) -> serde_json::Value {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row[key].clone()).collect()
    }

    const REQUEST: u64 = 1;
    const QUERY: u64 = 2;

    /// What happened to a span in the only thread.
    fn entry(millis: u64, what: What, slot: u32, site: u64) -> Entry {
        Entry {
            what,
            wall_ns: at(millis),
            site,
            span: Some(SpanId::in_slot(slot, 1)),
            ..Entry::default()
        }
    }

    /// The fixture, whose two spans stay open, with others that are closed: requests of 1,
    /// 3 and 10 ms, and a query of 7 ms that somebody was in for 2 ms of them.
    fn history() -> Recording {
        let mut recording = fixture::recording();
        let closed = [
            (10, REQUEST, 0, 1),
            (11, REQUEST, 2, 5),
            (12, REQUEST, 4, 14),
            (13, QUERY, 6, 13),
        ];
        for (slot, site, opened, ended) in closed {
            let id = SpanId::in_slot(slot, 1);
            let field = Field {
                index: 0,
                value: Value::U64(slot.into()),
            };
            let span = Span {
                id: Some(id),
                site,
                opened_ns: at(opened),
                parent: (site == QUERY).then(|| SpanId::in_slot(12, 1)),
                fields: vec![(at(opened), field)],
                ..Span::default()
            };
            recording.spans.insert(id, Arc::new(span));
            recording.entries.extend([
                entry(opened, What::Open, slot, site),
                entry(opened, What::Enter, slot, site),
                entry(opened + 1, What::Exit, slot, site),
                entry(ended, What::Close, slot, site),
            ]);
        }
        let again = [What::Enter, What::Exit].map(|what| {
            let millis = if what == What::Enter { 9 } else { 10 };
            entry(millis, what, 13, QUERY)
        });
        recording.entries.extend(again);
        recording.entries.sort_by_key(|entry| entry.wall_ns);
        recording.end_ns = at(20);
        recording
    }

    #[test]
    fn it_is_told_what_is_open_then_names_then_what_lasted_longest() {
        let text = written(&history(), &["--width", "80", "--color=never"]);
        let expected = r#"payments (pid 4711): 2 spans are open at the end, 2023-11-14 22:13:20.020; 4
closed.

open at the end, by level, the longest first
  open for  opened        thread           span
   20.0 ms  22:13:20.000  worker-1 (4712)  request{id=7}
   20.0 ms  22:13:20.000  worker-1 (4712)  query{table="users" rows=3} in reque…

span     open  open for  closed    total     p50      p99  longest    busy
──────────────────────────────────────────────────────────────────────────
request     1   20.0 ms       3  14.0 ms  3.0 ms  10.0 ms  10.0 ms  3.0 ms
query       1   20.0 ms       1   7.0 ms  7.0 ms   7.0 ms   7.0 ms  2.0 ms

closed, the longest first
    lasted  opened        thread           span
   10.0 ms  22:13:20.004  worker-1 (4712)  request{id=12}
    7.0 ms  22:13:20.006  worker-1 (4712)  query{table=13} in request
    3.0 ms  22:13:20.002  worker-1 (4712)  request{id=11}
    1.0 ms  22:13:20.000  worker-1 (4712)  request{id=10}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn closed_and_open_ones_are_kept_apart() {
        let object = object(&history(), &[]);
        assert_eq!((&object["open"], &object["closed"]), (&2.into(), &4.into()));
        let [request, query] = [&object["spans"][0], &object["spans"][1]];
        assert_eq!(
            (&request["name"], &query["name"]),
            (&"request".into(), &"query".into())
        );
        let lasted = json!({
            "total_ns": 14_000_000, "p50_ns": 3_000_000, "p99_ns": 10_000_000,
            "longest_ns": 10_000_000,
        });
        assert_eq!(
            (&request["closed"], &request["lasted"]),
            (&3.into(), &lasted)
        );
        assert_eq!(request["open_for"]["longest_ns"], 20_000_000);
        assert_eq!(
            (&query["busy_ns"], &query["busy_is_exact"]),
            (&2_000_000.into(), &true.into())
        );
        assert_eq!(
            column(&object["open_spans"], "name"),
            json!(["request", "query"])
        );
        assert_eq!(
            object["open_spans"][1]["fields"],
            json!({"table": "users", "rows": 3})
        );
        assert_eq!(object["open_spans"][1]["parents"], json!(["request"]));
        let longest = column(&object["closed_spans"], "lasted_ns");
        assert_eq!(
            longest,
            json!([10_000_000, 7_000_000, 3_000_000, 1_000_000])
        );
        assert_eq!(object["closed_spans"][0]["fields"], json!({"id": 12}));
        assert_eq!(object["closed_spans"][0]["thread"]["id"], 4712);
    }

    #[test]
    fn names_are_in_the_order_that_was_asked_for_and_the_longest_as_many() {
        let names = |sort| column(&object(&history(), &["--sort", sort])["spans"], "name");
        for sort in ["total", "count", "p99", "longest"] {
            assert_eq!(names(sort), json!(["request", "query"]), "{sort}");
        }
        for sort in ["p50", "name"] {
            assert_eq!(names(sort), json!(["query", "request"]), "{sort}");
        }
        let object = object(&history(), &["--top", "1"]);
        for table in ["open_spans", "spans", "closed_spans"] {
            assert_eq!(object[table].as_array().unwrap().len(), 1, "{table}");
        }
        assert_eq!(object["closed"], 4);
    }

    #[test]
    fn one_of_which_the_opening_or_the_close_is_overwritten_is_counted_as_such() {
        let mut recording = history();
        recording.entries.retain(|entry| {
            let closed = entry.what == What::Close && entry.span == Some(SpanId::in_slot(12, 1));
            let opened = entry.what == What::Open && entry.span == Some(SpanId::in_slot(13, 1));
            !closed && !opened
        });
        recording.spans.remove(&SpanId::in_slot(10, 1));
        let object = object(&recording, &["--sort", "name"]);
        assert_eq!(
            column(&object["spans"], "name"),
            json!([null, "query", "request"])
        );
        assert_eq!(
            column(&object["spans"], "opening_unknown"),
            json!([1, 0, 0])
        );
        assert_eq!(
            column(&object["spans"], "closing_unknown"),
            json!([0, 0, 1])
        );
        // That it was opened is known, and when; what became of it then is not.
        assert_eq!(
            column(&object["spans"], "busy_is_exact"),
            json!([true, false, false])
        );
        assert_eq!(object["spans"][1]["lasted"]["longest_ns"], 7_000_000);
    }

    #[test]
    fn of_open_ones_the_most_severe_are_first_however_young() {
        let mut recording = history();
        let query = recording.spans.get_mut(&fixture::query()).unwrap();
        Arc::make_mut(query).opened_ns = at(0) - 1_000_000;
        let open = object(&recording, &[])["open_spans"].clone();
        assert_eq!(column(&open, "name"), json!(["request", "query"]));
        assert_eq!(column(&open, "lasted_ns"), json!([20_000_000, 21_000_000]));
    }

    /// The fixture with so many requests more that are open.
    fn many_open(many: u32) -> Recording {
        let mut recording = history();
        for slot in 100..100 + many {
            let id = SpanId::in_slot(slot, 1);
            let span = Span {
                id: Some(id),
                site: REQUEST,
                opened_ns: at(u64::from(slot - 90)),
                parent: Some(fixture::query()),
                open: true,
                ..Span::default()
            };
            recording.spans.insert(id, Arc::new(span));
        }
        recording.end_ns = at(1_000);
        recording
    }

    #[test]
    fn of_many_that_are_open_a_screen_says_how_many_more_and_a_program_gets_all() {
        let recording = many_open(30);
        let text = written(&recording, &["--width", "80", "--color=never"]);
        assert!(
            text.contains("\n… and 22 more: --top 32 shows them\n"),
            "{text}"
        );
        let all = written(&recording, &["--width", "80", "--top", "32"]);
        assert!(!all.contains('…') || !all.contains(" more"), "{all}");
        let object = object(&recording, &[]);
        let open = object["open_spans"].as_array().unwrap();
        assert_eq!((open.len(), &object["open"]), (32, &32.into()));
        assert_eq!(open[1]["parents"], json!(["request", "query"]));
        let few = self::object(&recording, &["--top", "3"]);
        assert_eq!(few["open_spans"].as_array().unwrap().len(), 3);
        let closed = written(&recording, &["--top", "1"]);
        assert!(closed.ends_with("… and 3 more\n"), "{closed}");
    }

    #[test]
    fn one_that_is_open_is_told_of_even_if_nobody_knows_since_when() {
        let mut recording = many_open(1);
        let id = SpanId::in_slot(100, 1);
        Arc::make_mut(recording.spans.get_mut(&id).unwrap()).opened_ns = 0;
        let open = object(&recording, &[])["open_spans"].clone();
        assert_eq!(open[1]["lasted_ns"], json!(null));
        assert_eq!(open[1]["opened"], json!(null));
        let text = written(&recording, &["--color=never"]);
        assert!(text.contains("\n         ?        0 ns  ?  "), "{text}");
    }

    #[test]
    fn with_filters_it_is_told_of_what_the_numbers_are() {
        let some = written(&history(), &["--span", "query"]);
        let words = "payments (pid 4711): of what was asked for 1 span is open at the end, ";
        assert!(some.starts_with(words), "{some}");
        let none = written(&history(), &["--span", "nothing"]);
        let words = "payments (pid 4711): none of 6 spans is what was asked for.\n";
        assert_eq!(none, words);
    }

    #[test]
    fn what_names_are_in_order_by_is_not_left_out() {
        for (sort, head) in [("p50", "p50"), ("total", "total"), ("count", "closed")] {
            let asked = ["--sort", sort, "--width", "40", "--color=never"];
            let text = written(&history(), &asked);
            let mut heads = text.lines().filter(|line| line.starts_with("span "));
            let heads = heads.next().unwrap_or_default();
            assert!(heads.contains(head), "{sort}: {text}");
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
        for own in ["sort", "top", "output", "width"] {
            assert_eq!(heading(own), None, "{own}");
        }
        assert_eq!(heading("level"), Some("Filters"));
    }

    #[test]
    fn only_those_count_that_were_asked_for() {
        let of = |asked: &[&str]| {
            let object = object(&history(), asked);
            (object["open"].clone(), object["closed"].clone())
        };
        assert_eq!(of(&["--span", "query"]), (json!(1), json!(1)));
        assert_eq!(of(&["--field", "request.id=11"]), (json!(0), json!(1)));
        assert_eq!(of(&["--until", "22:13:20.005"]), (json!(0), json!(2)));
        assert_eq!(of(&["--thread", "worker-1"]), (json!(2), json!(4)));
        assert_eq!(of(&["-p", "info"]), (json!(1), json!(3)));
        let error = write_to(&history(), &["-g", "x"], &mut Vec::new()).unwrap_err();
        assert_eq!(error.exit_status(), 2);
        assert!(error.to_string().contains("--field"), "{error}");
    }

    fn fits(recording: &Recording) {
        for width in ["60", "80", "200"] {
            let text = written(recording, &["--color", "never", "--width", width]);
            let columns: usize = width.parse().unwrap();
            for line in text.lines() {
                assert!(line.width() <= columns, "{line:?} in {width}");
                assert!(!line.chars().any(is_hazard), "{line:?}");
            }
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut recording = history();
        for site in recording.sites.values_mut() {
            let site = Arc::make_mut(site);
            site.name += &"名".repeat(60);
        }
        recording.threads[0].name = "名".repeat(60);
        fits(&recording);
    }

    proptest! {
        #[test]
        fn of_no_recording_anything_reaches_the_terminal_as_it_is(
            recording in any_recording(),
            open in 0..32u32,
        ) {
            let mut recording = recording;
            for (i, span) in recording.spans.values_mut().enumerate() {
                Arc::make_mut(span).open = open >> i & 1 == 1;
            }
            fits(&recording);
            let json = written(&recording, &["-o", "json"]);
            prop_assert!(!json.trim_end().chars().any(is_hazard), "{}", json);
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
    }
}
