//! Whether a recording's process still lives, as far as /proc can tell.
//!
//! A pid alone proves nothing, since pids are used again: the moment at which the
//! process started must agree, and both must be meant in the same pid namespace.

use std::fs;
use std::path::PathBuf;

use ttlog_format::header::Header;

/// What is known of a process, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It runs.
    Runs(String),
    /// It does not.
    Gone(String),
    /// Nobody here can say.
    Unknown(String),
}

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

    /// Whether the process of `header`, if it was started since this boot, still lives.
    pub(crate) fn life_of(&self, header: &Header) -> Life {
        if self.stat("self").is_none() {
            return Life::Unknown("there is no /proc here to find the process in".into());
        }
        match self.namespace() {
            Some(own) if header.pid_namespace == 0 || own == header.pid_namespace => {
                self.life_in_own_namespace(header)
            }
            own => self.life_in_other_namespace(header, own),
        }
    }

    /// Inode number of the reader's own pid namespace.
    fn namespace(&self) -> Option<u64> {
        let link = fs::read_link(self.proc.join("self/ns/pid")).ok()?;
        link.to_str()?
            .strip_prefix("pid:[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    }

    fn stat(&self, pid: &str) -> Option<Stat> {
        parse_stat(&fs::read(self.proc.join(pid).join("stat")).ok()?)
    }

    fn life_in_own_namespace(&self, header: &Header) -> Life {
        let pid = header.pid;
        let Some(stat) = self.stat(&pid.to_string()) else {
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
        let own = own.map_or("an unknown one".into(), |own| own.to_string());
        Life::Gone(format!(
            "no process here is process {pid} of pid namespace {recorded}; the reader is in {own}, \
             and could not see it if that is not an inner one"
        ))
    }

    /// The pid here of a live process whose innermost pid and start time are the header's.
    fn find_by_inner_pid(&self, header: &Header) -> Option<String> {
        let entries = fs::read_dir(&self.proc).ok()?.flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        pids.find(|pid| {
            pid.bytes().all(|byte| byte.is_ascii_digit())
                && self.innermost_pid(pid) == Some(header.pid)
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
            fs::create_dir_all(proc.0.path().join("self/ns")).unwrap();
            let link = format!("pid:[{namespace}]");
            std::os::unix::fs::symlink(link, proc.0.path().join("self/ns/pid")).unwrap();
            proc
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
            System {
                proc: self.0.path().to_owned(),
            }
            .life_of(&fixture::header())
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
    fn in_another_namespace_it_is_looked_for_by_its_inner_pid() {
        let proc = Proc::new(1);
        proc.has("4711", 'S', fixture::START_TIME, "4711 8");
        assert!(gone(&proc.life()));
        proc.has("99", 'S', fixture::START_TIME, "99 4711");
        let Life::Runs(words) = proc.life() else {
            panic!("found as 99")
        };
        assert!(words.contains("as process 99"), "{words}");
    }

    #[test]
    fn without_proc_nothing_is_claimed() {
        let nowhere = System {
            proc: "/nonexistent".into(),
        };
        assert!(matches!(
            nowhere.life_of(&fixture::header()),
            Life::Unknown(_)
        ));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_very_process_lives() {
        let system = System::here();
        let mut header = fixture::header();
        header.pid = std::process::id();
        header.start_time = system.stat("self").unwrap().start_time;
        header.pid_namespace = system.namespace().unwrap();
        assert!(matches!(system.life_of(&header), Life::Runs(_)));
        assert_eq!(system.boot_id().unwrap().len(), 32);
    }
}
