//! Hosts that change who they are or what they see after the start, and others who move
//! or remove what is recorded: the recording goes on where it is.

use std::path::Path;

use ttlog_tests::check;
use ttlog_tests::confined::is_root;
use ttlog_tests::guest::{Guest, Setup, WORKERS};
use ttlog_tests::victim::{files, scratch};

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

/// Of each worker, as many events as go around a recording of 1 MiB twice.
const ROUNDS: u64 = 10_000;

#[track_caller]
fn has_told_all(guest: &Guest) {
    tells_all(guest, &guest.path());
}

#[track_caller]
fn tells_all(guest: &Guest, path: &Path) {
    let recording = ttlog_tests::daemon::opened(path).recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
}

/// It has made snapshots where it was asked to.
#[track_caller]
fn has_snapshots(guest: &Guest, count: usize) {
    let snapshots = guest.snapshots();
    assert_eq!(snapshots.len(), count, "{:?}", guest.note("snapshot-error"));
}

#[test]
fn who_has_another_root_records_on_and_makes_snapshots_where_it_was_asked_to() {
    if !is_root() {
        return;
    }
    let (home, root) = (scratch(), scratch());
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        guest.does(&format!("chroot {}", root.path().display()));
        guest.does("snapshot");
        guest.goes_on(ROUNDS);
    });
    has_told_all(&guest);
    has_snapshots(&guest, 1);
    assert_eq!(files(root.path()), [] as [&Path; 0]);
}

#[test]
fn who_is_another_user_records_on() {
    if !is_root() {
        return;
    }
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        guest.does("user 65534");
        guest.does("snapshot");
        guest.does("panic");
        guest.goes_on(ROUNDS);
    });
    has_told_all(&guest);
    // The directory is root's alone.
    let error = guest.note("snapshot-error").expect("an error");
    assert!(error.contains("Permission denied"), "{error}");
}

#[test]
fn who_is_another_user_in_another_root_records_on() {
    if !is_root() {
        return;
    }
    let (home, root) = (scratch(), scratch());
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        guest.does(&format!("chroot {}", root.path().display()));
        guest.does("user 65534");
        guest.does("snapshot");
        guest.does("panic");
        guest.goes_on(ROUNDS);
    });
    has_told_all(&guest);
    assert_eq!(files(root.path()), [] as [&Path; 0]);
}

/// Makes a copy of a program that becomes its owner, root, whoever starts it.
const OWNED_BY_ROOT: &str = "chmod 755 . && mkdir bin && mount -t tmpfs tmpfs bin && \
     cp \"$0\" bin/guest && chmod 4755 bin/guest && mount -t tmpfs tmpfs /dev/shm && \
     set -- ./bin/guest \"$@\"";

#[test]
fn who_has_more_rights_than_its_caller_does_not_ask_the_callers_environment() {
    if !is_root() {
        return;
    }
    let setup = Setup::in_the_default_place(GUEST)
        .after(OWNED_BY_ROOT)
        .by("exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\" #")
        .env("TTLOG", "off")
        .env("TTLOG_DIR", "other")
        .env("TTLOG_SNAPSHOT_DIR", "other")
        .env("TTLOG_FILTER", "off")
        .capacity_mib(2);
    let guest = setup.records(|guest| guest.goes_on(ROUNDS));
    has_told_all(&guest);
    let path = guest.outcome().expect("a recording");
    assert!(path.starts_with("/dev/shm/ttlog-0"), "{}", path.display());
    let header = guest.recording().recording.header;
    assert_eq!(header.asked_bytes, 10 << 20, "{header:?}");
    assert!(!guest.home().join("other").exists());
}

#[test]
fn a_directory_with_another_name_is_recorded_in_all_the_same() {
    let home = scratch();
    let [before, after] = ["before", "after"].map(|name| home.path().join(name));
    let guest = Setup::in_directory(GUEST, &before).records(|guest| {
        if guest.has_recorder() {
            std::fs::rename(&before, &after).expect("another name");
        }
        guest.does("snapshot");
        guest.goes_on(ROUNDS);
    });
    has_snapshots(&guest, 1);
    let paths = files(&after);
    let [path] = paths.as_slice() else {
        panic!("one recording, not {paths:?}")
    };
    tells_all(&guest, path);
    assert!(!before.exists());
}

#[test]
fn a_directory_that_is_removed_with_all_that_was_in_it_is_no_matter() {
    let home = scratch();
    let directory = home.path().join("recordings");
    let guest = Setup::in_directory(GUEST, &directory).records(|guest| {
        if guest.has_recorder() {
            std::fs::remove_dir_all(&directory).expect("an end of the directory");
        }
        guest.does("snapshot");
        guest.goes_on(ROUNDS);
        guest.does("snapshot");
    });
    has_snapshots(&guest, 2);
    assert!(!directory.exists());
}

#[test]
fn a_recording_that_is_removed_is_no_matter_and_its_snapshots_are_whole() {
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        if guest.has_recorder() {
            std::fs::remove_file(guest.path()).expect("an end of the recording");
        }
        guest.goes_on(ROUNDS);
        guest.does("panic");
        guest.does("snapshot");
        guest.goes_on(ROUNDS);
    });
    has_snapshots(&guest, 2);
    for path in guest.snapshots() {
        let ledger = ttlog_tests::daemon::opened(&path).recording.ledger;
        assert!(
            ledger.counts.torn == 0 && ledger.counts.readable > 1000,
            "{ledger:?}"
        );
    }
    assert_eq!(files(home.path()), [] as [&Path; 0]);
}

#[test]
fn another_file_in_the_place_of_a_recording_stays_what_it_is() {
    let home = scratch();
    let guest = Setup::in_directory(GUEST, home.path()).records(|guest| {
        if guest.has_recorder() {
            std::fs::remove_file(guest.path()).expect("an end of the recording");
            std::fs::write(guest.path(), "another's").expect("a file");
        }
        guest.goes_on(ROUNDS);
        guest.does("panic");
        guest.does("snapshot");
    });
    assert_eq!(
        std::fs::read(guest.path()).expect("still there"),
        b"another's"
    );
}
