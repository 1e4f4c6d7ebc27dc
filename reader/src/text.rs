//! An entry as one line for the eye.
//!
//! Whatever a recording says goes through [`crate::escape`], so that an entry is
//! one line whatever it contains; only the colour is ours.

mod lines;

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use ttlog_format::site::Level;
use ttlog_format::value::{Borrowed, REDACTED, Text, Value};

use crate::colour;
use crate::escape::{self, push_escaped, push_quoted};
use crate::shown::{Named, Shown, ShownSpan};

pub(crate) use lines::{Detail, Lines};

/// How lines are written.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    /// Whose clock is shown.
    pub(crate) zone: TimeZone,
    /// Whether levels are coloured.
    pub(crate) colour: bool,
}

impl Style {
    /// `text` in a colour, where there are colours, and as it is in none.
    pub(crate) fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour && !colour.is_empty() {
            format!("{colour}{text}{}", colour::PLAIN)
        } else {
            text.to_owned()
        }
    }

    /// What begins a colour and what ends it, where there are colours.
    fn around(&self, colour: &'static str) -> (&'static str, &'static str) {
        if self.colour {
            (colour, colour::PLAIN)
        } else {
            ("", "")
        }
    }

    /// The moment by the day and the time of day.
    pub(crate) fn moment(&self, wall_ns: u64) -> String {
        let zoned = timestamp(wall_ns).to_zoned_datetime(self.zone.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }

    /// The moment with all that there is of it: `2025-11-24 12:34:56.123456789+01:00`
    pub(crate) fn whole_moment(&self, wall_ns: u64) -> String {
        let zoned = timestamp(wall_ns).to_zoned_datetime(self.zone.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S%.9f%:z").to_string()
    }

    /// The day that a moment is in, and from when to when that is, nanoseconds since 1970.
    pub(crate) fn day(&self, wall_ns: u64) -> (String, Range<u64>) {
        let zoned = timestamp(wall_ns).to_zoned_datetime(self.zone.clone());
        let bound = |bound: Result<ZonedDateTime, jiff::Error>, or: u64| {
            let ns = bound.map(|bound| bound.timestamp().as_nanosecond());
            ns.ok().and_then(|ns| u64::try_from(ns).ok()).unwrap_or(or)
        };
        let from = bound(zoned.start_of_day(), 0);
        let next = zoned.tomorrow().and_then(|next| next.start_of_day());
        let to = bound(next, u64::MAX);
        (zoned.strftime("%Y-%m-%d").to_string(), from..to)
    }

    /// The moment by the time of day.
    pub(crate) fn time(&self, wall_ns: u64) -> String {
        let zoned = timestamp(wall_ns).to_zoned_datetime(self.zone.clone());
        zoned.strftime("%H:%M:%S%.3f").to_string()
    }
}

/// The moment as RFC 3339 has it: UTC, with nanoseconds.
pub(crate) fn utc(wall_ns: u64) -> String {
    format!("{:.9}", timestamp(wall_ns))
}

/// Nanoseconds in 64 bits end in the year 2554, well before timestamps do.
fn timestamp(wall_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(wall_ns.into()).unwrap_or_default()
}

/// The line of an event for where there is little room: what it says comes before
/// the innermost spans that it was in, where they are wanted at all.
pub(crate) fn line_words_first(shown: &Shown<'_>, style: &Style, with_spans: bool) -> String {
    let mut out = style.time(shown.wall_ns).into_bytes();
    push_level(&mut out, shown.level, style);
    push_event(&mut out, shown);
    if with_spans && !shown.spans.is_empty() {
        let spans = format!(" in {}", innermost(&shown.spans));
        out.extend(style.paint(colour::FAINT, &spans).bytes());
    }
    escape::text(out)
}

/// The spans that tell most of what something was about: `…:request{id=7}:query`
fn innermost(spans: &[ShownSpan<'_>]) -> String {
    let skipped = spans.len().saturating_sub(2);
    let more = (skipped > 0).then(|| "…".to_owned());
    let spans = more.into_iter().chain(spans[skipped..].iter().map(span));
    spans.collect::<Vec<_>>().join(":")
}

/// A span as it may be shown on a terminal: `request{id=7}`.
pub(crate) fn span(shown: &ShownSpan<'_>) -> String {
    let mut out = Vec::new();
    push_span(&mut out, shown);
    escape::text(out)
}

/// How long something took, to about three digits.
pub(crate) fn age(ns: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", ns / unit, ns % unit / (unit / 10));
    match ns / 1_000_000_000 {
        0 if ns < 1_000 => format!("{ns} ns"),
        0 if ns < 1_000_000 => format!("{} µs", tenths(1_000)),
        0 => format!("{} ms", tenths(1_000_000)),
        1..60 => format!("{} s", tenths(1_000_000_000)),
        s @ 60..3_600 => format!("{} min {} s", s / 60, s % 60),
        s @ 3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        s => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// A count with a comma at every thousand.
pub(crate) fn count(count: impl TryInto<u64>) -> String {
    let digits = count.try_into().unwrap_or(u64::MAX).to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn push_level(out: &mut Vec<u8>, level: Option<Level>, style: &Style) {
    let (before, after) = level.map_or(("", ""), |level| style.around(colour::of(level)));
    let name = level.map_or("?", Level::as_str);
    for part in [" ", before, "[", name, "]", after] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// ` request{id=7}:query{table="users"}:`
fn push_spans(out: &mut Vec<u8>, spans: &[ShownSpan<'_>], spans_missing: bool) {
    out.extend_from_slice(if spans_missing { b" ?:" } else { b" " });
    for span in spans {
        push_span(out, span);
        out.push(b':');
    }
}

/// `request{id=7}`
pub(crate) fn push_span(out: &mut Vec<u8>, span: &ShownSpan<'_>) {
    push_escaped(out, span.name.unwrap_or("?").as_bytes());
    if span.fields.is_empty() {
        return;
    }
    out.push(b'{');
    push_fields(out, span.fields.iter());
    out.push(b'}');
}

fn push_event(out: &mut Vec<u8>, shown: &Shown<'_>) {
    if shown.level.is_none() {
        push_address(out, shown.address);
    }
    if let Some(message) = shown.message() {
        out.push(b' ');
        push_message(out, message);
    }
    let fields = shown.fields.iter();
    let mut rest = fields.filter(|(name, _)| name != "message").peekable();
    if rest.peek().is_some() {
        out.push(b' ');
        push_fields(out, rest);
    }
}

/// Where the call site of an event was, if that is all that is known of it.
fn push_address(out: &mut Vec<u8>, address: u64) {
    // Writing to memory cannot fail, here and below.
    let _ = write!(out, " (call site {address:#x})");
}

/// `table="users" rows=3`
pub(crate) fn push_fields<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = &'a Named<'a>>) {
    for (i, (name, value)) in fields.enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        push_name(out, name);
        push_value(out, value);
    }
}

/// `table=`
fn push_name(out: &mut Vec<u8>, name: &str) {
    push_escaped(out, name.as_bytes());
    out.push(b'=');
}

/// A message is not quoted, whatever it was recorded as.
pub(crate) fn push_message(out: &mut Vec<u8>, message: &Value<Borrowed<'_>>) {
    match message {
        Value::Str(text) => push_text(out, text, push_escaped),
        other => push_value(out, other),
    }
}

pub(crate) fn push_value(out: &mut Vec<u8>, value: &Value<Borrowed<'_>>) {
    match value {
        Value::I64(value) => push_integer(out, *value),
        Value::U64(value) => push_integer(out, *value),
        Value::I128(value) => push_integer(out, *value),
        Value::U128(value) => push_integer(out, *value),
        Value::F64(value) => drop(write!(out, "{value:?}")),
        Value::Bool(value) => drop(write!(out, "{value}")),
        Value::Str(text) => push_text(out, text, push_quoted),
        Value::Debug(text) | Value::Error(text) => push_text(out, text, push_escaped),
        Value::Bytes(text) => push_bytes(out, text),
        Value::Redacted => out.extend_from_slice(REDACTED.as_bytes()),
    }
}

/// A value as text, as it was recorded: neither quoted nor escaped, and not to be shown.
pub(crate) fn value_text<'a>(value: &'a Value<Borrowed<'_>>) -> Cow<'a, str> {
    match value {
        Value::Str(text) | Value::Debug(text) | Value::Error(text) => text.lossy(),
        other => {
            let mut out = Vec::new();
            push_value(&mut out, other);
            escape::text(out).into()
        }
    }
}

/// The decimal digits of an integer.
#[inline]
pub(crate) fn push_integer(out: &mut Vec<u8>, integer: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
}

#[inline]
fn push_text(out: &mut Vec<u8>, text: &Text<Borrowed<'_>>, push: impl Fn(&mut Vec<u8>, &[u8])) {
    push(out, text.whole_characters());
    push_cut(out, text);
}

/// `[de ad be ef]`, as `tracing` shows bytes.
fn push_bytes(out: &mut Vec<u8>, text: &Text<Borrowed<'_>>) {
    out.push(b'[');
    for (i, byte) in text.bytes.iter().enumerate() {
        let space = if i > 0 { " " } else { "" };
        let _ = write!(out, "{space}{byte:02x}");
    }
    out.push(b']');
    push_cut(out, text);
}

fn push_cut(out: &mut Vec<u8>, text: &Text<Borrowed<'_>>) {
    if text.is_cut() {
        out.extend_from_slice("…".as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn lines(colour: bool) -> Vec<String> {
        let recording = fixture::recording();
        let style = Style {
            zone: TimeZone::UTC,
            colour,
        };
        let mut lines = Lines::new(&style, Detail::Short);
        let line = |entry| {
            let mut out = Vec::new();
            lines.push(&mut out, &recording, entry);
            let line = escape::text(out);
            line.strip_suffix('\n').unwrap().to_owned()
        };
        recording.entries.iter().map(line).collect()
    }

    #[test]
    fn an_entry_is_a_line() {
        let expected = [
            r#"22:13:20.000 [INFO] request{id=7}: opened"#,
            r#"22:13:20.001 [INFO] request{id=7}:query{table="users"}: user logged in user_id=42"#,
            r#"22:13:20.002 [DEBUG] request{id=7}:query{table="users" rows=3}: recorded rows=3"#,
            r#"22:13:20.003 [ERROR] evil\n\x1b[2J name="a\"b\u{202e}" cut="caf"… raw=[00 ff]"#,
            r#"22:13:20.004 [WARN] connection reset"#,
            r#"22:13:20.005 [?] ?: (call site 0xdead) field0=-1 field1=1.0"#,
        ];
        assert_eq!(lines(false), expected);
    }

    #[test]
    fn levels_have_colours_and_spans_are_faint() {
        let lines = lines(true);
        assert_eq!(
            lines[0],
            "22:13:20.000 \x1b[32m[INFO]\x1b[0m\x1b[2m request{id=7}:\x1b[0m opened"
        );
        assert_eq!(
            lines[4],
            "22:13:20.004 \x1b[33m[WARN]\x1b[0m connection reset"
        );
    }

    #[test]
    fn the_words_come_before_the_spans_where_there_is_little_room() {
        let recording = fixture::recording();
        let style = Style {
            zone: TimeZone::UTC,
            colour: false,
        };
        let shown = Shown::new(&recording, &recording.entries[1]);
        assert_eq!(
            line_words_first(&shown, &style, true),
            concat!(
                "22:13:20.001 [INFO] user logged in user_id=42 ",
                r#"in request{id=7}:query{table="users"}"#
            )
        );
        assert_eq!(
            line_words_first(&shown, &style, false),
            "22:13:20.001 [INFO] user logged in user_id=42"
        );
    }

    #[test]
    fn an_age_has_about_three_digits() {
        let ages = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_050, "1.0 µs"),
            (12_345_678, "12.3 ms"),
            (59_999_999_999, "59.9 s"),
            (185_000_000_000, "3 min 5 s"),
            (11_520_000_000_000, "3 h 12 min"),
            (u64::MAX, "213503 d 23 h"),
        ];
        for (ns, words) in ages {
            assert_eq!(age(ns), words);
        }
    }

    #[test]
    fn a_count_has_a_comma_at_every_thousand() {
        for (number, words) in [
            (0, "0"),
            (999, "999"),
            (3_000, "3,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number as u64), words);
        }
    }

    #[test]
    fn every_moment_of_64_bits_can_be_shown() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(utc(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }
}
