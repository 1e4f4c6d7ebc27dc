//! How a recorder is set up.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::core::{Core, Parts};
use crate::create::{Created, create};
use crate::error::Error;
use crate::memory::{Memory, Sentinel};
use crate::recorder::Recorder;
use crate::registry;
use crate::settings::Settings;
use tracing_core::dispatcher::{Dispatch, set_global_default};
use tracing_subscriber::filter::Targets;
use ttlog_format::clock::Source;
use ttlog_format::header::Header;

/// Sets a recorder up; [`builder`](crate::builder) makes one.
///
/// What is left unset comes from the environment, and else is the default.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder records nothing before `init` or `create`"]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// The service's name. Default: the executable's.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.settings.name = Some(name.into());
        self
    }

    /// Where recordings go; created with mode 0700 if it is not there.
    ///
    /// Default: `TTLOG_DIR`, else `/dev/shm/ttlog-<uid>` where that is a tmpfs
    /// with room, else `ttlog-<uid>` in the temporary directory.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.settings.directory = Some(directory.into());
        self
    }

    /// Mebibytes of blocks, 1 to 65,536. Default: `TTLOG_CAPACITY_MIB`, else 10.
    pub fn capacity_mib(mut self, mebibytes: u32) -> Builder {
        self.settings.capacity_mib = Some(mebibytes);
        self
    }

    /// How long the last words of a thread that has ended are protected. Default:
    /// `TTLOG_WINDOW`, else 5 s.
    pub fn window(mut self, window: Duration) -> Builder {
        self.settings.window = Some(window);
        self
    }

    /// What is recorded, in the syntax of
    /// [`Targets`]. Default: `TTLOG_FILTER`, else `debug`.
    pub fn filter(mut self, filter: impl Into<String>) -> Builder {
        self.settings.filter = Some(filter.into());
        self
    }

    /// How many live spans the span table holds, 256 bytes each. Default: 4096.
    pub fn span_slots(mut self, slots: usize) -> Builder {
        self.settings.span_slots = Some(slots);
        self
    }

    /// Creates the recording and installs its [`Subscriber`](crate::Subscriber)
    /// as the global default, with a bridge for records of the `log` crate. A
    /// logger that is installed already is left alone; `log` records then do not
    /// arrive.
    ///
    /// With `TTLOG=off` in the environment nothing is created or installed.
    ///
    /// # Errors
    /// Where the recording cannot be created, or a global default is installed
    /// already; no file is left behind.
    pub fn init(self) -> Result<Recorder, Error> {
        let (core, filter) = self.core()?;
        let Some(core) = core else {
            return Ok(Recorder::new(None, filter, 0));
        };
        let slots = core.span_slots();
        let recorder = Recorder::new(Some(core.clone()), filter, slots);
        if let Err(cause) = set_global_default(Dispatch::new(recorder.subscriber())) {
            // Nobody has recorded anything: the file goes as it came.
            let _ = std::fs::remove_file(&core.path);
            return Err(Error::already_installed_by(cause));
        }
        registry::keep(core);
        // The host's own logger, if it has one, stays what it is.
        let _ = tracing_log::LogTracer::builder()
            .with_max_level(recorder.log_level())
            .init();
        Ok(recorder)
    }

    /// Creates the recording; what is recorded comes through the recorder's
    /// [`layer`](Recorder::layer) or [`subscriber`](Recorder::subscriber).
    ///
    /// # Errors
    /// Where the recording cannot be created; no file is left behind.
    pub fn create(self) -> Result<Recorder, Error> {
        let (core, filter) = self.core()?;
        let slots = core.as_ref().map_or(0, |core| core.span_slots());
        core.iter().cloned().for_each(registry::keep);
        Ok(Recorder::new(core, filter, slots))
    }

    /// The core, unless the environment says that there shall be none.
    fn core(self) -> Result<(Option<Arc<Core>>, Targets), Error> {
        let settings = self.settings.with_environment()?;
        let text = settings.filter();
        let filter: Targets = text.parse().map_err(|cause| Error::filter(text, cause))?;
        if settings.off {
            return Ok((None, Targets::new()));
        }
        let clock = Clock::new();
        let sentinel = Sentinel::new().map_err(|cause| {
            Error::io(
                "watch for forks by",
                std::path::Path::new("MADV_WIPEONFORK"),
                cause,
            )
        })?;
        let created = create(&settings, || clock.sample(), clock.source())?;
        let path = created.path.clone();
        let core = core_over(created, clock, sentinel).ok_or_else(|| {
            // Nobody has recorded anything: the file goes as it came.
            let _ = std::fs::remove_file(&path);
            Error::io("have memory beside", path, io::ErrorKind::OutOfMemory)
        })?;
        Ok((Some(Arc::new(core)), filter))
    }
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
