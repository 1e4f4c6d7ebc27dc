//! Samples of all clocks, taken together.
//!
//! Records carry ticks alone. Which wall-clock time that was is worked out by
//! whoever reads, from the samples of the header and of the blocks around, so
//! that a recorder neither waits for a calibration nor asks again.

use serde::{Deserialize, Serialize};

/// All clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// The clock that records carry: see [`Source`].
    pub ticks: u64,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub monotonic_ns: u64,
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    pub boottime_ns: u64,
    /// `CLOCK_REALTIME`, in nanoseconds since 1970.
    pub wall_ns: u64,
}

impl Sample {
    /// The four clocks, in the order of the fields.
    pub fn to_words(self) -> [u64; 4] {
        [
            self.ticks,
            self.monotonic_ns,
            self.boottime_ns,
            self.wall_ns,
        ]
    }

    /// The sample that [`Sample::to_words`] gave.
    pub fn from_words([ticks, monotonic_ns, boottime_ns, wall_ns]: [u64; 4]) -> Sample {
        Sample {
            ticks,
            monotonic_ns,
            boottime_ns,
            wall_ns,
        }
    }
}

/// What ticks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Source {
    /// The processor's time stamp counter.
    Tsc = 1,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    #[default]
    Monotonic = 2,
}

impl Source {
    /// The source with this number.
    pub fn from_u8(source: u8) -> Option<Source> {
        match source {
            1 => Some(Source::Tsc),
            2 => Some(Source::Monotonic),
            _ => None,
        }
    }
}
