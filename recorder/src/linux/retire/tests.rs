//! What goes and what stays, in directories with anything in them.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use ttlog_format::cause::{self, Cause, Kind};
use ttlog_format::header::{CAUSES_OFFSET, HEADER_BYTES, Header, Layout, TOTALS_OFFSET, totals};
use ttlog_format::salvage::{Ledger, Recording};
use ttlog_format::snapshot::{self, Made};

use super::*;

const RECORDING: u64 = 42;

/// Bytes that a recording of these tests takes.
const TAKEN: u64 = 64 * 1024;

fn groups() -> MemoryCgroups {
    MemoryCgroups::of_this_process()
}

struct Yard {
    directory: Directory,
    _own: tempfile::TempDir,
}

impl Yard {
    fn new() -> Yard {
        let own = tempfile::tempdir().unwrap();
        let directory = Directory::asked_for(own.path(), true).unwrap();
        Yard {
            directory,
            _own: own,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }

    /// What a process of `service` left that was begun at `stamp`, with these causes.
    fn left(&self, stamp: u64, service: &str, causes: &[Cause]) -> PathBuf {
        let path = self.path(&format!("ttlog-7-{stamp}.ring"));
        write_recording(&path, service, causes);
        path
    }

    fn crashed(&self, stamp: u64, service: &str) -> PathBuf {
        self.left(stamp, service, &[])
    }

    fn ended(&self, stamp: u64, service: &str) -> PathBuf {
        self.left(stamp, service, &[exit(0)])
    }

    /// A snapshot.
    fn snapshot(&self, stamp: u64, by: Maker) -> PathBuf {
        let recording = Recording {
            header: header("payments"),
            causes: Vec::new(),
            incidents: Vec::new(),
            sites: HashMap::new(),
            threads: Vec::new(),
            ledger: Ledger::default(),
            spans: HashMap::new(),
            entries: Vec::new(),
            end_ns: 0,
        };
        let path = self.path(&format!("ttlog-7-{stamp}.bin"));
        let made = Made {
            by,
            ..Made::default()
        };
        snapshot::write(&recording, &made, File::create(&path).unwrap()).unwrap();
        path
    }

    /// Retires recordings, and tells the timestamps of those that stay.
    fn keeps(&self, count: usize, bytes: u64) -> Vec<u64> {
        recordings(&self.directory, &retain(count, bytes), &groups());
        self.stamps("ring")
    }

    fn stamps(&self, kind: &str) -> Vec<u64> {
        let names = fs::read_dir(&self.directory.path).unwrap();
        let mut stamps: Vec<u64> = names
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let (_, stamp) = name
                    .strip_suffix(kind)?
                    .strip_suffix('.')?
                    .rsplit_once('-')?;
                stamp.parse().ok()
            })
            .collect();
        stamps.sort_unstable();
        stamps
    }
}

fn retain(count: usize, bytes: u64) -> Settings {
    Settings {
        retain: Some((count, bytes)),
        ..Settings::default()
    }
}

fn header(service: &str) -> Header {
    Header {
        recording: RECORDING,
        layout: Layout {
            span_slots: 0,
            blocks: 0,
        },
        name: service.into(),
        ..Header::default()
    }
}

fn exit(status: i32) -> Cause {
    Cause {
        kind: Kind::Exit,
        status: Some(status),
        ..Cause::default()
    }
}

fn struck() -> Cause {
    Cause {
        kind: Kind::Signal,
        signal: 11,
        address: Some(8),
        ..Cause::default()
    }
}

fn write_recording(path: &Path, service: &str, causes: &[Cause]) {
    let file = File::create(path).unwrap();
    let header = header(service);
    file.write_all_at(&vec![0; TAKEN as usize], 0).unwrap();
    file.write_all_at(&header.beginning()[..], 0).unwrap();
    file.write_all_at(&header.encode()[..], TAKEN - HEADER_BYTES as u64)
        .unwrap();
    for (number, &cause) in (0..).zip(causes) {
        let cause = Cause { number, ..cause };
        let words = cause.encode(RECORDING).map(u64::to_le_bytes);
        let offset = cause::offset(cause::place(number));
        file.write_all_at(words.as_flattened(), offset).unwrap();
    }
}

fn evidence(path: &Path) -> Option<Evidence> {
    Evidence::of_recording(&File::open(path).unwrap())
}

