//! The check over a record's words.
//!
//! A check says that these words were written here, by this recording, in this
//! life of the block and by its owner: its key holds the recording's identity, the
//! block's sequence number, thread and kind (or the span's id), and every word's
//! position. Stale, moved, wild and half-written words are seen as such; and a record
//! that passes proves whose block it lies in, whatever has become of the block's header.
//!
//! It is a sum of independent products, each of two neighbouring words, so that the
//! copy loop which computes it never waits for the words before. Of a pair the first alone
//! binds it to its position: half the multiplications, and no two words of a pair can be
//! swapped. It detects damage; it is no defence against somebody who knows the key, which
//! lies in the file.

use crate::block::Kind;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// Bits of a check that are kept.
pub const CHECK_BITS: u32 = 48;

/// Bits of a tally's check.
const TALLY_CHECK_BITS: u32 = 24;

/// The greatest number of a tally.
const TALLY_MAX: u64 = u64::MAX >> TALLY_CHECK_BITS;

/// What a check is bound to: a recording, and a block or a span slot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The key of the block with this allocation sequence number, of the thread with this
    /// number, 0 where it holds call sites.
    #[inline]
    pub fn of_block(recording: u64, sequence: u64, thread: u32, kind: Kind) -> Key {
        let owner = (u64::from(thread) << 8 | kind as u64).wrapping_mul(GOLDEN);
        Key(mix(recording ^ mix(sequence ^ owner ^ 0x626c_6f63_6b00)))
    }

    /// The key of the span with this id.
    #[inline]
    pub fn of_span(recording: u64, span: u64) -> Key {
        Key(mix(recording ^ mix(span ^ 0x7370_616e_0000)))
    }

    /// The key of the cause with this number, from 0.
    pub fn of_cause(recording: u64, number: u64) -> Key {
        Key(mix(recording ^ mix(number ^ 0x6361_7573_6500)))
    }

    /// The key of the incident with this number, from 0.
    pub fn of_incident(recording: u64, number: u64) -> Key {
        Key(mix(recording ^ mix(number ^ 0x696e_6369_6400)))
    }

    /// The key of what changes beside the header.
    pub fn of_header_word(recording: u64) -> Key {
        Key(mix(recording ^ GOLDEN))
    }

    /// The key of the header itself, which holds the recording's identity.
    pub fn of_header() -> Key {
        Key(GOLDEN)
    }

    /// The key as a number, for keeping it in an integer cell.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The key that [`Key::to_bits`] gave.
    #[inline]
    pub fn from_bits(bits: u64) -> Key {
        Key(bits)
    }

    /// What `word` at word position `position` adds to the sum, where it stands alone.
    #[inline]
    pub fn term(self, position: usize, word: u64) -> u64 {
        let key = self.0.wrapping_add((position as u64).wrapping_mul(GOLDEN));
        folded(word ^ key, FACTOR)
    }

    /// The sum, so far of nothing, over words from word position `position` on.
    #[inline]
    pub fn sum(self, position: usize) -> Sum {
        Sum {
            key: self.0.wrapping_add((position as u64).wrapping_mul(GOLDEN)),
            second: self.0.rotate_left(32),
            sum: 0,
        }
    }

    /// The check, of [`CHECK_BITS`] bits, of a sum of terms.
    #[inline]
    pub fn finish(self, sum: u64) -> u64 {
        (sum ^ self.0).wrapping_mul(GOLDEN) >> (64 - CHECK_BITS)
    }

    /// The check over `words`, the first of which is at `position`.
    #[inline]
    pub fn over(self, position: usize, words: &[u64]) -> u64 {
        self.finish(self.sum(position).over(words))
    }

    /// The check over a record at `position`: a header word and those behind it.
    #[inline]
    pub fn over_record(self, position: usize, header: u64, body: &[u64]) -> u64 {
        let mut sum = self.sum(position);
        let sum = match body.split_first() {
            None => sum.over(&[header]),
            Some((&second, rest)) => {
                sum.add_pair([header, second]);
                sum.over(rest)
            }
        };
        self.finish(sum)
    }

    /// A 32-bit number with its own check, for a word that changes in place, the one at
    /// word position `position`. Up to three flipped bits are seen, wherever they are; of
    /// more, nearly all. In any other word it is no such number.
    #[inline]
    pub fn guard(self, position: usize, number: u32) -> u64 {
        let check = spread(number) ^ placed(position) ^ self.0 as u32;
        u64::from(number) | (u64::from(check) << 32)
    }

    /// The check of a block that says at its end, too, whose it is and where it lies: other
    /// bits of the key than those that guard numbers.
    #[inline]
    pub fn at_place(self, index: u32) -> u32 {
        (mix(self.0 ^ u64::from(index)) >> 32) as u32
    }

    /// A number of at most 40 bits above a check of 24, for the word at `position`: of
    /// two numbers the greater has the greater word.
    pub fn tally(self, position: usize, number: u64) -> u64 {
        let number = number.min(TALLY_MAX);
        let check = self.over(position, &[number]) >> (CHECK_BITS - TALLY_CHECK_BITS);
        (number << TALLY_CHECK_BITS) | check
    }

    /// The number that [`Key::tally`] put into `word`, or `None` if it is damaged.
    pub fn tallied(self, position: usize, word: u64) -> Option<u64> {
        let number = word >> TALLY_CHECK_BITS;
        (self.tally(position, number) == word).then_some(number)
    }

    /// The number that [`Key::guard`] put into `word`, or `None` if it is damaged.
    #[inline]
    pub fn guarded(self, position: usize, word: u64) -> Option<u32> {
        self.guards(guarding(position, word)).then_some(word as u32)
    }

    /// Whether these are the bits of the key with which numbers are guarded.
    #[inline]
    pub(crate) fn guards(self, bits: u32) -> bool {
        bits == self.0 as u32
    }
}

