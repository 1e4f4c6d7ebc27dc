//! How a recorder is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::here::{self, Recorder};
use crate::policy::{Durability, Fork};
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

    /// How much of the past a snapshot shows, and for how long the last words of a
    /// thread that has ended are protected. Default: `TTLOG_WINDOW`, else 5 s.
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

    /// Where snapshots go; created with mode 0700 if it is not there.
    ///
    /// Default: `TTLOG_SNAPSHOT_DIR`, else the temporary directory.
    pub fn snapshot_directory(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.settings.snapshot_directory = Some(directory.into());
        self
    }

    /// Whether a panic is recorded as an incident, with its message and backtrace,
    /// and a snapshot made of it: at most eight a process. The hook that was there
    /// before is called in any case. A snapshot opens files and starts a thread: where
    /// a filter kills for that (seccomp(2)), the hook is to be off. Default: true.
    pub fn panic_hook(mut self, on: bool) -> Builder {
        self.settings.panic_hook = Some(on);
        self
    }

    /// Whether SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP and SIGSYS leave a
    /// cause in the recording before they do what they did before. Default: true.
    pub fn fatal_signals(mut self, on: bool) -> Builder {
        self.settings.fatal_signals = Some(on);
        self
    }

    /// A signal upon which a snapshot is made, and the process goes on. Can be
    /// called for several. A signal that is ignored stays ignored.
    pub fn snapshot_on(mut self, signal: i32) -> Builder {
        self.settings.snapshot_on.push(signal);
        self
    }

    /// A signal upon which a snapshot is made and the process ends, as it would have
    /// without a handler; as process 1 of a namespace it exits with 128 and the
    /// signal's number. Can be called for several. A signal that is ignored stays
    /// ignored, and a forked child dies of it as of any.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), ttlog::Error> {
    /// let (sigusr1, sigterm) = (10, 15); // signal_hook::consts has them
    /// let recorder = ttlog::builder().snapshot_on(sigusr1).terminate_on(sigterm).init()?;
    /// # Ok(()) }
    /// ```
    pub fn terminate_on(mut self, signal: i32) -> Builder {
        self.settings.terminate_on.push(signal);
        self
    }

    /// How many old recordings stay in the directory, and how many bytes of them: a
    /// start removes what is past either, and with 0 all of them. First go those of
    /// processes that ended as they should, the oldest first; then crashed ones, but
    /// the first and the newest of each service last. Whatever a process still uses
    /// stays, and does not count. Default: 16, and 512 MiB, in memory at most half of
    /// the file system and a quarter of what the memory cgroup may take; the newest
    /// crash then stays whatever it takes.
    ///
    /// The same holds for the snapshots that recorders have left in the snapshot
    /// directory; those that a reader exported stay.
    pub fn retain(mut self, recordings: usize, bytes: u64) -> Builder {
        self.settings.retain = Some((recordings, bytes));
        self
    }

    /// What becomes of a forked child's events. Default: [`Fork::Record`].
    pub fn fork(mut self, fork: Fork) -> Builder {
        self.settings.fork = Some(fork);
        self
    }

    /// What the recording survives. Default: [`Durability::Process`].
    pub fn durability(mut self, durability: Durability) -> Builder {
        self.settings.durability = Some(durability);
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
