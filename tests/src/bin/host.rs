//! A host with signal handlers of its own: `host WHAT DIRECTORY`, with `-` for no
//! recorder. It prints what it has lived through, and waits for its end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use tracing::{info, info_span};
use ttlog_tests::seccomp::forbid;

/// How many faults are recovered from.
const FAULTS: u64 = 3;

/// How many signals come in the middle of malloc.
const STORM: u64 = 20_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [what, directory] = args.as_slice() else {
        panic!("what to do, and a directory: {args:?}")
    };
    let recorded = || {
        if directory != "-" {
            record(Path::new(directory));
        }
    };
    match what.as_str() {
        "recovers" => {
            own_handler(libc::SIGSEGV, maps_the_page);
            recorded();
            recover();
            wait();
        }
        "recovers-quietly" => {
            own_handler(libc::SIGSEGV, maps_the_page);
            recorded();
            info!("the last words");
            fault(0x10_0000);
            println!("survived");
            wait();
        }
        "recovers-then-dies" => {
            own_handler(libc::SIGSEGV, maps_the_page);
            recorded();
            recover();
            std::process::abort();
        }
        "exits-in-its-handler" => {
            own_handler(libc::SIGSEGV, exits);
            recorded();
            info!("before the fault");
            fault(0x10_0000);
        }
        "chains" => {
            recorded();
            own_handler(libc::SIGSEGV, chains);
            info!("before the fault");
            fault(0x10_0000);
        }
        "stays-alone" => {
            recorded();
            own_handler(libc::SIGSEGV, maps_the_page);
            recover();
            wait();
        }
        "storm" => {
            own_handler(libc::SIGSEGV, counts);
            recorded();
            storm();
            wait();
        }
        "confined" => {
            recorded();
            info!("before the abort");
            forbid(libc::SYS_rt_tgsigqueueinfo, libc::SECCOMP_RET_KILL_PROCESS);
            std::process::abort();
        }
        "cramped" => {
            small_alternate_stack();
            recorded();
            info!("before the overflow");
            assert_eq!(deeper(1), 0);
        }
        "ignores" => {
            // SAFETY: nothing is called for a signal that is ignored.
            unsafe { libc::signal(libc::SIGABRT, libc::SIG_IGN) };
            recorded();
            // SAFETY: it sends this thread a signal that is ignored.
            assert_eq!(unsafe { libc::raise(libc::SIGABRT) }, 0);
            info!("after the signal");
            println!("survived");
            wait();
        }
        "recovers-by-a-number" => {
            // SAFETY: its handler does what a handler may.
            unsafe { libc::signal(libc::SIGSEGV, maps_the_first as *const () as usize) };
            recorded();
            info!("before the fault");
            fault(0x10_0000);
            println!("survived {}", SEEN.load(Ordering::Relaxed));
            wait();
        }
        "handles-aborts" => {
            own_handler(libc::SIGABRT, counts);
            recorded();
            info!("before the signal");
            // SAFETY: it sends this thread a signal that is handled.
            assert_eq!(unsafe { libc::raise(libc::SIGABRT) }, 0);
            println!("survived {}", SEEN.load(Ordering::Relaxed));
            wait();
        }
        "exits-in-its-handler-aside" => {
            own_handler(libc::SIGBUS, exits_aside);
            loses_its_recording(Path::new(directory));
            // SAFETY: it sends this process a signal for which the recorder has a handler.
            assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
            wait();
        }
        "waits" => {
            recorded();
            info!("before the signal");
            println!("waits");
            wait();
        }
        _ => panic!("not known: {what}"),
    }
}

fn record(directory: &Path) {
    let builder = ttlog::builder().name("host").directory(directory);
    let _ = builder.capacity_mib(2).init().expect("a recorder");
}

/// Without a guard; the next to write into the recording's head, which is the recorder's
/// thread that a signal asks for a snapshot, does so in vain.
fn loses_its_recording(directory: &Path) {
    let builder = ttlog::builder().name("host").directory(directory);
    let builder = builder.fatal_signals(false).snapshot_on(libc::SIGUSR1);
    let recorder = builder.init().expect("a recorder");
    let file = std::fs::File::options().write(true).open(recorder.path());
    file.and_then(|file| file.set_len(1))
        .expect("a shorter file");
}

