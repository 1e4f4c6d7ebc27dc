//! The values of an event or a span: a head word each, then whole payload words.
//!
//! ```text
//!   bits   0        8       16              32                             64
//!          +--------+-------+---------------+------------------------------+
//!   head   | field  | kind  | stored bytes  | inline value, or the bytes   |
//!          |        |       | (texts)       | that the whole text had      |
//!          +--------+-------+---------------+------------------------------+
//! ```
//!
//! `field` is the index in the call site's list of names. Integers that fit 32
//! bits and booleans are inline; a 64-bit number follows in one word, a 128-bit
//! one in two (low half first), a text in as many as it needs, padded by zeros.
//! Of a value that was redacted there is the head alone; where one was taken out of a
//! recording later, zeros follow in its place, as many bytes as the head says.
//!
//! Why whole words? Packed bytes are read back as words that straddle two
//! stores, and the copy stalls on each.

mod serial;

use std::borrow::Cow;

use zerocopy::IntoBytes;

/// What kind of value a head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `i64`, inline if it fits `i32`.
    I32 = 1,
    /// `i64`, one word.
    I64 = 2,
    /// `u64`, inline if it fits `u32`.
    U32 = 3,
    /// `u64`, one word.
    U64 = 4,
    /// `i128`, two words.
    I128 = 5,
    /// `u128`, two words.
    U128 = 6,
    /// `f64`, one word.
    F64 = 7,
    /// `bool`, inline.
    Bool = 8,
    /// A string.
    Str = 9,
    /// Bytes.
    Bytes = 10,
    /// The text of `Debug` or `Display`, or a formatted message.
    Debug = 11,
    /// The `Display` text of an error.
    Error = 12,
    /// A value that is not to be had, and was not recorded.
    Redacted = 13,
}

impl Kind {
    #[inline]
    fn from_u8(kind: u8) -> Option<Kind> {
        Some(match kind {
            1 => Kind::I32,
            2 => Kind::I64,
            3 => Kind::U32,
            4 => Kind::U64,
            5 => Kind::I128,
            6 => Kind::U128,
            7 => Kind::F64,
            8 => Kind::Bool,
            9 => Kind::Str,
            10 => Kind::Bytes,
            11 => Kind::Debug,
            12 => Kind::Error,
            13 => Kind::Redacted,
            _ => return None,
        })
    }
}

/// The head word of a number or a boolean; `inline` is its value where it is inline.
#[inline]
pub fn head(field: u8, kind: Kind, inline: u32) -> u64 {
    u64::from(field) | ((kind as u64) << 8) | (u64::from(inline) << 32)
}

/// The words of a value that was redacted, in the place of one of so many words.
pub fn redacted(field: u8, words: usize) -> impl Iterator<Item = u64> {
    let behind = words.saturating_sub(1);
    let stored = u16::try_from(8 * behind).unwrap_or(u16::MAX);
    let head = text_head(field, Kind::Redacted, stored, 0);
    std::iter::once(head).chain(std::iter::repeat_n(0, behind))
}

/// The head word of a text of which `stored` bytes of `whole` are kept.
#[inline]
pub fn text_head(field: u8, kind: Kind, stored: u16, whole: u32) -> u64 {
    head(field, kind, whole) | (u64::from(stored) << 16)
}

/// The words that `bytes` bytes of text take.
#[inline]
pub const fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// How many bytes a text may take of `room_words` free words, head excluded,
/// when `fields_after` more fields may still come.
///
/// A text keeps its first [`TEXT_KEPT_BYTES`] as long as at most two are that
/// long, and a word is left for each field still to come.
#[inline]
pub fn text_room(room_words: usize, fields_after: usize) -> usize {
    let room = room_words.saturating_sub(fields_after) * 8;
    if fields_after == 0 {
        return room;
    }
    let shared = room.saturating_sub(8 + TEXT_KEPT_BYTES);
    shared.max(TEXT_KEPT_BYTES).min(room)
}

/// The bytes that a long text keeps at least.
pub const TEXT_KEPT_BYTES: usize = 1000;

/// The bytes of a text where they lie, in the words of a block or in a [`Text`].
pub type Borrowed<'a> = Cow<'a, [u8]>;

/// A value as it was recorded; its text, if it is one, owned or [`Borrowed`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value<B = Vec<u8>> {
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A signed integer of 128 bits.
    I128(i128),
    /// An unsigned integer of 128 bits.
    U128(u128),
    /// A floating-point number.
    F64(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Str(Text<B>),
    /// Bytes.
    Bytes(Text<B>),
    /// The text of `Debug` or `Display`, or a formatted message.
    Debug(Text<B>),
    /// The `Display` text of an error.
    Error(Text<B>),
    /// A value that was not recorded, or taken out, since its field's name is one of
    /// those whose values nobody shall have ([`crate::redaction`]).
    Redacted,
}

