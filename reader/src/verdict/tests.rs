//! How processes ended, and what is said of it.

use super::*;
use crate::ending::NOUNWIND;
use crate::fixture;
use crate::signal::SIGABRT;
use ttlog_format::cause::Sender;
use ttlog_format::verdict::Who;

const PID: u32 = 4711;
const WORKER: u32 = 4712;
const SECOND: u64 = 1_000_000_000;
const WHEN: &str = "2023-11-14T22:13:20.000000000Z";

fn now(life: Life) -> Now {
    Now {
        life,
        boot_id: Some(fixture::BOOT_ID.into()),
        oom_kills: Some("its cgroup counted one OOM kill since".into()),
    }
}

fn runs() -> Life {
    Life::Runs("process 4711 is running".into())
}

fn gone() -> Life {
    Life::Gone("process 4711 is gone".into())
}

fn unseen() -> Life {
    Life::Unknown("there is no /proc".into())
}

fn with(causes: impl IntoIterator<Item = Cause>) -> Recording {
    let causes = causes.into_iter().zip(0..);
    let causes = causes.map(|(cause, number)| Cause { number, ..cause });
    Recording {
        causes: causes.collect(),
        ..fixture::recording()
    }
}

fn judged(causes: impl IntoIterator<Item = Cause>) -> Verdict {
    judge(&with(causes), &now(gone()))
}

fn cause(kind: cause::Kind) -> Cause {
    Cause {
        kind,
        thread_id: WORKER,
        wall_ns: fixture::at(0),
        ticks: 100,
        ..Cause::default()
    }
}

fn exit(status: Option<i32>) -> Cause {
    Cause {
        status,
        ..cause(cause::Kind::Exit)
    }
}

fn fault() -> Cause {
    Cause {
        signal: 11,
        code: 1,
        address: Some(0x10),
        ..cause(cause::Kind::Signal)
    }
}

fn sent(signal: i32, pid: u32) -> Cause {
    Cause {
        signal,
        sender: Some(Sender { pid, uid: 1000 }),
        ..cause(cause::Kind::Signal)
    }
}

fn abort() -> Cause {
    Cause {
        code: -6,
        ..sent(SIGABRT, PID)
    }
}

fn terminate() -> Cause {
    Cause {
        signal: 15,
        sender: Some(Sender { pid: 1, uid: 0 }),
        ..cause(cause::Kind::Terminate)
    }
}

fn panic(thread_id: u32, message: &str) -> Incident {
    Incident {
        thread_id,
        message: message.into(),
        location: "src/main.rs:7:5".into(),
        wall_ns: fixture::at(0),
        ..Incident::default()
    }
}

fn says(verdict: &Verdict, words: &str) -> bool {
    verdict.evidence.iter().any(|clause| clause.contains(words))
}

#[test]
fn who_has_executed_another_program_has_ended_unless_a_cause_says_more() {
    let executed = || Life::Executed("it runs another".into());
    let verdict = judge(&with([]), &now(executed()));
    assert_eq!(verdict.kind, Kind::Ended);
    assert!(says(&verdict, "no cause") && says(&verdict, "it runs another"));
    let verdict = judge(&with([fault()]), &now(executed()));
    assert_eq!(verdict.kind, Kind::Signal);
}

#[test]
fn that_nothing_is_left_of_a_cause_tells_nothing() {
    let mut recording = with([]);
    for (damaged, kind) in [(0, Kind::Killed), (1, Kind::Unknown), (8, Kind::Unknown)] {
        recording.ledger.damaged_causes = damaged;
        let verdict = judge(&recording, &now(gone()));
        assert_eq!(verdict.kind, kind, "{damaged}");
        let lost = says(&verdict, "holds causes is damaged or missing");
        assert_eq!(lost, kind == Kind::Unknown);
    }
    assert_eq!(judge(&recording, &now(runs())).kind, Kind::Alive);
    let mut recording = with([fault()]);
    recording.ledger.damaged_causes = 1;
    let verdict = judge(&recording, &now(gone()));
    assert_eq!(verdict.kind, Kind::Signal);
    assert!(says(&verdict, "it may have held a later one"));
}

