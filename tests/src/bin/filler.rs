//! The program that fills a recording until it has gone around, from four threads, and
//! dies of SIGKILL; and the one that keeps all of a recording in memory.
//!
//! ```text
//! filler fill DIRECTORY CAPACITY_MIB      prints the recording's path
//! filler keep RECORDING
//! ```
//!
//! Each thread says the same again and again: a request, open for as long as it has
//! events, and one span of the whole thread around all of them.

use std::io::Write;
use std::thread;

use nix::sys::signal::{Signal, raise};

const THREADS: u64 = 4;

/// Events of a request.
const REQUEST: u64 = 20;

/// Bytes that an event takes at least.
const EVENT_BYTES: u64 = 64;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["fill", directory, capacity] => record(directory, capacity.parse().expect("a number")),
        ["keep", recording] => {
            let opened = ttlog_reader::open(recording.as_ref()).expect("a recording");
            assert!(opened.recording.entries.len() > 1_000);
        }
        _ => panic!("fill DIRECTORY CAPACITY_MIB, or keep RECORDING: {args:?}"),
    }
}

fn record(directory: &str, capacity: u32) {
    let recorder = ttlog::builder()
        .name("filler")
        .directory(directory)
        .snapshot_directory(directory)
        .capacity_mib(capacity)
        .init()
        .expect("a recorder");
    let events = (u64::from(capacity) << 20) / EVENT_BYTES * 5 / 4;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || fill(thread, events / THREADS));
        }
    });
    println!("{}", recorder.path().display());
    std::io::stdout().flush().expect("a reader");
    raise(Signal::SIGKILL).expect("the end");
}

fn fill(thread: u64, events: u64) {
    let _worker = tracing::info_span!("worker", thread).entered();
    for request in 0..events / REQUEST {
        let _request = tracing::info_span!("request", request, path = "/login").entered();
        for n in 0..REQUEST {
            tracing::info!(
                user_id = request * 1_000_003 + n,
                elapsed_us = n * 1_000_000_007,
                path = "/v1/accounts/",
                "user logged in"
            );
        }
    }
}
