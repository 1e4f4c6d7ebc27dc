//! From what was typed to a recording: a file, a directory, a pid, or `-` for stdin.
//!
//! A file's name is of no consequence, its content decides: what begins as an LZ4
//! frame is a snapshot, all else is taken for a recording. It is opened for
//! reading and without waiting, and must be a regular file: a planted FIFO cannot
//! make the reader hang, nor a terminal become its controlling one.
//!
//! What does not begin as either, a copy whose header is gone, a disk image, a core dump,
//! is looked through for blocks of recordings. Of several that are found in one file the
//! newest is meant, as in a directory; each has an address of its own, the file's name with
//! the recording's identity behind an `@`, which `list` shows.
//!
//! A file is read piece by piece, several times where need be. What comes by stdin is kept
//! first, where that can be done.

use std::fs;
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder};
use std::time::SystemTime;

use ttlog_format::header::{HEADER_BYTES, Header};
use ttlog_format::salvage::{
    self, Found, Mark, Part, Recording, Rule, ScrubError, Scrubbed, Source, Stream,
};
use ttlog_format::snapshot::{self, Made, Told};
use ttlog_format::verdict::Verdict;

use crate::cgroup;
use crate::error::Error;
use crate::escape::escape;
use crate::file::{Bytes, open_named, open_regular};
use crate::find::find;
use crate::process::{Life, Lock, Now, System};
use crate::progress::{Progress, Watched};
use crate::reading::Reading;
use crate::stdin::{self, Kept};
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
    let progress = Progress::new();
    let located = locate(argument, &progress)?;
    if located.found.is_some() {
        return Opened::of_all(located.reading()?);
    }
    opened(located.path, &located.bytes)
}

/// The recordings that `argument` means where that is a file in which several are found by
/// their blocks: the address of each.
pub(crate) fn each_in(argument: &Path, progress: &Progress) -> Vec<PathBuf> {
    let addresses = look_through(argument, progress).map(|found| match found.as_slice() {
        [] | [_] => vec![argument.to_owned()],
        several => several.iter().map(|it| address(argument, it)).collect(),
    });
    // What went wrong is told when it is read.
    addresses.unwrap_or_else(|_| vec![argument.to_owned()])
}

fn look_through(path: &Path, progress: &Progress) -> Result<Arc<Vec<Found>>, Error> {
    let bytes = Place::File(Bytes(open_regular(path)?));
    found_in(
        path,
        &Watched {
            of: bytes,
            progress,
        },
    )
}

/// What was found in the file that was looked through last: whoever reads several out of
/// one file goes over it once for that.
static LOOKED_THROUGH: Mutex<Option<(Version, Arc<Vec<Found>>)>> = Mutex::new(None);

/// Which file, how long it was, and when it was written last.
type Version = (PathBuf, u64, Option<SystemTime>);

/// The recordings that are found by their blocks in a file without a header, the newest
/// first; none where it has one, or is a snapshot.
fn found_in(path: &Path, bytes: &Watched<'_, Place>) -> Result<Arc<Vec<Found>>, Error> {
    let mut last = LOOKED_THROUGH
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let len = bytes.len().map_err(|cause| Error::read(path, cause))?;
    let modified = fs::metadata(path).and_then(|found| found.modified()).ok();
    let version = (path.to_owned(), len, modified);
    if let Some((of, found)) = &*last
        && *of == version
    {
        return Ok(Arc::clone(found));
    }
    if is_snapshot(path, bytes)? {
        return Ok(Arc::default());
    }
    bytes.progress.begin(path, len, (1, 1));
    let found = Found::unless_headed(bytes).map_err(|cause| Error::salvage(path, cause))?;
    let Some(found) = found.map(Arc::new) else {
        return Ok(Arc::default());
    };
    *last = Some((version, Arc::clone(&found)));
    Ok(found)
}

/// How one of several recordings in a file is named.
fn address(path: &Path, found: &Found) -> PathBuf {
    let mut address = path.as_os_str().to_owned();
    address.push(format!("@{:016x}", found.header.recording));
    address.into()
}

