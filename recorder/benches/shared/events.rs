//! The events and spans that are measured, the same through every adapter.
//!
//! Their values change at every one, and nothing else is in the loop: it takes a
//! fraction of a nanosecond, which no figure is relieved of.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tracing::{info, info_span};

/// So many are timed at once. It is small enough that most batches are over before
/// anything else wants the processor, and goes through dozens of blocks.
pub(crate) const BATCH: u64 = 1_000;

/// A batch of one kind of event, told the number of its first.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) batch: fn(u64) -> Duration,
}

pub(crate) const S: Work = Work {
    name: "S",
    batch: |first| timed(first, |_| info!("request served")),
};

pub(crate) const F: Work = Work {
    name: "F",
    batch: |first| timed(first, fields),
};

pub(crate) const M: Work = Work {
    name: "M",
    batch: |first| {
        timed(first, |n| {
            let (user, micros, peer) = values(n);
            info!("request of {user} took {micros} us, from {peer}");
        })
    },
};

pub(crate) const SPAN: Work = Work {
    name: "span",
    batch: |first| {
        timed(first, |n| {
            let (user, micros, _) = values(n);
            info_span!("request", user, micros).in_scope(|| _ = black_box(n));
        })
    },
};

pub(crate) const ENTER: Work = Work {
    name: "enter, exit",
    batch: |first| {
        let (user, micros, _) = values(first);
        let span = info_span!("request", user, micros);
        timed(first, |n| span.in_scope(|| _ = black_box(n)))
    },
};

/// One event F.
#[inline]
pub(crate) fn fields(n: u64) {
    let (user, micros, peer) = values(n);
    info!(user, micros, peer, "request served");
}

/// Two numbers, one of which needs a word of its own, and a text of 13 bytes.
#[inline]
pub(crate) fn values(n: u64) -> (u64, u64, &'static str) {
    const PEERS: [&str; 2] = ["10.0.0.1:8080", "10.0.0.2:8080"];
    (n << 33, n & 0xffff, PEERS[n as usize % 2])
}

/// How long a batch takes.
#[inline]
pub(crate) fn timed(first: u64, each: impl Fn(u64)) -> Duration {
    let began = Instant::now();
    (first..first + BATCH).for_each(|n| each(black_box(n)));
    began.elapsed()
}
