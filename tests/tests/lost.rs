//! Recordings that lose their file, or their disk, while they are written: the host is
//! not the one who dies of it, and the reader says what was lost.

use std::fs::File;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use serde_json::Value as Json;
use ttlog_tests::check;
use ttlog_tests::disk::{Disk, Kind};
use ttlog_tests::guest::{Guest, Setup, WORKERS};
use ttlog_tests::snapper;

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

/// Of each worker, as many events as go around a recording of 1 MiB twice.
const ROUNDS: u64 = 10_000;

const PAGE: u64 = 4096;

/// The recording, opened as by somebody who does not know what it is.
fn file(guest: &Guest) -> File {
    let file = File::options().write(true).open(guest.path());
    file.expect("the recording")
}

/// What `info -o json` says of a recording, and its exit status.
fn info(path: &Path) -> (Option<i32>, Json) {
    let output = snapper::run(
        GUEST,
        ["info".as_ref(), "-o".as_ref(), "json".as_ref(), path],
    );
    let told = serde_json::from_slice(&output.stdout).unwrap_or(Json::Null);
    (output.status.code(), told)
}

/// A guest whose recording `loses` something while it goes on: how `info` ends, and
/// what it says.
fn loses(kind: Kind, loses: impl Fn(&mut Guest)) -> Option<(Option<i32>, Json)> {
    let disk = Disk::new(kind)?;
    let setup = Setup::in_directory(GUEST, disk.recordings());
    let guest = setup.records(|guest| {
        if guest.has_recorder() {
            loses(guest);
        }
        guest.goes_on(ROUNDS);
        guest.does("snapshot");
        guest.does("panic");
        guest.goes_on(ROUNDS);
    });
    let stats = guest.note("stats").expect("numbers");
    assert!(stats.contains("dropped: 0"), "{stats}");
    let (status, info) = info(&guest.path());
    let lost = info["ledger"]["lost_stretches"].as_u64().expect("a number");
    assert!(
        stats.contains(&format!("lost_stretches: {lost}")),
        "{stats}, {info}"
    );
    Some((status, info))
}

/// Behind so many bytes the file ends, and both sides know it.
fn cut(kind: Kind, bytes: u64) {
    let told = loses(kind, |guest| {
        file(guest).set_len(bytes).expect("a shorter file");
    });
    told.iter().for_each(has_lost_a_stretch);
}

fn has_lost_a_stretch((status, info): &(Option<i32>, Json)) {
    let ledger = &info["ledger"];
    assert_ne!(ledger["lost_stretches"], 0, "{info}");
    assert_eq!(ledger["exact"], false, "{info}");
    assert_eq!(*status, Some(3), "{info}");
}

/// The file ends, and some time after is as long as it was.
fn cut_and_grown_again(kind: Kind) {
    let told = loses(kind, |guest| {
        let file = file(guest);
        let bytes = file.metadata().expect("its length").len();
        file.set_len(0).expect("a shorter file");
        guest.goes_on(ROUNDS);
        file.set_len(bytes).expect("a longer file");
    });
    told.iter().for_each(has_lost_a_stretch);
}

/// The blocks become zeros, which is no fault: what is written then is there.
fn punched(kind: Kind) {
    let told = loses(kind, |guest| {
        let header = guest.recording().recording.header;
        let (from, to) = (header.layout.pool_offset(), header.layout.copy_offset());
        punch(&file(guest), from, to - from);
    });
    let Some((_, info)) = told else {
        return;
    };
    // The call sites are lost with the blocks, and what was said since is there.
    let number = |name: &str| info["ledger"][name].as_u64();
    assert!(number("readable") > Some(1000), "{info}");
    assert_eq!(number("events_without_site"), number("readable"), "{info}");
}

fn punch(file: &File, from: u64, bytes: u64) {
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(file, hole, from as i64, bytes as i64).expect("a hole");
}

macro_rules! on {
    ($name:ident, $kind:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn a_file_that_is_cut_to_nothing_is_no_matter_for_the_host() {
                cut($kind, 0);
            }

            #[test]
            fn a_file_that_is_cut_to_one_byte_is_no_matter_for_the_host() {
                cut($kind, 1);
            }

            #[test]
            fn a_file_that_is_cut_to_a_page_is_no_matter_for_the_host() {
                cut($kind, PAGE);
            }

            #[test]
            fn a_file_that_is_cut_to_a_page_and_one_byte_is_no_matter_for_the_host() {
                cut($kind, PAGE + 1);
            }

            #[test]
            fn a_file_that_is_cut_in_its_middle_is_no_matter_for_the_host() {
                cut($kind, 600_001);
            }

            #[test]
            fn a_file_that_is_cut_and_grown_again_is_no_matter_for_the_host() {
                cut_and_grown_again($kind);
            }

            #[test]
            fn a_file_whose_blocks_are_punched_out_is_written_on() {
                punched($kind);
            }
        }
    };
}

on!(tmpfs, Kind::Tmpfs);
on!(ext4, Kind::Ext4);

/// A file that is cut while a limit is reached that what replaces it might need.
fn cut_within(limit: &str) {
    let name = limit.split(' ').nth(1).expect("a limit's name");
    for bytes in [0, 600_001] {
        let Some(disk) = Disk::new(Kind::Tmpfs) else {
            return;
        };
        let guest = Setup::in_directory(GUEST, disk.recordings()).records(|guest| {
            guest.does(limit);
            if guest.has_recorder() {
                file(guest).set_len(bytes).expect("a shorter file");
            }
            guest.goes_on(ROUNDS);
            guest.does(&format!("limit {name} -"));
        });
        let stats = guest.note("stats").expect("numbers");
        assert!(!stats.contains("lost_stretches: 0"), "{stats}");
    }
}

