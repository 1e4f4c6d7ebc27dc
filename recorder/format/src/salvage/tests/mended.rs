//! Blocks whose headers are damaged, and what is made out of them.

use super::super::image::Image;
use super::*;
use crate::block::{HEADER_WORDS, OWNER_WORD, word};
use crate::{BLOCK_BYTES, BLOCK_WORDS};

/// Fills words of a block with ones.
fn destroy(image: &mut Image, index: u32, words: std::ops::Range<usize>) {
    let offset = image.block_offset(index) + 8 * words.start as u64;
    image.put(offset, &vec![u64::MAX; words.len()]);
}

/// What is told of the story, whatever was done to it.
fn all_told(recording: &Recording) -> bool {
    let all = [0, 1, 100, 2, 101, 3, 4, 5, 6, 102];
    let threads = recording.threads.iter();
    let names: Vec<(u32, u32)> = threads.map(|it| (it.number, it.id)).collect();
    numbers(recording) == all && names == [(1, 1001), (2, 1002)]
}

#[test]
fn a_header_with_a_flipped_bit_costs_nothing_and_is_counted() {
    for word in (0..HEADER_WORDS).filter(|word| !(word::RETIRED + 2..word::NEXT).contains(word)) {
        let mut image = story();
        image.flip(1, word);
        let recording = image.salvage();
        assert!(all_told(&recording), "word {word}");
        let ledger = recording.ledger;
        let guarded = [word::COMMIT, word::DROPPED, word::NEXT].contains(&word);
        assert_eq!(ledger.mended_blocks, u64::from(!guarded), "word {word}");
        assert!(ledger.exact, "word {word}");
        assert_eq!(ledger.counts, counts(10, 0, 7, 0), "word {word}");
    }
}

#[test]
fn a_header_that_is_gone_is_made_out_by_what_the_block_says_at_its_end() {
    for index in [1, 2, 3, 4] {
        let mut image = story();
        destroy(&mut image, index, 0..HEADER_WORDS);
        let recording = image.salvage();
        assert!(all_told(&recording), "block {index}");
        let ledger = recording.ledger;
        assert_eq!((ledger.mended_blocks, ledger.damaged_blocks), (1, 0));
        // What only the header had told is not known.
        assert!(!ledger.exact && balanced(ledger.counts), "{ledger:?}");
    }
}

#[test]
fn so_it_is_where_zeros_are_in_its_place() {
    let mut image = story();
    image.put(image.block_offset(1), &[0; HEADER_WORDS]);
    let recording = image.salvage();
    assert!(all_told(&recording));
    assert_eq!(recording.ledger.mended_blocks, 1);
}

#[test]
fn a_header_that_is_gone_is_made_out_by_the_threads_next_block() {
    for index in [1, 2] {
        let mut image = story();
        destroy(&mut image, index, 0..HEADER_WORDS);
        destroy(&mut image, index, OWNER_WORD..BLOCK_WORDS);
        let recording = image.salvage();
        assert!(all_told(&recording), "block {index}");
        let chained = recording.entries.iter().filter(|it| it.thread == 0);
        assert!(chained.clone().any(|it| it.span == Some(id(0))));
        assert!(!recording.ledger.exact);
    }
}

#[test]
fn records_of_an_older_life_do_not_make_the_block_theirs() {
    let mut image = Image::new(4, 0);
    image.call_sites(0);
    image.take(1, 1, 10 * MS);
    for n in 0..20 {
        image.event(1, (11 + u64::from(n)) * MS, n);
    }
    // Says whose the block before was; which another thread has now, and fills less of.
    image.take(2, 1, 40 * MS);
    image.event(1, 41 * MS, 20);
    image.take(1, 2, 50 * MS);
    image.event(2, 51 * MS, 100);
    let sequence = image.block_offset(1) + 8 * word::SEQUENCE as u64;
    for (offset, mask) in [(0, 1 << 13), (8 * (OWNER_WORD - 5) as u64, 1 << 63)] {
        let damaged = image.word(sequence + offset) ^ mask;
        image.put(sequence + offset, &[damaged]);
    }
    image.flip(1, word::NAME);
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [20, 100]);
    assert_eq!(recording.ledger.mended_blocks, 1);
}

/// A block in which so many of the newest life's events lie before many of an older one, and
/// nothing says any more what its sequence number is.
fn of_two_lives(events: u32) -> Image {
    let mut image = Image::new(4, 0);
    image.call_sites(0);
    image.take(1, 1, 10 * MS);
    for n in 0..60 {
        image.event(1, (11 + u64::from(n)) * MS, n);
    }
    image.take(2, 1, 80 * MS);
    image.event(1, 81 * MS, 60);
    image.take(1, 2, 90 * MS);
    // Of another length, so that it does not lead to the older life's records.
    let said = [vec![91 * MS, EVENT, number(0, 100)], text(1, "said", 4)];
    image.append(2, Kind::Event, &said.concat());
    for n in 101..100 + events {
        image.event(2, u64::from(n) * MS, n);
    }
    for word in [word::SEQUENCE, OWNER_WORD] {
        let offset = image.block_offset(1) + 8 * word as u64;
        let damaged = image.word(offset) ^ 1 << 40;
        image.put(offset, &[damaged]);
    }
    image.flip(1, word::NAME);
    image
}

