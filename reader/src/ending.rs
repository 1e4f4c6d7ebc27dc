//! What a process ended by: which cause stands, and what goes with it.
//!
//! The law: whoever went on recording has not died of a cause. Nothing here looks at
//! what is there now.

use ttlog_format::cause::{self, Cause};
use ttlog_format::incident::{self, Incident};
use ttlog_format::salvage::Recording;
use ttlog_format::verdict::Who;

use crate::signal::SIGABRT;

/// For how long whoever dies of a signal may still be recording: its other threads
/// do until the kernel has written the core.
const DYING_NS: u64 = 10_000_000_000;

/// What std says when a panic must not go on, on top of what had begun it.
pub(crate) const NOUNWIND: [&str; 2] = [
    "panic in a destructor during cleanup",
    "panic in a function that cannot unwind",
];

/// The last cause that nothing contradicts.
pub(crate) fn ending(causes: &[Cause]) -> Option<&Cause> {
    causes.iter().rev().find(|cause| survived(cause).is_none())
}

/// How it is known that the process did not die of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survived {
    /// The thread that it struck recorded for so many nanoseconds after it.
    OwnThread(u64),
    /// Some thread recorded for longer after it than dying takes, in nanoseconds.
    AnyThread(u64),
    /// The host's handler has returned, and the process could go on.
    Returned,
}

/// Whether something later contradicts that the process died of `cause`.
pub(crate) fn survived(cause: &Cause) -> Option<Survived> {
    let any = cause.any_after_ns;
    match cause.kind {
        cause::Kind::Exit => None,
        cause::Kind::Signal if cause.own_after_ns > 0 => {
            Some(Survived::OwnThread(cause.own_after_ns))
        }
        _ if any > DYING_NS => Some(Survived::AnyThread(any)),
        cause::Kind::Signal if cause.survived_ticks.is_some() => Some(Survived::Returned),
        cause::Kind::Signal | cause::Kind::Terminate => None,
    }
}

/// Whether the process aborted while the thread was panicking.
pub(crate) fn is_panic(cause: &Cause) -> bool {
    cause.signal == SIGABRT && cause.panicking
}

/// The last panic in the main thread before a cause.
pub(crate) fn panic_in_main<'r>(recording: &'r Recording, cause: &Cause) -> Option<&'r Incident> {
    panic_before(recording, recording.header.pid, cause)
}

/// A thread's last panic before a cause; where std only says that it cannot go on,
/// the one before that.
pub(crate) fn panic_before<'r>(
    recording: &'r Recording,
    thread: u32,
    cause: &Cause,
) -> Option<&'r Incident> {
    let panics = recording.incidents.iter().rev().filter(|incident| {
        incident.kind == incident::Kind::Panic
            && incident.thread_id == thread
            && incident.ticks <= cause.ticks
    });
    let telling = panics
        .clone()
        .find(|panic| !NOUNWIND.contains(&panic.message.as_str()));
    telling.or_else(|| panics.clone().next())
}

/// The fault on which the host's handler aborted, as Rust's own does when a stack
/// overflows: the cause right before, of the same thread, which did nothing since.
pub(crate) fn fault_behind<'r>(causes: &'r [Cause], abort: &Cause) -> Option<&'r Cause> {
    causes.iter().find(|cause| {
        abort.kind == cause::Kind::Signal
            && abort.signal == SIGABRT
            && cause.number.checked_add(1) == Some(abort.number)
            && cause.kind == cause::Kind::Signal
            && cause.sender.is_none()
            && cause.thread_id == abort.thread_id
            && cause.chained
            && cause.survived_ticks.is_none()
            && cause.own_after_ns == 0
    })
}

/// A thread by the operating system's id.
pub(crate) fn who(recording: &Recording, id: u32) -> Who {
    let threads = recording.threads.iter().rev();
    let threads = threads.filter(|thread| thread.id == id);
    let incidents = recording.incidents.iter().rev();
    let incidents = incidents.filter(|incident| incident.thread_id == id);
    let mut names = threads
        .map(|thread| &thread.name)
        .chain(incidents.map(|incident| &incident.thread_name));
    let unnamed = if id == recording.header.pid {
        "main"
    } else {
        ""
    };
    let name = names.find(|name| !name.is_empty());
    let name = name.cloned().unwrap_or_else(|| unnamed.to_owned());
    Who { id, name }
}
