//! Exports: what others read in them is what the reader shows.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use ttlog_tests::exports::{
    Scene, Told, babeltrace, moment_ns, python, read_by, skipped, speedscope,
};
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::{Adapter, Violation, reader};

const PROGRAM: &str = env!("CARGO_BIN_EXE_scene");

#[test]
fn an_export_has_a_name_of_its_own_and_is_its_owners_alone() {
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    for (format, ending) in [
        ("bin", "bin"),
        ("jsonl", "jsonl"),
        ("csv", "csv"),
        ("chrome", "trace.json"),
    ] {
        for number in ["", "-1"] {
            let path = scene.export(format, &[]);
            let name = format!("{}{number}.{ending}", scene.stem());
            assert_eq!(path, scene.path(&name));
            let found = std::fs::metadata(&path).expect("it is there");
            assert_eq!(found.permissions().mode() & 0o077, 0);
        }
    }
    let hidden = scene.names().into_iter().find(|it| it.starts_with('.'));
    assert_eq!(hidden, None, "nothing is left behind");
}

#[test]
fn a_format_that_is_not_known_is_wrong_usage() {
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let output = scene.run(&["export", "--format", "xml"]);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("invalid value 'xml'"), "{words}");
    assert!(words.contains("jsonl"), "{words}");
}

#[test]
fn lines_are_those_of_view_byte_for_byte() {
    for adapter in ADAPTERS {
        let scene = Scene::killed(PROGRAM, adapter);
        for more in [
            &[][..],
            &["--spans"],
            &["-p", "info", "--thread", "worker-1"],
        ] {
            let lines = |args: &[&str]| scene.reader(&[args, more].concat());
            let exported = lines(&["export", "--format", "jsonl", "--all", "-o", "-"]);
            assert_eq!(exported, lines(&["view", "-o", "json"]), "{more:?}");
        }
    }
}

#[test]
fn the_window_is_what_is_exported_unless_all_is_asked_for() {
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let all = scene.view(&[]);
    let from = all.iter().position(|line| begins_second_half(&line));
    let from = from.expect("a second half");
    assert!(from > 10);
    let length = scene.length_of_second_half();
    let path = scene.export("jsonl", &["--window", &length]);
    let lines = std::fs::read_to_string(path).expect("lines");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines, all[from..]);
    let until = format!("-{length}");
    let since = scene.export("jsonl", &["--since", "-1h", "--until", &until]);
    let lines = std::fs::read_to_string(since).expect("lines");
    assert_eq!(lines.lines().count(), from);
}

#[test]
fn python_reads_a_table_of_what_view_shows() {
    let Some(python) = python("csv") else {
        return skipped("no Python to read a table");
    };
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let table = scene.export("csv", &["--all"]);
    let rows = read_by(&python, "read_csv.py", &[table.as_os_str()]);
    let rows = rows.unwrap_or_else(|violation| panic!("{violation}"));
    let shown = String::from_utf8(scene.reader(&["view", "--utc"])).expect("UTF-8");
    let events = scene.view(&[]);
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), events.len());
    for ((row, event), line) in rows.iter().zip(&events).zip(shown.lines()) {
        for (cell, key) in [
            ("timestamp", "timestamp"),
            ("level", "level"),
            ("target", "target"),
            ("thread_name", "threadName"),
            ("filename", "filename"),
        ] {
            assert_eq!(row[cell], event[key], "{cell}");
        }
        for (cell, key) in [("thread_id", "threadId"), ("line", "line_number")] {
            assert_eq!(row[cell], event[key].to_string(), "{cell}");
        }
        assert_eq!(as_a_line(row), line);
    }
    let formulas = rows.iter().filter(|row| {
        let message = row["message"].as_str().expect("a message");
        message.starts_with("'=HYPERLINK")
    });
    assert_eq!(formulas.count(), 2);
}

/// The line of `view` that the cells come from.
fn as_a_line(row: &Value) -> String {
    let cell = |key: &str| {
        let text = row[key].as_str().expect("a cell");
        text.strip_prefix('\'').unwrap_or(text).to_owned()
    };
    let spans = match cell("spans") {
        none if none.is_empty() => none,
        spans => format!("{spans}:"),
    };
    let said = [spans, cell("message"), cell("fields")];
    let said: Vec<_> = said.into_iter().filter(|part| !part.is_empty()).collect();
    let moment = cell("timestamp");
    let day = "2025-11-24T".len();
    let time = &moment[day..day + "12:34:56.789".len()];
    format!("{time} [{}] {}", cell("level"), said.join(" "))
}

