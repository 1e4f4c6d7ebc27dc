//! What programs did, and what can be read of it afterwards.

use std::path::Path;

use nix::sys::signal::Signal::SIGKILL;
use ttlog_format::salvage::{Entry, Recording, What as Happened};
use ttlog_format::value::Value;
use ttlog_reader::Opened;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::{Adapter, Plan, Victim, What, check};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

fn events(recording: &Recording) -> impl Iterator<Item = &Entry> {
    recording
        .entries
        .iter()
        .filter(|entry| entry.what == Happened::Event)
}

fn field(recording: &Recording, entry: &Entry, name: &str) -> Option<Value> {
    let named = check::named(recording, entry.site, &entry.fields);
    named
        .into_iter()
        .find_map(|(field, value)| (field == name).then_some(value))
}

fn message(recording: &Recording, entry: &Entry) -> String {
    let message = field(recording, entry, "message");
    let text = message.as_ref().and_then(Value::text);
    text.map_or(String::new(), |text| {
        String::from_utf8_lossy(&text.bytes).into_owned()
    })
}

#[track_caller]
fn is_whole(opened: &Opened, verdict: &str) {
    check::whole(&opened.recording)
        .and_then(|()| check::verdict(opened, verdict))
        .unwrap_or_else(|violation| panic!("{violation}"));
}

/// Runs a victim that prints `done` and waits, and reads what it leaves when killed.
fn killed_when_done(plan: &Plan) -> Opened {
    let mut victim = Victim::start(VICTIM, plan);
    victim.until("done");
    victim.dies_by(SIGKILL);
    let opened = victim.recording();
    is_whole(&opened, "killed");
    opened
}

#[test]
fn the_last_words_of_a_quiet_thread_survive_two_million_events_of_another() {
    for adapter in ADAPTERS {
        let plan = Plan::new(What::LastWords)
            .adapter(adapter)
            .events(2_000_000);
        let recording = killed_when_done(&plan).recording;
        assert_eq!(recording.ledger.counts.written, 2_000_001);

        let quiet = recording
            .threads
            .iter()
            .position(|thread| thread.name == "quiet");
        let quiet = quiet.expect("the quiet thread");
        let said: Vec<_> = events(&recording)
            .filter(|e| e.thread as usize == quiet)
            .collect();
        let [last] = said.as_slice() else {
            panic!("one event, not {said:?}")
        };
        assert_eq!(message(&recording, last), "the last words");
        assert_eq!(recording.threads[quiet].counts.overwritten, 0);

        for innermost in [last.span, recording.threads[quiet].stack.last().copied()] {
            let context = recording.context(innermost);
            let [(_, request)] = context.as_slice() else {
                panic!("one span, not {context:?}")
            };
            assert!(request.open, "{request:?}");
            assert_eq!(recording.sites[&request.site].name, "request");
            assert_eq!(
                check::span_fields(&recording, request),
                [("id", Value::I64(7))]
            );
        }
    }
}

#[test]
fn each_of_two_thousand_live_threads_is_heard_in_ten_mebibytes() {
    for adapter in ADAPTERS {
        let plan = Plan::new(What::Crowd)
            .adapter(adapter)
            .threads(2000)
            .capacity_mib(10);
        let recording = killed_when_done(&plan).recording;
        assert_eq!(recording.threads.len(), 2000);
        assert_eq!(recording.ledger.counts.written, 6000);
        assert_eq!(recording.ledger.counts.readable, 6000);
        for thread in &recording.threads {
            assert_eq!(thread.counts.readable, 3, "{thread:?}");
        }
    }
}

/// Threads that come and go, each saying so many things; the growth of the process,
/// in KiB, after the first two thousand.
fn churn(adapter: Adapter, threads: u64, events: u64) -> u64 {
    let plan = Plan::new(What::Churn).adapter(adapter).threads(threads);
    let mut victim = Victim::start(VICTIM, &plan.events(events));
    let resident =
        |victim: &mut Victim| -> u64 { victim.until("resident").parse().expect("a number") };
    let warm = resident(&mut victim);
    let size = |victim: &Victim| std::fs::metadata(victim.path()).expect("there").len();
    let early = size(&victim);
    let late = resident(&mut victim);
    assert!(victim.ends().success());
    assert_eq!(size(&victim), early);
    let opened = victim.recording();
    is_whole(&opened, "ended");
    let counts = opened.recording.ledger.counts;
    assert_eq!(counts.written, threads * events, "{adapter:?}: {counts:?}");
    late.saturating_sub(warm)
}

