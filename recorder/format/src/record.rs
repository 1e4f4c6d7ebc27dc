//! A record: one event, span opening, enter, exit, close, and so on.
//!
//! ```text
//!   word 0   check (48 bits) | kind (6) | words (10)     over words 0..words
//!   word 1   ticks
//!   word 2…  by kind:
//!
//!   Event         site, values…                 in the thread's current span
//!   EventIn       site, span, values…           in the span named by the event
//!   EventRoot     site, values…                 in no span
//!   SpanOpen      site, span, parent, values…, entered   parent 0: none
//!   SpanEnter     span
//!   SpanExit      span, closed
//!   SpanClose     span
//!   SpanValues    span, values…                 fields recorded later
//!   SpanFollows   span, the span that it follows from
//!   Description   span, words of the span's slot…
//!   Stack         depth, kept outermost, span ids…     outermost first
//!   CallSite      see `site`
//!   Incident, Frames, Module, Symbols           see `incident`
//! ```
//!
//! Why is the check in the length's word? A length that is not checked sends
//! the reader into the middle of the next record; one that is, costs a record.
//!
//! Most spans are entered as soon as they are opened, and closed as soon as they are
//! left. So the record before may say that too: `entered` and `closed` are how many
//! ticks later it happened, 0 where it did not or has a record of its own. They are
//! stored when the record has been committed: outside of its check, and guarded each
//! by itself.

use crate::check::Key;
use crate::{BLOCK_WORDS, RECORD_MAX_WORDS};

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An event in the thread's current span.
    Event = 1,
    /// An event whose parent was given explicitly.
    EventIn = 2,
    /// An event that is explicitly in no span.
    EventRoot = 3,
    /// A span was created.
    SpanOpen = 4,
    /// The thread entered a span.
    SpanEnter = 5,
    /// The thread left a span.
    SpanExit = 6,
    /// The last handle of a span is gone.
    SpanClose = 7,
    /// Fields of a span were recorded later.
    SpanValues = 8,
    /// A span follows from another.
    SpanFollows = 9,
    /// What a span is, copied from its slot.
    Description = 10,
    /// The spans that the thread was in when the block began.
    Stack = 11,
    /// A call site.
    CallSite = 12,
    /// An incident.
    Incident = 13,
    /// The return addresses of an incident.
    Frames = 14,
    /// An executable or a library that they lie in.
    Module = 15,
    /// The frames of an incident in words.
    Symbols = 16,
}

impl Kind {
    /// The kind with this number.
    pub fn from_u8(kind: u8) -> Option<Kind> {
        Some(match kind {
            1 => Kind::Event,
            2 => Kind::EventIn,
            3 => Kind::EventRoot,
            4 => Kind::SpanOpen,
            5 => Kind::SpanEnter,
            6 => Kind::SpanExit,
            7 => Kind::SpanClose,
            8 => Kind::SpanValues,
            9 => Kind::SpanFollows,
            10 => Kind::Description,
            11 => Kind::Stack,
            12 => Kind::CallSite,
            13 => Kind::Incident,
            14 => Kind::Frames,
            15 => Kind::Module,
            16 => Kind::Symbols,
            _ => return None,
        })
    }

    /// Whether the last word of such a record may be stored when it has been committed.
    #[inline]
    pub fn has_later_word(self) -> bool {
        matches!(self, Kind::SpanOpen | Kind::SpanExit)
    }

    /// Whether a record of this kind is counted as an event.
    #[inline]
    pub fn is_event(self) -> bool {
        matches!(self, Kind::Event | Kind::EventIn | Kind::EventRoot)
    }
}

/// The fewest words that a record has: its header and its ticks.
pub const RECORD_MIN_WORDS: usize = 2;

/// Bits of a header word below its check.
pub const HEADER_BITS: u32 = 16;

const _: () = assert!(HEADER_BITS + crate::check::CHECK_BITS == 64);
const _: () = assert!(RECORD_MAX_WORDS < 1 << 10);
const _: () = assert!(BLOCK_WORDS < 1 << 10);

/// A header word without its check.
#[inline]
pub fn header(kind: Kind, words: usize) -> u64 {
    words as u64 | ((kind as u64) << 10)
}

