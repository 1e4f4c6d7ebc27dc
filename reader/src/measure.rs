//! Sizes and moments in words, as a person would say them.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::text::Style;

/// Nanoseconds since 1970; before that, none.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// `2 min ago`, by one unit: what is looked for is whether that was today's trouble.
pub(crate) fn ago(now_ns: u64, then_ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    if then_ns > now_ns.saturating_add(SECOND) {
        return "ahead of the clock here".into();
    }
    match now_ns.saturating_sub(then_ns) / SECOND {
        0 => "just now".into(),
        s @ 1..60 => format!("{s} s ago"),
        s @ 60..3_600 => format!("{} min ago", s / 60),
        s @ 3_600..172_800 => format!("{} h ago", s / 3_600),
        s => format!("{} d ago", s / 86_400),
    }
}

/// `22:13:20, 2 min ago` today, and `2023-11-14, 3 d ago` on another day.
pub(crate) fn short_moment(style: &Style, now_ns: u64, then_ns: u64) -> String {
    let (now, then) = (style.moment(now_ns), style.moment(then_ns));
    let parts = |moment: &str| -> (String, String) {
        let (day, time) = moment.split_once(' ').unwrap_or((moment, ""));
        let seconds = time.split('.').next().unwrap_or(time);
        (day.to_owned(), seconds.to_owned())
    };
    let ((today, _), (day, time)) = (parts(&now), parts(&then));
    let shown = if day == today { time } else { day };
    format!("{shown}, {}", ago(now_ns, then_ns))
}

/// `2023-11-14 22:13:20.123, 2 min ago`
pub(crate) fn moment(style: &Style, now_ns: u64, then_ns: u64) -> String {
    format!("{}, {}", style.moment(then_ns), ago(now_ns, then_ns))
}

/// Words for programs and for the eye have the moments in them in UTC; for the eye they
/// are told as all others are.
pub(crate) fn as_shown(style: &Style, words: &str) -> String {
    let shown = |word: &str| {
        let moment = word.trim_end_matches([',', ';', ')']);
        let parsed = match moment.len() == "2023-11-14T22:13:20.000000000Z".len() {
            true => moment.parse::<Timestamp>().ok(),
            false => None,
        };
        let ns = parsed.and_then(|at| u64::try_from(at.as_nanosecond()).ok())?;
        Some(format!("{}{}", style.moment(ns), &word[moment.len()..]))
    };
    let words = words.split(' ');
    let words = words.map(|word| shown(word).unwrap_or_else(|| word.to_owned()));
    words.collect::<Vec<_>>().join(" ")
}

/// As many characters of a text as there is room for, `…` at their end where there are more.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text
            .chars()
            .take(most.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

/// `11.0 MiB`
pub(crate) fn size(bytes: u64) -> String {
    let tenths = |shift: u32| {
        let tenths = (u128::from(bytes) * 10) >> shift;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", tenths(10)),
        1_048_576..1_073_741_824 => format!("{} MiB", tenths(20)),
        1_073_741_824..1_099_511_627_776 => format!("{} GiB", tenths(30)),
        _ => format!("{} TiB", tenths(40)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_700_000_000 * SECOND;

    #[test]
    fn an_age_is_said_by_one_unit() {
        for (seconds, words) in [
            (0, "just now"),
            (59, "59 s ago"),
            (150, "2 min ago"),
            (3 * 3_600, "3 h ago"),
            (47 * 3_600, "47 h ago"),
            (3 * 86_400, "3 d ago"),
        ] {
            assert_eq!(ago(NOW, NOW - seconds * SECOND), words);
        }
        assert_eq!(ago(NOW, NOW + 1), "just now");
        assert_eq!(ago(NOW, u64::MAX), "ahead of the clock here");
        assert_eq!(ago(u64::MAX, 0), "213503 d ago");
    }

    #[test]
    fn of_today_the_time_is_said_and_of_another_day_the_day() {
        let style = Style {
            zone: TimeZone::UTC,
            colour: false,
        };
        let said = |ns| short_moment(&style, NOW, ns);
        assert_eq!(said(NOW - 120 * SECOND), "22:11:20, 2 min ago");
        assert_eq!(said(NOW - 4 * 86_400 * SECOND), "2023-11-10, 4 d ago");
        assert_eq!(
            moment(&style, NOW, NOW - SECOND),
            "2023-11-14 22:13:19.000, 1 s ago"
        );
    }

    #[test]
    fn moments_within_words_are_told_by_the_clock_that_is_shown() {
        let style = Style {
            zone: TimeZone::fixed(jiff::tz::offset(2)),
            colour: false,
        };
        let words = "SIGSEGV at 2023-11-14T22:13:20.123456789Z, in  worker 1T2Z";
        assert_eq!(
            as_shown(&style, words),
            "SIGSEGV at 2023-11-15 00:13:20.123, in  worker 1T2Z"
        );
        for other in ["", " ", "é".repeat(15).as_str()] {
            assert_eq!(as_shown(&style, other), other);
        }
    }

    #[test]
    fn a_text_that_is_cut_says_so() {
        assert_eq!(cut("", 0), "");
        assert_eq!(cut("é日a", 3), "é日a");
        assert_eq!(cut("é日ab", 3), "é日…");
        assert_eq!(cut("ab", 0), "…");
    }

    #[test]
    fn a_size_has_the_unit_that_fits_it() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (1_536, "1.5 KiB"),
            (11 << 20, "11.0 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }
}
