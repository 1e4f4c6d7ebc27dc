//! Values as serde has them, and so a snapshot.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Field, Text, Value};

/// An integer, a float, a boolean, a text or a byte string as serde has them; what
/// was cut, or is a text of another kind, as a map of that kind, `str`, `bytes`,
/// `debug` or `error`, and of `whole`, the bytes that it had; what was redacted as a map
/// that says so.
impl<B: AsRef<[u8]>> Serialize for Value<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::I64(value) => serializer.serialize_i64(*value),
            Value::U64(value) => serializer.serialize_u64(*value),
            Value::I128(value) => serializer.serialize_i128(*value),
            Value::U128(value) => serializer.serialize_u128(*value),
            Value::F64(value) => serializer.serialize_f64(*value),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Str(text) if !self.is_truncated() => serializer.serialize_str(&text.lossy()),
            Value::Bytes(text) if !self.is_truncated() => {
                serializer.serialize_bytes(text.bytes.as_ref())
            }
            Value::Str(text) => text.serialize_as("str", serializer),
            Value::Debug(text) => text.serialize_as("debug", serializer),
            Value::Error(text) => text.serialize_as("error", serializer),
            Value::Redacted => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("redacted", &true)?;
                map.end()
            }
            Value::Bytes(text) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("bytes", &Bytes(text.bytes.as_ref()))?;
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

impl<B: AsRef<[u8]>> Text<B> {
    fn serialize_as<S: Serializer>(
        &self,
        kind: &'static str,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let cut = self.is_cut();
        let mut map = serializer.serialize_map(Some(1 + usize::from(cut)))?;
        map.serialize_entry(kind, &self.lossy())?;
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
        Ok(if tagged.redacted {
            Value::Redacted
        } else if let Some(string) = tagged.debug {
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
    redacted: bool,
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
impl<B: AsRef<[u8]>> Serialize for Field<B> {
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
