//! What nobody gets around who records what `tracing` hands out: the floors.

use std::fmt;
use std::hint::black_box;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Visits every field of every event, and formats nothing.
pub(crate) struct Visiting;

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

impl Subscriber for Visiting {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
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
