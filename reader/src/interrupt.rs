//! Ctrl-C, where it is to end something in order and not the process at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is set by the first SIGINT from now on; the second ends the process as ever.
#[cfg(unix)]
pub(crate) fn noted() -> Arc<AtomicBool> {
    use signal_hook::consts::SIGINT;
    use signal_hook::flag;

    let interrupted = Arc::new(AtomicBool::new(false));
    // The order counts: the second finds what the first has set. Where it cannot be had,
    // the process ends by the first.
    let _ = flag::register_conditional_default(SIGINT, Arc::clone(&interrupted))
        .and_then(|_| flag::register(SIGINT, Arc::clone(&interrupted)));
    interrupted
}

/// Elsewhere it ends the process at once.
#[cfg(not(unix))]
pub(crate) fn noted() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}
