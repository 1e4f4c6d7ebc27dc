//! What the memory cgroup of a process tells of OOM kills since it started.
//!
//! The directory is the recorded one if it has the recorded inode; both that and
//! the counter go with the cgroup, which may be before anybody looks.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ttlog_format::header::Header;

use crate::file::open_named;

/// The files that count OOM kills: of version 2, and of version 1.
const FILES: [&str; 2] = ["memory.events", "memory.oom_control"];

/// Counters fit well below this; what is longer is something else.
const FILE_BYTES_MAX: u64 = 4096;

/// What there is to say of OOM kills, of a process of this boot that had a memory
/// cgroup; its directory is looked for below `root`.
pub(crate) fn words(header: &Header, root: &Path) -> Option<String> {
    if header.cgroup.is_empty() {
        return None;
    }
    let since = kills(header, root).and_then(|kills| kills.checked_sub(header.oom_kills));
    Some(match since {
        None => "its cgroup cannot be looked at from here: an OOM kill could not be seen".into(),
        Some(0) => "its cgroup counted no OOM kill since".into(),
        Some(1) => "its cgroup counted one OOM kill since".into(),
        Some(kills) => format!("its cgroup counted {kills} OOM kills since"),
    })
}

/// The counter of the recorded cgroup.
fn kills(header: &Header, root: &Path) -> Option<u64> {
    let directory = below(root, &header.cgroup);
    if inode(&directory)? != header.cgroup_inode || header.cgroup_inode == 0 {
        return None;
    }
    FILES.iter().find_map(|file| {
        let text = read_short(&directory.join(file)).ok()?;
        field(&text, "oom_kill")
    })
}

fn below(root: &Path, directory: &str) -> PathBuf {
    root.join(directory.trim_start_matches('/'))
}

#[cfg(unix)]
fn inode(directory: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;

    let found = std::fs::metadata(directory).ok()?;
    found.is_dir().then(|| found.ino())
}

#[cfg(not(unix))]
fn inode(_directory: &Path) -> Option<u64> {
    None
}

/// A recording can name any directory, and a FIFO in it must not make us wait.
fn read_short(path: &Path) -> io::Result<String> {
    let file = open_named(path)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The number behind a name, on a line of its own.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::fixture;
    use std::fs;

    /// A machine with one cgroup.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(file: &str, text: &str) -> Machine {
            let machine = Machine(tempfile::tempdir().unwrap());
            fs::create_dir_all(machine.directory()).unwrap();
            fs::write(machine.directory().join(file), text).unwrap();
            machine
        }

        fn directory(&self) -> PathBuf {
            self.0.path().join("sys/fs/cgroup/payments.service")
        }

        fn header(&self) -> Header {
            Header {
                cgroup: "/sys/fs/cgroup/payments.service".into(),
                cgroup_inode: inode(&self.directory()).unwrap(),
                oom_kills: 2,
                ..fixture::header()
            }
        }

        fn says(&self, header: &Header) -> String {
            words(header, self.0.path()).unwrap()
        }
    }

    fn v2(kills: u64) -> Machine {
        let text = format!("low 0\nmax 9\noom 5\noom_kill {kills}\noom_group_kill 7\n");
        Machine::new("memory.events", &text)
    }

    #[test]
    fn kills_are_counted_from_when_the_process_started() {
        for (kills, words) in [
            (2, "its cgroup counted no OOM kill since"),
            (3, "its cgroup counted one OOM kill since"),
            (5, "its cgroup counted 3 OOM kills since"),
        ] {
            let machine = v2(kills);
            assert_eq!(machine.says(&machine.header()), words);
        }
    }

    #[test]
    fn version_1_counts_elsewhere() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let machine = Machine::new("memory.oom_control", text);
        let words = machine.says(&machine.header());
        assert_eq!(words, "its cgroup counted one OOM kill since");
    }

    #[test]
    fn another_cgroup_of_the_same_name_is_not_asked() {
        let machine = v2(9);
        let other = Header {
            cgroup_inode: machine.header().cgroup_inode + 1,
            ..machine.header()
        };
        let fewer = Header {
            oom_kills: 10,
            ..machine.header()
        };
        let absent = Header {
            cgroup: "/sys/fs/cgroup/other".into(),
            ..machine.header()
        };
        for header in [other, fewer, absent] {
            assert!(machine.says(&header).contains("cannot be looked at"));
        }
    }

    #[test]
    fn who_had_no_cgroup_has_nothing_said() {
        assert_eq!(words(&fixture::header(), Path::new("/")), None);
    }

    #[test]
    fn a_counter_that_is_none_is_not_waited_for() {
        let machine = Machine::new("x", "");
        let fifo = machine.directory().join("memory.events");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        assert!(machine.says(&machine.header()).contains("cannot be looked"));
    }
}
