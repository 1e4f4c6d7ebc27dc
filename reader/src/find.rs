//! From what was typed to a file: a file, a directory's newest recording, or a process's.
//!
//! Here names count: those of recordings and snapshots say of which process they are, and
//! since when.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The file that `argument` means, by the rules of [`crate::open`].
///
/// # Errors
/// A directory or the default places hold no such recording. That a file exists
/// is for [`crate::open`] to find out.
pub fn find(argument: &OsStr) -> Result<PathBuf, Error> {
    let path = Path::new(argument);
    if path.is_dir() {
        return newest_in(path);
    }
    match pid(argument) {
        Some(pid) if fs::symlink_metadata(path).is_err() => of_process(pid),
        _ => Ok(path.to_owned()),
    }
}

/// The newest recording in a directory; where there is none, the newest snapshot.
fn newest_in(directory: &Path) -> Result<PathBuf, Error> {
    for extension in EXTENSIONS {
        let found = newest(directory, None, extension);
        if let Some(found) = found.map_err(|cause| Error::open(directory, cause))? {
            return Ok(found.path);
        }
    }
    Err(Error::no_recordings(directory))
}

fn pid(argument: &OsStr) -> Option<&str> {
    let digits = argument.to_str()?;
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then_some(digits)
}

/// The newest recording of a process in the default places.
fn of_process(pid: &str) -> Result<PathBuf, Error> {
    let temporary = std::env::temp_dir();
    let places = [Path::new("/dev/shm"), &temporary];
    let own = std::env::var_os("TTLOG_DIR").map(PathBuf::from);
    let directories = places
        .iter()
        .flat_map(|place| directories_of_users(place))
        .chain(own.clone());
    directories
        .filter_map(|directory| newest(&directory, Some(pid), RECORDING).ok().flatten())
        .max_by_key(|found| found.timestamp)
        .map(|found| found.path)
        .ok_or_else(|| {
            let places = places
                .iter()
                .map(|place| format!("{}/ttlog-*/", place.display()));
            let own = own.iter().map(|own| own.display().to_string());
            Error::no_process(pid, &places.chain(own).collect::<Vec<_>>())
        })
}

/// The directories named `ttlog-<uid>` in a default place.
pub(crate) fn directories_of_users(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"ttlog-"))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// A file whose name is that of a recording or of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// From the name, in milliseconds since 1970.
    pub(crate) timestamp: u64,
    pub(crate) path: PathBuf,
}

/// The pid of a recording's process, as it is typed, where that finds this recording.
pub(crate) fn is_found_by_pid(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let pid = parse_name(name, RECORDING)?.0.to_string();
    // A file of that name, here, would be taken for what is meant.
    let is_hidden = fs::symlink_metadata(&pid).is_ok();
    let found = (!is_hidden).then(|| of_process(&pid).ok())??;
    (found.canonicalize().ok()? == path.canonicalize().ok()?).then_some(pid)
}

/// How the name of a snapshot ends.
pub(crate) const SNAPSHOT: &str = ".bin";

/// How the name of a recording ends.
pub(crate) const RECORDING: &str = ".ring";

/// How the names of recordings and of snapshots end.
const EXTENSIONS: [&str; 2] = [RECORDING, SNAPSHOT];

/// The newest file of a kind in a directory, by name, of one process or of any.
fn newest(directory: &Path, pid: Option<&str>, extension: &str) -> io::Result<Option<Found>> {
    let found = all_in(directory, pid, extension)?;
    Ok(found.max_by(|a, b| (a.timestamp, &a.path).cmp(&(b.timestamp, &b.path))))
}

/// The files of a kind in a directory, by name, of one process or of any.
pub(crate) fn all_in(
    directory: &Path,
    pid: Option<&str>,
    extension: &str,
) -> io::Result<impl Iterator<Item = Found>> {
    Ok(fs::read_dir(directory)?.flatten().filter_map(move |entry| {
        let name = entry.file_name();
        let (of, timestamp) = parse_name(name.to_str()?, extension)?;
        let wanted =
            pid.is_none_or(|pid| pid.parse() == Ok(of)) && entry.file_type().ok()?.is_file();
        wanted.then(|| Found {
            timestamp,
            path: entry.path(),
        })
    }))
}

/// Pid and timestamp (milliseconds since 1970) of `ttlog-<pid>-<timestamp>.ring`, or
/// of what else ends in `extension`.
fn parse_name(name: &str, extension: &str) -> Option<(u32, u64)> {
    let (pid, timestamp) = name
        .strip_prefix("ttlog-")?
        .strip_suffix(extension)?
        .split_once('-')?;
    // A second recording of one millisecond may carry a number of its own.
    let millis = timestamp.split(['-', '.']).next()?;
    Some((pid.parse().ok()?, millis.parse().ok()?))
}

/// The timestamp in the name of a recording or a snapshot, milliseconds since 1970.
pub(crate) fn millis_of_name(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let mut parsed = EXTENSIONS.iter().filter_map(|it| parse_name(name, it));
    parsed.next().map(|(_, millis)| millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recordings_name_is_pid_and_timestamp() {
        assert_eq!(
            parse_name("ttlog-4711-1700000000123.ring", RECORDING),
            Some((4711, 1_700_000_000_123))
        );
        for other in [
            "ttlog-1-2.bin",
            ".ttlog-1-2.ring",
            "ttlog-x-2.ring",
            "ttlog-1.ring",
            "a",
        ] {
            assert_eq!(parse_name(other, RECORDING), None, "{other}");
        }
    }

    #[test]
    fn a_directorys_newest_recording_goes_by_the_number_in_its_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "ttlog-9-999.ring",
            "ttlog-1-1000.ring",
            "ttlog-2-2000.bin",
            "ttlog-3-x.ring",
        ] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("ttlog-1-5000.ring")).unwrap();
        let found = find(directory.path().as_os_str()).unwrap();
        assert_eq!(found.file_name().unwrap(), "ttlog-1-1000.ring");
        let of_nine = newest(directory.path(), Some("9"), RECORDING)
            .unwrap()
            .unwrap();
        assert_eq!(of_nine.timestamp, 999);
        assert_eq!(
            newest(directory.path(), Some("99"), RECORDING).unwrap(),
            None
        );
    }

    #[test]
    fn a_directory_without_recordings_means_its_newest_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["ttlog-9-999.bin", "ttlog-1-1000.bin"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let found = find(directory.path().as_os_str()).unwrap();
        assert_eq!(found.file_name().unwrap(), "ttlog-1-1000.bin");
        assert_eq!(millis_of_name(&found), Some(1000));
        assert_eq!(millis_of_name(Path::new("core")), None);
    }

    #[test]
    fn only_digits_are_a_pid() {
        assert_eq!(pid(OsStr::new("4711")), Some("4711"));
        for other in ["", "-1", "4711x", "./4711", "٣"] {
            assert_eq!(pid(OsStr::new(other)), None, "{other}");
        }
    }
}
