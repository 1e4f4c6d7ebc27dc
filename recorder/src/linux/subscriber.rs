//! The adapter for those who want nothing but the recording.
//!
//! It keeps spans itself: an id is the recording's, a handle is counted in the
//! span's slot, and nothing is allocated.

use std::sync::Arc;

use crate::linux::core::{Core, Here};
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::{Event, Interest, LevelFilter, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Filter;
use ttlog_format::span::SpanId;

/// Records all that its recorder's filter lets through.
///
/// Made by [`Recorder::subscriber`](crate::Recorder::subscriber).
pub struct Subscriber {
    core: Option<Arc<Core>>,
    filter: Targets,
}

impl Subscriber {
    pub(crate) fn new(core: Option<Arc<Core>>, filter: Targets) -> Subscriber {
        Subscriber { core, filter }
    }

    #[inline]
    fn here_for(&self, span: SpanId) -> Option<Here<'_>> {
        self.core.as_ref()?.here_for(span)
    }

    fn here_already(&self) -> Option<Here<'_>> {
        self.core.as_ref()?.here_already()
    }

    /// Where what the filter lets through is recorded.
    fn lets_through(&self, metadata: &Metadata<'_>) -> Option<&Arc<Core>> {
        let (target, level) = (metadata.target(), metadata.level());
        let core = self.core.as_ref();
        core.filter(|_| self.filter.would_enable(target, level))
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.core.as_ref().map(|core| &core.path);
        f.debug_struct("Subscriber")
            .field("recording", &path)
            .finish()
    }
}

fn span(id: &Id) -> SpanId {
    id.into_non_zero_u64().into()
}

impl tracing_core::Subscriber for Subscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let Some(core) = self.lets_through(metadata) else {
            return Interest::never();
        };
        core.register(metadata);
        Interest::always()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lets_through(metadata).is_some()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<tracing_subscriber::Registry>::max_level_hint(&self.filter)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let Some(core) = &self.core else {
            return Id::from_u64(u64::MAX);
        };
        let opened = crate::linux::encode::open(core, attributes, |id| Some(span(id)));
        Id::from_u64(opened.to_u64())
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        if let Some(core) = &self.core {
            crate::linux::encode::values(core, span(id), values);
        }
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        let (id, follows) = (span(id), span(follows));
        if let Some(core) = &self.core
            && let Some(here) = core.here_for(id)
            && core.knows(follows)
        {
            here.follows(id, follows);
        }
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(core) = &self.core {
            crate::linux::encode::event(core, event, |id| Some(span(id)));
        }
    }

    fn enter(&self, id: &Id) {
        let span = span(id);
        if let Some(here) = self.here_for(span) {
            here.enter(span);
        }
    }

    fn exit(&self, id: &Id) {
        let span = span(id);
        if let Some(here) = self.here_for(span) {
            here.exit(span);
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        let span = span(id);
        if let Some(here) = self.here_for(span) {
            here.spans.retain(span);
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let span = span(&id);
        let Some(here) = self.here_for(span) else {
            return false;
        };
        let last = here.spans.release(span);
        if last {
            here.close(span);
        }
        last
    }

    fn current_span(&self) -> Current {
        let current = self.here_already().and_then(|here| {
            let span = here.current()?;
            Some((Id::from_u64(span.to_u64()), here.metadata(span)?))
        });
        current.map_or_else(Current::none, |(id, metadata)| Current::new(id, metadata))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Has all told to a subscriber, whatever it wants to be told.
    struct Insisting(Subscriber);

    impl tracing_core::Subscriber for Insisting {
        fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
            assert!(self.0.register_callsite(metadata).is_never());
            Interest::always()
        }

        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, attributes: &Attributes<'_>) -> Id {
            self.0.new_span(attributes)
        }

        fn record(&self, id: &Id, values: &Record<'_>) {
            self.0.record(id, values);
        }

        fn record_follows_from(&self, id: &Id, follows: &Id) {
            self.0.record_follows_from(id, follows);
        }

        fn event(&self, event: &Event<'_>) {
            self.0.event(event);
        }

        fn enter(&self, id: &Id) {
            self.0.enter(id);
        }

        fn exit(&self, id: &Id) {
            self.0.exit(id);
        }

        fn clone_span(&self, id: &Id) -> Id {
            self.0.clone_span(id)
        }

        fn try_close(&self, id: Id) -> bool {
            let is_closed = self.0.try_close(id);
            assert!(!is_closed, "nobody has opened it");
            is_closed
        }

        fn current_span(&self) -> Current {
            self.0.current_span()
        }
    }

    #[test]
    fn where_nothing_is_recorded_all_that_is_told_is_let_go() {
        let filter = Targets::new().with_default(LevelFilter::TRACE);
        let told = Insisting(Subscriber::new(None, filter));
        tracing::subscriber::with_default(told, || {
            let request = tracing::info_span!("request", user = tracing::field::Empty);
            let other = tracing::info_span!("other");
            request.record("user", "somebody");
            request.follows_from(&other);
            request.clone().in_scope(|| tracing::info!("an event"));
            assert!(tracing::Span::current().is_none());
        });
    }
}
