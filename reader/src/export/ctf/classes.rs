//! The numbers of event classes.
//!
//! A recording that was made to be dear has classes without end. So those of which no event
//! was met for longest are forgotten, and one that is met again then is declared once more,
//! under another number. Whatever a program has of them is far from that.

use std::collections::HashMap;
use std::mem;

/// Bytes that classes take that were met lately, before those before them are forgotten.
const KEPT_BYTES: usize = 4 << 20;

/// What a class takes beside the bytes that tell it from others.
const CLASS_BYTES: usize = 64;

/// Numbers of classes, by the bytes that tell them apart.
#[derive(Default)]
pub(super) struct Classes {
    lately: HashMap<Vec<u8>, u32>,
    /// Those that were met before all of these.
    before: HashMap<Vec<u8>, u32>,
    /// What those take that were met lately.
    bytes: usize,
    next: u32,
}

impl Classes {
    /// The number of a class, and whether it is new, and to be declared.
    pub(super) fn number(&mut self, key: Vec<u8>) -> (u32, bool) {
        if let Some(&number) = self.lately.get(&key) {
            return (number, false);
        }
        let known = self.before.remove(&key);
        let number = known.unwrap_or(self.next);
        if known.is_none() {
            self.next = self.next.saturating_add(1);
        }
        self.keep(key, number);
        (number, known.is_none())
    }

    fn keep(&mut self, mut key: Vec<u8>, number: u32) {
        key.shrink_to_fit();
        let bytes = key.len() + CLASS_BYTES;
        self.bytes += bytes;
        if self.bytes > KEPT_BYTES {
            self.before = mem::take(&mut self.lately);
            self.bytes = bytes;
        }
        self.lately.insert(key, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_its_number_as_long_as_it_is_met() {
        let mut classes = Classes::default();
        let mut seldom = |n: u32| classes.number(n.to_le_bytes().into());
        for n in 0..50_000 {
            assert_eq!(seldom(n), (n, true));
        }
        for n in 0..50_000 {
            assert_eq!(seldom(n), (n, false));
        }
    }

    #[test]
    fn of_classes_without_end_few_are_kept() {
        let mut classes = Classes::default();
        for n in 0..200_000u32 {
            let (number, is_new) = classes.number(n.to_le_bytes().into());
            assert!(is_new && number >= n);
            assert_eq!(classes.number(b"often".into()), (1, n == 0));
        }
        let kept = classes.lately.len() + classes.before.len();
        assert!(kept * CLASS_BYTES <= 2 * KEPT_BYTES, "{kept}");
        assert_eq!(classes.number(0u32.to_le_bytes().into()), (200_001, true));
    }
}
