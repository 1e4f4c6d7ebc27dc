//! Filters for programs: the words of the command line, without a command line.

use std::fmt;

use clap::ValueEnum;
use jiff::tz::TimeZone;
use ttlog_format::salvage::{Entry, Recording};

use super::condition::Condition;
use super::moment::Moment;
use super::pattern::Pattern;
use super::{Arguments, Covered, Severity};
use crate::error::Error;

/// Which entries are wanted, in the words that `view` takes for it: nothing was asked for
/// at first, and all pass.
///
/// ```
/// let mut asked = ttlog_reader::Asked::default();
/// asked.ask("field", "id >= 7")?;
/// asked.ask("thread", "worker 1")?;
/// assert_eq!(asked.to_string(), "--thread 'worker 1' --field 'id>=7'");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Asked(Arguments);

impl Asked {
    /// Asks for one thing more: `flag` is `level`, `grep`, `target`, `thread`, `field`,
    /// `span`, `since` or `until`, and `typed` what is typed behind it. Of a flag that is
    /// taken once, the last counts.
    ///
    /// # Errors
    /// Why `typed` is none of what the flag takes, or that there is no such flag.
    ///
    /// # Panics
    /// Never.
    pub fn ask(&mut self, flag: &str, typed: &str) -> Result<(), String> {
        let asked = &mut self.0;
        match flag {
            "level" => asked.level = Some(Severity::from_str(typed, true)?),
            "grep" => asked.grep = Some(Pattern::parse(typed)?),
            "target" => asked.target.push(typed.into()),
            "thread" => asked.thread.push(typed.into()),
            "field" => asked.field.push(Condition::parse(typed)?),
            "span" => asked.span.push(typed.into()),
            "since" => asked.since = Some(Moment::parse(typed)?),
            "until" => asked.until = Some(Moment::parse(typed)?),
            _ => return Err(format!("expected a filter's flag, found {flag}")),
        }
        Ok(())
    }

    /// What was asked for: flags, and what [`Asked::ask`] takes for them.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        self.0.words()
    }

    /// The events that pass, of a recording that has its entries, by the clock of UTC.
    ///
    /// # Errors
    /// Nothing can lie between the two moments.
    ///
    /// # Panics
    /// Never.
    pub fn passing<'r>(&self, recording: &'r Recording) -> Result<Vec<&'r Entry>, Error> {
        let entries = recording.entries.iter();
        let mut of_thread = entries
            .clone()
            .filter(|entry| entry.what.is_event() && self.0.is_of_thread(recording, entry));
        let first = of_thread.next().map(|entry| entry.wall_ns);
        let covered: Covered = first.map(|first| {
            let last = of_thread.next_back();
            (first, last.map_or(first, |last| last.wall_ns))
        });
        let filter = self.0.filter(false, &TimeZone::UTC, covered)?;
        Ok(entries
            .filter(|entry| filter.passes(recording, entry))
            .collect())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, at};

    fn passing(asked: &[(&str, &str)]) -> Vec<u64> {
        let recording = fixture::recording();
        let mut filter = Asked::default();
        for (flag, typed) in asked {
            filter.ask(flag, typed).unwrap();
        }
        let passing = filter.passing(&recording).unwrap();
        let passing = passing.iter();
        passing
            .map(|entry| (entry.wall_ns - at(0)) / 1_000_000)
            .collect()
    }

    #[test]
    fn what_is_asked_for_by_words_passes_as_by_flags() {
        assert_eq!(passing(&[]), [1, 3, 4, 5]);
        assert_eq!(passing(&[("level", "Warn")]), [3, 4, 5]);
        assert_eq!(passing(&[("field", "id=7"), ("span", "query")]), [1]);
        assert_eq!(passing(&[("since", "-1ms")]), [4, 5]);
        let words = Asked::default().ask("colour", "red").unwrap_err();
        assert_eq!(words, "expected a filter's flag, found colour");
    }
}
