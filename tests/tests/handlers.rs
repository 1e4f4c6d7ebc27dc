//! Hosts with signal handlers of their own, before the recorder's or after it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::libc::{SIGABRT, SIGKILL, SIGSEGV};
use tempfile::TempDir;
use ttlog_reader::{Kind, Opened};
use ttlog_tests::victim::{files, scratch};
use ttlog_tests::{build, check, tally};

const HOST: &str = env!("CARGO_BIN_EXE_host");

/// A process of the binary `host`.
struct Host {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
    home: TempDir,
}

impl Host {
    fn start(program: &Path, what: &str, recorded: bool) -> Host {
        Host::start_by(&mut Command::new(program), what, recorded)
    }

    fn start_by(program: &mut Command, what: &str, recorded: bool) -> Host {
        let home = scratch();
        let directory = if recorded {
            home.path().join("recordings")
        } else {
            "-".into()
        };
        let mut child = program
            .arg(what)
            .arg(directory)
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let says = BufReader::new(child.stdout.take().expect("piped"));
        Host { child, says, home }
    }

    /// The next line that it prints.
    fn says(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("words");
        line.trim_end().to_owned()
    }

    fn dies_by_sigkill(&mut self) {
        self.child.kill().expect("it lives");
        assert_eq!(self.ends().signal(), Some(SIGKILL));
    }

    fn ends(&mut self) -> ExitStatus {
        self.child.wait().expect("its end")
    }