#[test]
fn python_fails_at_a_table_with_a_cell_too_few() {
    let Some(python) = python("csv") else {
        return skipped("no Python to fail at a table");
    };
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let table = scene.export("csv", &[]);
    let text = std::fs::read_to_string(&table).expect("a table");
    let cut = text.trim_end().rsplit_once(',').expect("cells").0;
    std::fs::write(&table, cut).expect("less of it");
    let violation = read_by(&python, "read_csv.py", &[OsStr::new(&table)]);
    let words = violation.expect_err("a cell too few").to_string();
    assert!(words.contains("9 cells, not 10"), "{words}");
}

/// What speedscope reads of a trace, which must have nothing to complain of but fields that
/// the end of something has and its beginning has not.
fn read_by_speedscope(speedscope: &Path, trace: &Path) -> Result<Value, Violation> {
    let args = [speedscope.as_os_str(), trace.as_os_str()];
    let read = read_by(Path::new("node"), "read_chrome.mjs", &args)?;
    let warnings = read["warnings"].as_array().expect("warnings");
    let is_bad = |words: &&Value| {
        !words.as_str().expect("words").ends_with(" instead.")
            || words
                .as_str()
                .expect("words")
                .ends_with("Doing nothing instead.")
    };
    match warnings.iter().find(is_bad) {
        Some(words) => Err(Violation::new(words.to_string())),
        None => Ok(read),
    }
}

#[test]
fn speedscope_reads_in_a_trace_what_view_tells() {
    let Some(speedscope) = speedscope() else {
        return skipped("no Node, or no speedscope (TTLOG_TESTS_SPEEDSCOPE), to read a trace");
    };
    for adapter in ADAPTERS {
        let scene = Scene::killed(PROGRAM, adapter);
        let told = Told::by(&scene.view(&["--spans"]));
        let [threads, spans, events] = told.counts();
        assert!(threads == 4 && spans > 15 && events > 30, "{told:?}");
        let trace = scene.export("chrome", &["--all"]);
        let read = read_by_speedscope(&speedscope, &trace);
        let read = read.and_then(|read| told.is_read(&read));
        read.unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));
    }
}

#[test]
fn what_was_there_before_the_window_begins_with_it_in_a_trace() {
    let Some(speedscope) = speedscope() else {
        return skipped("no Node, or no speedscope, to read the window of a trace");
    };
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let lines = scene.view(&["--spans"]);
    let begin = lines
        .iter()
        .find(begins_second_half)
        .expect("a second half");
    let since = begin["timestamp"].as_str().expect("a moment");
    let trace = scene.export("chrome", &["--since", since]);
    let read = read_by_speedscope(&speedscope, &trace);
    let read = read.unwrap_or_else(|violation| panic!("{violation}"));
    let told = Told::since(&lines, moment_ns(begin));
    let is_read = told.is_read(&read);
    is_read.unwrap_or_else(|violation| panic!("{violation}"));
    let spans = read["spans"].as_array().expect("spans");
    let before: Vec<_> = spans
        .iter()
        .filter(|span| span["began_before"] == true)
        .collect();
    assert_eq!(before.len(), 3, "{before:?}");
}

/// One line less, whatever it is, is found.
#[test]
fn speedscope_finds_what_a_trace_lacks() {
    let Some(speedscope) = speedscope() else {
        return skipped("no Node, or no speedscope, to read less of a trace");
    };
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let told = Told::by(&scene.view(&["--spans"]));
    let trace = scene.export("chrome", &["--all"]);
    let text = std::fs::read_to_string(&trace).expect("a trace");
    for phase in ["B", "E", "b", "e", "i"] {
        let begins = format!("{{\"ph\":\"{phase}\"");
        let mut lines: Vec<_> = text.lines().collect();
        let at = lines.iter().position(|line| line.starts_with(&begins));
        lines.remove(at.expect("such a line"));
        std::fs::write(&trace, lines.join("\n")).expect("the others");
        let read = read_by_speedscope(&speedscope, &trace);
        let is_read = read.and_then(|read| told.is_read(&read));
        is_read.expect_err(phase);
    }
}

/// What Python needs to read a trace of Perfetto.
const PERFETTO: &str = "google.protobuf, perfetto.protos.perfetto.trace.perfetto_trace_pb2";

