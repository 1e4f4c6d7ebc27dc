//! A disk whose power can be cut: ext4 on a loop device, and what its image holds.
//!
//! The image is the disk: what it holds is what the disk has received, however much
//! more of a file the kernel has in memory. So a power cut is read from it, while
//! everything goes on. Where a file lies on it does not change once all of the file
//! has been written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::libc;
use tempfile::TempDir;

use crate::victim::scratch;

const MIB: u64 = 1 << 20;

/// A mounted disk; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    // In the order in which they go.
    mounted: Mounted,
    _pool: Option<Mounted>,
    image: PathBuf,
    _home: TempDir,
}

/// A stretch of a file, and where on the disk it lies; in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the file.
    pub offset: u64,
    /// Where it begins on the disk.
    pub on_disk: u64,
    /// How long it is.
    pub len: u64,
}

/// What a disk is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All that it can hold is there.
    Thick,
    /// It is allocated when it is first written, from a pool with less room than the
    /// disk says it has.
    Thin,
}

impl Disk {
    /// A disk of so many MiB, the pool that it is of being half as large again if it is
    /// thick and half as large if it is thin.
    ///
    /// # Errors
    /// Why there can be none on this machine.
    pub fn new(mib: u64, kind: Kind) -> Result<Disk, String> {
        let home = scratch();
        let pool = home.path().join("pool");
        let room = if kind == Kind::Thin {
            mib / 2
        } else {
            mib * 3 / 2
        };
        let size = format!("size={room}m");
        let pool = Mounted::new(&["-t", "tmpfs", "-o", &size, "pool"], pool)?;
        let image = pool.path.join("image");
        let file = File::create_new(&image).map_err(|error| error.to_string())?;
        file.set_len(mib * MIB).map_err(|error| error.to_string())?;
        if kind == Kind::Thick {
            allocate(&file, 0, 0, mib * MIB).map_err(|error| error.to_string())?;
        }
        let of = image.to_string_lossy();
        run(
            "mkfs.ext4",
            &["-q", "-F", "-b", "4096", "-E", "nodiscard", &of],
        )?;
        let mounted = Mounted::new(&["-t", "ext4", "-o", "loop", &of], home.path().join("disk"))?;
        Ok(Disk {
            mounted,
            _pool: Some(pool),
            image,
            _home: home,
        })
    }

    /// A disk with the bytes that this one has received, after its power came back.
    ///
    /// # Errors
    /// What cannot be done.
    pub fn after_a_power_cut(&self) -> Result<Disk, String> {
        let home = scratch();
        let image = home.path().join("image");
        settled_copy(&self.image, &image).map_err(|error| error.to_string())?;
        let of = image.to_string_lossy();
        let mounted = Mounted::new(&["-t", "ext4", "-o", "loop", &of], home.path().join("disk"))?;
        Ok(Disk {
            mounted,
            _pool: None,
            image,
            _home: home,
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted.path
    }

    /// Where the file at `path` lies on the disk.
    ///
    /// # Errors
    /// A part of it lies nowhere, or has never been written.
    pub fn extents(&self, path: &Path) -> Result<Vec<Extent>, String> {
        let text = run("filefrag", &["-v", "-b4096", &path.to_string_lossy()])?;
        let lines = text.lines().filter(|line| {
            let number = line.trim_start().split_once(':');
            number.is_some_and(|(number, _)| number.parse::<u64>().is_ok())
        });
        let extents: Vec<Extent> = lines.map(extent).collect::<Option<_>>().unwrap_or_default();
        let bytes = path.metadata().map_err(|error| error.to_string())?.len();
        let mut end = 0;
        let all = extents.iter().all(|extent| {
            let follows = extent.offset == end;
            end += extent.len;
            follows
        });
        if all && end >= bytes {
            Ok(extents)
        } else {
            Err(format!("not all of {bytes} bytes is on the disk: {text}"))
        }
    }

    /// The disk as it is under whatever is mounted.
    ///
    /// # Errors
    /// What the file system says.
    pub fn image(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.image)
    }

    /// Takes back from the disk what it is of at these extents, and leaves nothing for
    /// whoever needs more; until the result is dropped.
    ///
    /// # Errors
    /// What the file system says.
    pub fn loses(&self, extents: &[Extent]) -> io::Result<Full> {
        let image = self.image()?;
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        for extent in extents {
            allocate(&image, punch, extent.on_disk, extent.len)?;
        }
        let full = Full(self.image.with_file_name("full"));
        let mut file = File::create_new(&full.0)?;
        loop {
            match file.write(&[1; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(full),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What fills the pool of a disk, which has room again when this is dropped.
#[derive(Debug)]
pub struct Full(PathBuf);

impl Drop for Full {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The bytes of a file that lies at `extents` of the image.
///
/// # Errors
/// What the file system says.
pub fn received(image: &File, extents: &[Extent], bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.resize(extents.iter().map(|extent| extent.len as usize).sum(), 0);
    for extent in extents {
        let end = (extent.offset + extent.len) as usize;
        image.read_exact_at(&mut bytes[extent.offset as usize..end], extent.on_disk)?;
    }
    Ok(())
}

/// An extent in the words of filefrag(8), unless it was never written.
fn extent(line: &str) -> Option<Extent> {
    const BLOCK: u64 = 4096;
    if ["unwritten", "delalloc", "unknown"]
        .iter()
        .any(|flag| line.contains(flag))
    {
        return None;
    }
    let mut columns = line.split(':').skip(1);
    let mut first = || {
        let column = columns.next()?;
        column.split("..").next()?.trim().parse::<u64>().ok()
    };
    Some(Extent {
        offset: first()? * BLOCK,
        on_disk: first()? * BLOCK,
        len: first()? * BLOCK,
    })
}

/// Copies the image when nothing is written to it: two copies, one after the other, are
/// the same.
fn settled_copy(image: &Path, copy: &Path) -> io::Result<()> {
    let mut before = std::fs::read(image)?;
    loop {
        std::thread::sleep(Duration::from_millis(10));
        let now = std::fs::read(image)?;
        if now == before {
            return std::fs::write(copy, now);
        }
        before = now;
    }
}

fn allocate(file: &File, mode: i32, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (offset as libc::off_t, len as libc::off_t);
    // SAFETY: it changes a file, and no memory.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Something mounted; unmounted when dropped.
#[derive(Debug)]
struct Mounted {
    path: PathBuf,
}

impl Mounted {
    fn new(what: &[&str], path: PathBuf) -> Result<Mounted, String> {
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        let at = path.to_string_lossy();
        run("mount", &[what, &[&at]].concat())?;
        Ok(Mounted { path })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.path.to_string_lossy();
        // Who was killed may be about to go.
        for _ in 0..100 {
            if run("umount", &[&path]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = run("umount", &["--lazy", &path]);
    }
}

/// What a command prints.
fn run(command: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(command).args(arguments).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command} {arguments:?}: {}", said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_is_read_as_filefrag_says_it() {
        let line = "   1:      256..     511:       2065..      2320:    256:       2500: last,eof";
        let expected = Extent {
            offset: 256 * 4096,
            on_disk: 2065 * 4096,
            len: 256 * 4096,
        };
        assert_eq!(extent(line), Some(expected));
        assert_eq!(extent(&line.replace("eof", "unwritten,eof")), None);
    }
}
