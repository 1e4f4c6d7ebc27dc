//! A signal handler that logs, whatever it interrupts: recorded, or counted as dropped.

use std::path::Path;

use ttlog_tests::{Plan, Victim, Violation, What, build, check};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// Lets threads and a signal handler log, and compares what they said with the
/// account; gives how many were dropped.
fn interrupted(program: &Path) -> Result<u64, Violation> {
    let mut victim = Victim::start(program, &Plan::new(What::Signals).capacity_mib(4));
    let line = victim.says();
    let status = victim.ends();
    let said = line
        .strip_prefix("said ")
        .and_then(|said| said.parse::<u64>().ok());
    let (Some(said), true) = (said, status.success()) else {
        return Err(Violation::new(format!("it said {line:?}, {status}")));
    };
    let opened = victim.recording();
    check::verdict(&opened, "ended")?;
    let ledger = opened.recording.ledger;
    if ledger.counts.torn != 0 || ledger.damaged_blocks != 0 || ledger.damaged_spans != 0 {
        return Err(Violation::new(format!("damage: {ledger:?}")));
    }
    if !ledger.exact || ledger.counts.written != said {
        return Err(Violation::new(format!("{said} were said: {ledger:?}")));
    }
    Ok(ledger.counts.dropped)
}

#[test]
fn a_handler_that_logs_is_recorded_or_counted_and_harms_nothing() {
    match interrupted(Path::new(VICTIM)) {
        Ok(dropped) => assert!(dropped > 0, "no signal came within a record"),
        Err(violation) => panic!("{violation}"),
    }
}

/// A recorder that lets a handler into an open record must not get away with it.
#[test]
fn a_recorder_without_the_guard_is_found_out() {
    if let Ok(dropped) = interrupted(&build::seeded(VICTIM, "victim")) {
        panic!("nothing was found, {dropped} were dropped");
    }
}
