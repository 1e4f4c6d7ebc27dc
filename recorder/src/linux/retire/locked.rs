//! A directory that nobody else retires in, and what is in it.
//!
//! Names come first, and of those that a recorder gives, what the directory knows of
//! the files; a file is opened where that is not enough. Between a look at a file and
//! the next its inode tells whether it is still the same.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir, Stat, flock, fstat, openat, statat,
    unlinkat,
};
use rustix::process::{Uid, geteuid};

use crate::linux::place::Directory;

/// The most names that are looked at: where there are more, they are not recordings.
const NAMES_MAX: usize = 1 << 17;

/// Bytes of names that are read at once.
const NAMES_BYTES: usize = 1 << 15;

/// After which time nobody is still about to finish a file.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// A directory, locked as long as this lives.
pub(super) struct Locked {
    fd: OwnedFd,
    user: Uid,
}

/// A file with a name of a recorder's, as the directory knows it.
#[derive(Debug)]
pub(super) struct Listed {
    name: CString,
    stamp: u64,
    /// The process id in its name.
    pub(super) pid: u64,
    /// Bytes that it takes, which may be less than its length.
    pub(super) bytes: u64,
    /// Its inode number.
    pub(super) inode: u64,
}

impl Listed {
    /// What orders files by their age, the oldest first.
    pub(super) fn age(&self) -> (u64, u64) {
        (self.stamp, self.pid)
    }
}

#[cfg(test)]
impl Listed {
    /// One of this age that takes nothing.
    pub(super) fn of_test(stamp: u64) -> Listed {
        Listed {
            name: CString::default(),
            stamp,
            pid: 1,
            bytes: 0,
            inode: 0,
        }
    }
}

impl Locked {
    /// Locks a directory, by a description of its own, unless somebody else has.
    pub(super) fn new(directory: &Directory) -> Option<Locked> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(&directory.fd, ".", flags, Mode::empty()).ok()?;
        flock(&fd, FlockOperation::NonBlockingLockExclusive).ok()?;
        let user = geteuid();
        Some(Locked { fd, user })
    }

    /// The user's files of this kind. What nobody finished goes in passing.
    pub(super) fn list(&self, kind: &str) -> Vec<Listed> {
        let mut listed = Vec::new();
        let mut buffer = Vec::with_capacity(NAMES_BYTES);
        let mut names = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        for _ in 0..NAMES_MAX {
            let Some(Ok(entry)) = names.next() else { break };
            let name = entry.file_name();
            if let Some((pid, stamp)) = numbers(name.to_bytes(), kind) {
                listed.extend(
                    self.own(name).map(|stat| Listed {
                        name: name.to_owned(),
                        stamp,
                        pid,
                        bytes: u64::try_from(stat.st_blocks)
                            .map_or(0, |blocks| blocks.saturating_mul(512)),
                        inode: stat.st_ino,
                    }),
                );
            } else if is_unfinished(name.to_bytes()) {
                self.clear(name);
            }
        }
        listed
    }

    /// Opens a file for reading, unless it is another by now.
    pub(super) fn open(&self, listed: &Listed) -> Option<File> {
        self.opened(&listed.name, listed.inode)
    }

    fn opened(&self, name: &CStr, inode: u64) -> Option<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::empty()).ok()?;
        let stat = fstat(&file).ok()?;
        (self.owns(&stat) && stat.st_ino == inode).then(|| file.into())
    }

    /// Removes a file, unless it is another by now.
    pub(super) fn remove(&self, listed: &Listed) {
        if let Some(stat) = self.own(&listed.name)
            && stat.st_ino == listed.inode
        {
            let _ = unlinkat(&self.fd, &*listed.name, AtFlags::empty());
        }
    }

    /// Removes what somebody began to write and did not live to finish.
    fn clear(&self, name: &CStr) {
        let Some(stat) = self.own(name).filter(is_abandoned) else {
            return;
        };
        if self
            .opened(name, stat.st_ino)
            .is_some_and(|file| is_unlocked(&file))
        {
            let _ = unlinkat(&self.fd, name, AtFlags::empty());
        }
    }

    /// What the directory knows of a file of the user's.
    fn own(&self, name: &CStr) -> Option<Stat> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        self.owns(&stat).then_some(stat)
    }

    fn owns(&self, stat: &Stat) -> bool {
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file && stat.st_uid == self.user.as_raw()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // By closing alone it would stay with whoever was forked in between.
        let _ = flock(&self.fd, FlockOperation::Unlock);
    }
}

