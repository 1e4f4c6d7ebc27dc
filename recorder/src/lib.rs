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
//!
//! Recording needs Linux on x86_64 or aarch64. Elsewhere the crate compiles, and
//! [`init`] says that there is no recorder.

#![cfg_attr(
    not(all(target_os = "linux", not(ttlog_unsupported))),
    allow(dead_code, reason = "what a recorder would need")
)]

mod builder;
mod error;
#[cfg(all(target_os = "linux", not(ttlog_unsupported)))]
mod linux;
mod policy;
mod redaction;
mod settings;
mod stats;
#[cfg(not(all(target_os = "linux", not(ttlog_unsupported))))]
mod unsupported;

#[cfg(all(target_os = "linux", not(ttlog_unsupported)))]
use linux as here;
#[cfg(not(all(target_os = "linux", not(ttlog_unsupported))))]
use unsupported as here;

use std::path::PathBuf;

pub use builder::Builder;
pub use error::Error;
pub use here::{Layer, Recorder, Subscriber};
pub use policy::{Durability, Fork};
pub use stats::Stats;

/// Whether there is a recorder for this target.
const SUPPORTED: bool = cfg!(all(
    target_os = "linux",
    target_endian = "little",
    any(target_arch = "x86_64", target_arch = "aarch64")
));

/// A recorder with the defaults and what `TTLOG_*` in the environment says,
/// installed as the global default: [`Builder::init`].
///
/// # Errors
/// See [`Builder::init`].
pub fn init() -> Result<Recorder, Error> {
    builder().init()
}

/// Writes a snapshot of the installed recorder's last seconds and gives its path; of
/// the one created last where none is installed. See [`Recorder::flush_snapshot`].
///
/// # Errors
/// There is no recorder, or as [`Recorder::flush_snapshot`].
pub fn flush_snapshot(why: &str) -> Result<PathBuf, Error> {
    here::flush_snapshot(why)
}

/// Sets a recorder up.
pub fn builder() -> Builder {
    Builder::default()
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
