//! Loom models of the record path, with a live reader.
//!
//! Loom runs a model once for every order in which its threads' steps can follow
//! each other (with at most [`PREEMPTIONS`] forced changes of thread) and, for
//! every load, once for each store that the memory model lets it see. What runs
//! here is what records: [`OpenBlock`], [`Pool`] and [`Spans`] over
//! [`Memory::heap`], of which every word is one of loom's atomics.
//!
//! ```console
//! $ export CARGO_TARGET_DIR=target/loom
//! $ export RUSTFLAGS="--cfg loom --cfg ttlog_seeded"
//! $ cargo test -p ttlog --lib model --release -- --nocapture
//! ```
//!
//! Without `ttlog_seeded` the negative controls are left out: each sows a bug in what
//! records, with which a model must fail.
//!
//! A model that passes because nothing ever met proves nothing. Each counts what
//! its reader saw over all executions and asserts that every interesting outcome
//! was among it; `--nocapture` shows the counts.
//!
//! The reader here loads words in its own process. The real one reads the file by
//! `pread`, of which the system promises less than of an acquire; what it shares
//! with this one is the protocol: magic and sequence before and after, and no
//! trust in a record without its check.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use crate::linux::memory::Memory;
use crate::linux::open_block::OpenBlock;
use crate::linux::pool::Pool;
#[cfg(ttlog_seeded)]
use crate::linux::seeded::{Bug, sow};
use crate::linux::spans::{Opening, Spans};
use crate::linux::sync::{Number, Ordering, fence};
use loom::cell::UnsafeCell;
use ttlog_format::block::{self, HEADER_WORDS, Header, Retired, State, word};
use ttlog_format::clock::Sample;
use ttlog_format::header::{self, Layout, TOTALS_OFFSET, totals};
use ttlog_format::record::{self, Kind, Walk};
use ttlog_format::salvage::{Recording, Source, salvage};
use ttlog_format::span::{self, SLOT_WORDS, SpanId};
use ttlog_format::value;

/// Changes of thread that loom may force in one execution.
const PREEMPTIONS: usize = 3;

const RECORDING: u64 = 42;

/// Words of each record here: header, ticks, value.
const RECORD_WORDS: usize = 3;

/// What was seen over all executions of a model, and how often.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<BTreeMap<String, usize>>>);

impl Tally {
    fn count(&self, outcome: impl Into<String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(outcome.into()).or_default() += 1;
    }

    /// Runs `model` in all orders; then each of `outcomes` must have been seen.
    fn explore(model: impl Fn(&Tally) + Send + Sync + 'static, outcomes: &[&str]) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS);
        let tally = Tally::default();
        let inner = tally.clone();
        builder.check(move || {
            inner.count("executions");
            model(&inner);
        });
        let counts = tally.0.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{counts:?}");
        for &outcome in outcomes {
            assert!(counts.contains_key(outcome), "never seen: {outcome}");
        }
    }
}

/// The header of the block's `sequence`th life.
fn header(sequence: u64) -> Header {
    Header {
        recording: RECORDING,
        sequence,
        index: 0,
        kind: block::Kind::Records,
        thread: 1,
        thread_id: 2,
        thread_name: [b'n'; block::THREAD_NAME_BYTES],
        events_before: 100 * sequence,
        previous_sequence: 0,
        previous_index: 0,
        previous_events: 0,
        clocks: Sample::from_words([1, 2, 3, 4]),
        retired: Retired {
            events: 10 * sequence,
            dropped: sequence,
        },
        pair: sequence as usize % 2,
    }
}

fn append(open: &mut OpenBlock, memory: &Memory, value: u64) {
    let words = [record::header(Kind::Event, RECORD_WORDS), 5, value];
    open.append(memory, &words, true);
}

/// What a reader makes of the one block.
#[derive(Debug, PartialEq)]
enum Copied {
    Free,
    Taken(Retired),
    /// The block was taken for another while it was copied.
    Discarded,
    /// The values of its records.
    Block(Box<Header>, Vec<u64>),
}

