//! The lines of a recording's entries, one after the other.
//!
//! What the next line has in common with an earlier one (the second, the call site,
//! the spans) was written then, and is copied.

use std::io::Write;

use ttlog_format::salvage::{Entry, Recording, What};
use ttlog_format::site::Level;
use ttlog_format::value::{Borrowed, Field};

use super::{Style, push_address, push_level, push_message, push_name, push_spans, push_value};
use crate::again::{Again, Arounds, Role, Second, Words, push_digits};
use crate::colour;
use crate::escape;
use crate::shown::Shown;

/// How much a line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// When to the millisecond, how severe, in what spans, and what.
    #[default]
    Short,
    /// When to the nanosecond, by what thread, for what target, and where in the source, too.
    Full,
    /// The message alone, and where there is none, the fields.
    Words,
}

/// Writes lines of a recording, and remembers what they have in common.
pub(crate) struct Lines<'a> {
    style: &'a Style,
    detail: Detail,
    /// Whether what comes behind the level begins at the same column.
    aligned: bool,
    /// The recording's name with a space before it, where there are several.
    name: Vec<u8>,
    /// The time of day, without what is left of its second.
    second: Second,
    sites: Again<Words>,
    spans: Arounds,
}

impl<'a> Lines<'a> {
    /// Lines in this style.
    pub(crate) fn new(style: &'a Style, detail: Detail) -> Lines<'a> {
        Lines {
            style,
            detail,
            aligned: false,
            name: Vec::new(),
            second: Second::default(),
            sites: Again::default(),
            spans: Arounds::default(),
        }
    }

    /// The same, with what comes behind the level at the same column in all of them.
    pub(crate) fn aligned(self, aligned: bool) -> Lines<'a> {
        Lines { aligned, ..self }
    }

    /// The same, with the name of what was recorded in each.
    pub(crate) fn named(self, name: &str) -> Lines<'a> {
        let mut words = vec![b' '];
        escape::push_escaped(&mut words, name.as_bytes());
        Lines {
            name: words,
            ..self
        }
    }

    /// Forgets what is known of spans, of which more may have been told.
    pub(crate) fn forget_spans(&mut self) {
        self.spans.forget();
    }

    /// Appends the line of `entry`, its end included.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, recording: &Recording, entry: &Entry) {
        let begin = out.len();
        self.push_time(out, entry.wall_ns);
        let words = self.sites.get(
            entry.site,
            |words| words.is_known || !recording.sites.contains_key(&entry.site),
            || {
                let site = recording.sites.get(&entry.site).map(|site| &**site);
                let mut words = Words::new(site, push_name);
                push_level(&mut words.head, site.map(|site| site.level), self.style);
                if self.aligned {
                    push_room(&mut words.head, site.map(|site| site.level));
                }
                words
            },
        );
        if self.detail != Detail::Words {
            out.extend_from_slice(&words.head);
        }
        if self.detail == Detail::Full {
            push_origin(out, &Shown::alone(recording, entry));
        }
        let is_shown = self.detail != Detail::Words || entry.what != What::Event;
        if let Some(id) = entry.span.filter(|_| is_shown) {
            let (before, after) = self.style.around(colour::FAINT);
            out.extend_from_slice(before.as_bytes());
            self.spans
                .push_around(out, recording, id, entry.wall_ns, push_spans);
            out.extend_from_slice(after.as_bytes());
        }
        match entry.what {
            What::Event if self.detail == Detail::Words => push_message_alone(out, entry, words),
            What::Event => push_event(out, entry, words),
            _ => push_what(out, entry, words),
        }
        if self.detail == Detail::Words && out.get(begin) == Some(&b' ') {
            out.remove(begin);
        }
        out.push(b'\n');
    }

    fn push_time(&mut self, out: &mut Vec<u8>, wall_ns: u64) {
        match self.detail {
            Detail::Short => self.second.push_time(out, wall_ns, self.style),
            Detail::Full => out.extend(self.style.whole_moment(wall_ns).bytes()),
            Detail::Words => return,
        }
        out.extend_from_slice(&self.name);
    }
}

/// As many spaces as the longest level is longer.
fn push_room(out: &mut Vec<u8>, level: Option<Level>) {
    let len = level.map_or(1, |level| level.as_str().len());
    let room = Level::Error.as_str().len().saturating_sub(len);
    out.extend(std::iter::repeat_n(b' ', room));
}

/// ` worker-1[4712] app::auth src/auth.rs:7`
fn push_origin(out: &mut Vec<u8>, shown: &Shown<'_>) {
    if let Some(thread) = shown.thread {
        out.push(b' ');
        escape::push_escaped(out, thread.name.as_bytes());
        // Writing to memory cannot fail, here and below.
        let _ = write!(out, "[{}]", thread.id);
    }
    for words in shown.target.iter().chain(&shown.file) {
        out.push(b' ');
        escape::push_escaped(out, words.as_bytes());
    }
    if let (Some(_), Some(line)) = (&shown.file, shown.line) {
        let _ = write!(out, ":{line}");
    }
}

impl Second {
    fn push_time(&mut self, out: &mut Vec<u8>, wall_ns: u64, style: &Style) {
        self.push(out, wall_ns, |wall_ns| {
            let mut time = style.time(wall_ns);
            time.truncate("12:34:56.".len());
            time
        });
        push_digits::<3>(out, wall_ns / 1_000_000 % 1_000);
    }
}

fn push_message_alone(out: &mut Vec<u8>, entry: &Entry, words: &mut Words) {
    let mut fields = entry.fields.iter();
    let message = fields.find(|field| words.name(field.index).role == Role::Message);
    match message {
        Some(message) => push_message(out, &message.value),
        None => push_event(out, entry, words),
    }
}

fn push_event(out: &mut Vec<u8>, entry: &Entry, words: &mut Words) {
    if !words.is_known {
        push_address(out, entry.site);
    }
    // The message comes first, and was nearly always recorded so.
    let mut fields = entry.fields.iter();
    let mut passed = false;
    let message = fields.find(|field| {
        let is_message = words.name(field.index).role == Role::Message;
        passed |= !is_message;
        is_message
    });
    if let Some(message) = message {
        out.push(b' ');
        push_message(out, &message.value);
    }
    if passed {
        fields = entry.fields.iter();
    }
    push_rest(out, fields, words);
}

fn push_rest<'a>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = Field<Borrowed<'a>>>,
    words: &mut Words,
) {
    for field in fields {
        let name = words.name(field.index);
        if name.role == Role::Field {
            out.push(b' ');
            out.extend_from_slice(&name.words);
            push_value(out, &field.value);
        }
    }
}

fn push_what(out: &mut Vec<u8>, entry: &Entry, words: &mut Words) {
    out.extend_from_slice(match entry.what {
        What::Event => b"",
        What::Open => b" opened",
        What::Enter => b" entered",
        What::Exit => b" left",
        What::Close => b" closed",
        What::Values => b" recorded",
        What::Follows(_) => b" follows from",
    });
    if let What::Follows(from) = entry.what {
        let _ = write!(out, " span {:#x}", from.to_u64());
    }
    if entry.what == What::Values {
        push_rest(out, entry.fields.iter(), words);
    }
}

#[cfg(test)]
mod tests;
