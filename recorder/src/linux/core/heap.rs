//! The record path over the heap: what a sanitizer or an interpreter can follow.
//!
//! All that records runs here as it does over a mapping: threads come and go, say things in
//! spans, take each other's blocks; only the words lie in a `Box`. Meanwhile a live reader
//! reads them as `salvage` does a file, by loads.
//!
//! It is a test like any other. `.ci/memory` has it run by Miri and under ThreadSanitizer
//! and AddressSanitizer, each where it can be had, and with the bugs at the end of this
//! file, which they must find.

use super::{Core, Parts, Snapshots};
use crate::linux::clock::Clock;
use crate::linux::fork::Heirs;
use crate::linux::guard::Guard;
use crate::linux::memory::{Memory, Sentinel};
use crate::linux::recorder::Recorder;
use crate::linux::registry;
use crate::linux::sync::Ordering;
use crate::policy::Fork;
use crate::settings::Settings;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;
use tracing::{info, info_span, subscriber::with_default};
use ttlog_format::block::About;
use ttlog_format::header::{Header, Layout};
use ttlog_format::salvage::{Recording, Source, salvage};
use ttlog_format::value::Value;

const RECORDING: u64 = 42;

/// So few that they are taken all the time.
const LAYOUT: Layout = Layout {
    span_slots: 6,
    blocks: 16,
};

const WRITERS: u64 = 3;

/// An interpreter takes its time.
const ROUNDS: u64 = if cfg!(miri) { 40 } else { 20_000 };

impl Core {
    /// A core that records to the heap.
    fn over_heap() -> Arc<Core> {
        let memory = Memory::heap(LAYOUT.file_bytes() as usize / 8);
        let header = Header {
            recording: RECORDING,
            layout: LAYOUT,
            samples: [Clock::new().sample(); 2],
            ..Header::default()
        };
        let bytes = header.encode();
        let put = |offset: u64, bytes: &[u8]| {
            for (at, &word) in (offset as usize / 8..).zip(bytes.as_chunks().0) {
                memory.store(at, u64::from_le_bytes(word));
            }
        };
        put(0, &header.beginning()[..]);
        put(LAYOUT.copy_offset(), &bytes[..]);
        let settings = Settings {
            fork: Some(Fork::Ignore),
            ..Settings::default()
        };
        let parts = Parts {
            memory,
            about: About {
                layout: LAYOUT,
                ..About::default()
            },
            redaction: settings.redact.redaction().unwrap(),
            recording: RECORDING,
            sentinel: Sentinel::heap(),
            heirs: Heirs::new(&settings),
            guard: Guard::new(bytes),
            clock: Clock::new(),
            window: Duration::from_millis(1),
            ticks_per_second: 1_000_000_000,
            path: Default::default(),
            file: None,
            snapshots: Snapshots::nowhere(),
            panics: false,
            faults: false,
        };
        let core = Arc::new(Core::new(parts).unwrap());
        registry::append(Arc::clone(&core));
        core
    }
}

/// A live reader's view of a recording: its words, one load each.
struct Live<'a>(&'a Memory);

impl Source for Live<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.bytes().saturating_sub(offset as usize);
        let len = rest.min(buffer.len());
        let first = offset as usize / 8;
        for (at, chunk) in (first..).zip(buffer[..len].chunks_mut(8)) {
            let word = self.0.load(at, Ordering::Acquire).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes() as u64)
    }
}

