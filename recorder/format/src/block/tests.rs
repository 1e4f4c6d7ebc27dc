//! What a block says comes back, and what was damaged or is another's is seen.

use super::*;

pub(super) fn header() -> Header {
    Header {
        recording: 0x1234_5678_9abc_def0,
        sequence: 77,
        index: 5,
        kind: Kind::Records,
        thread: 3,
        thread_id: 4711,
        thread_name: *b"payments-worker\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        events_before: 1000,
        previous_sequence: 60,
        previous_index: 9,
        previous_events: 44,
        clocks: Sample {
            ticks: 1,
            monotonic_ns: 2,
            boottime_ns: 3,
            wall_ns: 4,
        },
        retired: Retired {
            events: 12,
            dropped: 1,
        },
        pair: 1,
    }
}

#[test]
fn a_header_comes_back() {
    for pair in [0, 1] {
        let header = Header { pair, ..header() };
        let words = header.encode(6);
        assert_eq!(decode(&words), State::Block(Box::new(header.clone())));
        assert_eq!(
            committed(&words, header.key()),
            Some(Commit {
                bytes: 192,
                events: 0
            })
        );
        assert_eq!(dropped(&words, header.key()), Some(6));
        assert_eq!(next(&words, header.key()), Some(Next::None));
        let mut words = words;
        words[word::NEXT] = header.key().guard(word::NEXT, Next::At(0).encode());
        assert_eq!(next(&words, header.key()), Some(Next::At(0)));
    }
}

#[test]
fn no_flipped_bit_of_a_header_goes_unseen() {
    let header = header();
    let words = header.encode(6);
    let unused = word::RETIRED..word::RETIRED + 2;
    for i in (0..HEADER_WORDS).filter(|i| !unused.contains(i)) {
        for bit in 0..64 {
            let mut flipped = words;
            flipped[i] ^= 1 << bit;
            let seen = match i {
                word::COMMIT => committed(&flipped, header.key()).is_none(),
                word::DROPPED => dropped(&flipped, header.key()).is_none(),
                word::NEXT => next(&flipped, header.key()).is_none(),
                _ => decode(&flipped) == State::Damaged,
            };
            assert!(seen, "word {i} bit {bit}");
        }
    }
}

#[test]
fn the_pair_that_is_not_in_use_may_be_written() {
    let mut words = header().encode(0);
    words[word::RETIRED] = 99;
    assert_eq!(decode(&words), State::Block(Box::new(header())));
    words[word::MAGIC] = MAGIC_TAKEN[0];
    assert_eq!(
        decode(&words),
        State::Taken(Retired {
            events: 99,
            dropped: 0
        })
    );
}

#[test]
fn too_few_words_are_damage_and_zeros_are_free() {
    assert_eq!(decode(&[0; 3]), State::Damaged);
    assert_eq!(decode(&[0; BLOCK_WORDS]), State::Free);
}

#[test]
fn every_commit_word_comes_back_or_is_none() {
    let header = header();
    let mut words = header.encode(0);
    let mut read = |number| {
        words[word::COMMIT] = header.key().guard(word::COMMIT, number);
        committed(&words, header.key())
    };
    for bytes in 0..=u32::from(u16::MAX) {
        let is_one = (192..=4080).contains(&bytes) && bytes % 8 == 0;
        for events in [0, 1, 40, 1 << 15, u32::from(u16::MAX)] {
            let whole = Commit {
                bytes: bytes as usize,
                events,
            };
            let said = read(commit(bytes as usize, events));
            assert_eq!(said, is_one.then_some(whole), "{bytes} {events}");
        }
    }
    for events in 0..=u32::from(u16::MAX) {
        for bytes in [192, 200, 4072, 4080] {
            let said = read(commit(bytes, events));
            assert_eq!(said, Some(Commit { bytes, events }));
        }
    }
}

#[test]
fn every_next_block_comes_back_but_those_that_no_pool_has() {
    let header = header();
    let mut words = header.encode(0);
    let near_the_end = u32::MAX - 10..=u32::MAX;
    for index in (0..1 << 16)
        .chain((16..32).map(|bit| 1 << bit))
        .chain(near_the_end)
    {
        words[word::NEXT] = header.key().guard(word::NEXT, Next::At(index).encode());
        // The last two numbers are taken: by the end, and by what stands before it.
        let told = index.min(u32::MAX - 2);
        assert_eq!(next(&words, header.key()), Some(Next::At(told)));
    }
    for ended in [Next::None, Next::Ended] {
        words[word::NEXT] = header.key().guard(word::NEXT, ended.encode());
        assert_eq!(next(&words, header.key()), Some(ended));
    }
}
