//! The words of a recording, mapped or on the heap.
//!
//! Every access is one atomic operation on one word: no slice and no reference
//! to plain memory is ever formed over words that another thread, a reader or a
//! wild pointer may write. An access out of bounds is none.

use crate::linux::sync::{AtomicU64, Ordering};
use memmap2::{MmapOptions, MmapRaw};
use rustix::mm::{Advice, MapFlags, MsyncFlags, ProtFlags, madvise, mmap_anonymous, msync, munmap};
use std::ffi::c_void;
use std::io;
use ttlog_format::check::Key;
use ttlog_format::record;

/// The words of a recording.
pub(crate) struct Memory {
    /// The first word; `words` of them live as long as `_owner`.
    base: *const AtomicU64,
    words: usize,
    /// Whether a forked child has it too.
    inherited: bool,
    _owner: Owner,
}

/// What keeps the words alive.
enum Owner {
    Map(#[allow(dead_code, reason = "unmaps when dropped")] MmapRaw),
    #[cfg(any(test, loom))]
    // No box: one that is moved says that nobody else has a pointer into it.
    Heap(#[allow(dead_code, reason = "freed when dropped")] Vec<AtomicU64>),
}

// SAFETY: the words are atomics, and `Memory` gives access to nothing else.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// The words of a mapping, whose address is that of a page and so aligned.
    pub(crate) fn mapped(map: MmapRaw) -> Memory {
        Memory {
            base: map.as_mut_ptr().cast(),
            words: map.len() / 8,
            inherited: true,
            _owner: Owner::Map(map),
        }
    }

    /// Zeroed words on the heap, for tests and models.
    #[cfg(any(test, loom))]
    pub(crate) fn heap(words: usize) -> Memory {
        let heap: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        Memory {
            base: heap.as_ptr(),
            words,
            inherited: true,
            _owner: Owner::Heap(heap),
        }
    }

    /// How far behind the first word an address lies, in bytes; `None` if it is not of
    /// these words.
    pub(crate) fn offset_of(&self, address: usize) -> Option<usize> {
        let offset = address.checked_sub(self.base as usize)?;
        (offset < self.words * 8).then_some(offset)
    }

    /// Has private memory, all zeros, take the place of the mapping from `offset` on,
    /// for so many bytes or as many as there are; both in whole pages. Whether it does.
    ///
    /// Whoever stores meanwhile stores to the one or the other.
    pub(crate) fn replace(&self, offset: usize, bytes: usize) -> bool {
        self.map_private(offset, bytes, MapFlags::FIXED).is_some()
    }

    /// The same in a process that has not inherited the mapping, where nothing else has
    /// taken its place by now.
    pub(crate) fn fill(&self, offset: usize, bytes: usize) -> bool {
        let Some((at, len, wanted)) = self.map_private(offset, bytes, MapFlags::FIXED_NOREPLACE)
        else {
            return false;
        };
        if at != wanted {
            // Kernels before 4.17 take the address for a wish.
            // SAFETY: this was mapped just now, and nobody knows of it.
            let _ = unsafe { munmap(at, len) };
        }
        at == wanted
    }

    /// Where private memory was mapped, how much, and where it was wanted.
    fn map_private(
        &self,
        offset: usize,
        bytes: usize,
        how: MapFlags,
    ) -> Option<(*mut c_void, usize, *mut c_void)> {
        let len = (self.words * 8).checked_sub(offset)?.min(bytes);
        if !matches!(self._owner, Owner::Map(_)) {
            return None;
        }
        let wanted: *mut c_void = self.base.wrapping_byte_add(offset).cast_mut().cast();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = how | MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the range is part of the mapping that `_owner` keeps, of which all
        // access is by atomics, that take any words for what they are; or nothing lies
        // there.
        let at = unsafe { mmap_anonymous(wanted, len, protection, flags) }.ok()?;
        Some((at, len, wanted))
    }

    /// Keeps a mapping out of the processes that this one forks.
    ///
    /// # Errors
    /// What madvise(2) says.
    pub(crate) fn keep_from_children(&mut self) -> io::Result<()> {
        let (base, len) = (self.base.cast_mut().cast(), self.words * 8);
        // SAFETY: the advice concerns children alone, which find nothing mapped there.
        unsafe { madvise(base, len, Advice::LinuxDontFork) }?;
        self.inherited = false;
        Ok(())
    }

    /// Has private memory take the mapping's place in a forked child.
    pub(crate) fn detach(&self) {
        let _ = match self.inherited {
            true => self.replace(0, usize::MAX),
            false => self.fill(0, usize::MAX),
        };
    }

    /// Stores a word.
    #[inline]
    pub(crate) fn store(&self, word: usize, value: u64) {
        self.store_as(word, value, Ordering::Relaxed);
    }

    /// Stores a word after all that was stored before it.
    #[inline]
    pub(crate) fn publish(&self, word: usize, value: u64) {
        self.store_as(word, value, Ordering::Release);
    }

    #[inline]
    fn store_as(&self, word: usize, value: u64, order: Ordering) {
        if let Some(word) = self.word(word) {
            // SAFETY: a word of ours, see `word`.
            unsafe { (*word).store(value, order) }
        }
    }

    /// Has the processor fetch the cache line of a word that is to be stored to soon.
    #[inline]
    pub(crate) fn prefetch(&self, word: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let word = self.base.wrapping_add(word).cast();
            // SAFETY: a hint, which neither loads nor faults wherever it points, and every
            // x86_64 processor has it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(word) }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = word;
    }

    /// Loads a word; 0 out of bounds.
    #[inline]
    pub(crate) fn load(&self, word: usize, order: Ordering) -> u64 {
        // SAFETY: a word of ours, see `word`.
        self.word(word)
            .map_or(0, |word| unsafe { (*word).load(order) })
    }

    /// Loads a word as if nobody else touched it, and wherever it is: a bug, to be found.
    #[cfg(all(test, ttlog_seeded, not(loom)))]
    pub(crate) fn load_plain(&self, word: usize) -> u64 {
        let word = self.base.cast::<u64>().wrapping_add(word);
        // SAFETY: there is no reason why this should be allowed.
        unsafe { word.read() }
    }

    /// Raises a word to at least `value`.
    pub(crate) fn raise(&self, word: usize, value: u64) {
        if let Some(word) = self.word(word) {
            // SAFETY: a word of ours, see `word`.
            unsafe { (*word).fetch_max(value, Ordering::Relaxed) };
        }
    }

    /// Writes what was stored into a mapping to its disk, and waits until it is there.
    ///
    /// # Errors
    /// What msync(2) says, once: what could not be written is not dirty any more.
    pub(crate) fn write_back(&self) -> io::Result<()> {
        let (base, len) = (self.base.cast_mut().cast(), self.words * 8);
        // SAFETY: no word is changed, and `_owner` keeps them mapped meanwhile.
        Ok(unsafe { msync(base, len, MsyncFlags::SYNC) }?)
    }

    /// Makes every page of a mapping dirty, as a store would, so that it is written
    /// again.
    ///
    /// # Errors
    /// A page that cannot be stored to any more, or a kernel before 5.14.
    pub(crate) fn make_dirty(&self) -> io::Result<()> {
        self.fault_in(0, usize::MAX)
    }

    /// Faults pages in for writing, from `offset` on, for so many bytes or as many as
    /// there are; both in whole pages.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn fault_in(&self, offset: usize, bytes: usize) -> io::Result<()> {
        let len = self.bytes().saturating_sub(offset).min(bytes);
        let from = self.base.wrapping_byte_add(offset).cast_mut().cast();
        // SAFETY: no word is changed, and `_owner` keeps them mapped meanwhile.
        Ok(unsafe { madvise(from, len, Advice::LinuxPopulateWrite) }?)
    }

