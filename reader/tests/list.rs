//! `list` as it is run: its exit status, and what goes to stdout and stderr.

use std::fs;
use std::process::{Command, Output};

fn list(arguments: &[&str], directory: Option<&std::path::Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog-reader"));
    command.arg("list").args(arguments);
    command.args(directory);
    command.output().unwrap()
}

#[test]
fn where_there_is_no_recording_that_is_said_and_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    for format in ["text", "json"] {
        let output = list(&["-o", format], Some(directory.path()));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("no recordings in /"), "{stderr}");
    }
}

#[test]
fn the_default_places_of_this_user_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ttlog-1-1000.ring");
    fs::write(&path, "this is no recording").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog-reader"));
    let output = command
        .arg("list")
        .env("TTLOG_DIR", directory.path())
        .output();
    let stderr = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
}

#[test]
fn what_cannot_be_read_is_told_of_each_and_costs_the_status() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["ttlog-1-1000.ring", "ttlog-2-2000.ring"] {
        fs::write(directory.path().join(name), "this is no recording").unwrap();
    }
    let output = list(&[], Some(directory.path()));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(
        lines[0].contains("ttlog-2-2000.ring"),
        "the newest first: {stderr}"
    );
}
