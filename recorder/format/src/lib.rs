//! The bytes of a ttlog recording, and how to read them back.
//!
//! No files, no clocks, no threads, no unsafe: what goes in are words and bytes,
//! and everything that decodes is total: arbitrary bytes never panic, never loop,
//! and never take more memory than a small multiple of themselves.
//!
//! A recording is one file of fixed size:
//!
//! ```text
//!   0        +--------------------------------------------+
//!            | header      written once           4 KiB   |  header
//!   4096     | totals      what no block can count        |
//!   8192     | causes      first four and last four       |  cause
//!   12288    | incidents   first four and last four       |  incident
//!   65536    +--------------------------------------------+
//!            | span table  256 bytes a slot               |  span
//!            +--------------------------------------------+
//!            | pool        4 KiB a block                  |  block
//!            |   +--------------------------------------+ |
//!            |   | header  whose block, since when      | |
//!            |   | stack   the spans that it was in     | |  record
//!            |   | records events, spans, …             | |  site, value
//!            |   |         …up to the committed byte    | |
//!            |   +--------------------------------------+ |
//!            +--------------------------------------------+
//!            | header, once more                  4 KiB   |
//!            +--------------------------------------------+
//! ```
//!
//! All integers are little-endian; everything but the header is made of whole
//! 8-byte words. Regions are aligned to 64 KiB, so nothing depends on the page
//! size of the machine that wrote.
//!
//! Why blocks? A ring of records is read from its one end, and one bad length
//! costs all behind it. A block is found by its place and read alone: damage to
//! one costs that one.
//!
//! Why a check on every record? For a process that dies, the order of stores is
//! enough. A power cut, a wild pointer, a reused block are not orderly.
//!
//! The version is 0: the format is still being found.

#![forbid(unsafe_code)]
#![warn(clippy::host_endian_bytes, clippy::big_endian_bytes)]

pub mod block;
pub mod cause;
pub mod check;
pub mod clock;
pub mod header;
pub mod incident;
pub mod record;
pub mod redaction;
pub mod salvage;
pub mod site;
pub mod snapshot;
pub mod span;
pub mod value;
pub mod verdict;

/// The format's version.
pub const VERSION: u32 = 0;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 4096;

/// Words of a block.
pub const BLOCK_WORDS: usize = BLOCK_BYTES / 8;

/// The most bytes that a record can have.
pub const RECORD_MAX_BYTES: usize = 2048;

/// The most words that a record can have.
pub const RECORD_MAX_WORDS: usize = RECORD_MAX_BYTES / 8;
