//! A small recording for tests, with one of everything.

mod any;
mod misleading;

use std::collections::HashMap;
use std::sync::Arc;

use ttlog_format::cause::{self, Cause};
use ttlog_format::clock::{Sample, Source};
use ttlog_format::header::{Header, Layout};
use ttlog_format::incident::{self, Incident, Module};
use ttlog_format::salvage::{Counts, Entry, Ledger, Recording, Span, Thread, What};
use ttlog_format::site::{CallSite, Level};
use ttlog_format::span::SpanId;
use ttlog_format::value::{Field, Text, Value};

pub(crate) use any::any_recording;
pub(crate) use misleading::{any_byte, encoded, misleading};

pub(crate) const NAMESPACE: u64 = 4_026_531_836;
pub(crate) const START_TIME: u64 = 99;
pub(crate) const BOOT_ID: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const LOG_SITE: u64 = 5;

const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// A moment, so many milliseconds after the beginning.
pub(crate) fn at(millis: u64) -> u64 {
    BEGIN_NS + millis * 1_000_000
}

fn request() -> SpanId {
    SpanId::in_slot(0, 1)
}

pub(crate) fn query() -> SpanId {
    SpanId::in_slot(1, 1)
}

pub(crate) fn header() -> Header {
    Header {
        recording: 42,
        layout: Layout {
            span_slots: 4096,
            blocks: 2560,
        },
        pid: 4711,
        uid: 1000,
        start_time: START_TIME,
        pid_namespace: NAMESPACE,
        boot_id: BOOT_ID.into(),
        executable: "/usr/bin/payments".into(),
        build_id: "deadbeef".into(),
        host: "node-7".into(),
        name: "payments".into(),
        clock: Source::Tsc,
        samples: [Sample::default(); 2],
        window_ns: 5_000_000_000,
        asked_bytes: 10 << 20,
        filter: "debug".into(),
        ..Header::default()
    }
}

fn site(address: u64, level: Level, name: &str, fields: &[&str]) -> Arc<CallSite> {
    Arc::new(CallSite {
        address,
        level,
        is_span: matches!(name, "request" | "query"),
        is_log: address == LOG_SITE,
        name: name.into(),
        target: "app::auth".into(),
        file: "src/auth.rs".into(),
        line: 7,
        fields: fields.iter().map(|&field| field.into()).collect(),
    })
}

fn sites() -> HashMap<u64, Arc<CallSite>> {
    let log = [
        "message",
        "log.target",
        "log.module_path",
        "log.file",
        "log.line",
    ];
    let sites = [
        site(1, Level::Info, "request", &["id"]),
        site(2, Level::Debug, "query", &["table", "rows"]),
        site(3, Level::Info, "event", &["message", "user_id"]),
        site(4, Level::Error, "event", &["message", "name", "cut", "raw"]),
        site(LOG_SITE, Level::Warn, "log event", &log),
    ];
    sites.into_iter().map(|site| (site.address, site)).collect()
}

fn text(text: &[u8]) -> Text {
    Text {
        bytes: text.to_vec(),
        whole: text.len() as u32,
    }
}

fn string(bytes: &str) -> Value {
    Value::Str(text(bytes.as_bytes()))
}

fn debug(bytes: &str) -> Value {
    Value::Debug(text(bytes.as_bytes()))
}

fn fields(values: impl IntoIterator<Item = Value>) -> Vec<Field> {
    values
        .into_iter()
        .enumerate()
        .map(|(i, value)| Field {
            index: i as u8,
            value,
        })
        .collect()
}

fn spans() -> HashMap<SpanId, Arc<Span>> {
    let rows = |rows| Field {
        index: 1,
        value: Value::U64(rows),
    };
    let table = Field {
        index: 0,
        value: string("users"),
    };
    let span = |id, site, parent, fields| {
        Arc::new(Span {
            id: Some(id),
            site,
            parent,
            opened_ns: at(0),
            fields,
            open: true,
            entered_ns: None,
        })
    };
    let id = Field {
        index: 0,
        value: Value::U64(7),
    };
    HashMap::from([
        (request(), span(request(), 1, None, vec![(at(0), id)])),
        (
            query(),
            span(
                query(),
                2,
                Some(request()),
                vec![(at(0), table), (at(2), rows(2)), (at(2), rows(3))],
            ),
        ),
    ])
}

fn entry(millis: u64, what: What, site: u64, span: Option<SpanId>, fields: Vec<Field>) -> Entry {
    Entry {
        what,
        wall_ns: at(millis),
        thread: 0,
        site,
        span,
        fields: fields.into(),
    }
}

