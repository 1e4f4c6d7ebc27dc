//! A process of the binary `powered`, which records on a disk whose power is cut.
//!
//! Its workers tell the story, and note for each event when its call had returned; its
//! main thread notes what the recorder's numbers say. Both in a mapping of its own,
//! which is in memory, and no disk's.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use tempfile::TempDir;
use ttlog::Stats;

use crate::acks::Acks;
use crate::plan::Adapter;
use crate::victim::{files, forgets_the_recorder, scratch};

/// The status that it ends with.
pub const STATUS: u8 = 7;

/// The most workers.
pub const WORKERS: u64 = 2;

/// Of so many events of each worker it is known when they had returned.
const TIMES: u64 = 1 << 17;

/// What it is to do.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Which adapter it records by.
    pub adapter: Adapter,
    /// How often the recording is written to its disk; if at all.
    pub interval: Option<Duration>,
    /// The recording's capacity.
    pub capacity_mib: u32,
    /// How long a turn of eight events takes, at least.
    pub turn: Duration,
}

impl Task {
    /// The task as arguments, of which [`Task::from_args`] makes it again.
    fn to_args(self) -> [String; 4] {
        [
            u64::from(self.adapter == Adapter::Layer),
            self.interval
                .map_or(0, |interval| interval.as_micros() as u64),
            u64::from(self.capacity_mib),
            self.turn.as_micros() as u64,
        ]
        .map(|number| number.to_string())
    }

    /// The task that these arguments are.
    ///
    /// # Panics
    /// If these are no such arguments.
    pub fn from_args(args: &[String]) -> Task {
        let number = |arg: &String| arg.parse::<u64>().expect("a number for a task");
        let numbers: Vec<u64> = args.iter().map(number).collect();
        let &[layer, interval_us, capacity_mib, turn_us] = numbers.as_slice() else {
            panic!("a task has four numbers: {args:?}");
        };
        Task {
            adapter: if layer == 1 {
                Adapter::Layer
            } else {
                Adapter::Own
            },
            interval: (interval_us > 0).then(|| Duration::from_micros(interval_us)),
            capacity_mib: capacity_mib as u32,
            turn: Duration::from_micros(turn_us),
        }
    }
}

/// What is noted, in words: the recorder's numbers, whether to end, and for each worker
/// how many events have returned, and when the last of them.
#[derive(Debug)]
pub struct Notes(Acks);

/// The words of the recorder's numbers.
mod word {
    pub(super) const AT: u64 = 0;
    pub(super) const SYNCS: u64 = 1;
    pub(super) const FAILED: u64 = 2;
    pub(super) const LONGEST: u64 = 3;
    pub(super) const END: u64 = 4;
    pub(super) const OF_WORKERS: u64 = 8;
}

/// The recorder's numbers at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// When they were so, by the monotonic clock.
    pub at_ns: u64,
    /// Times that the recording was written.
    pub syncs: u64,
    /// Times that it failed.
    pub failed_syncs: u64,
    /// The longest that one took.
    pub longest_sync_ns: u64,
}

impl Notes {
    /// New ones in a file at `path`.
    ///
    /// # Panics
    /// If there is none to be had.
    pub fn create(path: &Path) -> Notes {
        let words = word::OF_WORKERS + WORKERS * (1 + TIMES);
        Notes(Acks::create_with(path, words as usize).expect("notes"))
    }

    /// Those that another process has made.
    ///
    /// # Panics
    /// If there are none.
    pub fn open(path: &Path) -> Notes {
        Notes(Acks::open(path).expect("notes"))
    }

    fn base(worker: u64) -> u64 {
        assert!((1..=WORKERS).contains(&worker));
        word::OF_WORKERS + (worker - 1) * (1 + TIMES)
    }

    /// A worker's first `count` events have returned, the last of them just now.
    pub fn returned(&self, worker: u64, count: u64) {
        let (base, last) = (Notes::base(worker), count - 1);
        let time = self.0.counter(base + 1 + last % TIMES);
        time.store(now_ns(), Ordering::Relaxed);
        self.0.acknowledge(base, count);
    }

    /// How many events of a worker have returned.
    pub fn count(&self, worker: u64) -> u64 {
        self.0.counter(Notes::base(worker)).load(Ordering::Acquire)
    }

