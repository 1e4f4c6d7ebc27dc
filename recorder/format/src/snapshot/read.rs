//! Reading a snapshot: the tables, and then one event after the other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::rc::Rc;
use std::sync::Arc;

use ciborium::tag::Required;
use lz4_flex::frame::FrameDecoder;

use super::bounded::{ITEM_MAX, TABLES_MAX, bytes_of};
use super::{AnyItem, Error, FORMAT, HEAD_MAX, Head, Made, SELF_DESCRIBED, VERSION};
use super::{DECOMPRESSED_MIN, DECOMPRESSED_RATIO};
use crate::header::Header;
use crate::salvage::{Entries, Entry, Ledger, Recording, Span, Wanted};
use crate::span::SpanId;

/// Room for texts on their way, as ciborium makes it for each item where it is given none.
const SCRATCH_BYTES: usize = 4096;

/// Reads a snapshot of `len` bytes. Of one that is cut or damaged, what lies before the
/// damage is read, and [`Ledger::missing_items`] tells how much is missing.
///
/// # Errors
/// It cannot be read, or has no head that this code knows: see [`Error`].
///
/// # Panics
/// Never.
pub fn read(bytes: impl Read, len: u64) -> Result<(Recording, Made), Error> {
    let mut items = Reading::begin(bytes, len)?;
    let mut entries = Vec::new();
    while let Some(entry) = items.next_entry() {
        entries.push(entry);
    }
    items.recording.entries = entries;
    Ok((items.recording, items.made))
}

/// A snapshot that is being read: its tables are, and its events come one by one.
struct Reading<R: Read> {
    input: BufReader<io::Take<FrameDecoder<R>>>,
    scratch: Box<[u8]>,
    recording: Recording,
    made: Made,
    items: u64,
    /// What the tables take, and may not take more of.
    tables_bytes: usize,
    /// Items that had no room among them.
    passed_over: u64,
    first: Option<Entry>,
    is_over: bool,
}

impl<R: Read> Reading<R> {
    /// Reads the tables, up to the first event.
    fn begin(bytes: R, len: u64) -> Result<Reading<R>, Error> {
        let mut input = decompressed(bytes, len);
        let head = head(&mut input.by_ref().take(HEAD_MAX))?;
        let mut reading = Reading {
            input,
            scratch: vec![0; SCRATCH_BYTES].into(),
            recording: Recording {
                header: head.header,
                causes: Vec::new(),
                incidents: Vec::new(),
                sites: HashMap::new(),
                threads: Vec::new(),
                ledger: Ledger::default(),
                spans: HashMap::new(),
                entries: Vec::new(),
                end_ns: head.end_ns,
            },
            made: head.made,
            items: 0,
            tables_bytes: 0,
            passed_over: 0,
            first: None,
            is_over: false,
        };
        reading.first = reading.next_entry();
        Ok(reading)
    }

    /// The next event; what is none is taken in.
    fn next_entry(&mut self) -> Option<Entry> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.is_over && !at_end(&mut self.input) {
            let item = self.input.by_ref().take(ITEM_MAX);
            let read = ciborium::de::from_reader_with_buffer(item, &mut self.scratch);
            let Ok::<AnyItem, _>(mut item) = read else {
                break;
            };
            if let Some(entry) = item.event.take() {
                self.items += 1;
                return Some(entry);
            }
            let bytes = self.tables_bytes.saturating_add(bytes_of(&item));
            if bytes <= TABLES_MAX {
                self.items += 1;
                self.tables_bytes = bytes;
                take_in(&mut self.recording, item);
            } else {
                self.passed_over += 1;
            }
        }
        if !self.is_over {
            self.is_over = true;
            let ledger = &mut self.recording.ledger;
            let missing = self.made.items.saturating_sub(self.items);
            ledger.missing_items = missing.max(self.passed_over);
            ledger.exact &= ledger.missing_items == 0;
        }
        None
    }
}

/// A snapshot, of which the tables are in memory, and the events are told from its bytes.
pub struct Told<R: Read + Seek> {
    reading: Reading<Shared<R>>,
    told: Entry,
    bytes: Shared<R>,
    len: u64,
    wanted: Wanted,
}

impl<R: Read + Seek> Told<R> {
    /// Reads the tables of a snapshot of `len` bytes, from where `bytes` is.
    ///
    /// # Errors
    /// As of [`read`].
    ///
    /// # Panics
    /// Never.
    pub fn open(bytes: R, len: u64) -> Result<Told<R>, Error> {
        let bytes = Shared(Rc::new(RefCell::new(bytes)));
        Ok(Told {
            reading: Reading::begin(bytes.clone(), len)?,
            told: Entry::default(),
            bytes,
            len,
            wanted: Wanted::default(),
        })
    }

    /// How it came to be.
    pub fn made(&self) -> &Made {
        &self.reading.made
    }
}

impl<R: Read + Seek> Entries for Told<R> {
    fn recording(&self) -> &Recording {
        &self.reading.recording
    }

    fn tell(&mut self) -> io::Result<bool> {
        let Some(entry) = self.reading.next_entry() else {
            return Ok(false);
        };
        self.told = entry;
        Ok(true)
    }

    fn told(&self) -> &Entry {
        &self.told
    }

    fn into_recording(self: Box<Self>) -> Recording {
        self.reading.recording
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.bytes.0.borrow_mut().rewind()?;
        self.wanted = Wanted::default();
        // The tables need not be there twice.
        let recording = &mut self.reading.recording;
        (recording.spans, recording.sites) = (HashMap::new(), HashMap::new());
        (recording.threads, recording.incidents) = (Vec::new(), Vec::new());
        recording.causes = Vec::new();
        let bytes = self.bytes.clone();
        self.reading = Reading::begin(bytes, self.len).map_err(|error| match error {
            Error::Read(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })?;
        Ok(())
    }

    fn want(&mut self, id: SpanId) {
        self.wanted.want(id);
    }

    fn wanted(&mut self, give: &mut dyn FnMut(&Span) -> io::Result<()>) -> io::Result<()> {
        match self.reading.is_over {
            true => self.wanted.give(&self.reading.recording, give),
            false => Ok(()),
        }
    }
}

/// Bytes that are read from the beginning again, by another decoder.
struct Shared<R>(Rc<RefCell<R>>);

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Shared<R> {
        Shared(Rc::clone(&self.0))
    }
}

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
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

fn decompressed<R: Read>(bytes: R, len: u64) -> BufReader<io::Take<FrameDecoder<R>>> {
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

/// Takes in an item that is no event.
fn take_in(recording: &mut Recording, item: AnyItem) {
    if let Some(span) = item.span {
        recording.spans.extend(span.id.map(|id| (id, span.into())));
    } else if let Some(site) = item.call_site {
        recording.sites.insert(site.address, Arc::new(*site));
    } else {
        recording.threads.extend(item.thread.map(|thread| *thread));
        recording.causes.extend(item.cause.map(|cause| *cause));
        recording
            .incidents
            .extend(item.incident.map(|incident| *incident));
        recording.ledger = item.ledger.map_or(recording.ledger, |ledger| *ledger);
    }
}
