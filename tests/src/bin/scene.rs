//! A program that is killed in the middle of a scene: spans in spans on several threads,
//! tasks that are polled here and there, one that is suspended, values of every kind.
//!
//! What it is told to wait between the first half and the second lies between the two
//! moments at which it says so.

use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Builder};
use std::time::Duration;

use tracing::field::Empty;
use tracing::{Instrument, Span, debug, debug_span, error, info, info_span, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog::Recorder;
use ttlog_tests::{Adapter, Plan};

/// How long it waits between its halves.
const PAUSE: Duration = Duration::from_millis(300);

/// A thread that sits in two spans.
struct Sitting {
    leave: SyncSender<()>,
    sits: Receiver<()>,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Pending so many times, then ready.
struct Suspension(u32);

impl Future for Suspension {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let Some(left) = self.0.checked_sub(1) else {
            return Poll::Ready(());
        };
        self.0 = left;
        Poll::Pending
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [numbers @ .., directory, _acks] = args.as_slice() else {
        panic!("a plan")
    };
    let _recorder = start(&Plan::from_args(numbers).directory(directory));
    let sitting = first_half();
    thread::sleep(PAUSE);
    second_half(&sitting);
}

fn start(plan: &Plan) -> Recorder {
    let directory = plan.directory.clone().expect("a directory");
    let builder = ttlog::builder()
        .name("scene")
        .directory(directory)
        .capacity_mib(plan.capacity_mib);
    match plan.adapter {
        Adapter::Own => builder.init().expect("a recorder"),
        Adapter::Layer => {
            let recorder = builder.create().expect("a recorder");
            tracing_subscriber::registry().with(recorder.layer()).init();
            recorder
        }
    }
}

/// Everything in it ends, save what is suspended and whoever sits, by whom it is given how
/// to have one of two spans left.
fn first_half() -> Sitting {
    values();
    nested();
    out_of_order();
    let mut suspended = job(1, 9);
    poll(&mut suspended);
    std::mem::forget(suspended);
    let (entered, sits) = sync_channel(0);
    let (leave, left) = sync_channel(0);
    Builder::new()
        .name("sitting".into())
        .spawn(move || sit(&entered, &left))
        .expect("a thread");
    sits.recv().expect("it sits");
    println!("half");
    Sitting { leave, sits }
}

fn second_half(sitting: &Sitting) {
    info!("the second half begins");
    sitting.leave.send(()).expect("who sits");
    sitting.sits.recv().expect("it sits still");
    let (to_one, tasks) = sync_channel(16);
    let (one, polled) = worker("worker-1", tasks);
    let (to_two, tasks) = sync_channel(16);
    let (two, done) = worker("worker-2", tasks);
    for id in 10..14 {
        to_one.send(job(id, 1)).expect("a worker");
        let task = polled.recv().expect("a task");
        to_two.send(task).expect("another");
        drop(done.recv().expect("it is done"));
    }
    drop((to_one, to_two));
    one.join().expect("its end");
    two.join().expect("its end");
    values();
    nested();
    out_of_order();
    let _outer = info_span!("outer", id = 70).entered();
    let _inner = info_span!("inner", id = 71).entered();
    warn!(left = 3, "the last words");
    println!("done");
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// A value of every kind, and texts that mean something to somebody.
fn values() {
    let text = "tab\t \"quoted\" \u{202e}back, \\ \u{1b}[2J";
    let nothing: Option<u8> = None;
    info!(
        signed = -7i64,
        unsigned = u64::MAX,
        wide = i128::MIN,
        float = 0.1,
        nan = f64::NAN,
        yes = true,
        text,
        debug = ?nothing,
        raw = &b"\0\xff"[..],
        "values\0of every kind"
    );
    error!(r#type = 1, "=HYPERLINK(\"http://example.com\")");
    info!(id = 5);
    debug!("Grüße {}", "@home");
}

fn nested() {
    let request = info_span!("request", id = 7, rows = Empty);
    let _in = request.enter();
    debug!("begins");
    for table in ["users", "=orders"] {
        let _query = debug_span!("query", table).entered();
        debug!(table, "asked");
    }
    request.record("rows", 3);
    info!("ends");
}

/// Two spans of which the outer is left first.
fn out_of_order() {
    let (outer, inner) = (info_span!("left first"), info_span!("left last"));
    let outer_in = outer.enter();
    let inner_in = inner.enter();
    debug!("in both");
    drop(outer_in);
    debug!("in one");
    drop(inner_in);
    debug!("in none");
}

/// A task that is suspended so many times.
fn job(id: u64, times: u32) -> Task {
    let work = async move {
        info!(id, "job begins");
        Suspension(times).await;
        Span::current().record("result", "well done");
        info!(id, "job ends");
    };
    Box::pin(work.instrument(info_span!("job", id, queue = "payments", result = Empty)))
}

fn poll(task: &mut Task) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    task.as_mut().poll(&mut context).is_ready()
}

/// A thread that polls each task once, and gives it back.
fn worker(name: &str, tasks: Receiver<Task>) -> (thread::JoinHandle<()>, Receiver<Task>) {
    let (give, given) = sync_channel(16);
    let work = move || {
        for mut task in tasks {
            poll(&mut task);
            give.send(task).expect("whoever asked");
        }
    };
    let worker = Builder::new().name(name.into()).spawn(work);
    (worker.expect("a thread"), given)
}

/// Enters two spans, leaves the inner one when it is told to, and stays in the other.
fn sit(entered: &SyncSender<()>, leave: &Receiver<()>) {
    let _old = info_span!("old", since = "the first half").entered();
    let inside = info_span!("older than the window").entered();
    debug!("somebody sits");
    entered.send(()).expect("whoever waits");
    leave.recv().expect("whoever tells");
    drop(inside);
    debug!("somebody sits still");
    entered.send(()).expect("whoever waits");
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}
