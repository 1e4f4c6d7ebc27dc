//! `ctf`: a directory in the Common Trace Format 1.8, which babeltrace2 and Trace Compass
//! read: `metadata`, in words, and one `stream` of packets.
//!
//! Every entry is an event, what happened to spans included. It has a class of its own for
//! each call site and for the kinds of its values, since in this format a class says what
//! kind a field is of. Who did it, where and in which spans is in each event's context.
//!
//! Names are made identifiers, with the underscore before them that readers take away.
//! Texts are as `view` shows them, so that none has a NUL in it, by which it would end.
//! Moments never go back, as the format will have it: where the wall clock was set back,
//! time stands still until it has come to where it was.

mod classes;
mod metadata;

use std::io::{self, Write};

use ttlog_format::salvage::{Entry, Recording, What};
use ttlog_format::value::{Borrowed, Field, Value};

use super::format::Format;
use super::push_spans;
use crate::again::Arounds;
use crate::escape::{escape, push_escaped};
use crate::shown::Shown;
use crate::text::push_value;

use classes::Classes;

/// What a packet begins with, and how long that is.
const MAGIC: u32 = 0xc1fc_1fc1;
const HEAD_BYTES: usize = 4 + 16 + 4 + 4 * 8;

/// The latest moment that there is: readers count in signed numbers, and babeltrace2 leaves
/// a few seconds at their end, too.
const LATEST_NS: u64 = i64::MAX as u64 - 4_000_000_000;

/// A packet is written when it has so many bytes.
const PACKET_BYTES: usize = 1 << 18;

/// A trace whose metadata and stream are written to two files.
pub(super) struct Ctf<W> {
    metadata: W,
    stream: W,
    classes: Classes,
    spans: Arounds,
    begin_ns: Option<u64>,
    /// Nanoseconds since the beginning.
    now: u64,
    packet: Packet,
    packets: u64,
}

/// A packet that is being filled.
struct Packet {
    uuid: [u8; 16],
    bytes: Vec<u8>,
    begin: u64,
}

impl Packet {
    fn begin(&mut self, now: u64) {
        self.begin = now;
        self.bytes.clear();
        self.bytes.resize(HEAD_BYTES, 0);
    }

    fn has_events(&self) -> bool {
        self.bytes.len() > HEAD_BYTES
    }

    /// All of it, which ends now.
    fn end(&mut self, now: u64) -> &[u8] {
        let bits = self.bytes.len() as u64 * 8;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend(MAGIC.to_le_bytes());
        head.extend(self.uuid);
        head.extend(0u32.to_le_bytes());
        for number in [self.begin, now, bits, bits] {
            head.extend(number.to_le_bytes());
        }
        for (to, from) in self.bytes.iter_mut().zip(head) {
            *to = from;
        }
        &self.bytes
    }

    fn push_text(&mut self, escaped: &[u8]) {
        self.bytes.extend_from_slice(escaped);
        self.bytes.push(0);
    }

    fn push_number(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }
}

impl<W: Write> Ctf<W> {
    pub(super) fn new(metadata: W, stream: W) -> Ctf<W> {
        Ctf {
            metadata,
            stream,
            classes: Classes::default(),
            spans: Arounds::default(),
            begin_ns: None,
            now: 0,
            packet: Packet {
                uuid: [0; 16],
                bytes: Vec::new(),
                begin: 0,
            },
            packets: 0,
        }
    }

    /// Nanoseconds since the beginning, which is the first moment that is asked for, and
    /// not before the last.
    fn moment(&mut self, recording: &Recording, wall_ns: u64) -> io::Result<u64> {
        let wall_ns = wall_ns.min(LATEST_NS);
        if self.begin_ns.is_none() {
            self.begin_ns = Some(wall_ns);
            let words = metadata::head(&recording.header, &self.packet.uuid, wall_ns);
            self.metadata.write_all(words.as_bytes())?;
        }
        let since = wall_ns.saturating_sub(self.begin_ns.unwrap_or(0));
        self.now = self.now.max(since);
        Ok(self.now)
    }

