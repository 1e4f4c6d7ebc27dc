//! How a recorder is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::here::{self, Recorder};
use crate::policy::{Durability, Fork};
use crate::redaction::{Asked as Redact, Named, With};
use crate::settings::Settings;
use tracing_core::Metadata;

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

    /// Denies the values of more fields, by their names. They are not recorded, nor is their
    /// `Debug` or `Display` run: readers show `[redacted]`.
    ///
    /// Denied by default are names that speak of secrets, such as `password`, `token`,
    /// `authorization`, `cookie` and `api_key` (all of them: `ttlog_format::redaction`). A
    /// name of five letters or more is looked for anywhere in a field's name, a shorter one
    /// as whole words of it, in one number or several; upper and lower case, and what
    /// separates words, do not count. So `iban` denies `customerIban`, and `tokens_used` is
    /// denied by `token`, unless [`redact_except`](Builder::redact_except) spares it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let recorder = ttlog::builder()
    ///     .redact(["iban", "email"])
    ///     .redact_except(["tokens_used"])
    ///     .directory(directory.path())
    ///     .create()?;
    /// tracing::subscriber::with_default(recorder.subscriber(), || {
    ///     // Recorded: user_id=42 tokens_used=7 password=[redacted] iban=[redacted]
    ///     tracing::info!(user_id = 42, tokens_used = 7, password = "hunter2", iban = "DE02");
    /// });
    /// let recording = std::fs::read(recorder.path())?;
    /// assert!(!recording.windows(7).any(|bytes| bytes == b"hunter2"));
    /// # Ok(()) }
    /// ```
    ///
    /// It holds for the fields of events and spans, and for those that spans record later.
    /// What is not looked into: messages, with whatever is formatted into them; the insides
    /// of a value whose field has another name (`?request`); the messages of panics; names of
    /// spans, threads and files; what [`flush_snapshot`](Recorder::flush_snapshot) is told.
    ///
    /// `TTLOG_REDACT` in the environment denies further names (`iban,email`). Where the
    /// program has not said what is redacted, `none` among them lets the default names
    /// through, and `-tokens_used` spares a name.
    pub fn redact<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Builder {
        let denied = &mut self.settings.redact.names.get_or_insert_default().denied;
        denied.extend(names.into_iter().map(Into::into));
        self
    }

    /// Spares fields whose names are just these, as far as letters and digits tell, from
    /// being redacted for their names.
    pub fn redact_except<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Builder {
        let spared = &mut self.settings.redact.names.get_or_insert_default().spared;
        spared.extend(names.into_iter().map(Into::into));
        self
    }

    /// Redacts nothing, neither for the names that are denied by default nor for what was
    /// said before; what is said afterwards holds.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), ttlog::Error> {
    /// let recorder = ttlog::builder().redact_nothing().redact(["authorization"]).init()?;
    /// # Ok(()) }
    /// ```
    pub fn redact_nothing(mut self) -> Builder {
        self.settings.redact = Redact {
            names: Some(Named {
                defaults: false,
                ..Named::default()
            }),
            with: None,
        };
        self
    }

    /// Redacts the fields, too, for which a function says `true`, of a call site and the
    /// name of one of its fields (`message` is one). A second function replaces the first.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), ttlog::Error> {
    /// let recorder = ttlog::builder()
    ///     .redact_with(|site, field| site.target().starts_with("payments::vault") && field != "message")
    ///     .init()?;
    /// # Ok(()) }
    /// ```
    ///
    /// It is called when a call site becomes known, and not for each event; of those past
    /// 8,000, or so, for each. That is on whatever thread logs first, which may be in a
    /// signal handler: it should do no more than compare. If it panics, that counts as
    /// `true` (where panics unwind). If it logs, all fields of that event are redacted.
    pub fn redact_with(
        mut self,
        with: impl Fn(&Metadata<'_>, &str) -> bool + Send + Sync + 'static,
    ) -> Builder {
        self.settings.redact.with = Some(With(Arc::new(with)));
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