/// Copies the block as a live reader does. Of its header the words `looked_at`
/// are loaded, and the others are taken to be those of `like`.
fn copy(memory: &Memory, like: &Header, looked_at: &[usize]) -> Copied {
    let mut words = like.encode(0).to_vec();
    words[word::MAGIC] = memory.load(word::MAGIC, Ordering::Acquire);
    match block::decode(&words) {
        State::Free => return Copied::Free,
        State::Taken(_) => {
            let totals = words.iter_mut().enumerate().skip(word::RETIRED).take(4);
            totals.for_each(|(i, word)| *word = memory.load(i, Ordering::Relaxed));
            let State::Taken(retired) = block::decode(&words) else {
                unreachable!("the magic is the same");
            };
            return Copied::Taken(retired);
        }
        _ => {}
    }
    words[word::SEQUENCE] = memory.load(word::SEQUENCE, Ordering::Relaxed);
    words[word::COMMIT] = memory.load(word::COMMIT, Ordering::Acquire);
    for &i in looked_at {
        words[i] = memory.load(i, Ordering::Relaxed);
    }
    let owner = block::Owner {
        sequence: words[word::SEQUENCE],
        thread: like.thread,
        kind: like.kind,
    };
    let key = owner.key(RECORDING);
    let committed = block::committed(&words, key);
    let end = committed.map_or(HEADER_WORDS, |commit| commit.bytes / 8);
    words.extend((HEADER_WORDS..end).map(|i| memory.load(i, Ordering::Relaxed)));

    fence(Ordering::Acquire);
    let is_same = memory.load(word::MAGIC, Ordering::Relaxed) == words[word::MAGIC]
        && memory.load(word::SEQUENCE, Ordering::Relaxed) == words[word::SEQUENCE];
    if !is_same {
        return Copied::Discarded;
    }

    // From here on the copy is of one life of the block, and whole.
    let State::Block(header) = block::decode(&words) else {
        panic!("a mixed header");
    };
    let committed = committed.expect("a commit word of another life");
    let mut walk = Walk::new(&words, key, HEADER_WORDS, end);
    let values: Vec<u64> = walk.by_ref().map(|record| record.words[2]).collect();
    assert!(!walk.damaged(), "a torn record below the commit");
    assert_eq!(values.len(), committed.events as usize);
    Copied::Block(header, values)
}

#[test]
fn a_reader_sees_whole_records_up_to_the_commit() {
    Tally::explore(
        |tally| {
            let memory = Arc::new(Memory::heap(HEADER_WORDS + 2 * RECORD_WORDS));
            let writer = {
                let memory = Arc::clone(&memory);
                loom::thread::spawn(move || {
                    let mut open = OpenBlock::begin(&memory, 0, &header(1));
                    open.publish(&memory, &header(1), 0);
                    append(&mut open, &memory, 11);
                    append(&mut open, &memory, 12);
                })
            };
            let all: Vec<usize> = (word::DROPPED..HEADER_WORDS).collect();
            match copy(&memory, &header(1), &all) {
                Copied::Free => tally.count("free"),
                Copied::Taken(retired) => {
                    assert_eq!(retired, header(1).retired);
                    tally.count("taken");
                }
                Copied::Discarded => panic!("the block had one life"),
                Copied::Block(read, values) => {
                    assert_eq!(*read, header(1));
                    assert_eq!(values, [11, 12][..values.len()]);
                    tally.count(format!("{} records", values.len()));
                }
            }
            writer.join().unwrap();
        },
        &["free", "taken", "0 records", "1 records", "2 records"],
    );
}

#[cfg(ttlog_seeded)]
#[test]
#[should_panic = "a torn record below the commit"]
fn the_model_finds_a_commit_before_the_words() {
    sow(Bug::CommitFirst);
    a_reader_sees_whole_records_up_to_the_commit();
}

#[test]
fn what_a_record_says_later_is_nothing_or_what_was_said() {
    const WORDS: usize = 4;
    Tally::explore(
        |tally| {
            let memory = Arc::new(Memory::heap(HEADER_WORDS + WORDS));
            let key = header(1).key();
            let writer = {
                let memory = Arc::clone(&memory);
                loom::thread::spawn(move || {
                    let mut open = OpenBlock::begin(&memory, 0, &header(1));
                    open.publish(&memory, &header(1), 0);
                    open.append_with_later(&memory, &[record::header(Kind::SpanExit, WORDS), 5, 7]);
                    let last = HEADER_WORDS + WORDS - 1;
                    memory.store(last, key.guard(last, 9));
                })
            };
            let mut words = vec![0; HEADER_WORDS];
            words[word::COMMIT] = memory.load(word::COMMIT, Ordering::Acquire);
            let commit = block::committed(&words, key);
            let end = commit.map_or(HEADER_WORDS, |commit| commit.bytes / 8);
            words.extend((HEADER_WORDS..end).map(|i| memory.load(i, Ordering::Relaxed)));
            tally.count(match record::at(&words, HEADER_WORDS, key) {
                None if end == HEADER_WORDS => "no record",
                None => panic!("a torn record below the commit"),
                Some(record) if record.later == 0 => "nothing yet",
                Some(record) => {
                    assert_eq!(record.later, 9);
                    "said"
                }
            });
            writer.join().unwrap();
        },
        &["no record", "nothing yet", "said"],
    );
}

