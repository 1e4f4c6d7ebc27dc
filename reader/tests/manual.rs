//! Completions and man pages as they are run, and as the tools that read them take them.

use std::fs;
use std::process::{Command, Output, Stdio};

fn reader(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_ttlog-reader"))
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    output
}

/// The program, if it is there to be asked.
fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

#[test]
fn shells_can_read_their_completions() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        for of in ["ttlog-reader", "ttlog-view"] {
            let path = directory.path().join(format!("{of}.{shell}"));
            let script = reader(&["completions", shell, "--of", of]).stdout;
            fs::write(&path, script).unwrap();
            if is_there(shell) {
                let read = Command::new(shell).arg("-n").arg(&path).output().unwrap();
                assert!(read.status.success(), "{read:?}");
            }
        }
    }
}

#[test]
fn every_command_has_a_page_that_man_can_show() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let printed = reader(&["man", pages.to_str().unwrap()]).stdout;
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(
        printed.lines().count(),
        fs::read_dir(&pages).unwrap().count()
    );
    assert!(pages.join("ttlog-reader-postmortem.1").exists());
    let main = fs::read(pages.join("ttlog-reader.1")).unwrap();
    assert_eq!(reader(&["man"]).stdout, main);
    for page in printed.lines() {
        if is_there("mandoc") {
            let read = Command::new("mandoc")
                .args(["-Tlint", "-Werror", page])
                .output()
                .unwrap();
            assert!(read.status.success(), "{read:?}");
        }
        if is_there("groff") {
            let read = Command::new("groff")
                .args(["-man", "-ww", "-Tascii", page])
                .output()
                .unwrap();
            let words = String::from_utf8_lossy(&read.stderr);
            assert!(read.status.success() && words.is_empty(), "{words}");
        }
    }
}
