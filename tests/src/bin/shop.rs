//! A program that records a little of everything and comes to an end:
//! `shop DIRECTORY exit|panic|segv|term|kill|snapshot`.
//!
//! What it leaves is kept as the recordings of `tests/golden`, which are made by the
//! script beside them. Which thread says what, and in which order, is the same every time.

use std::fmt;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, raise};
use tracing::{debug, error, info, info_span, trace, warn};

/// More than a record keeps.
const LONG: usize = 3_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, end] = arguments.as_slice() else {
        panic!("usage: shop DIRECTORY exit|panic|segv|term|kill|snapshot");
    };
    let recorder = ttlog::builder()
        .name("shop")
        .directory(directory)
        .snapshot_directory(directory)
        .capacity_mib(1)
        .span_slots(64)
        .filter("trace")
        .terminate_on(libc::SIGTERM)
        .init()
        .expect("a recorder");
    let _idle = open();
    ask();
    serve();
    come_to_an(end);
    drop(recorder);
}

/// Two requests that wait for something, which no thread is in.
fn open() -> [tracing::Span; 3] {
    info!(version = "1.4.2", "the shop is open");
    log::warn!(target: "shop::config", "no tax rate for country XX");
    let first = info_span!("request", id = 7, route = "/cart");
    let query = info_span!(parent: &first, "query", table = "carts", rows = tracing::field::Empty);
    query.record("rows", 3);
    let second = info_span!("request", id = 8, route = "/cart");
    [first, query, second]
}

/// A request that was answered, with values of all kinds.
fn ask() {
    let request = info_span!("request", id = 1, route = "/users/42").entered();
    trace!("connection taken from the pool");
    {
        let _query = info_span!("query", table = "users").entered();
        debug!(rows = 1, elapsed_ms = 0.25, cached = false, "a row");
    }
    info!(user_id = 42, "user logged in");
    warn!(
        agent = "\x1b[2Jcurl \u{202e}gpj.exe",
        "an agent that is none"
    );
    debug!(body = &*"x".repeat(LONG), "a long body");
    info!(
        key = &b"\x00\xff"[..],
        balance = i64::MIN,
        total = u128::MAX,
        "numbers"
    );
    let refused: &(dyn std::error::Error + 'static) = &Refused;
    error!(error = refused, "=payment refused");
    drop(request);
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("limit 90000 reached")
    }
}

impl std::error::Error for Refused {}

/// A worker that is in the middle of something, and stays there.
fn serve() {
    let (said, hear) = channel();
    let worker = thread::Builder::new().name("worker-1".into());
    let work = move || {
        let _order = info_span!("order", id = 9, amount = 96_148).entered();
        let _charge = info_span!("charge", card = "visa").entered();
        for attempt in 1..=3 {
            warn!(attempt, limit = 90_000, "payment declined");
        }
        let _ = said.send(());
        loop {
            thread::sleep(Duration::from_secs(60));
        }
    };
    let _worker = worker.spawn(work).expect("a thread");
    hear.recv().expect("it says so");
}

fn come_to_an(end: &str) {
    match end {
        "exit" => info!("the shop is closed"),
        "panic" => {
            let carts: Vec<u32> = vec![7, 8];
            let wanted = std::hint::black_box(7);
            println!("{}", carts[wanted]);
        }
        // SAFETY: it is meant not to come back.
        "segv" => println!("{}", unsafe { (8 as *const u8).read_volatile() }),
        "term" => {
            raise(Signal::SIGTERM).expect("raise(3)");
            thread::sleep(Duration::from_secs(60));
        }
        "kill" => raise(Signal::SIGKILL).expect("raise(3)"),
        "snapshot" => {
            ttlog::flush_snapshot("a customer called").expect("a snapshot");
            raise(Signal::SIGKILL).expect("raise(3)");
        }
        other => panic!("no such end: {other}"),
    }
}
