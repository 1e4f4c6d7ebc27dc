//! A block: a fixed-size piece of the recording that can be read alone.
//!
//! ```text
//!   word  0   magic                  which also says in what state the block is
//!         1   commit (guarded)       bytes committed | events among them << 16
//!         2   dropped (guarded)      events that the thread has dropped so far
//!         3   check                  over words 0 and 4..23, less the unused
//!                                    pair of retired totals
//!         4   recording              identity of the recording
//!         5   sequence               the how-manieth block taken, from 1
//!         6   index | kind << 32     of this block in the pool
//!         7   thread number | operating system's thread id << 32
//!         8   thread name            32 bytes, padded by zeros
//!        12   events before          that the thread recorded in earlier blocks
//!        13   previous sequence      of the thread's block before, 0: none
//!        14   previous index | events in it << 32
//!        15   ticks, monotonic, boottime, wall      when the block was taken
//!        19   retired events, retired drops         pair 0
//!        21   retired events, retired drops         pair 1
//!        23   next (guarded)         index of the thread's block after, plus 1; 0: none;
//!                                    all ones: the thread has ended
//!        24   records
//!       510   sequence               once more, as far from the header as can be
//!       511   thread number | check << 32       over both, the kind and the index
//! ```
//!
//! Why does a block say twice whose it is? Damage that takes its header, and ends within
//! it, would else take the records behind, too: they pass their checks, but nobody could
//! say under which key. The words at the end are the newest life's, whatever older lives
//! have left before them.
//!
//! A block of call sites has no thread: the words of its header say of the recording what
//! else only the file's header says, see [`About`].
//!
//! Why two pairs of retired totals? When the last block of a thread that is gone
//! is taken for another, its totals would go with it. They are added up for each
//! place in the pool, written to the pair that is not in use, and the one store
//! of the magic, which says which pair counts, ends the old block and adds its
//! totals at the same instant. So totals are exact wherever the process dies.
//!
//! Why does a block say that there is a next one? The totals of a thread that is
//! gone are among the retired ones, and a block of it that is still there must not
//! be counted again. Its newest block says that there is no next.
//!
//! Why is the commit word guarded and not checked with the rest? It changes with
//! every record; a guard costs a few instructions. It is bound to its word, so that none
//! is believed in another's place.

mod correct;

use crate::check::Key;
use crate::clock::Sample;
use crate::header::Layout;
use crate::{BLOCK_BYTES, BLOCK_WORDS};

pub(crate) use correct::{are_near, corrected, near};

/// Words of a block's header.
pub const HEADER_WORDS: usize = 24;

/// Bytes of a block's header.
pub const HEADER_BYTES: usize = HEADER_WORDS * 8;

/// Bytes kept of a thread's name.
pub const THREAD_NAME_BYTES: usize = 32;

/// The words of a block's header, by name.
pub mod word {
    /// State and magic.
    pub const MAGIC: usize = 0;
    /// Bytes and events committed, guarded.
    pub const COMMIT: usize = 1;
    /// Events dropped by the thread so far, guarded.
    pub const DROPPED: usize = 2;
    /// Check of the rest.
    pub const CHECK: usize = 3;
    /// Identity of the recording.
    pub const RECORDING: usize = 4;
    /// Allocation sequence number.
    pub const SEQUENCE: usize = 5;
    /// Index and kind.
    pub const INDEX: usize = 6;
    /// Thread number and id.
    pub const THREAD: usize = 7;
    /// Thread name, four words.
    pub const NAME: usize = 8;
    /// Events of the thread before this block.
    pub const EVENTS_BEFORE: usize = 12;
    /// Sequence number of the thread's block before.
    pub const PREVIOUS_SEQUENCE: usize = 13;
    /// Index of the thread's block before and the events in it.
    pub const PREVIOUS: usize = 14;
    /// Clock sample, four words.
    pub const CLOCKS: usize = 15;
    /// Two pairs of retired totals.
    pub const RETIRED: usize = 19;
    /// Index of the thread's block after, plus 1, guarded.
    pub const NEXT: usize = 23;
}

/// Where a block says once more whose it is, in words: behind its last record.
pub const OWNER_WORD: usize = BLOCK_WORDS - 2;

