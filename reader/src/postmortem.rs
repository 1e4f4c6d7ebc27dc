//! `postmortem`: the story of a recording on one screen.
//!
//! ```text
//! $ ttlog-reader postmortem /var/lib/payments/ttlog
//! payments (pid 4711) panicked at src/main.rs:7:5: index out of bounds: the len is
//! 3 but the index is 7
//!   in thread worker-1 (4712)
//!   the process ended by return from main or exit with status 101, at …
//!   started 2023-11-14 22:13:08.123, recorded for 12.3 s, last heard of 22:13:20.423,
//!   2 min ago; ages below count back from then
//!   what was open at the panic of 22:13:20.423 is in the snapshot /var/lib/payments/…
//!
//! threads: 3 at the end, 1 had ended before
//! worker-1 (4712) panicked, silent for 41.2 µs
//!        1.2 s  request{id=7}
//!       3.1 ms    query{table="users"}
//!   22:13:20.421 [DEBUG] connection taken from the pool waited=0
//!   22:13:20.423 [ERROR] no such row user_id=42
//! …
//!
//! open spans that no thread is in: 3,000
//!     open for   last entered
//! 1,500 × request{id=…} at src/http.rs:12
//!   in them 1,500 × query{table=… rows=…}
//!   opened 2.1 s to 3.4 s ago, last entered 1.9 s ago
//!        3.4 s      3.3 s ago  request{id=9}
//!        3.4 s      3.3 s ago    query{table="orders"}
//! …
//!            …  and 1,497 more like these
//!
//! incidents: 1
//! 22:13:20.423 panic in thread worker-1 (4712) at src/main.rs:7:5: index out of
//! bounds: the len is 3 but the index is 7
//!   in request{id=7}:query{table="users"}
//!     0: payments::find at src/main.rs:7
//! …
//!
//! events: 25,344 of 30,963 readable, 5,619 overwritten, 0 dropped; the last 1.9 s
//! are covered
//! ```
//!
//! What comes first is what became of the process, and how that is known. Ages and
//! silences count back from the recording's end, and from now while the process
//! lives.
//!
//! A panic that unwinds closes the spans that it comes through. Where the process made a
//! snapshot when it panicked, and that lies beside its recording, it is named: it has what
//! was open then. Of several panics in the window it is the first's, as others follow from
//! that.
//!
//! Of the threads, the one that brought the end is first, then those that were in a
//! span or spoke in the window, the last to speak first. Below a thread are the
//! spans that it is in, outermost first, each with how long it is open, and its last
//! three events (`-n`). Where these are all DEBUG or TRACE, the newest event that is
//! neither goes before them. An event tells the two innermost spans that it was in,
//! unless the thread is in them still and they are just above.
//!
//! Spans that are open, and that no thread is in, are what an async daemon was
//! working at, or what it has forgotten. They are shown as they lie in each other,
//! counted by the call site of the outermost, and the oldest three of each. What
//! matters in a tree is its oldest span of the most severe level, so that a request
//! counts from when it was opened, and not the runtime's task that it is in. Names
//! before a tree are those of spans around it that are not idle.
//!
//! Panics, fatal signals and requests for snapshots are told in their order, with
//! the backtrace: in words where the process came to find them, else the addresses
//! in the files that they lie in, with the build ids to look them up by.
//!
//! On a terminal, lines are cut to its width, `…` at their end; what must be read
//! whole is wrapped. Elsewhere lines are whole, unless `--width` says so. `--all`
//! shows every thread, ended ones too, every span, every frame, and messages to their end.
//!
//! `-o json` writes one object for each recording, with everything in it but the
//! events (`-n` a thread, 10 by default): `name`, `pid`, `path`, `started`, `ends`,
//! `verdict`, `panic_snapshot` (null, or the path of the snapshot that was made then), and
//!
//! - `threads`: each with `id`, `name`, `ended`, `silent_ns`, its open `spans`,
//!   outermost first (`id`, `name`, `target`, `filename`, `line_number`, `fields`,
//!   `opened_ns_ago`, `entered_ns_ago`), and `last`, its newest events, oldest first,
//!   as `view -o json` has them;
//! - `idle_spans`: each such a span, with `parents`, the names of the spans around
//!   it, outermost first. These are the 64 nearest; `parents_missing` is there where
//!   there are more. `entered_ns_ago` is null where it was never entered;
//! - `incidents`: each with `kind` (`panic`, `signal`, `terminate`, `snapshot`),
//!   `message`, `location`, `thread` (`id`, `name`), `timestamp`, `spans` and
//!   `backtrace`; `incidents_not_kept` counts those of which nothing more is known.

use std::ffi::OsString;
use std::io::{self, Write};

use crate::advice;
use crate::input::Opened;
use crate::json;
use crate::measure::now_ns;
use crate::output::{Look, Output, terminal_width};
use crate::page::Page;

