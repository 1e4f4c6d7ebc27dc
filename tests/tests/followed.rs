//! A living process is followed, and nothing that is shown is wrong: no event is torn,
//! shown twice or out of its thread's order, and what could not be shown is counted.
//!
//! By default it is short, and slow enough for builds that are not optimised; where more
//! live reads are asked for, a million events a second are said, a minute at a time:
//!
//! ```text
//! TTLOG_TESTS_LIVE_READS=100000000 cargo test --release -p ttlog-tests --test followed -- --nocapture
//! ```

use std::io::Cursor;

use ttlog_tests::torrent::{Seen, check, follow};
use ttlog_tests::{Tally, reader, tally};

const TORRENT: &str = env!("CARGO_BIN_EXE_torrent");
const THREADS: u64 = 2;

/// Events a second, and for how many seconds: short, and long.
const SHORT: (u64, f64) = (100_000, 3.0);
const LONG: (u64, f64) = (1_000_000, 60.0);

#[test]
fn who_follows_is_shown_what_was_said_and_told_what_was_missed() {
    let reads = Tally::of("live-reads", 0);
    let mut shown = 0;
    while shown == 0 || shown < reads.wanted() {
        let (more, missed) = followed(if reads.wanted() > 0 { LONG } else { SHORT });
        reads.add(more);
        reads.note(&format!(
            "{missed} more were overwritten first, and it was told"
        ));
        shown += more;
    }
}

/// Follows for so long, and gives how many events were shown, and how many were not.
fn followed((rate, for_s): (u64, f64)) -> (u64, u64) {
    let directory = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
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
    (seen.shown, seen.missed())
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
    tally::found(
        "live-reads",
        "a line that is torn, one twice, one too early, one too late",
    );
}
