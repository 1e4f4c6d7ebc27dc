//! A file, from nothing to its name.
//!
//! A reader that lists a directory sees whole files only: until it is finished, a
//! file has no name, or one that begins with a dot, and dropped before, it is gone.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, fchmod, linkat, openat, renameat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;

use crate::error::Error;
use crate::linux::place::Directory;

/// How many names are tried, a millisecond apart.
const NAMES_MAX: u64 = 1000;

/// A file that no reader looks for yet: it has no name, or, where there are no
/// unnamed files, one that begins with a dot. Dropped, it is gone.
pub(crate) struct Unfinished<'a> {
    /// The file, open for reading and writing.
    pub(crate) file: File,
    /// Where it will be found.
    pub(crate) directory: &'a Directory,
    name: DotName<'a>,
}

impl<'a> Unfinished<'a> {
    /// A new file in `directory`, with mode 0600 where the file system has modes.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn create(directory: &'a Directory) -> Result<Unfinished<'a>, Error> {
        // An unnamed file gets its name through /proc.
        let nameable = std::fs::exists("/proc/self/fd").unwrap_or(false);
        if nameable && let Ok(file) = opened(&directory.fd, ".", OFlags::TMPFILE) {
            return Ok(Unfinished::of(file, directory, None));
        }
        Unfinished::create_with_dot(directory)
    }

    /// The same, where no file can be without a name.
    pub(crate) fn create_with_dot(directory: &'a Directory) -> Result<Unfinished<'a>, Error> {
        let (pid, now) = (std::process::id(), std::time::SystemTime::now());
        let since = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let first = u64::try_from(since.as_millis()).unwrap_or(0);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        for stamp in first..first.saturating_add(NAMES_MAX) {
            let name = format!(".ttlog-{pid}-{stamp}.tmp");
            match opened(&directory.fd, &name, flags) {
                Ok(file) => return Ok(Unfinished::of(file, directory, Some(name))),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Error::io("create a file in", &directory.path, error)),
            }
        }
        Err(Error::io("create a file in", &directory.path, Errno::EXIST))
    }

    fn of(file: File, directory: &'a Directory, name: Option<String>) -> Unfinished<'a> {
        Unfinished {
            file,
            directory,
            name: DotName { directory, name },
        }
    }

    /// Gives the file its name, which is one that no other file has: its process's id,
    /// a timestamp in milliseconds, the first or the next that is free, and what kind
    /// of file it is.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn named(
        mut self,
        pid: u32,
        first_stamp: u64,
        kind: &str,
    ) -> Result<(File, PathBuf), Error> {
        for stamp in first_stamp..first_stamp.saturating_add(NAMES_MAX) {
            let name = format!("ttlog-{pid}-{stamp}.{kind}");
            let linked = match &self.name.name {
                None => self.link_unnamed(&name),
                Some(dot_name) => self.rename(dot_name, &name),
            };
            match linked {
                Ok(()) => {
                    self.name.keep();
                    return Ok((self.file, self.directory.path.join(name)));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Error::io("name a file in", &self.directory.path, error)),
            }
        }
        Err(Error::io(
            "name a file in",
            &self.directory.path,
            Errno::EXIST,
        ))
    }

    /// Puts the file in the place of another of its directory, which whoever has it
    /// open keeps.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn replaces(mut self, old: &Path) -> Result<(), Error> {
        let name = old.file_name().unwrap_or_default();
        if self.name.name.is_none() {
            let dot_name = format!(".{}.tmp", name.to_string_lossy());
            let linked = self.link_unnamed(&dot_name);
            self.tried("name", linked)?;
            self.name.name = Some(dot_name);
        }
        let fd = &self.directory.fd;
        let dot_name = self.name.name.as_deref().unwrap_or_default();
        self.tried("rename", renameat(fd, dot_name, fd, name))?;
        self.name.keep();
        Ok(())
    }

    fn link_unnamed(&self, name: &str) -> Result<(), Errno> {
        let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, file, &self.directory.fd, name, AtFlags::SYMLINK_FOLLOW)
    }

    fn rename(&self, dot_name: &str, name: &str) -> Result<(), Errno> {
        let fd = &self.directory.fd;
        match renameat_with(fd, dot_name, fd, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                linkat(fd, dot_name, fd, name, AtFlags::empty())?;
                let _ = unlinkat(fd, dot_name, AtFlags::empty());
                Ok(())
            }
            renamed => renamed,
        }
    }

    /// The result of an action on the file, as an error that names it.
    pub(crate) fn tried<T, E: Into<io::Error>>(
        &self,
        action: &'static str,
        result: Result<T, E>,
    ) -> Result<T, Error> {
        result.map_err(|error| {
            let file = self.name.name.as_deref().unwrap_or("(an unnamed file)");
            Error::io(action, self.directory.path.join(file), error)
        })
    }
}

/// The name of an unfinished file, if it has one, that goes unless it is kept.
struct DotName<'a> {
    directory: &'a Directory,
    name: Option<String>,
}

impl DotName<'_> {
    fn keep(&mut self) {
        self.name = None;
    }
}

impl Drop for DotName<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = unlinkat(&self.directory.fd, name.as_str(), AtFlags::empty());
        }
    }
}

fn opened(fd: &OwnedFd, name: &str, flags: OFlags) -> Result<File, Errno> {
    let (flags, private) = (
        flags | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    );
    let file = openat(fd, name, flags, private)?;
    // Whatever the umask has taken away.
    let _ = fchmod(&file, private);
    Ok(file.into())
}
