//! A process of the binary `guest`, which records in whatever surroundings it is put
//! into, and the same process without a recorder: both must do and end alike.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::unistd::Pid;
use tempfile::TempDir;
use ttlog_reader::Opened;

use crate::acks;
use crate::daemon::{end, eventually, opened};
use crate::victim::{files, forgets_the_recorder, scratch};

/// The status that it exits with when nothing has gone wrong.
pub const STATUS: i32 = 7;

/// How many of its threads tell the story.
pub const WORKERS: u64 = 2;

/// How many events of a worker have returned before it counts how often it waits.
pub const WARM: u64 = 2000;

/// How long nothing is said where it stands still.
const STILL: Duration = Duration::from_millis(100);

/// How long it may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// The surroundings of a guest, and what it does there first.
#[derive(Clone, Debug)]
pub struct Setup {
    program: String,
    directory: Option<PathBuf>,
    words: Vec<String>,
    first: String,
    starter: &'static str,
    capacity_mib: u32,
    environment: Vec<(&'static str, String)>,
    confined: bool,
}

impl Setup {
    /// A guest that records 1 MiB in this directory.
    pub fn in_directory(program: &str, directory: impl Into<PathBuf>) -> Setup {
        Setup {
            program: program.to_owned(),
            directory: Some(directory.into()),
            words: vec!["start".to_owned()],
            first: ":".to_owned(),
            starter: "exec",
            capacity_mib: 1,
            environment: Vec::new(),
            confined: false,
        }
    }

    /// A guest that records where recorders do by default, in a mount namespace of
    /// its own.
    pub fn in_the_default_place(program: &str) -> Setup {
        Setup {
            directory: None,
            confined: true,
            ..Setup::in_directory(program, "")
        }
    }

    /// It asks for so large a recording.
    pub fn capacity_mib(self, capacity_mib: u32) -> Setup {
        Setup {
            capacity_mib,
            ..self
        }
    }

    /// A shell does this first, in the place of which it then is.
    pub fn after(self, first: impl Into<String>) -> Setup {
        Setup {
            first: first.into(),
            ..self
        }
    }

    /// It obeys these words before it says that it is ready; `start` is one of them.
    pub fn obeying(self, words: &[&str]) -> Setup {
        Setup {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            ..self
        }
    }

    /// It is started by this command instead of the shell's `exec`.
    pub fn by(self, starter: &'static str) -> Setup {
        Setup { starter, ..self }
    }

    /// With this in its environment.
    pub fn env(mut self, key: &'static str, value: impl Into<String>) -> Setup {
        self.environment.push((key, value.into()));
        self
    }

    /// Another program.
    pub fn program(self, program: &Path) -> Setup {
        Setup {
            program: program.display().to_string(),
            ..self
        }
    }

    /// Has a guest without a recorder live through `history`, and then one with a
    /// recorder, if it can have one: both must say and end the same. The second.
    #[track_caller]
    pub fn same(&self, history: impl Fn(&mut Guest)) -> Guest {
        let [without, with] = [false, true].map(|recorder| {
            let mut guest = Guest::start(self, recorder);
            history(&mut guest);
            guest.ends();
            guest
        });
        let (end, expected) = (with.end(), without.end());
        let differs = (0..).find(|&line| {
            let [line, other] = [end, expected].map(|end| end.stdout.get(line));
            line.is_none() || line != other
        });
        assert!(
            end == expected,
            "{}: {:?}, {:?}; without: {:?}, {:?}; from line {differs:?} of {} on",
            with.outcome_in_words(),
            end.status,
            end.stderr,
            expected.status,
            expected.stderr,
            end.stdout.len()
        );
        with
    }

    /// The same of a guest that stays well, and has a recorder.
    #[track_caller]
    pub fn records(&self, history: impl Fn(&mut Guest)) -> Guest {
        let guest = self.same(history);
        guest.is_well();
        assert!(guest.outcome().is_ok(), "{}", guest.outcome_in_words());
        guest
    }

    /// The same of a guest that stays well, and can have no recorder: why.
    #[track_caller]
    pub fn is_refused(&self) -> String {
        let guest = self.same(|guest| guest.goes_on(WARM));
        guest.is_well();
        let outcome = guest.outcome();
        outcome.expect_err("an error, and not a recording")
    }
}

/// How a process ended, as far as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The signal, or else the status.
    pub status: Result<i32, i32>,
    /// The lines that it printed.
    pub stdout: Vec<String>,
    /// What it said besides, without the numbers, which are its own.
    pub stderr: String,
}

/// How a worker's events went, once it was warm.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// How many.
    pub events: u64,
    /// How often it gave its processor up of itself: slept in the kernel.
    pub sleeps: u64,
    /// The longest call, whoever was to blame.
    pub longest_ns: u64,
}

/// A process of the binary `guest`; killed, if it is not yet dead, when dropped.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    commands: Option<ChildStdin>,
    words: Receiver<String>,
    heard: Vec<String>,
    errors: Option<JoinHandle<String>>,
    end: Option<End>,
    confined: bool,
    home: TempDir,
}

