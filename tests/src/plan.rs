//! What a victim is to do, as it crosses the border between two processes.

use std::path::PathBuf;

/// Which way events take into the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// ttlog's own subscriber.
    Own,
    /// The layer on a registry.
    Layer,
}

/// Both of them.
pub const ADAPTERS: [Adapter; 2] = [Adapter::Own, Adapter::Layer];

/// What a victim does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Every worker tells the story until it is killed.
    Tell,
    /// One worker tells it, and stops by SIGSTOP before each act.
    Step,
    /// A quiet thread says something, then a noisy one says very much.
    LastWords,
    /// Every worker lives and says three things.
    Crowd,
    /// Every worker says so many events and is gone.
    Churn,
    /// Says one of each kind, returns from main.
    Values,
    /// Says things through `log`, returns from main.
    Log,
    /// Says one thing and exits with 3.
    Exit,
    /// Says one thing and waits.
    Wait,
    /// Tries to be the global default twice.
    SecondInit,
    /// Says events with a message and three fields, returns from main.
    Fill,
    /// Every worker says three things and ends without its destructors; main returns.
    Vanish,
    /// Logs from the destructors of threads that end, returns from main.
    Destructors,
    /// Has more spans open than there are slots, then one, and waits.
    Spans,
    /// Forks children that go on saying things, and compares its recording.
    Fork,
    /// Tries to start, tells how it went.
    Try,
    /// The same through `ttlog::init`, as the environment has it.
    TryInit,
}

const WHATS: [What; 17] = [
    What::Tell,
    What::Step,
    What::LastWords,
    What::Crowd,
    What::Churn,
    What::Values,
    What::Log,
    What::Exit,
    What::Wait,
    What::SecondInit,
    What::Fill,
    What::Vanish,
    What::Destructors,
    What::Spans,
    What::Fork,
    What::Try,
    What::TryInit,
];

/// How many threads of [`What::Churn`] live at a time; acknowledgement 0 counts the
/// events of all of them that have returned.
pub const CHURN_AT_ONCE: u64 = 16;

/// A victim's plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it does.
    pub what: What,
    /// Which adapter it records by.
    pub adapter: Adapter,
    /// How many workers it has.
    pub threads: u64,
    /// How many events it says, where that is limited.
    pub events: u64,
    /// The recording's capacity.
    pub capacity_mib: u32,
    /// The recording's span slots.
    pub span_slots: usize,
    /// Where recordings go; a new directory by default.
    pub directory: Option<PathBuf>,
    /// The user that it runs as, if not the one who asks.
    pub uid: Option<u32>,
    /// More of its environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Plan {
    /// One worker, own adapter, 2 MiB.
    pub fn new(what: What) -> Plan {
        Plan {
            what,
            adapter: Adapter::Own,
            threads: 1,
            events: 0,
            capacity_mib: 2,
            span_slots: 256,
            directory: None,
            uid: None,
            environment: Vec::new(),
        }
    }

    /// By this adapter.
    pub fn adapter(self, adapter: Adapter) -> Plan {
        Plan { adapter, ..self }
    }

    /// With so many workers.
    pub fn threads(self, threads: u64) -> Plan {
        Plan { threads, ..self }
    }

    /// With so many events.
    pub fn events(self, events: u64) -> Plan {
        Plan { events, ..self }
    }

    /// With so large a recording.
    pub fn capacity_mib(self, capacity_mib: u32) -> Plan {
        Plan {
            capacity_mib,
            ..self
        }
    }

    /// With so many span slots.
    pub fn span_slots(self, span_slots: usize) -> Plan {
        Plan { span_slots, ..self }
    }

    /// With recordings in this directory.
    pub fn directory(self, directory: impl Into<PathBuf>) -> Plan {
        Plan {
            directory: Some(directory.into()),
            ..self
        }
    }

    /// As this user.
    pub fn uid(self, uid: u32) -> Plan {
        Plan {
            uid: Some(uid),
            ..self
        }
    }

    /// With this in its environment.
    pub fn env(mut self, key: &'static str, value: impl Into<String>) -> Plan {
        self.environment.push((key, value.into()));
        self
    }

    /// The plan as arguments; the directory comes on its own.
    pub fn to_args(&self) -> Vec<String> {
        let what = WHATS
            .iter()
            .position(|&what| what == self.what)
            .expect("listed") as u64;
        let adapter = u64::from(self.adapter == Adapter::Layer);
        let capacity = u64::from(self.capacity_mib);
        [
            what,
            adapter,
            self.threads,
            self.events,
            capacity,
            self.span_slots as u64,
        ]
        .map(|number| number.to_string())
        .to_vec()
    }

    /// The plan that [`Plan::to_args`] gave.
    ///
    /// # Panics
    /// If these are no such arguments.
    pub fn from_args(args: &[String]) -> Plan {
        let numbers: Vec<u64> = args
            .iter()
            .map(|arg| arg.parse().expect("a number for a plan"))
            .collect();
        let &[what, adapter, threads, events, capacity, slots] = numbers.as_slice() else {
            panic!("a plan has six numbers: {args:?}");
        };
        Plan::new(WHATS[what as usize])
            .adapter(ADAPTERS[adapter as usize])
            .threads(threads)
            .events(events)
            .capacity_mib(capacity as u32)
            .span_slots(slots as usize)
    }
}
