//! Memory cgroups: a recording in memory is charged to them, and must not be what gets
//! its host killed; and what a host that is killed for memory had said is there.

use ttlog_reader::Kind as Verdict;
use ttlog_tests::check;
use ttlog_tests::confined::MemoryCgroup;
use ttlog_tests::disk::{Disk, Kind};
use ttlog_tests::guest::{Guest, Setup, WORKERS};
use ttlog_tests::victim::scratch;

const GUEST: &str = env!("CARGO_BIN_EXE_guest");

/// What a cgroup of these tests has.
const LIMIT: u64 = 32 << 20;

/// Of each worker, as many events as go around a recording of 8 MiB once.
const ROUND: u64 = 40_000;

#[track_caller]
fn has_told_all(guest: &Guest) {
    let recording = guest.recording().recording;
    check::story(&recording, &guest.acks(), WORKERS).unwrap_or_else(|error| panic!("{error}"));
}

/// More is asked for than the cgroup has: less is taken, and it is said why.
fn is_shrunk(name: &str, kind: Kind) {
    let (Some(cgroup), Some(disk)) = (MemoryCgroup::new(name), Disk::new(kind)) else {
        return;
    };
    let setup = Setup::in_directory(GUEST, disk.recordings()).capacity_mib(30);
    let guest = setup
        .after(cgroup.entry())
        .records(|guest| guest.goes_on(ROUND));
    has_told_all(&guest);
    let header = guest.recording().recording.header;
    assert!(header.limited_by.contains("memory cgroup"), "{header:?}");
    assert!(header.layout.file_bytes() <= LIMIT / 4, "{header:?}");
}

#[test]
fn a_cgroup_smaller_than_what_is_asked_for_shrinks_the_recording() {
    is_shrunk("shrunk", Kind::Tmpfs);
}

/// Of which statfs(2) says nothing.
#[test]
fn a_layer_over_memory_is_charged_for_like_memory() {
    is_shrunk("layer", Kind::OverlayOnTmpfs);
}

#[test]
fn a_cgroup_that_is_all_but_full_is_an_error_or_too_small_a_reason_to_die() {
    let Some(cgroup) = MemoryCgroup::new("full") else {
        return;
    };
    let disk = Disk::tmpfs(64 << 10).expect("a tmpfs");
    // Charged to the cgroup, and not to be reclaimed.
    let filler = disk.path().join("filler");
    let fill = format!(
        "{} && head -c 28M /dev/zero > {}",
        cgroup.entry(),
        filler.display()
    );
    let setup = Setup::in_directory(GUEST, disk.recordings()).capacity_mib(16);
    let error = setup.after(fill).is_refused();
    assert!(error.contains("memory cgroup"), "{error}");
    assert!(
        error.contains("raise the limit or ask for another"),
        "{error}"
    );
}

#[test]
fn a_recording_on_a_disk_may_be_larger_than_the_cgroup() {
    let (Some(cgroup), Some(disk)) = (MemoryCgroup::new("disk"), Disk::new(Kind::Xfs)) else {
        return;
    };
    let setup = Setup::in_directory(GUEST, disk.recordings()).capacity_mib(64);
    let guest = setup
        .after(cgroup.entry())
        .records(|guest| guest.goes_on(ROUND));
    has_told_all(&guest);
    assert_eq!(guest.recording().recording.header.limited_by, "");
}

#[test]
fn who_is_killed_for_memory_has_told_all() {
    let Some(cgroup) = MemoryCgroup::new("killed") else {
        return;
    };
    let home = scratch();
    let setup = Setup::in_directory(GUEST, home.path()).capacity_mib(2);
    let guest = setup
        .after(cgroup.entry())
        .same(|guest| guest.is_told("allocate"));
    assert_eq!(guest.end().status, Ok(9), "{:?}", guest.end());
    has_told_all(&guest);
    let verdict = guest.recording().verdict;
    assert_eq!(verdict.kind, Verdict::Killed, "{verdict:?}");
    let evidence = verdict.evidence.join(", ");
    assert!(evidence.contains("OOM kill since"), "{evidence}");
}
