//! What kind of file system it is, and what that means for a recording.
//!
//! A recorder refuses those whose files others serve: a store into a mapping there can
//! fail long after the start, and a failed store is a SIGBUS.

use super::Finding;

/// What becomes of what is stored to a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Disk,
    Layers,
    Refused(&'static str),
    Unknown,
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileSystem {
    kind: Kind,
    magic: u32,
    /// What it is called by whoever mounted it.
    name: String,
}

impl FileSystem {
    /// By the number that statfs(2) gives, and the name that it is mounted by, if known.
    pub(super) fn new(magic: u32, name: &str) -> FileSystem {
        FileSystem {
            kind: kind(magic),
            magic,
            name: match name {
                "" => format!("a file system of type {magic:#x}"),
                name => name.to_owned(),
            },
        }
    }

    pub(super) fn is_in_memory(&self) -> bool {
        self.kind == Kind::Memory
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.kind, Kind::Refused(_))
    }

    pub(super) fn finding(&self) -> Finding {
        let name = &self.name;
        match self.kind {
            Kind::Memory => {
                let words = "in memory, so no store waits for a disk; gone after a reboot";
                Finding::ok("files", format!("{name}: {words}"))
            }
            Kind::Disk if self.magic == BTRFS => Finding::note(
                "files",
                format!(
                    "{name}: stays after a reboot; a store can wait for the disk, and for room where the disk is full"
                ),
                "leave room on it, or record in /dev/shm",
            ),
            Kind::Disk => Finding::ok(
                "files",
                format!("{name}: stays after a reboot; a store can wait for the disk"),
            ),
            Kind::Layers => Finding::note(
                "files",
                format!("{name}: what lies below decides whether a store waits for a disk"),
                "record in a volume of its own, or in /dev/shm",
            ),
            Kind::Refused(what) => Finding::bad(
                "files",
                format!("{name}: a recorder refuses {what}, where a store can fail"),
                "take a file system of this machine",
            ),
            Kind::Unknown => Finding::note(
                "files",
                format!("{name}: nothing is known of it"),
                "take a tmpfs, ext4 or xfs where there is one",
            ),
        }
    }
}

const BTRFS: u32 = 0x9123_683e;

/// The numbers are those of statfs(2) and of the file systems' own sources.
fn kind(magic: u32) -> Kind {
    match magic {
        0x0102_1994 | 0x8584_58f6 => Kind::Memory,
        // ext2 to ext4, xfs, btrfs, f2fs, bcachefs, zfs, jfs, reiserfs.
        0xef53 | 0x5846_5342 | BTRFS | 0xf2f5_2010 | 0xca45_1a4e | 0x2fc1_2fc1 | 0x3153_464a
        | 0x5265_4973 => Kind::Disk,
        0x794c_7630 => Kind::Layers,
        _ => refused(magic).map_or(Kind::Unknown, Kind::Refused),
    }
}

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
        0x786f_4256 => "VirtualBox shared folders",
        0xbacb_acbc => "VMware shared folders",
        0x7c7c_6673 => "Parallels shared folders",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn memory_disks_layers_and_what_others_serve_are_told_apart() {
        for (magic, name, grade, words) in [
            (0x0102_1994, "tmpfs", Grade::Ok, "tmpfs: in memory"),
            (0xef53, "ext4", Grade::Ok, "ext4: stays after a reboot"),
            (BTRFS, "btrfs", Grade::Note, "where the disk is full"),
            (
                0x794c_7630,
                "overlay",
                Grade::Note,
                "overlay: what lies below",
            ),
            (0x6969, "nfs4", Grade::Bad, "nfs4: a recorder refuses NFS"),
            (0x6573_5546, "fuse.sshfs", Grade::Bad, "refuses FUSE"),
            (7, "", Grade::Note, "a file system of type 0x7: nothing"),
        ] {
            let file_system = FileSystem::new(magic, name);
            let finding = file_system.finding();
            assert_eq!(finding.grade, grade, "{name}");
            assert!(finding.words.contains(words), "{}", finding.words);
            assert_eq!(file_system.is_refused(), grade == Grade::Bad);
        }
    }
}
