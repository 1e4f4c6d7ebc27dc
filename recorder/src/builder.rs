//! How a recorder is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::here::{self, Recorder};
use crate::settings::Settings;

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
    /// [`Targets`](tracing_subscriber::filter::Targets). Default: `TTLOG_FILTER`, else `debug`.
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
    /// already; no file is left behind. On other targets than Linux on x86_64 and
    /// aarch64, always.
    pub fn init(self) -> Result<Recorder, Error> {
        here::init(self.settings.with_environment()?)
    }

    /// Creates the recording; what is recorded comes through the recorder's
    /// [`layer`](Recorder::layer) or [`subscriber`](Recorder::subscriber).
    ///
    /// # Errors
    /// Where the recording cannot be created; no file is left behind. On other
    /// targets than Linux on x86_64 and aarch64, always.
    pub fn create(self) -> Result<Recorder, Error> {
        here::create(self.settings.with_environment()?)
    }
}
