//! The program that records on a disk whose power is cut: see `ttlog_tests::powered`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog::{Durability, Error, Recorder};
use ttlog_tests::Adapter;
use ttlog_tests::powered::{Notes, STATUS, Task, WORKERS, now_ns};
use ttlog_tests::story;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [task @ .., directory, notes] = args.as_slice() else {
        panic!("a task, a directory and a file: {args:?}")
    };
    let task = Task::from_args(task);
    let recorder = match start(task, directory.into()) {
        Ok(recorder) => recorder,
        Err(error) => {
            println!("error {error}");
            return ExitCode::from(STATUS);
        }
    };
    let notes = Arc::new(Notes::open(Path::new(notes)));
    for worker in 1..=WORKERS {
        let notes = Arc::clone(&notes);
        let life = move || tell(worker, task.turn, &notes);
        let thread = std::thread::Builder::new().name(format!("worker-{worker}"));
        thread.spawn(life).expect("a thread");
    }
    println!("began");
    while !notes.is_to_end() {
        let now = now_ns();
        notes.note(now, recorder.stats());
        std::thread::sleep(Duration::from_micros(200));
    }
    ExitCode::from(STATUS)
}

fn start(task: Task, directory: PathBuf) -> Result<Recorder, Error> {
    let durability = task
        .interval
        .map_or(Durability::Process, Durability::Interval);
    let builder = ttlog::builder()
        .name("powered")
        .directory(directory)
        .capacity_mib(task.capacity_mib)
        .span_slots(256)
        .durability(durability);
    match task.adapter {
        Adapter::Own => builder.init(),
        Adapter::Layer => {
            let recorder = builder.create()?;
            tracing_subscriber::registry().with(recorder.layer()).init();
            Ok(recorder)
        }
    }
}

fn tell(worker: u64, pace: Duration, notes: &Notes) {
    let began = Instant::now();
    for turn in 0.. {
        story::turn(worker, turn, &mut |count| notes.returned(worker, count));
        let next = began + pace * turn as u32;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
