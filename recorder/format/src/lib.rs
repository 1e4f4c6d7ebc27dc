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
//! costs all behind it. A block is found by its place, or without the rest of the
//! file by its magic, and read alone: damage to one costs what is damaged of it.
//!
//! Why a check on every record? For a process that dies, the order of stores is
//! enough. A power cut, a wild pointer, a reused block are not orderly.
//!
//! # What may change, and what may not
//!
//! This is version 1. What was written once is read for ever: of each version there is a
//! frozen recording and a frozen snapshot, which a test reads.
//!
//! - *Where nothing was defined, something may come.* Bytes of the header, of the page of
//!   totals and of the head that are said to be nothing are zeros to a writer and nothing
//!   to a reader. A new total or field goes there, and zeros mean that it is not known.
//! - *What a reader may leave aside has a bit among the compatible features* if anybody
//!   needs to know of it: a recording that was scrubbed, say. Readers go on without.
//! - *What would be misread has a bit among the incompatible features, or a new version:* a
//!   new kind of record or of value, another meaning of a word, another check, another
//!   place. A reader that does not know the bit or the version says so, and reads nothing.
//!   Blocks that would be misread get another magic, too: they are found without a header.
//! - *A number is never used again:* not that of a kind, of a total, of a bit, of a version.
//! - *A reader reads all versions from 1 on*, and says of an older recording what a new one
//!   would have told besides: nothing.
//! - *In a snapshot*, which names what it holds, a key that is not known is passed over,
//!   and one that is not there has its default. A key is never given another meaning.
//!
//! Version 0 was written while the format was being found, and is not read.

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
pub const VERSION: u32 = 1;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 4096;

/// Words of a block.
pub const BLOCK_WORDS: usize = BLOCK_BYTES / 8;

/// The most bytes that a record can have.
pub const RECORD_MAX_BYTES: usize = 2048;

/// The most words that a record can have.
pub const RECORD_MAX_WORDS: usize = RECORD_MAX_BYTES / 8;
