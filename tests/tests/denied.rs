//! System calls that a sandbox or an old kernel denies: there is another way, or the
//! start is an error that leaves nothing. Among them are those that fail where a disk
//! has less than it says: a quota, a race for the last room.

use std::path::Path;

use nix::libc::{self, c_long};
use ttlog_tests::check;
use ttlog_tests::guest::{Guest, Setup, WARM};
use ttlog_tests::victim::{files, scratch};

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

/// What such calls are answered with: by sandboxes, and by kernels without them.
const ERRORS: [i32; 2] = [libc::EPERM, libc::ENOSYS];

/// A guest to which a call is denied before it starts: it stays well. Whether it has a
/// recorder, and then it tells all; else nothing is left of it.
#[track_caller]
fn denied(call: c_long, error: i32) -> Result<Guest, String> {
    let home = scratch();
    let directory = home.path().join("recordings");
    std::fs::create_dir(&directory).expect("a directory");
    let words = [&format!("deny {call} {error}"), "start"];
    let setup = Setup::in_directory(GUEST, &directory).obeying(&words);
    let guest = setup.same(|guest| {
        guest.goes_on(WARM);
        guest.does("snapshot");
    });
    guest.is_well();
    match guest.outcome() {
        Ok(_) => {
            let told = check::whole(&guest.recording().recording);
            told.unwrap_or_else(|violation| panic!("call {call}, error {error}: {violation}"));
            Ok(guest)
        }
        Err(reason) => {
            let left = files(&directory);
            assert_eq!(left, [] as [&Path; 0], "call {call}, {error}: {reason}");
            Err(reason)
        }
    }
}

/// Without it there is no recording.
fn is_needed(call: c_long) {
    for error in ERRORS {
        let refused = denied(call, error).map(|guest| guest.path());
        refused.expect_err("an error, and not a recording");
    }
}

/// Without it there is one all the same.
fn is_not_needed(call: c_long) {
    for error in ERRORS {
        let recorded = denied(call, error);
        recorded.unwrap_or_else(|reason| panic!("call {call}, error {error}: {reason}"));
    }
}

#[test]
fn where_nothing_can_be_allocated_there_is_an_error_or_zeros_are_written() {
    for (error, zeros_help) in [
        (libc::EOPNOTSUPP, true),
        (libc::ENOSYS, true),
        (libc::ENOSPC, false),
        (libc::EDQUOT, false),
        (libc::EIO, false),
        (libc::EPERM, false),
    ] {
        let recorded = denied(libc::SYS_fallocate, error);
        assert_eq!(recorded.is_ok(), zeros_help, "{error}: {recorded:?}");
    }
}

#[test]
fn where_the_kernel_takes_no_advice_there_is_an_error() {
    is_needed(libc::SYS_madvise);
}

#[test]
fn where_files_cannot_be_written_at_a_place_there_is_an_error() {
    is_needed(libc::SYS_pwrite64);
}

#[test]
fn where_file_systems_cannot_be_told_apart_there_is_an_error() {
    is_needed(libc::SYS_fstatfs);
}

#[test]
fn where_files_without_a_name_cannot_get_one_there_is_an_error() {
    is_needed(libc::SYS_linkat);
}

#[test]
fn where_files_cannot_be_locked_there_is_an_error() {
    is_needed(libc::SYS_flock);
}

#[test]
fn where_flags_of_files_are_not_to_be_had_there_is_a_recording() {
    is_not_needed(libc::SYS_ioctl);
}

#[test]
fn where_modes_cannot_be_changed_no_directory_is_made_and_there_is_an_error() {
    is_needed(libc::SYS_fchmod);
}

#[test]
fn where_the_kernel_has_no_random_numbers_there_is_a_recording() {
    is_not_needed(libc::SYS_getrandom);
}

#[test]
fn where_the_system_does_not_tell_its_name_there_is_a_recording() {
    is_not_needed(libc::SYS_uname);
}

#[test]
fn where_limits_are_not_to_be_had_there_is_a_recording() {
    is_not_needed(libc::SYS_prlimit64);
}

#[test]
fn where_threads_have_no_names_there_is_a_recording() {
    is_not_needed(libc::SYS_prctl);
}
