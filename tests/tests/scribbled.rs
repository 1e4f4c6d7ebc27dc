//! A ring that the application scribbles over while it records: the host goes on, and
//! the reader shows nothing that was never said.

use ttlog_format::salvage;
use ttlog_tests::Violation;
use ttlog_tests::check;
use ttlog_tests::guest::{Guest, Setup, WARM, WORKERS};
use ttlog_tests::scribble::nothing_invented;
use ttlog_tests::victim::scratch;

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

/// How many seeds there are, of up to 50 wild words each; half of them in a dev build.
const SEEDS: u64 = if cfg!(debug_assertions) {
    5_000
} else {
    10_000
};

/// How many seeds have scribbled when the reader looks.
const AT_ONCE: u64 = 8;

/// What the reader saw.
#[derive(Debug, Default)]
struct Seen {
    times: u64,
    /// Times that neither header was left.
    without_header: u64,
    events: u64,
}

/// Scribbles over a ring by the seeds from one to before another.
fn scribbled(from: u64, to: u64) {
    let home = scratch();
    let seen = std::cell::RefCell::new(Seen::default());
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        for seed in (from..to).step_by(AT_ONCE as usize) {
            guest.does(&format!("scribble {seed} {}", seed + AT_ONCE));
            if guest.has_recorder() {
                look(guest, &mut seen.borrow_mut())
                    .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }
            guest.does("heal");
        }
        // Once around, all is as if nothing had been.
        guest.goes_on(10_000);
    });
    let seen = seen.into_inner();
    eprintln!("{seen:?}, {:?}, {:?}", guest.waits(), guest.note("stats"));
    assert!(seen.without_header < seen.times / 2, "{seen:?}");
    assert!(seen.events > seen.times * 1000, "{seen:?}");
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
}

fn look(guest: &Guest, seen: &mut Seen) -> Result<(), Violation> {
    seen.times += 1;
    let bytes = std::fs::read(guest.path()).expect("the recording");
    match salvage::salvage(&bytes[..]) {
        Ok(recording) => seen.events += nothing_invented(&recording, &guest.acks())?,
        Err(_) => seen.without_header += 1,
    }
    Ok(())
}

#[test]
fn a_host_that_scribbles_over_its_ring_goes_on_and_nothing_is_invented() {
    scribbled(0, SEEDS / 2);
}

#[test]
fn nor_is_it_with_other_seeds() {
    scribbled(SEEDS / 2, SEEDS);
}

/// The negative control: what was said, and is not of the story, is seen.
#[test]
fn what_was_never_said_would_be_seen() {
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        guest.goes_on(WARM);
        guest.does("lie");
    });
    let recording = guest.recording().recording;
    let error = nothing_invented(&recording, &guest.acks()).expect_err("a lie");
    assert!(error.to_string().contains("never said"), "{error}");
}
