//! A story as one object, for programs. Nothing is left out of it.

use serde::ser::{Serialize, SerializeMap, Serializer};

use ttlog_format::salvage::{Entry, Recording, Span};
use ttlog_format::span::SpanId;

use super::idle::{ANCESTORS_MAX, IdleSpan, ancestors};
use super::incidents::{Frame, Struck};
use super::story::{OfThread, Story};
use crate::json::Fields;
use crate::shown::{Shown, ShownSpan, shown_span};
use crate::text::utc;

impl Serialize for Story<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recording = &self.opened.recording;
        let header = &recording.header;
        let not_kept = recording
            .ledger
            .incidents
            .saturating_sub(recording.incidents.len() as u64);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &header.name)?;
        map.serialize_entry("pid", &header.pid)?;
        map.serialize_entry("path", &self.opened.path.to_string_lossy())?;
        map.serialize_entry("started", &utc(header.samples[0].wall_ns))?;
        map.serialize_entry("ends", &utc(recording.end_ns))?;
        map.serialize_entry("verdict", &self.opened.verdict)?;
        let at_panic = self.at_panic.as_ref();
        let at_panic = at_panic.map(|it| it.path.to_string_lossy());
        map.serialize_entry("panic_snapshot", &at_panic)?;
        map.serialize_entry("threads", &Each(&self.threads, |of| ThreadObject(self, of)))?;
        map.serialize_entry(
            "idle_spans",
            &Each(&self.idle, |idle| IdleObject(self, idle)),
        )?;
        map.serialize_entry(
            "incidents",
            &Each(&self.incidents, |struck| StruckObject(recording, struck)),
        )?;
        map.serialize_entry("incidents_not_kept", &not_kept)?;
        map.end()
    }
}

/// A list, each part of it made when it is written.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, O: Serialize, F: Fn(&'a T) -> O> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

struct ThreadObject<'a>(&'a Story<'a>, &'a OfThread<'a>);

impl<'a> Serialize for ThreadObject<'a> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ThreadObject(story, of) = *self;
        let recording = &story.opened.recording;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &of.thread.id)?;
        map.serialize_entry("name", &of.thread.name)?;
        map.serialize_entry("ended", &of.thread.ended)?;
        if let Some((_, last)) = of.thread.covered_ns {
            map.serialize_entry("silent_ns", &story.age_ns(last))?;
        }
        let spans = Each(&of.spans, |&(id, span)| SpanObject { story, id, span });
        map.serialize_entry("spans", &spans)?;
        let last = Each(&of.last, |entry: &&'a Entry| Shown::new(recording, entry));
        map.serialize_entry("last", &last)?;
        map.end()
    }
}

/// A span that a thread is in; nothing may be left of it but its id.
struct SpanObject<'a> {
    story: &'a Story<'a>,
    id: SpanId,
    span: Option<&'a Span>,
}

impl Serialize for SpanObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let unknown = Span::default();
        serialize_span(&mut map, self.story, self.id, self.span.unwrap_or(&unknown))?;
        map.end()
    }
}

struct IdleObject<'a>(&'a Story<'a>, &'a IdleSpan<'a>);

impl Serialize for IdleObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let IdleObject(story, idle) = *self;
        let recording = &story.opened.recording;
        let (parents, more) = ancestors(recording, idle.span, ANCESTORS_MAX);
        let mut map = serializer.serialize_map(None)?;
        serialize_span(&mut map, story, idle.id, idle.span)?;
        map.serialize_entry(
            "parents",
            &Each(&parents, |span: &Option<&Span>| name(recording, *span)),
        )?;
        if more {
            map.serialize_entry("parents_missing", &true)?;
        }
        map.end()
    }
}

fn serialize_span<M: SerializeMap>(
    map: &mut M,
    story: &Story<'_>,
    id: SpanId,
    span: &Span,
) -> Result<(), M::Error> {
    let recording = &story.opened.recording;
    let shown = shown_span(recording, span, u64::MAX);
    map.serialize_entry("id", &format!("{:#x}", id.to_u64()))?;
    map.serialize_entry("name", shown.name.unwrap_or("?"))?;
    if let Some(site) = recording.sites.get(&span.site) {
        map.serialize_entry("target", &site.target)?;
        if !site.file.is_empty() {
            map.serialize_entry("filename", &site.file)?;
            map.serialize_entry("line_number", &site.line)?;
        }
    }
    let fields = Fields {
        message: None,
        fields: &shown.fields,
    };
    map.serialize_entry("fields", &fields)?;
    map.serialize_entry("opened_ns_ago", &story.opened_ago_ns(span))?;
    map.serialize_entry("entered_ns_ago", &story.entered_ago_ns(span))
}

fn name<'a>(recording: &'a Recording, span: Option<&Span>) -> &'a str {
    let site = span.and_then(|span| recording.sites.get(&span.site));
    site.map_or("?", |site| &site.name)
}

struct StruckObject<'a>(&'a Recording, &'a Struck<'a>);

impl Serialize for StruckObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let StruckObject(recording, struck) = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", struck.kind)?;
        map.serialize_entry("message", &struck.message)?;
        let location = Some(struck.location).filter(|location| !location.is_empty());
        map.serialize_entry("location", &location)?;
        map.serialize_entry("thread", &Who(struck))?;
        map.serialize_entry("timestamp", &utc(struck.wall_ns))?;
        let spans = Each(&struck.spans, |id: &SpanId| {
            span_then(recording, *id, struck.wall_ns)
        });
        map.serialize_entry("spans", &spans)?;
        let backtrace = Each(&struck.backtrace, |frame: &Frame<'_>| frame.to_string());
        map.serialize_entry("backtrace", &backtrace)?;
        map.end()
    }
}

struct Who<'a>(&'a Struck<'a>);

impl Serialize for Who<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.0.thread_id)?;
        map.serialize_entry("name", self.0.thread_name)?;
        map.end()
    }
}

/// A span as it was at a moment; without name and fields where nothing is left of it.
pub(super) fn span_then(recording: &Recording, id: SpanId, wall_ns: u64) -> ShownSpan<'_> {
    match recording.spans.get(&id) {
        Some(span) => shown_span(recording, span, wall_ns),
        None => ShownSpan {
            name: None,
            fields: Vec::new(),
        },
    }
}
