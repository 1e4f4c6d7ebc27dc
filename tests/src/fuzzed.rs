//! Whatever the bytes: what every decoder keeps to, for a fuzzer and for the files that it
//! found.
//!
//! A target takes arbitrary bytes, has a decoder read them, and panics where that breaks a
//! law. Plain bytes would seldom pass a check; so the first of them says whether they are
//! taken as they are, or for a script of changes to a small recording whose checks are
//! renewed: then the fuzzer is behind them.
//!
//! Where a target takes a decoder, it does so for a broken one to be seen as such.

mod block;
mod filter;
mod record;
mod ring;
mod snapshot;

pub use block::{block, block_by};
pub use filter::{filter, filter_by};
pub use record::{record, record_by};
pub use ring::{ring, ring_by};
pub use snapshot::{cbor, framed, head, snapshot, snapshot_by};

use std::fmt::Debug;

use ttlog_format::salvage::{Counts, Entry, Recording};

/// A target: arbitrary bytes are read, and a panic is a finding.
pub type Target = fn(&[u8]);

/// All targets, by their names.
pub const TARGETS: [(&str, Target); 6] = [
    ("ring", ring),
    ("block", block),
    ("record", record),
    ("snapshot", snapshot),
    ("cbor", cbor),
    ("filter", filter),
];

/// Bytes that are taken one after the other, zeros once there are no more.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A number from below `most`.
    fn below(&mut self, most: u32) -> u32 {
        u32::from(self.short()) % most.max(1)
    }

    fn rest(self) -> &'b [u8] {
        self.0
    }
}

/// Whether both are the same, or look so: a number that is none is not equal to itself.
fn same<T: PartialEq + Debug>(a: &T, b: &T) -> bool {
    a == b || format!("{a:?}") == format!("{b:?}")
}

#[track_caller]
fn are_same<T: PartialEq + Debug>(a: &T, b: &T, what: &str) {
    assert!(same(a, b), "{what}:\n{a:?}\n{b:?}");
}

/// The law of the account.
#[track_caller]
fn add_up(counts: Counts) {
    let parts = [
        counts.readable,
        counts.overwritten,
        counts.dropped,
        counts.torn,
    ];
    let sum = parts.iter().try_fold(0u64, |sum, &it| sum.checked_add(it));
    assert_eq!(sum, Some(counts.written), "{counts:?}");
}

/// What holds of a recording that is told to its end, and of what was told of it.
fn told_in_full(recording: &Recording, entries: &[Entry]) {
    let mut events = vec![0u64; recording.threads.len()];
    let mut covered = vec![None; recording.threads.len()];
    for entry in entries {
        let thread = entry.thread as usize;
        events[thread] += u64::from(entry.what.is_event());
        let (first, _) = covered[thread].unwrap_or((entry.wall_ns, 0));
        covered[thread] = Some((first, entry.wall_ns));
    }
    for ((thread, events), covered) in recording.threads.iter().zip(events).zip(covered) {
        add_up(thread.counts);
        assert_eq!(thread.counts.readable, events, "{thread:?}");
        assert_eq!(thread.covered_ns, covered, "{thread:?}");
    }
    let told = entries.iter().filter(|entry| entry.what.is_event()).count();
    add_up(recording.ledger.counts);
    assert_eq!(recording.ledger.counts.readable, told as u64);
    let last = entries.last().map_or(0, |entry| entry.wall_ns);
    assert!(recording.end_ns >= last);
}
