//! A program that records in whatever surroundings it is put into, while it does what it
//! is told: `guest DIRECTORY WORD…`.
//!
//! The directory is the recordings'; `default` leaves it to the recorder, and `without`
//! is no recorder at all. The words before `ready` come as arguments, and those after
//! it as lines. What it prints is the same with a recorder and without; what it knows of
//! the recorder goes into files in the directory in which it was started.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::signal::SigSet;
use ttlog::Recorder;
use ttlog_tests::acks::Acks;
use ttlog_tests::guest::{STATUS, WARM, WORKERS};
use ttlog_tests::scribble::Scribbler;
use ttlog_tests::seccomp::forbid;
use ttlog_tests::story;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mut guest = Guest {
        directory: args.next().expect("a directory"),
        recorder: None,
        scribbler: None,
        notes: Vec::new(),
        work: None,
    };
    for word in args {
        guest.obeys(&word);
    }
    guest.writes_down();
    guest.work = Some(Work::begin());
    println!("ready");
    for line in std::io::stdin().lines() {
        let answer = guest.obeys(&line.expect("a line"));
        println!("{answer}");
    }
    guest.work.take().expect("it has begun").end();
    if let Some(recorder) = &guest.recorder {
        guest
            .notes
            .push(("stats", format!("{:?}", recorder.stats())));
        if guest.directory == "default" {
            // The namespace that it lies in ends with this process.
            std::fs::copy(recorder.path(), "copy").expect("a copy");
        }
    }
    guest.writes_down();
    println!("told");
    ExitCode::from(STATUS as u8)
}

struct Guest {
    directory: String,
    recorder: Option<Recorder>,
    scribbler: Option<Scribbler>,
    /// What is to be written down once that can be done again.
    notes: Vec<(&'static str, String)>,
    work: Option<Work>,
}

impl Guest {
    /// Does what a word means; the answer, which is the same without a recorder.
    fn obeys(&mut self, line: &str) -> &'static str {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "start" => self.starts(false),
            "start-for-signals" => self.starts(true),
            "subscriber" => return own_subscriber(),
            "snapshot" => self.makes_a_snapshot(),
            "limit" => limit(rest),
            "room" => room(rest),
            "deny" => deny(rest),
            "descriptors" => uses_up_descriptors(),
            "chroot" => std::os::unix::fs::chroot(rest).expect("a new root"),
            "user" => becomes(rest),
            "handler" => own_handler(),
            "block" => SigSet::all().thread_block().expect("pthread_sigmask(3)"),
            "fault" => return fault(),
            "abort" => std::process::abort(),
            "panic" => drop(std::panic::catch_unwind(|| {
                panic!("a panic that is caught")
            })),
            "allocate" => allocate(),
            "lie" => lie(),
            "scribble" => self.scribbles(rest),
            "heal" => self.heals(),
            _ => panic!("nothing to obey: {line:?}"),
        }
        "done"
    }

    fn writes_down(&mut self) {
        for (name, text) in self.notes.drain(..) {
            writes_down(name, &text);
        }
    }

    fn starts(&mut self, for_signals: bool) {
        let started = match self.directory.as_str() {
            "without" => return,
            "default" => ttlog::init(),
            directory => {
                let builder = ttlog::builder()
                    .name("guest")
                    .directory(directory)
                    .snapshot_directory("snapshots")
                    .span_slots(64);
                if for_signals {
                    builder.terminate_on(libc::SIGTERM).init()
                } else {
                    builder.init()
                }
            }
        };
        match started {
            Ok(recorder) => {
                let path = recorder.path().display().to_string();
                self.notes.push(("recording", path));
                self.recorder = Some(recorder);
            }
            Err(error) => self.notes.push(("error", error.to_string())),
        }
    }

    fn makes_a_snapshot(&mut self) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        self.notes.push(match recorder.flush_snapshot("a test") {
            Ok(path) => ("snapshot", path.display().to_string()),
            Err(error) => ("snapshot-error", error.to_string()),
        });
    }

    /// Scribbles by the seeds from one number to before another, and rests.
    fn scribbles(&mut self, seeds: &str) {
        let (from, to) = seeds.split_once(' ').expect("two numbers");
        let [from, to]: [u64; 2] = [from, to].map(|seed| seed.parse().expect("a number"));
        let work = self.work.as_ref().expect("it has begun");
        let path = self.recorder.as_ref().map(Recorder::path);
        if let (None, Some(path)) = (&self.scribbler, path) {
            self.scribbler = Some(Scribbler::over(path));
        }
        for seed in from..to {
            if let Some(scribbler) = &mut self.scribbler {
                scribbler.scribbles(seed);
            }
            work.goes_on();
        }
        work.rests(true);
    }

    /// Takes back what was scribbled, and goes on.
    fn heals(&mut self) {
        if let Some(scribbler) = &mut self.scribbler {
            scribbler.heals();
        }
        let work = self.work.as_ref().expect("it has begun");
        work.goes_on();
    }
}

