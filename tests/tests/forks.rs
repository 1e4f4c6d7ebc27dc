//! Processes that divide: what becomes of a parent's recording and of its children's.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ttlog_reader::{Kind, Opened};
use ttlog_tests::confined::is_root;
use ttlog_tests::daemon::{eventually, opened};
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::played::{Child, messages};
use ttlog_tests::victim::files;
use ttlog_tests::{Plan, Played, Tally, Victim, Violation, What, build, check, tally};

const FORKER: &str = env!("CARGO_BIN_EXE_forker");

/// How many threads tell the story while the storm goes on.
const TELLERS: u64 = 2;

fn plan() -> Plan {
    Plan::new(What::Wait).capacity_mib(1)
}

#[track_caller]
fn played(act: &str, plan: &Plan) -> (Played, Vec<Child>) {
    Played::with_children(FORKER, act, plan)
}

#[track_caller]
fn own(child: &Child) -> &Opened {
    child.opened.as_ref().expect("a recording of its own")
}

/// A storm of so many forks.
fn storm(program: &Path, plan: Plan, forks: u64) -> Result<Played, Violation> {
    let played = Played::of(program, "storm", &plan.events(forks))?;
    for worker in 1..=TELLERS {
        played.told_without_a_gap(worker, None)?;
    }
    let strangers = played
        .events()
        .filter(|event| played.message(event) == "in a child");
    match strangers.count() {
        0 => Ok(played),
        n => Err(Violation::new(format!("{n} of a child's events"))),
    }
}

#[test]
fn forks_by_the_thousand_leave_the_parents_recording_alone_and_have_their_own() {
    let forks = Tally::of("forks", 3000);
    let played = storm(FORKER.as_ref(), plan(), forks.wanted());
    let played = played.unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(played.dropped(), 0);
    assert_eq!((played.number("unwell"), played.number("strange")), (0, 0));
    let children = played.children();
    let children = children.unwrap_or_else(|violation| panic!("{violation}"));
    // Of every hundredth child what it left is kept.
    assert_eq!(children.len() as u64, forks.wanted() / 100);
    for (child, exits) in children.iter().zip([true, false].into_iter().cycle()) {
        let own = own(child);
        assert_eq!(child.said, 100);
        assert_eq!(own.recording.ledger.counts.readable, 100);
        assert_eq!(own.recording.header.forked_from, played.pid());
        let expected = if exits { Kind::Ended } else { Kind::Killed };
        assert_eq!(own.verdict.kind, expected, "{:?}", own.verdict);
        assert!(
            messages(&own.recording)
                .iter()
                .all(|text| text == "in a child")
        );
    }
    forks.add(forks.wanted());
    forks.note(&format!("while the parent said {} events", played.said));
    eprintln!("{} said by the parent", played.said);
}

/// A recorder that goes on writing in a child must not get away with it.
#[test]
fn a_recorder_that_writes_in_a_child_is_found_out() {
    let plan = plan().env(build::BUG, "child-writes");
    let played = storm(&build::seeded(FORKER, "forker"), plan, 400);
    tally::found("forks", played.expect_err("nothing was found"));
}

/// Checks what the act `inherits` leaves of a child, and of its parent.
#[track_caller]
fn has_inherited_nothing_but_handles(played: &Played, child: &Child, records: bool) {
    assert_eq!((child.end.as_str(), child.said), ("exited 0", 5));
    let recording = played.recording();
    assert_eq!(messages(recording), ["before", "after"]);
    let parents: Vec<_> = recording.spans.iter().collect();
    assert_eq!(parents.len(), 2, "{parents:?}");
    let request = recording.spans.values().find(|span| span.fields.len() == 1);
    assert!(request.is_some(), "only the id was recorded: {parents:?}");
    assert_eq!(child.opened.is_some(), records);
    let Some(own) = &child.opened else { return };
    let spans = &own.recording.spans;
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert!(spans.keys().all(|id| !recording.spans.contains_key(id)));
    assert!(
        spans
            .values()
            .all(|span| !span.open && span.parent.is_none())
    );
    assert_eq!(own.verdict.kind, Kind::Killed);
    assert_eq!(own.recording.header.forked_from, played.pid());
    assert_eq!(own.recording.header.name, recording.header.name);
    assert_eq!(own.recording.header.layout, recording.header.layout);
    let depths = own.recording.entries.iter();
    let depths = depths
        .filter(|entry| entry.what == ttlog_format::salvage::What::Event)
        .map(|event| own.recording.context(event.span).len());
    assert_eq!(depths.collect::<Vec<_>>(), [0, 0, 1, 1, 0]);
    // Of what it followed, it opened one itself.
    let entries = own.recording.entries.iter();
    let followed: Vec<_> = entries
        .filter_map(|entry| match entry.what {
            ttlog_format::salvage::What::Follows(id) => Some(id),
            _ => None,
        })
        .collect();
    assert_eq!(followed.len(), 1, "{followed:?}");
    assert!(spans.contains_key(&followed[0]));
}

