//! A histogram of ticks whose buckets are a thirty-second of a power of two wide: it
//! counts without allocating, and errs by three percent, always upwards.

const SUB_BITS: u32 = 5;
const SUBS: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUBS;

pub(crate) struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    most: u64,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram {
            buckets: Box::new([0; BUCKETS]),
            count: 0,
            most: 0,
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, ticks: u64) {
        self.buckets[bucket(ticks)] += 1;
        self.count += 1;
        self.most = self.most.max(ticks);
    }

    /// The largest ticks of the bucket that so large a share of all does not exceed.
    fn at(&self, share: f64) -> u64 {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                return last(bucket).min(self.most);
            }
        }
        self.most
    }

    /// A line of the table, in nanoseconds.
    pub(crate) fn print(&self, what: &str, ticks_per_ns: f64) {
        let name = format!("{what}, {:.2} M", self.count as f64 / 1e6);
        let ns = |ticks: u64| ticks as f64 / ticks_per_ns;
        println!(
            "{name:<37}{:>7.0}{:>7.0}{:>8.0}{:>9.0}{:>12.0}",
            ns(self.at(0.5)),
            ns(self.at(0.99)),
            ns(self.at(0.999)),
            ns(self.at(0.9999)),
            ns(self.most)
        );
    }
}

/// The bucket of so many ticks: each its own at first, then `SUBS` a power of two.
fn bucket(ticks: u64) -> usize {
    let shift = (64 - SUB_BITS).saturating_sub(ticks.leading_zeros() + 1);
    let sub = (ticks >> shift) as usize;
    shift as usize * SUBS + sub
}

/// The most ticks that fall into a bucket.
fn last(bucket: usize) -> u64 {
    let shift = (bucket / SUBS).saturating_sub(1);
    let sub = (bucket - shift * SUBS) as u64;
    ((sub + 1) << shift).wrapping_sub(1)
}
