//! A flight recorder for production daemons: every thread's events and spans in
//! a memory-mapped file that survives the process.
//!
//! ```no_run
//! # fn main() -> Result<(), ttlog::Error> {
//! let recorder = ttlog::init()?;
//! tracing::info!(user_id = 42, "user logged in");
//! println!("recording into {}", recorder.path().display());
//! # Ok(()) }
//! ```
//!
//! After the death, however it came: `ttlog-reader view PID`.
//!
//! A recorder never harms its host: nothing here prints, panics or exits, an
//! event in the steady state neither allocates nor locks nor calls the system,
//! and a recorder that cannot be created is an [`Error`] for the caller to judge.

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("ttlog records on Linux, on x86_64 and aarch64");

mod builder;
mod clock;
mod core;
mod create;
mod encode;
mod error;
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
mod settings;
mod sites;
mod spans;
mod subscriber;
mod sync;
mod thread;

pub use builder::Builder;
pub use error::Error;
pub use layer::Layer;
pub use recorder::{Recorder, Stats};
pub use subscriber::Subscriber;

/// A recorder with the defaults and what `TTLOG_*` in the environment says,
/// installed as the global default: [`Builder::init`].
///
/// # Errors
/// See [`Builder::init`].
pub fn init() -> Result<Recorder, Error> {
    builder().init()
}

/// Sets a recorder up.
pub fn builder() -> Builder {
    Builder::default()
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
