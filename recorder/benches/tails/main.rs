//! How long the slowest events take, among them those that go on in another block: in
//! memory and on a disk, alone and beside a process that syncs the disk all the time.
//!
//! ```text
//! cargo bench -p ttlog --bench tails -- A_DIRECTORY_ON_A_DISK
//! ```
//!
//! Every event F is timed by two reads of the time stamp counter, of which nothing is
//! subtracted; one thread says them as fast as it can. The visiting Subscriber, which
//! keeps nothing, shows what the machine itself does to one who runs on it: interrupts,
//! and other processes that want the processor.
//!
//! Which events change blocks is known beforehand: all are of one size, and where the
//! last block began is read in the recording. It is read again at the end, and if a
//! block began elsewhere, the table says so.

mod blocks;
#[path = "../shared/events.rs"]
#[allow(dead_code, reason = "one event of them")]
mod events;
#[path = "../shared/floors.rs"]
mod floors;
mod histogram;
#[path = "../shared/places.rs"]
mod places;
mod syncing;
#[path = "../shared/ticks.rs"]
mod ticks;

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use blocks::Switches;
use histogram::Histogram;
use syncing::Neighbour;
use ticks::ticks;
use tracing::Dispatch;

/// Says in a child what it is to do, and where.
const ROLE: &str = "TTLOG_BENCH_ROLE";
const DIRECTORY: &str = "TTLOG_BENCH_DIRECTORY";
const SECONDS: &str = "TTLOG_BENCH_SECONDS";

/// The kernel writes back by itself what has been dirty for thirty seconds.
const WRITEBACK: u64 = 40;
const OTHERWISE: u64 = 10;
const FLOOR: u64 = 4;

/// Goes round the recording more than once.
const WARMING: u64 = 400_000;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::var(ROLE).as_deref() {
        Ok("sync") => syncing::for_ever(&directory()?),
        Ok("own") => own(),
        Ok(_) => visiting(),
        Err(_) => all(),
    }
}

fn all() -> Result<(), Box<dyn Error>> {
    let given = std::env::args_os().skip(1).find(|given| given != "--bench");
    let disk = given.map_or(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let disk = tempfile::tempdir_in(disk)?;
    let memory = places::in_memory()?;
    println!(
        "memory: {}\ndisk:   {}",
        memory.path().display(),
        disk.path().display()
    );
    println!(
        "\n{:<37}{:>7}{:>7}{:>8}{:>9}{:>12}",
        "ns of an event F", "median", "p99", "p99.9", "p99.99", "max"
    );
    run("visiting", memory.path(), FLOOR)?;
    run("own", memory.path(), OTHERWISE)?;
    if syncing::is_memory(disk.path())? {
        println!("SKIPPED: {} is not on a disk", disk.path().display());
        return Ok(());
    }
    run("own", disk.path(), WRITEBACK)?;
    println!("beside a process that syncs the disk");
    for (role, place, seconds) in [
        ("visiting", memory.path(), FLOOR),
        ("own", memory.path(), OTHERWISE),
        ("own", disk.path(), OTHERWISE),
    ] {
        let neighbour = Neighbour::start(disk.path())?;
        run(role, place, seconds)?;
        println!("    {} syncs meanwhile", neighbour.stop()?);
    }
    Ok(())
}

/// Measures in a process of its own, which prints its own lines.
fn run(role: &str, place: &Path, seconds: u64) -> Result<(), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?);
    child.env(ROLE, role).env(DIRECTORY, place);
    let status = child.env(SECONDS, seconds.to_string()).status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| "a measurement failed".into())
}

fn directory() -> Result<PathBuf, Box<dyn Error>> {
    Ok(std::env::var_os(DIRECTORY)
        .ok_or("no directory was told")?
        .into())
}

fn seconds() -> Result<Duration, Box<dyn Error>> {
    Ok(Duration::from_secs(std::env::var(SECONDS)?.parse()?))
}

fn visiting() -> Result<(), Box<dyn Error>> {
    tracing::dispatcher::set_global_default(Dispatch::new(floors::Visiting))?;
    let measured = measure(WARMING, Switches::never(), seconds()?);
    measured
        .clock
        .print("time stamp counter", measured.ticks_per_ns);
    measured
        .all
        .print("visiting Subscriber", measured.ticks_per_ns);
    Ok(())
}

fn own() -> Result<(), Box<dyn Error>> {
    let directory = directory()?;
    let builder = ttlog::builder().directory(&directory);
    let builder = builder.snapshot_directory(&directory);
    let recorder = builder.filter("debug").create()?;
    tracing::dispatcher::set_global_default(Dispatch::new(recorder.subscriber()))?;
    (1..=WARMING).for_each(events::fields);
    let switches = Switches::read(recorder.path())?;
    let said = recorder.stats().events;
    let measured = measure(said, switches, seconds()?);
    let place = if syncing::is_memory(&directory)? {
        "memory"
    } else {
        "disk"
    };
    measured
        .all
        .print(&format!("own Subscriber, {place}"), measured.ticks_per_ns);
    measured
        .switching
        .print("  that changes blocks", measured.ticks_per_ns);
    if !switches.still_hold(recorder.path())? {
        println!("    (not all of them: blocks began where none was expected)");
    }
    let dropped = recorder.stats().dropped;
    if dropped > 0 {
        println!("    ({dropped} events were dropped)");
    }
    std::fs::remove_file(recorder.path())?;
    Ok(())
}

struct Measured {
    clock: Histogram,
    all: Histogram,
    switching: Histogram,
    ticks_per_ns: f64,
}

/// Says events for so long, the first of which is its thread's with this number.
fn measure(first: u64, switches: Switches, time: Duration) -> Measured {
    let mut clock = Histogram::new();
    let mut all = Histogram::new();
    let mut switching = Histogram::new();
    for _ in 0..1_000_000 {
        let before = ticks();
        clock.add(black_box(ticks()) - before);
    }
    let began = Instant::now();
    let first_ticks = ticks();
    let mut next = switches.next(first);
    let mut n = first;
    while !n.is_multiple_of(1024) || began.elapsed() < time {
        let before = ticks();
        events::fields(black_box(n));
        let took = ticks().saturating_sub(before);
        all.add(took);
        if n == next {
            switching.add(took);
            next += switches.every;
        }
        n += 1;
    }
    let ticks = (ticks() - first_ticks) as f64;
    Measured {
        clock,
        all,
        switching,
        ticks_per_ns: ticks / began.elapsed().as_nanos() as f64,
    }
}
