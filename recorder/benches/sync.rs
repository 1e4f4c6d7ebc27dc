//! What it costs to survive a power loss: a sync of a full recording, and what those who
//! log see of it meanwhile.
//!
//! ```text
//! cargo bench -p ttlog --bench sync -- A_DIRECTORY_ON_A_DISK
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use ttlog::{Durability, Recorder};

const SYNCS: usize = 20;
const INTERVAL: Duration = Duration::from_millis(100);
const FOR: Duration = Duration::from_secs(10);
/// Of a call each so long: 100,000 events a second.
const PACE: Duration = Duration::from_micros(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(disk) = arguments.find(|argument| argument != "--bench") else {
        println!("a directory on a disk is wanted");
        return Ok(());
    };
    let disk = tempfile::tempdir_in(disk)?;
    full_syncs(disk.path())?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let interval = Durability::Interval(INTERVAL);
    for pace in [PACE, Duration::ZERO] {
        calls("in memory", memory.path(), Durability::Process, pace)?;
        calls("on the disk", disk.path(), Durability::Process, pace)?;
        calls("on the disk, synced", disk.path(), interval, pace)?;
    }
    Ok(())
}

fn recorder(directory: &Path, durability: Durability) -> Result<Recorder, ttlog::Error> {
    ttlog::builder()
        .directory(directory)
        .durability(durability)
        .create()
}

fn say(number: u64) {
    tracing::info!(
        user_id = number,
        path = "/login",
        elapsed_us = number % 1000,
        "user logged in"
    );
}

/// Syncs of a recording of 10 MiB of which everything is new.
fn full_syncs(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let recorder = recorder(directory, Durability::Process)?;
    let file = std::fs::File::open(recorder.path())?;
    file.sync_all()?;
    let mut figures = Vec::new();
    tracing::subscriber::with_default(recorder.subscriber(), || {
        for _ in 0..SYNCS {
            (0..200_000).for_each(say);
            let began = Instant::now();
            file.sync_data()?;
            figures.push(began.elapsed().as_nanos() as u64);
        }
        Ok::<_, std::io::Error>(())
    })?;
    report("a sync of 10 MiB", &mut figures);
    Ok(())
}

/// How long calls take, in a thread that logs at a pace, or as fast as it can.
fn calls(
    what: &str,
    directory: &Path,
    durability: Durability,
    pace: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let recorder = recorder(directory, durability)?;
    let mut figures = Vec::new();
    tracing::subscriber::with_default(recorder.subscriber(), || {
        let began = Instant::now();
        for number in 0.. {
            let before = Instant::now();
            if before - began > FOR {
                return;
            }
            say(number);
            figures.push(before.elapsed().as_nanos() as u64);
            while before.elapsed() < pace {
                std::hint::spin_loop();
            }
        }
    });
    let stats = recorder.stats();
    report(&format!("a call each {pace:?}, {what}"), &mut figures);
    if stats.syncs > 0 {
        println!(
            "    {} syncs, the longest took {:?}",
            stats.syncs, stats.longest_sync
        );
    }
    Ok(())
}

fn report(what: &str, figures: &mut [u64]) {
    figures.sort_unstable();
    let at = |share: f64| {
        let place = (figures.len() - 1) as f64 * share;
        Duration::from_nanos(figures[place as usize])
    };
    println!(
        "{what:<40} {:>9.1?} median {:>9.1?} p99.9 {:>9.1?} p99.99 {:>9.1?} max",
        at(0.5),
        at(0.999),
        at(0.9999),
        at(1.0)
    );
}
