//! A block that is being written to. Its holder is the only writer.
//!
//! What is stored, in this order: the record's words, then, by one release
//! store, the commit word that makes them count. Whoever loads the commit word
//! and acquires sees the whole record; a process that dies in between leaves
//! words that nothing speaks of.

use crate::linux::memory::Memory;
use crate::linux::seeded::{self, Bug};
use crate::linux::sync::{Ordering, fence};
use ttlog_format::block::{self, HEADER_WORDS, Header, Next, OWNER_WORD, word};
use ttlog_format::check::Key;

/// Where a block's next record goes.
#[derive(Clone, Copy)]
pub(crate) struct OpenBlock {
    /// The block's first word in the recording.
    pub(crate) base: usize,
    /// The key of its records.
    pub(crate) key: Key,
    /// Word of the block at which the next record begins.
    pub(crate) position: usize,
    /// Events among the records.
    pub(crate) events: u32,
}

impl OpenBlock {
    /// How many words are left.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        OWNER_WORD - self.position
    }

    /// Appends a record of which the header word has no check yet, and commits it.
    ///
    /// The caller has seen to it that there is room.
    #[inline]
    pub(crate) fn append(&mut self, memory: &Memory, words: &[u64], is_event: bool) {
        let events = self.events + u32::from(is_event);
        if seeded::is(Bug::CommitFirst) {
            self.commit_to(memory, self.position + words.len(), events);
        }
        self.write(memory, words);
        self.events = events;
        self.commit_to(memory, self.position, events);
    }

    /// Appends a record, of which the words behind `words` are one that is stored later,
    /// and commits it.
    #[inline]
    pub(crate) fn append_with_later(&mut self, memory: &Memory, words: &[u64]) {
        self.write(memory, words);
        memory.store(self.base + self.position, self.key.guard(self.position, 0));
        self.position += 1;
        self.commit_to(memory, self.position, self.events);
    }

    /// Writes a record's words without committing them.
    #[inline]
    pub(crate) fn write(&mut self, memory: &Memory, words: &[u64]) {
        memory.store_record(self.base + self.position, words, self.key, self.position);
        self.position += words.len();
    }

    #[inline]
    fn commit_to(&self, memory: &Memory, position: usize, events: u32) {
        let commit = block::commit(position * 8, events);
        let commit = self.key.guard(word::COMMIT, commit);
        memory.publish(self.base + word::COMMIT, commit);
    }

    /// Stores how many events the block's thread has dropped so far.
    pub(crate) fn store_dropped(&self, memory: &Memory, dropped: u32) {
        let dropped = self.key.guard(word::DROPPED, dropped);
        memory.store(self.base + word::DROPPED, dropped);
    }

    /// Stores what became of the block's thread: it goes on in another, or has ended.
    pub(crate) fn store_next(&self, memory: &Memory, next: Next) {
        let next = self.key.guard(word::NEXT, next.encode());
        memory.publish(self.base + word::NEXT, next);
    }

    /// Takes the words of a block over: the old records are gone with the first
    /// store, which also makes the new pair of retired totals count.
    pub(crate) fn begin(memory: &Memory, base: usize, header: &Header) -> OpenBlock {
        let open = OpenBlock {
            base,
            key: header.key(),
            position: HEADER_WORDS,
            events: 0,
        };
        let pair = header.pair & 1;
        if seeded::is(Bug::HeaderFirst) {
            open.store_header(memory, &header.encode(0));
        }
        if !seeded::is(Bug::TotalsLate) {
            open.store_retired(memory, header);
        }
        memory.publish(base + word::MAGIC, block::MAGIC_TAKEN[pair]);
        // A live reader that sees any of the new words sees the magic gone too.
        fence(Ordering::Release);
        if seeded::is(Bug::TotalsLate) {
            open.store_retired(memory, header);
        }
        open
    }

    /// Stores the pair of retired totals that is not in use until the magic says so.
    fn store_retired(&self, memory: &Memory, header: &Header) {
        let retired = self.base + word::RETIRED + 2 * (header.pair & 1);
        memory.store(retired, header.retired.events);
        memory.store(retired + 1, header.retired.dropped);
    }

    /// Stores at the block's end whose it is, before [`OpenBlock::publish`] says so.
    pub(crate) fn store_owner(&self, memory: &Memory, header: &Header) {
        for (i, word) in header.encode_owner().into_iter().enumerate() {
            memory.store(self.base + OWNER_WORD + i, word);
        }
    }

    /// Ends what [`OpenBlock::begin`] began: whatever was written in between
    /// counts from here on, together with the header.
    pub(crate) fn publish(&self, memory: &Memory, header: &Header, dropped: u32) {
        let words = header.encode(dropped);
        self.store_header(memory, &words);
        self.commit_to(memory, self.position, self.events);
        memory.publish(self.base + word::MAGIC, words[word::MAGIC]);
    }

    /// Stores the words of a header that are not stored one by one.
    fn store_header(&self, memory: &Memory, words: &[u64; HEADER_WORDS]) {
        for (i, &value) in words.iter().enumerate() {
            let in_place = i == word::MAGIC || i == word::COMMIT;
            let pair = (word::RETIRED..word::NEXT).contains(&i);
            if !in_place && !pair {
                memory.store(self.base + i, value);
            }
        }
    }
}
