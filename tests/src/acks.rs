//! Acknowledgements: how far each worker got, in a mapping that outlives it.
//!
//! A worker stores a number after each event call has returned. Stores reach
//! the page cache in program order, so an acknowledged event was recorded before.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapMut;

/// How many counters there are: a page of them.
pub const COUNTERS: usize = 512;

/// The counters, as the victim writes them.
#[derive(Debug)]
pub struct Acks {
    map: MmapMut,
}

impl Acks {
    /// Creates the file at `path` and maps it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Acks> {
        Acks::create_with(path, COUNTERS)
    }

    /// The same, with so many counters.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create_with(path: &Path, counters: usize) -> io::Result<Acks> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true);
        let file = file.open(path)?;
        file.set_len(counters as u64 * 8)?;
        Acks::map(&file)
    }

    /// Maps the file at `path`, which another process has created.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> io::Result<Acks> {
        Acks::map(&OpenOptions::new().read(true).write(true).open(path)?)
    }

    fn map(file: &File) -> io::Result<Acks> {
        // SAFETY: nobody shortens the file, and it is accessed through atomics alone.
        let map = unsafe { MmapMut::map_mut(file)? };
        Ok(Acks { map })
    }

    /// The counter of a worker.
    pub fn counter(&self, worker: u64) -> &AtomicU64 {
        let index = worker as usize;
        assert!(index < self.map.len() / 8);
        let word = self
            .map
            .as_ptr()
            .cast::<u64>()
            .cast_mut()
            .wrapping_add(index);
        // SAFETY: a mapping is aligned to pages, holds the word, lives as long
        // as `self`, was mapped for writing, and is accessed through atomics alone.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// Says that a worker's first `count` events have returned.
    pub fn acknowledge(&self, worker: u64, count: u64) {
        self.counter(worker).store(count, Ordering::Release);
    }
}

/// The counters, as they are in the file.
///
/// # Errors
/// What the file system says.
pub fn read(file: &File) -> io::Result<Vec<u64>> {
    let mut bytes = [0; COUNTERS * 8];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0)?;
    Ok(bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|&chunk| u64::from_le_bytes(chunk))
        .collect())
}
