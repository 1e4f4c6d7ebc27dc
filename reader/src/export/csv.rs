//! `csv`: a line an event, for spreadsheets and whatever reads tables (RFC 4180).
//!
//! Texts are as `view` shows them, so that no cell has a control character or a line of its
//! own in it. A spreadsheet takes a cell that begins with one of `= + - @` for a formula,
//! and a formula may do anything: such a text gets a `'` before it, which spreadsheets do
//! not show.

use std::io::{self, Write};

use csv::Writer;
use ttlog_format::salvage::{Entry, Recording};
use ttlog_format::site::Level;

use super::format::Format;
use super::push_spans;
use crate::again::Arounds;
use crate::escape::{escape, text};
use crate::json::word;
use crate::shown::Shown;
use crate::text::{push_fields, push_message, utc};

const COLUMNS: [&str; 10] = [
    "timestamp",
    "level",
    "target",
    "thread_name",
    "thread_id",
    "spans",
    "message",
    "fields",
    "filename",
    "line",
];

/// A table that is written to `out`.
pub(super) struct Csv<W: Write> {
    spans: Arounds,
    writer: Writer<W>,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(out: W) -> Csv<W> {
        Csv {
            spans: Arounds::default(),
            writer: Writer::from_writer(out),
        }
    }

    /// The cells of an entry, one for each of [`COLUMNS`].
    fn row(&mut self, recording: &Recording, entry: &Entry) -> [String; COLUMNS.len()] {
        let mut spans = Vec::new();
        push_spans(&mut spans, &mut self.spans, recording, entry);
        let shown = Shown::alone(recording, entry);
        let thread = shown.thread;
        [
            utc(shown.wall_ns),
            shown.level.map_or("", Level::as_str).into(),
            cell(escaped(shown.target.as_deref())),
            cell(escaped(thread.map(|thread| thread.name.as_str()))),
            thread.map_or(String::new(), |thread| thread.id.to_string()),
            cell(text(spans)),
            cell(message(&shown)),
            cell(fields(&shown)),
            cell(escaped(shown.file.as_deref())),
            shown.line.map_or(String::new(), |line| line.to_string()),
        ]
    }
}

impl<W: Write> Format for Csv<W> {
    fn begin(&mut self, _: &Recording) -> io::Result<()> {
        Ok(self.writer.write_record(COLUMNS)?)
    }

    fn entry(&mut self, recording: &Recording, entry: &Entry) -> io::Result<()> {
        let row = self.row(recording, entry);
        Ok(self.writer.write_record(row)?)
    }

    fn told_more(&mut self) {
        self.spans.forget();
    }

    fn end(&mut self, _: &Recording) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A text that no spreadsheet takes for a formula.
fn cell(text: String) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text,
    }
}

fn escaped(text: Option<&str>) -> String {
    escape(text.unwrap_or("").as_bytes())
}

/// What was said, or what happened to a span; where nothing is known of the call site, that.
fn message(shown: &Shown<'_>) -> String {
    if let Some(word) = word(shown.what) {
        return word.into();
    }
    let mut out = Vec::new();
    match shown.message() {
        Some(message) => push_message(&mut out, message),
        None if shown.level.is_none() => return format!("(call site {:#x})", shown.address),
        None => {}
    }
    text(out)
}

/// `user_id=42 name="a b"`
fn fields(shown: &Shown<'_>) -> String {
    let mut out = Vec::new();
    let fields = shown.fields.iter().filter(|(name, _)| name != "message");
    push_fields(&mut out, fields);
    text(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{self, any_recording};
    use crate::text::span;

    fn rows() -> Vec<Vec<String>> {
        let recording = fixture::recording();
        let mut table = Csv::new(Vec::new());
        let entries = recording.entries.iter();
        entries
            .map(|entry| table.row(&recording, entry).to_vec())
            .collect()
    }

    #[test]
    fn an_event_is_a_row() {
        let expected = [
            "2023-11-14T22:13:20.001000000Z",
            "INFO",
            "app::auth",
            "worker-1",
            "4712",
            r#"request{id=7}:query{table="users"}"#,
            "user logged in",
            "user_id=42",
            "src/auth.rs",
            "7",
        ];
        assert_eq!(rows()[1], expected);
    }

    proptest! {
        #[test]
        fn the_spans_are_those_around_each_entry(recording in any_recording()) {
            let mut table = Csv::new(Vec::new());
            for entry in recording.entries.iter().chain(&recording.entries) {
                let shown = Shown::new(&recording, entry);
                let missing = shown.spans_missing.then(|| "?".to_owned());
                let spans = missing.into_iter().chain(shown.spans.iter().map(span));
                let spans = spans.collect::<Vec<_>>().join(":");
                prop_assert_eq!(&table.row(&recording, entry)[5], &cell(spans));
            }
        }
    }

    #[test]
    fn what_misleads_is_escaped_and_what_is_lost_is_said() {
        let rows = rows();
        assert_eq!(rows[3][6], r"evil\n\x1b[2J");
        assert_eq!(rows[3][7], r#"name="a\"b\u{202e}" cut="caf"… raw=[00 ff]"#);
        assert_eq!(rows[0][6], "new");
        let lost = [&rows[5][1], &rows[5][5], &rows[5][6]];
        assert_eq!(lost, ["", "?", "(call site 0xdead)"]);
    }

    #[test]
    fn no_text_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(cell(text.into()), format!("'{text}"));
        }
        for text in ["", "a=1", "'=1", " =1"] {
            assert_eq!(cell(text.into()), text);
        }
    }
}
