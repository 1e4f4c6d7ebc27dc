//! Canaries: values under names that are denied, recorded in every way there is, and then
//! looked for in every byte of every file that is left.
//!
//! The binary `secrets` records them; what it says under other names must arrive all the
//! same. With redaction off each of them must be found: a search that finds nothing then
//! would prove nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use regex::bytes::Regex;
use tempfile::TempDir;
use ttlog_format::redaction::Names;
use ttlog_format::salvage::{Entry, Ledger, Recording, Span};
use ttlog_format::value::{Field, Value};
use ttlog_reader::Opened;

use crate::outcome::Outcome;
use crate::reader;
use crate::victim::{files, forgets_the_recorder, scratch};

/// The ways in which a text is recorded.
pub const TEXTS: [&str; 14] = [
    "str",
    "string",
    "debug",
    "display",
    "struct",
    "error",
    "bytes",
    "quoted",
    "opened",
    "opened-debug",
    "later",
    "later-debug",
    "child",
    "panicking",
];

/// The ways in which a number is recorded.
pub const NUMBERS: [&str; 5] = ["u64", "i64", "u128", "i128", "f64"];

/// What is recorded besides, under a name that is not denied.
pub const KEPT: &str = "said-in-the-open";

/// The text of a way.
pub fn text(way: &str) -> String {
    format!("canary-{way}-yranac")
}

/// The number of a way: a positive one of 64 bits, and no float that is shortened.
pub fn number(way: &str) -> u64 {
    let place = NUMBERS.iter().position(|&other| other == way);
    0x4caf_e5ec_4e70_0a01 + 0x0100 * place.expect("a way of numbers") as u64
}

/// How the program is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// As nobody says otherwise.
    Default,
    /// Without room for any span.
    NoSlots,
    /// By a function alone.
    Asked,
    /// By the environment alone.
    Environment,
    /// With nothing redacted.
    Nothing,
    /// With nothing redacted, since the environment says so.
    EnvironmentNothing,
}

/// Every setup, and whether it redacts.
pub const SETUPS: [(Setup, bool); 6] = [
    (Setup::Default, true),
    (Setup::NoSlots, true),
    (Setup::Asked, true),
    (Setup::Environment, true),
    (Setup::Nothing, false),
    (Setup::EnvironmentNothing, false),
];

/// Has `program`, the binary `secrets`, record through each adapter, set up in each way,
/// and looks for every canary.
pub fn look(program: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    for (setup, redacts) in SETUPS {
        for adapter in ["subscriber", "layer"] {
            look_after(program, adapter, (setup, redacts), &mut outcome);
        }
    }
    outcome
}

/// The same with a program that redacts nothing where all is to be redacted.
pub fn look_without(program: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    look_after(program, "layer", (Setup::Nothing, true), &mut outcome);
    outcome
}

