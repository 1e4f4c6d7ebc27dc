//! The program that makes snapshots, in one of several acts: the last argument, behind
//! a plan. It prints `started` or an error, and then what the act has to tell.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc;
use tracing::field::Empty;
use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog::{Builder, Recorder};
use ttlog_tests::acks::Acks;
use ttlog_tests::{Adapter, Plan, story, values};

/// Acknowledgements of the snapshots that were begun, and of those that were made.
const BEGUN: u64 = 60;
const MADE: u64 = 61;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [numbers @ .., directory, acks, act] = args.as_slice() else {
        panic!("a plan and an act")
    };
    let plan = Plan::from_args(numbers).directory(directory);
    if act == "nobody" {
        return nobody(&plan);
    }
    hush();
    let recorder = match start(&plan, builder(&plan, act)) {
        Ok(recorder) => recorder,
        Err(error) => return println!("error {error}"),
    };
    println!("started");
    match act.as_str() {
        "elsewhere" | "impossible" => snap(&recorder),
        "names" => names(&recorder),
        "taken" => taken(&recorder),
        "fork" => fork(&recorder),
        "closes" => daemonize(&recorder, &plan, 0),
        "reopens" => daemonize(&recorder, &plan, 64),
        "values" => say_values(&recorder),
        "window" => window(),
        "loop" => snap_until_killed(&recorder, &plan, Path::new(acks)),
        "storm" => storm(&recorder, &plan),
        "explode" => explode(&recorder),
        act => panic!("no act is called {act}"),
    }
}

/// Beside the directory of recordings.
fn snapshots(plan: &Plan) -> PathBuf {
    let recordings = plan.directory.as_ref().expect("a directory");
    recordings.with_file_name("snapshots")
}

fn builder(plan: &Plan, act: &str) -> Builder {
    let builder = ttlog::builder()
        .name("snapper")
        .directory(plan.directory.clone().expect("a directory"))
        .capacity_mib(plan.capacity_mib)
        .window(Duration::from_secs(600))
        .filter("trace");
    match act {
        "elsewhere" => builder,
        "impossible" => builder.snapshot_directory("/proc/nowhere/at/all"),
        _ => builder.snapshot_directory(snapshots(plan)),
    }
}

fn start(plan: &Plan, builder: Builder) -> Result<Recorder, ttlog::Error> {
    match plan.adapter {
        Adapter::Own => builder.init(),
        Adapter::Layer => {
            let recorder = builder.create()?;
            tracing_subscriber::registry().with(recorder.layer()).init();
            Ok(recorder)
        }
    }
}

fn wait() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn tell(snapshot: Result<PathBuf, ttlog::Error>) {
    match snapshot {
        Ok(path) => println!("snapshot {}", path.display()),
        Err(error) => println!("error {error}"),
    }
}

fn snap(recorder: &Recorder) {
    info!("before the snapshot");
    tell(recorder.flush_snapshot("a test"));
}

/// Asks before there is a recorder, and once there is one that is not installed.
fn nobody(plan: &Plan) {
    tell(ttlog::flush_snapshot("nobody is there"));
    let _recorder = builder(plan, "nobody").create().expect("a recorder");
    tell(ttlog::flush_snapshot("somebody is there"));
}

fn set_umask(umask: libc::mode_t) {
    // SAFETY: it changes a number of the process's own.
    unsafe { libc::umask(umask) };
}

fn names(recorder: &Recorder) {
    for umask in [0, 0o022, 0o777] {
        set_umask(umask);
        snap(recorder);
    }
}

fn now_ms() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis()
}

/// Takes the names of the next 900 ms for itself.
fn taken(recorder: &Recorder) {
    snap(recorder);
    let directory = recorder.path().parent().expect("a directory");
    let directory = directory.with_file_name("snapshots");
    let first = now_ms() + 1;
    for stamp in first..first + 900 {
        let name = format!("ttlog-{}-{stamp}.bin", std::process::id());
        let mut file = File::create_new(directory.join(name)).expect("a free name");
        std::io::Write::write_all(&mut file, b"taken").expect("five bytes");
    }
    println!("taken {}", first + 899);
    while now_ms() < first {}
    snap(recorder);
}

fn fork(recorder: &Recorder) {
    let _request = info_span!("request", id = 7).entered();
    info!("before the forks");
    // SAFETY: the process has one thread, and the child does what any thread does.
    let by_fork = || unsafe { libc::fork() };
    // SAFETY: as above; libc's own handlers at fork are not run.
    let by_clone =
        || unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as libc::pid_t;
    for fork in [&by_fork as &dyn Fn() -> libc::pid_t, &by_clone] {
        match fork() {
            0 => {
                tell(recorder.flush_snapshot("of a child"));
                tell(ttlog::flush_snapshot("of a child"));
                std::process::exit(0);
            }
            child => {
                let child = nix::unistd::Pid::from_raw(child);
                println!("child {:?}", nix::sys::wait::waitpid(child, None));
            }
        }
    }
    snap(recorder);
}

