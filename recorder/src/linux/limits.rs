//! How much may be taken.
//!
//! A file longer than `RLIMIT_FSIZE` gets its process a SIGXFSZ, and one on a
//! tmpfs that its memory cgroup has no room for gets it killed. Neither is an
//! error that allocation reports, so both are looked at before.
//!
//! What cannot be read is no limit.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Mib;

/// What most files of the kernel's are shorter than.
const TEXT_BYTES: usize = 4096;

/// How many of the bytes asked for may be taken, and what the limit was, empty
/// if there was none. They are memory where `charged` names who is charged for them.
pub(crate) fn allowed(asked_bytes: u64, charged: Option<&MemoryCgroups>) -> (u64, String) {
    let headroom = charged.and_then(MemoryCgroups::headroom);
    shrunk(asked_bytes, file_size(), headroom)
}

/// `RLIMIT_FSIZE`, `None` if there is none.
///
/// A sandbox may deny the question, as systemd's `@resources` does, for which rustix
/// has no answer. It may be asked in a signal handler.
pub(crate) fn file_size() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit is valid to write to, and stays what it is if that fails.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn shrunk(asked: u64, file_limit: Option<u64>, headroom: Option<Headroom>) -> (u64, String) {
    let mut taken = (asked, String::new());
    if let Some(limit) = file_limit.filter(|&limit| limit < taken.0) {
        taken = (limit, format!("RLIMIT_FSIZE is {}", Mib(limit)));
    }
    // Half of what is left would be the next neighbour's undoing.
    if let Some(Headroom { bytes, group }) = headroom
        && taken.0 > bytes / 2
    {
        let reason = format!(
            "the memory cgroup {} has {} left",
            group.display(),
            Mib(bytes)
        );
        taken = (bytes / 4, reason);
    }
    taken
}

/// What a memory cgroup has left.
#[derive(Debug, PartialEq, Eq)]
struct Headroom {
    bytes: u64,
    group: PathBuf,
}

/// The memory cgroups of this process, as they were found once: a start asks for them
/// more than once, and finding them takes a good part of its time.
pub(crate) struct MemoryCgroups(Vec<(Version, Chain)>);

impl MemoryCgroups {
    /// Those that are to be seen from here.
    pub(crate) fn of_this_process() -> MemoryCgroups {
        let texts = || Some((text("/proc/self/cgroup")?, text("/proc/self/mountinfo")?));
        let (groups, mounts) = texts().unwrap_or_default();
        let found = |version| Some((version, Chain::find(version, &groups, &mounts)?));
        MemoryCgroups(Version::ALL.into_iter().filter_map(found).collect())
    }

    /// How many bytes the narrowest one may take.
    pub(crate) fn limit(&self) -> Option<u64> {
        let limits = self.0.iter();
        limits
            .filter_map(|(version, chain)| chain.limit(*version))
            .min()
    }

    /// What the narrowest one has left.
    fn headroom(&self) -> Option<Headroom> {
        let chains = self.0.iter();
        chains
            .filter_map(|(version, chain)| chain.headroom(*version))
            .min_by_key(|headroom| headroom.bytes)
    }

    /// The one that this process is in.
    pub(crate) fn own(&self) -> Option<MemoryCgroup> {
        self.0.iter().find_map(|(version, chain)| {
            let group = &chain.innermost;
            let events = text(group.join(version.events()))?;
            Some(MemoryCgroup {
                inode: fs::metadata(group).ok()?.ino(),
                oom_kills: field(&events, "oom_kill")?,
                directory: group.to_str()?.to_owned(),
            })
        })
    }
}

/// The memory cgroup of a process, and how many of its processes were killed for memory
/// so far.
#[derive(Debug, Default)]
pub(crate) struct MemoryCgroup {
    /// Its directory.
    pub(crate) directory: String,
    /// The directory's inode number: a group that is made anew has another.
    pub(crate) inode: u64,
    /// How many of its processes the kernel has killed for memory.
    pub(crate) oom_kills: u64,
}

