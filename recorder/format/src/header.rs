//! The recording's header: what the file is, whose it is, where everything lies.
//!
//! It stands at the beginning of the file and once more in its last 4 KiB, since
//! everything else is found through it. It is written once, before the file gets
//! its name, and never changed; what changes lies in the page of [`totals`].

use serde::{Deserialize, Serialize};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{are_near, near};
use crate::cause::CAUSES;
use crate::check::Key;
use crate::clock::{Sample, Source};
use crate::{BLOCK_BYTES, VERSION, cause, span};

/// What every recording begins with.
pub const MAGIC: [u8; 8] = *b"ttlogrec";

/// The most blocks that a recording can have: 64 GiB.
pub const BLOCKS_MAX: u32 = 1 << 24;

/// Bytes of the header, and of its copy at the end of the file.
pub const HEADER_BYTES: usize = 4096;

/// Bytes of all that lies before the span table: header, totals, causes, incidents.
pub const HEAD_BYTES: u64 = 64 * 1024;

/// Where the totals lie.
pub const TOTALS_OFFSET: u64 = 4096;

/// Where the causes lie.
pub const CAUSES_OFFSET: u64 = 8192;

/// Where the incidents lie: [`INCIDENTS`] of [`INCIDENT_BYTES`].
pub const INCIDENTS_OFFSET: u64 = 12288;

/// How many incidents are kept: the first four and the last four.
pub const INCIDENTS: u64 = 8;

/// Bytes of an incident's page.
pub const INCIDENT_BYTES: u64 = 6656;

const _: () = assert!(INCIDENTS_OFFSET + INCIDENTS * INCIDENT_BYTES == HEAD_BYTES);

/// Numbers about the whole recording that no block can hold, in the page after the
/// header: a word each, which only grows.
pub mod totals {
    use crate::check::Key;

    /// Events dropped by threads that had no block to count them in.
    pub const DROPPED_WITHOUT_BLOCK: usize = 0;
    /// Call sites that found no room.
    pub const SITES_WITHOUT_ROOM: usize = 1;
    /// Spans that found no slot.
    pub const SPANS_WITHOUT_SLOT: usize = 2;
    /// Incidents, those included that are not kept.
    pub const INCIDENTS: usize = 3;
    /// Snapshots that an incident would have been worth, and that were not made.
    pub const SNAPSHOTS_SKIPPED: usize = 4;
    /// Stretches of the mapping that lost their file: what was written there since
    /// died with the process.
    pub const LOST_STRETCHES: usize = 5;
    /// Times that writing the recording to its disk failed.
    pub const FAILED_SYNCS: usize = 6;
    /// Places of the pool that were taken for the first time: so many are not zeros.
    pub const PLACES_USED: usize = 7;
    /// How many of them there are.
    pub const WORDS: usize = 8;

    /// The word of a total, one of the above; what is past 40 bits is cut to that.
    pub fn encode(which: usize, total: u64, recording: u64) -> u64 {
        Key::of_header_word(recording).tally(which, total)
    }

    /// The total in its word, or `None` if that is damaged.
    pub fn decode(which: usize, word: u64, recording: u64) -> Option<u64> {
        Key::of_header_word(recording).tallied(which, word)
    }

    /// The bytes of all of them when nothing has been counted.
    pub fn none(recording: u64) -> [u8; WORDS * 8] {
        let mut bytes = [0; WORDS * 8];
        for (which, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = encode(which, 0, recording).to_le_bytes();
        }
        bytes
    }
}

/// The newest clock samples, in the page after the header: a recording that never
/// fills a block is dated by them. Two places, written in turn.
pub mod newest {
    use crate::check::Key;
    use crate::clock::Sample;

    /// Where they begin, in bytes from the file's beginning.
    pub const OFFSET: u64 = super::TOTALS_OFFSET + 64;

    /// How many places there are.
    pub const PLACES: usize = 2;

    /// Words of a place: the sample's and a check.
    pub const WORDS: usize = 5;

    /// The words of a sample in a place.
    pub fn encode(sample: Sample, recording: u64, place: usize) -> [u64; WORDS] {
        let [ticks, monotonic, boottime, wall] = sample.to_words();
        let check = Key::of_header_word(recording).over(place * WORDS, &sample.to_words());
        [check, ticks, monotonic, boottime, wall]
    }

