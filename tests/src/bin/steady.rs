//! The program whose allocations and system calls are counted: `steady own|layer|registry EVENTS DIRECTORY`.
//!
//! It says so many events, in spans, after a warm-up, and prints how many times
//! it allocated while it did.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{debug_span, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [adapter, events, directory] = args.as_slice() else {
        panic!("steady own|layer|registry EVENTS DIRECTORY");
    };
    let events: u64 = events.parse().expect("a number of events");
    let builder = ttlog::builder().directory(directory).capacity_mib(2);
    let _recorder = match adapter.as_str() {
        "own" => Some(builder.init().expect("a recorder")),
        "layer" => {
            let recorder = builder.create().expect("a recorder");
            tracing_subscriber::registry().with(recorder.layer()).init();
            Some(recorder)
        }
        _ => {
            tracing_subscriber::registry().init();
            None
        }
    };
    // The warm-up goes around the whole ring, and more than once.
    (0..100_000 / 4).for_each(turn);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..events / 4).for_each(turn);
    println!("{}", ALLOCATIONS.load(Ordering::Relaxed) - before);
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
