//! A living process is followed, and nothing that is shown is wrong: no event is torn,
//! shown twice or out of its thread's order, and what could not be shown is counted.
//!
//! By default it is short, and slow enough for builds that are not optimised:
//!
//! ```text
//! TTLOG_TESTS_FOLLOW=1000000,60 cargo test --release -p ttlog-tests --test followed -- --nocapture
//! ```

use std::io::Cursor;

use ttlog_tests::reader;
use ttlog_tests::torrent::{Seen, check, follow};

const TORRENT: &str = env!("CARGO_BIN_EXE_torrent");
const THREADS: u64 = 2;

/// Events a second, and seconds.
fn wanted() -> (u64, f64) {
    let Ok(wanted) = std::env::var("TTLOG_TESTS_FOLLOW") else {
        return (100_000, 3.0);
    };
    let parsed = wanted.split_once(',').and_then(|(rate, for_s)| {
        let rate = rate.parse().ok()?;
        Some((rate, for_s.parse().ok()?))
    });
    parsed.expect("TTLOG_TESTS_FOLLOW is RATE,SECONDS")
}

#[test]
fn who_follows_is_shown_what_was_said_and_told_what_was_missed() {
    let directory = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
    let (rate, for_s) = wanted();
    let seen = follow(TORRENT, directory.path(), THREADS, rate, for_s);
    let info = &reader::json(TORRENT, &["info"], directory.path())[0];
    let written = info["ledger"]["written"].as_u64().unwrap();
    println!(
        "{} events said in {for_s} s, {} shown, {} missed: {:?}",
        written,
        seen.shown,
        seen.missed(),
        seen.words
    );
    assert_eq!(seen.torn, [] as [&str; 0]);
    assert_eq!((seen.disordered, seen.backwards), (0, 0));
    assert_eq!(seen.shown + seen.missed(), written);
    assert!(
        written >= seen.said && seen.said > 0,
        "{written} {}",
        seen.said
    );
    assert!(seen.shown > 0);
    assert!(seen.words.contains("was killed"), "{}", seen.words);
}

#[test]
fn what_is_wrong_with_lines_is_found() {
    let line = |second: u64, thread: &str, n: u64, check: u64| {
        let first = n / 100 * 100;
        format!(
            "2025-11-24 12:34:{second:02}.123456789+00:00 [INFO] {thread}[12] torrent a.rs:1 \
             hundred{{first={first}}}: one of many n={n} check={check}\n"
        )
    };
    let seen = |lines: &[String]| Seen::of_lines(Cursor::new(lines.concat()));
    let whole = |second, thread, n| line(second, thread, n, check(n));
    let good = [whole(1, "a", 7), whole(2, "b", 7), whole(2, "a", 8)];
    let found = seen(&good);
    assert_eq!((found.shown, found.torn.len()), (3, 0));
    assert_eq!((found.disordered, found.backwards), (0, 0));

    let torn = seen(&[line(1, "a", 7, check(8))]);
    assert_eq!(torn.torn.len(), 1);
    let twice = seen(&[whole(1, "a", 7), whole(1, "b", 7), whole(1, "a", 7)]);
    assert_eq!(twice.disordered, 1);
    let disordered = seen(&[whole(1, "a", 8), whole(1, "a", 7)]);
    assert_eq!(disordered.disordered, 1);
    let backwards = seen(&[whole(2, "a", 7), whole(1, "b", 7)]);
    assert_eq!(backwards.backwards, 1);
}
