//! Runs batches under criterion, and keeps the figures of each.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::Criterion;

use crate::company::Company;
use crate::events::{BATCH, Work, timed};
use crate::table::TSC;
use crate::ticks::ticks;

/// A benchmark's first batches warm up what the rest finds warm.
const WARMING: usize = 10;
/// Of several threads each does at least so many batches at a time, lest the first be
/// done before the last has begun.
const TOGETHER: u64 = 20;

/// The benchmarks of one adapter.
pub(crate) struct Bench {
    criterion: Criterion,
    adapter: &'static str,
    lines: String,
}

impl Bench {
    pub(crate) fn new(adapter: &'static str) -> Bench {
        let criterion = Criterion::default()
            .without_plots()
            .sample_size(20)
            .nresamples(1_001)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(300));
        Bench {
            criterion: criterion.configure_from_args(),
            adapter,
            lines: String::new(),
        }
    }

    /// The clock's own cost, in every process.
    pub(crate) fn clock(&mut self) {
        let adapter = std::mem::replace(&mut self.adapter, "clock");
        let read = |_| {
            black_box(ticks());
        };
        let id = format!("clock/{TSC} in the process of {adapter}");
        let mut batches = Vec::new();
        self.repeat(&id, &mut |first| {
            let took = timed(first, read);
            batches.push(took);
            took
        });
        self.keep(TSC, batches);
        self.adapter = adapter;
    }

    /// Measures some works on one thread, then all of them on several.
    pub(crate) fn works(&mut self, works: &[Work], threads: &[u64]) {
        for work in works {
            self.batches(work.name, work.batch);
        }
        for &threads in threads {
            for &work in works {
                self.together(work, threads);
            }
        }
    }

    /// Measures batches one after the other.
    pub(crate) fn batches(&mut self, work: &str, batch: impl Fn(u64) -> Duration) {
        let mut batches = Vec::new();
        self.repeat(&format!("{}/{work}", self.adapter), &mut |first| {
            let took = batch(first);
            batches.push(took);
            took
        });
        self.keep(work, batches);
    }

    /// Measures bursts, after each of which is waited until nothing is left to do for
    /// whoever the caller has handed it to: what the caller pays, and what both do.
    pub(crate) fn bursts(
        &mut self,
        work: &str,
        burst: impl Fn(u64) -> Duration,
        mut drain: impl FnMut(),
    ) {
        let mut bursts = Vec::new();
        let mut wholes = Vec::new();
        self.repeat(&format!("{}/{work}", self.adapter), &mut |first| {
            let began = Instant::now();
            let took = burst(first);
            drain();
            wholes.push(began.elapsed());
            bursts.push(took);
            took
        });
        self.keep(work, bursts);
        self.keep(&format!("{work}, until it is written"), wholes);
    }

    /// Measures threads that do the same at the same time, a batch of each. Criterion is
    /// told all that a thread takes, which is more where there are fewer processors.
    fn together(&mut self, work: Work, threads: u64) {
        let name = format!("{} by {threads} threads", work.name);
        let kept = RefCell::new(Vec::new());
        let ran = Cell::new(false);
        let id = format!("{}/{name}", self.adapter);
        self.criterion.bench_function(&id, |bencher| {
            bencher.iter_custom(|times| {
                let each = times.div_ceil(BATCH).max(TOGETHER);
                let (batches, took) = run_together(work, threads, each);
                if times > 1 {
                    ran.set(true);
                    kept.borrow_mut().extend(batches);
                }
                share(took / threads as u32, times, each)
            });
        });
        let kept = kept.into_inner();
        if ran.get() && kept.len() <= WARMING {
            self.note(&format!("{name}: hardly ever at the same time in a round"));
        }
        self.keep(&name, kept);
    }

    /// Runs batches as criterion asks for them.
    fn repeat(&mut self, id: &str, batch: &mut dyn FnMut(u64) -> Duration) {
        let mut first = 0;
        self.criterion.bench_function(id, |bencher| {
            bencher.iter_custom(|times| {
                let batches = times.div_ceil(BATCH);
                let took = (0..batches).map(|_| {
                    first += BATCH;
                    batch(first)
                });
                share(took.sum(), times, batches)
            });
        });
    }

    /// Keeps the minimum and the median of an event.
    fn keep(&mut self, work: &str, mut batches: Vec<Duration>) {
        let batches = batches.get_mut(WARMING..).unwrap_or_default();
        batches.sort_unstable();
        let each = |batch: Duration| batch.as_nanos() as f64 / BATCH as f64;
        if let Some(&least) = batches.first() {
            let (least, median) = (each(least), each(batches[batches.len() / 2]));
            let _ = writeln!(self.lines, "{}\t{work}\t{least}\t{median}", self.adapter);
        }
    }

    /// Whether anything was measured, which a filter may have kept from being.
    pub(crate) fn has_figures(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Says something beneath the table.
    pub(crate) fn note(&mut self, note: &str) {
        let _ = writeln!(self.lines, "{}\t{note}", self.adapter);
    }

    pub(crate) fn write(self, figures: &Path) -> Result<(), Box<dyn Error>> {
        self.criterion.final_summary();
        Ok(std::fs::write(figures, self.lines)?)
    }
}

/// The time of whole batches, as far as so many of their events were asked for.
fn share(took: Duration, times: u64, batches: u64) -> Duration {
    took.mul_f64(times as f64 / (batches * BATCH) as f64)
}

/// The batches of a work that had company, and the time of all batches of all threads.
fn run_together(work: Work, threads: u64, each: u64) -> (Vec<Duration>, Duration) {
    let begin = Barrier::new(threads as usize);
    let company = Company::default();
    let life = |thread: u64| {
        (work.batch)(0);
        begin.wait();
        let batch = |number| (work.batch)((thread * each + number) * BATCH);
        company.batches(each, threads, batch)
    };
    std::thread::scope(|scope| {
        let life = &life;
        let lives: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || life(thread)))
            .collect();
        let (mut kept, mut all) = (Vec::new(), Duration::ZERO);
        for life in lives {
            let (took, accompanied) = life.join().expect("no batch panics");
            kept.extend(accompanied);
            all += took;
        }
        (kept, all)
    })
}
