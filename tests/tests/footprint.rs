//! How much memory a recorder takes beside its mapping, and how a recording that is too
//! large to be faulted in at once is: behind the start, to nobody's harm.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{self, Signal};
use tempfile::TempDir;
use ttlog_tests::footprint::Footprint;
use ttlog_tests::victim::{files, forgets_the_recorder, scratch};
use ttlog_tests::{Plan, Victim, What, check};

const FOOTPRINT: &str = env!("CARGO_BIN_EXE_footprint");
const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// Of the default capacity, and of one that takes a while to fault in.
const DEFAULT_MIB: u32 = 10;
const LARGE_MIB: u32 = 192;

/// What is faulted in before a start returns, at most, in KiB.
const BEGINNING_KIB: u64 = 16 << 10;

type Numbers = BTreeMap<String, u64>;

/// What the program printed in an act, by word; and its recordings.
fn plays(act: &str, mib: u32, environment: &[(&str, &str)]) -> (Numbers, TempDir) {
    let home = scratch();
    let mut command = Command::new(FOOTPRINT);
    command.args([act, &mib.to_string()]).arg(home.path());
    forgets_the_recorder(&mut command).envs(environment.iter().copied());
    let output = command.output().expect("it runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let numbers = lines.map(|(word, number)| (word.to_owned(), number.parse().expect("a number")));
    (numbers.collect(), home)
}

fn is_in_memory() -> bool {
    let there = Path::new("/dev/shm").is_dir();
    if !there {
        eprintln!("SKIPPED: there is no /dev/shm, whose pages could be told from others");
    }
    there
}

/// By how many KiB of private memory an act takes more than the same without a recorder.
fn takes(act: &str, environment: &[(&str, &str)]) -> u64 {
    let anonymous = |act| plays(act, DEFAULT_MIB, environment).0["anonymous"];
    anonymous(act).saturating_sub(anonymous("none"))
}

#[test]
fn a_recorder_takes_less_than_a_mebibyte_beside_its_mapping() {
    let own = takes("own", &[]);
    assert!((1..1024).contains(&own), "{own} KiB");
}

/// As where the kernel is set to do it unasked; by a C library that can.
#[test]
fn nor_does_it_where_memory_comes_in_huge_pages() {
    let huge = [("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")];
    let own = takes("own", &huge);
    assert!(own < 1024, "{own} KiB");
}

#[test]
fn a_recorder_that_keeps_two_more_is_found_out() {
    let careless = takes("careless", &[]);
    assert!(careless > 2048, "{careless} KiB");
}

#[test]
fn the_default_is_faulted_in_by_the_start_and_a_process_of_one_thread_stays_one() {
    let (starts, _home) = plays("starts", DEFAULT_MIB, &[]);
    assert_eq!(starts["threads-made"], 0);
    if is_in_memory() {
        assert_eq!(starts["mapped"], starts["whole"]);
    }
}

#[test]
fn of_a_large_one_the_beginning_is_and_the_rest_by_a_thread_that_ends() {
    if is_in_memory() {
        let (starts, _home) = plays("starts", LARGE_MIB, &[]);
        assert_eq!(starts["threads-made"], 1);
        assert!(starts["mapped"] >= BEGINNING_KIB, "{starts:?}");
        assert!(starts["whole"] > u64::from(LARGE_MIB) << 10, "{starts:?}");
    }
}

#[test]
fn who_is_killed_while_the_rest_is_faulted_in_has_told_all() {
    const TRIES: u32 = 10;
    let killed_meanwhile = |_| {
        let plan = Plan::new(What::Tell).threads(2).capacity_mib(LARGE_MIB);
        let mut victim = Victim::start(VICTIM, &plan);
        victim.until("began");
        signal::kill(victim.pid(), Signal::SIGSTOP).expect("it lives");
        let mapped = Footprint::of(&victim.pid().to_string()).shared;
        victim.dies_by(Signal::SIGKILL);
        let opened = victim.recording();
        check::story(&opened.recording, &victim.acks(), 2)
            .and_then(|()| check::verdict(&opened, "killed"))
            .unwrap_or_else(|violation| panic!("{violation}"));
        mapped < opened.recording.header.layout.file_bytes() / 1024
    };
    if is_in_memory() && !(0..TRIES).any(killed_meanwhile) {
        eprintln!("SKIPPED: it was always faulted in by then");
    }
}

#[test]
fn forks_and_snapshots_while_the_rest_is_faulted_in_harm_nobody() {
    let (divides, home) = plays("divides", LARGE_MIB, &[]);
    if divides["under-way"] == 0 {
        eprintln!("SKIPPED: it was faulted in by then");
    }
    let mut told: Vec<u64> = Vec::new();
    for path in files(home.path()) {
        let opened = ttlog_reader::open(&path).expect("what it left");
        check::whole(&opened.recording).unwrap_or_else(|violation| panic!("{violation}"));
        told.push(opened.recording.ledger.counts.readable);
    }
    told.sort_unstable();
    // The child's, the snapshot's, and the parent's.
    assert_eq!(told, [1, 1, 2]);
}

#[test]
fn a_large_one_that_loses_its_file_meanwhile_takes_no_memory_for_it() {
    let (lost, _home) = plays("is-truncated", LARGE_MIB, &[]);
    assert!(lost["anonymous"] < 2048, "{lost:?}");
}
