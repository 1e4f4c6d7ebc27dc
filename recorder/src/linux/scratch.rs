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
    cfg!(target_endian = "little") || !crate::SUPPORTED,
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
            // Without `const` the compiler copies a value, that is, zeroes 2 KB.
            words: [const { MaybeUninit::uninit() }; RECORD_MAX_WORDS],
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
    #[expect(clippy::disallowed_methods, reason = "its own words, on this stack")]
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
        let mut text = TextWriter::new(self, field);
        text.put(bytes);
        text.end(field, kind);
    }

    #[inline]
    fn formatted(&mut self, field: &Field, kind: Kind, arguments: fmt::Arguments<'_>) {
        let mut text = TextWriter::new(self, field);
        // An error is the user's `fmt` saying so; what it wrote before is kept.
        let _ = text.write_fmt(arguments);
        text.end(field, kind);
    }
}

/// A text that grows at the end of the scratch, behind the word of its head.
///
/// Only whole words are stored, for they are read back as whole words right after:
/// a load that straddles two stores waits for both.
struct TextWriter<'a> {
    scratch: &'a mut Scratch,
    stored: usize,
    whole: usize,
    room: usize,
    /// The bytes behind the last whole word, then zeros.
    last: u64,
}

impl<'a> TextWriter<'a> {
    #[inline]
    fn new(scratch: &'a mut Scratch, field: &Field) -> TextWriter<'a> {
        let room = scratch.text_room(field);
        TextWriter {
            scratch,
            stored: 0,
            whole: 0,
            room,
            last: 0,
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.whole = self.whole.saturating_add(bytes.len());
        let kept = &bytes[..bytes.len().min(self.room - self.stored)];
        let (words, rest) = kept.as_chunks::<8>();
        for &word in words {
            self.add(u64::from_le_bytes(word), 8);
        }
        if !rest.is_empty() {
            self.add(word_of(rest), rest.len());
        }
    }

    /// Appends the low `len` bytes, 1 to 8, of a word that has zeros above them.
    #[inline]
    fn add(&mut self, word: u64, len: usize) {
        let filled = self.stored % 8;
        self.last |= word << (8 * filled);
        if filled + len >= 8 {
            self.store_last();
            // What did not fit: nothing where the word was empty before.
            self.last = (word >> 8) >> (56 - 8 * filled);
        }
        self.stored += len;
    }

    /// Stores the word that the text has come to; the room that was given out
    /// lies within the scratch.
    #[inline]
    fn store_last(&mut self) {
        let at = self.scratch.len + 1 + self.stored / 8;
        if let Some(place) = self.scratch.words.get_mut(at) {
            place.write(self.last);
        }
    }

    /// Pads the last word, writes the head and makes both part of the record.
    #[inline]
    fn end(mut self, field: &Field, kind: Kind) {
        if !self.stored.is_multiple_of(8) {
            self.store_last();
        }
        let words = words_of(self.stored);
        let scratch = self.scratch;
        if scratch.len + 1 + words > RECORD_MAX_WORDS {
            return;
        }
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

/// At most 7 bytes as a word, zeros above them: of 4 and more, two halves that overlap.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - 4));
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ => bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| (word << 8) | u64::from(byte)),
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use tracing_core::{Callsite, Interest, Level, Metadata};
    use ttlog_format::value::decode;

    /// Encodes `text` in three pieces that end where `cuts` says, cut to `room`
    /// bytes, and gives the bytes that come back and the length that is told.
    fn encoded(field: &Field, text: &str, cuts: [usize; 2], room: usize) -> (Vec<u8>, u32) {
        let mut scratch = Scratch::new(1);
        scratch.push(0);
        let mut writer = TextWriter::new(&mut scratch, field);
        writer.room = room;
        writer.put(&text.as_bytes()[..cuts[0]]);
        writer.put(&text.as_bytes()[cuts[0]..cuts[1]]);
        writer.put(&text.as_bytes()[cuts[1]..]);
        writer.end(field, Kind::Str);
        let words = scratch.finish(record::Kind::Event);
        let fields = decode(&words[1..]);
        let text = fields[0].value.text().unwrap();
        let last = words.last().unwrap().to_le_bytes();
        let padding = (8 - text.bytes.len() % 8) % 8;
        assert!(last[8 - padding..].iter().all(|&byte| byte == 0));
        (text.bytes.clone(), text.whole)
    }

    struct Site;

    static METADATA: Metadata<'static> = tracing_core::metadata! {
        name: "event",
        target: "test",
        level: Level::INFO,
        fields: &["text"],
        callsite: &Site,
        kind: tracing_core::metadata::Kind::EVENT
    };

    impl Callsite for Site {
        fn set_interest(&self, _: Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            &METADATA
        }
    }

    #[test]
    fn a_text_is_the_same_in_whatever_pieces_it_comes() {
        let field = METADATA.fields().field("text").unwrap();
        let text: String = ('!'..='~').take(26).collect();
        for len in 0..=text.len() {
            let text = &text[..len];
            for (first, second) in (0..=len).flat_map(|i| (i..=len).map(move |j| (i, j))) {
                for room in [11, 16, 64] {
                    let expected = &text.as_bytes()[..len.min(room)];
                    let (kept, whole) = encoded(&field, text, [first, second], room);
                    assert_eq!((&kept[..], whole), (expected, len as u32));
                }
            }
        }
    }
}
