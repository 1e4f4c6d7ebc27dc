//! Recordings created, refused and left nowhere.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::policy::Durability;

fn settings(directory: &Path) -> Settings {
    Settings {
        directory: Some(directory.to_owned()),
        capacity_mib: Some(1),
        span_slots: Some(256),
        ..Settings::default()
    }
}

fn sampler() -> impl Fn() -> Sample {
    let next = Cell::new(0);
    move || {
        let ticks = next.replace(next.get() + 1);
        Sample {
            ticks,
            monotonic_ns: 2,
            boottime_ns: 3,
            wall_ns: 1_700_000_000_123_456_789,
        }
    }
}

fn create_with(settings: &Settings) -> Result<Created, Error> {
    let groups = MemoryCgroups::of_this_process();
    create(settings, &groups, sampler(), Source::Monotonic)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn request<'a>(
    settings: &'a Settings,
    groups: &'a MemoryCgroups,
    sample_clocks: &'a dyn Fn() -> Sample,
) -> Request<'a> {
    Request {
        settings,
        asked_bytes: 1 << 20,
        sync_interval_ns: 0,
        asked: Layout {
            span_slots: 256,
            blocks: 256,
        },
        begun: sample_clocks(),
        groups,
        sample_clocks,
        clock: Source::Tsc,
    }
}

fn is_whole(created: &Created) {
    let bytes = fs::read(&created.path).unwrap();
    let layout = created.header.layout;
    assert_eq!(bytes.len() as u64, layout.file_bytes());
    assert_eq!(created.map.len(), bytes.len());
    let at_end = &bytes[layout.copy_offset() as usize..];
    assert_eq!(Header::decode(&bytes).as_ref(), Ok(&created.header));
    assert_eq!(Header::decode(at_end).as_ref(), Ok(&created.header));
    let beginning = created.header.beginning();
    let before_the_copy = &bytes[..layout.copy_offset() as usize];
    let unwritten = before_the_copy.strip_prefix(&beginning[..]).unwrap();
    assert!(unwritten.iter().all(|&byte| byte == 0));
    let stat = fs::metadata(&created.path).unwrap();
    assert_eq!(stat.permissions().mode() & 0o7777, 0o600);
    assert!(stat.blocks() * 512 >= layout.file_bytes(), "sparse");
    assert!(created.path.is_absolute());
}

/// Runs the calling test once more, in a process of its own that the shell
/// prepared, and says whether this is that process.
fn runs_after(preparation: &str, directory: &Path) -> bool {
    const VARIABLE: &str = "TTLOG_TEST_PREPARED";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let thread = std::thread::current();
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("{preparation} && exec \"$0\" --exact \"$1\" --nocapture"),
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(thread.name().unwrap())
        .env(VARIABLE, directory)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{output:?}"
    );
    false
}

fn prepared_directory() -> PathBuf {
    std::env::var_os("TTLOG_TEST_PREPARED").unwrap().into()
}

#[test]
fn a_recording_is_whole_when_it_has_its_name() {
    let top = tempfile::tempdir().unwrap();
    let settings = Settings {
        name: Some("payments".into()),
        ..settings(top.path())
    };
    let created = create_with(&settings).unwrap();
    is_whole(&created);
    let name = format!("ttlog-{}-1700000000123.ring", std::process::id());
    assert_eq!(names(top.path()), [name]);
    let header = &created.header;
    assert_eq!(
        (header.name.as_str(), header.limited_by.as_str()),
        ("payments", "")
    );
    assert_eq!((header.asked_bytes, header.layout.blocks), (1 << 20, 256));
    assert_eq!(header.samples.map(|sample| sample.ticks), [0, 1]);
}

#[test]
fn names_are_never_taken_twice() {
    let top = tempfile::tempdir().unwrap();
    let all: Vec<_> = (0..3)
        .map(|_| create_with(&settings(top.path())).unwrap())
        .collect();
    assert_eq!(names(top.path()).len(), 3);
    assert!(
        all[2]
            .path
            .to_str()
            .unwrap()
            .ends_with("-1700000000125.ring")
    );
    all.iter().for_each(is_whole);
}

