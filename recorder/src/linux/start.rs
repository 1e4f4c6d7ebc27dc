//! From settings to a recorder.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::linux::clock::Clock;
use crate::linux::core::{Core, Parts};
use crate::linux::create::{self, Created};
use crate::linux::memory::{Memory, Sentinel};
use crate::linux::recorder::Recorder;
use crate::linux::registry;
use crate::settings::Settings;
use tracing_core::dispatcher::{Dispatch, set_global_default};
use tracing_subscriber::filter::Targets;
use ttlog_format::clock::Source;
use ttlog_format::header::Header;

/// Creates a recording and installs its subscriber and the bridge of `log`:
/// [`Builder::init`](crate::Builder::init).
///
/// # Errors
/// No recording can be had, or a global default is there; no file is left.
pub(crate) fn init(settings: Settings) -> Result<Recorder, Error> {
    let (core, filter) = begin(settings)?;
    let Some(core) = core else {
        return Ok(Recorder::new(None, filter, 0));
    };
    let slots = core.span_slots();
    let recorder = Recorder::new(Some(core.clone()), filter, slots);
    if let Err(cause) = set_global_default(Dispatch::new(recorder.subscriber())) {
        remove(&core.path);
        return Err(Error::already_installed_by(cause));
    }
    registry::keep(core);
    // The host's own logger, if it has one, stays what it is.
    let _ = tracing_log::LogTracer::builder()
        .with_max_level(recorder.log_level())
        .init();
    Ok(recorder)
}

/// Creates a recording: [`Builder::create`](crate::Builder::create).
///
/// # Errors
/// No recording can be had; no file is left.
pub(crate) fn create(settings: Settings) -> Result<Recorder, Error> {
    let (core, filter) = begin(settings)?;
    let slots = core.as_ref().map_or(0, |core| core.span_slots());
    core.iter().cloned().for_each(registry::keep);
    Ok(Recorder::new(core, filter, slots))
}

/// The core, unless the environment says that there shall be none.
fn begin(settings: Settings) -> Result<(Option<Arc<Core>>, Targets), Error> {
    let text = settings.filter();
    let filter: Targets = text.parse().map_err(|cause| Error::filter(text, cause))?;
    if settings.off {
        return Ok((None, Targets::new()));
    }
    if !crate::SUPPORTED {
        return Err(Error::unsupported());
    }
    let clock = Clock::new();
    let sentinel = Sentinel::new()
        .map_err(|cause| Error::io("watch for forks by", "MADV_WIPEONFORK", cause))?;
    let created = create::create(&settings, || clock.sample(), clock.source())?;
    let path = created.path.clone();
    let core = core_over(created, clock, sentinel).ok_or_else(|| {
        remove(&path);
        Error::io("have memory beside", path, io::ErrorKind::OutOfMemory)
    })?;
    Ok((Some(Arc::new(core)), filter))
}

/// Nobody has recorded anything: the file goes as it came.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn core_over(created: Created, clock: Clock, sentinel: Sentinel) -> Option<Core> {
    let header = created.header;
    Core::new(Parts {
        memory: Memory::mapped(created.map),
        layout: header.layout,
        recording: header.recording,
        sentinel,
        clock,
        window: Duration::from_nanos(header.window_ns),
        ticks_per_second: ticks_per_second(&header),
        path: created.path,
        file: Some(created.file),
    })
}

/// The rate of the ticks between the two samples of the start; exact enough for
/// the window.
fn ticks_per_second(header: &Header) -> u64 {
    let [first, last] = header.samples;
    let ticks = u128::from(last.ticks.saturating_sub(first.ticks));
    let nanoseconds = u128::from(last.monotonic_ns.saturating_sub(first.monotonic_ns));
    if header.clock == Source::Monotonic || nanoseconds == 0 {
        return 1_000_000_000;
    }
    u64::try_from(ticks * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
}