/// What is shown in the place of a value that was redacted.
pub const REDACTED: &str = "[redacted]";

/// The kept bytes of a text, UTF-8 unless damaged or of [`Value::Bytes`]; a cut
/// text may end inside a character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<B = Vec<u8>> {
    /// What was kept.
    pub bytes: B,
    /// How many bytes the text had.
    pub whole: u32,
}

/// A value and the index of its field in the call site's list of names.
#[derive(Clone, Debug, PartialEq)]
pub struct Field<B = Vec<u8>> {
    /// Index in the call site's list of names.
    pub index: u8,
    /// The value.
    pub value: Value<B>,
}

impl<B> Value<B> {
    /// The text, where the value is one.
    pub fn text(&self) -> Option<&Text<B>> {
        match self {
            Value::Str(text) | Value::Bytes(text) | Value::Debug(text) | Value::Error(text) => {
                Some(text)
            }
            _ => None,
        }
    }

    /// The same value, its text kept in another way.
    fn kept_as<'a, C>(&'a self, keep: impl FnOnce(&'a B) -> C) -> Value<C> {
        let text = |text: &'a Text<B>| Text {
            bytes: keep(&text.bytes),
            whole: text.whole,
        };
        match self {
            Value::I64(value) => Value::I64(*value),
            Value::U64(value) => Value::U64(*value),
            Value::I128(value) => Value::I128(*value),
            Value::U128(value) => Value::U128(*value),
            Value::F64(value) => Value::F64(*value),
            Value::Bool(value) => Value::Bool(*value),
            Value::Str(kept) => Value::Str(text(kept)),
            Value::Bytes(kept) => Value::Bytes(text(kept)),
            Value::Debug(kept) => Value::Debug(text(kept)),
            Value::Error(kept) => Value::Error(text(kept)),
            Value::Redacted => Value::Redacted,
        }
    }
}

impl<B: AsRef<[u8]>> Value<B> {
    /// The words that the value takes in a record, its head included.
    pub fn words(&self) -> usize {
        match self {
            Value::I64(value) => 1 + usize::from(i32::try_from(*value).is_err()),
            Value::U64(value) => 1 + usize::from(u32::try_from(*value).is_err()),
            Value::I128(_) | Value::U128(_) => 3,
            Value::F64(_) => 2,
            Value::Bool(_) | Value::Redacted => 1,
            Value::Str(text) | Value::Bytes(text) | Value::Debug(text) | Value::Error(text) => {
                1 + words_of(text.bytes.as_ref().len())
            }
        }
    }

    /// Whether a part of the value was cut when it was recorded.
    pub fn is_truncated(&self) -> bool {
        self.text().is_some_and(Text::is_cut)
    }

    /// The value with its text where it lies.
    pub fn borrowed(&self) -> Value<Borrowed<'_>> {
        self.kept_as(|bytes| Cow::Borrowed(bytes.as_ref()))
    }

    /// The value with a text of its own.
    pub fn owned(&self) -> Value {
        self.kept_as(|bytes| bytes.as_ref().to_vec())
    }
}

impl<B: AsRef<[u8]>> Field<B> {
    /// The field with its text where it lies.
    pub fn borrowed(&self) -> Field<Borrowed<'_>> {
        Field {
            index: self.index,
            value: self.value.borrowed(),
        }
    }

    /// The field with a text of its own.
    pub fn owned(&self) -> Field {
        Field {
            index: self.index,
            value: self.value.owned(),
        }
    }
}

impl Text {
    /// A text of which everything was kept.
    fn of(bytes: Vec<u8>) -> Text {
        let whole = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Text { bytes, whole }
    }
}

impl<B: AsRef<[u8]>> Text<B> {
    /// Whether a part of the text was cut when it was recorded.
    pub fn is_cut(&self) -> bool {
        self.whole as usize > self.bytes.as_ref().len()
    }

    /// The bytes, without the beginning of a character that was cut in two.
    pub fn whole_characters(&self) -> &[u8] {
        let bytes = self.bytes.as_ref();
        if !self.is_cut() {
            return bytes;
        }
        match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
            _ => bytes,
        }
    }

    /// The whole characters, with a replacement for what is none.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.whole_characters())
    }
}

/// The fields in `words`, one after the other up to the first that is none, with their
/// texts where they lie.
pub fn fields(words: &[u64]) -> impl Iterator<Item = Field<Borrowed<'_>>> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let (field, behind) = take_in_place(rest)?;
        rest = behind;
        Some(field)
    })
}

/// Takes the values of `words` one after the other, up to the first that is not one.
pub fn decode(words: &[u64]) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut rest = words;
    while let Some((field, after)) = take(rest) {
        fields.push(field);
        rest = after;
    }
    fields
}

