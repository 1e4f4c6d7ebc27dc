//! Copies of real recordings, damaged in five ways: what is not damaged is read, all of
//! it, once, and nothing else.
//!
//! `TTLOG_TESTS_CORRUPTIONS=10000` has so many copies damaged; those that are not read right
//! and their originals are kept in the directory that `TTLOG_TESTS_KEEP` names. The damage is
//! by seeds and the same in every run, the recordings are not: what is lost may need both.

use std::path::Path;

use ttlog_tests::corrupt::{self, Copy, Original, Report};
use ttlog_tests::{Tally, tally};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// Copies, unless somebody asks for more; of so many the recordings are the same.
const COPIES: u64 = 250;

fn originals() -> Vec<Original> {
    corrupt::originals(Path::new(VICTIM))
}

#[test]
fn what_is_not_damaged_is_told_all_of_it_and_nothing_else() {
    let corruptions = Tally::of("corruptions", COPIES);
    let mut report = Report::default();
    for first in (0..corruptions.wanted()).step_by(COPIES as usize) {
        let seeds = first..corruptions.wanted().min(first + COPIES);
        report.append(corrupt::damaged(&originals(), seeds, || corruptions.add(1)));
    }
    print!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    for line in report.to_string().lines() {
        corruptions.note(line);
    }
}

/// The control: a reader that believes every record at its face must not get past.
#[test]
fn a_reader_that_asks_for_no_check_would_be_found() {
    let originals = [originals().swap_remove(0)];
    let whole = &originals[0];
    let told = corrupt::believed(whole.bytes()).expect("a recording");
    let judged = whole.judge(&Copy::new(whole.bytes()), &told);
    judged.unwrap_or_else(|violation| panic!("nothing is damaged: {violation}"));
    // Flipped bits, every time.
    let seeds = (0..20).map(|seed| seed * 5);
    let report = corrupt::damage(&originals, seeds, corrupt::believed, || {});
    let is_false = |violation: &str| violation.starts_with("false");
    let failures = report.failures.iter();
    let found = failures.filter(|(.., violation)| is_false(&violation.to_string()));
    let found: Vec<_> = found.collect();
    assert!(found.len() > 5, "{report}");
    let (_, damage, words) = found[0];
    tally::found("corruptions", format!("{damage:?}: {words}"));
}

/// The control: an event that was altered, with a check that is right.
#[test]
fn an_event_that_nobody_said_would_be_found() {
    let original = originals().swap_remove(0);
    let bytes = corrupt::altered(&original).expect("an event");
    let told = corrupt::salvaged(&bytes).expect("a recording");
    let violation = original.judge(&Copy::new(&bytes), &told);
    let violation = violation.expect_err("an event was altered").to_string();
    assert!(violation.starts_with("false: the values"), "{violation}");
    tally::found("corruptions", violation);
    // And it is not for nothing that nothing else is found.
    let told = corrupt::salvaged(original.bytes()).expect("a recording");
    let figures = original.judge(&Copy::new(original.bytes()), &told);
    let figures = figures.unwrap_or_else(|violation| panic!("{violation}"));
    assert!(
        figures.records > 1000 && figures.damaged == 0,
        "{figures:?}"
    );
}
