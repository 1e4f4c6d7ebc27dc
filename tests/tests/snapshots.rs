//! Snapshots: where they go, what they hold, who can read them, and what becomes of
//! those that were being made when their process died.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use serde_json::{Value, json};
use ttlog_reader::Opened;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::snapper::{all_whole, info, messages, run, snapshots};
use ttlog_tests::victim::files;
use ttlog_tests::{Adapter, Plan, Victim, Violation, What, check, reader};

const PROGRAM: &str = env!("CARGO_BIN_EXE_snapper");

/// Acknowledgements of the snapshots that were begun, and of those that were made.
const BEGUN: usize = 60;
const MADE: usize = 61;

fn plan() -> Plan {
    Plan::new(What::Wait)
}

fn start(act: &str, plan: &Plan) -> Victim {
    Victim::start_act(PROGRAM, act, plan)
}

/// The path of the next snapshot that the program tells of.
fn next_snapshot(victim: &mut Victim) -> PathBuf {
    victim.until("snapshot").into()
}

/// The stamp in the name of a snapshot of this process.
fn stamp(victim: &Victim, snapshot: &Path) -> u128 {
    let name = snapshot
        .file_name()
        .and_then(OsStr::to_str)
        .expect("a name");
    let rest = name.strip_prefix(&format!("ttlog-{}-", victim.pid()));
    let stamp = rest.and_then(|rest| rest.strip_suffix(".bin"));
    let stamp = stamp.and_then(|stamp| stamp.parse().ok());
    stamp.unwrap_or_else(|| panic!("{name} has another form"))
}

/// What a command of the reader prints of a whole recording.
#[track_caller]
fn told(args: &[&str], recording: &Path) -> String {
    let args = args.iter().map(OsStr::new);
    let output = run(PROGRAM, args.chain([recording.as_os_str()]));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn open(recording: &Path) -> Opened {
    ttlog_reader::open(recording).unwrap_or_else(|error| panic!("{}: {error}", recording.display()))
}

#[test]
fn a_snapshot_has_its_name_and_is_its_owners_alone_whatever_the_umask() {
    for adapter in ADAPTERS {
        let mut victim = start("names", &plan().adapter(adapter));
        let paths: Vec<_> = (0..3).map(|_| next_snapshot(&mut victim)).collect();
        assert!(victim.ends().success());
        let mut stamps: Vec<_> = paths.iter().map(|path| stamp(&victim, path)).collect();
        stamps.dedup();
        assert_eq!(stamps.len(), 3);
        assert!(stamps.is_sorted());
        for (before, path) in paths.iter().enumerate() {
            assert_eq!(path.parent(), Some(snapshots(&victim).as_path()));
            let mode = std::fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o600, "{mode:o} of {}", path.display());
            assert_eq!(messages(&open(path)).len(), before + 1);
        }
        let directory = std::fs::metadata(snapshots(&victim)).expect("it is there");
        assert_eq!(directory.permissions().mode() & 0o7777, 0o700);
        assert_eq!(files(&snapshots(&victim)).len(), 3);
    }
}

#[test]
fn a_name_that_is_taken_gets_the_next_and_nothing_is_overwritten() {
    let mut victim = start("taken", &plan());
    let before = next_snapshot(&mut victim);
    let last: u128 = victim.until("taken").parse().expect("a stamp");
    let snapshot = next_snapshot(&mut victim);
    assert!(victim.ends().success());
    assert_eq!(stamp(&victim, &snapshot), last + 1);
    let whole = [before, snapshot];
    let taken = files(&snapshots(&victim));
    assert_eq!(taken.len(), 902);
    for path in taken.iter().filter(|path| !whole.contains(path)) {
        assert_eq!(std::fs::read(path).expect("it is there"), b"taken");
    }
    whole
        .iter()
        .for_each(|path| assert!(!messages(&open(path)).is_empty()));
}