/// Into a file where it was started, wherever that is now.
fn writes_down(name: &str, text: &str) {
    std::fs::write(name, text).expect("a note");
}

/// The threads that tell the story.
struct Work {
    acks: Arc<Acks>,
    orders: Arc<Orders>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// What its threads are to do.
#[derive(Default)]
struct Orders {
    stop: AtomicBool,
    rest: AtomicBool,
    /// How many of them rest.
    resting: AtomicU64,
}

impl Orders {
    /// Rests for as long as it is to; whether it may go on.
    fn may_go_on(&self) -> bool {
        if self.rest.load(Ordering::Acquire) {
            self.resting.fetch_add(1, Ordering::Release);
            while self.rest.load(Ordering::Acquire) {
                std::thread::sleep(A_MOMENT);
            }
            self.resting.fetch_sub(1, Ordering::Release);
        }
        !self.stop.load(Ordering::Relaxed)
    }
}

/// How long somebody sleeps who waits.
const A_MOMENT: Duration = Duration::from_micros(50);

/// How many events of each thread come between two seeds.
const BETWEEN: u64 = 100;

impl Work {
    /// Begins, and waits until all are warm.
    fn begin() -> Work {
        let acks = Arc::new(Acks::create(Path::new("acks")).expect("acknowledgements"));
        let orders = Arc::new(Orders::default());
        let thread = |number| {
            let (acks, orders) = (Arc::clone(&acks), Arc::clone(&orders));
            let life = move || {
                let measured = work(number, &acks, &orders);
                writes_down(&format!("worker-{number}"), &measured);
            };
            let builder = std::thread::Builder::new().name(format!("worker-{number}"));
            builder.spawn(life).expect("a thread")
        };
        let threads = (1..=WORKERS).map(thread).collect();
        let work = Work {
            acks,
            orders,
            threads,
        };
        work.until(|said| said.iter().all(|&count| count >= WARM));
        work
    }

    /// How many events have been said.
    fn said(&self) -> Vec<u64> {
        let counters = (1..=WORKERS).map(|number| self.acks.counter(number));
        counters
            .map(|count| count.load(Ordering::Acquire))
            .collect()
    }

    /// Waits until what was said is enough.
    fn until(&self, enough: impl Fn(&[u64]) -> bool) {
        while !enough(&self.said()) {
            std::thread::sleep(A_MOMENT);
        }
    }

    fn goes_on(&self) {
        self.rests(false);
        let before = self.said();
        self.until(|said| {
            let mut pairs = said.iter().zip(&before);
            pairs.all(|(now, before)| *now >= before + BETWEEN)
        });
    }

    /// Waits until all of them rest, or none.
    fn rests(&self, rest: bool) {
        self.orders.rest.store(rest, Ordering::Release);
        let resting = if rest { WORKERS } else { 0 };
        self.until(|_| self.orders.resting.load(Ordering::Acquire) == resting);
    }