#[test]
fn gone_without_a_cause_is_killed() {
    let verdict = judged([]);
    assert_eq!(verdict.kind, Kind::Killed);
    let evidence = [
        "no cause was written",
        "process 4711 is gone",
        "boot id unchanged",
        "its cgroup counted one OOM kill since",
    ];
    assert_eq!(verdict.evidence, evidence);
}

#[test]
fn of_oom_kills_is_told_for_the_killed_alone() {
    assert!(!says(&judged([exit(Some(0))]), "OOM"));
    assert!(!says(&judge(&with([]), &now(runs())), "OOM"));
}

#[test]
fn who_has_begun_to_exit_and_still_runs_is_alive() {
    let alive = judge(&with([exit(None)]), &now(runs()));
    assert_eq!(alive.kind, Kind::Alive);
    let began = format!("the process began to return from main or exit, at {WHEN}");
    assert_eq!(alive.evidence[0], began);
    let ended = judged([exit(None)]);
    assert_eq!(ended.kind, Kind::Ended);
    let by = format!("the process ended by return from main or exit, at {WHEN}");
    assert_eq!(ended.evidence[0], by);
}

#[test]
fn the_exit_status_is_told_where_it_is_known() {
    let verdict = judged([exit(Some(3))]);
    assert_eq!(verdict.kind, Kind::Ended);
    assert!(says(&verdict, "exit with status 3, at"), "{verdict:?}");
}

#[test]
fn no_record_after_it_contradicts_an_exit() {
    let late = Cause {
        own_after_ns: SECOND,
        any_after_ns: 60 * SECOND,
        ..exit(Some(0))
    };
    assert_eq!(judged([late]).kind, Kind::Ended);
}

#[test]
fn nobody_lives_through_a_reboot() {
    let judged = |causes: Vec<Cause>, life| {
        let now = Now {
            boot_id: Some("other".into()),
            ..now(life)
        };
        judge(&with(causes), &now)
    };
    let rebooted = judged(vec![], runs());
    assert_eq!(rebooted.kind, Kind::Rebooted);
    assert!(!says(&rebooted, "is running"), "that would be chance");
    assert!(!says(&rebooted, "OOM"));
    assert_eq!(judged(vec![], unseen()).kind, Kind::Rebooted);
    assert_eq!(judged(vec![exit(None)], runs()).kind, Kind::Ended);
}

#[test]
fn what_could_not_be_known_is_said() {
    let blind = Now {
        boot_id: None,
        ..now(unseen())
    };
    let verdict = judge(&with([]), &blind);
    assert_eq!(verdict.kind, Kind::Unknown);
    assert!(says(&verdict, "there is no /proc"));
    assert!(says(&verdict, "could not be seen"));
    assert_eq!(judge(&with([fault()]), &blind).kind, Kind::Signal);
    let runs = Now {
        life: runs(),
        ..blind
    };
    assert_eq!(judge(&with([]), &runs).kind, Kind::Alive);
}

#[test]
fn a_fault_that_nothing_contradicts_is_the_verdict() {
    let verdict = judged([fault()]);
    assert_eq!(verdict.kind, Kind::Signal);
    assert_eq!((verdict.signal, verdict.address), (Some(11), Some(0x10)));
    let name = "worker-1".into();
    assert_eq!(verdict.thread, Some(Who { id: WORKER, name }));
    let clause = format!(
        r#"SIGSEGV (address not mapped) at address 0x10 in thread "worker-1" (4712) at {WHEN}"#
    );
    assert_eq!(verdict.evidence[0], clause);
}

#[test]
fn who_goes_on_recording_has_not_died_of_it() {
    let survived = Cause {
        own_after_ns: 3_200_000_000,
        ..fault()
    };
    let verdict = judged([survived]);
    assert_eq!((verdict.kind, verdict.signal), (Kind::Killed, None));
    assert!(says(&verdict, "that it has not survived"));
    let words = "was survived: the thread recorded for another 3.2 s";
    assert!(says(&verdict, words), "{verdict:?}");
}