/// The bits of the key with which a number is guarded, by the word in which it is and
/// that word's position.
pub(crate) fn guarding(position: usize, word: u64) -> u32 {
    spread(word as u32) ^ placed(position) ^ (word >> 32) as u32
}

/// A position as a number with many bits: of no two positions the same.
#[inline]
fn placed(position: usize) -> u32 {
    (position as u32).wrapping_mul(GOLDEN as u32)
}

/// A number whose every bit changes many: a flipped bit of the number and the same of its
/// check must not undo each other.
#[inline]
fn spread(number: u32) -> u32 {
    (u64::from(number).wrapping_mul(FACTOR) >> 32) as u32
}

/// A sum over words, in the order in which they are written.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    /// The key of the next word, and of the second of every pair: the first alone binds
    /// it to its position.
    key: u64,
    second: u64,
    sum: u64,
}

impl Sum {
    /// Adds the next two words.
    #[inline]
    pub fn add_pair(&mut self, pair: [u64; 2]) {
        let product = self.next_product(pair);
        self.sum = self.sum.wrapping_add(product);
    }

    /// Adds a word that no other follows.
    #[inline]
    pub fn add_last(&mut self, word: u64) {
        self.sum = self.sum.wrapping_add(folded(word ^ self.key, FACTOR));
    }

    /// The sum of so many words alone.
    pub(crate) fn of(self, words: &[u64]) -> u64 {
        self.over(words)
    }

    /// Adds words that no others follow, and gives the sum.
    #[inline]
    fn over(mut self, words: &[u64]) -> u64 {
        let (pairs, last) = words.as_chunks();
        // Of 128 bits the upper ones count for nothing. A sum of 64 compilers make with
        // vectors, into which each product then has to be put: that takes longer.
        let mut sum = u128::from(self.sum);
        for &pair in pairs {
            sum = sum.wrapping_add(self.next_product(pair).into());
        }
        self.sum = sum as u64;
        last.iter().for_each(|&word| self.add_last(word));
        self.sum
    }

    /// What the next two words add.
    #[inline]
    fn next_product(&mut self, [first, second]: [u64; 2]) -> u64 {
        let product = folded(first ^ self.key, second ^ self.second);
        self.key = self.key.wrapping_add(GOLDEN.wrapping_mul(2));
        product
    }

    /// The sum.
    #[inline]
    pub fn total(self) -> u64 {
        self.sum
    }
}