fn entries() -> Vec<Entry> {
    let evil = fields([
        debug("evil\n\x1b[2J"),
        string("a\"b\u{202e}"),
        Value::Str(Text {
            bytes: b"caf\xc3".to_vec(),
            whole: 9,
        }),
        Value::Bytes(text(&[0, 255])),
    ]);
    let log = fields([
        debug("connection reset"),
        string("hyper::client"),
        string("hyper::client"),
        string("client.rs"),
        Value::U64(88),
    ]);
    let login = fields([debug("user logged in"), Value::U64(42)]);
    let rows = vec![Field {
        index: 1,
        value: Value::U64(3),
    }];
    let unknown = SpanId::in_slot(9, 9);
    vec![
        entry(0, What::Open, 1, Some(request()), fields([Value::U64(7)])),
        entry(1, What::Event, 3, Some(query()), login),
        entry(2, What::Values, 2, Some(query()), rows),
        entry(3, What::Event, 4, None, evil),
        entry(4, What::Event, LOG_SITE, None, log),
        entry(
            5,
            What::Event,
            0xdead,
            Some(unknown),
            fields([Value::I64(-1), Value::F64(1.0)]),
        ),
    ]
}

pub(crate) fn recording() -> Recording {
    let counts = Counts {
        written: 6,
        readable: 4,
        overwritten: 1,
        dropped: 1,
        torn: 0,
    };
    let thread = Thread {
        number: 1,
        id: 4712,
        name: "worker-1".into(),
        counts,
        covered_ns: Some((at(0), at(5))),
        stack: vec![request(), query()],
        ended: false,
    };
    Recording {
        header: header(),
        causes: Vec::new(),
        incidents: Vec::new(),
        sites: sites(),
        threads: vec![thread],
        ledger: Ledger {
            counts,
            truncated: 1,
            exact: true,
            ..Ledger::default()
        },
        spans: spans(),
        entries: entries(),
        end_ns: at(5),
    }
}

/// Requests with a query each that no thread is in: a pair every millisecond.
pub(crate) fn idle_pairs(pairs: u32) -> Recording {
    let mut recording = recording();
    recording.threads[0].stack.clear();
    recording.spans.clear();
    for pair in 0..pairs {
        let (outer, inner) = (
            SpanId::in_slot(2 * pair, 1),
            SpanId::in_slot(2 * pair + 1, 1),
        );
        let millis = u64::from(pair);
        let number = Value::U64(millis);
        let mut add = |id, site, parent, value| {
            let span = idle(id, site, parent, at(millis), value);
            recording.spans.insert(id, span.into());
        };
        add(outer, 1, None, number);
        add(inner, 2, Some(outer), string("users"));
    }
    recording.end_ns = at(4_000);
    recording
}

/// Idle spans, each in the one before.
pub(crate) fn idle_chain(depth: u32) -> Recording {
    let mut recording = idle_pairs(0);
    for i in 0..depth {
        let id = SpanId::in_slot(i, 1);
        let parent = i.checked_sub(1).map(|before| SpanId::in_slot(before, 1));
        let span = idle(id, 2, parent, at(i.into()), string("users"));
        recording.spans.insert(id, span.into());
    }
    recording
}

fn idle(id: SpanId, site: u64, parent: Option<SpanId>, opened_ns: u64, value: Value) -> Span {
    Span {
        id: Some(id),
        site,
        parent,
        opened_ns,
        fields: vec![(opened_ns, Field { index: 0, value })],
        open: true,
        entered_ns: Some(opened_ns + 100_000),
    }
}

/// One of which a thread panicked in a span, with symbols.
pub(crate) fn panicked() -> Recording {
    let incident = Incident {
        kind: incident::Kind::Panic,
        wall_ns: at(6),
        thread: 1,
        thread_id: 4712,
        thread_name: "worker-1".into(),
        message: "index out of bounds: the len is 3 but the index is 7".into(),
        location: "src/main.rs:7:5".into(),
        stack: vec![request(), query()],
        frames: vec![0x1000 + 0x1234, 0x1000 + 0x2000, 0x10],
        modules: vec![Module {
            base: 0x1000,
            range: (0x1000, 0x9000),
            build_id: "deadbeef".into(),
            name: "/usr/bin/payments".into(),
        }],
        symbols: vec![
            "payments::find at src/main.rs:7".into(),
            "payments::main".into(),
        ],
        ..Incident::default()
    };
    let mut recording = recording();
    recording.incidents.push(incident);
    recording.ledger.incidents = 3;
    recording.end_ns = at(6);
    recording
}

/// One whose thread met a fatal signal.
pub(crate) fn signalled() -> Recording {
    let mut recording = recording();
    recording.causes.push(Cause {
        kind: cause::Kind::Signal,
        thread: 1,
        thread_id: 4712,
        wall_ns: at(6),
        signal: 11,
        code: 1,
        address: Some(0),
        program_counter: 0x10,
        ..Cause::default()
    });
    recording.end_ns = at(6);
    recording
}
