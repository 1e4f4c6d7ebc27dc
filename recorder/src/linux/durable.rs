//! A recording that survives a power loss: whole on its disk when it gets its name,
//! and written there at an interval from then on.
//!
//! Nobody who records waits for this: the kernel writes the pages while they are
//! stored to. And no failure is forgotten. What msync(2) could not write it reports
//! once, and takes for written from then on; so after a failure every page is made
//! dirty anew, and until all of them are written nothing counts as being on the disk.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::fsync;
use rustix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::linux::aside::Ready;
use crate::linux::core::Core;
use crate::linux::place::{Directory, Place};
use crate::linux::sync::{AtomicU64, Ordering};
use ttlog_format::header::totals;

/// Whether what is written in `place` can be there after a power loss.
///
/// # Errors
/// It is in memory.
pub(crate) fn can_be_kept_in(place: &Place) -> Result<(), Error> {
    if place.on_tmpfs {
        let found = "it is in memory, of which a power loss leaves nothing, and durability asks \
                     for an interval";
        let remedy = "choose a directory on a disk, or Durability::Process";
        return Err(Error::directory(&place.directory.path, found, remedy));
    }
    Ok(())
}

/// No directory was set: recordings would go where a reboot leaves nothing.
pub(crate) fn without_directory(interval: Duration) -> Error {
    let found = format!("an interval of {interval:?}");
    let expected = "with it a directory on a disk: by default recordings are in memory or among \
                    temporary files, of which a reboot leaves nothing";
    Error::value("durability", found, expected)
}

/// Writes all of a file that is about to get its name. What was allocated and never
/// written becomes ordinary bytes by it, so that later writes change nothing else.
///
/// # Errors
/// What the disk says.
pub(crate) fn write_whole(file: &File) -> io::Result<()> {
    Ok(fsync(file)?)
}

/// Writes the names in a directory.
///
/// # Errors
/// What the disk says.
pub(crate) fn write_names(directory: &Directory) -> Result<(), Error> {
    fsync(&directory.fd).map_err(|error| Error::io("sync the directory", &directory.path, error))
}

/// The thread that writes a recording to its disk at an interval, from the beginning of
/// one time to that of the next, as long as the process lives; ready. The file is whole
/// on its disk already.
///
/// # Errors
/// There is no thread to be had.
pub(crate) fn ready(core: &Arc<Core>, interval: Duration) -> Result<Ready, Error> {
    let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    core.syncs.interval_ns.store(interval_ns, Ordering::Release);
    let writing = Arc::clone(core);
    Ready::new("ttlog-sync", move || keep_writing(&writing))
        .map_err(|error| Error::io("start a thread to sync", &core.path, error))
}

fn keep_writing(core: &Core) {
    let (memory, syncs) = (&core.memory, &core.syncs);
    // Whether what is not on the disk is dirty, so that it will be written.
    let mut is_dirty = true;
    let mut due = syncs.due_ns();
    loop {
        sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
        let begun = now_ns();
        // Private memory that took the place of a lost stretch is never on a disk.
        let is_whole = core.guard.lost() == 0;
        if memory.write_back().is_ok() && is_dirty && is_whole {
            syncs.succeeded(begun);
        } else {
            core.store_total(totals::FAILED_SYNCS, syncs.failed());
            is_dirty = memory.make_dirty().is_ok();
        }
        due = begun.saturating_add(syncs.interval_ns.load(Ordering::Relaxed));
    }
}

/// How often a recording was written to its disk, and how late.
pub(crate) struct Syncs {
    /// 0 where nobody writes at an interval.
    interval_ns: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// What was stored before this moment is on the disk.
    covered_ns: AtomicU64,
    /// The latest that one was done, counted from when it was due.
    longest_ns: AtomicU64,
}

