//! Lines of which the newest comes first: they wait for the end, a few in memory, and what
//! is more in a file without a name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::unnamed;

/// Bytes that wait in memory.
const IN_MEMORY: usize = 1 << 20;

/// Bytes behind each line: how long it is, and when that was.
const TRAILER: usize = 16;

/// Lines that wait.
#[derive(Default)]
pub(super) struct Backwards {
    /// The newest of them, each with what is behind it.
    lines: Vec<u8>,
    /// How many bytes older ones have, that lie in the file, a stretch after the other.
    stretches: Vec<usize>,
    file: Option<File>,
}

impl Backwards {
    /// Has a line made that was at a moment.
    pub(super) fn push(&mut self, wall_ns: u64, make: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let begin = self.lines.len();
        make(&mut self.lines);
        let len = (self.lines.len() - begin) as u64;
        self.lines.extend(len.to_le_bytes());
        self.lines.extend(wall_ns.to_le_bytes());
        match self.lines.len() < IN_MEMORY {
            true => Ok(()),
            false => self.spill(),
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            // Where there can be none, memory will have to do.
            self.file = unnamed::file().ok();
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.lines)?;
            self.stretches.push(self.lines.len());
            self.lines.clear();
        }
        Ok(())
    }

    /// Gives all lines, the newest first, and when each was.
    pub(super) fn give(
        &mut self,
        mut give: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        give_of(&self.lines, &mut give)?;
        while let (Some(len), Some(file)) = (self.stretches.pop(), &mut self.file) {
            let begin: usize = self.stretches.iter().sum();
            self.lines.resize(len, 0);
            file.seek(SeekFrom::Start(begin as u64))?;
            file.read_exact(&mut self.lines)?;
            give_of(&self.lines, &mut give)?;
        }
        Ok(())
    }
}

fn give_of(lines: &[u8], give: &mut impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
    let mut rest = lines;
    while let Some((before, trailer)) = rest.split_last_chunk::<TRAILER>() {
        let [len, wall_ns] = [0, 8].map(|at| {
            let word = trailer[at..].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(word)
        });
        let begin = before.len().saturating_sub(len as usize);
        give(&before[begin..], wall_ns)?;
        rest = &before[..begin];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_last_is_given_first_from_memory_and_from_the_file() {
        for lines in [0, 3, 40_000] {
            let mut backwards = Backwards::default();
            for n in 0..lines {
                let line = format!("{n}{}\n", "x".repeat(1000));
                let pushed = backwards.push(n, |out| out.extend(line.bytes()));
                pushed.unwrap();
            }
            let mut left = lines;
            let given = backwards.give(|line, wall_ns| {
                left -= 1;
                assert_eq!(wall_ns, left);
                assert!(line.starts_with(format!("{left}x").as_bytes()));
                assert_eq!(line.last(), Some(&b'\n'));
                Ok(())
            });
            given.unwrap();
            assert_eq!(left, 0);
        }
    }
}
