//! Atomics: the standard library's, or loom's when the record path is modelled.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A number that one thread writes at a time: an atomic for the sake of `Sync`,
/// without an order of its own.
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn new(value: u64) -> Number {
        Number(AtomicU64::new(value))
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// `len` atomics, all `value`.
pub(crate) fn atomics(len: usize, value: u64) -> Box<[AtomicU64]> {
    (0..len).map(|_| AtomicU64::new(value)).collect()
}
