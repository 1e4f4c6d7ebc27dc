//! The lines of a recording's entries, one after the other.
//!
//! They are what [`write_line`] writes of a [`Shown`]. What the next line has in common
//! with an earlier one (the second, the call site, the spans, the thread) was written
//! then, and is copied.

use serde::ser::{SerializeMap, Serializer};
use serde_json::ser::Compound;
use ttlog_format::salvage::{Entry, Recording};
use ttlog_format::site::CallSite;
use ttlog_format::value::{Borrowed, Text, Value};

use super::{
    Json, OneLine, serialize_place, serialize_spans, serialize_thread, word, write, write_line,
};
use crate::again::{Again, Arounds, Role, Second, Words, push_digits};
use crate::escape::is_plain;
use crate::shown::{Shown, ShownSpan};
use crate::text::{push_integer, utc};

/// Writes lines of a recording, and remembers what they have in common.
#[derive(Default)]
pub(crate) struct Lines {
    /// The moment, without what is left of its second.
    second: Second,
    sites: Again<Site>,
    spans: Arounds,
    threads: Again<Vec<u8>>,
    /// The recording's name as an entry of the object, where there are several.
    name: Vec<u8>,
}

impl Lines {
    /// Lines with the name of what was recorded in each.
    pub(crate) fn named(self, name: &str) -> Lines {
        Lines {
            name: part(|map| map.serialize_entry("recording", name)),
            ..self
        }
    }

    /// Forgets what is known of threads, of which there may be others now.
    pub(crate) fn forget_threads(&mut self) {
        self.threads.forget();
    }

    /// Forgets what is known of spans, of which more may have been told.
    pub(crate) fn forget_spans(&mut self) {
        self.spans.forget();
    }

    /// Appends the line of `entry`, its end included.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, recording: &Recording, entry: &Entry) {
        let site = self.sites.get(
            entry.site,
            |site| site.words.is_known || !recording.sites.contains_key(&entry.site),
            || {
                let site = recording.sites.get(&entry.site);
                Site::new(site.map(|site| &**site), entry.site)
            },
        );
        if site.is_log {
            // Writing to memory cannot fail, here and below.
            let shown = Shown::within(recording, entry, self.spans.allowance());
            let _ = write_line(&mut *out, &shown);
            self.name_last(out);
            return;
        }
        self.second.push_moment(out, entry.wall_ns);
        push_fields(out, entry, &mut site.words);
        out.extend_from_slice(&site.place);
        match entry.span {
            None => out.extend_from_slice(br#","spans":[]"#),
            Some(id) => {
                let wall_ns = entry.wall_ns;
                self.spans
                    .push_around(out, recording, id, wall_ns, push_spans);
            }
        }
        let thread = self.threads.get(
            entry.thread.into(),
            |words| !words.is_empty(),
            || {
                let thread = recording.threads.get(entry.thread as usize);
                thread.map_or_else(Vec::new, |thread| part(|map| serialize_thread(map, thread)))
            },
        );
        out.extend_from_slice(thread);
        if entry.fields.are_truncated() {
            out.extend_from_slice(br#","truncated":true"#);
        }
        out.extend_from_slice(&self.name);
        out.extend_from_slice(b"}\n");
    }

    /// Puts the name into the object that was written last.
    fn name_last(&self, out: &mut Vec<u8>) {
        if !self.name.is_empty() {
            out.truncate(out.len() - "}\n".len());
            out.extend_from_slice(&self.name);
            out.extend_from_slice(b"}\n");
        }
    }
}

impl Second {
    fn push_moment(&mut self, out: &mut Vec<u8>, wall_ns: u64) {
        self.push(out, wall_ns, |wall_ns| {
            let mut moment = utc(wall_ns);
            moment.truncate("2025-11-24T12:34:56.".len());
            format!(r#"{{"timestamp":"{moment}"#)
        });
        push_digits::<9>(out, wall_ns % 1_000_000_000);
        out.extend_from_slice(br#"Z""#);
    }
}

/// What is said of all that comes from a call site.
struct Site {
    words: Words,
    /// What comes behind the fields.
    place: Vec<u8>,
    /// Whether its events say themselves where they come from.
    is_log: bool,
}

impl Site {
    fn new(site: Option<&CallSite>, address: u64) -> Site {
        let mut words = Words::new(site, push_name);
        words.head = part(|map| match site {
            Some(site) => map.serialize_entry("level", site.level.as_str()),
            None => map.serialize_entry("call_site", &format!("{address:#x}")),
        });
        words.head.extend_from_slice(br#","fields":{"#);
        let target = site.map(|site| site.target.as_str());
        let file = site.map(|site| site.file.as_str());
        let file = file.filter(|file| !file.is_empty());
        let line = site.map(|site| site.line).filter(|&line| line != 0);
        Site {
            words,
            place: part(|map| serialize_place(map, target, file, line.map(u64::from))),
            is_log: site.is_some_and(|site| site.is_log),
        }
    }
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    let _ = write(&mut *out, name);
    out.push(b':');
}

fn push_spans(out: &mut Vec<u8>, spans: &[ShownSpan<'_>], missing: bool) {
    out.extend(part(|map| serialize_spans(map, spans, missing)));
}

/// Some entries of an object, each with a comma before it.
fn part(
    entries: impl FnOnce(&mut Compound<'_, &mut Vec<u8>, OneLine>) -> serde_json::Result<()>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, OneLine);
    if let Ok(mut map) = serializer.serialize_map(None) {
        let _ = entries(&mut map).and_then(|()| map.end());
    }
    // Its braces: one becomes the comma, or both go.
    out.pop();
    match out.as_mut_slice() {
        [first, _, ..] => *first = b',',
        _ => out.clear(),
    }
    out
}

/// `,"level":"INFO","fields":{"message":"user logged in","user_id":42}`
fn push_fields(out: &mut Vec<u8>, entry: &Entry, words: &mut Words) {
    out.extend_from_slice(&words.head);
    let word = word(entry.what);
    if let Some(word) = word {
        for part in [r#""message":""#, word, r#"","#] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    let mut said = [0u64; 4];
    for field in entry.fields.iter() {
        let name = words.name(field.index);
        let (said, bit) = (
            &mut said[usize::from(name.first / 64)],
            1 << (name.first % 64),
        );
        if *said & bit != 0 || (word.is_some() && name.role == Role::Message) {
            continue;
        }
        *said |= bit;
        out.extend_from_slice(&name.words);
        push_value(out, &field.value);
        out.push(b',');
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b'}');
}

fn push_value(out: &mut Vec<u8>, value: &Value<Borrowed<'_>>) {
    match value {
        Value::I64(value) => push_integer(out, *value),
        Value::U64(value) => push_integer(out, *value),
        Value::Str(text) | Value::Debug(text) | Value::Error(text) => push_text(out, text),
        other => drop(write(out, &Json(other))),
    }
}

#[inline]
fn push_text(out: &mut Vec<u8>, text: &Text<Borrowed<'_>>) {
    let bytes = text.whole_characters();
    if is_plain(bytes) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    } else {
        let _ = write(out, &*text.lossy());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::any_recording;

    proptest! {
        #[test]
        fn a_line_is_what_is_written_of_an_entry_alone(recording in any_recording()) {
            let mut lines = Lines::default();
            for entry in recording.entries.iter().chain(&recording.entries) {
                let (mut line, mut alone) = (Vec::new(), Vec::new());
                lines.push(&mut line, &recording, entry);
                write_line(&mut alone, &Shown::new(&recording, entry)).unwrap();
                prop_assert_eq!(String::from_utf8(line), String::from_utf8(alone));
            }
        }
    }
}
