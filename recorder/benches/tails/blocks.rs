//! Where the calling thread's blocks begin, read in its own recording.

use std::error::Error;
use std::path::Path;

use ttlog_format::block::{self, State};
use ttlog_format::header::{HEADER_BYTES, Header};
use ttlog_format::{BLOCK_BYTES, BLOCK_WORDS};

/// The numbers of the events that change blocks: one of them, and every so many more.
#[derive(Clone, Copy)]
pub(crate) struct Switches {
    at: u64,
    pub(crate) every: u64,
}

impl Switches {
    /// For who has no blocks.
    pub(crate) fn never() -> Switches {
        Switches {
            at: u64::MAX,
            every: 0,
        }
    }

    /// From the two newest blocks of the only thread that records there.
    pub(crate) fn read(recording: &Path) -> Result<Switches, Box<dyn Error>> {
        let begun = begun(recording)?;
        let [.., before, at] = begun[..] else {
            return Err("there are no two blocks".into());
        };
        Ok(Switches {
            at,
            every: at - before,
        })
    }

    /// The first one from this event on.
    pub(crate) fn next(self, event: u64) -> u64 {
        match event.checked_sub(self.at) {
            None => self.at,
            Some(since) => self.at + since.next_multiple_of(self.every),
        }
    }

    /// Whether all blocks that are there began where they were expected to.
    pub(crate) fn still_hold(self, recording: &Path) -> Result<bool, Box<dyn Error>> {
        let expected = |&at: &u64| at.abs_diff(self.at).is_multiple_of(self.every);
        Ok(begun(recording)?.iter().all(expected))
    }
}

/// How many events there had been before each block that is still there.
fn begun(recording: &Path) -> Result<Vec<u64>, Box<dyn Error>> {
    let bytes = std::fs::read(recording)?;
    let header = bytes.get(..HEADER_BYTES).ok_or("no header")?;
    let layout = Header::decode(header)
        .map_err(|fault| format!("{fault:?}"))?
        .layout;
    let pool = layout.pool_offset() as usize..layout.copy_offset() as usize;
    let blocks = bytes.get(pool).ok_or("no pool")?.chunks_exact(BLOCK_BYTES);
    let mut begun: Vec<u64> = blocks.filter_map(begin).collect();
    begun.sort_unstable();
    Ok(begun)
}

fn begin(block: &[u8]) -> Option<u64> {
    let mut words = [0; BLOCK_WORDS];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    match block::decode(&words) {
        State::Block(header) if header.kind == block::Kind::Records => Some(header.events_before),
        _ => None,
    }
}
