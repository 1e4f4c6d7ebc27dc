//! Values whose fields are denied never get into a file, in whatever way they come; and
//! those that did are not in a copy that was scrubbed.

use std::path::Path;

use ttlog_tests::outcome::Outcome;
use ttlog_tests::secrets;
use ttlog_tests::{Tally, tally};

const SECRETS: &str = env!("CARGO_BIN_EXE_secrets");

#[track_caller]
fn holds(outcome: &Outcome, least: usize) {
    assert!(outcome.cases > least, "{}", outcome.cases);
    assert!(outcome.failures.is_empty(), "{:#?}", outcome.failures);
    Tally::of("secrets", 0).add(outcome.cases as u64);
}

#[test]
fn no_canary_is_in_any_file_unless_nothing_is_redacted() {
    holds(&secrets::look(Path::new(SECRETS)), 200);
}

/// The control: where nothing is redacted, that is found wherever it is looked for.
#[test]
fn a_recorder_that_redacts_nothing_is_found() {
    let outcome = secrets::look_without(Path::new(SECRETS));
    assert!(outcome.failures.len() > 20, "{:#?}", outcome.failures);
    for words in &outcome.failures[..2] {
        tally::found("secrets", words);
    }
}

#[test]
fn no_canary_is_in_a_scrubbed_copy_and_all_else_is() {
    holds(&secrets::scrub(Path::new(SECRETS)), 1000);
}
