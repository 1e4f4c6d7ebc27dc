//! A recording that is bigger than the memory that is taken to read it.

use std::path::{Path, PathBuf};
use std::process::Command;

use ttlog_tests::peak::peak_kib;
use ttlog_tests::reader::program;
use ttlog_tests::victim::scratch;

const FILLER: &str = env!("CARGO_BIN_EXE_filler");

/// Of a recording that is not kept in memory while it is told.
const CAPACITY_MIB: u64 = 48;

/// What reading it may take: the reader itself, its index of the blocks, and what is open.
const MOST_KIB: u64 = 16 << 10;

/// A full recording, whose process is gone.
fn full(home: &Path) -> PathBuf {
    let mut filler = Command::new(FILLER);
    let filler = filler.arg("fill").arg(home).arg(CAPACITY_MIB.to_string());
    let output = filler.output().expect("it runs");
    let path = String::from_utf8(output.stdout).expect("UTF-8");
    PathBuf::from(path.trim_end())
}

#[test]
fn reading_takes_memory_for_the_blocks_and_not_for_the_events() {
    let home = scratch();
    let recording = full(home.path());
    let bytes = std::fs::metadata(&recording).expect("a recording").len();
    assert!(bytes >= CAPACITY_MIB << 20);
    let out = home.path().join("all.bin");
    let out = out.to_str().expect("UTF-8");
    for args in [
        &["view"][..],
        &["view", "--spans", "-n", "100"],
        &["info"],
        &["postmortem"],
        &["stats"],
        &["spans"],
        &["export", "--all", "-o", out],
    ] {
        let mut reader = Command::new(program(Path::new(FILLER)));
        let (kib, status) = peak_kib(reader.args(args).arg(&recording));
        assert_eq!(status, 0, "{args:?}");
        assert!(kib < MOST_KIB, "{args:?} took {kib} KiB");
    }
}

/// What would have been found, had it been so.
#[test]
fn whoever_keeps_all_events_is_found_out() {
    let home = scratch();
    let recording = full(home.path());
    let mut whole = Command::new(FILLER);
    let (kib, status) = peak_kib(whole.arg("keep").arg(&recording));
    assert_eq!(status, 0);
    assert!(kib > 2 * MOST_KIB, "{kib} KiB");
}