    /// Bytes of all words.
    pub(crate) fn bytes(&self) -> usize {
        self.words * 8
    }

    /// A word of ours: in bounds of what `_owner` keeps alive as long as `self`,
    /// and aligned (see `base`).
    #[inline]
    fn word(&self, word: usize) -> Option<*const AtomicU64> {
        // SAFETY: in bounds of the allocation that `base` points to.
        (word < self.words).then(|| unsafe { self.base.add(word) })
    }

    /// Stores the words of a record, whose header has no check yet, at `at`, which is
    /// word `position` of its area, and then its header with its check.
    #[inline]
    pub(crate) fn store_record(&self, at: usize, words: &[u64], key: Key, position: usize) {
        let end = at.checked_add(words.len());
        let (Some(&header), true) = (words.first(), end.is_some_and(|end| end <= self.words))
        else {
            return;
        };
        let put = |place: usize, word: u64| {
            // SAFETY: in bounds of the allocation that `base` points to, as checked above.
            let place = unsafe { self.base.add(place) };
            // SAFETY: a word of ours, see `word`.
            unsafe { (*place).store(word, Ordering::Relaxed) }
        };
        let mut sum = key.sum(position);
        let mut place = at;
        let (pairs, last) = words.as_chunks();
        for &[first, second] in pairs {
            put(place, first);
            put(place + 1, second);
            sum.add_pair([first, second]);
            place += 2;
        }
        if let &[word] = last {
            put(place, word);
            sum.add_last(word);
        }
        put(at, record::seal(header, key.finish(sum.total())));
    }
}

