//! How things are shown, as commands ask for it: the same flags for all of them.

use clap::ValueEnum;
use comfy_table::Table;
use jiff::tz::TimeZone;

use crate::colour;
use crate::text::Style;

/// For whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Text for the eye
    #[default]
    Text,
    /// An object a line, for programs
    Json,
}

/// The look of lines for the eye.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Look {
    /// Show UTC instead of local time
    #[arg(long)]
    utc: bool,

    /// When to colour
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: colour::When,
}

impl Look {
    /// Whose clock is shown.
    pub(crate) fn zone(self) -> TimeZone {
        zone(self.utc)
    }

    /// The style that was asked for, here and now.
    pub(crate) fn style(self) -> Style {
        Style {
            zone: zone(self.utc),
            colour: self.color.decide(),
        }
    }
}

/// Columns of the terminal, if stdout is one that has some: whoever writes to a file or a
/// pipe wants whole lines, to search them.
pub(crate) fn terminal_width() -> Option<usize> {
    let width = Table::new().width().map(usize::from);
    width.filter(|&width| width > 0)
}

/// Whose clock is shown.
pub(crate) fn zone(utc: bool) -> TimeZone {
    if utc {
        TimeZone::UTC
    } else {
        TimeZone::system()
    }
}
