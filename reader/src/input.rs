//! From what was typed to a recording: a file, a directory, a pid, or `-` for stdin.
//!
//! A file's name is of no consequence, its content decides: what begins as an LZ4
//! frame is a snapshot, all else is taken for a recording. It is opened for
//! reading and without waiting, and must be a regular file: a planted FIFO cannot
//! make the reader hang, nor a terminal become its controlling one.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use ttlog_format::header::{HEADER_BYTES, Header};
use ttlog_format::salvage::{self, Recording, Source};
use ttlog_format::snapshot::{self, Made};
use ttlog_format::verdict::Verdict;

use crate::cgroup;
use crate::error::Error;
use crate::escape::escape;
use crate::file::{Bytes, open_named, open_regular};
use crate::process::{Life, Lock, Now, System};
use crate::verdict;

/// A recording, what it was read from, and what became of its process.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub path: PathBuf,
    /// What was salvaged of it.
    pub recording: Recording,
    /// What became of the process.
    pub verdict: Verdict,
    /// Of a snapshot, how it came to be.
    pub made: Option<Made>,
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
        return opened(argument.to_owned(), &from_stdin()?);
    }
    let path = find(argument.as_os_str())?;
    let file = Bytes(open_regular(&path)?);
    opened(path, &file)
}

/// Bytes that were found.
trait Input: Source {
    /// All of them, from the first.
    fn reader(&self) -> io::Result<impl Read>;

    /// The lock of the recording with this header, if they are its own.
    fn lock(&self, header: &Header) -> Lock;
}

fn opened(path: PathBuf, source: &impl Input) -> Result<Opened, Error> {
    let mut magic = [0; snapshot::MAGIC.len()];
    match source.read_at(&mut magic, 0) {
        Err(cause) => Err(Error::read(&path, cause)),
        Ok(_) if magic == snapshot::MAGIC => of_snapshot(path, source),
        Ok(_) => of_recording(path, source),
    }
}

fn of_recording(path: PathBuf, source: &impl Input) -> Result<Opened, Error> {
    let system = System::here();
    let look = |header: &Header| system.life_of(header, || source.lock(header));
    // Who is seen dead before his recording is read has written all of it.
    let early = header(source).map(|header| look(&header));
    let recording = salvage::salvage(source).map_err(|cause| Error::salvage(&path, cause))?;
    let life = early.unwrap_or_else(|| look(&recording.header));
    let verdict = verdict::judge(&recording, &now(&recording.header, life, &system));
    Ok(Opened {
        path,
        recording,
        verdict,
        made: None,
    })
}

fn of_snapshot(path: PathBuf, source: &impl Input) -> Result<Opened, Error> {
    let len = source.len().map_err(|cause| Error::read(&path, cause))?;
    let bytes = source.reader().map_err(|cause| Error::read(&path, cause))?;
    let read = snapshot::read(bytes, len);
    let (recording, made) = read.map_err(|cause| Error::snapshot(&path, cause))?;
    let verdict = verdict::carried(&made)
        .or_else(|| by_its_recording(&made, recording.header.recording))
        .unwrap_or_else(|| left_open(&recording, &made));
    Ok(Opened {
        path,
        recording,
        verdict,
        made: Some(made),
    })
}

/// The verdict on the recording that a snapshot was made of, if that is at hand.
fn by_its_recording(made: &Made, identity: u64) -> Option<Verdict> {
    let path = PathBuf::from(&made.recording);
    if !path.is_absolute() {
        return None;
    }
    let file = Bytes(open_named(&path).ok()?);
    let opened = of_recording(path, &file).ok();
    let mut verdict = opened
        .filter(|opened| opened.recording.header.recording == identity)?
        .verdict;
    let path = escape(made.recording.as_bytes());
    verdict.evidence.push(format!("by its recording, {path}"));
    Some(verdict)
}

fn left_open(recording: &Recording, made: &Made) -> Verdict {
    let system = System::here();
    let header = &recording.header;
    let life = system.life_of(header, || Lock::Unknown);
    verdict::left_open(recording, made, &now(header, life, &system))
}