#[test]
fn perfettos_schema_reads_in_a_trace_what_view_tells() {
    let Some(python) = python(PERFETTO) else {
        return skipped(
            "no Python with perfetto and protobuf (TTLOG_TESTS_PYTHON) to read a trace",
        );
    };
    for adapter in ADAPTERS {
        let scene = Scene::killed(PROGRAM, adapter);
        let lines = scene.view(&["--spans"]);
        let trace = scene.export("perfetto", &["--all"]);
        let read = read_by(&python, "read_perfetto.py", &[trace.as_os_str()]);
        let read = read.unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));
        assert_eq!(read["process"], json!([scene.pid(), "scene"]));
        let is_read = Told::by(&lines).is_read(&read);
        is_read.unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));

        let begin = lines
            .iter()
            .find(begins_second_half)
            .expect("a second half");
        let since = begin["timestamp"].as_str().expect("a moment");
        let trace = scene.export("perfetto", &["--since", since]);
        let read = read_by(&python, "read_perfetto.py", &[trace.as_os_str()]);
        let told = Told::since(&lines, moment_ns(begin));
        let is_read = read.and_then(|read| told.is_read(&read));
        is_read.unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));
    }
}

/// One packet less, whatever it is, is found.
#[test]
fn perfettos_schema_finds_what_a_trace_lacks() {
    let Some(python) = python(PERFETTO) else {
        return skipped("no Python with perfetto and protobuf to read less of a trace");
    };
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let told = Told::by(&scene.view(&["--spans"]));
    let trace = scene.export("perfetto", &["--all"]);
    let bytes = std::fs::read(&trace).expect("a trace");
    let packets = packets(&bytes);
    assert!(packets.len() > 100);
    for lacking in [0, 2, 7, packets.len() / 2, packets.len() - 1] {
        let others = packets.iter().enumerate().filter(|(at, _)| *at != lacking);
        let others: Vec<u8> = others.flat_map(|(_, packet)| *packet).copied().collect();
        std::fs::write(&trace, others).expect("the others");
        let read = read_by(&python, "read_perfetto.py", &[trace.as_os_str()]);
        let is_read = read.and_then(|read| told.is_read(&read));
        is_read.expect_err("a packet less");
    }
}

/// The packets of a trace, each with its tag and its length, of seven bits a byte.
fn packets(trace: &[u8]) -> Vec<&[u8]> {
    let mut rest = trace;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let digits = rest[1..].iter().position(|byte| byte & 0x80 == 0);
        let head = digits.expect("a length") + 2;
        let length = rest[1..head].iter().rev();
        let length = length.fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
        let (packet, others) = rest.split_at(head + length);
        packets.push(packet);
        rest = others;
    }
    packets
}

fn begins_second_half(line: &&Value) -> bool {
    line["fields"]["message"] == "the second half begins"
}

/// What is told of an event of babeltrace2's in the words of `view`.
fn as_a_line_of_view(event: &Value) -> Value {
    let (word, _) = match event["name"].as_str() {
        Some(name) => name.split_once(':').unwrap_or((name, "")),
        None => ("?", ""),
    };
    let mut fields = event["fields"].clone();
    if !word.starts_with("event") {
        fields["message"] = word.into();
    }
    let context = &event["context"];
    json!({
        "at": event["at"], "thread": context["thread_id"], "name": context["thread_name"],
        "level": context["level"], "target": context["target"], "fields": fields,
    })
}

/// What `view` tells, as far as it is compared: texts are escaped, and numbers past 64 bits
/// and bytes are texts.
fn as_told(line: &Value) -> Value {
    let mut fields = line["fields"].clone();
    for (name, value) in fields.as_object_mut().expect("fields") {
        match value {
            Value::String(text) if name != "nan" => {
                *value = ttlog_reader::escape(text.as_bytes()).into();
            }
            Value::Array(_) => *value = "[00 ff]".into(),
            Value::Bool(yes) => *value = yes.to_string().into(),
            _ => {}
        }
    }
    json!({
        "at": moment_ns(line), "thread": line["threadId"], "name": line["threadName"],
        "level": line["level"], "target": line["target"], "fields": fields,
    })
}

