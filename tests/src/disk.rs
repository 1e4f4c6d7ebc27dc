//! File systems of a test's own: small ones, that are filled, frozen and shut down.
//!
//! Whatever becomes of the test, they go: a process that outlives it thaws and
//! unmounts them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use crate::victim::{files, scratch};

/// What a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Memory, of 32 MiB.
    Tmpfs,
    /// An image, where nothing can be allocated but by writing.
    Ext2,
    /// An image.
    Ext4,
    /// An image.
    Xfs,
    /// An image, where what is written anew goes elsewhere.
    Btrfs,
    /// A layer, as containers have it, over a tmpfs.
    OverlayOnTmpfs,
    /// The same over an image.
    OverlayOnExt4,
    /// An image of 32 MiB in 12 MiB of memory.
    Thin,
    /// An image that a process serves.
    Fuse,
}

/// A file system, mounted for as long as this lives.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    // In the order in which they must go.
    _keeper: Keeper,
    below: Option<Box<Disk>>,
    _home: TempDir,
}

impl Disk {
    /// A new file system; or none, and it is said why.
    pub fn new(kind: Kind) -> Option<Disk> {
        Disk::of(kind)
            .inspect_err(|reason| eprintln!("SKIPPED: no {kind:?} can be had: {reason}"))
            .ok()
    }

    /// A new file system.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn of(kind: Kind) -> Result<Disk, String> {
        match kind {
            Kind::Tmpfs => Disk::tmpfs(32 << 10),
            Kind::Ext2 => Disk::image("ext2 -m 0", 32, None),
            Kind::Ext4 => Disk::image("ext4 -m 0 -e remount-ro", 32, None),
            Kind::Xfs => Disk::image("xfs", 300, None),
            Kind::Btrfs => Disk::image("btrfs", 128, None),
            Kind::OverlayOnTmpfs => Disk::overlay(Disk::of(Kind::Tmpfs)?),
            Kind::OverlayOnExt4 => Disk::overlay(Disk::of(Kind::Ext4)?),
            Kind::Thin => Disk::image("ext4 -m 0", 32, Some(Disk::tmpfs(12 << 10)?)),
            Kind::Fuse => Disk::mounted(
                "truncate -s 16M image && mkfs.ext2 -q image && fuse2fs -o fakeroot image disk",
                None,
            ),
        }
    }

    /// A tmpfs of so many KiB.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn tmpfs(kib: u32) -> Result<Disk, String> {
        Disk::mounted(&format!("mount -t tmpfs -o size={kib}k tmpfs disk"), None)
    }

    fn image(mkfs: &str, mib: u32, below: Option<Disk>) -> Result<Disk, String> {
        let place = below.as_ref().map_or(Path::new(""), Disk::path);
        let image = place.join("image").display().to_string();
        let make = format!("truncate -s {mib}M {image} && mkfs.{mkfs} -q {image}");
        Disk::mounted(&format!("{make} && mount -o loop {image} disk"), below)
    }

    fn overlay(below: Disk) -> Result<Disk, String> {
        let [lower, upper, work] =
            ["lower", "upper", "work"].map(|name| below.path.join(name).display().to_string());
        let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let mount = format!("mount -t overlay -o {layers} overlay disk");
        Disk::mounted(
            &format!("mkdir {lower} {upper} {work} && {mount}"),
            Some(below),
        )
    }

    /// What `script` mounts on `disk`, in a new directory.
    fn mounted(script: &str, below: Option<Disk>) -> Result<Disk, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("only root can mount".to_owned());
        }
        let home = scratch();
        // Passable for whoever else is to come this way.
        let passable = PermissionsExt::from_mode(0o755);
        fs::set_permissions(home.path(), passable).map_err(|error| error.to_string())?;
        let path = home.path().join("disk");
        fs::create_dir(&path).map_err(|error| error.to_string())?;
        let keeper = Keeper::start(home.path(), script)?;
        let disk = Disk {
            path,
            _keeper: keeper,
            below: below.map(Box::new),
            _home: home,
        };
        fs::create_dir(disk.recordings()).map_err(|error| error.to_string())?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory on it, with nothing in it.
    pub fn recordings(&self) -> PathBuf {
        self.path.join("recordings")
    }

    /// The file system that this one lies on, if that is one of a test's own.
    pub fn below(&self) -> Option<&Disk> {
        self.below.as_deref()
    }

    /// How many bytes are free.
    pub fn free(&self) -> u64 {
        let stat = statvfs(&self.path).expect("statvfs(3)");
        stat.blocks_available() * stat.fragment_size()
    }

    /// Takes all but so many bytes, or with 0 whatever can be had, until what is
    /// returned is dropped.
    pub fn fill(&self, leave_bytes: u64) -> Filler {
        let number = files(&self.path).len();
        let path = self.path.join(format!("filler-{number}"));
        let mut file = File::create(&path).expect("a file");
        let filler = Filler(path);
        let wanted = || {
            // Some file systems count what is written alone.
            self.sync();
            self.free().saturating_sub(leave_bytes)
        };
        let (mut len, mut step) = (0, wanted());
        while step >= PAGE {
            if !takes(&mut file, len, step) {
                step /= 2;
                continue;
            }
            len += step;
            // A full disk may say that there is room, and the other way round.
            if leave_bytes > 0 {
                step = step.min(wanted());
            }
        }
        self.sync();
        filler
    }

    /// Holds up whoever writes to it, until what is returned is dropped.
    pub fn freeze(&self) -> Frozen<'_> {
        let frozen = Frozen(&self.path);
        assert!(frozen.does("--freeze"), "{} freezes", self.path.display());
        frozen
    }

    /// Ends all that it does, as if its device were gone.
    pub fn shut_down(&self) {
        let root = File::open(&self.path).expect("a directory");
        let mut without_the_log = 2;
        // SAFETY: it takes a word of 32 bits, and reads it.
        let done = unsafe { shut_down(root.as_raw_fd(), &raw mut without_the_log) };
        done.expect("XFS_IOC_GOINGDOWN, EXT4_IOC_SHUTDOWN");
    }

    /// Has it find an error in itself, upon which it is read-only; where that is an ext4
    /// of its own device.
    pub fn finds_an_error(&self) {
        let path = self.path.display();
        let device = format!("$(basename $(findmnt -n -o SOURCE {path}))");
        let script = format!("echo an error > /sys/fs/ext4/{device}/trigger_fs_error");
        let done = Command::new("bash").args(["-c", &script]).status();
        assert!(done.expect("bash").success(), "{path} is an ext4");
    }

    /// Writes what is dirty: whoever stores to a page next has to ask for it anew.
    /// Whether it could be written.
    pub fn sync(&self) -> bool {
        let root = File::open(&self.path).expect("a directory");
        nix::unistd::syncfs(&root).is_ok()
    }
}

