//! What is said of a recording, and how it fits.

use super::*;
use crate::fixture;
use ttlog_format::verdict::{Kind, Who};

fn opened() -> Opened {
    let evidence = vec!["process 4711 is gone".to_owned()];
    let mut recording = fixture::recording();
    recording.threads[0].name = "evil\x1b[2J".into();
    Opened {
        path: "demo.ring".into(),
        recording,
        verdict: Verdict {
            kind: Kind::Killed,
            evidence,
            ..Verdict::default()
        },
        made: None,
    }
}

fn snapshot() -> Opened {
    let made = Made {
        by: Maker::Process,
        why: "panic\x1b[2J".into(),
        window_ns: Some(5_000_000_000),
        ..Made::default()
    };
    let verdict = Verdict {
        kind: Kind::Panicked,
        signal: Some(6),
        address: Some(16),
        thread: Some(Who {
            id: 4712,
            name: "worker-1".into(),
        }),
        message: Some("no\nroom".into()),
        location: Some("src/main.rs:7:5".into()),
        evidence: vec!["one".into(), "two".into()],
    };
    Opened {
        made: Some(made),
        verdict,
        ..opened()
    }
}

fn written(output: Output) -> String {
    written_of(&opened(), output)
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    info: Arguments,
}

fn written_of(opened: &Opened, output: Output) -> String {
    let line = ["info", "4711", "--utc"];
    let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
    let asked = Arguments {
        output,
        ..line.info
    };
    let mut out = Vec::new();
    write(opened, &asked, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn told(opened: &Opened, width: usize) -> String {
    let style = crate::text::Style {
        zone: jiff::tz::TimeZone::UTC,
        colour: false,
    };
    let mut page = Page::new(style, Some(width));
    tell(opened, crate::fixture::at(20_000), &mut page);
    page.into_text()
}

#[test]
fn lines_fit_the_terminal_and_a_path_is_whole() {
    let mut opened = snapshot();
    opened.recording.threads[0].name = "a-thread-of-15c".into();
    opened.recording.threads[0].counts.written = 9_999_999;
    opened.recording.threads[0].counts.readable = 9_999_999;
    for width in [60, 78, 80, 200] {
        let text = told(&opened, width);
        let widest = text.lines().map(UnicodeWidthStr::width).max();
        assert!(widest <= Some(width), "{width}:\n{text}");
        assert!(text.contains("a-thread-of-15c") && text.contains("9,999,999"));
    }
    assert!(SPARE.iter().all(|name| told(&opened, 200).contains(name)));
    assert!(told(&opened, 64).contains("written  overwritten  dropped\n"));
    opened.path = format!("/{}", "long/".repeat(20)).into();
    assert!(told(&opened, 60).contains(&"long/".repeat(20)));
}

#[test]
fn what_was_lost_is_told_longest() {
    let mut opened = opened();
    opened.recording.threads[0].name = "worker-1".into();
    let heads = |opened: &Opened, width| {
        let table = threads(opened, Some(width));
        let heads = table.lines().next().unwrap_or_default().to_owned();
        heads
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let narrow = heads(&opened, 36);
    assert_eq!(narrow, ["id", "thread", "overwritten", "dropped"]);
    opened.recording.ledger.counts.torn = 1;
    let narrow = heads(&opened, 42);
    assert_eq!(narrow, ["id", "thread", "overwritten", "dropped", "torn"]);
    let none = Counts::default();
    opened.recording.ledger.counts = none;
    opened.recording.threads[0].counts = none;
    let narrow = heads(&opened, 30);
    assert_eq!(narrow, ["id", "thread", "written"]);
}

#[test]
fn incidents_are_named_by_what_is_counted() {
    let mut opened = opened();
    opened.recording.ledger.incidents = 2;
    let text = told(&opened, 80);
    assert!(text.contains("panics and snapshot requests: 2"), "{text}");
}

#[test]
fn moments_are_told_with_how_long_ago_they_were() {
    let text = told(&opened(), 80);
    assert!(
        text.contains("last heard of  2023-11-14 22:13:20.005, 19 s ago\n"),
        "{text}"
    );
}

#[test]
fn the_json_has_the_keys_of_the_contract() {
    let info: serde_json::Value = serde_json::from_str(&written(Output::Json)).unwrap();
    assert_eq!(info["pid"], 4711);
    assert_eq!(info["verdict"]["kind"], "killed");
    assert_eq!(info["verdict"]["evidence"][0], "process 4711 is gone");
    assert_eq!(info["threads"][0]["overwritten"], 1);
    assert_eq!(info["ledger"]["written"], 6);
    assert_eq!(info["ledger"]["exact"], true);
    assert_eq!(info["window_ns"], 5_000_000_000u64);
}

#[test]
fn tables_show_names_escaped() {
    let text = written(Output::Text);
    assert!(text.contains(r"evil\x1b[2J"), "{text}");
    assert!(!text.contains('\x1b'));
    assert!(text.contains("killed") && text.contains("/usr/bin/payments"));
}

#[test]
fn of_a_snapshot_it_is_told_how_it_came_to_be() {
    let text = written_of(&snapshot(), Output::Text);
    assert!(
        text.contains("made by the process itself at 1970-01-01 00:00:00.000"),
        "{text}"
    );
    assert!(text.contains(r"panic\x1b[2J"), "{text}");
    assert!(text.contains("the last 5.0 s"), "{text}");
    let json = written_of(&snapshot(), Output::Json);
    let info: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(info["snapshot"]["by"], "process");
    assert_eq!(info["snapshot"]["window_ns"], 5_000_000_000u64);
    assert_eq!(info["ledger"]["missing_items"], 0);
}

#[test]
fn of_a_snapshot_that_is_not_all_it_is_told_what_was_asked_for() {
    let mut opened = snapshot();
    assert!(!written_of(&opened, Output::Text).contains("of that"));
    let made = opened.made.as_mut().unwrap();
    made.filter = Some("--grep \u{1b}[2J".into());
    let text = written_of(&opened, Output::Text);
    let mut lines = text.lines().filter(|line| line.starts_with("of that"));
    let line = lines.next().unwrap();
    assert!(line.ends_with(r"--grep \x1b[2J"), "{line}");
}

#[test]
fn a_verdict_is_shown_with_all_that_is_known_of_it() {
    let text = written_of(&snapshot(), Output::Text);
    for words in [
        "SIGABRT (6) at address 0x10",
        r#"thread "worker-1" (4712)"#,
        r"no\nroom",
        "src/main.rs:7:5",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let json = written_of(&snapshot(), Output::Json);
    let info: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(info["verdict"]["signal"], 6);
    assert_eq!(info["verdict"]["address"], 16);
    assert_eq!(info["verdict"]["thread"]["id"], 4712);
    assert_eq!(info["verdict"]["message"], "no\nroom");
}

#[test]
fn of_more_threads_than_anybody_reads_the_newest_are_shown() {
    let mut opened = opened();
    let thread = opened.recording.threads[0].clone();
    let number = |number: u32| ttlog_format::salvage::Thread {
        id: 100_000 + number,
        ..thread.clone()
    };
    opened.recording.threads = (0..THREADS_SHOWN as u32 + 1234).map(number).collect();
    let table = threads(&opened, None);
    assert!(table.contains("1,234 before these"), "{}", &table[..400]);
    assert!(!table.contains("101233") && table.contains("101234"));
    assert!(table.contains("105329"));
}
