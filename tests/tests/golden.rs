//! What every command shows of recordings that are kept, a `.ring` and a `.bin` of each
//! end, word for word. `TTLOG_BLESS=1` writes down what is shown now.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use ttlog_tests::golden::{End, kept, on_terminal, printed, restore};
use ttlog_tests::reader;

const SHOP: &str = env!("CARGO_BIN_EXE_shop");

/// What is shown of each recording.
const COMMANDS: &[&[&str]] = &[
    &["view", "--utc"],
    &["view", "--utc", "-o", "full", "--spans"],
    &["view", "-o", "cat"],
    &["view", "-o", "json", "-n", "2"],
    &["view", "--utc", "-p", "warn", "-r"],
    &["view", "--utc", "--field", "id=1", "--span", "query"],
    &["info", "--utc"],
    &["info", "-o", "json"],
    &["postmortem", "--utc"],
    &["postmortem", "-o", "json"],
    &["stats"],
    &["stats", "-o", "json"],
    &["spans", "--utc"],
    &["spans", "-o", "json"],
    &["export", "--format", "jsonl", "-o", "-"],
    &["export", "--format", "csv", "--utc", "-o", "-"],
    &["export", "--format", "chrome", "-o", "-"],
];

/// Of which recording, by which name, and what became of its process.
const ENDS: &[(&str, &str, End)] = &[
    ("killed", "alive.ring", End::Alive),
    ("ended", "ended.ring", End::AsRecorded),
    ("panicked", "panicked.ring", End::AsRecorded),
    ("signal", "signal.ring", End::AsRecorded),
    ("terminated", "terminated.ring", End::AsRecorded),
    ("killed", "killed.ring", End::AsRecorded),
    ("killed", "rebooted.ring", End::Rebooted),
    ("alive", "alive.bin", End::Alive),
    ("ended", "ended.bin", End::AsRecorded),
    ("panicked", "panicked.bin", End::AsRecorded),
    ("signal", "signal.bin", End::AsRecorded),
    ("terminated", "terminated.bin", End::AsRecorded),
    ("killed", "killed.bin", End::AsRecorded),
    ("alive", "unknown.bin", End::AsRecorded),
];

#[track_caller]
fn is_golden(name: &str, found: &str) {
    let path = kept().join("outputs").join(format!("{name}.txt"));
    if std::env::var_os("TTLOG_BLESS").is_some() {
        fs::create_dir_all(kept().join("outputs")).expect("room");
        fs::write(&path, found).expect("room");
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    if golden == found {
        return;
    }
    let mut lines = golden.lines().zip(found.lines()).enumerate();
    let differs = lines.find(|(_, (golden, found))| golden != found);
    panic!(
        "{} has another line than is shown: {differs:#?}",
        path.display()
    );
}

fn at_home() -> (TempDir, &'static Path) {
    let directory = tempfile::Builder::new().prefix("golden").tempdir();
    (
        directory.expect("a directory"),
        reader::program(Path::new(SHOP)),
    )
}

#[test]
fn every_command_shows_of_every_end_what_it_should() {
    for &(of, name, end) in ENDS {
        let (directory, reader) = at_home();
        restore(of, name, end, directory.path());
        let mut found = String::new();
        // Of what lives, ages count back from now.
        let is_settled = |command: &&&[&str]| {
            end != End::Alive || !["postmortem", "spans"].contains(&command[0])
        };
        for command in COMMANDS.iter().filter(is_settled) {
            let arguments: Vec<&str> = command.iter().copied().chain([name]).collect();
            found += &format!("$ ttlog-reader {}\n", arguments.join(" "));
            found += &printed(reader, &arguments, directory.path());
            found += "\n";
        }
        is_golden(name, &found);
    }
}

#[test]
fn a_directory_is_listed() {
    let (directory, reader) = at_home();
    for (number, &(of, name, end)) in ENDS.iter().enumerate() {
        let kind = name.rsplit_once('.').unwrap().1;
        let name = format!("ttlog-4711-{}.{kind}", 1_764_000_000_000 + number);
        restore(of, &name, end, directory.path());
    }
    let mut found = String::new();
    for arguments in [&["list", "--utc", "."][..], &["list", "-o", "json", "."]] {
        found += &format!("$ ttlog-reader {}\n", arguments.join(" "));
        found += &printed(reader, arguments, directory.path());
    }
    is_golden("list", &found);
}

#[test]
fn no_line_is_wider_than_its_terminal() {
    let (directory, reader) = at_home();
    let name = "ttlog-4711-1764000000000.ring";
    restore("panicked", name, End::AsRecorded, directory.path());
    for columns in [60, 80, 200] {
        let mut found = String::new();
        for arguments in [
            &["info", "--utc", name][..],
            &["postmortem", "--utc", name],
            &["stats", name],
            &["spans", "--utc", name],
            &["list", "--utc", "."],
        ] {
            let plain = &[("NO_COLOR", "1")];
            let text = on_terminal(reader, arguments, directory.path(), columns, plain);
            assert!(!text.contains('\x1b'), "NO_COLOR: {text}");
            // What is to be copied is whole, and what is masked has lost its width.
            let whole = ["AGO", "ttlog-4711-", "TTLOG_FILTER"];
            let is_whole = |line: &&str| whole.iter().any(|words| line.contains(words));
            let widest = text.lines().filter(|line| !is_whole(line));
            let widest = widest.map(|line| line.chars().count()).max();
            assert!(
                widest <= Some(columns.into()),
                "{widest:?} of {columns}: {text}"
            );
            // Which columns of a list there is room for goes by how long ago that was.
            if arguments[0] != "list" {
                found += &format!("$ ttlog-reader {}\n{text}\n", arguments.join(" "));
            }
        }
        is_golden(&format!("terminal-{columns}"), &found);
    }
}

#[test]
fn colours_are_for_terminals_and_so_are_pagers() {
    let (directory, reader) = at_home();
    restore("panicked", "a.ring", End::AsRecorded, directory.path());
    let view = ["view", "--utc", "-p", "error", "a.ring"];
    let on = |environment: &[(&str, &str)]| {
        on_terminal(reader, &view, directory.path(), 80, environment)
    };
    let coloured = on(&[("PAGER", "")]);
    assert!(coloured.contains("\x1b[31m[ERROR]\x1b[0m"), "{coloured}");
    assert!(
        coloured.starts_with("\x1b[2m── 20"),
        "the day is said: {coloured}"
    );
    assert!(!on(&[("PAGER", "cat"), ("NO_COLOR", "1")]).contains('\x1b'));
    // A pager gets what the terminal would have got, and the terminal what it makes of it.
    assert!(on(&[("PAGER", "tr a-z A-Z")]).contains("=PAYMENT REFUSED"));
    assert!(on(&[("PAGER", "no-such-pager")]).contains("=payment refused"));
    let piped = printed(reader, &view, directory.path());
    assert!(
        !piped.contains('\x1b') && piped.contains("=payment refused"),
        "{piped}"
    );
}
