//! Causes: what was stamped into the head about an end.
//!
//! Sixteen words each; the first four and the last four are kept. A cause is
//! appended by the process that ends, and none is a gate: recording goes on, and
//! whether the process died of it is for the reader to find out.
//!
//! ```text
//!   word 0   check (48 bits) | kind (8) | flags (8)    over words 0..15
//!        1   ticks
//!        2   number      of this cause, from 0
//!        3   thread number | operating system's thread id << 32
//!        4   wall clock, nanoseconds
//!        5   signal | its code << 32; of an exit, the status
//!        6   fault address; of a sent signal, sender's pid | user id << 32
//!        7   program counter
//!       15   survived    a tally: ticks from the cause until the handler that was
//!                        there before had returned and the process could go on,
//!                        plus 1; 0: that did not come to pass
//! ```
//!
//! A place where no cause was ever written says so in its word 0, and so does one whose
//! cause is being written: zeros there are damage, which may hide how the process ended.
//!
//! Everything here is arithmetic on words: a signal handler encodes a cause.

use serde::{Deserialize, Serialize};

use crate::check::Key;
use crate::header::CAUSES_OFFSET;

/// How many causes are kept: the first four and the last four.
pub const CAUSES: usize = 8;

/// Words of a cause.
pub const CAUSE_WORDS: usize = 16;

/// The word that tells when the cause was survived.
pub const SURVIVED: usize = 15;

const SENT: u64 = 1;
const PANICKING: u64 = 2;
const OVERFLOW: u64 = 4;
const CHAINED: u64 = 8;
const STATUS: u64 = 16;

/// What ended, or may have ended, the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// A return from `main`, or `exit`.
    #[default]
    Exit = 1,
    /// A fatal signal.
    Signal = 2,
    /// A signal that asks to terminate, and will be obeyed.
    Terminate = 3,
}

/// A cause as it was written, and what the recording says of the time after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// What it was.
    pub kind: Kind,
    /// When, in ticks.
    pub ticks: u64,
    /// Its number, from 0.
    pub number: u64,
    /// Number of the thread in the recording, 0 if it had recorded nothing.
    pub thread: u32,
    /// The operating system's id of the thread that wrote it.
    pub thread_id: u32,
    /// When, in nanoseconds since 1970.
    pub wall_ns: u64,
    /// The exit status, if it is known.
    pub status: Option<i32>,
    /// The signal, 0 if it was none.
    pub signal: i32,
    /// The signal's code (sigaction(2), `si_code`).
    pub code: i32,
    /// The fault's address, of a signal that was not sent.
    pub address: Option<u64>,
    /// Who sent the signal.
    pub sender: Option<Sender>,
    /// The instruction at which the thread was, 0 if it is not known.
    pub program_counter: u64,
    /// Whether the thread was panicking.
    pub panicking: bool,
    /// Whether the fault lies where the stack ends: it has overflowed.
    pub overflow: bool,
    /// Whether a handler of the host's was called next, which may recover.
    pub chained: bool,
    /// After how many ticks that handler returned, if it did and the process could go
    /// on: it was not left to die of the same fault again.
    pub survived_ticks: Option<u64>,
    /// For how long the cause's own thread went on recording, after the cause or
    /// after that handler had returned; nanoseconds, 0 if it recorded nothing
    /// more. Found by salvage.
    pub own_after_ns: u64,
    /// For how long any thread went on recording after the cause; nanoseconds.
    /// Found by salvage.
    pub any_after_ns: u64,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sender {
    /// Its process id, 0 if it is not visible from the process.
    pub pid: u32,
    /// Its real user id.
    pub uid: u32,
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

/// Word 0 of a place where no cause was ever written.
pub fn none(recording: u64, place: usize) -> u64 {
    without_cause(recording, place, 0)
}

/// Word 0 of a place where a cause is being written.
pub fn begun(recording: u64, place: usize) -> u64 {
    without_cause(recording, place, 1)
}

fn without_cause(recording: u64, place: usize, state: u64) -> u64 {
    Key::of_header_word(recording).tally((offset(place) / 8) as usize, state)
}

/// What was found at a place of causes.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Nothing was ever written there.
    None,
    /// The process died, or is, writing a cause.
    Begun,
    /// A cause.
    Cause(Cause),
    /// None of these.
    Damaged,
}