    fn class(&mut self, entry: &Entry, shown: &Shown<'_>, name: &str) -> io::Result<u32> {
        let (class, is_new) = self.classes.number(key(entry));
        if is_new {
            let words = metadata::class(class, name, shown);
            self.metadata.write_all(words.as_bytes())?;
        }
        Ok(class)
    }

    fn push_context(&mut self, recording: &Recording, entry: &Entry, shown: &Shown<'_>) {
        let packet = &mut self.packet;
        let id = shown.thread.map_or(0, |thread| thread.id);
        packet.bytes.extend(id.to_le_bytes());
        let name = shown.thread.map_or("", |thread| thread.name.as_str());
        packet.push_text(escape(name.as_bytes()).as_bytes());
        packet
            .bytes
            .push(shown.level.map_or(0, |level| level as u8));
        let target = shown.target.as_deref().unwrap_or("");
        packet.push_text(escape(target.as_bytes()).as_bytes());
        push_spans(&mut packet.bytes, &mut self.spans, recording, entry);
        packet.bytes.push(0);
        packet.push_number(entry.span.map_or(0, |id| id.to_u64()));
    }

    fn push_value(&mut self, value: &Value<Borrowed<'_>>) {
        let packet = &mut self.packet;
        match value {
            Value::I64(value) => packet.bytes.extend(value.to_le_bytes()),
            Value::U64(value) => packet.push_number(*value),
            Value::F64(value) => packet.bytes.extend(value.to_le_bytes()),
            Value::Bool(value) => packet.bytes.push((*value).into()),
            Value::Str(text) | Value::Debug(text) | Value::Error(text) => {
                push_escaped(&mut packet.bytes, text.whole_characters());
                if text.is_cut() {
                    packet.bytes.extend("…".as_bytes());
                }
                packet.bytes.push(0);
            }
            Value::I128(_) | Value::U128(_) | Value::Bytes(_) | Value::Redacted => {
                push_value(&mut packet.bytes, value);
                packet.bytes.push(0);
            }
        }
    }

    fn write_packet(&mut self) -> io::Result<()> {
        self.packets += 1;
        let packet = self.packet.end(self.now);
        self.stream.write_all(packet)?;
        self.packet.begin(self.now);
        Ok(())
    }
}

/// What tells an event's class from others.
fn key(entry: &Entry) -> Vec<u8> {
    let what = match entry.what {
        What::Event => 0,
        What::Open => 1,
        What::Enter => 2,
        What::Exit => 3,
        What::Close => 4,
        What::Values => 5,
        What::Follows(_) => 6,
    };
    let mut key = vec![what];
    key.extend(entry.site.to_le_bytes());
    for Field { index, value } in entry.fields.iter() {
        key.extend([index, kind(&value)]);
    }
    key
}

fn kind(value: &Value<Borrowed<'_>>) -> u8 {
    match value {
        Value::I64(_) => 1,
        Value::U64(_) => 2,
        Value::F64(_) => 3,
        Value::Bool(_) => 4,
        _ => 5,
    }
}

impl<W: Write> Format for Ctf<W> {
    fn begin(&mut self, recording: &Recording) -> io::Result<()> {
        self.packet.uuid = metadata::uuid(&recording.header);
        self.packet.begin(0);
        Ok(())
    }

    fn entry(&mut self, recording: &Recording, entry: &Entry) -> io::Result<()> {
        let now = self.moment(recording, entry.wall_ns)?;
        let shown = Shown::alone(recording, entry);
        let name = metadata::name(recording, entry);
        let class = self.class(entry, &shown, &name)?;
        if !self.packet.has_events() {
            self.packet.begin = now;
        }
        self.packet.bytes.extend(class.to_le_bytes());
        self.packet.push_number(now);
        self.push_context(recording, entry, &shown);
        for (_, value) in &shown.fields {
            self.push_value(value);
        }
        match self.packet.bytes.len() >= PACKET_BYTES {
            true => self.write_packet(),
            false => Ok(()),
        }
    }

    fn told_more(&mut self) {
        self.spans.forget();
    }

    fn end(&mut self, recording: &Recording) -> io::Result<()> {
        self.moment(recording, recording.end_ns)?;
        if self.packet.has_events() || self.packets == 0 {
            self.write_packet()?;
        }
        self.metadata.flush()?;
        self.stream.flush()
    }
}