/// A file and which of the recordings in it is meant, where a path is such an address.
fn of_address(path: &Path) -> Option<(PathBuf, u64)> {
    if fs::symlink_metadata(path).is_ok() {
        return None;
    }
    let (file, id) = path.to_str()?.rsplit_once('@')?;
    let is_id = id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u64::from_str_radix(id, 16).ok().filter(|_| is_id)?;
    Some((file.into(), id))
}

impl Opened {
    /// All of what is being read, with its entries.
    fn of_all(mut reading: Reading<'_>) -> Result<Opened, Error> {
        let mut entries = Vec::new();
        while reading.tell()? {
            entries.push(reading.entries.told().clone());
        }
        let mut opened = reading.ended();
        opened.recording.entries = entries;
        Ok(opened)
    }
}

/// Which of a command's inputs is read: how far that is, the how-manieth it is, and how
/// often a command goes over it.
pub(crate) struct Which<'p> {
    pub(crate) progress: &'p Progress,
    pub(crate) at: (usize, usize),
    pub(crate) passes: u64,
}

/// Finds the recording that `argument` means, as [`open`] does, and has it read by
/// `with`, entry by entry.
///
/// # Errors
/// There is none, it cannot be read, or it is not a recording; and those of `with`.
pub(crate) fn read<T>(
    argument: &Path,
    which: &Which<'_>,
    with: impl FnOnce(Reading<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let located = locate(argument, which.progress)?;
    let bytes = located.bytes().saturating_mul(which.passes);
    which.progress.begin(&located.path, bytes, which.at);
    with(located.reading()?)
}

/// What somebody typed, found and open to be read, as often as need be.
pub(crate) struct Located<'p> {
    pub(crate) path: PathBuf,
    bytes: Watched<'p, Place>,
    /// Which of what was found by its blocks, if it was.
    found: Option<Found>,
    /// What is to be said of that.
    pub(crate) note: Option<String>,
}

/// Finds what `argument` means, as [`open`] does.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) fn locate<'p>(argument: &Path, progress: &'p Progress) -> Result<Located<'p>, Error> {
    let (path, of, id) = named(argument)?;
    let bytes = Watched { of, progress };
    let all = found_in(&path, &bytes)?;
    let found = match id {
        None => all.first(),
        Some(id) => all.iter().find(|it| it.header.recording == id),
    };
    if id.is_some() && found.is_none() {
        return Err(Error::not_in(argument, &path));
    }
    let note = found.map(|found| note(&path, found, all.len()));
    Ok(Located {
        path: match found {
            Some(found) if all.len() > 1 => address(&path, found),
            _ => path,
        },
        bytes,
        found: found.cloned(),
        note,
    })
}

/// `disk.img: found by its blocks, from byte 1081344 on; its header is gone`
fn note(path: &Path, found: &Found, many: usize) -> String {
    let path = escape(path.as_os_str().as_encoded_bytes());
    let header = match found.header_at {
        Some(_) => "",
        None => "; its header is gone",
    };
    let others = match many {
        1 => String::new(),
        2 => format!("; another one is there, too: ttlog-reader list {path}"),
        _ => format!(
            "; {} others are there, too: ttlog-reader list {path}",
            many - 1
        ),
    };
    format!(
        "{path}: found by its blocks, from byte {} on{header}{others}",
        found.at
    )
}

