//! The ways to die, and what is to be seen of each.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::libc;
use tempfile::TempDir;
use ttlog_reader::{Kind, Opened};

use crate::victim::{files, scratch};
use crate::{Violation, acks};

/// How many workers tell the story; the main thread is the first.
pub const WORKERS: u64 = 3;

/// The signals that end a process because of what it did.
pub const FATAL: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// A way to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// A return from `main`.
    Return,
    /// `exit`.
    Exit,
    /// `_exit`.
    UnderscoreExit,
    /// A panic of the main thread.
    PanicInMain,
    /// A panic of another thread, then a return from `main`.
    PanicInThread,
    /// A panic while another unwinds.
    DoublePanic,
    /// A panic of a program that aborts on one.
    PanicAbort,
    /// Panics that are caught, then a return from `main`.
    Caught,
    /// `abort`.
    Abort,
    /// One of the fatal signals, because of what the program did.
    Fault(i32),
    /// The same, sent.
    Sent(i32),
    /// A stack overflow of the main thread.
    OverflowInMain,
    /// A stack overflow of another.
    OverflowInThread,
    /// SIGTERM, for which the recorder was asked to wait.
    TermAsked,
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

impl Death {
    /// All of them.
    pub fn all() -> Vec<Death> {
        let mut all = vec![
            Death::Return,
            Death::Exit,
            Death::UnderscoreExit,
            Death::PanicInMain,
            Death::PanicInThread,
            Death::DoublePanic,
            Death::PanicAbort,
            Death::Caught,
            Death::Abort,
        ];
        // Only x86_64 has an instruction for each.
        let faults = FATAL.into_iter().filter(|signal| {
            cfg!(target_arch = "x86_64") || matches!(*signal, libc::SIGSEGV | libc::SIGBUS)
        });
        all.extend(faults.map(Death::Fault));
        all.extend(FATAL.map(Death::Sent));
        all.extend([
            Death::OverflowInMain,
            Death::OverflowInThread,
            Death::TermAsked,
            Death::Term,
            Death::Kill,
        ]);
        all
    }

    /// Its name, as the program `mortal` takes it.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The death with this name.
    pub fn from_name(name: &str) -> Option<Death> {
        Death::all().into_iter().find(|death| death.name() == name)
    }

    /// The verdict, and the signal in it.
    pub fn verdict(self) -> (Kind, Option<i32>) {
        match self {
            Death::Return | Death::Exit | Death::PanicInThread | Death::Caught => {
                (Kind::Ended, None)
            }
            Death::PanicInMain => (Kind::Panicked, None),
            Death::DoublePanic | Death::PanicAbort => (Kind::Panicked, Some(libc::SIGABRT)),
            Death::Abort | Death::OverflowInMain | Death::OverflowInThread => {
                (Kind::Signal, Some(libc::SIGABRT))
            }
            Death::Fault(signal) | Death::Sent(signal) => (Kind::Signal, Some(signal)),
            Death::TermAsked => (Kind::Terminated, Some(libc::SIGTERM)),
            Death::UnderscoreExit | Death::Term | Death::Kill => (Kind::Killed, None),
        }
    }

    /// The messages of its panics, in their order.
    pub fn panics(self) -> &'static [&'static str] {
        match self {
            Death::PanicInMain | Death::PanicAbort => &["main is at its wits' end"],
            Death::PanicInThread => &["a worker is at its wits' end"],
            Death::DoublePanic => &[
                "the first of two",
                "the second of two",
                "panic in a destructor during cleanup",
            ],
            Death::Caught => &["caught 0", "caught 1", "caught 2"],
            _ => &[],
        }
    }
}

/// A program `mortal` that is dead.
#[derive(Debug)]
pub struct Dead {
    /// How it ended, for whoever waits for it.
    pub status: ExitStatus,
    home: TempDir,
}

impl Dead {
    /// Runs `program` and waits until it is dead; the `run`th time, which changes
    /// particulars.
    pub fn of(program: &Path, death: Death, run: u64, recorded: bool) -> Dead {
        Dead::by(&mut Command::new(program), death, run, recorded)
    }

    /// The same by a program with an environment of its own.
    pub fn by(program: &mut Command, death: Death, run: u64, recorded: bool) -> Dead {
        let home = scratch();
        let recordings = home.path().join("recordings");
        program
            .arg(death.name())
            .arg(run.to_string())
            .arg(if recorded {
                recordings.as_os_str()
            } else {
                "-".as_ref()
            })
            .arg(home.path().join("acks"))
            .current_dir(home.path())
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = program.status().expect("it runs");
        Dead { status, home }
    }

    /// Its files of recordings and snapshots with this extension.
    pub fn files(&self, extension: &str) -> Vec<PathBuf> {
        let mut files = files(&self.home.path().join("recordings"));
        files.retain(|path| path.extension().is_some_and(|found| found == extension));
        files
    }

    /// Its recording.
    pub fn opened(&self) -> Result<Opened, Violation> {
        let files = self.files("ring");
        let [path] = files.as_slice() else {
            return Err(Violation::new(format!("one recording, not {files:?}")));
        };
        ttlog_reader::open(path).map_err(|error| Violation::new(error.to_string()))
    }

    /// How many events of each worker had returned.
    pub fn acks(&self) -> Vec<u64> {
        let file = File::open(self.home.path().join("acks")).expect("acknowledgements");
        acks::read(&file).expect("acknowledgements")
    }
}
