//! The clock that records carry, and samples of all of them.
//!
//! Ticks are the raw time stamp counter where the kernel itself trusts it: it
//! costs half of `clock_gettime`. Nothing is calibrated here; whoever reads does.

use rustix::time::{ClockId, clock_gettime};
use ttlog_format::clock::{Sample, Source};

const KERNELS_CHOICE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// The clock that goes on in a suspended machine. An interpreter has none.
const BOOTTIME: ClockId = if cfg!(miri) {
    ClockId::Monotonic
} else {
    ClockId::Boottime
};

/// The clock of a recording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    source: Source,
}

impl Clock {
    /// The cheapest clock that the kernel trusts.
    pub(crate) fn new() -> Clock {
        let trusted = cfg!(all(target_arch = "x86_64", not(miri)))
            && std::fs::read(KERNELS_CHOICE).is_ok_and(|name| name.trim_ascii() == b"tsc");
        Clock {
            source: if trusted {
                Source::Tsc
            } else {
                Source::Monotonic
            },
        }
    }

    /// What ticks are.
    pub(crate) fn source(self) -> Source {
        self.source
    }

    /// Now, in ticks.
    #[inline]
    pub(crate) fn ticks(self) -> u64 {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if self.source == Source::Tsc {
            // SAFETY: every x86_64 processor has the instruction.
            return unsafe { core::arch::x86_64::_rdtsc() };
        }
        nanoseconds(ClockId::Monotonic)
    }

    /// Now, by all clocks. A vDSO call each, no system call where ticks are the TSC.
    pub(crate) fn sample(self) -> Sample {
        Sample {
            ticks: self.ticks(),
            monotonic_ns: nanoseconds(ClockId::Monotonic),
            boottime_ns: nanoseconds(BOOTTIME),
            wall_ns: nanoseconds(ClockId::Realtime),
        }
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}
