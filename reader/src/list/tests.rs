//! Which recordings are listed, and in what words.

use super::*;
use crate::fixture;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    list: Arguments,
}

fn asked(directories: &[&Path], flags: &[&str]) -> Arguments {
    let line = ["list", "--utc"].iter().chain(flags).map(OsString::from);
    let line = line.chain(directories.iter().map(OsString::from));
    let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
    line.list
}

fn opened() -> Opened {
    let mut recording = fixture::recording();
    recording.header.name = "evil\x1b[2J and very long".into();
    Opened {
        path: "/somewhere/ttlog-4711-1.ring".into(),
        recording,
        verdict: Verdict {
            kind: Kind::Signal,
            signal: Some(11),
            ..Verdict::default()
        },
        made: None,
    }
}

fn listed(flags: &[&str], width: Option<usize>) -> String {
    let mut listed = Listed::new(&asked(&[], flags));
    (listed.width, listed.now_ns) = (width, fixture::at(20_000));
    let mut out = Vec::new();
    listed.add(&opened(), &mut out).unwrap();
    listed.write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_recording_is_a_row_that_fits_and_its_path() {
    for (width, words) in [
        (
            80,
            r"4711 evil\x1b[2J a… signal SIGSEGV 22:13:20, 19 s ago 11.0 MiB 5.0 ms",
        ),
        (60, r"4711 evil\x1b[2J a… signal SIGSEGV 22:13:20, 19 s ago"),
        (50, "4711 signal SIGSEGV 22:13:20, 19 s ago"),
    ] {
        let text = listed(&[], Some(width));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let widest = lines.iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(width), "{text}");
        let row: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(row.join(" "), words);
        assert_eq!(lines[3], "  /somewhere/ttlog-4711-1.ring");
    }
}

#[test]
fn the_verdict_alone_of_a_row_is_coloured() {
    let (plain, coloured) = (listed(&[], None), listed(&["--color=always"], None));
    assert!(
        coloured.contains("\x1b[1;31msignal SIGSEGV\x1b[0m "),
        "{coloured}"
    );
    let mut bare = coloured;
    for colour in [colour::BAD, colour::HEADING, colour::PLAIN] {
        bare = bare.replace(colour, "");
    }
    assert_eq!(bare, plain);
}