impl Syncs {
    /// Of a recording in which nothing has been recorded, and that is on its disk.
    pub(crate) fn new() -> Syncs {
        Syncs {
            interval_ns: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            covered_ns: AtomicU64::new(now_ns()),
            longest_ns: AtomicU64::new(0),
        }
    }

    /// When the next one is due, or was.
    fn due_ns(&self) -> u64 {
        let interval_ns = self.interval_ns.load(Ordering::Acquire);
        // Acquire: who sees that one is done sees how late it was.
        let covered_ns = self.covered_ns.load(Ordering::Acquire);
        covered_ns.saturating_add(interval_ns)
    }

    /// One that began at `begun` is done.
    fn succeeded(&self, begun: u64) {
        let late_ns = now_ns().saturating_sub(self.due_ns());
        self.longest_ns.fetch_max(late_ns, Ordering::Relaxed);
        self.covered_ns.store(begun, Ordering::Release);
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// One more has failed; how many these are.
    fn failed(&self) -> u64 {
        self.failed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many succeeded, and how many failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let succeeded = self.succeeded.load(Ordering::Relaxed);
        (succeeded, self.failed.load(Ordering::Relaxed))
    }

    /// The latest that one was done, counted from when it was due, and the one that is
    /// under way included.
    pub(crate) fn longest(&self) -> Duration {
        if self.interval_ns.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        let late_ns = now_ns().saturating_sub(self.due_ns());
        let longest_ns = self.longest_ns.load(Ordering::Relaxed);
        Duration::from_nanos(late_ns.max(longest_ns))
    }
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Durability, Recorder};

    #[test]
    fn a_sync_that_is_late_is_long_even_while_it_is_under_way() {
        let syncs = Syncs::new();
        assert_eq!(syncs.longest(), Duration::ZERO, "none is ever due");
        syncs.interval_ns.store(1, Ordering::Relaxed);
        let under_way = syncs.longest();
        assert!(under_way > Duration::ZERO);
        syncs.succeeded(now_ns());
        assert!(syncs.longest() >= under_way);
        assert_eq!(syncs.counts(), (1, 0));

        let syncs = Syncs::new();
        syncs.interval_ns.store(u64::MAX, Ordering::Relaxed);
        syncs.succeeded(now_ns());
        assert_eq!(syncs.longest(), Duration::ZERO, "it came early");
    }

    /// A recorder that writes to a disk every millisecond, if temporary files are on one.
    fn on_a_disk(directory: &tempfile::TempDir) -> Option<Recorder> {
        let durability = Durability::Interval(Duration::from_millis(1));
        let builder = crate::builder().directory(directory.path());
        match builder.capacity_mib(1).durability(durability).create() {
            Ok(recorder) => Some(recorder),
            Err(error) if error.to_string().contains("it is in memory") => {
                eprintln!("SKIPPED: temporary files are in memory here");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for so many more, that succeed or fail.
    fn await_syncs(recorder: &Recorder, more: u64) {
        let tried = || recorder.stats().syncs + recorder.stats().failed_syncs;
        let until = tried() + more;
        while tried() < until {
            sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_recording_on_a_disk_is_written_there_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let Some(recorder) = on_a_disk(&directory) else {
            return;
        };
        await_syncs(&recorder, 3);
        assert_eq!(recorder.stats().failed_syncs, 0);
    }

    #[test]
    fn what_lies_in_private_memory_is_never_said_to_be_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let Some(recorder) = on_a_disk(&directory) else {
            return;
        };
        let file = File::options().write(true).open(recorder.path());
        file.unwrap().set_len(1).unwrap();
        tracing::subscriber::with_default(recorder.subscriber(), || tracing::info!("lost"));
        assert_ne!(recorder.stats().lost_stretches, 0);
        // One may have begun before.
        await_syncs(&recorder, 1);
        let succeeded = recorder.stats().syncs;
        await_syncs(&recorder, 3);
        assert_eq!(recorder.stats().syncs, succeeded);
        assert!(recorder.stats().failed_syncs >= 3);
    }
}
