//! Histories: programs that record and die, and what the reader says of them.
//!
//! A [`Victim`] is a process of the binary `victim`, which does what its
//! [`Plan`] says: tells a [`story`] of events that can each be foretold from
//! the worker's number and the event's, and acknowledges each in a shared
//! mapping of its own once the call has returned. So whatever the moment of its
//! death, it is known what must be readable, and what it must say.

pub mod acks;
pub mod actor;
pub mod bounded;
pub mod build;
pub mod check;
pub mod confined;
pub mod corrupt;
pub mod cut;
pub mod daemon;
pub mod death;
pub mod disk;
pub mod divide;
pub mod exports;
pub mod footprint;
pub mod fuzzed;
pub mod golden;
pub mod guest;
pub mod image;
pub mod made;
pub mod mayfly;
pub mod outcome;
pub mod peak;
pub mod plan;
pub mod planted;
pub mod played;
pub mod power;
pub mod powered;
pub mod reader;
pub mod scribble;
pub mod seccomp;
pub mod secrets;
pub mod snapper;
pub mod stepped;
pub mod stepper;
pub mod stores;
pub mod story;
pub mod tally;
pub mod torrent;
pub mod torture;
pub mod traced;
pub mod values;
pub mod victim;

pub use check::Violation;
pub use plan::{Adapter, Plan, What};
pub use played::Played;
pub use tally::Tally;
pub use victim::Victim;
