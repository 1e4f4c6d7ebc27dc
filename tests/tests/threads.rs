//! Threads that come and end in every way there is: what they say is there, or counted.

use std::collections::BTreeMap;

use ttlog_format::salvage::What as Happened;
use ttlog_format::value::Value;
use ttlog_tests::{Plan, Played, What};

const THREADS: &str = env!("CARGO_BIN_EXE_threads");

fn plan() -> Plan {
    Plan::new(What::Wait)
}

#[track_caller]
fn played(act: &str, plan: &Plan) -> Played {
    Played::of(THREADS, act, plan).unwrap_or_else(|violation| panic!("{violation}"))
}

/// Whether the program ends in the same way where nothing is recorded.
#[track_caller]
fn ends_well_without_a_recorder(act: &str, plan: &Plan) {
    let mut victim =
        ttlog_tests::Victim::start_act(THREADS, act, &plan.clone().env("TTLOG", "off"));
    while !victim.says().is_empty() {}
    assert!(victim.ends().success(), "{act}");
}

/// How often each message was said, and in which spans.
fn told(played: &Played) -> BTreeMap<(String, Vec<&str>), u64> {
    let mut told = BTreeMap::new();
    for event in played.events() {
        let what = (played.message(event), played.spans(event));
        *told.entry(what).or_insert(0) += 1;
    }
    told
}

#[track_caller]
fn assert_told(played: &Played, expected: &[(&str, &[&str], u64)]) {
    let expected = expected.iter();
    let expected = expected.map(|&(text, spans, n)| ((text.to_owned(), spans.to_vec()), n));
    assert_eq!(told(played), expected.collect());
}

/// The layer has no such test: past 4,096 live threads its Registry panics, as it says.
#[test]
fn five_thousand_live_threads_in_half_as_many_blocks_are_recorded_or_counted() {
    const CROWD: u64 = 5000;
    let plan = plan().threads(CROWD).capacity_mib(10).span_slots(4096);
    let played = played("crowd", &plan);
    assert_eq!(played.said, 2 * CROWD);
    assert_eq!(played.number("dropped"), played.dropped());
    assert_eq!(played.number("open"), 0);
    let blocks = u64::from(played.recording().header.layout.blocks);
    assert!(played.dropped() >= CROWD - blocks, "{}", played.dropped());
    let threads = played.recording().threads.iter();
    let heard = threads.filter(|thread| thread.counts.readable > 0).count() as u64;
    assert!(heard > blocks * 3 / 4, "{heard}");
    for event in played.events().filter(|event| event.span.is_some()) {
        let context = played.recording().context(event.span);
        let [(_, request)] = context.as_slice() else {
            panic!("in one request, not {context:?}")
        };
        let fields = ttlog_tests::check::span_fields(played.recording(), request);
        let number = played.field(event, "number").expect("a number");
        assert_eq!(fields, [("number", number)]);
    }
}

#[test]
fn thread_locals_speak_when_their_thread_ends_whenever_they_were_first_used() {
    let plan = plan().threads(300);
    ends_well_without_a_recorder("farewells", &plan);
    let played = played("farewells", &plan);
    assert_eq!((played.dropped(), played.number("open")), (0, 0));
    let words = ["the first", "the second", "the third"].map(|name| {
        (
            format!("farewell of {name}"),
            format!("in a span of {name}"),
        )
    });
    let told = told(&played);
    // Those of the third kind are in spans that other thread-locals hold.
    for (farewell, in_a_span) in &words {
        let count = |text: &str| -> u64 {
            let told = told.iter().filter(|((said, _), _)| said == text);
            told.map(|(_, n)| n).sum()
        };
        assert_eq!((count(farewell), count(in_a_span)), (300, 300));
        let mut spans = told.keys().filter(|(said, _)| said == in_a_span);
        assert!(spans.all(|(_, spans)| spans.last() == Some(&"farewell")));
    }
    assert_eq!(played.said, 300 * 7);
}

#[test]
fn what_is_said_at_the_very_end_of_a_thread_is_counted_when_the_pool_is_short() {
    let played = played("farewells", &plan().threads(3000).capacity_mib(1));
    assert_eq!((played.said, played.dropped()), (3000 * 7, 0));
}

