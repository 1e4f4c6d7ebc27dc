//! However a program ends, it ends as it would have without a recorder, and what it
//! said and how it ended can be read.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ttlog_format::incident::{self, Incident};
use ttlog_reader::{Kind, Opened};
use ttlog_tests::death::{Dead, Death, WORKERS};
use ttlog_tests::{Tally, Violation, build, check, tally};

const MORTAL: &str = env!("CARGO_BIN_EXE_mortal");

/// In how many ways, and how often in each unless more is asked for.
const TIMES: u64 = 5;

const LANES: usize = 2;

/// The programs: as usual, and one that aborts on a panic.
struct Programs {
    usual: PathBuf,
    aborts: PathBuf,
}

impl Programs {
    fn of(&self, death: Death) -> &Path {
        if death == Death::PanicAbort {
            &self.aborts
        } else {
            &self.usual
        }
    }
}

fn programs() -> Programs {
    Programs {
        usual: MORTAL.into(),
        aborts: build::aborting(MORTAL, "mortal"),
    }
}

/// What whoever waits for a process sees of its end.
fn seen(status: ExitStatus) -> (Option<i32>, Option<i32>, bool) {
    (status.code(), status.signal(), status.core_dumped())
}

/// Dies so many times in each way; what was not as it should have been.
fn die(programs: &Programs, deaths: &[Death], times: u64, died: &Tally) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(&death) = deaths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = die_in_one_way(programs.of(death), death, times, died);
                    wrong.lock().expect("no panic").extend(found);
                }
            });
        }
    });
    wrong.into_inner().expect("no panic")
}

fn die_in_one_way(program: &Path, death: Death, times: u64, died: &Tally) -> Option<String> {
    let expected = seen(Dead::of(program, death, 0, false).status);
    (0..times).find_map(|run| {
        let dead = Dead::of(program, death, run, true);
        let judged = judge(&dead, death, expected);
        died.add(u64::from(judged.is_ok()));
        Some(format!("{death:?}, run {run}: {}", judged.err()?))
    })
}

fn judge(
    dead: &Dead,
    death: Death,
    expected: (Option<i32>, Option<i32>, bool),
) -> Result<(), Violation> {
    let hold = |holds: bool, words: String| {
        if holds {
            Ok(())
        } else {
            Err(Violation::new(words))
        }
    };
    let status = seen(dead.status);
    hold(
        status == expected,
        format!("ended by {status:?}, without a recorder by {expected:?}"),
    )?;
    let opened = dead.opened()?;
    let workers = WORKERS + u64::from(death == Death::PanicInThread);
    check::story(&opened.recording, &dead.acks(), workers)?;
    let counts = opened.recording.ledger.counts;
    hold(counts.overwritten == 0, format!("all has room: {counts:?}"))?;
    hold(
        is_right(&opened, death),
        format!("the verdict is {:?}", opened.verdict),
    )?;
    panics_are_there(dead, &opened, death)
}

/// Where Rust's alternate stack has no room for another handler, an overflow's cause
/// is the fault, and not the abort that follows from it.
fn is_right(opened: &Opened, death: Death) -> bool {
    let verdict = (opened.verdict.kind, opened.verdict.signal);
    let overflows = matches!(death, Death::OverflowInMain | Death::OverflowInThread);
    let told = opened.recording.causes.iter().any(|cause| cause.overflow);
    let cramped = (Kind::Signal, Some(nix::libc::SIGSEGV));
    told == overflows && (verdict == death.verdict() || (overflows && verdict == cramped))
}

fn panics_are_there(dead: &Dead, opened: &Opened, death: Death) -> Result<(), Violation> {
    let incidents = &opened.recording.incidents;
    let panics = incidents
        .iter()
        .filter(|incident| incident.kind == incident::Kind::Panic);
    let panics: Vec<&Incident> = panics.collect();
    let messages: Vec<&str> = panics.iter().map(|panic| panic.message.as_str()).collect();
    let whole = panics.iter().all(|panic| {
        panic.location.contains("mortal.rs:") || panic.location.contains("/core/src/panicking.rs")
    });
    let traced = panics
        .iter()
        .all(|panic| !panic.frames.is_empty() && !panic.modules.is_empty());
    let named = panics.iter().all(|panic| {
        // Lines are known where there is debug information, as a release has none.
        let own = |symbol: &String| {
            let is_named = !cfg!(debug_assertions) && symbol.contains("mortal::");
            is_named || symbol.contains("mortal.rs:")
        };
        panic.symbols.iter().any(own) || panic.message.contains("cleanup")
    });
    if messages != death.panics() || !whole || !traced || !named {
        return Err(Violation::new(format!("the panics are {panics:#?}")));
    }
    let snapshots = dead.files("bin");
    let expected = death.panics().len() + usize::from(death == Death::TermAsked);
    let whole = snapshots
        .iter()
        .filter(|path| ttlog_reader::open(path).is_ok())
        .count();
    if snapshots.len() != expected || whole != expected {
        let words = format!("{expected} snapshots, not {snapshots:?}, {whole} of them whole");
        return Err(Violation::new(words));
    }
    Ok(())
}

/// Says so where not even a program without a recorder leaves a core.
fn look_for_a_core() {
    let fault = Death::Fault(nix::libc::SIGSEGV);
    let dead = Dead::of(Path::new(MORTAL), fault, 0, false);
    if !dead.status.core_dumped() {
        eprintln!("skipped: nobody's core is written here, and so none is compared");
    }
}

#[test]
fn every_death_is_what_it_would_have_been_and_is_told() {
    look_for_a_core();
    let ways = Death::all();
    let deaths = Tally::of("deaths", TIMES * ways.len() as u64);
    let times = deaths.wanted().div_ceil(ways.len() as u64);
    let wrong = die(&programs(), &ways, times, &deaths);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    deaths.note(&format!("in {} ways", ways.len()));
}

/// The control: a recorder that ends the process itself is seen by how it ended.
#[test]
fn a_handler_that_ends_the_process_is_found() {
    let seeded = build::seeded(MORTAL, "mortal");
    for death in [Death::Fault(nix::libc::SIGFPE), Death::Abort] {
        let expected = seen(Dead::of(&seeded, death, 0, false).status);
        let mut program = Command::new(&seeded);
        let dead = Dead::by(program.env(build::BUG, "handler-ends"), death, 0, true);
        let words = judge(&dead, death, expected)
            .expect_err("a bug")
            .to_string();
        assert!(words.starts_with("ended by (Some(1), None"), "{words}");
        tally::found("deaths", format!("{death:?}: {words}"));
    }
}

#[test]
fn a_panic_is_told_with_its_spans_and_its_place() {
    let dead = Dead::of(Path::new(MORTAL), Death::PanicInThread, 0, true);
    let opened = dead.opened().unwrap();
    let [panic] = opened.recording.incidents.as_slice() else {
        panic!("one incident: {:?}", opened.recording.incidents)
    };
    assert_eq!(panic.thread_name, "worker-4");
    let spans: Vec<_> = panic
        .stack
        .iter()
        .filter_map(|id| opened.recording.spans.get(id))
        .map(|span| opened.recording.sites[&span.site].name.as_str())
        .collect();
    assert_eq!(spans, ["job"]);
    assert!(
        panic
            .symbols
            .iter()
            .any(|symbol| symbol.contains("mortal.rs:")),
        "{:?}",
        panic.symbols
    );
}
