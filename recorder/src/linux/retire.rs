//! Retirement: what old processes left goes where a new one starts, once it is too much.
//!
//! Past a count and a total size alone, and in an order. First goes what was left by
//! processes that ended as they should, then crashes, and the first and the newest
//! crash of each service last; of the same rank the oldest first. So a crash loop keeps
//! how it began and how it ends, and takes nothing from another service before its own.
//!
//! Whoever is not provably dead is left alone, and counts for nothing. So is what is
//! not the user's own, no file, or not what its name says. An error here costs the
//! retirement, and never the start; nobody is waited for.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;

use ttlog_format::snapshot::{Maker, read_head};

use crate::linux::limits::MemoryCgroups;
use crate::linux::place::Directory;
use crate::linux::seeded::{self, Bug};
use crate::settings::{RETAIN, Settings};
use evidence::Evidence;
use locked::{Listed, Locked, is_unlocked};
use mapped::Mapped;

mod evidence;
mod locked;
mod mapped;

/// The most files that one start opens, the oldest first: more than a few thousand
/// processes leave, and less than a second's work.
const OPENED_MAX: usize = 1 << 13;

/// Removes old recordings past the bounds.
pub(crate) fn recordings(directory: &Directory, settings: &Settings, groups: &MemoryCgroups) {
    let overlay = directory
        .file_system()
        .is_ok_and(|file_system| file_system.is_overlay());
    let mapped = OnceCell::new();
    let is_mapped = |listed: &Listed| {
        overlay
            && mapped
                .get_or_init(Mapped::now)
                .has(listed.inode, listed.pid)
    };
    retire(directory, settings, groups, "ring", |file, listed| {
        let old = is_unlocked(file) && !is_mapped(listed) || spares_nobody();
        old.then(|| Evidence::of_recording(file)).flatten()
    });
}

/// Removes old snapshots past the bounds, of those that recorders made: what a reader
/// made is its user's.
pub(crate) fn snapshots(directory: &Directory, settings: &Settings, groups: &MemoryCgroups) {
    retire(directory, settings, groups, "bin", |file, _| {
        let (header, made) = read_head(file).ok()?;
        (made.by == Maker::Process).then_some(Evidence {
            of_an_end: false,
            service: header.name,
        })
    });
}

/// The bug for the negative control.
fn spares_nobody() -> bool {
    seeded::is(Bug::RetiresTheLiving)
}

fn retire(
    directory: &Directory,
    settings: &Settings,
    groups: &MemoryCgroups,
    kind: &str,
    examine: impl Fn(&File, &Listed) -> Option<Evidence>,
) {
    let Some(locked) = Locked::new(directory) else {
        return;
    };
    let mut listed = locked.list(kind);
    let bounds = Bounds::of(settings, directory, groups, &listed);
    if bounds.hold(listed.len(), taken(&listed)) {
        return;
    }
    listed.sort_unstable_by_key(Listed::age);
    listed.truncate(OPENED_MAX);
    let examined = |listed: Listed| {
        let evidence = examine(&locked.open(&listed)?, &listed)?;
        Some(Old { listed, evidence })
    };
    let old = listed.into_iter().filter_map(examined).collect();
    for gone in past(bounds, old) {
        locked.remove(&gone.listed);
    }
}

/// How much of what is old may stay.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    count: usize,
    bytes: u64,
    /// How many stay whatever they take.
    least: usize,
}

impl Bounds {
    /// What the user said; else the default, in memory less of it, and the newest crash
    /// in any case: a service that takes much, or that was given little, is to find why
    /// it crashed.
    fn of(
        settings: &Settings,
        directory: &Directory,
        groups: &MemoryCgroups,
        listed: &[Listed],
    ) -> Bounds {
        let (count, bytes) = settings.retain.unwrap_or(RETAIN);
        let said = settings.retain.is_some();
        Bounds {
            count,
            bytes: if said || listed.is_empty() {
                bytes
            } else {
                bytes.min(bytes_in_memory(directory, groups))
            },
            least: usize::from(!said),
        }
    }

    fn hold(self, count: usize, bytes: u64) -> bool {
        count <= self.count && bytes <= self.bytes || count <= self.least
    }
}

/// Half of a file system in memory, or a quarter of what the memory cgroup may take,
/// whose other processes it takes memory from.
fn bytes_in_memory(directory: &Directory, groups: &MemoryCgroups) -> u64 {
    let Ok(file_system) = directory.file_system() else {
        return u64::MAX;
    };
    if !file_system.is_in_memory() {
        return u64::MAX;
    }
    let half = file_system.total_bytes().map(|bytes| bytes / 2);
    let quarter = groups.limit().map(|bytes| bytes / 4);
    half.into_iter().chain(quarter).min().unwrap_or(u64::MAX)
}

fn taken<'a>(listed: impl IntoIterator<Item = &'a Listed>) -> u64 {
    let bytes = listed.into_iter().map(|listed| listed.bytes);
    bytes.fold(0, u64::saturating_add)
}

/// What an old process left.
#[derive(Debug)]
struct Old {
    listed: Listed,
    evidence: Evidence,
}

/// What goes so that the bounds hold for the rest.
fn past(bounds: Bounds, mut old: Vec<Old>) -> Vec<Old> {
    old.sort_by_key(|old| old.listed.age());
    let mut ranked: Vec<(Rank, Old)> = ranks(&old).into_iter().zip(old).collect();
    ranked.sort_by_key(|&(rank, _)| rank);
    let mut count = ranked.len();
    let mut bytes = taken(ranked.iter().map(|(_, old)| &old.listed));
    let mut going = Vec::new();
    for (_, old) in ranked {
        if bounds.hold(count, bytes) {
            break;
        }
        count -= 1;
        bytes = bytes.saturating_sub(old.listed.bytes);
        going.push(old);
    }
    going
}

/// In which order they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Ended,
    Crashed,
    FirstOrNewest,
}

/// The ranks of what is in the order of its age.
fn ranks(old: &[Old]) -> Vec<Rank> {
    let mut ranks = vec![Rank::Ended; old.len()];
    let mut newest: HashMap<&str, usize> = HashMap::new();
    for (i, Evidence { of_an_end, service }) in old.iter().map(|old| &old.evidence).enumerate() {
        if *of_an_end {
            continue;
        }
        ranks[i] = Rank::Crashed;
        if newest.insert(service, i).is_none() {
            ranks[i] = Rank::FirstOrNewest;
        }
    }
    for i in newest.into_values() {
        ranks[i] = Rank::FirstOrNewest;
    }
    ranks
}

#[cfg(test)]
mod tests;
