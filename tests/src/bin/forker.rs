//! Processes that divide, execute others and become daemons: acts of `tests/forks.rs`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;
use nix::unistd::setsid;
use tracing::field::Empty;
use tracing::{info, info_span};
use ttlog::{Builder, Fork, Recorder};
use ttlog_tests::actor::{self, Actor, said};
use ttlog_tests::divide::{Way, divide, end_of, leave, tell_of};
use ttlog_tests::story;

/// How much a child of the storm says: more than a block holds.
const WORDS: u64 = 100;

/// Of so many children of the storm, one's recording is kept.
const KEPT_OF: u64 = 100;

fn main() {
    let actor = Actor::enter(set_up);
    match actor.act.as_str() {
        "storm" => storm(&actor),
        "inherits" => inherits(&actor, &[Way::Fork, Way::Clone]),
        "inherits-apart" => inherits(&actor, &[Way::CloneApart]),
        "ignores" => ignores(&actor.recorder),
        "apart" => apart(),
        "generations" => generation(0),
        "spawns" => spawns(),
        "executes" => executes(),
        "becomes-another" => execute(),
        "executed" => say("executed", 0),
        "daemonizes" | "daemonizes-elsewhere" => daemonizes(&actor),
        "is-survived" => is_survived(),
        act => panic!("no act is called {act}"),
    }
}

fn set_up(act: &str, builder: Builder) -> Builder {
    let builder = builder.retain(100_000, 1 << 40);
    match act {
        "ignores" => builder.fork(Fork::Ignore),
        "daemonizes-elsewhere" => {
            // Named as it will not be found from where the daemon goes.
            let args = Vec::from_iter(std::env::args());
            let directory = Path::new(&args[args.len() - 3]);
            let home = directory.parent().expect("a home");
            std::env::set_current_dir(home).expect("chdir(2)");
            let builder = builder.directory(directory.file_name().expect("a name"));
            builder.snapshot_directory("snapshots")
        }
        _ => builder,
    }
}

fn say(text: &str, number: u64) {
    info!(number, "{text}");
    said();
}

static DONE: AtomicBool = AtomicBool::new(false);

/// Threads that tell the story, and one that allocates, until all is done.
fn company() -> Vec<JoinHandle<()>> {
    let goes_on = || !DONE.load(Ordering::Relaxed);
    let tells = move |number| {
        for turn in (0..).take_while(|_| goes_on()) {
            story::turn(number, turn, &mut |_| said());
        }
    };
    let allocates = move || {
        for size in (1..).take_while(|_| goes_on()) {
            std::hint::black_box(vec![0u8; size % 5000]);
            if size % 1000 == 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    };
    let mut company = Vec::from_iter((1..=2).map(|number| {
        let worker = std::thread::Builder::new().name(format!("worker-{number}"));
        worker.spawn(move || tells(number)).expect("a thread")
    }));
    company.push(std::thread::spawn(allocates));
    company
}

fn all_done(company: Vec<JoinHandle<()>>) {
    DONE.store(true, Ordering::Relaxed);
    for thread in company {
        thread.join().expect("no panic");
    }
}

/// Divides again and again, in two ways, while other threads record and allocate.
fn storm(actor: &Actor) {
    actor::end_after(3 * actor::PATIENCE);
    let company = company();
    let _request = info_span!("request").entered();
    let (mut unwell, mut strange) = (0, 0);
    for number in 0..actor.plan.events {
        let way = [Way::Fork, Way::Clone][number as usize % 2];
        let kept = 1 + number / KEPT_OF;
        let pid = divide(kept, way);
        if pid == 0 {
            speak_in_a_storm(&actor.recorder, number, way);
        }
        say("the parent goes on", number);
        let end = end_of(pid);
        unwell += u64::from(end != "exited 0");
        if number.is_multiple_of(KEPT_OF) {
            println!("child {kept} {pid} {end}");
        } else {
            let made = remove_recordings_of(actor, pid);
            strange += u64::from(made != usize::from(way == Way::Fork));
        }
    }
    all_done(company);
    println!("unwell {unwell}");
    println!("strange {strange}");
    actor.at_rest();
}

fn speak_in_a_storm(recorder: &Recorder, number: u64, way: Way) -> ! {
    // Of those that are kept, the acknowledgement is nobody else's.
    let say = |word| {
        info!(number, word, "in a child");
        if number.is_multiple_of(KEPT_OF) {
            said();
        }
    };
    info_span!("a child's", number).in_scope(|| (0..WORDS).for_each(say));
    let stats = recorder.stats();
    match way {
        Way::Fork if stats.events != WORDS || stats.dropped != 0 => leave(false),
        Way::Fork if number.is_multiple_of(2 * KEPT_OF) => std::process::exit(0),
        Way::Fork => leave(true),
        _ => leave((stats.events, stats.dropped) == (0, WORDS)),
    }
}

/// Removes what a child has left; how many recordings that were.
fn remove_recordings_of(actor: &Actor, pid: i32) -> usize {
    let name = format!("ttlog-{pid}-");
    let directory = actor.plan.directory.as_ref().expect("a directory");
    let files = std::fs::read_dir(directory).expect("a directory");
    let files = files.map(|file| file.expect("an entry"));
    let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(&name));
    files
        .map(|file| std::fs::remove_file(file.path()).expect("removed"))
        .count()
}

