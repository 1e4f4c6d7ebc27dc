//! A program that was killed in the middle of a scene, what the reader exports of it, and
//! what others read there.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal::SIGKILL;
use serde_json::Value;
use tempfile::TempDir;

use crate::plan::{Adapter, Plan, What};
use crate::victim::{Victim, scratch};
use crate::{Violation, reader};

pub use told::Told;

mod told;

/// A recording of the program `scene`, and a directory for what is made of it.
#[derive(Debug)]
pub struct Scene {
    program: PathBuf,
    victim: Victim,
    desk: TempDir,
}

impl Scene {
    /// Kills the program at its last words.
    pub fn killed(program: &str, adapter: Adapter) -> Scene {
        let plan = Plan::new(What::Wait).adapter(adapter);
        let mut victim = Victim::start(program, &plan);
        victim.until("done");
        victim.dies_by(SIGKILL);
        Scene {
            program: program.into(),
            victim,
            desk: scratch(),
        }
    }

    /// What the reader prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn reader(&self, args: &[&str]) -> Vec<u8> {
        let output = self.run(args);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {words}", output.status);
        output.stdout
    }

    /// Runs the reader on the recording.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(reader::program(&self.program))
            .args(args)
            .arg(self.victim.path())
            .output()
            .expect("ttlog-reader runs")
    }

    /// Exports in a format into the directory, and gives the path that was printed.
    ///
    /// # Panics
    /// If that fails.
    pub fn export(&self, format: &str, args: &[&str]) -> PathBuf {
        let desk = self.desk.path().to_str().expect("UTF-8");
        let mut all = vec!["export", "--format", format, "-o", desk];
        all.extend(args);
        let printed = String::from_utf8(self.reader(&all)).expect("UTF-8");
        printed.strip_suffix('\n').expect("a line").into()
    }

    /// The lines of `view -o json`.
    ///
    /// # Panics
    /// If that fails.
    pub fn view(&self, args: &[&str]) -> Vec<Value> {
        let mut all = vec!["view"];
        all.extend(args);
        let program = self.program.to_str().expect("UTF-8");
        reader::json(program, &all, &self.victim.path())
    }

    /// So much before the end that the second half of the scene lies in it, and nothing of
    /// the first: a sixth of the pause between them more than it took.
    ///
    /// # Panics
    /// If there is no second half.
    pub fn length_of_second_half(&self) -> String {
        let lines = self.view(&["--spans"]);
        let begins = |line: &&Value| line["fields"]["message"] == "the second half begins";
        let begin = lines.iter().find(begins).expect("a second half");
        let last = lines.last().expect("a last line");
        let length_ns = between_ns(begin, last);
        format!("{}ms", length_ns / 1_000_000 + 50)
    }

    /// How the exports of this recording begin, in the directory or out of it.
    ///
    /// # Panics
    /// If the recording has no such name.
    pub fn stem(&self) -> String {
        let path = self.victim.path();
        let stem = path.file_stem().and_then(OsStr::to_str);
        stem.expect("a name").to_owned()
    }

    /// The recording's path.
    pub fn recording(&self) -> PathBuf {
        self.victim.path()
    }

    /// The program's process id.
    pub fn pid(&self) -> i32 {
        self.victim.pid().as_raw()
    }

    /// A path in the directory of exports.
    pub fn path(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    /// What is in the directory of exports.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.desk.path()).expect("a directory");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        entries
            .map(|entry| name(entry.expect("an entry")))
            .collect()
    }
}

/// When a line of `view -o json` was, in nanoseconds since the day began.
///
/// # Panics
/// If it does not say so.
pub fn moment_ns(line: &Value) -> u64 {
    let moment = line["timestamp"].as_str().expect("a timestamp");
    let digits = |at: std::ops::Range<usize>| moment[at].parse::<u64>().expect("digits");
    let minutes = digits(11..13) * 60 + digits(14..16);
    (minutes * 60 + digits(17..19)) * 1_000_000_000 + digits(20..29)
}

/// How long after a line another was, at most a day.
pub fn between_ns(line: &Value, later: &Value) -> u64 {
    const DAY_NS: u64 = 86_400_000_000_000;
    (moment_ns(later) + DAY_NS - moment_ns(line)) % DAY_NS
}

/// A word that is heard even where a test that passes is not.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// The Python that a run brings along, else the one that is there, if it can import what is
/// named.
pub fn python(imports: &str) -> Option<PathBuf> {
    let brought = std::env::var_os("TTLOG_TESTS_PYTHON").map(PathBuf::from);
    let python = brought.unwrap_or_else(|| "python3".into());
    has(Command::new(&python).args(["-c", &format!("import {imports}")])).then_some(python)
}

/// Where the npm package of speedscope is, as a run says, if there is a Node to run it.
pub fn speedscope() -> Option<PathBuf> {
    let speedscope = std::env::var_os("TTLOG_TESTS_SPEEDSCOPE").map(PathBuf::from);
    speedscope.filter(|_| has(Command::new("node").arg("--version")))
}

/// The Python that has babeltrace2 read, if that is there.
pub fn babeltrace() -> Option<PathBuf> {
    let python = python("json, re, subprocess");
    python.filter(|_| has(Command::new("babeltrace2").arg("--version")))
}

/// Whether a program is there and succeeds.
pub fn has(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// What a script of `tests/exports` reads, as JSON.
///
/// # Errors
/// It fails: what it says.
///
/// # Panics
/// If it cannot be run, or prints no JSON.
pub fn read_by(program: &Path, script: &str, args: &[&OsStr]) -> Result<Value, Violation> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports");
    let output = Command::new(program)
        .arg(here.join(script))
        .args(args)
        .output()
        .expect("it runs");
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Violation::new(words.into_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout).expect("JSON"))
}
