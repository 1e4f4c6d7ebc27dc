//! The recorder's two adapters, and the floors that theirs are compared with.

use std::error::Error;
use std::hint::black_box;

use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;

use crate::bench::Bench;
use crate::events::{ENTER, F, M, S, SPAN};
use crate::floors::Visiting;
use crate::places;

const SEVERAL: [u64; 3] = [2, 3, 4];

pub(crate) fn visiting(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    tracing::dispatcher::set_global_default(Dispatch::new(Visiting))?;
    bench.works(&[S, F, M], &SEVERAL);
    Ok(())
}

pub(crate) fn bare(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    tracing::dispatcher::set_global_default(Dispatch::new(Bare))?;
    bench.works(&[SPAN, ENTER], &[]);
    Ok(())
}

pub(crate) fn subscriber(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    let recorder = start()?;
    tracing::dispatcher::set_global_default(Dispatch::new(recorder.subscriber()))?;
    bench.works(&[S, F, M, SPAN, ENTER], &SEVERAL);
    whole(bench, &recorder)
}

pub(crate) fn idle_registry(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    tracing::dispatcher::set_global_default(Dispatch::new(registry().with(Nothing)))?;
    bench.works(&[S, F, M], &[]);
    bench.works(&[SPAN, ENTER], &SEVERAL);
    Ok(())
}

pub(crate) fn layer(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    let recorder = start()?;
    let registry = registry().with(recorder.layer());
    tracing::dispatcher::set_global_default(Dispatch::new(registry))?;
    bench.works(&[S, F, M, SPAN, ENTER], &SEVERAL);
    whole(bench, &recorder)
}

/// A recorder with the defaults, in memory. Its file has no name any more once it is
/// mapped: nobody will want to read it.
fn start() -> Result<ttlog::Recorder, Box<dyn Error>> {
    let directory = places::in_memory()?;
    let builder = ttlog::builder().directory(directory.path());
    let builder = builder.snapshot_directory(directory.path());
    Ok(builder.name("bench").filter("debug").create()?)
}

/// Says so if anything was not recorded: dropping is cheaper than recording.
fn whole(bench: &mut Bench, recorder: &ttlog::Recorder) -> Result<(), Box<dyn Error>> {
    let stats = recorder.stats();
    if stats.dropped > 0 {
        let (dropped, events) = (stats.dropped, stats.events);
        bench.note(&format!("dropped {dropped} events and recorded {events}"));
    }
    Ok(())
}

/// Ignores everything: what `tracing` takes for a span before anybody looks at it.
struct Bare;

impl Subscriber for Bare {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        black_box(attributes);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
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
