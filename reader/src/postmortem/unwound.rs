//! The snapshot that a process made when it panicked: unwinding has closed the spans
//! since that were open then.
//!
//! Names say which snapshots lie beside a recording, and heads which of them is meant: one
//! of this very recording, made by its process because of a panic.

use std::path::{Path, PathBuf};

use ttlog_format::incident::Kind::Panic;
use ttlog_format::salvage::Recording;
use ttlog_format::snapshot::{self, Maker};
use ttlog_format::verdict::Kind;

use crate::file::open_regular;
use crate::find::{Found, SNAPSHOT, all_in};
use crate::input::Opened;

/// How many snapshots are looked at: those of the panic are among the first after it.
const LOOKED_AT_MAX: usize = 16;

/// By how much two readings of the clocks may differ.
const SLACK_MS: u64 = 1_000;

/// A panic, and the snapshot that was made of it.
pub(super) struct AtPanic {
    pub(super) panic_ns: u64,
    pub(super) path: PathBuf,
}

/// The snapshot that lies beside the recording of a process that panicked.
pub(super) fn snapshot(opened: &Opened) -> Option<AtPanic> {
    let is_recording = opened.made.is_none() && opened.path.as_os_str() != "-";
    if opened.verdict.kind != Kind::Panicked || !is_recording {
        return None;
    }
    let panic_ns = first_panic_ns(&opened.recording)?;
    let pid = opened.recording.header.pid.to_string();
    let there = all_in(directory_of(&opened.path), Some(&pid), SNAPSHOT).ok()?;
    let since_ms = (panic_ns / 1_000_000).saturating_sub(SLACK_MS);
    let mut later: Vec<Found> = there.filter(|it| it.timestamp >= since_ms).collect();
    later.sort_by(|a, b| (a.timestamp, &a.path).cmp(&(b.timestamp, &b.path)));
    let paths = later.into_iter().take(LOOKED_AT_MAX).map(|it| it.path);
    let mut made = paths.filter(|path| is_made_of_panic(path, &opened.recording));
    Some(AtPanic {
        panic_ns,
        path: made.next()?,
    })
}

/// The first panic in the window before the end; where there is none, the last.
fn first_panic_ns(recording: &Recording) -> Option<u64> {
    let window_ns = recording.end_ns.saturating_sub(recording.header.window_ns);
    let panics = recording.incidents.iter().filter(|it| it.kind == Panic);
    let panics = panics.map(|incident| incident.wall_ns);
    let in_window = panics.clone().filter(|&ns| ns >= window_ns).min();
    in_window.or_else(|| panics.max())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether a file is a snapshot that the process of `recording` made when it panicked.
fn is_made_of_panic(path: &Path, recording: &Recording) -> bool {
    let head = open_regular(path).ok().map(snapshot::read_head);
    let Some(Ok((header, made))) = head else {
        return false;
    };
    header.recording == recording.header.recording
        && made.by == Maker::Process
        && made.why.starts_with("panic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, at};
    use std::fs;
    use ttlog_format::incident;
    use ttlog_format::snapshot::Made;
    use ttlog_format::verdict::Verdict;

    /// A recording in a directory, of a process that panicked.
    fn panicked(directory: &Path) -> Opened {
        let verdict = Verdict {
            kind: Kind::Panicked,
            ..Verdict::default()
        };
        Opened {
            path: directory.join("ttlog-4711-1.ring"),
            recording: fixture::panicked(),
            verdict,
            made: None,
        }
    }

    fn made(by: Maker, why: &str) -> Made {
        let why = why.to_owned();
        Made {
            by,
            why,
            ..Made::default()
        }
    }

    /// A snapshot with the number of a moment in its name.
    fn write(directory: &Path, millis: u64, recording: &Recording, made: &Made) -> PathBuf {
        let number = at(millis) / 1_000_000;
        let path = directory.join(format!("ttlog-4711-{number}.bin"));
        let mut bytes = Vec::new();
        snapshot::write(recording, made, &mut bytes).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn the_snapshot_of_a_panic_is_told_from_others_that_lie_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let opened = panicked(directory);
        let found = |opened: &Opened| snapshot(opened).map(|it| it.path);
        let recording = &opened.recording;
        let mut other = fixture::panicked();
        other.header.recording += 1;
        let panic = made(Maker::Process, "panic: index out of bounds");
        write(directory, 7, recording, &made(Maker::Process, "asked for"));
        write(directory, 8, &other, &panic);
        write(directory, 9, recording, &made(Maker::Reader, "panic"));
        let early = at(6) / 1_000_000 - 60_000;
        fs::write(directory.join(format!("ttlog-4711-{early}.bin")), "no").unwrap();
        assert_eq!(found(&opened), None);
        write(directory, 20, recording, &panic);
        let first = write(directory, 10, recording, &panic);
        assert_eq!(found(&opened), Some(first));
        for kind in [Kind::Signal, Kind::Alive, Kind::Unknown] {
            let mut opened = panicked(directory);
            opened.verdict.kind = kind;
            assert_eq!(found(&opened), None, "{kind}");
        }
        let mut snapshot = panicked(directory);
        snapshot.made = Some(Made::default());
        assert_eq!(found(&snapshot), None);
    }

    #[test]
    fn of_several_panics_the_first_in_the_window_counts() {
        let mut recording = fixture::panicked();
        let panic = recording.incidents[0].clone();
        recording.header.window_ns = 10_000_000;
        recording.end_ns = at(100);
        let of = |recording: &mut Recording, moments: &[u64]| {
            let incidents = moments.iter().map(|&millis| incident::Incident {
                wall_ns: at(millis),
                ..panic.clone()
            });
            recording.incidents = incidents.collect();
            first_panic_ns(recording)
        };
        assert_eq!(of(&mut recording, &[5, 92, 99]), Some(at(92)));
        assert_eq!(of(&mut recording, &[5, 50]), Some(at(50)));
        assert_eq!(of(&mut recording, &[]), None);
    }
}
