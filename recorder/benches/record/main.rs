//! What an event and a span cost the thread that records them, beside their floors and
//! beside the peers.
//!
//! ```text
//! cargo bench -p ttlog --bench record
//! cargo bench -p ttlog --bench record -- "own Subscriber/F$"
//! ```
//!
//! Events: S is a static message, F a message and three fields (two u64, a text of 13
//! bytes), M a message formatted from the same three. `span` is a span of two fields
//! created, entered, left and closed; `enter, exit` those two alone.
//!
//! Each adapter has a process of its own, where it is the global default as it would be
//! in a daemon, and all of them take turns, three times: a figure is the least of three
//! minima, and the median of three medians, of batches of 1,000. Machines and minutes
//! differ; compare the ratios of one run.

mod bench;
#[path = "../shared/company.rs"]
mod company;
#[path = "../shared/events.rs"]
mod events;
#[path = "../shared/floors.rs"]
mod floors;
mod own;
mod peers;
#[path = "../shared/places.rs"]
mod places;
mod table;
#[path = "../shared/ticks.rs"]
mod ticks;

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use bench::Bench;
use table::Table;

/// Says in a child which adapter is its, and where its figures go.
const ADAPTER: &str = "TTLOG_BENCH_ADAPTER";
const FIGURES: &str = "TTLOG_BENCH_FIGURES";

const ROUNDS: usize = 3;

/// An adapter by name, and what measures it, in a process that does nothing else.
type Adapter = (&'static str, fn(&mut Bench) -> Result<(), Box<dyn Error>>);

const ADAPTERS: [Adapter; 8] = [
    ("visiting Subscriber", own::visiting),
    ("bare Subscriber", own::bare),
    ("own Subscriber", own::subscriber),
    ("idle Registry", own::idle_registry),
    ("Layer on Registry", own::layer),
    ("fmt, non_blocking", peers::fmt),
    ("tracing-chrome", peers::chrome),
    ("fastrace", peers::fastrace),
];

fn main() -> Result<(), Box<dyn Error>> {
    let Ok(name) = std::env::var(ADAPTER) else {
        return all();
    };
    let (name, measure) = ADAPTERS
        .into_iter()
        .find(|adapter| adapter.0 == name)
        .ok_or("no such adapter")?;
    let mut bench = Bench::new(name);
    measure(&mut bench)?;
    bench.clock();
    bench.write(Path::new(&std::env::var(FIGURES)?))
}

/// Has every adapter measured in turn, and prints the table.
fn all() -> Result<(), Box<dyn Error>> {
    let mut table = Table::default();
    let directory = tempfile::tempdir()?;
    let figures = directory.path().join("figures");
    for round in 1..=ROUNDS {
        for (name, _) in ADAPTERS {
            let mut child = Command::new(std::env::current_exe()?);
            child.args(std::env::args_os().skip(1));
            child.env(ADAPTER, name).env(FIGURES, &figures);
            if round == 1 {
                child.stdout(Stdio::inherit()).stderr(Stdio::inherit());
            }
            let child = child.output()?;
            if !child.status.success() {
                let why = String::from_utf8_lossy(&child.stderr);
                return Err(format!("{name} could not be measured: {why}").into());
            }
            table.add(&std::fs::read_to_string(&figures)?)?;
        }
        eprintln!("round {round} of {ROUNDS} is over");
    }
    table.print();
    Ok(())
}
