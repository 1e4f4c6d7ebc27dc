//! A program that dies in one of many ways, with a recorder or without: see
//! `ttlog_tests::death`.
//!
//! Its workers tell a part of the story; the first of them is the main thread, which
//! tells the shortest part and dies.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use tracing::info_span;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog_tests::acks::Acks;
use ttlog_tests::death::{Death, WORKERS};
use ttlog_tests::seccomp::forbid;
use ttlog_tests::story;

/// How many turns the main thread tells.
const TURNS: u64 = 4;

/// How many the workers tell: all of it has room.
const WORKERS_TURNS: u64 = 100;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [death, run, directory, acks] = args.as_slice() else {
        panic!("a death, a run, a directory or -, and a file: {args:?}")
    };
    let death = Death::from_name(death).expect("a death");
    let run: u64 = run.parse().expect("a number");
    let core = setrlimit(Resource::RLIMIT_CORE, 1 << 30, 1 << 30);
    core.expect("a core of a gibibyte");
    if directory != "-" {
        record(death, run, Path::new(directory));
    }
    let acks = Arc::new(Acks::create(Path::new(acks)).expect("acknowledgements"));
    for number in 2..=WORKERS {
        let acks = Arc::clone(&acks);
        let life = move || {
            let mut said = |count| acks.acknowledge(number, count);
            for turn in 0..WORKERS_TURNS {
                story::turn(number, turn, &mut said);
            }
            wait();
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        thread.spawn(life).expect("a thread");
    }
    let mut said = |count| acks.acknowledge(1, count);
    (0..TURNS).for_each(|turn| story::turn(1, turn, &mut said));
    die(death, run, &acks)
}

fn record(death: Death, run: u64, directory: &Path) {
    let mut builder = ttlog::builder()
        .name("mortal")
        .directory(directory)
        .snapshot_directory(directory)
        .capacity_mib(4);
    if death == Death::TermAsked {
        builder = builder.terminate_on(libc::SIGTERM);
    }
    if run.is_multiple_of(2) {
        let _ = builder.init().expect("a recorder");
    } else {
        let recorder = builder.create().expect("a recorder");
        tracing_subscriber::registry().with(recorder.layer()).init();
    }
}

fn die(death: Death, run: u64, acks: &Arc<Acks>) -> ExitCode {
    match death {
        Death::Return => {}
        Death::Exit => std::process::exit(7),
        // SAFETY: it ends the process, and calls nothing of it.
        Death::UnderscoreExit => unsafe { libc::_exit(9) },
        Death::PanicInMain | Death::PanicAbort => panic!("main is at its wits' end"),
        Death::PanicInThread => {
            let acks = Arc::clone(acks);
            let life = move || {
                let mut said = |count| acks.acknowledge(WORKERS + 1, count);
                story::turn(WORKERS + 1, 0, &mut said);
                let _job = info_span!("job", id = 7).entered();
                panic!("a worker is at its wits' end");
            };
            let thread = std::thread::Builder::new().name(format!("worker-{}", WORKERS + 1));
            assert!(thread.spawn(life).expect("a thread").join().is_err());
        }
        Death::DoublePanic => {
            let _second = PanicsWhenDropped;
            panic!("the first of two");
        }
        Death::Caught => {
            for number in 0..3 {
                let caught = std::panic::catch_unwind(|| panic!("caught {number}"));
                assert!(caught.is_err());
            }
        }
        Death::Abort => std::process::abort(),
        Death::Fault(signal) => fault(signal),
        Death::Sent(signal) => send(signal, run),
        Death::OverflowInMain => assert_eq!(deeper(1), 0),
        Death::OverflowInThread => {
            let thread = std::thread::spawn(|| deeper(1));
            assert_eq!(thread.join().expect("no end"), 0);
        }
        Death::TermAsked | Death::Term => send(libc::SIGTERM, run),
        Death::Kill => send(libc::SIGKILL, run),
    }
    ExitCode::SUCCESS
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("the second of two");
    }
}

/// Sends this process a signal, or this thread; twice, since Rust's own handler of
/// SIGSEGV and SIGBUS survives the first that is sent.
fn send(signal: i32, run: u64) {
    for _ in 0..2 {
        if run.is_multiple_of(4) {
            // SAFETY: it sends a signal to this thread.
            let sent = unsafe { libc::raise(signal) };
            assert_eq!(sent, 0);
        } else {
            let this = std::process::id() as i32;
            // SAFETY: it sends a signal to this process.
            let sent = unsafe { libc::kill(this, signal) };
            assert_eq!(sent, 0);
            // A signal to the process can be taken by any of its threads.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    wait()
}

fn wait() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Never returns 0, and needs a stack without an end.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 256]);
    deeper(depth + 1) + room[7]
}

/// Does what the processor or the kernel answers by a signal.
fn fault(signal: i32) {
    match signal {
        libc::SIGSEGV => {
            let nowhere = std::hint::black_box(std::ptr::null::<u64>().wrapping_add(1));
            // SAFETY: none: this is the fault.
            let read = unsafe { nowhere.read_volatile() };
            std::hint::black_box(read);
        }
        libc::SIGBUS => read_behind_the_end(),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: none: this is the fault.
        libc::SIGILL => unsafe { std::arch::asm!("ud2") },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: none: this is the fault.
        libc::SIGFPE => unsafe {
            std::arch::asm!("xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _);
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: none: this is the trap.
        libc::SIGTRAP => unsafe { std::arch::asm!("int3") },
        libc::SIGSYS => forbidden_call(),
        // SAFETY: it ends the process.
        _ => unsafe { libc::abort() },
    }
}

/// Reads a mapped file behind its end.
fn read_behind_the_end() {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open("short");
    let file = file.expect("a file");
    file.set_len(4096).expect("a page");
    // SAFETY: the file is shortened on purpose, and the bytes are read by address.
    let map = unsafe { memmap2::Mmap::map(&file) }.expect("a mapping");
    file.set_len(0).expect("no page");
    // SAFETY: none: this is the fault.
    let read = unsafe { map.as_ptr().read_volatile() };
    std::hint::black_box(read);
}

/// Forbids a system call, by SIGSYS, and makes it.
fn forbidden_call() {
    forbid(libc::SYS_getpriority, libc::SECCOMP_RET_TRAP);
    // SAFETY: it asks for a number, or is the trap.
    let priority = unsafe { libc::syscall(libc::SYS_getpriority, 0, 0) };
    std::hint::black_box(priority);
}