#[test]
fn snapshots_go_where_the_builder_says_else_the_environment_else_to_temporary_files() {
    let places = ttlog_tests::victim::scratch();
    let environment = places.path().join("of the environment");
    let temporary = places.path().join("temporary");
    std::fs::create_dir(&temporary).expect("a directory");
    let both = |plan: Plan| {
        plan.env("TMPDIR", temporary.to_string_lossy())
            .env("TTLOG_SNAPSHOT_DIR", environment.to_string_lossy())
    };
    let place = |act: &str, plan: Plan| {
        let mut victim = start(act, &plan);
        let snapshot = next_snapshot(&mut victim);
        stamp(&victim, &snapshot);
        assert_eq!(messages(&open(&snapshot)), ["before the snapshot"]);
        let builders = snapshots(&victim);
        (snapshot.parent().expect("a directory").to_owned(), builders)
    };
    let (found, builders) = place("names", both(plan()));
    assert_eq!(found, builders);
    assert_eq!(place("elsewhere", both(plan())).0, environment);
    let only_temporary = plan().env("TMPDIR", temporary.to_string_lossy());
    assert_eq!(place("elsewhere", only_temporary).0, temporary);
}

#[test]
fn a_directory_that_was_asked_for_and_cannot_be_had_is_an_error_at_the_start() {
    let nowhere = "/proc/nowhere/at/all";
    let asked = [
        ("impossible", plan()),
        ("elsewhere", plan().env("TTLOG_SNAPSHOT_DIR", nowhere)),
    ];
    for (act, plan) in asked {
        let mut victim = start(act, &plan);
        let error = victim.until("error");
        assert!(error.contains(nowhere), "{error}");
        assert!(victim.ends().success());
        assert_eq!(victim.files(), [] as [PathBuf; 0]);
    }
}

#[test]
fn a_temporary_directory_that_cannot_be_had_costs_the_snapshots_and_not_the_recording() {
    let mut victim = start("elsewhere", &plan().env("TMPDIR", "/proc/nowhere/at/all"));
    assert_eq!(victim.says(), "started");
    let error = victim.until("error");
    assert!(error.contains("/proc/nowhere/at/all"), "{error}");
    assert!(victim.ends().success());
    assert_eq!(messages(&victim.recording()), ["before the snapshot"]);
}

#[test]
fn without_a_recorder_there_is_an_error_and_with_any_a_snapshot() {
    let mut victim = start("nobody", &plan());
    let error = victim.says();
    assert!(
        error.starts_with("error ") && error.contains("no recorder"),
        "{error}"
    );
    let snapshot = next_snapshot(&mut victim);
    assert!(victim.ends().success());
    assert_eq!(
        open(&snapshot).made.expect("how it was made").why,
        "somebody is there"
    );
}

#[test]
fn a_forked_child_gets_its_own_a_bare_clone_an_error_and_their_parent_a_snapshot() {
    for adapter in ADAPTERS {
        let mut victim = start("fork", &plan().adapter(adapter));
        assert_eq!(victim.says(), "started");
        let mut childs: Vec<PathBuf> = Vec::new();
        for forked in [true, false] {
            for _ in 0..2 {
                let said = victim.says();
                match said.strip_prefix("snapshot ") {
                    Some(path) if forked => childs.push(path.into()),
                    None if !forked => assert!(said.contains("forked"), "{said}"),
                    _ => panic!("{said}"),
                }
            }
            let end = victim.says();
            assert!(
                end.starts_with("child Ok(Exited(") && end.ends_with(", 0))"),
                "{end}"
            );
        }
        for child in &childs {
            let recording = open(child).recording;
            assert_eq!(recording.header.forked_from, victim.pid().as_raw() as u32);
            assert_eq!(recording.ledger.counts.written, 0);
        }
        let snapshot = next_snapshot(&mut victim);
        assert!(victim.ends().success());
        let mut found = files(&snapshots(&victim));
        found.sort();
        childs.push(snapshot.clone());
        childs.sort();
        assert_eq!(found, childs);
        let opened = open(&snapshot);
        assert_eq!(
            messages(&opened),
            ["before the forks", "before the snapshot"]
        );
        assert_eq!(opened.recording.ledger.incidents, 1);
    }
}

