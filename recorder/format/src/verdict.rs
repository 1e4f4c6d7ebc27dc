//! The verdict: how a process ended, as far as is known.
//!
//! Judging is the reader's; this is what it comes to, and what a snapshot carries.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It runs.
    Alive,
    /// It returned from `main` or called `exit`.
    Ended,
    /// It ended by a panic: uncaught in `main`, or by an abort.
    Panicked,
    /// It ended by a fatal signal.
    Signal,
    /// It obeyed a signal that asked it to terminate.
    Terminated,
    /// It is gone and wrote no cause: SIGKILL, the OOM killer, `_exit`.
    Killed,
    /// It is gone and wrote no cause, and so is the boot that it ran in.
    Rebooted,
    /// No cause was written, and whether it still runs cannot be seen from here.
    #[default]
    Unknown,
}

impl Kind {
    /// Its name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Alive => "alive",
            Kind::Ended => "ended",
            Kind::Panicked => "panicked",
            Kind::Signal => "signal",
            Kind::Terminated => "terminated",
            Kind::Killed => "killed",
            Kind::Rebooted => "rebooted",
            Kind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a process, and how that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// What became of it.
    pub kind: Kind,
    /// The signal that it ended by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The address of the fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// The thread that brought the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<Who>,
    /// What the panic said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where it was: `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// How all this is known, a clause each.
    #[serde(deserialize_with = "crate::snapshot::at_most::<_, _, 1024>")]
    pub evidence: Vec<String>,
}

/// A thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Who {
    /// The operating system's id.
    pub id: u32,
    /// Its name, empty if it is not known.
    pub name: String,
}
