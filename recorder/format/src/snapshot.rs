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
//!
//! Neither who writes one nor who reads one needs its events in memory: they are told
//! one after the other, as often as it takes ([`crate::salvage::Entries`]).

mod bounded;
mod read;
mod write;

use std::io;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::header::Header;
use crate::incident::Incident;
use crate::salvage::{Entry, Ledger, Span, Thread};
use crate::site::CallSite;
use crate::verdict::Verdict;

pub(crate) use bounded::at_most;
pub use read::{Told, read, read_head};
pub use write::{Part, write};

/// What every snapshot begins with: the magic of an LZ4 frame.
pub const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();

/// What the head calls the format.
pub const FORMAT: &str = "ttlog snapshot";

/// The version of snapshots: it grows where a reader that does not know would misread.
pub const VERSION: u32 = 1;

/// The tag of self-described CBOR.
const SELF_DESCRIBED: u64 = 55799;

/// Bytes that any snapshot may decompress to, and how many times its own it may
/// beyond that: whoever repeats one event all day is well below.
const DECOMPRESSED_MIN: u64 = 16 << 20;
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
    /// What of that was asked for, in the words of whoever did; all of it if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
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
    ledger: Option<Box<Ledger>>,
    cause: Option<Box<Cause>>,
    incident: Option<Box<Incident>>,
    thread: Option<Box<Thread>>,
    call_site: Option<Box<CallSite>>,
    span: Option<Box<Span>>,
    event: Option<Entry>,
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

#[cfg(test)]
mod tests;