/// Bytes of a block before that.
pub const RECORDS_END_BYTES: usize = OWNER_WORD * 8;

const _: () = assert!(word::NEXT + 1 == HEADER_WORDS);
const _: () = assert!(word::NAME * 8 + THREAD_NAME_BYTES == word::EVENTS_BEFORE * 8);
const _: () = assert!(HEADER_BYTES < BLOCK_BYTES);
const _: () = assert!(BLOCK_BYTES < 1 << 16);

/// The magic of a block that can be read; the second for retired pair 1.
pub const MAGIC_BLOCK: [u64; 2] = [
    u64::from_le_bytes(*b"ttlgblk0"),
    u64::from_le_bytes(*b"ttlgblk1"),
];

/// The magic of a block that is being taken: nothing but the pair counts.
pub const MAGIC_TAKEN: [u64; 2] = [
    u64::from_le_bytes(*b"ttlgnew0"),
    u64::from_le_bytes(*b"ttlgnew1"),
];

/// What a block holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Records of one thread.
    #[default]
    Records = 1,
    /// Call sites.
    CallSites = 2,
}

/// The totals of threads that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Events that they recorded.
    pub events: u64,
    /// Events that they dropped.
    pub dropped: u64,
}

/// The header of a block, as it is written when the block is taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// Identity of the recording.
    pub recording: u64,
    /// The how-manieth block taken, from 1; unique in the recording.
    pub sequence: u64,
    /// Index of the block in the pool.
    pub index: u32,
    /// What it holds.
    pub kind: Kind,
    /// Number of the thread in the recording, from 1; 0 for call sites.
    pub thread: u32,
    /// The operating system's id of the thread.
    pub thread_id: u32,
    /// Name of the thread, padded by zeros.
    pub thread_name: [u8; THREAD_NAME_BYTES],
    /// Events that the thread recorded before this block.
    pub events_before: u64,
    /// Sequence number of the thread's block before, 0 if there is none.
    pub previous_sequence: u64,
    /// Index of the thread's block before.
    pub previous_index: u32,
    /// Events in the thread's block before.
    pub previous_events: u32,
    /// All clocks when the block was taken.
    pub clocks: Sample,
    /// Totals of the threads that are gone and whose last block was at this index.
    pub retired: Retired,
    /// Which of the two pairs holds `retired`: 0 or 1.
    pub pair: usize,
}

impl Header {
    /// The header's words, with the commit word of an empty block.
    ///
    /// The pair that is not in use is zero here and is not covered by the check.
    #[inline]
    pub fn encode(&self, dropped: u32) -> [u64; HEADER_WORDS] {
        let key = self.key();
        let mut words = [0; HEADER_WORDS];
        words[word::MAGIC] = MAGIC_BLOCK[self.pair & 1];
        words[word::RECORDING] = self.recording;
        words[word::SEQUENCE] = self.sequence;
        words[word::INDEX] = pair(self.index, self.kind as u32);
        words[word::THREAD] = pair(self.thread, self.thread_id);
        for (i, chunk) in self.thread_name.as_chunks::<8>().0.iter().enumerate() {
            words[word::NAME + i] = u64::from_le_bytes(*chunk);
        }
        words[word::EVENTS_BEFORE] = self.events_before;
        words[word::PREVIOUS_SEQUENCE] = self.previous_sequence;
        words[word::PREVIOUS] = pair(self.previous_index, self.previous_events);
        words[word::CLOCKS..word::CLOCKS + 4].copy_from_slice(&self.clocks.to_words());
        let retired = word::RETIRED + 2 * (self.pair & 1);
        words[retired] = self.retired.events;
        words[retired + 1] = self.retired.dropped;
        // Over zeros where words are not covered, see `check`.
        words[word::CHECK] = key.over(0, &words);
        words[word::COMMIT] = key.guard(word::COMMIT, HEADER_BYTES as u32);
        words[word::DROPPED] = key.guard(word::DROPPED, dropped);
        words[word::NEXT] = key.guard(word::NEXT, 0);
        words
    }

    /// The key of this block's records.
    pub fn key(&self) -> Key {
        Key::of_block(self.recording, self.sequence, self.thread, self.kind)
    }