#[test]
fn a_file_that_is_cut_below_a_limit_of_the_file_size_is_no_matter_for_the_host() {
    cut_within("limit fsize 0");
}

#[test]
fn a_file_that_is_cut_where_limits_are_not_to_be_had_is_no_matter_for_the_host() {
    let Some(disk) = Disk::new(Kind::Tmpfs) else {
        return;
    };
    let deny = format!("deny {} {}", libc::SYS_prlimit64, libc::EPERM);
    let setup = Setup::in_directory(GUEST, disk.recordings());
    setup.obeying(&[&deny, "start"]).records(|guest| {
        if guest.has_recorder() {
            file(guest).set_len(0).expect("a shorter file");
        }
        guest.goes_on(ROUNDS);
    });
}

#[test]
fn a_file_that_is_cut_where_no_address_space_is_left_is_no_matter_for_the_host() {
    cut_within("room as 0");
}

#[test]
fn a_file_that_is_cut_where_no_private_memory_is_left_is_no_matter_for_the_host() {
    cut_within("room data 0");
}

#[test]
fn a_file_that_is_cut_where_no_descriptor_is_left_is_no_matter_for_the_host() {
    cut_within("limit nofile 0");
}

/// A hole in a disk that is full cannot be filled again.
#[test]
fn a_hole_on_a_full_disk_is_no_matter_for_the_host() {
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        let Some(disk) = Disk::new(kind) else {
            return;
        };
        let setup = Setup::in_directory(GUEST, disk.recordings());
        let filler = std::cell::RefCell::new(Vec::new());
        let guest = setup.records(|guest| {
            if guest.has_recorder() {
                let file = file(guest);
                let bytes = file.metadata().expect("its length").len();
                filler.borrow_mut().push(disk.fill(0));
                punch(&file, 0, bytes);
                filler.borrow_mut().push(disk.fill(0));
            }
            guest.goes_on(ROUNDS);
            guest.does("snapshot");
        });
        let stats = guest.note("stats").expect("numbers");
        assert!(!stats.contains("lost_stretches: 0"), "{stats}");
    }
}

/// The disk is gone as if its device were.
fn shut_down(kind: Kind) {
    let Some(disk) = Disk::new(kind) else {
        return;
    };
    let guest = Setup::in_directory(GUEST, disk.recordings()).records(|guest| {
        if guest.has_recorder() {
            disk.sync();
            disk.shut_down();
        }
        guest.goes_on(ROUNDS);
        guest.does("snapshot");
        guest.does("panic");
        guest.goes_on(ROUNDS);
    });
    is_read_or_refused(&guest);
    eprintln!("{kind:?}: {:?}", guest.note("stats"));
}

/// Whatever is left of it.
#[track_caller]
fn is_read_or_refused(guest: &Guest) {
    let (status, _) = info(&guest.path());
    assert!(matches!(status, Some(0 | 1 | 3)), "{status:?}");
}

#[test]
fn an_xfs_that_is_shut_down_is_no_matter_for_the_host() {
    shut_down(Kind::Xfs);
}

#[test]
fn an_ext4_that_is_shut_down_is_no_matter_for_the_host() {
    shut_down(Kind::Ext4);
}

#[test]
fn an_ext4_that_has_become_read_only_is_no_matter_for_the_host() {
    let Some(disk) = Disk::new(Kind::Ext4) else {
        return;
    };
    let guest = Setup::in_directory(GUEST, disk.recordings()).records(|guest| {
        if guest.has_recorder() {
            disk.sync();
            disk.finds_an_error();
            let written = std::fs::write(disk.path().join("file"), "");
            assert!(written.is_err(), "it is read-only");
        }
        guest.goes_on(ROUNDS);
        guest.does("snapshot");
        guest.goes_on(ROUNDS);
    });
    is_read_or_refused(&guest);
}

/// It says that there is room, and there is none.
#[test]
fn a_thin_image_on_a_full_disk_is_no_matter_for_the_host() {
    let Some(disk) = Disk::new(Kind::Thin) else {
        return;
    };
    let below = disk.below().expect("what it lies on");
    let guest = Setup::in_directory(GUEST, disk.recordings()).records(|guest| {
        let _filler = guest.has_recorder().then(|| {
            let filler = below.fill(0);
            assert!(!disk.sync(), "there is room");
            filler
        });
        guest.goes_on(ROUNDS);
        guest.does("snapshot");
        guest.goes_on(ROUNDS);
    });
    is_read_or_refused(&guest);
}

#[test]
fn a_thin_image_that_is_full_already_is_an_error_or_no_matter() {
    let Some(disk) = Disk::new(Kind::Thin) else {
        return;
    };
    let below = disk.below().expect("what it lies on");
    let _filler = below.fill(0);
    let guest = Setup::in_directory(GUEST, disk.recordings()).same(|guest| guest.goes_on(ROUNDS));
    guest.is_well();
    if guest.has_recorder() {
        is_read_or_refused(&guest);
    }
}

/// The whole story is there where nothing was lost.
#[test]
fn without_a_loss_nothing_is_lost() {
    let Some(disk) = Disk::new(Kind::Tmpfs) else {
        return;
    };
    let setup = Setup::in_directory(GUEST, disk.recordings());
    let guest = setup.records(|guest| guest.goes_on(ROUNDS));
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
    let (status, info) = info(&guest.path());
    assert_eq!(
        (status, &info["ledger"]["lost_stretches"]),
        (Some(0), &Json::from(0))
    );
}
