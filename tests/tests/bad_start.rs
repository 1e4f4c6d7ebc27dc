//! A recorder that cannot be created is an error, and nothing else: no file, no harm.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::victim::{files, scratch};
use ttlog_tests::{Plan, Victim, What};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const NOBODY: u32 = 65534;

/// A file system of so many KiB, for as long as this value lives.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(at: &Path, kib: u32) -> Option<SmallDisk<'_>> {
        let mut mount = Command::new("mount");
        mount
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={kib}k,mode=0777"),
                "tmpfs",
            ])
            .arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: no file system can be mounted here");
        }
        mounted.then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} is mounted",
            self.0.display()
        );
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can do this");
    }
    root
}

/// What a victim says that tries to start; it must go on, and end well, either way.
fn tries(plan: &Plan) -> (Victim, String) {
    let mut victim = Victim::start(VICTIM, plan);
    let said = victim.says();
    let status = victim.ends();
    assert!(status.success(), "{status}: {said}");
    (victim, said)
}

fn is_an_error(plan: &Plan) -> String {
    let (_, said) = tries(plan);
    said.strip_prefix("error ")
        .unwrap_or_else(|| panic!("no error: {said:?}"))
        .to_owned()
}

#[test]
fn a_full_disk_is_an_error_and_leaves_no_file() {
    if !is_root() {
        return;
    }
    let home = scratch();
    let Some(disk) = SmallDisk::mount(home.path(), 4096) else {
        return;
    };
    let filler = disk.0.join("filler");
    let full = std::fs::write(&filler, vec![1; 8 << 20]);
    assert!(full.is_err(), "the disk is not full");
    for adapter in ADAPTERS {
        let error = is_an_error(&Plan::new(What::Try).adapter(adapter).directory(disk.0));
        assert!(!error.is_empty());
        assert_eq!(files(disk.0), [filler.as_path()], "{error}");
    }
}

/// Less may be taken where the disk is small, but what was taken is there, or nothing is.
#[test]
fn a_small_disk_holds_what_was_started_or_nothing() {
    if !is_root() {
        return;
    }
    let home = scratch();
    let Some(disk) = SmallDisk::mount(home.path(), 3072) else {
        return;
    };
    let plan = Plan::new(What::Try).capacity_mib(64).directory(disk.0);
    let (victim, said) = tries(&plan);
    if said.starts_with("error ") {
        assert_eq!(files(disk.0), [] as [&Path; 0], "{said}");
    } else {
        let header = victim.recording().recording.header;
        assert_ne!(header.limited_by, "", "{header:?}");
        assert!(header.layout.file_bytes() <= 3072 * 1024);
        let bytes = std::fs::metadata(victim.path())
            .expect("the recording")
            .len();
        assert_eq!(bytes, header.layout.file_bytes());
    }
}

#[test]
fn a_file_size_limit_is_respected() {
    let home = scratch();
    let directory = home.path().join("recordings");
    let script = format!(
        "ulimit -f 2048; exec \"$0\" \"$@\"; # {}",
        directory.display()
    );
    let plan = Plan::new(What::Try).capacity_mib(64);
    let output = Command::new("bash")
        .args(["-c", &script, VICTIM])
        .args(plan.to_args())
        .arg(&directory)
        .arg(home.path().join("acks"))
        .output()
        .expect("bash");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    for path in files(&directory) {
        assert!(
            !said.starts_with("error "),
            "an error that left {}: {said}",
            path.display()
        );
        let bytes = std::fs::metadata(&path).expect("the recording").len();
        assert!(bytes <= 2048 * 1024, "{bytes}");
    }
}

#[test]
fn a_directory_without_permission_is_an_error() {
    if !is_root() {
        return;
    }
    let home = scratch();
    let closed = home.path().join("closed");
    std::fs::create_dir(&closed).expect("a directory");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o755)).expect("permissions");
    // The parent must be passable, and so must the way to the program.
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).expect("permissions");
    let program = home.path().join("victim");
    // By another process: a child that is forked while this one holds the copy open
    // for writing would keep it from being executed.
    let copied = std::process::Command::new("cp")
        .arg(VICTIM)
        .arg(&program)
        .status();
    assert!(copied.expect("cp").success());
    for directory in [closed.clone(), closed.join("below")] {
        let plan = Plan::new(What::Try).directory(directory).uid(NOBODY);
        let mut victim = Victim::start(&program, &plan);
        let said = victim.says();
        assert!(said.starts_with("error "), "{said}");
        assert!(victim.ends().success());
        assert_eq!(files(&closed), [] as [&Path; 0], "{said}");
    }
}

#[test]
fn a_directory_that_is_a_file_is_an_error() {
    let home = scratch();
    let file = home.path().join("file");
    std::fs::write(&file, "a file").expect("a file");
    for adapter in ADAPTERS {
        let error = is_an_error(&Plan::new(What::Try).adapter(adapter).directory(&file));
        assert!(
            error.contains("file"),
            "it does not say what is wrong: {error}"
        );
    }
    assert_eq!(std::fs::read(&file).expect("still there"), b"a file");
}

#[test]
fn a_recorder_that_the_environment_turns_off_leaves_no_file() {
    for what in [What::Try, What::TryInit] {
        let (victim, said) = tries(&Plan::new(what).env("TTLOG", "off"));
        assert_eq!(victim.files(), [] as [&Path; 0], "{said}");
    }
}

#[test]
fn the_environment_says_where_and_how_large() {
    let (victim, said) = tries(&Plan::new(What::TryInit).env("TTLOG_CAPACITY_MIB", "3"));
    assert_eq!(said, "started");
    let header = victim.recording().recording.header;
    assert_eq!(header.asked_bytes, 3 << 20);
}

#[test]
fn a_broken_environment_is_an_error_and_leaves_no_file() {
    for (key, value) in [
        ("TTLOG_CAPACITY_MIB", "much"),
        ("TTLOG_WINDOW", "soon"),
        ("TTLOG_FILTER", "a=b=c"),
    ] {
        let (victim, said) = tries(&Plan::new(What::TryInit).env(key, value));
        assert!(said.starts_with("error "), "{key}={value}: {said}");
        assert!(said.contains(value), "it does not quote {value}: {said}");
        assert_eq!(victim.files(), [] as [&Path; 0], "{said}");
    }
}

#[test]
fn a_recording_is_private_whatever_the_umask() {
    let mut victim = Victim::start(VICTIM, &Plan::new(What::Wait));
    victim.until("waiting");
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
    };
    assert_eq!(mode(&victim.path()) & 0o777, 0o600);
    assert_eq!(mode(victim.directory()) & 0o777, 0o700);
    victim.dies_by(Signal::SIGKILL);
}