/// Has `program` record, and gives where, and how often the code of a denied value ran.
fn record(program: &Path, adapter: &str, setup: Setup) -> (TempDir, u64) {
    let home = scratch();
    let mut command = Command::new(program);
    forgets_the_recorder(&mut command).args([adapter, &format!("{setup:?}")]);
    match setup {
        Setup::Environment => command.env("TTLOG_REDACT", "+holds,password"),
        Setup::EnvironmentNothing => command.env("TTLOG_REDACT", "none"),
        _ => &mut command,
    };
    let output = command.arg(home.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let shown = said.trim().parse().unwrap_or_else(|_| {
        let words = String::from_utf8_lossy(&output.stderr);
        panic!("{adapter}, {setup:?}: {}: {said} {words}", output.status)
    });
    (home, shown)
}

/// A file that was left, and its bytes; a snapshot's decompressed.
struct Left {
    path: PathBuf,
    bytes: Vec<u8>,
}

fn look_after(
    program: &Path,
    adapter: &str,
    (setup, redacts): (Setup, bool),
    outcome: &mut Outcome,
) {
    let (home, shown) = record(program, adapter, setup);
    let what = format!("{adapter}, {setup:?}");
    outcome.expect((shown == 0) == redacts, || {
        format!("{what}: the code of denied values ran {shown} times")
    });
    let left: Vec<Left> = files(home.path()).into_iter().map(Left::read).collect();
    let recordings = left.iter().filter(|left| left.is_a("ring")).count();
    let snapshots = left.iter().filter(|left| left.is_a("bin")).count();
    assert_eq!(
        (recordings, snapshots),
        (2, 2),
        "{what}: a child's, and a panic's"
    );
    for (way, needle) in needles() {
        let found: Vec<&Path> = left
            .iter()
            .filter(|left| left.has(&needle))
            .map(|left| left.path.as_path())
            .collect();
        // Both recordings, and the snapshots of the parent.
        let expected = if redacts { 0 } else { left.len() };
        outcome.expect(found.len() == expected, || {
            format!("{what}: {way} is in {found:?}")
        });
    }
    for left in &left {
        left.tells_the_rest(&what, redacts, outcome);
    }
}

/// What finds each canary, in a recording and in a snapshot.
fn needles() -> impl Iterator<Item = (&'static str, Regex)> {
    let texts = TEXTS.map(|way| (way, text(way)));
    let numbers = NUMBERS.map(|way| {
        let bytes = |bytes: [u8; 8]| bytes.map(|byte| format!("\\x{byte:02x}")).concat();
        let number = number(way);
        let ways = [number.to_le_bytes(), number.to_be_bytes()].map(bytes);
        (way, ways.join("|"))
    });
    let all = texts.into_iter().chain(numbers);
    all.map(|(way, bytes)| {
        (
            way,
            Regex::new(&format!("(?s-u){bytes}")).expect("it is one"),
        )
    })
}

impl Left {
    fn read(path: PathBuf) -> Left {
        let is_snapshot = path.extension().is_some_and(|end| end == "bin");
        Left::read_as(path, is_snapshot)
    }

    fn read_as(path: PathBuf, is_snapshot: bool) -> Left {
        let mut bytes = std::fs::read(&path).expect("a file");
        if is_snapshot {
            let mut plain = Vec::new();
            let mut frame = lz4_flex::frame::FrameDecoder::new(&bytes[..]);
            std::io::Read::read_to_end(&mut frame, &mut plain).expect("an LZ4 frame");
            bytes = plain;
        }
        Left { path, bytes }
    }

    fn is_a(&self, end: &str) -> bool {
        self.path.extension().is_some_and(|found| found == end)
    }

    fn has(&self, needle: &Regex) -> bool {
        needle.is_match(&self.bytes)
    }

    /// Looks for what was said in the open: beside every event's canary, and in each span.
    fn tells_the_rest(&self, what: &str, redacts: bool, outcome: &mut Outcome) {
        let path = self.path.display();
        let Opened { recording, .. } =
            ttlog_reader::open(&self.path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let values = recording.entries.iter().flat_map(|entry| {
            let fields: Vec<Value> = entry
                .fields
                .iter()
                .map(|field| field.value.owned())
                .collect();
            fields
        });
        let values: Vec<Value> = values.collect();
        let redacted = values.iter().filter(|value| **value == Value::Redacted);
        let kept = values
            .iter()
            .filter_map(Value::text)
            .filter(|text| text.bytes == KEPT.as_bytes());
        let ways = TEXTS.len() + NUMBERS.len();
        let (redacted, kept) = (redacted.count(), kept.count());
        // A snapshot's spans are beside its entries.
        let least = if self.is_a("bin") { ways - 6 } else { ways };
        outcome.expect(kept >= least, || format!("{what}: {kept} kept in {path}"));
        outcome.expect(
            (redacted >= least) == redacts && (redacts || redacted == 0),
            || format!("{what}: {redacted} redacted in {path}"),
        );
    }
}

/// Has `program` record with nothing redacted, and `ttlog-reader scrub` copy what it left, as
/// it is and damaged; and looks for canaries in the copies, and for all else.
pub fn scrub(program: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    for adapter in ["subscriber", "layer"] {
        let (home, _) = record(program, adapter, Setup::Nothing);
        for path in files(home.path()) {
            copy(program, &path, &format!("{adapter}, whole"), &mut outcome);
            if path.extension().is_some_and(|end| end == "ring") {
                for seed in 1..=DAMAGES {
                    let damaged = damage(&path, seed);
                    copy(
                        program,
                        &damaged,
                        &format!("{adapter}, damage {seed}"),
                        &mut outcome,
                    );
                }
            }
        }
    }
    outcome
}

/// How many times a recording is damaged, each in another way.
const DAMAGES: u64 = 12;

/// A copy of a recording that is cut, in which bits are flipped, and into which a canary was
/// written here and there.
fn damage(path: &Path, seed: u64) -> PathBuf {
    let mut bytes = std::fs::read(path).expect("a recording");
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = |below: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(seed);
        (state >> 33) as usize % below
    };
    let len = bytes.len();
    for _ in 0..100 {
        let at = 4096 + random(len - 8192);
        bytes[at] ^= 1 << random(8);
    }
    let canary = text("str").into_bytes();
    for _ in 0..200 {
        let at = (4096 + random(len - 12288)) & !7;
        bytes[at..at + canary.len()].copy_from_slice(&canary);
    }
    if seed.is_multiple_of(3) {
        bytes.truncate(len / 2 + random(len / 2));
    }
    let damaged = path.with_extension(format!("{seed}.damaged"));
    std::fs::write(&damaged, bytes).expect("a copy");
    damaged
}

/// Copies one file, and compares.
fn copy(program: &Path, path: &Path, what: &str, outcome: &mut Outcome) {
    let what = format!("{what}, {}", path.display());
    let to = path.with_extension("clean");
    let input = std::fs::read(path).expect("a file");
    let output = Command::new(reader::program(program))
        .args(["scrub".as_ref(), path, "-o".as_ref(), &to])
        .output()
        .expect("ttlog-reader runs");
    let words = String::from_utf8_lossy(&output.stderr);
    let done = matches!(output.status.code(), Some(0 | 3));
    outcome.expect(done, || format!("{what}: {}: {words}", output.status));
    outcome.expect(words.contains("redacted in"), || format!("{what}: {words}"));
    outcome.expect(std::fs::read(path).is_ok_and(|now| now == input), || {
        format!("{what}: the input was written to")
    });
    let over = Command::new(reader::program(program))
        .args([
            "scrub".as_ref(),
            path,
            "--force".as_ref(),
            "-o".as_ref(),
            path,
        ])
        .output()
        .expect("ttlog-reader runs");
    outcome.expect(over.status.code() == Some(2), || {
        format!("{what}: over itself: {over:?}")
    });
    outcome.expect(std::fs::read(path).is_ok_and(|now| now == input), || {
        format!("{what}: the input was written to")
    });
    let before = ttlog_reader::open(path).expect("the input");
    let is_snapshot = before.made.is_some();
    let plain = |path: &Path| Left::read_as(path.to_owned(), is_snapshot);
    let (had, has) = (plain(path), plain(&to));
    let mut any = false;
    for (way, needle) in needles() {
        any |= had.has(&needle);
        outcome.expect(!has.has(&needle), || {
            format!("{what}: {way} is in the copy")
        });
    }
    outcome.expect(any, || format!("{what}: no canary was there to be found"));
    let after = ttlog_reader::open(&to).expect("the copy");
    outcome.expect(after.recording.header.scrubbed, || {
        format!("{what}: it does not say so")
    });
    if let Err(words) = is_the_same_but_for_values(&before.recording, &after.recording) {
        outcome.expect(false, || format!("{what}: {words}"));
    }
    outcome.expect(before.made == after.made, || {
        format!("{what}: made differently")
    });
    for command in ["info", "postmortem", "view", "stats", "spans"] {
        let output = Command::new(reader::program(program))
            .arg(command)
            .arg(&to)
            .output()
            .expect("ttlog-reader runs");
        let done = matches!(output.status.code(), Some(0 | 3));
        outcome.expect(done, || format!("{what}: {command}: {output:?}"));
    }
    std::fs::remove_file(&to).expect("the copy");
}

/// Whether the second is a copy of the first in which values were taken out that are denied,
/// or of which nobody knows the name, and nothing else.
fn is_the_same_but_for_values(before: &Recording, after: &Recording) -> Result<(), String> {
    let names = Names::default();
    let denied = |recording: &Recording, site: u64, index: u8| {
        let site = recording.sites.get(&site);
        let name = site.and_then(|site| site.fields.get(usize::from(index)));
        name.is_none_or(|name| names.deny_field(name))
    };
    let agree = |site: u64, one: &Field, other: &Field| {
        let expected = match denied(before, site, one.index) {
            true => &Value::Redacted,
            false => &one.value,
        };
        one.index == other.index && other.value == *expected
    };
    if before.entries.len() != after.entries.len() {
        return Err(format!(
            "{} entries of {}",
            after.entries.len(),
            before.entries.len()
        ));
    }
    for (one, other) in before.entries.iter().zip(&after.entries) {
        let fields = (one.fields.to_vec(), other.fields.to_vec());
        let agreed = fields.0.len() == fields.1.len()
            && fields
                .0
                .iter()
                .zip(&fields.1)
                .all(|(one_field, other)| agree(one.site, one_field, other));
        let blank = |entry: &Entry| Entry {
            fields: Vec::new().into(),
            ..entry.clone()
        };
        if !agreed || blank(one) != blank(other) {
            return Err(format!("{one:?} became {other:?}"));
        }
    }
    // Headers that were mended are written as they must have been.
    let is_mended = before.ledger.mended_blocks > 0;
    let counted = |recording: &Recording| Ledger {
        truncated: 0,
        mended_blocks: 0,
        exact: recording.ledger.exact || is_mended,
        ..recording.ledger
    };
    let tables = |recording: &Recording| {
        format!(
            "{:?} {:?} {:?} {:?} {}",
            counted(recording),
            recording.causes,
            recording.incidents,
            recording.threads,
            recording.end_ns
        )
    };
    if tables(before) != tables(after) {
        return Err(format!("{}\nbecame\n{}", tables(before), tables(after)));
    }
    let mut ids: Vec<_> = before.spans.keys().chain(after.spans.keys()).collect();
    ids.sort();
    ids.dedup();
    for id in ids {
        let (Some(one), Some(other)) = (before.spans.get(id), after.spans.get(id)) else {
            // A slot that does not say which span it holds is left out.
            if before.ledger.damaged_spans > 0 && !after.spans.contains_key(id) {
                continue;
            }
            return Err(format!("{id:?} is in one of them"));
        };
        let agreed = one.fields.len() == other.fields.len()
            && one
                .fields
                .iter()
                .zip(&other.fields)
                .all(|(one_field, other)| {
                    one_field.0 == other.0 && agree(one.site, &one_field.1, &other.1)
                });
        let blank = |span: &Span| Span {
            fields: Vec::new(),
            ..span.clone()
        };
        if !agreed || blank(one) != blank(other) {
            return Err(format!("{one:?} became {other:?}"));
        }
    }
    Ok(())
}
