//! A snapshot: a recording, or its last seconds, as any CBOR library can read it.
//!
//! One LZ4 frame (the LZ4 frame format, 1.6.4) around a CBOR sequence (RFC 8742):
//! a head in tag 55799 (RFC 8949, 3.4.6), then items, each a map of one entry whose
//! key says what it is: the ledger, causes, incidents, threads, call sites, spans,
//! and last, in time order, the events. `snapshot.cddl` beside this file describes
//! all of it (RFC 8610). What is not there has its default, and what is not known
//! is passed over, so that readers and writers may be of different age.
//!
//! Tables come before events: of a snapshot that was cut, what is left can be read.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use ciborium::tag::Required;
use lz4_flex::frame::{BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::header::Header;
use crate::incident::Incident;
use crate::salvage::{Entry, Ledger, Recording, Span, Thread};
use crate::site::CallSite;
use crate::span::SpanId;
use crate::verdict::Verdict;

/// What every snapshot begins with: the magic of an LZ4 frame.
pub const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();

/// What the head calls the format.
pub const FORMAT: &str = "ttlog snapshot";

/// The version of snapshots. It is 0 while the format is being found.
pub const VERSION: u32 = 0;

/// The tag of self-described CBOR.
const SELF_DESCRIBED: u64 = 55799;

/// Bytes that any snapshot may decompress to, and how many times its own it may
/// beyond that: whoever repeats one event all day is well below.
const DECOMPRESSED_MIN: u64 = 64 << 20;
const DECOMPRESSED_RATIO: u64 = 64;

/// Bytes that a head takes at most, where it alone is wanted.
const HEAD_MAX: u64 = 1 << 20;

/// How a snapshot came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Made {
    /// Who made it.
    pub by: Maker,
    /// Why, in the words of whoever asked for it.
    pub why: String,
    /// When, in nanoseconds since 1970.
    pub wall_ns: u64,
    /// Path of the recording that it was made of.
    pub recording: String,
    /// How much of the past it holds, in nanoseconds before the recording's end;
    /// all of it if there is none.
    pub window_ns: Option<u64>,
    /// How many items follow the head.
    pub items: u64,
    /// What had become of the process, where the maker could judge that.
    pub verdict: Option<Verdict>,
}