/// What the words at a place of causes say.
pub fn find(words: &[u64; CAUSE_WORDS], recording: u64, at: usize) -> Found {
    match Cause::decode(words, recording) {
        Some(cause) if place(cause.number) == at => Found::Cause(cause),
        None if words[0] == none(recording, at) => Found::None,
        None if words[0] == begun(recording, at) => Found::Begun,
        _ => Found::Damaged,
    }
}

/// What to store at [`SURVIVED`] of the `number`th cause when the handler that was
/// there before the recorder's has returned, `ticks` later, and the process goes on.
pub fn survived(recording: u64, number: u64, ticks: u64) -> u64 {
    Key::of_cause(recording, number).tally(SURVIVED, ticks.saturating_add(1))
}

impl Cause {
    /// The cause's words, as of a handler that has not returned yet.
    pub fn encode(&self, recording: u64) -> [u64; CAUSE_WORDS] {
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        let flags = flag(self.sender.is_some(), SENT)
            | flag(self.panicking, PANICKING)
            | flag(self.overflow, OVERFLOW)
            | flag(self.chained, CHAINED)
            | flag(self.status.is_some(), STATUS);
        let sender = self.sender.map(|sender| pair(sender.pid, sender.uid));
        let mut words = [0; CAUSE_WORDS];
        words[0] = self.kind as u64 | (flags << 8);
        words[1] = self.ticks;
        words[2] = self.number;
        words[3] = pair(self.thread, self.thread_id);
        words[4] = self.wall_ns;
        words[5] = match self.status {
            Some(status) => u64::from(status as u32),
            None => pair(self.signal as u32, self.code as u32),
        };
        words[6] = sender.or(self.address).unwrap_or(0);
        words[7] = self.program_counter;
        let key = Key::of_cause(recording, self.number);
        words[0] |= key.over(0, &words[..SURVIVED]) << 16;
        words[SURVIVED] = key.tally(SURVIVED, 0);
        words
    }

