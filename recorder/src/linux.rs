//! What records, where there is a way to: a file that is mapped, a kernel that keeps
//! its pages, and threads that can be told apart.

mod aside;
mod asked;
mod backtrace;
mod clock;
mod core;
mod create;
mod durable;
mod encode;
mod fatal;
mod fork;
mod guard;
mod identity;
mod index;
mod kept;
mod layer;
mod limits;
mod memory;
mod message;
#[cfg(all(test, loom))]
mod model;
mod open_block;
mod panic;
mod place;
mod pool;
mod prefault;
mod recorder;
mod registry;
mod retire;
mod ring;
mod rings;
mod scratch;
mod seeded;
mod sites;
mod snapshot;
mod spans;
mod start;
mod subscriber;
mod sync;
#[cfg(not(any(loom, miri)))]
mod table;
mod thread;
mod unfinished;

pub use layer::Layer;
pub use recorder::Recorder;
pub(crate) use recorder::flush_snapshot;
pub(crate) use start::{create, init};
pub use subscriber::Subscriber;
