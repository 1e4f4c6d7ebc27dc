//! What became of the process, judged by what it wrote and by what is there now.
//!
//! The last cause counts that nothing later contradicts: whoever went on recording
//! has not died of it. Without one, it is what can be seen of the process that
//! counts. A verdict claims no more than its evidence shows.

use ttlog_format::cause::{self, Cause};
use ttlog_format::incident::{self, Incident};
use ttlog_format::salvage::Recording;
use ttlog_format::snapshot::{Made, Maker};
use ttlog_format::verdict::{Kind, Verdict, Who};

use crate::evidence::{self, Boot};
use crate::process::Life;
use crate::signal::{self, SIGABRT};
use crate::text::utc;

/// For how long whoever dies of a signal may still be recording: its other threads
/// do until the kernel has written the core.
const DYING_NS: u64 = 10_000_000_000;

/// The status of a program whose `main` panicked.
const STATUS_PANICKED: i32 = 101;

/// What std says when a panic must not go on, on top of what had begun it.
const NOUNWIND: [&str; 2] = [
    "panic in a destructor during cleanup",
    "panic in a function that cannot unwind",
];

/// What is there now of the process and of its machine.
#[derive(Debug)]
pub(crate) struct Now {
    /// Whether the process lives.
    pub(crate) life: Life,
    /// This boot's id, if there is one.
    pub(crate) boot_id: Option<String>,
    /// What the process's cgroup tells of OOM kills, if it had one.
    pub(crate) oom_kills: Option<String>,
}

/// Judges a recording.
pub(crate) fn judge(recording: &Recording, now: &Now) -> Verdict {
    let boot = Boot::compare(&recording.header, now.boot_id.as_deref());
    let ending = ending(&recording.causes);
    let mut verdict = match ending {
        _ if runs(now, &boot) => of_kind(Kind::Alive),
        Some(cause) => ended_by(recording, cause),
        None => of_kind(without_cause(&now.life, &boot)),
    };
    let kind = verdict.kind;
    verdict.evidence = evidence::of_causes(recording, ending, kind);
    verdict.evidence.extend(evidence::of_incidents(recording));
    verdict.evidence.extend(evidence::of_system(now, &boot));
    if kind == Kind::Killed && matches!(boot, Boot::Same) {
        verdict.evidence.extend(now.oom_kills.clone());
    }
    verdict
}

fn of_kind(kind: Kind) -> Verdict {
    Verdict {
        kind,
        ..Verdict::default()
    }
}

/// In another boot, a process with the same pid and start time is there by chance.
fn runs(now: &Now, boot: &Boot) -> bool {
    matches!(now.life, Life::Runs(_)) && !matches!(boot, Boot::Other(_))
}

fn without_cause(life: &Life, boot: &Boot) -> Kind {
    match (boot, life) {
        (Boot::Other(_), _) => Kind::Rebooted,
        (_, Life::Runs(_)) => Kind::Alive,
        (_, Life::Gone(_)) => Kind::Killed,
        (_, Life::Unknown(_)) => Kind::Unknown,
    }
}

/// The last cause that nothing contradicts.
fn ending(causes: &[Cause]) -> Option<&Cause> {
    causes.iter().rev().find(|cause| survived(cause).is_none())
}

/// How it is known that the process did not die of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survived {
    /// The thread that it struck recorded for so many nanoseconds after it.
    OwnThread(u64),
    /// Some thread recorded for longer after it than dying takes, in nanoseconds.
    AnyThread(u64),
    /// It was sent, and the host's handler has returned.
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
        cause::Kind::Signal if cause.sender.is_some() && cause.returned_ticks.is_some() => {
            Some(Survived::Returned)
        }
        cause::Kind::Signal | cause::Kind::Terminate => None,
    }
}

fn ended_by(recording: &Recording, cause: &Cause) -> Verdict {
    match cause.kind {
        cause::Kind::Exit => by_exit(recording, cause),
        cause::Kind::Signal => by_signal(recording, cause),
        cause::Kind::Terminate => Verdict {
            signal: Some(cause.signal),
            ..of_kind(Kind::Terminated)
        },
    }
}

