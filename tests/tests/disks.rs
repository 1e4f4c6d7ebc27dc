//! A disk that is full, nearly full or filling up: an error at the start, or nothing
//! that the host would notice.

use std::path::Path;

use ttlog_format::header::Layout;
use ttlog_tests::check;
use ttlog_tests::daemon::eventually;
use ttlog_tests::disk::{Disk, Kind};
use ttlog_tests::guest::{Guest, Setup, WORKERS};
use ttlog_tests::victim::files;

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

const MIB: u64 = 1 << 20;

/// What the guests here ask for.
const CAPACITY_MIB: u32 = 1;

/// Of each worker, as many events as go around a recording of this size twice.
const ROUNDS: u64 = 10_000;

fn setup(disk: &Disk) -> Setup {
    Setup::in_directory(GUEST, disk.recordings()).capacity_mib(CAPACITY_MIB)
}

/// Bytes of what the guests here ask for.
fn file_bytes() -> u64 {
    let blocks = CAPACITY_MIB * 256;
    Layout {
        span_slots: 64,
        blocks,
    }
    .file_bytes()
}

/// Nothing is left of a start that was an error, and no byte taken.
#[track_caller]
fn is_refused(disk: &Disk) {
    let free = disk.free();
    let error = setup(disk).is_refused();
    // What was found, and a way out.
    let path = disk.recordings().display().to_string();
    for words in [
        "no room",
        &path,
        "are to be had",
        "ask for less capacity or for another",
    ] {
        assert!(error.contains(words), "not {words:?}: {error}");
    }
    assert_eq!(files(&disk.recordings()), [] as [&Path; 0], "{error}");
    // Some file systems give back later.
    eventually("free space", || (disk.free() >= free).then_some(()));
}

/// Every event whose call has returned is there, unless it is counted as overwritten.
#[track_caller]
fn has_told_all(guest: &Guest) {
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
    assert!(recording.ledger.counts.overwritten > 0, "once around");
}

fn full(kind: Kind) {
    let Some(disk) = Disk::new(kind) else {
        return;
    };
    let _filler = disk.fill(0);
    is_refused(&disk);
}

fn nearly_full(kind: Kind) {
    let Some(disk) = Disk::new(kind) else {
        return;
    };
    let _filler = disk.fill(file_bytes() - MIB);
    is_refused(&disk);
}

fn room_enough(kind: Kind) {
    let Some(disk) = Disk::new(kind) else {
        return;
    };
    let _filler = disk.fill(file_bytes() + 8 * MIB);
    let guest = setup(&disk).records(|guest| guest.goes_on(ROUNDS));
    has_told_all(&guest);
}

fn filling_up(kind: Kind) {
    let Some(disk) = Disk::new(kind) else {
        return;
    };
    let guest = setup(&disk).records(|guest| {
        let _filler = disk.fill(0);
        guest.goes_on(ROUNDS);
    });
    has_told_all(&guest);
    if matches!(kind, Kind::Tmpfs | Kind::OverlayOnTmpfs) {
        assert_eq!(guest.sleeps(), 0, "{:?}", guest.waits());
    }
    eprintln!("{kind:?}, filling up: {:?}", guest.waits());
}

macro_rules! on {
    ($name:ident, $kind:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn a_full_disk_is_an_error_and_leaves_nothing() {
                full($kind);
            }

            #[test]
            fn a_disk_that_lacks_one_mebibyte_is_an_error_and_leaves_nothing() {
                nearly_full($kind);
            }

            #[test]
            fn a_disk_with_just_enough_room_is_recorded_on() {
                room_enough($kind);
            }

            #[test]
            fn a_disk_that_fills_up_under_a_recording_loses_no_event() {
                filling_up($kind);
            }
        }
    };
}

on!(tmpfs, Kind::Tmpfs);
on!(ext2, Kind::Ext2);
on!(ext4, Kind::Ext4);
on!(xfs, Kind::Xfs);
on!(btrfs, Kind::Btrfs);
on!(overlay_on_tmpfs, Kind::OverlayOnTmpfs);
on!(overlay_on_ext4, Kind::OverlayOnExt4);