/// The product of 128 bits, its halves folded into one.
#[inline]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn mix(x: u64) -> u64 {
    let folded = folded(x ^ GOLDEN, FACTOR);
    (folded ^ (folded >> 29)).wrapping_mul(GOLDEN)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::BLOCK_WORDS;

    fn block(recording: u64, sequence: u64) -> Key {
        Key::of_block(recording, sequence, 1, Kind::Records)
    }

    #[test]
    fn every_single_bit_and_every_swap_of_two_words_is_seen() {
        let key = block(7, 9);
        let words: Vec<u64> = (0..12).map(|i| i * 0x0101_0101).collect();
        let check = key.over(24, &words);
        for i in 0..words.len() {
            for bit in 0..64 {
                let mut flipped = words.clone();
                flipped[i] ^= 1 << bit;
                assert_ne!(key.over(24, &flipped), check, "word {i} bit {bit}");
            }
            for j in 0..i {
                let mut swapped = words.clone();
                swapped.swap(i, j);
                assert_ne!(key.over(24, &swapped), check, "words {i} and {j}");
            }
        }
    }

    #[test]
    fn two_flips_of_the_same_bit_do_not_cancel() {
        let key = block(7, 9);
        let words = [0u64; 6];
        let check = key.over(0, &words);
        for bit in 0..64 {
            for (i, j) in [(0, 1), (0, 5), (2, 3)] {
                let mut flipped = words;
                flipped[i] ^= 1 << bit;
                flipped[j] ^= 1 << bit;
                assert_ne!(key.over(0, &flipped), check, "words {i} and {j} bit {bit}");
            }
        }
    }

    #[test]
    fn the_same_words_elsewhere_do_not_pass() {
        let words = [1u64, 2, 3];
        let check = block(7, 9).over(24, &words);
        assert_ne!(block(7, 9).over(25, &words), check);
        assert_ne!(block(7, 10).over(24, &words), check);
        assert_ne!(block(8, 9).over(24, &words), check);
        assert_ne!(Key::of_span(7, 9).over(24, &words), check);
        for (thread, kind) in [(2, Kind::Records), (0, Kind::Records), (1, Kind::CallSites)] {
            assert_ne!(Key::of_block(7, 9, thread, kind).over(24, &words), check);
        }
    }

    #[test]
    fn a_guarded_number_comes_back_and_no_flipped_bit_does() {
        let key = block(3, 4);
        for number in [0, 1, 192, 0xffff_ffff] {
            let word = key.guard(23, number);
            assert_eq!(key.guarded(23, word), Some(number));
            for bit in 0..64 {
                assert_eq!(key.guarded(23, word ^ (1 << bit)), None);
            }
        }
    }

    #[test]
    fn a_guarded_number_in_the_place_of_another_is_seen() {
        let key = block(3, 4);
        for from in 0..BLOCK_WORDS {
            let word = key.guard(from, 192);
            let believed = (0..BLOCK_WORDS).filter(|&to| key.guarded(to, word).is_some());
            assert_eq!(believed.collect::<Vec<_>>(), [from]);
        }
    }

    /// Of the numbers that a flipped bit adds, with what is carried into them from below:
    /// no sum of so few is what as many flipped bits of the check may change.
    #[test]
    fn up_to_three_flipped_bits_of_a_guarded_number_are_seen_wherever_they_are() {
        let added: Vec<u32> = (0..32).map(|bit| (FACTOR << bit >> 32) as u32).collect();
        let either = |it: u32| [it, it.wrapping_neg()];
        let powers: Vec<u32> = (0..32).flat_map(|bit| either(1 << bit)).collect();
        let sums = powers
            .iter()
            .flat_map(|a| powers.iter().map(|b| a.wrapping_add(*b)));
        let by_two: HashSet<u32> = sums.collect();
        let by_one: HashSet<u32> = powers.iter().copied().collect();
        let changes = |flips: usize, sum: u32| {
            sum == 0 || flips < 3 && by_one.contains(&sum) || flips < 2 && by_two.contains(&sum)
        };
        let mut sums = vec![(0, 0u32)];
        for flips in 1..=3 {
            let mut more = Vec::new();
            for &(from, sum) in &sums {
                for (bit, &it) in added.iter().enumerate().skip(from) {
                    more.extend(either(it).map(|it| (bit + 1, sum.wrapping_add(it))));
                }
            }
            for &(_, sum) in &more {
                let most = flips as u32;
                let carried =
                    (0..=2 * most).map(|carry| sum.wrapping_add(carry).wrapping_sub(most));
                for it in carried {
                    assert!(!changes(flips, it), "{flips} flipped bits add {it:#x}");
                }
            }
            sums = more;
        }
    }

    #[test]
    fn flipped_bits_of_a_number_and_of_its_check_do_not_undo_each_other() {
        let key = block(3, 4);
        for number in [0, 1, 192, 0x0123_4567, 0xffff_ffff] {
            let word = key.guard(23, number);
            for (a, b) in (0..64).flat_map(|a| (0..a).map(move |b| (a, b))) {
                let flipped = word ^ (1 << a) ^ (1 << b);
                assert_eq!(key.guarded(23, flipped), None, "{number}: {a}, {b}");
            }
        }
    }

    #[test]
    fn a_tally_comes_back_in_order_and_no_flipped_bit_does() {
        let key = Key::of_header_word(3);
        let numbers = [0, 1, 2, 1 << 20, TALLY_MAX - 1, TALLY_MAX];
        let words = numbers.map(|number| key.tally(1, number));
        assert!(words.is_sorted());
        for (word, number) in words.into_iter().zip(numbers) {
            assert_eq!(key.tallied(1, word), Some(number));
            assert_eq!(key.tallied(2, word), None);
            for bit in 0..64 {
                assert_eq!(key.tallied(1, word ^ (1 << bit)), None);
            }
        }
        assert_eq!(key.tallied(1, 0), None);
        assert_eq!(key.tally(1, u64::MAX), key.tally(1, TALLY_MAX));
    }
}
