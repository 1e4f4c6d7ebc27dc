//! Spans for programs.

use std::path::Path;

use serde::{Serialize, Serializer};
use ttlog_format::salvage::Recording;
use ttlog_format::site::Level;

use crate::json::Fields;
use crate::shown::shown_span;
use crate::text::utc;

use super::Told;
use super::account::{Busy, Long, Longest};
use super::rows::{Lasted, Row};

#[derive(Serialize)]
pub(super) struct Object<'t> {
    name: &'t str,
    pid: u32,
    path: String,
    ends: String,
    open: u64,
    closed: u64,
    spans_without_slot: u64,
    open_spans: Each<'t>,
    spans: Vec<OfRow<'t>>,
    closed_spans: Each<'t>,
}

/// Spans, each of which is put in words when it is written.
struct Each<'t> {
    recording: &'t Recording,
    spans: &'t [Long],
    open: bool,
}

impl Serialize for Each<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spans = self.spans.iter();
        serializer.collect_seq(spans.map(|long| OfLong::new(self.recording, long, self.open)))
    }
}

#[derive(Serialize)]
struct OfRow<'t> {
    name: Option<&'t str>,
    target: Option<&'t str>,
    level: Option<Level>,
    filename: Option<&'t str>,
    line_number: Option<u32>,
    open: u64,
    open_for: Option<OfLasted>,
    closed: u64,
    lasted: Option<OfLasted>,
    busy_ns: u64,
    busy_is_exact: bool,
    opening_unknown: u64,
    closing_unknown: u64,
}

#[derive(Serialize)]
struct OfLasted {
    total_ns: u64,
    p50_ns: u64,
    p99_ns: u64,
    longest_ns: u64,
}

#[derive(Serialize)]
struct OfLong<'t> {
    name: Option<&'t str>,
    target: Option<&'t str>,
    filename: Option<&'t str>,
    line_number: Option<u32>,
    fields: serde_json::Value,
    parents: Vec<Option<&'t str>>,
    opened: Option<String>,
    lasted_ns: Option<u64>,
    open: bool,
    busy_ns: u64,
    busy_is_exact: bool,
    thread: Option<Who<'t>>,
}

#[derive(Serialize)]
struct Who<'t> {
    id: u32,
    name: &'t str,
}

impl<'t> Object<'t> {
    pub(super) fn new(told: &'t Told<'t>, path: &Path) -> Object<'t> {
        let recording = told.recording;
        let sum = |of: fn(&Row) -> u64| told.rows.iter().map(of).sum();
        let each = |longest: &'t Longest, open: bool| Each {
            recording,
            spans: &longest.spans,
            open,
        };
        Object {
            name: &recording.header.name,
            pid: recording.header.pid,
            path: path.to_string_lossy().into_owned(),
            ends: utc(recording.end_ns),
            open: sum(|row| row.open),
            closed: sum(|row| row.closed),
            spans_without_slot: recording.ledger.spans_without_slot,
            open_spans: each(&told.open, true),
            spans: told.rows.iter().take(told.most).map(OfRow::new).collect(),
            closed_spans: each(&told.closed, false),
        }
    }
}

impl OfRow<'_> {
    fn new(row: &Row) -> OfRow<'_> {
        let group = &row.group;
        let place = &group.place;
        let Busy { ns, is_whole } = group.busy;
        OfRow {
            name: place.name.as_deref(),
            target: place.level.map(|_| place.target.as_str()),
            level: place.level,
            filename: (!place.file.is_empty()).then_some(&place.file),
            line_number: (place.line > 0).then_some(place.line),
            open: row.open,
            open_for: row.open_for.map(OfLasted::new),
            closed: row.closed,
            lasted: row.lasted.map(OfLasted::new),
            busy_ns: ns,
            busy_is_exact: is_whole,
            opening_unknown: group.unknown + group.open_unknown,
            closing_unknown: group.lost,
        }
    }
}

impl OfLasted {
    fn new(lasted: Lasted) -> OfLasted {
        let Lasted {
            total_ns,
            p50_ns,
            p99_ns,
            longest_ns,
        } = lasted;
        OfLasted {
            total_ns,
            p50_ns,
            p99_ns,
            longest_ns,
        }
    }
}

impl<'t> OfLong<'t> {
    fn new(recording: &'t Recording, long: &'t Long, open: bool) -> OfLong<'t> {
        let site = recording.sites.get(&long.span.site);
        let shown = shown_span(recording, &long.span, u64::MAX);
        let fields = Fields {
            message: None,
            fields: &shown.fields,
        };
        let thread = long
            .thread
            .and_then(|index| recording.threads.get(index as usize));
        OfLong {
            name: site.map(|site| site.name.as_str()),
            target: site.map(|site| site.target.as_str()),
            filename: site
                .map(|site| site.file.as_str())
                .filter(|file| !file.is_empty()),
            line_number: site.map(|site| site.line).filter(|&line| line > 0),
            fields: serde_json::to_value(&fields).unwrap_or_default(),
            parents: long.parents(recording).rev().collect(),
            opened: long.lasted_ns().map(|_| utc(long.span.opened_ns)),
            lasted_ns: long.lasted_ns(),
            open,
            busy_ns: long.busy.ns,
            busy_is_exact: long.busy.is_whole,
            thread: thread.map(|thread| Who {
                id: thread.id,
                name: &thread.name,
            }),
        }
    }
}