use story::Story;

pub(crate) use screen::verdict_words;

mod idle;
mod incidents;
mod object;
mod screen;
mod story;
mod unwound;

/// Last words of a thread: on a screen, and for programs.
const LINES: usize = 3;
const LINES_OF_JSON: usize = 10;

/// Tell what became of processes, and what they were doing
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader postmortem 4711          what process 4711 was doing when it died
  ttlog-reader postmortem --all DIR     every thread and every open span
  ttlog-reader postmortem -o json FILE | jq '.idle_spans | length'")]
pub(crate) struct Arguments {
    /// Files, directories (their newest recording), pids, or - for stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) inputs: Vec<OsString>,

    /// Show the last N events of each thread [default: 3, and 10 in JSON]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,

    /// Show all threads, spans and frames
    #[arg(short, long)]
    all: bool,

    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    look: Look,

    /// Cut lines to so many columns [default: the terminal's, else they are whole]
    #[arg(long, value_name = "COLUMNS")]
    width: Option<u16>,
}

/// Writes what was asked for of one recording, of which the last events are there.
pub(crate) fn write(opened: &Opened, asked: &Arguments, mut out: impl Write) -> io::Result<()> {
    match asked.output {
        Output::Json => {
            let most = asked.last_words();
            json::write_line(out, &Story::new(opened, most, now_ns()))
        }
        Output::Text => {
            let story = Story::new(opened, asked.last_words(), now_ns());
            let mut page = Page::new(asked.look.style(), asked.width());
            screen::tell(&story, asked.all, &mut page);
            out.write_all(page.into_text().as_bytes())?;
            match asked.inputs.len() {
                0 | 1 => Ok(()),
                _ => writeln!(out),
            }
        }
    }
}

/// What to run next.
pub(crate) fn next(opened: &Opened, asked: &Arguments) -> Option<String> {
    let is_alone = asked.inputs.len() == 1 && asked.output == Output::Text;
    let typed = is_alone.then(|| advice::typed(&opened.path))??;
    let at_panic = unwound::snapshot(opened).and_then(|it| advice::typed(&it.path));
    Some(match at_panic {
        Some(snapshot) => format!("ttlog-reader postmortem {snapshot}"),
        None => format!("ttlog-reader view -n 50 {typed}"),
    })
}

impl Arguments {
    /// How many events of each thread are told.
    pub(crate) fn last_words(&self) -> usize {
        self.lines.unwrap_or(match self.output {
            Output::Json => LINES_OF_JSON,
            Output::Text => LINES,
        })
    }

