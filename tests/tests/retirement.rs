//! What old processes left stays within its bounds, the telling part of it longest, and
//! nothing goes that somebody still uses.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ttlog_reader::Kind;
use ttlog_tests::Violation;
use ttlog_tests::build::seeded;
use ttlog_tests::confined::{MemoryCgroup, Namespace, is_root};
use ttlog_tests::daemon::eventually;
use ttlog_tests::mayfly::{Fate, Mayfly, Retain, Swarm, age, numbers, taken};
use ttlog_tests::reader;
use ttlog_tests::victim::files;

const MAYFLY: &str = env!("CARGO_BIN_EXE_mayfly");

const MIB: u64 = 1 << 20;

/// Nothing that is old stays.
const NOTHING: Retain = Some((0, 0));

fn tells(recording: &Path) -> Vec<u64> {
    let opened = ttlog_reader::open(recording);
    numbers(&opened.unwrap_or_else(|error| panic!("{}: {error}", recording.display())))
}

/// A directory, locked for as long as this lives.
fn locked(path: &Path) -> File {
    let directory = File::open(path).expect("a directory");
    directory.try_lock().expect("the lock");
    directory
}

#[test]
fn a_crash_loop_leaves_so_many_recordings_and_its_first_and_newest_crash() {
    const STARTS: u64 = 1000;
    const KEPT: usize = 8;
    let retain = Some((KEPT, 40 * MIB));
    let swarm = Swarm::new(MAYFLY);
    let fate = |number: u64| [Fate::Killed, Fate::Aborts][(number / 2 % 2) as usize];
    let first = swarm.lives_and_dies(fate(0), 0, retain);
    let all = Mutex::new(vec![(first.clone(), 0)]);
    let most = Mutex::new(0);
    let lane = |from: u64| {
        for number in (from..STARTS).step_by(2) {
            let path = swarm.lives_and_dies(fate(number), number, retain);
            all.lock().expect("no panic").push((path, number));
            let there = swarm.old();
            // Each lane's lives, or has died since; and who finds the directory locked
            // leaves what is too much to a later start.
            assert!(there.len() <= KEPT + 24, "{there:?}");
            assert!(taken(&there) <= 40 * MIB);
            let mut most = most.lock().expect("no panic");
            *most = there.len().max(*most);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| lane(1));
        scope.spawn(|| lane(2));
    });
    let mut last = swarm.start(Fate::Waits, STARTS, retain);
    let last_path = last.path();
    let mut there = swarm.old();
    assert_eq!(there.len(), KEPT + 1, "{there:?}");
    assert_eq!(there.pop(), Some(last_path));

    let mut all = all.into_inner().expect("no panic");
    all.sort_by_key(|(path, _)| age(path));
    let paths: HashSet<_> = all.iter().map(|(path, _)| path).collect();
    assert_eq!(paths.len() as u64, STARTS, "no name was given twice");
    let newest = &all[all.len() - (KEPT - 1)..];
    let expected: Vec<_> = all[..1].iter().chain(newest).cloned().collect();
    let found = there.iter().map(|path| (path.clone(), tells(path)[0]));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(there[0], first);
    println!(
        "at most {} were there",
        most.into_inner().expect("no panic")
    );
}

#[test]
fn one_at_a_time_the_bounds_hold_at_every_start() {
    for (retain, count, bytes) in [
        (Some((3, 1 << 40)), 3, 1 << 40),
        (Some((100, 5 * MIB)), 4, 5 * MIB),
        (Some((0, 1 << 40)), 0, 0),
        (Some((100, 1)), 0, 0),
        (None, 16, 512 * MIB),
    ] {
        let swarm = Swarm::new(MAYFLY);
        for number in 0..20 {
            let mut mayfly = swarm.start(Fate::Waits, number, retain);
            let path = mayfly.path();
            let mut there = swarm.old();
            assert_eq!(there.pop(), Some(path), "it is the youngest");
            assert_eq!(there.len(), count.min(number as usize), "{retain:?}");
            assert!(taken(&there) <= bytes, "{retain:?}");
            mayfly.dies();
        }
    }
}

