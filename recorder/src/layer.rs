//! The adapter for composing with other layers on any `Registry`.
//!
//! The Registry counts handles and gives out ids of its own; an index beside it
//! says which span of the recording each is. The index is the layer's alone,
//! since two registries give out the same ids.

use std::sync::Arc;

use crate::core::Core;
use crate::sync::{AtomicU64, Ordering, atomics};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Interest, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use ttlog_format::span::SpanId;

/// Records what comes through a `tracing_subscriber` registry.
///
/// Made by [`Recorder::layer`](crate::Recorder::layer), which puts the
/// recorder's filter in front of it.
///
/// What it cannot promise: the Registry itself panics past 4,096 live threads,
/// and aborts when a span is opened in a thread-local's destructor. A program
/// that wants nothing but the recording uses [`Subscriber`](crate::Subscriber).
pub struct Layer {
    core: Option<Arc<Core>>,
    index: Index,
}

impl Layer {
    pub(crate) fn new(core: Option<Arc<Core>>, span_slots: usize) -> Layer {
        Layer {
            core,
            index: Index::new(span_slots),
        }
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer")
            .field("recording", &self.core.as_ref().map(|core| &core.path))
            .finish()
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if let Some(core) = &self.core {
            core.register(metadata);
        }
        Interest::always()
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(core) = &self.core {
            crate::encode::event(core, event, |id| self.index.find(id));
        }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if let Some(core) = &self.core {
            let parent = crate::encode::parent(core, attributes, |id| self.index.find(id));
            let span = crate::encode::open(core, attributes, parent);
            self.index.insert(id, span);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let (Some(core), Some(span)) = (&self.core, self.index.find(id)) {
            crate::encode::values(core, span, values);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        if let (Some(core), Some(span)) = (&self.core, self.index.find(id))
            && let Some(follows) = self.index.find(follows)
        {
            core.follows(span, follows);
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        if let (Some(core), Some(span)) = (&self.core, self.index.find(id)) {
            core.enter(span);
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        if let (Some(core), Some(span)) = (&self.core, self.index.find(id)) {
            core.exit(span);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let (Some(core), Some(span)) = (&self.core, self.index.remove(&id)) {
            core.close(span);
        }
    }
}

/// How many places a lookup looks at: four cache lines.
const PLACES: usize = 32;

/// Which span of the recording each id of the Registry is.
///
/// A table of keys and values, open to all threads: a key is put into the first
/// free one of the few places that its hash allows, and every lookup looks at
/// all of them, so that taking one out leaves no hole that matters.
struct Index {
    keys: Box<[AtomicU64]>,
    spans: Box<[AtomicU64]>,
}

impl Index {
    fn new(span_slots: usize) -> Index {
        let len = (span_slots.max(PLACES) * 2).next_power_of_two();
        Index {
            keys: atomics(len, 0),
            spans: atomics(len, 0),
        }
    }

    fn places(&self, id: &Id) -> impl Iterator<Item = usize> {
        let hash = id.into_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let first = (hash as usize) & !7;
        let mask = self.keys.len() - 1;
        (first..first + PLACES).map(move |place| place & mask)
    }

    fn insert(&self, id: &Id, span: SpanId) {
        let free = self.places(id).find(|&place| {
            let key = &self.keys[place];
            key.load(Ordering::Relaxed) == 0
                && key
                    .compare_exchange(0, id.into_u64(), Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        });
        if let Some(place) = free {
            self.spans[place].store(span.to_u64(), Ordering::Release);
        }
    }

    #[inline]
    fn place(&self, id: &Id) -> Option<usize> {
        let key = id.into_u64();
        self.places(id)
            .find(|&place| self.keys[place].load(Ordering::Acquire) == key)
    }

    #[inline]
    fn find(&self, id: &Id) -> Option<SpanId> {
        SpanId::from_u64(self.spans[self.place(id)?].load(Ordering::Acquire))
    }

    fn remove(&self, id: &Id) -> Option<SpanId> {
        let place = self.place(id)?;
        let span = self.spans[place].swap(0, Ordering::Acquire);
        self.keys[place].store(0, Ordering::Release);
        SpanId::from_u64(span)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_found_until_it_is_taken_out() {
        let index = Index::new(64);
        let span = |n: u64| SpanId::in_slot(n as u32, 1);
        let ids: Vec<u64> = (1..=64).map(|n| n << 20 | n).collect();
        for round in 0..100 {
            for &n in &ids {
                index.insert(&Id::from_u64(n), span(n + round));
            }
            for &n in &ids {
                assert_eq!(index.find(&Id::from_u64(n)), Some(span(n + round)));
            }
            for &n in &ids {
                assert_eq!(index.remove(&Id::from_u64(n)), Some(span(n + round)));
                assert_eq!(index.find(&Id::from_u64(n)), None);
            }
        }
    }

    #[test]
    fn every_span_that_the_registry_closes_is_closed() {
        use tracing_subscriber::layer::SubscriberExt;
        let directory = tempfile::tempdir().unwrap();
        let builder = crate::builder().directory(directory.path());
        let recorder = builder.capacity_mib(1).create().unwrap();
        let registry = tracing_subscriber::registry().with(recorder.layer());
        tracing::subscriber::with_default(registry, || {
            for id in 0..1000 {
                let request = tracing::info_span!("request", id);
                let _entered = request.enter();
                let other = tracing::info_span!(parent: None, "root");
                other.in_scope(|| tracing::info_span!("child").in_scope(|| {}));
                assert_eq!(
                    recorder.stats().open_spans,
                    2,
                    "a child takes no parent with it"
                );
            }
        });
        assert_eq!(recorder.stats().open_spans, 0);
    }
}
