//! What is said of what is drawn: its name, its target, and its arguments.
//!
//! Arguments are its fields, and what else is to be said of it (`open_at_death`, `level`). A
//! field of such a name is there as `fields.level`.

use std::borrow::Cow;
use std::collections::HashSet;

use ttlog_format::salvage::Span;
use ttlog_format::site::Level;
use ttlog_format::span::SpanId;
use ttlog_format::value::{Borrowed, Value};

use super::tracks::{Begin, End, Moment};
use crate::shown::{Named, Shown, shown_span};
use crate::text::{utc, value_text};

/// What is said of something.
#[derive(Debug, Default)]
pub(super) struct Drawn<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) target: Cow<'a, str>,
    pub(super) arguments: Vec<(Cow<'a, str>, Argument<'a>)>,
}

/// An argument.
#[derive(Debug)]
pub(super) enum Argument<'a> {
    /// It is so.
    Yes,
    Text(Cow<'a, str>),
    Value(Value<Borrowed<'a>>),
}

impl<'a> Drawn<'a> {
    /// A thread enters a span, which has such fields then.
    pub(super) fn entered(at: Moment<'a>, id: SpanId, how: Begin) -> Drawn<'a> {
        let (mut drawn, fields) = Drawn::span(at, id);
        drawn.mark(how.word());
        drawn.add(fields);
        drawn
    }

    /// A thread leaves a span: what is to be said of it was said.
    pub(super) fn left(at: Moment<'a>, id: SpanId, how: End) -> Drawn<'a> {
        let (mut drawn, _) = Drawn::span(at, id);
        drawn.mark(how.word());
        drawn
    }

    /// A span opens.
    pub(super) fn opened(at: Moment<'a>, id: SpanId, how: Begin) -> Drawn<'a> {
        let (mut drawn, fields) = Drawn::span(at, id);
        drawn.mark(how.word());
        let known = known(at, id);
        if let Some(span) = known.filter(|_| how == Begin::Before) {
            drawn.say("opened", utc(span.opened_ns));
        }
        if let Some(parent) = known.and_then(|span| span.parent) {
            drawn.say("parent", format!("{:#x}", parent.to_u64()));
        }
        drawn.add(fields);
        drawn
    }

    /// A span closes, and has had such fields, those included that it got later.
    pub(super) fn closed(at: Moment<'a>, id: SpanId, how: End) -> Drawn<'a> {
        let (mut drawn, fields) = Drawn::span(at, id);
        drawn.mark(how.word());
        drawn.add(fields);
        drawn
    }

    /// An event.
    pub(super) fn event(shown: Shown<'a>) -> Drawn<'a> {
        let level = shown.level.map_or("?", Level::as_str);
        let mut drawn = Drawn {
            name: name(&shown).into(),
            target: shown.target.unwrap_or("?".into()),
            arguments: Vec::with_capacity(shown.fields.len() + 3),
        };
        drawn.say("level", level);
        match (shown.file, shown.line) {
            (Some(file), Some(line)) => drawn.say("source", format!("{file}:{line}")),
            (Some(file), None) => drawn.say("source", file),
            (None, _) => {}
        }
        drawn.mark(shown.truncated.then_some("truncated"));
        drawn.add(shown.fields);
        drawn
    }

    fn span(at: Moment<'a>, id: SpanId) -> (Drawn<'a>, Vec<Named<'a>>) {
        let recording = at.recording;
        let span = known(at, id);
        let site = span.and_then(|span| recording.sites.get(&span.site));
        let drawn = Drawn {
            name: site.map_or("?", |site| site.name.as_str()).into(),
            target: site.map_or("?", |site| site.target.as_str()).into(),
            arguments: Vec::new(),
        };
        let shown = span.map(|span| shown_span(recording, span, at.at_ns));
        (drawn, shown.map_or_else(Vec::new, |shown| shown.fields))
    }

    fn mark(&mut self, word: Option<&'static str>) {
        let mark = word.map(|word| (word.into(), Argument::Yes));
        self.arguments.extend(mark);
    }

    fn say(&mut self, name: &'static str, words: impl Into<Cow<'a, str>>) {
        let said = Argument::Text(words.into());
        self.arguments.push((name.into(), said));
    }

    /// Adds fields: of one that is there twice the first.
    fn add(&mut self, fields: Vec<Named<'a>>) {
        let mut taken: HashSet<Cow<'a, str>> = self
            .arguments
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let marks = taken.clone();
        for (name, value) in fields {
            let name = match marks.contains(&name) {
                true => format!("fields.{name}").into(),
                false => name,
            };
            if taken.insert(name.clone()) {
                self.arguments.push((name, Argument::Value(value)));
            }
        }
    }
}

fn known<'a>(at: Moment<'a>, id: SpanId) -> Option<&'a Span> {
    at.recording.spans.get(&id).map(|span| &**span)
}

/// What an event is called: what it says, else where it comes from.
fn name(shown: &Shown<'_>) -> String {
    match (shown.message(), &shown.target) {
        (Some(message), _) => value_text(message).into_owned(),
        (None, Some(target)) => format!("event of {target}"),
        (None, None) => format!("(call site {:#x})", shown.address),
    }
}