#[test]
fn thread_locals_of_main_and_functions_at_the_exit_speak_and_it_has_ended() {
    for order in 0..3 {
        let plan = plan().events(order);
        ends_well_without_a_recorder("main-ends", &plan);
        let played = played("main-ends", &plan);
        assert_eq!((played.said, played.dropped()), (9, 0));
        let last: Vec<_> = played.events().map(|event| played.message(event)).collect();
        let [.., before, after] = last.as_slice() else {
            panic!("{last:?}")
        };
        assert_eq!(before, "before the recorder knows of the exit");
        assert_eq!(after, "after the recorder knew of the exit");
        let open = played.recording().spans.values().filter(|span| span.open);
        assert_eq!(open.count(), 0, "{order}");
    }
}

/// One key is older than the recorder's, one younger; and what is said at the last time
/// that keys are looked at finds a thread whose end nobody will tell the recorder of.
#[test]
fn keys_of_pthreads_speak_before_and_after_the_recorders_own() {
    ends_well_without_a_recorder("keys", &plan().threads(8));
    for (threads, capacity) in [(400, 4), (4000, 1)] {
        let plan = plan().threads(threads).capacity_mib(capacity);
        let played = played("keys", &plan);
        assert_eq!((played.dropped(), played.number("open")), (0, 0));
        assert!(played.said > 2 * threads, "{}", played.said);
    }
}

#[test]
fn a_thread_with_a_long_name_may_speak_when_rust_has_forgotten_it() {
    let plan = plan().threads(3);
    ends_well_without_a_recorder("late", &plan);
    let played = played("late", &plan);
    assert_eq!((played.said, played.dropped()), (3 * 4, 0));
}

#[test]
fn threads_that_vanish_together_in_a_span_have_said_what_they_said() {
    const CROWD: u64 = 110;
    const CROWDS: u64 = 20;
    let plan = plan().threads(CROWD).events(CROWDS).capacity_mib(1);
    let played = played("vanish", &plan);
    assert_eq!((played.said, played.dropped()), (2 * CROWD * CROWDS, 0));
    let threads = played.recording().threads.iter().rev();
    for thread in threads.take(CROWD as usize) {
        assert_eq!((thread.counts.readable, thread.stack.len()), (2, 1));
    }
}

#[test]
fn threads_that_are_cancelled_in_the_middle_of_an_event_take_nothing_with_them() {
    let plan = plan().threads(900);
    ends_well_without_a_recorder("cancelled", &plan);
    let played = played("cancelled", &plan);
    assert_eq!((played.dropped(), played.number("open")), (0, 0));
    assert_eq!(
        told(&played).keys().next(),
        Some(&("here".to_owned(), vec!["request"]))
    );
    assert_eq!(told(&played).len(), 1);
}

#[test]
fn a_span_outlives_the_thread_that_opened_it_and_those_that_were_in_it() {
    const ROUNDS: u64 = 50;
    let played = played("handed-over", &plan().threads(ROUNDS));
    assert_eq!(played.number("open"), 0);
    assert_told(&played, &[("here", &["handed over"], 4 * ROUNDS)]);
    let recording = played.recording();
    let closed = recording.entries.iter();
    let closed = closed.filter(|entry| entry.what == Happened::Close);
    assert_eq!(closed.count() as u64, ROUNDS);
    let open = recording.spans.values().filter(|span| span.open);
    assert_eq!(open.count(), 0);
}

#[test]
fn who_exits_in_a_span_is_in_it_at_the_end() {
    let played = played("exits-in-a-span", &plan());
    let recording = played.recording();
    let [main] = recording.threads.as_slice() else {
        panic!("{:?}", recording.threads)
    };
    let [outermost] = main.stack.as_slice() else {
        panic!("{main:?}")
    };
    assert!(recording.spans[outermost].open);
    let event = played.events().next().expect("an event");
    assert_eq!(played.spans(event), ["outermost"]);
    assert_eq!(played.field(event, "number"), Some(Value::U64(0)));
}
