//! The directory itself: whose it is, who may write, and how much room there is.
//!
//! One that is not there yet is judged by the nearest directory around it that is: a
//! recorder would make it there.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatFs, access, statfs};
use rustix::process::{Resource, geteuid, getrlimit};

use super::Finding;
use super::files::FileSystem;
use super::mounts::Mount;
use crate::measure::size;

/// A directory that can be looked at.
pub(super) struct Place {
    /// Where recordings would lie, links followed as far as there is anything.
    pub(super) path: PathBuf,
    /// The directory that is there: itself, or the nearest around it.
    pub(super) nearest: PathBuf,
    /// Whether files can be made there.
    pub(super) is_writable: bool,
    /// Who asks.
    pub(super) uid: u32,
    /// How long a file of this process may be, if there is a limit.
    pub(super) file_limit: Option<u64>,
    /// Whether half of the room is left to others.
    is_shared: bool,
    stat: StatFs,
}

/// Where a recorder of this user would record, unless it is told otherwise.
pub(super) fn by_default(file_bytes: u64) -> PathBuf {
    let name = format!("ttlog-{}", geteuid().as_raw());
    let memory = Path::new("/dev/shm");
    let has_room = statfs(memory).is_ok_and(|stat| {
        let is_memory = FileSystem::new(magic(&stat), "").is_in_memory();
        is_memory && free_bytes(&stat).is_none_or(|free| free / 2 >= file_bytes)
    });
    match has_room {
        true => memory.join(name),
        false => std::env::temp_dir().join(name),
    }
}

/// Looks at a directory, and tells of it; what is none is not looked at further.
pub(super) fn look(directory: &Path, findings: &mut Vec<Finding>) -> Option<Place> {
    let uid = geteuid().as_raw();
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let is_default = is_default(&absolute, uid);
    findings.push(judged(&absolute, uid, is_default));
    let nearest = absolute.ancestors().find(|path| path.is_dir())?;
    let rest = absolute.strip_prefix(nearest).ok()?.to_owned();
    let nearest = nearest.canonicalize().ok()?;
    let is_writable = access(&nearest, Access::WRITE_OK | Access::EXEC_OK);
    if let Err(cause) = is_writable {
        let words = format!(
            "user {uid} cannot make files in {}: {}",
            nearest.display(),
            io::Error::from(cause)
        );
        findings.push(Finding::bad(
            "place",
            words,
            "let the daemon's user write there",
        ));
    }
    Some(Place {
        path: nearest.join(rest),
        is_writable: is_writable.is_ok(),
        uid,
        file_limit: getrlimit(Resource::Fsize).current,
        is_shared: is_default && absolute.starts_with("/dev/shm"),
        stat: statfs(&nearest).ok()?,
        nearest,
    })
}

/// Whether a recorder takes it of its own accord, and only where it is the user's alone.
fn is_default(path: &Path, uid: u32) -> bool {
    let name = format!("ttlog-{uid}");
    let parents = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    parents.iter().any(|parent| path == parent.join(&name))
}

fn judged(path: &Path, uid: u32, is_default: bool) -> Finding {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let words = "it is not there yet: a recorder makes it, for its owner alone";
            return Finding::ok("place", words);
        }
        Err(cause) => {
            let words = format!("it cannot be looked at: {cause}");
            return Finding::bad("place", words, "look as the daemon's user");
        }
    };
    if found.is_symlink() {
        return of_link(path, uid, is_default);
    }
    if !found.is_dir() {
        return Finding::bad("place", "it is no directory", "give a directory");
    }
    of_owner(found.uid(), found.permissions().mode(), uid, is_default)
}

fn of_link(path: &Path, uid: u32, is_default: bool) -> Finding {
    if is_default {
        let words = "it is a link, which a recorder refuses where anybody could have put it";
        return Finding::bad("place", words, "remove it, or set TTLOG_DIR");
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            of_owner(found.uid(), found.permissions().mode(), uid, is_default)
        }
        _ => Finding::bad("place", "it is a link to no directory", "give a directory"),
    }
}

fn of_owner(owner: u32, mode: u32, uid: u32, is_default: bool) -> Finding {
    const STICKY: u32 = 0o1000;
    let shown = mode & 0o7777;
    if is_default && (owner != uid || mode & 0o777 != 0o700) {
        let words = format!(
            "it belongs to user {owner}, and its mode is {shown:03o}: a recorder takes its default directory only where it is its user's alone"
        );
        return Finding::bad(
            "place",
            words,
            "remove it, or chmod it 700, or set TTLOG_DIR",
        );
    }
    if mode & 0o002 != 0 && mode & STICKY == 0 {
        let words = format!("anybody can delete what lies here: its mode is {shown:03o}");
        return Finding::bad("place", words, "chmod it 700");
    }
    if owner != uid {
        let words = format!("it belongs to user {owner}, and this is user {uid}");
        return Finding::note("place", words, "run this as the daemon's user");
    }
    match mode & 0o077 {
        0 => Finding::ok(
            "place",
            format!("a directory of user {uid}, for its owner alone"),
        ),
        _ => {
            let words = format!(
                "a directory of user {uid}, which others may look into (mode {shown:03o}): recordings are for their owner alone all the same"
            );
            Finding::ok("place", words)
        }
    }
}

/// The number that tells kinds of file systems apart: all platforms have 32 bits.
fn magic(stat: &StatFs) -> u32 {
    stat.f_type as u32
}

