//! What was in flight: thousands of suspended tasks, all of them there after the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGKILL;
use serde_json::{Value, json};
use ttlog_format::salvage::What as Happened;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::{Adapter, Plan, Victim, Violation, What, check, reader};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tasks");
const TASKS: u64 = 3000;

/// What lies between the openings and everything else.
const PAUSE: Duration = Duration::from_millis(50);

/// What the reader tells of a program that was killed with tasks in flight.
struct Told {
    postmortem: Value,
    /// Longer than the program lived.
    life: Duration,
}

/// Kills the program when its tasks are suspended and their beginnings overwritten.
fn killed_in_flight(adapter: Adapter, span_slots: usize) -> Told {
    let plan = Plan::new(What::Wait).adapter(adapter).events(TASKS);
    let began = Instant::now();
    let mut program = Victim::start(PROGRAM, &plan.span_slots(span_slots));
    program.until("done");
    program.dies_by(SIGKILL);
    let opened = program.recording();
    check::whole(&opened.recording).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(opened.recording.ledger.counts.overwritten > 0);
    for entry in &opened.recording.entries {
        assert_eq!(entry.what, Happened::Event, "a beginning is left");
        assert_eq!(entry.span, None);
    }
    let life = began.elapsed();
    let mut told = reader::json(PROGRAM, &["postmortem"], &program.path());
    assert_eq!(told.len(), 1);
    Told {
        postmortem: told.remove(0),
        life,
    }
}

/// The tasks that are suspended still.
fn suspended() -> impl Iterator<Item = u64> {
    (0..TASKS).filter(|id| id % 6 != 0)
}

fn job(id: u64) -> Value {
    let fields = json!({"id": id, "queue": "payments"});
    json!({"name": "job", "fields": fields, "parents": []})
}

fn step(id: u64) -> Value {
    let name = ["authorise", "capture", "settle"][id as usize % 3];
    let fields = json!({"name": name, "attempt": id % 4, "rows": id * 10});
    json!({"name": "step", "fields": fields, "parents": ["job"]})
}

/// Checks that the idle spans are those of the suspended tasks and no others, as
/// they were opened, and as old as they must be.
fn in_flight(told: &Told) -> Result<(), Violation> {
    let idle = told.postmortem["idle_spans"].as_array();
    let idle = idle.ok_or_else(|| Violation::new("there are no idle spans"))?;
    let mut missing: BTreeMap<String, u64> = BTreeMap::new();
    for id in suspended() {
        *missing.entry(job(id).to_string()).or_default() += 1;
        *missing.entry(step(id).to_string()).or_default() += 1;
    }
    for span in idle {
        let shown = json!({
            "name": span["name"], "fields": span["fields"], "parents": span["parents"],
        });
        match missing.get_mut(&shown.to_string()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => return Err(Violation::new(format!("not in flight: {span}"))),
        }
        is_as_old_as_it_must_be(span, told.life)?;
    }
    let lost: Vec<_> = missing.iter().filter(|(_, count)| **count > 0).collect();
    match lost.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Violation::new(format!(
            "{} are not there: {first:?}",
            lost.len()
        ))),
    }
}

fn is_as_old_as_it_must_be(span: &Value, life: Duration) -> Result<(), Violation> {
    let ago = |key: &str| span[key].as_u64().map(Duration::from_nanos);
    let (Some(opened), Some(entered)) = (ago("opened_ns_ago"), ago("entered_ns_ago")) else {
        return Err(Violation::new(format!(
            "neither opened nor entered: {span}"
        )));
    };
    if opened < PAUSE || opened > life || entered < PAUSE || entered > opened {
        return Err(Violation::new(format!(
            "{life:?} are all there was: {span}"
        )));
    }
    Ok(())
}

#[test]
fn every_suspended_task_is_there_after_the_kill_with_both_its_spans_however_old() {
    for adapter in ADAPTERS {
        let told = killed_in_flight(adapter, 8192);
        in_flight(&told).unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));
        let idle = told.postmortem["idle_spans"]
            .as_array()
            .expect("idle spans");
        assert_eq!(idle.len(), 5000);
        assert_eq!(told.postmortem["verdict"]["kind"], "killed");
        let threads = told.postmortem["threads"].as_array().expect("threads");
        assert_eq!(threads.len(), 1);
        assert_eq!(threads[0]["spans"], json!([]));
    }
}

#[test]
fn tasks_without_a_slot_are_found_missing() {
    for adapter in ADAPTERS {
        let told = killed_in_flight(adapter, 1000);
        let violation = in_flight(&told).expect_err("a thousand slots for five thousand spans");
        assert!(
            violation.to_string().contains("are not there"),
            "{adapter:?}: {violation}"
        );
    }
}

/// The check finds whatever is wrong with a single span of the five thousand.
#[test]
fn one_span_that_is_wrong_is_found() {
    let told = killed_in_flight(Adapter::Own, 8192);
    let fails = |change: &dyn Fn(&mut Vec<Value>), word: &str| {
        let mut postmortem = told.postmortem.clone();
        change(postmortem["idle_spans"].as_array_mut().expect("idle spans"));
        let changed = Told {
            postmortem,
            life: told.life,
        };
        let violation = in_flight(&changed).expect_err(word);
        assert!(violation.to_string().contains(word), "{violation}");
    };
    fails(&|idle| drop(idle.pop()), "are not there");
    fails(&|idle| idle.push(idle[7].clone()), "not in flight");
    fails(&|idle| idle[7]["fields"]["id"] = json!(0), "not in flight");
    fails(
        &|idle| idle[7]["parents"] = json!(["task"]),
        "not in flight",
    );
    fails(&|idle| idle[7]["opened_ns_ago"] = json!(0), "all there was");
    fails(&|idle| idle[7]["entered_ns_ago"] = json!(null), "neither");
}
