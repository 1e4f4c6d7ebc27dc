//! The adapter for composing with other layers on any `Registry`.
//!
//! The Registry counts handles and gives out ids of its own; an index beside it
//! says which span of the recording each is. The index is the layer's alone,
//! since two registries give out the same ids. It has places for twice as many
//! spans as have slots; those beyond are found, more slowly, through the Registry.
//!
//! The filter is one of `tracing_subscriber`'s for single layers, which keeps out what
//! other layers still see. Whether it let a span through is known without it: a span
//! that is in the index is one of ours.

use std::any::TypeId;
use std::sync::Arc;

use crate::linux::core::{Core, Here};
use crate::linux::index::Index;
use crate::linux::sync::{AtomicU64, Ordering};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Interest, LevelFilter, Metadata, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use ttlog_format::span::SpanId;

/// Records what comes through a `tracing_subscriber` registry, and its recorder's filter.
///
/// Made by [`Recorder::layer`](crate::Recorder::layer).
///
/// What it cannot promise: the Registry itself panics past 4,096 live threads, and
/// aborts when a span is opened in a thread-local's destructor; a signal handler that
/// opens spans may wait for the Registry for ever, and where it logs events, a debug build
/// of `tracing-subscriber` panics by an assertion of its own. A program that wants
/// nothing but the recording uses [`Subscriber`](crate::Subscriber).
pub struct Layer<S> {
    filtered: Filtered<Unfiltered, Targets, S>,
}

impl<S> Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    pub(crate) fn new(core: Option<Arc<Core>>, filter: Targets, span_slots: usize) -> Layer<S> {
        let unfiltered = Unfiltered {
            core,
            index: Index::new(span_slots),
            beside: AtomicU64::new(0),
        };
        Layer {
            filtered: unfiltered.with_filter(filter),
        }
    }
}

impl<S> std::fmt::Debug for Layer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let core = self.filtered.inner().core.as_ref();
        f.debug_struct("Layer")
            .field("recording", &core.map(|core| &core.path))
            .finish()
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.filtered.on_register_dispatch(dispatch);
    }

    fn on_layer(&mut self, subscriber: &mut S) {
        self.filtered.on_layer(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.filtered.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.filtered.enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filtered.max_level_hint()
    }

    // `event_enabled` is the default: a filter by targets and levels has nothing to say
    // to a single event.

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.filtered.on_event(event, context);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.filtered.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.filtered.inner().record(id, values, &context);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        self.filtered.inner().follows(id, follows, &context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.filtered.inner().enter(id, &context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.filtered.inner().exit(id, &context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.filtered.inner().close(&id, &context);
    }

    // By this others find out that a filter of its own is in here, and which.
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Layer<S>>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        // SAFETY: what it gives is a part of `self`, valid as long, and of the type asked for.
        unsafe { self.filtered.downcast_raw(id) }
    }
}

/// The layer without its filter.
struct Unfiltered {
    core: Option<Arc<Core>>,
    index: Index,
    /// How many spans the index had no place for.
    beside: AtomicU64,
}

impl<S> tracing_subscriber::Layer<S> for Unfiltered
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if let Some(core) = &self.core {
            core.register(metadata);
        }
        Interest::always()
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(core) = &self.core {
            crate::linux::encode::event(core, event, |id| self.find(id, &context));
        }
    }

    #[inline]
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(core) = &self.core {
            let span = crate::linux::encode::open(core, attributes, |id| self.find(id, &context));
            if !self.index.insert(id, span) {
                self.put_beside(id, span, &context);
            }
        }
    }
}

/// Which span of the recording a span of the Registry is, kept among the
/// Registry's own data: by layer, for those that the layer's index has no place for.
struct Beside(Vec<(usize, SpanId)>);

impl Unfiltered {
    fn record<S>(&self, id: &Id, values: &Record<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if let (Some(core), Some(span)) = (&self.core, self.find(id, context)) {
            crate::linux::encode::values(core, span, values);
        }
    }

