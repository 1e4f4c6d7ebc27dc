//! Processes of the binary `mayfly`, each of which says one thing and dies, and the
//! directories that all of them share.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use tempfile::TempDir;
use ttlog_format::value::Value;
use ttlog_reader::Opened;

use crate::build;
use crate::check;
use crate::victim::{files, forgets_the_recorder, scratch};

/// What becomes of one that has said its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It kills itself.
    Killed,
    /// It aborts.
    Aborts,
    /// It panics.
    Panics,
    /// It returns from `main`.
    Exits,
    /// It leaves a child that does nothing, and kills itself.
    Forks,
    /// It waits for its end, and kills itself.
    Waits,
    /// The same, but before it begins it waits for a word.
    AtOnce,
    /// It closes its descriptors, waits for its end, and kills itself.
    Closes,
}

impl Fate {
    const ALL: [Fate; 8] = [
        Fate::Killed,
        Fate::Aborts,
        Fate::Panics,
        Fate::Exits,
        Fate::Forks,
        Fate::Waits,
        Fate::AtOnce,
        Fate::Closes,
    ];

    /// The one that is called so.
    pub fn from_name(name: &str) -> Option<Fate> {
        Fate::ALL
            .into_iter()
            .find(|fate| format!("{fate:?}") == name)
    }
}

/// How much of what is old stays, if it is said.
pub type Retain = Option<(usize, u64)>;

/// The directories of a swarm, and how to start one of it.
#[derive(Debug)]
pub struct Swarm {
    program: PathBuf,
    home: TempDir,
    bug: Option<&'static str>,
}

impl Swarm {
    /// One in new directories.
    pub fn new(program: impl Into<PathBuf>) -> Swarm {
        let program = program.into();
        let home = scratch();
        let bug = None;
        let swarm = Swarm { program, home, bug };
        for directory in [swarm.recordings(), swarm.snapshots()] {
            std::fs::create_dir(directory).expect("a directory");
        }
        swarm
    }

    /// One of a program whose recorders do this bug.
    pub fn with_bug(program: impl Into<PathBuf>, bug: &'static str) -> Swarm {
        let bug = Some(bug);
        let swarm = Swarm::new(program);
        Swarm { bug, ..swarm }
    }

    /// Where they leave recordings.
    pub fn recordings(&self) -> PathBuf {
        self.home.path().join("recordings")
    }

    /// Where they leave snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.home.path().join("snapshots")
    }

    /// A place for what a test needs besides.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts one.
    pub fn start(&self, fate: Fate, number: u64, retain: Retain) -> Mayfly {
        self.start_by(fate, number, retain, Command::spawn)
    }

    /// Starts one in the place of a shell that has done `first`.
    pub fn start_after(&self, first: &str, fate: Fate, number: u64, retain: Retain) -> Mayfly {
        let script = format!("{first} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).arg(&self.program);
        self.start_as(shell, fate, number, retain, Command::spawn)
    }

    /// Starts one, which `spawn` does.
    pub fn start_by(
        &self,
        fate: Fate,
        number: u64,
        retain: Retain,
        spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
    ) -> Mayfly {
        self.start_as(Command::new(&self.program), fate, number, retain, spawn)
    }

    fn start_as(
        &self,
        mut command: Command,
        fate: Fate,
        number: u64,
        retain: Retain,
        spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
    ) -> Mayfly {
        command.args([format!("{fate:?}"), number.to_string()]);
        command.arg(self.home.path());
        if let Some((count, bytes)) = retain {
            command.args([count.to_string(), bytes.to_string()]);
        }
        forgets_the_recorder(&mut command);
        command.envs(self.bug.map(|bug| (build::BUG, bug)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if fate == Fate::Panics {
            command.stderr(Stdio::null());
        }
        let mut child = spawn(&mut command).expect("a mayfly");
        Mayfly {
            number,
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    /// Starts one and waits until it is dead; where its recording was.
    pub fn lives_and_dies(&self, fate: Fate, number: u64, retain: Retain) -> PathBuf {
        let mut mayfly = self.start(fate, number, retain);
        let path = mayfly.path();
        mayfly.dies();
        path
    }

    /// The recordings there are, in the order of their age.
    pub fn old(&self) -> Vec<PathBuf> {
        let mut old = files(&self.recordings());
        old.sort_by_key(|path| age(path));
        old
    }
}

/// What orders recordings by their age: the timestamp in their name, and the pid.
///
/// # Panics
/// If it is no recording's name.
pub fn age(path: &Path) -> (u64, u64) {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let numbers = stem.and_then(|stem| stem.strip_prefix("ttlog-")?.split_once('-'));
    let number = |text: &str| text.parse().expect("a number");
    let (pid, stamp) = numbers.expect("a recording's name");
    (number(stamp), number(pid))
}

/// Bytes that files take, of those that are still there.
pub fn taken(paths: &[PathBuf]) -> u64 {
    let taken = |path| std::fs::metadata(path).map_or(0, |file| file.blocks() * 512);
    paths.iter().map(taken).sum()
}

/// One of a swarm; killed, if it is not yet dead, when dropped.
#[derive(Debug)]
pub struct Mayfly {
    number: u64,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Mayfly {
    /// The number in its word.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Lets it begin.
    pub fn begins(&mut self) {
        let stdin = self.stdin.as_mut().expect("it was not told to die");
        stdin.write_all(b"!").expect("it listens");
    }

    /// The next line that it prints.
    pub fn says(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("its words");
        assert!(!line.is_empty(), "{} said nothing", self.number);
        line.trim_end().to_owned()
    }

    /// The path that it says first.
    pub fn path(&mut self) -> PathBuf {
        self.says().into()
    }

    /// Tells it to die, and waits until it has.
    pub fn dies(&mut self) -> ExitStatus {
        self.stdin = None;
        self.child.wait().expect("its end")
    }
}

impl Drop for Mayfly {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers that a recording tells.
pub fn numbers(opened: &Opened) -> Vec<u64> {
    let recording = &opened.recording;
    let entries = recording.entries.iter();
    let fields = entries.flat_map(|entry| check::named(recording, entry.site, &entry.fields));
    let number = |(name, value)| match value {
        Value::U64(number) if name == "number" => Some(number),
        _ => None,
    };
    fields.filter_map(number).collect()
}
