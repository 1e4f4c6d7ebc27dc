//! Threads that come and end in every way there is: the acts of `tests/threads.rs`.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use nix::libc;
use tracing::span::EnteredSpan;
use tracing::{Span, info, info_span};
use ttlog_tests::Plan;
use ttlog_tests::actor::{Actor, said};

/// Stack of a thread of which there are thousands.
const SMALL_STACK: usize = 64 * 1024;

fn main() {
    let actor = Actor::enter(|act, builder| {
        if act == "main-ends" {
            // Before the recorder's own: what is called at the exit comes in reverse.
            at_exit(last_of_all);
        }
        if act == "keys" {
            KEYS[0].store(key(), Ordering::Relaxed);
        }
        builder
    });
    match actor.act.as_str() {
        "crowd" => crowd(&actor.plan),
        "farewells" => farewells(&actor.plan),
        "main-ends" => {
            at_exit(before_the_last);
            actor.at_rest();
            return speak(actor.plan.events);
        }
        "keys" => keys(&actor.plan),
        "late" => late(&actor.plan),
        "vanish" => vanish(&actor.plan),
        "cancelled" => cancelled(&actor),
        "handed-over" => handed_over(&actor.plan),
        "exits-in-a-span" => {
            let _outermost = info_span!("outermost").entered();
            say(0);
            std::process::exit(0);
        }
        act => panic!("no act is called {act}"),
    }
    actor.at_rest();
}

fn say(number: u64) {
    info!(number, "here");
    said();
}

fn worker(number: u64) -> std::thread::Builder {
    let builder = std::thread::Builder::new().name(format!("worker-{number}"));
    builder.stack_size(SMALL_STACK)
}

/// All live at once, more than there are blocks.
fn crowd(plan: &Plan) {
    let everyone = Arc::new(Barrier::new(plan.threads as usize));
    let start = |number| {
        let everyone = Arc::clone(&everyone);
        let life = move || {
            say(number);
            let _request = info_span!("request", number).entered();
            everyone.wait();
            say(number);
        };
        worker(number).spawn(life).expect("a thread")
    };
    let all: Vec<_> = (0..plan.threads).map(start).collect();
    for thread in all {
        thread.join().expect("no panic");
    }
}

/// A thread-local that speaks when its thread ends, in a span of its own too.
struct Farewell {
    name: &'static str,
    held: Cell<Option<EnteredSpan>>,
}

impl Farewell {
    const fn of(name: &'static str) -> Farewell {
        let held = Cell::new(None);
        Farewell { name, held }
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        drop(self.held.take());
        info!("farewell of {}", self.name);
        said();
        let _farewell = info_span!("farewell", of = self.name).entered();
        info!("in a span of {}", self.name);
        said();
    }
}

thread_local! {
    static FIRST: Farewell = const { Farewell::of("the first") };
    static SECOND: Farewell = const { Farewell::of("the second") };
    static THIRD: Farewell = const { Farewell::of("the third") };
}

/// Says one thing, with thread-locals that are older than the thread's first event,
/// younger, or both; those of the third kind hold a span, entered.
fn speak(order: u64) {
    let all = [&FIRST, &SECOND, &THIRD];
    let (older, younger) = all.split_at([3, 0, 1][order as usize % 3]);
    older.iter().for_each(|farewell| farewell.with(|_| ()));
    say(order);
    for farewell in younger {
        let held = info_span!("held").entered();
        farewell.with(|farewell| farewell.held.set(Some(held)));
    }
}

fn farewells(plan: &Plan) {
    for number in 0..plan.threads {
        let thread = worker(number).spawn(move || speak(number));
        thread.expect("a thread").join().expect("no panic");
    }
}

fn at_exit(function: extern "C" fn()) {
    // SAFETY: the function is this program's, never unloaded.
    assert_eq!(unsafe { libc::atexit(function) }, 0);
}

extern "C" fn before_the_last() {
    info!("before the recorder knows of the exit");
    said();
}

extern "C" fn last_of_all() {
    info!("after the recorder knew of the exit");
    said();
}

/// Keys of pthreads: one older than the recorder's, one younger.
static KEYS: [AtomicU32; 2] = [const { AtomicU32::new(NO_KEY) }; 2];

const NO_KEY: u32 = u32::MAX;

fn key() -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: the key is written before the call returns; the function takes anything.
    let error = unsafe { libc::pthread_key_create(&raw mut key, Some(farewell_of_a_key)) };
    assert_eq!(error, 0);
    key
}

/// Has a key's destructor, if there is that key, called so many times when this thread
/// ends: at each of the rounds that are made (PTHREAD_DESTRUCTOR_ITERATIONS), up to four.
fn set(key: &AtomicU32, times: usize) {
    let key = key.load(Ordering::Relaxed);
    if key == NO_KEY {
        return;
    }
    // SAFETY: the key was created; its value is a number, which nobody takes for more.
    let error = unsafe { libc::pthread_setspecific(key, std::ptr::without_provenance(times)) };
    assert_eq!(error, 0);
}

/// Speaks, and has itself called again for both keys, as often as is left.
extern "C" fn farewell_of_a_key(times: *mut c_void) {
    info_span!("farewell of a key").in_scope(|| say(times.addr() as u64));
    if times.addr() > 1 {
        set(&KEYS[0], times.addr() - 1);
        set(&KEYS[1], times.addr() - 1);
    }
}

