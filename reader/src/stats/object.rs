//! Tallies for programs.

use std::path::Path;

use serde::Serialize;
use ttlog_format::site::Level;

use crate::text::utc;

use super::reach::Limit;
use super::rows::{By, Of, Row};
use super::tally::{Place, Says};
use super::{Arguments, Told};

#[derive(Serialize)]
pub(super) struct Object<'t> {
    name: &'t str,
    pid: u32,
    path: String,
    from: String,
    ends: String,
    complete_ns: u64,
    reaches_to: &'static str,
    events: u64,
    span_records: u64,
    bytes: u64,
    bytes_are_exact: bool,
    events_per_s: Option<f64>,
    bytes_per_s: Option<f64>,
    ledger: OfLedger,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_sites: Option<Vec<OfRow<'t>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    levels: Option<Vec<OfRow<'t>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<OfRow<'t>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<Vec<OfRow<'t>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spans: Option<Vec<OfRow<'t>>>,
    advice: Option<OfAdvice<'t>>,
}

#[derive(Serialize)]
struct OfLedger {
    written: u64,
    readable: u64,
    overwritten: u64,
    dropped: u64,
    torn: u64,
    exact: bool,
}

#[derive(Default, Serialize)]
struct OfRow<'t> {
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<Option<&'t str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Option<Level>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Option<&'t str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_site: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Option<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'t str>,
    events: u64,
    span_records: u64,
    bytes: u64,
    share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_bytes: Option<u64>,
    events_per_s: Option<f64>,
    bytes_per_s: Option<f64>,
}

#[derive(Serialize)]
struct OfAdvice<'t> {
    filter: Option<&'t str>,
    directive: String,
    events: u64,
    span_records: u64,
    share: f64,
    complete_ns: Option<u64>,
}

impl<'t> Object<'t> {
    pub(super) fn new(told: &'t Told<'t>, asked: &Arguments, path: &Path) -> Object<'t> {
        let header = &told.recording.header;
        let (whole, reach) = (&told.tallies.whole, &told.reach);
        let rows = |by| {
            let table = asked.tables().iter().position(|&table| table == by)?;
            let rows = told.rows(by).into_iter();
            let rows = rows.take(asked.most(usize::from(table > 0)));
            Some(rows.map(|row| OfRow::new(told, &row)).collect())
        };
        Object {
            name: &header.name,
            pid: header.pid,
            path: path.to_string_lossy().into_owned(),
            from: utc(reach.from_ns),
            ends: utc(reach.end_ns),
            complete_ns: reach.complete_ns(),
            reaches_to: match reach.limit {
                Limit::Beginning => "beginning",
                Limit::Ring => "overwritten",
                Limit::Window => "window",
            },
            events: whole.all.events,
            span_records: whole.all.span_records,
            bytes: whole.all.bytes,
            bytes_are_exact: told.tallies.is_exact,
            events_per_s: reach.rate(whole.complete.events),
            bytes_per_s: reach.rate(whole.complete.bytes),
            ledger: OfLedger::new(told),
            call_sites: rows(By::CallSite),
            levels: rows(By::Level),
            targets: rows(By::Target),
            threads: rows(By::Thread),
            spans: rows(By::Span),
            advice: told.advice.as_ref().map(|advice| OfAdvice {
                filter: advice.filter.as_deref(),
                directive: advice.directive(),
                events: advice.silenced.all.events,
                span_records: advice.silenced.all.span_records,
                share: advice.share,
                complete_ns: advice.reach_ns,
            }),
        }
    }
}

impl OfLedger {
    fn new(told: &Told<'_>) -> OfLedger {
        let ledger = &told.recording.ledger;
        let counts = &ledger.counts;
        OfLedger {
            written: counts.written,
            readable: counts.readable,
            overwritten: counts.overwritten,
            dropped: counts.dropped,
            torn: counts.torn,
            exact: ledger.exact,
        }
    }
}

impl<'t> OfRow<'t> {
    fn new(told: &Told<'t>, row: &Row<'t>) -> OfRow<'t> {
        let (all, complete) = (&row.tally.all, &row.tally.complete);
        let [about, inside] = row.apart.map(|tally| tally.all.bytes);
        let is_span = matches!(row.of, Of::Span(_) | Of::UnknownSpan | Of::NoSpan);
        OfRow {
            events: all.events,
            span_records: all.span_records,
            bytes: all.bytes,
            share: all.bytes as f64 / told.tallies.whole.all.bytes.max(1) as f64,
            event_bytes: is_span.then_some(inside),
            span_bytes: is_span.then_some(about),
            events_per_s: told.reach.rate(complete.events),
            bytes_per_s: told.reach.rate(complete.bytes),
            ..OfRow::named(row)
        }
    }

    fn named(row: &Row<'t>) -> OfRow<'t> {
        let none = OfRow::default();
        match row.of {
            Of::Place(at) => OfRow {
                message: match &at.says {
                    Some(Says::Message(message)) => Some(message),
                    _ => None,
                },
                ..OfRow::at(&at.place)
            },
            Of::Span(place) => OfRow::at(place),
            Of::UnknownSpan => OfRow {
                span: Some(Some("?")),
                ..none
            },
            Of::NoSpan => OfRow {
                span: Some(None),
                ..none
            },
            Of::Level(level) => OfRow {
                level: Some(level),
                ..none
            },
            Of::Target(target) => OfRow {
                target: Some(target),
                ..none
            },
            Of::Thread(thread) => OfRow {
                id: Some(thread.map(|thread| thread.id)),
                name: thread.map(|thread| thread.name.as_str()),
                ..none
            },
        }
    }

    fn at(place: &'t Place) -> OfRow<'t> {
        let is_known = place.level.is_some();
        OfRow {
            span: place.span.as_deref().map(Some),
            level: is_known.then_some(place.level),
            target: is_known.then_some(Some(&place.target)),
            filename: (!place.file.is_empty()).then_some(&place.file),
            line_number: (place.line > 0).then_some(place.line),
            call_site: (!is_known).then(|| format!("{:#x}", place.address)),
            ..OfRow::default()
        }
    }
}