/// Who made a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// The process that recorded.
    Process,
    /// A reader, of the recording that it found.
    #[default]
    Reader,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Head {
    format: String,
    version: u32,
    made: Made,
    header: Header,
    end_ns: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Item<'a> {
    Ledger(&'a Ledger),
    Cause(&'a Cause),
    Incident(&'a Incident),
    Thread(&'a Thread),
    CallSite(&'a CallSite),
    Span(&'a Span),
    Event(&'a Entry),
}

/// An item as it is read: one of these, or none that is known.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AnyItem {
    ledger: Option<Ledger>,
    cause: Option<Cause>,
    incident: Option<Box<Incident>>,
    thread: Option<Thread>,
    call_site: Option<Box<CallSite>>,
    span: Option<Box<Span>>,
    event: Option<Entry>,
}

/// Writes a snapshot of `recording`: what `made.window_ns` says, the open spans, and
/// whatever these name. How many items there are is found out here.
///
/// # Errors
/// What `out` says.
///
/// # Panics
/// Never.
pub fn write(recording: &Recording, made: &Made, out: impl Write) -> io::Result<()> {
    let part = Part::of(recording, made.window_ns);
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_checksums(true)
        .content_checksum(true);
    let mut out = BufWriter::with_capacity(1 << 15, FrameEncoder::with_frame_info(info, out));
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        made: Made {
            items: part.items().count() as u64,
            ..made.clone()
        },
        header: recording.header.clone(),
        end_ns: recording.end_ns,
    };
    let head = Required::<_, SELF_DESCRIBED>(head);
    let written = put(&head, &mut out)
        .and_then(|()| part.items().try_for_each(|item| put(&item, &mut out)))
        .and_then(|()| out.flush());
    // Taken apart, and not dropped: after an error it would write once more.
    let (frame, _) = out.into_parts();
    written?;
    frame.finish()?.flush()
}

fn put(item: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    ciborium::into_writer(item, out).map_err(|error| match error {
        ciborium::ser::Error::Io(error) => error,
        ciborium::ser::Error::Value(words) => io::Error::other(words),
    })
}

/// The part of a recording that a snapshot shows.
struct Part<'a> {
    recording: &'a Recording,
    ledger: Ledger,
    sites: Vec<&'a CallSite>,
    spans: Vec<&'a Span>,
    entries: &'a [Entry],
}

impl<'a> Part<'a> {
    fn of(recording: &'a Recording, window_ns: Option<u64>) -> Part<'a> {
        let from_ns = window_ns.map_or(0, |window| recording.end_ns.saturating_sub(window));
        // In time order, save where the wall clock was set back: what came after
        // the first that is recent enough is kept.
        let all = &recording.entries;
        let first = all.iter().position(|entry| entry.wall_ns >= from_ns);
        let first = first.unwrap_or(all.len());
        let entries = all.get(first..).unwrap_or(&[]);
        let spans = spans_of(recording, entries);
        let mut addresses: HashSet<u64> = entries.iter().map(|entry| entry.site).collect();
        addresses.extend(spans.iter().map(|span| span.site));
        let mut sites: Vec<&CallSite> = addresses
            .iter()
            .filter_map(|address| recording.sites.get(address).map(|site| &**site))
            .collect();
        sites.sort_by_key(|site| site.address);
        let ledger = Ledger {
            before_window: recording.ledger.before_window + first as u64,
            ..recording.ledger
        };
        Part {
            recording,
            ledger,
            sites,
            spans,
            entries,
        }
    }

    fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let recording = self.recording;
        std::iter::once(Item::Ledger(&self.ledger))
            .chain(recording.causes.iter().map(Item::Cause))
            .chain(recording.incidents.iter().map(Item::Incident))
            .chain(recording.threads.iter().map(Item::Thread))
            .chain(self.sites.iter().copied().map(Item::CallSite))
            .chain(self.spans.iter().copied().map(Item::Span))
            .chain(self.entries.iter().map(Item::Event))
    }
}

/// The spans that are open, that somebody is in, or that something speaks of, and
/// their parents; in the order of their ids.
fn spans_of<'a>(recording: &'a Recording, entries: &[Entry]) -> Vec<&'a Span> {
    let open = recording.spans.iter().filter(|(_, span)| span.open);
    let entered = recording.threads.iter().flat_map(|thread| &thread.stack);
    let struck = recording
        .incidents
        .iter()
        .flat_map(|incident| &incident.stack);
    let mut wanted: Vec<SpanId> = open.map(|(&id, _)| id).collect();
    wanted.extend(entered.chain(struck));
    wanted.extend(entries.iter().filter_map(|entry| entry.span));
    let mut found: HashMap<SpanId, &Span> = HashMap::new();
    while let Some(id) = wanted.pop() {
        if let Some(span) = recording.spans.get(&id)
            && found.insert(id, span).is_none()
        {
            wanted.extend(span.parent);
        }
    }
    let mut spans: Vec<(SpanId, &Span)> = found.into_iter().collect();
    spans.sort_by_key(|&(id, _)| id);
    spans.into_iter().map(|(_, span)| span).collect()
}

/// Why there is no snapshot to be read.
#[derive(Debug)]
pub enum Error {
    /// The bytes cannot be read.
    Read(io::Error),
    /// An LZ4 frame, or something that begins as one, without a snapshot's head: why.
    NoHead(String),
    /// A snapshot of a version that this code does not know.
    Unsupported {
        /// Its version.
        version: u32,
    },
}

/// Reads a snapshot of `len` bytes. Of one that is cut or damaged, what lies before the
/// damage is read, and [`Ledger::missing_items`] tells how much is missing.
///
/// # Errors
/// It cannot be read, or has no head that this code knows: see [`Error`].
///
/// # Panics
/// Never.
pub fn read(bytes: impl Read, len: u64) -> Result<(Recording, Made), Error> {
    let mut input = decompressed(bytes, len);
    let head = head(&mut input)?;
    let mut recording = Recording {
        header: head.header,
        causes: Vec::new(),
        incidents: Vec::new(),
        sites: HashMap::new(),
        threads: Vec::new(),
        ledger: Ledger::default(),
        spans: HashMap::new(),
        entries: Vec::new(),
        end_ns: head.end_ns,
    };
    let mut items = 0;
    while !at_end(&mut input) {
        let Ok(item) = ciborium::from_reader::<AnyItem, _>(&mut input) else {
            break;
        };
        items += 1;
        keep(&mut recording, item);
    }
    let ledger = &mut recording.ledger;
    ledger.missing_items = head.made.items.saturating_sub(items);
    ledger.exact &= ledger.missing_items == 0;
    Ok((recording, head.made))
}

/// Reads of a snapshot only the head: whose it is, and how it came to be. Seldom more
/// than a block of 64 KiB is decompressed for it.
///
/// # Errors
/// As of [`read`].
///
/// # Panics
/// Never.
pub fn read_head(bytes: impl Read) -> Result<(Header, Made), Error> {
    let head = head(&mut decompressed(bytes, 0).take(HEAD_MAX))?;
    Ok((head.header, head.made))
}

fn decompressed(bytes: impl Read, len: u64) -> impl BufRead {
    let most = DECOMPRESSED_MIN.saturating_add(len.saturating_mul(DECOMPRESSED_RATIO));
    BufReader::with_capacity(1 << 15, FrameDecoder::new(bytes).take(most))
}

fn head(input: &mut impl Read) -> Result<Head, Error> {
    let head: Required<Head, SELF_DESCRIBED> =
        ciborium::from_reader(input).map_err(|error| match error {
            ciborium::de::Error::Io(error) if !is_damage(&error) => Error::Read(error),
            ciborium::de::Error::Semantic(_, words) => Error::NoHead(words),
            ciborium::de::Error::Io(error) => Error::NoHead(format!("it ends early: {error}")),
            _ => Error::NoHead("it is no CBOR".to_owned()),
        })?;
    let Required(head) = head;
    if head.format != FORMAT {
        return Err(Error::NoHead(format!("its format is {:?}", head.format)));
    }
    if head.version != VERSION {
        let version = head.version;
        return Err(Error::Unsupported { version });
    }
    Ok(head)
}

/// Whether a read failed because of what was read.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(
        error.kind(),
        InvalidData | InvalidInput | Other | UnexpectedEof
    )
}

/// A frame that fails its check ends where it fails.
fn at_end(input: &mut impl BufRead) -> bool {
    input.fill_buf().map_or(true, <[u8]>::is_empty)
}

fn keep(recording: &mut Recording, item: AnyItem) {
    if let Some(entry) = item.event {
        recording.entries.push(entry);
    } else if let Some(span) = item.span {
        recording.spans.extend(span.id.map(|id| (id, *span)));
    } else if let Some(site) = item.call_site {
        recording.sites.insert(site.address, Arc::new(*site));
    } else {
        recording.threads.extend(item.thread);
        recording.causes.extend(item.cause);
        recording
            .incidents
            .extend(item.incident.map(|incident| *incident));
        recording.ledger = item.ledger.unwrap_or(recording.ledger);
    }
}

#[cfg(test)]
mod tests;