/// Threads whose keys' destructors speak, before the recorder's, after it, and after
/// the last time that the recorder's is called.
fn keys(plan: &Plan) {
    KEYS[1].store(key(), Ordering::Relaxed);
    for number in 0..plan.threads {
        let life = move || {
            if number % 2 == 0 {
                say(number);
            }
            set(&KEYS[(number / 2 % 2) as usize], 1 + number as usize % 4);
        };
        let thread = worker(number).spawn(life).expect("a thread");
        thread.join().expect("no panic");
    }
}

type Life = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

// As libc has them, but that they may unwind: an end of a thread does (RFC 2945).
unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        life: Life,
        argument: *mut c_void,
    ) -> i32;
    fn pthread_exit(value: *mut c_void) -> !;
    safe fn pthread_testcancel();
    fn pthread_cancel(thread: libc::pthread_t) -> i32;
}

/// A thread that Rust knows nothing of.
fn foreign(life: Life, number: u64) -> libc::pthread_t {
    let mut thread = 0;
    let number = std::ptr::without_provenance_mut(number as usize);
    // SAFETY: the thread is written before the call returns; `life` takes a number.
    let error = unsafe { pthread_create(&raw mut thread, std::ptr::null(), life, number) };
    assert_eq!(error, 0);
    thread
}

/// What a thread has come to.
fn join(thread: libc::pthread_t) -> usize {
    let mut value = std::ptr::null_mut();
    // SAFETY: the thread was created, and is joined once.
    let error = unsafe { libc::pthread_join(thread, &raw mut value) };
    assert_eq!(error, 0);
    value.addr()
}

/// A name of 15 bytes, which may be the beginning of a longer one.
fn take_a_long_name() {
    // SAFETY: the name is a C string, which the kernel copies.
    let named = unsafe { libc::prctl(libc::PR_SET_NAME, c"a-thread-of-c-s".as_ptr()) };
    assert_eq!(named, 0);
}

/// Threads of C's with long names, which Rust knows of, and which still speak when its
/// thread-locals are gone.
fn late(plan: &Plan) {
    extern "C-unwind" fn life(number: *mut c_void) -> *mut c_void {
        take_a_long_name();
        let _ = std::thread::current();
        set(&KEYS[1], 4);
        number
    }
    KEYS[1].store(key(), Ordering::Relaxed);
    for number in 0..plan.threads {
        assert_eq!(join(foreign(life, number)), number as usize);
    }
}

/// Threads that are gone from one instruction to the next, all at once and in a span,
/// then others; each time the pool has less than two such crowds.
fn vanish(plan: &Plan) {
    for _ in 0..plan.events {
        let everyone = Arc::new(Barrier::new(plan.threads as usize));
        for number in 0..plan.threads {
            let everyone = Arc::clone(&everyone);
            let life = move || {
                say(number);
                let _request = info_span!("request", number).entered();
                say(number);
                everyone.wait();
                // SAFETY: it ends this thread alone, which holds nothing that others wait for.
                unsafe { libc::syscall(libc::SYS_exit, 0) };
            };
            drop(worker(number).spawn(life).expect("a thread"));
        }
        while threads() > 1 {
            std::thread::yield_now();
        }
    }
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc(5)");
    tasks.count()
}

/// Is cancelled, if somebody wants it, while it is shown.
struct Cancellable;

impl std::fmt::Debug for Cancellable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        pthread_testcancel();
        f.write_str("not cancelled")
    }
}

/// Threads of C's that end themselves, or are cancelled between two events or in the
/// middle of one.
fn cancelled(actor: &Actor) {
    extern "C-unwind" fn exits(number: *mut c_void) -> *mut c_void {
        let _request = info_span!("request").entered();
        say(number.addr() as u64);
        // SAFETY: the frames of this thread are to be unwound, and nothing is in them
        // that must not be.
        unsafe { pthread_exit(number) }
    }
    extern "C-unwind" fn speaks(number: *mut c_void) -> *mut c_void {
        loop {
            info_span!("request").in_scope(|| say(number.addr() as u64));
            pthread_testcancel();
        }
    }
    extern "C-unwind" fn shows(number: *mut c_void) -> *mut c_void {
        loop {
            let number = number.addr() as u64;
            info_span!("request").in_scope(|| info!(number, shown = ?Cancellable, "here"));
            said();
        }
    }
    for number in 0..actor.plan.threads {
        // Where nothing is recorded, nothing is shown.
        let ways = if actor.is_recorded() { 3 } else { 2 };
        let life: Life = [exits, speaks, shows][number as usize % ways];
        let thread = foreign(life, number);
        if (number as usize).is_multiple_of(ways) {
            assert_eq!(join(thread), number as usize);
            continue;
        }
        std::thread::sleep(std::time::Duration::from_micros(number % 97));
        // SAFETY: the thread is there until it is joined.
        assert_eq!(unsafe { pthread_cancel(thread) }, 0);
        assert_eq!(join(thread), usize::MAX, "PTHREAD_CANCELED");
    }
}

/// Spans that are opened on a thread, and left or closed when that is gone.
fn handed_over(plan: &Plan) {
    let aside = |number: u64, life: fn(Span) -> Span, span: Span| {
        let thread = worker(number).spawn(move || life(span)).expect("a thread");
        thread.join().expect("no panic")
    };
    let opens = |_| {
        let span = info_span!("handed over");
        span.in_scope(|| say(0));
        span
    };
    let never_leaves = |span: Span| {
        std::mem::forget(span.enter());
        say(1);
        span
    };
    let closes = |span: Span| {
        let entered = span.entered();
        say(2);
        drop(entered);
        Span::none()
    };
    for number in 0..plan.threads {
        let span = aside(number, opens, Span::none());
        let span = aside(number, never_leaves, span);
        span.in_scope(|| say(3));
        drop(aside(number, closes, span));
    }
}