#[test]
fn without_unnamed_files_a_dot_name_does() {
    let top = tempfile::tempdir().unwrap();
    let place = Place::asked_for(top.path(), true).unwrap();
    let (settings, sampler) = (settings(top.path()), sampler());
    let groups = MemoryCgroups::of_this_process();
    let request = request(&settings, &groups, &sampler);
    for _ in 0..2 {
        let unfinished = Unfinished::create_with_dot(&place.directory).unwrap();
        let name = names(top.path()).remove(0);
        assert!(
            name.starts_with(".ttlog-") && name.ends_with(".tmp"),
            "{name}"
        );
        is_whole(
            &request
                .create_as(request.asked, String::new(), unfinished)
                .unwrap(),
        );
    }
    let names = names(top.path());
    assert!(
        names.len() == 2 && names.iter().all(|name| name.ends_with(".ring")),
        "{names:?}"
    );
}

#[test]
fn an_unfinished_file_is_gone_when_it_is_dropped() {
    let top = tempfile::tempdir().unwrap();
    let place = Place::asked_for(top.path(), true).unwrap();
    for create in [Unfinished::create, Unfinished::create_with_dot] {
        let unfinished = create(&place.directory).unwrap();
        prepare(&unfinished, 1 << 20, 1 << 20).unwrap();
        let too_long = prepare(&unfinished, 1 << 62, 1 << 20)
            .unwrap_err()
            .to_string();
        assert!(too_long.starts_with("cannot allocate /"), "{too_long}");
        drop(unfinished);
        assert_eq!(names(top.path()), [""; 0]);
    }
}

#[test]
fn whoever_has_the_map_holds_the_lock() {
    let top = tempfile::tempdir().unwrap();
    let created = create_with(&settings(top.path())).unwrap();
    let path = created.path.clone();
    let try_lock = || {
        let file = File::open(&path).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive)
    };
    assert_eq!(try_lock(), Err(Errno::WOULDBLOCK));
    drop(created.file);
    assert_eq!(try_lock(), Err(Errno::WOULDBLOCK));
    drop(created.map);
    assert_eq!(try_lock(), Ok(()));
}

#[test]
fn stores_into_the_map_reach_the_file() {
    let top = tempfile::tempdir().unwrap();
    let created = create_with(&settings(top.path())).unwrap();
    // SAFETY: a map is as good for stores as its length says, and nobody else
    // has this one.
    unsafe { created.map.as_mut_ptr().write_volatile(7) };
    assert_eq!(fs::read(&created.path).unwrap()[0], 7);
}

#[test]
fn the_mode_is_0600_under_umask_0() {
    let top = tempfile::tempdir().unwrap();
    if runs_after("umask 0", top.path()) {
        let below = prepared_directory().join("a");
        is_whole(&create_with(&settings(&below)).unwrap());
        assert_eq!(
            fs::metadata(below).unwrap().permissions().mode() & 0o7777,
            0o700
        );
    }
}

#[test]
fn the_mode_is_0600_under_umask_777() {
    let top = tempfile::tempdir().unwrap();
    if runs_after("umask 777", top.path()) {
        is_whole(&create_with(&settings(&prepared_directory())).unwrap());
    }
}

#[test]
fn a_file_size_limit_makes_the_recording_smaller() {
    let top = tempfile::tempdir().unwrap();
    if runs_after("ulimit -f 4096", top.path()) {
        let settings = Settings {
            capacity_mib: Some(64),
            ..settings(&prepared_directory())
        };
        let created = create_with(&settings).unwrap();
        is_whole(&created);
        let header = &created.header;
        assert!((256..16384).contains(&header.layout.blocks));
        assert_eq!(header.asked_bytes, 64 << 20);
        assert!(
            header.limited_by.starts_with("RLIMIT_FSIZE is "),
            "{}",
            header.limited_by
        );
    }
}

#[test]
fn a_file_size_limit_that_leaves_nothing_is_an_error_that_leaves_no_file() {
    let top = tempfile::tempdir().unwrap();
    if runs_after("ulimit -f 64", top.path()) {
        let text = create_with(&settings(&prepared_directory()))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("RLIMIT_FSIZE is 0.0") && text.contains("raise the limit"),
            "{text}"
        );
        assert_eq!(names(&prepared_directory()), [""; 0]);
    }
}

#[test]
fn settings_out_of_bounds_leave_no_file() {
    let top = tempfile::tempdir().unwrap();
    let no_capacity = Settings {
        capacity_mib: Some(0),
        ..settings(top.path())
    };
    let many_spans = Settings {
        span_slots: Some(usize::MAX),
        ..settings(top.path())
    };
    assert!(create_with(&no_capacity).is_err() && create_with(&many_spans).is_err());
    assert_eq!(names(top.path()), [""; 0]);
}

