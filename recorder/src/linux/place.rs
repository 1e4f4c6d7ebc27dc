//! Where the recording goes.
//!
//! A directory on tmpfs is the default, because the kernel can make the writer of
//! a disk file's mapping wait while it writes back. Network and user-space file
//! systems are refused: there, a store into a mapping can fail long after the
//! start, and a failed store is a SIGBUS.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, StatFs, fchmod, fstat, fstatfs, openat, statfs};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::Error;

/// A directory, open, so that it can be reached when its path cannot any more.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Open for the sake of its files.
    pub(crate) fd: OwnedFd,
    /// Its absolute path.
    pub(crate) path: PathBuf,
}

impl Directory {
    /// The directory that was asked for; created with mode 0700 if there is none, where
    /// those that are missing may be made.
    ///
    /// # Errors
    /// A directory that cannot be had.
    pub(crate) fn asked_for(directory: &Path, make_missing: bool) -> Result<Directory, Error> {
        let path = absolute(directory)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match openat(CWD, &path, flags, Mode::empty()) {
            Err(Errno::NOENT) if make_missing => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&path)
                    .map_err(|error| Error::io("create the directory", &path, error))?;
                let fd = opened(&path, flags)?;
                fchmod(&fd, Mode::RWXU)
                    .map_err(|error| Error::io("set the mode of", &path, error))?;
                fd
            }
            Err(error) => return Err(Error::io("open the directory", path, error)),
            Ok(fd) => fd,
        };
        Ok(Directory { fd, path })
    }

    /// The file system that it is on.
    ///
    /// # Errors
    /// What fstatfs(2) says.
    pub(crate) fn file_system(&self) -> Result<FileSystem, Error> {
        let stat = fstatfs(&self.fd);
        let stat = stat.map_err(|error| Error::io("look at", &self.path, error))?;
        Ok(FileSystem(stat))
    }
}

/// What statfs(2) tells of a file system.
pub(crate) struct FileSystem(StatFs);

impl FileSystem {
    /// The number that tells kinds of file systems apart. Its type differs between
    /// platforms; all of them have 32 bits.
    fn magic(&self) -> u32 {
        self.0.f_type as u32
    }

    /// Whether its files live in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        const TMPFS: u32 = 0x0102_1994;
        const RAMFS: u32 = 0x8584_58f6;
        [TMPFS, RAMFS].contains(&self.magic())
    }

    /// Whether what fallocate(2) has allocated there can be stored to, come what may: on a
    /// tmpfs these are the pages themselves, on others the places on the disk.
    pub(crate) fn keeps_what_it_allocates(&self) -> bool {
        const EXT: u32 = 0xef53;
        const XFS: u32 = 0x5846_5342;
        self.is_in_memory() || [EXT, XFS].contains(&self.magic())
    }

    /// Whether it lies on another, whose file is what is mapped: the mapping then does
    /// not keep the lock of the file that was opened.
    pub(crate) fn is_overlay(&self) -> bool {
        const OVERLAY: u32 = 0x794c_7630;
        self.magic() == OVERLAY
    }

    /// Bytes that are free, `None` where it counts none, as a tmpfs without a size
    /// does not.
    fn free_bytes(&self) -> Option<u64> {
        self.bytes(self.0.f_bavail)
    }

    /// Bytes that it has in all, `None` where it counts none.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.bytes(self.0.f_blocks)
    }

    fn bytes(&self, blocks: u64) -> Option<u64> {
        let stat = &self.0;
        let block_bytes = u64::try_from(stat.f_frsize).ok().filter(|&bytes| bytes > 0);
        let block_bytes = block_bytes.or_else(|| u64::try_from(stat.f_bsize).ok())?;
        (stat.f_blocks > 0).then(|| blocks.saturating_mul(block_bytes))
    }
}

/// A directory that is fit for a recording, if there is room.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory.
    pub(crate) directory: Directory,
    /// Whether its files live in memory.
    pub(crate) on_tmpfs: bool,
    /// Whether they may: an overlay does not say what it lies over.
    pub(crate) on_overlay: bool,
    /// Whether half of what is free there is left to others.
    is_shared: bool,
}