#[test]
fn who_closed_all_descriptors_still_gets_snapshots_and_its_own_files_are_not_touched() {
    for (act, own) in [("closes", 0), ("reopens", 64)] {
        for adapter in ADAPTERS {
            let mut victim = start(act, &plan().adapter(adapter));
            let asked: Vec<_> = (0..2).map(|_| next_snapshot(&mut victim)).collect();
            assert_eq!(victim.until("unharmed"), own.to_string());
            assert!(victim.ends().success());
            // One more was made of the panic between them.
            assert_eq!(
                all_whole(PROGRAM, &snapshots(&victim)).map_err(|v| v.to_string()),
                Ok(3)
            );
            let said = [
                "before the end of descriptors",
                "after it",
                "before the snapshot",
            ];
            assert_eq!(messages(&open(&asked[0])), said);
            assert_eq!(messages(&open(&asked[1])).len(), 4);
            let opened = victim.recording();
            check::whole(&opened.recording)
                .and_then(|()| check::verdict(&opened, "ended"))
                .unwrap_or_else(|violation| panic!("{violation}"));
            assert_eq!(opened.recording.ledger.incidents, 3);
        }
    }
}

/// A program that said one of each kind and was killed: its recording, and the snapshot
/// that it made of itself before the last event.
fn killed_with_values(adapter: Adapter) -> (Victim, PathBuf) {
    let mut victim = start("values", &plan().adapter(adapter));
    let snapshot = next_snapshot(&mut victim);
    victim.until("done");
    victim.dies_by(SIGKILL);
    (victim, snapshot)
}

/// Exports a recording, beside the directory that it is in.
fn exported(recording: &Path, args: &[&str]) -> PathBuf {
    let directory = recording.parent().expect("a directory");
    let out = directory.with_file_name("export.bin");
    let args = ["export"].iter().chain(args).map(OsStr::new);
    let output = run(
        PROGRAM,
        args.chain([recording.as_os_str(), OsStr::new("-o"), out.as_os_str()]),
    );
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {words}", output.status);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim_end(),
        out.to_string_lossy()
    );
    out
}

