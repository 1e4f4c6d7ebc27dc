//! A record being encoded, on the stack of the thread that records it.
//!
//! All of the user's code (`Debug`, `Display`) runs while this is filled and
//! before anything in the recording changes: a panic in it costs nothing that
//! was there, and an event logged in it is recorded like any other.

use crate::linux::message::message;
use std::fmt::{self, Write};
use std::mem::MaybeUninit;
use tracing_core::field::{Field, Visit};
use ttlog_format::RECORD_MAX_WORDS;
use ttlog_format::record;
use ttlog_format::value::{Kind, TEXT_KEPT_BYTES, head, text_head, text_room, words_of};

const _: () = assert!(
    cfg!(target_endian = "little") || !crate::SUPPORTED,
    "texts are copied in the byte order of memory"
);

/// The words of a record that its maker fills: one is left for what is stored later.
const WORDS: usize = RECORD_MAX_WORDS - 1;

/// The words of a record; those below `len` are initialised.
pub(crate) struct Scratch {
    words: [MaybeUninit<u64>; WORDS],
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
            words: [const { MaybeUninit::uninit() }; WORDS],
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

    /// The record's words, its header set for a record of this kind, which may have a
    /// word more that is stored later.
    #[inline]
    #[expect(clippy::disallowed_methods, reason = "its own words, on this stack")]
    pub(crate) fn finish(&mut self, kind: record::Kind) -> &mut [u64] {
        let len = self.len;
        let first = self.words.as_mut_ptr().cast::<u64>();
        // SAFETY: the words below `len` were written by whatever raised it, a text's last
        // one to its end, and are borrowed with `self`.
        let words = unsafe { std::slice::from_raw_parts_mut(first, len) };
        if let Some(first) = words.first_mut() {
            *first = record::header(kind, len + usize::from(kind.has_later_word()));
        }
        words
    }

    /// Appends of a value that it is redacted.
    pub(crate) fn redacted(&mut self, field: &Field) {
        self.short(field, Kind::Redacted, 0);
    }

    #[inline]
    fn short(&mut self, field: &Field, kind: Kind, inline: u32) {
        self.push(head(field.index() as u8, kind, inline));
    }

    #[inline]
    fn long<const N: usize>(&mut self, field: &Field, kind: Kind, words: [u64; N]) {
        let behind = self.words.get_mut(self.len..).unwrap_or_default();
        if let Some((head_place, places)) = behind.split_first_mut()
            && let Some(places) = places.first_chunk_mut()
        {
            head_place.write(head(field.index() as u8, kind, 0));
            *places = words.map(MaybeUninit::new);
            self.len += 1 + N;
        }
    }

    #[inline]
    fn text(&mut self, field: &Field, kind: Kind, bytes: &[u8]) {
        let has_room = self.has_room_for_text();
        let behind = self.words.get_mut(self.len..).unwrap_or_default();
        match behind.first_chunk_mut() {
            Some([head, low, high]) if has_room && bytes.len() <= SHORT => {
                let (whole, words) = (bytes.len() as u32, words_of_short(bytes));
                head.write(text_head(field.index() as u8, kind, whole as u16, whole));
                low.write(words[0]);
                high.write(words[1]);
                self.len += 1 + words_of(bytes.len());
            }
            _ => self.any_text(field, kind, bytes),
        }
    }

    /// Out of line, so that short texts save no registers for it.
    #[inline(never)]
    fn any_text(&mut self, field: &Field, kind: Kind, bytes: &[u8]) {
        self.written(field, kind, |text| text.put(bytes));
    }

    /// Whether a text that is not long has room whatever fields follow.
    #[inline]
    fn has_room_for_text(&self) -> bool {
        self.len + 1 + words_of(TEXT_KEPT_BYTES) + self.fields <= WORDS
    }

    /// Out of line, as [`Scratch::any_text`].
    #[inline(never)]
    fn debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match message(value) {
            Some(message) => self.formatted(field, Kind::Debug, message),
            None => self.formatted(field, Kind::Debug, format_args!("{value:?}")),
        }
    }

    #[inline]
    fn formatted(&mut self, field: &Field, kind: Kind, arguments: fmt::Arguments<'_>) {
        self.written(field, kind, |text| {
            // An error is the user's `fmt` saying so; what it wrote before is kept.
            let _ = fmt::write(text, arguments);
        });
    }

    /// Appends a text in the pieces in which it is written.
    #[inline]
    fn written(&mut self, field: &Field, kind: Kind, write: impl FnOnce(&mut TextWriter<'_>)) {
        let has_room = self.has_room_for_text();
        let Some([head, behind @ ..]) = self.words.get_mut(self.len..) else {
            return;
        };
        let mut text = TextWriter {
            places: bytes_of(behind),
            fields_after: self.fields.saturating_sub(field.index() + 1),
            room: TEXT_KEPT_BYTES,
            stored: 0,
            cut: 0,
        };
        if !has_room {
            text.take_less_room();
        }
        write(&mut text);
        let (stored, whole) = text.end();
        head.write(text_head(field.index() as u8, kind, stored as u16, whole));
        self.len += 1 + words_of(stored);
    }
}

