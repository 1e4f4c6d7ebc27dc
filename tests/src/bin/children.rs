//! What becomes of forked children: acts of `tests/children.rs`.

use std::fmt::{self, Debug, Formatter};
use std::os::unix::thread::JoinHandleExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tracing::{info, info_span};
use ttlog_tests::actor::{self, Actor, said};
use ttlog_tests::divide::{Way, divide, leave, tell_of};
use ttlog_tests::story;

fn main() {
    let actor = Actor::enter(|act, builder| {
        if act == "hooks" {
            at_fork();
        }
        builder.retain(1000, 1 << 40)
    });
    match actor.act.as_str() {
        "die" => die(),
        "nowhere" => nowhere(&actor),
        "nowhere-else" => nowhere_else(&actor),
        "in-malloc" => in_malloc(&actor, SaFlags::SA_RESTART, false),
        "in-malloc-blocked" => in_malloc(&actor, SaFlags::SA_RESTART, true),
        "in-malloc-unblocked" => in_malloc(&actor, SaFlags::SA_NODEFER, false),
        "threads" => threads(&actor),
        "shown" => shown(),
        "handler" => handler(&actor),
        "handler-clone" => {
            BARE.store(true, Ordering::Relaxed);
            handler(&actor);
        }
        "hooks" => {
            at_fork();
            hooks(&actor);
        }
        "shares" => shares(),
        act => panic!("no act is called {act}"),
    }
}

fn say(text: &str, number: u64) {
    info!(number, "{text}");
    said();
}

/// Children that end in every way, those with even numbers before they have said a word.
fn die() {
    say("before", 0);
    let ways: [fn(); 6] = [
        || panic!("a child is at its wits' end"),
        || {
            let page = std::hint::black_box(0x10_0000 as *const u64);
            // SAFETY: none: this is the fault.
            std::hint::black_box(unsafe { page.read_volatile() });
        },
        || std::process::abort(),
        || std::process::exit(3),
        || leave(false),
        || signal::raise(Signal::SIGKILL).expect("raise(3)"),
    ];
    for (number, way) in (1..).zip(ways.iter().flat_map(|way| [way, way])) {
        let pid = divide(number, Way::Fork);
        if pid == 0 {
            if number % 2 == 1 {
                info_span!("the last").in_scope(|| say("in a child", number));
            }
            return way();
        }
        tell_of(number, pid);
    }
    say("after", 0);
}

/// Says three things; whether they are counted, be it as dropped.
fn is_counted(actor: &Actor) -> bool {
    (0..3).for_each(|word| say("nowhere", word));
    drop(info_span!("nowhere").entered());
    let stats = actor.recorder.stats();
    (stats.events + stats.dropped, stats.open_spans) == (3, 0)
}

/// Children that can have no recording: of descriptors or of room there is none.
fn nowhere(actor: &Actor) {
    say("before", 0);
    let limits = [(Resource::RLIMIT_NOFILE, 0), (Resource::RLIMIT_FSIZE, 4096)];
    for (number, (resource, limit)) in (1..).zip(limits) {
        let pid = divide(number, Way::Fork);
        if pid == 0 {
            setrlimit(resource, limit, limit).expect("setrlimit(2)");
            leave(is_counted(actor));
        }
        tell_of(number, pid);
    }
    say("after", 0);
}

/// Children that are somebody else, or see none of the directories; for root.
fn nowhere_else(actor: &Actor) {
    let jail = actor.plan.directory.as_ref().expect("a directory");
    let jail = jail.with_file_name("jail");
    std::fs::create_dir(&jail).expect("a directory");
    say("before", 0);
    for number in 1..=2 {
        let pid = divide(number, Way::Fork);
        if pid == 0 {
            if number == 1 {
                become_nobody();
            } else {
                std::os::unix::fs::chroot(&jail).expect("chroot(2)");
                std::env::set_current_dir("/").expect("chdir(2)");
            }
            leave(is_counted(actor));
        }
        tell_of(number, pid);
    }
    let left = std::fs::read_dir(&jail).expect("a directory").count();
    println!("left {left}");
    say("after", 0);
}

fn become_nobody() {
    const NOBODY: u32 = 65_534;
    let nobody = nix::unistd::Uid::from_raw(NOBODY);
    nix::unistd::setuid(nobody).expect("setuid(2)");
}

/// How often the handler was called.
static STRUCK: AtomicU64 = AtomicU64::new(0);

extern "C" fn strike(signal: i32) {
    STRUCK.fetch_add(1, Ordering::Relaxed);
    info!(signal, "in the handler");
    said();
}

