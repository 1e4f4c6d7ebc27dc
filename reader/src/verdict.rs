//! What became of the process, judged by what it wrote and by what is there now.
//!
//! The last cause counts that nothing later contradicts. Without one, it is what can
//! be seen of the process that counts. A verdict claims no more than its evidence shows.

use ttlog_format::cause::{self, Cause};
use ttlog_format::header::Header;
use ttlog_format::incident::{self, Incident};
use ttlog_format::salvage::Recording;
use ttlog_format::snapshot::{Made, Maker};
use ttlog_format::verdict::{Kind, Verdict};

use crate::ending::{ending, fault_behind, is_panic, panic_before, panic_in_main, who};
use crate::evidence;
use crate::process::{Boot, Life, Now};
use crate::signal;
use crate::text::utc;

/// The status of a program whose `main` panicked.
const STATUS_PANICKED: i32 = 101;

/// Judges a recording.
pub(crate) fn judge(recording: &Recording, now: &Now) -> Verdict {
    let boot = Boot::compare(&recording.header, now.boot_id.as_deref());
    let ending = ending(&recording.causes);
    let mut verdict = match ending {
        _ if runs(now, &boot) => of_kind(Kind::Alive),
        Some(cause) => ended_by(recording, cause),
        None if recording.ledger.damaged_causes > 0 => of_kind(Kind::Unknown),
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

/// Whether the process of a recording lives.
pub(crate) fn is_alive(header: &Header, now: &Now) -> bool {
    runs(now, &Boot::compare(header, now.boot_id.as_deref()))
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
        (_, Life::Executed(_)) => Kind::Ended,
        (_, Life::Unknown(_)) => Kind::Unknown,
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

fn by_panic(recording: &Recording, panic: &Incident) -> Verdict {
    Verdict {
        thread: Some(who(recording, panic.thread_id)),
        message: Some(panic.message.clone()),
        location: Some(panic.location.clone()).filter(|location| !location.is_empty()),
        ..of_kind(Kind::Panicked)
    }
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