#[test]
fn other_threads_may_record_while_the_process_dies_and_not_for_long() {
    let core_written = Cause {
        any_after_ns: 10 * SECOND,
        ..fault()
    };
    assert_eq!(judged([core_written]).kind, Kind::Signal);
    let survived = Cause {
        any_after_ns: 10 * SECOND + 1,
        ..fault()
    };
    let verdict = judged([survived]);
    assert_eq!(verdict.kind, Kind::Killed);
    assert!(says(
        &verdict,
        "survived: threads recorded for another 10.0 s"
    ));
}

#[test]
fn a_signal_whose_handler_returned_was_survived_even_if_nobody_spoke_since() {
    let survived = |cause| Cause {
        survived_ticks: Some(5),
        ..cause
    };
    let verdict = judged([survived(sent(11, 77))]);
    assert_eq!(verdict.kind, Kind::Killed);
    assert!(says(&verdict, "SIGSEGV, sent by process 77 of user 1000"));
    assert!(says(&verdict, "the host's handler returned"));
    assert_eq!(judged([sent(11, 77)]).kind, Kind::Signal);
    assert_eq!(judged([survived(fault())]).kind, Kind::Killed);
    assert_eq!(judged([fault()]).kind, Kind::Signal);
}

#[test]
fn an_earlier_cause_counts_where_the_later_was_survived() {
    let survived = Cause {
        own_after_ns: SECOND,
        ..fault()
    };
    let verdict = judged([terminate(), survived]);
    assert_eq!((verdict.kind, verdict.signal), (Kind::Terminated, Some(15)));
    assert!(says(&verdict, "SIGSEGV") && says(&verdict, "was survived"));
    let verdict = judged([fault(), exit(Some(0))]);
    assert_eq!(verdict.kind, Kind::Ended);
    assert!(says(&verdict, "before that, SIGSEGV"), "{verdict:?}");
}

#[test]
fn who_was_asked_to_terminate_and_did_is_terminated() {
    let verdict = judged([terminate()]);
    assert_eq!((verdict.kind, verdict.signal), (Kind::Terminated, Some(15)));
    let clause = format!("SIGTERM, sent by process 1 of user 0, asked it to terminate at {WHEN}");
    assert_eq!(verdict.evidence[0], clause);
}

#[test]
fn who_recorded_long_after_it_was_asked_has_not_terminated() {
    let went_on = |any_after_ns| Cause {
        any_after_ns,
        own_after_ns: any_after_ns,
        ..terminate()
    };
    assert_eq!(judged([went_on(9 * SECOND)]).kind, Kind::Terminated);
    assert_eq!(judged([went_on(11 * SECOND)]).kind, Kind::Killed);
}

#[test]
fn whoever_runs_is_alive_whatever_struck_it() {
    let verdict = judge(&with([fault()]), &now(runs()));
    assert_eq!((verdict.kind, verdict.signal), (Kind::Alive, None));
    assert!(says(&verdict, "the process still runs"));
}

#[test]
fn a_panic_in_main_and_status_101_is_panicked() {
    let mut recording = with([exit(Some(101))]);
    recording.incidents = vec![panic(PID, "no room"), panic(WORKER, "caught")];
    let verdict = judge(&recording, &now(gone()));
    assert_eq!(verdict.kind, Kind::Panicked);
    assert_eq!(verdict.message.as_deref(), Some("no room"));
    assert_eq!(verdict.location.as_deref(), Some("src/main.rs:7:5"));
    let name = "main".into();
    assert_eq!(verdict.thread, Some(Who { id: PID, name }));
    assert!(says(&verdict, "2 panics recorded"), "{verdict:?}");
}

#[test]
fn a_caught_panic_is_no_death() {
    let judged = |status, thread| {
        let mut recording = with([exit(status)]);
        recording.incidents = vec![panic(thread, "no room")];
        judge(&recording, &now(gone()))
    };
    for (status, thread) in [(Some(0), PID), (Some(101), WORKER), (None, WORKER)] {
        let verdict = judged(status, thread);
        assert_eq!((verdict.kind, &verdict.message), (Kind::Ended, &None));
        assert!(!says(&verdict, "may have"));
    }
    let verdict = judged(None, PID);
    assert_eq!(verdict.kind, Kind::Ended);
    assert!(says(&verdict, "it may have ended by that"), "{verdict:?}");
}

