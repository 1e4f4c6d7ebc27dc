//! What the reader says became of a process, and that a process asked by a signal
//! does what was asked for and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitStatus;

use nix::libc;
use nix::sys::signal::Signal::{
    self, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGWINCH,
};
use nix::sys::wait::WaitStatus;
use serde_json::Value as Json;
use ttlog_reader::{Kind, Opened};
use ttlog_tests::confined::{MemoryCgroup, Namespace, daemon_as_first};
use ttlog_tests::daemon::{Daemon, end, eventually, opened};
use ttlog_tests::death::FATAL;
use ttlog_tests::reader;

const DAEMON: &str = env!("CARGO_BIN_EXE_daemon");

/// What the C library keeps for itself (signal(7)).
const OF_LIBC: [i32; 2] = [32, 33];

/// What the evidence says, in one line.
fn evidence(opened: &Opened) -> String {
    opened.verdict.evidence.join(", ")
}

#[track_caller]
fn is(opened: &Opened, kind: Kind) {
    assert_eq!(opened.verdict.kind, kind, "{:?}", opened.verdict);
}

#[track_caller]
fn says(opened: &Opened, words: &str) {
    let evidence = evidence(opened);
    assert!(evidence.contains(words), "not {words:?}: {evidence}");
}

/// What `info -o json` says became of a process, to whoever is in a namespace.
struct SeenFrom<'a>(&'a Namespace);

impl SeenFrom<'_> {
    /// The verdict's kind, and its evidence in one line.
    fn verdict(&self, recording: &Path) -> (String, String) {
        let program = reader::program(Path::new(DAEMON));
        let (program, recording) = (program.display(), recording.display());
        let (text, well) = self.0.does(&format!("{program} info -o json {recording}"));
        assert!(well, "{text}");
        let info: Json = serde_json::from_str(&text).expect("JSON");
        let verdict = &info["verdict"];
        let evidence = verdict["evidence"].as_array().expect("evidence").iter();
        let evidence: Vec<_> = evidence.filter_map(Json::as_str).collect();
        let kind = verdict["kind"].as_str().expect("a kind");
        (kind.to_owned(), evidence.join(", "))
    }

    #[track_caller]
    fn says(&self, recording: &Path, kind: &str, words: &str) {
        let (found, evidence) = self.verdict(recording);
        assert_eq!(found, kind, "{evidence}");
        assert!(evidence.contains(words), "not {words:?}: {evidence}");
    }
}

#[test]
fn who_lives_is_alive_and_who_was_killed_is_killed_with_the_evidence_in_words() {
    let mut daemon = Daemon::start(DAEMON, &[]);
    let pid = daemon.pid();
    is(&daemon.recording(), Kind::Alive);
    says(&daemon.recording(), &format!("process {pid} is running"));
    daemon.dies_by(SIGKILL);
    is(&daemon.recording(), Kind::Killed);
    let words = format!("no cause was written, process {pid} is gone, boot id unchanged");
    let evidence = evidence(&daemon.recording());
    assert!(evidence.starts_with(&words), "{evidence}");
}

#[test]
fn who_has_executed_another_program_has_ended_and_later_nobody_can_tell() {
    let mut daemon = Daemon::start(DAEMON, &[]);
    assert_eq!(daemon.does("execute"), "executed");
    is(&daemon.recording(), Kind::Ended);
    says(&daemon.recording(), "it has executed another program");
    daemon.dies_by(SIGKILL);
    is(&daemon.recording(), Kind::Killed);
}

#[test]
fn a_zombie_is_not_alive() {
    let daemon = Daemon::start(DAEMON, &[]);
    daemon.dies_and_is_not_waited_for();
    assert!(daemon.status(&daemon.proc(), "State").starts_with('Z'));
    is(&daemon.recording(), Kind::Killed);
    says(&daemon.recording(), "is dead, its parent has not waited");
}

#[test]
fn who_has_ended_its_main_thread_alone_is_alive() {
    let mut daemon = Daemon::start(DAEMON, &[]);
    assert_eq!(daemon.does("leave"), "left");
    eventually("the end of the main thread", || {
        let state = daemon.status(&daemon.proc(), "State");
        state.starts_with('Z').then_some(())
    });
    assert_eq!(daemon.does("say"), "said");
    is(&daemon.recording(), Kind::Alive);
    daemon.dies_by(SIGKILL);
    is(&daemon.recording(), Kind::Killed);
}