/// A file of the kernel's, which does not say how long it is: read with room from the
/// first, since each part of it that is read costs a call.
fn text(path: impl AsRef<Path>) -> Option<String> {
    let mut text = String::with_capacity(TEXT_BYTES);
    let file = File::open(path).ok()?;
    file.take(u64::MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The two interfaces of cgroups (cgroups(7)); a system may have both mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    const ALL: [Version; 2] = [Version::V1, Version::V2];

    /// Whether these controllers, of a line of `/proc/self/cgroup`, count memory.
    fn is_in(self, controllers: &str) -> bool {
        match self {
            Version::V1 => controllers.split(',').any(|name| name == "memory"),
            Version::V2 => controllers.is_empty(),
        }
    }

    fn is_mounted_as(self, kind: &str, options: &str) -> bool {
        match self {
            Version::V1 => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
            Version::V2 => kind == "cgroup2",
        }
    }

    fn limit(self) -> &'static str {
        match self {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        }
    }

    fn events(self) -> &'static str {
        match self {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        }
    }

    /// Of the usage, the cached file pages that nobody used lately and that are
    /// given up first. Without them a group that read many files looks full.
    fn reclaimable(self) -> &'static str {
        match self {
            Version::V1 => "total_inactive_file",
            Version::V2 => "inactive_file",
        }
    }
}

/// What version 1 gives for no limit: as many bytes as its counter holds, in whole pages.
const UNLIMITED: u64 = 1 << 62;

/// A cgroup's directory and those around it, up to where they are mounted.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    innermost: PathBuf,
    mounted_at: PathBuf,
}

impl Chain {
    /// Finds the process's cgroup in the texts of `/proc/self/cgroup` and
    /// `/proc/self/mountinfo` (cgroups(7), proc_pid_mountinfo(5)).
    fn find(version: Version, groups: &str, mounts: &str) -> Option<Chain> {
        let group = groups.lines().find_map(|line| {
            let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
            version.is_in(controllers).then_some(group)
        })?;
        mounts.lines().find_map(|line| {
            let (mount, source) = line.split_once(" - ")?;
            let mut source = source.split(' ');
            let (kind, options) = (source.next()?, source.nth(1).unwrap_or(""));
            if !version.is_mounted_as(kind, options) {
                return None;
            }
            let mut mount = mount.split(' ').skip(3);
            let (root, mounted_at) = (unescaped(mount.next()?), unescaped(mount.next()?));
            // A group that the mount does not show, as a container's often does
            // not, can have limits at the mount's top all the same.
            let below = Path::new(group)
                .strip_prefix(&root)
                .unwrap_or(Path::new(""));
            let seen = below
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            let mounted_at = PathBuf::from(mounted_at);
            let innermost = if seen {
                mounted_at.join(below)
            } else {
                mounted_at.clone()
            };
            Some(Chain {
                innermost,
                mounted_at,
            })
        })
    }

    /// The groups from the innermost outwards, each with its limit, if it has one.
    fn limited(&self, version: Version) -> impl Iterator<Item = (&Path, u64)> {
        self.innermost
            .ancestors()
            .take_while(|group| group.starts_with(&self.mounted_at))
            .filter_map(move |group| {
                let limit = number(&text(group.join(version.limit()))?)?;
                (limit < UNLIMITED).then_some((group, limit))
            })
    }

    fn limit(&self, version: Version) -> Option<u64> {
        self.limited(version).map(|(_, limit)| limit).min()
    }

    fn headroom(&self, version: Version) -> Option<Headroom> {
        self.limited(version)
            .filter_map(|(group, limit)| {
                let usage = number(&text(group.join(version.usage()))?)?;
                let stat = text(group.join("memory.stat")).unwrap_or_default();
                let used = usage.saturating_sub(field(&stat, version.reclaimable()).unwrap_or(0));
                Some(Headroom {
                    bytes: limit.saturating_sub(used),
                    group: group.to_owned(),
                })
            })
            .min_by_key(|headroom| headroom.bytes)
    }
}

/// A number alone in its file; `None` for `max`, which is none.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number after `name` in a file of lines of a name and a number.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| number(line.strip_prefix(name)?.strip_prefix(' ')?))
}

