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
    /// What happened to spans, too.
    pub(crate) spans: bool,
}

impl Filter {
    /// Whether an entry was asked for.
    pub(crate) fn passes(&self, recording: &Recording, entry: &Entry) -> bool {
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
        let picked = |severity| {
            let filter = Filter {
                severity,
                ..Filter::default()
            };
            let entries = recording.entries.iter();
            let picked = entries.filter(|entry| filter.passes(&recording, entry));
            picked.collect::<Vec<_>>()
        };
        let all = picked(None).len();
        assert_eq!(picked(Some(Severity::Trace)).len(), all);
        let levels: Vec<_> = picked(Some(Severity::Error))
            .iter()
            .map(|entry| recording.level(entry))
            .collect();
        assert_eq!(levels, [Some(Level::Error), None]);
    }
}
