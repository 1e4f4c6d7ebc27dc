//! The parts of a recording that lie at fixed places: header, totals, causes, incidents.
//!
//! Every read has a fixed size and says how many bytes it found: what the file
//! lacks is zeros to those who decode, and never an error.

use zerocopy::IntoBytes;

use super::{Error, Source};
use crate::cause::{self, CAUSE_WORDS, CAUSES, Cause, Found};
use crate::clock::Sample;
use crate::header::{Fault, HEADER_BYTES, Header, INCIDENTS, MAGIC, TOTALS_OFFSET, newest, totals};
use crate::incident::{self, Incident, PAGE_WORDS};

/// A source in which a header was found.
pub(super) struct File<'a, S: ?Sized> {
    source: &'a S,
    /// The header, or its copy.
    pub(super) header: Header,
    /// How many bytes there are.
    pub(super) len: u64,
}

impl<'a, S: Source + ?Sized> File<'a, S> {
    /// Finds the header, or the copy at the end where the first is damaged.
    pub(super) fn open(source: &'a S) -> Result<Self, Error> {
        let len = source.len().map_err(Error::Read)?;
        let mut first = [0; HEADER_BYTES];
        let found = read(source, &mut first, 0)?;
        let header = match Header::decode(&first[..found]) {
            Ok(header) => header,
            // A flipped bit can look like a newer version: the copy knows better.
            Err(fault) => copy(source, len)?.ok_or_else(|| error(fault, &first[..found]))?,
        };
        Ok(File {
            source,
            header,
            len,
        })
    }

    /// Fills `buffer` from `offset` on, and tells how many bytes there were.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        read(self.source, buffer, offset)
    }

    /// The `N` words at `offset`, zeros for what is missing, and how many bytes there were.
    pub(super) fn words<const N: usize>(&self, offset: u64) -> Result<([u64; N], usize), Error> {
        let mut bytes = [[0u8; 8]; N];
        let found = read(self.source, bytes.as_flattened_mut(), offset)?;
        Ok((bytes.map(u64::from_le_bytes), found))
    }

    /// Fills `words` from `offset` on, with zeros for what is missing, and tells how many
    /// bytes there were.
    pub(super) fn read_words(&self, words: &mut [u64], offset: u64) -> Result<usize, Error> {
        let found = read(self.source, words.as_mut_bytes(), offset)?;
        words.as_mut_bytes()[found..].fill(0);
        for word in words {
            *word = u64::from_le(*word);
        }
        Ok(found)
    }

    /// The totals, `None` for those that are damaged or behind the file's end.
    pub(super) fn totals(&self) -> Result<[Option<u64>; totals::WORDS], Error> {
        let (words, _) = self.words::<{ totals::WORDS }>(TOTALS_OFFSET)?;
        let total = |which| totals::decode(which, words[which], self.header.recording);
        Ok(std::array::from_fn(total))
    }

    /// The newest clock samples.
    pub(super) fn samples(&self) -> Result<Vec<Sample>, Error> {
        let mut samples = Vec::new();
        for place in 0..newest::PLACES {
            let offset = newest::OFFSET + (place * newest::WORDS * 8) as u64;
            let (words, _) = self.words::<{ newest::WORDS }>(offset)?;
            samples.extend(newest::decode(&words, self.header.recording, place));
        }
        Ok(samples)
    }

    /// The causes, in the order of their numbers, and how many places are damaged that
    /// may have held one: behind one that never did there is none.
    pub(super) fn causes(&self) -> Result<(Vec<Cause>, u64), Error> {
        let (mut causes, mut damaged) = (Vec::new(), 0);
        for place in 0..CAUSES {
            match self.cause(place)? {
                Found::None if place < 4 => break,
                Found::None | Found::Begun => {}
                Found::Cause(cause) => causes.push(cause),
                Found::Damaged => damaged += 1,
            }
        }
        causes.sort_by_key(|cause| cause.number);
        Ok((causes, damaged))
    }

    /// What is at a place of causes, read again where it may have been written meanwhile.
    fn cause(&self, place: usize) -> Result<Found, Error> {
        let read = || {
            let (words, _) = self.words::<CAUSE_WORDS>(cause::offset(place))?;
            Ok(cause::find(&words, self.header.recording, place))
        };
        match read()? {
            Found::Damaged => read(),
            found => Ok(found),
        }
    }

    /// The incidents, in the order of their numbers; the spans that they describe are
    /// given to `describe`.
    pub(super) fn incidents(
        &self,
        mut describe: impl FnMut(&[u64]),
    ) -> Result<Vec<Incident>, Error> {
        let mut incidents: Vec<Incident> = Vec::new();
        for place in 0..INCIDENTS as usize {
            let (page, _) = self.words::<PAGE_WORDS>(incident::offset(place))?;
            let found = incident::decode(&page, self.header.recording, &mut describe);
            incidents.extend(found.filter(|found| incident::place(found.number) == place));
        }
        incidents.sort_by_key(|incident| incident.number);
        Ok(incidents)
    }

    /// Bytes that the file lacks.
    pub(super) fn missing_bytes(&self) -> u64 {
        self.header.layout.file_bytes().saturating_sub(self.len)
    }
}

fn read(source: &(impl Source + ?Sized), buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
    let mut found = 0;
    while found < buffer.len() {
        let Some(offset) = offset.checked_add(found as u64) else {
            break;
        };
        match source.read_at(&mut buffer[found..], offset) {
            Ok(0) => break,
            Ok(bytes) => found = found.saturating_add(bytes).min(buffer.len()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
        }
    }
    Ok(found)
}

fn copy(source: &(impl Source + ?Sized), len: u64) -> Result<Option<Header>, Error> {
    let Some(offset) = len.checked_sub(HEADER_BYTES as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; HEADER_BYTES];
    let found = read(source, &mut bytes, offset)?;
    Ok(Header::decode(&bytes[..found]).ok())
}

fn error(fault: Fault, first: &[u8]) -> Error {
    match fault {
        Fault::Version { version, features } => Error::Unsupported { version, features },
        Fault::Short | Fault::Magic if !first.starts_with(&MAGIC) => {
            Error::NotARecording(first[..first.len().min(16)].to_vec())
        }
        Fault::Short | Fault::Magic | Fault::Damaged => Error::NoHeader,
    }
}
