//! Power cuts: what `Durability::Interval` promises, on a disk of which a test can see
//! what it has received. As root, with mkfs.ext4 and filefrag; else nothing is tested,
//! and it says so.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

use ttlog_format::block::{self, HEADER_WORDS, State};
use ttlog_format::record::{self, Kind as RecordKind};
use ttlog_format::{BLOCK_BYTES, BLOCK_WORDS};
use ttlog_tests::cut::{self, Cut, Cutter};
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::power::{Disk, Kind};
use ttlog_tests::powered::{Numbers, Powered, STATUS, Task};
use ttlog_tests::{Adapter, Tally, Violation, tally, victim};

const POWERED: &str = env!("CARGO_BIN_EXE_powered");

const DISK_MIB: u64 = 32;
const INTERVAL: Duration = Duration::from_millis(20);

/// Some 80,000 events a second, by two workers: the ring wraps in a tenth of a second.
const TASK: Task = Task {
    adapter: Adapter::Own,
    interval: Some(INTERVAL),
    capacity_mib: 1,
    turn: Duration::from_micros(200),
};

/// So slow that for a second nothing is overwritten.
const SLOW: Task = Task {
    turn: Duration::from_millis(2),
    ..TASK
};

/// How many cuts each process gets.
const CUTS_EACH: u64 = 50;

/// A disk, unless this machine cannot have one, which is said.
fn disk(kind: Kind) -> Option<Disk> {
    match Disk::new(DISK_MIB, kind) {
        Ok(disk) => Some(disk),
        Err(reason) => {
            eprintln!("SKIPPED: power cuts need root, mkfs.ext4 and loop devices: {reason}");
            None
        }
    }
}

/// Waits for up to so long.
fn at_random(seed: u64, longest: Duration) {
    let share = RandomState::new().hash_one(seed) % 1000;
    std::thread::sleep(longest * share as u32 / 1000);
}

/// Every fifth process says what it can, and wraps its ring many times in an interval:
/// of these hardly anything must be there, and nothing false.
#[test]
fn a_power_cut_costs_no_more_than_an_interval_and_a_sync() {
    let Some(disk) = disk(Kind::Thick) else {
        return;
    };
    let (mut kept, mut torn, mut reach, mut longest) = (0, 0, Duration::ZERO, 0);
    let cuts = Tally::of("power-cuts", 500);
    let processes = cuts.wanted().div_ceil(CUTS_EACH);
    for process in 0..processes {
        let directory = disk.path().join(process.to_string());
        let task = Task {
            adapter: ADAPTERS[process as usize % 2],
            turn: if process % 5 == 4 {
                Duration::ZERO
            } else {
                TASK.turn
            },
            ..TASK
        };
        let powered = Powered::begun(POWERED, task, &directory);
        let cutter = Cutter::new(&disk, &powered).expect("all of it is on the disk");
        let mut earlier: Option<Cut> = None;
        for number in 0..CUTS_EACH {
            at_random(number, 2 * INTERVAL);
            let cut = cutter.cut(&powered);
            let judged = cut.judge(&powered.notes, INTERVAL);
            let judged = judged.unwrap_or_else(|violation| {
                panic!("process {process}, cut {number}: {violation}");
            });
            cuts.add(1);
            kept += u64::from(judged.required > 0);
            reach = reach.max(judged.reach);
            longest = longest.max(cut.longest_sync_ns);
            if let Some(earlier) = &earlier {
                torn += u64::from(reads_true_when_torn(&cut, earlier, number));
            }
            earlier = Some(cut);
        }
        drop(powered);
        std::fs::remove_dir_all(directory).expect("it is gone");
    }
    let longest = Duration::from_nanos(longest);
    let words = format!(
        "{kept} of which had something to keep, {torn} torn; they reached back {reach:?} at \
         most, the interval being {INTERVAL:?} and the longest sync {longest:?}"
    );
    cuts.note(&words);
    let cuts = processes * CUTS_EACH;
    eprintln!("{cuts} cuts, {words}");
    assert!(kept > cuts / 10, "{kept} of {cuts}");
    assert!(torn > cuts / 2, "{torn} of {cuts}");
}

/// Whether damage was seen, and nothing false.
fn reads_true_when_torn(cut: &Cut, earlier: &Cut, seed: u64) -> bool {
    let random = RandomState::new();
    let bytes = cut.torn(earlier, |sector| random.hash_one((seed, sector)) % 2 == 0);
    let recording = cut::salvaged(&bytes).expect("a header is there");
    if let Err(violation) = cut::events(&recording) {
        panic!("torn: {violation}");
    }
    recording.ledger.counts.torn + recording.ledger.damaged_blocks > 0
}

