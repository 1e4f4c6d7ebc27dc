//! The program that records, and dies. It does what its plan says: see `ttlog_tests::Plan`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog::{Builder, Recorder};
use ttlog_tests::acks::Acks;
use ttlog_tests::plan::CHURN_AT_ONCE;
use ttlog_tests::{Adapter, Plan, What, story, values};

/// Stack of a thread of which there are thousands.
const SMALL_STACK: usize = 64 * 1024;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (acks, args) = args.split_last().expect("a plan");
    let (directory, numbers) = args.split_last().expect("a plan");
    let plan = Plan::from_args(numbers).directory(directory);
    if matches!(plan.what, What::Try | What::TryInit) {
        return try_to_start(&plan);
    }
    let recorder = start(&plan).expect("a recorder");
    act(&plan, &recorder, Path::new(acks));
    ExitCode::SUCCESS
}

fn builder(plan: &Plan) -> Builder {
    let directory: PathBuf = plan.directory.clone().expect("a directory");
    let builder = ttlog::builder()
        .name("victim")
        .directory(directory)
        .capacity_mib(plan.capacity_mib)
        .span_slots(plan.span_slots);
    if plan.what == What::Values {
        builder.filter("trace")
    } else {
        builder
    }
}

fn start(plan: &Plan) -> Result<Recorder, ttlog::Error> {
    match plan.adapter {
        Adapter::Own => builder(plan).init(),
        Adapter::Layer => {
            let recorder = builder(plan).create()?;
            tracing_subscriber::registry().with(recorder.layer()).init();
            Ok(recorder)
        }
    }
}

fn try_to_start(plan: &Plan) -> ExitCode {
    let tried = if plan.what == What::TryInit {
        ttlog::init()
    } else {
        start(plan)
    };
    info!("whether or not somebody hears it");
    match tried {
        Ok(_) => println!("started"),
        Err(error) => println!("error {error}"),
    }
    ExitCode::SUCCESS
}

fn act(plan: &Plan, recorder: &Recorder, acks: &Path) {
    match plan.what {
        What::Tell => tell(plan, acks),
        What::Step => step(acks),
        What::LastWords => last_words(plan),
        What::Crowd => crowd(plan),
        What::Churn => churn(plan, acks),
        What::Values => values::say(),
        What::Log => values::say_by_log(),
        What::Exit => {
            info!("before the exit");
            std::process::exit(3);
        }
        What::Wait => {
            info!("before the wait");
            println!("waiting");
            wait();
        }
        What::SecondInit => {
            match builder(plan).init() {
                Ok(_) => println!("started"),
                Err(error) => println!("error {error}"),
            }
            info!("heard by the first");
        }
        What::Fill => fill(plan),
        What::Vanish => vanish(plan),
        What::Destructors => destructors(plan),
        What::Spans => spans(plan),
        What::Fork => fork(recorder),
        What::Try | What::TryInit => unreachable!("there is no recorder"),
    }
    let _ = recorder.stats();
}

fn wait() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn worker(number: u64) -> std::thread::Builder {
    std::thread::Builder::new().name(format!("worker-{number}"))
}

fn tell(plan: &Plan, acks: &Path) {
    let acks = Arc::new(Acks::create(acks).expect("acknowledgements"));
    let (ready, began) = mpsc::channel();
    for number in 1..=plan.threads {
        let (acks, ready) = (Arc::clone(&acks), ready.clone());
        let life = move || {
            let mut said = |count| {
                acks.acknowledge(number, count);
                if count == 1 {
                    ready.send(()).expect("main waits");
                }
            };
            for turn in 0.. {
                story::turn(number, turn, &mut said);
            }
        };
        worker(number).spawn(life).expect("a thread");
    }
    began.recv().expect("a worker began");
    println!("began");
    wait();
}

/// The main thread is worker 1, since it is the one that is traced; an act is
/// what it does between two stops.
fn step(acks: &Path) {
    let acks = Acks::create(acks).expect("acknowledgements");
    let stop = || nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).expect("a stop");
    stop();
    let mut said = |count| {
        acks.acknowledge(1, count);
        stop();
    };
    for turn in 0.. {
        story::turn(1, turn, &mut said);
    }
}

fn last_words(plan: &Plan) {
    let (done, quiet) = mpsc::channel();
    let quiet_life = move || {
        let _request = info_span!("request", id = 7).entered();
        info!(waits_for = "the lock", "the last words");
        done.send(()).expect("main waits");
        wait();
    };
    std::thread::Builder::new()
        .name("quiet".to_owned())
        .spawn(quiet_life)
        .expect("a thread");
    quiet.recv().expect("it spoke");
    (0..plan.events).for_each(|number| info!(number, "noise"));
    println!("done");
    wait();
}

fn say(number: u64, words: u64) {
    for word in 0..words {
        info!(number, word, "here");
    }
}

fn crowd(plan: &Plan) {
    let everyone = Arc::new(Barrier::new(plan.threads as usize + 1));
    for number in 1..=plan.threads {
        let everyone = Arc::clone(&everyone);
        let life = move || {
            say(number, 3);
            everyone.wait();
            wait();
        };
        worker(number)
            .stack_size(SMALL_STACK)
            .spawn(life)
            .expect("a thread");
    }
    everyone.wait();
    println!("done");
    wait();
}