fn by_exit(recording: &Recording, cause: &Cause) -> Verdict {
    match panic_in_main(recording, cause) {
        Some(panic) if cause.status == Some(STATUS_PANICKED) => by_panic(recording, panic),
        _ => of_kind(Kind::Ended),
    }
}

fn by_signal(recording: &Recording, cause: &Cause) -> Verdict {
    let thread = who(recording, cause.thread_id);
    let fault = fault_behind(&recording.causes, cause).unwrap_or(cause);
    let verdict = match panic_before(recording, cause.thread_id, cause) {
        Some(panic) if is_panic(cause) => by_panic(recording, panic),
        _ if is_panic(cause) => of_kind(Kind::Panicked),
        _ => Verdict {
            address: signal::address(fault),
            ..of_kind(Kind::Signal)
        },
    };
    Verdict {
        signal: Some(cause.signal),
        thread: Some(thread),
        ..verdict
    }
}

/// Whether the process aborted while the thread was panicking.
pub(crate) fn is_panic(cause: &Cause) -> bool {
    cause.signal == SIGABRT && cause.panicking
}

fn by_panic(recording: &Recording, panic: &Incident) -> Verdict {
    Verdict {
        thread: Some(who(recording, panic.thread_id)),
        message: Some(panic.message.clone()),
        location: Some(panic.location.clone()).filter(|location| !location.is_empty()),
        ..of_kind(Kind::Panicked)
    }
}

/// The last panic in the main thread before a cause.
pub(crate) fn panic_in_main<'r>(recording: &'r Recording, cause: &Cause) -> Option<&'r Incident> {
    panic_before(recording, recording.header.pid, cause)
}

/// A thread's last panic before a cause; where std only says that it cannot go on,
/// the one before that.
fn panic_before<'r>(recording: &'r Recording, thread: u32, cause: &Cause) -> Option<&'r Incident> {
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
            && cause.returned_ticks.is_none()
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

/// The verdict that a snapshot carries, if the process had ended when it was made.
pub(crate) fn carried(made: &Made) -> Option<Verdict> {
    let mut verdict = made.verdict.clone().filter(|it| is_final(it.kind))?;
    let when = utc(made.wall_ns);
    let judged = format!("so it was judged when this snapshot was made, at {when}");
    verdict.evidence.push(judged);
    Some(verdict)
}

/// Whether nothing more can become of a process.
pub(crate) fn is_final(kind: Kind) -> bool {
    !matches!(kind, Kind::Alive | Kind::Unknown)
}

/// Judges a snapshot of a process that had not ended, whose recording is not at hand.
///
/// It holds nothing of what came after it: that the process is gone does not tell
/// how it ended.
pub(crate) fn left_open(recording: &Recording, made: &Made, now: &Now) -> Verdict {
    let boot = Boot::compare(&recording.header, now.boot_id.as_deref());
    let panic = panic_told(recording, made);
    let mut verdict = match panic {
        _ if runs(now, &boot) => of_kind(Kind::Alive),
        Some(panic) => Verdict {
            kind: Kind::Unknown,
            ..by_panic(recording, panic)
        },
        None => of_kind(Kind::Unknown),
    };
    verdict.evidence = vec![evidence::of_making(made, panic.is_some(), verdict.kind)];
    if !recording.causes.is_empty() {
        let ending = ending(&recording.causes);
        let causes = evidence::of_causes(recording, ending, verdict.kind);
        verdict.evidence.extend(causes);
    }
    verdict.evidence.extend(evidence::of_incidents(recording));
    verdict.evidence.extend(evidence::of_system(now, &boot));
    verdict
}

/// The panic that the process made a snapshot because of.
fn panic_told<'r>(recording: &'r Recording, made: &Made) -> Option<&'r Incident> {
    let last = recording.incidents.last();
    let said = made.by == Maker::Process && made.why.starts_with("panic");
    last.filter(|incident| said && incident.kind == incident::Kind::Panic)
}

#[cfg(test)]
mod tests;
