//! The cores of this process, which live until it ends.
//!
//! A list that only grows: whoever walks it, a signal handler included, waits for
//! nobody, and a child that was forked while somebody appended finds no lock that is
//! held for ever. At the process's exit each gets the cause of an end.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Once, OnceLock};

use crate::linux::core::{Core, Here};
use ttlog_format::cause::{Cause, Kind};

struct Node {
    core: Arc<Core>,
    next: Link,
}

/// What follows, if anything does yet. It never goes again.
struct Link(AtomicPtr<Node>);

static FIRST: Link = Link::none();

static INSTALLED: OnceLock<Arc<Core>> = OnceLock::new();

/// Keeps a core until the process ends.
pub(crate) fn keep(core: Arc<Core>) {
    static AT_EXIT: Once = Once::new();
    AT_EXIT.call_once(at_exit);
    append(core);
}

/// Puts a core behind the others.
pub(crate) fn append(core: Arc<Core>) {
    let node = Box::leak(Box::new(Node {
        core,
        next: Link::none(),
    }));
    let mut place = &FIRST;
    while let Some(taken) = place.set(node) {
        place = &taken.next;
    }
}

impl Link {
    const fn none() -> Link {
        Link(AtomicPtr::new(std::ptr::null_mut()))
    }

    fn get(&self) -> Option<&'static Node> {
        // Acquire: the node is seen as it was made.
        let node = self.0.load(Ordering::Acquire);
        // SAFETY: what `set` stored is a leaked box, which nobody writes to any more.
        unsafe { node.as_ref() }
    }

    /// Sets it if there is none yet; otherwise gives what is there.
    fn set(&self, node: *mut Node) -> Option<&'static Node> {
        let (none, after) = (std::ptr::null_mut(), Ordering::Release);
        let exchanged = self
            .0
            .compare_exchange(none, node, after, Ordering::Acquire);
        // SAFETY: as in `get`.
        unsafe { exchanged.err()?.as_ref() }
    }
}

/// Keeps a core as the one whose subscriber is the global default.
pub(crate) fn install(core: Arc<Core>) {
    let _ = INSTALLED.set(core.clone());
    keep(core);
}

/// All cores, oldest first.
pub(crate) fn cores() -> impl Iterator<Item = &'static Arc<Core>> {
    let first = FIRST.get();
    let nodes = std::iter::successors(first, |node| node.next.get());
    nodes.map(|node| &node.core)
}

/// The cores that record this process, and not the one that it was forked from.
pub(crate) fn here() -> impl Iterator<Item = Here<'static>> {
    cores().filter_map(|core| core.own())
}

/// The core with this id.
pub(crate) fn core(id: u64) -> Option<&'static Core> {
    cores().find(|core| core.id == id).map(|core| &**core)
}

/// The core that was installed, else the newest.
pub(crate) fn installed() -> Option<&'static Arc<Core>> {
    INSTALLED.get().or_else(|| cores().last())
}

fn ended(status: Option<i32>) {
    here().for_each(|here| {
        here.cause(Cause {
            kind: Kind::Exit,
            status,
            ..Cause::default()
        });
    });
}

/// Has [`ended`] called at the process's exit, with the status, which glibc tells
/// (on_exit(3)).
#[cfg(target_env = "gnu")]
fn at_exit() {
    use std::ffi::{c_int, c_void};
    unsafe extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }
    extern "C" fn exited(status: c_int, _: *mut c_void) {
        // Of the status, waitpid(2) gives the low 8 bits.
        ended(Some(status & 0xff));
    }
    // SAFETY: `exited` is a function of this library, never unloaded, that neither
    // panics nor waits; its argument is not used.
    let _ = unsafe { on_exit(exited, std::ptr::null_mut()) };
}

/// Has [`ended`] called at the process's exit.
#[cfg(not(target_env = "gnu"))]
fn at_exit() {
    extern "C" fn exited() {
        ended(None);
    }
    // SAFETY: as for glibc.
    let _ = unsafe { libc::atexit(exited) };
}
