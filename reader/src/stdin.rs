//! What comes by stdin: a pipe cannot be read at a place, so it is kept where that can be.
//!
//! A few MiB are kept in memory. What is more than that goes to a file without a name in the
//! temporary directory, which is gone as soon as nobody has it open, however this ends.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::unnamed;

/// Bytes that are kept in memory.
const IN_MEMORY: u64 = 4 << 20;

/// All that came by stdin.
pub(crate) enum Kept {
    /// A little, in memory.
    Memory(Vec<u8>),
    /// More, in a file that is nobody else's.
    File(File),
}

/// Reads all of stdin.
///
/// # Errors
/// It cannot be read, or there is no room for it.
pub(crate) fn keep() -> io::Result<Kept> {
    keep_of(&mut io::stdin().lock(), IN_MEMORY)
}

fn keep_of(input: &mut impl Read, in_memory: u64) -> io::Result<Kept> {
    let mut bytes = Vec::new();
    input.take(in_memory).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < in_memory {
        return Ok(Kept::Memory(bytes));
    }
    spill(bytes, input)
}

/// Goes on in a file; where there can be none, in memory.
fn spill(mut first: Vec<u8>, rest: &mut impl Read) -> io::Result<Kept> {
    let Ok(mut file) = unnamed::file() else {
        rest.read_to_end(&mut first)?;
        return Ok(Kept::Memory(first));
    };
    file.write_all(&first)?;
    drop(first);
    io::copy(rest, &mut file)?;
    Ok(Kept::File(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Bytes;
    use ttlog_format::salvage::Source;

    #[test]
    fn what_is_little_stays_in_memory_and_what_is_more_can_be_read_as_well() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for (in_memory, is_file) in [(2000, false), (1001, false), (1000, true), (7, true)] {
            let kept = match keep_of(&mut &bytes[..], in_memory).unwrap() {
                Kept::Memory(kept) => {
                    assert!(!is_file || cfg!(not(target_os = "linux")));
                    kept
                }
                Kept::File(file) => {
                    assert!(is_file);
                    let mut kept = vec![0; 2000];
                    let found = Bytes(file).read_at(&mut kept, 0).unwrap();
                    kept.truncate(found);
                    kept
                }
            };
            assert_eq!(kept, bytes, "{in_memory}");
        }
    }
}