#[test]
fn an_abort_while_panicking_is_panicked() {
    let panicking = Cause {
        panicking: true,
        ..abort()
    };
    let mut recording = with([panicking]);
    recording.incidents = vec![panic(WORKER, "first"), panic(WORKER, "last")];
    let verdict = judge(&recording, &now(gone()));
    assert_eq!((verdict.kind, verdict.signal), (Kind::Panicked, Some(6)));
    assert_eq!(verdict.message.as_deref(), Some("last"));
    recording.incidents.clear();
    let verdict = judge(&recording, &now(gone()));
    assert_eq!((verdict.kind, verdict.message), (Kind::Panicked, None));
    assert_eq!(verdict.thread.unwrap().id, WORKER);
    recording.causes[0].panicking = false;
    recording.incidents = vec![panic(WORKER, "caught")];
    let verdict = judge(&recording, &now(gone()));
    assert_eq!((verdict.kind, verdict.message), (Kind::Signal, None));
}

#[test]
fn what_std_says_on_top_of_a_panic_is_not_its_message() {
    let mut recording = with([Cause {
        panicking: true,
        ..abort()
    }]);
    for words in NOUNWIND {
        recording.incidents = vec![
            panic(WORKER, "first"),
            panic(PID, "another's"),
            panic(WORKER, words),
        ];
        let verdict = judge(&recording, &now(gone()));
        assert_eq!(verdict.message.as_deref(), Some("first"));
        recording.incidents.remove(0);
        let verdict = judge(&recording, &now(gone()));
        assert_eq!(verdict.message.as_deref(), Some(words), "nothing earlier");
    }
}

#[test]
fn a_panic_after_the_cause_has_not_brought_it() {
    let mut recording = with([Cause {
        panicking: true,
        ..abort()
    }]);
    let later = Incident {
        ticks: 101,
        ..panic(WORKER, "later")
    };
    recording.incidents = vec![panic(WORKER, "before"), later];
    let verdict = judge(&recording, &now(gone()));
    assert_eq!(verdict.message.as_deref(), Some("before"));
}

#[test]
fn a_handler_that_aborts_because_of_a_fault_leaves_the_faults_address() {
    let chained = Cause {
        chained: true,
        overflow: true,
        ..fault()
    };
    let verdict = judged([chained, abort()]);
    assert_eq!(verdict.kind, Kind::Signal);
    assert_eq!((verdict.signal, verdict.address), (Some(6), Some(0x10)));
    assert!(says(&verdict, "SIGABRT, sent by itself"), "{verdict:?}");
    assert!(says(&verdict, "aborted because of SIGSEGV"), "{verdict:?}");
    assert!(says(&verdict, "stack overflow"), "{verdict:?}");
    let plain = Cause {
        overflow: false,
        ..chained
    };
    assert!(!says(&judged([plain, abort()]), "stack overflow"));
}

#[test]
fn an_abort_of_its_own_has_no_address() {
    let chained = Cause {
        chained: true,
        ..fault()
    };
    let elsewhere = Cause {
        thread_id: PID,
        ..chained
    };
    let recovered = Cause {
        own_after_ns: 1,
        ..chained
    };
    let survived = Cause {
        survived_ticks: Some(1),
        ..chained
    };
    for before in [fault(), elsewhere, recovered, survived] {
        let verdict = judged([before, abort()]);
        assert_eq!((verdict.signal, verdict.address), (Some(6), None));
        assert!(!says(&verdict, "because of"), "{verdict:?}");
    }
    let verdict = judged([chained, exit(None), abort()]);
    assert_eq!(verdict.address, None, "not the one right before");
}

#[test]
fn a_stack_overflow_is_named() {
    let verdict = judged([Cause {
        overflow: true,
        ..fault()
    }]);
    assert!(says(&verdict, "it was a stack overflow"));
    assert!(!says(&judged([fault()]), "overflow"));
}

