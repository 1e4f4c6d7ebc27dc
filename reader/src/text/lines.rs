//! The lines of a recording's entries, one after the other.
//!
//! What the next line has in common with an earlier one (the second, the call site,
//! the spans) was written then, and is copied.

use std::io::Write;

use ttlog_format::salvage::{Entry, Recording, What};
use ttlog_format::value::{Borrowed, Field};

use super::{Style, push_address, push_level, push_message, push_name, push_spans, push_value};
use crate::again::{Again, Around, Role, Second, Words, push_digits};

/// Writes lines of a recording, and remembers what they have in common.
pub(crate) struct Lines<'a> {
    style: &'a Style,
    /// The time of day, without what is left of its second.
    second: Second,
    sites: Again<Words>,
    spans: Again<Around>,
}

impl<'a> Lines<'a> {
    /// Lines in this style.
    pub(crate) fn new(style: &'a Style) -> Lines<'a> {
        Lines {
            style,
            second: Second::default(),
            sites: Again::default(),
            spans: Again::default(),
        }
    }

    /// Forgets what is known of spans, of which more may have been told.
    pub(crate) fn forget_spans(&mut self) {
        self.spans.forget();
    }

    /// Appends the line of `entry`, its end included.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, recording: &Recording, entry: &Entry) {
        self.second.push_time(out, entry.wall_ns, self.style);
        let words = self.sites.get(
            entry.site,
            |words| words.is_known || !recording.sites.contains_key(&entry.site),
            || {
                let site = recording.sites.get(&entry.site).map(|site| &**site);
                let mut words = Words::new(site, push_name);
                push_level(&mut words.head, site.map(|site| site.level), self.style);
                words
            },
        );
        out.extend_from_slice(&words.head);
        if let Some(id) = entry.span {
            let is_good = |around: &Around| around.lasts_at(entry.wall_ns);
            let around = self.spans.get(id.to_u64(), is_good, || {
                Around::new(recording, id, entry.wall_ns, push_spans)
            });
            around.push_to(out);
        }
        match entry.what {
            What::Event => push_event(out, entry, words),
            _ => push_what(out, entry, words),
        }
        out.push(b'\n');
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
