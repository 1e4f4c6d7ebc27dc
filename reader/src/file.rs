//! Opening what may be anything, and reading it at its places.
//!
//! It is opened for reading and without waiting, and must be a regular file: a
//! planted FIFO cannot make the reader hang, nor a terminal become its controlling one.

use std::fs::{self, File, FileType};
use std::io;
use std::path::Path;

use ttlog_format::salvage::Source;

use crate::error::Error;

/// Opens a file that something untrusted names: what is no regular one is not even
/// touched, since opening a device can be an act.
pub(crate) fn open_named(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    open_without_waiting(path)
}

pub(crate) fn open_regular(path: &Path) -> Result<File, Error> {
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
pub(crate) struct Bytes(pub(crate) File);

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

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        data_from(&self.0, offset)
    }
}

/// Of a file that is mostly a hole, where the next of it is that is none: no recorder leaves
/// one, and a terabyte of zeros takes minutes to read.
#[cfg(target_os = "linux")]
fn data_from(file: &File, offset: u64) -> io::Result<Option<u64>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata()?;
    if metadata.blocks().saturating_mul(512) >= metadata.len() / 2 {
        return Ok(Some(offset));
    }
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that does not know.
        Err(_) => Ok(Some(offset)),
    }
}

#[cfg(not(target_os = "linux"))]
fn data_from(_: &File, offset: u64) -> io::Result<Option<u64>> {
    Ok(Some(offset))
}

#[cfg(unix)]
fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_once(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