#[test]
fn what_ended_goes_before_what_crashed() {
    let swarm = Swarm::new(MAYFLY);
    let retain = Some((4, 40 * MIB));
    let crashed: Vec<_> = [Fate::Killed, Fate::Aborts, Fate::Panics]
        .into_iter()
        .map(|fate| swarm.lives_and_dies(fate, 1, retain))
        .collect();
    for number in 2..6 {
        let ended = swarm.lives_and_dies(Fate::Exits, number, retain);
        let opened = ttlog_reader::open(&ended).expect("a recording");
        assert_eq!(opened.verdict.kind, Kind::Ended);
    }
    let there = swarm.old();
    assert_eq!(there.len(), 5);
    assert_eq!(there[..3], crashed);
    assert_eq!(tells(&there[3]), [4]);
    let last = swarm.lives_and_dies(Fate::Killed, 7, Some((3, 40 * MIB)));
    assert_eq!(swarm.old(), [crashed.as_slice(), &[last]].concat());
}

/// The snapshots there are, oldest first.
fn snapshots(swarm: &Swarm) -> Vec<PathBuf> {
    let mut found = files(&swarm.snapshots());
    found.sort_by_key(|path| age(path));
    found
}

#[test]
fn a_loop_of_panics_leaves_so_many_snapshots_and_a_readers_export_stays() {
    const KEPT: usize = 4;
    let swarm = Swarm::new(MAYFLY);
    let retain = Some((KEPT, 40 * MIB));
    let exported = swarm.lives_and_dies(Fate::Killed, 0, retain);
    let export = swarm.snapshots().join("ttlog-1-1.bin");
    let program = reader::program(Path::new(MAYFLY));
    let mut command = Command::new(program);
    command.arg("export").arg(exported).arg("-o").arg(&export);
    assert!(command.output().expect("the reader runs").status.success());

    let mut first = None;
    for number in 1..=12 {
        let before = snapshots(&swarm);
        swarm.lives_and_dies(Fate::Panics, number, retain);
        let there = snapshots(&swarm);
        // The export, those that are old, and the one of this panic.
        assert_eq!(there.len(), 1 + KEPT.min(number as usize - 1) + 1);
        assert_eq!(there[0], export);
        first = first.or_else(|| there.get(1).cloned());
        assert_eq!(there.get(1), first.as_ref());
        assert!(!before.contains(&there[there.len() - 1]));
        assert_eq!(tells(&there[there.len() - 1]), [number]);
    }
    swarm.lives_and_dies(Fate::Killed, 13, NOTHING);
    assert_eq!(snapshots(&swarm), [export]);
}

/// Starts this many processes in one directory at the same moment, in several pid
/// namespaces where these can be had, and tells their recordings.
fn at_once(
    swarm: &Swarm,
    namespaces: &[Namespace],
    numbers: impl Iterator<Item = u64>,
    retain: Retain,
) -> Vec<(Mayfly, PathBuf)> {
    let start = |number: u64| match namespaces {
        [] => swarm.start(Fate::AtOnce, number, retain),
        _ => {
            let namespace = &namespaces[number as usize % namespaces.len()];
            swarm.start_by(Fate::AtOnce, number, retain, |command| {
                namespace.spawn(command)
            })
        }
    };
    let mut mayflies: Vec<_> = numbers.map(start).collect();
    mayflies.iter_mut().for_each(Mayfly::begins);
    let with_path = |mut mayfly: Mayfly| {
        let path = mayfly.path();
        (mayfly, path)
    };
    mayflies.into_iter().map(with_path).collect()
}

/// Checks that the recordings of processes are there, and say what each said.
fn all_there(mayflies: &[(Mayfly, PathBuf)]) -> Result<(), Violation> {
    for (mayfly, path) in mayflies {
        let number = mayfly.number();
        let opened = ttlog_reader::open(path)
            .map_err(|error| Violation::new(format!("{number}: {error}")))?;
        if numbers(&opened) != [number] {
            return Err(Violation::new(format!("{number} is told otherwise")));
        }
    }
    Ok(())
}

/// Has processes die, each of which has its recording until then.
fn die_with_their_recordings(mayflies: Vec<(Mayfly, PathBuf)>) -> Result<(), Violation> {
    for (mut mayfly, path) in mayflies {
        if !path.exists() {
            let words = format!("{} lives, its recording is gone", mayfly.number());
            return Err(Violation::new(words));
        }
        mayfly.dies();
    }
    Ok(())
}

