//! The peers, as their own documentation sets them up.
//!
//! All of them hand their events to another thread. Measured are bursts of 1,000 with
//! the queue drained between them: what the caller pays for a burst, and beneath it what
//! a burst takes until the other thread has written it, which is what an event costs who
//! goes on for long.

use std::error::Error;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::fastrace::collector::{Config, Reporter, SpanContext, SpanRecord};
use ::fastrace::local::LocalSpan;
use ::fastrace::{Event, Span};
use tracing::Dispatch;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

use crate::bench::Bench;
use crate::events::{BATCH, F, M, S, fields, timed, values};
use crate::places;

/// The longest that a peer's file gets before it begins anew.
const FILE_BYTES: u64 = 64 << 20;
/// Said without a pause, to see what gets lost.
const WITHOUT_PAUSE: u64 = 300_000;

/// Lines to a file by another thread, `fmt` over tracing-appender's `non_blocking`.
pub(crate) fn fmt(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    let directory = places::in_memory()?;
    let (file, written) = Counted::create(&directory.path().join("log"))?;
    let (writer, _guard) = NonBlockingBuilder::default().finish(file);
    let lost = writer.error_counter();
    let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
    tracing::dispatcher::set_global_default(Dispatch::new(subscriber))?;
    let mut said = 0;
    for work in [S, F, M] {
        bench.bursts(work.name, work.batch, || {
            said += BATCH;
            written.wait_for_lines(said - lost.dropped_lines() as u64);
        });
    }
    let lost_in_bursts = lost.dropped_lines() as u64;
    if bench.has_figures() {
        (0..WITHOUT_PAUSE).for_each(fields);
        let lost = lost.dropped_lines() as u64 - lost_in_bursts;
        bench.note(&format!(
            "lost {lost_in_bursts} lines in bursts, and {lost} of {WITHOUT_PAUSE} without a pause"
        ));
    }
    Ok(())
}

/// JSON to a file by another thread, tracing-chrome.
pub(crate) fn chrome(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    let directory = places::in_memory()?;
    let (file, written) = Counted::create(&directory.path().join("trace.json"))?;
    let builder = tracing_chrome::ChromeLayerBuilder::new();
    let (layer, guard) = builder.writer(file).include_args(true).build();
    tracing::dispatcher::set_global_default(Dispatch::new(registry().with(layer)))?;
    let mut flushes = 0;
    for work in [S, F, M] {
        bench.bursts(work.name, work.batch, || {
            flushes += 1;
            guard.flush();
            written.wait_for_flushes(flushes);
        });
    }
    Ok(())
}

/// Events and spans inside a local parent, fastrace, with a reporter that counts them.
pub(crate) fn fastrace(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    let reported = Arc::new(AtomicU64::new(0));
    let config = Config::default().report_interval(Duration::from_secs(3600));
    ::fastrace::set_reporter(Counting(reported.clone()), config);
    let said = AtomicU64::new(0);
    let within = |burst: fn(u64) -> Duration| {
        let said = &said;
        move |first| {
            said.fetch_add(BATCH, Ordering::Relaxed);
            let root = Span::root("bench", SpanContext::random());
            let _parent = root.set_local_parent();
            burst(first)
        }
    };
    bench.bursts("S", within(static_message), ::fastrace::flush);
    bench.bursts("F", within(three_fields), ::fastrace::flush);
    bench.bursts("M", within(formatted), ::fastrace::flush);
    bench.bursts("span", within(span), ::fastrace::flush);
    let lost = said.load(Ordering::Relaxed) - reported.load(Ordering::Relaxed);
    if lost > 0 {
        bench.note(&format!("lost {lost} events of {}", said.into_inner()));
    }
    Ok(())
}

fn static_message(first: u64) -> Duration {
    timed(first, |_| {
        LocalSpan::add_event(Event::new("request served"))
    })
}

fn three_fields(first: u64) -> Duration {
    timed(first, |n| {
        let (user, micros, peer) = values(n);
        let event = Event::new("request served").with_properties(|| {
            [
                ("user", user.to_string()),
                ("micros", micros.to_string()),
                ("peer", peer.to_owned()),
            ]
        });
        LocalSpan::add_event(event);
    })
}

fn formatted(first: u64) -> Duration {
    timed(first, |n| {
        let (user, micros, peer) = values(n);
        let message = format!("request of {user} took {micros} us, from {peer}");
        LocalSpan::add_event(Event::new(message));
    })
}

fn span(first: u64) -> Duration {
    timed(first, |n| {
        let (user, micros, _) = values(n);
        let _span = LocalSpan::enter_with_local_parent("request")
            .with_properties(|| [("user", user.to_string()), ("micros", micros.to_string())]);
    })
}

/// Counts what is reported: events, and spans beneath the root.
struct Counting(Arc<AtomicU64>);

impl Reporter for Counting {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        let events: usize = spans.iter().map(|span| span.events.len()).sum();
        let inner = spans.iter().filter(|span| span.name == "request").count();
        self.0.fetch_add((events + inner) as u64, Ordering::Relaxed);
    }
}

/// A file that tells how much of what was said is in it, and does not grow for ever.
struct Counted {
    file: File,
    bytes: u64,
    written: Arc<Written>,
}

/// What has arrived in a file.
#[derive(Default)]
struct Written {
    lines: AtomicU64,
    flushes: AtomicU64,
}

impl Counted {
    fn create(path: &std::path::Path) -> io::Result<(Counted, Arc<Written>)> {
        let written = Arc::new(Written::default());
        let counted = Counted {
            file: File::create(path)?,
            bytes: 0,
            written: written.clone(),
        };
        Ok((counted, written))
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes > FILE_BYTES {
            self.file.seek(SeekFrom::Start(0))?;
            self.bytes = 0;
        }
        let len = self.file.write(bytes)?;
        self.bytes += len as u64;
        if bytes[..len].ends_with(b"\n") {
            self.written.lines.fetch_add(1, Ordering::Release);
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.written.flushes.fetch_add(1, Ordering::Release);
        self.file.flush()
    }
}

impl Written {
    fn wait_for_lines(&self, lines: u64) {
        wait_until(|| self.lines.load(Ordering::Acquire) >= lines);
    }

    fn wait_for_flushes(&self, flushes: u64) {
        wait_until(|| self.flushes.load(Ordering::Acquire) >= flushes);
    }
}

/// Waits for what takes milliseconds, unless the file cannot be written.
fn wait_until(written: impl Fn() -> bool) {
    let began = Instant::now();
    while !written() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "nothing is written"
        );
        std::thread::yield_now();
    }
}