impl Located<'_> {
    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len().unwrap_or(0)
    }

    /// Begins to read it.
    ///
    /// # Errors
    /// It cannot be read, or it is not a recording.
    pub(crate) fn reading(&self) -> Result<Reading<'_>, Error> {
        let mut reading = match &self.found {
            Some(found) => reading_of_found(self.path.clone(), &self.bytes, found),
            None => reading(self.path.clone(), &self.bytes),
        }?;
        reading.note.clone_from(&self.note);
        Ok(reading)
    }

    /// The same, of what is behind `mark`: what is later than that knows of is told the
    /// next time, as long as the process lives.
    ///
    /// # Errors
    /// As of [`Located::reading`].
    pub(crate) fn reading_after(&self, mark: Mark) -> Result<Reading<'_>, Error> {
        match is_snapshot(&self.path, &self.bytes)? {
            _ if self.found.is_some() => self.reading(),
            true => reading_of_snapshot(self.path.clone(), &self.bytes),
            false => reading_on(self.path.clone(), &self.bytes, Some(mark)),
        }
    }
}

impl Located<'_> {
    /// Writes a copy without what `rule` says.
    ///
    /// # Errors
    /// It cannot be read, it is not a recording, or what `out` says.
    pub(crate) fn scrub(&self, rule: &Rule<'_>, out: &mut dyn Write) -> Result<Scrubbed, Error> {
        if !is_snapshot(&self.path, &self.bytes)? {
            let scrubbed = salvage::scrub(&self.bytes, rule, out);
            return scrubbed.map_err(|error| match error {
                ScrubError::Salvage(cause) => Error::salvage(&self.path, cause),
                ScrubError::Write(cause) => Error::output(cause),
            });
        }
        let mut reading = reading_of_snapshot(self.path.clone(), &self.bytes)?;
        let made = reading.made.clone().unwrap_or_default();
        let part = snapshot::Part::of(&mut *reading.entries, None);
        let part = part.map_err(|cause| Error::read(&self.path, cause))?;
        let scrubbed = part.scrub(&mut *reading.entries, &made, rule, out);
        scrubbed.map_err(Error::output)
    }
}

/// Where the bytes are that are to be read.
enum Place {
    File(Bytes),
    /// All that came by stdin, where it was little.
    Memory(Vec<u8>),
    /// The same, where it was more: a file that is no recording's own.
    Kept(Bytes),
}

/// The file that somebody has named, and which of the recordings in it, if that was named.
fn named(argument: &Path) -> Result<(PathBuf, Place, Option<u64>), Error> {
    if argument.as_os_str() == "-" {
        return Ok((argument.to_owned(), from_stdin()?, None));
    }
    let (path, id) = match of_address(argument) {
        Some((path, id)) => (path, Some(id)),
        None => (find(argument.as_os_str())?, None),
    };
    let file = Bytes(open_regular(&path)?);
    Ok((path, Place::File(file), id))
}

/// What can be read one byte after the other, and again.
trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// Bytes that were found.
trait Input: Source + Sync {
    /// All of them, from the first.
    fn reader(&self) -> io::Result<Box<dyn ReadSeek + '_>>;

    /// The lock of the recording with this header, if they are its own.
    fn lock(&self, header: &Header) -> Lock;
}

fn opened(path: PathBuf, source: &impl Input) -> Result<Opened, Error> {
    match is_snapshot(&path, source)? {
        true => of_snapshot(path, source),
        false => of_recording(path, source),
    }
}

fn reading<'s>(path: PathBuf, source: &'s impl Input) -> Result<Reading<'s>, Error> {
    match is_snapshot(&path, source)? {
        true => reading_of_snapshot(path, source),
        false => reading_of_recording(path, source),
    }
}

fn is_snapshot(path: &Path, source: &impl Input) -> Result<bool, Error> {
    let mut magic = [0; snapshot::MAGIC.len()];
    match source.read_at(&mut magic, 0) {
        Err(cause) => Err(Error::read(path, cause)),
        Ok(_) => Ok(magic == snapshot::MAGIC),
    }
}

/// Whoever judges recordings.
struct Judge<'s, I> {
    source: &'s I,
    system: System,
    early: Option<Life>,
}