/// How many words the value at the beginning of `words` takes, or `None` if
/// there is no whole value.
#[inline]
pub fn len_words(words: &[u64]) -> Option<usize> {
    let &head = words.first()?;
    let len = 1 + match Kind::from_u8((head >> 8) as u8)? {
        Kind::I32 | Kind::U32 | Kind::Bool => 0,
        Kind::I64 | Kind::U64 | Kind::F64 => 1,
        Kind::I128 | Kind::U128 => 2,
        Kind::Str | Kind::Bytes | Kind::Debug | Kind::Error | Kind::Redacted => {
            words_of(usize::from((head >> 16) as u16))
        }
    };
    (len <= words.len()).then_some(len)
}

/// Whether one of the texts in `words` was cut, without decoding them.
pub(crate) fn are_truncated(words: &[u64]) -> bool {
    let mut rest = words;
    while let (Some(len), Some(&head)) = (len_words(rest), rest.first()) {
        let stored = u32::from((head >> 16) as u16);
        if is_text(head) && (head >> 32) as u32 > stored {
            return true;
        }
        rest = &rest[len..];
    }
    false
}

/// Whether a head announces a text.
fn is_text(head: u64) -> bool {
    (Kind::Str as u8..=Kind::Error as u8).contains(&((head >> 8) as u8))
}

/// The value at the beginning of `words`, and the words behind it.
pub(crate) fn take(words: &[u64]) -> Option<(Field, &[u64])> {
    take_with(words, bytes_of)
}

/// The same, its text where it lies.
#[inline(always)]
pub(crate) fn take_in_place(words: &[u64]) -> Option<(Field<Borrowed<'_>>, &[u64])> {
    take_with(words, bytes_in)
}

#[inline(always)]
fn take_with<'a, B>(
    words: &'a [u64],
    bytes: impl FnOnce(&'a [u64], usize) -> B,
) -> Option<(Field<B>, &'a [u64])> {
    let (value, rest) = words.split_at(len_words(words)?);
    let (&head, payload) = value.split_first()?;
    let inline = (head >> 32) as u32;
    let low = payload.first().copied().unwrap_or(0);
    let wide = || u128::from(low) | (u128::from(payload.get(1).copied().unwrap_or(0)) << 64);
    let text = || Text {
        bytes: bytes(payload, usize::from((head >> 16) as u16)),
        whole: inline,
    };
    let value = match Kind::from_u8((head >> 8) as u8)? {
        Kind::I32 => Value::I64(i64::from(inline as i32)),
        Kind::I64 => Value::I64(low as i64),
        Kind::U32 => Value::U64(u64::from(inline)),
        Kind::U64 => Value::U64(low),
        Kind::I128 => Value::I128(wide() as i128),
        Kind::U128 => Value::U128(wide()),
        Kind::F64 => Value::F64(f64::from_bits(low)),
        Kind::Bool => Value::Bool(inline != 0),
        Kind::Str => Value::Str(text()),
        Kind::Bytes => Value::Bytes(text()),
        Kind::Debug => Value::Debug(text()),
        Kind::Error => Value::Error(text()),
        Kind::Redacted => Value::Redacted,
    };
    let field = Field {
        index: head as u8,
        value,
    };
    Some((field, rest))
}

/// The first `len` bytes of `words`: where they lie, on a machine whose words lie in
/// memory as they lie in the file.
#[inline]
fn bytes_in(words: &[u64], len: usize) -> Borrowed<'_> {
    match words.as_bytes().get(..len) {
        Some(bytes) if cfg!(target_endian = "little") => Cow::Borrowed(bytes),
        _ => Cow::Owned(bytes_of(words, len)),
    }
}

/// The first `len` bytes of `words`.
pub(crate) fn bytes_of(words: &[u64], len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(words.len() * 8);
    words
        .iter()
        .for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.truncate(len);
    bytes
}

/// Copies encoded `values` into at most `room_words` words given to `push`:
/// whole where they fit, texts cut where they do not.
///
/// Returns how many words were given.
pub fn fit(values: &[u64], room_words: usize, mut push: impl FnMut(u64)) -> usize {
    let mut rest = values;
    let mut room = room_words;
    while let Some(len) = len_words(rest) {
        let (value, after) = rest.split_at(len);
        rest = after;
        if len <= room {
            value.iter().for_each(|&word| push(word));
            room -= len;
        } else if let Some(cut) = cut_to(value, room) {
            push(cut);
            value[1..room].iter().for_each(|&word| push(word));
            room = 0;
        }
    }
    room_words - room
}

/// The head of the text `value` cut to `room` words, or `None` if it is no text
/// or nothing of it would be left.
fn cut_to(value: &[u64], room: usize) -> Option<u64> {
    let head = *value.first()?;
    let stored = room.checked_sub(1).filter(|&words| words > 0)? * 8;
    is_text(head).then_some((head & !0xffff_0000) | ((stored as u64) << 16))
}

#[cfg(test)]
mod tests;
