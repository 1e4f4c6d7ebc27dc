//! A process that records, and the verbs by which it dies.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;
use ttlog_reader::Opened;

use crate::acks;
use crate::plan::Plan;

/// A process of the binary `victim`; killed, if it is not yet dead, when dropped.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    stdout: BufReader<ChildStdout>,
    home: Home,
}

/// Where a victim's files are.
#[derive(Debug)]
struct Home {
    recordings: PathBuf,
    acks: PathBuf,
    _own: TempDir,
}

impl Home {
    fn of(plan: &Plan) -> Home {
        let own = scratch();
        let recordings = plan
            .directory
            .clone()
            .unwrap_or_else(|| own.path().join("recordings"));
        Home {
            recordings,
            acks: own.path().join("acks"),
            _own: own,
        }
    }
}

/// Has a program know nothing of how the recorder of whoever starts it is set up.
pub fn forgets_the_recorder(command: &mut Command) -> &mut Command {
    for key in [
        "",
        "_DIR",
        "_SNAPSHOT_DIR",
        "_CAPACITY_MIB",
        "_WINDOW",
        "_FILTER",
        "_REDACT",
    ] {
        command.env_remove(format!("TTLOG{key}"));
    }
    command
}

/// A new directory, in memory where that can be had.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("ttlog-tests-")
        .tempdir_in(place)
        .expect("a directory")
}

impl Victim {
    /// Starts `program` by `plan`.
    pub fn start(program: impl AsRef<Path>, plan: &Plan) -> Victim {
        Victim::spawn(program, plan, |_| {}).expect("the victim starts")
    }

    /// Starts a `program` of several acts in one of them, which comes behind the plan.
    pub fn start_act(program: impl AsRef<Path>, act: &str, plan: &Plan) -> Victim {
        let started = Victim::spawn(program, plan, |command| {
            command.arg(act);
        });
        started.expect("the victim starts")
    }

    /// Starts a `program` of several acts in one of them, to be traced by the calling thread.
    ///
    /// # Errors
    /// Where tracing is not permitted.
    pub fn start_traced(program: impl AsRef<Path>, act: &str, plan: &Plan) -> io::Result<Victim> {
        Victim::spawn(program, plan, |command| {
            command.arg(act);
            let trace_me = || nix::sys::ptrace::traceme().map_err(io::Error::from);
            // SAFETY: between fork and exec nothing is done but one system call.
            unsafe { command.pre_exec(trace_me) };
        })
    }

    fn spawn(
        program: impl AsRef<Path>,
        plan: &Plan,
        prepare: impl FnOnce(&mut Command),
    ) -> io::Result<Victim> {
        let home = Home::of(plan);
        let mut command = Command::new(program.as_ref());
        command
            .args(plan.to_args())
            .arg(&home.recordings)
            .arg(&home.acks);
        forgets_the_recorder(&mut command).env("TTLOG_DIR", &home.recordings);
        command.envs(plan.environment.iter().map(|(k, v)| (k, v)));
        if let Some(uid) = plan.uid {
            std::fs::write(&home.acks, [])?;
            std::os::unix::fs::chown(&home.acks, Some(uid), None)?;
            std::os::unix::fs::chown(home._own.path(), Some(uid), None)?;
            command.uid(uid);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn()?;
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Ok(Victim {
            child,
            stdout,
            home,
        })
    }

    /// The next line that it prints, empty once it prints no more.
    pub fn says(&mut self) -> String {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("the victim's words");
        line.trim_end().to_owned()
    }

    /// Waits until it prints `word`, and gives what else is on that line.
    pub fn until(&mut self, word: &str) -> String {
        loop {
            let line = self.says();
            assert!(!line.is_empty(), "the victim never said {word:?}");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Lets it live a while longer.
    pub fn after(&mut self, while_longer: Duration) -> &mut Victim {
        std::thread::sleep(while_longer);
        self
    }

    /// Ends it by `signal`, and waits until it is gone.
    pub fn dies_by(&mut self, signal: Signal) -> ExitStatus {
        signal::kill(self.pid(), signal).expect("a signal for the victim");
        self.child.wait().expect("the victim's end")
    }

    /// Waits until it ends on its own.
    pub fn ends(&mut self) -> ExitStatus {
        self.child.wait().expect("the victim's end")
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// The directory of its recordings.
    pub fn directory(&self) -> &Path {
        &self.home.recordings
    }

    /// Its one recording's path.
    pub fn path(&self) -> PathBuf {
        let paths = self.files();
        let [path] = paths.as_slice() else {
            panic!("one recording, not {paths:?}")
        };
        path.clone()
    }

    /// The files in the directory of its recordings, whatever they are.
    pub fn files(&self) -> Vec<PathBuf> {
        files(self.directory())
    }

    /// Its one recording, opened.
    pub fn recording(&self) -> Opened {
        let path = self.path();
        ttlog_reader::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// How many events of each worker have returned.
    pub fn acks(&self) -> Vec<u64> {
        acks::read(&self.ack_file()).expect("acknowledgements")
    }

    /// The file of acknowledgements.
    pub fn ack_file(&self) -> File {
        File::open(&self.home.acks).expect("acknowledgements")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files in `directory`, none if there is no such directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("a directory entry").path())
        .collect()
}