/// A text that is written piece by piece.
///
/// Each piece is stored as whole words from where it begins, the last of them filled up
/// with zeros, which the next piece overwrites. A text of one piece is so stored word by
/// word as it is read back: a load that straddles two stores waits for both.
struct TextWriter<'a> {
    /// Where the text goes: initialised as far as it is stored, to the end of that word.
    places: &'a mut [MaybeUninit<u8>],
    fields_after: usize,
    /// How many bytes may be stored; more of a text that is long, which is found out then.
    room: usize,
    stored: usize,
    /// How many bytes there was no room for.
    cut: u32,
}

/// The longest piece that is stored without a loop.
const SHORT: usize = 16;

impl TextWriter<'_> {
    #[cold]
    fn take_less_room(&mut self) {
        let words = self.places.len() / 8;
        self.room = (8 * words.saturating_sub(self.fields_after)).min(TEXT_KEPT_BYTES);
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > self.room - self.stored {
            return self.put_some(bytes);
        }
        let Some(behind) = self.places.get_mut(self.stored..) else {
            return;
        };
        match behind.first_chunk_mut() {
            Some(places) if bytes.len() <= SHORT => put_short(places, bytes),
            _ => put_long(behind, bytes),
        }
        self.stored += bytes.len();
    }

    #[cold]
    fn put_some(&mut self, bytes: &[u8]) {
        self.room = text_room(self.places.len() / 8, self.fields_after);
        let kept = bytes.len().min(self.room - self.stored);
        let cut = u32::try_from(bytes.len() - kept).unwrap_or(u32::MAX);
        self.cut = self.cut.saturating_add(cut);
        self.put(&bytes[..kept]);
    }

    /// How many bytes of the text are stored, of how many.
    #[inline]
    fn end(self) -> (usize, u32) {
        (self.stored, self.cut.saturating_add(self.stored as u32))
    }
}

/// The bytes of words.
#[expect(clippy::disallowed_methods, reason = "its own words, on this stack")]
fn bytes_of(words: &mut [MaybeUninit<u64>]) -> &mut [MaybeUninit<u8>] {
    let bytes = words.as_mut_ptr().cast();
    // SAFETY: the same memory, borrowed as long; what may be uninitialised is so whether it
    // is taken for words or bytes, and bytes are aligned wherever they lie.
    unsafe { std::slice::from_raw_parts_mut(bytes, size_of_val(words)) }
}

/// At most [`SHORT`] bytes as words, zeros behind them.
#[inline]
fn words_of_short(bytes: &[u8]) -> [u64; 2] {
    match bytes.split_first_chunk() {
        Some((&first, rest)) => [u64::from_le_bytes(first), last_word(bytes, rest)],
        None => [word_of(bytes), 0],
    }
}

/// Puts at most [`SHORT`] bytes, and zeros behind them to the end of any word.
#[inline]
fn put_short(places: &mut [MaybeUninit<u8>; SHORT + 8], bytes: &[u8]) {
    let [low, high] = words_of_short(bytes);
    put_words(places, [low, high, 0]);
}

/// Puts bytes, and zeros behind them as far as there are places.
#[inline(never)]
fn put_long(places: &mut [MaybeUninit<u8>], bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks();
    let (whole, behind) = places.split_at_mut(8 * chunks.len());
    for (place, &chunk) in whole.as_chunks_mut().0.iter_mut().zip(chunks) {
        put_word(place, u64::from_le_bytes(chunk));
    }
    let last = [last_word(bytes, rest), 0];
    match behind.first_chunk_mut::<16>() {
        Some(places) => put_words(places, last),
        None => {
            for (place, &byte) in behind
                .iter_mut()
                .zip(last.map(u64::to_le_bytes).as_flattened())
            {
                place.write(byte);
            }
        }
    }
}

#[inline]
fn put_words<const BYTES: usize, const WORDS: usize>(
    places: &mut [MaybeUninit<u8>; BYTES],
    words: [u64; WORDS],
) {
    for (place, word) in places.as_chunks_mut().0.iter_mut().zip(words) {
        put_word(place, word);
    }
}

#[inline]
fn put_word(place: &mut [MaybeUninit<u8>; 8], word: u64) {
    *place = word.to_le_bytes().map(MaybeUninit::new);
}

/// The last bytes of a text, at most 8, as a word with zeros above them: where there are 8
/// bytes before its end, by one load.
#[inline]
fn last_word(bytes: &[u8], rest: &[u8]) -> u64 {
    match bytes.last_chunk() {
        Some(&last) => {
            let unread = 64 - 8 * rest.len();
            (u64::from_le_bytes(last) >> (unread / 2)) >> (unread / 2)
        }
        None => word_of(rest),
    }
}

