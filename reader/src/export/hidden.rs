//! A file that has its name when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Export, NAMES_MAX};
use crate::error::Error;

/// A file that is not there to be found yet; what is not published is removed.
pub(super) struct Hidden {
    path: PathBuf,
    directory: PathBuf,
}

impl Hidden {
    /// A whole and synced snapshot in a directory, for what errors call `path`.
    pub(super) fn holding(
        export: &mut Export<'_>,
        directory: Option<&Path>,
        path: &Path,
    ) -> Result<Hidden, Error> {
        let here = || PathBuf::from(".");
        let directory = directory.filter(|it| !it.as_os_str().is_empty());
        let directory = directory.map_or_else(here, Path::to_owned);
        let (file, hidden) = Hidden::create(directory).map_err(|cause| refused(path, cause))?;
        export
            .write(&file)
            .and_then(|()| file.sync_all())
            .map_err(|cause| Error::write(path, cause))?;
        Ok(hidden)
    }

    pub(super) fn create(directory: PathBuf) -> io::Result<(File, Hidden)> {
        let own = std::process::id();
        for number in 0..NAMES_MAX {
            let path = directory.join(format!(".ttlog-export-{own}-{number}"));
            match create_new(&path) {
                Ok(file) => return Ok((file, Hidden { path, directory })),
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Gives the file its name, if nobody has it.
    pub(super) fn publish(&self, name: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, name) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Err(cause),
            Err(_) => self.rename(name)?,
            Ok(()) => {}
        }
        self.sync_directory();
        Ok(())
    }

    /// Gives the file its name, whoever has it.
    pub(super) fn replace(&self, name: &Path) -> io::Result<()> {
        fs::rename(&self.path, name)?;
        self.sync_directory();
        Ok(())
    }

    /// Where there are no links: whoever makes the name has it, and may replace it.
    pub(super) fn rename(&self, name: &Path) -> io::Result<()> {
        create_new(name)?;
        fs::rename(&self.path, name)
    }

    pub(super) fn publish_at_first_free(
        &self,
        names: impl Iterator<Item = PathBuf>,
    ) -> Result<PathBuf, Error> {
        let mut last = PathBuf::new();
        for name in names {
            match self.publish(&name) {
                Ok(()) => return Ok(name),
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => last = name,
                Err(cause) => return Err(Error::write(&name, cause)),
            }
        }
        Err(Error::taken(&last))
    }

    /// Not every system can sync a directory, and the file is there all the same.
    fn sync_directory(&self) {
        let _ = File::open(&self.directory).and_then(|directory| directory.sync_all());
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

pub(super) fn refused(path: &Path, cause: io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::AlreadyExists => Error::taken(path),
        _ => Error::write(path, cause),
    }
}

/// A new file, which its owner alone may read; a link in its place is not followed.
fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
