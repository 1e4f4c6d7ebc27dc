//! Where recordings and the peers' files go while they are measured.

use std::io;
use std::path::Path;

use tempfile::TempDir;

/// A directory in memory where there is one. It goes when this is dropped.
pub(crate) fn in_memory() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
}
