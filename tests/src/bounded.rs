//! Inputs that were made to be dear, and what reading each takes.
//!
//! The law: whatever the input, the reader takes [`MOST_KIB`] of memory at most, and goes
//! over it in time that grows as it does. Small files stand for what would be big ones:
//! sparse, or compressed.

mod filters;
mod recordings;
mod snapshots;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ttlog_format::salvage::{Source, Stream};

use crate::made::Made;
use crate::peak::{Used, used};

/// KiB that the reader may have in memory, whatever it reads.
pub const MOST_KIB: u64 = 64 << 10;

/// What is taken for hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is run over an input: all commands that read one.
pub const COMMANDS: [&[&str]; 16] = [
    &["view"],
    &["view", "--spans", "-o", "full"],
    &["view", "-o", "json", "-r"],
    &["info"],
    &["info", "-o", "json"],
    &["stats"],
    &["spans"],
    &["postmortem"],
    &["postmortem", "-o", "json"],
    &["export", "--all", "-o", "-", "--format", "jsonl"],
    &["export", "--all", "-o", "-", "--format", "csv"],
    &["export", "--all", "-o", "-", "--format", "chrome"],
    &["export", "--all", "-o", "-", "--format", "perfetto"],
    &["export", "--all", "-o", "-", "--format", "bin"],
    &["export", "--all", "-o", CTF, "--format", "ctf"],
    &["list", "-o", "json"],
];

/// Stands for a directory that is not there yet.
const CTF: &str = "DIRECTORY";

/// An input that was made to be dear.
pub struct Case {
    /// What it is.
    pub name: &'static str,
    /// Writes it.
    pub make: fn(&Path),
}

/// All inputs.
pub fn cases() -> Vec<Case> {
    [recordings::cases(), snapshots::cases()].concat()
}

impl Clone for Case {
    fn clone(&self) -> Case {
        Case {
            name: self.name,
            make: self.make,
        }
    }
}

/// What a command took for an input.
#[derive(Debug)]
pub struct Outcome {
    /// Of which input.
    pub case: &'static str,
    /// Which command.
    pub command: String,
    /// Where the input is, as long as it is told of.
    pub path: PathBuf,
    /// What it took.
    pub used: Used,
    /// For how long.
    pub took: Duration,
}

impl Outcome {
    /// What is wrong with it, if anything is: it took too much, hung, or did not end as a
    /// command does.
    pub fn fault(&self) -> Option<String> {
        let what = match self.used.status {
            None => "hung".to_owned(),
            Some(status) if !(status & 0x7f == 0 && status >> 8 <= 3) => {
                format!("ended with wait status {status:#x}")
            }
            Some(_) if self.used.kib > MOST_KIB => format!("took {} KiB", self.used.kib),
            Some(_) => return None,
        };
        Some(format!("{}, {}: it {what}", self.case, self.command))
    }
}

/// What is run: the reader, and who makes its inputs, since the memory of whoever starts a
/// program is counted as the program's.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'p> {
    /// `ttlog-reader`.
    pub reader: &'p Path,
    /// The binary `hostile`.
    pub maker: &'p Path,
}

/// Has the reader read an input with these commands.
///
/// # Panics
/// If there is no room for it.
pub fn read(
    programs: Programs<'_>,
    case: &Case,
    commands: impl IntoIterator<Item = &'static [&'static str]>,
    home: &Path,
    mut tell: impl FnMut(&Outcome),
) {
    let path = made(programs, case, home);
    let reader = programs.reader;
    for command in commands {
        let outcome = read_by(reader, case.name, command, &path, home);
        tell(&outcome);
    }
    std::fs::remove_file(path).expect("the input is there");
}

/// Makes an input.
///
/// # Panics
/// If there is no room for it.
pub fn made(programs: Programs<'_>, case: &Case, home: &Path) -> PathBuf {
    let path = home.join("ttlog-7-1700000000000.ring");
    let mut maker = Command::new(programs.maker);
    let maker = maker.args(["make", case.name]).arg(&path);
    assert!(maker.status().expect("it runs").success(), "{}", case.name);
    path
}