/// What goes with a number of a writer, and with no other.
fn mixed(writer: u64, n: u64) -> u64 {
    (writer << 48 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One round: an event in a span that gets a value later, and one outside; both counted.
fn round(writer: u64, n: u64, said: &AtomicU64) {
    let request = info_span!("request", n, later = tracing::field::Empty);
    request.in_scope(|| info!(writer, n, mixed = mixed(writer, n), "inside of it"));
    request.record("later", n);
    drop(request);
    info!(
        writer,
        n,
        mixed = mixed(writer, n),
        text = "a text",
        "{n} outside"
    );
    said.fetch_add(2, Ordering::Relaxed);
}

/// Checks that nothing is told that was not said.
fn check(recording: &Recording) {
    let ledger = &recording.ledger;
    assert_eq!(
        (ledger.counts.torn, ledger.damaged_spans),
        (0, 0),
        "{ledger:?}"
    );
    assert_eq!(ledger.damaged_blocks, 0, "{ledger:?}");
    for event in recording
        .entries
        .iter()
        .filter(|entry| entry.what.is_event())
    {
        let mut numbers = event.fields.iter().filter_map(|field| match field.value {
            Value::U64(number) => Some(number),
            _ => None,
        });
        let [writer, n, told] = std::array::from_fn(|_| numbers.next().expect("a number"));
        assert_eq!(told, mixed(writer, n), "{writer}: {n}");
    }
}

#[test]
fn threads_that_come_and_go_record_to_the_heap_beside_a_live_reader() {
    let core = Core::over_heap();
    let recorder = Recorder::new(Some(core.clone()), "debug".parse().unwrap(), 6);
    let said = AtomicU64::new(0);
    thread::scope(|scope| {
        let writers = (1..=WRITERS).map(|writer| {
            let (recorder, said) = (&recorder, &said);
            scope.spawn(move || {
                with_default(recorder.subscriber(), || {
                    (0..ROUNDS / 2).for_each(|n| round(writer, n, said));
                });
                // One that comes and goes, whose blocks others take. Joined, it has ended.
                thread::scope(|scope| {
                    let other = scope.spawn(|| {
                        with_default(recorder.subscriber(), || {
                            (ROUNDS / 2..ROUNDS).for_each(|n| round(writer, n, said));
                        });
                    });
                    other.join().expect("it records");
                });
            })
        });
        let writers: Vec<_> = writers.collect();
        let all = WRITERS * ROUNDS * 2;
        while said.load(Ordering::Relaxed) < all {
            let read = salvage(&Live(&core.memory)).expect("a recording");
            check(&read);
            thread::yield_now();
        }
        for writer in writers {
            writer.join().expect("it records");
        }
    });
    let read = salvage(&Live(&core.memory)).expect("a recording");
    check(&read);
    let (recorded, dropped) = core.counts();
    let counts = read.ledger.counts;
    assert!(read.ledger.exact, "{:?}", read.ledger);
    assert_eq!(recorded + dropped, WRITERS * ROUNDS * 2);
    assert_eq!(
        (counts.written, counts.dropped),
        (recorded + dropped, dropped)
    );
}

#[test]
fn threads_that_live_keep_their_blocks_and_what_others_say_is_counted() {
    let core = Core::over_heap();
    let recorder = Recorder::new(Some(core.clone()), "debug".parse().unwrap(), 6);
    let threads = 2 * u64::from(LAYOUT.blocks);
    let all_said = std::sync::Barrier::new(threads as usize);
    thread::scope(|scope| {
        for n in 0..threads {
            let (recorder, all_said) = (&recorder, &all_said);
            scope.spawn(move || {
                with_default(recorder.subscriber(), || {
                    let other = info_span!("other");
                    let request = info_span!("request", n, later = tracing::field::Empty);
                    request.in_scope(|| info!(n, "once"));
                    request.record("later", n);
                    request.follows_from(&other);
                });
                // Nobody has ended while others look for blocks.
                all_said.wait();
            });
        }
    });
    let read = salvage(&Live(&core.memory)).expect("a recording");
    let (recorded, dropped) = core.counts();
    assert_eq!(recorded + dropped, threads);
    assert!(dropped >= u64::from(LAYOUT.blocks), "{dropped}");
    let counts = read.ledger.counts;
    assert_eq!((counts.readable, counts.dropped), (recorded, dropped));
    assert_eq!(core.spans.open_spans(), 0, "whoever opened them");
    core.end_thread(u32::MAX);
    assert_eq!(core.counts(), (recorded, dropped), "there is no such ring");
}

#[test]
fn spans_that_have_no_room_in_a_blocks_descriptions_are_told_by_their_slots() {
    let core = Core::over_heap();
    let recorder = Recorder::new(Some(core.clone()), "debug".parse().unwrap(), 6);
    let text = "as much as a slot takes ".repeat(10);
    with_default(recorder.subscriber(), || {
        let open = |n: u64| info_span!("request", n, text).entered();
        let _entered = [open(0), open(1), open(2), open(3)];
        (0..ROUNDS).for_each(|n| info!(n, "inside of all"));
        let read = salvage(&Live(&core.memory)).expect("a recording");
        assert!(read.ledger.counts.overwritten > 0 || cfg!(miri));
        let events = read.entries.iter().filter(|entry| entry.what.is_event());
        assert!(events.clone().count() > 0);
        for event in events {
            let spans = read.context(event.span);
            let whole = spans.iter().filter(|(_, span)| span.fields.len() == 2);
            assert_eq!((spans.len(), whole.count()), (4, 4));
        }
    });
}

/// What sanitizers must find, each in a run of its own: `.ci/memory` names them.
#[cfg(ttlog_seeded)]
mod bugs {
    use super::*;

    #[test]
    #[ignore = "a data race, for ThreadSanitizer and Miri"]
    fn plain_loads_beside_a_writer() {
        let core = Core::over_heap();
        let recorder = Recorder::new(Some(core.clone()), "debug".parse().unwrap(), 6);
        thread::scope(|scope| {
            let said = AtomicU64::new(0);
            let writer = scope.spawn(move || {
                with_default(recorder.subscriber(), || {
                    (0..ROUNDS).for_each(|n| round(1, n, &said));
                });
            });
            let words = core.memory.bytes() / 8;
            let mut sum = 0u64;
            while !writer.is_finished() {
                (0..words).for_each(|word| sum = sum.wrapping_add(core.memory.load_plain(word)));
            }
            println!("nothing was found, {sum}");
        });
    }

    #[test]
    #[ignore = "a load out of bounds, for AddressSanitizer and Miri"]
    fn a_load_past_the_end() {
        let memory = Memory::heap(64);
        println!("nothing was found, {}", memory.load_plain(64));
    }
}