    fn follows<S>(&self, id: &Id, follows: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let found = [id, follows].map(|id| self.find(id, context));
        if let [Some(span), Some(follows)] = found
            && let Some(core) = &self.core
            && let Some(here) = core.here_for(span)
            && core.knows(follows)
        {
            here.follows(span, follows);
        }
    }

    #[inline]
    fn enter<S>(&self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if let Some(span) = self.find(id, context)
            && let Some(here) = self.here_for(span)
        {
            here.enter(span);
        }
    }

    #[inline]
    fn exit<S>(&self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if let Some(span) = self.find(id, context)
            && let Some(here) = self.here_for(span)
        {
            here.exit(span);
        }
    }

    #[inline]
    fn close<S>(&self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let indexed = self.index.remove(id);
        if let Some(span) = indexed.or_else(|| self.beside(id, context))
            && let Some(here) = self.here_for(span)
        {
            here.close(span);
        }
    }

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

    #[inline]
    fn beside<S>(&self, id: &Id, context: &Context<'_, S>) -> Option<SpanId>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let are_any = self.beside.load(Ordering::Relaxed) != 0;
        are_any.then(|| self.find_beside(id, context)).flatten()
    }

    #[cold]
    fn find_beside<S>(&self, id: &Id, context: &Context<'_, S>) -> Option<SpanId>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let span = context.span(id)?;
        let extensions = span.extensions();
        let Beside(spans) = extensions.get()?;
        let mine = spans
            .iter()
            .find(|(layer, _)| *layer == self.index.number());
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
        spans.push((self.index.number(), span));
        extensions.insert(Beside(spans));
        self.beside.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn where_nothing_is_recorded_all_that_is_told_is_let_go() {
        let unfiltered = Unfiltered {
            core: None,
            index: Index::new(0),
            beside: AtomicU64::new(0),
        };
        let registry = tracing_subscriber::registry().with(unfiltered);
        tracing::subscriber::with_default(registry, || {
            let request = tracing::info_span!("request", user = tracing::field::Empty);
            // As if it had recorded one that the Registry has opened.
            let id = request.id().expect("a span");
            let span = SpanId::in_slot(0, 1);
            let is_inserted = tracing::dispatcher::get_default(|registry| {
                let unfiltered: &Unfiltered = registry.downcast_ref().expect("the layer");
                unfiltered.index.insert(&id, span)
            });
            assert!(is_inserted);
            request.record("user", "somebody");
            request.follows_from(&request);
            request.in_scope(|| {
                tracing::info!("an event");
                // The Registry has its span all the same.
                assert_eq!(tracing::Span::current().id(), request.id());
            });
            assert!(request.id().is_some());
        });
    }

    /// Another layer wants them, so this one is told of them all the same.
    #[test]
    fn what_is_told_of_spans_that_were_not_recorded_is_let_go() {
        let directory = tempfile::tempdir().unwrap();
        let builder = crate::builder().directory(directory.path());
        let recorder = builder.capacity_mib(1).filter("off").create().unwrap();
        let recorded = tracing_subscriber::registry().with(recorder.layer());
        let registry = recorded.with(tracing_subscriber::layer::Identity::new());
        tracing::subscriber::with_default(registry, || {
            let request = tracing::info_span!("request", user = tracing::field::Empty);
            let other = tracing::info_span!("other");
            request.record("user", "somebody");
            request.follows_from(&other);
            request.in_scope(|| tracing::info!("an event"));
            assert!(request.id().is_some(), "the Registry has it");
        });
        assert_eq!(recorder.stats().open_spans, 0);
        assert_eq!(recorder.stats().events, 0);
    }

    #[test]
    fn whoever_has_the_dispatcher_finds_the_layer_in_it() {
        let layer = Layer::new(None, Targets::new(), 0);
        let with = Dispatch::new(tracing_subscriber::registry().with(layer));
        assert!(with.downcast_ref::<Layer<Registry>>().is_some());
        let without = Dispatch::new(tracing_subscriber::registry());
        assert!(without.downcast_ref::<Layer<Registry>>().is_none());
    }

    #[test]
    fn every_span_that_the_registry_closes_is_closed() {
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