    /// Whoever writes to a file or a pipe wants whole lines, to search them.
    fn width(&self) -> Option<usize> {
        self.width.map(usize::from).or_else(terminal_width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, at};
    use crate::text::Style;
    use jiff::tz::TimeZone;
    use std::sync::Arc;
    use ttlog_format::salvage::{Recording, Thread};
    use ttlog_format::verdict::{Kind, Verdict, Who};

    fn opened(recording: Recording, kind: Kind) -> Opened {
        Opened {
            path: "demo.ring".into(),
            recording,
            verdict: Verdict {
                kind,
                evidence: vec!["process 4711 is gone".into()],
                ..Verdict::default()
            },
            made: None,
        }
    }

    fn panicked() -> Opened {
        let mut opened = opened(fixture::panicked(), Kind::Panicked);
        opened.verdict.thread = Some(Who {
            id: 4712,
            name: "worker-1".into(),
        });
        opened.verdict.message = Some("index out of bounds".into());
        opened.verdict.location = Some("src/main.rs:7:5".into());
        opened
    }

    fn told(opened: &Opened, all: bool) -> String {
        let style = Style {
            zone: TimeZone::UTC,
            colour: false,
        };
        let mut page = Page::new(style, Some(80));
        screen::tell(&Story::new(opened, LINES, at(20_000)), all, &mut page);
        page.into_text()
    }

    fn json(opened: &Opened) -> serde_json::Value {
        let mut out = Vec::new();
        let story = Story::new(opened, LINES_OF_JSON, at(20_000));
        json::write_line(&mut out, &story).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_panic_is_told_from_the_verdict_to_the_account() {
        let mut opened = panicked();
        opened.recording.header.samples[0].wall_ns = at(0);
        let expected = r#"payments (pid 4711) panicked at src/main.rs:7:5: index out of bounds
  in thread worker-1 (4712)
  process 4711 is gone
  started 2023-11-14 22:13:20.000, recorded for 6.0 ms, last heard of
  22:13:20.006, 19 s ago; ages below count back from then

threads: 1 at the end
worker-1 (4712) panicked, silent for 1.0 ms
      6.0 ms  request{id=7}
      6.0 ms    query{table="users" rows=3}
  22:13:20.003 [ERROR] evil\n\x1b[2J name="a\"b\u{202e}" cut="caf"… raw=[00 ff]
  22:13:20.004 [WARN] connection reset
  22:13:20.005 [?] (call site 0xdead) field0=-1 field1=1.0

incidents: 1, 2 more were not kept
22:13:20.006 panic in thread worker-1 (4712) at src/main.rs:7:5: index out of
bounds: the len is 3 but the index is 7
  in request{id=7}:query{table="users" rows=3}
    0: payments::find at src/main.rs:7
    1: payments::main

events: 4 of 6 readable, 1 overwritten, 1 dropped; the last 6.0 ms are covered
"#;
        assert_eq!(told(&opened, false), expected);
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        postmortem: Arguments,
    }

    #[test]
    fn after_a_panic_that_unwound_the_snapshot_that_was_made_of_it_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let line = <Line as clap::Parser>::parse_from(["postmortem", "4711"]);
        let mut opened = panicked();
        opened.path = directory.path().join("ttlog-4711-1.ring");
        assert!(!told(&opened, false).contains("snapshot"));
        assert_eq!(json(&opened)["panic_snapshot"], serde_json::Value::Null);
        let view = next(&opened, &line.postmortem).unwrap();
        assert!(view.starts_with("ttlog-reader view -n 50 "), "{view}");

        let number = at(6) / 1_000_000;
        let path = directory.path().join(format!("ttlog-4711-{number}.bin"));
        let made = ttlog_format::snapshot::Made {
            by: ttlog_format::snapshot::Maker::Process,
            why: "panic: index out of bounds".into(),
            ..Default::default()
        };
        let mut bytes = Vec::new();
        ttlog_format::snapshot::write(&opened.recording, &made, &mut bytes).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        let words = "\n  what was open at the panic of 22:13:20.006 is in the snapshot ";
        let text = told(&opened, false);
        assert!(text.contains(&format!("{words}{path}\n")), "{text}");
        assert_eq!(json(&opened)["panic_snapshot"], path);
        let postmortem = next(&opened, &line.postmortem).unwrap();
        assert_eq!(postmortem, format!("ttlog-reader postmortem {path}"));
    }

    #[test]
    fn three_thousand_idle_spans_fit_a_screen_and_the_json_has_each() {
        let opened = opened(fixture::idle_pairs(1_500), Kind::Killed);
        let text = told(&opened, false);
        assert!(text.lines().count() < 40, "{text}");
        for words in [
            "open spans that no thread is in: 3,000",
            "1,500 × request{id=…} at src/auth.rs:7",
            "in them 1,500 × query{table=… rows=…}",
            "opened 2.5 s to 4.0 s ago, last entered 2.5 s ago",
            "       4.0 s      3.9 s ago  request{id=0}",
            "and 1,497 more like these",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        let spans = json(&opened)["idle_spans"].as_array().unwrap().clone();
        assert_eq!(spans.len(), 3_000);
        assert_eq!(spans[1]["name"], "query");
        assert_eq!(spans[1]["fields"]["table"], "users");
        assert_eq!(spans[1]["parents"], serde_json::json!(["request"]));
        assert_eq!(spans[1]["opened_ns_ago"], 4_000_000_000u64);
        assert_eq!(spans[1]["entered_ns_ago"], 3_999_900_000u64);
        assert!(told(&opened, true).lines().count() > 3_000);
    }

    #[test]
    fn spans_as_deep_as_there_are_slots_take_no_more_than_their_number() {
        let opened = opened(fixture::idle_chain(4_096), Kind::Killed);
        let text = told(&opened, true);
        assert!(text.len() < 1 << 20, "{}", text.len());
        let spans = json(&opened)["idle_spans"].as_array().unwrap().clone();
        let deepest = spans.last().unwrap();
        assert_eq!(deepest["parents"].as_array().unwrap().len(), 64);
        assert_eq!(deepest["parents_missing"], true);
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract() {
        let story = json(&panicked());
        assert_eq!(story["verdict"]["kind"], "panicked");
        let thread = &story["threads"][0];
        assert_eq!(
            (&thread["id"], &thread["name"]),
            (&4712.into(), &"worker-1".into())
        );
        assert_eq!(thread["spans"][1]["name"], "query");
        assert_eq!(thread["spans"][1]["fields"]["rows"], 3);
        assert_eq!(thread["spans"][1]["opened_ns_ago"], 6_000_000);
        assert_eq!(thread["last"][0]["fields"]["message"], "user logged in");
        assert_eq!(thread["last"][0]["spans"][0]["name"], "request");
        assert_eq!(thread["last"].as_array().unwrap().len(), 4);
        assert_eq!(story["idle_spans"], serde_json::json!([]));
        let incident = &story["incidents"][0];
        assert_eq!(incident["kind"], "panic");
        assert_eq!(incident["location"], "src/main.rs:7:5");
        assert_eq!(
            incident["thread"],
            serde_json::json!({"id": 4712, "name": "worker-1"})
        );
        assert_eq!(incident["timestamp"], "2023-11-14T22:13:20.006000000Z");
        assert_eq!(incident["backtrace"][1], "payments::main");
        assert_eq!(story["incidents_not_kept"], 2);
    }

    #[test]
    fn a_message_without_end_is_told_whole_where_all_is_asked_for() {
        let mut opened = panicked();
        let message = "very long ".repeat(10_000);
        opened.verdict.message = Some(message.clone());
        for incident in &mut opened.recording.incidents {
            incident.message = message.clone();
        }
        assert!(told(&opened, false).lines().count() < 60);
        assert!(told(&opened, true).matches("very").count() >= 10_000);
        assert_eq!(json(&opened)["incidents"][0]["message"], message);
    }

    #[test]
    fn a_fatal_signal_is_told_as_an_incident() {
        let mut opened = opened(fixture::signalled(), Kind::Signal);
        (opened.verdict.signal, opened.verdict.address) = (Some(11), Some(0));
        assert_eq!(json(&opened)["incidents"][0]["kind"], "signal");
        assert_eq!(
            json(&opened)["incidents"][0]["location"],
            serde_json::Value::Null
        );
        let text = told(&opened, false);
        assert!(
            text.starts_with("payments (pid 4711) died of SIGSEGV at 0x0\n"),
            "{text}"
        );
        assert!(
            text.contains("22:13:20.006 signal in thread worker-1 (4712)"),
            "{text}"
        );
    }

    #[test]
    fn ages_of_who_lives_count_from_now_and_of_a_snapshot_from_its_end() {
        let mut opened = opened(fixture::idle_pairs(1), Kind::Alive);
        let age = |opened: &Opened| json(opened)["idle_spans"][0]["opened_ns_ago"].clone();
        assert_eq!(age(&opened), 20_000_000_000u64);
        opened.made = Some(ttlog_format::snapshot::Made::default());
        assert_eq!(age(&opened), 4_000_000_000u64);
    }

    #[test]
    fn of_many_threads_the_one_that_brought_the_end_is_first_and_the_rest_is_counted() {
        let mut opened = panicked();
        let threads = &mut opened.recording.threads;
        threads.extend((5_000..7_000).map(|id| Thread {
            id,
            covered_ns: Some((at(0), at(u64::from(id)))),
            ended: id >= 6_992,
            ..Thread::default()
        }));
        let text = told(&opened, false);
        let first = text
            .lines()
            .position(|line| line.starts_with("worker-1 (4712) panicked"));
        let next = text.lines().position(|line| line.starts_with("6991"));
        assert!(first.is_some() && first < next, "{text}");
        assert!(
            text.contains("threads: 1,993 at the end, 8 had ended before"),
            "{text}"
        );
        assert!(
            text.contains("and 1,985 more threads: --all shows them"),
            "{text}"
        );
        assert!(told(&opened, true).contains("\n6999, "));
        assert_eq!(json(&opened)["threads"][2_000]["ended"], true);
    }

    #[test]
    fn what_a_recording_says_reaches_no_terminal_as_it_is() {
        let mut opened = panicked();
        let evil = "evil\x1b[2J\u{202e}\n";
        opened.recording.header.name = evil.into();
        opened.recording.threads[0].name = evil.into();
        opened.recording.threads[0].stack.clear();
        opened.verdict.message = Some(evil.into());
        let incident = &mut opened.recording.incidents[0];
        incident.message = evil.into();
        incident.thread_name = evil.into();
        incident.symbols = vec![evil.into()];
        for all in [false, true] {
            let text = told(&opened, all);
            assert!(
                !text.replace('\n', "").chars().any(crate::escape::is_hazard),
                "{text}"
            );
        }
    }

    #[test]
    fn a_span_that_is_closed_is_not_one_that_a_thread_is_in() {
        let mut opened = panicked();
        let query = opened.recording.spans.get_mut(&fixture::query());
        Arc::make_mut(query.unwrap()).open = false;
        assert_eq!(
            json(&opened)["threads"][0]["spans"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        opened.recording.ledger.damaged_spans = 1;
        assert_eq!(
            json(&opened)["threads"][0]["spans"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn a_recording_of_nothing_is_told() {
        let mut recording = fixture::recording();
        (recording.threads, recording.entries) = (Vec::new(), Vec::new());
        (recording.spans, recording.sites) = Default::default();
        let text = told(&opened(recording, Kind::Unknown), false);
        assert!(text.contains("threads: 0 at the end"), "{text}");
    }
}
