//! Recordings of all sizes.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::events::{BATCH, F, fields};

/// About as many events F as fit into a mebibyte.
const EVENTS_A_MIB: u32 = 10_000;

/// The most memory that a recorder is to take beside its mapping.
const MEMORY_KIB: f64 = 1024.0;

/// What one process found: microseconds of the start, of the first event, nanoseconds
/// of the first thousand events and of those of two laps, and KiB of memory.
const COLUMNS: usize = 6;

pub(crate) fn head(place: &Path) {
    println!("\nrecordings in {}", place.display());
    println!(
        "{:<6}{:>10}{:>10}{:>12}{:>9}{:>11}{:>12}",
        "MiB", "start ms", "first us", "first 1000", "a lap", "once more", "memory KiB"
    );
}

/// The line of a size: of several processes the least of each column, and of memory the
/// most.
pub(crate) fn print(processes: &[String]) -> Result<(), Box<dyn Error>> {
    let mut least = [f64::INFINITY; COLUMNS];
    let (mut mebibytes, mut memory) = ("", f64::NEG_INFINITY);
    for process in processes {
        let columns: Vec<&str> = process.split_whitespace().collect();
        mebibytes = columns.first().ok_or("nothing was measured")?;
        for (least, column) in least.iter_mut().zip(&columns[1..]) {
            *least = least.min(column.parse()?);
        }
        memory = columns
            .last()
            .map_or(Ok(memory), |last| last.parse::<f64>())?
            .max(memory);
    }
    let [start, first, thousand, lap, again, _] = least;
    let met = if memory <= MEMORY_KIB { "met" } else { "over" };
    println!(
        "{mebibytes:<6}{:>10.1}{first:>10.1}{thousand:>12.1}{lap:>9.1}{again:>11.1}{memory:>12.0}{met:>6}",
        start / 1000.0
    );
    Ok(())
}

/// Starts a recording, fills it twice, and says what that took.
pub(crate) fn measure(mebibytes: u32, directory: &Path) -> Result<(), Box<dyn Error>> {
    let before = own_kib()?;
    let began = Instant::now();
    let recorder = crate::start(mebibytes, directory)?;
    let start = began.elapsed();
    std::fs::remove_file(recorder.path())?;
    crate::install(&recorder)?;
    let began = Instant::now();
    fields(1);
    let first = began.elapsed();
    let thousand = each((F.batch)(0));
    let lap = fill(mebibytes);
    let again = fill(mebibytes);
    let memory = own_kib()? - before;
    let us = |time: Duration| time.as_nanos() as f64 / 1e3;
    println!(
        "{mebibytes} {} {} {thousand} {lap} {again} {memory}",
        us(start),
        us(first)
    );
    Ok(())
}

/// Leaves a recording of so many events there, for readers to be measured on, and says
/// which.
pub(crate) fn leave(events: u32, directory: &Path) -> Result<(), Box<dyn Error>> {
    let recorder = crate::start(events / EVENTS_A_MIB * 2 + 1, directory)?;
    crate::install(&recorder)?;
    (0..u64::from(events)).for_each(fields);
    println!("{}", recorder.path().display());
    Ok(())
}

/// What an event takes, in nanoseconds, where the recording is filled once.
fn fill(mebibytes: u32) -> f64 {
    let batches = mebibytes * EVENTS_A_MIB / BATCH as u32;
    let took: Duration = (0..u64::from(batches))
        .map(|batch| (F.batch)(batch * BATCH))
        .sum();
    each(took) / f64::from(batches)
}

/// Nanoseconds of an event of a batch.
fn each(batch: Duration) -> f64 {
    batch.as_nanos() as f64 / BATCH as f64
}

/// KiB of memory that are this process's alone.
fn own_kib() -> Result<i64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("the kernel does not tell")?.parse()?)
}