fn now(header: &Header, life: Life, system: &System) -> Now {
    Now {
        life,
        boot_id: system.boot_id(),
        oom_kills: cgroup::words(header, Path::new("/")),
    }
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

/// The file that `argument` means, by the rules of [`open`].
///
/// # Errors
/// A directory or the default places hold no such recording. That a file exists
/// is for [`open`] to find out.
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

/// How the name of a recording ends.
pub(crate) const RECORDING: &str = ".ring";

/// How the names of recordings and of snapshots end.
const EXTENSIONS: [&str; 2] = [RECORDING, ".bin"];

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

impl Input for Bytes {
    fn reader(&self) -> io::Result<impl Read> {
        let mut file = &self.0;
        file.rewind()?;
        Ok(file)
    }

    fn lock(&self, header: &Header) -> Lock {
        Lock::of(&self.0, header)
    }
}

impl Input for Vec<u8> {
    fn reader(&self) -> io::Result<impl Read> {
        Ok(self.as_slice())
    }

    fn lock(&self, _: &Header) -> Lock {
        Lock::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

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

    fn snapshot_of(recording: &Recording, made: &Made) -> Vec<u8> {
        let mut bytes = Vec::new();
        snapshot::write(recording, made, &mut bytes).unwrap();
        bytes
    }

    fn open_bytes(bytes: Vec<u8>) -> Result<Opened, Error> {
        opened("-".into(), &bytes)
    }

    #[test]
    fn a_snapshot_is_known_by_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mail.txt");
        let made = Made {
            why: "a test".into(),
            ..Made::default()
        };
        let bytes = snapshot_of(&fixture::recording(), &made);
        fs::write(&path, &bytes).unwrap();
        let whole = fixture::recording();
        let of_file = open(&path).unwrap();
        assert_eq!(of_file.recording.entries[1], whole.entries[1]);
        assert_eq!(of_file.made.unwrap().why, "a test");
        let of_stdin = open_bytes(bytes).unwrap();
        let entries = of_stdin.recording.entries;
        assert_eq!(entries, of_file.recording.entries);
        assert_eq!(entries.len(), whole.entries.len());
    }

    #[test]
    fn a_snapshot_that_is_cut_gives_what_is_left_or_an_error() {
        let mut recording = fixture::recording();
        let entry = recording.entries[1].clone();
        let more = |n: u64| salvage::Entry {
            wall_ns: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ..entry.clone()
        };
        recording.entries.extend((0..20_000).map(more));
        let bytes = snapshot_of(&recording, &Made::default());
        let cut = open_bytes(bytes[..bytes.len() / 2].to_vec()).unwrap();
        assert!(cut.recording.ledger.missing_items > 0);
        let words = crate::damage::words(&cut.recording.ledger).unwrap();
        assert!(words.contains("the snapshot ends early"), "{words}");
        let error = open_bytes(bytes[..30].to_vec()).unwrap_err();
        assert!(
            error.to_string().contains("begins as a snapshot"),
            "{error}"
        );
    }

    #[test]
    fn what_a_snapshot_names_as_its_recording_must_be_that() {
        let made = |recording: &str| Made {
            recording: recording.into(),
            ..Made::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other.ring");
        fs::write(&other, &fixture::header().encode()[..]).unwrap();
        let other = other.to_str().unwrap();
        assert_eq!(by_its_recording(&made(other), 43), None);
        let verdict = by_its_recording(&made(other), 42).unwrap();
        let last = verdict.evidence.last().unwrap();
        assert_eq!(*last, format!("by its recording, {other}"));
        for none in ["", "other.ring", "/dev/zero", "/nonexistent"] {
            assert_eq!(by_its_recording(&made(none), 42), None, "{none}");
        }
    }

    #[test]
    fn only_digits_are_a_pid() {
        assert_eq!(pid(OsStr::new("4711")), Some("4711"));
        for other in ["", "-1", "4711x", "./4711", "٣"] {
            assert_eq!(pid(OsStr::new(other)), None, "{other}");
        }
    }
}
