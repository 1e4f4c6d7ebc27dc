//! Whether a recording's process still lives, as far as can be seen from here.
//!
//! A pid alone proves nothing, since pids are used again: the moment at which the
//! process started must agree, and both must be meant in the same pid namespace.
//! Where /proc cannot show that namespace, the lock that a process holds on its
//! recording is asked. It comes last, since a forked child holds it too. A process that
//! lives, and neither holds it nor has the file mapped, runs another program now.

use std::fs::{self, File};
use std::path::PathBuf;

use ttlog_format::header::Header;

use crate::escape::escape;

/// What is known of a process, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It runs.
    Runs(String),
    /// It does not.
    Gone(String),
    /// It has executed another program, and what recorded is no more.
    Executed(String),
    /// Nobody here can say.
    Unknown(String),
}

/// What is there now of the process and of its machine.
#[derive(Debug)]
pub(crate) struct Now {
    /// Whether the process lives.
    pub(crate) life: Life,
    /// This boot's id, if there is one.
    pub(crate) boot_id: Option<String>,
    /// What the process's cgroup tells of OOM kills, if it had one.
    pub(crate) oom_kills: Option<String>,
}

/// Whether the machine is still in the boot that was recorded.
#[derive(Debug)]
pub(crate) enum Boot {
    /// It is.
    Same,
    /// It is not, or it is not the same machine, whose name is this.
    Other(String),
    /// Nobody here can say.
    Unknown,
}

impl Boot {
    /// Compares the recorded boot with that of now.
    pub(crate) fn compare(header: &Header, now: Option<&str>) -> Boot {
        match now {
            Some(now) if !now.is_empty() && !header.boot_id.is_empty() => {
                if now == header.boot_id {
                    Boot::Same
                } else {
                    Boot::Other(header.host.clone())
                }
            }
            _ => Boot::Unknown,
        }
    }

    pub(crate) fn words(&self) -> String {
        match self {
            Boot::Same => "boot id unchanged".into(),
            Boot::Other(host) => format!(
                "another boot id: the machine was booted since, or this is not {}, which recorded",
                escape(host.as_bytes())
            ),
            Boot::Unknown => "the boot id is not known: a reboot since could not be seen".into(),
        }
    }
}

/// Whether anybody holds the lock of a recording.
#[cfg_attr(not(unix), expect(dead_code, reason = "there is no lock to ask"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Somebody does.
    Held,
    /// Nobody does.
    Free,
    /// There is no lock to be asked: a copy, or no file at all.
    Unknown,
}

impl Lock {
    /// The lock of the recording with this header in `file`, if that is its own.
    pub(crate) fn of(file: &File, header: &Header) -> Lock {
        match inode(file) {
            Some(inode) if inode != 0 && inode == header.inode => ask(file),
            _ => Lock::Unknown,
        }
    }
}

#[cfg(unix)]
fn inode(file: &File) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;

    Some(file.metadata().ok()?.ino())
}

#[cfg(unix)]
fn ask(file: &File) -> Lock {
    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;

    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // Closing the file would do it, too, but only after all of it was read.
            let _ = flock(file, FlockOperation::Unlock);
            Lock::Free
        }
        Err(Errno::WOULDBLOCK) => Lock::Held,
        Err(_) => Lock::Unknown,
    }
}

#[cfg(not(unix))]
fn inode(_file: &File) -> Option<u64> {
    None
}

#[cfg(not(unix))]
fn ask(_file: &File) -> Lock {
    Lock::Unknown
}

/// Inode number of the first pid namespace, from which all processes can be seen
/// (`PROC_PID_INIT_INO` in the kernel).
const INITIAL_NAMESPACE: u64 = 0xeffffffc;

/// The system that the reader runs on, as /proc shows it.
pub(crate) struct System {
    proc: PathBuf,
}

/// Of /proc/pid/stat (proc(5)): fields 3 and 22.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    start_time: u64,
}

impl System {
    /// This one.
    pub(crate) fn here() -> System {
        System {
            proc: PathBuf::from("/proc"),
        }
    }

    /// The boot id, as headers have it, or `None` where there is none.
    pub(crate) fn boot_id(&self) -> Option<String> {
        let id = fs::read_to_string(self.proc.join("sys/kernel/random/boot_id")).ok()?;
        Some(id.trim().replace('-', ""))
    }

