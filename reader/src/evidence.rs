//! Evidence: how a verdict is known, a clause each, for whoever reads it at night.
//!
//! What a recording says is escaped here, so that a clause can be shown as it is.

use ttlog_format::cause::{self, Cause};
use ttlog_format::incident;
use ttlog_format::salvage::Recording;
use ttlog_format::snapshot::{Made, Maker};
use ttlog_format::verdict::{Kind, Who};

use crate::ending::{self, Survived};
use crate::escape::{escape, quoted};
use crate::process::{Boot, Life, Now};
use crate::signal;
use crate::text::utc;

/// What can be seen of the process and of its boot.
pub(crate) fn of_system(now: &Now, boot: &Boot) -> Vec<String> {
    let (Life::Runs(life) | Life::Gone(life) | Life::Executed(life) | Life::Unknown(life)) =
        &now.life;
    // In another boot, the same pid and start time would be chance.
    let life = (!matches!(boot, Boot::Other(_))).then(|| life.clone());
    life.into_iter().chain([boot.words()]).collect()
}

/// The causes: first what the process ended by, then what became of the others.
pub(crate) fn of_causes(recording: &Recording, ending: Option<&Cause>, kind: Kind) -> Vec<String> {
    let causes = &recording.causes;
    let Some(ending) = ending else {
        let none = match causes.is_empty() {
            _ if recording.ledger.damaged_causes > 0 => DAMAGED,
            true => "no cause was written",
            false => "no cause was written that it has not survived",
        };
        let survived = causes
            .iter()
            .filter_map(|cause| of_survived(recording, cause));
        return [none.to_owned()].into_iter().chain(survived).collect();
    };
    let mut clauses = vec![of_ending(recording, ending, kind)];
    clauses.extend(of_panic(recording, ending));
    for cause in causes.iter().filter(|cause| cause.number != ending.number) {
        let survived = of_survived(recording, cause);
        clauses.push(survived.unwrap_or_else(|| of_earlier(recording, cause, ending)));
    }
    if ending.overflow {
        clauses.push(OVERFLOW.to_owned());
    }
    if recording.ledger.damaged_causes > 0 {
        clauses.push(format!("{DAMAGED}, and it may have held a later one"));
    }
    clauses
}

const DAMAGED: &str = "the part of the file that holds causes is damaged or missing";

const OVERFLOW: &str = "the address is where the thread's stack ends: it was a stack overflow";

fn of_ending(recording: &Recording, cause: &Cause, kind: Kind) -> String {
    match (cause.kind, kind) {
        (cause::Kind::Exit, Kind::Alive | Kind::Unknown) => {
            format!(
                "the process began to return from main or exit{}",
                end(cause)
            )
        }
        (cause::Kind::Exit, _) => {
            format!(
                "the process ended by return from main or exit{}",
                end(cause)
            )
        }
        (_, Kind::Alive) => format!("{}; the process still runs", occurrence(recording, cause)),
        _ => occurrence(recording, cause),
    }
}

/// A panic that a cause speaks of, or leaves open.
fn of_panic(recording: &Recording, cause: &Cause) -> Option<String> {
    match cause.kind {
        cause::Kind::Signal if ending::is_panic(cause) => {
            Some("the thread was panicking when it aborted".into())
        }
        cause::Kind::Exit => {
            let panic = ending::panic_in_main(recording, cause)?;
            let when = utc(panic.wall_ns);
            match cause.status {
                Some(101) => Some(format!(
                    "the main thread had panicked at {when}, and 101 is the status of a panic"
                )),
                Some(_) => None,
                None => Some(format!(
                    "the main thread had panicked at {when}: it may have ended by that, \
                     its exit status is not known"
                )),
            }
        }
        _ => None,
    }
}

/// A cause before the one that counts.
fn of_earlier(recording: &Recording, cause: &Cause, ending: &Cause) -> String {
    let occurrence = occurrence(recording, cause);
    match ending::fault_behind(std::slice::from_ref(cause), ending) {
        Some(_) if cause.overflow => {
            format!("a handler of the host's aborted because of {occurrence}; {OVERFLOW}")
        }
        Some(_) => format!("a handler of the host's aborted because of {occurrence}"),
        None => format!("before that, {occurrence}"),
    }
}

