//! Disks that are frozen, as those who make snapshots of volumes do: a recording in
//! memory does not notice, and one on such a disk waits as long as that.

use std::time::Duration;

use ttlog_tests::check;
use ttlog_tests::disk::{Disk, Frozen, Kind};
use ttlog_tests::guest::{Setup, WORKERS};

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

/// How long they are frozen.
const A_SECOND: Duration = Duration::from_secs(1);

/// The kinds that can be.
const DISKS: [Kind; 4] = [Kind::Ext2, Kind::Ext4, Kind::Xfs, Kind::Btrfs];

#[test]
fn a_recording_in_memory_never_waits_while_every_disk_is_frozen() {
    let disks: Vec<Disk> = DISKS.into_iter().filter_map(Disk::new).collect();
    let Some(memory) = Disk::new(Kind::Tmpfs) else {
        return;
    };
    let setup = Setup::in_directory(GUEST, memory.recordings());
    let guest = setup.records(|guest| {
        let _frozen: Vec<Frozen<'_>> = disks.iter().map(Disk::freeze).collect();
        std::thread::sleep(A_SECOND);
        guest.goes_on(10_000);
    });
    assert_eq!(guest.sleeps(), 0, "{:?}", guest.waits());
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
    eprintln!("in memory: {:?}", guest.waits());
}

/// It waits, which is the price of a disk, and loses nothing.
fn on_the_frozen_disk(kind: Kind) {
    let Some(disk) = Disk::new(kind) else {
        return;
    };
    let setup = Setup::in_directory(GUEST, disk.recordings());
    let guest = setup.records(|guest| {
        let frozen = disk.freeze();
        std::thread::sleep(A_SECOND);
        if guest.has_recorder() {
            guest.stands_still();
        }
        drop(frozen);
        guest.goes_on(10_000);
    });
    assert!(guest.sleeps() > 0, "{:?}", guest.waits());
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
    eprintln!("on {kind:?}: {:?}", guest.waits());
}

#[test]
fn a_recording_on_a_frozen_ext2_waits_and_goes_on() {
    on_the_frozen_disk(Kind::Ext2);
}

#[test]
fn a_recording_on_a_frozen_ext4_waits_and_goes_on() {
    on_the_frozen_disk(Kind::Ext4);
}

#[test]
fn a_recording_on_a_frozen_xfs_waits_and_goes_on() {
    on_the_frozen_disk(Kind::Xfs);
}

#[test]
fn a_recording_on_a_frozen_btrfs_waits_and_goes_on() {
    on_the_frozen_disk(Kind::Btrfs);
}