#[test]
fn why_a_snapshot_was_made_is_told_shortly() {
    let mut snapshot = opened();
    snapshot.made = Some(ttlog_format::snapshot::Made {
        why: format!("panic: {}", "very long ".repeat(10_000)),
        ..Default::default()
    });
    let mut listed = Listed::new(&asked(&[], &[]));
    let mut out = Vec::new();
    listed.add(&snapshot, &mut out).unwrap();
    listed.write(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(" (snapshot: panic: very long"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn what_to_run_next_is_about_who_died() {
    let mut listed = Listed::new(&asked(&[], &[]));
    assert_eq!(listed.next(), None);
    let mut alive = opened();
    alive.verdict = Verdict {
        kind: Kind::Alive,
        ..Verdict::default()
    };
    listed.add(&alive, Vec::new()).unwrap();
    let view = "ttlog-reader view /somewhere/ttlog-4711-1.ring";
    assert_eq!(listed.next().as_deref(), Some(view));
    listed.add(&opened(), Vec::new()).unwrap();
    let postmortem = "ttlog-reader postmortem /somewhere/ttlog-4711-1.ring";
    assert_eq!(listed.next().as_deref(), Some(postmortem));
}

#[test]
fn snapshots_are_listed_where_they_are_asked_for_and_counted_else() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["ttlog-1-100.ring", "ttlog-1-200.bin", "ttlog-2-300.bin"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let found = find(&asked(&[directory.path()], &[]));
    assert_eq!(found.paths.len(), 1);
    let words = format!(
        "2 snapshots in {}: --snapshots lists them",
        directory.path().display()
    );
    assert_eq!(found.elsewhere(), [words]);
    let found = find(&asked(&[directory.path()], &["--snapshots"]));
    assert_eq!(found.paths.len(), 3);
    assert!(found.paths[0].ends_with("ttlog-2-300.bin"));
    assert!(found.elsewhere().is_empty());
}

#[test]
fn the_json_has_the_keys_of_the_contract() {
    let object: serde_json::Value = serde_json::from_str(&listed(&["-o", "json"], None)).unwrap();
    assert_eq!(object["kind"], "recording");
    assert_eq!(object["path"], "/somewhere/ttlog-4711-1.ring");
    assert_eq!(object["pid"], 4711);
    assert_eq!(object["name"], "evil\x1b[2J and very long");
    assert_eq!(object["verdict"]["kind"], "signal");
    assert_eq!(object["bytes"], fixture::header().layout.file_bytes());
}

#[test]
fn recordings_of_all_directories_are_found_the_newest_first() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (directory, name) in [
        (&one, "ttlog-1-100.ring"),
        (&two, "ttlog-2-300.ring"),
        (&one, "ttlog-3-200.ring"),
        (&one, "ttlog-4-400.bin"),
        (&two, "notes.txt"),
    ] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let found = find(&asked(&[one.path(), two.path()], &[]));
    let names = found
        .paths
        .iter()
        .filter_map(|path| path.file_name()?.to_str());
    let newest_first = ["ttlog-2-300.ring", "ttlog-3-200.ring", "ttlog-1-100.ring"];
    assert_eq!(names.collect::<Vec<_>>(), newest_first);
    assert!(found.none().is_none());
}

#[test]
fn users_directories_are_named_by_numbers() {
    let place = tempfile::tempdir().unwrap();
    for name in [
        "ttlog-0",
        "ttlog-1000",
        "ttlog-crash-x2Fp0C",
        "ttlog-",
        "other",
    ] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let mut found = directories_of_users(place.path());
    found.sort();
    assert_eq!(
        found,
        ["ttlog-0", "ttlog-1000"].map(|name| place.path().join(name))
    );
}

#[test]
fn a_file_that_is_named_is_listed_among_the_others() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (directory, name) in [
        (&one, "ttlog-1-100.ring"),
        (&one, "ttlog-2-200.ring"),
        (&two, "ttlog-3-150.bin"),
        (&two, "copy"),
    ] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let named = ["copy", "ttlog-3-150.bin"].map(|name| two.path().join(name));
    let found = find(&asked(&[&named[0], one.path(), &named[1]], &[]));
    assert!(found.errors.is_empty());
    let names = found.paths.iter();
    let names: Vec<_> = names
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    let newest_first = [
        "ttlog-2-200.ring",
        "ttlog-3-150.bin",
        "ttlog-1-100.ring",
        "copy",
    ];
    assert_eq!(names, newest_first);
}

#[test]
fn where_there_is_none_directories_one_level_down_that_hold_some_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let words = || {
        let found = find(&asked(&[directory.path()], &[]));
        let words = found.none().unwrap();
        words.replace(&directory.path().display().to_string(), "DIR")
    };
    for name in ["empty", "a/b"] {
        fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("a/b/ttlog-1-100.ring"), "").unwrap();
    assert_eq!(words(), "no recordings in DIR");
    fs::write(directory.path().join("a/ttlog-1-100.ring"), "").unwrap();
    assert_eq!(
        words(),
        "no recordings in DIR, but in a directory there: DIR/a"
    );
    for name in ["c", "d", "e", "f"] {
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("ttlog-1-100.ring"), "").unwrap();
    }
    let all = "but in directories there: DIR/a, DIR/c, DIR/d and 2 more";
    assert!(words().ends_with(all), "{}", words());
}

#[test]
fn a_directory_that_was_asked_for_and_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    assert_eq!(find(&asked(&[&missing], &[])).errors.len(), 1);
    let empty = find(&asked(&[directory.path()], &[]));
    assert!(empty.errors.is_empty());
    assert!(empty.none().unwrap().starts_with("no recordings in /"));
}
