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
//!
//! Why whole words? Packed bytes are read back as words that straddle two
//! stores, and the copy stalls on each.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
}

impl Kind {
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
            _ => return None,
        })
    }
}

/// The head word of a number or a boolean; `inline` is its value where it is inline.
#[inline]
pub fn head(field: u8, kind: Kind, inline: u32) -> u64 {
    u64::from(field) | ((kind as u64) << 8) | (u64::from(inline) << 32)
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

/// A value as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
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
    Str(Text),
    /// Bytes.
    Bytes(Text),
    /// The text of `Debug` or `Display`, or a formatted message.
    Debug(Text),
    /// The `Display` text of an error.
    Error(Text),
}

impl Value {
    /// The text, where the value is one.
    pub fn text(&self) -> Option<&Text> {
        match self {
            Value::Str(text) | Value::Bytes(text) | Value::Debug(text) | Value::Error(text) => {
                Some(text)
            }
            _ => None,
        }
    }

    /// Whether a part of the value was cut when it was recorded.
    pub fn is_truncated(&self) -> bool {
        self.text()
            .is_some_and(|text| text.whole > text.bytes.len() as u32)
    }
}

/// The kept bytes of a text, UTF-8 unless damaged or of [`Value::Bytes`]; a cut
/// text may end inside a character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// What was kept.
    pub bytes: Vec<u8>,
    /// How many bytes the text had.
    pub whole: u32,
}

/// A value and the index of its field in the call site's list of names.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Index in the call site's list of names.
    pub index: u8,
    /// The value.
    pub value: Value,
}

