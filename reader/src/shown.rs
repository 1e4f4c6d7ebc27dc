//! What is shown of an entry: its values under their names, its spans as they were.
//!
//! Text and JSON show the same, and differ in how alone. Strings here are still
//! as recorded: whoever shows them escapes them.

use std::borrow::Cow;

use ttlog_format::salvage::{Entry, Recording, Span, Thread, What};
use ttlog_format::site::{CallSite, Level};
use ttlog_format::span::SpanId;
use ttlog_format::value::{Borrowed, Text, Value};

use crate::allowance::Allowance;

/// A value under its name.
pub(crate) type Named<'a> = (Cow<'a, str>, Value<Borrowed<'a>>);

/// An entry, ready to be shown.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    /// What happened.
    pub(crate) what: What,
    /// When, nanoseconds since 1970.
    pub(crate) wall_ns: u64,
    /// The call site's address.
    pub(crate) address: u64,
    /// The level, if the call site is known.
    pub(crate) level: Option<Level>,
    /// The target, if the call site is known.
    pub(crate) target: Option<Cow<'a, str>>,
    /// The source file.
    pub(crate) file: Option<Cow<'a, str>>,
    /// The line in it.
    pub(crate) line: Option<u64>,
    /// The message and the other fields.
    pub(crate) fields: Vec<Named<'a>>,
    /// Who did it.
    pub(crate) thread: Option<&'a Thread>,
    /// The spans around it, outermost first; that of which an entry speaks included.
    pub(crate) spans: Vec<ShownSpan<'a>>,
    /// Whether spans around these are known to have been, and no more than that.
    pub(crate) spans_missing: bool,
    /// Whether a value was cut.
    pub(crate) truncated: bool,
}

/// A span as it was at the time of an entry.
#[derive(Debug)]
pub(crate) struct ShownSpan<'a> {
    /// Its name, if its call site is known.
    pub(crate) name: Option<&'a str>,
    /// Its fields as far as they were recorded by then.
    pub(crate) fields: Vec<Named<'a>>,
}

impl<'a> Shown<'a> {
    /// What is shown of `entry`.
    pub(crate) fn new(recording: &'a Recording, entry: &'a Entry) -> Shown<'a> {
        let context = recording.context(entry.span);
        let spans_missing = match context.first() {
            Some((_, outermost)) => outermost.parent.is_some(),
            None => entry.span.is_some(),
        };
        let spans = context
            .iter()
            .map(|(_, span)| shown_span(recording, span, entry.wall_ns));
        Shown::in_spans(recording, entry, spans.collect(), spans_missing)
    }

    /// The same, without the spans around it.
    pub(crate) fn alone(recording: &'a Recording, entry: &'a Entry) -> Shown<'a> {
        Shown::in_spans(recording, entry, Vec::new(), false)
    }

    /// The same, as far as more may be said of spans.
    pub(crate) fn within(
        recording: &'a Recording,
        entry: &'a Entry,
        allowance: &mut Allowance,
    ) -> Shown<'a> {
        if !allowance.next() {
            let span = brief(recording, entry.span);
            return Shown::in_spans(recording, entry, span.into_iter().collect(), true);
        }
        let shown = Shown::new(recording, entry);
        allowance.spend(shown.spans.iter().map(ShownSpan::bytes).sum());
        shown
    }

    fn in_spans(
        recording: &'a Recording,
        entry: &'a Entry,
        spans: Vec<ShownSpan<'a>>,
        spans_missing: bool,
    ) -> Shown<'a> {
        let site = recording.sites.get(&entry.site).map(|site| &**site);
        let mut shown = Shown {
            what: entry.what,
            wall_ns: entry.wall_ns,
            address: entry.site,
            level: site.map(|site| site.level),
            target: site.map(|site| site.target.as_str().into()),
            file: site
                .filter(|site| !site.file.is_empty())
                .map(|site| site.file.as_str().into()),
            line: site
                .filter(|site| site.line != 0)
                .map(|site| site.line.into()),
            fields: entry
                .fields
                .iter()
                .map(|field| (name_of(site, field.index), field.value))
                .collect(),
            thread: recording.threads.get(entry.thread as usize),
            spans,
            spans_missing,
            truncated: entry.fields.are_truncated(),
        };
        if site.is_some_and(|site| site.is_log) {
            shown.take_log_fields();
        }
        shown
    }

    /// Records of `log` bring their own target, file and line, as values.
    fn take_log_fields(&mut self) {
        let lossy = |text: &Text<Borrowed<'_>>| Cow::Owned(text.lossy().into_owned());
        self.fields.retain(|(name, value)| {
            match (&**name, value) {
                ("log.target", value) => self.target = value.text().map(lossy),
                ("log.file", value) => self.file = value.text().map(lossy),
                ("log.line", Value::U64(line)) => self.line = Some(*line),
                ("log.module_path" | "log.line", _) => {}
                _ => return true,
            }
            false
        });
    }

    /// The message, where there is one.
    pub(crate) fn message(&self) -> Option<&Value<Borrowed<'a>>> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(name, _)| name == "message");
        found.map(|(_, value)| value)
    }
}