/// A path of mountinfo, where a blank is `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                path.push(char::from(code));
                path.push_str(&part[3..]);
            }
            None => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_MOUNTS: &str = "\
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
    const V1_MOUNTS: &str = "\
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 32 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw
41 32 0:34 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
42 32 0:35 /docker/abc /sys/fs/cgroup/mem\\040ory ro master:17 - cgroup cgroup rw,memory
";

    fn chain(innermost: &str, mounted_at: &str) -> Option<Chain> {
        Some(Chain {
            innermost: innermost.into(),
            mounted_at: mounted_at.into(),
        })
    }

    #[test]
    fn a_group_of_version_2_is_found() {
        let groups = "0::/user.slice/user-1000.slice\n";
        assert_eq!(
            Chain::find(Version::V2, groups, V2_MOUNTS),
            chain(
                "/sys/fs/cgroup/user.slice/user-1000.slice",
                "/sys/fs/cgroup"
            )
        );
        assert_eq!(Chain::find(Version::V1, groups, V2_MOUNTS), None);
    }

    #[test]
    fn a_group_of_version_1_is_found_among_the_controllers() {
        let groups = "12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc/inner\n0::/docker/abc\n";
        assert_eq!(
            Chain::find(Version::V1, groups, V1_MOUNTS),
            chain("/sys/fs/cgroup/mem ory/inner", "/sys/fs/cgroup/mem ory")
        );
    }

    #[test]
    fn a_group_that_the_mount_does_not_show_is_its_top() {
        for groups in [
            "4:memory:/elsewhere\n",
            "4:memory:/docker/abc/../def\n",
            "4:memory:/\n",
        ] {
            assert_eq!(
                Chain::find(Version::V1, groups, V1_MOUNTS),
                chain("/sys/fs/cgroup/mem ory", "/sys/fs/cgroup/mem ory")
            );
        }
    }

    #[test]
    fn nonsense_is_no_group() {
        for text in [
            "",
            "\n\n",
            "::",
            "0:",
            " - ",
            "a b c - cgroup2",
            "0::/x\n - cgroup2 a b",
        ] {
            assert_eq!(Chain::find(Version::V2, text, text), None, "{text:?}");
            assert_eq!(Chain::find(Version::V2, "0::/x", text), None, "{text:?}");
        }
    }

    #[test]
    fn the_narrowest_group_up_the_tree_counts() {
        let top = tempfile::tempdir().unwrap();
        let inner = top.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let say = |group: &Path, name: &str, text: &str| fs::write(group.join(name), text).unwrap();
        say(&inner, "memory.max", "max\n");
        say(&inner, "memory.current", "50\n");
        let chain = Chain {
            innermost: inner.clone(),
            mounted_at: top.path().to_owned(),
        };
        assert_eq!(chain.headroom(Version::V2), None);

        let middle = top.path().join("a");
        say(&middle, "memory.max", "1000\n");
        say(&middle, "memory.current", "900\n");
        say(
            &middle,
            "memory.stat",
            "file 500\ninactive_file_x 3\ninactive_file 300\n",
        );
        let headroom = Headroom {
            bytes: 400,
            group: middle,
        };
        assert_eq!(chain.headroom(Version::V2), Some(headroom));

        say(&inner, "memory.max", "1200\n");
        assert_eq!(chain.limit(Version::V2), Some(1000));

        say(&inner, "memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(chain.limit(Version::V1), None);
        say(&inner, "memory.limit_in_bytes", "1100\n");
        assert_eq!(chain.limit(Version::V1), Some(1100));
    }

    #[test]
    fn what_is_taken_leaves_room_for_others() {
        let headroom = |bytes| {
            Some(Headroom {
                bytes,
                group: "/g".into(),
            })
        };
        assert_eq!(shrunk(100, None, None), (100, String::new()));
        assert_eq!(shrunk(100, Some(100), headroom(200)), (100, String::new()));
        assert_eq!(shrunk(100, Some(99), None).0, 99);
        let (taken, reason) = shrunk(100 << 20, Some(90 << 20), headroom(100 << 20));
        assert_eq!(taken, 25 << 20);
        assert_eq!(reason, "the memory cgroup /g has 100.00 MiB left");
        assert_eq!(shrunk(100, None, headroom(0)).0, 0);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescaped(r"/a\9b\"), r"/a\9b\");
        assert_eq!(unescaped(r"/a\0ü"), r"/a\0ü");
    }

    #[test]
    fn here_and_now_is_read_without_harm() {
        let groups = MemoryCgroups::of_this_process();
        let (taken, _) = allowed(4096, Some(&groups));
        assert!(taken <= 4096 && groups.limit() != Some(0));
    }
}
