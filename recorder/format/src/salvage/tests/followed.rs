//! Recordings that are told bit by bit while their process goes on.

use proptest::prelude::*;

use super::super::image::Image;
use super::*;
use crate::BLOCK_WORDS;

/// Blocks of the pool, and threads that share them.
const BLOCKS: u32 = 6;
const THREADS: u32 = 3;

/// A process that records, and whoever follows it.
struct Followed {
    image: Image,
    ticks: u64,
    /// Of each thread, how many events it has recorded.
    recorded: [u32; THREADS as usize],
    /// The blocks that threads hold, by thread, and all in the order in which they were taken.
    held: [u32; THREADS as usize],
    taken: Vec<u32>,
    mark: Mark,
    /// What was told, by thread: the events' numbers and times.
    told: Vec<(u32, u64, u64)>,
    ledger: Ledger,
}

impl Followed {
    fn new() -> Followed {
        let mut image = Image::new(BLOCKS, 0);
        for thread in 0..THREADS {
            image.take(thread, thread + 1, MS);
        }
        Followed {
            image,
            ticks: 2 * MS,
            recorded: [0; THREADS as usize],
            held: [0, 1, 2],
            taken: vec![3, 4, 5, 0, 1, 2],
            mark: Mark::default(),
            told: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    /// A thread records so many events, with blocks that it takes as it needs them.
    fn records(&mut self, thread: u32, events: u32) {
        for _ in 0..events {
            self.ticks += 1000;
            if self.image.room(thread + 1) < 5 {
                self.changes_blocks(thread);
            }
            let n = self.recorded[thread as usize];
            self.image.event(thread + 1, self.ticks, n);
            self.recorded[thread as usize] += 1;
        }
    }

    /// The oldest block is taken that is no thread's newest.
    fn changes_blocks(&mut self, thread: u32) {
        let is_free = |place: &u32| !self.held.contains(place);
        let at = self.taken.iter().position(is_free).unwrap();
        let place = self.taken.remove(at);
        self.taken.push(place);
        self.held[thread as usize] = place;
        self.image.take(place, thread + 1, self.ticks);
    }

    /// Whoever follows looks again; at the end, at all that is left.
    fn is_told(&mut self, rest: bool) {
        let bytes = self.image.bytes.as_slice();
        let mut stream = Stream::open_after(bytes, |_| {}, self.mark.clone(), rest).unwrap();
        while stream.tell().unwrap() {
            let entry = stream.told();
            let number = number_of(&entry.fields.to_vec());
            self.told.push((entry.thread, number, entry.wall_ns));
        }
        self.mark = stream.mark();
        self.ledger = stream.into_recording().ledger;
    }

    fn of_thread(&self, thread: u32) -> Vec<u64> {
        let own = self.told.iter().filter(|told| told.0 == thread);
        own.map(|told| told.1).collect()
    }
}

proptest! {
    #[test]
    fn nothing_is_told_twice_and_what_is_missed_is_known(
        steps in proptest::collection::vec((0..THREADS, 0..400u32, any::<bool>()), 1..60),
    ) {
        let mut followed = Followed::new();
        for (thread, events, look) in steps {
            followed.records(thread, events);
            if look {
                followed.is_told(false);
                prop_assert!(followed.ledger.exact);
                prop_assert_eq!(followed.ledger.counts.torn, 0);
            }
        }
        followed.is_told(true);
        let mut told = 0;
        for thread in 0..THREADS {
            let numbers = followed.of_thread(thread);
            prop_assert!(numbers.windows(2).all(|n| n[0] < n[1]), "{:?}", numbers);
            told += numbers.len() as u64;
        }
        prop_assert!(followed.told.windows(2).all(|told| told[0].2 <= told[1].2));
        let written: u32 = followed.recorded.iter().sum();
        prop_assert_eq!(followed.ledger.counts.written, u64::from(written));
        prop_assert_eq!(followed.mark.behind(), 0);
        prop_assert!(told <= written.into());
    }
}

#[test]
fn what_is_not_overwritten_is_told_whole_and_in_the_order_of_time() {
    let mut followed = Followed::new();
    for round in 0..40 {
        followed.records(round % THREADS, 11);
        followed.is_told(false);
    }
    followed.is_told(true);
    let all: u64 = followed.recorded.iter().map(|&n| u64::from(n)).sum();
    assert_eq!(followed.told.len() as u64, all);
    for thread in 0..THREADS {
        let recorded = u64::from(followed.recorded[thread as usize]);
        let numbers: Vec<u64> = (0..recorded).collect();
        assert_eq!(followed.of_thread(thread), numbers);
    }
}

#[test]
fn the_newest_moment_waits_until_it_is_known_what_others_did_before() {
    let mut followed = Followed::new();
    followed.records(0, 3);
    followed.is_told(false);
    assert_eq!((followed.told.len(), followed.mark.behind()), (0, 3));
    followed.records(1, 2);
    followed.is_told(false);
    assert_eq!((followed.told.len(), followed.mark.behind()), (3, 2));
    followed.is_told(true);
    assert_eq!((followed.told.len(), followed.mark.behind()), (5, 0));
}

#[test]
fn what_is_said_later_of_a_record_that_was_told_is_told_then() {
    let mut image = Image::new(2, 1);
    image.take(0, 1, MS);
    open(&mut image, 1, 2 * MS, 0, None);
    let told = |image: &Image, mark: &mut Mark| {
        let bytes = image.bytes.as_slice();
        let mut stream = Stream::open_after(bytes, |_| {}, mark.clone(), true).unwrap();
        let mut what = Vec::new();
        while stream.tell().unwrap() {
            what.push(stream.told().what);
        }
        *mark = stream.mark();
        what
    };
    let mut mark = Mark::default();
    assert_eq!(told(&image, &mut mark), [What::Open]);
    assert_eq!(told(&image, &mut mark), []);
    image.and_later(1, 5);
    assert_eq!(told(&image, &mut mark), [What::Enter]);
    image.event(1, 3 * MS, 7);
    assert_eq!(told(&image, &mut mark), [What::Event]);
    assert_eq!(told(&image, &mut mark), []);
}

#[test]
fn where_the_block_that_was_told_last_is_lost_nothing_is_told_again() {
    let mut followed = Followed::new();
    followed.records(0, 300);
    followed.is_told(true);
    let offset = followed.image.block_offset(followed.held[0]);
    followed.image.put(offset, &[u64::MAX; BLOCK_WORDS]);
    followed.is_told(true);
    assert_eq!(followed.of_thread(0), Vec::from_iter(0..300));
    // What it goes on with is told.
    followed.changes_blocks(0);
    followed.records(0, 3);
    followed.is_told(true);
    assert_eq!(followed.of_thread(0), Vec::from_iter(0..303));
}
