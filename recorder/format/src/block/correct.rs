//! A block's header of which a byte is wrong, made right by its check.
//!
//! A check of 48 bits tells the right one of some ten thousand headers that differ from
//! what was found in one byte: by chance another passes once in as many thousand million
//! damaged headers. What passes is proven, every word of it.

use super::{HEADER_WORDS, Header, MAGIC_BLOCK, State, covered, decode, named, word};
use crate::check::{CHECK_BITS, Key};

/// How many headers are tried at most: a bound on the work.
#[cfg(test)]
const TRIED_MAX: usize = HEADER_WORDS * 8 * 255;

/// The words that the key of the check is made of.
const OF_KEY: [usize; 4] = [word::RECORDING, word::SEQUENCE, word::INDEX, word::THREAD];

/// Whether two words differ in no more than one byte.
pub(crate) fn are_near(a: u64, b: u64) -> bool {
    let differing = a ^ b;
    let first = differing.trailing_zeros() & !7;
    differing == 0 || differing >> first <= 0xff
}

/// What a word would be if one of its bytes were another.
pub(crate) fn near(word: u64) -> impl Iterator<Item = u64> + Clone {
    (0..8).flat_map(move |byte| (1..=255).map(move |other| word ^ (other << (8 * byte))))
}

/// The header in `words`, of which one byte may be wrong, and the magic besides.
pub(crate) fn corrected(words: &[u64; HEADER_WORDS]) -> Option<Box<Header>> {
    let magic = MAGIC_BLOCK.into_iter().enumerate();
    let mut magic: Vec<(usize, u64)> = magic
        .filter(|&(_, magic)| are_near(magic, words[word::MAGIC]))
        .collect();
    // The two differ in one byte: what was found is tried first.
    magic.sort_by_key(|&(_, magic)| magic != words[word::MAGIC]);
    magic.into_iter().find_map(|(pair, magic)| {
        // The other magic that there is: it is the byte that is wrong.
        let is_other = MAGIC_BLOCK.contains(&words[word::MAGIC]) && magic != words[word::MAGIC];
        let mut words = *words;
        words[word::MAGIC] = magic;
        match is_other {
            true => header(&words),
            false => with_magic(words, pair),
        }
    })
}

fn with_magic(mut words: [u64; HEADER_WORDS], pair: usize) -> Option<Box<Header>> {
    let check = words[word::CHECK];
    let of = |words: &[u64; HEADER_WORDS]| {
        let key = named(words)?.key(words[word::RECORDING]);
        Some(key.over(0, &covered(words, pair)))
    };
    if let Some(right) = of(&words)
        && are_near(right, check)
    {
        words[word::CHECK] = right;
        return header(&words);
    }
    if check >> CHECK_BITS != 0 {
        return None;
    }
    for at in OF_KEY {
        let found = words[at];
        for other in near(found) {
            words[at] = other;
            if of(&words) == Some(check) {
                return header(&words);
            }
        }
        words[at] = found;
    }
    let key = named(&words)?.key(words[word::RECORDING]);
    let (at, other) = one_word(key, &covered(&words, pair), check)?;
    words[at] = other;
    header(&words)
}

/// Which word, if it were another, would have the words pass; none of the key's.
fn one_word(key: Key, words: &[u64; HEADER_WORDS], check: u64) -> Option<(usize, u64)> {
    let whole = key.sum(0).of(words);
    for (at, &found) in words.iter().enumerate() {
        if OF_KEY.contains(&at) || at == word::MAGIC {
            continue;
        }
        let first = at & !1;
        let mut pair = [words[first], words[first + 1]];
        let rest = whole.wrapping_sub(key.sum(first).of(&pair));
        for other in near(found) {
            pair[at - first] = other;
            if key.finish(rest.wrapping_add(key.sum(first).of(&pair))) == check {
                return Some((at, other));
            }
        }
    }
    None
}

fn header(words: &[u64; HEADER_WORDS]) -> Option<Box<Header>> {
    match decode(words) {
        State::Block(header) => Some(header),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::header;
    use super::*;

    /// Every word that is no guarded number and not the pair that is not in use.
    fn checked() -> impl Iterator<Item = usize> {
        let unchecked = [word::COMMIT, word::DROPPED, word::NEXT];
        let unused = word::RETIRED..word::RETIRED + 2;
        (0..HEADER_WORDS).filter(move |at| !unchecked.contains(at) && !unused.contains(at))
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_header_is_made_right() {
        let words = header().encode(6);
        for at in checked() {
            for bit in (0..64).step_by(if cfg!(debug_assertions) { 13 } else { 1 }) {
                let mut flipped = words;
                flipped[at] ^= 1 << bit;
                assert_eq!(
                    corrected(&flipped).as_deref(),
                    Some(&header()),
                    "{at} {bit}"
                );
            }
        }
    }

    #[test]
    fn so_is_a_byte_and_the_magic_besides() {
        let words = header().encode(6);
        for at in checked() {
            let mut damaged = words;
            damaged[at] ^= 0xa5 << (8 * (at % 8));
            if at != word::MAGIC {
                damaged[word::MAGIC] ^= 0xff << 16;
            }
            assert_eq!(corrected(&damaged).as_deref(), Some(&header()), "{at}");
        }
    }

    #[test]
    fn two_wrong_bytes_are_too_many_and_make_no_header() {
        let words = header().encode(6);
        for (a, b) in [
            (word::RECORDING, word::NAME),
            (word::CLOCKS, word::CLOCKS + 1),
        ] {
            let mut damaged = words;
            damaged[a] ^= 0x77;
            damaged[b] ^= 0x1100;
            assert_eq!(corrected(&damaged), None);
        }
        assert_eq!(corrected(&[0; HEADER_WORDS]), None);
        assert_eq!(corrected(&[u64::MAX; HEADER_WORDS]), None);
    }

    #[test]
    fn words_are_near_that_differ_in_a_byte() {
        let word = 0x0102_0304_0506_0708;
        assert!(are_near(word, word) && near(word).all(|other| are_near(word, other)));
        assert!(!are_near(word, word ^ 0x0101_0000) && !are_near(word, word ^ (1 << 63 | 1)));
        assert!(near(word).count() * HEADER_WORDS <= TRIED_MAX);
    }
}