    /// What the block says at [`OWNER_WORD`].
    #[inline]
    pub fn encode_owner(&self) -> [u64; 2] {
        let check = self.key().at_place(self.index);
        [self.sequence, pair(self.thread, check)]
    }
}

/// Whose a block is: what the key of its records is made of, beside the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its sequence number.
    pub sequence: u64,
    /// The number of its thread, 0 for call sites.
    pub thread: u32,
    /// What it holds.
    pub kind: Kind,
}

impl Owner {
    /// The key of the block's records.
    pub fn key(self, recording: u64) -> Key {
        Key::of_block(recording, self.sequence, self.thread, self.kind)
    }
}

/// Whose a block of this recording at this index is, by the words at its end; `None` if
/// they are damaged, or another block's.
pub fn owner(words: &[u64], recording: u64, index: u32) -> Option<Owner> {
    let &[sequence, last] = words.get(OWNER_WORD..)?.first_chunk()?;
    let (thread, check) = (last as u32, (last >> 32) as u32);
    [Kind::Records, Kind::CallSites]
        .map(|kind| Owner {
            sequence,
            thread,
            kind,
        })
        .into_iter()
        .find(|owner| owner.key(recording).at_place(index) == check)
}

/// What a block of call sites says of its recording, in those words of its header that
/// are a thread's in others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Process id, in place of the thread's.
    pub pid: u32,
    /// Name of the service, in place of the thread's, padded by zeros.
    pub name: [u8; THREAD_NAME_BYTES],
    /// Where everything lies: the blocks are in place of the index of the block before,
    /// the span slots of the events in it.
    pub layout: Layout,
}

impl About {
    /// What this block says, if it holds call sites.
    pub fn of(header: &Header) -> Option<About> {
        (header.kind == Kind::CallSites).then_some(About {
            pid: header.thread_id,
            name: header.thread_name,
            layout: Layout {
                span_slots: header.previous_events,
                blocks: header.previous_index,
            },
        })
    }

    /// The header of a block of call sites that says so.
    pub fn write(&self, header: Header) -> Header {
        Header {
            kind: Kind::CallSites,
            thread: 0,
            thread_id: self.pid,
            thread_name: self.name,
            previous_index: self.layout.blocks,
            previous_events: self.layout.span_slots,
            ..header
        }
    }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | (u64::from(high) << 32)
}

/// Whose block it is by a header's words, whether they pass their check or not; `None` if
/// they name no kind of block.
pub fn named(words: &[u64; HEADER_WORDS]) -> Option<Owner> {
    Some(Owner {
        sequence: words[word::SEQUENCE],
        thread: words[word::THREAD] as u32,
        kind: kind_of(words[word::INDEX])?,
    })
}

fn kind_of(index: u64) -> Option<Kind> {
    match (index >> 32) as u32 {
        1 => Some(Kind::Records),
        2 => Some(Kind::CallSites),
        _ => None,
    }
}

/// A header's words, with zeros for those that its check does not cover.
fn covered(words: &[u64; HEADER_WORDS], used: usize) -> [u64; HEADER_WORDS] {
    let mut covered = *words;
    for unchecked in [word::COMMIT, word::DROPPED, word::CHECK, word::NEXT] {
        covered[unchecked] = 0;
    }
    let unused = word::RETIRED + 2 * (1 - used);
    covered[unused..unused + 2].fill(0);
    covered
}

fn check(words: &[u64; HEADER_WORDS], used: usize) -> Option<u64> {
    let owner = named(words)?;
    let key = owner.key(words[word::RECORDING]);
    Some(key.over(0, &covered(words, used)))
}

/// What the beginning of a block says.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Never used: all zeros where the magic should be.
    Free,
    /// It was being taken; of what was there before, these totals count.
    Taken(Retired),
    /// It can be read.
    Block(Box<Header>),
    /// It is none of these.
    Damaged,
}

impl State {
    /// The totals that count of threads that are gone, if they can be known.
    pub(crate) fn retired(&self) -> Option<Retired> {
        match self {
            State::Taken(retired) => Some(*retired),
            State::Block(header) => Some(header.retired),
            State::Free | State::Damaged => None,
        }
    }
}