    /// The sample in a place, or `None` if there is none.
    pub fn decode(words: &[u64; WORDS], recording: u64, place: usize) -> Option<Sample> {
        let [_, ticks, monotonic, boottime, wall] = *words;
        let sample = Sample::from_words([ticks, monotonic, boottime, wall]);
        (*words == encode(sample, recording, place)).then_some(sample)
    }
}

const _: () = assert!(TOTALS_OFFSET + totals::WORDS as u64 * 8 <= newest::OFFSET);

/// Where everything lies in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layout {
    /// Slots of the span table.
    pub span_slots: u32,
    /// Blocks of the pool.
    pub blocks: u32,
}

impl Layout {
    /// Where the span table begins, in bytes from the file's beginning.
    pub const SPANS_OFFSET: u64 = HEAD_BYTES;

    /// Bytes of the span table, in whole 64 KiB.
    pub fn spans_bytes(self) -> u64 {
        (u64::from(self.span_slots) * span::SLOT_BYTES as u64).next_multiple_of(HEAD_BYTES)
    }

    /// Where the pool begins, in bytes from the file's beginning.
    pub fn pool_offset(self) -> u64 {
        Self::SPANS_OFFSET + self.spans_bytes()
    }

    /// Where a block begins, in bytes from the file's beginning.
    pub fn block_offset(self, index: u32) -> u64 {
        self.pool_offset() + u64::from(index) * BLOCK_BYTES as u64
    }

    /// Where a span slot begins, in bytes from the file's beginning.
    pub fn slot_offset(self, slot: u32) -> u64 {
        Self::SPANS_OFFSET + u64::from(slot) * span::SLOT_BYTES as u64
    }

    /// Where the header's copy begins, in bytes from the file's beginning.
    pub fn copy_offset(self) -> u64 {
        self.pool_offset() + u64::from(self.blocks) * BLOCK_BYTES as u64
    }

    /// Bytes of the whole file.
    pub fn file_bytes(self) -> u64 {
        self.copy_offset() + HEADER_BYTES as u64
    }
}

/// Who records, where, and how it was set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Identity of the recording, random and not 0.
    pub recording: u64,
    /// Where everything lies.
    pub layout: Layout,
    /// Process id, in the process's own pid namespace.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Process id of the one that recorded before a fork made this one, 0 if this is
    /// no forked child's recording.
    pub forked_from: u32,
    /// When the process started, in clock ticks since boot (field 22 of `/proc/pid/stat`, proc(5)).
    pub start_time: u64,
    /// Inode number of the pid namespace, 0 if unknown.
    pub pid_namespace: u64,
    /// Inode number of the recording's file, 0 if unknown: a copy has another.
    pub inode: u64,
    /// Inode number of the memory cgroup's directory, 0 if there was none.
    pub cgroup_inode: u64,
    /// How many processes of the memory cgroup had been killed for memory.
    pub oom_kills: u64,
    /// Directory of the memory cgroup, empty if there was none.
    pub cgroup: String,
    /// `/proc/sys/kernel/random/boot_id`, without its dashes, empty if unknown.
    pub boot_id: String,
    /// Path of the executable.
    pub executable: String,
    /// Where the executable was loaded: its first address, and the first behind it.
    pub executable_range: (u64, u64),
    /// GNU build id of the executable, in hexadecimal, empty if it has none.
    pub build_id: String,
    /// Name of the host.
    pub host: String,
    /// Name of the service.
    pub name: String,
    /// What ticks are.
    pub clock: Source,
    /// All clocks at the beginning and at the end of the start.
    pub samples: [Sample; 2],
    /// The window, in nanoseconds.
    pub window_ns: u64,
    /// How often the recording is written to its disk, in nanoseconds; 0: that is the
    /// kernel's to decide.
    pub sync_interval_ns: u64,
    /// Bytes of blocks that were asked for; the layout says what was taken.
    pub asked_bytes: u64,
    /// What limited the capacity, empty if nothing did.
    pub limited_by: String,
    /// The filter in force.
    pub filter: String,
    /// Whether values were taken out of it, and what is damaged left out: a copy of what
    /// was recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scrubbed: bool,
}

