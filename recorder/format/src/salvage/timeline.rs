//! From ticks to the wall clock.
//!
//! The samples are points of a line that is straight between neighbours, so that
//! drift, suspends and clock steps are where the samples saw them. A later tick
//! is never an earlier time, unless the wall clock itself was set back.

use crate::clock::{Sample, Source};
use crate::header::Header;

/// Samples closer than this to the one before tell more of noise than of time.
const NEAR_NS: u64 = 1_000_000;

/// The longest and the shortest believable tick: nanoseconds a tick, ticks a nanosecond.
const TICK_LONGEST_NS: u128 = 1 << 16;
const TICKS_A_NS: u128 = 1 << 6;

/// The wall clock of every tick.
pub(super) struct Timeline {
    first: Sample,
    last: Sample,
    /// By ticks, which differ; begins with `first` and ends with `last`.
    points: Vec<Sample>,
    /// Nanoseconds, and the ticks that they took.
    rate: (i128, i128),
    /// Whether nothing tells that rate but how long the machine had been up.
    pub(super) is_guessed: bool,
}

impl Timeline {
    /// The line through the header's samples and those of the blocks.
    pub(super) fn new(header: &Header, blocks: impl Iterator<Item = Sample>) -> Timeline {
        let [first, second] = header.samples;
        let mut samples: Vec<Sample> = blocks.chain([second]).collect();
        samples.sort_by_key(|sample| (sample.ticks, sample.monotonic_ns));
        let mut points = vec![first];
        let mut last = first;
        for sample in samples {
            if believable(last, sample) {
                last = sample;
                if !near(points[points.len() - 1], sample) {
                    points.push(sample);
                }
            }
        }
        end_with(&mut points, last);
        let monotonic = i128::from(last.monotonic_ns) - i128::from(first.monotonic_ns);
        let ticks = i128::from(last.ticks) - i128::from(first.ticks);
        let is_guessed = header.clock == Source::Tsc && ticks <= 0;
        let rate = match header.clock {
            Source::Tsc if !is_guessed => (monotonic, ticks),
            Source::Tsc => since_boot(first),
            Source::Monotonic => (1, 1),
        };
        Timeline {
            first,
            last,
            points,
            rate,
            is_guessed,
        }
    }

    /// Nanoseconds since 1970.
    pub(super) fn wall_ns(&self, ticks: u64) -> u64 {
        let mut after = self.points.partition_point(|point| point.ticks <= ticks);
        self.wall_ns_near(ticks, &mut after)
    }

    /// The same, for ticks that seldom are far from those before: `near` is a place that
    /// is kept for the next, 0 at first.
    pub(super) fn wall_ns_near(&self, ticks: u64, near: &mut usize) -> u64 {
        while self
            .points
            .get(*near)
            .is_some_and(|point| point.ticks <= ticks)
        {
            *near += 1;
        }
        while let Some(before) = near.checked_sub(1)
            && self
                .points
                .get(before)
                .is_none_or(|point| point.ticks > ticks)
        {
            *near = before;
        }
        let after = *near;
        match (
            after.checked_sub(1).and_then(|i| self.points.get(i)),
            self.points.get(after),
        ) {
            (None, _) => along(self.first, ticks, self.rate),
            (Some(_), None) => along(self.last, ticks, self.rate),
            (Some(from), Some(to)) => {
                let wall = i128::from(to.wall_ns) - i128::from(from.wall_ns);
                along(*from, ticks, (wall, i128::from(to.ticks - from.ticks)))
            }
        }
    }
}

/// The time at `ticks`, on a line through `from` that rises by `(nanoseconds, ticks)`.
fn along(from: Sample, ticks: u64, (ns, per): (i128, i128)) -> u64 {
    // Nearly always it is this, and 128 bits are divided slowly.
    if let (Some(passed), Ok(ns), Ok(per)) = (
        ticks.checked_sub(from.ticks),
        u64::try_from(ns),
        u64::try_from(per),
    ) && let Some(product) = passed.checked_mul(ns)
    {
        return from.wall_ns.saturating_add(product / per.max(1));
    }
    let passed = (i128::from(ticks) - i128::from(from.ticks)).saturating_mul(ns);
    let wall = i128::from(from.wall_ns).saturating_add(passed.div_euclid(per.max(1)));
    wall.clamp(0, i128::from(u64::MAX)) as u64
}

/// The rate of ticks that began when the machine did, as those of most do; one that no
/// machine has is not believed.
fn since_boot(sample: Sample) -> (i128, i128) {
    let (ns, ticks) = (sample.boottime_ns, sample.ticks);
    match ns / 8 <= ticks && ticks / 8 <= ns {
        true => (ns.into(), ticks.into()),
        false => (1, 1),
    }
}

/// Whether `sample` can have been taken after `last`, by the same clocks.
fn believable(last: Sample, sample: Sample) -> bool {
    let passed = |a: u64, b: u64| b.checked_sub(a).filter(|&d| d > 0).map(u128::from);
    let (Some(ticks), Some(ns)) = (
        passed(last.ticks, sample.ticks),
        passed(last.monotonic_ns, sample.monotonic_ns),
    ) else {
        return false;
    };
    // The clocks of a sample are read one after the other.
    let slack = u128::from(NEAR_NS);
    ns <= ticks * TICK_LONGEST_NS + slack && ticks <= (ns + slack) * TICKS_A_NS
}

