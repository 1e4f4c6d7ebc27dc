//! Where snapshots go, and how many a storm of panics gets.
//!
//! The descriptor of the directory is opened at the start, when there are some.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::fstat;

use super::Here;
use crate::error::Error;
use crate::linux::kept::Kept;
use crate::linux::limits::MemoryCgroups;
use crate::linux::place::Directory;
use crate::linux::retire;
use crate::linux::sync::{AtomicU64, Ordering};
use crate::settings::Settings;
use ttlog_format::header::totals;

/// How many snapshots of panics a process makes, how many of them at once, and how
/// many seconds lie between those that follow.
const OF_PANICS: u64 = 8;
const AT_ONCE: u64 = 4;
const SECONDS_BETWEEN: u64 = 10;

/// Where snapshots go, and how many there were.
pub(crate) struct Snapshots {
    path: PathBuf,
    /// The directory, unless it could not be had at the start.
    directory: Option<Kept>,
    make_missing: bool,
    made: AtomicU64,
    of_panics: AtomicU64,
    /// When the last one of a panic was begun, in ticks.
    last: AtomicU64,
    /// 1 while one of a panic is being made.
    busy: AtomicU64,
    skipped: AtomicU64,
}

impl Snapshots {
    /// Snapshots that go where the settings say.
    ///
    /// # Errors
    /// The directory that was asked for cannot be had. That the temporary directory
    /// cannot costs the snapshots, and not the recording.
    pub(crate) fn new(settings: &Settings, groups: &MemoryCgroups) -> Result<Snapshots, Error> {
        let asked_for = settings.snapshot_directory.as_deref();
        let make_missing = settings.makes_directories();
        let directory = match asked_for {
            Some(path) => Some(Directory::asked_for(path, make_missing)?),
            None => Directory::asked_for(&settings.temporary, make_missing).ok(),
        };
        let path = match &directory {
            Some(directory) => {
                retire::snapshots(directory, settings, groups);
                directory.path.clone()
            }
            None => settings.temporary.clone(),
        };
        let kept = directory.and_then(|Directory { fd, path }| Kept::new(fd.into(), &path).ok());
        Ok(Snapshots {
            make_missing,
            ..Snapshots::in_directory(path, kept)
        })
    }

    fn in_directory(path: PathBuf, directory: Option<Kept>) -> Snapshots {
        Snapshots {
            path,
            directory,
            make_missing: true,
            made: AtomicU64::new(0),
            of_panics: AtomicU64::new(0),
            last: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    /// For cores that are never asked for one.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn nowhere() -> Snapshots {
        Snapshots::in_directory(PathBuf::new(), None)
    }

    /// How many were made, and how many panics had to go without.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let made = self.made.load(Ordering::Relaxed);
        (made, self.skipped.load(Ordering::Relaxed))
    }

    /// One more was made.
    pub(crate) fn count_made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// The directory, by the descriptor that was kept, else by its path.
    ///
    /// # Errors
    /// It cannot be had.
    pub(crate) fn directory(&self) -> Result<Directory, Error> {
        let kept = self.directory.as_ref();
        let open = kept.and_then(|kept| kept.open().ok()?.as_fd().try_clone_to_owned().ok());
        // One that was removed is open still, and nothing can be made in it.
        let there = open.filter(|fd| fstat(fd).is_ok_and(|stat| stat.st_nlink > 0));
        match there {
            Some(fd) => Ok(Directory {
                fd,
                path: self.path.clone(),
            }),
            None => Directory::asked_for(&self.path, self.make_missing),
        }
    }

    /// Leave to make a snapshot of a panic at `now`, unless there were too many, or
    /// another is being made.
    pub(crate) fn begin(&self, now: u64, second_ticks: u64) -> Option<Busy<'_>> {
        if self.busy.swap(1, Ordering::Acquire) != 0 {
            return None;
        }
        let busy = Busy(self);
        let number = self.of_panics.load(Ordering::Relaxed);
        let since = now.saturating_sub(self.last.load(Ordering::Relaxed));
        let apart = since >= second_ticks.saturating_mul(SECONDS_BETWEEN);
        if number >= AT_ONCE && (number >= OF_PANICS || !apart) {
            return None;
        }
        self.of_panics.store(number + 1, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
        Some(busy)
    }
}

/// Leave to make a snapshot of a panic; there is one at a time.
pub(crate) struct Busy<'a>(&'a Snapshots);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.store(0, Ordering::Release);
    }
}

impl Here<'_> {
    /// Counts a panic that has to go without a snapshot.
    pub(crate) fn skip_snapshot(self) {
        let skipped = self.snapshots.skipped.fetch_add(1, Ordering::Relaxed) + 1;
        self.store_total(totals::SNAPSHOTS_SKIPPED, skipped);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_there_by_its_descriptor_and_made_anew_where_it_was_removed() {
        let top = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (top.path().join("snapshots"), top.path().join("elsewhere"));
        let settings = Settings {
            snapshot_directory: Some(path.clone()),
            ..Settings::default()
        };
        let snapshots = Snapshots::new(&settings, &MemoryCgroups::of_this_process()).unwrap();
        std::fs::rename(&path, &elsewhere).unwrap();
        let inode = |fd: &std::os::fd::OwnedFd| fstat(fd).unwrap().st_ino;
        let moved = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&elsewhere).unwrap());
        assert_eq!(inode(&snapshots.directory().unwrap().fd), moved);
        assert!(!path.exists());

        std::fs::remove_dir(&elsewhere).unwrap();
        assert_ne!(inode(&snapshots.directory().unwrap().fd), moved);
        assert!(path.is_dir());
    }

    #[test]
    fn a_storm_of_panics_gets_a_few_snapshots_at_once_and_few_in_all() {
        let snapshots = Snapshots::nowhere();
        let storm = |from: u64| {
            let allowed = (from..from + 1000).filter(|&now| {
                let busy = snapshots.begin(now, 1_000_000);
                let other = snapshots.begin(now, 1_000_000);
                assert!(busy.is_none() || other.is_none(), "one at a time");
                busy.is_some()
            });
            allowed.count()
        };
        assert_eq!(storm(1), 4);
        assert_eq!(storm(2_000), 0);
        let later = (1..10).map(|n| storm(n * 20_000_000));
        assert_eq!(later.sum::<usize>(), 4);
    }
}
