//! Once warm, a recorder allocates nothing and asks the kernel for nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use ttlog_tests::victim::scratch;

const STEADY: &str = env!("CARGO_BIN_EXE_steady");

/// How often the program allocates over a million events, after its warm-up.
fn allocations(adapter: &str) -> u64 {
    let home = scratch();
    let output = Command::new(STEADY)
        .args([adapter, "1000000"])
        .arg(home.path().join("recordings"))
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.trim().parse().expect("a number")
}

#[test]
fn the_own_subscriber_allocates_nothing() {
    assert_eq!(allocations("own"), 0);
}

#[test]
fn the_layer_adds_no_allocation_to_the_registrys() {
    let (layer, registry) = (allocations("layer"), allocations("registry"));
    assert!(
        layer <= registry,
        "{layer}, and {registry} by the registry alone"
    );
}

/// How often each system call is made over so many events; `None` without strace.
fn system_calls(adapter: &str, events: u64) -> Option<Vec<(String, u64)>> {
    let home = scratch();
    let counts: PathBuf = home.path().join("counts");
    let output = Command::new("strace")
        .args(["-c", "-f", "-o"])
        .arg(&counts)
        .args([STEADY, adapter, &events.to_string()])
        .arg(home.path().join("recordings"))
        .output()
        .ok()?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(table(&counts))
}

/// The names and counts of strace's summary; sizes of the heap are libc's matter.
fn table(counts: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(counts).expect("strace's summary");
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let calls = words.get(3)?.parse().ok()?;
        let name = (*words.last()?).to_owned();
        (name != "total").then_some((name, calls))
    });
    let mut rows: Vec<(String, u64)> = rows.collect();
    rows.sort();
    assert!(!rows.is_empty(), "no summary of strace: {text}");
    rows
}

fn asks_the_kernel_for_nothing(adapter: &str) {
    let (Some(few), Some(many)) = (
        system_calls(adapter, 10_000),
        system_calls(adapter, 1_000_000),
    ) else {
        eprintln!("SKIPPED: strace is not there or cannot trace");
        return;
    };
    assert_eq!(few, many, "by 10,000 events and by 1,000,000");
}

#[test]
fn the_own_subscriber_asks_the_kernel_for_nothing() {
    asks_the_kernel_for_nothing("own");
}

#[test]
fn the_layer_asks_the_kernel_for_nothing() {
    asks_the_kernel_for_nothing("layer");
}
