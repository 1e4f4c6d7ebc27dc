//! Events that are said within events, where values are shown and where memory is
//! allocated: recorded like any other, or counted.

use std::collections::BTreeMap;

use ttlog_format::value::Value;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::{Adapter, Plan, Played, What};

const NESTED: &str = env!("CARGO_BIN_EXE_nested");

#[track_caller]
fn played(act: &str, plan: &Plan) -> Played {
    Played::of(NESTED, act, plan).unwrap_or_else(|violation| panic!("{act}: {violation}"))
}

fn plan(adapter: Adapter) -> Plan {
    Plan::new(What::Wait).adapter(adapter).capacity_mib(16)
}

/// A turn of what is chatty: messages, and how deep in spans they were said.
const TURN: [(&str, &[&str]); 16] = [
    ("while shown", &[]),
    ("while shown", &[]),
    ("while shown", &[]),
    ("debug", &[]),
    ("while shown", &[]),
    ("while shown", &[]),
    ("while shown", &[]),
    ("display chatty 3", &[]),
    // The values of the request, before it is there.
    ("while shown", &[]),
    ("while shown", &[]),
    // The later one.
    ("while shown", &["request"]),
    ("while shown", &["request"]),
    // The value of the span `shown`.
    ("while shown", &["request"]),
    ("while wandering", &["request", "shown", "deeper"]),
    ("wanderer", &["request"]),
    ("after", &[]),
];

#[test]
fn what_is_said_while_something_is_shown_comes_before_it_and_where_it_was_said() {
    const TURNS: u64 = 1000;
    for adapter in ADAPTERS {
        let played = played("chatty", &plan(adapter).events(TURNS));
        assert_eq!((played.dropped(), played.number("open")), (0, 0));
        assert_eq!(played.said, TURNS * TURN.len() as u64);
        for (number, event) in played.events().enumerate() {
            let (text, spans) = TURN[number % TURN.len()];
            let told = (played.message(event), played.spans(event));
            assert_eq!(told, (text.to_owned(), spans.to_vec()), "{adapter:?}");
            if text == "debug" {
                let turn = number / TURN.len();
                assert_eq!(played.field(event, "number"), Some(Value::U64(turn as u64)));
            }
        }
    }
}

/// Four panics a turn, each in the middle of something; the recorder's hook is in place.
#[test]
fn ten_thousand_panics_while_something_is_shown_leave_no_trace_but_what_was_said() {
    const TURNS: u64 = 2500;
    for adapter in ADAPTERS {
        let played = played("evil", &plan(adapter).events(TURNS));
        assert_eq!(played.dropped(), 0);
        let mut events = played.events();
        for number in 0..TURNS {
            let mut next = |text: &str, spans: &[&str]| {
                let event = events.next().expect("an event");
                let told = (played.message(event), played.spans(event));
                assert_eq!(
                    told,
                    (text.to_owned(), spans.to_vec()),
                    "{adapter:?} {number}"
                );
                played.field(event, "number")
            };
            assert_eq!(next("before", &[]), Some(Value::U64(number)));
            for _ in 0..4 {
                assert_eq!(next("before the panic", &["request", "within"]), None);
            }
            assert_eq!(next("after", &["request"]), Some(Value::U64(number)));
        }
        assert!(events.next().is_none());
        assert_eq!(played.number("open"), 0, "{adapter:?}");
    }
}

/// With a guard of its own against itself, and without one until it is three deep.
const DEPTHS: [u64; 2] = [1, 3];

#[test]
fn an_allocator_that_logs_is_heard_on_every_thread_from_its_first_event_on() {
    const THREADS: u64 = 300;
    const WORDS: u64 = 20;
    for (adapter, depth) in ADAPTERS.into_iter().flat_map(|a| DEPTHS.map(|d| (a, d))) {
        let plan = plan(adapter)
            .threads(THREADS)
            .events(depth)
            .capacity_mib(64);
        let played = played("threads-allocate", &plan);
        let mut told = BTreeMap::new();
        for event in played.events() {
            *told.entry(played.message(event)).or_insert(0) += 1;
        }
        let counts = played.recording().ledger.counts;
        assert_eq!(counts.overwritten, 0);
        assert_eq!(
            told["from a thread"],
            THREADS * WORDS,
            "{adapter:?} {depth}"
        );
        assert!(told["allocator"] > depth * THREADS * WORDS, "{told:?}");
    }
}

#[test]
fn an_allocator_that_logs_does_so_while_snapshots_and_backtraces_are_made() {
    for adapter in ADAPTERS {
        for (act, depth) in [
            ("snapshots-allocate", 1),
            ("snapshots-allocate", 3),
            ("panics-allocate", 1),
        ] {
            let played = played(act, &plan(adapter).events(depth));
            assert!(played.said > 1_000, "{act} {depth}: {}", played.said);
        }
    }
}