#[test]
fn many_records_of_an_older_life_do_not_speak_for_it() {
    let told = |events| Vec::from_iter([60].into_iter().chain(100..100 + u64::from(events)));
    for events in [2, 20] {
        let image = of_two_lives(events);
        assert_eq!(numbers(&image.salvage()), told(events));
    }
    // Where no guard is right, enough has to be there of the newest.
    let mut image = of_two_lives(20);
    for guarded in [word::COMMIT, word::DROPPED, word::NEXT] {
        destroy(&mut image, 1, guarded..guarded + 1);
    }
    assert_eq!(numbers(&image.salvage()), told(20));
}

#[test]
fn one_guard_that_is_right_speaks_for_a_block_whose_first_records_are_damaged() {
    let guards = [word::COMMIT, word::DROPPED, word::NEXT];
    for right in guards {
        let mut image = of_two_lives(40);
        for guarded in guards.into_iter().filter(|&guarded| guarded != right) {
            destroy(&mut image, 1, guarded..guarded + 1);
        }
        // Each of these may be a record's beginning yet.
        for word in HEADER_WORDS..HEADER_WORDS + 100 {
            image.flip(1, word);
        }
        let told = numbers(&image.salvage());
        assert!(
            told.starts_with(&[60]) && told.ends_with(&[138, 139]),
            "{told:?}"
        );
        assert!(told.iter().all(|&number| number >= 60), "{told:?}");
    }
}

#[test]
fn where_nothing_is_said_all_numbers_that_can_be_are_tried() {
    for index in [3, 4] {
        let mut image = story();
        destroy(&mut image, index, 0..HEADER_WORDS);
        destroy(&mut image, index, OWNER_WORD..BLOCK_WORDS);
        let recording = image.salvage();
        assert!(all_told(&recording), "block {index}");
    }
}

#[test]
fn a_word_with_another_byte_is_made_right_by_a_record_that_passes() {
    for (word, mask) in [(word::SEQUENCE, 0xff00_0000), (word::THREAD, 0x7f)] {
        let mut image = story();
        destroy(&mut image, 3, word::NAME..word::CLOCKS + 4);
        destroy(&mut image, 3, OWNER_WORD..BLOCK_WORDS);
        let offset = image.block_offset(3) + 8 * word as u64;
        let damaged = image.word(offset) ^ mask;
        image.put(offset, &[damaged]);
        assert!(all_told(&image.salvage()), "word {word}");
    }
}

#[test]
fn what_is_not_known_of_a_thread_is_not_guessed() {
    let mut image = Image::new(3, 0);
    image.call_sites(2);
    image.take(0, 1, MS);
    image.event(1, 2 * MS, 0);
    image.take(1, 9, MS);
    image.event(9, 3 * MS, 1);
    destroy(&mut image, 1, 0..HEADER_WORDS);
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [0, 1]);
    let unknown = &recording.threads[1];
    assert_eq!(
        (unknown.number, unknown.id, unknown.name.as_str()),
        (9, 0, "")
    );
    assert!(!recording.ledger.exact && balanced(recording.ledger.counts));
}

#[test]
fn a_copy_of_a_block_over_the_beginning_of_another_costs_the_records_under_it_alone() {
    // The copy ends within the block: its header is whole, and another's.
    let mut image = story();
    let (from, to) = (
        image.block_offset(4) as usize,
        image.block_offset(1) as usize,
    );
    let bytes = 8 * (HEADER_WORDS + 2);
    image.bytes.copy_within(from..from + bytes, to);
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [0, 1, 100, 2, 101, 3, 4, 5, 6, 102]);
    assert_eq!(recording.ledger.mended_blocks, 1);
    assert!(!recording.spans.is_empty());
}

#[test]
fn an_older_life_of_a_block_is_not_taken_for_its_newest() {
    // The block before the thread's last was taken for another thread since, whose
    // records are all damaged; what they have left of the first life is not shown.
    let mut image = Image::new(3, 0);
    image.take(0, 1, MS);
    (0..20).for_each(|n| image.event(1, 2 * MS + u64::from(n), n));
    image.take(1, 1, 3 * MS);
    image.event(1, 4 * MS, 20);
    image.take(0, 2, 5 * MS);
    image.event(2, 6 * MS, 100);
    assert_eq!(numbers(&image.salvage()), [20, 100]);
    destroy(&mut image, 0, 0..HEADER_WORDS + 4);
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [20]);
    assert_eq!(recording.ledger.damaged_blocks, 1);
}