/// A header word with its check.
#[inline]
pub fn seal(header: u64, check: u64) -> u64 {
    header | (check << HEADER_BITS)
}

/// The record's words, header included, that a header word claims.
#[inline]
pub fn words(header: u64) -> usize {
    (header & 0x3ff) as usize
}

/// The kind that a header word claims.
#[inline]
pub fn kind(header: u64) -> Option<Kind> {
    Kind::from_u8(((header >> 10) & 0x3f) as u8)
}

/// A record that passed its check.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// What it tells.
    pub kind: Kind,
    /// Where its header is, in words from the beginning of the block or slot.
    pub position: usize,
    /// Its words, header included, and without the one that is stored later.
    pub words: &'a [u64],
    /// What was stored later, in ticks; 0: nothing.
    pub later: u32,
}

impl<'a> Raw<'a> {
    /// The record of which these are all words; `None` if that is damaged which is stored
    /// later.
    pub(crate) fn of(kind: Kind, position: usize, words: &'a [u64], key: Key) -> Option<Self> {
        let (words, later) = match words.split_last() {
            Some((&later, words)) if kind.has_later_word() => {
                (words, key.guarded(position + words.len(), later)?)
            }
            _ => (words, 0),
        };
        Some(Raw {
            kind,
            position,
            words,
            later,
        })
    }

    /// Where the next record begins.
    pub fn end(&self) -> usize {
        self.position + self.words.len() + usize::from(self.kind.has_later_word())
    }
}

/// The record at word `position` of `area`, or `None` if what is there is none
/// that was written there under `key`.
pub fn at(area: &[u64], position: usize, key: Key) -> Option<Raw<'_>> {
    let &first = area.get(position)?;
    let len = words(first);
    let kind = kind(first)?;
    if len < RECORD_MIN_WORDS {
        return None;
    }
    let words = area.get(position..position.checked_add(len)?)?;
    let record = Raw::of(kind, position, words, key)?;
    let plain = first & ((1 << HEADER_BITS) - 1);
    let check = key.over_record(position, plain, record.words.get(1..)?);
    (check == first >> HEADER_BITS).then_some(record)
}

/// Writes the check of the record in `words`, which will stand at `position`, and
/// guards the number in the word that is stored later, if it has one.
///
/// For tests and cold paths; the recorder computes it while it copies.
pub fn seal_in_place(words: &mut [u64], position: usize, key: Key) {
    let Some((first, body)) = words.split_first_mut() else {
        return;
    };
    *first &= (1 << HEADER_BITS) - 1;
    let later = usize::from(kind(*first).is_some_and(Kind::has_later_word));
    let (body, later) = body.split_at_mut(body.len().saturating_sub(later));
    let last = position + 1 + body.len();
    later
        .iter_mut()
        .for_each(|word| *word = key.guard(last, *word as u32));
    *first = seal(*first, key.over_record(position, *first, body));
}

/// Walks the records of `area` from `start` to `end` (in words): every record
/// that passes its check, and, behind a bad one, the next that does.
pub struct Walk<'a> {
    area: &'a [u64],
    key: Key,
    position: usize,
    end: usize,
    damaged: bool,
}