/// An integer, a float, a boolean, a text or a byte string as serde has them; what
/// was cut, or is a text of another kind, as a map of that kind, `str`, `bytes`,
/// `debug` or `error`, and of `whole`, the bytes that it had.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::I64(value) => serializer.serialize_i64(*value),
            Value::U64(value) => serializer.serialize_u64(*value),
            Value::I128(value) => serializer.serialize_i128(*value),
            Value::U128(value) => serializer.serialize_u128(*value),
            Value::F64(value) => serializer.serialize_f64(*value),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Str(text) if !self.is_truncated() => serializer.serialize_str(&text.lossy()),
            Value::Bytes(text) if !self.is_truncated() => serializer.serialize_bytes(&text.bytes),
            Value::Str(text) => text.serialize_as("str", serializer),
            Value::Debug(text) => text.serialize_as("debug", serializer),
            Value::Error(text) => text.serialize_as("error", serializer),
            Value::Bytes(text) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("bytes", &Bytes(&text.bytes))?;
                map.serialize_entry("whole", &text.whole)?;
                map.end()
            }
        }
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Text {
    /// A text of which everything was kept.
    fn of(bytes: Vec<u8>) -> Text {
        let whole = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Text { bytes, whole }
    }

    /// The bytes, without the beginning of a character that was cut in two.
    pub fn whole_characters(&self) -> &[u8] {
        let bytes = &self.bytes;
        if self.whole as usize <= bytes.len() {
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

    fn serialize_as<S: Serializer>(
        &self,
        kind: &'static str,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = self.lossy();
        let cut = self.whole as usize > self.bytes.len();
        let mut map = serializer.serialize_map(Some(1 + usize::from(cut)))?;
        map.serialize_entry(kind, &text)?;
        if cut {
            map.serialize_entry("whole", &self.whole)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::I64(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::U64(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::I128(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::U128(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::F64(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(Text::of(value.as_bytes().to_vec())))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(Text::of(value.to_vec())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        let tagged = Tagged::deserialize(MapAccessDeserializer::new(map))?;
        let text = |bytes: Vec<u8>| {
            let kept = Text::of(bytes);
            let whole = tagged.whole.unwrap_or(kept.whole);
            Text { whole, ..kept }
        };
        let text_of = |string: String| text(string.into_bytes());
        Ok(if let Some(string) = tagged.debug {
            Value::Debug(text_of(string))
        } else if let Some(string) = tagged.error {
            Value::Error(text_of(string))
        } else if let Some(bytes) = tagged.bytes {
            Value::Bytes(text(bytes.0))
        } else {
            Value::Str(text_of(tagged.str.unwrap_or_default()))
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tagged {
    str: Option<String>,
    debug: Option<String>,
    error: Option<String>,
    bytes: Option<ByteString>,
    whole: Option<u32>,
}

struct ByteString(Vec<u8>);

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteString, D::Error> {
        match deserializer.deserialize_bytes(ValueVisitor)? {
            Value::Bytes(text) => Ok(ByteString(text.bytes)),
            _ => Ok(ByteString(Vec::new())),
        }
    }
}

/// A pair: the index, and the value.
impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.index, &self.value).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
        let (index, value) = Deserialize::deserialize(deserializer)?;
        Ok(Field { index, value })
    }
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
pub fn len_words(words: &[u64]) -> Option<usize> {
    let &head = words.first()?;
    let len = 1 + match Kind::from_u8((head >> 8) as u8)? {
        Kind::I32 | Kind::U32 | Kind::Bool => 0,
        Kind::I64 | Kind::U64 | Kind::F64 => 1,
        Kind::I128 | Kind::U128 => 2,
        Kind::Str | Kind::Bytes | Kind::Debug | Kind::Error => {
            words_of(usize::from((head >> 16) as u16))
        }
    };
    (len <= words.len()).then_some(len)
}

/// Whether one of the texts in `words` was cut, without decoding them.
pub(crate) fn are_truncated(words: &[u64]) -> bool {
    let mut rest = words;
    while let (Some(len), Some(&head)) = (len_words(rest), rest.first()) {
        let is_text = (head >> 8) as u8 >= Kind::Str as u8;
        let stored = u32::from((head >> 16) as u16);
        if is_text && (head >> 32) as u32 > stored {
            return true;
        }
        rest = &rest[len..];
    }
    false
}

/// The value at the beginning of `words`, and the words behind it.
pub(crate) fn take(words: &[u64]) -> Option<(Field, &[u64])> {
    let (value, rest) = words.split_at(len_words(words)?);
    let (&head, payload) = value.split_first()?;
    let inline = (head >> 32) as u32;
    let low = payload.first().copied().unwrap_or(0);
    let wide = || u128::from(low) | (u128::from(payload.get(1).copied().unwrap_or(0)) << 64);
    let text = || Text {
        bytes: bytes_of(payload, usize::from((head >> 16) as u16)),
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
    };
    let field = Field {
        index: head as u8,
        value,
    };
    Some((field, rest))
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
    let is_text = (head >> 8) as u8 >= Kind::Str as u8;
    let stored = room.checked_sub(1).filter(|&words| words > 0)? * 8;
    is_text.then_some((head & !0xffff_0000) | ((stored as u64) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(fields: &[Field]) -> Vec<u64> {
        let mut words = Vec::new();
        for Field { index, value } in fields {
            match value {
                Value::I64(v) => match i32::try_from(*v) {
                    Ok(v) => words.push(head(*index, Kind::I32, v as u32)),
                    Err(_) => words.extend([head(*index, Kind::I64, 0), *v as u64]),
                },
                Value::U64(v) => match u32::try_from(*v) {
                    Ok(v) => words.push(head(*index, Kind::U32, v)),
                    Err(_) => words.extend([head(*index, Kind::U64, 0), *v]),
                },
                Value::I128(v) => {
                    words.extend([head(*index, Kind::I128, 0), *v as u64, (*v >> 64) as u64]);
                }
                Value::U128(v) => {
                    words.extend([head(*index, Kind::U128, 0), *v as u64, (*v >> 64) as u64]);
                }
                Value::F64(v) => words.extend([head(*index, Kind::F64, 0), v.to_bits()]),
                Value::Bool(v) => words.push(head(*index, Kind::Bool, u32::from(*v))),
                Value::Str(t) => text(&mut words, *index, Kind::Str, t),
                Value::Bytes(t) => text(&mut words, *index, Kind::Bytes, t),
                Value::Debug(t) => text(&mut words, *index, Kind::Debug, t),
                Value::Error(t) => text(&mut words, *index, Kind::Error, t),
            }
        }
        words
    }

    fn text(words: &mut Vec<u64>, index: u8, kind: Kind, text: &Text) {
        words.push(text_head(index, kind, text.bytes.len() as u16, text.whole));
        for chunk in text.bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            words.push(u64::from_le_bytes(word));
        }
    }

    fn any_text() -> impl Strategy<Value = Text> {
        (proptest::collection::vec(any::<u8>(), 0..64), 0..1000u32).prop_map(|(bytes, more)| Text {
            whole: bytes.len() as u32 + more,
            bytes,
        })
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::I64),
            any::<i32>().prop_map(|v| Value::I64(v.into())),
            any::<u64>().prop_map(Value::U64),
            any::<u32>().prop_map(|v| Value::U64(v.into())),
            any::<i128>().prop_map(Value::I128),
            any::<u128>().prop_map(Value::U128),
            (-1e300..1e300f64).prop_map(Value::F64),
            any::<bool>().prop_map(Value::Bool),
            any_text().prop_map(Value::Str),
            any_text().prop_map(Value::Bytes),
            any_text().prop_map(Value::Debug),
            any_text().prop_map(Value::Error),
        ]
    }

    fn any_fields() -> impl Strategy<Value = Vec<Field>> {
        let field = (any::<u8>(), any_value()).prop_map(|(index, value)| Field { index, value });
        proptest::collection::vec(field, 0..8)
    }

    proptest! {
        #[test]
        fn values_come_back(fields in any_fields()) {
            prop_assert_eq!(decode(&encode(&fields)), fields);
        }

        #[test]
        fn arbitrary_words_are_decoded_without_a_panic(words in proptest::collection::vec(any::<u64>(), 0..64)) {
            prop_assert!(decode(&words).len() <= words.len());
        }

        #[test]
        fn what_is_fitted_is_bounded_and_a_prefix_of_each(fields in any_fields(), room in 0usize..40) {
            let mut fitted = Vec::new();
            let used = fit(&encode(&fields), room, |word| fitted.push(word));
            prop_assert_eq!(used, fitted.len());
            prop_assert!(used <= room);
            for field in decode(&fitted) {
                let same = fields.iter().any(|whole| whole.index == field.index && match (whole.value.text(), field.value.text()) {
                    (Some(whole), Some(cut)) => whole.bytes.starts_with(&cut.bytes) && whole.whole == cut.whole,
                    _ => whole.value == field.value,
                });
                prop_assert!(same);
            }
        }
    }

    #[test]
    fn a_cut_character_is_not_given_in_part() {
        let text = |whole| Text {
            bytes: b"caf\xc3".to_vec(),
            whole,
        };
        assert_eq!(text(9).whole_characters(), b"caf");
        assert_eq!(text(4).whole_characters(), b"caf\xc3");
    }

    #[test]
    fn the_room_of_a_text_leaves_a_word_for_each_field_to_come() {
        for room in 0..=253 {
            for after in 0..32 {
                let taken = words_of(text_room(room, after));
                assert!(
                    taken + after <= room || taken == 0,
                    "room {room}, {after} to come"
                );
            }
        }
        // Two long texts and a small number share one record.
        let first = words_of(text_room(252, 2).min(5000));
        assert_eq!(first * 8, 1000);
        assert_eq!(text_room(252 - first - 1, 1), 1000);
        // A text that comes alone may have it all.
        assert_eq!(text_room(252, 0), 2016);
    }
}