#[test]
fn a_place_of_zeros_that_nothing_points_to_is_damage_by_the_number_of_those_in_use() {
    let mut image = Image::new(4, 0);
    image.call_sites(3);
    image.take(0, 1, MS);
    image.event(1, 2 * MS, 0);
    image.take(1, 2, MS);
    image.event(2, 2 * MS, 1);
    assert!(image.salvage().ledger.exact);
    image.put(image.block_offset(1), &[0; BLOCK_WORDS]);
    let ledger = image.salvage().ledger;
    assert_eq!((ledger.damaged_blocks, ledger.exact), (1, false));
}

#[test]
fn a_block_that_was_being_taken_is_not_brought_back_by_a_flipped_bit() {
    let mut image = story();
    image.put(image.block_offset(2), &[block::MAGIC_TAKEN[0]]);
    let taken = numbers(&image.salvage());
    assert_eq!(taken.len(), 8);
    image.flip(2, word::MAGIC);
    let recording = image.salvage();
    assert_eq!(numbers(&recording), taken);
    assert!(!recording.ledger.exact);
}

#[test]
fn a_span_whose_slot_has_a_flipped_bit_in_its_id_is_still_open() {
    let mut image = story();
    let offset = image.layout().slot_offset(1) as usize;
    image.bytes[offset + 5] ^= 4;
    let recording = image.salvage();
    assert!(recording.spans[&id(1)].open);
    assert_eq!(recording.ledger.damaged_spans, 1);
    // One that was closed is not opened by it.
    let mut image = story();
    image.put(offset as u64, &[1 << 24]);
    assert!(!image.salvage().spans.get(&id(1)).is_some_and(|it| it.open));
}

#[test]
fn the_work_for_a_recording_of_damaged_blocks_has_a_bound() {
    // Every place holds a header that is all but right, and nothing that proves it.
    let blocks = 64;
    let mut image = Image::new(blocks, 0);
    image.take(0, 1, MS);
    image.event(1, 2 * MS, 0);
    let first = image.block_offset(0) as usize;
    let block = image.bytes[first..first + BLOCK_BYTES].to_vec();
    for index in 1..blocks {
        let at = image.block_offset(index) as usize;
        image.bytes[at..at + BLOCK_BYTES].copy_from_slice(&block);
        for word in [word::SEQUENCE, word::NAME, word::CLOCKS] {
            let noise = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            image.put((at + 8 * word) as u64, &[noise]);
        }
    }
    let recording = image.salvage();
    assert_eq!(numbers(&recording), [0]);
    assert_eq!(recording.ledger.damaged_blocks, u64::from(blocks - 1));
}

#[test]
fn a_copy_of_which_the_recording_is_damaged_is_not_made_out_to_be_another_block() {
    // Right but for that, it names an index that differs in a bit from where it lies.
    let mut image = story();
    let (from, to) = (
        image.block_offset(4) as usize,
        image.block_offset(5) as usize,
    );
    image.bytes.copy_within(from..from + BLOCK_BYTES, to);
    image.put(image.block_offset(4), &[0; BLOCK_WORDS]);
    destroy(&mut image, 5, word::RECORDING..word::RECORDING + 1);
    let recording = image.salvage();
    // Its records tell whose it is.
    assert!(all_told(&recording));
    let ledger = recording.ledger;
    assert_eq!((ledger.mended_blocks, ledger.exact), (1, false));
}

#[test]
fn a_copy_of_a_block_of_another_recording_stays_damage() {
    // Its sequence number is none of a block that is there.
    let mut other = Image::of(77, 7, 3);
    (0..20).for_each(|_| other.take(4, 1, MS));
    other.event(1, 2 * MS, 900);
    let mut image = story();
    let from = image.block_offset(4) as usize;
    let block = &other.bytes[from..from + BLOCK_BYTES];
    let to = image.block_offset(5) as usize;
    image.bytes[to..to + BLOCK_BYTES].copy_from_slice(block);
    let recording = image.salvage();
    assert!(all_told(&recording));
    let ledger = recording.ledger;
    assert_eq!((ledger.mended_blocks, ledger.damaged_blocks), (0, 1));
}

#[test]
fn a_sequence_number_that_is_right_is_tried_with_every_thread_that_is_known() {
    // Nothing says any more which thread has it, nor which block follows the one before.
    let mut image = story();
    destroy(&mut image, 3, word::THREAD..word::CLOCKS + 4);
    destroy(&mut image, 3, OWNER_WORD..BLOCK_WORDS);
    destroy(&mut image, 2, word::NEXT..word::NEXT + 1);
    let recording = image.salvage();
    assert!(all_told(&recording));
    assert_eq!(recording.ledger.mended_blocks, 1);
}
