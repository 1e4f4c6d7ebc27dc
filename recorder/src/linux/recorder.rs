//! The handle of a recorder.

use std::path::Path;
use std::sync::Arc;

use crate::linux::core::Core;
use crate::{Layer, Stats, Subscriber};
use tracing_core::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;

/// A recorder; clones are handles of the same one.
///
/// Dropping handles ends nothing: a recording goes on until its process ends.
#[derive(Clone)]
#[must_use = "its adapters are what records"]
pub struct Recorder {
    core: Option<Arc<Core>>,
    filter: Targets,
    span_slots: usize,
}

impl Recorder {
    pub(crate) fn new(core: Option<Arc<Core>>, filter: Targets, span_slots: usize) -> Recorder {
        Recorder {
            core,
            filter,
            span_slots,
        }
    }

    /// The recording's file; empty where `TTLOG=off` said that there is none.
    pub fn path(&self) -> &Path {
        self.core.as_ref().map_or(Path::new(""), |core| &core.path)
    }

    /// A layer for any registry, with the recorder's filter in front of it: what
    /// the filter keeps out, other layers still see.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// use tracing_subscriber::layer::SubscriberExt;
    ///
    /// let recorder = ttlog::builder().directory(directory.path()).create()?;
    /// let registry = tracing_subscriber::registry().with(recorder.layer());
    /// tracing::subscriber::with_default(registry, || tracing::info!(user_id = 42, "user logged in"));
    /// assert_eq!(recorder.stats().events, 1);
    /// # Ok(()) }
    /// ```
    pub fn layer<S>(&self) -> Filtered<Layer, Targets, S>
    where
        S: tracing_core::Subscriber + for<'a> LookupSpan<'a>,
    {
        Layer::new(self.core.clone(), self.span_slots).with_filter(self.filter.clone())
    }

    /// A subscriber that does nothing but record.
    pub fn subscriber(&self) -> Subscriber {
        Subscriber::new(self.core.clone(), self.filter.clone())
    }

    /// What was recorded so far, and what was not.
    pub fn stats(&self) -> Stats {
        let Some(core) = &self.core else {
            return Stats::default();
        };
        let (events, dropped) = core.counts();
        Stats {
            events,
            dropped,
            open_spans: core.spans.open_spans(),
        }
    }

    pub(crate) fn log_level(&self) -> log::LevelFilter {
        let level = Filter::<tracing_subscriber::Registry>::max_level_hint(&self.filter);
        match level {
            Some(LevelFilter::OFF) => log::LevelFilter::Off,
            Some(LevelFilter::ERROR) => log::LevelFilter::Error,
            Some(LevelFilter::WARN) => log::LevelFilter::Warn,
            Some(LevelFilter::INFO) => log::LevelFilter::Info,
            Some(LevelFilter::DEBUG) => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("recording", &self.path())
            .finish_non_exhaustive()
    }
}
