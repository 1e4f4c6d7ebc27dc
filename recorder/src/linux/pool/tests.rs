//! Blocks taken, given up and taken again.

use super::*;

#[test]
fn blocks_are_taken_in_turn_and_held_ones_never() {
    let pool = Pool::new(4).unwrap();
    let taken: Vec<Taken> = (0..4).filter_map(|_| pool.take(0)).collect();
    assert_eq!(
        taken.iter().map(|t| t.index).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert_eq!(pool.take(0), None);
    pool.fill(2);
    // Who found nothing has used the fifth number up.
    assert_eq!(pool.take(0).map(|t| (t.index, t.sequence)), Some((2, 6)));
}

#[test]
fn a_block_that_is_not_in_the_pool_is_nobodys() {
    let pool = Pool::new(2).unwrap();
    pool.fill(7);
    pool.end(7, 1, 2, 3);
    assert!(!pool.seize(7, 1) && !pool.is_held(7, 1));
    let taken: Vec<u32> = std::iter::from_fn(|| pool.take(0))
        .map(|t| t.index)
        .collect();
    assert_eq!(taken, [0, 1]);
}

#[test]
fn the_block_that_was_filled_first_is_taken_first() {
    let pool = Pool::new(8).unwrap();
    for _ in 0..8 {
        pool.take(0);
    }
    let order = [3, 1, 7, 0, 2, 6, 4, 5];
    order.into_iter().for_each(|index| pool.fill(index));
    let taken: Vec<u32> = (0..8)
        .filter_map(|_| pool.take(0))
        .map(|t| t.index)
        .collect();
    assert_eq!(taken, order);
}

#[test]
fn who_stands_still_until_the_queue_has_gone_by_takes_no_young_block() {
    let (cells, ends) = (cells(4).unwrap(), Ends::default());
    let queue = Queue {
        cells: &cells,
        ends: &ends,
    };
    let push = |turn| queue.push(Entry { turn, index: 0 });
    let pop = || queue.pop().map(|entry| entry.turn);
    push(1);
    let ticket = queue.next_ticket().unwrap();
    // Meanwhile others go around: the ninth meets the first in its cell.
    for turn in 2..=8 {
        push(turn);
        assert_eq!(pop(), Some(turn));
    }
    (9..=11).for_each(push);
    assert!(queue.take_out(ticket).is_none());
    let rest: Vec<u64> = std::iter::from_fn(pop).collect();
    assert_eq!(rest, [1, 10, 11, 9], "none is lost");
}

#[test]
fn some_free_blocks_are_kept_for_call_sites_unless_nothing_else_is_left() {
    let pool = Pool::new(128).unwrap();
    let taken: Vec<u32> = (0..124)
        .filter_map(|_| pool.take(0))
        .map(|t| t.index)
        .collect();
    assert!([0, 1, 64, 65].iter().all(|kept| !taken.contains(kept)));
    taken.iter().for_each(|&index| pool.fill(index));
    let near = |place| pool.take_near(place).map(|t| t.index);
    assert_eq!((near(0), near(64)), (Some(0), Some(64)));
    assert_eq!(pool.take(0).map(|t| t.index), Some(2), "the oldest");
    (0..123).for_each(|_| assert!(pool.take(0).is_some()));
    assert_eq!(
        (pool.take(0).map(|t| t.index), pool.take(0).map(|t| t.index)),
        (Some(1), Some(65))
    );
    assert_eq!(pool.take(0), None);
}

#[test]
fn what_the_queues_have_lost_is_found() {
    let pool = Pool::new(4).unwrap();
    for _ in 0..4 {
        pool.take(0);
    }
    pool.fill(2);
    assert!(
        pool.full().pop().is_some(),
        "as if its holder stood still for a round"
    );
    assert_eq!(pool.take(0).map(|t| t.index), Some(2));
    assert_eq!(pool.take(0), None);
}

/// A pool of 8 blocks, all of them held.
fn held_by_all() -> Pool {
    let pool = Pool::new(8).unwrap();
    (0..8).for_each(|_| assert!(pool.take(0).is_some()));
    pool
}

#[test]
fn last_words_that_may_go_are_taken_in_the_order_of_time() {
    let pool = held_by_all();
    pool.fill(0);
    pool.end(1, 10, 3, 0);
    pool.fill(2);
    let taken: Vec<u32> = (0..3)
        .filter_map(|_| pool.take(11))
        .map(|t| t.index)
        .collect();
    assert_eq!(taken, [0, 1, 2]);
}

#[test]
fn a_threads_full_blocks_go_before_its_last_however_many_are_last() {
    let pool = held_by_all();
    for (full, last) in [(0, 1), (2, 3), (4, 5)] {
        pool.fill(full);
        pool.end(last, 10, 3, 0);
    }
    let taken: Vec<u32> = (0..6)
        .filter_map(|_| pool.take(0))
        .map(|t| t.index)
        .collect();
    assert_eq!(taken, [0, 1, 2, 3, 4], "the one that is left is kept");
}

#[test]
fn last_words_are_kept_for_the_window_while_they_fill_less_than_a_quarter() {
    let pool = held_by_all();
    let last = |taken: Taken| taken.was_last.then_some(taken.index);
    pool.end(3, 100, 0, 0);
    assert_eq!(pool.take(50), None, "kept within the window");
    assert_eq!(pool.take(101).and_then(last), Some(3), "not past it");
    pool.end(4, 100, 0, 0);
    pool.end(5, 100, 0, 0);
    assert_eq!(
        pool.take(50).and_then(last),
        Some(4),
        "a quarter is reached"
    );
    assert_eq!(pool.take(50), None);
}

#[test]
fn the_totals_of_those_that_are_gone_go_to_the_other_pair_when_they_change() {
    let pool = Pool::new(130).unwrap();
    for index in [0, 63, 64, 129] {
        let pairs = [true, false, true, true].map(|changed| pool.pair(index, changed));
        assert_eq!(pairs, [1, 1, 0, 1], "of {index}");
    }
    let untouched = [1, 62, 65, 128];
    assert_eq!(untouched.map(|index| pool.pair(index, false)), [0; 4]);
}

#[test]
fn every_block_has_a_state_of_its_own_and_every_ticket_of_a_round_a_cell() {
    for blocks in (1..=300).chain([1023, 1024, 1025, 4096]) {
        let pool = Pool::new(blocks).unwrap();
        let states = (0..blocks as usize).map(|index| pool.state(index).unwrap());
        let places: std::collections::HashSet<_> = states.map(std::ptr::from_ref).collect();
        assert_eq!(places.len(), blocks as usize);
        assert!(pool.state(blocks as usize).is_none());

        let queue = pool.full();
        let len = queue.cells.len() as u64;
        assert!(
            len >= 2 * u64::from(blocks),
            "all entries have room, and as many stale ones"
        );
        for first in [0, 5, u64::MAX - len + 1] {
            let cells = (first..=first + (len - 1)).map(|ticket| queue.cell(ticket));
            let places: std::collections::HashSet<_> = cells.map(std::ptr::from_ref).collect();
            assert_eq!(places.len() as u64, len);
        }
    }
}

#[test]
fn what_is_kept_for_call_sites_are_two_stretches_half_a_pool_apart() {
    for blocks in 1..=1030 {
        let pool = Pool::new(blocks).unwrap();
        let blocks = blocks as usize;
        let kept: Vec<usize> = (0..blocks).filter(|&index| pool.is_kept(index)).collect();
        let each = blocks / BLOCKS_TO_A_PAIR;
        let (first, second) = (0..each, blocks / 2..blocks / 2 + each);
        assert_eq!(kept, first.chain(second).collect::<Vec<_>>(), "of {blocks}");
    }
}

#[test]
fn an_entry_of_any_block_comes_back_and_never_looks_like_none() {
    let most = u64::from(crate::settings::CAPACITY_MIB_MAX) << 20 >> 12;
    let indices = (0..24).flat_map(|bit| [(1 << bit) - 1, 1 << bit]);
    for index in indices.chain([u32::try_from((1u64 << 24) - 1).unwrap()]) {
        for turn in (0..40).flat_map(|bit| [1 << bit, (2 << bit) - 1]) {
            let packed = Entry { turn, index }.pack();
            let entry = Entry::unpack(packed).unwrap();
            assert_eq!((entry.turn, entry.index), (turn, index));
        }
    }
    assert!(most <= 1 << INDEX_BITS, "every block has an index");
    assert!(Entry::unpack(0).is_none());
}