fn near(last: Sample, sample: Sample) -> bool {
    sample.monotonic_ns.saturating_sub(last.monotonic_ns) < NEAR_NS
}

/// Makes `last` the end of the line; the first point stays.
fn end_with(points: &mut Vec<Sample>, last: Sample) {
    if points.last() == Some(&last) {
        return;
    }
    if points.len() > 1 {
        points.pop();
    }
    points.push(last);
}

#[cfg(test)]
mod tests {
    use super::super::image::header;
    use super::*;
    use proptest::prelude::*;

    fn sample(ticks: u64, monotonic_ns: u64, wall_ns: u64) -> Sample {
        Sample {
            ticks,
            monotonic_ns,
            boottime_ns: monotonic_ns,
            wall_ns,
        }
    }

    fn timeline(clock: Source, samples: [Sample; 2], blocks: &[Sample]) -> Timeline {
        Timeline::new(
            &Header {
                clock,
                samples,
                ..header(1, 1)
            },
            blocks.iter().copied(),
        )
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn ticks_between_two_samples_are_dated_between_them() {
        let header = [
            sample(0, 0, 100 * SECOND),
            sample(3 * SECOND, SECOND, 101 * SECOND),
        ];
        let line = timeline(
            Source::Tsc,
            header,
            &[sample(6 * SECOND, 2 * SECOND, 150 * SECOND)],
        );
        assert_eq!(line.wall_ns(0), 100 * SECOND);
        assert_eq!(line.wall_ns(3 * SECOND / 2), 100 * SECOND + SECOND / 2);
        // A step of the wall clock lies between the samples that saw it.
        assert_eq!(line.wall_ns(9 * SECOND / 2), 125 * SECOND + SECOND / 2);
        // Behind the last sample a second is a second again.
        assert_eq!(line.wall_ns(9 * SECOND), 151 * SECOND);
    }

    #[test]
    fn a_process_killed_at_once_is_dated_by_the_header_alone() {
        let header = [sample(1000, 50, SECOND), sample(4000, 1050, SECOND + 1000)];
        let line = timeline(Source::Tsc, header, &[]);
        assert_eq!(line.wall_ns(7000), SECOND + 2000);
        let none = timeline(Source::Tsc, [header[0]; 2], &[]);
        assert_eq!(none.wall_ns(1000), SECOND);
    }

    #[test]
    fn monotonic_ticks_are_nanoseconds() {
        let noisy = [
            sample(1000, 1000, SECOND),
            sample(2000, 2500, SECOND + 1500),
        ];
        assert_eq!(
            timeline(Source::Monotonic, noisy, &[]).wall_ns(3000),
            SECOND + 2500
        );
    }

    #[test]
    fn a_wild_sample_is_kept_out() {
        let header = [
            sample(0, 0, 100 * SECOND),
            sample(3 * SECOND, SECOND, 101 * SECOND),
        ];
        let wild = sample(3 * SECOND + 10, u64::MAX, 7);
        let back = sample(4 * SECOND, 1, 7);
        let line = timeline(Source::Tsc, header, &[wild, back]);
        assert_eq!(line.wall_ns(6 * SECOND), 102 * SECOND);
    }

    proptest! {
        #[test]
        fn time_never_runs_backwards_by_itself(
            steps in proptest::collection::vec((1..u64::MAX / 64, 0..u64::MAX / 64), 0..20),
            ticks in proptest::collection::vec(any::<u64>(), 2..20),
        ) {
            let mut at = sample(0, 0, 0);
            let blocks: Vec<Sample> = steps.into_iter().map(|(ticks, ns)| {
                at = sample(at.ticks + ticks, at.monotonic_ns + ns, at.wall_ns + ns);
                at
            }).collect();
            let line = timeline(Source::Tsc, [sample(0, 0, 0), sample(1, 1, 1)], &blocks);
            let mut ticks = ticks;
            ticks.sort_unstable();
            prop_assert!(ticks.windows(2).all(|t| line.wall_ns(t[0]) <= line.wall_ns(t[1])));
        }

        #[test]
        fn a_place_that_is_kept_changes_no_time(
            samples in proptest::collection::vec(any::<[u32; 2]>(), 2..20),
            ticks in proptest::collection::vec(any::<u32>(), 1..20),
        ) {
            let mut at = sample(0, 0, 7);
            let samples: Vec<Sample> = samples.into_iter().map(|[ticks, ns]| {
                at = sample(at.ticks + u64::from(ticks), at.monotonic_ns + u64::from(ns), at.wall_ns + 1);
                at
            }).collect();
            let line = timeline(Source::Tsc, [samples[0], samples[1]], &samples[2..]);
            let mut near = 0;
            for ticks in ticks {
                prop_assert_eq!(line.wall_ns_near(ticks.into(), &mut near), line.wall_ns(ticks.into()));
            }
        }

        #[test]
        fn arbitrary_samples_never_overflow(samples in proptest::collection::vec(any::<[u64; 4]>(), 2..20), ticks in any::<u64>()) {
            let samples: Vec<Sample> = samples.into_iter().map(Sample::from_words).collect();
            timeline(Source::Tsc, [samples[0], samples[1]], &samples[2..]).wall_ns(ticks);
        }
    }
}
