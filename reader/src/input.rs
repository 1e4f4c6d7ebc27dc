//! From what was typed to a recording: a file, a directory, a pid, or `-` for stdin.
//!
//! A file's name is of no consequence, its content decides. It is opened for
//! reading and without waiting, and must be a regular file: a planted FIFO cannot
//! make the reader hang, nor a terminal become its controlling one.

use std::ffi::OsStr;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ttlog_format::header::{HEADER_BYTES, Header};
use ttlog_format::salvage::{self, Recording, Source};

use crate::error::Error;
use crate::process::{Life, System};
use crate::verdict::{self, Verdict};

/// A recording, what it was read from, and what became of its process.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub path: PathBuf,
    /// What was salvaged of it.
    pub recording: Recording,
    /// What became of the process.
    pub verdict: Verdict,
}

/// Finds and reads the recording that `argument` means: a file, a directory (its
/// newest recording), the pid of a process (its newest recording in the default
/// places), or `-`, stdin.
///
/// # Errors
/// There is none, it cannot be read, or it is not a recording.
///
/// # Panics
/// Never.
pub fn open(argument: &Path) -> Result<Opened, Error> {
    if argument.as_os_str() == "-" {
        return salvaged(argument.to_owned(), &from_stdin()?);
    }
    let path = find(argument.as_os_str())?;
    let file = Bytes(open_regular(&path)?);
    salvaged(path, &file)
}

fn salvaged(path: PathBuf, source: &impl Source) -> Result<Opened, Error> {
    let system = System::here();
    // Who is seen dead before his recording is read has written all of it.
    let early = header(source).map(|header| system.life_of(&header));
    let recording = salvage::salvage(source).map_err(|cause| Error::salvage(&path, cause))?;
    let life = early.unwrap_or_else(|| system.life_of(&recording.header));
    let verdict = judged(&recording, &life, &system);
    Ok(Opened {
        path,
        recording,
        verdict,
    })
}

/// All of stdin: a pipe cannot be read at a place.
fn from_stdin() -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|cause| Error::read(Path::new("-"), cause))?;
    if bytes.is_empty() {
        return Err(Error::empty(Path::new("-")));
    }
    Ok(bytes)
}

/// The header at the beginning, if it is whole.
fn header(source: &impl Source) -> Option<Header> {
    let mut page = vec![0; HEADER_BYTES];
    let len = source.read_at(&mut page, 0).ok()?;
    Header::decode(&page[..len]).ok()
}

fn judged(recording: &Recording, life: &Life, system: &System) -> Verdict {
    verdict::judge(
        &recording.header,
        &recording.causes,
        life,
        system.boot_id().as_deref(),
    )
}

/// The file that `argument` means, by the rules of [`open`].
///
/// # Errors
/// A directory or the default places hold no such recording. That a file exists
/// is for [`open`] to find out.
pub fn find(argument: &OsStr) -> Result<PathBuf, Error> {
    let path = Path::new(argument);
    if path.is_dir() {
        let found = newest(path, None).map_err(|cause| Error::open(path, cause))?;
        return found
            .map(|found| found.path)
            .ok_or_else(|| Error::no_recordings(path));
    }
    match pid(argument) {
        Some(pid) if fs::symlink_metadata(path).is_err() => of_process(pid),
        _ => Ok(path.to_owned()),
    }
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
        .filter_map(|directory| newest(&directory, Some(pid)).ok().flatten())
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
fn directories_of_users(place: &Path) -> Vec<PathBuf> {
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

#[derive(Debug, PartialEq, Eq)]
struct Found {
    timestamp: u64,
    path: PathBuf,
}

/// The newest recording in a directory, by name, of one process or of any.
fn newest(directory: &Path, pid: Option<&str>) -> io::Result<Option<Found>> {
    let found = fs::read_dir(directory)?.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let (of, timestamp) = parse_name(name.to_str()?)?;
        let wanted =
            pid.is_none_or(|pid| pid.parse() == Ok(of)) && entry.file_type().ok()?.is_file();
        wanted.then(|| Found {
            timestamp,
            path: entry.path(),
        })
    });
    Ok(found.max_by(|a, b| (a.timestamp, &a.path).cmp(&(b.timestamp, &b.path))))
}

/// Pid and timestamp (milliseconds since 1970) of `ttlog-<pid>-<timestamp>.ring`.
fn parse_name(name: &str) -> Option<(u32, u64)> {
    let (pid, timestamp) = name
        .strip_prefix("ttlog-")?
        .strip_suffix(".ring")?
        .split_once('-')?;
    // A second recording of one millisecond may carry a number of its own.
    let millis = timestamp.split(['-', '.']).next()?;
    Some((pid.parse().ok()?, millis.parse().ok()?))
}

fn open_regular(path: &Path) -> Result<File, Error> {
    let file = open_without_waiting(path).map_err(|cause| match fs::metadata(path) {
        Ok(found) if !found.is_file() => Error::not_regular(path, kind(found.file_type())),
        _ => Error::open(path, cause),
    })?;
    let found = file.metadata().map_err(|cause| Error::read(path, cause))?;
    if !found.is_file() {
        return Err(Error::not_regular(path, kind(found.file_type())));
    }
    if found.len() == 0 {
        return Err(Error::empty(path));
    }
    Ok(file)
}

#[cfg(unix)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;

    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

#[cfg(not(unix))]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn kind(found: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;

    match found {
        _ if found.is_fifo() => "a FIFO",
        _ if found.is_socket() => "a socket",
        _ if found.is_char_device() => "a character device",
        _ if found.is_block_device() => "a block device",
        _ if found.is_dir() => "a directory",
        _ => "something else",
    }
}

#[cfg(not(unix))]
fn kind(found: FileType) -> &'static str {
    if found.is_dir() {
        "a directory"
    } else {
        "something else"
    }
}

/// The bytes of a file, which its process may still be writing.
struct Bytes(File);

impl Source for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match read_once(&self.0, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(filled)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(unix)]
fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recordings_name_is_pid_and_timestamp() {
        assert_eq!(
            parse_name("ttlog-4711-1700000000123.ring"),
            Some((4711, 1_700_000_000_123))
        );
        for other in [
            "ttlog-1-2.bin",
            ".ttlog-1-2.ring",
            "ttlog-x-2.ring",
            "ttlog-1.ring",
            "a",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
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
        let of_nine = newest(directory.path(), Some("9")).unwrap().unwrap();
        assert_eq!(of_nine.timestamp, 999);
        assert_eq!(newest(directory.path(), Some("99")).unwrap(), None);
    }

    #[test]
    fn only_digits_are_a_pid() {
        assert_eq!(pid(OsStr::new("4711")), Some("4711"));
        for other in ["", "-1", "4711x", "./4711", "٣"] {
            assert_eq!(pid(OsStr::new(other)), None, "{other}");
        }
    }
}
