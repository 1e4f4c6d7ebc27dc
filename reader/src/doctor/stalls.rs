//! How long a store can wait, measured for a second.
//!
//! A file of 1 MiB without a name has its pages written at the pace of a busy recorder,
//! while a second thread has it synced, as the kernel's writeback would at its time. A
//! write to a page that is on its way to the disk waits for what a store to a mapping of
//! it would wait for. Where files without a name cannot be had, it has a hidden one, which
//! is removed before anything is written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::place::Place;
use super::{Finding, Stalls};
use crate::text::{age, count};

const PAGE: [u8; 4096] = [0x2a; 4096];
const PAGES: u64 = 256;
const MEASURED: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(1);
const SYNCED_EVERY: Duration = Duration::from_millis(50);

/// What nobody notices, and what a daemon's users do.
const NOTICED_NS: u64 = 20_000_000;

/// Measures, and says what came of it; in haste, only whether a file can be had.
pub(super) fn measure(place: &Place, in_haste: bool) -> (Option<Stalls>, Option<Finding>) {
    let file = match (unnamed(&place.nearest), place.nearest == place.path) {
        (Err(_), true) => hidden(&place.path),
        (file, _) => file,
    };
    // Past the limit a write is a SIGXFSZ; what that means for a recording is told of.
    let pages = place
        .file_limit
        .map_or(PAGES, |limit| limit / PAGE.len() as u64);
    let pages = pages.min(PAGES);
    let waits = file.and_then(|file| match in_haste || pages == 0 {
        true => Ok(None),
        false => writes(&file, pages).map(Some),
    });
    match waits {
        Ok(None) => (None, None),
        Ok(Some(mut waits)) => {
            let stalls = stalls(&mut waits);
            (Some(stalls), Some(finding(&stalls)))
        }
        Err(cause) => {
            let words = format!("no file can be made and written here: {cause}");
            let advice = "take another directory";
            (None, Some(Finding::bad("place", words, advice)))
        }
    }
}

fn unnamed(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(file.into())
}

fn hidden(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!(".ttlog-doctor-{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// How long each write took, in nanoseconds.
fn writes(file: &File, pages: u64) -> io::Result<Vec<u64>> {
    for page in 0..pages {
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let synced = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                file.sync_data()?;
                thread::sleep(SYNCED_EVERY);
            }
            io::Result::Ok(())
        });
        let waits = paced(file, pages);
        is_over.store(true, Ordering::Relaxed);
        synced.join().unwrap_or(Ok(()))?;
        waits
    })
}

fn paced(file: &File, pages: u64) -> io::Result<Vec<u64>> {
    let mut waits = Vec::new();
    let begun = Instant::now();
    for page in (0..pages).cycle() {
        let before = Instant::now();
        if before.duration_since(begun) > MEASURED {
            break;
        }
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
        waits.push(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
        thread::sleep(PACE);
    }
    Ok(waits)
}

fn stalls(waits: &mut [u64]) -> Stalls {
    waits.sort_unstable();
    let at = |percent: usize| {
        let last = waits.len().saturating_sub(1);
        waits.get((waits.len() * percent / 100).min(last)).copied()
    };
    Stalls {
        writes: waits.len() as u64,
        median_ns: at(50).unwrap_or(0),
        p99_ns: at(99).unwrap_or(0),
        worst_ns: waits.last().copied().unwrap_or(0),
    }
}

fn finding(stalls: &Stalls) -> Finding {
    let words = format!(
        "of {} writes half took {}, one in 100 {} or more, the worst {}: a store can wait \
         that long",
        count(stalls.writes),
        age(stalls.median_ns),
        age(stalls.p99_ns),
        age(stalls.worst_ns)
    );
    match stalls.worst_ns < NOTICED_NS {
        true => Finding::ok("stalls", words),
        false => Finding::note(
            "stalls",
            words,
            "look whether that comes again, and whether it is less in /dev/shm",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn half_one_in_100_and_the_worst_are_told() {
        let mut waits: Vec<u64> = (1..=1_000).rev().collect();
        let told = stalls(&mut waits);
        assert_eq!((told.writes, told.median_ns), (1_000, 501));
        assert_eq!((told.p99_ns, told.worst_ns), (991, 1_000));
        assert_eq!(finding(&told).grade, Grade::Ok);
        assert_eq!(stalls(&mut []).worst_ns, 0);
        let slow = Stalls {
            worst_ns: 31_000_000,
            ..told
        };
        let finding = finding(&slow);
        assert_eq!(finding.grade, Grade::Note);
        assert!(
            finding
                .words
                .contains("the worst 31.0 ms: a store can wait")
        );
    }

    #[test]
    fn nothing_is_left_behind() {
        let top = tempfile::tempdir().unwrap();
        for file in [unnamed(top.path()), hidden(top.path())] {
            file.unwrap().write_all_at(&PAGE, 0).unwrap();
            assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
        }
    }
}
