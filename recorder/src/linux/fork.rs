//! Forks: a child never writes into its parent's recording.
//!
//! A word that the kernel wipes in every child, asked for before anything is written,
//! shuts the parent's recording to it. Nor does a child inherit the mapping: not even a
//! record that a signal handler's fork left open reaches the file. In a child of fork(3)
//! private memory takes the mapping's place; in one of a bare clone(2) the guard puts a
//! page of it where such a record goes on.
//!
//! The first event of a child begins a recording of its own, the heir of its parent's:
//! where the C library has forked it, and so made the allocator fit for use. Whatever
//! has no recording is counted.
//!
//! That first event may be a handler's, in the middle of `malloc`, and is then counted and
//! not recorded. Its frames tell; masks did not, where the signal was blocked around the
//! fork or is not in its handler. A child's span ids begin behind its parent's: an inherited
//! handle is told by its id, and costs the parent's process nothing.

use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::linux::core::{Core, Here};
use crate::linux::{backtrace, fatal, registry, start};
use crate::policy::Fork;
use crate::settings::Settings;
use ttlog_format::span::SpanId;

/// Nobody has asked for an heir.
const UNASKED: u64 = 0;
/// Somebody is making it.
const MAKING: u64 = 1;
/// There is none to be had.
const NONE: u64 = 2;
/// It is there.
const MADE: u64 = 3;

/// The process that fork(3) has made last, and the signals that were blocked then.
static FORKED: AtomicU32 = AtomicU32::new(0);
static BLOCKED: AtomicU64 = AtomicU64::new(0);

/// What a child of the process that records needs to know, and what became of it.
/// Private memory: every child has its own.
pub(crate) struct Heirs {
    /// How a child's recording is set up; `None` if there is to be none.
    settings: Option<Settings>,
    state: AtomicU64,
    /// The heir's id, once it is made.
    id: AtomicU64,
    /// Events of this process that had no recording.
    dropped: AtomicU64,
}

impl Heirs {
    /// The heirs of a recording with these settings.
    pub(crate) fn new(settings: &Settings) -> Heirs {
        let records = settings.fork.unwrap_or_default() == Fork::Record;
        let settings = records.then(|| Settings {
            forked_from: Some(std::process::id()),
            ..settings.clone()
        });
        Heirs {
            settings,
            state: AtomicU64::new(UNASKED),
            id: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Events of a child that had no recording.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Has children told apart that the C library has forked.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `in_child` is a function of this library, never unloaded, that
        // neither panics nor waits.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// What fork(3) calls in the child, before it returns there.
unsafe extern "C" fn in_child() {
    FORKED.store(std::process::id(), Ordering::Relaxed);
    BLOCKED.store(blocked_signals(), Ordering::Relaxed);
    for core in registry::cores() {
        core.heirs.dropped.store(0, Ordering::Relaxed);
        if core.heirs.state.load(Ordering::Relaxed) != MADE {
            core.heirs.state.store(UNASKED, Ordering::Relaxed);
        }
        if core.own().is_none() {
            core.memory.detach();
        }
    }
}

impl Core {
    /// The door to whatever writes for the calling process: into this recording, or, in
    /// a forked child, into its own, which is made if need be.
    #[inline]
    pub(crate) fn here(&self) -> Option<Here<'_>> {
        match self.own() {
            Some(here) => Some(here),
            None => self.heir(),
        }
    }

    /// The same for what is about a span: `None` where the calling process has not
    /// opened it, but inherited a handle, of which nothing is made.
    #[inline]
    pub(crate) fn here_for(&self, span: SpanId) -> Option<Here<'_>> {
        match self.own() {
            Some(here) => Some(here),
            None => self.heir_already().filter(|heir| heir.spans.knows(span)),
        }
    }

    /// The same, but nothing is made.
    pub(crate) fn here_already(&self) -> Option<Here<'_>> {
        self.own().or_else(|| self.heir_already())
    }

    /// Whether the calling process has opened a span, and not inherited its handle.
    #[inline]
    pub(crate) fn knows(&self, span: SpanId) -> bool {
        let heir_knows = || {
            self.heir_already()
                .is_some_and(|heir| heir.spans.knows(span))
        };
        self.own().is_some() || heir_knows()
    }

    #[cold]
    fn heir_already(&self) -> Option<Here<'static>> {
        let made = self.heirs.state.load(Ordering::Acquire) == MADE;
        let heir = made.then(|| registry::core(self.heirs.id.load(Ordering::Relaxed)));
        heir.flatten()?.here_already()
    }

    #[cold]
    fn heir(&self) -> Option<Here<'static>> {
        if self.heirs.state.load(Ordering::Acquire) == MADE {
            return registry::core(self.heirs.id.load(Ordering::Relaxed))?.here();
        }
        self.make_heir()?;
        self.heir_already()
    }

    /// Makes the calling process a recording of its own, unless somebody is at that
    /// (or a signal handler has interrupted who is), or it is known that there is none
    /// to be had.
    fn make_heir(&self) -> Option<()> {
        let settings = self.heirs.settings.as_ref()?;
        let state = &self.heirs.state;
        let ours = state.compare_exchange(UNASKED, MAKING, Ordering::Acquire, Ordering::Relaxed);
        ours.ok()?;
        if FORKED.load(Ordering::Relaxed) != std::process::id() {
            state.store(NONE, Ordering::Release);
            return None;
        }
        if may_be_in_a_handler() {
            state.store(UNASKED, Ordering::Release);
            return None;
        }
        let Ok(heir) = start::heir(self, settings) else {
            state.store(NONE, Ordering::Release);
            return None;
        };
        self.heirs.id.store(heir.id, Ordering::Relaxed);
        heir.add_dropped(self.heirs.dropped.swap(0, Ordering::Relaxed));
        state.store(MADE, Ordering::Release);
        Some(())
    }

    /// Counts an event that has no recording.
    #[cold]
    pub(crate) fn count_without_recording(&self) {
        match self.heir_already() {
            Some(heir) => heir.add_dropped(1),
            None => {
                self.heirs.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Whether the calling thread may be in a signal handler, which may have interrupted
/// the allocator. Its frames tell; or else, that a signal which somebody handles is
/// blocked, and was not when the process was forked.
fn may_be_in_a_handler() -> bool {
    if let Some(told) = backtrace::in_a_handler() {
        return told;
    }
    let blocked = blocked_signals() & !BLOCKED.load(Ordering::Relaxed);
    let blocked = (1..=64).filter(|signal| blocked & (1 << (signal - 1)) != 0);
    let handled = |signal| {
        fatal::action_of(signal).is_some_and(|action| !fatal::is_no_function(action.sa_sigaction))
    };
    blocked.into_iter().any(handled)
}

/// A bit for each signal that the calling thread has blocked, from 1.
fn blocked_signals() -> u64 {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    let how = libc::SIG_BLOCK;
    // SAFETY: no set is given, and the one in force is written.
    let _ = unsafe { libc::pthread_sigmask(how, std::ptr::null(), set.as_mut_ptr()) };
    // SAFETY: all zeros is a set of signals, and the call may have written another.
    let set = unsafe { set.assume_init() };
    (1..=64)
        // SAFETY: the set is a valid one.
        .filter(|&signal| unsafe { libc::sigismember(&raw const set, signal) } == 1)
        .fold(0, |bits, signal| bits | (1 << (signal - 1)))
}