impl ShownSpan<'_> {
    /// How much there is to say of it, about.
    fn bytes(&self) -> usize {
        let text = |value: &Value<Borrowed<'_>>| value.text().map_or(8, |text| text.bytes.len());
        let fields = self.fields.iter();
        let fields = fields.map(|(name, value)| name.len() + text(value) + 8);
        self.name.map_or(1, str::len) + fields.sum::<usize>() + 8
    }
}

/// The least that is shown of where an entry was: the innermost span, by its name.
pub(crate) fn brief<'a>(recording: &'a Recording, id: Option<SpanId>) -> Option<ShownSpan<'a>> {
    let span = recording.spans.get(&id?)?;
    let site = recording.sites.get(&span.site).map(|site| &**site);
    Some(ShownSpan {
        name: site.map(|site| site.name.as_str()),
        fields: Vec::new(),
    })
}

/// What is shown of `span` at a moment.
pub(crate) fn shown_span<'a>(
    recording: &'a Recording,
    span: &'a Span,
    wall_ns: u64,
) -> ShownSpan<'a> {
    let site = recording.sites.get(&span.site).map(|site| &**site);
    // Two threads' clocks are read back a little apart: what a span was opened
    // with, it had all along.
    let by = wall_ns.max(span.opened_ns);
    // Of a field that is recorded over and over, the name is looked for once.
    let runs = span.fields.chunk_by(|(_, a), (_, b)| a.index == b.index);
    let recorded = runs.filter_map(|run| run.iter().rfind(|(at_ns, _)| *at_ns <= by));
    let mut fields: Vec<Named<'a>> = Vec::new();
    for (_, field) in recorded {
        let (name, value) = (name_of(site, field.index), field.value.borrowed());
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => fields.push((name, value)),
        }
    }
    ShownSpan {
        name: site.map(|site| site.name.as_str()),
        fields,
    }
}

/// The name of a field; its number where the name is not known.
pub(crate) fn name_of(site: Option<&CallSite>, index: u8) -> Cow<'_, str> {
    let name = site.and_then(|site| site.fields.get(usize::from(index)));
    match name {
        Some(name) => name.strip_prefix("r#").unwrap_or(name).into(),
        None => format!("field{index}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn names<'a>(fields: &'a [Named<'_>]) -> Vec<&'a str> {
        fields.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn a_span_has_the_fields_that_it_had_then() {
        let recording = fixture::recording();
        let span = &recording.spans[&fixture::query()];
        let early = shown_span(&recording, span, fixture::at(0));
        assert_eq!(names(&early.fields), ["table"]);
        let late = shown_span(&recording, span, fixture::at(9_000));
        assert_eq!(names(&late.fields), ["table", "rows"]);
        assert_eq!(
            late.fields[1].1,
            Value::U64(3),
            "the later value of the two"
        );
    }

    #[test]
    fn a_log_record_has_its_own_target_file_and_line() {
        let recording = fixture::recording();
        let log = recording
            .entries
            .iter()
            .find(|entry| entry.site == fixture::LOG_SITE)
            .unwrap();
        let shown = Shown::new(&recording, log);
        assert_eq!(shown.target.as_deref(), Some("hyper::client"));
        assert_eq!(
            (shown.file.as_deref(), shown.line),
            (Some("client.rs"), Some(88))
        );
        assert_eq!(names(&shown.fields), ["message"]);
    }
}