#[test]
fn a_thread_is_named_by_the_last_that_had_its_id_or_by_its_panic() {
    let mut recording = with([]);
    let mut newer = recording.threads[0].clone();
    newer.name = "worker-2".into();
    recording.threads.push(newer);
    assert_eq!(who(&recording, WORKER).name, "worker-2");
    assert_eq!(who(&recording, PID).name, "main");
    assert_eq!(who(&recording, 5).name, "");
    recording.incidents = vec![Incident {
        thread_name: "silent".into(),
        ..panic(5, "")
    }];
    assert_eq!(who(&recording, 5).name, "silent");
}

#[test]
fn incidents_that_are_not_kept_are_counted() {
    let mut recording = with([]);
    let request = Incident {
        kind: incident::Kind::Snapshot,
        ..Incident::default()
    };
    recording.incidents = vec![panic(PID, ""), request];
    recording.ledger.incidents = 12;
    let verdict = judge(&recording, &now(gone()));
    let words = "12 incidents counted, of which 1 panic and 1 snapshot request kept";
    assert!(says(&verdict, words), "{verdict:?}");
}

fn made(by: Maker, why: &str) -> Made {
    Made {
        by,
        why: why.into(),
        wall_ns: fixture::at(0),
        ..Made::default()
    }
}

#[test]
fn how_it_ended_is_carried_by_its_snapshot() {
    let of = |kind| Made {
        verdict: Some(of_kind(kind)),
        ..made(Maker::Reader, "")
    };
    let verdict = carried(&of(Kind::Killed)).unwrap();
    assert_eq!(verdict.kind, Kind::Killed);
    assert!(says(
        &verdict,
        &format!("when this snapshot was made, at {WHEN}")
    ));
    for open in [of(Kind::Alive), of(Kind::Unknown), made(Maker::Process, "")] {
        assert_eq!(carried(&open), None);
    }
}

#[test]
fn what_became_of_it_after_the_snapshot_is_not_guessed() {
    let recording = with([]);
    let made = made(Maker::Process, "SIGUSR1");
    let verdict = left_open(&recording, &made, &now(gone()));
    assert_eq!(verdict.kind, Kind::Unknown);
    let clause = format!(
        "it lived when it made this snapshot at {WHEN}, because of SIGUSR1; \
         what became of it since is not in here"
    );
    assert_eq!(
        verdict.evidence,
        [&*clause, "process 4711 is gone", "boot id unchanged"]
    );
    let alive = left_open(&recording, &made, &now(runs()));
    assert_eq!(alive.kind, Kind::Alive);
    assert!(!says(&alive, "not in here"));
}

#[test]
fn the_snapshot_of_a_panic_tells_of_it_and_not_that_it_was_the_end() {
    let mut recording = with([]);
    recording.incidents = vec![panic(WORKER, "no room")];
    let verdict = left_open(&recording, &made(Maker::Process, "panic"), &now(gone()));
    assert_eq!(verdict.kind, Kind::Unknown);
    assert_eq!(verdict.message.as_deref(), Some("no room"));
    assert_eq!(verdict.thread.as_ref().unwrap().id, WORKER);
    assert!(says(
        &verdict,
        "it was panicking when it made this snapshot"
    ));

    let asked = left_open(&recording, &made(Maker::Process, "asked"), &now(gone()));
    assert_eq!(asked.message, None);
    let runs = left_open(&recording, &made(Maker::Process, "panic"), &now(runs()));
    assert_eq!((runs.kind, runs.message), (Kind::Alive, None));
}

#[test]
fn a_readers_snapshot_says_what_its_reader_saw() {
    let seen = Made {
        verdict: Some(of_kind(Kind::Alive)),
        ..made(Maker::Reader, "export")
    };
    let verdict = left_open(&with([]), &seen, &now(gone()));
    assert!(says(&verdict, "it lived when this snapshot was made"));
    let verdict = left_open(&with([]), &made(Maker::Reader, ""), &now(gone()));
    assert!(says(&verdict, "could not be seen; what became"));
    assert_eq!(verdict.kind, Kind::Unknown);
}