/// The ways in which a daemon forks.
const FORKS: [&str; 2] = ["fork", "clone"];

/// The process id of a daemon's new child.
fn forks(daemon: &mut Daemon, fork: &str) -> nix::unistd::Pid {
    let said = daemon.does(fork);
    let child = said.strip_prefix("child ").expect("a child");
    nix::unistd::Pid::from_raw(child.parse().expect("a pid"))
}

#[test]
fn who_has_left_a_child_that_holds_the_lock_is_killed_all_the_same() {
    for fork in FORKS {
        let mut daemon = Daemon::start(DAEMON, &[]);
        let child = forks(&mut daemon, fork);
        daemon.dies_by(SIGKILL);
        let file = std::fs::File::open(daemon.path()).expect("the recording");
        assert!(file.try_lock_shared().is_err(), "the child holds the lock");
        is(&daemon.recording(), Kind::Killed);
        nix::sys::signal::kill(child, None).expect("the child still lives");
    }
}

/// There is nobody in it who would make the snapshot.
#[test]
fn a_signal_that_asks_for_a_snapshot_does_to_a_child_what_it_does_by_default() {
    for (fork, signal) in FORKS
        .into_iter()
        .flat_map(|fork| [(fork, SIGUSR1), (fork, SIGWINCH)])
    {
        let mut daemon = Daemon::start(DAEMON, &[&format!("snapshot={}", signal as i32)]);
        let child = forks(&mut daemon, fork);
        nix::sys::signal::kill(child, signal).expect("a child");
        if signal == SIGWINCH {
            let proc = Path::new("/proc").join(child.to_string());
            eventually("the signal's delivery", || {
                daemon.signals(&proc, "ShdPnd").is_empty().then_some(())
            });
            nix::sys::signal::kill(child, SIGKILL).expect("it lives");
        }
        let death = if signal == SIGWINCH { SIGKILL } else { signal };
        let reaped = daemon.does("reap");
        assert_eq!(
            reaped,
            format!("reaped Signaled(Pid({child}), {death:?}, false)")
        );
        assert_eq!(daemon.does("say"), "said");
        assert_eq!(daemon.snapshots(0).len(), 0);
    }
}

/// Has the next process of a namespace take a number, which is free.
fn next_is(namespace: &Namespace, pid: &str) -> bool {
    let script = format!("echo $(({pid} - 1)) > /proc/sys/kernel/ns_last_pid");
    let (text, well) = namespace.does(&script);
    if !well {
        eprintln!("SKIPPED: the next pid cannot be chosen here: {text}");
    }
    well
}

#[test]
fn who_has_a_pid_that_was_used_again_is_not_taken_for_the_dead() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let seen = SeenFrom(&namespace);
    let mut dead = namespace.daemon(DAEMON, &[]);
    let pid = dead.inner_pid().to_owned();
    seen.says(&dead.path(), "alive", &format!("process {pid} is running"));
    dead.dies_by(SIGKILL);
    seen.says(&dead.path(), "killed", &format!("process {pid} is gone"));
    if !next_is(&namespace, &pid) {
        return;
    }
    let heir = namespace.daemon(DAEMON, &[]);
    assert_eq!(heir.inner_pid(), pid, "the number is used again");
    seen.says(&heir.path(), "alive", &format!("process {pid} is running"));
    seen.says(&dead.path(), "killed", "now another process's");
    is(&dead.recording(), Kind::Killed);
    is(&heir.recording(), Kind::Alive);
}

#[test]
fn who_is_in_an_inner_namespace_is_found_from_outside() {
    let Some(mut namespace) = Namespace::new() else {
        return;
    };
    let mut daemon = namespace.daemon(DAEMON, &[]);
    is(&daemon.recording(), Kind::Alive);
    let (inner, outer) = (daemon.inner_pid(), daemon.pid());
    assert_ne!(inner, outer.to_string());
    let words = format!("is running here as process {outer}");
    says(&daemon.recording(), &words);
    daemon.dies_by(SIGKILL);
    is(&daemon.recording(), Kind::Killed);
    namespace.ends();
    namespace.is_gone();
    is(&daemon.recording(), Kind::Killed);
}

#[test]
fn who_ends_with_its_namespace_is_killed() {
    let Some(mut namespace) = Namespace::new() else {
        return;
    };
    let mut daemon = namespace.daemon(DAEMON, &["terminate=15"]);
    is(&daemon.recording(), Kind::Alive);
    namespace.ends();
    assert_eq!(end(daemon.ends()), Ok(9));
    namespace.is_gone();
    is(&daemon.recording(), Kind::Killed);
}