/// Bytes that are free, `None` where none are counted, as a tmpfs without a size does.
fn free_bytes(stat: &StatFs) -> Option<u64> {
    let block_bytes = u64::try_from(stat.f_frsize).ok().filter(|&bytes| bytes > 0);
    let block_bytes = block_bytes.or_else(|| u64::try_from(stat.f_bsize).ok())?;
    (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(block_bytes))
}

impl Place {
    pub(super) fn file_system(&self, mount: Option<&Mount>) -> FileSystem {
        let name = mount.map_or("", |mount| mount.kind.as_str());
        FileSystem::new(magic(&self.stat), name)
    }

    /// What room there is for a recording of so many bytes.
    pub(super) fn room(&self, file_bytes: u64, findings: &mut Vec<Finding>) {
        let free = free_bytes(&self.stat);
        findings.push(room(free, self.is_shared, file_bytes));
        if self.stat.f_files > 0 && self.stat.f_ffree == 0 {
            let words = "no inode is free: no file can be made";
            findings.push(Finding::bad(
                "room",
                words,
                "delete files, or take another directory",
            ));
        }
        let limited = self
            .file_limit
            .and_then(|limit| file_limit(limit, file_bytes));
        findings.extend(limited);
    }
}

/// Old recordings that a recorder keeps by default.
const KEPT: u64 = 16;

fn room(free: Option<u64>, is_shared: bool, file_bytes: u64) -> Finding {
    let needed = size(file_bytes);
    let Some(free) = free else {
        let words = format!("no end of it is told, and a recording takes {needed}");
        return Finding::ok("room", words);
    };
    let (usable, whose) = match is_shared {
        true => (free / 2, ", half of which a recorder leaves to others"),
        false => (free, ""),
    };
    let words = format!(
        "{} are free{whose}, and a recording takes {needed}",
        size(free)
    );
    let most = usable.checked_div(file_bytes).unwrap_or(u64::MAX);
    match most {
        0 => Finding::bad(
            "room",
            words,
            "make room, or ask for less (TTLOG_CAPACITY_MIB)",
        ),
        1..=KEPT => {
            let words = format!("{words}: there is room for {most}, and {KEPT} old ones are kept");
            Finding::note("room", words, "make room, or keep fewer (Builder::retain)")
        }
        _ => Finding::ok("room", words),
    }
}

/// Less than the table of spans takes alone is no recording.
const LEAST_BYTES: u64 = 1 << 20;

fn file_limit(limit: u64, file_bytes: u64) -> Option<Finding> {
    let words = format!(
        "files of this shell's processes end at {} (RLIMIT_FSIZE), and so does a recording",
        size(limit)
    );
    let advice = "raise it (ulimit -f, LimitFSIZE=)";
    match limit {
        0..=LEAST_BYTES => Some(Finding::bad("room", words, advice)),
        limit if limit < file_bytes => Some(Finding::note("room", words, advice)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn a_directory_is_judged_by_its_owner_and_mode() {
        for (owner, mode, is_default, grade, words) in [
            (7, 0o700, true, Grade::Ok, "for its owner alone"),
            (
                7,
                0o755,
                false,
                Grade::Ok,
                "others may look into (mode 755)",
            ),
            (7, 0o755, true, Grade::Bad, "its mode is 755"),
            (8, 0o700, true, Grade::Bad, "belongs to user 8"),
            (8, 0o755, false, Grade::Note, "belongs to user 8"),
            (7, 0o777, false, Grade::Bad, "anybody can delete"),
            (7, 0o1777, false, Grade::Ok, "(mode 1777)"),
        ] {
            let finding = of_owner(owner, 0o040_000 | mode, 7, is_default);
            assert_eq!(finding.grade, grade, "{mode:o} {finding:?}");
            assert!(finding.words.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn one_that_is_not_there_is_judged_by_what_is_around_it() {
        let top = tempfile::tempdir().unwrap();
        let mut findings = Vec::new();
        let place = look(&top.path().join("a/b"), &mut findings).unwrap();
        assert_eq!(place.nearest, top.path().canonicalize().unwrap());
        assert_eq!(place.path, place.nearest.join("a/b"));
        assert!(place.is_writable && findings[0].words.contains("not there yet"));
        assert!(!top.path().join("a").exists());
    }

    #[test]
    fn what_is_no_directory_is_bad() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut findings = Vec::new();
        look(file.path(), &mut findings);
        assert_eq!(findings[0].grade, Grade::Bad);
        let top = tempfile::tempdir().unwrap();
        let link = top.path().join("link");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        assert_eq!(judged(&link, 0, false).grade, Grade::Bad);
        assert_eq!(judged(&link, 0, true).grade, Grade::Bad);
    }

    #[test]
    fn room_is_for_the_old_ones_too() {
        let mib = |mib: u64| mib << 20;
        let judged = |free, is_shared| room(free, is_shared, mib(11)).grade;
        assert_eq!(judged(None, false), Grade::Ok);
        assert_eq!(judged(Some(mib(10)), false), Grade::Bad);
        assert_eq!(judged(Some(mib(20)), true), Grade::Bad);
        assert_eq!(judged(Some(mib(100)), false), Grade::Note);
        assert_eq!(judged(Some(mib(1000)), true), Grade::Ok);
        assert_eq!(room(Some(1), false, 0).grade, Grade::Ok);
        assert_eq!(file_limit(mib(11), mib(11)), None);
        let grade = |limit| file_limit(limit, mib(11)).map(|finding| finding.grade);
        assert_eq!(grade(mib(10)), Some(Grade::Note));
        assert_eq!(grade(0), Some(Grade::Bad));
    }
}
