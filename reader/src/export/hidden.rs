//! A file, or a directory, that has its name when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Export, NAMES_MAX};
use crate::error::Error;

/// What is not there to be found yet; what is not published is removed.
pub(crate) struct Hidden {
    path: PathBuf,
    directory: PathBuf,
    is_directory: bool,
}

impl Hidden {
    /// A whole and synced export in a directory, for what errors call `path`.
    pub(super) fn holding(
        export: &mut Export<'_>,
        directory: Option<&Path>,
        path: &Path,
    ) -> Result<Hidden, Error> {
        let here = || PathBuf::from(".");
        let directory = directory.filter(|it| !it.as_os_str().is_empty());
        let directory = directory.map_or_else(here, Path::to_owned);
        let refused = |cause| refused(path, cause);
        let (written, hidden) = if export.is_directory() {
            let ((), hidden) = Hidden::make(directory, create_directory).map_err(refused)?;
            (export.write_into(&hidden.path), hidden)
        } else {
            let (file, hidden) = Hidden::create(directory).map_err(refused)?;
            (export.write(&file).and_then(|()| file.sync_all()), hidden)
        };
        written.map_err(|cause| Error::write(path, cause))?;
        Ok(hidden)
    }

    /// A file.
    pub(crate) fn create(directory: PathBuf) -> io::Result<(File, Hidden)> {
        Hidden::make(directory, create_new)
    }

    fn make<T>(
        directory: PathBuf,
        create: impl Fn(&Path) -> io::Result<T>,
    ) -> io::Result<(T, Hidden)> {
        let own = std::process::id();
        for number in 0..NAMES_MAX {
            let path = directory.join(format!(".ttlog-export-{own}-{number}"));
            match create(&path) {
                Ok(made) => {
                    let is_directory = path.is_dir();
                    let hidden = Hidden {
                        path,
                        directory,
                        is_directory,
                    };
                    return Ok((made, hidden));
                }
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Gives it its name, if nobody has it.
    pub(crate) fn publish(&self, name: &Path) -> io::Result<()> {
        if self.is_directory {
            self.move_to(name)?;
            self.sync_directory();
            return Ok(());
        }
        match fs::hard_link(&self.path, name) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Err(cause),
            Err(_) => self.rename(name)?,
            Ok(()) => {}
        }
        self.sync_directory();
        Ok(())
    }

    /// Gives the file its name, whoever has it.
    pub(crate) fn replace(&self, name: &Path) -> io::Result<()> {
        fs::rename(&self.path, name)?;
        self.sync_directory();
        Ok(())
    }

    /// Where there are no links: whoever makes the name has it, and may replace it.
    pub(super) fn rename(&self, name: &Path) -> io::Result<()> {
        create_new(name)?;
        fs::rename(&self.path, name)
    }

    /// Of directories only one without anything in it is ever replaced: here, by whoever
    /// made it.
    fn move_to(&self, name: &Path) -> io::Result<()> {
        create_directory(name)?;
        let moved = fs::rename(&self.path, name);
        if moved.is_err() {
            let _ = fs::remove_dir(name);
        }
        moved
    }

    pub(crate) fn publish_at_first_free(
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
        let _ = match self.is_directory {
            true => fs::remove_dir_all(&self.path),
            false => fs::remove_file(&self.path),
        };
    }
}

pub(crate) fn refused(path: &Path, cause: io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::AlreadyExists => Error::taken(path),
        _ => Error::write(path, cause),
    }
}

/// A new file, which its owner alone may read; a link in its place is not followed.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A new directory, into which its owner alone may look.
fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(false);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
