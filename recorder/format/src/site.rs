//! A call site: the static description of an event or a span.
//!
//! ```text
//!   word 0   header                             of a record of kind CallSite
//!        1   ticks                              when it was first met
//!        2   address                            of its `&'static Metadata`
//!        3   level (8) | flags (8) | fields (16) | line (32)
//!        4…  name, target, file, field names…   each: a word with its length in
//!                                               bytes, then its words
//! ```
//!
//! Line 0 means that there is none; an empty file likewise. Levels count from 1
//! (ERROR) to 5 (TRACE). A call site that would not fit a record loses its last
//! field names, and the flag `CUT` says so.

use serde::{Deserialize, Serialize};

use crate::RECORD_MAX_WORDS;
use crate::record::{self, Kind, Raw};
use crate::value::{bytes_of, words_of};

/// The severity of a call site.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum Level {
    /// The most severe.
    Error = 1,
    /// Warnings.
    Warn = 2,
    /// What a reader wants to know.
    #[default]
    Info = 3,
    /// For whoever debugs.
    Debug = 4,
    /// The most verbose.
    Trace = 5,
}

impl Level {
    /// The level with this number.
    pub fn from_u8(level: u8) -> Option<Level> {
        Some(match level {
            1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            4 => Level::Debug,
            5 => Level::Trace,
            _ => return None,
        })
    }

    /// The name, in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        }
    }
}

/// Flag: a span's call site, not an event's.
pub const SPAN: u8 = 1;
/// Flag: the call site of `log` records, whose target, file and line are values.
pub const LOG: u8 = 2;
/// Flag: field names were lost.
pub const CUT: u8 = 4;

/// The static description of an event or a span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallSite {
    /// The address that records name it by.
    pub address: u64,
    /// Severity.
    pub level: Level,
    /// Whether it is a span's.
    pub is_span: bool,
    /// Whether records of the `log` crate come from it: their own target, file
    /// and line are then among the values.
    pub is_log: bool,
    /// Name of the span or the event.
    pub name: String,
    /// Target, by default the module's path.
    pub target: String,
    /// Source file, empty if unknown.
    pub file: String,
    /// Line in it, 0 if unknown.
    pub line: u32,
    /// Names of the fields; values name them by index.
    #[serde(deserialize_with = "crate::snapshot::at_most::<_, _, 256>")]
    pub fields: Vec<String>,
}

/// What a call site's record is made of, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a, F> {
    /// The address that records name it by.
    pub address: u64,
    /// Severity.
    pub level: Level,
    /// [`SPAN`] and [`LOG`].
    pub flags: u8,
    /// Name of the span or the event.
    pub name: &'a str,
    /// Target.
    pub target: &'a str,
    /// Source file, empty if unknown.
    pub file: &'a str,
    /// Line in it, 0 if unknown.
    pub line: u32,
    /// Names of the fields, in order.
    pub fields: F,
}

/// Encodes the record of a call site into `words` and returns its length in
/// words; its header has no check yet.
///
/// Names longer than 255 bytes are cut.
pub fn encode<'f>(
    parts: Parts<'_, impl Iterator<Item = &'f str>>,
    ticks: u64,
    words: &mut [u64; RECORD_MAX_WORDS],
) -> usize {
    let mut len = 4;
    for text in [parts.name, parts.target, parts.file] {
        len = put(words, len, text).unwrap_or(len);
    }
    let (mut fields, mut flags) = (0u64, parts.flags);
    for name in parts.fields {
        match put(words, len, name) {
            Some(next) => (len, fields) = (next, fields + 1),
            None => {
                flags |= CUT;
                break;
            }
        }
    }
    words[0] = record::header(Kind::CallSite, len);
    words[1] = ticks;
    words[2] = parts.address;
    words[3] = parts.level as u64
        | (u64::from(flags) << 8)
        | (fields << 16)
        | (u64::from(parts.line) << 32);
    len
}

fn put(words: &mut [u64; RECORD_MAX_WORDS], at: usize, text: &str) -> Option<usize> {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    let end = at + 1 + words_of(bytes.len());
    let (length, payload) = words.get_mut(at..end)?.split_first_mut()?;
    *length = bytes.len() as u64;
    for (word, chunk) in payload.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(padded);
    }
    Some(end)
}

/// Decodes the record of a call site, or `None` if it is no such record.
pub fn decode(record: Raw<'_>) -> Option<CallSite> {
    if record.kind != Kind::CallSite {
        return None;
    }
    let [_, _, address, packed, rest @ ..] = record.words else {
        return None;
    };
    let mut rest = rest;
    let flags = (packed >> 8) as u8;
    let name = take(&mut rest)?;
    let target = take(&mut rest)?;
    let file = take(&mut rest)?;
    let fields = (0..(packed >> 16) as u16)
        .map_while(|_| take(&mut rest))
        .collect();
    Some(CallSite {
        address: *address,
        level: Level::from_u8(*packed as u8)?,
        is_span: flags & SPAN != 0,
        is_log: flags & LOG != 0,
        name,
        target,
        file,
        line: (packed >> 32) as u32,
        fields,
    })
}

fn take(words: &mut &[u64]) -> Option<String> {
    let (&length, rest) = words.split_first()?;
    let bytes = usize::try_from(length).ok().filter(|&bytes| bytes <= 255)?;
    let (payload, rest) = rest.split_at_checked(words_of(bytes))?;
    *words = rest;
    Some(String::from_utf8_lossy(&bytes_of(payload, bytes)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Key;
    use proptest::prelude::*;

    fn round_trip(site: &CallSite) -> Option<CallSite> {
        let mut words = [0; RECORD_MAX_WORDS];
        let parts = Parts {
            address: site.address,
            level: site.level,
            flags: u8::from(site.is_span) * SPAN + u8::from(site.is_log) * LOG,
            name: &site.name,
            target: &site.target,
            file: &site.file,
            line: site.line,
            fields: site.fields.iter().map(String::as_str),
        };
        let len = encode(parts, 9, &mut words);
        let key = Key::of_block(1, 1, 0, crate::block::Kind::CallSites);
        record::seal_in_place(&mut words[..len], 24, key);
        let mut area = vec![0; 24];
        area.extend(&words[..len]);
        decode(record::at(&area, 24, key)?)
    }

    proptest! {
        #[test]
        fn a_call_site_comes_back(
            address in any::<u64>(), level in 1..=5u8, is_span in any::<bool>(), is_log in any::<bool>(),
            name in ".{0,20}", target in ".{0,20}", file in ".{0,20}", line in any::<u32>(),
            fields in proptest::collection::vec(".{0,10}", 0..8),
        ) {
            let site = CallSite {
                address, level: Level::from_u8(level).unwrap(), is_span, is_log, name, target, file, line, fields,
            };
            prop_assert_eq!(round_trip(&site), Some(site));
        }
    }

    #[test]
    fn a_call_site_too_large_for_a_record_keeps_its_first_field_names() {
        let site = CallSite {
            address: 1,
            level: Level::Info,
            is_span: false,
            is_log: false,
            name: "event".into(),
            target: "target".into(),
            file: "file".into(),
            line: 7,
            fields: (0..32).map(|i| format!("{i:0>200}")).collect(),
        };
        let read = round_trip(&site).unwrap();
        assert!(!read.fields.is_empty() && read.fields.len() < 32);
        assert!(site.fields.starts_with(&read.fields));
    }
}