impl Place {
    /// The directory that was asked for, created with mode 0700 if there is none.
    ///
    /// # Errors
    /// A directory that cannot be had, or is on a refused file system.
    pub(crate) fn asked_for(directory: &Path, make_missing: bool) -> Result<Place, Error> {
        Place::of(Directory::asked_for(directory, make_missing)?)
    }

    /// The user's own directory on tmpfs, which others use too: half of what is
    /// free there is theirs.
    ///
    /// # Errors
    /// `/dev/shm` is no tmpfs, or the directory in it is not the user's alone.
    pub(crate) fn in_memory() -> Result<Place, Error> {
        let shared = Path::new("/dev/shm");
        let stat = statfs(shared).map_err(|error| Error::io("look at", shared, error))?;
        if !FileSystem(stat).is_in_memory() {
            return Err(Error::directory(
                shared,
                "it is no tmpfs",
                "mount one there",
            ));
        }
        let place = Place::private(shared)?;
        Ok(Place {
            is_shared: true,
            ..place
        })
    }

    /// The user's own directory among temporary files.
    ///
    /// # Errors
    /// The directory cannot be had, is not the user's alone, or is on a refused
    /// file system.
    pub(crate) fn among_temporary_files(temporary: &Path) -> Result<Place, Error> {
        Place::private(temporary)
    }

    /// `ttlog-<uid>` in a directory where everybody may have put something of
    /// that name, a link included.
    fn private(parent: &Path) -> Result<Place, Error> {
        let user = geteuid();
        let path = absolute(&parent.join(format!("ttlog-{}", user.as_raw())))?;
        let created = match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::io("create the directory", path, error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = opened(&path, flags)?;
        let stat = fstat(&fd).map_err(|error| Error::io("look at", &path, error))?;
        if stat.st_uid != user.as_raw() {
            let found = format!("it belongs to user {}", stat.st_uid);
            return Err(Error::directory(&path, found, "remove it or set TTLOG_DIR"));
        }
        if created {
            fchmod(&fd, Mode::RWXU).map_err(|error| Error::io("set the mode of", &path, error))?;
        } else if stat.st_mode & 0o777 != 0o700 {
            let found = format!("its mode is {:03o}, not 700", stat.st_mode & 0o777);
            return Err(Error::directory(&path, found, "chmod it or set TTLOG_DIR"));
        }
        Place::of(Directory { fd, path })
    }

    fn of(directory: Directory) -> Result<Place, Error> {
        let file_system = directory.file_system()?;
        if let Some(kind) = refused(file_system.magic()) {
            return Err(Error::network_file_system(&directory.path, kind));
        }
        Ok(Place {
            on_tmpfs: file_system.is_in_memory(),
            on_overlay: file_system.is_overlay(),
            is_shared: false,
            directory,
        })
    }

    /// Whether a file of so many bytes has room now.
    ///
    /// # Errors
    /// It has not, or nobody can say.
    pub(crate) fn has_room(&self, file_bytes: u64) -> Result<(), Error> {
        let free = self.directory.file_system()?.free_bytes();
        let free = free.map(|bytes| if self.is_shared { bytes / 2 } else { bytes });
        match free {
            Some(free) if free < file_bytes => {
                Err(Error::no_room(&self.directory.path, file_bytes, free))
            }
            _ => Ok(()),
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::io("find", path, error))
}

fn opened(path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    openat(CWD, path, flags, Mode::empty())
        .map_err(|error| Error::io("open the directory", path, error))
}

/// What a file system is called that recordings are not kept on.
fn refused(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x0000_6969 => "NFS",
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9p",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x0bd0_0bd0 => "Lustre",
        0x7375_7245 => "Coda",
        0x0000_564c => "NCP",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x4750_4653 => "GPFS",
        0x2003_0528 => "OrangeFS",
        0x1983_0326 => "BeeGFS",
        0xaad7_aaea => "PanFS",
        0xbeef_dead => "StorNext",
        0x786f_4256 => "a VirtualBox shared folder",
        0xbacb_acbc => "a VMware shared folder",
        0x7c7c_6673 => "a Parallels shared folder",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn own(parent: &Path) -> PathBuf {
        parent.join(format!("ttlog-{}", geteuid().as_raw()))
    }

    #[test]
    fn a_directory_that_is_absent_is_created_for_its_owner_alone() {
        let top = tempfile::tempdir().unwrap();
        assert!(Place::asked_for(&top.path().join("a/b"), false).is_err());
        let place = Place::asked_for(&top.path().join("a/b"), true).unwrap();
        assert_eq!(mode(&top.path().join("a")), 0o700);
        assert_eq!(mode(&place.directory.path), 0o700);
        assert!(place.directory.path.is_absolute());
    }

    #[test]
    fn a_directory_that_was_asked_for_keeps_its_mode() {
        let top = tempfile::tempdir().unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Place::asked_for(top.path(), true).unwrap();
        assert_eq!(mode(top.path()), 0o755);
    }

    #[test]
    fn a_directory_that_is_a_file_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = Place::asked_for(file.path(), true).unwrap_err().to_string();
        assert!(text.starts_with("cannot open the directory /"), "{text}");
        assert!(Place::asked_for(&file.path().join("below"), true).is_err());
    }

    #[test]
    fn the_users_own_directory_is_created_once() {
        let top = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let place = Place::private(top.path()).unwrap();
            assert_eq!(
                (place.directory.path.clone(), mode(&place.directory.path)),
                (own(top.path()), 0o700)
            );
        }
    }