    /// Decodes a cause, or `None` if there is none.
    pub fn decode(words: &[u64; CAUSE_WORDS], recording: u64) -> Option<Cause> {
        let mut plain = *words;
        plain[0] &= 0xffff;
        let key = Key::of_cause(recording, words[2]);
        if key.over(0, &plain[..SURVIVED]) != words[0] >> 16 {
            return None;
        }
        let kind = match plain[0] & 0xff {
            1 => Kind::Exit,
            2 => Kind::Signal,
            3 => Kind::Terminate,
            _ => return None,
        };
        let has = |flag: u64| plain[0] & (flag << 8) != 0;
        let (low, high) = (words[5] as u32 as i32, (words[5] >> 32) as u32 as i32);
        let by_signal = kind != Kind::Exit;
        let survived = key.tallied(SURVIVED, words[SURVIVED]);
        Some(Cause {
            kind,
            ticks: words[1],
            number: words[2],
            thread: words[3] as u32,
            thread_id: (words[3] >> 32) as u32,
            wall_ns: words[4],
            status: has(STATUS).then_some(low),
            signal: if by_signal { low } else { 0 },
            code: if by_signal { high } else { 0 },
            address: (kind == Kind::Signal && !has(SENT)).then_some(words[6]),
            sender: has(SENT).then_some(Sender {
                pid: words[6] as u32,
                uid: (words[6] >> 32) as u32,
            }),
            program_counter: words[7],
            panicking: has(PANICKING),
            overflow: has(OVERFLOW),
            chained: has(CHAINED),
            survived_ticks: survived.and_then(|ticks| ticks.checked_sub(1)),
            own_after_ns: 0,
            any_after_ns: 0,
        })
    }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | (u64::from(high) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> Cause {
        Cause {
            kind: Kind::Exit,
            ticks: 1,
            number: 2,
            thread: 1,
            thread_id: 3,
            wall_ns: 4,
            status: Some(101),
            ..Cause::default()
        }
    }

    fn fault() -> Cause {
        Cause {
            kind: Kind::Signal,
            number: 5,
            signal: 11,
            code: 1,
            address: Some(u64::MAX - 7),
            program_counter: 0x1234,
            overflow: true,
            chained: true,
            ..Cause::default()
        }
    }

    fn sent() -> Cause {
        Cause {
            kind: Kind::Signal,
            signal: 6,
            code: -6,
            sender: Some(Sender { pid: 77, uid: 1000 }),
            panicking: true,
            ..Cause::default()
        }
    }

    #[test]
    fn a_cause_comes_back_and_no_flipped_bit_does() {
        for cause in [exit(), fault(), sent()] {
            let words = cause.encode(42);
            assert_eq!(Cause::decode(&words, 42), Some(cause));
            for bit in 0..SURVIVED * 64 {
                let mut flipped = words;
                flipped[bit / 64] ^= 1 << (bit % 64);
                assert_eq!(Cause::decode(&flipped, 42), None, "bit {bit}");
            }
        }
        assert_eq!(Cause::decode(&[0; CAUSE_WORDS], 42), None);
    }

    #[test]
    fn when_it_was_survived_is_told_or_not_known() {
        let cause = fault();
        let mut words = cause.encode(42);
        words[SURVIVED] = survived(42, cause.number, 0);
        let read = Cause::decode(&words, 42).unwrap();
        assert_eq!(read.survived_ticks, Some(0));
        words[SURVIVED] ^= 1 << 30;
        assert_eq!(Cause::decode(&words, 42), Some(cause));
    }

    #[test]
    fn that_there_is_no_cause_is_known_and_not_taken_from_zeros() {
        for at in 0..CAUSES {
            let mut words = [7; CAUSE_WORDS];
            words[0] = none(42, at);
            assert_eq!(find(&words, 42, at), Found::None);
            assert_eq!(find(&words, 42, (at + 1) % CAUSES), Found::Damaged);
            words[0] = begun(42, at);
            assert_eq!(find(&words, 42, at), Found::Begun);
            for bit in 0..64 {
                let mut flipped = words;
                flipped[0] ^= 1 << bit;
                assert_eq!(find(&flipped, 42, at), Found::Damaged, "bit {bit}");
            }
            assert_eq!(find(&[0; CAUSE_WORDS], 42, at), Found::Damaged);
        }
        let words = exit().encode(42);
        assert_eq!(find(&words, 42, 2), Found::Cause(exit()));
        assert_eq!(find(&words, 42, 3), Found::Damaged);
    }

    #[test]
    fn the_first_four_causes_stay() {
        let places: Vec<usize> = (0..12).map(place).collect();
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7]);
    }

    #[test]
    fn the_first_four_stay_and_the_last_four_take_turns_in_places_of_their_own() {
        use crate::header::{HEAD_BYTES, INCIDENT_BYTES, INCIDENTS_OFFSET};
        use crate::incident;

        let numbers = (0..1000).chain(u64::MAX - 1000..=u64::MAX);
        for number in numbers {
            let place = place(number);
            assert!(place < CAUSES);
            assert_eq!(place, incident::place(number));
            let is_first = number < 4;
            assert_eq!(is_first, place < 4);
            // Whoever had it before came four earlier, and was no first one.
            let before = number.checked_sub(4).filter(|&before| before >= 4);
            assert!(before.is_none_or(|before| super::place(before) == place));
            let newer = number.saturating_add(1)..=number.saturating_add(3);
            let mut others = newer.filter(|&newer| newer > number && number >= 4);
            assert!(others.all(|other| super::place(other) != place));
        }
        let mut end = (CAUSES_OFFSET, INCIDENTS_OFFSET);
        for place in 0..CAUSES {
            assert_eq!((offset(place), incident::offset(place)), end);
            end.0 += 8 * CAUSE_WORDS as u64;
            end.1 += INCIDENT_BYTES;
        }
        assert!(end.0 <= INCIDENTS_OFFSET && end.1 <= HEAD_BYTES);
    }
}