impl Guest {
    fn start(setup: &Setup, recorder: bool) -> Guest {
        // What a namespace mounts on /dev/shm must not hide it.
        let home = if setup.confined {
            tempfile::tempdir().expect("a directory")
        } else {
            scratch()
        };
        let mut command = Command::new(if setup.confined { "unshare" } else { "env" });
        if setup.confined {
            command.args(["--mount", "--propagation", "private"]);
        }
        let first = format!("{} && {} \"$0\" \"$@\"", setup.first, setup.starter);
        command
            .args(["bash", "-c", &first, &setup.program])
            .arg(match (recorder, &setup.directory) {
                (false, _) => Path::new("without"),
                (true, None) => Path::new("default"),
                (true, Some(directory)) => directory,
            })
            .args(&setup.words)
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        forgets_the_recorder(&mut command);
        command.env("TTLOG_CAPACITY_MIB", setup.capacity_mib.to_string());
        command.env("TMPDIR", home.path());
        let environment = setup.environment.iter();
        command.envs(environment.map(|(key, value)| (key, value)));
        let mut child = command.spawn().expect("a process");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut stderr = child.stderr.take().expect("piped");
        let (say, words) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = stdout.lines().map_while(Result::ok);
            lines.all(|line| say.send(line).is_ok())
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut guest = Guest {
            commands: child.stdin.take(),
            child,
            words,
            heard: Vec::new(),
            errors: Some(errors),
            end: None,
            confined: setup.confined,
            home,
        };
        while guest.says() != "ready" {}
        guest
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// If it prints none.
    pub fn says(&mut self) -> String {
        let Ok(word) = self.words.recv_timeout(PATIENCE) else {
            let _ = self.child.kill();
            let errors = self.errors.take().map(JoinHandle::join);
            panic!("the guest said {:?}, and then {errors:?}", self.heard);
        };
        self.heard.push(word.clone());
        word
    }

    /// Tells it `word`, which may be its end.
    pub fn is_told(&mut self, word: &str) {
        let commands = self.commands.as_mut().expect("it listens still");
        let _ = writeln!(commands, "{word}");
    }

    /// Has it do what `word` means; what it says to that.
    pub fn does(&mut self, word: &str) -> String {
        self.is_told(word);
        self.says()
    }

    /// Waits until each of its workers has said so many events more.
    ///
    /// # Panics
    /// If they do not.
    pub fn goes_on(&mut self, events: u64) {
        let before = self.acks();
        eventually("more events", || {
            let ended = self.child.try_wait().expect("a child");
            assert_eq!(ended, None, "it was to go on");
            let now = self.acks();
            let all = (1..=WORKERS as usize).all(|n| now[n] >= before[n] + events);
            all.then_some(())
        });
    }

    /// Waits until none of its workers says anything.
    ///
    /// # Panics
    /// If they go on.
    pub fn stands_still(&self) {
        eventually("silence", || {
            let before = self.acks();
            std::thread::sleep(STILL);
            (self.acks() == before).then_some(())
        });
    }

    /// How many events of each worker have returned.
    pub fn acks(&self) -> Vec<u64> {
        let file = std::fs::File::open(self.home.path().join("acks"));
        acks::read(&file.expect("acknowledgements")).expect("acknowledgements")
    }

    /// Waits until it has ended, though it might be told more.
    pub fn is_gone(&mut self) {
        eventually("the guest's end", || {
            self.child.try_wait().expect("a child")
        });
    }

    /// Tells it nothing more, and waits until it has ended.
    pub fn ends(&mut self) -> &End {
        drop(self.commands.take());
        let status = eventually("the guest's end", || {
            self.child.try_wait().expect("a child")
        });
        self.heard.extend(self.words.iter());
        let errors = self.errors.take().expect("it has ended once");
        let mut stderr = errors.join().expect("no panic");
        stderr.retain(|letter| !letter.is_ascii_digit());
        self.end.insert(End {
            status: end(status),
            stdout: std::mem::take(&mut self.heard),
            stderr,
        })
    }

    /// How it ended.
    pub fn end(&self) -> &End {
        self.end.as_ref().expect("it has ended")
    }

    /// Checks that it did all that it was to do.
    #[track_caller]
    pub fn is_well(&self) {
        let End { status, stdout, .. } = self.end();
        assert_eq!(*status, Err(STATUS), "{:?}", self.end());
        assert_eq!(stdout.last().map(String::as_str), Some("told"));
    }

    /// Where it records, or why it does not.
    ///
    /// # Errors
    /// The error's text.
    pub fn outcome(&self) -> Result<PathBuf, String> {
        match self.note("recording") {
            Some(path) => Ok(path.into()),
            None => Err(self.note("error").expect("a recording, or an error")),
        }
    }

    /// Whether it has a recorder.
    pub fn has_recorder(&self) -> bool {
        self.note("recording").is_some()
    }

    fn outcome_in_words(&self) -> String {
        let of = |note| self.note(note).unwrap_or_default();
        format!("recording {:?}, error {:?}", of("recording"), of("error"))
    }

    /// What it has written down under a name.
    pub fn note(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.home.path().join(name)).ok()
    }

    /// Its one recording's path, or that of a copy, where only it could see it.
    pub fn path(&self) -> PathBuf {
        let path = self.outcome().unwrap_or_else(|error| panic!("{error}"));
        if self.confined {
            return self.home.path().join("copy");
        }
        path
    }

    /// Its one recording, opened.
    pub fn recording(&self) -> Opened {
        opened(&self.path())
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// The directory of its notes.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The snapshots that it has made.
    pub fn snapshots(&self) -> Vec<PathBuf> {
        files(&self.home().join("snapshots"))
    }

    /// How often its workers slept.
    pub fn sleeps(&self) -> u64 {
        self.waits().iter().map(|waits| waits.sleeps).sum()
    }

    /// How its workers' events went.
    pub fn waits(&self) -> Vec<Waits> {
        let of = |worker| {
            let note = self.note(&format!("worker-{worker}"))?;
            let mut numbers = note.split(' ').map(|number| number.parse().ok());
            Some(Waits {
                events: numbers.next()??,
                sleeps: numbers.next()??,
                longest_ns: numbers.next()??,
            })
        };
        let waits = (1..=WORKERS).map(of);
        waits.map(|waits| waits.expect("three numbers")).collect()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
