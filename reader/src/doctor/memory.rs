//! What the memory cgroups leave for a recording in memory: its pages are charged to
//! them, and a group over its limit has its processes killed (cgroups(7)).
//!
//! Both versions are looked at, each from the process's own group up to where it is
//! mounted; what cannot be read is no limit.

use std::path::{Path, PathBuf};

use super::mounts::{self, Mount};
use super::{Finding, System};
use crate::measure::size;

/// What a group has left, with the cached pages that are given up first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    group: PathBuf,
    limit: u64,
    bytes: u64,
}

/// The files of a version, and what marks its mount.
struct Version {
    kind: &'static str,
    controller: &'static str,
    limit: &'static str,
    usage: &'static str,
    reclaimable: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        kind: "cgroup2",
        controller: "",
        limit: "memory.max",
        usage: "memory.current",
        reclaimable: "inactive_file",
    },
    Version {
        kind: "cgroup",
        controller: "memory",
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        reclaimable: "total_inactive_file",
    },
];

/// What version 1 has for no limit: as many bytes as its counter holds, in whole pages.
const UNLIMITED: u64 = 1 << 62;

/// How deep groups are looked at.
const DEPTH_MAX: usize = 64;

pub(super) fn finding(system: &System, mounts: &str, file_bytes: u64) -> Finding {
    let groups = system.text("proc/self/cgroup");
    let chains = VERSIONS
        .iter()
        .map(|version| (version, chain(version, &groups, mounts)));
    let left = chains.flat_map(|(version, chain)| {
        chain
            .into_iter()
            .filter_map(|group| left(system, version, &group))
    });
    judged(left.min_by_key(|left| left.bytes), file_bytes)
}

/// A recorder takes no more than half of what is left, and a quarter where that is less
/// than it was asked for.
fn judged(left: Option<Left>, file_bytes: u64) -> Finding {
    let Some(left) = left else {
        let words = "no memory cgroup limits what is stored here, as far as can be seen";
        return Finding::ok("memory", words);
    };
    let (bytes, limit) = (size(left.bytes), size(left.limit));
    let words = format!(
        "the memory cgroup {} has {bytes} of {limit} left",
        left.group.display()
    );
    match left.bytes / 2 >= file_bytes {
        true => Finding::ok("memory", words),
        false => Finding::note(
            "memory",
            format!(
                "{words}: a recording will be no more than {}",
                size(left.bytes / 4)
            ),
            "raise the limit (MemoryMax=, --memory), or record on a disk",
        ),
    }
}

/// The process's group and those around it, as directories.
fn chain(version: &Version, groups: &str, mounts: &str) -> Vec<PathBuf> {
    let group = groups.lines().find_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let mut controllers = controllers.split(',');
        controllers
            .any(|it| it == version.controller)
            .then_some(group)
    });
    let is_its = |mount: &Mount| {
        let mut options = mount.options.split(',');
        let has_controller =
            version.controller.is_empty() || options.any(|option| option == version.controller);
        mount.kind == version.kind && has_controller
    };
    let mount = mounts::all(mounts).find(is_its);
    let (Some(group), Some(mount)) = (group, mount) else {
        return Vec::new();
    };
    // What is mounted may be a part of the tree; from within a namespace, another.
    let below = Path::new(group).strip_prefix(&mount.root).ok();
    let below = below.filter(|below| !below.iter().any(|part| part == ".."));
    let innermost = mount.at.join(below.unwrap_or(Path::new("")));
    let around = innermost.ancestors().take(DEPTH_MAX);
    around
        .take_while(|group| group.starts_with(&mount.at))
        .map(Path::to_owned)
        .collect()
}

fn left(system: &System, version: &Version, group: &Path) -> Option<Left> {
    let text = |file: &str| system.text(group.join(file).to_str().unwrap_or_default());
    let number = |file: &str| text(file).trim().parse::<u64>().ok();
    let limit = number(version.limit).filter(|&limit| limit < UNLIMITED)?;
    let usage = number(version.usage)?;
    let reclaimable = field(&text("memory.stat"), version.reclaimable).unwrap_or(0);
    Some(Left {
        group: group.to_owned(),
        limit,
        bytes: limit.saturating_sub(usage.saturating_sub(reclaimable)),
    })
}

/// The number behind a name, on a line of its own.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;
    use std::fs;

    const V2: &str = "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 22 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(files: &[(&str, &str)]) -> Machine {
            let machine = Machine(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = machine.0.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            machine
        }

        fn says(&self, mounts: &str) -> Finding {
            let system = System {
                root: self.0.path().into(),
            };
            finding(&system, mounts, 11 << 20)
        }
    }

    #[test]
    fn the_narrowest_group_around_the_process_counts() {
        let machine = Machine::new(&[
            ("proc/self/cgroup", "0::/app.slice/payments.service\n"),
            ("sys/fs/cgroup/app.slice/memory.max", "33554432\n"),
            ("sys/fs/cgroup/app.slice/memory.current", "20971520\n"),
            (
                "sys/fs/cgroup/app.slice/memory.stat",
                "anon 5\ninactive_file 4194304\n",
            ),
            (
                "sys/fs/cgroup/app.slice/payments.service/memory.max",
                "max\n",
            ),
        ]);
        let finding = machine.says(V2);
        assert_eq!(finding.grade, Grade::Note);
        assert_eq!(
            finding.words,
            "the memory cgroup /sys/fs/cgroup/app.slice has 16.0 MiB of 32.0 MiB left: \
             a recording will be no more than 4.0 MiB"
        );
    }

    #[test]
    fn version_1_has_files_of_its_own_and_a_number_for_no_limit() {
        let of = |limit: &str| {
            Machine::new(&[
                ("proc/self/cgroup", "5:cpu,memory:/docker/7\n0::/other\n"),
                ("sys/fs/cgroup/memory/docker/7/memory.limit_in_bytes", limit),
                ("sys/fs/cgroup/memory/docker/7/memory.usage_in_bytes", "0\n"),
            ])
            .says(V1)
        };
        assert!(
            of("1073741824\n")
                .words
                .contains("has 1.0 GiB of 1.0 GiB left")
        );
        assert!(
            of("9223372036854771712\n")
                .words
                .starts_with("no memory cgroup")
        );
    }

    #[test]
    fn what_cannot_be_read_is_no_limit() {
        for (groups, mounts) in [
            ("", V2),
            ("0::/x\n", ""),
            ("0::/../../x\n", V2),
            ("::::\n", "x\n"),
        ] {
            let machine = Machine::new(&[("proc/self/cgroup", groups)]);
            assert_eq!(machine.says(mounts).grade, Grade::Ok);
        }
    }
}
