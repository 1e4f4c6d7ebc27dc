//! The span table: a slot for each live span, beside the blocks.
//!
//! ```text
//!   word 0   id           of the span that lives here, 0: none
//!        1   entered      ticks when it was last entered, 0: never
//!        2   entered by   thread number | operating system's thread id << 32
//!        3   words (guarded)   committed words of records, from word 4
//!        4…  records      a SpanOpen, then a SpanValues for each later `record`
//! ```
//!
//! A slot is read like a small block: its records carry checks, under the key of
//! the span, at their position in the slot. They are only ever appended while the
//! span lives, so that whoever reads the same id before and after a copy has
//! copied one span. Opening ends with the store of the id; closing is the store
//! of a 0.
//!
//! An id is a slot and its generation, so it is never used twice in a recording:
//! a span of which nothing is left but its id cannot be taken for another.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::check::Key;
use crate::record::Walk;

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 256;

/// Words of a slot.
pub const SLOT_WORDS: usize = SLOT_BYTES / 8;

/// Words of a slot before its records.
pub const SLOT_HEADER_WORDS: usize = 4;

/// The words of a slot, by name.
pub mod word {
    /// Id of the span that lives here.
    pub const ID: usize = 0;
    /// When it was last entered.
    pub const ENTERED: usize = 1;
    /// Who last entered it.
    pub const ENTERED_BY: usize = 2;
    /// Committed words of records, guarded.
    pub const COMMITTED: usize = 3;
}

const _: () = assert!(word::COMMITTED + 1 == SLOT_HEADER_WORDS);

/// The identity of a span, unique in its recording; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpanId(u64);

const SLOT_BITS: u32 = 24;
const NO_SLOT: u64 = 1 << 63;

/// The most slots that a span table can have.
pub const SLOTS_MAX: usize = 1 << SLOT_BITS;

impl SpanId {
    /// The id of the `generation`th span, from 1, in slot `slot`.
    #[inline]
    pub fn in_slot(slot: u32, generation: u64) -> SpanId {
        SpanId((generation << SLOT_BITS | u64::from(slot)) & !NO_SLOT)
    }

    /// The id of the `number`th span that found no slot, with the `tag` (of 16
    /// bits) that its maker wants back.
    #[inline]
    pub fn without_slot(tag: u16, number: u64) -> SpanId {
        SpanId(NO_SLOT | (u64::from(tag) << 47) | (number & ((1 << 47) - 1)))
    }

    /// The id with this number, or `None` if it is 0.
    #[inline]
    pub fn from_u64(id: u64) -> Option<SpanId> {
        (id != 0).then_some(SpanId(id))
    }

    /// The id as a number.
    #[inline]
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The slot that the span has, if it has one.
    #[inline]
    pub fn slot(self) -> Option<u32> {
        (self.0 & NO_SLOT == 0).then_some((self.0 as u32) & (SLOTS_MAX as u32 - 1))
    }

    /// The generation of the slot, where the span has one.
    #[inline]
    pub fn generation(self) -> u64 {
        (self.0 & !NO_SLOT) >> SLOT_BITS
    }

    /// What [`SpanId::without_slot`] was given as the number.
    #[inline]
    pub fn number(self) -> u64 {
        self.0 & ((1 << 47) - 1)
    }

    /// What [`SpanId::without_slot`] was given as the tag.
    #[inline]
    pub fn tag(self) -> u16 {
        (self.0 >> 47) as u16
    }
}

impl From<NonZeroU64> for SpanId {
    /// The id with this number.
    #[inline]
    fn from(id: NonZeroU64) -> SpanId {
        SpanId(id.get())
    }
}

/// The records in the words of a slot (all of them, or the committed ones that a
/// description holds), under the key of `span`.
pub fn records(slot: &[u64], recording: u64, span: SpanId) -> Walk<'_> {
    let key = Key::of_span(recording, span.to_u64());
    let committed = slot
        .get(word::COMMITTED)
        .and_then(|&word| key.guarded(word::COMMITTED, word));
    // A damaged length costs nothing: each record has its own check.
    let end = committed.map_or(slot.len(), |words| SLOT_HEADER_WORDS + words as usize);
    Walk::new(slot, key, SLOT_HEADER_WORDS.min(slot.len()), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let id = SpanId::in_slot(4095, 7);
        assert_eq!((id.slot(), id.generation()), (Some(4095), 7));
        assert_ne!(SpanId::in_slot(0, 1).to_u64(), 0);
        let id = SpanId::without_slot(0xffff, 12);
        assert_eq!((id.slot(), id.tag(), id.number()), (None, 0xffff, 12));
        assert_eq!(SpanId::from_u64(0), None);
        assert_eq!(
            SpanId::in_slot(SLOTS_MAX as u32 - 1, u64::MAX).slot(),
            Some(SLOTS_MAX as u32 - 1)
        );
    }
}