fn churn(plan: &Plan, acks: &Path) {
    const WARM: u64 = 2000;
    let acks = Arc::new(Acks::create(acks).expect("acknowledgements"));
    let words = plan.events;
    println!("began");
    for first in (1..=plan.threads).step_by(CHURN_AT_ONCE as usize) {
        let last = (first + CHURN_AT_ONCE - 1).min(plan.threads);
        let start = |number| {
            let acks = Arc::clone(&acks);
            let life = move || {
                for word in 0..words {
                    info!(number, word, "here");
                    acks.counter(0).fetch_add(1, Ordering::Release);
                }
            };
            worker(number).stack_size(SMALL_STACK).spawn(life)
        };
        let alive: Vec<_> = (first..=last)
            .map(|number| start(number).expect("a thread"))
            .collect();
        alive
            .into_iter()
            .for_each(|thread| thread.join().expect("it said them all"));
        if first <= WARM && WARM <= last {
            println!("resident {}", resident_kib());
        }
    }
    println!("resident {}", resident_kib());
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc(5)");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

fn fill(plan: &Plan) {
    for number in 0..plan.events {
        info!(
            user_id = number,
            path = "/login",
            elapsed_us = number % 1000,
            "user logged in"
        );
    }
}

/// Threads that are gone from one instruction to the next, one after the other.
fn vanish(plan: &Plan) {
    for number in 1..=plan.threads {
        let (tell, told) = mpsc::channel();
        let life = move || {
            say(number, 3);
            tell.send(()).expect("main waits");
            // SAFETY: it ends this thread alone, which holds nothing that others wait for.
            unsafe { nix::libc::syscall(nix::libc::SYS_exit, 0) };
        };
        let thread = worker(number).stack_size(SMALL_STACK).spawn(life);
        drop(thread.expect("a thread"));
        told.recv().expect("it said three things");
    }
    info!("still heard");
}

/// Says something when its thread ends.
struct Farewell(&'static str);

impl Drop for Farewell {
    fn drop(&mut self) {
        info_span!("farewell").in_scope(|| info!("{}", self.0));
    }
}

thread_local! {
    static EARLY: Farewell = const { Farewell("of one from before its first event") };
    static LATE: Farewell = const { Farewell("of one from after its first event") };
}

extern "C" fn farewell_of_a_key(_: *mut std::ffi::c_void) {
    info!("of a key of pthreads");
}

/// Threads whose destructors log: Rust's, older and younger than the thread's ring,
/// and those of pthreads, which come last.
fn destructors(plan: &Plan) {
    let mut key = 0;
    // SAFETY: the key is written before the call returns; the function takes anything.
    let error = unsafe { nix::libc::pthread_key_create(&raw mut key, Some(farewell_of_a_key)) };
    assert_eq!(error, 0);
    let life = move || {
        EARLY.with(|_| ());
        info!("alive");
        LATE.with(|_| ());
        // SAFETY: the key was created, and its value is never looked at.
        let error = unsafe { nix::libc::pthread_setspecific(key, std::ptr::without_provenance(1)) };
        assert_eq!(error, 0);
    };
    for number in 1..=plan.threads {
        let thread = worker(number).spawn(life).expect("a thread");
        thread.join().expect("no panic");
    }
}

fn spans(plan: &Plan) {
    let requests: Vec<_> = (0..plan.events)
        .map(|number| info_span!("request", number))
        .collect();
    for (number, request) in requests.iter().enumerate() {
        let _request = request.enter();
        let query = info_span!("query", number);
        query.in_scope(|| info!(number, "in both"));
    }
    drop(requests);
    let _last = info_span!("last").entered();
    info!("in a slot again");
    println!("done");
    wait();
}

/// Forks in two ways, in the middle of a span; each child uses what it inherited,
/// opens spans of its own, and exits.
fn fork(recorder: &Recorder) {
    let recording = || std::fs::read(recorder.path()).expect("the recording");
    let request = info_span!("request", id = 7, user = tracing::field::Empty);
    let entered = request.clone().entered();
    info!("before the forks");
    let before = recording();
    // SAFETY: the process has one thread, and the child does what any thread does.
    let by_fork = || unsafe { nix::libc::fork() };
    // SAFETY: as above; libc's own handlers at fork are not run.
    let by_clone =
        || unsafe { nix::libc::syscall(nix::libc::SYS_clone, nix::libc::SIGCHLD, 0, 0, 0, 0) }
            as i32;
    for fork in [&by_fork as &dyn Fn() -> i32, &by_clone] {
        match fork() {
            0 => {
                request.record("user", "the child");
                info!("in the child");
                info_span!("the child's").in_scope(|| info!("in the child's span"));
                drop(entered);
                drop(request);
                std::process::exit(0);
            }
            child => {
                let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None);
                println!("child {status:?}");
            }
        }
    }
    println!(
        "{}",
        if recording() == before {
            "same"
        } else {
            "changed"
        }
    );
    info!("after the forks");
}
