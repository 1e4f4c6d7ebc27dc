//! The panic hook: a panic is an incident, and worth a snapshot.
//!
//! In this order: the incident, with raw addresses; the snapshot; the hook that was
//! there before; the addresses in words, for the incidents that got a snapshot. What
//! could take long or go wrong is done aside and waited for a few seconds at most;
//! nothing here panics or waits for a lock that a recording thread can hold.
//!
//! No thread waits for panics: one is made when it is needed, and a process that is never
//! struck may still do what only a process of one thread may. With the addresses in words
//! the snapshot is written anew and put in place of the first, which is whole by then; an
//! appended second frame could be torn.

use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use crate::linux::aside;
use crate::linux::backtrace::{self, Symbols};
use crate::linux::core::{Core, Struck, Trace};
use crate::linux::registry;
use crate::linux::snapshot::{self, PATIENCE};
use ttlog_format::incident::Kind;

/// How many panics have a backtrace, and how many milliseconds lie between those
/// that follow.
const TRACED: u64 = 64;
const MILLISECONDS_BETWEEN: u64 = 10;

/// Puts the hook in front of the one that is there, once in a process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    // While it panics, a thread must not touch the hook.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| on_panic(info, &previous)));
    });
}

fn on_panic(info: &PanicHookInfo<'_>, previous: &dyn Fn(&PanicHookInfo<'_>)) {
    // A panic of the recorder's own work aside is nobody's business.
    if aside::is_here() {
        return;
    }
    let message = info.payload_as_str().unwrap_or("(no text)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let incidents = record(message, &location);
    previous(info);
    if incidents.iter().any(|incident| incident.snapshot.is_some()) {
        let symbols = Symbols::here();
        aside::wait_for(Some(PATIENCE), move || {
            let symbols = symbols.resolve();
            for incident in incidents {
                incident.name_frames(&symbols);
            }
        });
    }
}

/// Records a panic in every recording of this process that wants it.
fn record(message: &str, location: &str) -> Vec<Incident> {
    // A forked child whose first word is a panic gets its recording now.
    for core in registry::cores() {
        let _ = core.here();
    }
    let wanted = |core: &&'static Arc<Core>| core.panics && core.own().is_some();
    let mut cores = registry::cores().filter(wanted).peekable();
    let frames = match cores.peek() {
        Some(core) if worth_a_trace(core) => backtrace::frames(),
        _ => Vec::new(),
    };
    let modules = backtrace::modules(&frames);
    let trace = Trace {
        frames: &frames,
        modules: &modules,
    };
    let incidents = cores.filter_map(|core| Incident::record(core, message, location, trace));
    incidents.collect()
}

/// An incident of one core's.
struct Incident {
    core: &'static Arc<Core>,
    struck: Option<Struck>,
    why: String,
    snapshot: Option<PathBuf>,
}

impl Incident {
    /// Records a panic, and makes a snapshot of it, unless there were too many.
    fn record(
        core: &'static Arc<Core>,
        message: &str,
        location: &str,
        trace: Trace<'_>,
    ) -> Option<Incident> {
        let here = core.own()?;
        let struck = here.incident(Kind::Panic, message, location, trace);
        let why = format!("panic: {message}");
        let busy = core.snapshots.begin(core.clock.ticks(), core.second_ticks);
        let snapshot = if let Some(busy) = busy {
            let why = why.clone();
            let made = aside::wait_for(Some(PATIENCE), move || {
                let _busy = busy;
                make(core, &why, None)
            });
            made.flatten()
        } else {
            here.skip_snapshot();
            None
        };
        Some(Incident {
            core,
            struck,
            why,
            snapshot,
        })
    }

    /// Adds the frames in words to the recording and to the snapshot.
    fn name_frames(self, symbols: &[String]) {
        if let (Some(mut struck), Some(snapshot), Some(here)) =
            (self.struck, self.snapshot, self.core.own())
        {
            here.add_symbols(&mut struck, symbols);
            make(self.core, &self.why, Some(snapshot));
        }
    }
}

fn make(core: &Core, why: &str, old: Option<PathBuf>) -> Option<PathBuf> {
    snapshot::make(core.own()?, why, old.as_deref()).ok()
}

/// Whether there were few panics, or the last traced one is a while ago.
fn worth_a_trace(core: &Core) -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = core.clock.ticks();
    let between = core.second_ticks / 1000 * MILLISECONDS_BETWEEN;
    let apart = now.saturating_sub(LAST.load(Ordering::Relaxed)) >= between;
    let worth = COUNT.fetch_add(1, Ordering::Relaxed) < TRACED || apart;
    if worth {
        LAST.store(now, Ordering::Relaxed);
    }
    worth
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_may_start_while_its_thread_panics() {
        struct Starts;
        impl Drop for Starts {
            fn drop(&mut self) {
                assert!(std::thread::panicking());
                install();
            }
        }
        let caught = std::panic::catch_unwind(|| {
            let _starts = Starts;
            std::panic::resume_unwind(Box::new("a payload"));
        });
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"a payload"));
    }

    #[test]
    fn a_panic_of_work_aside_is_no_incident() {
        let directory = tempfile::tempdir().unwrap();
        let builder = crate::builder().directory(directory.path());
        let recorder = builder.capacity_mib(1).create().unwrap();
        let why = "work aside";
        let done = aside::wait_for(None, move || std::panic::panic_any(why));
        assert!(done.is_none(), "it has panicked");
        let bytes = std::fs::read(recorder.path()).unwrap();
        let incidents = ttlog_format::salvage::salvage(&bytes).unwrap().incidents;
        assert!(incidents.iter().all(|incident| incident.message != why));
    }
}
