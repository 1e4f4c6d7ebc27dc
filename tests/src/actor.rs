//! A program that plays one of several acts, and counts what it says where that
//! outlives it: so the recording's account can be held against its own.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use ttlog::{Builder, Recorder};

use crate::acks::Acks;
use crate::plan::{Adapter, Plan};

/// How long an act may take that will certainly end, in seconds.
pub const PATIENCE: u32 = 60;

/// The same of a child.
const CHILDS_PATIENCE: u32 = 30;

static ACKS: OnceLock<Acks> = OnceLock::new();

/// Which acknowledgement counts what this process says: 0, or a forked child's number.
static WHO: AtomicU64 = AtomicU64::new(0);

/// A word that this process and all that were forked from it share.
pub fn shared(number: u64) -> &'static AtomicU64 {
    let acks = ACKS.get().expect("a program that plays");
    acks.counter(number)
}

/// What counts the events of this process.
fn own() -> &'static AtomicU64 {
    shared(WHO.load(Ordering::Relaxed))
}

/// Counts an event whose call has returned, also in a signal handler.
pub fn said() {
    own().fetch_add(1, Ordering::Release);
}

/// How many events this process has said so far.
pub fn said_so_far() -> u64 {
    own().load(Ordering::Acquire)
}

/// Corrects the count of what this process has said.
pub fn said_in_all(events: u64) {
    own().store(events, Ordering::Release);
}

/// From now on this process is the forked child with this number, from 1, and ends by
/// SIGALRM should it be there for too long.
pub fn become_child(number: u64) {
    WHO.store(number, Ordering::Relaxed);
    end_after(CHILDS_PATIENCE);
}

/// Ends this process by SIGALRM, should it still be there after so many seconds.
pub fn end_after(seconds: u32) {
    // SAFETY: it takes a number, and its signal has no handler here.
    unsafe { libc::alarm(seconds) };
}

/// What a program is to play, and its recorder.
#[derive(Debug)]
pub struct Actor {
    /// The plan.
    pub plan: Plan,
    /// The act.
    pub act: String,
    /// The recorder; with `TTLOG=off` one that records nothing.
    pub recorder: Recorder,
}

impl Actor {
    /// The one that `Victim::start_act` asks for; `set_up` adds to the recorder's settings.
    ///
    /// # Panics
    /// If there is no plan or no recorder.
    pub fn enter(set_up: impl FnOnce(&str, Builder) -> Builder) -> Actor {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [numbers @ .., directory, acks, act] = args.as_slice() else {
            panic!("a plan and an act: {args:?}")
        };
        end_after(PATIENCE);
        let plan = Plan::from_args(numbers).directory(directory);
        let acks = Acks::create(acks.as_ref()).expect("acknowledgements");
        ACKS.set(acks).expect("one act");
        let builder = set_up(act, builder(&plan));
        let recorder = start(plan.adapter, builder).expect("a recorder");
        Actor {
            plan,
            act: act.clone(),
            recorder,
        }
    }

    /// Whether anything is recorded.
    pub fn is_recorded(&self) -> bool {
        !self.recorder.path().as_os_str().is_empty()
    }

    /// Compares the recorder's numbers about itself with what was said, at a moment at
    /// which nobody says anything.
    ///
    /// # Panics
    /// If they differ.
    pub fn at_rest(&self) {
        let stats = self.recorder.stats();
        if self.is_recorded() {
            assert_eq!(stats.events + stats.dropped, said_so_far(), "{stats:?}");
        }
        println!("dropped {}", stats.dropped);
        println!("open {}", stats.open_spans);
    }
}

/// A recorder's settings as the plan has them; snapshots go beside the recordings.
fn builder(plan: &Plan) -> Builder {
    let directory: PathBuf = plan.directory.clone().expect("a directory");
    let snapshots = directory.with_file_name("snapshots");
    ttlog::builder()
        .name("actor")
        .snapshot_directory(snapshots)
        .directory(directory)
        .capacity_mib(plan.capacity_mib)
        .span_slots(plan.span_slots)
}

fn start(adapter: Adapter, builder: Builder) -> Result<Recorder, ttlog::Error> {
    match adapter {
        Adapter::Own => builder.init(),
        Adapter::Layer => {
            let recorder = builder.create()?;
            tracing_subscriber::registry().with(recorder.layer()).init();
            Ok(recorder)
        }
    }
}
