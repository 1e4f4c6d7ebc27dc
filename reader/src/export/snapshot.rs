//! `bin`: a snapshot, as the recording's own process makes them.
//!
//! Tables come before events in it, so the recording is gone through for what is to be in
//! it, for its spans and for its events.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ttlog_format::salvage::{Entries, Ledger};
use ttlog_format::snapshot::{Made, Maker, Part};

use crate::error::Error;
use crate::reading::Reading;
use crate::verdict::is_final;

/// A snapshot to be written.
pub(super) struct Snapshot {
    part: Part,
    made: Made,
}

impl Snapshot {
    /// Finds out what is to be in it.
    ///
    /// # Errors
    /// The recording cannot be read.
    pub(super) fn of(
        reading: &mut Reading<'_>,
        window_ns: Option<u64>,
        filter: &str,
    ) -> Result<Snapshot, Error> {
        let part = Part::of(&mut *reading.entries, window_ns);
        let part = part.map_err(|cause| Error::read(&reading.path, cause))?;
        Ok(Snapshot {
            part,
            made: made(reading, window_ns, filter),
        })
    }

    pub(super) fn write(&self, entries: &mut dyn Entries, out: impl Write) -> io::Result<()> {
        self.part.write(entries, &self.made, out)
    }

    /// The account of the recording, which this is a part of.
    pub(super) fn ledger(&self) -> &Ledger {
        self.part.ledger()
    }
}

/// How this snapshot comes to be, with the words of what of it is asked for.
pub(super) fn made(reading: &Reading<'_>, window_ns: Option<u64>, filter: &str) -> Made {
    let verdict = reading.verdict();
    let source = reading.made.as_ref();
    let before = source.and_then(|made| made.filter.as_deref());
    let words: Vec<&str> = before.into_iter().chain([filter]).collect();
    let words = words.join(" ").trim().to_owned();
    let filter = (!words.is_empty()).then_some(words);
    match source {
        // Only its maker knows how it came to be, and nothing is known since.
        Some(source) if !is_final(verdict.kind) => Made {
            window_ns,
            filter,
            ..source.clone()
        },
        _ => Made {
            by: Maker::Reader,
            why: source.map_or("export".into(), |made| made.why.clone()),
            wall_ns: now_ns(),
            recording: match source {
                Some(made) => made.recording.clone(),
                None => absolute(&reading.path),
            },
            window_ns,
            filter,
            items: 0,
            verdict: Some(verdict),
        },
    }
}

fn absolute(path: &Path) -> String {
    if path == Path::new("-") {
        return String::new();
    }
    let found = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    found.map_or(String::new(), |path| path.to_string_lossy().into_owned())
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
