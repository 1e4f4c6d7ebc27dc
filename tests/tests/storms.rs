//! Signal handlers that log, whatever they interrupt: recorded, or counted as dropped,
//! and nothing that they interrupted is lost.
//!
//! By default it is ten seconds long, of each adapter; `TTLOG_TESTS_INTERRUPTED_RECORDS` has
//! it go on until so many records were struck while they were open.

use std::path::Path;

use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::{Plan, Played, Tally, Violation, What, build, tally};

const STORM: &str = env!("CARGO_BIN_EXE_storm");

/// How many threads are there all the time.
const TELLERS: u64 = 2;

/// How long a storm is.
const SECONDS: u64 = 10;

/// A storm of so many seconds; how many events were dropped in it.
fn storm(program: &Path, plan: Plan, seconds: u64) -> Result<u64, Violation> {
    let adapter = plan.adapter;
    let plan = plan.threads(TELLERS).events(seconds).capacity_mib(8);
    let played = Played::of(program, "storm", &plan)?;
    let (dropped, struck) = (played.dropped(), played.number("struck"));
    if played.number("dropped") != dropped || dropped > struck {
        return Err(Violation::new(format!(
            "{dropped} dropped, {struck} struck"
        )));
    }
    for worker in 1..=TELLERS {
        played.told_without_a_gap(worker, Some("in the handler"))?;
    }
    eprintln!(
        "{adapter:?}: {} said, {struck} in a handler, {dropped} dropped",
        played.said
    );
    Ok(dropped)
}

#[test]
fn what_handlers_say_is_recorded_or_counted_and_harms_nothing() {
    let interrupted = Tally::of("interrupted-records", 0);
    let mut so_far = 0;
    while so_far == 0 || so_far < interrupted.wanted() {
        for adapter in ADAPTERS {
            let plan = Plan::new(What::Wait).adapter(adapter);
            let dropped = storm(Path::new(STORM), plan, SECONDS);
            let dropped = dropped.unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));
            assert!(
                dropped > 2000,
                "{adapter:?}: {dropped} came within a record"
            );
            interrupted.add(dropped);
            so_far += dropped;
        }
    }
    interrupted.note("by a signal every 25 us, whose handler logs");
}

/// A recorder that lets a handler into an open record must not get away with it.
#[test]
fn a_recorder_without_the_guard_is_found_out() {
    let plan = Plan::new(What::Wait).env(build::BUG, "reentry");
    let storm = storm(&build::seeded(STORM, "storm"), plan, 2);
    tally::found("interrupted-records", storm.expect_err("nothing was found"));
}

#[track_caller]
fn first_events_wait_for_nothing(act: &str) {
    const THREADS: u64 = 2000;
    for adapter in ADAPTERS {
        let plan = Plan::new(What::Wait).adapter(adapter).threads(THREADS);
        let played = Played::of(STORM, act, &plan);
        let played = played.unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));
        assert_eq!((played.said, played.dropped()), (THREADS + 1, 0));
    }
}

#[test]
fn a_first_event_in_a_handler_in_the_middle_of_malloc_waits_for_nothing() {
    first_events_wait_for_nothing("first-events-of-long-names");
}

/// Of the keys of pthreads, glibc keeps the first 32 in the thread itself.
#[test]
fn neither_does_it_where_the_host_had_many_keys_before_the_recorder() {
    first_events_wait_for_nothing("first-events-after-many-keys");
}
