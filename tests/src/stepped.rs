//! What the program `stepped` does while a [`stepper`](crate::stepper) steps it: the scenes,
//! their phases, and what the one tells the other.
//!
//! It tells by marks, at which it stops, what comes next, and by [counters](crate::acks)
//! what must be in its recording by now, and what may.

use crate::acks::Acks;
use std::sync::atomic::Ordering;

/// What a process does from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// The recorder starts.
    Start,
    /// The main thread tells the story.
    Story,
    /// Spans are opened, entered, given values, left and closed.
    Spans,
    /// Among many threads, blocks are taken, and threads begin and end.
    Crowd,
    /// It exits with a status.
    Exit,
    /// It reads where nothing is.
    Fault,
    /// It aborts.
    Abort,
    /// It is sent a signal that it asked to be terminated by.
    Terminate,
    /// The main thread panics.
    Panic,
}

/// All of them.
pub const SCENES: [Scene; 9] = [
    Scene::Start,
    Scene::Story,
    Scene::Spans,
    Scene::Crowd,
    Scene::Exit,
    Scene::Fault,
    Scene::Abort,
    Scene::Terminate,
    Scene::Panic,
];

impl Scene {
    /// The scene of this name.
    pub fn from_name(name: &str) -> Option<Scene> {
        SCENES.into_iter().find(|scene| scene.name() == name)
    }

    /// Its name.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// What the reader says of the process when the scene has been played.
    pub fn verdict(self) -> &'static str {
        match self {
            Scene::Start | Scene::Story | Scene::Spans | Scene::Crowd | Scene::Exit => "ended",
            Scene::Fault | Scene::Abort => "signal",
            Scene::Terminate => "terminated",
            Scene::Panic => "panicked",
        }
    }
}

/// What a process is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    /// What nobody steps.
    Unseen,
    /// The recorder starts.
    Start,
    /// A thread's first events and spans, each of a call site that is not known.
    First,
    /// Events and spans of call sites that are known.
    Steady,
    /// As before; what is stepped is the end of a block and what comes behind it.
    Switch,
    /// Spans that live long.
    Spans,
    /// A thread begins.
    Begin,
    /// A thread ends.
    End,
    /// The process ends.
    Death,
}

/// All of them.
pub const PHASES: [Phase; 9] = [
    Phase::Unseen,
    Phase::Start,
    Phase::First,
    Phase::Steady,
    Phase::Switch,
    Phase::Spans,
    Phase::Begin,
    Phase::End,
    Phase::Death,
];

/// What is in a register at a mark, and elsewhere hardly ever.
pub const MARK: u64 = 0x6b72_616d_676f_6c74;

/// Stops, and says what the calling thread does next. For who is traced.
#[cfg(target_arch = "x86_64")]
pub fn mark(phase: Phase) {
    // SAFETY: a breakpoint, of which the stepper makes a stop; no register is changed.
    unsafe { std::arch::asm!("int3", in("rdi") phase as u64, in("rsi") MARK) };
}

/// There is no stepper.
#[cfg(not(target_arch = "x86_64"))]
pub fn mark(_: Phase) {}

/// How many workers of [`Scene::Crowd`] stand by: so many that a few blocks are left.
pub const BYSTANDERS: u64 = 244;

/// The worker that begins and ends before the eyes of all.
pub const MAYFLY: u64 = 2 + BYSTANDERS;

/// Workers from this one on may be gone, and what they said be counted among what threads
/// that are gone have said.
pub const FIRST_MORTAL: u64 = MAYFLY - 2;

/// A number in the recording of which it is known how large it must be and may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Open spans called `task` that have a slot.
    Open,
    /// How many of them the main thread is in.
    Depth,
    /// The newest value of `step` of any of them.
    Step,
    /// How often one of them follows from another.
    Follows,
    /// Spans that found no slot.
    WithoutSlot,
}

/// All of them.
pub const NUMBERS: [Number; 5] = [
    Number::Open,
    Number::Depth,
    Number::Step,
    Number::Follows,
    Number::WithoutSlot,
];

/// The counter from which on there are no workers' but two for each number.
const FIRST_COUNTER: u64 = 480;

impl Number {
    /// The counters of the least and the most that it can be.
    pub fn counters(self) -> [u64; 2] {
        let first = FIRST_COUNTER + 2 * self as u64;
        [first, first + 1]
    }

    /// Does what changes it by so many: before, it is as it was; meanwhile either; after,
    /// changed.
    pub fn changes<T>(self, acks: &Acks, by: i64, change: impl FnOnce() -> T) -> T {
        let [least, most] = self.counters().map(|counter| acks.counter(counter));
        let (first, then) = if by < 0 { (least, most) } else { (most, least) };
        first.fetch_add(by as u64, Ordering::Release);
        let changed = change();
        then.fetch_add(by as u64, Ordering::Release);
        changed
    }
}