#[test]
fn twenty_thousand_short_lived_threads_leave_no_growth_and_an_exact_account() {
    for adapter in ADAPTERS {
        let growth = churn(adapter, 20_000, 3);
        assert!(growth <= 1024, "{adapter:?}: by {growth} KiB");
    }
}

#[test]
fn threads_that_leave_several_blocks_behind_are_counted_once() {
    for adapter in ADAPTERS {
        churn(adapter, 4000, 150);
    }
}

/// By the layer, a span in a destructor would end the process: that is the Registry's.
#[test]
fn what_destructors_say_when_their_thread_ends_is_recorded() {
    let mut victim = Victim::start(VICTIM, &Plan::new(What::Destructors).threads(50));
    assert!(victim.ends().success());
    let opened = victim.recording();
    is_whole(&opened, "ended");
    let mut said = std::collections::BTreeMap::new();
    for event in events(&opened.recording) {
        let spans = opened.recording.context(event.span).len();
        let text = message(&opened.recording, event);
        *said.entry((text, spans)).or_insert(0) += 1;
    }
    let said: Vec<_> = said
        .iter()
        .map(|((text, spans), n)| (text.as_str(), *spans, *n))
        .collect();
    let expected = [
        ("alive", 0, 50),
        ("of a key of pthreads", 0, 50),
        ("of one from after its first event", 1, 50),
        ("of one from before its first event", 1, 50),
    ];
    assert_eq!(said, expected);
}

#[test]
fn threads_that_end_without_their_destructors_give_their_blocks_back() {
    let plan = Plan::new(What::Vanish).threads(2000).capacity_mib(1);
    let mut victim = Victim::start(VICTIM, &plan);
    assert!(victim.ends().success());
    let opened = victim.recording();
    is_whole(&opened, "ended");
    assert_eq!(opened.recording.ledger.counts.written, 6001);
    let last = events(&opened.recording).last().expect("an event");
    assert_eq!(message(&opened.recording, last), "still heard");
}

#[test]
fn who_returns_from_main_ended() {
    for adapter in ADAPTERS {
        let mut victim = Victim::start(VICTIM, &Plan::new(What::Fill).adapter(adapter).events(10));
        assert_eq!(victim.ends().code(), Some(0));
        let opened = victim.recording();
        is_whole(&opened, "ended");
        assert_eq!(opened.recording.ledger.counts.readable, 10);
    }
}

#[test]
fn who_exits_with_three_ended_and_still_exits_with_three() {
    for adapter in ADAPTERS {
        let mut victim = Victim::start(VICTIM, &Plan::new(What::Exit).adapter(adapter));
        assert_eq!(victim.ends().code(), Some(3));
        let opened = victim.recording();
        is_whole(&opened, "ended");
        let said: Vec<_> = events(&opened.recording)
            .map(|e| message(&opened.recording, e))
            .collect();
        assert_eq!(said, ["before the exit"]);
    }
}

#[test]
fn who_runs_is_alive_and_then_killed() {
    let mut victim = Victim::start(VICTIM, &Plan::new(What::Wait));
    victim.until("waiting");
    is_whole(&victim.recording(), "alive");
    victim.dies_by(SIGKILL);
    is_whole(&victim.recording(), "killed");
}

#[test]
fn who_runs_and_says_much_is_read_while_alive() {
    let mut victim = Victim::start(VICTIM, &Plan::new(What::Tell).threads(2));
    victim.until("began");
    for _ in 0..20 {
        let opened = victim.recording();
        assert_eq!(opened.verdict.kind.to_string(), "alive");
        let counts = opened.recording.ledger.counts;
        assert!(check::adds_up(&counts), "{:?}", opened.recording.ledger);
        assert!(counts.readable > 0);
    }
    victim.dies_by(SIGKILL);
}

#[test]
fn a_second_init_is_an_error_and_leaves_no_file() {
    for adapter in ADAPTERS {
        let mut victim = Victim::start(VICTIM, &Plan::new(What::SecondInit).adapter(adapter));
        let said = victim.says();
        assert!(said.starts_with("error "), "{said}");
        assert!(victim.ends().success());
        let opened = victim.recording();
        is_whole(&opened, "ended");
        let said: Vec<_> = events(&opened.recording)
            .map(|e| message(&opened.recording, e))
            .collect();
        assert_eq!(said, ["heard by the first"]);
        assert_eq!(victim.files(), [opened.path.as_path()]);
    }
}

