//! What becomes of the cost where there is more of it: threads, from one to a thousand,
//! and mebibytes of recording, from one to a thousand.
//!
//! ```text
//! cargo bench -p ttlog --bench scale -- A_DIRECTORY_ON_A_DISK
//! ```
//!
//! Each line is measured in a process of its own, through the own Subscriber as the
//! global default, in batches of 1,000 events F.
//!
//! Threads: all are there at the same time; each says one event, all wait for each
//! other, then each says its batches, of which those count that had company. `first` is what that first event takes, which
//! gets its thread a ring and a block.
//!
//! Recordings: `start` is the call of `create`; `events` the first 1,000, and the first
//! of them; `a lap` what an event takes while the recording is filled for the first time,
//! and once more. `memory` is what the process has of its own (RssAnon) beside the
//! mapping, over what it had before the start: 1 MiB is the most that is wanted.

#[path = "../shared/company.rs"]
mod company;
#[path = "../shared/events.rs"]
#[allow(dead_code, reason = "one event of them")]
mod events;
#[path = "../shared/places.rs"]
mod places;
mod recordings;
mod threads;
#[path = "../shared/ticks.rs"]
mod ticks;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use tracing::Dispatch;

/// Says in a child what it is to measure, of how much, and where.
const WHAT: &str = "TTLOG_BENCH_WHAT";
const HOW_MUCH: &str = "TTLOG_BENCH_HOW_MUCH";
const DIRECTORY: &str = "TTLOG_BENCH_DIRECTORY";

const THREADS: [u32; 6] = [1, 2, 4, 10, 100, 1000];
const MEBIBYTES: [u32; 4] = [1, 10, 100, 1024];
const STARTS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let Ok(what) = std::env::var(WHAT) else {
        return all();
    };
    let directory = std::env::var_os(DIRECTORY).ok_or("no directory was told")?;
    let how_much = std::env::var(HOW_MUCH)?.parse()?;
    match what.as_str() {
        "threads" => threads::measure(how_much, Path::new(&directory)),
        "recording" => recordings::measure(how_much, Path::new(&directory)),
        _ => recordings::leave(how_much, Path::new(&directory)),
    }
}

fn all() -> Result<(), Box<dyn Error>> {
    let given = std::env::args_os().skip(1).find(|given| given != "--bench");
    let disk = given.map_or(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let disk = tempfile::tempdir_in(disk)?;
    let memory = places::in_memory()?;
    threads::head();
    for threads in THREADS {
        print!("{}", measured("threads", threads, memory.path())?);
    }
    for place in [memory.path(), disk.path()] {
        recordings::head(place);
        for mebibytes in MEBIBYTES {
            let starts = (0..STARTS).map(|_| measured("recording", mebibytes, place));
            recordings::print(&starts.collect::<Result<Vec<_>, _>>()?)?;
        }
    }
    Ok(())
}

/// What a process of its own says of it.
fn measured(what: &str, how_much: u32, place: &Path) -> Result<String, Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?);
    child.env(WHAT, what).env(DIRECTORY, place);
    let output = child.env(HOW_MUCH, how_much.to_string()).output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{what} {how_much}: {why}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A recorder that is the global default.
fn start(mebibytes: u32, directory: &Path) -> Result<ttlog::Recorder, Box<dyn Error>> {
    let builder = ttlog::builder().directory(directory);
    let builder = builder.snapshot_directory(directory).filter("debug");
    Ok(builder.capacity_mib(mebibytes).create()?)
}

fn install(recorder: &ttlog::Recorder) -> Result<(), Box<dyn Error>> {
    tracing::dispatcher::set_global_default(Dispatch::new(recorder.subscriber()))?;
    Ok(())
}
