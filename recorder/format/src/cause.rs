//! Causes: what was stamped into the head about an end.
//!
//! Eight words each; the first four and the last four are kept. A cause is
//! appended by the process that ends, and none is a gate: recording goes on.
//!
//! ```text
//!   word 0   check | kind << 8 … as a record's header, of 8 words
//!        1   ticks
//!        2   number      of this cause, from 0
//!        3   thread number | operating system's thread id << 32
//!        4   wall clock, nanoseconds
//!        5…  by kind
//! ```

use crate::check::Key;
use crate::header::CAUSES_OFFSET;

/// How many causes are kept: the first four and the last four.
pub const CAUSES: usize = 8;

/// Words of a cause.
pub const CAUSE_WORDS: usize = 8;

/// What ended, or may have ended, the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A return from `main`, or `exit`.
    Exit = 1,
}

/// A cause as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What it was.
    pub kind: Kind,
    /// When, in ticks.
    pub ticks: u64,
    /// Its number, from 0.
    pub number: u64,
    /// The operating system's id of the thread that wrote it.
    pub thread_id: u32,
    /// When, in nanoseconds since 1970.
    pub wall_ns: u64,
}

/// The place of the `number`th cause: the first four stay, later ones share the last four.
pub fn place(number: u64) -> usize {
    if number < 4 {
        number as usize
    } else {
        4 + (number % 4) as usize
    }
}

/// Where the cause at `place` lies, in bytes from the file's beginning.
pub fn offset(place: usize) -> u64 {
    CAUSES_OFFSET + (place * CAUSE_WORDS * 8) as u64
}

impl Cause {
    /// The cause's words.
    pub fn encode(&self, recording: u64) -> [u64; CAUSE_WORDS] {
        let mut words = [0; CAUSE_WORDS];
        words[0] = self.kind as u64;
        words[1] = self.ticks;
        words[2] = self.number;
        words[3] = u64::from(self.thread_id) << 32;
        words[4] = self.wall_ns;
        words[0] |= Key::of_cause(recording, self.number).over(0, &words) << 16;
        words
    }

    /// Decodes a cause, or `None` if there is none.
    pub fn decode(words: &[u64; CAUSE_WORDS], recording: u64) -> Option<Cause> {
        let mut plain = *words;
        plain[0] &= 0xffff;
        if Key::of_cause(recording, words[2]).over(0, &plain) != words[0] >> 16 {
            return None;
        }
        let kind = match plain[0] {
            1 => Kind::Exit,
            _ => return None,
        };
        Some(Cause {
            kind,
            ticks: words[1],
            number: words[2],
            thread_id: (words[3] >> 32) as u32,
            wall_ns: words[4],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_comes_back_and_no_flipped_bit_does() {
        let cause = Cause {
            kind: Kind::Exit,
            ticks: 1,
            number: 2,
            thread_id: 3,
            wall_ns: 4,
        };
        let words = cause.encode(42);
        assert_eq!(Cause::decode(&words, 42), Some(cause));
        for bit in 0..CAUSE_WORDS * 64 {
            let mut flipped = words;
            flipped[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(Cause::decode(&flipped, 42), None, "bit {bit}");
        }
        assert_eq!(Cause::decode(&[0; CAUSE_WORDS], 42), None);
    }

    #[test]
    fn the_first_four_causes_stay() {
        let places: Vec<usize> = (0..12).map(place).collect();
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7]);
    }
}