/// A word that the kernel wipes in every child, however it was forked.
pub(crate) struct Sentinel(Memory);

impl Sentinel {
    /// # Errors
    /// What mapping a page says, or the advice (Linux before 4.14).
    pub(crate) fn new() -> io::Result<Sentinel> {
        let map = MmapRaw::from(MmapOptions::new().len(4096).map_anon()?);
        // SAFETY: the advice concerns the page just mapped, and only in children.
        unsafe { madvise(map.as_mut_ptr().cast(), map.len(), Advice::LinuxWipeOnFork) }?;
        let memory = Memory::mapped(map);
        memory.store(0, 1);
        Ok(Sentinel(memory))
    }

    /// One that is never wiped.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn heap() -> Sentinel {
        let memory = Memory::heap(1);
        memory.store(0, 1);
        Sentinel(memory)
    }

    /// Whether this is another process than the one that made the sentinel.
    #[inline]
    pub(crate) fn is_wiped(&self) -> bool {
        self.0.load(0, Ordering::Relaxed) == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use ttlog_format::record::Kind;

    const WORDS: usize = 40;
    const OLD: u64 = 0x5555_5555_5555_5555;

    fn words_of(memory: &Memory) -> Vec<u64> {
        (0..WORDS)
            .map(|word| memory.load(word, Ordering::Relaxed))
            .collect()
    }

    #[test]
    fn a_record_is_stored_in_whole_where_it_has_room_and_else_not_at_all() {
        let key = Key::of_span(1, 2);
        let places = (0..WORDS + 2).chain([usize::MAX - 1, usize::MAX]);
        for (at, len) in places.flat_map(|at| (0..WORDS + 2).map(move |len| (at, len))) {
            let memory = Memory::heap(WORDS);
            (0..WORDS).for_each(|word| memory.store(word, OLD));
            let mut words = vec![7; len];
            if let Some(first) = words.first_mut() {
                *first = record::header(Kind::Event, len);
            }
            memory.store_record(at, &words, key, 9);
            let mut expected = vec![OLD; WORDS];
            if let Some(place) = at
                .checked_add(len)
                .and_then(|end| expected.get_mut(at..end))
            {
                place.copy_from_slice(&words);
                // What the recorder fuses into the copy, done in two steps.
                let (mut area, len) = (vec![0; 9], len.min(1));
                area.extend_from_slice(place);
                record::seal_in_place(&mut area[9..], 9, key);
                place[..len].copy_from_slice(&area[9..9 + len]);
            }
            assert_eq!(words_of(&memory), expected, "{len} words at {at}");
        }
    }

    #[test]
    fn nothing_takes_the_place_of_words_that_are_not_mapped() {
        let memory = Memory::heap(WORDS);
        (0..WORDS).for_each(|word| memory.store(word, OLD));
        assert!(!memory.replace(0, usize::MAX) && !memory.fill(0, usize::MAX));
        memory.detach();
        assert_eq!(words_of(&memory), [OLD; WORDS]);
    }

    #[test]
    fn a_word_that_is_not_there_is_neither_stored_nor_loaded() {
        let memory = Memory::heap(WORDS);
        for word in (0..2 * WORDS).chain([usize::MAX / 8, usize::MAX / 8 + 1, usize::MAX]) {
            memory.store(word, OLD);
            memory.publish(word, OLD);
            memory.raise(word, OLD);
            let there = if word < WORDS { OLD } else { 0 };
            assert_eq!(memory.load(word, Ordering::Relaxed), there);
        }
        assert_eq!(words_of(&memory), [OLD; WORDS]);
        let base = memory.base as usize;
        let offsets = [base - 1, base, base + 8 * WORDS - 1, base + 8 * WORDS];
        let found = offsets.map(|address| memory.offset_of(address));
        assert_eq!(found, [None, Some(0), Some(8 * WORDS - 1), None]);
    }
}
