//! One of each kind: values, levels, spans and their relations, `log` records.

use std::fmt;

use tracing::field::Empty;
use tracing::{Level, debug, error, event, info, info_span, span, trace, warn};

/// A `Debug` that logs.
struct Talks;

impl fmt::Debug for Talks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!("said while being shown");
        f.write_str("Talks")
    }
}

/// Says one of each kind, on this thread and another.
pub fn say() {
    kinds();
    levels();
    spans();
    unordered();
    elsewhere();
}

fn kinds() {
    let error = std::io::Error::other("the disk is on fire");
    let error: &(dyn std::error::Error + 'static) = &error;
    info!(small = -7i64, least = i64::MIN, "i64");
    info!(small = 7u64, most = u64::MAX, "u64");
    info!(least = i128::MIN, small = -1i128, "i128");
    info!(most = u128::MAX, small = 1u128, "u128");
    info!(half = 0.5f64, tenth = 0.1f64, "f64");
    info!(yes = true, no = false, "bool");
    info!(
        empty = "",
        plain = "plain",
        other = "Grüße, \u{1b}[31m 世界\n",
        "str"
    );
    info!(bytes = &[0u8, 1, 254, 255][..], "bytes");
    info!(error, "error");
    info!(some = ?Some("thing"), none = ?None::<()>, "Debug");
    info!(shown = %"shown", number = %12.5, "Display");
    info!("a message with {} and {:?}", 1, "two");
    info!(long = "x".repeat(5000), after = 1, "cut");
    info!(talks = ?Talks, "shown");
    info!(no_message = 1);
}

fn levels() {
    trace!("a trace");
    debug!("a debug");
    info!("an info");
    warn!("a warning");
    error!("an error");
    event!(target: "another::target", Level::INFO, answer = 42, "elsewhere");
}

fn spans() {
    let request = info_span!("request", id = 7, name = "not the span's", later = Empty);
    let outside = span!(Level::WARN, "outside", big = u64::MAX);
    request.in_scope(|| {
        info!("in the request");
        let query = info_span!("query", table = "users", rows = Empty);
        query.in_scope(|| {
            info!("before the rows");
            query.record("rows", 12);
            info!("after the rows");
            query.record("rows", 13);
            request.record("later", "now");
            info!("after more rows");
            info!(parent: &outside, "in the span outside");
            info!(parent: None, "in no span");
        });
        let root = info_span!(parent: None, "root");
        root.in_scope(|| info!("below the root"));
        let child = info_span!(parent: &outside, "child");
        child.follows_from(&query);
        child.in_scope(|| info!("below the span outside"));
        info!("in the request still");
    });
    info!("outside");
}

/// Spans entered twice, and left in another order than they were entered in.
fn unordered() {
    let first = info_span!("first");
    let second = info_span!(parent: None, "second");
    let in_first = first.enter();
    let again = first.enter();
    info!("in the first, twice");
    drop(again);
    info!("in the first");
    let in_second = second.enter();
    drop(in_first);
    info!("in the second");
    drop(in_second);
    info!("in none");
}

fn elsewhere() {
    let carried = info_span!("carried", from = "main");
    let entered = carried.clone();
    let other = std::thread::Builder::new().name("another".to_owned());
    let there = other.spawn(move || entered.in_scope(|| info!("on another thread")));
    there
        .expect("a thread")
        .join()
        .expect("it says what it has to say");
    carried.in_scope(|| info!("on this one"));
}

/// The lines of this file that [`say_by_log`] says things on.
pub const LOG_LINE: u32 = line!() + 4;

/// Says things through `log`.
pub fn say_by_log() {
    log::info!("plain {}", 1);
    log::warn!(target: "payments::db", "connection lost after {} s", 30);
    info_span!("request", id = 8).in_scope(|| log::error!(target: "payments", "in a span"));
    log::debug!("debugged");
}
