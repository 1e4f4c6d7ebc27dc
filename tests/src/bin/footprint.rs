//! The program whose memory is measured, and whose large recording is still being faulted
//! in when it goes on: `footprint ACT MIB DIRECTORY`.

use std::ffi::c_void;
use std::mem::transmute;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use tracing::subscriber::{NoSubscriber, set_global_default};
use tracing::{info, info_span};
use ttlog::Recorder;
use ttlog_tests::daemon::eventually;
use ttlog_tests::divide::{end_of, leave};
use ttlog_tests::footprint::Footprint;

/// Threads of the steady state, and what each of them says.
const THREADS: u64 = 4;
const EVENTS: u64 = 250_000;

type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(*mut u64, *const c_void, Start, *mut c_void) -> i32;

/// How many threads were made, by whomever.
static THREADS_MADE: AtomicU64 = AtomicU64::new(0);

/// # Safety
/// As pthread_create(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut u64,
    attributes: *const c_void,
    start: Start,
    argument: *mut c_void,
) -> i32 {
    THREADS_MADE.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the name ends with a zero.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
    // SAFETY: that is the C library's function of this name, which is there.
    let next: Create = unsafe { transmute(next) };
    // SAFETY: the caller's promise, handed on.
    unsafe { next(thread, attributes, start, argument) }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [act, mib, directory] = args.as_slice() else {
        panic!("footprint ACT MIB DIRECTORY");
    };
    let start = || {
        let builder = ttlog::builder()
            .directory(directory)
            .snapshot_directory(directory);
        let builder = builder.capacity_mib(mib.parse().expect("a number"));
        builder.create().expect("a recorder")
    };
    match act.as_str() {
        "own" => steady(|| installed(start())),
        "careless" => steady(|| {
            installed(start());
            std::mem::forget(std::hint::black_box(vec![1u8; 2 << 20]));
        }),
        "none" => steady(|| set_global_default(NoSubscriber::new()).expect("the first")),
        "starts" => starts(start),
        "divides" => divides(start),
        "is-truncated" => is_truncated(start),
        act => panic!("no act is called {act}"),
    }
}

fn installed(recorder: Recorder) {
    set_global_default(recorder.subscriber()).expect("the first");
}

/// Prints how much more private memory is taken than before, at a moment at which all
/// threads live and have said what they say.
fn steady(install: impl FnOnce()) {
    let before = Footprint::now().anonymous;
    install();
    let (said, measured) = (Barrier::new(5), Barrier::new(5));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (said, measured) = (&said, &measured);
            scope.spawn(move || {
                for number in 0..EVENTS {
                    let _turn = info_span!("turn", thread, number).entered();
                    info!(number, "something {number}");
                }
                said.wait();
                measured.wait();
            });
        }
        said.wait();
        println!("anonymous {}", Footprint::now().anonymous - before);
        measured.wait();
    });
}

/// Prints what is mapped when the start has returned, and what in the end.
fn starts(start: impl FnOnce() -> Recorder) {
    let before = Footprint::now().shared;
    let recorder = start();
    let mapped = || Footprint::now().shared - before;
    println!("mapped {}", mapped());
    println!("threads-made {}", THREADS_MADE.load(Ordering::Relaxed));
    let whole = std::fs::metadata(recorder.path()).expect("it is there");
    println!("whole {}", whole.len() / 1024);
    let all = || (mapped() == whole.len() / 1024 && tasks() == 1).then_some(());
    eventually("all of it, and one thread", all);
}

fn tasks() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a /proc");
    tasks.count()
}

/// Forks and makes a snapshot at once, and prints whether that came in time.
fn divides(start: impl FnOnce() -> Recorder) {
    let before = Footprint::now().shared;
    let recorder = start();
    let path = recorder.path().to_owned();
    let bytes = std::fs::metadata(&path).expect("it is there").len();
    installed(recorder.clone());
    info!("before");
    // SAFETY: the child does what any thread does, which is what this is about.
    let child = unsafe { libc::fork() };
    if child == 0 {
        info!("the child's own");
        leave(recorder.path() != path);
    }
    recorder
        .flush_snapshot("while it is faulted in")
        .expect("one");
    let under_way = Footprint::now().shared - before < bytes / 1024;
    println!("under-way {}", u64::from(under_way));
    info!("after");
    assert_eq!(end_of(child), "exited 0");
}

/// Loses all of the file behind its first page at once, and goes on; prints what
/// private memory that took.
fn is_truncated(start: impl FnOnce() -> Recorder) {
    let before = Footprint::now().anonymous;
    let recorder = start();
    let file = std::fs::File::options().write(true).open(recorder.path());
    file.expect("it is there").set_len(4096).expect("shorter");
    installed(recorder.clone());
    (0..100).for_each(|number| info!(number, "into private memory"));
    assert_eq!(recorder.stats().lost_stretches, 1);
    eventually("one thread", || (tasks() == 1).then_some(()));
    println!("anonymous {}", Footprint::now().anonymous - before);
}
