//! Who will delete what lies in a directory: the end of a service or of a container, a
//! logout, systemd-tmpfiles.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::mounts::{self, Mount};
use super::tmpfiles::{self, Fate, Rule};
use super::{Finding, System, text};

/// Where the same name counts once, the first first (tmpfiles.d(5), logind.conf(5)).
const CONFIGURED_IN: [&str; 4] = ["etc", "run", "usr/local/lib", "usr/lib"];

/// More files of rules than this are not looked at.
const FILES_MAX: usize = 1_000;

/// Users below are the system's, which logind leaves alone (login.defs(5)).
const FIRST_USER: u32 = 1_000;

pub(super) fn findings(system: &System, directory: &Path, uid: u32, mounts: &str) -> Vec<Finding> {
    let mount = mounts::covering(mounts, directory);
    let found = [
        of_service(directory, mount.as_ref()),
        of_container(system, directory, mounts),
        of_logout(system, directory, uid),
        of_tmpfiles(system, directory),
    ];
    let found: Vec<Finding> = found.into_iter().flatten().collect();
    match found.is_empty() {
        true => vec![Finding::ok(
            "deletion",
            "nobody is known to delete what lies here",
        )],
        false => found,
    }
}

/// A service's private temporary directory goes when the service does.
fn of_service(directory: &Path, mount: Option<&Mount>) -> Option<Finding> {
    const PRIVATE: &str = "systemd-private-";
    let root = mount.map_or("", |mount| mount.root.as_str());
    let is_private = root.contains(PRIVATE) || directory.to_string_lossy().contains(PRIVATE);
    is_private.then(|| {
        Finding::bad(
            "deletion",
            "this is the private temporary directory of a service (PrivateTmp): \
             it goes when the service ends, and so does what it left",
            "set StateDirectory= in the unit, and TTLOG_DIR to that",
        )
    })
}

fn of_container(system: &System, directory: &Path, mounts: &str) -> Option<Finding> {
    let what = container(system)?;
    let mount = mounts::covering(mounts, directory);
    let at = mount.as_ref().map_or(Path::new("/"), |mount| &mount.at);
    if at != Path::new("/") && !at.starts_with("/dev") {
        let at = at.display();
        let in_memory = mount.as_ref().is_some_and(|mount| mount.kind == "tmpfs");
        let words = format!("{what}, and {at} is mounted into it");
        return Some(match in_memory {
            false => Finding::ok("deletion", format!("{words}: a volume stays after it")),
            true => Finding::note(
                "deletion",
                format!("{words}, in memory: it goes with the container, or with its pod"),
                "see that it is an emptyDir, which stays as long as the pod, or take a disk",
            ),
        });
    }
    let part = match directory.starts_with("/dev/shm") {
        true => "its /dev/shm",
        false => "its own layer",
    };
    let advice = "mount a volume (in Kubernetes an emptyDir, which stays as long as the pod), \
                  and set TTLOG_DIR to it";
    let words = format!("{what}, and this is {part}: it goes with the container");
    // A machine may be made of a container's image, the mark of it included.
    let is_certain = what.contains("Kubernetes") || is_layered(mounts);
    Some(match is_certain {
        true => Finding::bad("deletion", words, advice),
        false => {
            let words = format!("if {words} (its root is of no layers, which speaks against it)");
            Finding::note("deletion", words, advice)
        }
    })
}

/// Whether the root is what the layers of an image come to.
fn is_layered(mounts: &str) -> bool {
    let root = mounts::covering(mounts, Path::new("/"));
    root.is_some_and(|root| {
        ["overlay", "aufs", "btrfs", "zfs"].contains(&root.kind.as_str())
            || root.kind.contains("overlay")
    })
}