    /// Whether the process of `header`, if it was started since this boot, still
    /// lives. The lock of its recording is asked where nothing else tells.
    pub(crate) fn life_of(&self, header: &Header, lock: impl Fn() -> Lock) -> Life {
        if self.stat("self").is_none() {
            return by_lock("there is no /proc here to find the process in", lock());
        }
        let own = self.namespace("self");
        let is_own = own.is_some_and(|own| [0, own].contains(&header.pid_namespace));
        let life = if is_own {
            self.life_in_own_namespace(header)
        } else {
            self.life_in_other_namespace(header, own)
        };
        match life {
            Life::Unknown(words) => by_lock(&words, lock()),
            Life::Runs(words) if is_own && self.unmapped(header) && lock() == Lock::Free => {
                Life::Executed(format!(
                    "{words}, but has its recording not mapped: it has executed another program"
                ))
            }
            life => life,
        }
    }

    /// Whether the process, as far as one may see, has not mapped the recording: no
    /// shared mapping has its inode number, of which an overlay shows the lower half.
    fn unmapped(&self, header: &Header) -> bool {
        let maps = self.proc.join(header.pid.to_string()).join("maps");
        let Ok(maps) = fs::read(maps) else {
            return false;
        };
        let maps = String::from_utf8_lossy(&maps);
        let inode = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let is_shared = fields.next()?.ends_with('s');
            fields.nth(2)?.parse::<u64>().ok().filter(|_| is_shared)
        };
        let mut shared = maps.lines().filter_map(inode);
        header.inode != 0 && shared.all(|inode| inode as u32 != header.inode as u32)
    }

    /// Inode number of a process's pid namespace, if that may be seen.
    fn namespace(&self, pid: &str) -> Option<u64> {
        let link = fs::read_link(self.proc.join(pid).join("ns/pid")).ok()?;
        link.to_str()?
            .strip_prefix("pid:[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    }

    /// Whether other users' processes are hidden (hidepid in proc(5)): the first one
    /// of a namespace is always there. One's own never are.
    fn hides(&self, header: &Header) -> bool {
        self.stat("1").is_none() && self.user() != Some(header.uid)
    }

    /// The reader's own user id.
    #[cfg(unix)]
    fn user(&self) -> Option<u32> {
        use std::os::unix::fs::MetadataExt;

        Some(fs::metadata(self.proc.join("self")).ok()?.uid())
    }

    #[cfg(not(unix))]
    fn user(&self) -> Option<u32> {
        None
    }

    fn pids(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    }

    fn stat(&self, pid: &str) -> Option<Stat> {
        parse_stat(&fs::read(self.proc.join(pid).join("stat")).ok()?)
    }

    fn life_in_own_namespace(&self, header: &Header) -> Life {
        let pid = header.pid;
        let Some(stat) = self.stat(&pid.to_string()) else {
            if self.hides(header) {
                return Life::Unknown(format!(
                    "process {pid} cannot be seen: /proc hides what other users run \
                     (ask as root or as user {})",
                    header.uid
                ));
            }
            return Life::Gone(format!("process {pid} is gone"));
        };
        if stat.start_time != header.start_time {
            let words = format!("process {pid} is gone: its number is now another process's");
            return Life::Gone(words);
        }
        if self.is_dead(&pid.to_string(), &stat) {
            return Life::Gone(format!(
                "process {pid} is dead, its parent has not waited for it"
            ));
        }
        Life::Runs(format!(
            "process {pid} is running, with the recorded start time"
        ))
    }

    /// Dead is who has no live thread: the first one alone may end long before the rest.
    fn is_dead(&self, pid: &str, stat: &Stat) -> bool {
        let dead = |state| matches!(state, 'Z' | 'X' | 'x');
        let tasks = fs::read_dir(self.proc.join(pid).join("task"))
            .into_iter()
            .flatten()
            .flatten();
        let mut states =
            tasks.filter_map(|task| parse_stat(&fs::read(task.path().join("stat")).ok()?));
        dead(stat.state) && states.all(|task| dead(task.state))
    }

    fn life_in_other_namespace(&self, header: &Header, own: Option<u64>) -> Life {
        let (pid, recorded) = (header.pid, header.pid_namespace);
        if let Some(outer) = self.find_by_inner_pid(header) {
            return Life::Runs(format!(
                "process {pid} of pid namespace {recorded} is running here as process {outer}, \
                 with the recorded start time"
            ));
        }
        if self.sees_all_of(recorded, own) && !self.hides(header) {
            return Life::Gone(format!(
                "process {pid} of pid namespace {recorded}, which can be seen from here, is gone"
            ));
        }
        let own = own.map_or("an unknown one".into(), |own| own.to_string());
        Life::Unknown(format!(
            "process {pid} of pid namespace {recorded} cannot be seen from here, which is {own}"
        ))
    }

    /// Whether every process of a namespace is to be seen from the reader's own.
    fn sees_all_of(&self, namespace: u64, own: Option<u64>) -> bool {
        own == Some(INITIAL_NAMESPACE)
            || self
                .pids()
                .any(|pid| self.namespace(&pid) == Some(namespace))
    }

    /// The pid here of a live process whose innermost pid and start time are the header's.
    fn find_by_inner_pid(&self, header: &Header) -> Option<String> {
        // Many a namespace has a process 1, and several of them the same start time.
        let is_in_it = |pid: &str| match self.namespace(pid) {
            Some(found) => header.pid_namespace == 0 || found == header.pid_namespace,
            None => true,
        };
        self.pids().find(|pid| {
            self.innermost_pid(pid) == Some(header.pid)
                && is_in_it(pid)
                && self.stat(pid).is_some_and(|stat| {
                    stat.start_time == header.start_time && !self.is_dead(pid, &stat)
                })
        })
    }

    fn innermost_pid(&self, pid: &str) -> Option<u32> {
        let status = fs::read(self.proc.join(pid).join("status")).ok()?;
        let status = String::from_utf8_lossy(&status);
        let pids = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))?;
        pids.split_whitespace().last()?.parse().ok()
    }
}