#[test]
fn what_is_to_survive_a_power_loss_is_kept_on_a_disk_or_not_at_all() {
    let durable = |directory| Settings {
        directory,
        durability: Some(Durability::Interval(Duration::from_millis(100))),
        ..settings(Path::new("/"))
    };
    let text = create_with(&durable(None)).unwrap_err().to_string();
    assert!(
        text.starts_with("durability is \"an interval of 100ms\" (expected with it a directory"),
        "{text}"
    );
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("SKIPPED: there is no /dev/shm here");
        return;
    };
    let below = memory.path().join("a");
    let text = create_with(&durable(Some(below.clone())))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("/a: it is in memory") && text.ends_with("or Durability::Process"),
        "{text}"
    );
    assert_eq!(names(&below), [""; 0]);
}

#[test]
fn a_directory_that_is_a_file_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(create_with(&settings(file.path())).is_err());
}

#[test]
fn without_a_directory_some_default_takes_it() {
    let settings = Settings {
        directory: None,
        ..settings(Path::new("/"))
    };
    let created = create_with(&settings).unwrap();
    fs::remove_file(&created.path).unwrap();
    let parent = created.path.parent().unwrap().file_name().unwrap();
    assert_eq!(
        parent.to_str().unwrap(),
        format!("ttlog-{}", created.header.uid)
    );
}

#[test]
fn blocks_are_whole_and_at_least_a_mebibyte() {
    let asked = Layout {
        span_slots: 256,
        blocks: 2560,
    };
    let least = Layout {
        blocks: BLOCKS_MIN,
        ..asked
    }
    .file_bytes();
    let fits = |bytes| fitted(asked, bytes, "x".into()).map(|(layout, why)| (layout.blocks, why));
    assert_eq!(fits(asked.file_bytes()).unwrap(), (2560, String::new()));
    assert_eq!(fits(asked.file_bytes() - 1).unwrap(), (2559, "x".into()));
    assert_eq!(fits(least).unwrap(), (256, "x".into()));
    assert!(fits(least - 1).is_err() && fits(0).is_err());
}

/// As of a kernel that is interrupted whenever more than `most` are asked of it, and every
/// third time besides.
fn allocated_with_interruptions(most: u64, bytes: u64) -> Vec<(u64, u64)> {
    let (mut calls, mut allocated) = (0, Vec::new());
    let allocate = |offset, len| {
        calls += 1;
        if len > most || calls % 3 == 0 {
            return Err(Errno::INTR);
        }
        allocated.push((offset, len));
        Ok(())
    };
    allocate_by(allocate, bytes).unwrap();
    allocated
}

#[test]
fn whoever_is_interrupted_whenever_it_allocates_much_comes_to_its_end() {
    for bytes in [1, 4096, 11 << 20, (64 << 20) + 4096] {
        for most in [STRETCH_MIN, 1 << 20, u64::MAX] {
            let mut end = 0;
            for (offset, len) in allocated_with_interruptions(most, bytes) {
                assert_eq!(offset, end, "of {bytes}, at most {most}");
                end += len;
            }
            assert_eq!(end, bytes);
        }
    }
    let full = |offset, _| {
        if offset == 0 {
            Ok(())
        } else {
            Err(Errno::NOSPC)
        }
    };
    let mut calls = 0;
    let interrupted_then_full = |offset, len| {
        calls += 1;
        if calls == 1 {
            Err(Errno::INTR)
        } else {
            full(offset, len)
        }
    };
    assert_eq!(
        allocate_by(interrupted_then_full, 1 << 20),
        Err(Errno::NOSPC)
    );
}

#[test]
fn what_a_large_recording_has_allocated_it_faults_in_later() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("SKIPPED: there is no /dev/shm here");
        return;
    };
    let of = |mib| Settings {
        capacity_mib: Some(mib),
        ..settings(memory.path())
    };
    let small = create_with(&of(10)).unwrap();
    assert_eq!(small.faulted_in, small.header.layout.file_bytes());
    let large = create_with(&of(32)).unwrap();
    assert_eq!(large.faulted_in, BEGINNING_BYTES);
    is_whole(&large);
}
