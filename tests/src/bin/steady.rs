//! The program whose allocations, page faults and system calls are counted:
//! `steady own|layer|registry|none|careless EVENTS THREADS DIRECTORY`.
//!
//! After a warm-up it says so many events, in spans, then has so many threads come and
//! go, one after the other, and prints what that took.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use nix::libc;
use nix::sys::resource::{UsageWho, getrusage};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, debug_span, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How often memory was asked for, by whomever: Rust's allocator and the C library's
/// own calls all come here.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise, handed on.
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise, handed on.
    unsafe { __libc_calloc(count, size) }
}

/// # Safety
/// As realloc(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise, handed on.
    unsafe { __libc_realloc(block, size) }
}

fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

fn minor_faults() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage(2)");
    usage.minor_page_faults()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [adapter, events, threads, directory] = args.as_slice() else {
        panic!("steady ADAPTER EVENTS THREADS DIRECTORY");
    };
    let events: u64 = events.parse().expect("a number of events");
    let threads: u64 = threads.parse().expect("a number of threads");
    // Where nobody else has left a snapshot that a start would look at.
    let builder = ttlog::builder()
        .directory(directory)
        .snapshot_directory(directory);
    let builder = builder.capacity_mib(2);
    start(adapter, builder);
    // The warm-up goes around the whole ring, and more than once.
    (0..100_000 / 4).for_each(turn);
    (0..2).for_each(thread);

    let (allocated, faults) = (allocations(), minor_faults());
    (0..events / 4).for_each(turn);
    let (allocated, faults) = (allocations() - allocated, minor_faults() - faults);
    println!("allocations {allocated}");
    println!("faults {faults}");

    let allocated = allocations();
    (0..threads).for_each(thread);
    println!("by-threads {}", allocations() - allocated);
    println!(
        "by-first-events {}",
        BY_FIRST_EVENTS.load(Ordering::Relaxed)
    );
}

fn start(adapter: &str, builder: ttlog::Builder) {
    let recorder = || builder.create().expect("a recorder");
    match adapter {
        "own" => recorder().subscriber().init(),
        "layer" => tracing_subscriber::registry()
            .with(recorder().layer())
            .init(),
        "registry" => tracing_subscriber::registry().init(),
        "none" => Nothing.init(),
        "careless" => Careless(recorder().subscriber()).init(),
        adapter => panic!("no adapter is called {adapter}"),
    }
}

/// Four events, three spans.
fn turn(number: u64) {
    info!(
        number,
        half = number as f64 / 2.0,
        text = "a text",
        "outside"
    );
    let _request = info_span!("request", id = number).entered();
    info!(number, wide = u128::from(number), "formatted {number}");
    {
        let query = debug_span!("query", table = "users", rows = tracing::field::Empty);
        let _in_query = query.enter();
        query.record("rows", number);
        info!(shown = ?Some(number), "inside");
    }
    let _later = debug_span!(parent: None, "later");
    info!(parent: None, truth = true, "in no span");
}

/// How often the first events of threads allocated.
static BY_FIRST_EVENTS: AtomicU64 = AtomicU64::new(0);

/// A thread that says a few events, and is gone before anything else is done.
fn thread(number: u64) {
    let life = move || {
        let before = allocations();
        info!(number, "the first");
        BY_FIRST_EVENTS.fetch_add(allocations() - before, Ordering::Relaxed);
        (0..3).for_each(turn);
    };
    // More of a name than the kernel keeps.
    let named = std::thread::Builder::new().name(format!("a passer-by, number {number}"));
    let thread = named.spawn(life).expect("a thread");
    thread.join().expect("no panic");
}

/// Hears everything and does nothing.
struct Nothing;

impl Subscriber for Nothing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

thread_local! {
    static SAID: Cell<u64> = const { Cell::new(0) };
}

/// A recorder as it must not be: it asks the kernel and the allocator every thousand
/// events, and at a thread's first, and touches a page that nobody has.
struct Careless(ttlog::Subscriber);

/// Pages that are touched one after the other.
static UNTOUCHED: [AtomicU8; 4096 << 12] = [const { AtomicU8::new(0) }; 4096 << 12];

impl Subscriber for Careless {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.0.new_span(attributes)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.0.record(id, values);
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        self.0.record_follows_from(id, follows);
    }

    fn event(&self, event: &Event<'_>) {
        if SAID.get().is_multiple_of(1000) {
            // SAFETY: it takes nothing.
            std::hint::black_box(Box::new(unsafe { libc::getppid() }));
            let page = SAID.get() as usize / 1000 * 4096;
            if let Some(byte) = UNTOUCHED.get(page) {
                std::hint::black_box(byte).store(1, Ordering::Relaxed);
            }
        }
        SAID.set(SAID.get() + 1);
        self.0.event(event);
    }

    fn enter(&self, id: &Id) {
        self.0.enter(id);
    }

    fn exit(&self, id: &Id) {
        self.0.exit(id);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.0.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.0.try_close(id)
    }
}
