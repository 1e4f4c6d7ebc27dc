//! The guard: a mapping that loses its file harms nobody.
//!
//! A file that others truncate, a device that goes, a disk that has no room for what
//! it had promised: the next store there is a SIGBUS. Private memory takes the place
//! of what is lost, the store is tried again and succeeds, and the recording says so.
//! What is written there from then on dies with the process; the rest of the mapping
//! is the file's as before.
//!
//! It runs in the signal handler, under its law (see `fatal.rs`): of system calls
//! fstat, getrlimit, pwrite and mmap. The mapping itself is not touched, since that
//! might be another SIGBUS.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::fstat;
use rustix::io::pwrite;
use rustix::process::{Resource, getrlimit};

use crate::linux::core::Core;
use crate::linux::registry;
use ttlog_format::header::{HEADER_BYTES, TOTALS_OFFSET, totals};

/// What the guard of a recording needs at hand.
pub(crate) struct Guard {
    /// The file's first bytes, for one that has lost them.
    header: Box<[u8; HEADER_BYTES]>,
    page_bytes: usize,
    lost: AtomicU64,
}

impl Guard {
    /// The guard of a recording with this header.
    pub(crate) fn new(header: Box<[u8; HEADER_BYTES]>) -> Guard {
        Guard {
            header,
            page_bytes: rustix::param::page_size(),
            lost: AtomicU64::new(0),
        }
    }

    /// How many stretches of the mapping have lost their file.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Whether a fault at this address was one of a mapping that has lost its file, and
/// is none any more.
pub(crate) fn absorbs(address: u64) -> bool {
    registry::cores().any(|core| core.absorbs(address as usize))
}

impl Core {
    fn absorbs(&self, address: usize) -> bool {
        let Some(offset) = self.memory.offset_of(address) else {
            return false;
        };
        let page = self.guard.page_bytes;
        let file = self.file.as_ref().and_then(|file| file.kept());
        let stat = file.and_then(|file| fstat(file).ok());
        let file_bytes = stat.map(|stat| stat.st_size as usize);
        let first = offset - offset % page;
        // Behind the end of the file all is lost, else one page.
        let behind = file_bytes.map(|bytes| bytes.next_multiple_of(page));
        let absorbed = match behind.filter(|&behind| behind <= first) {
            Some(behind) => self.memory.replace(behind, usize::MAX),
            None => self.memory.replace(first, page) || self.memory.replace(first, usize::MAX),
        };
        if absorbed {
            self.tell_lost(file_bytes);
        }
        absorbed
    }

    /// Tells the file that a stretch was lost; and whose it is, if it has lost that.
    fn tell_lost(&self, file_bytes: Option<usize>) {
        let lost = self.guard.lost.fetch_add(1, Ordering::Relaxed) + 1;
        let file = self.file.as_ref().and_then(|file| file.kept());
        // A forked child has no say in its parent's recording, and past the limit of
        // file sizes a write would kill.
        let limit = getrlimit(Resource::Fsize).current;
        let limited = limit.is_some_and(|limit| limit < TOTALS_OFFSET + HEADER_BYTES as u64);
        let (Some(file), Some(_), false) = (file, self.own(), limited) else {
            return;
        };
        if file_bytes.is_some_and(|bytes| bytes < HEADER_BYTES) {
            let _ = pwrite(file, &self.guard.header[..], 0);
        }
        let which = totals::LOST_STRETCHES;
        let total = totals::encode(which, lost, self.recording).to_le_bytes();
        let _ = pwrite(file, &total, TOTALS_OFFSET + 8 * which as u64);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::fs::OpenOptions;

    #[test]
    fn a_file_that_is_truncated_costs_its_words_and_not_the_host() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let builder = crate::builder().directory(directory.path());
        let recorder = builder.capacity_mib(1).create().unwrap();
        let file = OpenOptions::new().write(true).open(recorder.path());
        let file = file.unwrap();
        tracing::subscriber::with_default(recorder.subscriber(), || {
            tracing::info!("before");
            assert_eq!(recorder.stats().lost_stretches, 0);
            file.set_len(1).unwrap();
            (0..10_000).for_each(|n| tracing::info!(n, "after"));
        });
        let stats = recorder.stats();
        assert_eq!((stats.events, stats.dropped), (10_001, 0));
        assert_eq!(stats.lost_stretches, 1);

        let bytes = std::fs::read(recorder.path()).unwrap();
        let read = ttlog_format::salvage::salvage(&bytes[..]).unwrap();
        assert_eq!(read.header.pid, std::process::id());
        assert_eq!(read.ledger.lost_stretches, 1);
        assert!(!read.ledger.exact && read.ledger.missing_bytes > 0);
    }
}