/// What a process has recorded before its `number`th power cut, which it survives,
/// since it is stopped: the disk as it comes back, and the cut.
fn comes_back(disk: &Disk, powered: &Powered, number: u64) -> (Disk, Result<Cut, String>) {
    at_random(number, 4 * INTERVAL);
    let numbers = powered.numbers();
    powered.stops();
    let back = disk.after_a_power_cut().expect("a disk");
    let path = powered.recording();
    let on_disk = path.strip_prefix(disk.path()).expect("it is there");
    let opened = ttlog_reader::open(&back.path().join(on_disk));
    let bytes = opened.map(|opened| std::fs::read(&opened.path).expect("its bytes"));
    let bytes = bytes.map_err(|error| error.to_string());
    let cut = bytes.map(|bytes| Cut {
        at_ns: numbers.at_ns,
        bytes,
        in_memory: std::fs::read(&path).expect("the recording"),
        longest_sync_ns: numbers.longest_sync_ns,
    });
    (back, cut)
}

/// Waits until all has been written that had returned before the call: the first sync
/// from here may have begun before. The numbers as they were at the call.
fn is_written_from_now_on(powered: &Powered) -> Numbers {
    let then = powered.numbers();
    powered.until("it is written", || powered.numbers().syncs > then.syncs + 1);
    then
}

#[test]
fn when_the_power_is_back_the_recording_is_there_by_its_name() {
    let Some(disk) = disk(Kind::Thick) else {
        return;
    };
    for number in 0..5 {
        let directory = disk.path().join(number.to_string());
        let powered = Powered::begun(POWERED, SLOW, &directory);
        powered.until("they speak", || powered.notes.count(1) > 0);
        is_written_from_now_on(&powered);
        let (_back, cut) = comes_back(&disk, &powered, number);
        let cut = cut.expect("a recording");
        let judged = cut.judge(&powered.notes, INTERVAL);
        judged.unwrap_or_else(|violation| panic!("cut {number}: {violation}"));
        let there = cut::events(&cut::salvaged(&cut.bytes).expect("a recording"));
        assert!(!there.expect("the story").is_empty());
    }
}

/// Whether a cut of each of some processes costs too much.
fn all_cost_too_much(disk: &Disk, task: Task, prepare: impl Fn(&Path)) -> bool {
    (0..5).all(|number| {
        let directory = disk.path().join(number.to_string());
        let powered = Powered::begun(POWERED, task, &directory);
        prepare(&powered.recording());
        std::thread::sleep(10 * INTERVAL);
        let cutter = Cutter::new(disk, &powered).expect("all of it is on the disk");
        let judged = cutter.cut(&powered).judge(&powered.notes, INTERVAL);
        drop(powered);
        std::fs::remove_dir_all(directory).expect("it is gone");
        judged.is_err_and(|violation| violation.to_string().starts_with("lost: "))
    })
}

/// The controls: who is not written to the disk, or not so often, is found out.
#[test]
fn the_check_finds_a_recording_that_is_written_too_seldom() {
    let Some(disk) = disk(Kind::Thick) else {
        return;
    };
    let process = Task {
        interval: None,
        ..SLOW
    };
    let sync = |path: &Path| {
        let file = std::fs::File::open(path).expect("the recording");
        file.sync_all().expect("it is on the disk, this once");
    };
    assert!(all_cost_too_much(&disk, process, sync));
    let seldom = Task {
        interval: Some(100 * INTERVAL),
        ..SLOW
    };
    assert!(all_cost_too_much(&disk, seldom, |_| {}));

    let lost = (0..5).any(|number| {
        let directory = disk.path().join(number.to_string());
        let powered = Powered::begun(POWERED, process, &directory);
        comes_back(&disk, &powered, number).1.is_err()
    });
    assert!(lost, "without a sync, not even the name is there");
    tally::found("power-cuts", "a recording that is written too seldom");
}

/// The control: an event that was altered, with a check that is right.
#[test]
fn the_check_finds_an_event_that_nobody_said() {
    let directory = victim::scratch();
    let task = Task {
        interval: None,
        ..TASK
    };
    let powered = Powered::begun(POWERED, task, directory.path());
    powered.until("both say something", || {
        (1..=2).all(|worker| powered.notes.count(worker) > 100)
    });
    powered.stops();
    let bytes = std::fs::read(powered.recording()).expect("the recording");
    let said = |bytes: &[u8]| cut::events(&cut::salvaged(bytes)?).map(|events| events.len());
    assert!(said(&bytes).expect("the story") > 200);
    let layout = cut::salvaged(&bytes).expect("a recording").header.layout;
    let mut altered = 0;
    for index in 0..layout.blocks {
        let mut bytes = bytes.clone();
        let offset = layout.block_offset(index) as usize;
        if alter(&mut bytes[offset..offset + BLOCK_BYTES]) {
            altered += 1;
            let violation: Violation = said(&bytes).expect_err("an event was altered");
            assert!(violation.to_string().starts_with("invented"), "{violation}");
        }
    }
    assert!(altered > 1, "{altered}");
    tally::found(
        "power-cuts",
        "an event that was altered, under a check that is right",
    );
}

