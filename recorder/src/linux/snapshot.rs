//! Making a snapshot: the recording is read back from its file, as any reader does,
//! and written to a `.bin` that has its name when it is whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::linux::aside;
use crate::linux::core::{Core, Here, Trace};
use crate::linux::kept::Kept;
use crate::linux::unfinished::Unfinished;
use ttlog_format::incident::Kind;
use ttlog_format::salvage::{self, Entries, Stream};
use ttlog_format::snapshot::{Made, Maker, Part};

/// How long the dying wait for their snapshot.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Makes a snapshot because somebody asked for it, and waits as long as it takes, or
/// as long as is said.
///
/// # Errors
/// This process is a fork of the one that records, or reading or writing fails.
pub(crate) fn asked_for(
    core: &Arc<Core>,
    why: &str,
    patience: Option<Duration>,
) -> Result<PathBuf, Error> {
    let Some(here) = core.here() else {
        return Err(Error::no_snapshot(
            "this process was forked from the one that records, and has no recording of its own",
            "ask that one",
        ));
    };
    here.incident(Kind::Snapshot, why, "", Trace::default());
    let (core, why) = (Arc::clone(core), why.to_owned());
    let made = aside::wait_for(patience, move || {
        Some(make(core.here_already()?, &why, None))
    });
    made.flatten().unwrap_or_else(|| {
        let reason = "there was no thread to make it, or no time";
        Err(Error::no_snapshot(reason, "try again"))
    })
}

/// Makes a snapshot, in the place of `old` if there is one, and returns its path.
///
/// # Errors
/// Reading or writing fails.
pub(crate) fn make(here: Here<'_>, why: &str, old: Option<&Path>) -> Result<PathBuf, Error> {
    let directory = here.snapshots.directory()?;
    let unfinished = Unfinished::create(&directory)?;
    let wall_ns = here.clock.sample().wall_ns;
    let pid = write(here, why, wall_ns, &unfinished)?;
    if let Some(old) = old {
        unfinished.replaces(old)?;
        return Ok(old.to_owned());
    }
    let (_, path) = unfinished.named(pid, wall_ns / 1_000_000, "bin")?;
    here.snapshots.count_made();
    Ok(path)
}

/// Writes the snapshot, and returns the pid that is recorded in it.
///
/// What lives longer than this is allocated before or after it: so the allocator can
/// give the memory back.
fn write(
    here: Here<'_>,
    why: &str,
    wall_ns: u64,
    unfinished: &Unfinished<'_>,
) -> Result<u32, Error> {
    let path = &here.path;
    let file = here.file.as_ref().ok_or(io::ErrorKind::NotFound.into());
    let file = file.and_then(Kept::open);
    let file = file.map_err(|error| Error::io("open the recording", path, error))?;
    let mut stream = Stream::open(&file).map_err(|error| match error {
        salvage::Error::Read(error) => Error::recording(path, error),
        salvage::Error::NotARecording(_)
        | salvage::Error::Unsupported { .. }
        | salvage::Error::NoHeader => Error::recording(path, "it has no header"),
    })?;
    let header = &stream.recording().header;
    let (pid, window_ns) = (header.pid, Some(header.window_ns));
    let part = Part::of(&mut stream, window_ns).map_err(|error| Error::recording(path, error))?;
    let made = Made {
        by: Maker::Process,
        why: why.to_owned(),
        wall_ns,
        recording: path.to_string_lossy().into_owned(),
        window_ns,
        ..Made::default()
    };
    let written = part.write(&mut stream, &made, &unfinished.file);
    unfinished.tried("write", written)?;
    Ok(pid)
}
