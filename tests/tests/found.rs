//! Recordings without a header, without a beginning, in a disk image, in a core dump: the
//! reader finds them by their blocks, with the same commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal::SIGABRT;
use nix::sys::signal::Signal::SIGKILL;
use serde_json::Value;
use ttlog_format::header::{HEADER_BYTES, Header};
use ttlog_format::salvage::{self, Found, Recording};
use ttlog_tests::corrupt;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::scribble::{Random, nothing_invented};
use ttlog_tests::victim::scratch;
use ttlog_tests::{Plan, Victim, What, reader};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// What the reader says of a file, and how it ends.
fn reads(arguments: &[&str], path: &Path) -> Output {
    Command::new(reader::program(Path::new(VICTIM)))
        .args(arguments)
        .arg(path)
        .env("TZ", "UTC")
        .output()
        .expect("ttlog-reader runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The messages and fields that `view` shows.
fn events(path: &Path) -> Vec<Value> {
    let output = reads(&["view", "-o", "json"], path);
    let lines = stdout(&output);
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    lines
        .map(|line| line.expect("JSON")["fields"].take())
        .collect()
}

/// The recording of a victim that was killed, and the numbers of its events.
fn left_by(threads: u64, life_ms: u64) -> (Victim, PathBuf) {
    let plan = Plan::new(What::Tell).adapter(ADAPTERS[0]).threads(threads);
    let mut victim = Victim::start(VICTIM, &plan.capacity_mib(1));
    victim.until("began");
    victim
        .after(Duration::from_millis(life_ms))
        .dies_by(SIGKILL);
    let path = victim.path();
    (victim, path)
}

fn headless(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("the recording");
    let end = bytes.len();
    bytes[..HEADER_BYTES].fill(0);
    bytes[end - HEADER_BYTES..].fill(0);
    bytes
}

/// Which events are told, by what they say.
fn told(recording: &Recording) -> BTreeSet<(String, u64)> {
    let events = recording
        .entries
        .iter()
        .filter(|entry| entry.what.is_event());
    events
        .map(|entry| {
            let name = recording.threads[entry.thread as usize].name.clone();
            (name, entry.wall_ns)
        })
        .collect()
}

#[test]
fn every_command_reads_a_recording_whose_headers_are_gone() {
    let (_victim, path) = left_by(3, 100);
    let home = scratch();
    let copy = home.path().join("copy.ring");
    fs::write(&copy, headless(&path)).expect("a copy");
    assert_eq!(events(&copy), events(&path));
    for command in ["info", "list", "view", "postmortem", "stats", "spans"] {
        let output = reads(&[command], &copy);
        assert_eq!(
            output.status.code(),
            Some(3),
            "{command}: {}",
            stderr(&output)
        );
        let words = stderr(&output);
        let found = words.contains("copy.ring: found by its blocks, from byte ");
        assert!(
            found && words.contains("its header is gone"),
            "{command}: {words}"
        );
        assert!(!output.stdout.is_empty(), "{command}");
    }
    let export = home.path().join("export.bin");
    let output = reads(&["export", "--all", "-o", export.to_str().unwrap()], &copy);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(events(&export), events(&path));
    let info = reads(&["info", "-o", "json"], &copy);
    let info: Value = serde_json::from_str(&stdout(&info)).expect("JSON");
    // Blocks of call sites say so.
    assert_eq!(info["name"], "victim");
    assert_eq!(info["pid"], _victim.pid().as_raw());
    assert_eq!(info["verdict"]["kind"], "unknown");
    assert_eq!(info["ledger"]["exact"], false);
}

#[test]
fn what_holds_no_block_is_no_recording_as_before() {
    let home = scratch();
    let other = home.path().join("other");
    fs::write(&other, "no recording, nor anything like one ".repeat(9_000)).expect("a file");
    let output = reads(&["view"], &other);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("not a ttlog recording"),
        "{}",
        stderr(&output)
    );
}

/// In steps that come by every place within a word, and next to every page.
fn cuts(bytes: usize) -> impl Iterator<Item = usize> {
    let steps = (1..bytes).step_by(509);
    let pages = (4096..bytes).step_by(4096);
    steps.chain(pages.flat_map(|page| page - 1..=page + 1))
}

#[test]
fn a_recording_cut_off_at_any_byte_of_its_beginning_tells_all_that_is_left() {
    let (_victim, path) = left_by(2, 3);
    let bytes = fs::read(&path).expect("the recording");
    let original = corrupt::Original::new(bytes).expect("the truth");
    let end = original.layout().block_offset(6) as usize + 700;
    let mut cuts: Vec<usize> = cuts(end).collect();
    cuts.sort_unstable();
    assert!((0..8).all(|rest| cuts.iter().any(|cut| cut % 8 == rest)));
    let mut missed = 0;
    for &cut in &cuts {
        let left = &original.bytes()[cut..];
        let telling =
            corrupt::salvaged(left).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        // Where they were, the bytes that are left are undamaged.
        let mut copy = vec![0; cut];
        copy.extend(left);
        let judged = original.judge(&corrupt::Copy::new(&copy), &telling);
        let figures = judged.unwrap_or_else(|violation| panic!("cut at {cut}: {violation}"));
        missed += figures.damaged;
    }
    assert!(missed > 0, "nothing was cut off");
}

/// A disk's blocks, those of files among others, in any order.
fn disk(files: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut pages: Vec<Vec<u8>> = Vec::new();
    for file in files {
        pages.extend(file.chunks(4096).map(<[u8]>::to_vec));
    }
    for _ in 0..pages.len() / 3 {
        pages.push((0..4096).map(|_| random.draw() as u8).collect());
    }
    for at in (1..pages.len()).rev() {
        pages.swap(at, random.below(at + 1));
    }
    pages.concat()
}

#[test]
fn recordings_scattered_over_a_disk_are_told_apart_and_whole() {
    let victims: Vec<(Victim, PathBuf)> = (1..4).map(|threads| left_by(threads, 60)).collect();
    let files: Vec<Vec<u8>> = victims
        .iter()
        .map(|(_, path)| fs::read(path).unwrap())
        .collect();
    let home = scratch();
    let image = home.path().join("disk.img");
    fs::write(&image, disk(&files, 7)).expect("an image");

    let list = reads(&["list", "-o", "json"], &image);
    let lines: Vec<Value> = stdout(&list)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3, "{}", stderr(&list));
    for ((victim, path), bytes) in victims.iter().zip(&files) {
        let header = Header::decode(bytes).expect("a header");
        let address = format!("{}@{:016x}", image.display(), header.recording);
        let line = lines.iter().find(|line| line["path"] == address.as_str());
        let line = line.unwrap_or_else(|| panic!("{address} is not listed: {lines:?}"));
        assert_eq!(line["pid"], victim.pid().as_raw());
        assert_eq!(line["name"], "victim");
        assert_eq!(events(Path::new(&address)), events(path));
    }
    // The image itself means the newest, and says that there are others.
    let view = reads(&["view", "-n", "1"], &image);
    assert!(
        stderr(&view).contains("2 others are there, too"),
        "{}",
        stderr(&view)
    );
    let none = format!("{}@{:016x}", image.display(), 1);
    let none = reads(&["view"], Path::new(&none));
    assert_eq!(none.status.code(), Some(1));
    assert!(
        stderr(&none).contains("no such recording"),
        "{}",
        stderr(&none)
    );
}