/// The compatible feature: the recording was scrubbed.
const SCRUBBED: u64 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Bytes {
    magic: [u8; 8],
    version: U32,
    header_bytes: U32,
    /// Readers that do not know a bit here may go on.
    features_compatible: U64,
    /// Readers that do not know a bit here must not.
    features_incompatible: U64,
    check: U64,
    recording: U64,
    span_slots: U32,
    slot_bytes: U32,
    blocks: U32,
    block_bytes: U32,
    spans_offset: U64,
    pool_offset: U64,
    file_bytes: U64,
    pid: U32,
    uid: U32,
    forked_from: U64,
    start_time: U64,
    pid_namespace: U64,
    inode: U64,
    cgroup_inode: U64,
    oom_kills: U64,
    executable_range: [U64; 2],
    boot_id: [u8; 40],
    clock: U64,
    samples: [[U64; 4]; 2],
    window_ns: U64,
    sync_interval_ns: U64,
    asked_bytes: U64,
    executable: [u8; 512],
    build_id: [u8; 128],
    host: [u8; 128],
    name: [u8; 128],
    limited_by: [u8; 256],
    filter: [u8; 1024],
    cgroup: [u8; 512],
}

const _: () = assert!(size_of::<Bytes>() <= HEADER_BYTES);
const _: () = assert!(size_of::<Bytes>().is_multiple_of(8));

/// Why the bytes at the beginning of a file are no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fewer bytes than a header has.
    Short,
    /// Another magic.
    Magic,
    /// A version, or incompatible features, that this code does not know.
    Version {
        /// The version found.
        version: u32,
        /// The incompatible features found.
        features: u64,
    },
    /// It fails its check, or its numbers contradict one another.
    Damaged,
}

impl Header {
    /// What a recording begins with in which nothing has happened: the header, the totals,
    /// and the places of causes.
    pub fn beginning(&self) -> Box<[u8; INCIDENTS_OFFSET as usize]> {
        let mut bytes = Box::new([0; INCIDENTS_OFFSET as usize]);
        let mut put = |offset: u64, with: &[u8]| {
            bytes[offset as usize..][..with.len()].copy_from_slice(with);
        };
        put(0, &self.encode()[..]);
        put(TOTALS_OFFSET, &totals::none(self.recording));
        for place in 0..CAUSES {
            let none = cause::none(self.recording, place);
            put(cause::offset(place), &none.to_le_bytes());
        }
        bytes
    }

    /// The header's bytes. Texts that are too long are cut.
    pub fn encode(&self) -> Box<[u8; HEADER_BYTES]> {
        let layout = self.layout;
        let mut bytes = Bytes {
            magic: MAGIC,
            version: U32::new(VERSION),
            header_bytes: U32::new(HEADER_BYTES as u32),
            features_compatible: U64::new(if self.scrubbed { SCRUBBED } else { 0 }),
            features_incompatible: U64::ZERO,
            check: U64::ZERO,
            recording: U64::new(self.recording),
            span_slots: U32::new(layout.span_slots),
            slot_bytes: U32::new(span::SLOT_BYTES as u32),
            blocks: U32::new(layout.blocks),
            block_bytes: U32::new(BLOCK_BYTES as u32),
            spans_offset: U64::new(Layout::SPANS_OFFSET),
            pool_offset: U64::new(layout.pool_offset()),
            file_bytes: U64::new(layout.file_bytes()),
            pid: U32::new(self.pid),
            uid: U32::new(self.uid),
            forked_from: U64::new(self.forked_from.into()),
            start_time: U64::new(self.start_time),
            pid_namespace: U64::new(self.pid_namespace),
            inode: U64::new(self.inode),
            cgroup_inode: U64::new(self.cgroup_inode),
            oom_kills: U64::new(self.oom_kills),
            executable_range: <[u64; 2]>::from(self.executable_range).map(U64::new),
            boot_id: padded(&self.boot_id),
            clock: U64::new(self.clock as u64),
            samples: self.samples.map(|sample| sample.to_words().map(U64::new)),
            window_ns: U64::new(self.window_ns),
            sync_interval_ns: U64::new(self.sync_interval_ns),
            asked_bytes: U64::new(self.asked_bytes),
            executable: padded(&self.executable),
            build_id: padded(&self.build_id),
            host: padded(&self.host),
            name: padded(&self.name),
            limited_by: padded(&self.limited_by),
            filter: padded(&self.filter),
            cgroup: padded(&self.cgroup),
        };
        bytes.check = U64::new(check(&bytes));
        let mut page = Box::new([0; HEADER_BYTES]);
        page[..size_of::<Bytes>()].copy_from_slice(bytes.as_bytes());
        page
    }

