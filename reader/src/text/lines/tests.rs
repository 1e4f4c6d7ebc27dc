//! The same lines, told a second time and plainly: each on its own, from what is shown
//! of its entry, a character after the other.

use std::fmt::Write;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use ttlog_format::value::{Borrowed, Text, Value};

use super::*;
use crate::escape::is_hazard;
use crate::fixture::any_recording;
use crate::shown::{Named, Shown, ShownSpan};

fn plainly(shown: &Shown<'_>, style: &Style) -> String {
    let mut line = style.time(shown.wall_ns);
    line += &match shown.level {
        None => " [?]".to_owned(),
        Some(level) if style.colour => {
            format!(
                " {}[{}]{}",
                colour::of(level),
                level.as_str(),
                colour::PLAIN
            )
        }
        Some(level) => format!(" [{}]", level.as_str()),
    };
    let mut spans: String = shown.spans.iter().map(of_span).collect();
    if shown.spans_missing {
        spans = format!(" ?:{spans}");
    } else if !shown.spans.is_empty() {
        spans = format!(" {spans}");
    }
    if style.colour && !spans.is_empty() {
        spans = format!("{}{spans}{}", colour::FAINT, colour::PLAIN);
    }
    line += &spans;
    let is_message = |(name, _): &&Named<'_>| name == "message";
    let rest: Vec<_> = shown
        .fields
        .iter()
        .filter(|field| !is_message(field))
        .collect();
    let happened = match shown.what {
        What::Event => {
            if shown.level.is_none() {
                line += &format!(" (call site {:#x})", shown.address);
            }
            if let Some((_, message)) = shown.fields.iter().find(is_message) {
                line += &match message {
                    Value::Str(text) => format!(" {}", of_text(text, false)),
                    message => format!(" {}", of_value(message)),
                };
            }
            return line + &of_rest(&rest);
        }
        What::Open => "opened",
        What::Enter => "entered",
        What::Exit => "left",
        What::Close => "closed",
        What::Values => return line + " recorded" + &of_rest(&rest),
        What::Follows(from) => &format!("follows from span {:#x}", from.to_u64()),
    };
    line + " " + happened
}

fn of_span(span: &ShownSpan<'_>) -> String {
    let name = escaped(span.name.unwrap_or("?").as_bytes(), false);
    let fields: Vec<_> = span.fields.iter().map(of_field).collect();
    match fields.join(" ") {
        _ if fields.is_empty() => format!("{name}:"),
        fields => format!("{name}{{{fields}}}:"),
    }
}

fn of_rest(fields: &[&Named<'_>]) -> String {
    fields
        .iter()
        .map(|field| format!(" {}", of_field(field)))
        .collect()
}

fn of_field((name, value): &Named<'_>) -> String {
    format!("{}={}", escaped(name.as_bytes(), false), of_value(value))
}

fn of_value(value: &Value<Borrowed<'_>>) -> String {
    match value {
        Value::I64(value) => format!("{value}"),
        Value::U64(value) => format!("{value}"),
        Value::I128(value) => format!("{value}"),
        Value::U128(value) => format!("{value}"),
        Value::F64(value) => format!("{value:?}"),
        Value::Bool(value) => format!("{value}"),
        Value::Redacted => "[redacted]".into(),
        Value::Str(text) => of_text(text, true),
        Value::Debug(text) | Value::Error(text) => of_text(text, false),
        Value::Bytes(text) => {
            let bytes: Vec<_> = text
                .bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("[{}]{}", bytes.join(" "), cut(text))
        }
    }
}

fn of_text(text: &Text<Borrowed<'_>>, quoted: bool) -> String {
    let quote = if quoted { "\"" } else { "" };
    let words = escaped(text.whole_characters(), quoted);
    format!("{quote}{words}{quote}{}", cut(text))
}

fn cut(text: &Text<Borrowed<'_>>) -> &'static str {
    if text.whole as usize > text.bytes.len() {
        "…"
    } else {
        ""
    }
}

fn escaped(bytes: &[u8], quoted: bool) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let _ = match c {
                '"' | '\\' if quoted => write!(out, "\\{c}"),
                '\n' | '\r' | '\t' => write!(out, "{}", c.escape_default()),
                '\0'..='\x1f' | '\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
                _ if is_hazard(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
                _ => write!(out, "{c}"),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

proptest! {
    #[test]
    fn a_line_is_what_is_told_of_an_entry_alone(
        recording in any_recording(),
        colour: bool,
        zone in proptest::sample::select(&["UTC", "Asia/Kathmandu", "Europe/Berlin"][..]),
    ) {
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let style = Style { zone, colour };
        let mut lines = Lines::new(&style, Detail::Short);
        for entry in recording.entries.iter().chain(&recording.entries) {
            let mut line = Vec::new();
            lines.push(&mut line, &recording, entry);
            let alone = plainly(&Shown::new(&recording, entry), &style) + "\n";
            prop_assert_eq!(String::from_utf8(line).unwrap(), alone);
        }
    }
}

#[test]
fn a_span_is_told_anew_once_it_was_given_a_value() {
    let recording = crate::fixture::recording();
    let style = Style {
        zone: TimeZone::UTC,
        colour: false,
    };
    let mut lines = Lines::new(&style, Detail::Short);
    let mut at = |millis| {
        let wall_ns = crate::fixture::at(millis);
        let mut line = Vec::new();
        lines.push(
            &mut line,
            &recording,
            &Entry {
                wall_ns,
                ..recording.entries[1].clone()
            },
        );
        let line = String::from_utf8(line).unwrap();
        line[line.find("query").unwrap()..line.find("user logged").unwrap()].to_owned()
    };
    let (early, late) = (
        r#"query{table="users"}: "#,
        r#"query{table="users" rows=3}: "#,
    );
    assert_eq!(
        [0, 1, 2, 3, 1, 2].map(&mut at),
        [early, early, late, late, early, late]
    );
}
