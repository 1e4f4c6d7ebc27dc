//! Colour, which comes from here and from no recording.

use std::io::IsTerminal;

use clap::ValueEnum;
use ttlog_format::site::Level;
use ttlog_format::verdict::Kind;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl When {
    /// Whether what goes to stdout is coloured.
    pub(crate) fn decide(self) -> bool {
        match self {
            When::Always => true,
            When::Never => false,
            // See https://no-color.org: set, and not empty.
            When::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
                    && std::io::stdout().is_terminal()
            }
        }
    }
}

/// What ends a colour.
pub(crate) const PLAIN: &str = "\x1b[0m";

/// What begins the colour of what went wrong.
pub(crate) const BAD: &str = "\x1b[1;31m";

/// What begins the colour of what is as it should be.
pub(crate) const GOOD: &str = "\x1b[1;32m";

/// What begins the colour of what is to be looked at.
pub(crate) const DOUBTFUL: &str = "\x1b[1;33m";

/// What begins the colour of a heading.
pub(crate) const HEADING: &str = "\x1b[1m";

/// What begins the colour of what is read last.
pub(crate) const FAINT: &str = "\x1b[2m";

/// What begins the colour of a verdict.
pub(crate) fn of_verdict(kind: Kind) -> &'static str {
    match kind {
        Kind::Alive | Kind::Ended => GOOD,
        Kind::Terminated | Kind::Unknown => DOUBTFUL,
        Kind::Panicked | Kind::Signal | Kind::Killed | Kind::Rebooted => BAD,
    }
}

/// What begins the colour of a level.
pub(crate) fn of(level: Level) -> &'static str {
    match level {
        Level::Error => "\x1b[31m",
        Level::Warn => "\x1b[33m",
        Level::Info => "\x1b[32m",
        Level::Debug => "\x1b[34m",
        Level::Trace => "\x1b[35m",
    }
}