impl<'a> Walk<'a> {
    /// A walk over the words `start..end` of `area`; `end` is cut to its length.
    pub fn new(area: &'a [u64], key: Key, start: usize, end: usize) -> Walk<'a> {
        let end = end.min(area.len());
        Walk {
            area: &area[..end],
            key,
            position: start,
            end,
            damaged: false,
        }
    }

    /// Whether words were passed over that are no record.
    pub fn damaged(&self) -> bool {
        self.damaged
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        while self.position < self.end {
            if let Some(record) = at(self.area, self.position, self.key) {
                self.position = record.end();
                return Some(record);
            }
            self.damaged = true;
            self.position += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Kind as Block;
    use proptest::prelude::*;

    fn records(key: Key, bodies: &[Vec<u64>]) -> (Vec<u64>, Vec<usize>) {
        let mut area = Vec::new();
        let mut starts = Vec::new();
        for body in bodies {
            let position = area.len();
            starts.push(position);
            area.push(header(Kind::Event, body.len() + 1));
            area.extend(body);
            seal_in_place(&mut area[position..], position, key);
        }
        (area, starts)
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u64>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u64>(), 2..12), 1..12)
    }

    proptest! {
        #[test]
        fn a_walk_gives_every_record(bodies in bodies()) {
            let key = Key::of_block(1, 2, 3, Block::Records);
            let (area, _) = records(key, &bodies);
            let mut walk = Walk::new(&area, key, 0, area.len());
            let read: Vec<Vec<u64>> = walk.by_ref().map(|r| r.words[1..].to_vec()).collect();
            prop_assert_eq!(read, bodies);
            prop_assert!(!walk.damaged());
        }

        #[test]
        fn a_damaged_record_costs_itself_alone(bodies in bodies(), which in any::<usize>(), bit in 0..64u32, word in any::<usize>()) {
            let key = Key::of_block(1, 2, 3, Block::Records);
            let (mut area, starts) = records(key, &bodies);
            let which = which % bodies.len();
            area[starts[which] + word % (bodies[which].len() + 1)] ^= 1 << bit;
            let mut walk = Walk::new(&area, key, 0, area.len());
            let read: Vec<usize> = walk.by_ref().map(|r| r.position).collect();
            let expected: Vec<usize> = starts.iter().copied().filter(|&s| s != starts[which]).collect();
            prop_assert_eq!(read, expected);
            prop_assert!(walk.damaged());
        }

        #[test]
        fn a_word_that_is_stored_later_is_guarded(body in proptest::collection::vec(any::<u64>(), 1..12), later in any::<u32>(), bit in 0..64u32) {
            let key = Key::of_block(1, 2, 3, Block::Records);
            let mut area = vec![header(Kind::SpanExit, body.len() + 2)];
            area.extend(&body);
            area.push(0);
            seal_in_place(&mut area, 0, key);
            prop_assert_eq!(at(&area, 0, key).map(|record| record.later), Some(0));
            let last = area.len() - 1;
            area[last] = key.guard(last, later);
            let record = at(&area, 0, key).unwrap();
            prop_assert_eq!((record.later, &record.words[1..]), (later, &body[..]));
            prop_assert_eq!(record.end(), area.len());
            area[last] ^= 1 << bit;
            prop_assert!(at(&area, 0, key).is_none());
        }

        #[test]
        fn arbitrary_words_hold_no_record(area in proptest::collection::vec(any::<u64>(), 0..512)) {
            prop_assert_eq!(Walk::new(&area, Key::of_block(5, 6, 7, Block::Records), 0, 512).count(), 0);
        }
    }

    #[test]
    fn every_record_at_every_position_is_found_there_and_ends_where_the_next_begins() {
        let key = Key::of_span(1, 2);
        let kinds = [Kind::Event, Kind::SpanExit];
        for (position, kind) in (0..BLOCK_WORDS).flat_map(|at| kinds.map(|kind| (at, kind))) {
            // All lengths near the ends of what there is room for, and some between.
            let (least, room) = (RECORD_MIN_WORDS + 1, BLOCK_WORDS - position);
            let lengths = (least..least + 4).chain((least..room).step_by(61));
            let lengths = lengths.chain(room.saturating_sub(2)..=room + 2);
            for len in lengths.filter(|&len| len >= least && len < 1 << 10) {
                let mut area = vec![0; BLOCK_WORDS.max(position + len)];
                area[position] = header(kind, len);
                seal_in_place(&mut area[position..position + len], position, key);
                area.truncate(BLOCK_WORDS);
                let found = at(&area, position, key);
                assert_eq!(found.is_some(), len <= room, "{len} words at {position}");
                if let Some(found) = found {
                    assert_eq!((found.end(), found.kind), (position + len, kind));
                    let mut walk = Walk::new(&area, key, position, position + len);
                    assert_eq!(walk.by_ref().count(), 1);
                    assert!(!walk.damaged());
                }
            }
        }
    }

    #[test]
    fn every_length_and_every_kind_comes_back_from_a_header() {
        for kind in (0..=u8::MAX).filter_map(Kind::from_u8) {
            for len in 0..1 << 10 {
                let header = seal(header(kind, len), (1 << crate::check::CHECK_BITS) - 1);
                assert_eq!((words(header), super::kind(header)), (len, Some(kind)));
            }
        }
    }
}
