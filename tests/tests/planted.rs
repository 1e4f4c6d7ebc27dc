//! What others planted where files are to be made stays as it was, and harms nobody.

use std::path::Path;

use ttlog_tests::outcome::Outcome;
use ttlog_tests::planted::{self, How};
use ttlog_tests::{Tally, tally};

const HOST: &str = env!("CARGO_BIN_EXE_planted");

#[track_caller]
fn holds(outcome: &Outcome, least: usize) {
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
    let is_root = nix::unistd::geteuid().is_root();
    assert!(!is_root || outcome.cases >= least, "{}", outcome.cases);
    Tally::of("planted-objects", 0).add(outcome.cases as u64);
}

#[test]
fn whatever_has_the_name_stays_and_the_file_gets_another() {
    holds(&planted::names(Path::new(HOST), How::Ttlog), 200);
}

#[test]
fn without_a_recorder_the_host_ends_alike() {
    holds(&planted::names(Path::new(HOST), How::None), 100);
}

/// The negative control: who opens whatever is there does harm, and is seen to.
#[test]
fn a_double_that_opens_what_is_there_harms_the_victim() {
    let outcome = planted::names(Path::new(HOST), How::Double);
    let is_root = nix::unistd::geteuid().is_root();
    let names = [
        "Recording",
        "Snapshot",
        "RecordingWithDot",
        "SnapshotWithDot",
    ];
    let names = names
        .into_iter()
        .filter(|name| is_root || !name.ends_with("Dot"));
    for name in names {
        for (object, harm) in [
            ("LinkToFile", "the victim's file was written to"),
            ("HardLink", "the victim's file was written to"),
            ("LinkToNowhere", "what was nowhere is there"),
        ] {
            let what = format!("{object} as {name}: ");
            let mut failures = outcome.failures.iter();
            let seen = failures.find(|words| words.contains(&what) && words.contains(harm));
            let words = seen.unwrap_or_else(|| panic!("{what}{:#?}", outcome.failures));
            tally::found("planted-objects", words);
        }
    }
}

#[test]
fn whatever_is_in_the_place_of_the_directory_stays_and_another_is_taken_or_none() {
    holds(&planted::directories(Path::new(HOST), How::Ttlog), 100);
}

#[test]
fn what_is_planted_while_the_host_runs_harms_nobody() {
    holds(&planted::meanwhile(Path::new(HOST)), 150);
}

#[test]
fn whatever_the_umask_files_are_their_owners_alone() {
    holds(&planted::modes(Path::new(HOST)), 40);
}

#[test]
fn names_in_a_recording_are_no_paths() {
    holds(&planted::hostile_names(Path::new(HOST)), 25);
}