/// Two processes 1, each of a namespace of its own, that have started in the same tick.
fn twins() -> Option<[Daemon; 2]> {
    for _ in 0..50 {
        let start = || daemon_as_first(DAEMON, &[]);
        let started = std::thread::scope(|scope| {
            let both = [scope.spawn(start), scope.spawn(start)];
            both.map(|thread| thread.join().expect("no panic"))
        });
        let [Some(one), Some(other)] = started else {
            return None;
        };
        let ticks = |daemon: &Daemon| daemon.recording().recording.header.start_time;
        if ticks(&one) == ticks(&other) {
            return Some([one, other]);
        }
    }
    eprintln!("SKIPPED: no two processes have started in the same tick");
    None
}

#[test]
fn who_has_the_pid_and_the_start_time_of_one_in_another_namespace_is_not_taken_for_it() {
    let Some([mut dead, mut alive]) = twins() else {
        return;
    };
    assert_eq!(dead.inner_pid(), alive.inner_pid());
    for daemon in [&dead, &alive] {
        is(&daemon.recording(), Kind::Alive);
        let words = format!("is running here as process {}", daemon.pid());
        says(&daemon.recording(), &words);
    }
    dead.dies_by(SIGKILL);
    is(&dead.recording(), Kind::Killed);
    is(&alive.recording(), Kind::Alive);
    alive.dies_by(SIGKILL);
    is(&alive.recording(), Kind::Killed);
}

/// Outside is a namespace that cannot be seen from inside, and so is a sister's.
#[test]
fn of_who_cannot_be_seen_the_lock_tells_and_a_copy_leaves_it_unknown() {
    let (Some(namespace), Some(sister)) = (Namespace::new(), Namespace::new()) else {
        return;
    };
    let seen = SeenFrom(&namespace);
    for mut daemon in [Daemon::start(DAEMON, &[]), sister.daemon(DAEMON, &[])] {
        let copy = daemon.home().join("copy.ring");
        let path = daemon.path();
        std::fs::copy(&path, &copy).expect("a copy");
        let reason = "cannot be seen from here";
        seen.says(&path, "alive", reason);
        seen.says(&path, "alive", "its recording is locked");
        seen.says(&copy, "unknown", reason);
        is(&opened(&copy), Kind::Alive);
        daemon.dies_by(SIGKILL);
        seen.says(&path, "killed", "its recording is not locked any more");
        seen.says(&copy, "unknown", reason);
        is(&opened(&copy), Kind::Killed);
    }
}

/// How a daemon ends by a signal that it asks for, or not.
fn ends_by(signal: Signal, first: &str, asked: &[&str]) -> (Daemon, ExitStatus) {
    let mut daemon = Daemon::start_after(first, DAEMON, asked);
    let status = daemon.dies_by(signal);
    (daemon, status)
}

#[test]
fn who_is_asked_to_terminate_dies_of_it_and_leaves_a_snapshot() {
    // A core as large as it may be, so that whether there is one can be compared.
    let cores = "ulimit -c $(ulimit -H -c)";
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
        let number = signal as i32;
        let (_, plain) = ends_by(signal, cores, &["without"]);
        assert_eq!(end(plain), Ok(number));
        let asked = format!("terminate={number}");
        let (daemon, status) = ends_by(signal, cores, &[&asked]);
        assert_eq!(status, plain, "{signal}");
        is(&daemon.recording(), Kind::Terminated);
        assert_eq!(daemon.recording().verdict.signal, Some(number));
        says(&daemon.recording(), signal.as_str());
        let snapshots = daemon.snapshots(1);
        let made = snapshots[0].made.as_ref().expect("a snapshot");
        assert!(made.why.contains(signal.as_str()), "{made:?}");
        is(&snapshots[0], Kind::Terminated);
    }
}

