//! Threads that are all there at the same time.

use std::error::Error;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::company::Company;
use crate::events::{BATCH, F, fields};
use crate::ticks::ticks;

/// The batches of all threads together, of which each does at least five.
const BATCHES: u32 = 10_000;

pub(crate) fn head() {
    println!(
        "{:<10}{:>24}{:>33}{:>12}",
        "threads", "ns of an event", "ns of a thread's first", "dropped"
    );
    println!(
        "{:<10}{:>12}{:>12}{:>11}{:>11}{:>11}",
        "", "min", "median", "min", "median", "max"
    );
}

pub(crate) fn measure(threads: u32, directory: &Path) -> Result<(), Box<dyn Error>> {
    let recorder = crate::start(10, directory)?;
    std::fs::remove_file(recorder.path())?;
    crate::install(&recorder)?;
    // The call site is known then, and the pages of the code are there.
    (F.batch)(0);
    let (ns, beginning) = (Instant::now(), ticks());
    let (mut first, mut batches) = run(threads);
    let ticks_per_ns = (ticks() - beginning) as f64 / ns.elapsed().as_nanos() as f64;
    first.sort_unstable();
    batches.sort_unstable();
    let event = |rank: usize| {
        let batch = batches.get(rank);
        batch.map_or(f64::NAN, |batch| batch.as_nanos() as f64 / BATCH as f64)
    };
    let first_ns = |rank: usize| first[rank] as f64 / ticks_per_ns;
    println!(
        "{threads:<10}{:>12.1}{:>12.1}{:>11.0}{:>11.0}{:>11.0}{:>12}",
        event(0),
        event(batches.len() / 2),
        first_ns(0),
        first_ns(first.len() / 2),
        first_ns(first.len() - 1),
        recorder.stats().dropped
    );
    Ok(())
}

/// The ticks of the first events, and how long the batches took that had company.
fn run(threads: u32) -> (Vec<u64>, Vec<Duration>) {
    let all_are_there = Barrier::new(threads as usize);
    let company = Company::default();
    let each = u64::from((BATCHES / threads).max(5));
    let life = |thread: u64| {
        let before = ticks();
        fields(thread + 1);
        let first = ticks() - before;
        all_are_there.wait();
        let batch = |number| (F.batch)((thread * each + number) * BATCH);
        let (_, batches) = company.batches(each, threads.into(), batch);
        // Nobody ends while another still measures.
        all_are_there.wait();
        (first, batches)
    };
    std::thread::scope(|scope| {
        let life = &life;
        let spawn = |thread| {
            let thread = move || life(thread);
            let builder = std::thread::Builder::new().stack_size(64 << 10);
            builder.spawn_scoped(scope, thread).expect("a thread")
        };
        let lives: Vec<_> = (0..u64::from(threads)).map(spawn).collect();
        let lives = lives.into_iter().map(|life| life.join().expect("no panic"));
        let (first, batches): (Vec<_>, Vec<_>) = lives.unzip();
        (first, batches.concat())
    })
}
