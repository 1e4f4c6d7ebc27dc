//! Which entries are shown.
//!
//! An entry of which it is not known whether it was asked for is shown.

use clap::ValueEnum;
use ttlog_format::salvage::{Entry, Recording, What};
use ttlog_format::site::Level;

/// A level, and all that are more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Severity {
    /// Errors alone.
    Error,
    /// And warnings.
    #[value(alias = "warning")]
    Warn,
    /// And what a reader wants to know.
    Info,
    /// And what helps whoever debugs.
    Debug,
    /// Everything.
    Trace,
}

impl Severity {
    fn level(self) -> Level {
        match self {
            Severity::Error => Level::Error,
            Severity::Warn => Level::Warn,
            Severity::Info => Level::Info,
            Severity::Debug => Level::Debug,
            Severity::Trace => Level::Trace,
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filter {
    /// This level and more severe ones, or all.
    pub(crate) severity: Option<Severity>,
    /// At most so many, the last ones.
    pub(crate) last: Option<usize>,
    /// What happened to spans, too.
    pub(crate) spans: bool,
}

impl Filter {
    /// The entries that pass, in their order.
    pub(crate) fn pick<'r>(&self, recording: &'r Recording) -> Vec<&'r Entry> {
        let entries = recording.entries.iter();
        let mut picked: Vec<&Entry> = entries
            .filter(|entry| self.passes(recording, entry))
            .collect();
        let excess = picked.len().saturating_sub(self.last.unwrap_or(usize::MAX));
        picked.drain(..excess);
        picked
    }

    fn passes(&self, recording: &Recording, entry: &Entry) -> bool {
        let asked = self.spans || entry.what == What::Event;
        asked
            && self.severity.is_none_or(|severity| {
                let level = recording.level(entry);
                level.is_none_or(|level| level <= severity.level())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_level_lets_more_severe_ones_and_unknown_ones_through() {
        let recording = fixture::recording();
        let count = |severity| {
            let filter = Filter {
                severity,
                ..Filter::default()
            };
            filter.pick(&recording).len()
        };
        let all = count(None);
        assert_eq!(count(Some(Severity::Trace)), all);
        let errors = Filter {
            severity: Some(Severity::Error),
            ..Filter::default()
        };
        let levels: Vec<_> = errors
            .pick(&recording)
            .iter()
            .map(|entry| recording.level(entry))
            .collect();
        assert_eq!(levels, [Some(Level::Error), None]);
    }

    #[test]
    fn the_last_n_are_the_newest() {
        let recording = fixture::recording();
        let last = |last| {
            Filter {
                last: Some(last),
                ..Filter::default()
            }
            .pick(&recording)
            .len()
        };
        assert_eq!((last(0), last(1)), (0, 1));
        let newest = Filter {
            last: Some(1),
            ..Filter::default()
        }
        .pick(&recording)[0]
            .wall_ns;
        assert!(
            recording
                .entries
                .iter()
                .all(|entry| entry.wall_ns <= newest)
        );
    }
}