fn read_by(
    reader: &Path,
    case: &'static str,
    command: &[&str],
    path: &Path,
    home: &Path,
) -> Outcome {
    let traces = home.join("traces");
    let arguments: Vec<PathBuf> = command
        .iter()
        .map(|&word| match word {
            CTF => traces.clone(),
            word => word.into(),
        })
        .collect();
    let input = if command[0] == "list" { home } else { path };
    let begun = Instant::now();
    let mut command_line = Command::new(reader);
    command_line
        .args(arguments)
        .arg(input)
        .stderr(Stdio::null());
    let used = used(&mut command_line, PATIENCE);
    let took = begun.elapsed();
    let _ = std::fs::remove_dir_all(&traces);
    Outcome {
        case,
        command: command.join(" "),
        path: path.to_owned(),
        used,
        took,
    }
}

/// Has `reader` take filters that were made to be dear; of a small recording.
pub fn filter(reader: &Path, home: &Path, mut tell: impl FnMut(&Outcome)) {
    let path = home.join("ttlog-7-1700000000001.ring");
    std::fs::write(&path, crate::made::story().bytes).expect("room");
    for (name, flag, typed) in filters::cases() {
        let begun = Instant::now();
        let mut command = Command::new(reader);
        let used = used(
            command.arg("view").arg(flag).arg(typed).arg(&path),
            PATIENCE,
        );
        tell(&Outcome {
            case: name,
            command: format!("view {flag}"),
            path: path.clone(),
            used,
            took: begun.elapsed(),
        });
    }
    std::fs::remove_file(path).expect("the input is there");
}

/// Has the reader read all inputs, each with every `nth` of the commands, and that in turn:
/// 1 is all of them. Gives how many there were, and what is wrong.
///
/// # Panics
/// If there is no room for them.
pub fn run(
    programs: Programs<'_>,
    nth: usize,
    home: &Path,
    mut tell: impl FnMut(&Outcome),
) -> (usize, Vec<String>) {
    let (mut count, mut faults) = (0, Vec::new());
    let mut take = |outcome: &Outcome| {
        tell(outcome);
        count += 1;
        faults.extend(outcome.fault());
    };
    for (number, case) in cases().iter().enumerate() {
        let commands = COMMANDS.into_iter().skip(number % nth).step_by(nth);
        read(programs, case, commands, home, &mut take);
    }
    filter(programs.reader, home, &mut take);
    (count, faults)
}

/// What going over a recording takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes that were read, some of them more than once.
    pub read: u64,
    /// Entries that were told.
    pub entries: u64,
}

/// Goes over recordings of so many blocks, each dear in another way.
///
/// # Panics
/// If one cannot be read.
pub fn work(blocks: u32) -> Vec<(&'static str, Work)> {
    let of = |(name, made): (&'static str, Made)| {
        let source = Counting {
            bytes: made.bytes,
            read: AtomicU64::new(0),
        };
        let mut stream = Stream::open(&source).expect("a recording");
        let mut entries = 0;
        while stream.tell().expect("bytes in memory") {
            entries += 1;
        }
        let work = Work {
            bytes: source.bytes.len() as u64,
            read: source.read.load(Relaxed),
            entries,
        };
        (name, work)
    };
    recordings::growing(blocks).map(of).into()
}

/// Bytes of which it is counted how many are read.
struct Counting {
    bytes: Vec<u8>,
    read: AtomicU64,
}

impl Source for Counting {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let found = self.bytes.read_at(buffer, offset)?;
        self.read.fetch_add(found as u64, Relaxed);
        Ok(found)
    }

    fn len(&self) -> io::Result<u64> {
        Source::len(&self.bytes)
    }
}
