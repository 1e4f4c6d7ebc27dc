//! How many lines a second `ttlog-reader view` shows: `cargo bench -p ttlog-tests --bench view`.
//!
//! The command is run as a process of its own, over a recording that another has left,
//! into nothing and through a pipe. What it takes without showing a line (`-n 0`) is
//! finding the events; the rest is the lines. Since lines are made while more events are
//! found, there are two answers: the time that processors were at it, and what passed by
//! the clock. Each is of the run in which it was least; machines and minutes differ all
//! the same.

use std::hint::black_box;
use std::io::{self, Read};
use std::ops::Sub;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tracing::{info, info_span};
use ttlog_format::value::{Borrowed, Field, Value};

const EVENTS: u64 = 300_000;
const CAPACITY_MIB: u32 = 64;
/// Events in each span, where they are in spans.
const EVENTS_IN_SPAN: u64 = 10;
const RUNS: usize = 15;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What something took.
#[derive(Clone, Copy)]
struct Took {
    /// Of all processors together.
    processors: Duration,
    /// By the clock.
    clock: Duration,
}

impl Took {
    fn least(self, other: Took) -> Took {
        Took {
            processors: self.processors.min(other.processors),
            clock: self.clock.min(other.clock),
        }
    }
}

impl Sub for Took {
    type Output = Took;

    fn sub(self, other: Took) -> Took {
        Took {
            processors: self.processors.saturating_sub(other.processors),
            clock: self.clock.saturating_sub(other.clock),
        }
    }
}

/// What the process is: a reader, one that records, or the one that measures these.
fn main() -> Outcome<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == "ttlog-reader" {
        return Ok(ttlog_reader::command::Arguments::parse_from(std::env::args_os().skip(1)).run());
    }
    if let (true, Some(directory)) = (first == "record", arguments.next()) {
        record(Path::new(&directory), arguments.next().is_some())?;
        return Ok(ExitCode::SUCCESS);
    }
    for in_spans in [false, true] {
        measure(in_spans)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn record(directory: &Path, in_spans: bool) -> Outcome<()> {
    let recorder = ttlog::builder()
        .directory(directory)
        .capacity_mib(CAPACITY_MIB)
        .create()?;
    tracing::subscriber::with_default(recorder.subscriber(), || {
        for n in 0..EVENTS / EVENTS_IN_SPAN {
            let turn = || (n * EVENTS_IN_SPAN..(n + 1) * EVENTS_IN_SPAN).for_each(say);
            if in_spans {
                info_span!("request", id = n, table = "users").in_scope(turn);
            } else {
                turn();
            }
        }
    });
    Ok(())
}

/// A message and three fields: two numbers, one of which needs a word of its own, and a
/// text of 13 bytes.
fn say(n: u64) {
    const PEERS: [&str; 2] = ["10.0.0.1:8080", "10.0.0.2:8080"];
    let (user, micros, peer) = (n << 33, n & 0xffff, PEERS[n as usize % 2]);
    info!(user, micros, peer, "request served");
}

fn measure(in_spans: bool) -> Outcome<()> {
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let mut victim = Command::new(std::env::current_exe()?);
    victim.arg("record").arg(directory.path());
    let recorded = victim.args(in_spans.then_some("in spans")).status()?;
    let recording = std::fs::read_dir(directory.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "ring"));
    let (true, Some(recording)) = (recorded.success(), recording) else {
        return Err("there is no recording".into());
    };
    let place = if in_spans {
        "in spans of ten"
    } else {
        "in no span"
    };
    println!("{EVENTS} events, a message and three fields, {place}:");
    decoding(&recording)?;
    let finding = fastest(|| view(&recording, &["-n", "0"], 0, Stdio::null()))?;
    say_rate("found, and none shown", finding);
    for (what, arguments) in [("text", ["-o", "short"]), ("JSON", ["-o", "json"])] {
        let shown = fastest(|| view(&recording, &arguments, 0, Stdio::null()))?;
        say_rate(&format!("{what}, into nothing"), shown);
        say_rate(&format!("{what}, the lines alone"), shown - finding);
        let piped = fastest(|| view(&recording, &arguments, EVENTS, Stdio::piped()))?;
        say_rate(&format!("{what}, through a pipe"), piped);
    }
    Ok(())
}

/// What it takes to look at every value of every event, whoever found these.
fn decoding(recording: &Path) -> Outcome<()> {
    let opened = ttlog_reader::open(recording)?;
    let entries = &opened.recording.entries;
    let took = fastest(|| {
        let began = Instant::now();
        let fields = entries.iter().flat_map(|entry| entry.fields.iter());
        let sum = fields.map(weight).fold(0, u64::wrapping_add);
        black_box(sum);
        let clock = began.elapsed();
        Ok(Took {
            processors: clock,
            clock,
        })
    })?;
    say_rate("values looked at", took);
    Ok(())
}

fn weight(field: Field<Borrowed<'_>>) -> u64 {
    match field.value {
        Value::U64(number) => number,
        value => value
            .text()
            .map_or(0, |text| black_box(&*text.bytes).len() as u64),
    }
}

/// What the reader takes; its lines are counted where they come through a pipe.
fn view(recording: &Path, arguments: &[&str], lines: u64, out: Stdio) -> Outcome<Took> {
    let (before, began) = (used_by_children()?, Instant::now());
    let mut reader = Command::new(std::env::current_exe()?)
        .args(["ttlog-reader", "view"])
        .args(arguments)
        .arg(recording)
        .stdout(out)
        .spawn()?;
    let mut found = 0;
    if let Some(mut pipe) = reader.stdout.take() {
        found = count_lines(&mut pipe)?;
    }
    let status = reader.wait()?;
    let took = Took {
        processors: used_by_children()?.saturating_sub(before),
        clock: began.elapsed(),
    };
    if !status.success() || found != lines {
        return Err(format!("the reader: {status}, {found} lines").into());
    }
    Ok(took)
}

/// Of the processor, by children that have ended.
fn used_by_children() -> Outcome<Duration> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = (used.user_time() + used.system_time()).num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

fn count_lines(pipe: &mut impl Read) -> io::Result<u64> {
    let mut lines = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match pipe.read(&mut buffer)? {
            0 => return Ok(lines),
            bytes => {
                lines += buffer[..bytes]
                    .iter()
                    .filter(|&&byte| byte == b'\n')
                    .count() as u64
            }
        }
    }
}

fn fastest(mut run: impl FnMut() -> Outcome<Took>) -> Outcome<Took> {
    let mut fastest = run()?;
    for _ in 1..RUNS {
        fastest = fastest.least(run()?);
    }
    Ok(fastest)
}

fn say_rate(what: &str, took: Took) {
    let rate = |took: Duration| EVENTS as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE) / 1e6;
    let (processors, clock) = (rate(took.processors), rate(took.clock));
    let each = took.processors.as_nanos() as f64 / EVENTS as f64;
    println!(
        "  {what:<24} {processors:>6.2} million a second of processors, {each:>6.1} ns each; \
         {clock:>6.2} by the clock"
    );
}
