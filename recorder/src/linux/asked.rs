//! Signals that somebody asked for: a snapshot, or a snapshot and the end.
//!
//! They are waited for by an ordinary thread, through signal-hook, so that nothing
//! has to be done in a handler. A signal that is ignored stays ignored, and a forked
//! child, in which nobody waits, dies of what would end it.

use std::ffi::c_int;
use std::sync::Arc;

use signal_hook::consts::signal::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use crate::error::Error;
use crate::linux::aside;
use crate::linux::core::Core;
use crate::linux::fatal;
use crate::linux::registry;
use crate::linux::snapshot::{self, PATIENCE};
use crate::settings::Settings;
use ttlog_format::cause::{Cause, Kind};

/// What by default ends a process that it is sent to, and nothing more.
const ENDING: [c_int; 13] = [
    SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGALRM, SIGUSR1, SIGUSR2, SIGPIPE, SIGPROF, SIGVTALRM,
    SIGIO, SIGXCPU, SIGXFSZ,
];

/// The signals that a recorder waits for.
pub(crate) struct Asked {
    snapshot: Vec<c_int>,
    terminate: Vec<c_int>,
    signals: Option<Signals>,
}

impl Asked {
    /// Gets ready for the signals that the settings name. Nothing is installed yet.
    ///
    /// # Errors
    /// A signal that cannot be waited for, or no descriptors.
    pub(crate) fn new(settings: &Settings) -> Result<Asked, Error> {
        for &signal in &settings.snapshot_on {
            let last = libc::SIGRTMAX();
            let fatal = fatal::SIGNALS.contains(&signal);
            let forbidden = signal_hook::consts::FORBIDDEN.contains(&signal);
            if !(1..=last).contains(&signal) || fatal || forbidden {
                let expected = "a signal that can be caught and is not a fault";
                return Err(Error::value("snapshot_on", signal.to_string(), expected));
            }
        }
        for &signal in &settings.terminate_on {
            if !ENDING.contains(&signal) {
                let expected = "a signal that ends a process, such as SIGTERM";
                return Err(Error::value("terminate_on", signal.to_string(), expected));
            }
        }
        let mut asked = Asked {
            snapshot: settings.snapshot_on.clone(),
            terminate: settings.terminate_on.clone(),
            signals: None,
        };
        if asked.all().next().is_some() {
            let none: [c_int; 0] = [];
            let signals = Signals::new(none);
            let signals = signals.map_err(|error| Error::io("wait for", "signals", error))?;
            asked.signals = Some(signals);
        }
        Ok(asked)
    }

    fn all(&self) -> impl Iterator<Item = c_int> {
        self.snapshot.iter().chain(&self.terminate).copied()
    }

    /// Waits for them from now on.
    ///
    /// # Errors
    /// There is no thread for it; nothing is installed then.
    pub(crate) fn wait(mut self, core: &Arc<Core>) -> Result<(), Error> {
        let Some(mut signals) = self.signals.take() else {
            return Ok(());
        };
        let handle = signals.handle();
        let wanted: Vec<c_int> = self.all().filter(|&signal| !is_ignored(signal)).collect();
        let (terminate, waiting) = (self.terminate, Arc::clone(core));
        let wait = move || {
            for signal in &mut signals {
                if terminate.contains(&signal) {
                    end_by(&waiting, signal);
                } else {
                    let _ = snapshot::asked_for(&waiting, name(signal), Some(PATIENCE));
                }
            }
        };
        aside::spawn("ttlog-signals", wait)
            .map_err(|error| Error::io("start a thread for", "signals", error))?;
        for signal in wanted {
            // A signal that is none was turned down at the beginning.
            let _ = handle.add_signal(signal);
            if ENDING.contains(&signal) {
                end_in_children(core, signal);
            }
        }
        Ok(())
    }
}

fn name(signal: c_int) -> &'static str {
    low_level::signal_name(signal).unwrap_or("a signal")
}

fn is_ignored(signal: c_int) -> bool {
    fatal::action_of(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

/// A forked child has the handler and nobody who waits: there the signal does what
/// it does by default.
fn end_in_children(core: &Arc<Core>, signal: c_int) {
    let core = Arc::clone(core);
    let action = move || {
        if core.here().is_none() {
            let _ = low_level::emulate_default_handler(signal);
        }
    };
    // SAFETY: the action loads a word, and calls what is safe in a signal handler.
    let _ = unsafe { low_level::register(signal, action) };
}

/// Makes a snapshot, stamps the cause, and ends the process as the signal would have.
fn end_by(core: &Arc<Core>, signal: c_int) {
    let _ = snapshot::asked_for(core, name(signal), Some(PATIENCE));
    registry::here().for_each(|here| {
        here.cause(Cause {
            kind: Kind::Terminate,
            signal,
            ..Cause::default()
        });
    });
    if std::process::id() == 1 {
        // To process 1 of a namespace no default action is done (pid_namespaces(7)).
        // SAFETY: it ends the process without calling anything of it.
        unsafe { libc::_exit(128 + signal) };
    }
    let _ = low_level::emulate_default_handler(signal);
}