#[test]
fn nothing_goes_within_the_bounds() {
    let yard = Yard::new();
    (1..=4).for_each(|stamp| drop(yard.ended(stamp, "a")));
    assert_eq!(yard.keeps(4, 4 * TAKEN), [1, 2, 3, 4]);
    assert_eq!(yard.keeps(usize::MAX, u64::MAX), [1, 2, 3, 4]);
}

#[test]
fn ended_ones_go_first_and_the_oldest_of_them() {
    let yard = Yard::new();
    yard.crashed(1, "a");
    yard.ended(2, "b");
    yard.crashed(3, "a");
    yard.ended(4, "a");
    yard.crashed(5, "a");
    assert_eq!(yard.keeps(4, u64::MAX), [1, 3, 4, 5]);
    assert_eq!(yard.keeps(3, u64::MAX), [1, 3, 5]);
    assert_eq!(yard.keeps(2, u64::MAX), [1, 5]);
    assert_eq!(yard.keeps(1, u64::MAX), [5]);
    assert_eq!(yard.keeps(0, u64::MAX), [0; 0]);
}

#[test]
fn the_first_and_the_newest_crash_of_each_service_outlive_those_between() {
    let yard = Yard::new();
    yard.crashed(1, "rare");
    (2..10).for_each(|stamp| drop(yard.crashed(stamp, "loop")));
    assert_eq!(yard.keeps(5, u64::MAX), [1, 2, 7, 8, 9]);
    assert_eq!(yard.keeps(3, u64::MAX), [1, 2, 9]);
    assert_eq!(yard.keeps(2, u64::MAX), [2, 9]);
}

#[test]
fn the_bytes_are_those_that_are_taken() {
    let yard = Yard::new();
    (1..=4).for_each(|stamp| drop(yard.crashed(stamp, "a")));
    File::options()
        .write(true)
        .open(yard.path("ttlog-7-3.ring"))
        .and_then(|file| file.set_len(1 << 40))
        .unwrap();
    assert_eq!(yard.keeps(9, 4 * TAKEN), [1, 2, 3, 4]);
    assert_eq!(yard.keeps(9, 3 * TAKEN + 1), [1, 3, 4]);
    assert_eq!(yard.keeps(9, 2 * TAKEN - 1), [4]);
    assert_eq!(yard.keeps(9, TAKEN - 1), [0; 0]);
}

#[test]
fn the_newest_crash_stays_where_nobody_said_how_much_may() {
    let bounds = |least| Bounds {
        count: 9,
        bytes: TAKEN - 1,
        least,
    };
    let yard = Yard::new();
    for stamp in [1, 2] {
        yard.crashed(stamp, "a");
    }
    yard.ended(3, "a");
    let goes = |bounds| {
        let locked = Locked::new(&yard.directory).unwrap();
        let old = locked.list("ring").into_iter().map(|listed| {
            let evidence = Evidence::of_recording(&locked.open(&listed).unwrap());
            let evidence = evidence.unwrap();
            Old { listed, evidence }
        });
        let going = past(bounds, old.collect());
        let stamps = going.iter().map(|old| old.listed.age().0);
        stamps.collect::<Vec<_>>()
    };
    assert_eq!(goes(bounds(0)), [3, 1, 2]);
    assert_eq!(goes(bounds(1)), [3, 1]);
    let said = |settings: &Settings| {
        let listed = Locked::new(&yard.directory).unwrap().list("ring");
        Bounds::of(settings, &yard.directory, &groups(), &listed)
    };
    let (default, asked) = (said(&Settings::default()), said(&retain(0, 7)));
    assert_eq!((default.count, default.least), (16, 1));
    assert!(default.bytes <= 512 << 20);
    assert_eq!((asked.count, asked.bytes, asked.least), (0, 7, 0));
}

#[test]
fn who_still_holds_its_lock_stays_and_does_not_count() {
    let yard = Yard::new();
    let alive = File::open(yard.crashed(1, "a")).unwrap();
    flock(&alive, FlockOperation::LockExclusive).unwrap();
    for stamp in [2, 3, 4] {
        yard.crashed(stamp, "a");
    }
    assert_eq!(yard.keeps(3, 3 * TAKEN), [1, 2, 3, 4]);
    assert_eq!(yard.keeps(0, 0), [1]);
    drop(alive);
    assert_eq!(yard.keeps(0, 0), [0; 0]);
}

