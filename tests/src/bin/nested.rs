//! Events within events, and in the allocator: the acts of `tests/nested.rs`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::{self, Debug, Display, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Empty, debug};
use tracing::{info, info_span, warn};
use ttlog_tests::actor::{Actor, said};

fn main() {
    // What panics say is not what this is about.
    std::panic::set_hook(Box::new(|_| {}));
    let actor = Actor::enter(|_, builder| builder);
    match actor.act.as_str() {
        "chatty" => (0..actor.plan.events).for_each(chatty),
        "evil" => (0..actor.plan.events).for_each(evil),
        "threads-allocate" => allocate(&actor, || threads(actor.plan.threads)),
        "panics-allocate" => allocate(&actor, panics),
        "snapshots-allocate" => allocate(&actor, || snapshot(&actor)),
        act => panic!("no act is called {act}"),
    }
    actor.at_rest();
}

/// Says something when it is shown, and shows one that is less chatty in it.
struct Chatty(u64);

impl Debug for Chatty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(less) = self.0.checked_sub(1) {
            info!(level = self.0, less = ?Chatty(less), "while shown");
            said();
        }
        write!(f, "chatty {}", self.0)
    }
}

impl Display for Chatty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

/// Opens spans when it is shown, enters them and says something there.
struct Wanderer;

impl Debug for Wanderer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let _shown = info_span!("shown", who = ?Chatty(1)).entered();
        let _deeper = info_span!("deeper").entered();
        info!("while wandering");
        said();
        f.write_str("wandered")
    }
}

/// Every place in which something is shown.
fn chatty(number: u64) {
    info!(number, shown = ?Chatty(3), "debug");
    said();
    info!("display {}", Chatty(3));
    said();
    let request = info_span!("request", who = ?Chatty(2), later = Empty);
    let in_request = request.enter();
    request.record("later", debug(Chatty(2)));
    info!(number, shown = ?Wanderer, "wanderer");
    said();
    drop(in_request);
    info!(number, "after");
    said();
}

/// Panics when it is shown, in a span and after it has said something.
struct Evil;

impl Debug for Evil {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("half of it, then ")?;
        let _within = info_span!("within").entered();
        info!("before the panic");
        said();
        panic!("evil");
    }
}

/// Panics wherever something is shown, and says one thing before and one after.
fn evil(number: u64) {
    info!(number, "before");
    said();
    let caught = |evil: &dyn Fn()| {
        assert!(catch_unwind(AssertUnwindSafe(evil)).is_err());
    };
    let request = info_span!("request", number, later = Empty);
    request.in_scope(|| {
        caught(&|| info!(number, shown = ?Evil, "never said"));
        caught(&|| warn!("never said {:?}", Evil));
        // Without a parent, which the Registry would hold for it for ever.
        caught(&|| drop(info_span!(parent: None, "never opened", shown = ?Evil)));
        caught(&|| {
            request.record("later", debug(Evil));
        });
        info!(number, "after");
        said();
    });
}

/// How deep the allocator speaks within itself; 0: not at all.
static DEPTH: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SPEAKING: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which says what it does.
struct Talkative;

#[global_allocator]
static ALLOCATOR: Talkative = Talkative;

impl Talkative {
    fn says(what: &'static str, bytes: usize) {
        let depth = SPEAKING.get();
        if depth >= DEPTH.load(Ordering::Relaxed) {
            return;
        }
        SPEAKING.set(depth + 1);
        // The text allocates: within, this is called again.
        info!(bytes, text = format!("{what} {depth}"), "allocator");
        said();
        SPEAKING.set(depth);
    }
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Talkative {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Talkative::says("allocated", layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Talkative::says("reallocated", new_size);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(block, layout) }
        Talkative::says("freed", layout.size());
    }
}

/// Lets the allocator speak, as deep within itself as the plan has it.
fn allocate(actor: &Actor, during: impl FnOnce()) {
    DEPTH.store(actor.plan.events, Ordering::Relaxed);
    during();
    DEPTH.store(0, Ordering::Relaxed);
}

/// Threads that begin, allocate and end.
fn threads(threads: u64) {
    for number in 0..threads {
        let life = move || {
            let words: Vec<String> = (0..20).map(|word| format!("{number} {word}")).collect();
            let _request = info_span!("request", number, words = ?words).entered();
            for word in words {
                info_span!("word", word).in_scope(|| info!(word, "from a thread"));
                said();
            }
        };
        let named = std::thread::Builder::new().name(format!("a thread with a long name {number}"));
        let thread = named.spawn(life).expect("a thread");
        thread.join().expect("no panic");
    }
}

/// A panic, whose backtrace allocates very much.
fn panics() {
    let caught = std::thread::spawn(|| panic!("while the allocator speaks"));
    assert!(caught.join().is_err());
}

fn snapshot(actor: &Actor) {
    for number in 0..1000 {
        info!(number, text = format!("{number}"), "before the snapshot");
        said();
    }
    let snapshot = actor.recorder.flush_snapshot("while the allocator speaks");
    snapshot.expect("a snapshot");
}
