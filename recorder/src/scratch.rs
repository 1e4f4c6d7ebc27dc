//! A record being encoded, on the stack of the thread that records it.
//!
//! All of the user's code (`Debug`, `Display`) runs while this is filled and
//! before anything in the recording changes: a panic in it costs nothing that
//! was there, and an event logged in it is recorded like any other.

use std::fmt::{self, Write};
use std::mem::MaybeUninit;
use tracing_core::field::{Field, Visit};
use ttlog_format::RECORD_MAX_WORDS;
use ttlog_format::record;
use ttlog_format::value::{Kind, head, text_head, text_room, words_of};

const _: () = assert!(
    cfg!(target_endian = "little"),
    "texts are copied in the byte order of memory"
);

/// The words of a record; those below `len` are initialised.
pub(crate) struct Scratch {
    words: [MaybeUninit<u64>; RECORD_MAX_WORDS],
    len: usize,
    /// Fields of the call site, for the room that a long text may take.
    fields: usize,
}

impl Scratch {
    /// An empty record for a call site of so many fields.
    #[inline]
    pub(crate) fn new(fields: usize) -> Scratch {
        Scratch {
            words: [MaybeUninit::uninit(); RECORD_MAX_WORDS],
            len: 0,
            fields,
        }
    }

    /// Appends a word, if there is room.
    #[inline]
    pub(crate) fn push(&mut self, word: u64) {
        if let Some(place) = self.words.get_mut(self.len) {
            place.write(word);
            self.len += 1;
        }
    }

    /// The record's words, its header set for a record of this kind.
    #[inline]
    pub(crate) fn finish(&mut self, kind: record::Kind) -> &mut [u64] {
        let len = self.len;
        let first = self.words.as_mut_ptr().cast::<u64>();
        // SAFETY: the words below `len` were written, by `push` or `end`, and are
        // borrowed with `self`.
        let words = unsafe { std::slice::from_raw_parts_mut(first, len) };
        if let Some(first) = words.first_mut() {
            *first = record::header(kind, len);
        }
        words
    }

    fn room(&self) -> usize {
        RECORD_MAX_WORDS - self.len
    }

    #[inline]
    fn short(&mut self, field: &Field, kind: Kind, inline: u32) {
        self.push(head(field.index() as u8, kind, inline));
    }

    #[inline]
    fn long(&mut self, field: &Field, kind: Kind, words: &[u64]) {
        if self.room() > words.len() {
            self.push(head(field.index() as u8, kind, 0));
            words.iter().for_each(|&word| self.push(word));
        }
    }

    /// How many bytes a text of `field` may take.
    #[inline]
    fn text_room(&self, field: &Field) -> usize {
        let after = self.fields.saturating_sub(field.index() + 1);
        text_room(self.room().saturating_sub(1), after)
    }

    #[inline]
    fn text(&mut self, field: &Field, kind: Kind, bytes: &[u8]) {
        let room = self.text_room(field);
        let mut text = TextWriter {
            scratch: self,
            stored: 0,
            whole: 0,
            room,
        };
        text.put(bytes);
        text.end(field, kind);
    }

    #[inline]
    fn formatted(&mut self, field: &Field, kind: Kind, arguments: fmt::Arguments<'_>) {
        let room = self.text_room(field);
        let mut text = TextWriter {
            scratch: self,
            stored: 0,
            whole: 0,
            room,
        };
        // An error is the user's `fmt` saying so; what it wrote before is kept.
        let _ = text.write_fmt(arguments);
        text.end(field, kind);
    }
}

/// A text that grows at the end of the scratch, behind the word of its head.
struct TextWriter<'a> {
    scratch: &'a mut Scratch,
    stored: usize,
    whole: usize,
    room: usize,
}

impl TextWriter<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.whole = self.whole.saturating_add(bytes.len());
        let kept = &bytes[..bytes.len().min(self.room - self.stored)];
        let start = (self.scratch.len + 1) * 8 + self.stored;
        // The room was given out by `text_room` and lies behind the head, but a
        // second look costs nothing.
        if start + kept.len() > RECORD_MAX_WORDS * 8 {
            return;
        }
        let to = self.scratch.words.as_mut_ptr().cast::<u8>();
        // SAFETY: `start` is within the scratch, as checked above.
        let to = unsafe { to.add(start) };
        // SAFETY: `kept` ends within the scratch, as checked above, and is no part of it.
        unsafe { to.copy_from_nonoverlapping(kept.as_ptr(), kept.len()) };
        self.stored += kept.len();
    }

    /// Pads the last word, writes the head and makes both part of the record.
    #[inline]
    fn end(self, field: &Field, kind: Kind) {
        let words = words_of(self.stored);
        let scratch = self.scratch;
        if scratch.len + 1 + words > RECORD_MAX_WORDS {
            return;
        }
        let padding = words * 8 - self.stored;
        let to = scratch.words.as_mut_ptr().cast::<u8>();
        // SAFETY: the end of the text, within the scratch as checked above.
        let to = unsafe { to.add((scratch.len + 1) * 8 + self.stored) };
        // SAFETY: the padding ends with a word that is within the scratch.
        unsafe { to.write_bytes(0, padding) };
        let whole = u32::try_from(self.whole).unwrap_or(u32::MAX);
        scratch.push(text_head(
            field.index() as u8,
            kind,
            self.stored as u16,
            whole,
        ));
        scratch.len += words;
    }
}

impl Write for TextWriter<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

impl Visit for Scratch {
    #[inline]
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.long(field, Kind::F64, &[value.to_bits()]);
    }

    #[inline]
    fn record_i64(&mut self, field: &Field, value: i64) {
        match i32::try_from(value) {
            Ok(small) => self.short(field, Kind::I32, small as u32),
            Err(_) => self.long(field, Kind::I64, &[value as u64]),
        }
    }

    #[inline]
    fn record_u64(&mut self, field: &Field, value: u64) {
        match u32::try_from(value) {
            Ok(small) => self.short(field, Kind::U32, small),
            Err(_) => self.long(field, Kind::U64, &[value]),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.long(field, Kind::I128, &[value as u64, (value >> 64) as u64]);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.long(field, Kind::U128, &[value as u64, (value >> 64) as u64]);
    }

    #[inline]
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.short(field, Kind::Bool, u32::from(value));
    }

    #[inline]
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, Kind::Str, value.as_bytes());
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.text(field, Kind::Bytes, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.formatted(field, Kind::Error, format_args!("{value}"));
    }

    #[inline]
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.formatted(field, Kind::Debug, format_args!("{value:?}"));
    }
}
