//! What somebody planted where a recording or a snapshot is to be made: it stays as it was,
//! the host lives and ends as without a recorder, and the recording is elsewhere, or there
//! is none.
//!
//! Names hold a process's id and the moment in milliseconds, so whoever knows the id plants
//! something under all names of the next seconds, but every [`FREE`]th: a recorder that takes
//! the next free name finds one, and one that opens what is there does not get so far.
//!
//! There is no lock to be planted: locks are on the directory, and on the recording itself.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use tempfile::TempDir;

use crate::outcome::Outcome;
use crate::reader;
use crate::victim::{files, forgets_the_recorder, scratch};

/// The status that a host ends with.
pub const STATUS: i32 = 7;

/// Every how many milliseconds a name is left free.
pub const FREE: u64 = 64;

/// For how many milliseconds names are planted.
const PLANTED_MS: u64 = 3_000;

/// How long a reader may take before it counts as one that hangs.
const PATIENCE: &str = "60";

const NOBODY: u32 = 65534;

const PRECIOUS: &[u8] = b"of the victim, and not to be touched";

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A symbolic link to the victim's file.
    LinkToFile,
    /// A symbolic link to where nothing is.
    LinkToNowhere,
    /// A symbolic link to the victim's directory.
    LinkToDirectory,
    /// A hard link to the victim's file.
    HardLink,
    /// A FIFO that nobody reads.
    Fifo,
    /// A directory.
    Directory,
    /// A file of another user's; for root.
    ForeignFile,
    /// A socket.
    Socket,
    /// A device node; for root.
    Device,
}

/// All of them.
pub const OBJECTS: [Object; 9] = [
    Object::LinkToFile,
    Object::LinkToNowhere,
    Object::LinkToDirectory,
    Object::HardLink,
    Object::Fifo,
    Object::Directory,
    Object::ForeignFile,
    Object::Socket,
    Object::Device,
];

/// Under which name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// The recording's.
    Recording,
    /// The snapshot's.
    Snapshot,
    /// That of a recording that is not finished, where it has to have one.
    RecordingWithDot,
    /// That of a snapshot that is not finished.
    SnapshotWithDot,
}

const NAMES: [Name; 4] = [
    Name::Recording,
    Name::Snapshot,
    Name::RecordingWithDot,
    Name::SnapshotWithDot,
];

impl Name {
    fn of(self, pid: u32, stamp: u64) -> String {
        match self {
            Name::Recording => format!("ttlog-{pid}-{stamp}.ring"),
            Name::Snapshot => format!("ttlog-{pid}-{stamp}.bin"),
            Name::RecordingWithDot | Name::SnapshotWithDot => format!(".ttlog-{pid}-{stamp}.tmp"),
        }
    }

    fn has_dot(self) -> bool {
        matches!(self, Name::RecordingWithDot | Name::SnapshotWithDot)
    }

    fn is_of_snapshot(self) -> bool {
        matches!(self, Name::Snapshot | Name::SnapshotWithDot)
    }
}

/// Who records in the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A recorder.
    Ttlog,
    /// Nobody.
    None,
    /// A double that opens whatever is there.
    Double,
}

/// The victim, and the directories in which something is planted.
struct Scene {
    home: TempDir,
    is_root: bool,
}

impl Scene {
    fn new() -> Scene {
        Scene::at(scratch())
    }

