//! Signal handlers that log, whatever they interrupt: the acts of `tests/storms.rs`.
//!
//! The handlers log events and open no spans: by the layer, the Registry would do what
//! only the recorder promises not to do in a handler, that is, allocate and wait.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, Signal};
use tracing::{info, info_span};
use ttlog_tests::actor::{self, Actor, said};
use ttlog_tests::story;

/// The signals, and how often each comes; each may interrupt the other's handler.
const STRIKES: [(Signal, i64); 2] = [(Signal::SIGUSR1, 25), (Signal::SIGUSR2, 70)];

fn main() {
    let actor = Actor::enter(|act, builder| {
        if act == "first-events-after-many-keys" {
            (0..40).for_each(|_| assert!(key() < u32::MAX));
        }
        builder
    });
    // What tracing does for a call site's first event is not for a handler.
    strike(0);
    for (signal, _) in STRIKES {
        let handler = SigHandler::Handler(strike);
        let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler logs and counts, which ttlog says may be done in one.
        unsafe { signal::sigaction(signal, &action) }.expect("a handler");
    }
    match actor.act.as_str() {
        "storm" => storm(&actor),
        "first-events-after-many-keys" => first_events(&actor),
        "first-events-of-long-names" => {
            LONG_NAMES.store(true, Ordering::Relaxed);
            first_events(&actor);
        }
        act => panic!("no act is called {act}"),
    }
    actor.at_rest();
    println!("struck {}", STRUCK.load(Ordering::Relaxed));
}

/// A key of pthreads, which may be one of those for which a thread's first value takes
/// memory.
fn key() -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: the key is written before the call returns, and has no function.
    let error = unsafe { libc::pthread_key_create(&raw mut key, None) };
    assert_eq!(error, 0);
    key
}

/// How often a handler was called.
static STRUCK: AtomicU64 = AtomicU64::new(0);

extern "C" fn strike(signal: i32) {
    let number = STRUCK.fetch_add(1, Ordering::Relaxed);
    info!(number, signal, text = "a text", shown = ?Some(number), "in the handler");
    said();
}

/// Timers that strike the thread that they were made on, until they are dropped.
struct Timers(Vec<libc::timer_t>);

// SAFETY: a timer is the process's, and may be deleted by any of its threads.
unsafe impl Send for Timers {}

impl Timers {
    fn on_this_thread() -> Timers {
        Timers(STRIKES.map(Timers::on).to_vec())
    }

    fn on((signal, every_us): (Signal, i64)) -> libc::timer_t {
        // SAFETY: all zeros is a valid sigevent.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal as i32;
        // SAFETY: it takes nothing.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = std::ptr::null_mut();
        // SAFETY: the event is valid, and the timer is written before the call returns.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        let every = libc::timespec {
            tv_sec: 0,
            tv_nsec: every_us * 1000,
        };
        let times = libc::itimerspec {
            it_interval: every,
            it_value: every,
        };
        // SAFETY: the timer was made, the times are valid, the old ones not asked for.
        let set = unsafe { libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        timer
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        for &timer in &self.0 {
            // SAFETY: the timer was made, and is deleted once.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

fn worker(number: u64) -> std::thread::Builder {
    std::thread::Builder::new().name(format!("worker-{number}"))
}

/// Threads that tell the story, and others that come and go; all are struck, be it in
/// their first event or after their last.
fn storm(actor: &Actor) {
    let seconds = actor.plan.events;
    actor::end_after(seconds as u32 + actor::PATIENCE);
    let began = Instant::now();
    let goes_on = move || began.elapsed() < Duration::from_secs(seconds);
    let tells = move |number| {
        let _timers = Timers::on_this_thread();
        for turn in (0..).take_while(|_| goes_on()) {
            story::turn(number, turn, &mut |_| said());
        }
    };
    let tellers =
        (1..=actor.plan.threads).map(|number| worker(number).spawn(move || tells(number)));
    let tellers: Vec<_> = tellers.map(|teller| teller.expect("a thread")).collect();
    for number in (0..).take_while(|_| goes_on()) {
        let life = move || {
            let timers = Timers::on_this_thread();
            for word in 0..20u64 {
                let text = format!("{number} {word}");
                info_span!("word", text).in_scope(|| info!(number, word, text, "said"));
                said();
            }
            timers
        };
        let passer = std::thread::Builder::new().name("a passer-by".to_owned());
        let thread = passer.spawn(life).expect("a thread");
        drop(thread.join().expect("it said it all"));
    }
    for teller in tellers {
        teller.join().expect("it told the story");
    }
}

/// Whether threads have names that may be longer than the kernel has them.
static LONG_NAMES: AtomicBool = AtomicBool::new(false);

/// Threads whose first event comes in a handler, in the middle of malloc: of Rust's and
/// of C's. Who allocates there waits for itself.
fn first_events(actor: &Actor) {
    static THREAD: AtomicI32 = AtomicI32::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    fn allocates() {
        if LONG_NAMES.load(Ordering::Relaxed) {
            // SAFETY: the name is a C string, which the kernel copies.
            unsafe { libc::prctl(libc::PR_SET_NAME, c"a-thread-of-c-s".as_ptr()) };
        }
        // SAFETY: it takes nothing.
        THREAD.store(unsafe { libc::gettid() }, Ordering::Release);
        let sizes = (0..).take_while(|_| !DONE.load(Ordering::Relaxed));
        let mut kept: Vec<Vec<u8>> = Vec::with_capacity(51);
        for n in sizes {
            // Larger than what the allocator keeps for each thread.
            kept.push(Vec::with_capacity(2000 + n % 64 * 500));
            if kept.len() > 50 {
                kept.clear();
            }
        }
    }
    extern "C" fn of_c(_: *mut c_void) -> *mut c_void {
        allocates();
        std::ptr::null_mut()
    }
    for number in 0..actor.plan.threads {
        THREAD.store(0, Ordering::Relaxed);
        DONE.store(false, Ordering::Relaxed);
        let struck = STRUCK.load(Ordering::Relaxed);
        let mut foreign = 0;
        let own = (number % 4 == 0).then(|| worker(number).spawn(allocates).expect("a thread"));
        if own.is_none() {
            // SAFETY: the thread is written before the call returns.
            let error = unsafe {
                libc::pthread_create(
                    &raw mut foreign,
                    std::ptr::null(),
                    of_c,
                    std::ptr::null_mut(),
                )
            };
            assert_eq!(error, 0);
        }
        while THREAD.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(number % 50));
        let (pid, thread) = (std::process::id(), THREAD.load(Ordering::Relaxed));
        // SAFETY: the thread lives, and has a handler.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, pid, thread, libc::SIGUSR1) };
        assert_eq!(sent, 0);
        let began = Instant::now();
        while STRUCK.load(Ordering::Relaxed) == struck || actor::said_so_far() <= struck {
            if began.elapsed() > Duration::from_secs(10) {
                eprintln!("thread {number} waits for itself");
                // SAFETY: it ends the process, and calls nothing of it.
                unsafe { libc::_exit(1) };
            }
            std::thread::yield_now();
        }
        DONE.store(true, Ordering::Relaxed);
        if let Some(own) = own {
            own.join().expect("no panic");
            continue;
        }
        // SAFETY: the thread was created, and is joined once.
        let joined = unsafe { libc::pthread_join(foreign, std::ptr::null_mut()) };
        assert_eq!(joined, 0);
    }
}
