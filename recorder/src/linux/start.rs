//! From settings to a recorder.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::linux::aside::Ready;
use crate::linux::asked::Asked;
use crate::linux::clock::Clock;
use crate::linux::core::{Core, Parts, Snapshots};
use crate::linux::create::{self, Created};
use crate::linux::durable;
use crate::linux::fatal;
use crate::linux::fork::{self, Heirs};
use crate::linux::guard::Guard;
use crate::linux::kept::Kept;
use crate::linux::limits::MemoryCgroups;
use crate::linux::memory::{Memory, Sentinel};
use crate::linux::panic;
use crate::linux::prefault;
use crate::linux::recorder::Recorder;
use crate::linux::registry;
use crate::linux::seeded::{self, Bug};
use crate::settings::Settings;
use tracing_core::dispatcher::{Dispatch, set_global_default};
use tracing_subscriber::filter::Targets;
use ttlog_format::block::{About, THREAD_NAME_BYTES};
use ttlog_format::clock::Source;
use ttlog_format::header::Header;

/// Creates a recording and installs its subscriber and the bridge of `log`:
/// [`Builder::init`](crate::Builder::init).
///
/// # Errors
/// No recording can be had, or a global default is there; no file is left.
pub(crate) fn init(settings: Settings) -> Result<Recorder, Error> {
    let asked = Asked::new(&settings)?;
    let (begun, filter) = begin(&settings)?;
    let Some(begun) = begun else {
        return Ok(Recorder::new(None, filter, 0));
    };
    let core = begun.core.clone();
    let slots = core.span_slots();
    let recorder = Recorder::new(Some(core.clone()), filter, slots);
    let threads = begun.ready(&asked, &settings)?;
    if let Err(cause) = set_global_default(Dispatch::new(recorder.subscriber())) {
        remove(&core.path);
        return Err(Error::already_installed_by(cause));
    }
    registry::install(core.clone());
    hook(&core, &asked);
    threads.into_iter().for_each(Ready::begin);
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
    let asked = Asked::new(&settings)?;
    let (begun, filter) = begin(&settings)?;
    let Some(begun) = begun else {
        return Ok(Recorder::new(None, filter, 0));
    };
    let threads = begun.ready(&asked, &settings)?;
    let core = begun.core;
    registry::keep(core.clone());
    hook(&core, &asked);
    threads.into_iter().for_each(Ready::begin);
    let slots = core.span_slots();
    Ok(Recorder::new(Some(core), filter, slots))
}

/// A core over a new recording.
struct Begun {
    core: Arc<Core>,
    /// How many bytes of the recording are faulted in.
    faulted_in: u64,
}

impl Begun {
    /// The threads that the settings ask for, and the one that faults the rest in. What
    /// can fail of a start has failed then.
    ///
    /// # Errors
    /// There is none to be had; no file is left.
    fn ready(&self, asked: &Asked, settings: &Settings) -> Result<Vec<Ready>, Error> {
        let core = &self.core;
        let threads = || {
            let sync = |interval| durable::ready(core, interval);
            let sync = settings.sync_interval()?.map(sync).transpose()?;
            let asked = asked.ready(core)?;
            let prefault = prefault::ready(core, self.faulted_in);
            Ok([sync, asked, prefault].into_iter().flatten().collect())
        };
        threads().inspect_err(|_| remove(&core.path))
    }
}

/// Creates the recording of a forked child, behind that of its `parent`. The hooks
/// are there.
///
/// # Errors
/// No recording can be had; no file is left.
pub(crate) fn heir(parent: &Core, settings: &Settings) -> Result<Arc<Core>, Error> {
    let asked = Asked::new(settings)?;
    let begun = begun(settings)?;
    begun.core.spans.begin_behind(&parent.spans);
    let threads = begun.ready(&asked, settings)?;
    let core = begun.core;
    registry::keep(core.clone());
    threads.into_iter().for_each(Ready::begin);
    Ok(core)
}

