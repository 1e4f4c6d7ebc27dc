//! A moment as somebody types it: by a clock, or counted back from the last event.
//!
//! ```text
//! -2s, -1m30s, -100ms                       before the last event
//! 12:34, 12:34:56, 12:34:56.789             a time of day, of the day on which events were
//! 2025-11-24, "2025-11-24 12:34"            a day, a minute
//! 2025-11-24T12:34:56.789Z, @1764000000     a moment, whatever the zone
//! now, today, yesterday
//! ```
//!
//! Days and times of day are those of the zone that is shown. A time of day is of a day on
//! which there were events: as a beginning, the last such before the last event, and as an
//! end the first such after the first event. As an end, a day, a minute or a second is meant
//! to its last nanosecond.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};

use super::Covered;

/// A moment as it was typed.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    typed: String,
    meaning: Meaning,
}

#[derive(Clone, Debug)]
enum Meaning {
    /// So many nanoseconds before the last event.
    Before(u64),
    /// Nanoseconds since 1970.
    At(u64),
    /// By the clock of the zone, and for so many nanoseconds.
    Clock(DateTime, u64),
    /// On a day on which there were events, and for so many nanoseconds.
    Daily(Time, u64),
}

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const DAY_NS: u64 = 24 * 60 * MINUTE_NS;

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl Moment {
    /// The moment of `text`.
    pub(crate) fn parse(text: &str) -> Result<Moment, String> {
        let typed = text.trim();
        let meaning = match typed.strip_prefix('-') {
            Some(length) => before(length)?,
            None => since_1970(typed)
                .or_else(|| daily(typed))
                .or_else(|| clock(typed))
                .or_else(|| named(typed))
                .ok_or(
                    "expected 12:34:56, \"2025-11-24 12:34\", 2025-11-24T12:34:56Z, or -2s, \
                     which counts back from the last event",
                )?,
        };
        Ok(Moment {
            typed: typed.into(),
            meaning,
        })
    }

    /// Whether it depends on when the events were.
    pub(crate) fn needs_covered(&self) -> bool {
        matches!(self.meaning, Meaning::Before(_) | Meaning::Daily(..))
    }

    /// Nanoseconds since 1970, where it begins.
    pub(crate) fn beginning_ns(&self, zone: &TimeZone, covered: Covered) -> u64 {
        let (first_ns, last_ns) = covered.unwrap_or((0, 0));
        match &self.meaning {
            Meaning::Daily(time, _) => {
                let [first_day, last_day] =
                    [first_ns, last_ns].map(|day_ns| on_day_of(day_ns, *time, zone));
                if last_day > last_ns && first_day <= last_ns {
                    first_day
                } else {
                    last_day
                }
            }
            _ => self.fixed_ns(zone, last_ns).0,
        }
    }

    /// Nanoseconds since 1970, where it ends.
    pub(crate) fn end_ns(&self, zone: &TimeZone, covered: Covered) -> u64 {
        let (first_ns, last_ns) = covered.unwrap_or((0, 0));
        let (ns, for_ns) = match &self.meaning {
            Meaning::Daily(time, for_ns) => {
                let [first_day, last_day] =
                    [first_ns, last_ns].map(|day_ns| on_day_of(day_ns, *time, zone));
                let is_over = |ns: u64| ns.saturating_add(*for_ns) <= first_ns;
                let ns = if is_over(first_day) && !is_over(last_day) {
                    last_day
                } else {
                    first_day
                };
                (ns, *for_ns)
            }
            _ => self.fixed_ns(zone, last_ns),
        };
        ns.saturating_add(for_ns.saturating_sub(1))
    }

    fn fixed_ns(&self, zone: &TimeZone, last_ns: u64) -> (u64, u64) {
        match &self.meaning {
            Meaning::Before(ns) => (last_ns.saturating_sub(*ns), 1),
            Meaning::At(ns) => (*ns, 1),
            Meaning::Clock(at, for_ns) => (ns_of(*at, zone), *for_ns),
            Meaning::Daily(..) => (last_ns, 1),
        }
    }
}

fn before(length: &str) -> Result<Meaning, String> {
    let length: Result<SignedDuration, _> = length.parse();
    let ns = length.ok().and_then(|it| u64::try_from(it.as_nanos()).ok());
    ns.map(Meaning::Before)
        .ok_or_else(|| "expected a length of time behind -, such as -2s, -500ms or -1m30s".into())
}

/// `@1764000000.5`, or with a zone of its own.
fn since_1970(text: &str) -> Option<Meaning> {
    let ns = match text.strip_prefix('@') {
        Some(seconds) => {
            let (whole, rest) = seconds.split_once('.').unwrap_or((seconds, ""));
            let digits = rest.len() <= 9 && rest.bytes().all(|it| it.is_ascii_digit());
            let rest = digits.then(|| format!("{rest:0<9}").parse::<u64>().ok())??;
            whole
                .parse::<u64>()
                .ok()?
                .checked_mul(SECOND_NS)?
                .checked_add(rest)?
        }
        None => {
            let at: Timestamp = text.parse().ok()?;
            u64::try_from(at.as_nanosecond()).ok()?
        }
    };
    Some(Meaning::At(ns))
}

/// `12:34`, `12:34:56` or `12:34:56.789`.
fn daily(text: &str) -> Option<Meaning> {
    // A time is read from a day and a time, too.
    let is_time = text.contains(':') && !text.contains('-');
    let time: Time = is_time.then(|| text.parse().ok())??;
    Some(Meaning::Daily(time, length_ns(text)))
}

/// `2025-11-24`, `2025-11-24 12:34`.
fn clock(text: &str) -> Option<Meaning> {
    if let Ok(day) = text.parse::<Date>()
        && !text.contains(':')
    {
        return Some(Meaning::Clock(day.at(0, 0, 0, 0), DAY_NS));
    }
    let at: DateTime = text.parse().ok()?;
    Some(Meaning::Clock(at, length_ns(text)))
}

