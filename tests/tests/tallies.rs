//! What is counted of a recording is what its program did.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal::SIGKILL;
use serde_json::{Value, json};
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::{Adapter, Plan, Victim, What, reader};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tallies");

/// A program that was killed when it had flooded its ring by so many events.
fn killed(adapter: Adapter, events: u64) -> Victim {
    let plan = Plan::new(What::Wait).adapter(adapter).events(events);
    let mut program = Victim::start(PROGRAM, &plan);
    program.until("done");
    program.dies_by(SIGKILL);
    program
}

fn told(program: &Victim, args: &[&str]) -> Value {
    let mut told = reader::json(PROGRAM, args, &program.path());
    assert_eq!(told.len(), 1);
    told.remove(0)
}

/// The row of a table that has this under a key.
fn row<'o>(object: &'o Value, table: &str, key: &str, value: &str) -> &'o Value {
    let rows = object[table].as_array().expect("a table");
    let row = rows.iter().find(|row| row[key] == value);
    row.unwrap_or_else(|| panic!("{value} in {object}"))
}

/// A header, the time and the call site, a message of seven bytes, a number.
const FLUSHED_BYTES: u64 = 8 * (3 + 2 + 1);

/// An opening: five words, a number, what came later; and an exit with what came later.
const STEP_BYTES: u64 = 8 * (5 + 1 + 1) + 8 * 4;

#[test]
fn every_event_and_span_is_counted_where_it_was_with_the_bytes_that_it_took() {
    for adapter in ADAPTERS {
        let program = killed(adapter, 1_000);
        let stats = told(&program, &["stats"]);
        assert_eq!(stats["events"], 1_004, "{adapter:?}");
        assert_eq!(stats["bytes_are_exact"], true);
        assert_eq!(stats["reaches_to"], "beginning");
        assert_eq!(stats["advice"], Value::Null);
        let flood = row(&stats, "call_sites", "message", "flushed");
        assert_eq!(
            (&flood["events"], &flood["level"]),
            (&json!(750), &json!("DEBUG"))
        );
        assert_eq!(flood["bytes"], 750 * FLUSHED_BYTES);
        assert_eq!(
            row(&stats, "targets", "target", "noise::inner")["events"],
            750
        );
        assert_eq!(row(&stats, "levels", "level", "INFO")["events"], 254);
        let step = row(&stats, "spans", "span", "step");
        assert_eq!(
            (&step["events"], &step["span_records"]),
            (&json!(3), &json!(12))
        );
        // Opened and entered at once, left and closed at once: that is two records.
        assert_eq!(step["span_bytes"], 3 * STEP_BYTES);
        let sums = |key: &str| {
            let rows = stats["call_sites"].as_array().expect("a table").iter();
            rows.map(|row| row[key].as_u64().expect("a number"))
                .sum::<u64>()
        };
        assert_eq!(stats["bytes"], sums("bytes"));
        assert_eq!(stats["span_records"], sums("span_records"));
    }
}

#[test]
fn a_flooded_ring_names_its_flood_and_the_filter_against_it() {
    let program = killed(Adapter::Own, 100_000);
    let stats = told(&program, &["stats"]);
    assert_eq!(stats["reaches_to"], "overwritten");
    assert_eq!(stats["call_sites"][0]["message"], "flushed");
    let advice = &stats["advice"];
    assert_eq!(advice["filter"], "debug,noise::inner=info");
    assert_eq!(advice["events"], stats["call_sites"][0]["events"]);
    assert!(
        advice["complete_ns"].as_u64() > stats["complete_ns"].as_u64(),
        "{advice}"
    );
    let counts = &stats["ledger"];
    let sum = ["readable", "overwritten"].map(|key| counts[key].as_u64().expect("a number"));
    assert_eq!(sum.iter().sum::<u64>(), 100_004);
    assert_eq!(counts["readable"], stats["events"]);
}

#[test]
fn the_filter_that_is_told_is_one_that_a_recorder_takes() {
    let program = killed(Adapter::Own, 100_000);
    let output = Command::new(reader::program(Path::new(PROGRAM)))
        .args(["stats", "--width", "80"])
        .arg(program.path())
        .output()
        .expect("ttlog-reader runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut lines = text.lines().map(str::trim);
    let filter = lines.find_map(|line| line.strip_prefix("TTLOG_FILTER="));
    let filter = filter.unwrap_or_else(|| panic!("no filter in {text}"));
    let filter: tracing_subscriber::filter::Targets = filter.parse().expect("a filter");
    let is_on = |target: &str, level| filter.would_enable(target, &level);
    assert!(!is_on("noise::inner", tracing::Level::DEBUG));
    assert!(is_on("noise::inner", tracing::Level::INFO));
    assert!(is_on("tallies", tracing::Level::DEBUG));
}

#[test]
fn spans_are_in_the_order_of_how_long_they_lasted_and_the_one_in_flight_is_first() {
    for adapter in ADAPTERS {
        let program = killed(adapter, 10);
        let spans = told(&program, &["spans"]);
        assert_eq!((&spans["open"], &spans["closed"]), (&json!(1), &json!(3)));
        let [held] = spans["open_spans"].as_array().expect("spans").as_slice() else {
            panic!("{spans}");
        };
        assert_eq!(
            (&held["name"], &held["fields"]),
            (&json!("held"), &json!({"id": 7}))
        );
        assert_eq!(held["open"], true);
        let closed = spans["closed_spans"].as_array().expect("spans").iter();
        let numbers: Vec<&Value> = closed.map(|span| &span["fields"]["number"]).collect();
        assert_eq!(numbers, [&json!(2), &json!(1), &json!(0)], "{adapter:?}");
        let step = row(&spans, "spans", "name", "step");
        let lasted = &step["lasted"];
        assert_eq!(lasted["longest_ns"], spans["closed_spans"][0]["lasted_ns"]);
        assert_eq!(lasted["p50_ns"], spans["closed_spans"][1]["lasted_ns"]);
        assert_eq!(step["busy_is_exact"], true);
        assert!(step["busy_ns"].as_u64() <= lasted["total_ns"].as_u64());
        let of_held = told(&program, &["spans", "--span", "held"]);
        assert_eq!(
            (&of_held["open"], &of_held["closed"]),
            (&json!(1), &json!(0))
        );
    }
}

#[test]
fn both_say_by_their_exit_status_what_became_of_them() {
    let program = killed(Adapter::Own, 100_000);
    let whole = std::fs::read(program.path()).expect("a recording");
    let home = ttlog_tests::victim::scratch();
    let cut = home.path().join("cut.ring");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("a copy");
    let status = |args: &[&str], path: &Path| {
        let mut command = Command::new(reader::program(Path::new(PROGRAM)));
        let output = command.args(args).arg(path).output();
        let output = output.expect("ttlog-reader runs");
        (output.status.code(), output.stdout.is_empty())
    };
    for command in ["stats", "spans"] {
        assert_eq!(status(&[command], &program.path()), (Some(0), false));
        assert_eq!(status(&[command], &cut), (Some(3), false));
        assert_eq!(status(&[command], &home.path().join("no")), (Some(1), true));
        let nonsense = [command, "--since", "-1s", "--until", "-2s"];
        assert_eq!(status(&nonsense, &program.path()), (Some(2), true));
    }
    let messages = ["spans", "--grep", "flushed"];
    assert_eq!(status(&messages, &program.path()), (Some(2), true));
}