/// Whether nobody holds the lock that a recorder has on its recording as long as it
/// lives, and its forked children after it.
pub(super) fn is_unlocked(file: &File) -> bool {
    let free = flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if free {
        // By closing alone it would stay with whoever was forked in between.
        let _ = flock(file, FlockOperation::Unlock);
    }
    free
}

/// Whether a file was written to so long ago that nobody is about to finish it.
fn is_abandoned(stat: &Stat) -> bool {
    let written = u64::try_from(stat.st_mtime).map(Duration::from_secs);
    match (SystemTime::now().duration_since(UNIX_EPOCH), written) {
        (Ok(now), Ok(written)) => now.saturating_sub(written) > ABANDONED,
        _ => false,
    }
}

/// The process id and the timestamp in `ttlog-<pid>-<timestamp>.<kind>`.
fn numbers(name: &[u8], kind: &str) -> Option<(u64, u64)> {
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_suffix(kind)?.strip_suffix('.')?;
    let (pid, stamp) = name.strip_prefix("ttlog-")?.split_once('-')?;
    Some((number(pid)?, number(stamp)?))
}

fn number(digits: &str) -> Option<u64> {
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok()
}

/// Whether a name is one of those that files have before they are finished.
fn is_unfinished(name: &[u8]) -> bool {
    name.strip_prefix(b".")
        .is_some_and(|name| numbers(name, "tmp").or(numbers(name, "bin.tmp")).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_another_by_now_is_neither_opened_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ttlog-7-8.ring");
        let opened = Directory::asked_for(directory.path(), false).unwrap();
        let lock = || Locked::new(&opened).unwrap();
        let listed = || lock().list("ring").pop();
        assert!(listed().is_none());
        std::fs::write(&path, "old").unwrap();
        let old = listed().unwrap();
        assert!(lock().open(&old).is_some());
        // Beside the old one, so that it has another number.
        let newer = directory.path().join("newer");
        std::fs::write(&newer, "new").unwrap();
        std::fs::rename(&newer, &path).unwrap();
        assert!(lock().open(&old).is_none());
        lock().remove(&old);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let new = listed().unwrap();
        lock().remove(&new);
        assert!(!path.exists());
        std::fs::create_dir(&path).unwrap();
        assert!(lock().open(&old).is_none() && listed().is_none());
        lock().remove(&old);
        assert!(path.exists());
    }

    #[test]
    fn names_are_a_recorders_or_not() {
        let numbers = |name: &str| numbers(name.as_bytes(), "ring");
        assert_eq!(
            numbers("ttlog-7-1700000000123.ring"),
            Some((7, 1_700_000_000_123))
        );
        for name in [
            "ttlog-7.ring",
            "ttlog-7-.ring",
            "ttlog--7.ring",
            "ttlog-+7-8.ring",
            "ttlog-7-8-9.ring",
            "ttlog-7-8.bin",
            "ttlog-7-8ring",
            "ttlog-7-8.ring2",
            "attlog-7-8.ring",
            ".ttlog-7-8.ring",
            "ttlog-7-99999999999999999999.ring",
            "",
        ] {
            assert_eq!(numbers(name), None, "{name}");
        }
        let unfinished = |name: &str| is_unfinished(name.as_bytes());
        assert!(unfinished(".ttlog-7-8.tmp") && unfinished(".ttlog-7-8.bin.tmp"));
        assert!(!unfinished("ttlog-7-8.tmp") && !unfinished(".ttlog-7.tmp"));
    }
}