impl<'s, I: Input> Judge<'s, I> {
    /// Looks at the process before its recording is read: who is seen dead then has
    /// written all of it.
    fn new(source: &'s I) -> Judge<'s, I> {
        Judge::of(source, header(source))
    }

    /// The same, of one whose header was found.
    fn of(source: &'s I, header: Option<Header>) -> Judge<'s, I> {
        let system = System::here();
        let look = |header: Header| system.life_of(&header, || source.lock(&header));
        Judge {
            early: header.map(look),
            source,
            system,
        }
    }

    /// Whether its process lived when it was looked at.
    fn lives(&self) -> bool {
        let header = header(self.source);
        let seen = header.zip(self.early.clone());
        seen.is_some_and(|(header, life)| {
            verdict::is_alive(&header, &now(&header, life, &self.system))
        })
    }

    fn judge(&self, recording: &Recording) -> Verdict {
        let header = &recording.header;
        let look = || match recording.ledger.lacks_header {
            true => Life::Unknown("its header is gone: whose it was cannot be told".into()),
            false => self.system.life_of(header, || self.source.lock(header)),
        };
        let life = self.early.clone().unwrap_or_else(look);
        verdict::judge(recording, &now(header, life, &self.system))
    }
}

fn of_recording(path: PathBuf, source: &impl Input) -> Result<Opened, Error> {
    let judge = Judge::new(source);
    let recording = salvage::salvage(source).map_err(|cause| Error::salvage(&path, cause))?;
    let verdict = judge.judge(&recording);
    Ok(Opened {
        path,
        recording,
        verdict,
        made: None,
    })
}

fn reading_of_recording<'s>(path: PathBuf, source: &'s impl Input) -> Result<Reading<'s>, Error> {
    reading_on(path, source, None)
}

/// A recording, as far as there is more of it than `mark` knows of.
fn reading_on<'s>(
    path: PathBuf,
    source: &'s impl Input,
    mark: Option<Mark>,
) -> Result<Reading<'s>, Error> {
    let judge = Judge::new(source);
    let rest = mark.is_none() || !judge.lives();
    let stream = Stream::open_after(source, look_beside, mark.unwrap_or_default(), rest);
    let stream = stream.map_err(|cause| Error::salvage(&path, cause))?;
    Ok(Reading {
        path,
        made: None,
        note: None,
        entries: Box::new(stream),
        judge: Box::new(move |recording| judge.judge(recording)),
    })
}

/// A recording that was found by its blocks.
fn reading_of_found<'s>(
    path: PathBuf,
    source: &'s impl Input,
    found: &'s Found,
) -> Result<Reading<'s>, Error> {
    let header = found.header_at.map(|_| found.header.clone());
    let judge = Judge::of(source, header);
    let stream = Stream::open_found(source, found, look_beside);
    let stream = stream.map_err(|cause| Error::salvage(&path, cause))?;
    Ok(Reading {
        path,
        made: None,
        note: None,
        entries: Box::new(stream),
        judge: Box::new(move |recording| judge.judge(recording)),
    })
}

/// Looks at the parts of a recording on two threads, if there is a second: each takes the
/// next part that nobody has.
fn look_beside<S: Source + Sync + ?Sized>(parts: &mut [Part<'_, '_, S>]) {
    let several = parts.len() > 1;
    let left = Mutex::new(parts.iter_mut());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let look = || {
        while let Some(part) = next() {
            part.look();
        }
    };
    thread::scope(|scope| {
        // Where no thread can be made, this one looks at all of them.
        let _beside = several.then(|| Builder::new().spawn_scoped(scope, look));
        look();
    });
}

fn of_snapshot(path: PathBuf, source: &impl Input) -> Result<Opened, Error> {
    let len = source.len().map_err(|cause| Error::read(&path, cause))?;
    let bytes = source.reader().map_err(|cause| Error::read(&path, cause))?;
    let read = snapshot::read(bytes, len);
    let (recording, made) = read.map_err(|cause| Error::snapshot(&path, cause))?;
    let verdict = judge_snapshot(&recording, &made);
    Ok(Opened {
        path,
        recording,
        verdict,
        made: Some(made),
    })
}