#[test]
fn recordings_of_an_ext4_image_are_found_deleted_ones_too() {
    let victims: Vec<(Victim, PathBuf)> = (1..4).map(|threads| left_by(threads, 60)).collect();
    let home = scratch();
    let tree = home.path().join("tree");
    fs::create_dir(&tree).expect("a directory");
    for (at, (_, path)) in victims.iter().enumerate() {
        fs::copy(path, tree.join(format!("{at}.ring"))).expect("a copy");
    }
    let image = home.path().join("ext4.img");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-b", "4096", "-d"])
        .arg(&tree)
        .arg(&image)
        .arg("16M")
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: there is no mke2fs here");
        return;
    }
    let removed = Command::new("debugfs")
        .args(["-w", "-R", "rm /1.ring"])
        .arg(&image)
        .output();
    let removed = removed.is_ok_and(|output| output.status.success());
    eprintln!("one is deleted: {removed}");
    let bytes = fs::read(&image).expect("the image");
    let found = Found::all(&bytes[..]).expect("bytes");
    assert_eq!(found.len(), 3);
    for (_, path) in &victims {
        let header = Header::decode(&fs::read(path).unwrap()).expect("a header");
        let address = format!("{}@{:016x}", image.display(), header.recording);
        assert_eq!(events(Path::new(&address)), events(path));
    }
}

#[test]
fn the_recording_of_a_process_is_found_in_its_core() {
    let home = scratch();
    let plan = Plan::new(What::Tell).threads(2).capacity_mib(1);
    let mut victim = Victim::start(VICTIM, &plan);
    victim.until("began");
    victim.after(Duration::from_millis(50));
    let core = home.path().join("core");
    // Shared mappings of files are not in a core unless they are asked for.
    let pid = victim.pid().to_string();
    fs::write(format!("/proc/{pid}/coredump_filter"), "0x3f").expect("proc(5)");
    let dumped = Command::new("gcore")
        .arg("-a")
        .arg("-o")
        .arg(&core)
        .arg(&pid)
        .output();
    let dumped = dumped.is_ok_and(|output| output.status.success());
    victim.dies_by(if dumped { SIGKILL } else { SIGABRT });
    let core = match dumped {
        true => home.path().join(format!("core.{pid}")),
        false => built_core(&victim.path(), home.path()),
    };
    let bytes = fs::read(&core).expect("the core");
    eprintln!("a real core: {dumped}, {} bytes", bytes.len());
    let recording = salvage::salvage(&bytes[..]).expect("a recording");
    let said: Vec<u64> = victim.acks().iter().map(|acked| acked + 1).collect();
    let there = nothing_invented(&recording, &said).expect("nothing but what was said");
    assert!(there > 1000, "{there}");
    assert!(!told(&recording).is_empty());
    assert!(!recording.ledger.lacks_header);
    let output = reads(&["postmortem"], &core);
    assert!(
        stderr(&output).contains("found by its blocks"),
        "{}",
        stderr(&output)
    );
}

/// What a core with the recording's mapping is like: other memory, then that, at a place
/// that is no multiple of a page.
fn built_core(recording: &Path, home: &Path) -> PathBuf {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    let mut random = Random::new(3);
    bytes.extend((0..200_001).map(|_| random.draw() as u8));
    bytes.extend(fs::read(recording).expect("the recording"));
    bytes.extend((0..100_000).map(|_| random.draw() as u8));
    let core = home.join("core.built");
    fs::write(&core, bytes).expect("a core");
    core
}