/// Closes what it knows nothing of, as daemons do, and opens so many files of its own.
fn daemonize(recorder: &Recorder, plan: &Plan, files: usize) {
    const TEXT: &str = "of the daemon's own";
    info!("before the end of descriptors");
    // SAFETY: no descriptor is used afterwards that was open before, save by the
    // recorder, which says that it looks at them first.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    assert_eq!(closed, 0);
    let path = |n: usize| snapshots(plan).with_file_name(format!("own-{n}"));
    let mut own: Vec<File> = (0..files)
        .map(|n| {
            std::fs::write(path(n), TEXT).expect("a file");
            let file = File::options().read(true).write(true).open(path(n));
            file.expect("the file")
        })
        .collect();
    info!("after it");
    snap(recorder);
    assert!(catch_unwind(|| panic!("panic with other descriptors")).is_err());
    snap(recorder);
    for (n, file) in own.iter_mut().enumerate() {
        let mut text = String::new();
        assert_eq!(file.stream_position().expect("open"), 0);
        file.read_to_string(&mut text).expect("open");
        assert_eq!(text, TEXT);
        assert_eq!(std::fs::read_to_string(path(n)).expect("there"), TEXT);
    }
    // They may have numbers that the recorder takes for its own.
    own.into_iter().for_each(std::mem::forget);
    println!("unharmed {files}");
}

/// One of each kind, and spans that stay open: entered, left and never entered.
fn say_values(recorder: &Recorder) {
    values::say();
    let request = info_span!("in flight", id = 7, later = Empty, text = "Grüße");
    request.in_scope(|| info!("in it"));
    request.record("later", u64::MAX);
    let _waiting = info_span!(parent: &request, "waiting", name = "of its own");
    let _entered = info_span!("entered", deep = ?Some(1)).entered();
    info!("the last");
    snap(recorder);
    info!("after the snapshot");
    println!("done");
    wait();
}

/// What is old, a pause, and what is new.
fn window() {
    let request = info_span!("request", id = 7u64).entered();
    let before = info_span!("before").id();
    (0..100u64).for_each(|number| info!(number, "old"));
    std::thread::sleep(Duration::from_millis(300));
    request.follows_from(before);
    (0..100u64).for_each(|number| info!(number, "new"));
    println!("done");
    wait();
}

/// Workers tell the story, and the main thread makes one snapshot after the other:
/// of as many panics as the plan has events, and then of its own accord.
fn snap_until_killed(recorder: &Recorder, plan: &Plan, acks: &Path) {
    let acks = Arc::new(Acks::create(acks).expect("acknowledgements"));
    for number in 1..=plan.threads {
        let acks = Arc::clone(&acks);
        let life = move || {
            let mut said = |count| acks.acknowledge(number, count);
            for turn in 0.. {
                story::turn(number, turn, &mut said);
            }
        };
        let worker = std::thread::Builder::new().name(format!("worker-{number}"));
        worker.spawn(life).expect("a thread");
    }
    // More than the blocks of it hold.
    let full = u64::from(plan.capacity_mib) * (1 << 20) / 64;
    while (1..=plan.threads).any(|n| acks.counter(n).load(Ordering::Relaxed) < full) {
        std::thread::yield_now();
    }
    println!("began");
    for begun in 1.. {
        acks.acknowledge(BEGUN, begun);
        if begun <= plan.events {
            assert!(catch_unwind(|| panic!("panic {begun}")).is_err());
        } else {
            recorder.flush_snapshot("again").expect("a snapshot");
        }
        acks.acknowledge(MADE, begun);
        if begun == 1 {
            println!("made");
        }
    }
}

/// How often the hook was called that was there before the recorder's.
static HOOKED: AtomicU64 = AtomicU64::new(0);

/// Counts panics, and prints those alone that are not meant to be.
fn hush() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        HOOKED.fetch_add(1, Ordering::Relaxed);
        let message = info.payload_as_str().unwrap_or_default();
        if !message.starts_with("panic ") {
            previous(info);
        }
    }));
}

fn storm(recorder: &Recorder, plan: &Plan) {
    let each = plan.events / plan.threads;
    std::thread::scope(|scope| {
        for number in 1..=plan.threads {
            let life = move || {
                for panics in 0..each {
                    info!(panics, "before a panic");
                    assert!(catch_unwind(|| panic!("panic {number} {panics}")).is_err());
                    info!(panics, "after a panic");
                }
            };
            let worker = std::thread::Builder::new().name(format!("worker-{number}"));
            worker.spawn_scoped(scope, life).expect("a thread");
        }
    });
    info!("after the storm");
    let stats = recorder.stats();
    println!("hooked {}", HOOKED.load(Ordering::Relaxed));
    println!("incidents {}", stats.incidents);
    println!("snapshots {}", stats.snapshots);
    println!("skipped {}", stats.snapshots_skipped);
    println!("events {}", stats.events);
}

/// Panics while it is shown.
struct Explodes;

impl fmt::Display for Explodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half of it")?;
        panic!("panic while being shown");
    }
}

fn explode(recorder: &Recorder) {
    let request = info_span!("request", id = 7, shown = Empty).entered();
    info!("before");
    let explodes = AssertUnwindSafe(|| info!(number = 1, shown = %Explodes, "never said"));
    assert!(catch_unwind(explodes).is_err());
    info!("after an event's");
    // A registry keeps a span whose opening panics, and its parent if it has one.
    let explodes = AssertUnwindSafe(|| drop(info_span!(parent: None, "query", shown = %Explodes)));
    assert!(catch_unwind(explodes).is_err());
    info!("after a span's");
    let explodes = AssertUnwindSafe(|| {
        request.record("shown", tracing::field::display(Explodes));
    });
    assert!(catch_unwind(explodes).is_err());
    info!("after a later field's");
    drop(request);
    info!("after all");
    println!("events {}", recorder.stats().events);
}