    /// When the call for an event of a worker had returned, as far as is known.
    pub fn returned_at(&self, worker: u64, event: u64) -> Option<u64> {
        let count = self.count(worker);
        // A half of them, since the worker goes on.
        let known = count.saturating_sub(TIMES / 2)..count;
        let time = self.0.counter(Notes::base(worker) + 1 + event % TIMES);
        known.contains(&event).then(|| time.load(Ordering::Relaxed))
    }

    /// How many events of a worker had returned at a moment, as far as is known.
    pub fn count_at(&self, worker: u64, moment_ns: u64) -> u64 {
        let times = (0..self.count(worker)).rev().map_while(|event| {
            let returned_at = self.returned_at(worker, event)?;
            Some((event, returned_at))
        });
        let mut before = times.skip_while(|(_, returned_at)| *returned_at > moment_ns);
        before.next().map_or(0, |(event, _)| event + 1)
    }

    /// The recorder's numbers, as they were `at` a moment or after it.
    pub fn note(&self, at_ns: u64, stats: Stats) {
        let longest = u64::try_from(stats.longest_sync.as_nanos()).expect("less than centuries");
        self.0.acknowledge(word::SYNCS, stats.syncs);
        self.0.acknowledge(word::FAILED, stats.failed_syncs);
        self.0.acknowledge(word::LONGEST, longest);
        self.0.acknowledge(word::AT, at_ns);
    }

    fn load(&self, word: u64) -> u64 {
        self.0.counter(word).load(Ordering::Acquire)
    }

    /// Whether the process is to end.
    pub fn is_to_end(&self) -> bool {
        self.load(word::END) != 0
    }
}

/// Now, in nanoseconds of the monotonic clock.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// The process; killed, if it is not yet dead, when dropped.
#[derive(Debug)]
pub struct Powered {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it does.
    pub task: Task,
    /// What it notes.
    pub notes: Notes,
    recordings: PathBuf,
    _home: TempDir,
}

impl Powered {
    /// Starts `program`, which records in `directory`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn start(program: &str, task: Task, directory: &Path) -> Powered {
        let home = scratch();
        let notes = home.path().join("notes");
        let mut command = Command::new(program);
        command.args(task.to_args()).arg(directory).arg(&notes);
        forgets_the_recorder(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let notes_of_it = Notes::create(&notes);
        let mut child = command.spawn().expect("it runs");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Powered {
            child,
            stdout,
            task,
            notes: notes_of_it,
            recordings: directory.to_owned(),
            _home: home,
        }
    }

    /// The same, once its workers have begun.
    ///
    /// # Panics
    /// If they do not.
    pub fn begun(program: &str, task: Task, directory: &Path) -> Powered {
        let mut powered = Powered::start(program, task, directory);
        assert_eq!(powered.says(), "began");
        powered
    }

    /// The next line that it prints.
    pub fn says(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("its words");
        line.trim_end().to_owned()
    }

    /// Its one recording.
    ///
    /// # Panics
    /// If there is another number of files.
    pub fn recording(&self) -> PathBuf {
        let files = files(&self.recordings);
        let [file] = files.as_slice() else {
            panic!("one recording, not {files:?}")
        };
        file.clone()
    }

    /// The recorder's numbers as they are now.
    ///
    /// # Panics
    /// If it does not tell them.
    pub fn numbers(&self) -> Numbers {
        let now = now_ns();
        self.until("it tells its numbers", || self.notes.load(word::AT) >= now);
        Numbers {
            at_ns: self.notes.load(word::AT),
            syncs: self.notes.load(word::SYNCS),
            failed_syncs: self.notes.load(word::FAILED),
            longest_sync_ns: self.notes.load(word::LONGEST),
        }
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// If it is not after a minute.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..300_000 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        panic!("never happened: {what}");
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32);
        signal::kill(pid, signal).expect("a signal for it");
    }

    /// Stops it, every thread of it, until [`Powered::goes_on`].
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stops(&self) {
        self.send(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        self.until("all threads have stopped", || {
            let threads = std::fs::read_dir(&tasks).expect("its threads");
            threads.flatten().all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat"));
                stat.is_ok_and(|stat| {
                    let state = stat.rsplit(')').next().unwrap_or_default();
                    state.trim_start().starts_with('T')
                })
            })
        });
    }

    /// Has it go on.
    pub fn goes_on(&self) {
        self.send(Signal::SIGCONT);
    }

    /// Has it end on its own, and waits until it has.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn ends(&mut self) -> ExitStatus {
        self.notes.0.acknowledge(word::END, 1);
        self.child.wait().expect("its end")
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
