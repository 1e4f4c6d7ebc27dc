//! What became of the process, with the evidence.
//!
//! A verdict claims no more than its evidence shows, and the evidence says what
//! could not be known.

use std::fmt;

use serde::Serialize;
use ttlog_format::cause::{self, Cause};
use ttlog_format::header::Header;

use crate::escape::escape;
use crate::process::Life;
use crate::text::utc;

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It runs.
    Alive,
    /// It returned from `main` or called `exit`.
    Ended,
    /// It is gone and wrote no cause: SIGKILL, the OOM killer, `_exit`.
    Killed,
    /// It is gone and wrote no cause, and so is the boot that it ran in.
    Rebooted,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Alive => "alive",
            Kind::Ended => "ended",
            Kind::Killed => "killed",
            Kind::Rebooted => "rebooted",
        })
    }
}

/// What became of a process, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What became of it.
    pub kind: Kind,
    /// How that is known, a clause each.
    pub evidence: Vec<String>,
}

/// Judges by the header, the causes, what /proc said, and the boot id of now.
pub(crate) fn judge(
    header: &Header,
    causes: &[Cause],
    life: &Life,
    boot_id: Option<&str>,
) -> Verdict {
    let exit = causes
        .iter()
        .rev()
        .find(|cause| cause.kind == cause::Kind::Exit);
    let boot = Boot::compare(header, boot_id);
    let kind = match (&boot, life, exit) {
        (Boot::Same | Boot::Unknown, Life::Runs(_), _) => Kind::Alive,
        (_, _, Some(_)) => Kind::Ended,
        (Boot::Other(_), _, None) => Kind::Rebooted,
        (_, _, None) => Kind::Killed,
    };
    let mut evidence = vec![of_causes(exit, kind)];
    // In another boot, the same pid and start time would be chance.
    if !matches!(boot, Boot::Other(_)) {
        evidence.push(of_life(life));
    }
    evidence.push(boot.words());
    Verdict { kind, evidence }
}

fn of_causes(exit: Option<&Cause>, kind: Kind) -> String {
    match exit {
        None => "no cause was written".into(),
        Some(cause) if kind == Kind::Alive => {
            format!(
                "the process began to return from main or exit, at {}",
                utc(cause.wall_ns)
            )
        }
        Some(cause) => {
            format!(
                "the process ended by return from main or exit, at {}",
                utc(cause.wall_ns)
            )
        }
    }
}

fn of_life(life: &Life) -> String {
    let (Life::Runs(words) | Life::Gone(words) | Life::Unknown(words)) = life;
    words.clone()
}

enum Boot {
    Same,
    Other(String),
    Unknown,
}

impl Boot {
    fn compare(header: &Header, boot_id: Option<&str>) -> Boot {
        match boot_id {
            Some(now) if !now.is_empty() && !header.boot_id.is_empty() => {
                if now == header.boot_id {
                    Boot::Same
                } else {
                    Boot::Other(header.host.clone())
                }
            }
            _ => Boot::Unknown,
        }
    }

    fn words(&self) -> String {
        match self {
            Boot::Same => "boot id unchanged".into(),
            Boot::Other(host) => format!(
                "another boot id: the machine was booted since, or this is not {}, which recorded",
                escape(host.as_bytes())
            ),
            Boot::Unknown => "the boot id is not known: a reboot since could not be seen".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn exit() -> Cause {
        let wall_ns = 1_700_000_000_000_000_000;
        Cause {
            kind: cause::Kind::Exit,
            ticks: 0,
            number: 0,
            thread_id: 1,
            wall_ns,
        }
    }

    fn verdict(causes: &[Cause], life: Life, boot_id: Option<&str>) -> Verdict {
        judge(&fixture::header(), causes, &life, boot_id)
    }

    fn runs() -> Life {
        Life::Runs("process 4711 is running".into())
    }

    fn gone() -> Life {
        Life::Gone("process 4711 is gone".into())
    }

    #[test]
    fn gone_without_a_cause_is_killed() {
        let verdict = verdict(&[], gone(), Some(fixture::BOOT_ID));
        assert_eq!(verdict.kind, Kind::Killed);
        let evidence = [
            "no cause was written",
            "process 4711 is gone",
            "boot id unchanged",
        ];
        assert_eq!(verdict.evidence, evidence);
    }

    #[test]
    fn who_has_begun_to_exit_and_still_runs_is_alive() {
        assert_eq!(
            verdict(&[exit()], runs(), Some(fixture::BOOT_ID)).kind,
            Kind::Alive
        );
        let ended = verdict(&[exit()], gone(), Some(fixture::BOOT_ID));
        assert_eq!(ended.kind, Kind::Ended);
        assert_eq!(
            ended.evidence[0],
            "the process ended by return from main or exit, at 2023-11-14T22:13:20.000000000Z"
        );
    }

    #[test]
    fn nobody_lives_through_a_reboot() {
        assert_eq!(verdict(&[], runs(), Some("other")).kind, Kind::Rebooted);
        assert_eq!(verdict(&[exit()], runs(), Some("other")).kind, Kind::Ended);
    }

    #[test]
    fn what_could_not_be_known_is_said() {
        let unknown = Life::Unknown("no /proc".into());
        let verdict = verdict(&[], unknown, None);
        assert_eq!(verdict.kind, Kind::Killed);
        assert!(verdict.evidence.iter().any(|words| words == "no /proc"));
        assert!(
            verdict
                .evidence
                .iter()
                .any(|words| words.contains("could not be seen"))
        );
    }
}
