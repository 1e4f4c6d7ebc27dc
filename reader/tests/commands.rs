//! The commands as they are run: on what is no recording, and on an empty one.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use ttlog_format::clock::{Sample, Source};
use ttlog_format::header::{Header, Layout};

const READER: &str = env!("CARGO_BIN_EXE_ttlog-reader");
const VIEW: &str = env!("CARGO_BIN_EXE_ttlog-view");

/// A directory with files to be read.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn holds(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env_remove("TTLOG_DIR")
        .output()
        .unwrap()
}

fn on(arguments: &[&str], path: &Path) -> Output {
    let mut all = arguments.to_vec();
    all.push(path.to_str().unwrap());
    run(READER, &all)
}

#[track_caller]
fn fails(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(output.stdout, b"");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for words in words {
        assert!(stderr.contains(words), "{words:?} is not in {stderr:?}");
    }
}

fn header() -> Header {
    Header {
        recording: 42,
        layout: Layout {
            span_slots: 16,
            blocks: 4,
        },
        pid: 4711,
        uid: 1000,
        start_time: 1,
        boot_id: "00000000000000000000000000000000".into(),
        executable: "/usr/bin/payments".into(),
        host: "node-7".into(),
        name: "payments".into(),
        clock: Source::Monotonic,
        samples: [1, 2].map(|ns| Sample {
            ticks: ns,
            monotonic_ns: ns,
            boottime_ns: ns,
            wall_ns: 1_700_000_000_000_000_000 + ns,
        }),
        window_ns: 5_000_000_000,
        asked_bytes: 16 << 10,
        filter: "debug".into(),
        ..Header::default()
    }
}

/// A recording in which nothing was recorded yet.
fn image() -> Vec<u8> {
    let header = header();
    let beginning = header.beginning();
    let mut bytes = vec![0; header.layout.file_bytes() as usize];
    bytes[..beginning.len()].copy_from_slice(&beginning[..]);
    let copy = header.layout.copy_offset() as usize;
    bytes[copy..].copy_from_slice(&header.encode()[..]);
    bytes
}

#[test]
fn what_is_no_recording_is_named() {
    let place = Place::new();
    fails(
        &on(&["view"], &place.path("absent")),
        &["no such file: ", "absent"],
    );
    fails(&on(&["view"], &place.holds("empty", b"")), &["is empty"]);
    let elf = place.holds("elf", b"\x7fELF");
    fails(
        &on(&["info"], &elf),
        &[r#"elf begins with "\x7fELF" (expected the ttlog magic)"#],
    );
    fails(
        &on(&["view"], Path::new("/dev/null")),
        &["a character device, not a regular file"],
    );
    let long = place.holds("long", &[b'x'; 100_000]);
    fails(&on(&["view"], &long), &["not a ttlog recording"]);
}

#[test]
fn a_name_cannot_write_to_the_terminal() {
    let place = Place::new();
    let output = on(&["view"], &place.holds("a\x1b[2J\n", b"x"));
    fails(&output, &[r"a\x1b[2J\n begins with"]);
}

#[test]
#[cfg(unix)]
fn a_fifo_is_refused_without_waiting() {
    let place = Place::new();
    let fifo = place.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    fails(&on(&["view"], &fifo), &["is a FIFO, not a regular file"]);
}

#[test]
fn a_directory_or_a_pid_without_recordings_says_where_it_looked() {
    let place = Place::new();
    fails(
        &on(&["view"], place.0.path()),
        &["no recordings in ", "ttlog-<pid>-<timestamp>.ring"],
    );
    fails(
        &run(READER, &["view", "4294967295"]),
        &["no recording of process", "/dev/shm/ttlog-*/"],
    );
}

#[test]
fn a_newer_version_asks_for_a_newer_reader() {
    let place = Place::new();
    let mut bytes = image();
    bytes[8] = 9;
    bytes[header().layout.copy_offset() as usize + 8] = 9;
    let newer = place.holds("newer.ring", &bytes);
    fails(
        &on(&["view"], &newer),
        &["is of format version 9, this reader knows version 1: use a"],
    );
}

#[test]
fn damaged_headers_are_told_from_another_kind_of_file() {
    let place = Place::new();
    let mut bytes = image();
    let copy = header().layout.copy_offset() as usize;
    for byte in [100, 700, copy + 100, copy + 700] {
        bytes[byte] ^= 1;
    }
    fails(
        &on(&["view"], &place.holds("damaged", &bytes)),
        &["header", "copy"],
    );
}

#[test]
fn wrong_usage_is_one_line_and_status_2() {
    for (arguments, words) in [
        (&["view"][..], "missing <RECORDING>..."),
        (
            &["view", "--nonsense", "x"],
            "unexpected argument '--nonsense'",
        ),
        (
            &["view", "-p", "loud", "x"],
            "invalid value 'loud' for '--level <LEVEL>'",
        ),
        (
            &["veiw", "x"],
            "unrecognized subcommand 'veiw' (did you mean 'view'?)",
        ),
    ] {
        let output = run(READER, arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(
            (stderr.lines().count(), output.stdout.len()),
            (1, 0),
            "{stderr}"
        );
        assert!(
            stderr.starts_with(&format!("ttlog-reader: {words}")),
            "{stderr}"
        );
    }
    let alone = run(VIEW, &[]);
    let stderr = String::from_utf8(alone.stderr).unwrap();
    assert_eq!(alone.status.code(), Some(2));
    assert!(
        stderr.starts_with("ttlog-view: missing <RECORDING>..."),
        "{stderr}"
    );
}

#[test]
fn help_and_version_go_to_stdout_and_help_nobody_asked_for_to_stderr() {
    for (program, arguments) in [
        (READER, &["--help"][..]),
        (READER, &["view", "-h"]),
        (READER, &["help", "info"]),
        (VIEW, &["--version"]),
    ] {
        let output = run(program, arguments);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
    let nothing = run(READER, &[]);
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(2), 0));
    assert!(
        String::from_utf8(nothing.stderr)
            .unwrap()
            .contains("Usage: ttlog-reader")
    );
}

#[test]
fn an_empty_recording_of_another_boot_is_whole() {
    let place = Place::new();
    let ring = place.holds("any.name", &image());
    let viewed = on(&["view"], &ring);
    assert_eq!(
        (viewed.status.code(), &viewed.stdout[..]),
        (Some(0), &b""[..]),
        "{viewed:?}"
    );
    let info = on(&["info", "-o", "json"], &ring);
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["verdict"]["kind"], "rebooted");
    assert_eq!(info["name"], "payments");
    assert_eq!(info["ledger"]["written"], 0);
}