    fn at(home: TempDir) -> Scene {
        let scene = Scene {
            home,
            is_root: nix::unistd::geteuid().is_root(),
        };
        fs::write(scene.precious(), PRECIOUS).expect("a file");
        for directory in ["theirs", "recordings", "snapshots", "temporary"] {
            fs::create_dir(scene.path(directory)).expect("a directory");
        }
        fs::write(scene.path("theirs/kept"), PRECIOUS).expect("a file");
        for open in ["recordings", "snapshots", "temporary"] {
            // As in a directory of temporary files.
            let mode = Permissions::from_mode(0o1777);
            fs::set_permissions(scene.path(open), mode).expect("a mode");
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn precious(&self) -> PathBuf {
        self.path("precious")
    }

    /// Plants something; false where that takes a right that nobody here has.
    fn plant(&self, object: Object, at: &Path) -> bool {
        match object {
            Object::LinkToFile => symlink(self.precious(), at).expect("a link"),
            Object::LinkToNowhere => symlink(self.path("nowhere"), at).expect("a link"),
            Object::LinkToDirectory => symlink(self.path("theirs"), at).expect("a link"),
            Object::HardLink => fs::hard_link(self.precious(), at).expect("a link"),
            Object::Fifo => nix::unistd::mkfifo(at, Mode::S_IRWXU).expect("a FIFO"),
            Object::Directory => fs::create_dir(at).expect("a directory"),
            Object::ForeignFile if self.is_root => {
                fs::write(at, PRECIOUS).expect("a file");
                chown(at, Some(NOBODY), None).expect("a file of another user");
            }
            Object::Socket => drop(UnixListener::bind(at).expect("a socket")),
            Object::Device if self.is_root => {
                mknod(at, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3)).expect("a device");
            }
            Object::ForeignFile | Object::Device => return false,
        }
        true
    }

    /// What is wrong with what is the victim's.
    fn harm(&self) -> Option<String> {
        let is = |path: PathBuf| fs::read(path).is_ok_and(|bytes| bytes == PRECIOUS);
        if !is(self.precious()) {
            return Some("the victim's file was written to".into());
        }
        if !is(self.path("theirs/kept")) || files(&self.path("theirs")).len() != 1 {
            return Some("the victim's directory was written to".into());
        }
        let nowhere = fs::symlink_metadata(self.path("nowhere"));
        nowhere.is_ok().then(|| "what was nowhere is there".into())
    }
}

/// What something was before.
#[derive(Debug, PartialEq)]
struct Seen {
    inode: u64,
    mode: u32,
    owner: u32,
    bytes: Option<Vec<u8>>,
}

impl Seen {
    fn of(path: &Path) -> Option<Seen> {
        let found = fs::symlink_metadata(path).ok()?;
        let bytes = found.is_file().then(|| fs::read(path).ok()).flatten();
        Some(Seen {
            inode: found.ino(),
            mode: found.mode(),
            owner: found.uid(),
            bytes,
        })
    }
}

/// A host that does as it is told.
struct Host {
    child: Child,
    words: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Host {
    /// Starts it after a shell has done `first`, which may mount what it alone sees.
    fn start(program: &Path, how: How, scene: &Scene, directory: &str, first: &str) -> Host {
        let script = format!("{first} exec \"$0\" \"$@\"");
        let mut command = match first.starts_with("mount") {
            false => Command::new("sh"),
            true => {
                let mut command = Command::new("unshare");
                command.args(["-m", "sh"]);
                command
            }
        };
        command.args(["-c", &script]).arg(program);
        command.arg(format!("{how:?}").to_lowercase());
        command.arg(match directory {
            "-" => PathBuf::from("-"),
            name => scene.path(name),
        });
        command.arg(scene.path("snapshots"));
        forgets_the_recorder(&mut command).env("TMPDIR", scene.path("temporary"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the host starts");
        let words = child.stdin.take().expect("piped");
        let says = BufReader::new(child.stdout.take().expect("piped"));
        Host { child, words, says }
    }

    /// What it says once it has obeyed.
    fn obeys(&mut self, word: &str) -> Result<PathBuf, String> {
        writeln!(self.words, "{word}").map_err(|_| "it is gone".to_owned())?;
        let mut line = String::new();
        self.says.read_line(&mut line).expect("its words");
        let line = line.trim_end();
        match line.strip_prefix("done") {
            Some(path) => Ok(PathBuf::from(path.trim_start())),
            None => Err(line.to_owned()),
        }
    }

    fn ends(mut self) -> Option<i32> {
        let _ = writeln!(self.words, "end");
        drop(self.words);
        self.child.wait().expect("its end").code()
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
}

/// Hides /proc, without which no file gets its name late.
const NO_PROC: &str = "mount -t tmpfs tmpfs /proc &&";

/// Plants every object under every name, with `program`, the binary `planted`, as the host.
pub fn names(program: &Path, how: How) -> Outcome {
    let mut outcome = Outcome::default();
    for name in NAMES {
        for object in OBJECTS {
            let scene = Scene::new();
            if name.has_dot() && !scene.is_root {
                continue;
            }
            under_a_name(program, how, (name, object), &scene, &mut outcome);
        }
    }
    outcome
}

fn under_a_name(
    program: &Path,
    how: How,
    (name, object): (Name, Object),
    scene: &Scene,
    outcome: &mut Outcome,
) {
    let what = format!("{how:?}: {object:?} as {name:?}");
    let first = if name.has_dot() { NO_PROC } else { "" };
    let mut host = Host::start(program, how, scene, "recordings", first);
    let pid = host.child.id();
    let directory = match name.is_of_snapshot() {
        true => scene.path("snapshots"),
        false => scene.path("recordings"),
    };
    if name.is_of_snapshot() {
        let started = host.obeys("start");
        outcome.expect(started.is_ok(), || format!("{what}: {started:?}"));
    }
    let first = now_ms();
    let stamps = (first..first + PLANTED_MS).filter(|stamp| !stamp.is_multiple_of(FREE));
    let mut planted = Vec::new();
    for path in stamps.map(|stamp| directory.join(name.of(pid, stamp))) {
        if !scene.plant(object, &path) {
            let _ = host.ends();
            eprintln!("SKIPPED: only root can plant {object:?}");
            return;
        }
        planted.push((Seen::of(&path), path));
    }
    let made = match name.is_of_snapshot() {
        true => host.obeys("snapshot"),
        false => host.obeys("start"),
    };
    if now_ms() > first + PLANTED_MS {
        eprintln!("SKIPPED: this machine was too slow for {what}");
        let _ = host.ends();
        return;
    }
    if how == How::Ttlog {
        outcome.expect(
            made.as_ref().is_ok_and(|path| is_whole_and_private(path)),
            || format!("{what}: {made:?}"),
        );
        let is_free = made.as_ref().is_ok_and(|path| is_left_free(path));
        outcome.expect(name.has_dot() || is_free, || {
            format!("{what}: {made:?} was planted")
        });
        outcome.expect(host.obeys("log").is_ok(), || {
            format!("{what}: it does not log")
        });
        let snapshot = host.obeys("snapshot");
        outcome.expect(snapshot.is_ok(), || format!("{what}: {snapshot:?}"));
    }
    let status = host.ends();
    outcome.expect(status == Some(STATUS), || {
        format!("{what}: it ended with {status:?}")
    });
    let harm = scene.harm();
    outcome.expect(harm.is_none(), || format!("{what}: {harm:?}"));
    let changed = planted.iter().find(|(seen, path)| *seen != Seen::of(path));
    outcome.expect(changed.is_none(), || {
        format!("{what}: changed is {changed:?}")
    });
    for command in ["list", "view", "info"] {
        reader_returns(program, command, &directory, &what, outcome);
    }
    if let Some((_, path)) = planted.first() {
        reader_returns(program, "info", path, &what, outcome);
    }
}

/// Whether a name is one of those under which nothing was planted.
fn is_left_free(path: &Path) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str());
    let stamp = name.and_then(|name| name.rsplit_once('-')?.1.parse::<u64>().ok());
    stamp.is_some_and(|stamp| stamp.is_multiple_of(FREE))
}

/// Whether a file is a regular one, has no other name, and is its owner's alone.
fn is_whole_and_private(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file() && found.nlink() == 1 && found.mode() & 0o7777 == 0o600)
}

/// A reader may say what it likes, but it must not hang, nor die.
fn reader_returns(program: &Path, command: &str, at: &Path, what: &str, outcome: &mut Outcome) {
    let output = Command::new("timeout")
        .arg(PATIENCE)
        .arg(reader::program(program))
        .arg(command)
        .arg(at)
        .output()
        .expect("ttlog-reader runs");
    let returned = matches!(output.status.code(), Some(0 | 1 | 3));
    outcome.expect(returned, || {
        format!("{what}: {command} {}: {output:?}", at.display())
    });
}

/// What is in the place of the directory that a recorder takes when nobody says which.
#[derive(Clone, Copy, Debug)]
enum Instead {
    Object(Object),
    /// A directory of another user's.
    ForeignDirectory,
    /// A directory with this mode.
    Mode(u32),
}

/// Plants everything in the place of the default directory, in memory and among temporary
/// files. For root, who can have a /dev/shm of his own.
pub fn directories(program: &Path, how: How) -> Outcome {
    let mut outcome = Outcome::default();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can do this");
        return outcome;
    }
    let objects = OBJECTS
        .into_iter()
        .filter(|&object| object != Object::Directory);
    let all = objects.map(Instead::Object).chain([
        Instead::ForeignDirectory,
        Instead::Mode(0o777),
        Instead::Mode(0o1777),
        Instead::Mode(0o770),
        Instead::Mode(0o750),
        Instead::Mode(0o500),
    ]);
    for instead in all {
        for both in [false, true] {
            instead_of_the_directory(program, how, (instead, both), &mut outcome);
        }
    }
    outcome
}

fn instead_of_the_directory(
    program: &Path,
    how: How,
    (instead, both): (Instead, bool),
    outcome: &mut Outcome,
) {
    let what = format!("{instead:?} in memory, and among temporary files: {both}");
    let scene = Scene::at(tempfile::tempdir().expect("a directory"));
    // A directory in memory takes the place of all memory, in the host's namespace.
    let memory = Scene::new();
    let bind = format!(
        "mount --bind {} /dev/shm &&",
        memory.path("temporary").display()
    );
    let in_memory = memory.path("temporary/ttlog-0");
    let in_temporary = scene.path("temporary/ttlog-0");
    let at: &[&PathBuf] = match both {
        true => &[&in_memory, &in_temporary],
        false => &[&in_memory],
    };
    for path in at {
        let made = match instead {
            // No hard link leads from one file system to another.
            Instead::Object(Object::HardLink) if **path == in_memory => {
                memory.plant(Object::HardLink, path)
            }
            Instead::Object(object) => scene.plant(object, path),
            Instead::ForeignDirectory => {
                fs::create_dir(path).expect("a directory");
                chown(path, Some(NOBODY), None).expect("another owner");
                true
            }
            Instead::Mode(mode) => {
                fs::create_dir(path).expect("a directory");
                fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
                true
            }
        };
        assert!(made, "root can plant anything");
    }
    let before: Vec<_> = at
        .iter()
        .map(|path| (Seen::of(path), files(path)))
        .collect();
    let mut host = Host::start(program, how, &scene, "-", &bind);
    let started = host.obeys("start");
    let private = match both {
        true => started.is_err(),
        false => started.as_ref().is_ok_and(|path| {
            path.parent() == Some(&in_temporary)
                && is_whole_and_private(path)
                && fs::metadata(&in_temporary).is_ok_and(|found| found.mode() & 0o7777 == 0o700)
        }),
    };
    outcome.expect(private, || format!("{what}: {started:?}"));
    outcome.expect(host.obeys("log").is_ok(), || {
        format!("{what}: it does not log")
    });
    let status = host.ends();
    outcome.expect(status == Some(STATUS), || {
        format!("{what}: it ended with {status:?}")
    });
    let harm = scene.harm().or(memory.harm());
    outcome.expect(harm.is_none(), || format!("{what}: {harm:?}"));
    let after: Vec<_> = at
        .iter()
        .map(|path| (Seen::of(path), files(path)))
        .collect();
    outcome.expect(before == after, || {
        format!("{what}: {before:?} became {after:?}")
    });
}

/// Plants something between a host's steps: in the place of its recording, of the directory
/// of that, and of the directory of its snapshots.
pub fn meanwhile(program: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    for object in OBJECTS {
        for place in ["recording", "recordings", "snapshots"] {
            let what = format!("{object:?} in the place of its {place}");
            let scene = Scene::new();
            let mut host = Host::start(program, How::Ttlog, &scene, "recordings", "");
            let started = host.obeys("start");
            let Ok(path) = started else {
                outcome.expect(false, || format!("{what}: {started:?}"));
                continue;
            };
            outcome.expect(host.obeys("log").is_ok(), || {
                format!("{what}: it does not log")
            });
            let at = match place {
                "recording" => path,
                other => scene.path(other),
            };
            fs::rename(&at, scene.path("moved")).expect("it is moved away");
            if !scene.plant(object, &at) {
                let _ = host.ends();
                continue;
            }
            let seen = Seen::of(&at);
            for word in ["log", "snapshot", "log"] {
                // Wherever the snapshot goes, or if there is none.
                let said = host.obeys(word);
                let lives =
                    said.is_ok() || said.as_ref().is_err_and(|said| said.starts_with("error "));
                outcome.expect(lives, || format!("{what}: {word}: {said:?}"));
            }
            let status = host.ends();
            outcome.expect(status == Some(STATUS), || {
                format!("{what}: ended with {status:?}")
            });
            let harm = scene.harm();
            outcome.expect(harm.is_none(), || format!("{what}: {harm:?}"));
            let now = Seen::of(&at);
            outcome.expect(now == seen, || format!("{what}: {seen:?} became {now:?}"));
            for command in ["list", "view"] {
                reader_returns(
                    program,
                    command,
                    &scene.path("recordings"),
                    &what,
                    &mut outcome,
                );
            }
        }
    }
    outcome
}

/// Whatever the umask, files and directories are their owner's alone.
pub fn modes(program: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let is_root = nix::unistd::geteuid().is_root();
    for umask in ["000", "022", "077", "777"] {
        if umask == "777" && !is_root {
            // Who may not enter what he makes has no recording.
            continue;
        }
        let what = format!("umask {umask}");
        let scene = Scene::new();
        fs::remove_dir(scene.path("recordings")).expect("it is empty");
        fs::remove_dir(scene.path("snapshots")).expect("it is empty");
        let first = format!("umask {umask};");
        let mut host = Host::start(program, How::Ttlog, &scene, "recordings", &first);
        let mut made = Vec::new();
        for word in ["start", "log", "snapshot"] {
            let said = host.obeys(word);
            outcome.expect(said.is_ok(), || format!("{what}: {said:?}"));
            made.extend(said.ok().filter(|path| *path != PathBuf::new()));
        }
        for path in &made {
            outcome.expect(is_whole_and_private(path), || {
                format!("{what}: {}", path.display())
            });
        }
        for directory in ["recordings", "snapshots"] {
            let mode = fs::metadata(scene.path(directory)).map(|found| found.mode() & 0o7777);
            outcome.expect(mode.as_ref().is_ok_and(|&mode| mode == 0o700), || {
                format!("{what}: the mode of {directory} is {mode:?}")
            });
        }
        let _ = host.ends();
        for arguments in [
            "export",
            "export --format csv",
            "export --format ctf",
            "scrub",
        ] {
            let out = scene.path("out");
            let line = format!(
                "{first} exec \"$0\" {arguments} \"$1\" -o {}",
                out.display()
            );
            let output = Command::new("sh")
                .args(["-c", &line])
                .arg(reader::program(program))
                .arg(made.first().expect("a recording"))
                .output()
                .expect("ttlog-reader runs");
            let mode = fs::metadata(&out).map_or(0o7777, |found| found.mode() & 0o7777);
            let most = if out.is_dir() { 0o700 } else { 0o600 };
            let wanted = if umask == "777" { 0 } else { most };
            outcome.expect(mode & !most == 0 && mode >= wanted, || {
                format!("{what}: {arguments} made mode {mode:o}: {output:?}")
            });
            let _ = fs::remove_file(&out);
            let _ = fs::remove_dir_all(&out);
        }
    }
    outcome
}

/// The name of a service, of threads and of an executable are no paths, neither to the
/// recorder nor to the reader, whatever is written of the recording and its snapshot.
pub fn hostile_names(program: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let scene = Scene::new();
    let executable = scene.path(&format!("x\n\u{1b}..;{}", "long".repeat(50)));
    // By another process, so that nobody holds it open for writing.
    let copied = Command::new("cp").arg(program).arg(&executable).status();
    assert!(copied.expect("cp").success());
    let mut host = Host::start(&executable, How::Ttlog, &scene, "recordings", "");
    let mut made = Vec::new();
    for word in ["start", "log", "snapshot"] {
        let said = host.obeys(word);
        outcome.expect(said.is_ok(), || format!("{word}: {said:?}"));
        made.extend(said.ok().filter(|path| *path != PathBuf::new()));
    }
    let pid = host.child.id();
    let status = host.ends();
    outcome.expect(status == Some(STATUS), || {
        format!("it ended with {status:?}")
    });
    let numbers = |path: &Path, endings: &[&str]| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let rest = name.strip_prefix(&format!("ttlog-{pid}-"));
        rest.and_then(|rest| rest.split_once('.'))
            .is_some_and(|(stamp, ending)| {
                stamp
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'-')
                    && endings.contains(&ending)
            })
    };
    for directory in ["recordings", "snapshots"] {
        let found = files(&scene.path(directory));
        let all = found.iter().all(|path| numbers(path, &["ring", "bin"]));
        outcome.expect(all && !found.is_empty(), || format!("{found:?}"));
    }
    let desk = scene.path("desk");
    fs::create_dir(&desk).expect("a directory");
    let around = files(scene.home.path()).len();
    let formats = ["bin", "jsonl", "csv", "chrome", "perfetto", "ctf"];
    let endings = [
        "bin",
        "jsonl",
        "csv",
        "trace.json",
        "pftrace",
        "ctf",
        "ring",
    ];
    let exports = formats.map(|format| vec!["export", "--all", "--format", format]);
    let lines = exports.into_iter().chain([vec!["scrub", "-o", "."]]);
    let lines: Vec<Vec<&str>> = lines.collect();
    for (path, line) in made
        .iter()
        .flat_map(|path| lines.iter().map(move |line| (path, line)))
    {
        let before = files(&desk).len();
        let output = Command::new(reader::program(program))
            .current_dir(&desk)
            .args(line)
            .arg(path)
            .output()
            .expect("ttlog-reader runs");
        outcome.expect(output.status.success(), || format!("{line:?}: {output:?}"));
        let found = files(&desk);
        let all = found.iter().all(|path| numbers(path, &endings));
        outcome.expect(all && found.len() == before + 1, || {
            format!("{line:?}: {found:?}")
        });
    }
    for directory in files(&desk).iter().filter(|path| path.is_dir()) {
        let names: Vec<_> = files(directory)
            .iter()
            .map(|path| path.file_name().map(ToOwned::to_owned))
            .collect();
        let all = names
            .iter()
            .flatten()
            .all(|name| name == "metadata" || name == "stream");
        outcome.expect(all && names.len() == 2, || format!("{names:?}"));
    }
    let now = files(scene.home.path()).len();
    outcome.expect(now == around, || {
        format!("{around} files around it became {now}")
    });
    outcome
}
