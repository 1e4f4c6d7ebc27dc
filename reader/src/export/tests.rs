//! Where exports go, and what is in them.

use super::snapshot::made;
use super::*;
use crate::fixture;
use crate::input::{Opened, open};
use crate::reading::of_recording;
use std::fs;
use ttlog_format::snapshot::{self, Made, Maker};
use ttlog_format::verdict::Kind;

/// A recording of process 4711, to be exported into a directory.
struct Desk {
    directory: tempfile::TempDir,
    opened: Opened,
}

impl Desk {
    fn new() -> Desk {
        let verdict = Verdict {
            kind: Kind::Killed,
            ..Verdict::default()
        };
        Desk {
            directory: tempfile::tempdir().unwrap(),
            opened: Opened {
                path: "/nonexistent/ttlog-4711-1700000000123.ring".into(),
                recording: fixture::recording(),
                verdict,
                made: None,
            },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn export(&self, asked: &[&str], output: &Path) -> Result<String, Error> {
        let mut out = Vec::new();
        write(self.reading(), &arguments(asked, output), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn reading(&self) -> Reading<'_> {
        let Opened {
            path,
            recording,
            verdict,
            made,
        } = &self.opened;
        of_recording(path.to_str().unwrap(), recording, verdict, made.clone())
    }

    fn made(&self, asked: &[&str]) -> Made {
        let reading = self.reading();
        let window_ns = window_of(&reading, &arguments(asked, Path::new("-")));
        made(&reading, window_ns, "")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    export: Arguments,
}

fn arguments(asked: &[&str], output: &Path) -> Arguments {
    let line = ["export", "4711", "-o"].iter().map(OsString::from);
    let line = line.chain([output.into()]);
    let line = line.chain(asked.iter().map(OsString::from));
    <Line as clap::Parser>::try_parse_from(line).unwrap().export
}

#[test]
fn a_recording_goes_to_a_file_of_its_number_and_is_read_back() {
    let desk = Desk::new();
    let printed = desk.export(&["--all"], desk.directory.path()).unwrap();
    let path = desk.path("ttlog-4711-1700000000123.bin");
    assert_eq!(printed, format!("{}\n", path.display()));
    let opened = open(&path).unwrap();
    let (read, whole) = (&opened.recording, &desk.opened.recording);
    assert_eq!(read.entries.len(), whole.entries.len());
    assert_eq!(read.entries[1], whole.entries[1]);
    assert_eq!(read.end_ns, whole.end_ns);
    assert_eq!(opened.verdict.kind, Kind::Killed);
    let made = opened.made.unwrap();
    assert_eq!((made.by, made.window_ns), (Maker::Reader, None));
    assert_eq!(made.recording, desk.opened.path.to_str().unwrap());
    assert_eq!(
        desk.names(),
        ["ttlog-4711-1700000000123.bin"],
        "and no other"
    );
}

#[test]
#[cfg(unix)]
fn it_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let desk = Desk::new();
    desk.export(&[], &desk.path("crash.bin")).unwrap();
    let found = fs::metadata(desk.path("crash.bin")).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_taken_name_gets_the_next_number() {
    let desk = Desk::new();
    for _ in 0..3 {
        desk.export(&[], desk.directory.path()).unwrap();
    }
    let expected = ["-1.bin", "-2.bin", ".bin"].map(|end| format!("ttlog-4711-1700000000123{end}"));
    assert_eq!(desk.names(), expected);
}

#[test]
fn what_is_there_is_not_overwritten() {
    let desk = Desk::new();
    let path = desk.path("crash.bin");
    fs::write(&path, "mine").unwrap();
    let error = desk.export(&[], &path).unwrap_err().to_string();
    assert!(error.contains("is there already; choose"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(desk.names(), ["crash.bin"], "nothing is left behind");

    desk.export(&["--force"], &path).unwrap();
    assert!(open(&path).is_ok());
    assert_eq!(desk.names(), ["crash.bin"]);
}

#[test]
#[cfg(unix)]
fn a_planted_link_is_not_followed() {
    let desk = Desk::new();
    let path = desk.path("crash.bin");
    std::os::unix::fs::symlink(desk.path("target"), &path).unwrap();
    assert!(desk.export(&[], &path).is_err());
    assert_eq!(desk.names(), ["crash.bin"]);
}

#[test]
fn without_links_it_is_renamed_and_still_overwrites_nothing() {
    let desk = Desk::new();
    let (_, hidden) = Hidden::create(desk.directory.path().to_owned()).unwrap();
    hidden.rename(&desk.path("a.bin")).unwrap();
    assert!(hidden.rename(&desk.path("a.bin")).is_err());
    drop(hidden);
    assert_eq!(desk.names(), ["a.bin"]);
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_names_the_file() {
    let desk = Desk::new();
    let path = desk.path("absent/crash.bin");
    let error = desk.export(&[], &path).unwrap_err().to_string();
    assert!(error.contains("absent/crash.bin: "), "{error}");
}

#[test]
fn stdout_gets_the_snapshot_and_nothing_else() {
    let mut out = Vec::new();
    let desk = Desk::new();
    let asked = arguments(&[], Path::new("-"));
    write(desk.reading(), &asked, &mut out).unwrap();
    let (recording, _) = snapshot::read(&out[..], out.len() as u64).unwrap();
    assert_eq!(recording.header, desk.opened.recording.header);
}

#[test]
fn the_window_is_the_recorded_one_unless_another_is_wanted() {
    let mut desk = Desk::new();
    let window = |desk: &Desk, asked: &[&str]| desk.made(asked).window_ns;
    assert_eq!(window(&desk, &[]), Some(5_000_000_000));
    assert_eq!(window(&desk, &["--window", "500ms"]), Some(500_000_000));
    assert_eq!(window(&desk, &["--all"]), None);
    desk.opened.made = Some(Made {
        window_ns: Some(1),
        ..Made::default()
    });
    assert_eq!(window(&desk, &["--all"]), Some(1), "there is no more");
}

#[test]
fn a_snapshot_of_a_snapshot_keeps_how_that_came_to_be() {
    let mut desk = Desk::new();
    desk.opened.made = Some(Made {
        by: Maker::Process,
        why: "panic".into(),
        wall_ns: 7,
        recording: "/a.ring".into(),
        ..Made::default()
    });
    let now = desk.made(&["--all"]);
    assert_eq!(
        (now.by, &*now.why, &*now.recording),
        (Maker::Reader, "panic", "/a.ring")
    );
    desk.opened.made.as_mut().unwrap().filter = Some("-p info".into());
    let reading = desk.reading();
    let twice = made(&reading, None, "--thread main").filter;
    assert_eq!(twice.as_deref(), Some("-p info --thread main"));
    drop(reading);
    desk.opened.verdict.kind = Kind::Unknown;
    assert_eq!(Some(desk.made(&["--all"])), desk.opened.made);
}

#[test]
fn lengths_of_time_are_read_with_their_units() {
    assert_eq!(window("30s"), Ok(30_000_000_000));
    assert_eq!(window("500ms"), Ok(500_000_000));
    assert_eq!(window("2m"), Ok(120_000_000_000));
    assert_eq!(window("1h"), Ok(3_600_000_000_000));
    for other in ["", "30", "-5s", "s", "5 parsecs", "9999999h"] {
        assert!(window(other).is_err(), "{other}");
    }
}

#[test]
fn several_recordings_need_a_directory() {
    let desk = Desk::new();
    let crowded = |output: &Path| is_crowded(&arguments(&["4712"], output));
    assert!(crowded(Path::new("-")));
    assert!(crowded(&desk.path("crash.bin")));
    assert!(!crowded(desk.directory.path()));
    assert!(!is_crowded(&arguments(&[], Path::new("-"))));
}

#[test]
fn names_come_of_numbers_alone() {
    let mut desk = Desk::new();
    desk.opened.path = "../../evil\n.ring".into();
    desk.opened.recording.header.name = "../evil".into();
    let printed = desk.export(&[], desk.directory.path()).unwrap();
    let path = desk.path("ttlog-4711-0.bin");
    assert_eq!(printed, format!("{}\n", path.display()));
}
