//! A recording's bytes in memory: what a reader would have found at one instant.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;

use ttlog_format::salvage::{self, Recording, Source};

/// The bytes of a recording.
#[derive(Debug, Default)]
pub struct Image(Vec<u8>);

impl Image {
    /// Reads the whole file anew; says whether anything is different now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn refresh(&mut self, file: &File, spare: &mut Image) -> io::Result<bool> {
        spare.0.resize(
            usize::try_from(file.metadata()?.len()).expect("fits memory"),
            0,
        );
        file.read_exact_at(&mut spare.0, 0)?;
        std::mem::swap(self, spare);
        Ok(self.0 != spare.0)
    }

    /// From the first byte to the last in which it differs from another, `None` where it
    /// does not.
    pub fn difference(&self, other: &Image) -> Option<RangeInclusive<usize>> {
        let bytes = self.0.iter().zip(&other.0).enumerate();
        let mut places = bytes.filter(|(_, (one, other))| one != other);
        let first = places.next()?.0;
        Some(first..=places.next_back().map_or(first, |(at, _)| at))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What can be read back.
    ///
    /// # Errors
    /// As salvage.
    pub fn salvage(&self) -> Result<Recording, salvage::Error> {
        salvage::salvage(self)
    }
}

impl Source for Image {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| self.0.get(at..))
            .unwrap_or(&[]);
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
