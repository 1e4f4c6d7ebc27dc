//! What the dying wait for: from a fault to the handler that was there before the
//! recorder's, and for a snapshot of a full recording.
//!
//! ```text
//! cargo bench -p ttlog --bench death
//! ```

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FAULTS: usize = 5000;
const SNAPSHOTS: usize = 20;
const PAGE: usize = 0x10_0000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in(in_memory())?;
    own_handler();
    let mut alone = faults();
    let recorder = ttlog::builder()
        .directory(directory.path())
        .snapshot_directory(directory.path())
        .window(Duration::from_secs(3600))
        .init()?;
    tracing::info!("the first event gets its thread a ring");
    let mut recorded = faults();
    report("fault to handler, without a recorder", &mut alone, "ns");
    report(
        "fault to handler, a cause stamped before",
        &mut recorded,
        "ns",
    );

    let mut events = 0u64;
    while recorder.stats().events < 300_000 {
        for _ in 0..1000 {
            tracing::info!(
                user_id = events,
                path = "/login",
                elapsed_us = events % 1000,
                "user logged in"
            );
            events += 1;
        }
    }
    let mut bytes = 0;
    let mut snapshots = Vec::new();
    for _ in 0..SNAPSHOTS {
        let began = Instant::now();
        let path = recorder.flush_snapshot("a benchmark")?;
        snapshots.push(began.elapsed().as_micros() as u64);
        bytes = std::fs::metadata(&path)?.len();
        std::fs::remove_file(path)?;
    }
    println!("a full recording of 10 MiB, all of it in the window: {bytes} bytes of snapshot");
    report("snapshot", &mut snapshots, "us");
    Ok(())
}

fn in_memory() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}

fn report(what: &str, figures: &mut [u64], unit: &str) {
    figures.sort_unstable();
    let at = |share: usize| figures[(figures.len() - 1) * share / 100];
    println!(
        "{what:<42} {:>8} min {:>8} median {:>8} p99 {:>8} max, {unit}",
        at(0),
        at(50),
        at(99),
        at(100)
    );
}

static ARRIVED: AtomicU64 = AtomicU64::new(0);

fn now() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is written there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Notes when it is called, and makes the page that was missing.
extern "C" fn on_fault(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    ARRIVED.store(now(), Ordering::Relaxed);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: nothing else is mapped there.
    unsafe { libc::mmap(PAGE as *mut _, 4096, libc::PROT_READ, flags, -1, 0) };
}

fn own_handler() {
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler does what one may.
    let set = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// How long it took from the fault to the handler, in nanoseconds.
fn faults() -> Vec<u64> {
    let fault = |_| {
        let began = now();
        let page = black_box(PAGE as *const u64);
        // SAFETY: none: this is the fault, after which there is a page.
        black_box(unsafe { page.read_volatile() });
        let passed = ARRIVED.load(Ordering::Relaxed).saturating_sub(began);
        // SAFETY: the page is the handler's.
        unsafe { libc::munmap(PAGE as *mut _, 4096) };
        passed
    };
    (0..FAULTS).map(fault).collect()
}