#[test]
fn spans_that_outnumber_the_slots_are_context_all_the_same_and_leave_none_taken() {
    const SPANS: u64 = 500;
    const SLOTS: u64 = 8;
    for adapter in ADAPTERS {
        let plan = Plan::new(What::Spans).adapter(adapter).events(SPANS);
        let recording = killed_when_done(&plan.span_slots(SLOTS as usize)).recording;
        let mut said = events(&recording);
        for number in 0..SPANS {
            let event = said.next().expect("an event");
            assert_eq!(field(&recording, event, "number"), Some(Value::U64(number)));
            let context = recording.context(event.span);
            let names: Vec<_> = context
                .iter()
                .map(|(_, span)| recording.sites[&span.site].name.as_str())
                .collect();
            assert_eq!(names, ["request", "query"], "{adapter:?} {number}");
            for (_, span) in context {
                let fields = check::span_fields(&recording, span);
                assert_eq!(fields, [("number", Value::U64(number))]);
            }
        }
        assert!(said.next().is_some() && said.next().is_none());
        // With all slots taken by requests, no query gets one.
        assert_eq!(recording.ledger.spans_without_slot, 2 * SPANS - SLOTS);
        let open = recording.spans.values().filter(|span| span.open);
        let open: Vec<_> = open
            .map(|span| recording.sites[&span.site].name.as_str())
            .collect();
        assert_eq!(open, ["last"], "{adapter:?}");
    }
}

#[test]
fn a_forked_child_writes_nothing_into_its_parents_recording() {
    for adapter in ADAPTERS {
        let mut victim = Victim::start(VICTIM, &Plan::new(What::Fork).adapter(adapter));
        for _ in 0..2 {
            let child = victim.until("child");
            assert!(
                child.contains("Exited") && child.contains(", 0)"),
                "{child}"
            );
        }
        assert_eq!(victim.says(), "same", "{adapter:?}");
        assert!(victim.ends().success());
        let opened = victim.files().into_iter().map(|path| {
            let opened = ttlog_reader::open(&path).expect("a recording");
            is_whole(&opened, "ended");
            opened
        });
        let parent = victim.pid().as_raw() as u32;
        let (parents, childs): (Vec<_>, Vec<_>) =
            opened.partition(|opened| opened.recording.header.pid == parent);
        assert_eq!(
            said_in(&parents[0].recording),
            [
                ("before the forks".into(), 1),
                ("after the forks".into(), 1)
            ]
        );
        let [child] = childs.as_slice() else {
            panic!("of fork's child and not of clone's: {}", childs.len())
        };
        assert_eq!(child.recording.header.forked_from, parent);
        assert_eq!(
            said_in(&child.recording),
            [
                ("in the child".into(), 0),
                ("in the child's span".into(), 1)
            ]
        );
    }
}

/// The messages, and in how many spans each was said.
fn said_in(recording: &Recording) -> Vec<(String, usize)> {
    let said = events(recording).map(|event| {
        let depth = recording.context(event.span).len();
        (message(recording, event), depth)
    });
    said.collect()
}

#[test]
fn ten_mebibytes_keep_eighty_thousand_events_with_a_message_and_three_fields() {
    let plan = Plan::new(What::Fill).capacity_mib(10).events(300_000);
    let mut victim = Victim::start(VICTIM, &plan);
    assert!(victim.ends().success());
    let opened = victim.recording();
    is_whole(&opened, "ended");
    let counts = opened.recording.ledger.counts;
    assert_eq!(counts.written, 300_000);
    assert!(counts.readable >= 80_000, "{counts:?}");
    let numbers: Vec<_> = events(&opened.recording)
        .map(|event| field(&opened.recording, event, "user_id"))
        .collect();
    let expected = counts.overwritten..300_000;
    assert_eq!(
        numbers,
        expected
            .map(|number| Some(Value::U64(number)))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_copy_reads_as_the_recording_does() {
    let mut victim = Victim::start(VICTIM, &Plan::new(What::Fill).events(1000));
    assert!(victim.ends().success());
    let opened = victim.recording();
    let copy = opened.path.with_file_name("copy");
    std::fs::copy(&opened.path, &copy).expect("a copy");
    let copied = ttlog_reader::open(Path::new(&copy)).expect("a recording");
    assert_eq!(copied.recording.ledger, opened.recording.ledger);
    assert_eq!(copied.verdict.kind, opened.verdict.kind);
}