fn reading_of_snapshot<'s>(path: PathBuf, source: &'s impl Input) -> Result<Reading<'s>, Error> {
    let len = source.len().map_err(|cause| Error::read(&path, cause))?;
    let bytes = source.reader().map_err(|cause| Error::read(&path, cause))?;
    let told = Told::open(bytes, len).map_err(|cause| Error::snapshot(&path, cause))?;
    let made = told.made().clone();
    Ok(Reading {
        path,
        made: Some(made.clone()),
        note: None,
        entries: Box::new(told),
        judge: Box::new(move |recording| judge_snapshot(recording, &made)),
    })
}

fn judge_snapshot(recording: &Recording, made: &Made) -> Verdict {
    verdict::carried(made)
        .or_else(|| by_its_recording(made, recording.header.recording))
        .unwrap_or_else(|| left_open(recording, made))
}

/// The verdict on the recording that a snapshot was made of, if that is at hand.
fn by_its_recording(made: &Made, identity: u64) -> Option<Verdict> {
    let path = PathBuf::from(&made.recording);
    if !path.is_absolute() {
        return None;
    }
    let file = Bytes(open_named(&path).ok()?);
    let reading = reading_of_recording(path, &file).ok()?;
    let opened = reading.tables().ok();
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

/// All of stdin.
fn from_stdin() -> Result<Place, Error> {
    let kept = stdin::keep().map_err(|cause| Error::read(Path::new("-"), cause))?;
    match kept {
        Kept::Memory(bytes) if bytes.is_empty() => Err(Error::empty(Path::new("-"))),
        Kept::Memory(bytes) => Ok(Place::Memory(bytes)),
        Kept::File(file) => Ok(Place::Kept(Bytes(file))),
    }
}

/// The header at the beginning, if it is whole.
fn header(source: &impl Source) -> Option<Header> {
    let mut page = vec![0; HEADER_BYTES];
    let len = source.read_at(&mut page, 0).ok()?;
    Header::decode(&page[..len]).ok()
}

impl<T: Input> Input for Watched<'_, T> {
    fn reader(&self) -> io::Result<Box<dyn ReadSeek + '_>> {
        Ok(Box::new(Watched {
            of: self.of.reader()?,
            progress: self.progress,
        }))
    }

    fn lock(&self, header: &Header) -> Lock {
        self.of.lock(header)
    }
}

impl Source for Place {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Place::File(file) | Place::Kept(file) => file.read_at(buffer, offset),
            Place::Memory(bytes) => bytes.read_at(buffer, offset),
        }
    }

    fn len(&self) -> io::Result<u64> {
        match self {
            Place::File(file) | Place::Kept(file) => file.len(),
            Place::Memory(bytes) => Source::len(bytes),
        }
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        match self {
            Place::File(file) | Place::Kept(file) => file.data_from(offset),
            Place::Memory(bytes) => bytes.data_from(offset),
        }
    }
}

impl Input for Place {
    fn reader(&self) -> io::Result<Box<dyn ReadSeek + '_>> {
        match self {
            Place::File(file) | Place::Kept(file) => file.reader(),
            Place::Memory(bytes) => bytes.reader(),
        }
    }

    fn lock(&self, header: &Header) -> Lock {
        match self {
            Place::File(file) => file.lock(header),
            Place::Memory(bytes) => bytes.lock(header),
            Place::Kept(_) => Lock::Unknown,
        }
    }
}

impl Input for Bytes {
    fn reader(&self) -> io::Result<Box<dyn ReadSeek + '_>> {
        let mut file = &self.0;
        file.rewind()?;
        Ok(Box::new(file))
    }

    fn lock(&self, header: &Header) -> Lock {
        Lock::of(&self.0, header)
    }
}

impl Input for Vec<u8> {
    fn reader(&self) -> io::Result<Box<dyn ReadSeek + '_>> {
        Ok(Box::new(Cursor::new(self.as_slice())))
    }

    fn lock(&self, _: &Header) -> Lock {
        Lock::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

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
}