/// Puts the hooks in place that were asked for; only now, since they stay.
fn hook(core: &Arc<Core>, asked: &Asked) {
    fork::watch();
    if core.panics {
        panic::install();
    }
    if core.faults {
        fatal::install();
    }
    asked.ring(core);
}

/// The core, unless the environment says that there shall be none.
fn begin(settings: &Settings) -> Result<(Option<Begun>, Targets), Error> {
    let text = settings.filter();
    let filter: Targets = text.parse().map_err(|cause| Error::filter(text, cause))?;
    if settings.off {
        return Ok((None, Targets::new()));
    }
    if !crate::SUPPORTED {
        return Err(Error::unsupported());
    }
    Ok((Some(begun(settings)?), filter))
}

fn begun(settings: &Settings) -> Result<Begun, Error> {
    seeded::sow_what_is_named();
    let clock = Clock::new();
    let sentinel = Sentinel::new()
        .map_err(|cause| Error::io("watch for forks by", "MADV_WIPEONFORK", cause))?;
    let groups = MemoryCgroups::of_this_process();
    let created = create::create(settings, &groups, || clock.sample(), clock.source())?;
    let (path, faulted_in) = (created.path.clone(), created.faulted_in);
    let core = core_over(created, clock, sentinel, &groups, settings);
    let core = core.inspect_err(|_| remove(&path))?;
    Ok(Begun {
        core: Arc::new(core),
        faulted_in,
    })
}

/// Nobody has recorded anything: the file goes as it came.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn core_over(
    created: Created,
    clock: Clock,
    sentinel: Sentinel,
    groups: &MemoryCgroups,
    settings: &Settings,
) -> Result<Core, Error> {
    let (header, path) = (created.header, created.path);
    let file = Kept::new(created.file, &path);
    let file = file.map_err(|error| Error::io("look at", &path, error))?;
    let mut memory = Memory::mapped(created.map);
    let faults = settings.fatal_signals.unwrap_or(true);
    if faults && !seeded::is(Bug::ChildWrites) {
        // What a child would still store there, the guard absorbs.
        let _ = memory.keep_from_children();
    }
    let parts = Parts {
        memory,
        about: about(&header),
        recording: header.recording,
        sentinel,
        heirs: Heirs::new(settings),
        guard: Guard::new(header.encode()),
        clock,
        window: Duration::from_nanos(header.window_ns),
        ticks_per_second: ticks_per_second(&header),
        path: path.clone(),
        file: Some(file),
        snapshots: Snapshots::new(settings, groups)?,
        panics: settings.panic_hook.unwrap_or(true),
        faults,
        redaction: settings.redact.redaction()?,
    };
    let no_memory = || Error::io("have memory beside", path, io::ErrorKind::OutOfMemory);
    Core::new(parts).ok_or_else(no_memory)
}

/// What blocks of call sites say of the recording, should its header be lost.
fn about(header: &Header) -> About {
    let mut name = [0; THREAD_NAME_BYTES];
    let len = header.name.floor_char_boundary(THREAD_NAME_BYTES);
    name[..len].copy_from_slice(&header.name.as_bytes()[..len]);
    About {
        pid: header.pid,
        name,
        layout: header.layout,
    }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use ttlog_format::clock::Sample;

    fn rate(clock: Source, ticks: u64, nanoseconds: u64) -> u64 {
        let at = |ticks, monotonic_ns| Sample {
            ticks,
            monotonic_ns,
            ..Sample::default()
        };
        let samples = [at(7, 9), at(7 + ticks, 9 + nanoseconds)];
        let header = Header {
            clock,
            samples,
            ..Header::default()
        };
        ticks_per_second(&header)
    }

    #[test]
    fn ticks_are_nanoseconds_where_the_samples_do_not_tell() {
        let both = [Source::Monotonic, Source::Tsc].map(|clock| rate(clock, 3000, 1000));
        assert_eq!(both, [1_000_000_000, 3_000_000_000]);
        assert_eq!(rate(Source::Tsc, 3000, 0), 1_000_000_000);
        assert_eq!(rate(Source::Tsc, u64::MAX - 7, 1), u64::MAX);
    }
}
