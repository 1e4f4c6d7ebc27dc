//! Limits of resources, reached before the start or after it: less is recorded, or
//! nothing, and the host is never the one who pays.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ttlog_tests::check;
use ttlog_tests::confined::is_root;
use ttlog_tests::guest::{Guest, Setup, WARM, WORKERS};
use ttlog_tests::victim::{files, scratch};

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

const NOBODY: u32 = 65534;

/// Of each worker, as many events as go around a small recording twice.
const ROUNDS: u64 = 10_000;

#[track_caller]
fn has_told_all(guest: &Guest) {
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
}

/// It has made the snapshots that it was asked for, or knows why not.
#[track_caller]
fn has_a_snapshot_or_a_reason(guest: &Guest) -> Option<String> {
    let reason = guest.note("snapshot-error");
    assert_eq!(reason.is_some(), guest.snapshots().is_empty(), "{reason:?}");
    reason
}

#[test]
fn a_limit_of_the_file_size_below_the_capacity_is_kept_and_said() {
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path()).capacity_mib(16);
    let guest = setup.after("ulimit -f 4096").records(|guest| {
        guest.goes_on(ROUNDS);
        guest.does("snapshot");
    });
    has_told_all(&guest);
    let header = guest.recording().recording.header;
    assert!(header.limited_by.contains("RLIMIT_FSIZE"), "{header:?}");
    assert!(header.layout.file_bytes() <= 4 << 20, "{header:?}");
    assert_eq!(has_a_snapshot_or_a_reason(&guest), None);
}

#[test]
fn a_limit_of_the_file_size_below_a_mebibyte_is_an_error() {
    for kib in [0, 1, 64, 1023] {
        let home = scratch();
        let setup = Setup::in_directory(GUEST, home.path());
        let setup = setup.after(format!("ulimit -S -f {kib}"));
        let words = ["start", "limit fsize -"];
        let error = setup.obeying(&words).is_refused();
        assert!(error.contains("RLIMIT_FSIZE is"), "{error}");
        assert!(error.contains("raise the limit"), "{error}");
        assert_eq!(files(home.path()), [] as [&Path; 0], "{error}");
    }
}

#[test]
fn a_limit_of_the_file_size_that_comes_later_costs_at_most_the_snapshot() {
    for bytes in [0, 1, 4096, 10_000] {
        let home = scratch();
        let setup = Setup::in_directory(GUEST, home.path());
        let guest = setup.records(|guest| {
            guest.does(&format!("limit fsize {bytes}"));
            guest.does("snapshot");
            guest.goes_on(ROUNDS);
            guest.does("panic");
            guest.does("limit fsize -");
            guest.goes_on(ROUNDS);
        });
        has_told_all(&guest);
        has_a_snapshot_or_a_reason(&guest);
    }
}

#[test]
fn too_little_address_space_is_an_error() {
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path()).capacity_mib(256);
    let words = ["room as 131072", "start", "limit as -"];
    let error = setup.obeying(&words).is_refused();
    assert!(error.contains("cannot map"), "{error}");
    assert_eq!(files(home.path()), [] as [&Path; 0], "{error}");
}

/// However little there is, somewhere in the start it is too little, or it is enough.
fn with_little_room(limit: &str) -> (usize, usize) {
    let mut tally = (0, 0);
    for step in 0..28 {
        let home = scratch();
        let setup = Setup::in_directory(GUEST, home.path());
        let words = [
            &format!("room {limit} {}", step * 128),
            "start",
            &format!("limit {limit} -"),
        ];
        let guest = setup.obeying(&words).same(|guest| guest.goes_on(WARM));
        guest.is_well();
        match guest.outcome() {
            Ok(_) => {
                has_told_all(&guest);
                tally.0 += 1;
            }
            Err(error) => {
                assert_eq!(files(home.path()), [] as [&Path; 0], "{error}");
                tally.1 += 1;
            }
        }
    }
    tally
}

#[test]
fn little_address_space_is_enough_or_an_error() {
    let (enough, errors) = with_little_room("as");
    assert!(enough > 0 && errors > 0, "{enough}, {errors}");
}

#[test]
fn little_private_memory_is_enough_or_an_error() {
    let (enough, errors) = with_little_room("data");
    assert!(enough > 0 && errors > 0, "{enough}, {errors}");
}

#[test]
fn no_descriptor_at_the_start_is_an_error() {
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path()).after("ulimit -S -n 32");
    let words = ["descriptors", "start", "limit nofile -"];
    let error = setup.obeying(&words).is_refused();
    assert!(error.contains("Too many open files"), "{error}");
    assert_eq!(files(home.path()), [] as [&Path; 0], "{error}");
}

#[test]
fn no_descriptor_later_costs_at_most_the_snapshot() {
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path()).after("ulimit -S -n 32");
    let guest = setup.records(|guest| {
        guest.does("descriptors");
        guest.does("snapshot");
        guest.goes_on(ROUNDS);
        guest.does("panic");
        guest.does("limit nofile -");
        guest.goes_on(ROUNDS);
        guest.does("snapshot");
    });
    has_told_all(&guest);
    assert_ne!(
        guest.note("snapshot"),
        None,
        "{:?}",
        guest.note("snapshot-error")
    );
}

#[test]
fn no_locked_memory_is_no_matter() {
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path()).after("ulimit -l 0");
    let guest = setup.records(|guest| guest.goes_on(ROUNDS));
    has_told_all(&guest);
}

#[test]
fn no_thread_to_be_had_costs_at_most_the_snapshot() {
    if !is_root() {
        return;
    }
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        guest.does("user 65534");
        guest.does("limit nproc 0");
        guest.does("snapshot");
        guest.does("panic");
        guest.goes_on(ROUNDS);
    });
    has_told_all(&guest);
    let reason = has_a_snapshot_or_a_reason(&guest).expect("an error");
    assert!(reason.contains("no thread"), "{reason}");
}

/// The host is told that there is no recorder, and may have a subscriber of its own.
#[test]
fn no_thread_for_the_signals_that_were_asked_for_is_an_error_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let home = scratch();
    let directory = home.path().join("recordings");
    std::fs::create_dir(&directory).expect("a directory");
    std::os::unix::fs::chown(&directory, Some(NOBODY), None).expect("its owner");
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
    let words = [
        "user 65534",
        "limit nproc 0",
        "start-for-signals",
        "limit nproc -",
    ];
    let setup = Setup::in_directory(GUEST, &directory).obeying(&words);
    let guest = setup.same(|guest| {
        assert_eq!(guest.does("subscriber"), "installed");
        guest.goes_on(ROUNDS);
    });
    guest.is_well();
    let error = guest.outcome().expect_err("an error");
    assert!(error.contains("cannot start a thread"), "{error}");
    assert_eq!(files(&directory), [] as [&Path; 0], "{error}");
}

#[test]
fn an_abort_is_the_same_abort_whatever_the_limit_of_a_core() {
    for limit in ["0", "4", "unlimited"] {
        let home = scratch();
        let setup = Setup::in_directory(GUEST, home.path()).after(format!("ulimit -c {limit}"));
        let guest = setup.same(|guest| guest.is_told("abort"));
        assert_eq!(guest.end().status, Ok(6), "{:?}", guest.end());
        has_told_all(&guest);
    }
}

#[test]
fn a_small_stack_is_enough() {
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path()).after("ulimit -s 160");
    let guest = setup.records(|guest| {
        guest.does("snapshot");
        guest.goes_on(ROUNDS);
    });
    has_told_all(&guest);
    assert_eq!(has_a_snapshot_or_a_reason(&guest), None);
}
