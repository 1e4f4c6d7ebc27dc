//! Which files are mapped, as far as can be seen from here.
//!
//! On an overlay, what is mapped is the file of the layer below, and the one that was
//! opened, with its lock, lives only as long as its descriptor: a daemon that closed all
//! of them records on, without a lock. So there the maps of all processes are read.

use std::collections::HashSet;
use std::fs;

/// The files that processes have mapped.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    inodes: HashSet<u32>,
    /// Processes that let nobody see.
    unseen: HashSet<u64>,
}

impl Mapped {
    /// What is mapped now.
    pub(super) fn now() -> Mapped {
        let mut mapped = Mapped::default();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in processes {
            let name = process.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            match fs::read(process.path().join("maps")) {
                Ok(maps) => {
                    let maps = String::from_utf8_lossy(&maps);
                    mapped.inodes.extend(maps.lines().filter_map(shared));
                }
                Err(_) => drop(mapped.unseen.insert(pid)),
            }
        }
        mapped
    }

    /// Whether somebody has mapped the file with this inode number, or may have: the
    /// process with the id that is in its name, which lets nobody see.
    pub(super) fn has(&self, inode: u64, pid: u64) -> bool {
        self.inodes.contains(&low(inode)) || self.unseen.contains(&pid)
    }
}

/// Where layers lie on several file systems, the upper half says on which, but not in
/// what older kernels show of a mapping.
fn low(inode: u64) -> u32 {
    inode as u32
}

/// The inode number of a shared mapping, from a line of `/proc/pid/maps` (proc(5)).
fn shared(line: &str) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let is_shared = fields.next()?.ends_with('s');
    let inode = fields.nth(2)?.parse().ok().filter(|&inode| inode > 0)?;
    is_shared.then(|| low(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_mappings_of_files_are_seen() {
        let line = "7fa0281bc000-7fa0282bc000 rw-s 00000000 00:27 10044351     /a dir/x.ring";
        assert_eq!(shared(line), Some(10_044_351));
        for line in [
            "7fa0281bc000-7fa0282bc000 rw-p 00000000 00:27 10044351 /a",
            "7fa0281bc000-7fa0282bc000 rw-s 00000000 00:00 0",
            "7fa0281bc000-7fa0282bc000",
            "",
        ] {
            assert_eq!(shared(line), None, "{line}");
        }
    }

    #[test]
    fn who_maps_a_file_now_is_found() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let inode = rustix::fs::fstat(&file).unwrap().st_ino;
        let nobody = u64::MAX;
        assert!(!Mapped::now().has(inode, nobody));
        let _map = memmap2::MmapRaw::map_raw(&file).unwrap();
        drop(file);
        assert!(Mapped::now().has(inode | 1 << 40, nobody));
    }
}