/// 200 processes start at once where 20 have died; half of them die while 50 others
/// start; and in the end all die, and one more starts.
fn a_crowd_in_one_directory(swarm: &Swarm) -> Result<(), Violation> {
    const KEPT: usize = 4;
    let retain = Some((KEPT, 1 << 40));
    let namespaces: Vec<_> = (0..4).map_while(|_| Namespace::new()).collect();
    for number in 1000..1020 {
        swarm.lives_and_dies(Fate::Killed, number, Some((usize::MAX, u64::MAX)));
    }
    let mut living = at_once(swarm, &namespaces, 0..200, retain);
    let paths: HashSet<_> = living.iter().map(|(_, path)| path.clone()).collect();
    if paths.len() != living.len() {
        return Err(Violation::new("a name was given twice"));
    }
    all_there(&living)?;

    let dying = living.split_off(100);
    let mut younger = Vec::new();
    std::thread::scope(|scope| {
        let deaths = scope.spawn(|| die_with_their_recordings(dying));
        younger = at_once(swarm, &namespaces, 200..250, retain);
        deaths.join().expect("no panic")
    })?;
    living.append(&mut younger);
    all_there(&living)?;

    let mut one_more = swarm.start(Fate::Waits, 250, retain);
    let path = one_more.path();
    all_there(&living)?;
    let there = swarm.old();
    if there.len() != living.len() + KEPT + 1 {
        let words = format!("{} recordings are there", there.len());
        return Err(Violation::new(words));
    }
    living
        .iter_mut()
        .for_each(|(mayfly, _)| assert!(!mayfly.dies().success()));
    all_there(&living)?;
    swarm.lives_and_dies(Fate::Killed, 251, retain);
    let there = swarm.old();
    if there.len() != KEPT + 2 || !there.contains(&path) {
        return Err(Violation::new(format!("these are there: {there:?}")));
    }
    Ok(())
}

#[test]
fn two_hundred_that_start_at_once_keep_their_recordings_while_they_live() {
    a_crowd_in_one_directory(&Swarm::new(MAYFLY)).unwrap_or_else(|violation| panic!("{violation}"));
}

/// A recorder that does not ask for the lock is found out.
#[test]
fn a_recorder_that_retires_the_living_is_found() {
    let swarm = Swarm::with_bug(seeded(MAYFLY, "mayfly"), "retires-the-living");
    let found = a_crowd_in_one_directory(&swarm);
    println!("{}", found.expect_err("the living lost their recordings"));
}

/// A process that is nobody's child; killed when this is dropped.
struct Orphan(Pid);