    #[test]
    fn what_others_planted_in_its_stead_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), own(top.path())).unwrap();
        assert!(Place::private(top.path()).is_err());
        fs::remove_file(own(top.path())).unwrap();

        symlink("/nowhere", own(top.path())).unwrap();
        assert!(Place::private(top.path()).is_err());
        fs::remove_file(own(top.path())).unwrap();

        rustix::fs::mknodat(
            CWD,
            own(top.path()),
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(Place::private(top.path()).is_err());
        fs::remove_file(own(top.path())).unwrap();

        fs::create_dir(own(top.path())).unwrap();
        fs::set_permissions(own(top.path()), fs::Permissions::from_mode(0o750)).unwrap();
        let text = Place::private(top.path()).unwrap_err().to_string();
        assert!(
            text.contains("its mode is 750, not 700; chmod it"),
            "{text}"
        );

        fs::set_permissions(own(top.path()), fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = rustix::fs::Uid::from_raw(geteuid().as_raw() + 1);
        if rustix::fs::chown(own(top.path()), Some(stranger), None).is_ok() {
            let text = Place::private(top.path()).unwrap_err().to_string();
            assert!(text.contains("it belongs to user"), "{text}");
        }
    }

    #[test]
    fn files_that_others_serve_are_refused() {
        assert_eq!(refused(rustix::fs::NFS_SUPER_MAGIC as u32), Some("NFS"));
        assert_eq!(refused(0x6573_5546), Some("FUSE"));
        let (tmpfs, ext4, overlay) = (0x0102_1994, 0xef53, 0x794c_7630);
        assert!(
            [tmpfs, ext4, overlay]
                .into_iter()
                .all(|magic| refused(magic).is_none())
        );
    }

    #[test]
    fn room_is_looked_at() {
        let top = tempfile::tempdir().unwrap();
        let place = Place::asked_for(top.path(), true).unwrap();
        assert!(place.has_room(0).is_ok());
        assert!(place.has_room(u64::MAX).is_err());
        let file_system = place.directory.file_system().unwrap();
        assert!(file_system.free_bytes() <= file_system.total_bytes());
        let mut stat = file_system.0;
        stat.f_blocks = 0;
        assert_eq!(FileSystem(stat).free_bytes(), None);
    }

    #[test]
    fn memory_disks_and_layers_are_told_apart() {
        let top = tempfile::tempdir().unwrap();
        let place = Place::asked_for(top.path(), true).unwrap();
        let FileSystem(mut stat) = place.directory.file_system().unwrap();
        let (tmpfs, ext4, xfs) = (0x0102_1994, 0xef53, 0x5846_5342);
        let (overlay, btrfs) = (0x794c_7630, 0x9123_683e);
        let told = [tmpfs, ext4, xfs, overlay, btrfs].map(|magic| {
            stat.f_type = magic;
            let file_system = FileSystem(stat);
            let keeps = file_system.keeps_what_it_allocates();
            (file_system.is_in_memory(), file_system.is_overlay(), keeps)
        });
        let [memory, disk, layer] = [
            (true, false, true),
            (false, false, true),
            (false, true, false),
        ];
        let other = (false, false, false);
        assert_eq!(told, [memory, disk, disk, layer, other]);
    }
}