/// What the lock of the recording tells, where `words` say why it was asked.
fn by_lock(words: &str, lock: Lock) -> Life {
    match lock {
        Lock::Held => Life::Runs(format!(
            "{words}; its recording is locked: it, or a child that it forked, lives"
        )),
        Lock::Free => Life::Gone(format!(
            "{words}; its recording is not locked any more: it is gone"
        )),
        Lock::Unknown => Life::Unknown(words.to_owned()),
    }
}

/// A process may call itself anything, parentheses and spaces included: what
/// follows the last parenthesis is the kernel's.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, so that 18 more lie before field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// A /proc of a few processes.
    struct Proc(tempfile::TempDir);

    impl Proc {
        fn new(namespace: u64) -> Proc {
            let proc = Proc(tempfile::tempdir().unwrap());
            proc.has("self", 'R', 1, "1");
            proc.has("1", 'S', 1, "1");
            proc.in_namespace("self", namespace);
            proc
        }

        fn in_namespace(&self, pid: &str, namespace: u64) {
            let directory = self.0.path().join(pid).join("ns");
            fs::create_dir_all(&directory).unwrap();
            let link = format!("pid:[{namespace}]");
            std::os::unix::fs::symlink(link, directory.join("pid")).unwrap();
        }

        fn has(&self, pid: &str, state: char, start_time: u64, inner: &str) {
            let process = self.0.path().join(pid);
            fs::create_dir_all(&process).unwrap();
            let zeros = "0 ".repeat(18);
            let stat = format!("{pid} (a) R b) {state} {zeros}{start_time} 0 0\n");
            fs::write(process.join("stat"), stat).unwrap();
            fs::write(
                process.join("status"),
                format!("Name:\tx\nNSpid:\t{inner}\n"),
            )
            .unwrap();
        }

        fn life(&self) -> Life {
            self.life_where(|| Lock::Held)
        }

        fn life_where(&self, lock: impl Fn() -> Lock) -> Life {
            self.life_of(&fixture::header(), lock)
        }

        fn life_of(&self, header: &Header, lock: impl Fn() -> Lock) -> Life {
            let proc = self.0.path().to_owned();
            System { proc }.life_of(header, lock)
        }
    }

    fn gone(life: &Life) -> bool {
        matches!(life, Life::Gone(_))
    }

    #[test]
    fn a_pid_used_again_is_not_the_process() {
        let proc = Proc::new(fixture::NAMESPACE);
        assert_eq!(proc.life(), Life::Gone("process 4711 is gone".into()));
        proc.has("4711", 'S', 100, "4711");
        assert!(gone(&proc.life()));
        proc.has("4711", 'S', fixture::START_TIME, "4711");
        assert!(matches!(proc.life(), Life::Runs(_)));
        proc.has("4711", 'Z', fixture::START_TIME, "4711");
        assert!(gone(&proc.life()));
        proc.has("4711/task/4712", 'S', 0, "4712");
        assert!(
            matches!(proc.life(), Life::Runs(_)),
            "its first thread alone has ended"
        );
    }

    #[test]
    fn who_lives_without_its_lock_runs_another_program() {
        let proc = Proc::new(fixture::NAMESPACE);
        proc.has("4711", 'S', fixture::START_TIME, "4711");
        let header = Header {
            inode: 12,
            ..fixture::header()
        };
        let life = |lock| proc.life_of(&header, || lock);
        let runs = |lock| matches!(life(lock), Life::Runs(_));
        assert!(runs(Lock::Free), "nobody may see what it has mapped");
        let maps = |inode| format!("7f00-7f10 rw-s 00000000 00:27 {inode}     /a dir/x.ring\n");
        let path = proc.0.path().join("4711/maps");
        fs::write(&path, maps(12)).unwrap();
        assert!(runs(Lock::Free), "on an overlay, without descriptors");
        fs::write(&path, maps(13)).unwrap();
        assert!(runs(Lock::Held) && runs(Lock::Unknown));
        let Life::Executed(words) = life(Lock::Free) else {
            panic!("neither lock nor mapping")
        };
        assert!(words.contains("has executed another program"), "{words}");
    }

    #[test]
    fn in_another_namespace_it_is_looked_for_by_its_inner_pid() {
        let proc = Proc::new(1);
        proc.has("4711", 'S', fixture::START_TIME, "4711 8");
        assert!(gone(&proc.life_where(|| Lock::Free)));
        proc.has("99", 'S', fixture::START_TIME, "99 4711");
        let Life::Runs(words) = proc.life() else {
            panic!("found as 99")
        };
        assert!(words.contains("as process 99"), "{words}");
    }

    #[test]
    fn from_the_first_namespace_who_is_not_seen_is_gone() {
        let proc = Proc::new(INITIAL_NAMESPACE);
        let header = Header {
            pid_namespace: 17,
            ..fixture::header()
        };
        let life = proc.life_of(&header, || Lock::Held);
        assert!(gone(&life), "{life:?}");
    }

    #[test]
    fn from_a_namespace_that_holds_the_other_who_is_not_seen_is_gone() {
        let proc = Proc::new(1);
        proc.has("99", 'S', 5, "99 2");
        proc.in_namespace("99", fixture::NAMESPACE);
        assert!(gone(&proc.life()));
    }

    #[test]
    fn of_a_namespace_that_cannot_be_seen_the_lock_is_asked() {
        let proc = Proc::new(1);
        let Life::Runs(words) = proc.life_where(|| Lock::Held) else {
            panic!("the lock is held")
        };
        assert!(words.contains("or a child that it forked"), "{words}");
        assert!(gone(&proc.life_where(|| Lock::Free)));
        let unknown = proc.life_where(|| Lock::Unknown);
        assert!(matches!(unknown, Life::Unknown(_)));
    }

    #[test]
    fn whom_proc_hides_may_live() {
        let proc = Proc::new(fixture::NAMESPACE);
        fs::remove_dir_all(proc.0.path().join("1")).unwrap();
        let uid = System {
            proc: proc.0.path().to_owned(),
        }
        .user()
        .unwrap();
        let of = |uid| {
            let header = Header {
                uid,
                ..fixture::header()
            };
            proc.life_of(&header, || Lock::Unknown)
        };
        assert!(matches!(of(uid + 1), Life::Unknown(_)));
        assert!(gone(&of(uid)), "one's own processes are never hidden");
    }

    #[test]
    fn without_proc_the_lock_alone_can_tell() {
        let life = |lock| {
            let nowhere = System {
                proc: "/nonexistent".into(),
            };
            nowhere.life_of(&fixture::header(), || lock)
        };
        assert!(matches!(life(Lock::Unknown), Life::Unknown(_)));
        assert!(matches!(life(Lock::Held), Life::Runs(_)));
        assert!(gone(&life(Lock::Free)));
    }

    #[test]
    #[cfg(unix)]
    fn the_lock_is_that_of_the_recordings_own_file() {
        use rustix::fs::{FlockOperation, flock};

        let file = tempfile::NamedTempFile::new().unwrap();
        let other = file.reopen().unwrap();
        let header = Header {
            inode: inode(&other).unwrap(),
            ..fixture::header()
        };
        assert_eq!(Lock::of(&other, &header), Lock::Free);
        flock(file.as_file(), FlockOperation::LockExclusive).unwrap();
        assert_eq!(Lock::of(&other, &header), Lock::Held);
        assert_eq!(Lock::of(&other, &fixture::header()), Lock::Unknown);
        let copy = Header {
            inode: header.inode + 1,
            ..header
        };
        assert_eq!(Lock::of(&other, &copy), Lock::Unknown);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_very_process_lives() {
        let system = System::here();
        let mut header = fixture::header();
        header.pid = std::process::id();
        header.start_time = system.stat("self").unwrap().start_time;
        header.pid_namespace = system.namespace("self").unwrap();
        let life = system.life_of(&header, || Lock::Held);
        assert!(matches!(life, Life::Runs(_)));
        assert_eq!(system.boot_id().unwrap().len(), 32);
    }
}
