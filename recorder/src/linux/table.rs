//! Tables of private memory: all zeros at first, and no more of it taken than is touched.
//!
//! They are mapped and not allocated: an allocator writes zeros where memory has been used
//! before, and its own words at the beginning of what has not, for which a kernel that
//! gives huge pages unasked gives 2 MiB.

use crate::linux::sync::Zero;
use memmap2::{MmapOptions, MmapRaw};
use rustix::mm::{Advice, madvise};
use std::marker::PhantomData;
use std::ops::Deref;

/// So many values, in memory of their own.
pub(crate) struct Table<T> {
    map: MmapRaw,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Zero> Table<T> {
    /// So many values that are zero; `None` where there is not so much memory.
    pub(crate) fn new(len: usize) -> Option<Table<T>> {
        const { assert!(!std::mem::needs_drop::<T>() && align_of::<T>() <= 4096) }
        let bytes = len.checked_mul(size_of::<T>())?.max(1);
        let map = MmapRaw::from(MmapOptions::new().len(bytes).map_anon().ok()?);
        // SAFETY: no byte of what was mapped just now is changed.
        let _ = unsafe { madvise(map.as_mut_ptr().cast(), bytes, Advice::LinuxNoHugepage) };
        Some(Table {
            map,
            len,
            values: PhantomData,
        })
    }
}

impl<T> Deref for Table<T> {
    type Target = [T];

    #[inline]
    #[expect(
        clippy::disallowed_methods,
        reason = "these are no words of a recording, but private memory"
    )]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` has mapped so many, at the address of a page, and zeros are values
        // of `T`. Nobody else has the mapping, and it lasts as long as `self`.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::sync::{AtomicU64, Ordering};

    #[test]
    fn a_table_is_zeros_of_any_number_and_keeps_what_is_stored() {
        for len in [0, 1, 511, 512, 513, 1 << 20] {
            let table: Table<AtomicU64> = Table::new(len).unwrap();
            assert_eq!(table.len(), len);
            let (Some(first), Some(last)) = (table.first(), table.last()) else {
                continue;
            };
            assert_eq!(last.load(Ordering::Relaxed), 0);
            last.store(7, Ordering::Relaxed);
            first.fetch_add(1, Ordering::Relaxed);
            assert_eq!(last.load(Ordering::Relaxed), if len == 1 { 8 } else { 7 });
        }
        assert!(Table::<AtomicU64>::new(usize::MAX).is_none());
    }
}