#[test]
fn who_closed_all_descriptors_is_still_asked_and_its_own_files_get_nothing() {
    let mut daemon = Daemon::start(DAEMON, &["terminate=15", "snapshot=10"]);
    assert_eq!(daemon.does("close"), "closed");
    daemon.receives(SIGUSR1);
    daemon.snapshots(1);
    let end_of_it = daemon.dies_by(SIGTERM);
    assert_eq!(end(end_of_it), Ok(15));
    is(&daemon.recording(), Kind::Terminated);
    daemon.snapshots(2);
    let own = std::fs::read_dir(daemon.home())
        .expect("its directory")
        .flatten();
    let own = own.filter(|file| file.file_name().as_encoded_bytes().starts_with(b"own-"));
    let sizes: Vec<u64> = own
        .map(|file| file.metadata().expect("there").len())
        .collect();
    assert_eq!(sizes, [0; 20]);
}

#[test]
fn who_has_not_asked_is_killed_by_sigterm() {
    for asked in [&[][..], &["snapshot=10"]] {
        let (daemon, status) = ends_by(SIGTERM, ":", asked);
        assert_eq!(end(status), Ok(15));
        is(&daemon.recording(), Kind::Killed);
        assert_eq!(daemon.snapshots(0).len(), 0);
    }
}

#[test]
fn process_1_of_a_namespace_exits_with_128_and_the_signal() {
    for (signal, status) in [(SIGTERM, 143), (SIGINT, 130)] {
        let asked = format!("terminate={}", signal as i32);
        let Some(mut daemon) = daemon_as_first(DAEMON, &[&asked]) else {
            return;
        };
        assert_eq!(daemon.inner_pid(), "1");
        is(&daemon.recording(), Kind::Alive);
        assert_eq!(end(daemon.dies_by(signal)), Err(status));
        is(&daemon.recording(), Kind::Terminated);
        assert_eq!(daemon.recording().verdict.signal, Some(signal as i32));
        daemon.snapshots(1);
    }
}

/// What is sent to it has no default action (pid_namespaces(7)).
#[test]
fn process_1_of_a_namespace_lives_through_what_it_is_sent_with_a_recorder_as_without() {
    for asked in [&["without"][..], &[]] {
        let Some(mut daemon) = daemon_as_first(DAEMON, asked) else {
            return;
        };
        for signal in [Signal::SIGABRT, Signal::SIGFPE, Signal::SIGABRT] {
            daemon.receives(signal);
            assert_eq!(daemon.does("say"), "said", "{signal}, {asked:?}");
        }
        assert_eq!(end(daemon.dies_by(SIGKILL)), Ok(9));
        if asked.is_empty() {
            is(&daemon.recording(), Kind::Killed);
            assert_eq!(daemon.recording().recording.causes, []);
        }
    }
}

/// It lives, and no signal has left a trace in what it leaves behind.
#[track_caller]
fn untouched(daemon: &Daemon) {
    let opened = daemon.recording();
    is(&opened, Kind::Alive);
    assert_eq!(opened.recording.causes.len(), 0);
    assert_eq!(opened.recording.incidents.len(), 0);
    assert_eq!(daemon.snapshots(0).len(), 0);
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for (signal, asked) in [
        (SIGTERM, "terminate=15"),
        (SIGHUP, "terminate=1"),
        (SIGUSR1, "snapshot=10"),
    ] {
        let ignore = format!("trap '' {}", signal as i32);
        let mut daemon = Daemon::start_after(&ignore, DAEMON, &[asked]);
        let ignored = daemon.signals(&daemon.proc(), "SigIgn");
        assert!(ignored.contains(&(signal as i32)), "{signal}: {ignored:?}");
        daemon.receives(signal);
        assert_eq!(daemon.does("say"), "said");
        untouched(&daemon);
        daemon.dies_by(SIGKILL);
        assert_eq!(daemon.snapshots(0).len(), 0);
    }
}

#[test]
fn a_forked_child_dies_of_what_its_parent_has_asked_for_and_the_parent_lives_on() {
    let asked = [(SIGTERM, "terminate=15"), (SIGUSR1, "snapshot=10")];
    for (signal, asked) in asked {
        for fork in FORKS {
            let mut daemon = Daemon::start(DAEMON, &[asked]);
            let child = forks(&mut daemon, fork);
            nix::sys::signal::kill(child, signal).expect("a signal for the child");
            let status = WaitStatus::Signaled(child, signal, false);
            assert_eq!(daemon.does("reap"), format!("reaped {status:?}"));
            untouched(&daemon);
        }
    }
}

