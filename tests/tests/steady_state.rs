//! Once warm, a recorder allocates nothing, faults on no page and asks the kernel for
//! nothing; a thread that begins costs four system calls and no allocation.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use ttlog_tests::victim::scratch;

const STEADY: &str = env!("CARGO_BIN_EXE_steady");

/// What the program printed over so many events and threads, by word.
fn took(adapter: &str, events: u64, threads: u64) -> BTreeMap<String, u64> {
    let home = scratch();
    let output = Command::new(STEADY)
        .args([adapter, &events.to_string(), &threads.to_string()])
        .arg(home.path().join("recordings"))
        .output()
        .expect("it runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(word, number)| (word.to_owned(), number.parse().expect("a number")))
        .collect()
}

#[test]
fn the_own_subscriber_allocates_nothing_and_neither_does_a_threads_first_event() {
    let (own, none) = (took("own", 1_000_000, 1000), took("none", 1_000_000, 1000));
    assert_eq!((own["allocations"], own["by-first-events"]), (0, 0));
    assert_eq!(own["by-threads"], none["by-threads"]);
}

#[test]
fn the_layer_adds_no_allocation_to_the_registrys() {
    let (layer, registry) = (
        took("layer", 1_000_000, 1000),
        took("registry", 1_000_000, 1000),
    );
    for what in ["allocations", "by-threads", "by-first-events"] {
        assert!(layer[what] <= registry[what], "{layer:?}, {registry:?}");
    }
}

/// Adapters with nothing of their own: the Registry's slabs grow with use.
#[test]
fn ten_million_events_fault_on_no_page() {
    let own = took("own", 10_000_000, 0);
    assert_eq!(own["faults"], 0, "{own:?}");
}

/// What is found by the counting of allocations and page faults, and by that of system calls.
#[test]
fn a_recorder_that_allocates_and_asks_the_kernel_is_found_out() {
    let careless = took("careless", 1_000_000, 1000);
    assert_eq!(careless["allocations"], 1000);
    assert!(careless["faults"] > 0, "{careless:?}");
    assert!(careless["by-first-events"] >= 1000);
    let (Some(few), Some(many)) = (
        system_calls("careless", 10_000, 0),
        system_calls("careless", 100_000, 0),
    ) else {
        return skipped();
    };
    assert_eq!(grown(&few, &many), [("getppid".to_owned(), 90)].into());
    assert_eq!(by_a_thread("careless", "none").get("getppid"), Some(&1990));
}

fn skipped() {
    eprintln!("SKIPPED: strace is not there or cannot trace");
}

type Calls = BTreeMap<String, i64>;

/// How often each system call is made over so many events and threads; `None` without
/// strace.
fn system_calls(adapter: &str, events: u64, threads: u64) -> Option<Calls> {
    let home = scratch();
    let counts: PathBuf = home.path().join("counts");
    let mut strace = Command::new("strace");
    // SAFETY: between fork and exec nothing is done but one system call.
    unsafe { strace.pre_exec(lies_where_it_always_does) };
    let output = strace
        .args(["-c", "-f", "-o"])
        .arg(&counts)
        .args([STEADY, adapter, &events.to_string(), &threads.to_string()])
        .arg(home.path().join("recordings"))
        .output()
        .ok()?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(table(&counts))
}

/// Has the program that is executed next lie at the same addresses each time: how often
/// the allocator gives back what it has mapped too much hangs on them.
fn lies_where_it_always_does() -> io::Result<()> {
    // SAFETY: it concerns what is executed next.
    let _ = unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
    Ok(())
}

/// The names and counts of strace's summary.
fn table(counts: &Path) -> Calls {
    let text = std::fs::read_to_string(counts).expect("strace's summary");
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let calls = words.get(3)?.parse().ok()?;
        let name = (*words.last()?).to_owned();
        (name != "total").then_some((name, calls))
    });
    let rows: Calls = rows.collect();
    assert!(!rows.is_empty(), "no summary of strace: {text}");
    rows
}

/// By how much each count is larger, or smaller, than it was.
fn grown(few: &Calls, many: &Calls) -> Calls {
    let names = few.keys().chain(many.keys());
    let by = |name| many.get(name).unwrap_or(&0) - few.get(name).unwrap_or(&0);
    let grown = names.map(|name| (name.clone(), by(name)));
    grown.filter(|&(_, by)| by != 0).collect()
}

/// What a million events and a thousand threads, one after the other, add with one
/// adapter to what they add with another; empty without strace.
///
/// Whether somebody who joins a thread must wait for it is not told by the program:
/// futex(2) is left out.
fn by_a_thread(adapter: &str, other: &str) -> Calls {
    let threads = |adapter| {
        let none = system_calls(adapter, 10_000, 0)?;
        Some(grown(&none, &system_calls(adapter, 1_000_000, 1000)?))
    };
    let (Some(adapter), Some(other)) = (threads(adapter), threads(other)) else {
        return Calls::new();
    };
    let mut by = grown(&other, &adapter);
    by.remove("futex");
    by
}

fn asks_the_kernel_for_nothing(adapter: &str) {
    let (Some(few), Some(many)) = (
        system_calls(adapter, 10_000, 0),
        system_calls(adapter, 1_000_000, 0),
    ) else {
        return skipped();
    };
    // Threads that begin may wait for each other once more or once less.
    let mut by = grown(&few, &many);
    by.retain(|_, by| *by > 10);
    assert_eq!(by, Calls::new(), "by 10,000 events and by 1,000,000");
}

#[test]
fn the_own_subscriber_asks_the_kernel_for_nothing() {
    asks_the_kernel_for_nothing("own");
}

#[test]
fn the_layer_asks_the_kernel_for_nothing() {
    asks_the_kernel_for_nothing("layer");
}

/// Heaps that grow are libc's matter: a few calls more are not one a thread.
#[test]
fn a_thread_that_begins_makes_four_system_calls_and_no_other() {
    for (adapter, other) in [("own", "none"), ("layer", "registry")] {
        let mut by = by_a_thread(adapter, other);
        if by.is_empty() {
            return skipped();
        }
        for name in ["gettid", "getpid", "prctl", "rt_sigprocmask"] {
            assert_eq!(by.remove(name), Some(1000), "{adapter}: {name}");
        }
        by.retain(|_, by| *by > 10);
        assert_eq!(by, Calls::new(), "{adapter}");
    }
}
