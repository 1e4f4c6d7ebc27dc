//! The handle of a recorder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::linux::core::Core;
use crate::linux::{registry, snapshot};
use crate::{Error, Layer, Stats, Subscriber};
use tracing_core::LevelFilter;
use tracing_subscriber::filter::Targets;
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

    /// The recording's file; empty where `TTLOG=off` said that there is none. In a
    /// forked child its own recording's, once it has one.
    pub fn path(&self) -> &Path {
        let Some(core) = &self.core else {
            return Path::new("");
        };
        let here = core.here_already();
        here.map_or(&core.path, |here| here.path())
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
    pub fn layer<S>(&self) -> Layer<S>
    where
        S: tracing_core::Subscriber + for<'a> LookupSpan<'a>,
    {
        Layer::new(self.core.clone(), self.filter.clone(), self.span_slots)
    }

    /// A subscriber that does nothing but record.
    pub fn subscriber(&self) -> Subscriber {
        Subscriber::new(self.core.clone(), self.filter.clone())
    }

    /// Writes a snapshot of the last seconds, as many as the window has, and gives its
    /// path: `ttlog-<pid>-<timestamp>.bin` in the snapshot directory. `why` is kept in
    /// it and in the recording, as an incident.
    ///
    /// It takes some tens of milliseconds and twice the memory of the recording, on a
    /// thread that ends with it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let place = directory.path();
    /// let builder = ttlog::builder().directory(place).snapshot_directory(place);
    /// let recorder = builder.create()?;
    /// let snapshot = recorder.flush_snapshot("the queue is full")?;
    /// assert!(snapshot.is_file());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// It cannot be written, this process was forked from the one that records, or
    /// `TTLOG=off` said that there is no recording.
    pub fn flush_snapshot(&self, why: &str) -> Result<PathBuf, Error> {
        let off = || Error::no_snapshot("TTLOG=off said that nothing is recorded", "unset it");
        let core = self.core.as_ref().ok_or_else(off)?;
        snapshot::asked_for(core, why, None)
    }

    /// What was recorded so far, and what was not.
    pub fn stats(&self) -> Stats {
        let Some(core) = &self.core else {
            return Stats::default();
        };
        let Some(core) = core.here_already() else {
            return Stats {
                dropped: core.heirs.dropped(),
                ..Stats::default()
            };
        };
        let (events, dropped) = core.counts();
        let (snapshots, snapshots_skipped) = core.snapshots.counts();
        let (syncs, failed_syncs) = core.syncs.counts();
        Stats {
            events,
            dropped,
            open_spans: core.spans.open_spans(),
            incidents: core.incidents.count(),
            snapshots,
            snapshots_skipped,
            lost_stretches: core.guard.lost(),
            syncs,
            failed_syncs,
            longest_sync: core.syncs.longest(),
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

/// [`crate::flush_snapshot`].
///
/// # Errors
/// There is no recorder, or as [`Recorder::flush_snapshot`].
pub(crate) fn flush_snapshot(why: &str) -> Result<PathBuf, Error> {
    let none = || Error::no_snapshot("there is no recorder in this process", "call init first");
    snapshot::asked_for(registry::installed().ok_or_else(none)?, why, None)
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("recording", &self.path())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #[test]
    fn the_numbers_are_exact_while_threads_end() {
        let directory = tempfile::tempdir().unwrap();
        let builder = crate::builder().directory(directory.path());
        let recorder = builder.capacity_mib(1).create().unwrap();
        let subscriber = tracing::Dispatch::new(recorder.subscriber());
        for round in 1..=500 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        tracing::dispatcher::with_default(&subscriber, || tracing::info!("here"));
                    });
                }
            });
            // The threads have done their work, and may still be ending.
            assert_eq!(recorder.stats().events, round * 4);
        }
    }
}
