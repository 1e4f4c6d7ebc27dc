//! Making a snapshot: the recording is read back from its file, as any reader does,
//! and written to a `.bin` that has its name when it is whole.
//!
//! The descriptors that it takes were opened at the start, when there were some.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::linux::aside;
use crate::linux::core::{Core, Here, Trace};
use crate::linux::kept::Kept;
use crate::linux::place::Directory;
use crate::linux::sync::{AtomicU64, Ordering};
use crate::linux::unfinished::Unfinished;
use crate::settings::{Settings, secure_execution};
use ttlog_format::header::totals;
use ttlog_format::incident::Kind;
use ttlog_format::salvage::{self, Recording, salvage};
use ttlog_format::snapshot::{self, Made, Maker};

/// How long the dying wait for their snapshot.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

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
    pub(crate) fn new(settings: &Settings) -> Result<Snapshots, Error> {
        let asked_for = settings.snapshot_directory.as_deref();
        let directory = match asked_for {
            Some(path) => Some(Directory::asked_for(path)?),
            None => Directory::asked_for(&temporary()).ok(),
        };
        let path = match &directory {
            Some(directory) => directory.path.clone(),
            None => temporary(),
        };
        let kept = directory.and_then(|Directory { fd, path }| Kept::new(fd.into(), &path).ok());
        Ok(Snapshots::in_directory(path, kept))
    }

    fn in_directory(path: PathBuf, directory: Option<Kept>) -> Snapshots {
        Snapshots {
            path,
            directory,
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

    /// The directory, by the descriptor that was kept, else by its path.
    fn directory(&self) -> Result<Directory, Error> {
        let kept = self.directory.as_ref();
        let open = kept.and_then(|kept| kept.open().ok()?.as_fd().try_clone_to_owned().ok());
        let there = open.filter(|_| self.path.is_dir());
        match there {
            Some(fd) => Ok(Directory {
                fd,
                path: self.path.clone(),
            }),
            None => Directory::asked_for(&self.path),
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

fn temporary() -> PathBuf {
    if secure_execution() {
        return PathBuf::from("/tmp");
    }
    std::env::temp_dir()
}

/// Makes a snapshot because somebody asked for it, and waits as long as it takes, or
/// as long as is said.
///
/// # Errors
/// This process is a fork of the one that records, or reading or writing fails.
pub(crate) fn asked_for(
    core: &Arc<Core>,
    why: &str,
    patience: Option<Duration>,
) -> Result<PathBuf, Error> {
    let Some(here) = core.here() else {
        return Err(Error::no_snapshot(
            "this process was forked from the one that records",
            "ask that one",
        ));
    };
    here.incident(Kind::Snapshot, why, "", Trace::default());
    let (core, why) = (Arc::clone(core), why.to_owned());
    let made = aside::wait_for(patience, move || Some(make(core.here()?, &why, None)));
    made.flatten().unwrap_or_else(|| {
        let reason = "there was no thread to make it, or no time";
        Err(Error::no_snapshot(reason, "try again"))
    })
}

impl Here<'_> {
    /// Counts a panic that has to go without a snapshot.
    pub(crate) fn skip_snapshot(self) {
        let skipped = self.snapshots.skipped.fetch_add(1, Ordering::Relaxed) + 1;
        self.store_total(totals::SNAPSHOTS_SKIPPED, skipped);
    }
}

/// Makes a snapshot, in the place of `old` if there is one, and returns its path.
///
/// # Errors
/// Reading or writing fails.
pub(crate) fn make(here: Here<'_>, why: &str, old: Option<&Path>) -> Result<PathBuf, Error> {
    let recording = read_back(here)?;
    let directory = here.snapshots.directory()?;
    let unfinished = Unfinished::create(&directory)?;
    let wall_ns = here.clock.sample().wall_ns;
    let made = Made {
        by: Maker::Process,
        why: why.to_owned(),
        wall_ns,
        recording: here.path.to_string_lossy().into_owned(),
        window_ns: Some(recording.header.window_ns),
        ..Made::default()
    };
    let written = snapshot::write(&recording, &made, &unfinished.file);
    unfinished.tried("write", written)?;
    if let Some(old) = old {
        unfinished.replaces(old)?;
        return Ok(old.to_owned());
    }
    let (_, path) = unfinished.named(recording.header.pid, wall_ns / 1_000_000, "bin")?;
    here.snapshots.made.fetch_add(1, Ordering::Relaxed);
    Ok(path)
}

fn read_back(here: Here<'_>) -> Result<Recording, Error> {
    let path = &here.path;
    let file = here.file.as_ref().ok_or(io::ErrorKind::NotFound.into());
    let file = file.and_then(Kept::open);
    let file = file.map_err(|error| Error::io("open the recording", path, error))?;
    salvage(&file).map_err(|error| match error {
        salvage::Error::Read(error) => Error::recording(path, error),
        salvage::Error::NotARecording(_)
        | salvage::Error::Unsupported { .. }
        | salvage::Error::NoHeader => Error::recording(path, "it has no header"),
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

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
