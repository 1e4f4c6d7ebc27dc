//! A program that records as fast as it is told to: `torrent DIRECTORY THREADS RATE`.
//!
//! Each thread says its events by number, with a check that only that number has, in
//! spans of a hundred; together they say `RATE` a second, in every millisecond the same
//! number. It begins when it is sent a line, and prints how many it has said every tenth of
//! a second, from before it begins until it is killed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, info_span};

static SAID: AtomicU64 = AtomicU64::new(0);

/// Events of a span.
const IN_A_SPAN: u64 = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, threads, rate] = arguments.as_slice() else {
        panic!("usage: torrent DIRECTORY THREADS RATE");
    };
    let recorder = ttlog::builder().directory(directory).init();
    let _recorder = recorder.expect("a recorder");
    let threads: u64 = threads.parse().expect("a number of threads");
    let rate: u64 = rate.parse().expect("a number of events");
    println!("0");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    for of in 0..threads {
        let name = format!("torrent-{of}");
        let build = thread::Builder::new().name(name);
        let spawned = build.spawn(move || say(rate / threads));
        spawned.expect("a thread");
    }
    loop {
        thread::sleep(Duration::from_millis(100));
        println!("{}", SAID.load(Ordering::Relaxed));
    }
}

/// Says so many events a second, as they are due.
fn say(rate: u64) {
    let begun = Instant::now();
    let mut n = 0;
    loop {
        let due = begun.elapsed().as_millis() as u64 * rate / 1000;
        let from = n;
        while n < due {
            let _span = info_span!("hundred", first = n).entered();
            for _ in 0..IN_A_SPAN.min(due - n) {
                info!(n, check = ttlog_tests::torrent::check(n), "one of many");
                n += 1;
            }
        }
        SAID.fetch_add(n - from, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
}
