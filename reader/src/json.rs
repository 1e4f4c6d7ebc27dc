//! An entry as one line for programs: the layout of `tracing_subscriber::fmt().json()`.
//!
//! A line is a JSON object, whatever was recorded. What could mislead a terminal
//! is escaped by JSON's own means, so that a program reads what was recorded and
//! a terminal shows nothing else.

mod lines;

use std::collections::HashSet;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::Formatter;
use ttlog_format::salvage::{Thread, What};
use ttlog_format::value::{Borrowed, REDACTED, Value};

use crate::escape::{is_hazard, is_plain};
use crate::shown::{Named, Shown, ShownSpan};
use crate::text::utc;

pub(crate) use lines::Lines;

/// Writes `value` as one line.
pub(crate) fn write_line(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    write(&mut out, value)?;
    out.write_all(b"\n")
}

/// Writes `value`, as it is in a line.
pub(crate) fn write(out: impl Write, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, OneLine);
    Ok(value.serialize(&mut serializer)?)
}

/// serde_json's compact form, with more characters escaped.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        if is_plain(text.as_bytes()) {
            return out.write_all(text.as_bytes());
        }
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_hazard(c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &utc(self.wall_ns))?;
        match self.level {
            Some(level) => map.serialize_entry("level", level.as_str())?,
            None => map.serialize_entry("call_site", &format!("{:#x}", self.address))?,
        }
        map.serialize_entry(
            "fields",
            &Fields {
                message: word(self.what),
                fields: &self.fields,
            },
        )?;
        serialize_place(
            &mut map,
            self.target.as_deref(),
            self.file.as_deref(),
            self.line,
        )?;
        serialize_spans(&mut map, &self.spans, self.spans_missing)?;
        if let Some(thread) = self.thread {
            serialize_thread(&mut map, thread)?;
        }
        if self.truncated {
            map.serialize_entry("truncated", &true)?;
        }
        map.end()
    }
}

/// What happened to a span, in `tracing_subscriber`'s words where it has some.
pub(crate) fn word(what: What) -> Option<&'static str> {
    Some(match what {
        What::Event => return None,
        What::Open => "new",
        What::Enter => "enter",
        What::Exit => "exit",
        What::Close => "close",
        What::Values => "record",
        What::Follows(_) => "follows_from",
    })
}

fn serialize_place<M: SerializeMap>(
    map: &mut M,
    target: Option<&str>,
    file: Option<&str>,
    line: Option<u64>,
) -> Result<(), M::Error> {
    if let Some(target) = target {
        map.serialize_entry("target", target)?;
    }
    if let Some(file) = file {
        map.serialize_entry("filename", file)?;
    }
    if let Some(line) = line {
        map.serialize_entry("line_number", &line)?;
    }
    Ok(())
}

fn serialize_spans<M: SerializeMap>(
    map: &mut M,
    spans: &[ShownSpan<'_>],
    missing: bool,
) -> Result<(), M::Error> {
    if let Some(innermost) = spans.last() {
        map.serialize_entry("span", innermost)?;
    }
    map.serialize_entry("spans", spans)?;
    if missing {
        map.serialize_entry("spans_missing", &true)?;
    }
    Ok(())
}

fn serialize_thread<M: SerializeMap>(map: &mut M, thread: &Thread) -> Result<(), M::Error> {
    if !thread.name.is_empty() {
        map.serialize_entry("threadName", &thread.name)?;
    }
    map.serialize_entry("threadId", &thread.id)
}

impl Serialize for ShownSpan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.fields {
            // `name` is the span's own.
            let name = if name == "name" { "fields.name" } else { name };
            map.serialize_entry(name, &Json(value))?;
        }
        map.serialize_entry("name", self.name.unwrap_or("?"))?;
        map.end()
    }
}

