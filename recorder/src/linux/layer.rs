//! The adapter for composing with other layers on any `Registry`.
//!
//! The Registry counts handles and gives out ids of its own; an index beside it
//! says which span of the recording each is. The index is the layer's alone,
//! since two registries give out the same ids. It has places for twice as many
//! spans as have slots; those beyond are found, more slowly, through the Registry.

use std::sync::Arc;

use crate::linux::core::{Core, Here};
use crate::linux::sync::{AtomicU64, Ordering, zeros};
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
/// What it cannot promise: the Registry itself panics past 4,096 live threads, and
/// aborts when a span is opened in a thread-local's destructor; a signal handler that
/// opens spans may wait for the Registry for ever, and where it logs events, a debug build
/// of `tracing-subscriber` panics by an assertion of its own. A program that wants
/// nothing but the recording uses [`Subscriber`](crate::Subscriber).
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
        if let Some(here) = self.core.as_ref().and_then(|core| core.here_already()) {
            here.register(metadata);
        }
        Interest::always()
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(core) = &self.core {
            crate::linux::encode::event(core, event, |id| self.find(id, &context));
        }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(core) = &self.core {
            let parent =
                crate::linux::encode::parent(core, attributes, |id| self.find(id, &context));
            let span = crate::linux::encode::open(core, attributes, parent);
            if !self.index.insert(id, span) {
                self.put_beside(id, span, &context);
            }
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let (Some(core), Some(span)) = (&self.core, self.find(id, &context)) {
            crate::linux::encode::values(core, span, values);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let found = [id, follows].map(|id| self.find(id, &context));
        if let [Some(span), Some(follows)] = found
            && let Some(core) = &self.core
            && let Some(here) = core.here_for(span)
            && core.knows(follows)
        {
            here.follows(span, follows);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = self.find(id, &context)
            && let Some(here) = self.here_for(span)
        {
            here.enter(span);
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = self.find(id, &context)
            && let Some(here) = self.here_for(span)
        {
            here.exit(span);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = self
            .index
            .remove(&id)
            .or_else(|| self.beside(&id, &context));
        if let Some(span) = span
            && let Some(here) = self.here_for(span)
        {
            here.close(span);
        }
    }
}

/// Which span of the recording a span of the Registry is, kept among the
/// Registry's own data: by layer, for those that the layer's index has no place for.
struct Beside(Vec<(usize, SpanId)>);

impl Layer {
    #[inline]
    fn here_for(&self, span: SpanId) -> Option<Here<'_>> {
        self.core.as_ref()?.here_for(span)
    }

    #[inline]
    fn find<S>(&self, id: &Id, context: &Context<'_, S>) -> Option<SpanId>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let span = self.index.find(id);
        span.or_else(|| self.beside(id, context))
    }

    #[cold]
    fn beside<S>(&self, id: &Id, context: &Context<'_, S>) -> Option<SpanId>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let span = context.span(id)?;
        let extensions = span.extensions();
        let Beside(spans) = extensions.get()?;
        let mine = spans.iter().find(|(layer, _)| *layer == self.number());
        mine.map(|&(_, span)| span)
    }

    #[cold]
    fn put_beside<S>(&self, id: &Id, span: SpanId, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(of_registry) = context.span(id) else {
            return;
        };
        let mut extensions = of_registry.extensions_mut();
        let Beside(mut spans) = extensions.remove().unwrap_or(Beside(Vec::new()));
        spans.push((self.number(), span));
        extensions.insert(Beside(spans));
    }

    /// What tells this layer from the others.
    fn number(&self) -> usize {
        self.index.places.as_ptr() as usize
    }
}

/// How many places a lookup looks at: eight cache lines at most, one as a rule.
const PLACES: usize = 32;

/// Which span of the recording each id of the Registry is.
///
/// A table open to all threads: a key is put into the first free one of the few
/// places that its hash allows, and every lookup looks at all of them, so that
/// taking one out leaves no hole that matters.
struct Index {
    places: Box<[Place]>,
}

#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
struct Place {
    /// The Registry's id, 0 where the place is free.
    key: AtomicU64,
    /// The recording's.
    span: AtomicU64,
}

impl Index {
    /// An index with places for twice as many spans; with none where memory does
    /// not suffice, and the Registry keeps them all.
    fn new(span_slots: usize) -> Index {
        let len = (span_slots.max(PLACES) * 2).next_power_of_two();
        Index {
            places: zeros(len).unwrap_or_default(),
        }
    }

    fn places(&self, id: &Id) -> impl Iterator<Item = &Place> {
        let hash = id.into_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let first = (hash as usize) & !7;
        let mask = self.places.len().saturating_sub(1);
        (first..first + PLACES).filter_map(move |place| self.places.get(place & mask))
    }

    /// Whether there was a place.
    fn insert(&self, id: &Id, span: SpanId) -> bool {
        let free = self.places(id).find(|Place { key, .. }| {
            key.load(Ordering::Relaxed) == 0
                && key
                    .compare_exchange(0, id.into_u64(), Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        });
        if let Some(place) = free {
            place.span.store(span.to_u64(), Ordering::Release);
        }
        free.is_some()
    }

    #[inline]
    fn place(&self, id: &Id) -> Option<&Place> {
        let key = id.into_u64();
        self.places(id)
            .find(|place| place.key.load(Ordering::Acquire) == key)
    }

    #[inline]
    fn find(&self, id: &Id) -> Option<SpanId> {
        SpanId::from_u64(self.place(id)?.span.load(Ordering::Acquire))
    }

    fn remove(&self, id: &Id) -> Option<SpanId> {
        let place = self.place(id)?;
        let span = place.span.swap(0, Ordering::Acquire);
        place.key.store(0, Ordering::Release);
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
                assert!(index.insert(&Id::from_u64(n), span(n + round)));
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
