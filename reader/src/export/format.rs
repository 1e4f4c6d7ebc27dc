//! What the ways to write a recording down have in common: it is told them entry by entry,
//! so that little of it is in memory.

use std::io;

use ttlog_format::salvage::{Entries, Entry, Recording};

use crate::filter::Filter;

/// A way to write down what is told.
pub(super) trait Format {
    /// What comes first.
    ///
    /// # Errors
    /// It cannot be written, as everywhere here.
    fn begin(&mut self, recording: &Recording) -> io::Result<()>;

    /// An entry that is wanted.
    fn entry(&mut self, recording: &Recording, entry: &Entry) -> io::Result<()>;

    /// One that is not, and may say something about those that are: where it lies.
    fn passed_over(
        &mut self,
        _recording: &Recording,
        _entry: &Entry,
        _place: Place,
    ) -> io::Result<()> {
        Ok(())
    }

    /// More was told of the spans that the next entries are in.
    fn told_more(&mut self) {}

    /// What comes last, once all is told.
    fn end(&mut self, recording: &Recording) -> io::Result<()>;
}

/// Where an entry lies that is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the window.
    Before,
    /// In it.
    Within,
    /// Behind the moment up to which entries are wanted.
    After,
}

/// What of a recording is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// When it begins, nanoseconds since 1970.
    pub(super) from_ns: u64,
    /// The last moment that is in it.
    pub(super) until_ns: u64,
    /// What of that.
    pub(super) filter: Filter,
}

impl Wanted {
    /// So many nanoseconds before the end, or all.
    pub(super) fn new(recording: &Recording, window_ns: Option<u64>, filter: Filter) -> Wanted {
        let from_ns = window_ns.map_or(0, |window| recording.end_ns.saturating_sub(window));
        let (since_ns, until_ns) = filter.between_ns();
        Wanted {
            from_ns: from_ns.max(since_ns),
            until_ns,
            filter,
        }
    }
}

/// Has all of a recording told, and writes down what is wanted.
///
/// # Errors
/// It cannot be read, or not be written.
pub(super) fn write_to(
    entries: &mut dyn Entries,
    wanted: &Wanted,
    format: &mut dyn Format,
) -> io::Result<()> {
    entries.rewind()?;
    format.begin(entries.recording())?;
    // In time order, save where the wall clock was set back: what comes after the first
    // that is recent enough is in the window.
    let mut is_open = false;
    while entries.tell()? {
        let (recording, entry) = (entries.recording(), entries.told());
        is_open |= entry.wall_ns >= wanted.from_ns;
        let place = match is_open {
            false => Place::Before,
            true if entry.wall_ns > wanted.until_ns => Place::After,
            true => Place::Within,
        };
        match is_open && wanted.filter.passes(recording, entry) {
            true => format.entry(recording, entry)?,
            false => format.passed_over(recording, entry, place)?,
        }
    }
    format.end(entries.recording())
}
