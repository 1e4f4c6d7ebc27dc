//! Reads what a ttlog recorder left behind: after a crash, after `kill -9`, or live.
//!
//! The recording is opened for reading, read with `read`, and never mapped or
//! written to: whoever truncates it meanwhile gets a short read and not a dead
//! reader. Arbitrary bytes give a clear error or what could be salvaged.
//!
//! ```no_run
//! let opened = ttlog_reader::open("/dev/shm/ttlog-1000".as_ref())?;
//! println!("{}: {}", opened.path.display(), opened.verdict.kind);
//! for entry in &opened.recording.entries {
//!     println!("{} ns", entry.wall_ns);
//! }
//! # Ok::<(), ttlog_reader::Error>(())
//! ```

#![forbid(unsafe_code)]

mod advice;
mod again;
mod allowance;
mod cgroup;
mod colour;
mod columns;
pub mod command;
mod damage;
mod doctor;
mod ending;
mod error;
mod escape;
mod evidence;
mod export;
mod file;
mod filter;
mod find;
mod info;
mod input;
mod interrupt;
mod json;
mod list;
mod manual;
mod measure;
mod output;
mod page;
mod pager;
mod postmortem;
mod process;
mod progress;
mod reading;
mod scrub;
mod shown;
mod signal;
mod spans;
mod stats;
mod stdin;
mod text;
mod unnamed;
pub mod usage;
mod verdict;
mod view;

#[cfg(test)]
mod fixture;

pub use error::Error;
pub use escape::escape;
pub use filter::Asked;
pub use find::find;
pub use input::{Opened, open};
pub use ttlog_format::verdict::{Kind, Verdict};
