//! One program, both adapters: the same events, the same spans, and each value as it was.

use serde_json::{Value as Json, json};
use ttlog_format::salvage::{Entry, Recording, What as Happened};
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::{Adapter, Plan, Victim, What, check, reader, values};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// A victim that said one of each kind, and is gone.
fn said(adapter: Adapter) -> Victim {
    let mut victim = Victim::start(VICTIM, &Plan::new(What::Values).adapter(adapter));
    assert!(victim.ends().success());
    victim
}

/// What `view -o json` prints, without what differs from run to run.
fn lines(victim: &Victim) -> Vec<Json> {
    let mut lines = reader::json(VICTIM, &["view"], &victim.path());
    for line in &mut lines {
        let line = line.as_object_mut().expect("an object");
        assert!(line.remove("timestamp").is_some_and(|at| at.is_string()));
        assert!(line.remove("threadId").is_some_and(|id| id.is_u64()));
    }
    lines
}

/// An entry in words, without clocks, ids and addresses.
fn told(recording: &Recording, entry: &Entry) -> String {
    let site = recording.sites.get(&entry.site);
    let site = site.map(|s| {
        (
            &s.name,
            &s.target,
            s.level,
            s.line,
            s.file.as_str(),
            s.is_span,
        )
    });
    let name = |span: &ttlog_format::salvage::Span| {
        recording
            .sites
            .get(&span.site)
            .map_or("?", |site| site.name.as_str())
    };
    let context = recording.context(entry.span);
    let spans: Vec<_> = context
        .iter()
        .map(|(_, span)| (name(span), check::span_fields(recording, span)))
        .collect();
    let what = match entry.what {
        Happened::Follows(from) => {
            format!(
                "Follows {:?}",
                recording.spans.get(&from).map(|span| name(span))
            )
        }
        what => format!("{what:?}"),
    };
    let thread = &recording.threads[entry.thread as usize].name;
    let fields = check::named(recording, entry.site, &entry.fields);
    format!("{thread} {what} {site:?} {fields:?} in {spans:?}")
}

#[test]
fn both_adapters_tell_the_same_of_events_and_spans() {
    let [own, layer] = ADAPTERS.map(|adapter| {
        let recording = said(adapter).recording().recording;
        let told: Vec<_> = recording
            .entries
            .iter()
            .map(|entry| told(&recording, entry))
            .collect();
        told
    });
    for (number, (own, layer)) in own.iter().zip(&layer).enumerate() {
        assert_eq!(own, layer, "entry {number}");
    }
    assert_eq!(own.len(), layer.len());
}

#[test]
fn both_adapters_give_the_same_lines_of_json() {
    let [own, layer] = ADAPTERS.map(|adapter| lines(&said(adapter)));
    for (own, layer) in own.iter().zip(&layer) {
        assert_eq!(own, layer);
    }
    assert_eq!(own.len(), layer.len());
}

/// The line of this message; there is one.
fn line<'a>(lines: &'a [Json], message: &str) -> &'a Json {
    let mut found = lines
        .iter()
        .filter(|line| line["fields"]["message"] == message);
    let line = found
        .next()
        .unwrap_or_else(|| panic!("no line {message:?}"));
    assert!(found.next().is_none(), "{message:?} twice");
    line
}

#[test]
fn every_value_comes_back_as_it_was() {
    let lines = lines(&said(Adapter::Own));
    let is = |message: &str, fields: Json| {
        let mut found = line(&lines, message)["fields"].clone();
        found.as_object_mut().expect("fields").remove("message");
        assert_eq!(found, fields, "{message}");
    };
    is("i64", json!({ "small": -7, "least": i64::MIN }));
    is("u64", json!({ "small": 7, "most": u64::MAX }));
    is(
        "i128",
        json!({ "least": i128::MIN.to_string(), "small": -1 }),
    );
    is("u128", json!({ "most": u128::MAX.to_string(), "small": 1 }));
    is("f64", json!({ "half": 0.5, "tenth": 0.1 }));
    is("bool", json!({ "yes": true, "no": false }));
    is(
        "str",
        json!({ "empty": "", "plain": "plain", "other": "Grüße, \u{1b}[31m 世界\n" }),
    );
    is("error", json!({ "error": "the disk is on fire" }));
    is(
        "Debug",
        json!({ "some": "Some(\"thing\")", "none": "None" }),
    );
    is("Display", json!({ "shown": "shown", "number": "12.5" }));
    is("a message with 1 and \"two\"", json!({}));
    is("shown", json!({ "talks": "Talks" }));
    assert!(
        lines
            .iter()
            .any(|line| line["fields"] == json!({ "no_message": 1 }))
    );

    let cut = line(&lines, "cut");
    assert_eq!(cut["truncated"], true, "{cut}");
    let kept = cut["fields"]["long"].as_str().expect("a string");
    assert!(
        kept.len() >= 1000 && kept.bytes().take(1000).all(|byte| byte == b'x'),
        "{kept}"
    );
    assert_eq!(
        cut["fields"]["after"], 1,
        "what comes after a long value is kept"
    );
    line(&lines, "said while being shown");
}