/// At most 7 bytes as a word, zeros above them: by loads that overlap.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    let end = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let last = u64::from(u32::from_le_bytes(*last)) << (8 * (end - 4));
        return u64::from(u32::from_le_bytes(*first)) | last;
    }
    let byte = |at: usize| bytes.get(at).map_or(0, |&byte| u64::from(byte) << (8 * at));
    byte(0) | byte(1) | byte(2)
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
        self.long(field, Kind::F64, [value.to_bits()]);
    }

    #[inline]
    fn record_i64(&mut self, field: &Field, value: i64) {
        match i32::try_from(value) {
            Ok(small) => self.short(field, Kind::I32, small as u32),
            Err(_) => self.long(field, Kind::I64, [value as u64]),
        }
    }

    #[inline]
    fn record_u64(&mut self, field: &Field, value: u64) {
        match u32::try_from(value) {
            Ok(small) => self.short(field, Kind::U32, small),
            Err(_) => self.long(field, Kind::U64, [value]),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.long(field, Kind::I128, [value as u64, (value >> 64) as u64]);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.long(field, Kind::U128, [value as u64, (value >> 64) as u64]);
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
        match message(value).and_then(|message| message.as_str()) {
            Some(text) => self.text(field, Kind::Debug, text.as_bytes()),
            None => self.debug(field, value),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use tracing_core::{Callsite, Interest, Level, Metadata};
    use ttlog_format::value::decode;

    /// Encodes `text` in three pieces that end where `cuts` says, cut to `room`
    /// words, and gives the bytes that come back and the length that is told.
    fn encoded(field: &Field, text: &str, cuts: [usize; 2], room: usize) -> (Vec<u8>, u32) {
        let mut scratch = Scratch::new(1);
        scratch.push(0);
        scratch.written(field, Kind::Str, |writer| {
            writer.cut_to(room);
            writer.put(&text.as_bytes()[..cuts[0]]);
            writer.put(&text.as_bytes()[cuts[0]..cuts[1]]);
            writer.put(&text.as_bytes()[cuts[1]..]);
        });
        let words = scratch.finish(record::Kind::Event);
        let fields = decode(&words[1..]);
        let text = fields[0].value.text().unwrap();
        let last = words.last().unwrap().to_le_bytes();
        let padding = (8 - text.bytes.len() % 8) % 8;
        assert!(last[8 - padding..].iter().all(|&byte| byte == 0));
        (text.bytes.clone(), text.whole)
    }

    impl TextWriter<'_> {
        fn cut_to(&mut self, room: usize) {
            let places = std::mem::take(&mut self.places);
            self.places = &mut places[..8 * room];
            self.room = 8 * room;
        }
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

    /// The words, `before` others before them, of a text that is given whole.
    fn given(field: &Field, bytes: &[u8], before: usize) -> Vec<u64> {
        let mut scratch = Scratch::new(1);
        (0..before).for_each(|_| scratch.push(0));
        scratch.text(field, Kind::Str, bytes);
        scratch.finish(record::Kind::Event)[before..].to_vec()
    }

    #[test]
    fn a_text_that_is_given_whole_is_stored_to_the_end_of_its_words_and_of_the_room() {
        let field = METADATA.fields().field("text").unwrap();
        let bytes: Vec<u8> = (1..=40).collect();
        // From where any of them has room to where there is not one word for the head.
        for (len, before) in (0..=40).flat_map(|len| (1..=WORDS).map(move |n| (len, n))) {
            let room = 8 * (WORDS - before).saturating_sub(1);
            let kept = len.min(room);
            let head = text_head(0, Kind::Str, kept as u16, len as u32);
            let padded = bytes[..kept].chunks(8).map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_le_bytes(word)
            });
            let mut expected: Vec<u64> = std::iter::once(head).chain(padded).collect();
            expected.truncate(WORDS - before);
            assert_eq!(
                given(&field, &bytes[..len], before),
                expected,
                "{len}, {before}"
            );
        }
    }

    #[test]
    fn a_value_that_has_no_room_is_left_out_whole() {
        let field = METADATA.fields().field("text").unwrap();
        assert_eq!(Scratch::new(1).finish(record::Kind::Event), []);
        for room in 0..4 {
            let mut scratch = Scratch::new(1);
            (0..WORDS - room).for_each(|_| scratch.push(7));
            scratch.record_u128(&field, 1 << 100);
            let whole = if room < 3 { 0 } else { 3 };
            assert_eq!(scratch.len, WORDS - room + whole);
            (0..4).for_each(|_| scratch.push(8));
            let words = scratch.finish(record::Kind::Event);
            assert_eq!(words.len(), WORDS);
            assert_eq!(words[1..WORDS - room], [7].repeat(WORDS - room - 1));
        }
    }

    #[test]
    fn a_text_is_the_same_in_whatever_pieces_it_comes() {
        let field = METADATA.fields().field("text").unwrap();
        let text: String = ('!'..='~').take(26).collect();
        for len in 0..=text.len() {
            let text = &text[..len];
            for (first, second) in (0..=len).flat_map(|i| (i..=len).map(move |j| (i, j))) {
                for room in [1, 2, 8] {
                    let expected = &text.as_bytes()[..len.min(8 * room)];
                    let (kept, whole) = encoded(&field, text, [first, second], room);
                    assert_eq!((&kept[..], whole), (expected, len as u32));
                }
            }
        }
    }
}