#[test]
fn what_a_child_inherited_does_no_harm_and_its_own_is_its_own() {
    for adapter in ADAPTERS {
        let (played, children) = played("inherits", &plan().adapter(adapter));
        let [forked, cloned] = children.as_slice() else {
            panic!("{children:?}")
        };
        has_inherited_nothing_but_handles(&played, forked, true);
        has_inherited_nothing_but_handles(&played, cloned, false);
    }
}

#[test]
fn a_child_that_was_cloned_into_a_pid_namespace_records_nothing_and_counts() {
    if !is_root() {
        return;
    }
    for adapter in ADAPTERS {
        let (played, children) = played("inherits-apart", &plan().adapter(adapter));
        assert_eq!(children.len(), 1);
        has_inherited_nothing_but_handles(&played, &children[0], false);
    }
}

#[test]
fn a_child_that_is_process_1_of_a_namespace_has_a_recording_of_its_own() {
    if !is_root() {
        return;
    }
    for adapter in ADAPTERS {
        let (played, children) = played("apart", &plan().adapter(adapter));
        assert_eq!(messages(played.recording()), ["before", "after"]);
        let own = own(&children[0]);
        assert_eq!(messages(&own.recording), ["in a namespace"]);
        let (header, parents) = (&own.recording.header, &played.recording().header);
        assert_eq!((header.pid, header.forked_from), (1, played.pid()));
        assert_ne!(header.pid_namespace, parents.pid_namespace);
        assert_eq!(own.verdict.kind, Kind::Ended, "{:?}", own.verdict);
    }
}

#[test]
fn a_child_that_is_told_to_records_nothing_and_counts() {
    for adapter in ADAPTERS {
        let (played, children) = played("ignores", &plan().adapter(adapter));
        assert_eq!(messages(played.recording()), ["before", "after"]);
        for child in children {
            assert!(child.opened.is_none());
            assert_eq!(child.end, "exited 0");
        }
    }
}

#[test]
fn where_nothing_is_recorded_children_are_as_they_would_be() {
    for adapter in ADAPTERS {
        let plan = plan().adapter(adapter).env("TTLOG", "off");
        let mut victim = Victim::start_act(FORKER, "ignores", &plan);
        for _ in 0..2 {
            let child = victim.until("child");
            assert!(child.ends_with("exited 0"), "{child}");
        }
        assert!(victim.ends().success());
        assert_eq!(victim.files(), [] as [&Path; 0]);
    }
}

#[test]
fn every_generation_has_a_recording_of_its_own() {
    for adapter in ADAPTERS {
        let (played, children) = played("generations", &plan().adapter(adapter));
        assert_eq!(children.len(), 3);
        let own = children.iter().map(own);
        for opened in own.chain([&played.opened]) {
            assert_eq!(messages(&opened.recording), ["before", "after"]);
            assert_eq!(opened.verdict.kind, Kind::Ended, "{:?}", opened.verdict);
            let opened_spans = opened.recording.spans.len();
            assert_eq!(opened_spans, 1, "{:?}", opened.recording.spans);
        }
        // The youngest is told of first.
        let mut parents = children.iter().rev().map(|child| {
            let header = &child.opened.as_ref().expect("seen").recording.header;
            (header.forked_from, header.pid)
        });
        let chained = parents.try_fold(played.pid(), |parent, (from, pid)| {
            (from == parent).then_some(pid)
        });
        assert!(chained.is_some(), "{children:?}");
    }
}

#[test]
fn programs_that_are_spawned_leave_the_recording_alone() {
    let (played, children) = played("spawns", &plan());
    for worker in 1..=TELLERS {
        let told = played.told_without_a_gap(worker, None);
        told.unwrap_or_else(|violation| panic!("{violation}"));
    }
    assert_eq!(children.len(), 20);
    for child in &children {
        assert_eq!((child.end.as_str(), child.said), ("exit status: 0", 1));
        let own = own(child);
        assert_eq!(messages(&own.recording), ["before the other program"]);
    }
}