#[test]
fn a_directory_that_somebody_retires_in_is_left_to_them() {
    let yard = Yard::new();
    yard.ended(1, "a");
    let other = File::open(&yard.directory.path).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    assert_eq!(yard.keeps(0, 0), [1]);
    drop(other);
    assert_eq!(yard.keeps(0, 0), [0; 0]);
}

#[test]
fn what_others_put_under_a_recordings_name_stays() {
    let yard = Yard::new();
    let elsewhere = Yard::new();
    let target = elsewhere.ended(1, "a");
    symlink(&target, yard.path("ttlog-7-1.ring")).unwrap();
    mknodat(
        CWD,
        yard.path("ttlog-7-2.ring"),
        FileType::Fifo,
        Mode::RWXU,
        0,
    )
    .unwrap();
    fs::create_dir(yard.path("ttlog-7-3.ring")).unwrap();
    fs::write(yard.path("ttlog-7-4.ring"), "not a recording").unwrap();
    fs::write(yard.path("ttlog-7-5.ring"), "").unwrap();
    let mut expected = vec![1, 2, 3, 4, 5];
    let foreign = yard.ended(6, "a");
    let stranger = rustix::process::geteuid().as_raw() + 1;
    match std::os::unix::fs::chown(&foreign, Some(stranger), None) {
        Ok(()) => expected.push(6),
        Err(error) => eprintln!("SKIPPED: no file of another user can be had: {error}"),
    }
    yard.ended(7, "a");
    assert_eq!(yard.keeps(0, 0), expected);
    assert!(target.exists());
}

#[test]
fn recordings_alone_count_among_other_files() {
    let yard = Yard::new();
    for stamp in [1, 2] {
        yard.ended(stamp, "a");
    }
    for n in 3..1000 {
        fs::write(yard.path(&format!("ttlog-7-{n}.ring")), "large and foreign").unwrap();
    }
    assert_eq!(yard.keeps(2, 2 * TAKEN).len(), 999);
    assert_eq!(yard.keeps(1, u64::MAX).len(), 998);
}

#[test]
fn how_a_process_ended_is_in_its_last_cause() {
    let terminate = Cause {
        kind: Kind::Terminate,
        signal: 15,
        ..Cause::default()
    };
    let unknown = Cause {
        status: None,
        ..exit(0)
    };
    let yard = Yard::new();
    let is_end = |causes: &[Cause]| {
        let found = evidence(&yard.left(1, "a", causes)).unwrap();
        assert_eq!(found.service, "a");
        found.of_an_end
    };
    assert!(is_end(&[exit(0)]) && is_end(&[exit(1)]) && is_end(&[terminate]));
    assert!(is_end(&[unknown]) && is_end(&[struck(), exit(0)]));
    assert!(!is_end(&[]) && !is_end(&[exit(101)]) && !is_end(&[struck()]));
    assert!(!is_end(&[exit(0), struck()]) && !is_end(&[terminate, struck()]));
    let mut many = vec![struck(); 9];
    many.push(exit(0));
    assert!(is_end(&many));

    let path = yard.left(1, "a", &[unknown]);
    let file = File::options().write(true).open(&path).unwrap();
    let one = totals::encode(totals::INCIDENTS, 1, RECORDING).to_le_bytes();
    let place = TOTALS_OFFSET + 8 * totals::INCIDENTS as u64;
    file.write_all_at(&one, place).unwrap();
    assert!(!evidence(&path).unwrap().of_an_end);
}

#[test]
fn what_is_damaged_speaks_of_a_crash() {
    let yard = Yard::new();
    let damaged = |at: &[u64]| {
        let path = yard.ended(1, "a");
        let file = File::options().write(true).open(&path).unwrap();
        for &offset in at {
            file.write_all_at(&[0xff; 8], offset).unwrap();
        }
        evidence(&path)
    };
    let found = |of_an_end, service: &str| {
        let service = service.into();
        Some(Evidence { of_an_end, service })
    };
    let (header, copy) = (100, TAKEN - 4096 + 100);
    assert_eq!(damaged(&[]), found(true, "a"));
    assert_eq!(damaged(&[header]), found(true, "a"));
    assert_eq!(damaged(&[header, copy]), found(false, ""));
    assert_eq!(damaged(&[CAUSES_OFFSET]), found(false, "a"));
    assert_eq!(damaged(&[0]), None);

    let path = yard.ended(1, "a");
    for len in [TAKEN - 1, 9000, 4095, 8, 7, 0] {
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(len).unwrap();
        assert_eq!(evidence(&path).is_some(), len >= 8, "{len}");
    }
}

