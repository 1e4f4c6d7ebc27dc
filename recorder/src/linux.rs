//! What records, where there is a way to: a file that is mapped, a kernel that keeps
//! its pages, and threads that can be told apart.

mod clock;
mod core;
mod create;
mod encode;
mod identity;
mod layer;
mod limits;
mod memory;
#[cfg(all(test, loom))]
mod model;
mod open_block;
mod place;
mod pool;
mod recorder;
mod registry;
mod ring;
mod rings;
mod scratch;
mod sites;
mod spans;
mod start;
mod subscriber;
mod sync;
mod thread;

pub use layer::Layer;
pub use recorder::Recorder;
pub(crate) use start::{create, init};
pub use subscriber::Subscriber;
