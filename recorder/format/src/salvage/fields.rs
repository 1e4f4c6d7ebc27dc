//! The values of an entry, decoded when they are looked at.
//!
//! There are as many entries as a recording has records, and few are looked at twice:
//! where they come from a block, they stay there.

use std::fmt;
use std::slice;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::snapshot::at_most;
use crate::value::{self, Borrowed, Field};

/// Values that an entry has at most: more words than a record has.
const FIELDS_MAX: usize = 1024;

/// The values of an entry, in their order.
#[derive(Clone, Default)]
pub struct Fields(Kept);

#[derive(Clone)]
enum Kept {
    /// As words of a block.
    Words {
        block: Arc<[u64]>,
        start: u16,
        end: u16,
    },
    /// As they were read from elsewhere.
    Read(Box<[Field]>),
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::Read(Box::default())
    }
}

impl Fields {
    /// Those at the words `start..end` of a block.
    pub(super) fn in_block(block: &Arc<[u64]>, start: usize, end: usize) -> Fields {
        Fields(Kept::Words {
            block: Arc::clone(block),
            start: position(start),
            end: position(end),
        })
    }

    /// Puts those at the words `start..end` of a block in the place of these: most are of
    /// the same block, which then need not be counted in once more.
    #[inline]
    pub(super) fn replace(&mut self, by: &Arc<[u64]>, from: usize, to: usize) {
        match &mut self.0 {
            Kept::Words { block, start, end } if Arc::ptr_eq(block, by) => {
                (*start, *end) = (position(from), position(to));
            }
            _ => *self = Fields::in_block(by, from, to),
        }
    }

    /// One after the other, up to the first that is none; texts where they lie.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Kept::Words { .. } => Iter {
                words: self.words(),
                read: [].iter(),
            },
            Kept::Read(read) => Iter {
                words: &[],
                read: read.iter(),
            },
        }
    }

    /// All of them, for keeps.
    pub fn to_vec(&self) -> Vec<Field> {
        self.iter().map(|field| field.owned()).collect()
    }

    /// Whether a part of one was cut when it was recorded.
    pub fn are_truncated(&self) -> bool {
        match &self.0 {
            Kept::Words { .. } => value::are_truncated(self.words()),
            Kept::Read(read) => read.iter().any(|field| field.value.is_truncated()),
        }
    }

    /// The same, which keep no block in memory.
    pub(super) fn detached(self) -> Fields {
        match &self.0 {
            Kept::Words { .. } => {
                let words = self.words();
                Fields::in_block(&words.into(), 0, words.len())
            }
            Kept::Read(_) => self,
        }
    }

    fn words(&self) -> &[u64] {
        match &self.0 {
            Kept::Words { block, start, end } => block
                .get(usize::from(*start)..usize::from(*end))
                .unwrap_or(&[]),
            Kept::Read(_) => &[],
        }
    }
}

/// A place in a block.
#[inline]
fn position(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

/// The values of an entry, one after the other.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    words: &'a [u64],
    read: slice::Iter<'a, Field>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<Borrowed<'a>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Field<Borrowed<'a>>> {
        if let Some((field, rest)) = value::take_in_place(self.words) {
            self.words = rest;
            return Some(field);
        }
        self.words = &[];
        self.read.next().map(Field::borrowed)
    }
}

impl From<Vec<Field>> for Fields {
    fn from(fields: Vec<Field>) -> Fields {
        Fields(Kept::Read(fields.into()))
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Fields) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        at_most::<_, _, FIELDS_MAX>(deserializer).map(Fields::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Kind, Text, Value, head, text_head};

    #[test]
    fn fields_of_a_block_are_those_that_were_read() {
        let words = [
            7,
            head(0, Kind::U32, 3),
            text_head(1, Kind::Str, 2, 9),
            0x6261,
            7,
        ];
        let block: Arc<[u64]> = words.into();
        let fields = Fields::in_block(&block, 1, 4);
        let text = Text {
            bytes: b"ab".to_vec(),
            whole: 9,
        };
        let expected = [Value::U64(3), Value::Str(text)].into_iter().zip(0..);
        let expected: Vec<Field> = expected
            .map(|(value, index)| Field { index, value })
            .collect();
        assert_eq!(fields.to_vec(), expected);
        assert_eq!(fields, Fields::from(expected));
        assert!(fields.are_truncated());
        assert!(!Fields::in_block(&block, 1, 2).are_truncated());
        assert_eq!(Fields::in_block(&block, 4, 9).to_vec(), []);
        assert_eq!(Fields::default().to_vec(), []);
    }
}