#[test]
fn what_nobody_finished_goes_after_an_hour() {
    let yard = Yard::new();
    let minutes_ago = |minutes: u64| SystemTime::now() - Duration::from_secs(60 * minutes);
    let unfinished = |name: &str, written| {
        let path = yard.path(name);
        let file = File::create(&path).unwrap();
        file.set_modified(written).unwrap();
        (path, file)
    };
    let (old, _) = unfinished(".ttlog-7-1.tmp", minutes_ago(61));
    let (replacing, _) = unfinished(".ttlog-7-1.bin.tmp", minutes_ago(61));
    let (young, _) = unfinished(".ttlog-7-2.tmp", minutes_ago(59));
    let (foreign, _) = unfinished(".ttlog-seven-1.tmp", minutes_ago(61));
    let (later, _) = unfinished(
        ".ttlog-7-3.tmp",
        SystemTime::now() + Duration::from_secs(9999),
    );
    let (held, lock) = unfinished(".ttlog-7-4.tmp", minutes_ago(61));
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    yard.keeps(usize::MAX, u64::MAX);
    assert!(!old.exists() && !replacing.exists());
    assert!(young.exists() && foreign.exists() && later.exists() && held.exists());
}

#[test]
fn snapshots_that_processes_made_go_and_a_readers_stay() {
    let yard = Yard::new();
    yard.snapshot(1, Maker::Reader);
    for stamp in 2..8 {
        yard.snapshot(stamp, Maker::Process);
    }
    fs::write(yard.path("ttlog-7-9.bin"), "not a snapshot").unwrap();
    yard.ended(1, "a");
    snapshots(&yard.directory, &retain(8, u64::MAX), &groups());
    assert_eq!(yard.stamps("bin").len(), 8);
    snapshots(&yard.directory, &retain(3, u64::MAX), &groups());
    assert_eq!(yard.stamps("bin"), [1, 2, 6, 7, 9]);
    snapshots(&yard.directory, &retain(0, 0), &groups());
    assert_eq!(yard.stamps("bin"), [1, 9]);
    assert_eq!(yard.stamps("ring"), [1]);
}

/// Every history of up to five processes of two services, against every count.
#[test]
fn what_goes_is_the_least_and_in_its_order() {
    let kinds = [(true, "a"), (false, "a"), (false, "b")];
    for len in 0..=5u32 {
        for history in 0..3usize.pow(len) {
            let of = |i: u32| kinds[history / 3usize.pow(i) % 3];
            let history: Vec<_> = (0..len).map(of).collect();
            for count in 0..=len as usize {
                is_least(&history, count);
            }
        }
    }
}

fn is_least(history: &[(bool, &str)], count: usize) {
    let old = (0..)
        .zip(history)
        .map(|(stamp, &(of_an_end, service))| Old {
            listed: Listed::of_test(stamp),
            evidence: Evidence {
                of_an_end,
                service: service.into(),
            },
        });
    let bounds = Bounds {
        count,
        bytes: u64::MAX,
        least: 0,
    };
    let gone = past(bounds, old.collect());
    let gone: Vec<usize> = gone.iter().map(|old| old.listed.age().0 as usize).collect();
    assert_eq!(gone.len(), history.len() - count);
    let stays = |i: &usize| !gone.contains(i);
    // Nobody goes before somebody who is less worth than they are.
    let worth = |&i: &usize| {
        let (of_an_end, service) = history[i];
        let other = |j: &usize| history[*j] == (of_an_end, service);
        let first = !(0..i).any(|j| other(&j));
        let newest = !(i + 1..history.len()).any(|j| other(&j));
        (!of_an_end, !of_an_end && (first || newest), i)
    };
    let least_that_stays = (0..history.len()).filter(stays).map(|i| worth(&i)).min();
    let worthiest_gone = gone.iter().map(worth).max();
    if let (Some(stays), Some(gone)) = (least_that_stays, worthiest_gone) {
        assert!(gone < stays, "{history:?}, {count}");
    }
}
