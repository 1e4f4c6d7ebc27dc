//! Signals that somebody asked for: a snapshot, or a snapshot and the end.
//!
//! signal-hook's handler does no more than wake an ordinary thread, which does the rest.
//! A signal that is ignored stays ignored, and a forked child without a
//! recording of its own dies of what would end it.
//!
//! What they ring is a bell of one word and not signal-hook's iterator, whose pipe is a
//! descriptor: after a daemon has closed them all, its number is another file's.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::thread::futex;
use signal_hook::consts::signal::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::low_level;

use crate::error::Error;
use crate::linux::aside::Ready;
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
}

impl Asked {
    /// The signals that the settings name. Nothing is installed yet.
    ///
    /// # Errors
    /// A signal that cannot be waited for.
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
        Ok(Asked {
            snapshot: settings.snapshot_on.clone(),
            terminate: settings.terminate_on.clone(),
        })
    }

    /// The thread that does what is asked for when the core's bell is rung, ready; none
    /// where no signal is waited for.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn ready(&self, core: &Arc<Core>) -> Result<Option<Ready>, Error> {
        if self.wanted().next().is_none() {
            return Ok(None);
        }
        let (core, terminate) = (Arc::clone(core), self.terminate.clone());
        let listen = move || {
            loop {
                let signals = core.bell.wait();
                for signal in (1..=64).filter(|signal| signals & bit(*signal) != 0) {
                    if terminate.contains(&signal) {
                        end_by(&core, signal);
                    } else {
                        let _ = snapshot::asked_for(&core, name(signal), Some(PATIENCE));
                    }
                }
            }
        };
        let ready = Ready::new("ttlog-signals", listen);
        let ready = ready.map_err(|error| Error::io("start a thread for", "signals", error))?;
        Ok(Some(ready))
    }

    /// Has them ring the core's bell from now on. A forked child inherits that.
    pub(crate) fn ring(&self, core: &Arc<Core>) {
        self.wanted().for_each(|signal| ring_on(signal, core));
    }

    fn wanted(&self) -> impl Iterator<Item = c_int> {
        let all = self.snapshot.iter().chain(&self.terminate).copied();
        all.filter(|&signal| !is_ignored(signal))
    }
}

/// What a handler rings, and a thread waits for: a word of memory, and no descriptor,
/// since a daemon may close all of those, and the next file that it opens would get
/// what is written to it.
#[derive(Default)]
pub(crate) struct Bell {
    /// A bit for each signal that came.
    signals: AtomicU64,
    rings: AtomicU32,
}

impl Bell {
    /// A signal came.
    fn ring(&self, signal: c_int) {
        self.signals.fetch_or(bit(signal), Ordering::Relaxed);
        self.rings.fetch_add(1, Ordering::Release);
        let _ = futex::wake(&self.rings, futex::Flags::PRIVATE, 1);
    }

    /// Waits until signals have come; a bit for each of them.
    fn wait(&self) -> u64 {
        loop {
            let rings = self.rings.load(Ordering::Acquire);
            let signals = self.signals.swap(0, Ordering::Relaxed);
            if signals != 0 {
                return signals;
            }
            // Woken or interrupted, or rung since: it is looked at again.
            let _ = futex::wait(&self.rings, futex::Flags::PRIVATE, rings, None);
        }
    }
}

/// The bit of a signal, which is at least 1 and at most 64 (signal(7)).
fn bit(signal: c_int) -> u64 {
    1 << (signal as u32).wrapping_sub(1).min(63)
}

fn name(signal: c_int) -> &'static str {
    low_level::signal_name(signal).unwrap_or("a signal")
}

fn is_ignored(signal: c_int) -> bool {
    fatal::action_of(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

/// Has a signal ring the bell of the process that it comes to. A forked child without
/// a recording has the handler and nobody who waits: there, what ends a process by
/// default ends it.
fn ring_on(signal: c_int, core: &Arc<Core>) {
    let core = Arc::clone(core);
    let ends = ENDING.contains(&signal);
    let action = move || {
        if let Some(here) = core.here_already() {
            here.bell.ring(signal);
        } else if ends {
            let _ = low_level::emulate_default_handler(signal);
        }
    };
    // SAFETY: the action loads and stores atomics, wakes a thread by a bare system
    // call, and calls what is safe in a signal handler.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn asked(snapshot: &[c_int], terminate: &[c_int]) -> Result<Asked, Error> {
        Asked::new(&Settings {
            snapshot_on: snapshot.into(),
            terminate_on: terminate.into(),
            ..Settings::default()
        })
    }

    #[test]
    fn what_cannot_be_waited_for_is_an_error() {
        let past = libc::SIGRTMAX() + 1;
        for signal in [-1, 0, past, libc::SIGSEGV, libc::SIGKILL, libc::SIGSTOP] {
            assert!(asked(&[signal], &[]).is_err(), "{signal}");
            assert!(asked(&[], &[signal]).is_err(), "{signal}");
        }
        // It ends nobody.
        assert!(asked(&[], &[libc::SIGCHLD]).is_err());
        let both = asked(&[SIGUSR1, libc::SIGCHLD], &[SIGTERM]).expect("they can be waited for");
        assert!(both.wanted().eq([SIGUSR1, libc::SIGCHLD, SIGTERM]));
    }
}
