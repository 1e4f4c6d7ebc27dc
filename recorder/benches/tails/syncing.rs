//! A process that syncs a disk all the time: a file of its own, then all that is on it.

use std::error::Error;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::NamedTempFile;

/// What the neighbour is, for as long as it is not killed. It says a byte a sync.
pub(crate) fn for_ever(directory: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = NamedTempFile::new_in(directory)?.into_file();
    let bytes = vec![7; 1 << 20];
    loop {
        file.rewind()?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        rustix::fs::syncfs(&file)?;
        io::stdout().write_all(b".")?;
        io::stdout().flush()?;
    }
}

pub(crate) struct Neighbour {
    child: Child,
    said: NamedTempFile,
}

impl Neighbour {
    pub(crate) fn start(disk: &Path) -> Result<Neighbour, Box<dyn Error>> {
        let said = NamedTempFile::new_in(disk)?;
        let mut child = Command::new(std::env::current_exe()?);
        child.env(super::ROLE, "sync").env(super::DIRECTORY, disk);
        let child = child.stdout(Stdio::from(said.reopen()?)).spawn()?;
        Ok(Neighbour { child, said })
    }

    /// Ends it; how often it has synced.
    pub(crate) fn stop(mut self) -> Result<u64, Box<dyn Error>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.said.as_file().metadata()?.len())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether what is written there stays in memory.
pub(crate) fn is_memory(directory: &Path) -> io::Result<bool> {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    let kind = rustix::fs::fstatfs(File::open(directory)?)?.f_type;
    Ok(kind == TMPFS)
}
