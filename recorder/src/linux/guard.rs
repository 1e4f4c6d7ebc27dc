//! The guard: a mapping that loses its file harms nobody.
//!
//! A file that others truncate, a device that goes, a disk that has no room for what
//! it had promised: the next store there is a SIGBUS. Private memory takes the place
//! of what is lost, the store is tried again and succeeds, and the recording says so.
//! What is written there from then on dies with the process; the rest of the mapping
//! is the file's as before.
//!
//! It runs in the signal handler, under its law (see `fatal.rs`): of system calls
//! fstat, getrlimit, pwrite and mmap, and those that put a signal back. The mapping
//! itself is not touched, since that might be another SIGBUS.
//!
//! For a fault whose signal is blocked the kernel kills, whoever handles it, and many a
//! server blocks all signals in its threads. So a thread that gets a ring has SIGBUS
//! unblocked; where one comes that was sent, it is put back: blocked again and pending,
//! as the host wanted it.
//!
//! What is replaced is a page, or all behind the file's end, and not the mapping: what the
//! file still holds goes on being recorded there.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use rustix::fs::fstat;
use rustix::io::pwrite;

use crate::linux::core::Core;
use crate::linux::limits;
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

thread_local! {
    /// Whether the thread had SIGBUS blocked, and has not any more.
    static UNBLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Has the calling thread take SIGBUS.
pub(crate) fn arm() {
    if mask(libc::SIG_UNBLOCK) {
        UNBLOCKED.set(true);
    }
}

/// Whether the calling thread takes SIGBUS for that alone.
pub(crate) fn has_unblocked() -> bool {
    UNBLOCKED.get()
}

/// Puts a SIGBUS back that was sent, if the thread had blocked it; says whether it did.
/// `context` is the one that the handler of it was given.
pub(crate) fn puts_back(info: *const libc::siginfo_t, context: &mut libc::ucontext_t) -> bool {
    if !UNBLOCKED.replace(false) {
        return false;
    }
    compiler_fence(Ordering::SeqCst);
    // Now, and when the handler has returned.
    mask(libc::SIG_BLOCK);
    let after = &raw mut context.uc_sigmask;
    // SAFETY: the set is the context's, which the kernel has written.
    unsafe { libc::sigaddset(after, libc::SIGBUS) };
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the kernel gave the handler a valid siginfo_t.
    let to_the_thread = unsafe { (*info).si_code } == libc::SI_TKILL;
    let signal = libc::SIGBUS;
    if to_the_thread {
        let thread = crate::linux::thread::id() as i32;
        // SAFETY: it sends this thread what it was sent, which stays pending.
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, thread, signal, info) };
    } else {
        // SAFETY: it sends this process what it was sent (rt_sigqueueinfo(2)).
        let failed = unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, signal, info) };
        if failed != 0 {
            // What another sent by kill(2), only the process's first thread may send again
            // in the other's name.
            // SAFETY: the same without the particulars.
            unsafe { libc::kill(pid, signal) };
        }
    }
    true
}

/// Blocks or unblocks SIGBUS on the calling thread; whether it was blocked.
fn mask(how: i32) -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: all zeros is a set of signals, without any.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGBUS) };
    // SAFETY: both sets are valid to read and to write; the mask is this thread's own.
    unsafe { libc::pthread_sigmask(how, set.as_ptr(), before.as_mut_ptr()) };
    // SAFETY: the set is what the call has written, or none.
    unsafe { libc::sigismember(before.as_ptr(), libc::SIGBUS) == 1 }
}

/// Whether a fault at this address was that of a record which was open when a bare
/// clone(2) made this process, and is none any more: what is mapped is not inherited.
pub(crate) fn absorbs_in_a_child(address: u64) -> bool {
    let mut inherited = registry::cores().filter(|core| core.own().is_none());
    inherited.any(|core| {
        let page = core.guard.page_bytes;
        let offset = core.memory.offset_of(address as usize);
        offset.is_some_and(|offset| core.memory.fill(offset - offset % page, page))
    })
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
        let limit = limits::file_size();
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

    /// All signals, blocked on the calling thread.
    fn block_all() {
        let mut all = std::mem::MaybeUninit::uninit();
        // SAFETY: the set is written before the call returns.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: the set was initialised; the mask is this thread's own.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
    }

    fn is_pending(signal: i32) -> bool {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: the set is written before the call returns.
        unsafe { libc::sigpending(set.as_mut_ptr()) };
        // SAFETY: the call above has initialised the set.
        unsafe { libc::sigismember(set.as_ptr(), signal) == 1 }
    }

    #[test]
    fn a_thread_that_blocks_all_signals_is_guarded_and_what_it_is_sent_stays_pending() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let builder = crate::builder().directory(directory.path());
        let recorder = builder.capacity_mib(1).create().unwrap();
        let path = recorder.path().to_owned();
        let blocked = std::thread::spawn(move || {
            block_all();
            tracing::subscriber::with_default(recorder.subscriber(), || {
                tracing::info!("before");
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(1).unwrap();
                (0..10_000).for_each(|n| tracing::info!(n, "after"));
            });
            assert_eq!(recorder.stats().lost_stretches, 1);
            // SAFETY: it sends this thread a signal that it blocks, as far as it knows.
            unsafe { libc::raise(libc::SIGBUS) };
            assert!(is_pending(libc::SIGBUS));
        });
        blocked.join().unwrap();
    }

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