/// Decodes the header at the beginning of `words`.
pub fn decode(words: &[u64]) -> State {
    let Some(words) = words.first_chunk::<HEADER_WORDS>() else {
        return State::Damaged;
    };
    let magic = words[word::MAGIC];
    let retired_of = |pair: usize| Retired {
        events: words[word::RETIRED + 2 * pair],
        dropped: words[word::RETIRED + 2 * pair + 1],
    };
    if magic == 0 {
        return State::Free;
    }
    if let Some(pair) = MAGIC_TAKEN.iter().position(|&m| m == magic) {
        return State::Taken(retired_of(pair));
    }
    let Some(pair) = MAGIC_BLOCK.iter().position(|&m| m == magic) else {
        return State::Damaged;
    };
    let Some(kind) = kind_of(words[word::INDEX]) else {
        return State::Damaged;
    };
    if check(words, pair) != Some(words[word::CHECK]) {
        return State::Damaged;
    }
    let mut thread_name = [0; THREAD_NAME_BYTES];
    for (i, chunk) in thread_name.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *chunk = words[word::NAME + i].to_le_bytes();
    }
    State::Block(Box::new(Header {
        recording: words[word::RECORDING],
        sequence: words[word::SEQUENCE],
        index: words[word::INDEX] as u32,
        kind,
        thread: words[word::THREAD] as u32,
        thread_id: (words[word::THREAD] >> 32) as u32,
        thread_name,
        events_before: words[word::EVENTS_BEFORE],
        previous_sequence: words[word::PREVIOUS_SEQUENCE],
        previous_index: words[word::PREVIOUS] as u32,
        previous_events: (words[word::PREVIOUS] >> 32) as u32,
        clocks: Sample::from_words([
            words[word::CLOCKS],
            words[word::CLOCKS + 1],
            words[word::CLOCKS + 2],
            words[word::CLOCKS + 3],
        ]),
        retired: retired_of(pair),
        pair,
    }))
}

/// What a commit word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Bytes committed, header included.
    pub bytes: usize,
    /// Events among them.
    pub events: u32,
}

/// The number in a commit word: `bytes` from the block's beginning, `events` among them.
#[inline]
pub fn commit(bytes: usize, events: u32) -> u32 {
    bytes as u32 | (events << 16)
}

/// What the commit word of a block says, or `None` if it is damaged.
pub fn committed(words: &[u64], key: Key) -> Option<Commit> {
    let number = key.guarded(word::COMMIT, *words.get(word::COMMIT)?)?;
    let bytes = (number & 0xffff) as usize;
    let in_block = (HEADER_BYTES..=RECORDS_END_BYTES).contains(&bytes) && bytes.is_multiple_of(8);
    in_block.then_some(Commit {
        bytes,
        events: number >> 16,
    })
}

/// The events dropped so far by the block's thread, or `None` if the word is damaged.
pub fn dropped(words: &[u64], key: Key) -> Option<u32> {
    key.guarded(word::DROPPED, *words.get(word::DROPPED)?)
}

/// What became of a block's thread after the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It has no newer block.
    None,
    /// It goes on in the block at this index.
    At(u32),
    /// It has ended.
    Ended,
}

impl Next {
    /// The number in the word of the next block.
    pub fn encode(self) -> u32 {
        match self {
            Next::None => 0,
            Next::At(index) => index.saturating_add(1).min(ENDED - 1),
            Next::Ended => ENDED,
        }
    }
}

const ENDED: u32 = u32::MAX;

/// What became of the block's thread, or `None` if the word is damaged.
pub fn next(words: &[u64], key: Key) -> Option<Next> {
    Some(match key.guarded(word::NEXT, *words.get(word::NEXT)?)? {
        0 => Next::None,
        ENDED => Next::Ended,
        number => Next::At(number - 1),
    })
}

/// A block's bytes as words.
pub fn words_from_bytes(bytes: &[u8; BLOCK_BYTES]) -> Box<[u64; BLOCK_WORDS]> {
    let mut words = Box::new([0; BLOCK_WORDS]);
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    words
}

#[cfg(test)]
pub(crate) mod tests;