/// How a cause was survived, if it was.
fn of_survived(recording: &Recording, cause: &Cause) -> Option<String> {
    let how = match ending::survived(cause)? {
        Survived::OwnThread(ns) => format!("the thread recorded for another {}", duration(ns)),
        Survived::AnyThread(ns) => format!("threads recorded for another {}", duration(ns)),
        Survived::Returned => "the host's handler returned".into(),
    };
    let occurrence = occurrence(recording, cause);
    Some(format!("{occurrence} was survived: {how}"))
}

/// What happened, where and when.
fn occurrence(recording: &Recording, cause: &Cause) -> String {
    let pid = recording.header.pid;
    let (name, origin) = (signal::name(cause.signal), signal::origin(cause, pid));
    let when = utc(cause.wall_ns);
    match cause.kind {
        cause::Kind::Exit => format!("a return from main or exit{}", end(cause)),
        cause::Kind::Terminate => format!("{name}{origin} asked it to terminate at {when}"),
        cause::Kind::Signal => {
            let thread = thread(&ending::who(recording, cause.thread_id));
            format!("{name}{origin} in {thread} at {when}")
        }
    }
}

/// ` with status 3, at 2023-11-14T22:13:20.000000000Z`
fn end(cause: &Cause) -> String {
    let status = cause.status.map(|status| format!(" with status {status}"));
    format!("{}, at {}", status.unwrap_or_default(), utc(cause.wall_ns))
}

/// `thread "worker-1" (4712)`
pub(crate) fn thread(who: &Who) -> String {
    if who.name.is_empty() {
        return format!("thread {}", who.id);
    }
    format!("thread {} ({})", quoted(who.name.as_bytes()), who.id)
}

/// How many incidents there were.
pub(crate) fn of_incidents(recording: &Recording) -> Option<String> {
    let kept = &recording.incidents;
    let of = |kind| kept.iter().filter(|incident| incident.kind == kind).count();
    let kinds = [
        (of(incident::Kind::Panic), "panic"),
        (of(incident::Kind::Snapshot), "snapshot request"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|&(count, noun)| counted(count as u64, noun))
        .collect();
    let all = recording.ledger.incidents;
    match kinds.join(" and ") {
        kinds if all > kept.len() as u64 => {
            let lost = if kinds.is_empty() { "none" } else { &kinds };
            Some(format!(
                "{} counted, of which {lost} kept",
                counted(all, "incident")
            ))
        }
        kinds => (!kinds.is_empty()).then(|| format!("{kinds} recorded")),
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// How a snapshot came to be, and what it cannot tell.
pub(crate) fn of_making(made: &Made, panicking: bool, kind: Kind) -> String {
    let mut words = at_making(made, panicking);
    if kind != Kind::Alive {
        words.push_str("; what became of it since is not in here");
    }
    words
}

fn at_making(made: &Made, panicking: bool) -> String {
    let when = utc(made.wall_ns);
    let lived = made
        .verdict
        .as_ref()
        .is_some_and(|it| it.kind == Kind::Alive);
    match made.by {
        Maker::Process => {
            let why = match made.why.as_str() {
                "" => String::new(),
                why => format!(", because of {}", escape(why.as_bytes())),
            };
            let what = if panicking { "was panicking" } else { "lived" };
            format!("it {what} when it made this snapshot at {when}{why}")
        }
        Maker::Reader if lived => format!("it lived when this snapshot was made at {when}"),
        Maker::Reader => {
            format!("whether it lived when this snapshot was made at {when} could not be seen")
        }
    }
}

/// `3.2 s`, `12 ms`, `7 µs`
fn duration(ns: u64) -> String {
    match ns {
        1_000_000_000.. => format!("{}.{} s", ns / 1_000_000_000, ns / 100_000_000 % 10),
        1_000_000.. => format!("{} ms", ns / 1_000_000),
        _ => format!("{} µs", ns.div_ceil(1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(3_290_000_000), "3.2 s");
        assert_eq!(duration(12_345_678), "12 ms");
        assert_eq!(duration(1), "1 µs");
    }

    #[test]
    fn a_threads_name_cannot_mislead() {
        let who = |name: &str| Who {
            id: 7,
            name: name.into(),
        };
        assert_eq!(thread(&who("worker-1")), r#"thread "worker-1" (7)"#);
        assert_eq!(thread(&who("a\"\x1b[2J")), r#"thread "a\"\x1b[2J" (7)"#);
        assert_eq!(thread(&who("")), "thread 7");
    }
}