/// Checks that babeltrace2 reads what the lines tell.
fn babeltrace_reads(python: &Path, trace: &Path, lines: &[Value]) -> Result<(), Violation> {
    let read = read_by(python, "read_ctf.py", &[trace.as_os_str()])?;
    let read: Vec<_> = read
        .as_array()
        .expect("events")
        .iter()
        .map(as_a_line_of_view)
        .collect();
    let told: Vec<_> = lines.iter().map(as_told).collect();
    if let Some((told, read)) = told.iter().zip(&read).find(|(told, read)| told != read) {
        return Err(Violation::new(format!("told is {told}\nand read {read}")));
    }
    match told.len() == read.len() {
        true => Ok(()),
        false => Err(Violation::new(format!(
            "{} are told, {} read",
            told.len(),
            read.len()
        ))),
    }
}

#[test]
fn babeltrace_reads_what_view_tells() {
    let Some(python) = babeltrace() else {
        return skipped("no babeltrace2, or no Python, to read a trace in CTF");
    };
    for adapter in ADAPTERS {
        let scene = Scene::killed(PROGRAM, adapter);
        for more in [&[][..], &["-p", "info", "--since", "-100ms"]] {
            let trace = scene.export("ctf", &[&["--all"], more].concat());
            let lines = scene.view(&[&["--spans"], more].concat());
            assert!(lines.len() > 15);
            let reads = babeltrace_reads(&python, &trace, &lines);
            reads.unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));
        }
    }
}

#[test]
fn babeltrace_finds_what_a_trace_lacks() {
    let Some(python) = babeltrace() else {
        return skipped("no babeltrace2, or no Python, to read less of a trace in CTF");
    };
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let trace = scene.export("ctf", &["--all"]);
    let lines = scene.view(&["--spans"]);
    let mut fewer = lines.clone();
    fewer.remove(lines.len() / 2);
    babeltrace_reads(&python, &trace, &fewer).expect_err("a line less");
    let stream = trace.join("stream");
    let bytes = std::fs::read(&stream).expect("a stream");
    std::fs::write(&stream, &bytes[..bytes.len() - 9]).expect("less of it");
    babeltrace_reads(&python, &trace, &lines).expect_err("a packet that is cut");
}

#[test]
fn a_directory_does_not_go_to_stdout() {
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let output = scene.run(&["export", "--format", "ctf", "-o", "-"]);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(words.lines().count(), 1, "{words}");
    assert!(words.contains("is a directory"), "{words}");

    let taken = scene.export("ctf", &[]);
    let output = scene.run(&["export", "--format", "ctf", "-o", "/dev/null"]);
    assert_eq!(output.status.code(), Some(1));
    let kept = std::fs::metadata(taken.join("metadata")).expect("it is there");
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_snapshot_of_what_was_asked_for_holds_that_and_says_so() {
    let scene = Scene::killed(PROGRAM, Adapter::Own);
    let asked = ["-p", "info", "--thread", "worker-1"];
    let snapshot = scene.export("bin", &[&["--all"], &asked[..]].concat());
    let of_snapshot = |command: &str| reader::json(PROGRAM, &[command], &snapshot);
    assert_eq!(of_snapshot("view"), scene.view(&asked));
    let info = of_snapshot("info").remove(0);
    assert_eq!(info["snapshot"]["filter"], "--level info --thread worker-1");
    let whole = scene.export("bin", &["--all"]);
    let whole = reader::json(PROGRAM, &["info"], &whole).remove(0);
    assert_eq!(whole["snapshot"].get("filter"), None);
    assert_eq!(
        info["ledger"], whole["ledger"],
        "the account is that of the whole"
    );
    let open = |path: &Path| {
        let postmortem = reader::json(PROGRAM, &["postmortem"], path).remove(0);
        [
            postmortem["threads"][0]["spans"].clone(),
            postmortem["idle_spans"].clone(),
        ]
    };
    assert_eq!(open(&snapshot), open(&scene.recording()));
    if let Some(python) = python("lz4.frame, cbor2") {
        let schema =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../recorder/format/src/snapshot.cddl");
        let script = "../../python/read_snapshot.py";
        let read = read_by(&python, script, &[snapshot.as_os_str(), schema.as_os_str()]);
        let read = read.unwrap_or_else(|violation| panic!("{violation}"));
        assert_eq!(
            read["events"].as_array().map(Vec::len),
            Some(scene.view(&asked).len())
        );
    } else {
        skipped("no Python with lz4 and cbor2 to read a snapshot of what was asked for");
    }
}