/// A child whose first events come in a handler, in the middle of malloc, until it has
/// been struck many times; then it speaks. Around the fork the signal may be blocked, as
/// who divides often has it.
fn in_malloc(actor: &Actor, flags: SaFlags, blocked: bool) {
    let action = SigAction::new(SigHandler::Handler(strike), flags, SigSet::empty());
    // SAFETY: the handler logs and counts, which ttlog says may be done in one.
    unsafe { signal::sigaction(Signal::SIGUSR1, &action) }.expect("a handler");
    // What tracing does for a call site's first event is not for a handler.
    strike(0);
    let mask = |how| {
        let set = SigSet::from(Signal::SIGUSR1);
        signal::sigprocmask(how, Some(&set), None).expect("sigprocmask(2)");
    };
    for number in 1..=actor.plan.events {
        mask(if blocked {
            SigmaskHow::SIG_BLOCK
        } else {
            SigmaskHow::SIG_UNBLOCK
        });
        let pid = divide(number, Way::Fork);
        mask(SigmaskHow::SIG_UNBLOCK);
        if pid == 0 {
            actor::end_after(10);
            actor::shared(READY).store(number, Ordering::Release);
            allocate_until_struck(1 + 20);
            say("out of the handler", number);
            let stats = actor.recorder.stats();
            leave(stats.events > 0 && stats.events + stats.dropped == actor::said_so_far());
        }
        strike_until_it_ends(number, Pid::from_raw(pid));
    }
}

fn allocate_until_struck(times: u64) {
    let mut kept: Vec<Vec<u8>> = Vec::with_capacity(51);
    for n in (0..).take_while(|_| STRUCK.load(Ordering::Relaxed) < times) {
        // Larger than what the allocator keeps for each thread.
        kept.push(Vec::with_capacity(2000 + n % 64 * 500));
        if kept.len() > 50 {
            kept.clear();
        }
    }
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: nothing is called for a signal that is ignored.
    unsafe { signal::sigaction(Signal::SIGUSR1, &ignore) }.expect("ignored");
}

/// The word by which a child says that it may be struck.
const READY: u64 = 500;

fn strike_until_it_ends(number: u64, pid: Pid) {
    while actor::shared(READY).load(Ordering::Acquire) != number {
        std::thread::yield_now();
    }
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)).expect("a child") {
            WaitStatus::StillAlive => {}
            WaitStatus::Exited(_, status) => {
                return println!("child {number} {pid} exited {status}");
            }
            WaitStatus::Signaled(_, signal, _) => {
                return println!("child {number} {pid} {signal}");
            }
            status => panic!("{status:?}"),
        }
        signal::kill(pid, Signal::SIGUSR1).expect("not waited for yet");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// A child of many threads, all of which say their first words at once.
fn threads(actor: &Actor) {
    const THREADS: usize = 8;
    say("before", 0);
    for number in 1..=actor.plan.events {
        let pid = divide(number, Way::Fork);
        if pid == 0 {
            let everyone = Arc::new(Barrier::new(THREADS));
            let threads = [(); THREADS].map(|()| {
                let everyone = Arc::clone(&everyone);
                std::thread::spawn(move || {
                    everyone.wait();
                    let _own = info_span!("own").entered();
                    (0..100).for_each(|word| say("in a child's thread", word));
                })
            });
            for thread in threads {
                thread.join().expect("no panic");
            }
            say("the child's last words", number);
            let stats = actor.recorder.stats();
            leave(stats.events + stats.dropped == actor::said_so_far() && stats.open_spans == 0);
        }
        tell_of(number, pid);
    }
    say("after", 0);
}

/// Divides when it is shown.
struct Dividing(u64);

static DIVIDED: AtomicU64 = AtomicU64::new(0);

impl Debug for Dividing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        DIVIDED.store(divide(self.0, Way::Fork) as u64, Ordering::Relaxed);
        f.write_str("divided")
    }
}

/// Divides in the middle of an event, and of a span; both halves go on.
fn shown() {
    let _request = info_span!("request").entered();
    let mut number = 1;
    let goes_on = |number: u64| match DIVIDED.load(Ordering::Relaxed) {
        0 => leave(true),
        pid => tell_of(number, pid as i32),
    };
    info!(shown = ?Dividing(number), "while shown");
    said();
    goes_on(number);
    number += 1;
    let span = info_span!("divided", shown = ?Dividing(number));
    span.in_scope(|| say("in the span", number));
    goes_on(number);
}

