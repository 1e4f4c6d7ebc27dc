//! Descriptors that are kept for the day they are needed.
//!
//! A daemon may close every descriptor it knows nothing of, and the number may then
//! be another file's: before one is used, it is looked at.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use ttlog_format::salvage::Source;

/// A file, and what tells whether its descriptor is still that file's.
pub(crate) struct Kept {
    file: File,
    path: PathBuf,
    identity: (u64, u64),
}

/// A descriptor of the file.
pub(crate) enum Opened<'a> {
    /// The one that was kept.
    Kept(BorrowedFd<'a>),
    /// Another, since that one is gone.
    Again(File),
}

impl Kept {
    /// Keeps `file`, which lies at `path`.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub(crate) fn new(file: File, path: &Path) -> io::Result<Kept> {
        Ok(Kept {
            identity: identity(&fstat(&file)?),
            path: path.to_owned(),
            file,
        })
    }

    /// A descriptor of the file: the one that was kept, or one by its path.
    ///
    /// # Errors
    /// It is closed, and what lies at the path is another file or none.
    pub(crate) fn open(&self) -> io::Result<Opened<'_>> {
        if let Some(kept) = self.kept() {
            return Ok(Opened::Kept(kept));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(CWD, &self.path, flags, Mode::empty())?);
        if self.is_ours(&file) {
            return Ok(Opened::Again(file));
        }
        Err(Errno::STALE.into())
    }

    /// The descriptor that was kept, if it is the file's still.
    pub(crate) fn kept(&self) -> Option<BorrowedFd<'_>> {
        self.is_ours(&self.file).then(|| self.file.as_fd())
    }

    fn is_ours(&self, file: impl AsFd) -> bool {
        fstat(file).is_ok_and(|stat| identity(&stat) == self.identity)
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl AsFd for Opened<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Opened::Kept(fd) => *fd,
            Opened::Again(file) => file.as_fd(),
        }
    }
}

/// Read at its places, as a reader does: what is mapped is written to meanwhile.
impl Source for Opened<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Opened::Again(file) => file.read_at(buffer, offset),
            Opened::Kept(fd) => Ok(rustix::io::pread(fd, buffer, offset)?),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(fstat(self.as_fd())?.st_size).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_descriptor_that_became_another_files_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept");
        std::fs::write(&path, "kept").unwrap();
        let kept = Kept::new(File::open(&path).unwrap(), &path).unwrap();
        assert!(matches!(kept.open(), Ok(Opened::Kept(_))));

        let other = File::open("/dev/null").unwrap();
        // SAFETY: `kept` has the descriptor and finds another file behind it, which
        // is what is tested.
        let fd = unsafe { libc::dup2(other.as_raw_fd(), kept.file.as_raw_fd()) };
        assert_eq!(fd, kept.file.as_raw_fd());
        let opened = kept.open().unwrap();
        assert!(matches!(opened, Opened::Again(_)));
        let mut bytes = [0; 8];
        assert_eq!(opened.read_at(&mut bytes, 1).unwrap(), 3);
        assert_eq!(&bytes[..3], b"ept");
        assert_eq!(opened.len().unwrap(), 4);

        std::fs::remove_file(&path).unwrap();
        assert!(kept.open().is_err());
        std::fs::write(&path, "other").unwrap();
        assert!(kept.open().is_err());
    }
}
