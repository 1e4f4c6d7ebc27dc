//! Atomics: the standard library's, or loom's when the record path is modelled.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A number that one thread writes at a time: an atomic for the sake of `Sync`,
/// without an order of its own.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
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

/// What several threads write to, in cache lines of its own: two, since they are fetched
/// in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

impl<T> std::ops::Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// As many of them.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
pub(crate) struct Numbers<const N: usize>([Number; N]);

#[cfg(loom)]
impl<const N: usize> Default for Numbers<N> {
    fn default() -> Numbers<N> {
        Numbers(std::array::from_fn(|_| Number::default()))
    }
}

impl<const N: usize> std::ops::Deref for Numbers<N> {
    type Target = [Number; N];

    #[inline]
    fn deref(&self) -> &[Number; N] {
        &self.0
    }
}

/// What is valid when all of it is zero.
#[cfg(not(loom))]
pub(crate) use zerocopy::FromZeros as Zero;

#[cfg(loom)]
use std::default::Default as Zero;

/// `len` values that are zero; `None` where there is not so much memory.
#[cfg(not(loom))]
pub(crate) fn zeros<T: Zero>(len: usize) -> Option<Box<[T]>> {
    <[T]>::new_box_zeroed_with_elems(len).ok()
}

/// `len` values that are zero.
#[cfg(loom)]
pub(crate) fn zeros<T: Zero>(len: usize) -> Option<Box<[T]>> {
    Some((0..len).map(|_| T::default()).collect())
}

/// Large tables: memory of their own, or loom's. An interpreter maps none.
#[cfg(not(any(loom, miri)))]
pub(crate) use crate::linux::table::Table;

#[cfg(any(loom, miri))]
pub(crate) struct Table<T>(Box<[T]>);

#[cfg(any(loom, miri))]
impl<T: Zero> Table<T> {
    pub(crate) fn new(len: usize) -> Option<Table<T>> {
        zeros(len).map(Table)
    }
}

#[cfg(any(loom, miri))]
impl<T> std::ops::Deref for Table<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}