/// Fields as an object, with a message of our own where there is one.
pub(crate) struct Fields<'a> {
    pub(crate) message: Option<&'a str>,
    pub(crate) fields: &'a [Named<'a>],
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut known: HashSet<&str> = HashSet::new();
        if let Some(message) = self.message {
            known.insert("message");
            map.serialize_entry("message", message)?;
        }
        for (name, value) in self.fields.iter().filter(|(name, _)| known.insert(name)) {
            map.serialize_entry(name, &Json(value))?;
        }
        map.end()
    }
}

/// A value as JSON has it.
pub(crate) struct Json<'a>(pub(crate) &'a Value<Borrowed<'a>>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::I64(value) => serializer.serialize_i64(*value),
            Value::U64(value) => serializer.serialize_u64(*value),
            Value::I128(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.collect_str(value),
            },
            Value::U128(value) => match u64::try_from(*value) {
                Ok(value) => serializer.serialize_u64(value),
                Err(_) => serializer.collect_str(value),
            },
            Value::F64(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::F64(value) => serializer.collect_str(value),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Bytes(text) => serializer.collect_seq(text.bytes.iter()),
            Value::Str(text) | Value::Debug(text) | Value::Error(text) => {
                serializer.serialize_str(&text.lossy())
            }
            Value::Redacted => serializer.serialize_str(REDACTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn lines() -> Vec<String> {
        let recording = fixture::recording();
        let mut lines = Lines::default();
        let line = |entry| {
            let mut out = Vec::new();
            lines.push(&mut out, &recording, entry);
            String::from_utf8(out).unwrap()
        };
        recording.entries.iter().map(line).collect()
    }

    fn json(value: &Value) -> String {
        serde_json::to_string(&Json(&value.borrowed())).unwrap()
    }

    #[test]
    fn an_event_has_the_layout_of_tracing_subscriber() {
        assert_eq!(
            lines()[1],
            concat!(
                r#"{"timestamp":"2023-11-14T22:13:20.001000000Z","level":"INFO","#,
                r#""fields":{"message":"user logged in","user_id":42},"target":"app::auth","#,
                r#""filename":"src/auth.rs","line_number":7,"#,
                r#""span":{"table":"users","name":"query"},"#,
                r#""spans":[{"id":7,"name":"request"},{"table":"users","name":"query"}],"#,
                r#""threadName":"worker-1","threadId":4712}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_misleads_a_terminal_is_escaped_and_read_back_as_it_was() {
        let line = &lines()[3];
        assert!(!line.trim_end().chars().any(is_hazard), "{line}");
        let read: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(read["fields"]["message"], "evil\n\u{1b}[2J");
        assert_eq!(read["fields"]["name"], "a\"b\u{202e}");
        assert_eq!(read["fields"]["raw"], serde_json::json!([0, 255]));
        assert_eq!(read["truncated"], true);
        assert_eq!(read["spans"], serde_json::json!([]));
        assert!(read.get("span").is_none());
    }

    #[test]
    fn numbers_that_json_has_not_are_strings() {
        assert_eq!(json(&Value::F64(f64::NAN)), r#""NaN""#);
        assert_eq!(json(&Value::F64(f64::NEG_INFINITY)), r#""-inf""#);
        assert_eq!(json(&Value::F64(1.0)), "1.0");
        assert_eq!(json(&Value::U128(1 << 64)), r#""18446744073709551616""#);
        assert_eq!(json(&Value::U128(u64::MAX.into())), "18446744073709551615");
        assert_eq!(json(&Value::I128(-1)), "-1");
    }

    #[test]
    fn a_field_called_name_never_replaces_the_spans() {
        let span = ShownSpan {
            name: Some("request"),
            fields: vec![("name".into(), Value::U64(1))],
        };
        assert_eq!(
            serde_json::to_string(&span).unwrap(),
            r#"{"fields.name":1,"name":"request"}"#
        );
    }

    #[test]
    fn an_unknown_call_site_leaves_the_values_and_the_address() {
        let read: serde_json::Value = serde_json::from_str(&lines()[5]).unwrap();
        assert_eq!(read["call_site"], "0xdead");
        assert_eq!(read["fields"]["field0"], -1);
        assert_eq!(read["spans_missing"], true);
    }
}