#[test]
fn an_export_of_everything_reads_as_the_recording_does_line_by_line() {
    for adapter in ADAPTERS {
        let (victim, _) = killed_with_values(adapter);
        let export = exported(&victim.path(), &["--all"]);
        for args in [
            ["view", "-o", "json", "--spans"].as_slice(),
            &["view", "-o", "json"],
            &["view", "--spans"],
            &["view"],
        ] {
            let (of_ring, of_export) = (told(args, &victim.path()), told(args, &export));
            assert!(of_ring.lines().count() > 40, "{args:?}");
            for (ring, export) in of_ring.lines().zip(of_export.lines()) {
                assert_eq!(ring, export, "{adapter:?}, {args:?}");
            }
            assert_eq!(of_ring, of_export, "{adapter:?}, {args:?}");
        }
        let (of_ring, of_export) = (info(PROGRAM, &victim.path()), info(PROGRAM, &export));
        for key in ["name", "pid", "window_ns", "threads", "ledger"] {
            assert_eq!(of_ring[key], of_export[key], "{key}");
        }
        assert_eq!(of_export["verdict"]["kind"], "killed");
        let idle = |path: &Path| {
            reader::json(PROGRAM, &["postmortem"], path).remove(0)["idle_spans"].take()
        };
        assert_eq!(idle(&victim.path()), idle(&export));
        assert_eq!(idle(&export).as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn an_export_of_a_window_holds_it_and_the_open_spans_and_the_account_of_all() {
    for adapter in ADAPTERS {
        let mut victim = start("window", &plan().adapter(adapter));
        victim.until("done");
        victim.dies_by(SIGKILL);
        let export = exported(&victim.path(), &["--window", "200ms"]);
        let (ring, part) = (victim.recording().recording, open(&export).recording);
        let within = |entry: &&ttlog_format::salvage::Entry| {
            ring.end_ns - entry.wall_ns <= Duration::from_millis(200).as_nanos() as u64
        };
        let expected: Vec<_> = ring.entries.iter().filter(within).cloned().collect();
        assert_eq!(part.entries, expected);
        let outside = ring.entries.len() - expected.len();
        // The span's opening and entering, another's opening and closing, what is old.
        assert!(outside >= 104, "{outside}");
        assert!(!expected.is_empty());
        assert_eq!(part.ledger.before_window, outside as u64);
        let open: Vec<_> = part.spans.values().filter(|span| span.open).collect();
        assert_eq!(
            open,
            ring.spans
                .values()
                .filter(|span| span.open)
                .collect::<Vec<_>>()
        );
        assert_eq!(open.len(), 1);

        for args in [
            ["view", "--spans"].as_slice(),
            &["view", "--spans", "-o", "json"],
        ] {
            let (of_ring, of_export) = (told(args, &victim.path()), told(args, &export));
            let last: Vec<_> = of_ring.lines().skip(outside).collect();
            assert_eq!(of_export.lines().collect::<Vec<_>>(), last, "{adapter:?}");
        }

        let (of_ring, mut of_export) = (info(PROGRAM, &victim.path()), info(PROGRAM, &export));
        assert_eq!(of_export["threads"], of_ring["threads"]);
        assert_eq!(of_export["ledger"]["before_window"].take(), json!(outside));
        of_export["ledger"]["before_window"] = json!(0);
        assert_eq!(of_export["ledger"], of_ring["ledger"]);
        assert_eq!(of_ring["ledger"]["written"], 200);
    }
}

/// A Python that has lz4 and cbor2: the one that the environment names, else that of
/// the system.
fn python() -> Option<PathBuf> {
    if let Some(python) = std::env::var_os("TTLOG_TESTS_PYTHON") {
        return Some(python.into());
    }
    let mut try_it = Command::new("python3");
    let has_them = try_it.args(["-c", "import lz4.frame, cbor2"]).output();
    has_them
        .is_ok_and(|output| output.status.success())
        .then(|| "python3".into())
}

/// A word that is heard even where a test that passes is not.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// What a script that knows nothing of this project reads from a snapshot.
fn read_by(python: &Path, snapshot: &Path) -> Result<Value, Violation> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(here.join("python/read_snapshot.py"))
        .arg(snapshot)
        .arg(here.join("../recorder/format/src/snapshot.cddl"))
        .output()
        .expect("Python runs");
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Violation::new(words.into_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn python_reads_with_lz4_and_cbor2_what_the_reader_reads() {
    let Some(python) = python() else {
        return skipped("no Python with lz4 and cbor2 to read snapshots (TTLOG_TESTS_PYTHON)");
    };
    for adapter in ADAPTERS {
        let (victim, snapshot) = killed_with_values(adapter);
        let export = exported(&victim.path(), &["--all"]);
        for (path, by) in [(&snapshot, "process"), (&export, "reader")] {
            let read = read_by(&python, path).unwrap_or_else(|violation| panic!("{violation}"));
            is_what_the_reader_reads(&read, path);
            assert_eq!(read["by"], by);
            assert_eq!(read["name"], "snapper");
            assert_eq!(read["pid"], victim.pid().as_raw());
            assert_eq!(read["incidents"], json!(["a test"]));
            if read["validated_by"] != "cddl-verifier" {
                skipped("no cddl-verifier, the schema's keys alone are compared");
            }
            if read["lz4"] == false {
                skipped("no lz4 program to decompress snapshots");
            }
        }
    }
}

#[track_caller]
fn is_what_the_reader_reads(read: &Value, snapshot: &Path) {
    let events = reader::json(PROGRAM, &["view"], snapshot);
    assert!(events.len() > 40);
    let events: Vec<_> = events
        .iter()
        .map(|event| {
            json!({
                "level": event["level"], "target": event["target"],
                "fields": event["fields"], "thread": event["threadName"],
            })
        })
        .collect();
    for (event, by_python) in events
        .iter()
        .zip(read["events"].as_array().expect("events"))
    {
        assert_eq!(event, by_python);
    }
    assert_eq!(read["events"].as_array().map(Vec::len), Some(events.len()));

    let ledger = info(PROGRAM, snapshot)["ledger"].take();
    for key in ["written", "readable", "overwritten", "dropped", "torn"] {
        assert_eq!(read["ledger"]["counts"][key], ledger[key], "{key}");
    }
    for key in ["truncated", "incidents", "exact", "before_window"] {
        assert_eq!(read["ledger"][key], ledger[key], "{key}");
    }
    let open = json!([
        {"name": "in flight", "parents": [],
            "fields": {"id": 7, "text": "Grüße", "later": u64::MAX}},
        {"name": "waiting", "parents": ["in flight"], "fields": {"name": "of its own"}},
        {"name": "entered", "parents": [], "fields": {"deep": "Some(1)"}},
    ]);
    let mut found = read["open_spans"].as_array().expect("spans").clone();
    let place = |span: &Value| {
        open.as_array()
            .expect("spans")
            .iter()
            .position(|s| s == span)
    };
    found.sort_by_key(place);
    assert_eq!(Value::from(found), open);
}

/// Python finds a snapshot that is not all of one.
#[test]
fn python_fails_at_half_a_snapshot() {
    let Some(python) = python() else {
        return skipped("no Python with lz4 and cbor2 to read half a snapshot");
    };
    let (_victim, snapshot) = killed_with_values(Adapter::Own);
    let bytes = std::fs::read(&snapshot).expect("it is there");
    std::fs::write(&snapshot, &bytes[..bytes.len() / 2]).expect("half of it");
    let violation = read_by(&python, &snapshot).expect_err("half a snapshot");
    let words = violation.to_string();
    assert!(words.contains("lz4.frame.decompress"), "{words}");
}

/// How often the kills hit a snapshot that was being made.
#[derive(Debug, Default)]
struct Hits {
    midway: AtomicU64,
    whole: AtomicU64,
}

/// Kills the program while it makes one snapshot after the other, the first four of
/// them perhaps because of panics; every tenth time not before it has made one.
fn one_kill(kill: u64, hits: &Hits) -> Result<(), Violation> {
    let plan = plan()
        .adapter(ADAPTERS[(kill % 2) as usize])
        .events(kill / 2 % 2 * 4)
        .capacity_mib(1);
    let life = Duration::from_micros(RandomState::new().hash_one(kill) % 80_000);
    let mut victim = start("loop", &plan);
    let first = if kill.is_multiple_of(10) {
        "made"
    } else {
        "began"
    };
    victim.until(first);
    victim.after(life).dies_by(SIGKILL);

    let opened = victim.recording();
    let acks = victim.acks();
    check::verdict(&opened, "killed")?;
    check::story(&opened.recording, &acks, 1)?;
    if opened.recording.ledger.counts.overwritten == 0 {
        return Err(Violation::new("the recording was not full"));
    }
    let whole = all_whole(PROGRAM, &snapshots(&victim))?;
    let (begun, made) = (acks[BEGUN], acks[MADE]);
    if !(made..=begun).contains(&whole) {
        let words = format!("{begun} were begun, {made} made, {whole} are whole");
        return Err(Violation::new(words));
    }
    hits.midway.fetch_add(begun - made, Ordering::Relaxed);
    hits.whole.fetch_add(whole, Ordering::Relaxed);
    Ok(())
}

#[test]
fn killed_while_it_makes_a_snapshot_the_recording_and_all_that_bears_a_name_are_whole() {
    const KILLS: u64 = 100;
    let hits = Hits::default();
    let lane = |first| {
        for kill in (first..KILLS).step_by(2) {
            one_kill(kill, &hits).unwrap_or_else(|violation| panic!("kill {kill}: {violation}"));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| lane(0));
        scope.spawn(|| lane(1));
    });
    let (midway, whole) = (hits.midway.into_inner(), hits.whole.into_inner());
    println!("{midway} kills hit a snapshot midway, {whole} were whole");
    assert!(midway >= KILLS / 4, "{midway} kills hit a snapshot midway");
    assert!(whole >= KILLS / 10, "{whole} were whole");
}

/// The check finds a file that is cut and bears the name of a whole one.
#[test]
fn half_a_snapshot_under_a_whole_name_is_found() {
    let (victim, snapshot) = killed_with_values(Adapter::Own);
    let directory = snapshots(&victim);
    assert_eq!(
        all_whole(PROGRAM, &directory).map_err(|v| v.to_string()),
        Ok(1)
    );
    let bytes = std::fs::read(&snapshot).expect("it is there");
    for len in [bytes.len() - 1, bytes.len() - 9, bytes.len() / 2, 10, 0] {
        std::fs::write(&snapshot, &bytes[..len]).expect("a part of it");
        if let Ok(whole) = all_whole(PROGRAM, &directory) {
            panic!("{whole} are whole with {len} of {} bytes", bytes.len());
        }
    }
}
