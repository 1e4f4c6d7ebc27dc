//! The program that is stepped, instruction by instruction: see `ttlog_tests::stepped`.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, raise};
use tracing::{Span, field, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog_tests::acks::Acks;
use ttlog_tests::stepped::{BYSTANDERS, FIRST_MORTAL, MAYFLY, Number, Phase, Scene, mark};
use ttlog_tests::{Adapter, Plan, story};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [numbers @ .., directory, acks, scene] = args.as_slice() else {
        panic!("a plan, a directory, a file and a scene: {args:?}")
    };
    let plan = Plan::from_args(numbers).directory(directory);
    let scene = Scene::from_name(scene).expect("a scene");
    let acks = Arc::new(Acks::create(Path::new(acks)).expect("acknowledgements"));
    start(&plan, scene);
    match scene {
        Scene::Start => {}
        Scene::Story => tell(&acks, &[(Phase::First, 1), (Phase::Steady, 2)]),
        Scene::Spans => {
            tell(&acks, &[(Phase::Unseen, 1)]);
            spans(&acks);
        }
        Scene::Crowd => crowd(&acks),
        _ => {
            tell(&acks, &[(Phase::Unseen, 2)]);
            mark(Phase::Death);
            die(scene);
        }
    }
}

/// Where nothing else is to be seen, and where the start makes a thread that is, the
/// start is.
fn start(plan: &Plan, scene: Scene) {
    let builder = ttlog::builder()
        .name("stepped")
        .directory(plan.directory.as_ref().expect("a directory"))
        .snapshot_directory(plan.directory.as_ref().expect("a directory"))
        .window(Duration::from_millis(1))
        .capacity_mib(plan.capacity_mib)
        // What is redacted is decided before anything is written, and takes long in steps.
        .redact_nothing()
        .span_slots(plan.span_slots);
    let builder = match scene {
        Scene::Terminate => builder.terminate_on(libc::SIGTERM),
        _ => builder,
    };
    if matches!(scene, Scene::Start | Scene::Terminate) {
        mark(Phase::Start);
    }
    match plan.adapter {
        Adapter::Own => {
            let _ = builder.init().expect("a recorder");
        }
        Adapter::Layer => {
            let recorder = builder.create().expect("a recorder");
            tracing_subscriber::registry().with(recorder.layer()).init();
        }
    }
    mark(Phase::Unseen);
}

/// The main thread, which is worker 1, tells as many turns in each of the phases.
fn tell(acks: &Acks, parts: &[(Phase, u64)]) {
    let phases = parts
        .iter()
        .flat_map(|&(phase, turns)| (0..turns).map(move |_| phase));
    for (turn, phase) in (0..).zip(phases) {
        mark(phase);
        story::turn(1, turn, &mut |count| {
            acks.acknowledge(1, count);
            mark(phase);
        });
    }
    mark(Phase::Unseen);
}

const LONG: &str = "longer than what is left of a slot when all the other words of a span's \
    opening are in it, and so it has to be cut there, while the record in the ring has all of it; \
    which goes on for as long as that takes, and a little longer than that, to be quite sure";

fn spans(acks: &Acks) {
    let task = |parent: &Span| info_span!(parent: parent, "task", step = field::Empty, text = field::Empty);
    let step = |span: &Span, number: u64| {
        Number::Step.changes(acks, 1, || span.record("step", number));
    };
    mark(Phase::Spans);
    let outer = Number::Open.changes(acks, 1, || info_span!("task", step = field::Empty));
    let inside = Number::Depth.changes(acks, 1, || outer.enter());
    let inner = Number::Open.changes(acks, 1, || task(&outer));
    // Past what its slot has room for.
    (1..=12).for_each(|number| step(&outer, number));
    Number::Follows.changes(acks, 1, || inner.follows_from(&outer));
    let further = Number::Depth.changes(acks, 1, || inner.enter());
    step(&inner, 13);
    inner.record("text", LONG);
    let again = Number::Depth.changes(acks, 1, || outer.enter());
    Number::Depth.changes(acks, -1, || drop(again));
    Number::Depth.changes(acks, -1, || drop(further));
    let cut = Number::Open.changes(acks, 1, || info_span!(parent: None, "task", text = LONG));
    Number::Depth.changes(acks, -1, || drop(inside));
    let mut slots = vec![outer, inner, cut];
    while slots.len() < SLOTS {
        slots.push(Number::Open.changes(acks, 1, || task(&Span::none())));
    }
    let without = Number::WithoutSlot.changes(acks, 1, || task(&slots[0]));
    without.record("step", 14);
    drop(without);
    // A parent stays open as long as a child is.
    let inner = slots.remove(1);
    Number::Open.changes(acks, -1, || drop(inner));
    for span in slots {
        Number::Open.changes(acks, -1, || drop(span));
    }
    let last = Number::Open.changes(acks, 1, || task(&Span::none()));
    let inside = Number::Depth.changes(acks, 1, || last.enter());
    Number::Depth.changes(acks, -1, || drop(inside));
    Number::Open.changes(acks, -1, || drop(last));
    mark(Phase::Unseen);
}

/// Slots of the span table.
const SLOTS: usize = 16;

/// A worker that says one thing and lives until its channel closes.
fn bystander(acks: &Arc<Acks>, number: u64) -> (Sender<()>, JoinHandle<()>) {
    let (stay, leave) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let acks = Arc::clone(acks);
    let life = move || {
        story::event(number, 0);
        acks.acknowledge(number, 1);
        tell.send(()).expect("main waits");
        let _ = leave.recv();
    };
    let thread = named(number).spawn(life).expect("a thread");
    told.recv().expect("it spoke");
    (stay, thread)
}

fn named(number: u64) -> std::thread::Builder {
    let thread = std::thread::Builder::new().name(format!("worker-{number}"));
    thread.stack_size(64 * 1024)
}

/// Where others hold nearly all blocks, the main thread goes around in the rest of them,
/// and takes those of the threads that are gone.
fn crowd(acks: &Arc<Acks>) {
    let mut others: Vec<_> = (2..2 + BYSTANDERS)
        .map(|number| bystander(acks, number))
        .collect();
    mark(Phase::Begin);
    let life = {
        let acks = Arc::clone(acks);
        move || {
            story::turn(MAYFLY, 0, &mut |count| acks.acknowledge(MAYFLY, count));
            mark(Phase::End);
        }
    };
    let mayfly = named(MAYFLY).spawn(life).expect("a thread");
    mayfly.join().expect("no panic");
    mark(Phase::Unseen);
    for (stay, thread) in others.drain((FIRST_MORTAL - 2) as usize..) {
        drop(stay);
        thread.join().expect("no panic");
    }
    tell(acks, &[(Phase::Unseen, 8), (Phase::Switch, 28)]);
    std::process::exit(0);
}

fn die(scene: Scene) {
    match scene {
        Scene::Exit => std::process::exit(3),
        Scene::Abort => std::process::abort(),
        Scene::Terminate => {
            raise(Signal::SIGTERM).expect("a signal");
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        Scene::Panic => panic!("stepped to death"),
        _ => {
            let nowhere: *const u8 = std::ptr::without_provenance(8);
            // SAFETY: nothing lies there, which is the point: it ends the process.
            unsafe { nowhere.read_volatile() };
        }
    }
}