#[test]
fn a_block_that_is_taken_for_another_is_never_read_as_a_mix() {
    Tally::explore(
        |tally| {
            let memory = Arc::new(Memory::heap(HEADER_WORDS + RECORD_WORDS));
            let mut open = OpenBlock::begin(&memory, 0, &header(1));
            open.publish(&memory, &header(1), 0);
            append(&mut open, &memory, 11);
            let writer = {
                let memory = Arc::clone(&memory);
                loom::thread::spawn(move || {
                    let mut open = OpenBlock::begin(&memory, 0, &header(2));
                    // As the stack of spans is: before the header, committed with it.
                    let early = [record::header(Kind::Stack, RECORD_WORDS), 5, 22];
                    open.write(&memory, &early);
                    open.events = 1;
                    open.publish(&memory, &header(2), 0);
                })
            };
            // The words in which the two lives differ.
            let differing = [
                word::CHECK,
                word::EVENTS_BEFORE,
                word::RETIRED,
                word::RETIRED + 1,
                word::RETIRED + 2,
                word::RETIRED + 3,
            ];
            match copy(&memory, &header(1), &differing) {
                Copied::Free => panic!("the block was never given back"),
                Copied::Taken(retired) => {
                    assert_eq!(retired, header(2).retired);
                    tally.count("taken");
                }
                Copied::Discarded => tally.count("discarded"),
                Copied::Block(read, values) => {
                    assert_eq!(*read, header(read.sequence));
                    assert_eq!(values, [11 * read.sequence]);
                    tally.count(format!("life {}", read.sequence));
                }
            }
            writer.join().unwrap();
        },
        &["life 1", "life 2", "taken", "discarded"],
    );
}

/// A pool, and for each block a cell in which loom sees two holders that are not
/// ordered one after the other. (In an `Rc`: loom's threads are one of the system's.)
struct Held {
    pool: Pool,
    cells: Vec<UnsafeCell<()>>,
    holders: Mutex<Vec<u32>>,
    sequences: Mutex<Vec<u64>>,
}

impl Held {
    fn new(blocks: u32) -> Rc<Held> {
        Rc::new(Held {
            pool: Pool::new(blocks).unwrap(),
            cells: (0..blocks).map(|_| UnsafeCell::new(())).collect(),
            holders: Mutex::default(),
            sequences: Mutex::default(),
        })
    }

    fn take(&self, tally: &Tally) -> Option<u32> {
        let taken = self.pool.take(2)?;
        if taken.was_last {
            let holder = self.pool.holder(taken.index).unwrap();
            assert_eq!(holder.last_events.get(), 3, "not what it ended with");
            tally.count("its last words");
        }
        let mut sequences = self.sequences.lock().unwrap();
        assert!(!sequences.contains(&taken.sequence), "a sequence twice");
        sequences.push(taken.sequence);
        drop(sequences);
        self.hold(taken.index);
        Some(taken.index)
    }

    fn hold(&self, index: u32) {
        let mut holders = self.holders.lock().unwrap();
        assert!(!holders.contains(&index), "a block held twice");
        holders.push(index);
        drop(holders);
        self.touch(index);
    }

    fn touch(&self, index: u32) {
        self.cells[index as usize].with_mut(|_| ());
    }

    fn let_go(&self, index: u32) {
        self.touch(index);
        self.holders.lock().unwrap().retain(|&held| held != index);
    }
}

#[test]
fn a_block_has_one_holder_and_hands_over_what_it_wrote() {
    Tally::explore(
        |tally| {
            let held = Held::new(2);
            let ending = {
                let (held, tally) = (Rc::clone(&held), tally.clone());
                loom::thread::spawn(move || {
                    let Some(index) = held.take(&tally) else {
                        return tally.count("no block to begin with");
                    };
                    held.let_go(index);
                    held.pool.end(index, 1, 3, 0);
                })
            };
            let first = held.take(tally);
            let second = held.take(tally);
            if let (Some(first), Some(_)) = (first, second) {
                tally.count("two blocks");
                held.let_go(first);
                held.pool.fill(first);
                match held.take(tally) {
                    Some(index) if index == first => tally.count("its own again"),
                    Some(_) => tally.count("another"),
                    None => tally.count("none left"),
                }
            } else {
                assert!(first.is_some() || second.is_some(), "one was left");
                tally.count("one block");
            }
            ending.join().unwrap();
        },
        &[
            "its last words",
            "no block to begin with",
            "two blocks",
            "one block",
            "its own again",
        ],
    );
}