    /// The header at the beginning of `bytes`, of which one byte is wrong, made right by
    /// its check.
    pub(crate) fn corrected(bytes: &[u8]) -> Option<Header> {
        let (bytes, _) = Bytes::read_from_prefix(bytes).ok()?;
        let key = Key::of_header();
        let words = bytes.as_bytes().as_chunks::<8>().0;
        let (sum, check) = (sum(words), bytes.check.get());
        let right = key.finish(sum);
        if are_near(check, right) {
            return Header::with_word(&bytes, CHECK_WORD, right);
        }
        for (i, word) in words.iter().enumerate().filter(|&(i, _)| i != CHECK_WORD) {
            let found = u64::from_le_bytes(*word);
            let rest = sum.wrapping_sub(key.term(i, found));
            let passes = |&other: &u64| key.finish(rest.wrapping_add(key.term(i, other))) == check;
            if let Some(other) = near(found).find(passes) {
                return Header::with_word(&bytes, i, other);
            }
        }
        None
    }

    fn with_word(bytes: &Bytes, word: usize, is: u64) -> Option<Header> {
        let mut bytes = bytes.as_bytes().to_vec();
        *bytes.as_chunks_mut::<8>().0.get_mut(word)? = is.to_le_bytes();
        Header::decode(&bytes).ok()
    }

    /// Decodes the header at the beginning of `bytes`.
    ///
    /// # Errors
    /// The [`Fault`] that says why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Header, Fault> {
        if bytes.len() < MAGIC.len() {
            return Err(Fault::Short);
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(Fault::Magic);
        }
        let (bytes, _) = Bytes::read_from_prefix(bytes).map_err(|_| Fault::Short)?;
        let (version, features) = (bytes.version.get(), bytes.features_incompatible.get());
        if version != VERSION || features != 0 {
            return Err(Fault::Version { version, features });
        }
        let layout = Layout {
            span_slots: bytes.span_slots.get(),
            blocks: bytes.blocks.get(),
        };
        let consistent = bytes.check.get() == check(&bytes)
            && bytes.block_bytes.get() as usize == BLOCK_BYTES
            && bytes.slot_bytes.get() as usize == span::SLOT_BYTES
            && layout.span_slots as usize <= span::SLOTS_MAX
            && layout.blocks <= BLOCKS_MAX
            && bytes.spans_offset.get() == Layout::SPANS_OFFSET
            && bytes.pool_offset.get() == layout.pool_offset()
            && bytes.file_bytes.get() == layout.file_bytes();
        let clock = u8::try_from(bytes.clock.get())
            .ok()
            .and_then(Source::from_u8);
        let (true, Some(clock)) = (consistent, clock) else {
            return Err(Fault::Damaged);
        };
        Ok(Header {
            recording: bytes.recording.get(),
            layout,
            pid: bytes.pid.get(),
            uid: bytes.uid.get(),
            forked_from: bytes.forked_from.get() as u32,
            start_time: bytes.start_time.get(),
            pid_namespace: bytes.pid_namespace.get(),
            inode: bytes.inode.get(),
            cgroup_inode: bytes.cgroup_inode.get(),
            oom_kills: bytes.oom_kills.get(),
            executable_range: bytes.executable_range.map(U64::get).into(),
            cgroup: text(&bytes.cgroup),
            boot_id: text(&bytes.boot_id),
            executable: text(&bytes.executable),
            build_id: text(&bytes.build_id),
            host: text(&bytes.host),
            name: text(&bytes.name),
            clock,
            samples: bytes
                .samples
                .map(|words| Sample::from_words(words.map(U64::get))),
            window_ns: bytes.window_ns.get(),
            sync_interval_ns: bytes.sync_interval_ns.get(),
            asked_bytes: bytes.asked_bytes.get(),
            limited_by: text(&bytes.limited_by),
            filter: text(&bytes.filter),
            scrubbed: bytes.features_compatible.get() & SCRUBBED != 0,
        })
    }
}

const CHECK_WORD: usize = std::mem::offset_of!(Bytes, check) / 8;

fn check(bytes: &Bytes) -> u64 {
    let words = bytes.as_bytes().as_chunks::<8>().0;
    Key::of_header().finish(sum(words))
}

fn sum(words: &[[u8; 8]]) -> u64 {
    let key = Key::of_header();
    words
        .iter()
        .enumerate()
        .filter(|&(i, _)| i != CHECK_WORD)
        .map(|(i, word)| key.term(i, u64::from_le_bytes(*word)))
        .fold(0u64, u64::wrapping_add)
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut len = text.len().min(N);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
    bytes
}

/// The text before the first zero.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests;
