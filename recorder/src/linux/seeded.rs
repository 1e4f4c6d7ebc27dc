//! Bugs that a test has the recorder do, to see that it finds them.
//!
//! A build for such tests alone has them, with `--cfg ttlog_seeded`, and does the one that
//! the environment names when a recorder starts (`TTLOG_SEEDED=commit-first`), or a model
//! itself ([`sow`]). In every other build [`is`] is a constant, and nothing of this is left.

/// A bug, by what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Bug {
    /// A record is committed before its words are stored.
    CommitFirst,
    /// A block's header is written over while its magic is still that of the old block.
    HeaderFirst,
    /// The totals of those that are gone are stored behind the magic that makes them count.
    TotalsLate,
    /// A span's id is stored before the words of its slot.
    IdFirst,
    /// A call site is described behind the event that names it.
    SiteLate,
    /// What a record says later is stored without its guard.
    LaterBare,
    /// A recording gets its name before its header is written.
    NameFirst,
    /// A block is taken by a load and a store.
    TakenTwice,
    /// A signal handler gets into a record that is open.
    Reentry,
    /// The handler of fatal signals allocates.
    HandlerAllocates,
    /// The handler of fatal signals ends the process, where the signal was to.
    HandlerEnds,
    /// A forked child goes on writing.
    ChildWrites,
    /// Recordings are retired whose process lives.
    RetiresTheLiving,
}

/// Whether this bug is to be done.
#[cfg(not(ttlog_seeded))]
#[inline(always)]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// Has the recorder do the bug that the environment names.
#[cfg(not(ttlog_seeded))]
pub(crate) fn sow_what_is_named() {}

#[cfg(ttlog_seeded)]
pub(crate) use sown::{is, sow_what_is_named};

#[cfg(all(ttlog_seeded, loom))]
pub(crate) use sown::sow;

#[cfg(ttlog_seeded)]
mod sown {
    use super::Bug;

    const NAMED: [(&str, Bug); 12] = [
        ("commit-first", Bug::CommitFirst),
        ("header-first", Bug::HeaderFirst),
        ("totals-late", Bug::TotalsLate),
        ("id-first", Bug::IdFirst),
        ("site-late", Bug::SiteLate),
        ("later-bare", Bug::LaterBare),
        ("name-first", Bug::NameFirst),
        ("reentry", Bug::Reentry),
        ("handler-allocates", Bug::HandlerAllocates),
        ("handler-ends", Bug::HandlerEnds),
        ("child-writes", Bug::ChildWrites),
        ("retires-the-living", Bug::RetiresTheLiving),
    ];

    /// The bug that is done, as a bit.
    #[cfg(not(loom))]
    static SOWN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

    // Models run side by side, each with all its threads in one of the system's.
    #[cfg(loom)]
    std::thread_local! {
        static SOWN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    pub(crate) fn is(bug: Bug) -> bool {
        #[cfg(not(loom))]
        let sown = SOWN.load(std::sync::atomic::Ordering::Relaxed);
        #[cfg(loom)]
        let sown = SOWN.get();
        sown & (1 << bug as u32) != 0
    }

    /// Has whatever records do this bug.
    pub(crate) fn sow(bug: Bug) {
        #[cfg(not(loom))]
        SOWN.store(1 << bug as u32, std::sync::atomic::Ordering::Relaxed);
        #[cfg(loom)]
        SOWN.set(1 << bug as u32);
    }

    pub(crate) fn sow_what_is_named() {
        let Ok(name) = std::env::var("TTLOG_SEEDED") else {
            return;
        };
        let named = NAMED.iter().find(|(known, _)| *known == name);
        sow(named.expect("a bug that is known").1);
    }
}
