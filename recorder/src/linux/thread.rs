//! Which ring the calling thread has.
//!
//! The handles are plain numbers, initialised by the compiler and never dropped,
//! so that they can be reached from any destructor and any signal handler. A key
//! of pthreads, set with the first block, tells when the thread ends: after its
//! other destructors, and at no cost of memory. An event later than that begins
//! another ring, of a thread with the same id and name.
//!
//! A thread's first event allocates nothing and waits for nothing, since a signal
//! handler may be what logs it, in the middle of the allocator.
//!
//! A thread's name is the kernel's 15 bytes. Rust knows more, but asking it allocates in a
//! thread that is not its own, and panics in one whose thread-locals are gone.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::compiler_fence;

use crate::linux::core::{Core, Here};
use crate::linux::guard;
use crate::linux::ring::Ring;
use crate::linux::sync::Ordering;
use ttlog_format::block::THREAD_NAME_BYTES;

/// How many recorders a thread can have a ring of at a time.
const RECORDERS: usize = 4;

/// A ring of a core; `core` 0: none.
struct Handle {
    core: Cell<u64>,
    index: Cell<u32>,
    ring: Cell<*const Ring>,
}

impl Handle {
    const fn none() -> Handle {
        Handle {
            core: Cell::new(0),
            index: Cell::new(0),
            ring: Cell::new(std::ptr::null()),
        }
    }

    /// Gives the ring up, if there is one.
    fn end(&self) {
        let core = crate::linux::registry::core(self.core.get());
        // First, since a signal handler must not write to a block that may be another's.
        self.core.set(0);
        compiler_fence(Ordering::SeqCst);
        if let Some(core) = core
            && let Some(here) = core.own()
        {
            here.end_thread(self.index.get());
        }
    }
}

/// The rings of a thread.
struct Handles {
    each: [Handle; RECORDERS],
    /// One of them is being changed: who comes meanwhile is a signal handler.
    changing: Cell<bool>,
}

thread_local! {
    static HANDLES: Handles = const {
        Handles {
            each: [const { Handle::none() }; RECORDERS],
            changing: Cell::new(false),
        }
    };
}

impl Handles {
    /// Calls `change`, unless this thread is at that already.
    fn change<T>(&self, change: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.changing.replace(true) {
            return None;
        }
        compiler_fence(Ordering::SeqCst);
        let result = change();
        compiler_fence(Ordering::SeqCst);
        self.changing.set(false);
        result
    }

    fn of(&self, core: &Core) -> Option<&Handle> {
        self.each.iter().find(|handle| handle.core.get() == core.id)
    }

    /// A handle that is not in use: one that never was, or was in the process before
    /// a fork; or else the last, whose ring is ended as if its thread were.
    fn vacant(&self) -> Option<&Handle> {
        let free = self.each.iter().find(|handle| {
            let core = crate::linux::registry::core(handle.core.get());
            core.is_none_or(|core| core.own().is_none())
        });
        free.or_else(|| {
            let last = self.each.last()?;
            last.end();
            Some(last)
        })
    }
}

/// The calling thread's ring, which it gets if it has none. `None` if there is none to
/// be had. Not to be kept over a call of the user's code, in which the thread may end.
#[inline]
pub(crate) fn ring(here: Here<'_>) -> Option<&Ring> {
    let core = here.core();
    known_ring(core).or_else(|| new_ring(core))
}

/// The calling thread's ring, if it has one.
#[inline]
pub(crate) fn known_ring(core: &Core) -> Option<&Ring> {
    let ring = HANDLES.with(|handles| handles.of(core).map(|handle| handle.ring.get()))?;
    // SAFETY: one of this core's rings, which stay where they are as long as the core is
    // borrowed: `begin` took it from them, and no other core ever has this one's id.
    Some(unsafe { &*ring })
}

#[cold]
fn new_ring(core: &Core) -> Option<&Ring> {
    HANDLES.with(|handles| handles.change(|| begin(core, handles)))
}

/// Gets the calling thread a ring.
fn begin<'a>(core: &'a Core, handles: &Handles) -> Option<&'a Ring> {
    let handle = handles.vacant()?;
    let id = id();
    let index = core.begin_thread(name(id), id)?;
    let ring = core.rings.get(index)?;
    handle.index.set(index);
    handle.ring.set(ring);
    compiler_fence(Ordering::SeqCst);
    handle.core.set(core.id);
    watch_the_end();
    if core.faults {
        guard::arm();
    }
    Some(ring)
}

static ENDING: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();

/// The keys for which glibc has room in every thread; setting another allocates.
const KEYS: libc::pthread_key_t = 32;

/// Makes ready for [`watch_the_end`]. Where pthreads has no key left of those that can
/// be set without allocating, threads that have ended are found by their ids.
pub(crate) fn prepare() {
    ENDING.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` is written before the call returns, and `ending` is a
        // function of this library, never unloaded, that neither panics nor waits.
        let error = unsafe { libc::pthread_key_create(&raw mut key, Some(ending)) };
        if error == 0 && key >= KEYS {
            // SAFETY: the key was created above, and no thread has set it.
            unsafe { libc::pthread_key_delete(key) };
        }
        (error == 0 && key < KEYS).then_some(key)
    });
}

/// Has [`ending`] called when the calling thread ends. A few times, if it goes on
/// logging in destructors that are called later (pthread_key_create(3p)).
fn watch_the_end() {
    if let Some(&Some(key)) = ENDING.get() {
        let something = std::ptr::from_ref(&ENDING).cast();
        // SAFETY: the key was created and is never deleted; the value is never read.
        let _ = unsafe { libc::pthread_setspecific(key, something) };
    }
}

extern "C" fn ending(_: *mut c_void) {
    HANDLES.with(|handles| {
        handles.change(|| {
            handles.each.iter().for_each(Handle::end);
            Some(())
        });
    });
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

/// The calling thread's name, as far as it is kept.
pub(crate) fn own_name() -> String {
    let name = name(id());
    let len = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    String::from_utf8_lossy(&name[..len]).into_owned()
}

/// The calling thread's name, as the kernel has it, and "main" for the first thread. That
/// is 15 bytes of it: Rust, which knows the whole, would allocate for a thread that is
/// none of its own, and panic in one that it has forgotten.
fn name(id: u32) -> [u8; THREAD_NAME_BYTES] {
    const KERNELS: usize = 16;
    let mut name = [0; THREAD_NAME_BYTES];
    if id == rustix::process::getpid().as_raw_nonzero().get() as u32 {
        name[..4].copy_from_slice(b"main");
        return name;
    }
    if cfg!(miri) {
        // An interpreter has no prctl(2).
        return name;
    }
    let mut comm = [0u8; KERNELS];
    // SAFETY: the kernel writes at most 16 bytes there (prctl(2), PR_GET_NAME).
    let _ = unsafe { libc::prctl(libc::PR_GET_NAME, comm.as_mut_ptr()) };
    name[..KERNELS].copy_from_slice(&comm);
    name
}
