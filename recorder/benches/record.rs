//! What an event and a span cost the thread that records them: `cargo bench`.
//!
//! One thread, values that change at every event, and beside each figure its
//! floor: what the same event costs through a subscriber that visits every
//! field and keeps nothing. Machines and minutes differ; compare the ratios.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::Criterion;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber, info, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;

/// Batches shorter than this are warming up.
const BATCH: u64 = 1_000;

/// What a figure is called, and the work that is repeated, told how often it was.
type Work = (&'static str, fn(u64));

const WORKS: [Work; 4] = [
    ("S, a static message", |_| info!("request served")),
    ("F, a message and three fields", |n| {
        let (user, micros, peer) = values(n);
        info!(user, micros, peer, "request served");
    }),
    ("M, a message formatted from three", |n| {
        let (user, micros, peer) = values(n);
        info!("request of {user} took {micros} us, from {peer}");
    }),
    ("span of two fields, from new to close", |n| {
        let (user, micros, _) = values(n);
        info_span!("request", user, micros).in_scope(|| black_box(n));
    }),
];

/// Two numbers, one of which needs a word of its own, and a text of 13 bytes.
fn values(n: u64) -> (u64, u64, &'static str) {
    const PEERS: [&str; 2] = ["10.0.0.1:8080", "10.0.0.2:8080"];
    (n << 33, n & 0xffff, PEERS[n as usize % 2])
}

fn main() -> Result<(), ttlog::Error> {
    let recorder = start()?;
    let mut bench = Bench {
        criterion: Criterion::default()
            .without_plots()
            .sample_size(40)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(1500))
            .configure_from_args(),
        figures: Vec::new(),
    };
    bench.measure("time stamp counter", "TSC", |_| {
        black_box(ticks());
    });
    bench.through("floor", || Dispatch::new(Visitor));
    bench.through("ttlog Subscriber", || Dispatch::new(recorder.subscriber()));
    bench.through("Registry, a layer that does nothing", || {
        Dispatch::new(registry().with(Nothing))
    });
    bench.through("Registry, ttlog Layer", || {
        Dispatch::new(registry().with(recorder.layer()))
    });
    bench.criterion.final_summary();
    bench.print();
    // Still mapped; nobody will want to read it.
    let _ = std::fs::remove_file(recorder.path());
    Ok(())
}

/// Starts a recording in the default directory and says how long that took.
fn start() -> Result<ttlog::Recorder, ttlog::Error> {
    let began = Instant::now();
    let recorder = ttlog::builder()
        .name("bench")
        .capacity_mib(10)
        .filter("debug")
        .create()?;
    let took = began.elapsed();
    println!(
        "10 MiB started in {took:.1?}: {}",
        recorder.path().display()
    );
    Ok(recorder)
}

struct Bench {
    criterion: Criterion,
    figures: Vec<Figure>,
}

/// Nanoseconds of one piece of work through one adapter.
struct Figure {
    adapter: &'static str,
    work: &'static str,
    minimum: f64,
    median: f64,
}

impl Bench {
    /// Measures every work through an adapter.
    fn through(&mut self, adapter: &'static str, dispatch: impl Fn() -> Dispatch) {
        let dispatch = dispatch();
        tracing::dispatcher::with_default(&dispatch, || {
            for (work, repeat) in WORKS {
                self.measure(adapter, work, repeat);
            }
        });
    }

    fn measure(&mut self, adapter: &'static str, work: &'static str, repeat: impl Fn(u64)) {
        let batches = RefCell::new(Vec::new());
        let count = Cell::new(0);
        self.criterion
            .bench_function(&format!("{adapter}/{work}"), |bencher| {
                bencher.iter_custom(|times| {
                    let first = count.replace(count.get() + times);
                    let began = Instant::now();
                    (first..first + times).for_each(|n| repeat(black_box(n)));
                    let took = began.elapsed();
                    if times >= BATCH {
                        let each = took.as_nanos() as f64 / times as f64;
                        batches.borrow_mut().push(each);
                    }
                    took
                });
            });
        let mut batches = batches.into_inner();
        batches.sort_by(f64::total_cmp);
        if let Some(&minimum) = batches.first() {
            self.figures.push(Figure {
                adapter,
                work,
                minimum,
                median: batches[batches.len() / 2],
            });
        }
    }

    /// The table, each figure beside the first one of the same work.
    fn print(&self) {
        println!(
            "\n{:<76} {:>7} {:>7} {:>7}",
            "ns", "min", "median", "floors"
        );
        for figure in &self.figures {
            let floor = self.figures.iter().find(|floor| floor.work == figure.work);
            let ratio = figure.minimum / floor.map_or(f64::NAN, |floor| floor.minimum);
            println!(
                "{:<36} {:<39} {:>7.1} {:>7.1} {ratio:>7.1}",
                figure.adapter, figure.work, figure.minimum, figure.median
            );
        }
    }
}

/// The clock that the recorder reads where the kernel trusts it.
fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86_64 processor has the instruction.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        Instant::now().elapsed().as_nanos() as u64
    }
}

/// Visits every field and formats nothing.
struct Visitor;

struct Seen(u64);

impl Visit for Seen {
    fn record_u64(&mut self, _: &Field, value: u64) {
        self.0 = self.0.wrapping_add(value);
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        self.0 = self.0.wrapping_add(value.len() as u64);
    }

    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        black_box(value);
    }
}

impl Subscriber for Visitor {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut seen = Seen(0);
        attributes.record(&mut seen);
        black_box(seen.0);
        Id::from_u64(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen(0);
        event.record(&mut seen);
        black_box(seen.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Does nothing with what the Registry keeps anyhow.
struct Nothing;

impl<S: Subscriber> Layer<S> for Nothing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        black_box(event);
    }
}
