//! A process of the binary `daemon`, which asks for signals and obeys words.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;
use ttlog_reader::Opened;

use crate::victim::{files, forgets_the_recorder, scratch};

/// Where it leaves its recording, below the directory that it is given.
pub const RECORDINGS: &str = "recordings";

/// Where it leaves its snapshots.
pub const SNAPSHOTS: &str = "snapshots";

/// How long anything may take that will certainly come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
///
/// # Panics
/// If there is none for very long.
pub fn eventually<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A process of the binary `daemon`; killed, if it is not yet dead, when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    commands: ChildStdin,
    words: Receiver<String>,
    inner_pid: String,
    home: TempDir,
}

impl Daemon {
    /// Starts `program`, which asks for `asked`.
    pub fn start(program: &str, asked: &[&str]) -> Daemon {
        Daemon::start_after(":", program, asked)
    }

    /// Starts it in the place of a shell that has done `first`.
    pub fn start_after(first: &str, program: &str, asked: &[&str]) -> Daemon {
        Daemon::start_by(first, program, asked, Command::spawn).expect("the daemon starts")
    }

    /// Starts it in the place of a shell that has done `first`, which `spawn` starts;
    /// if it says that it could not, there is no daemon, but its words.
    ///
    /// # Errors
    /// What it says instead of being ready.
    pub fn start_by(
        first: &str,
        program: &str,
        asked: &[&str],
        spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
    ) -> Result<Daemon, String> {
        let home = scratch();
        let first = format!("{first} && exec \"$0\" \"$@\"");
        // Whoever is started in the background may have signals ignored.
        let mut command = Command::new("env");
        command
            .args(["--default-signal", "bash", "-c", &first, program])
            .arg(home.path())
            .args(asked)
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        forgets_the_recorder(&mut command);
        let mut child = spawn(&mut command).expect("a process");
        let commands = child.stdin.take().expect("piped");
        let words = heard(child.stdout.take().expect("piped"));
        let mut daemon = Daemon {
            child,
            commands,
            words,
            inner_pid: String::new(),
            home,
        };
        let said = daemon.says();
        if let Some(pid) = said.strip_prefix("ready ") {
            daemon.inner_pid = pid.to_owned();
            return Ok(daemon);
        }
        assert!(daemon.ends().success(), "{said}");
        assert_eq!(daemon.files(), [] as [&Path; 0], "{said}");
        Err(said)
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// If it prints none.
    pub fn says(&self) -> String {
        let line = self.words.recv_timeout(PATIENCE);
        line.unwrap_or_else(|error| panic!("the daemon said nothing: {error}"))
    }

    /// Has it do what `word` means; what it says to that.
    pub fn does(&mut self, word: &str) -> String {
        self.is_told(word);
        self.says()
    }

    /// Tells it `word`.
    pub fn is_told(&mut self, word: &str) {
        writeln!(self.commands, "{word}").expect("it listens");
    }

    /// Sends it `signal`.
    pub fn receives(&self, signal: Signal) {
        signal::kill(self.pid(), signal).expect("a signal for the daemon");
    }

    /// Ends it by `signal`, and waits until it is gone.
    pub fn dies_by(&mut self, signal: Signal) -> ExitStatus {
        self.receives(signal);
        self.ends()
    }

    /// Waits until it has ended.
    pub fn ends(&mut self) -> ExitStatus {
        eventually("the daemon's end", || {
            self.child.try_wait().expect("a child")
        })
    }

    /// Kills it, and lets its corpse lie.
    pub fn dies_and_is_not_waited_for(&self) {
        self.receives(Signal::SIGKILL);
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        eventually("the daemon's death", || {
            let status = waitid(Id::Pid(self.pid()), look).expect("a child");
            (status != WaitStatus::StillAlive).then_some(())
        });
    }

    /// Its process id, for whoever started it.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Its process id, as it knows it.
    pub fn inner_pid(&self) -> &str {
        &self.inner_pid
    }

    /// What /proc tells of it, or of one of its threads, under `name`.
    pub fn status(&self, thread: &Path, name: &str) -> String {
        let path = thread.join("status");
        let text = std::fs::read_to_string(&path).expect("proc(5)");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.strip_prefix(':'));
        value.expect("such a line").trim().to_owned()
    }

    /// Its directory in /proc.
    pub fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.pid().to_string())
    }

    /// The set of signals that /proc tells under `name`.
    pub fn signals(&self, thread: &Path, name: &str) -> BTreeSet<i32> {
        let mask = u64::from_str_radix(&self.status(thread, name), 16).expect("a mask");
        (1..=64).filter(|n| mask >> (n - 1) & 1 == 1).collect()
    }

    /// The signals that it has a handler for.
    pub fn caught(&self) -> BTreeSet<i32> {
        self.signals(&self.proc(), "SigCgt")
    }

    /// Its threads, by name.
    pub fn threads(&self) -> Vec<(String, PathBuf)> {
        let tasks = files(&self.proc().join("task")).into_iter();
        let named = tasks.filter_map(|task| {
            let name = std::fs::read_to_string(task.join("comm")).ok()?;
            Some((name.trim_end().to_owned(), task))
        });
        named.collect()
    }

    /// Where its files are.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// All that it has left behind.
    pub fn files(&self) -> Vec<PathBuf> {
        let directories = [RECORDINGS, SNAPSHOTS].map(|name| files(&self.home().join(name)));
        directories.concat()
    }

    /// Its one recording's path.
    pub fn path(&self) -> PathBuf {
        let paths = files(&self.home().join(RECORDINGS));
        let [path] = paths.as_slice() else {
            panic!("one recording, not {paths:?}")
        };
        path.clone()
    }

    /// Its one recording, opened.
    pub fn recording(&self) -> Opened {
        opened(&self.path())
    }

    /// Its snapshots, as soon as there are so many.
    pub fn snapshots(&self, count: usize) -> Vec<Opened> {
        let paths = eventually("a snapshot", || {
            let mut paths = files(&self.home().join(SNAPSHOTS));
            paths.retain(|path| path.extension().is_some_and(|it| it == "bin"));
            (paths.len() >= count).then_some(paths)
        });
        assert_eq!(paths.len(), count, "{paths:?}");
        paths.iter().map(|path| opened(path)).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What can be read of a file.
///
/// # Panics
/// If it cannot be read.
pub fn opened(path: &Path) -> Opened {
    ttlog_reader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The signal that a process died of, or else the status that it exited with.
pub fn end(status: ExitStatus) -> Result<i32, i32> {
    status
        .signal()
        .ok_or_else(|| status.code().expect("one or the other"))
}

/// The lines of a pipe, read aside so that waiting for one can have a bound.
fn heard(pipe: ChildStdout) -> Receiver<String> {
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(pipe).lines();
        lines
            .map_while(Result::ok)
            .all(|line| say.send(line).is_ok())
    });
    hear
}
