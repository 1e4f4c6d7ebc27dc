//! Salvage: reading a recording that nobody closed.
//!
//! It is a scan over blocks. What passes its checks is shown, and the rest is
//! accounted for in a [`Ledger`]. The law: arbitrary bytes never panic, never
//! loop, and never take more memory than a small multiple of themselves; and
//! what is shown was written, once, as it is shown.
//!
//! It goes over the file twice. The first time an index is made of the blocks; then
//! the entries are told one after the other, and no more is in memory than the index
//! and what is open: see [`Stream`].

mod afterwards;
mod entries;
mod fields;
mod file;
mod find;
mod ledger;
mod mark;
mod mend;
mod places;
mod pool;
mod replay;
mod scan;
mod scrub;
mod spans;
mod stream;
mod telling;
mod timeline;

#[cfg(test)]
pub(crate) mod image;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::header::Header;
use crate::incident::Incident;
use crate::site::{CallSite, Level};
use crate::span::SpanId;
use crate::value::Field;

pub use entries::{ENTRIES_AROUND, Entries, Room, Whole};
pub use fields::{Fields, Iter};
pub use find::Found;
pub use mark::Mark;
pub use scan::Part;
pub use scrub::{Rule, ScrubError, Scrubbed, scrub};
pub use stream::Stream;

pub(crate) use entries::Wanted;
pub(crate) use scrub::Denied;

/// Where a recording's bytes come from: a file that may still be written to, or a copy.
pub trait Source {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize>;

    /// How many bytes there are.
    ///
    /// # Errors
    /// What the file system says.
    fn len(&self) -> std::io::Result<u64>;

    /// Where from `offset` on the first byte lies that may be something else than a zero;
    /// `None` if none does. Who does not know says that it is at `offset`.
    ///
    /// # Errors
    /// What the file system says.
    fn data_from(&self, offset: u64) -> std::io::Result<Option<u64>> {
        Ok(Some(offset))
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// What the file system says.
    fn is_empty(&self) -> std::io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl Source for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.len());
        let bytes = self[start..].len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&self[start..start + bytes]);
        Ok(bytes)
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.as_slice().read_at(buffer, offset)
    }

    fn len(&self) -> std::io::Result<u64> {
        Source::len(self.as_slice())
    }
}

/// A recording, read back.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The header.
    pub header: Header,
    /// Causes, in their order.
    pub causes: Vec<Cause>,
    /// Incidents, in their order.
    pub incidents: Vec<Incident>,
    /// Call sites by address.
    pub sites: HashMap<u64, Arc<CallSite>>,
    /// Threads, in the order of their numbers.
    pub threads: Vec<Thread>,
    /// The account.
    pub ledger: Ledger,
    /// Every span of which anything is known, by id; whoever wants one as it is now, while
    /// more is told of it, shares it.
    pub spans: HashMap<SpanId, Arc<Span>>,
    /// Events and what happened to spans, in time order; a thread's own in their order.
    /// None where they are told one after the other, by [`Entries`].
    pub entries: Vec<Entry>,
    /// The last moment that anything in the recording speaks of, nanoseconds since 1970.
    pub end_ns: u64,
}

/// A thread that recorded something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thread {
    /// Number in the recording, from 1.
    pub number: u32,
    /// The operating system's id.
    pub id: u32,
    /// Name, as far as it was kept.
    pub name: String,
    /// Its account.
    pub counts: Counts,
    /// Wall-clock time of the first and last readable entry, nanoseconds since 1970.
    pub covered_ns: Option<(u64, u64)>,
    /// The spans that it was in at the end, outermost first.
    #[serde(deserialize_with = "crate::snapshot::at_most::<_, _, 65536>")]
    pub stack: Vec<SpanId>,
    /// Whether it had ended before the process did.
    pub ended: bool,
}