#[test]
fn every_level_target_and_place_comes_back() {
    let lines = lines(&said(Adapter::Own));
    for (message, level) in [
        ("a trace", "TRACE"),
        ("a debug", "DEBUG"),
        ("an info", "INFO"),
        ("a warning", "WARN"),
        ("an error", "ERROR"),
    ] {
        let line = line(&lines, message);
        assert_eq!(line["level"], level);
        assert_eq!(line["target"], "ttlog_tests::values");
        let file = line["filename"].as_str().expect("a file");
        assert!(file.ends_with("src/values.rs"), "{file}");
        assert!(line["line_number"].is_u64(), "{line}");
        assert!(line["threadName"].is_string(), "{line}");
    }
    assert_eq!(line(&lines, "elsewhere")["target"], "another::target");
    assert_eq!(line(&lines, "on another thread")["threadName"], "another");
}

#[test]
fn every_event_is_in_the_spans_that_it_was_said_in() {
    let lines = lines(&said(Adapter::Own));
    let spans = |message: &str| {
        let line = line(&lines, message);
        let spans = line["spans"]
            .as_array()
            .unwrap_or_else(|| panic!("no spans: {line}"));
        assert_eq!(line.get("span"), spans.last(), "the innermost span: {line}");
        Vec::from_iter(
            spans
                .iter()
                .map(|span| span["name"].as_str().expect("a name").to_owned()),
        )
    };
    let nowhere: [&str; 0] = [];
    assert_eq!(spans("in the request"), ["request"]);
    assert_eq!(spans("after the rows"), ["request", "query"]);
    assert_eq!(spans("in the span outside"), ["outside"]);
    assert_eq!(spans("in no span"), nowhere);
    assert_eq!(spans("below the root"), ["root"]);
    assert_eq!(spans("below the span outside"), ["outside", "child"]);
    assert_eq!(spans("outside"), nowhere);
    assert_eq!(spans("in the first, twice"), ["first"]);
    assert_eq!(spans("in the first"), ["first"]);
    assert_eq!(spans("in the second"), ["second"]);
    assert_eq!(spans("in none"), nowhere);
    assert_eq!(spans("on another thread"), ["carried"]);
    assert_eq!(spans("on this one"), ["carried"]);
}

#[test]
fn a_field_recorded_later_is_there_from_then_on() {
    let lines = lines(&said(Adapter::Own));
    let rows = |message: &str| line(&lines, message)["span"].get("rows").cloned();
    assert_eq!(rows("before the rows"), None);
    assert_eq!(rows("after the rows"), Some(json!(12)));
    assert_eq!(rows("after more rows"), Some(json!(13)));
    let request = &line(&lines, "in the request still")["span"];
    assert_eq!(request["later"], "now");
    assert_eq!(
        (&request["id"], &request["name"]),
        (&json!(7), &json!("request"))
    );
}

#[test]
fn log_records_come_with_their_own_target_file_and_line() {
    let mut victim = Victim::start(VICTIM, &Plan::new(What::Log));
    assert!(victim.ends().success());
    let lines = lines(&victim);
    let first = u64::from(values::LOG_LINE);
    for (message, level, target, number) in [
        ("plain 1", "INFO", "ttlog_tests::values", first),
        (
            "connection lost after 30 s",
            "WARN",
            "payments::db",
            first + 1,
        ),
        ("in a span", "ERROR", "payments", first + 2),
        ("debugged", "DEBUG", "ttlog_tests::values", first + 3),
    ] {
        let line = line(&lines, message);
        assert_eq!(
            (&line["level"], &line["target"]),
            (&json!(level), &json!(target)),
            "{line}"
        );
        assert_eq!(line["line_number"], number, "{line}");
        assert!(
            line["filename"]
                .as_str()
                .is_some_and(|f| f.ends_with("src/values.rs")),
            "{line}"
        );
        assert_eq!(
            line["fields"],
            json!({ "message": message }),
            "no field of the bridge's own"
        );
    }
    assert_eq!(
        line(&lines, "in a span")["spans"],
        json!([{ "name": "request", "id": 8 }])
    );
}
