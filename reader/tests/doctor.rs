//! `doctor` as it is run: what it says, what it costs the status, and that it leaves
//! nothing behind.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn doctor(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttlog-reader"));
    command.arg("doctor").args(arguments).arg(directory);
    command.output().unwrap()
}

fn object(arguments: &[&str], directory: &Path) -> serde_json::Value {
    let arguments = [&["-o", "json"], arguments].concat();
    serde_json::from_slice(&doctor(&arguments, directory).stdout).unwrap()
}

#[test]
fn it_measures_where_it_may_write_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let object = object(&[], directory.path());
    assert!(object["stalls"]["writes"].as_u64() > Some(0), "{object}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let abouts: Vec<&str> = object["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["about"].as_str())
        .collect();
    for about in ["place", "files", "room", "deletion", "stalls"] {
        assert!(abouts.contains(&about), "{abouts:?}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let top = tempfile::tempdir().unwrap();
    let missing = top.path().join("a/b");
    let object = object(&["--quick"], &missing);
    assert_eq!(object["stalls"], serde_json::Value::Null);
    assert_eq!(object["findings"][0]["grade"], "ok", "{object}");
    assert!(!top.path().join("a").exists());
}

#[test]
fn what_is_no_directory_or_has_no_room_is_bad_and_status_1() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = doctor(&[], file.path());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
    assert!(text.contains("it is no directory"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("bad: "), "{text}");

    let directory = tempfile::tempdir().unwrap();
    let output = doctor(
        &["--quick", "--capacity-mib", "4000000000"],
        directory.path(),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("bad  room"), "{text}");
}

#[test]
fn a_limit_of_files_is_told_of_and_kills_nobody() {
    let directory = tempfile::tempdir().unwrap();
    for (blocks, measured) in [("100", true), ("0", false)] {
        // In blocks of 512 bytes or of 1 KiB, as the shell has it.
        let script = format!("ulimit -f {blocks} && exec \"$0\" doctor -o json \"$1\" | cat");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_ttlog-reader")]);
        let output = command.arg(directory.path()).output().unwrap();
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["stalls"].is_object(), measured, "{object}");
        let words = object["findings"].to_string();
        assert!(words.contains("RLIMIT_FSIZE"), "{words}");
    }
}
