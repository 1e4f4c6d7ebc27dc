//! Which ring the calling thread has.
//!
//! The handles are plain numbers, initialised by the compiler and never dropped,
//! so that they can be reached from any destructor and any signal handler. A
//! second thread-local, armed with the first block, tells when the thread ends;
//! an event later than that reopens the thread's last block for itself alone.

use std::cell::Cell;

use crate::core::{Core, Here};
use crate::ring::Ring;
use crate::sync::Ordering;
use ttlog_format::block::THREAD_NAME_BYTES;

/// How many recorders a thread can have a ring of at a time.
const RECORDERS: usize = 4;

/// A ring of a core; `core` 0: none.
struct Handle {
    core: Cell<u64>,
    ring: Cell<u32>,
    generation: Cell<u64>,
    /// Once the thread has ended: what reopens its last block.
    ended: Cell<u64>,
}

impl Handle {
    const fn none() -> Handle {
        Handle {
            core: Cell::new(0),
            ring: Cell::new(0),
            generation: Cell::new(0),
            ended: Cell::new(0),
        }
    }
}

thread_local! {
    static HANDLES: [Handle; RECORDERS] = const { [const { Handle::none() }; RECORDERS] };
    static ENDING: Ending = const { Ending };
}

/// Dropped when the thread ends, be it before or after other destructors.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        HANDLES.with(|handles| {
            for handle in handles {
                if let Some(core) = crate::registry::core(handle.core.get()) {
                    end(&core, handle);
                }
            }
        });
    }
}

/// Calls `record` with the calling thread's ring, and gets it one before if need
/// be. `None` if there is none.
#[inline]
pub(crate) fn with<T>(here: Here<'_>, record: impl FnOnce(&Ring) -> T) -> Option<T> {
    match HANDLES.with(|handles| ring(&here, handles)) {
        Some(ring) => Some(record(ring)),
        None => HANDLES.with(|handles| with_new(&here, handles, record)),
    }
}

/// The calling thread's ring, if it has one and has not ended.
#[inline]
fn ring<'a>(core: &'a Core, handles: &[Handle; RECORDERS]) -> Option<&'a Ring> {
    let handle = known(core, handles).filter(|handle| handle.ended.get() == 0)?;
    core.rings.get(handle.ring.get() as usize)
}

#[inline]
fn known<'a>(core: &Core, handles: &'a [Handle; RECORDERS]) -> Option<&'a Handle> {
    handles.iter().find(|handle| handle.core.get() == core.id)
}

/// Calls `look` with the calling thread's ring, if it has one.
#[inline]
pub(crate) fn with_known<T>(core: &Core, look: impl FnOnce(&Ring) -> T) -> Option<T> {
    HANDLES.with(|handles| {
        let handle = known(core, handles)?;
        let ring = core.rings.get(handle.ring.get() as usize)?;
        let ours = ring.generation.load(Ordering::Relaxed) == handle.generation.get();
        ours.then(|| look(ring))
    })
}

#[cold]
fn with_new<T>(
    core: &Core,
    handles: &[Handle; RECORDERS],
    record: impl FnOnce(&Ring) -> T,
) -> Option<T> {
    let handle = known(core, handles).or_else(|| vacant(handles))?;
    let is_ending = ENDING.try_with(|_| ()).is_err();
    let reopened =
        handle.core.get() == core.id && core.reopen_thread(handle.ring.get(), handle.ended.get());
    if !reopened {
        let ring = core.begin_thread(name(is_ending), id())?;
        handle.ring.set(ring);
        handle
            .generation
            .set(core.rings[ring as usize].generation.load(Ordering::Relaxed));
    }
    handle.ended.set(0);
    handle.core.set(core.id);
    let result = core.rings.get(handle.ring.get() as usize).map(record);
    if is_ending {
        end(core, handle);
    }
    result
}

/// A handle that is not in use: one that never was, or else the last, whose ring
/// is ended as if its thread were.
fn vacant(handles: &[Handle; RECORDERS]) -> Option<&Handle> {
    let free = handles.iter().find(|handle| handle.core.get() == 0);
    free.or_else(|| {
        let last = handles.last()?;
        if last.ended.get() == 0
            && let Some(core) = crate::registry::core(last.core.get())
        {
            end(&core, last);
        }
        last.core.set(0);
        last.ended.set(0);
        Some(last)
    })
}

fn end(core: &Core, handle: &Handle) {
    if handle.ended.get() == 0
        && let Some(core) = core.here()
    {
        handle.ended.set(core.end_thread(handle.ring.get()));
    }
}

/// The operating system's id of the calling thread.
pub(crate) fn id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// Whether no thread of this process has this id any more.
pub(crate) fn is_gone(thread: u32) -> bool {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: signal 0 asks whether the thread exists and sends nothing.
    let answer = unsafe { libc::syscall(libc::SYS_tgkill, pid, thread as i32, 0) };
    answer == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// The calling thread's name, cut; the kernel's (15 bytes) where Rust has none or
/// its own is gone already.
fn name(is_ending: bool) -> [u8; THREAD_NAME_BYTES] {
    let mut name = [0; THREAD_NAME_BYTES];
    let put = |name: &mut [u8; THREAD_NAME_BYTES], text: &[u8]| {
        let len = text.len().min(THREAD_NAME_BYTES);
        name[..len].copy_from_slice(&text[..len]);
    };
    if !is_ending && let Some(text) = std::thread::current().name() {
        let end = text.floor_char_boundary(THREAD_NAME_BYTES);
        put(&mut name, &text.as_bytes()[..end]);
    } else if let Ok(comm) = rustix::thread::name() {
        put(&mut name, comm.to_bytes());
    }
    name
}