/// Events: `written = readable + overwritten + dropped + torn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Logged.
    pub written: u64,
    /// Shown.
    pub readable: u64,
    /// Given up for newer ones.
    pub overwritten: u64,
    /// Not recorded.
    pub dropped: u64,
    /// Committed, and failing their check or lying in damaged blocks.
    pub torn: u64,
}

/// The account of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Over all threads, those of which no block is left included.
    pub counts: Counts,
    /// Blocks that fail their check.
    pub damaged_blocks: u64,
    /// Blocks whose headers did, and were made out all the same: what lies in them is
    /// shown.
    pub mended_blocks: u64,
    /// Span slots that fail their checks.
    pub damaged_spans: u64,
    /// Totals beside the blocks that fail theirs.
    pub damaged_totals: u64,
    /// Places that may have held a cause, and of which nothing can be known.
    pub damaged_causes: u64,
    /// Readable events of which a value was cut.
    pub truncated: u64,
    /// Spans that found no slot.
    pub spans_without_slot: u64,
    /// Call sites that found no room.
    pub sites_without_room: u64,
    /// Readable events whose call site is not known.
    pub events_without_site: u64,
    /// Incidents, those included that are not kept.
    pub incidents: u64,
    /// Snapshots that an incident would have been worth, and that were not made.
    pub snapshots_skipped: u64,
    /// Stretches of the mapping that lost their file: what was written there since
    /// died with the process.
    pub lost_stretches: u64,
    /// Times that writing the recording to its disk failed.
    pub failed_syncs: u64,
    /// Bytes that the file lacks.
    pub missing_bytes: u64,
    /// Whether the file has neither of its headers, and says what its blocks do.
    pub lacks_header: bool,
    /// Whether nothing tells how fast ticks pass, since one moment alone is left at which
    /// clocks were read: times far from it are off.
    pub lacks_rate: bool,
    /// Of a snapshot: entries that were left out, since they lie before its window.
    pub before_window: u64,
    /// Of a snapshot: items that it lacks because it ends early.
    pub missing_items: u64,
    /// False where a lost block makes a total a lower bound.
    pub exact: bool,
}

/// What is known of a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Span {
    /// Its id.
    pub id: Option<SpanId>,
    /// Address of its call site, 0 if not known.
    pub site: u64,
    /// Its parent.
    pub parent: Option<SpanId>,
    /// When it was created, nanoseconds since 1970.
    pub opened_ns: u64,
    /// Its fields, each with the moment (nanoseconds since 1970) at which it was
    /// recorded, in that order; a later value of a field replaces an earlier one.
    #[serde(deserialize_with = "crate::snapshot::at_most::<_, _, 65536>")]
    pub fields: Vec<(u64, Field)>,
    /// Whether its slot in the span table holds it: it was open at the end.
    pub open: bool,
    /// When it was last entered, nanoseconds since 1970.
    pub entered_ns: Option<u64>,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// An event.
    #[default]
    Event,
    /// A span was created.
    Open,
    /// A span was entered.
    Enter,
    /// A span was left.
    Exit,
    /// A span was closed.
    Close,
    /// Fields of a span were recorded later.
    Values,
    /// A span follows from another.
    Follows(SpanId),
}

/// One event, or one thing that happened to a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// What happened.
    #[serde(skip_serializing_if = "What::is_event")]
    pub what: What,
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
    /// Index in [`Recording::threads`].
    pub thread: u32,
    /// Address of the call site; 0 where the span's is not known.
    pub site: u64,
    /// Of an event, the innermost span it is in; else the span it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanId>,
    /// The values of an event, and of a span's opening and later fields.
    pub fields: Fields,
}

impl What {
    /// Whether it is an event.
    pub fn is_event(&self) -> bool {
        *self == What::Event
    }
}

impl Entry {
    /// The same, for keeps: an entry that is told keeps its whole block in memory.
    pub fn detached(self) -> Entry {
        Entry {
            fields: self.fields.detached(),
            ..self
        }
    }

