//! A program with thousands of suspended tasks, each two spans deep, and no runtime.
//!
//! Of every twelve, one is then completed and one dropped; the others stay as they
//! are while the program says so much that nothing is left of how they began.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog::Recorder;
use ttlog_tests::{Adapter, Plan};

const STEPS: [&str; 3] = ["authorise", "capture", "settle"];

/// Time between the last opening and the first noise.
const PAUSE: Duration = Duration::from_millis(50);

/// More than a recording of a few mebibytes holds.
const NOISE: u64 = 150_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Pending once, then ready.
#[derive(Default)]
struct Suspension(bool);

impl Future for Suspension {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [numbers @ .., directory, _acks] = args.as_slice() else {
        panic!("a plan")
    };
    let plan = Plan::from_args(numbers).directory(directory);
    let _recorder = start(&plan);
    let mut tasks: Vec<Option<Task>> = (0..plan.events).map(|id| Some(task(id))).collect();
    for task in tasks.iter_mut().flatten() {
        assert!(poll(task).is_pending());
    }
    std::thread::sleep(PAUSE);
    for (id, task) in tasks.iter_mut().enumerate().step_by(6) {
        if id % 12 == 0 {
            assert!(poll(task.as_mut().expect("it is there")).is_ready());
        }
        *task = None;
    }
    (0..NOISE).for_each(|number| info!(number, "noise"));
    println!("done");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn start(plan: &Plan) -> Recorder {
    let directory = plan.directory.clone().expect("a directory");
    let builder = ttlog::builder()
        .name("tasks")
        .directory(directory)
        .capacity_mib(plan.capacity_mib)
        .span_slots(plan.span_slots);
    match plan.adapter {
        Adapter::Own => builder.init().expect("a recorder"),
        Adapter::Layer => {
            let recorder = builder.create().expect("a recorder");
            tracing_subscriber::registry().with(recorder.layer()).init();
            recorder
        }
    }
}

fn task(id: u64) -> Task {
    Box::pin(job(id).instrument(info_span!("job", id, queue = "payments")))
}

async fn job(id: u64) {
    let name = STEPS[id as usize % STEPS.len()];
    let step = info_span!("step", name, attempt = id % 4, rows = Empty);
    let work = async move {
        Span::current().record("rows", id * 10);
        Suspension::default().await;
    };
    work.instrument(step).await;
}

fn poll(task: &mut Task) -> Poll<()> {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