fn wait() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// What was done before about the signal; for [`chains`].
static BEFORE: AtomicUsize = AtomicUsize::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);

fn own_handler(signal: i32, handler: Handler) {
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: both are valid, and the handlers of this file do what a handler may.
    let set = unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
    assert_eq!(set, 0);
    BEFORE.store(before.sa_sigaction, Ordering::Relaxed);
}

/// Makes the page that was missing.
extern "C" fn maps_the_page(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo_t.
    let info = unsafe { &*info };
    // SAFETY: that of a fault has an address.
    map(unsafe { info.si_addr() } as usize & !4095);
}

/// Of the old kind, which is told the signal alone.
extern "C" fn maps_the_first(signal: i32) {
    assert_eq!(signal, libc::SIGSEGV);
    map(0x10_0000);
}

fn map(address: usize) {
    SEEN.fetch_add(1, Ordering::Relaxed);
    let (access, flags) = (
        libc::PROT_READ,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
    );
    // SAFETY: nothing is mapped there, or there would have been no fault.
    unsafe { libc::mmap(address as *mut _, 4096, access, flags, -1, 0) };
}

/// Gives the main thread an alternate stack that holds one handler, as Rust does where
/// the kernel asks for no more.
fn small_alternate_stack() {
    let memory = vec![0u8; 6144].leak();
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the memory is nobody else's, and stays.
    let set = unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// Never returns 0, and needs a stack without an end.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 256]);
    deeper(depth + 1) + room[7]
}

extern "C" fn exits(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: it ends the process, and calls nothing of it.
    unsafe { libc::_exit(42) };
}

/// The same, on another thread than the first.
extern "C" fn exits_aside(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let is_first = nix::unistd::gettid() == nix::unistd::getpid();
    // SAFETY: it ends the process, and calls nothing of it.
    unsafe { libc::_exit(if is_first { 1 } else { 42 }) };
}

extern "C" fn counts(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

/// Calls whoever was there before.
extern "C" fn chains(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.load(Ordering::Relaxed);
    assert!(before != libc::SIG_DFL && before != libc::SIG_IGN);
    // SAFETY: the kernel held this to be a handler, and here all have three arguments.
    let before: Handler = unsafe { std::mem::transmute(before) };
    before(signal, info, context);
}

fn fault(address: usize) {
    let page = std::hint::black_box(address as *const u64);
    // SAFETY: none: this is the fault.
    let read = unsafe { page.read_volatile() };
    std::hint::black_box(read);
}

/// Faults and recovers, and says so each time.
fn recover() {
    for number in 1..=FAULTS {
        let _request = info_span!("request", number).entered();
        fault(0x10_0000 * number as usize);
        info!(number, "recovered");
    }
    println!("survived {}", SEEN.load(Ordering::Relaxed));
}

/// Signals a thread that allocates all the time, and waits for each to have been
/// handled. Who allocates in the handler waits for itself.
fn storm() {
    static THREAD: AtomicI32 = AtomicI32::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    let allocates = || {
        // SAFETY: it takes nothing.
        THREAD.store(unsafe { libc::gettid() }, Ordering::Release);
        let mut kept: Vec<Vec<u8>> = Vec::new();
        for n in 0usize.. {
            if DONE.load(Ordering::Relaxed) {
                return;
            }
            // Larger than what the allocator keeps for each thread.
            kept.push(vec![1; 2000 + n % 64 * 500]);
            if kept.len() > 50 {
                kept.clear();
            }
        }
    };
    let thread = std::thread::spawn(allocates);
    while THREAD.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let (pid, target) = (std::process::id(), THREAD.load(Ordering::Relaxed));
    for number in 1..=STORM {
        // SAFETY: the thread lives, and has a handler.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, pid, target, libc::SIGSEGV) };
        assert_eq!(sent, 0);
        let began = Instant::now();
        while SEEN.load(Ordering::Relaxed) < number {
            if began.elapsed() > Duration::from_secs(10) {
                println!("stuck at {number}");
                // SAFETY: it ends the process, and calls nothing of it.
                unsafe { libc::_exit(1) };
            }
            std::hint::spin_loop();
        }
    }
    DONE.store(true, Ordering::Relaxed);
    thread.join().expect("no panic");
    info!("after the storm");
    println!("survived {}", SEEN.load(Ordering::Relaxed));
}
