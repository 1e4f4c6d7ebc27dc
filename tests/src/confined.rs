//! Confinement as containers have it: pid namespaces and memory cgroups. Both are
//! for root, and not to be had everywhere.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

use crate::daemon::{Daemon, eventually};

/// Whether whoever asks may do what only root may; says so if not.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can do this");
    }
    root
}

/// What the shell does first, so that /proc shows the namespace that it is in.
const OWN_PROC: &str = "mount --make-rprivate / && mount -t proc proc /proc";

/// A pid namespace; all in it is killed when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    /// Process 1, which lives as long as the pipe from here.
    first: Child,
}

impl Namespace {
    /// A new one, in which process 1 only waits; or none, and it is said why.
    pub fn new() -> Option<Namespace> {
        if !is_root() {
            return None;
        }
        let mut wait = Command::new("cat");
        wait.stdin(Stdio::piped()).stdout(Stdio::null());
        let first = confined(|| {
            unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
            wait.spawn()
        });
        let namespace = first.map(|first| Namespace { first });
        let namespace = namespace
            .inspect_err(|error| eprintln!("SKIPPED: no pid namespace can be had: {error}"))
            .ok()?;
        let (text, mounted) = namespace.does(":");
        if !mounted {
            eprintln!("SKIPPED: /proc cannot be mounted in a pid namespace: {text}");
        }
        mounted.then_some(namespace)
    }

    /// Starts a process in it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let namespace = format!("/proc/{}/ns/pid", self.first.id());
        confined(|| {
            setns(File::open(namespace)?, CloneFlags::CLONE_NEWPID)?;
            unshare(CloneFlags::CLONE_NEWNS)?;
            command.spawn()
        })
    }

    /// Starts a daemon in it, with a /proc of the namespace.
    pub fn daemon(&self, program: &str, asked: &[&str]) -> Daemon {
        let daemon = Daemon::start_by(OWN_PROC, program, asked, |command| self.spawn(command));
        daemon.expect("the daemon starts")
    }

    /// Has a shell in it do `script`; what it printed, and whether it went well.
    pub fn does(&self, script: &str) -> (String, bool) {
        let mut shell = Command::new("timeout");
        let shell = shell.args(["60", "bash", "-c", &format!("{OWN_PROC} && {script}")]);
        let Output {
            status,
            stdout,
            stderr,
        } = self.output(shell);
        let text = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (text.concat(), status.success())
    }

    fn output(&self, command: &mut Command) -> Output {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.spawn(command).expect("a process in the namespace");
        child.wait_with_output().expect("its output")
    }

    /// Kills all that is in it; once they were waited for, it is gone.
    pub fn ends(&mut self) {
        let _ = self.first.kill();
    }

    /// Waits until it is gone.
    pub fn is_gone(&mut self) {
        eventually("the namespace's end", || {
            self.first.try_wait().expect("a child")
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Process 1 ends last, and not before whoever started the others has waited
        // for them: that may be later than this.
        self.ends();
        let _ = self.first.try_wait();
    }
}

/// Starts a daemon as process 1 of a new pid namespace; or says why it cannot.
pub fn daemon_as_first(program: &str, asked: &[&str]) -> Option<Daemon> {
    // That one can be had is found out by having one.
    drop(Namespace::new()?);
    let spawn = |command: &mut Command| {
        confined(|| {
            unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
            command.spawn()
        })
    };
    let daemon = Daemon::start_by(OWN_PROC, program, asked, spawn);
    Some(daemon.expect("the daemon starts"))
}

/// Calls `spawn` on a thread that may confine itself, and with it what it starts.
fn confined<T: Send>(spawn: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(spawn).join().expect("no panic"))
}

/// How much of memory a cgroup has: enough for a daemon, and not for much.
const LIMIT: &str = "33554432";

/// A memory cgroup with a limit; removed when dropped.
#[derive(Debug)]
pub struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    /// A new one; or none, and it is said why.
    pub fn new(name: &str) -> Option<MemoryCgroup> {
        if !is_root() {
            return None;
        }
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let (parent, files) = if version_1.join("memory.limit_in_bytes").exists() {
            let files = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
            (version_1, files.map(|file| (file, LIMIT)))
        } else {
            let files = [("memory.max", LIMIT), ("memory.swap.max", "0")];
            (Path::new("/sys/fs/cgroup"), files)
        };
        let name = format!("ttlog-tests-{}-{name}", std::process::id());
        let cgroup = MemoryCgroup(parent.join(name));
        let limited = fs::create_dir(&cgroup.0).and_then(|()| {
            let [memory, swap] = files.map(|(file, limit)| fs::write(cgroup.0.join(file), limit));
            // Not every kernel accounts for swap.
            memory.map(|()| drop(swap))
        });
        limited
            .inspect_err(|error| eprintln!("SKIPPED: no memory cgroup can be had: {error}"))
            .ok()?;
        Some(cgroup)
    }

    /// How a shell enters it.
    pub fn entry(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.0.display())
    }

    /// Starts a daemon in it.
    pub fn daemon(&self, program: &str, asked: &[&str]) -> Daemon {
        Daemon::start_after(&self.entry(), program, asked)
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        if !self.0.exists() {
            return;
        }
        // It is busy for as long as the dead in it are not quite gone.
        eventually("the cgroup's removal", || fs::remove_dir(&self.0).ok());
    }
}
