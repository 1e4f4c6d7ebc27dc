//! A process of the binary `snapper`, which makes snapshots, and what it leaves.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use ttlog_format::salvage::{Entry, What as Happened};
use ttlog_reader::Opened;

use crate::victim::files;
use crate::{Victim, Violation, check, reader};

/// The snapshot directory that the program gives its builder.
pub fn snapshots(victim: &Victim) -> PathBuf {
    victim.directory().with_file_name("snapshots")
}

/// What a command of the reader, which lies beside `program`, comes to.
///
/// # Panics
/// If it cannot be run.
pub fn run<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Output {
    let output = Command::new(reader::program(Path::new(program)))
        .args(args)
        .output();
    output.expect("ttlog-reader runs")
}

/// What `info -o json` says of a recording.
///
/// # Panics
/// If that is not one object.
pub fn info(program: &str, recording: &Path) -> Value {
    let mut told = reader::json(program, &["info"], recording);
    assert_eq!(told.len(), 1);
    told.remove(0)
}

/// The messages in a recording, in their order.
///
/// # Panics
/// If an event has none.
pub fn messages(opened: &Opened) -> Vec<String> {
    let recording = &opened.recording;
    let events = recording
        .entries
        .iter()
        .filter(|entry| entry.what == Happened::Event);
    let message = |entry: &Entry| {
        let fields = check::named(recording, entry.site, &entry.fields);
        let value = fields
            .iter()
            .find_map(|(name, value)| (*name == "message").then_some(value));
        let text = value.and_then(|value| value.text()).expect("a message");
        String::from_utf8_lossy(&text.bytes).into_owned()
    };
    events.map(message).collect()
}

/// The files in a directory that bear the name of a whole snapshot.
fn whole_names(directory: &Path) -> Vec<PathBuf> {
    let mut found = files(directory);
    found.retain(|path| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with("ttlog-") && name.ends_with(".bin")
    });
    found
}

/// An LZ4 frame ends with an empty block, whose length is 0, and the content's checksum.
fn is_whole_frame(bytes: &[u8]) -> bool {
    let end = bytes.len().checked_sub(8).map(|at| &bytes[at..at + 4]);
    end == Some(&[0; 4])
}

/// Checks that every file that bears the name of a whole snapshot is one; how many.
///
/// # Errors
/// The first that is not.
///
/// # Panics
/// If the reader cannot be run.
pub fn all_whole(program: &str, directory: &Path) -> Result<u64, Violation> {
    let found = whole_names(directory);
    for path in &found {
        let bytes = std::fs::read(path).map_err(|error| Violation::new(error.to_string()))?;
        if !is_whole_frame(&bytes) {
            let words = format!("the frame of {} has no end", path.display());
            return Err(Violation::new(words));
        }
    }
    if found.is_empty() {
        return Ok(0);
    }
    let args = ["info", "-o", "json"].iter().map(OsStr::new);
    let output = run(
        program,
        args.chain(found.iter().map(|path| path.as_os_str())),
    );
    let words = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !words.is_empty() {
        return Err(Violation::new(format!("{}: {words}", output.status)));
    }
    let objects: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let is_whole = |object: &&Value| {
        let ledger = &object["ledger"];
        ledger["missing_items"] == 0 && ledger["readable"] != 0 && object["snapshot"].is_object()
    };
    match objects.iter().filter(is_whole).count() {
        whole if whole == found.len() => Ok(whole as u64),
        _ => Err(Violation::new(format!("not all whole: {objects:?}"))),
    }
}
