//! The story: events that can be foretold from a worker's number and their own.
//!
//! It comes in turns of eight events. The second to the seventh of them are in
//! a span `request`, the fourth to the sixth in a span `query` inside of it.

use tracing::{debug, debug_span, error, info, info_span, warn};
use ttlog_format::site::Level;
use ttlog_format::value::{Text, Value};

/// Events of a turn.
pub const TURN: u64 = 8;

/// What texts are cut from.
const TEXT: &str = "the quick brown fox jumps over the lazy dog, and over the sleeping cat, \
    and over the hedge, and over the hill and far away, where nobody has ever seen a fox jump";

fn text(worker: u64, sequence: u64) -> &'static str {
    let len = worker
        .wrapping_mul(31)
        .wrapping_add(sequence.wrapping_mul(7)) as usize;
    &TEXT[..len % TEXT.len()]
}

fn mixed(worker: u64, sequence: u64) -> u64 {
    (worker << 56 | sequence).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Says the worker's event `sequence`.
pub fn event(worker: u64, sequence: u64) {
    match sequence % 4 {
        0 => info!(worker, sequence, "worker {worker} says {sequence}"),
        1 => debug!(worker, sequence, text = text(worker, sequence), "a text"),
        2 => warn!(
            worker,
            sequence,
            mixed = mixed(worker, sequence),
            negative = -(sequence as i64),
            half = sequence as f64 / 2.0,
            even = true,
            wide = u128::from(sequence) << 64,
            "numbers"
        ),
        _ => error!(worker, sequence, shown = ?text(worker, sequence)),
    }
}

/// Tells turn `turn`; `said` is called with the number of events said so far,
/// each time that one more has returned.
pub fn turn(worker: u64, turn: u64, said: &mut dyn FnMut(u64)) {
    let mut next = turn * TURN;
    let mut say = || {
        event(worker, next);
        next += 1;
        said(next);
    };
    say();
    {
        let request = info_span!("request", worker, id = turn);
        let _in_request = request.enter();
        say();
        say();
        {
            let query = debug_span!("query", table = "users", row = tracing::field::Empty);
            query.record("row", turn);
            let _in_query = query.enter();
            say();
            say();
            say();
        }
        say();
    }
    say();
}

/// An event as it was said.
#[derive(Debug, PartialEq)]
pub struct Said {
    /// Its level.
    pub level: Level,
    /// Its fields.
    pub fields: Vec<(&'static str, Value)>,
    /// The spans that it was said in, outermost first, and their fields.
    pub spans: Vec<(&'static str, Vec<(&'static str, Value)>)>,
}

/// What [`turn`] says, and where.
pub fn foretold(worker: u64, sequence: u64) -> Said {
    let (level, message) = match sequence % 4 {
        0 => (
            Level::Info,
            Some(format!("worker {worker} says {sequence}")),
        ),
        1 => (Level::Debug, Some("a text".to_owned())),
        2 => (Level::Warn, Some("numbers".to_owned())),
        _ => (Level::Error, None),
    };
    let mut fields: Vec<_> = message
        .map(|message| ("message", Value::Debug(kept(&message))))
        .into_iter()
        .collect();
    fields.extend([
        ("worker", Value::U64(worker)),
        ("sequence", Value::U64(sequence)),
    ]);
    match sequence % 4 {
        0 => {}
        1 => fields.push(("text", Value::Str(kept(text(worker, sequence))))),
        2 => fields.extend([
            ("mixed", Value::U64(mixed(worker, sequence))),
            ("negative", Value::I64(-(sequence as i64))),
            ("half", Value::F64(sequence as f64 / 2.0)),
            ("even", Value::Bool(true)),
            ("wide", Value::U128(u128::from(sequence) << 64)),
        ]),
        _ => {
            let shown = format!("{:?}", text(worker, sequence));
            fields.push(("shown", Value::Debug(kept(&shown))));
        }
    }
    Said {
        level,
        fields,
        spans: context(worker, sequence),
    }
}

fn context(worker: u64, sequence: u64) -> Vec<(&'static str, Vec<(&'static str, Value)>)> {
    let turn = Value::U64(sequence / TURN);
    let place = sequence % TURN;
    let mut spans = Vec::new();
    if (1..7).contains(&place) {
        spans.push((
            "request",
            vec![("worker", Value::U64(worker)), ("id", turn.clone())],
        ));
    }
    if (3..6).contains(&place) {
        spans.push((
            "query",
            vec![("table", Value::Str(kept("users"))), ("row", turn)],
        ));
    }
    spans
}

fn kept(text: &str) -> Text {
    Text {
        bytes: text.as_bytes().to_vec(),
        whole: text.len() as u32,
    }
}