#[test]
fn last_words_are_kept_from_a_taker_that_sees_them_end() {
    Tally::explore(
        |tally| {
            let pool = Arc::new(Pool::new(8).unwrap());
            (0..8).for_each(|_| assert!(pool.take(0).is_some()));
            let ending = {
                let pool = Arc::clone(&pool);
                loom::thread::spawn(move || pool.end(3, 100, 0, 0))
            };
            assert_eq!(pool.take(50), None, "last words of the window are gone");
            tally.count(if pool.is_held(3, 4) { "held" } else { "ended" });
            ending.join().unwrap();
        },
        &["held", "ended"],
    );
}

fn open_span(spans: &Spans, memory: &Memory, ticks: u64) -> SpanId {
    let header = record::header(Kind::SpanOpen, 6);
    let opening = Opening {
        words: &mut [header, ticks, 2, 0, 0],
        site: 3,
        is_plain: true,
        parent: None,
    };
    spans.open(memory, RECORDING, &Number::new(0), opening).0
}

#[test]
fn a_copied_slot_is_one_spans() {
    Tally::explore(
        |tally| {
            let memory = Arc::new(Memory::heap(SLOT_WORDS));
            let spans = Arc::new(Spans::new(1).unwrap());
            let old = open_span(&spans, &memory, 1);
            spans.enter(&memory, old, 7, 8);
            let reader = {
                let (spans, memory) = (Arc::clone(&spans), Arc::clone(&memory));
                let tally = tally.clone();
                loom::thread::spawn(move || copy_slot(&spans, &memory, old, &tally))
            };
            spans.close(&memory, old);
            assert_ne!(open_span(&spans, &memory, 9), old);
            reader.join().unwrap();
        },
        &["whole", "gone"],
    );
}

#[test]
fn a_slot_is_copied_whole_while_values_are_appended() {
    Tally::explore(
        |tally| {
            let memory = Arc::new(Memory::heap(SLOT_WORDS));
            let spans = Arc::new(Spans::new(1).unwrap());
            let span = open_span(&spans, &memory, 1);
            let writer = {
                let (spans, memory) = (Arc::clone(&spans), Arc::clone(&memory));
                loom::thread::spawn(move || {
                    let value = value::head(0, value::Kind::U32, 6);
                    spans.values(&memory, RECORDING, span, 5, &[value]);
                })
            };
            let mut words = [0; SLOT_WORDS];
            let len = spans
                .copy(&memory, RECORDING, span, &mut words)
                .expect("the span lives");
            let mut walk = span::records(&words[..len], RECORDING, span);
            let records = walk.by_ref().count();
            assert!(!walk.damaged(), "a torn record below the commit");
            tally.count(format!("{records} records"));
            writer.join().unwrap();
        },
        &["1 records", "2 records"],
    );
}

fn copy_slot(spans: &Spans, memory: &Memory, old: SpanId, tally: &Tally) {
    let mut words = [0; SLOT_WORDS];
    let Some(len) = spans.copy(memory, RECORDING, old, &mut words) else {
        return tally.count("gone");
    };
    assert_eq!(words[span::word::ID], old.to_u64());
    assert_eq!(words[span::word::ENTERED], 7);
    assert_eq!(words[span::word::ENTERED_BY], 8);
    let mut walk = span::records(&words[..len], RECORDING, old);
    let records: Vec<_> = walk
        .by_ref()
        .map(|record| record.words[1..].to_vec())
        .collect();
    assert!(!walk.damaged(), "a mixed slot");
    assert_eq!(records, [[1, 2, old.to_u64(), 0]]);
    tally.count("whole");
}

#[test]
fn of_two_that_take_and_one_that_ends_nobody_gets_what_another_has() {
    Tally::explore(
        |tally| {
            let held = Held::new(2);
            let [ending, full] = std::array::from_fn(|_| held.take(tally).expect("there are two"));
            let taker = {
                let (held, tally) = (Rc::clone(&held), tally.clone());
                loom::thread::spawn(move || held.take(&tally))
            };
            let ender = {
                let held = Rc::clone(&held);
                loom::thread::spawn(move || {
                    held.let_go(ending);
                    held.pool.end(ending, 1, 3, 0);
                })
            };
            held.let_go(full);
            held.pool.fill(full);
            let own = held.take(tally);
            let taken = taker.join().unwrap();
            ender.join().unwrap();
            tally.count(match (own, taken) {
                (Some(_), Some(_)) => "both",
                (None, None) => panic!("one block was free all the time"),
                _ => "one of them",
            });
        },
        &["both", "one of them", "its last words"],
    );
}

#[cfg(ttlog_seeded)]
#[test]
#[should_panic = "a block held twice"]
fn the_model_finds_a_block_that_is_taken_twice() {
    sow(Bug::TakenTwice);
    of_two_that_take_and_one_that_ends_nobody_gets_what_another_has();
}