/// Alters a bit in the last word of a long event in a block, and makes its check right.
fn alter(block: &mut [u8]) -> bool {
    const LONG: usize = 12;
    let words = block.as_chunks::<8>().0.iter();
    let mut words: Vec<u64> = words.map(|word| u64::from_le_bytes(*word)).collect();
    let State::Block(header) = block::decode(&words) else {
        return false;
    };
    let key = header.key();
    let end = block::committed(&words, key).map_or(HEADER_WORDS, |commit| commit.bytes / 8);
    let mut walk = record::Walk::new(&words, key, HEADER_WORDS, end.min(BLOCK_WORDS));
    let long = walk.find(|found| found.kind == RecordKind::Event && found.words.len() >= LONG);
    let Some((at, len)) = long.map(|found| (found.position, found.words.len())) else {
        return false;
    };
    words[at + len - 1] ^= 1;
    record::seal_in_place(&mut words[at..at + len], at, key);
    for (word, bytes) in words.iter().zip(block.as_chunks_mut::<8>().0) {
        *bytes = word.to_le_bytes();
    }
    true
}

#[test]
fn a_failed_sync_is_never_forgotten_and_what_it_missed_is_made_up_for() {
    let Some(disk) = disk(Kind::Thick) else {
        return;
    };
    let directory = disk.path().join("0");
    let mut powered = Powered::begun(POWERED, SLOW, &directory);
    let cutter = Cutter::new(&disk, &powered).expect("all of it is on the disk");
    powered.until("it is written", || powered.numbers().syncs > 0);
    assert_eq!(powered.numbers().failed_syncs, 0);

    let full = disk.loses(cutter.extents()).expect("a full pool");
    powered.until("a sync fails", || powered.numbers().failed_syncs > 0);
    let said = powered.notes.count(1);
    powered.until("it goes on", || powered.notes.count(1) > said + 1000);
    let missing = cut::salvaged(&cutter.cut(&powered).bytes);
    let has_header = missing.is_ok_and(|found| !found.ledger.lacks_header);
    assert!(!has_header, "the disk has lost it");
    drop(full);

    // What is on the disk then includes what nobody would have written again: the
    // header, and the call sites.
    let then = is_written_from_now_on(&powered);
    let cut = Cut {
        at_ns: then.at_ns,
        longest_sync_ns: 0,
        ..cutter.cut(&powered)
    };
    let judged = cut.judge(&powered.notes, Duration::ZERO);
    let judged = judged.unwrap_or_else(|violation| panic!("{violation}"));
    assert!(judged.required > 0);

    let failed = powered.numbers().failed_syncs;
    assert!(failed >= then.failed_syncs);
    assert_eq!(powered.ends().code(), Some(STATUS.into()));
    let opened = ttlog_reader::open(&powered.recording()).expect("a recording");
    assert_eq!(opened.recording.ledger.failed_syncs, failed);
    assert_eq!(opened.verdict.kind.to_string(), "ended");
}

#[test]
fn a_disk_that_cannot_take_the_recording_is_an_error_at_the_start() {
    let Some(disk) = disk(Kind::Thin) else {
        return;
    };
    let directory = disk.path().join("0");
    let _full = disk.loses(&[]).expect("a full pool");
    let mut powered = Powered::start(POWERED, TASK, &directory);
    let said = powered.says();
    assert!(said.starts_with("error cannot sync /"), "{said}");
    assert_eq!(powered.ends().code(), Some(STATUS.into()));
    assert_eq!(
        victim::files(&directory),
        [""; 0].map(std::path::PathBuf::from)
    );
}

#[test]
fn an_interval_in_memory_is_an_error_at_the_start() {
    let directory = victim::scratch();
    if !directory.path().starts_with("/dev/shm") {
        eprintln!("SKIPPED: there is no /dev/shm here");
        return;
    }
    let mut powered = Powered::start(POWERED, TASK, directory.path());
    let said = powered.says();
    assert!(
        said.contains("it is in memory") && said.contains("choose"),
        "{said}"
    );
    assert_eq!(powered.ends().code(), Some(STATUS.into()));
    assert_eq!(
        victim::files(directory.path()),
        [""; 0].map(std::path::PathBuf::from)
    );
}