/// Whether this is a child that a handler has made.
static CHILD: AtomicBool = AtomicBool::new(false);
/// Whether it makes them by a bare clone(2).
static BARE: AtomicBool = AtomicBool::new(false);
static MADE: AtomicU64 = AtomicU64::new(0);

extern "C" fn divides(_: i32) {
    let number = MADE.fetch_add(1, Ordering::Relaxed) + 1;
    let bare = BARE.load(Ordering::Relaxed);
    let pid = divide(number, if bare { Way::Clone } else { Way::Fork });
    if pid == 0 {
        CHILD.store(true, Ordering::Relaxed);
        return;
    }
    PIDS[number as usize].store(pid as u64, Ordering::Relaxed);
}

const CHILDREN: u64 = 200;
static PIDS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// Divides in a handler, wherever that comes; the child goes on from there, says what
/// it was about to say and a few things more. Nothing here allocates meanwhile, since
/// fork(3) would wait for that in a handler.
fn handler(actor: &Actor) {
    let action = SigAction::new(
        SigHandler::Handler(divides),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler divides the process, which holds no lock of the C library.
    unsafe { signal::sigaction(Signal::SIGUSR1, &action) }.expect("a handler");
    let worker = std::thread::Builder::new().name("worker-1".to_owned());
    let recorder = actor.recorder.clone();
    let life = move || {
        let (mut told, mut since) = (0, 0);
        let goes_on = || CHILD.load(Ordering::Relaxed) || MADE.load(Ordering::Relaxed) < CHILDREN;
        for turn in (0..).take_while(|_| goes_on()) {
            story::turn(1, turn, &mut |_| {
                // Not in memory that is shared: the handler may come in the middle.
                told += 1;
                since += u64::from(CHILD.load(Ordering::Relaxed));
                if since == 10 {
                    let stats = recorder.stats();
                    let counted = stats.events + stats.dropped;
                    // What had begun to be recorded is the parent's.
                    actor::said_in_all(counted);
                    leave(counted == 9 || counted == 10);
                }
            });
        }
        told
    };
    let teller = worker.spawn(life).expect("a thread");
    for number in 1..=CHILDREN {
        std::thread::sleep(Duration::from_micros(200 + number * 7 % 100));
        // SAFETY: the thread is not joined yet.
        let sent = unsafe { libc::pthread_kill(teller.as_pthread_t(), libc::SIGUSR1) };
        assert_eq!(sent, 0);
        while PIDS[number as usize].load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
    }
    actor::said_in_all(teller.join().expect("no panic"));
    for number in 1..=CHILDREN {
        tell_of(number, PIDS[number as usize].load(Ordering::Relaxed) as i32);
    }
    actor.at_rest();
}

/// The host's own functions at a fork, which speak.
fn at_fork() {
    unsafe extern "C" fn before() {
        say("about to divide", 0);
    }
    unsafe extern "C" fn in_parent() {
        say("in the parent's half", 0);
    }
    unsafe extern "C" fn in_child() {
        // The child is not yet told who it is: these are not counted.
        info!("in the child's half");
    }
    // SAFETY: the functions are this program's, never unloaded.
    let set = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    assert_eq!(set, 0);
}

/// A child after the host's functions, older than the recorder's and younger, have spoken.
fn hooks(actor: &Actor) {
    let pid = divide(1, Way::Fork);
    if pid == 0 {
        say("in a child", 1);
        // One of the two came after the recorder knew of the child.
        said();
        let stats = actor.recorder.stats();
        leave((stats.events, stats.dropped) == (2, 0));
    }
    tell_of(1, pid);
}

/// A child that shares the memory while its parent stands still, as vfork(2) has it.
fn shares() {
    extern "C" fn speaks(_: *mut libc::c_void) -> i32 {
        info_span!("shared").in_scope(|| say("in a child that shares", 1));
        0
    }
    let mut stack = vec![0u8; 256 * 1024];
    // SAFETY: the end of the stack lies behind its beginning.
    let top = unsafe { stack.as_mut_ptr().add(stack.len()) };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let _request = info_span!("request").entered();
    for _ in 0..100 {
        // SAFETY: the stack is the child's until it has ended, and this thread waits.
        let pid = unsafe { libc::clone(speaks, top.cast(), flags, std::ptr::null_mut()) };
        assert_eq!(ttlog_tests::divide::end_of(pid), "exited 0");
        say("after", 0);
    }
    assert!(Path::new("/proc/self").exists());
}
