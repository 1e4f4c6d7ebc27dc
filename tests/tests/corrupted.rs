//! Copies of real recordings, damaged in five ways: what is not damaged is read, all of
//! it, once, and nothing else.
//!
//! `TTLOG_TESTS_CORRUPTIONS=10000` has so many copies damaged.

use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use ttlog_tests::corrupt::{self, Copy, Original, Report};
use ttlog_tests::plan::{ADAPTERS, Adapter};
use ttlog_tests::{Plan, Victim, What};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// Copies, unless somebody asks for more.
const COPIES: u64 = 250;

/// What a victim of this plan leaves, killed after so long.
fn left_by(plan: &Plan, life_ms: u64) -> Original {
    let mut victim = Victim::start(VICTIM, plan);
    victim.until("began");
    victim
        .after(Duration::from_millis(life_ms))
        .dies_by(SIGKILL);
    let bytes = std::fs::read(victim.path()).expect("the recording");
    Original::new(bytes).unwrap_or_else(|violation| panic!("{plan:?}: {violation}"))
}

/// Recordings that have wrapped and such that have not, of several threads, in spans.
fn originals() -> Vec<Original> {
    let tell = |adapter: Adapter, threads, life_ms| {
        let plan = Plan::new(What::Tell).adapter(adapter).threads(threads);
        left_by(&plan.capacity_mib(1), life_ms)
    };
    let churn = Plan::new(What::Churn).threads(1 << 40).events(30);
    vec![
        tell(ADAPTERS[0], 4, 200),
        tell(ADAPTERS[1], 3, 200),
        tell(ADAPTERS[0], 1, 100),
        tell(ADAPTERS[1], 8, 3),
        left_by(&churn.capacity_mib(1), 200),
    ]
}

fn copies() -> u64 {
    let asked = std::env::var("TTLOG_TESTS_CORRUPTIONS").ok();
    asked.map_or(COPIES, |asked| asked.parse().expect("a number of copies"))
}

/// Damages so many copies, on two threads.
fn damaged(originals: &[Original], copies: u64) -> Report {
    std::thread::scope(|scope| {
        let lane = |lane| {
            let seeds = (lane..copies).step_by(2);
            scope.spawn(move || corrupt::damage(originals, seeds, corrupt::salvaged, || {}))
        };
        let lanes = [lane(0), lane(1)];
        let mut report = Report::default();
        for lane in lanes {
            report.append(lane.join().expect("no panic"));
        }
        report
    })
}

#[test]
fn what_is_not_damaged_is_told_all_of_it_and_nothing_else() {
    let originals = originals();
    let report = damaged(&originals, copies());
    print!("{report}");
    assert!(report.failures.is_empty(), "{report}");
}

/// The control: a reader that believes every block at its face must not get past.
#[test]
fn a_reader_that_asks_for_no_check_would_be_found() {
    let originals = [originals().swap_remove(0)];
    let report = corrupt::damage(&originals, 0..20, corrupt::believed, || {});
    assert_eq!(report.failures.len(), 20, "{report}");
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
    // And it is not for nothing that nothing else is found.
    let told = corrupt::salvaged(original.bytes()).expect("a recording");
    let figures = original.judge(&Copy::new(original.bytes()), &told);
    let figures = figures.unwrap_or_else(|violation| panic!("{violation}"));
    assert!(
        figures.records > 1000 && figures.damaged == 0,
        "{figures:?}"
    );
}