    fn end(self) {
        self.orders.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}

/// Tells the story until it is to stop; how many events it was since it was warm, how
/// often they slept, and how long the longest took.
fn work(number: u64, acks: &Acks, orders: &Orders) -> String {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    let mut said = |count| {
        acks.acknowledge(number, count);
        let now = Instant::now();
        longest = longest.max(now - last);
        if count <= WARM {
            longest = Duration::ZERO;
        }
        last = now;
    };
    let warm_turns = WARM / story::TURN;
    for turn in 0..warm_turns {
        story::turn(number, turn, &mut said);
    }
    let before = sleeps();
    let mut turns = warm_turns..;
    for turn in turns.by_ref() {
        story::turn(number, turn, &mut said);
        if !orders.may_go_on() {
            break;
        }
    }
    let slept = sleeps() - before;
    let events = (turns.start - warm_turns) * story::TURN;
    format!("{events} {slept} {}", longest.as_nanos())
}

/// How often this thread gave its processor up of itself.
fn sleeps() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("getrusage(2)");
    usage.voluntary_context_switches()
}

fn resource(name: &str) -> Resource {
    match name {
        "as" => Resource::RLIMIT_AS,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "nproc" => Resource::RLIMIT_NPROC,
        "nofile" => Resource::RLIMIT_NOFILE,
        _ => panic!("no limit is called {name}"),
    }
}

fn limit(rest: &str) {
    let (name, number) = rest.split_once(' ').expect("a limit and a number");
    let (_, hard) = nix::sys::resource::getrlimit(resource(name)).expect("getrlimit(2)");
    let soft = number.parse().unwrap_or(hard);
    setrlimit(resource(name), soft, hard).expect("setrlimit(2)");
}

/// Leaves room for so many KiB more than what it has now.
fn room(rest: &str) {
    let (name, kib) = rest.split_once(' ').expect("a limit and a number");
    let line = if name == "as" { "VmSize:" } else { "VmData:" };
    let status = std::fs::read_to_string("/proc/self/status").expect("proc(5)");
    let has = status.lines().find_map(|text| text.strip_prefix(line));
    let has = has.expect("a line").trim().trim_end_matches(" kB");
    let [has, more]: [u64; 2] = [has, kib].map(|number| number.parse().expect("a number"));
    limit(&format!("{name} {}", (has + more) << 10));
}

/// From now on this system call is answered with this error.
fn deny(rest: &str) {
    let (call, errno) = rest.split_once(' ').expect("a call and an error");
    let [call, errno]: [u32; 2] = [call, errno].map(|word| word.parse().expect("a number"));
    forbid(call.into(), libc::SECCOMP_RET_ERRNO | errno);
}

fn uses_up_descriptors() {
    while let Ok(file) = std::fs::File::open("/") {
        std::mem::forget(file);
    }
}

fn becomes(user: &str) {
    let user = user.parse().expect("a user's id");
    std::os::unix::fs::chown(".", Some(user), None).expect("chown(2)");
    let user = nix::unistd::Uid::from_raw(user);
    nix::unistd::setuid(user).expect("setuid(2)");
}

/// As who is told that there is no recorder might.
fn own_subscriber() -> &'static str {
    match tracing::subscriber::set_global_default(tracing_subscriber::registry()) {
        Ok(()) => "installed",
        Err(_) => "there was another",
    }
}

/// Needs all the memory that there is.
fn allocate() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(vec![1; 1 << 20]);
        std::hint::black_box(&kept);
    }
}

/// Says something else than the story has at that place.
fn lie() {
    let liar = || tracing::info!(worker = 1u64, sequence = 0u64, "worker 1 says 1");
    let thread = std::thread::Builder::new().name("worker-1".to_owned());
    thread
        .spawn(liar)
        .expect("a thread")
        .join()
        .expect("no panic");
}

static FAULTS: AtomicU64 = AtomicU64::new(0);

/// Makes the page that was missing.
extern "C" fn maps_the_page(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    FAULTS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the kernel gives a valid siginfo_t.
    let info = unsafe { &*info };
    // SAFETY: that of a fault has an address.
    let address = unsafe { info.si_addr() } as usize & !4095;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page that is replaced is one whose file is gone.
    unsafe { libc::mmap(address as *mut _, 4096, access, flags, -1, 0) };
}

/// Installs a handler of SIGBUS.
fn own_handler() {
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = maps_the_page as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let before = std::ptr::null_mut();
    // SAFETY: the action is valid, and its handler does what a handler may.
    let set = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, before) };
    assert_eq!(set, 0);
}

/// Reads a page of its own whose file was cut short.
fn fault() -> &'static str {
    let path = "own";
    std::fs::write(path, [1; 4096]).expect("a file");
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = file.expect("a file");
    let map = memmap2::MmapRaw::map_raw(&file).expect("a mapping");
    file.set_len(0).expect("a file cut short");
    // SAFETY: none: this is the fault.
    let byte = unsafe { map.as_ptr().read_volatile() };
    match (byte, FAULTS.load(Ordering::Relaxed)) {
        (0, 1) => "survived once",
        (0, 2) => "survived twice",
        _ => "survived",
    }
}
