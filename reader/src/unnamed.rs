//! Files without a name, for what is too much for the memory: they are gone as soon as
//! nobody has them open, however that ends.

use std::fs::File;
use std::io;

/// A file in the temporary directory that has no name, or has lost it.
///
/// # Errors
/// None can be made there.
#[cfg(target_os = "linux")]
pub(crate) fn file() -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    use std::fs::{OpenOptions, remove_file};
    use std::os::unix::fs::OpenOptionsExt;

    let directory = std::env::temp_dir();
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    if let Ok(file) = open(&directory, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(file.into());
    }
    // A file system that has none: whatever is planted under the name is an error.
    let path = directory.join(format!(".ttlog-reader-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&path)?;
    remove_file(&path)?;
    Ok(file)
}

/// None, where that cannot be had.
#[cfg(not(target_os = "linux"))]
pub(crate) fn file() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