/// The recordings of a process, and what was said in each.
fn all_said(paths: &[std::path::PathBuf]) -> Vec<(Vec<String>, Kind, u32)> {
    let told = paths.iter().map(|path| {
        let opened = opened(path);
        check::whole(&opened.recording).unwrap_or_else(|violation| panic!("{violation}"));
        let from = opened.recording.header.forked_from;
        (messages(&opened.recording), opened.verdict.kind, from)
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    told
}

#[test]
fn a_child_that_executes_a_program_which_records_itself_leaves_two_recordings() {
    let mut victim = Victim::start_act(FORKER, "executes", &plan());
    assert!(victim.ends().success());
    let pid = victim.pid().as_raw() as u32;
    let words = |words: &[&str]| Vec::from_iter(words.iter().map(|&word| word.to_owned()));
    let expected = [
        (words(&["before", "after"]), Kind::Ended, 0),
        (words(&["executed"]), Kind::Ended, 0),
        (
            words(&["in a child", "before the other program"]),
            Kind::Killed,
            pid,
        ),
    ];
    let told = all_said(&victim.files());
    assert_eq!(told, expected);
}

#[test]
fn who_executes_itself_leaves_two_recordings() {
    let mut victim = Victim::start_act(FORKER, "becomes-another", &plan());
    assert!(victim.ends().success());
    let told = all_said(&victim.files());
    let words: Vec<_> = told.iter().map(|(words, ..)| words.join(", ")).collect();
    assert_eq!(words, ["before the other program", "executed"]);
}

#[track_caller]
fn a_daemon_records(act: &str) {
    for adapter in ADAPTERS {
        let mut victim = Victim::start_act(FORKER, act, &plan().adapter(adapter));
        assert!(victim.ends().success());
        let parent = victim.pid().as_raw() as u32;
        let is_daemons = |path: &Path| {
            let opened = ttlog_reader::open(path).ok()?;
            (opened.recording.header.forked_from == parent).then_some(opened)
        };
        let elsewhere = victim.directory().with_file_name("elsewhere");
        let daemon = eventually("the daemon's end", || {
            assert_eq!(files(&elsewhere), [] as [&Path; 0]);
            let found = victim.files().iter().find_map(|path| is_daemons(path))?;
            (found.verdict.kind != Kind::Alive).then_some(found)
        });
        check::accounted(&daemon.recording, 2).unwrap_or_else(|violation| panic!("{violation}"));
        assert_eq!(daemon.verdict.kind, Kind::Ended, "{:?}", daemon.verdict);
        let mode = std::fs::metadata(&daemon.path).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            messages(&daemon.recording),
            ["in the daemon", "the daemon's last words"]
        );
        assert_eq!(victim.files().len(), 2);
        let snapshots = files(&victim.directory().with_file_name("snapshots"));
        let [snapshot] = snapshots.as_slice() else {
            panic!("{snapshots:?}")
        };
        assert_eq!(messages(&opened(snapshot).recording), ["in the daemon"]);
    }
}

#[test]
fn a_daemon_that_has_closed_everything_has_a_whole_recording_and_a_snapshot() {
    a_daemon_records("daemonizes");
}

#[test]
fn it_has_them_where_they_belong_when_the_directories_were_named_from_elsewhere() {
    a_daemon_records("daemonizes-elsewhere");
}

/// Kills processes that nobody else would.
struct Killed(Vec<Pid>);

impl Drop for Killed {
    fn drop(&mut self) {
        for &pid in &self.0 {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

#[test]
fn a_parent_that_is_killed_is_dead_while_its_children_live() {
    let mut victim = Victim::start_act(FORKER, "is-survived", &plan());
    let mut pid = || Pid::from_raw(victim.until("lives").parse().expect("a process id"));
    let children = Killed(vec![pid(), pid()]);
    victim.dies_by(Signal::SIGKILL);
    let of = |pid: Pid| {
        let name = format!("ttlog-{pid}-");
        let mut files = victim.files();
        files.retain(|path| path.to_string_lossy().contains(&name));
        files.first().map(|path| opened(path))
    };
    let parent = of(victim.pid()).expect("a recording");
    assert_eq!(parent.verdict.kind, Kind::Killed, "{:?}", parent.verdict);
    let own: Vec<_> = children.0.iter().filter_map(|&child| of(child)).collect();
    let [child] = own.as_slice() else {
        panic!("one of two spoke: {own:?}")
    };
    assert_eq!(child.verdict.kind, Kind::Alive, "{:?}", child.verdict);
}
