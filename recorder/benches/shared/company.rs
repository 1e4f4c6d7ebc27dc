//! Which batches of a thread had company: on a busy machine the least of all is one that
//! ran while the other threads waited for a processor, and tells what one thread costs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Threads that do batches at the same time.
#[derive(Default)]
pub(crate) struct Company {
    done: AtomicU64,
}

/// How long a batch took, and how many batches others finished meanwhile.
type Batch = (Duration, u64);

impl Company {
    /// Does so many batches on the calling thread; gives the time of all, and those
    /// that had company.
    pub(crate) fn batches(
        &self,
        count: u64,
        threads: u64,
        batch: impl Fn(u64) -> Duration,
    ) -> (Duration, Vec<Duration>) {
        let mut batches = Vec::with_capacity(count as usize);
        let mut before = self.done.load(Ordering::Relaxed);
        for number in 0..count {
            let took = batch(number);
            let done = self.done.fetch_add(1, Ordering::Relaxed);
            batches.push((took, done - before));
            before = done + 1;
        }
        let all = batches.iter().map(|batch| batch.0).sum();
        (all, accompanied(&batches, threads))
    }
}

/// The batches during which, and during those before and after, others finished a batch
/// for each of the other processors.
fn accompanied(batches: &[Batch], threads: u64) -> Vec<Duration> {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let others = processors.min(threads) - 1;
    let around = batches.windows(3);
    let kept = around.filter(|around| around.iter().all(|batch| batch.1 >= others));
    kept.map(|around| around[1].0).collect()
}
