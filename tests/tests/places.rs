//! Containers whose memory, disk or temporary directory is missing, small, read-only
//! or something else than it is called: the default place is the next best, or an error.

use std::path::{Path, PathBuf};

use ttlog_tests::check;
use ttlog_tests::confined::is_root;
use ttlog_tests::disk::{Disk, Kind};
use ttlog_tests::guest::{Guest, Setup, WORKERS};
use ttlog_tests::victim::files;

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

/// Of each worker, as many events as go around a recording of 1 MiB twice.
const ROUNDS: u64 = 10_000;

/// A /dev/shm with these options.
fn memory(options: &str) -> String {
    format!("mount -t tmpfs -o {options} tmpfs /dev/shm")
}

/// A /dev in which nothing is but what every program needs.
const NO_MEMORY: &str = "mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3";

/// All is read-only but the guest's own directory, in which it stays.
const READ_ONLY: &str = "mount --bind $PWD $PWD && mount -o remount,bind,ro / && cd $PWD";

/// A guest whose temporary directory is its own, after a shell has done `first`.
fn setup(first: impl Into<String>) -> Setup {
    Setup::in_the_default_place(GUEST).after(first)
}

/// Goes on for a while and has told all; in which directory it has recorded.
#[track_caller]
fn records(setup: &Setup) -> (Guest, PathBuf) {
    let guest = setup.records(|guest| guest.goes_on(ROUNDS));
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
    let path = guest.outcome().expect("a recording");
    let directory = path.parent().expect("a directory").to_owned();
    (guest, directory)
}

#[track_caller]
fn records_in_memory(setup: &Setup) -> Guest {
    let (guest, directory) = records(setup);
    assert_eq!(directory, Path::new("/dev/shm/ttlog-0"));
    guest
}

#[track_caller]
fn records_in_a_temporary_file(setup: &Setup) {
    let (guest, directory) = records(setup);
    assert_eq!(directory, guest.home().join("ttlog-0"));
}

#[test]
fn docker_s_64_mebibytes_of_memory_are_enough() {
    if is_root() {
        records_in_memory(&setup(memory("size=64m")).capacity_mib(10));
    }
}

#[test]
fn memory_where_nothing_may_be_executed_or_owned_is_enough() {
    if is_root() {
        records_in_memory(&setup(memory("noexec,nosuid,nodev")));
    }
}

#[test]
fn memory_without_a_limit_is_enough() {
    if is_root() {
        records_in_memory(&setup(memory("size=0")));
    }
}

#[test]
fn memory_of_one_mebibyte_is_too_little_and_a_temporary_file_is_not() {
    if is_root() {
        records_in_a_temporary_file(&setup(memory("size=1m")));
    }
}

#[test]
fn memory_without_inodes_is_no_memory() {
    if is_root() {
        records_in_a_temporary_file(&setup(memory("nr_inodes=1")));
    }
}

#[test]
fn memory_that_is_read_only_is_no_memory() {
    if is_root() {
        records_in_a_temporary_file(&setup(memory("ro")));
    }
}

#[test]
fn without_memory_a_temporary_file_is_recorded_in() {
    if is_root() {
        records_in_a_temporary_file(&setup(NO_MEMORY));
    }
}

#[test]
fn memory_that_is_a_disk_is_no_memory() {
    let Some(disk) = Disk::new(Kind::Ext4) else {
        return;
    };
    let bind = format!("mount --bind {} /dev/shm", disk.path().display());
    records_in_a_temporary_file(&setup(bind));
}

#[test]
fn a_root_that_is_read_only_is_no_matter_while_there_is_memory() {
    if is_root() {
        let first = format!("{} && {READ_ONLY}", memory("size=64m"));
        records_in_memory(&setup(first));
    }
}

#[test]
fn a_root_that_is_read_only_is_an_error_without_memory() {
    if !is_root() {
        return;
    }
    let setup = setup(format!("{NO_MEMORY} && {READ_ONLY}")).env("TMPDIR", "/tmp");
    let error = setup.is_refused();
    for words in [
        "/dev/shm",
        "/tmp/ttlog-0",
        "Read-only file system",
        "TTLOG_DIR",
    ] {
        assert!(error.contains(words), "not {words:?}: {error}");
    }
}

#[test]
fn a_temporary_directory_that_is_read_only_costs_the_snapshot_and_not_the_recording() {
    if !is_root() {
        return;
    }
    let first = format!("{} && {READ_ONLY}", memory("size=64m"));
    let guest = setup(first).env("TMPDIR", "/tmp").records(|guest| {
        guest.does("snapshot");
        guest.does("panic");
        guest.goes_on(ROUNDS);
    });
    let error = guest.note("snapshot-error").expect("an error");
    assert!(error.contains("/tmp"), "{error}");
}

#[test]
fn no_proc_and_no_sys_is_no_matter() {
    if is_root() {
        let first = format!(
            "{} && mount -t tmpfs tmpfs /sys && mount -t tmpfs tmpfs /proc",
            memory("size=64m")
        );
        records_in_memory(&setup(first));
    }
}

#[test]
fn files_that_a_process_serves_are_refused() {
    let Some(disk) = Disk::new(Kind::Fuse) else {
        return;
    };
    let error = Setup::in_directory(GUEST, disk.recordings()).is_refused();
    assert!(error.contains("is on FUSE"), "{error}");
    assert!(error.contains("on a local file system"), "{error}");
    assert_eq!(files(&disk.recordings()), [] as [&Path; 0]);
}

#[test]
fn what_is_no_place_for_files_at_all_is_an_error() {
    if !is_root() {
        return;
    }
    for directory in ["/proc/self", "/sys/kernel", "/dev/null", "/dev/full/below"] {
        let error = Setup::in_directory(GUEST, directory).is_refused();
        assert!(error.contains(directory), "{error}");
    }
}
