//! SIGBUS that is the host's own: it kills the host, or its handler is called, just as
//! if nobody recorded. One of the recording's is nobody's business.

use std::fs::File;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ttlog_reader::Kind as Verdict;
use ttlog_tests::daemon::eventually;
use ttlog_tests::guest::{Guest, Setup, WORKERS};
use ttlog_tests::victim::scratch;
use ttlog_tests::{check, tally};

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

/// Of each worker, as many events as go around a recording of 1 MiB twice.
const ROUNDS: u64 = 10_000;

const SIGBUS: i32 = 7;

fn loses_its_recording(guest: &Guest) {
    if guest.has_recorder() {
        let file = File::options().write(true).open(guest.path());
        let file = file.expect("the recording");
        file.set_len(0).expect("a shorter file");
    }
}

#[track_caller]
fn has_told_all(guest: &Guest) {
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
}

/// The negative control of all these histories.
#[test]
fn who_ends_otherwise_than_without_a_recorder_would_be_seen() {
    let home = scratch();
    let found = std::panic::catch_unwind(|| {
        let _ = Setup::in_directory(GUEST, home.path()).same(|guest| {
            if guest.has_recorder() {
                guest.is_told("abort");
            }
        });
    });
    let words = found.expect_err("nothing was found");
    let words = words.downcast_ref::<String>().expect("words");
    assert!(words.contains("without: Err("), "{words}");
    tally::found(
        "environment-cases",
        words.lines().next().unwrap_or_default(),
    );
}

#[test]
fn a_fault_of_the_hosts_own_kills_it() {
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).same(|guest| {
        guest.goes_on(ROUNDS);
        guest.is_told("fault");
    });
    assert_eq!(guest.end().status, Ok(SIGBUS), "{:?}", guest.end());
    has_told_all(&guest);
    let verdict = guest.recording().verdict;
    assert_eq!(verdict.kind, Verdict::Signal, "{verdict:?}");
    assert_eq!(verdict.signal, Some(SIGBUS), "{verdict:?}");
}

#[test]
fn a_fault_of_the_hosts_own_kills_it_after_the_recording_lost_its_file() {
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).same(|guest| {
        loses_its_recording(guest);
        guest.goes_on(ROUNDS);
        guest.is_told("fault");
    });
    assert_eq!(guest.end().status, Ok(SIGBUS), "{:?}", guest.end());
}

#[test]
fn a_handler_that_was_there_before_is_called_for_its_own_faults_alone() {
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path());
    let guest = setup.obeying(&["handler", "start"]).records(|guest| {
        assert_eq!(guest.does("fault"), "survived once");
        guest.goes_on(ROUNDS);
        loses_its_recording(guest);
        guest.goes_on(ROUNDS);
        assert_eq!(guest.does("fault"), "survived twice");
        guest.goes_on(ROUNDS);
    });
    let stats = guest.note("stats").expect("numbers");
    assert!(!stats.contains("lost_stretches: 0"), "{stats}");
}

#[test]
fn a_handler_that_comes_later_is_called_for_its_own_faults() {
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        guest.does("handler");
        guest.goes_on(ROUNDS);
        assert_eq!(guest.does("fault"), "survived once");
        guest.goes_on(ROUNDS);
        assert_eq!(guest.does("fault"), "survived twice");
    });
    has_told_all(&guest);
}

/// Whether a signal that was sent waits: as long as it does, another is the same one.
fn is_pending(guest: &Guest, signal: i32) -> bool {
    let status = format!("/proc/{}/status", guest.pid());
    let status = std::fs::read_to_string(&status).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let pending = pending.map_or(0, |set| {
        u64::from_str_radix(set.trim(), 16).expect("a set of signals")
    });
    pending & (1 << (signal - 1)) != 0
}

fn is_delivered(guest: &Guest, signal: i32) {
    eventually("the signal's delivery", || {
        (!is_pending(guest, signal)).then_some(())
    });
}

fn killed(pid: Pid, signal: Signal) {
    kill(pid, signal).expect("a signal");
}

/// With a value, which whoever sends it again may send in the other's name.
fn queued(pid: Pid, signal: Signal) {
    let value = nix::libc::sigval {
        sival_ptr: std::ptr::null_mut(),
    };
    // SAFETY: it sends a process a signal.
    let failed = unsafe { nix::libc::sigqueue(pid.as_raw(), signal as i32, value) };
    assert_eq!(failed, 0);
}

/// The recorder has threads take them for faults of its own alone.
#[test]
fn signals_of_faults_that_are_sent_stay_with_the_kernel_where_all_block_them() {
    let signals = [Signal::SIGBUS, Signal::SIGSEGV, Signal::SIGABRT];
    let ways: [(_, fn(_, _)); 3] = [
        ("start", killed),
        ("start-for-signals", killed),
        ("start", queued),
    ];
    for (start, sent) in ways {
        let home = scratch();
        let setup = Setup::in_directory(GUEST, home.path());
        let guest = setup.obeying(&["block", start]).records(|guest| {
            guest.goes_on(ROUNDS);
            for signal in signals {
                sent(guest.pid(), signal);
            }
            guest.goes_on(ROUNDS);
            eventually("pending signals", || {
                let all = signals.iter().all(|&it| is_pending(guest, it as i32));
                all.then_some(())
            });
        });
        has_told_all(&guest);
    }
}

/// A signal that is sent says nothing of a mapping. Rust's own handler survives the first.
#[test]
fn a_sent_sigbus_does_what_it_did() {
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).same(|guest| {
        for _ in 0..2 {
            guest.goes_on(ROUNDS);
            kill(guest.pid(), Signal::SIGBUS).expect("a signal");
            is_delivered(guest, SIGBUS);
        }
        guest.is_gone();
    });
    assert_eq!(guest.end().status, Ok(SIGBUS), "{:?}", guest.end());
    has_told_all(&guest);
}

/// Threads that block all signals, as those of many servers do. The kernel kills who
/// faults while SIGBUS is blocked, whoever handles it (signal(7), sigprocmask(2)).
#[test]
fn who_blocks_all_signals_survives_a_recording_that_loses_its_file() {
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path());
    setup.obeying(&["block", "start"]).records(|guest| {
        loses_its_recording(guest);
        guest.goes_on(ROUNDS);
    });
}