    fn opened(&self) -> Opened {
        let files: Vec<PathBuf> = files(&self.home.path().join("recordings"));
        let [path] = files.as_slice() else {
            panic!("one recording, not {files:?}")
        };
        let opened = ttlog_reader::open(path).unwrap();
        check::whole(&opened.recording).unwrap_or_else(|violation| panic!("{violation}"));
        opened
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends in the same way without a recorder and with one; that, and what is left.
fn ends_alike(what: &str) -> (ExitStatus, Opened) {
    let plain = Host::start(HOST.as_ref(), what, false).ends();
    let mut host = Host::start(HOST.as_ref(), what, true);
    let status = host.ends();
    assert_eq!(status, plain);
    (status, host.opened())
}

#[track_caller]
fn died_of(opened: &Opened, signal: i32) {
    let verdict = (opened.verdict.kind, opened.verdict.signal);
    assert_eq!(
        verdict,
        (Kind::Signal, Some(signal)),
        "{:?}",
        opened.verdict
    );
}

fn evidence(opened: &Opened) -> String {
    opened.verdict.evidence.join("\n")
}

#[test]
fn a_host_that_recovers_from_faults_goes_on_and_did_not_die_of_them() {
    let mut host = Host::start(HOST.as_ref(), "recovers", true);
    assert_eq!(host.says(), "survived 3");
    host.dies_by_sigkill();
    let opened = host.opened();
    let causes = &opened.recording.causes;
    assert_eq!(causes.len(), 3);
    assert!(
        causes
            .iter()
            .all(|cause| cause.signal == SIGSEGV && cause.chained)
    );
    assert!(causes.iter().all(|cause| cause.survived_ticks.is_some()));
    assert_eq!(causes[1].address, Some(0x20_0000));
    assert_eq!(opened.recording.ledger.counts.readable, 3);
    assert_eq!(opened.verdict.kind, Kind::Killed);
    assert!(
        evidence(&opened).contains("SIGSEGV"),
        "{:?}",
        opened.verdict
    );
}

#[test]
fn a_host_that_recovers_and_says_nothing_more_did_not_die_of_it_either() {
    let mut host = Host::start(HOST.as_ref(), "recovers-quietly", true);
    assert_eq!(host.says(), "survived");
    host.dies_by_sigkill();
    let opened = host.opened();
    assert_eq!(opened.recording.causes.len(), 1);
    assert_eq!(opened.verdict.kind, Kind::Killed);
}

#[test]
fn what_a_host_dies_of_after_it_recovered_is_the_verdict() {
    let mut host = Host::start(HOST.as_ref(), "recovers-then-dies", true);
    assert_eq!(host.says(), "survived 3");
    assert_eq!(host.ends().signal(), Some(SIGABRT));
    let opened = host.opened();
    died_of(&opened, SIGABRT);
    assert_eq!(
        opened.verdict.address, None,
        "that of a fault which it survived"
    );
}

#[test]
fn a_host_may_exit_in_its_own_handler_and_the_fault_is_told() {
    let (status, opened) = ends_alike("exits-in-its-handler");
    assert_eq!(status.code(), Some(42));
    died_of(&opened, SIGSEGV);
    assert_eq!(opened.verdict.address, Some(0x10_0000));
}

#[test]
fn without_a_guard_a_hosts_handler_has_the_faults_of_the_recorders_threads() {
    let mut host = Host::start(HOST.as_ref(), "exits-in-its-handler-aside", true);
    assert_eq!(host.ends().code(), Some(42));
}

#[test]
fn a_handler_that_came_later_and_calls_the_recorders_changes_nothing() {
    let (status, opened) = ends_alike("chains");
    assert_eq!(status.signal(), Some(SIGSEGV));
    died_of(&opened, SIGSEGV);
}

#[test]
fn a_handler_that_came_later_and_calls_nobody_has_the_signal_alone() {
    let mut host = Host::start(HOST.as_ref(), "stays-alone", true);
    assert_eq!(host.says(), "survived 3");
    host.dies_by_sigkill();
    let opened = host.opened();
    assert_eq!(opened.recording.causes, []);
    assert_eq!(opened.verdict.kind, Kind::Killed);
}

#[test]
fn an_abort_makes_no_call_that_a_sandbox_has_not_let_through_before() {
    let (status, opened) = ends_alike("confined");
    assert_eq!(status.signal(), Some(SIGABRT));
    died_of(&opened, SIGABRT);
}

/// Rust's own handler aborts; a second one above it would not fit, and be a fault.
#[test]
fn an_overflow_on_a_small_alternate_stack_ends_by_rusts_abort_all_the_same() {
    let (status, opened) = ends_alike("cramped");
    assert_eq!(status.signal(), Some(SIGABRT));
    assert!(opened.recording.causes[0].overflow);
    let signal = opened.verdict.signal;
    assert!(matches!(signal, Some(SIGSEGV | SIGABRT)), "{signal:?}");
    assert_eq!(opened.verdict.kind, Kind::Signal);
}

/// Survives one signal by its own handler, and is killed later.
fn survives(what: &str) -> Opened {
    let mut host = Host::start(HOST.as_ref(), what, true);
    assert_eq!(host.says(), "survived 1");
    host.dies_by_sigkill();
    let opened = host.opened();
    let causes = &opened.recording.causes;
    assert_eq!(causes.len(), 1);
    assert!(causes[0].chained && causes[0].survived_ticks.is_some());
    assert_eq!(opened.verdict.kind, Kind::Killed);
    opened
}

#[test]
fn a_handler_of_the_old_kind_is_told_the_number_of_the_signal() {
    let opened = survives("recovers-by-a-number");
    assert_eq!(opened.recording.causes[0].signal, SIGSEGV);
}

#[test]
fn a_handler_of_aborts_has_them_as_it_had() {
    let opened = survives("handles-aborts");
    assert_eq!(opened.recording.causes[0].signal, SIGABRT);
}

#[test]
fn a_signal_that_another_process_sends_to_a_thread_kills_and_its_sender_is_told() {
    let mut host = Host::start(HOST.as_ref(), "waits", true);
    assert_eq!(host.says(), "waits");
    let pid = host.child.id();
    // SAFETY: it sends the main thread of a child a signal.
    let sent = unsafe { nix::libc::syscall(nix::libc::SYS_tgkill, pid, pid, SIGABRT) };
    assert_eq!(sent, 0);
    assert_eq!(host.ends().signal(), Some(SIGABRT));
    let opened = host.opened();
    died_of(&opened, SIGABRT);
    let sender = opened.recording.causes[0].sender.map(|sender| sender.pid);
    assert_eq!(sender, Some(std::process::id()));
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let mut host = Host::start(HOST.as_ref(), "ignores", true);
    assert_eq!(host.says(), "survived");
    host.dies_by_sigkill();
    let opened = host.opened();
    assert_eq!(opened.recording.causes, []);
    assert_eq!(opened.recording.ledger.counts.readable, 1);
}

#[test]
fn signals_in_the_middle_of_malloc_leave_their_causes_and_no_thread_waiting() {
    let mut host = Host::start(HOST.as_ref(), "storm", true);
    assert_eq!(host.says(), "survived 20000");
    host.dies_by_sigkill();
    let opened = host.opened();
    let numbers: Vec<u64> = opened
        .recording
        .causes
        .iter()
        .map(|cause| cause.number)
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3, 19_996, 19_997, 19_998, 19_999]);
    assert_eq!(opened.verdict.kind, Kind::Killed);
}

/// A handler that allocates must not get through the storm.
#[test]
fn the_storm_finds_a_handler_that_allocates() {
    let program = build::seeded(HOST, "host");
    let mut program = Command::new(program);
    program.env(build::BUG, "handler-allocates");
    let mut host = Host::start_by(&mut program, "storm", true);
    let words = host.says();
    assert!(words.starts_with("stuck at "), "{words}");
    tally::found("deaths", format!("a handler that allocates: {words}"));
    assert_eq!(host.ends().code(), Some(1));
}