#[test]
fn a_directory_means_its_newest_recording() {
    let place = Place::new();
    place.holds("ttlog-4711-1.ring", b"older, and no recording");
    place.holds("ttlog-4711-20.ring", &image());
    assert_eq!(on(&["view"], place.0.path()).status.code(), Some(0));
    let by_pid = Command::new(VIEW)
        .arg("4294967294")
        .env("TTLOG_DIR", place.0.path())
        .output();
    assert_eq!(by_pid.unwrap().status.code(), Some(1));
    place.holds("ttlog-4294967294-1.ring", &image());
    let by_pid = Command::new(VIEW)
        .arg("4294967294")
        .env("TTLOG_DIR", place.0.path())
        .output();
    assert_eq!(by_pid.unwrap().status.code(), Some(0));
}

#[test]
fn a_recording_can_come_from_stdin() {
    let place = Place::new();
    let from = |path: &Path| {
        let mut command = Command::new(READER);
        command.args(["info", "-o", "json", "-"]);
        let stdin = Stdio::from(fs::File::open(path).unwrap());
        command.stdin(stdin).output().unwrap()
    };
    let output = from(&place.holds("recording", &image()));
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#""path":"-""#), "{text}");
    fails(&from(&place.holds("nothing", b"")), &["- is empty"]);
    fails(
        &from(&place.holds("other", b"#!/bin/sh")),
        &["- begins with"],
    );
}

#[test]
fn a_truncated_copy_is_recovered_with_damage() {
    let place = Place::new();
    let mut bytes = image();
    bytes.truncate(bytes.len() - 8192);
    let output = on(&["view"], &place.holds("cut", &bytes));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("recovered with damage: ") && stderr.contains("8192 missing bytes"),
        "{stderr}"
    );
}

#[test]
fn one_that_fails_does_not_keep_the_next_back() {
    let place = Place::new();
    let absent = place.path("absent");
    let ring = place.holds("ring", &image());
    let output = on(&["info", "-o", "json", absent.to_str().unwrap()], &ring);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.starts_with(b"{"));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::new();
    let ring = place.holds("ring", &image());
    let mut child = Command::new(READER)
        .args(["info", "-o", "json"])
        .args(vec![&ring; 200])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut words = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut words)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), &words[..]), (Some(0), ""));
}

#[test]
fn the_library_opens_what_the_commands_do() {
    let place = Place::new();
    let opened = ttlog_reader::open(&place.holds("ring", &image())).unwrap();
    assert_eq!(opened.recording.header, header());
    assert_eq!(opened.verdict.kind, ttlog_reader::Kind::Rebooted);
}

#[test]
fn an_export_is_a_file_of_its_own_and_replaces_none() {
    let place = Place::new();
    let ring = place.holds("ttlog-4711-1764000000123.ring", &image());
    let out = place.path("out.bin");
    let words = [READER, "export", "-o", out.to_str().unwrap()];
    let exported = on(&words[1..], &ring);
    assert_eq!(exported.status.code(), Some(0));
    let printed = String::from_utf8(exported.stdout).unwrap();
    assert_eq!(printed.trim_end(), out.to_str().unwrap());

    for command in ["view", "info", "postmortem"] {
        let read = on(&[command], &out);
        assert_eq!(read.status.code(), Some(0), "{command}");
    }
    fails(&on(&words[1..], &ring), &["out.bin", "is there already"]);

    let replaced = on(&["export", "--force", "-o", out.to_str().unwrap()], &ring);
    assert_eq!(replaced.status.code(), Some(0));

    let both = [ring.to_str().unwrap(), ring.to_str().unwrap()];
    let crowded = run(READER, &[&words[1..], &both[..]].concat());
    assert_eq!(crowded.status.code(), Some(2));

    let whole = fs::read(&out).unwrap();
    let cut = place.holds("cut.bin", &whole[..whole.len() / 2]);
    let read = on(&["view"], &cut);
    assert!(matches!(read.status.code(), Some(1 | 3)));
    assert!(!read.stderr.is_empty());
}