    /// How many bytes a record takes that tells this and nothing else: where it is not
    /// known what the ring was like, see [`Entries::room`].
    pub fn record_bytes(&self) -> u32 {
        let words = match self.what {
            What::Event | What::Enter | What::Close | What::Values => 3,
            What::Exit | What::Follows(_) => 4,
            What::Open => 6,
        };
        let values = self.fields.iter().map(|field| field.value.words());
        u32::try_from((words + values.sum::<usize>()) * 8).unwrap_or(u32::MAX)
    }
}

/// Which record an entry was told from: no two are told from the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Sequence number of its block.
    pub sequence: u64,
    /// Where it begins in the block, in words.
    pub word: usize,
    /// Whether it is what the record says that happened later.
    pub is_later: bool,
}

/// Why a file is no recording.
#[derive(Debug)]
pub enum Error {
    /// The bytes cannot be read.
    Read(std::io::Error),
    /// The bytes begin as no recording does: the first of them.
    NotARecording(Vec<u8>),
    /// A recording of a version or with features that this code does not know.
    Unsupported {
        /// Its version.
        version: u32,
        /// Its incompatible features.
        features: u64,
    },
    /// A recording, both of whose headers are damaged or missing.
    NoHeader,
}

/// Reads back the recording in `source`, which its process may still be writing, with
/// all of its entries: where one at a time will do, there is [`Stream`].
///
/// # Errors
/// The bytes cannot be read, or they are no recording that this code knows:
/// see [`Error`]. Damage to a recording is none; the [`Ledger`] tells of it.
///
/// # Panics
/// Never.
pub fn salvage(source: &(impl Source + ?Sized)) -> Result<Recording, Error> {
    let mut stream = Stream::of_all(source)?;
    let mut entries = Vec::new();
    // Room for all that there can be, of which what is used is touched: a vector that
    // grows is copied, and what it leaves to the allocator, that keeps in the host.
    let _ = entries.try_reserve_exact(stream.entries_max());
    while stream.tell()? {
        entries.push(stream.told().clone());
    }
    let mut recording = stream.into_recording();
    // What was told of a span after an entry says where that is from, too.
    for entry in entries.iter_mut().filter(|entry| !entry.what.is_event()) {
        let span = entry.span.and_then(|id| recording.spans.get(&id));
        entry.site = span.map_or(entry.site, |span| span.site);
    }
    recording.entries = entries;
    Ok(recording)
}

/// How many spans around an event are looked for: more say nothing more to anybody, and
/// a recording made to be dear would have them looked for at every event.
pub const CONTEXT_MAX: usize = 64;

impl Recording {
    /// A span and its parents, outermost first, as far as they are known.
    pub fn context(&self, innermost: Option<SpanId>) -> Vec<(SpanId, &Span)> {
        let mut context: Vec<_> = self.around(innermost).collect();
        context.reverse();
        context
    }

    /// The same, innermost first, one after the other.
    pub fn around(&self, innermost: Option<SpanId>) -> impl Iterator<Item = (SpanId, &Span)> {
        let mut next = innermost;
        let known = std::iter::from_fn(move || {
            let id = next?;
            let span = &**self.spans.get(&id)?;
            next = span.parent;
            Some((id, span))
        });
        // A damaged chain may loop, and must not do so for long.
        known.take(CONTEXT_MAX)
    }

    /// Its end, where the last entry is of that moment.
    fn end_after(&self, entry: Option<u64>) -> u64 {
        let cause = self.causes.iter().map(|cause| cause.wall_ns).max();
        let incident = self.incidents.iter().map(|incident| incident.wall_ns).max();
        let last = entry.max(cause).max(incident);
        last.unwrap_or(self.header.samples[1].wall_ns)
    }

    /// The level of an entry, if its call site is known.
    pub fn level(&self, entry: &Entry) -> Option<Level> {
        self.sites.get(&entry.site).map(|site| site.level)
    }
}