#[test]
fn who_is_asked_for_a_snapshot_makes_one_each_time_and_goes_on() {
    let mut daemon = Daemon::start(DAEMON, &["snapshot=10"]);
    for count in 1..=2 {
        daemon.receives(SIGUSR1);
        for snapshot in daemon.snapshots(count) {
            let made = snapshot.made.as_ref().expect("a snapshot");
            assert!(made.why.contains("SIGUSR1"), "{made:?}");
            is(&snapshot, Kind::Alive);
        }
        assert_eq!(daemon.does("say"), "said");
        is(&daemon.recording(), Kind::Alive);
    }
    daemon.dies_by(SIGKILL);
    is(&daemon.recording(), Kind::Killed);
}

#[test]
fn a_signal_that_cannot_be_asked_for_is_an_error_that_names_it() {
    for way in ["snapshot", "terminate"] {
        for number in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 0, -1, 65, 999] {
            let asked = format!("{way}={number}");
            // That it leaves no file is looked at there.
            let error = Daemon::start_by(":", DAEMON, &[&asked], std::process::Command::spawn);
            let error = error.expect_err("an error");
            assert!(error.starts_with("error "), "{asked}: {error}");
            assert!(error.contains(&number.to_string()), "{asked}: {error}");
            assert!(error.contains(&format!("{way}_on")), "{asked}: {error}");
        }
    }
}

#[test]
fn no_handler_is_there_that_was_not_asked_for() {
    let caught = |asked: &[&str]| Daemon::start(DAEMON, asked).caught();
    let plain = caught(&["without"]);
    let with = |more: &[i32]| -> BTreeSet<i32> { plain.iter().chain(more).copied().collect() };
    assert_eq!(caught(&[]), with(&FATAL));
    assert_eq!(caught(&["fatal=no"]), plain);
    // The C library takes a signal of its own for whoever has a second thread.
    let mut asked = caught(&["fatal=no", "terminate=15", "snapshot=10"]);
    asked.retain(|signal| !OF_LIBC.contains(signal));
    assert_eq!(asked, with(&[10, 15]));
    let ignored = |asked: &[&str]| {
        let daemon = Daemon::start(DAEMON, asked);
        daemon.signals(&daemon.proc(), "SigIgn")
    };
    assert_eq!(ignored(&[]), ignored(&["without"]));
}

#[test]
fn a_thread_that_waits_for_signals_is_there_when_they_are_asked_for_and_takes_no_other() {
    let threads_of = |asked: &[&str]| {
        let daemon = Daemon::start(DAEMON, asked);
        let count = daemon.threads().len();
        (daemon, count)
    };
    assert_eq!(threads_of(&["without"]).1, 1);
    assert_eq!(threads_of(&[]).1, 1);
    let (daemon, count) = threads_of(&["terminate=15", "snapshot=10"]);
    assert_eq!(count, 2);
    // A thread takes its name itself, as the first thing that it does.
    let thread = &eventually("the thread", || {
        let mut threads = daemon.threads().into_iter();
        threads.find_map(|(name, thread)| (name == "ttlog-signals").then_some(thread))
    });
    let never = [libc::SIGKILL, libc::SIGSTOP];
    let other = |n: &i32| ![&FATAL[..], &OF_LIBC, &never].concat().contains(n);
    let (all, open): (BTreeSet<i32>, _) = (1..=64).partition(other);
    eventually("its own faults", || {
        let blocked = daemon.signals(thread, "SigBlk");
        assert!(all.is_subset(&blocked), "not {all:?}: {blocked:?}");
        blocked.is_disjoint(&open).then_some(())
    });
    let own = daemon.signals(&daemon.proc(), "SigBlk");
    assert_eq!(own, BTreeSet::new(), "of the host's main thread");
}

#[test]
fn an_oom_kill_is_told_from_another() {
    let Some(cgroup) = MemoryCgroup::new("oom") else {
        return;
    };
    let mut spared = cgroup.daemon(DAEMON, &[]);
    spared.dies_by(SIGKILL);
    is(&spared.recording(), Kind::Killed);
    says(&spared.recording(), "counted no OOM kill since");

    let mut greedy = cgroup.daemon(DAEMON, &[]);
    greedy.is_told("allocate");
    assert_eq!(end(greedy.ends()), Ok(9));
    is(&greedy.recording(), Kind::Killed);
    says(&greedy.recording(), "one OOM kill since");

    let mut later = cgroup.daemon(DAEMON, &[]);
    later.dies_by(SIGKILL);
    says(&later.recording(), "counted no OOM kill since");
    drop(cgroup);
    is(&greedy.recording(), Kind::Killed);
    says(&greedy.recording(), "an OOM kill could not be seen");
}