fn named(text: &str) -> Option<Meaning> {
    let now = ZonedDateTime::now();
    let day = |days: i64| {
        let day = now.date().checked_sub(days.days()).ok()?;
        Some(Meaning::Clock(day.at(0, 0, 0, 0), DAY_NS))
    };
    match text {
        "now" => u64::try_from(now.timestamp().as_nanosecond())
            .ok()
            .map(Meaning::At),
        "today" => day(0),
        "yesterday" => day(1),
        _ => None,
    }
}

/// How long a time is that is typed to the minute, the second, or more exactly.
fn length_ns(text: &str) -> u64 {
    let of_day = text.rsplit([' ', 'T', 't']).next().unwrap_or(text);
    match of_day.matches(':').count() {
        _ if of_day.contains(['.', ',']) => 1,
        1 => MINUTE_NS,
        _ => SECOND_NS,
    }
}

/// The moment at which a clock shows a time; the first or the last one there is for what is
/// out of reach.
fn ns_of(at: DateTime, zone: &TimeZone) -> u64 {
    let zoned = at.to_zoned_datetime(zone.clone());
    let ns = zoned.map(|zoned| zoned.timestamp().as_nanosecond());
    let ns = ns.unwrap_or(if at.year() < 1970 { 0 } else { i128::MAX });
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}

/// A time of day, on the day of a moment.
fn on_day_of(ns: u64, time: Time, zone: &TimeZone) -> u64 {
    let at = Timestamp::from_nanosecond(ns.into()).unwrap_or_default();
    let day = at.to_zoned_datetime(zone.clone()).date();
    ns_of(day.to_datetime(time), zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 1_763_942_400 * SECOND_NS; // 2025-11-24T00:00:00Z
    const HOUR: u64 = 60 * MINUTE_NS;

    fn between(text: &str, covered: (u64, u64)) -> (u64, u64) {
        let moment = Moment::parse(text).unwrap();
        let zone = TimeZone::UTC;
        (
            moment.beginning_ns(&zone, Some(covered)),
            moment.end_ns(&zone, Some(covered)),
        )
    }

    #[test]
    fn a_moment_is_typed_in_many_ways() {
        let covered = (DAY + HOUR, DAY + 2 * HOUR);
        let last = covered.1;
        for (text, from, to) in [
            ("-2s", last - 2 * SECOND_NS, last - 2 * SECOND_NS),
            ("-1m30s", last - 90 * SECOND_NS, last - 90 * SECOND_NS),
            ("-100ms", last - SECOND_NS / 10, last - SECOND_NS / 10),
            ("-1000000h", 0, 0),
            ("@1763942401.5", DAY + 1_500_000_000, DAY + 1_500_000_000),
            ("2025-11-24T00:00:01Z", DAY + SECOND_NS, DAY + SECOND_NS),
            (
                "2025-11-24T02:00:01+02:00",
                DAY + SECOND_NS,
                DAY + SECOND_NS,
            ),
            (
                "2025-11-24 00:00:01",
                DAY + SECOND_NS,
                DAY + 2 * SECOND_NS - 1,
            ),
            ("2025-11-24 00:00", DAY, DAY + MINUTE_NS - 1),
            (
                "2025-11-24T00:00:00.5",
                DAY + SECOND_NS / 2,
                DAY + SECOND_NS / 2,
            ),
            ("2025-11-24", DAY, DAY + DAY_NS - 1),
            ("1969-12-31 12:00", 0, MINUTE_NS - 1),
            ("2555-01-01", u64::MAX, u64::MAX),
            ("9999-12-31 00:00", u64::MAX, u64::MAX),
            ("01:30", DAY + 90 * MINUTE_NS, DAY + 91 * MINUTE_NS - 1),
        ] {
            assert_eq!(between(text, covered), (from, to), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_of_a_day_on_which_there_were_events() {
        // From 23:00 to 01:00.
        let covered = (DAY - HOUR, DAY + HOUR);
        assert_eq!(between("23:30", covered).0, DAY - HOUR / 2);
        assert_eq!(between("00:30", covered).0, DAY + HOUR / 2);
        assert_eq!(between("23:30", covered).1, DAY - HOUR / 2 + MINUTE_NS - 1);
        assert_eq!(between("00:30", covered).1, DAY + HOUR / 2 + MINUTE_NS - 1);
        // Of a quarter of an hour: what lies beside it lets nothing through.
        let (first, last) = (DAY + HOUR, DAY + HOUR + HOUR / 4);
        assert!(between("02:00", (first, last)).0 > last);
        assert!(between("00:30", (first, last)).1 < first);
        assert!(between("00:30", (first, last)).0 < first);
        assert!(between("02:00", (first, last)).1 > last);
    }

    #[test]
    fn what_is_no_moment_says_what_would_be() {
        for text in [
            "",
            "soon",
            "25:00",
            "2025-13-01",
            "@",
            "@1.2345678901",
            "@-1",
            "12",
        ] {
            let words = Moment::parse(text).unwrap_err();
            assert!(words.starts_with("expected 12:34:56, "), "{text}: {words}");
        }
        for text in ["-", "-2", "--2s", "-2 parsecs"] {
            let words = Moment::parse(text).unwrap_err();
            assert!(
                words.starts_with("expected a length of time"),
                "{text}: {words}"
            );
        }
    }

    #[test]
    fn names_of_days_are_moments() {
        for text in ["now", "today", "yesterday"] {
            let (from, to) = between(text, (0, 0));
            assert!(from <= to && from > DAY, "{text}");
        }
    }
}