/// Divides in a span; each child does to what it inherited all that can be done, and
/// then speaks in spans of its own.
fn inherits(actor: &Actor, ways: &[Way]) {
    let path = actor.recorder.path().to_owned();
    let request = info_span!("request", id = 7, user = Empty);
    let other = info_span!("other");
    let entered = request.clone().entered();
    say("before", 0);
    for (&way, number) in ways.iter().zip(1..) {
        let pid = divide(number, way);
        if pid != 0 {
            tell_of(number, pid);
            continue;
        }
        request.record("user", "the child");
        request.follows_from(&other);
        request.in_scope(|| say("in what was inherited", number));
        drop(other.clone().entered());
        info!(parent: &request, number, "below what was inherited");
        said();
        let below = info_span!(parent: &request, "below");
        below.in_scope(|| say("in its own", number));
        let own = info_span!("own", number).entered();
        own.follows_from(&other);
        own.follows_from(&below);
        say("in its own", number);
        let apart = own.id() != request.id() && own.id() != other.id() && below.id() != own.id();
        drop((entered, request, other, own, below));
        say("in no span", number);
        let stats = actor.recorder.stats();
        let records = way == Way::Fork;
        let said = if records { (5, 0) } else { (0, 5) };
        let counted = (stats.events, stats.dropped) == said && stats.open_spans == 0;
        leave((apart || !records) && counted && (actor.recorder.path() != path) == records);
    }
    say("after", 0);
    drop((entered, request, other));
    actor.at_rest();
}

/// Children under `Fork::Ignore`, or where nothing is recorded at all.
fn ignores(recorder: &Recorder) {
    let path = recorder.path().to_owned();
    let expected = if path.as_os_str().is_empty() { 0 } else { 3 };
    let _request = info_span!("request").entered();
    say("before", 0);
    for (way, number) in [Way::Fork, Way::Clone].into_iter().zip(1..) {
        let pid = divide(number, way);
        if pid == 0 {
            (0..3).for_each(|word| info!(word, "in a child"));
            info_span!("a child's").in_scope(|| ());
            let stats = recorder.stats();
            let counted = (stats.events, stats.dropped) == (0, expected);
            leave(counted && stats.open_spans == 0 && recorder.path() == path);
        }
        tell_of(number, pid);
    }
    say("after", 0);
}

/// A child of fork(3) that is process 1 of a namespace; for root.
fn apart() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).expect("unshare(2)");
    say("before", 0);
    let pid = divide(1, Way::Fork);
    if pid == 0 {
        info_span!("own").in_scope(|| say("in a namespace", 1));
        std::process::exit(0);
    }
    println!("child 1 1 {}", end_of(pid));
    say("after", 0);
}

/// Each has a child before it ends, down to the third.
fn generation(number: u64) {
    let _generation = info_span!("generation", number).entered();
    say("before", number);
    if number < 3 {
        let pid = divide(number + 1, Way::Fork);
        if pid == 0 {
            generation(number + 1);
            std::process::exit(0);
        }
        tell_of(number + 1, pid);
    }
    say("after", number);
}

/// Spawns programs while others record and allocate: by what needs no fork, and by a
/// fork in which something is said before the other program is executed.
fn spawns() {
    let company = company();
    for number in 0..200 {
        let status = Command::new("true").status().expect("it is executed");
        assert!(status.success());
        say("spawned", number);
    }
    for number in 1..=20 {
        let speaks = move || {
            actor::become_child(number);
            say("before the other program", number);
            Ok(())
        };
        let mut command = Command::new("true");
        // SAFETY: the child does what any thread does, which is what this is about.
        unsafe { command.pre_exec(speaks) };
        let mut child = command.spawn().expect("it is executed");
        let status = child.wait().expect("a child");
        println!("child {number} {} {status}", child.id());
    }
    all_done(company);
}

/// A child that speaks, and goes on as a program that records itself.
fn executes() {
    say("before", 0);
    let pid = divide(1, Way::Fork);
    if pid == 0 {
        say("in a child", 1);
        execute();
    }
    assert_eq!(end_of(pid), "exited 0");
    say("after", 0);
}

/// Goes on as this program in another act, with acknowledgements of its own.
fn execute() {
    say("before the other program", 0);
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [plan @ .., acks, _] = args.as_slice() else {
        panic!("a plan and an act")
    };
    let mut other = Command::new("/proc/self/exe");
    let other = other
        .args(plan)
        .args([&format!("{acks}-of-another"), "executed"]);
    panic!("not executed: {}", other.exec());
}

/// Divides twice and closes all that it has, as daemons do; and the daemon records.
fn daemonizes(actor: &Actor) {
    let directory = actor.plan.directory.as_ref().expect("a directory");
    let elsewhere = directory.with_file_name("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    say("before", 0);
    let child = divide(1, Way::Fork);
    if child != 0 {
        assert_eq!(end_of(child), "exited 0");
        return say("after", 0);
    }
    setsid().expect("setsid(2)");
    if divide(2, Way::Fork) != 0 {
        leave(true);
    }
    // Not into /, so that what is left there by mistake is not left for ever.
    std::env::set_current_dir(elsewhere).expect("chdir(2)");
    // SAFETY: it takes a number; what is closed is not used any more.
    unsafe { libc::close_range(0, u32::MAX, 0) };
    // SAFETY: it takes a number.
    unsafe { libc::umask(0) };
    info_span!("the daemon's").in_scope(|| say("in the daemon", 2));
    let snapshot = actor.recorder.flush_snapshot("the daemon's").is_ok();
    info!(snapshot, "the daemon's last words");
    said();
    std::process::exit(0);
}

/// Has two children that outlive it, one of which speaks.
fn is_survived() {
    say("before", 0);
    for number in 1..=2 {
        let pid = divide(number, Way::Fork);
        if pid == 0 {
            if number == 1 {
                say("in a child", number);
            }
            println!("lives {}", std::process::id());
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
