//! The cores of this process, which live until it ends.
//!
//! `atexit` writes the cause of an end by return from `main` or `exit` into each.

use std::sync::{Arc, Once, RwLock};

use crate::linux::core::Core;
use ttlog_format::cause::Kind;

static CORES: RwLock<Vec<Arc<Core>>> = RwLock::new(Vec::new());

/// Keeps a core until the process ends.
pub(crate) fn keep(core: Arc<Core>) {
    static AT_EXIT: Once = Once::new();
    AT_EXIT.call_once(|| {
        // SAFETY: `at_exit` is a function of this library, never unloaded, that
        // neither panics nor waits.
        let _ = unsafe { libc::atexit(at_exit) };
    });
    if let Ok(mut cores) = CORES.write() {
        cores.push(core);
    }
}

/// The core with this id. Never waits: a thread that ends just when another core
/// is kept is found by its id later.
pub(crate) fn core(id: u64) -> Option<Arc<Core>> {
    if id == 0 {
        return None;
    }
    let cores = CORES.try_read().ok()?;
    cores.iter().find(|core| core.id == id).cloned()
}

extern "C" fn at_exit() {
    if let Ok(cores) = CORES.try_read() {
        let here = cores.iter().filter_map(|core| core.here());
        here.for_each(|core| core.cause(Kind::Exit));
    }
}