/// How it is known that this is a container.
fn container(system: &System) -> Option<&'static str> {
    let groups = system.text("proc/self/cgroup");
    let is_in = |names: &[&str]| names.iter().any(|name| groups.contains(name));
    if is_in(&["kubepods"]) || system.has("var/run/secrets/kubernetes.io") {
        Some("this is a container of Kubernetes")
    } else if system.has(".dockerenv") || is_in(&["/docker/", "/docker-"]) {
        Some("this is a container of Docker")
    } else if system.has("run/.containerenv") || is_in(&["/libpod-"]) {
        Some("this is a container of Podman")
    } else if is_in(&[
        "/containerd/",
        "cri-containerd-",
        "/crio-",
        "/lxc/",
        "lxc.payload",
    ]) {
        Some("this is a container")
    } else {
        None
    }
}

/// logind removes what a user has in /dev/shm when it logs out for good.
fn of_logout(system: &System, directory: &Path, uid: u32) -> Option<Finding> {
    let is_asked = directory.starts_with("/dev/shm") && uid >= FIRST_USER;
    if !is_asked || !is_run_by_systemd(system) || !removes_ipc(system) {
        return None;
    }
    Some(Finding::note(
        "deletion",
        format!("logind removes what user {uid} has in /dev/shm when it logs out (RemoveIPC)"),
        "set RemoveIPC=no in logind.conf, or have a system user record, or keep the user \
         logged in (loginctl enable-linger)",
    ))
}

fn is_run_by_systemd(system: &System) -> bool {
    system.has("run/systemd/system")
}

/// The last word on it, by default yes.
fn removes_ipc(system: &System) -> bool {
    let own = [system.path("etc/systemd/logind.conf")];
    let more = configured(system, "systemd/logind.conf.d");
    let texts = own.iter().chain(&more).map(|path| text(path));
    texts.fold(true, |removes, text| {
        removes_ipc_by(&text).unwrap_or(removes)
    })
}

fn removes_ipc_by(text: &str) -> Option<bool> {
    // The last one counts.
    let mut values = text.lines().rev().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "RemoveIPC").then(|| value.trim().to_ascii_lowercase())
    });
    values
        .next()
        .map(|value| !["no", "false", "off", "0", "n", "f"].contains(&value.as_str()))
}

/// The files of a directory of configuration, by their names; a name that is there more
/// than once counts where it is looked for first.
fn configured(system: &System, directory: &str) -> Vec<PathBuf> {
    let mut found: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for place in CONFIGURED_IN {
        let Ok(entries) = fs::read_dir(system.path(place).join(directory)) else {
            continue;
        };
        for entry in entries.flatten().take(FILES_MAX) {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
            {
                found.entry(entry.file_name()).or_insert(path);
            }
        }
    }
    found.into_values().take(FILES_MAX).collect()
}