nix::ioctl_read!(
    /// XFS_IOC_GOINGDOWN, which ext4 has as EXT4_IOC_SHUTDOWN.
    shut_down, b'X', 125, u32
);

const PAGE: u64 = 4096;

/// Whether a file got so many bytes more.
fn takes(file: &mut File, offset: u64, bytes: u64) -> bool {
    let flags = FallocateFlags::empty();
    match fallocate(&*file, flags, offset as i64, bytes as i64) {
        Err(Errno::EOPNOTSUPP) => file.write_all(&vec![1; bytes as usize]).is_ok(),
        allocated => allocated.is_ok(),
    }
}

/// A file that takes what others would need; removed when dropped.
#[derive(Debug)]
#[must_use = "dropped, it is gone"]
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        // Some file systems give the room back when that is written.
        let directory = self.0.parent().and_then(|path| File::open(path).ok());
        let _ = directory.map(nix::unistd::syncfs);
    }
}

/// A file system that holds up whoever writes to it.
#[derive(Debug)]
pub struct Frozen<'a>(&'a Path);

impl Frozen<'_> {
    fn does(&self, what: &str) -> bool {
        let mut fsfreeze = Command::new("fsfreeze");
        let status = fsfreeze.arg(what).arg(self.0).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.does("--unfreeze");
    }
}

/// A shell that mounts, waits until it is needed no more, and cleans up, also when the
/// test was killed.
#[derive(Debug)]
struct Keeper(Child);

impl Keeper {
    fn start(home: &Path, mounts: &str) -> Result<Keeper, String> {
        let cleans = "fsfreeze -u disk; umount disk || umount -l disk";
        let waits = "trap '' INT TERM HUP; echo; read -r word";
        let script = format!("{{ {mounts}; }} >&2 && {{ {waits}; {{ {cleans}; }} 2>/dev/null; }}");
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).current_dir(home);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        shell.stderr(Stdio::piped()).process_group(0);
        let mut keeper = Keeper(shell.spawn().map_err(|error| error.to_string())?);
        let (Some(stdout), Some(stderr)) = (keeper.0.stdout.take(), keeper.0.stderr.take()) else {
            unreachable!("piped")
        };
        let mut word = String::new();
        let mounted = BufReader::new(stdout).read_line(&mut word);
        if mounted.is_ok_and(|bytes| bytes > 0) {
            return Ok(keeper);
        }
        let mut reason = String::new();
        let _ = BufReader::new(stderr).read_to_string(&mut reason);
        Err(reason.trim_end().to_owned())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