impl Orphan {
    fn dies(&self) {
        let _ = kill(self.0, Signal::SIGKILL);
        eventually("the orphan's end", || {
            (kill(self.0, None) == Err(Errno::ESRCH)).then_some(())
        });
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

#[test]
fn what_a_child_of_the_dead_still_uses_stays() {
    let swarm = Swarm::new(MAYFLY);
    let mut parent = swarm.start(Fate::Forks, 1, NOTHING);
    let path = parent.path();
    let child = parent.says().parse().expect("a process id");
    let child = Orphan(Pid::from_raw(child));
    parent.dies();
    let other = swarm.lives_and_dies(Fate::Killed, 2, NOTHING);
    assert_eq!(swarm.old(), [path.as_path(), &other]);
    let other = swarm.lives_and_dies(Fate::Killed, 3, NOTHING);
    assert_eq!(swarm.old(), [path.as_path(), &other]);
    assert_eq!(tells(&path), [1]);
    // Whose parent has it become? Not everybody waits for those it was left.
    let waited = std::panic::catch_unwind(|| child.dies());
    if waited.is_err() {
        eprintln!("SKIPPED: nobody waits for orphans here");
        return;
    }
    let last = swarm.lives_and_dies(Fate::Killed, 4, NOTHING);
    assert_eq!(swarm.old(), [last]);
}

#[test]
fn what_others_put_under_a_recordings_name_stays_and_harms_nobody() {
    let swarm = Swarm::new(MAYFLY);
    let name = |n: u64| swarm.recordings().join(format!("ttlog-1-{n}.ring"));
    let target = swarm.home().join("target");
    let old = swarm.lives_and_dies(Fate::Killed, 1, NOTHING);
    fs::copy(&old, &target).expect("a copy");
    fs::rename(&old, name(0)).expect("an old name");
    symlink(&target, name(1)).expect("a link");
    let mkfifo = Command::new("mkfifo").arg(name(2)).status();
    assert!(mkfifo.expect("mkfifo runs").success());
    fs::create_dir(name(3)).expect("a directory");
    fs::write(name(4), "no recording").expect("a file");
    let mut stay = vec![name(1), name(2), name(3), name(4)];
    fs::copy(&target, name(5)).expect("a copy");
    if is_root() {
        chown(name(5), Some(65534), None).expect("a file of another user");
        stay.push(name(5));
    }
    let last = swarm.lives_and_dies(Fate::Killed, 2, NOTHING);
    stay.push(last);
    assert_eq!(swarm.old(), stay);
    assert_eq!(tells(&target), [1]);
}

#[test]
fn where_somebody_else_retires_nothing_goes_and_the_start_succeeds() {
    let swarm = Swarm::new(MAYFLY);
    (0..3).for_each(|number| drop(swarm.lives_and_dies(Fate::Panics, number, None)));
    let locks = [swarm.recordings(), swarm.snapshots()].map(|path| locked(&path));
    swarm.lives_and_dies(Fate::Killed, 3, NOTHING);
    assert_eq!((swarm.old().len(), snapshots(&swarm).len()), (4, 3));
    drop(locks);
    swarm.lives_and_dies(Fate::Killed, 4, NOTHING);
    assert_eq!((swarm.old().len(), snapshots(&swarm).len()), (1, 0));
}

/// A file system, mounted for as long as this value lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(kind: &str, options: &str, at: &Path) -> Option<Mounted> {
        if !is_root() {
            return None;
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", options, kind]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: no {kind} can be mounted here");
        }
        mounted.then(|| Mounted(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        let unmounted = unmounted.is_ok_and(|status| status.success());
        assert!(unmounted, "{} is mounted", self.0.display());
    }
}

/// On an overlay a mapping does not keep the lock of a file.
#[test]
fn who_closed_all_descriptors_on_an_overlay_keeps_its_recording() {
    let swarm = Swarm::new(MAYFLY);
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| swarm.home().join(name));
    for directory in [&lower, &upper, &work] {
        fs::create_dir(directory).expect("a directory");
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let Some(_overlay) = Mounted::new("overlay", &options, &swarm.recordings()) else {
        return;
    };
    let mut daemon = swarm.start(Fate::Closes, 1, NOTHING);
    let path = daemon.path();
    assert_eq!(daemon.says(), "closed");
    let other = swarm.lives_and_dies(Fate::Killed, 2, NOTHING);
    assert_eq!(swarm.old(), [path.as_path(), &other]);
    daemon.dies();
    assert_eq!(tells(&path), [1]);
    let last = swarm.lives_and_dies(Fate::Killed, 3, NOTHING);
    assert_eq!(swarm.old(), [last]);
}

/// Where nobody said how much may stay, it is at most half of a small file system.
#[test]
fn old_recordings_leave_room_on_a_small_file_system() {
    let swarm = Swarm::new(MAYFLY);
    let Some(_small) = Mounted::new("tmpfs", "size=8m", &swarm.recordings()) else {
        return;
    };
    for number in 0..12 {
        let mut mayfly = swarm.start(Fate::Waits, number, None);
        let path = mayfly.path();
        let mut there = swarm.old();
        assert_eq!(there.pop(), Some(path));
        assert_eq!(there.len(), 3.min(number as usize));
        assert!(taken(&there) <= 4 * MIB);
        mayfly.dies();
    }
}

/// And at most a quarter of what a memory cgroup may take, of which it takes memory.
#[test]
fn old_recordings_leave_memory_to_their_cgroup() {
    let Some(cgroup) = MemoryCgroup::new("retirement") else {
        return;
    };
    let swarm = Swarm::new(MAYFLY);
    for number in 0..12 {
        let mut mayfly = swarm.start_after(&cgroup.entry(), Fate::Waits, number, None);
        let path = mayfly.path();
        let mut there = swarm.old();
        assert_eq!(there.pop(), Some(path));
        assert_eq!(there.len(), 7.min(number as usize));
        assert!(taken(&there) <= 8 * MIB);
        mayfly.dies();
    }
}

/// The newest crash stays even where that is too much.
#[test]
fn the_newest_crash_stays_on_the_smallest_file_system() {
    let swarm = Swarm::new(MAYFLY);
    let Some(_small) = Mounted::new("tmpfs", "size=2400k", &swarm.recordings()) else {
        return;
    };
    for number in 0..4 {
        let mut mayfly = swarm.start(Fate::Waits, number, None);
        let path = mayfly.path();
        let there = swarm.old();
        assert_eq!(there.len(), 2.min(number as usize + 1));
        assert_eq!(there.last(), Some(&path));
        if let Some(before) = number.checked_sub(1) {
            assert_eq!(tells(&there[0]), [before]);
        }
        mayfly.dies();
    }
}