fn of_tmpfiles(system: &System, directory: &Path) -> Option<Finding> {
    if !is_run_by_systemd(system) {
        return None;
    }
    let files = configured(system, "tmpfiles.d");
    let rules: Vec<Rule> = files
        .iter()
        .flat_map(|path| tmpfiles::rules(&text(path)).collect::<Vec<_>>())
        .collect();
    let example = directory.join("ttlog-4711-1764000000123.ring");
    let path = directory.display();
    let keep = format!("put 'x {path}' into /etc/tmpfiles.d/ttlog.conf, or take another directory");
    match tmpfiles::fate(&rules, &example) {
        Fate::Stays => None,
        Fate::Ages { age, path } => Some(Finding::note(
            "deletion",
            format!("systemd-tmpfiles deletes what nobody touched for {age} in {path}"),
            &keep,
        )),
        Fate::GoesAtBoot { path } => Some(Finding::note(
            "deletion",
            format!("systemd-tmpfiles empties {path} at boot"),
            "take another directory where recordings are to outlive a reboot",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

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

        fn says(&self, directory: &str, uid: u32, mounts: &str) -> Vec<Finding> {
            let system = System {
                root: self.0.path().into(),
            };
            findings(&system, Path::new(directory), uid, mounts)
        }
    }

    const SYSTEMD: (&str, &str) = ("run/systemd/system/x", "");

    #[track_caller]
    fn only(findings: Vec<Finding>, grade: Grade, words: &str) {
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].grade, grade, "{findings:?}");
        assert!(findings[0].words.contains(words), "{findings:?}");
    }

    #[test]
    fn where_nobody_deletes_that_is_said() {
        let found = Machine::new(&[]).says("/dev/shm/ttlog-1000", 1000, "");
        only(found, Grade::Ok, "nobody is known");
    }

    #[test]
    fn a_services_private_directory_goes_with_it() {
        let mounts = "9 1 8:1 /tmp/systemd-private-7-payments.service-x/tmp /tmp rw - ext4 a rw";
        let found = Machine::new(&[]).says("/tmp/ttlog-33", 33, mounts);
        only(found, Grade::Bad, "PrivateTmp");
    }

    #[test]
    fn a_container_takes_its_layer_and_its_memory_along_and_no_volume() {
        let kubernetes = Machine::new(&[("proc/self/cgroup", "0::/kubepods.slice/pod7\n")]);
        let docker = Machine::new(&[(".dockerenv", "")]);
        let mounts = "1 0 0:1 / / rw - overlay overlay rw
2 1 0:2 / /dev/shm rw - tmpfs shm rw
3 1 8:1 /pods/7 /recordings rw - ext4 /dev/sda1 rw
4 1 0:4 / /memory rw - tmpfs tmpfs rw
";
        let found = docker.says("/var/lib/payments", 0, mounts);
        only(found, Grade::Bad, "Docker, and this is its own layer");
        let found = kubernetes.says("/dev/shm/ttlog-0", 0, mounts);
        only(found, Grade::Bad, "Kubernetes, and this is its /dev/shm");
        let found = kubernetes.says("/recordings", 0, mounts);
        only(found, Grade::Ok, "/recordings is mounted into it");
        let found = kubernetes.says("/memory/a", 0, mounts);
        only(found, Grade::Note, "/memory is mounted into it, in memory");
        let machine = "1 0 8:1 / / rw - ext4 /dev/vda rw\n";
        only(
            docker.says("/var", 0, machine),
            Grade::Note,
            "if this is a container",
        );
    }

    #[test]
    fn a_logout_removes_what_a_user_has_in_memory_unless_logind_is_told_not_to() {
        let asked = |files: &[(&str, &str)], uid| {
            Machine::new(&[&[SYSTEMD][..], files].concat()).says("/dev/shm/ttlog", uid, "")
        };
        only(asked(&[], 1000), Grade::Note, "RemoveIPC");
        only(asked(&[], 0), Grade::Ok, "nobody");
        let no = (
            "etc/systemd/logind.conf",
            "[Login]\n#RemoveIPC=yes\nRemoveIPC=no\n",
        );
        only(asked(&[no], 1000), Grade::Ok, "nobody");
        let yes = ("usr/lib/systemd/logind.conf.d/9.conf", "RemoveIPC = yes\n");
        only(asked(&[no, yes], 1000), Grade::Note, "RemoveIPC");
    }

    #[test]
    fn rules_that_are_replaced_elsewhere_do_not_count() {
        let rule = ("usr/lib/tmpfiles.d/tmp.conf", "q /tmp 1777 root root 10d\n");
        let found = Machine::new(&[SYSTEMD, rule]).says("/tmp/ttlog-0", 0, "");
        only(found, Grade::Note, "nobody touched for 10d in /tmp");
        let replaced = ("etc/tmpfiles.d/tmp.conf", "");
        let found = Machine::new(&[SYSTEMD, rule, replaced]).says("/tmp/ttlog-0", 0, "");
        only(found, Grade::Ok, "nobody");
        let without_systemd = Machine::new(&[rule]).says("/tmp/ttlog-0", 0, "");
        only(without_systemd, Grade::Ok, "nobody");
    }
}
