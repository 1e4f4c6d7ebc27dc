//! Canaries: values under names that are denied, recorded in every way there is, and then
//! looked for in every byte of every file that is left.
//!
//! The binary `secrets` records them; what it says under other names must arrive all the
//! same. With redaction off each of them must be found: a search that finds nothing then
//! would prove nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use ttlog_format::value::Value;
use ttlog_reader::Opened;

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

/// What came of looking: how many canaries were looked for, and what was wrong.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many times something was looked for.
    pub cases: usize,
    /// What was not as it should be.
    pub failures: Vec<String>,
}

impl Outcome {
    fn expect(&mut self, holds: bool, words: impl FnOnce() -> String) {
        self.cases += 1;
        if !holds {
            self.failures.push(words());
        }
    }
}

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
    let what = format!("{adapter}, {setup:?}");
    let shown: u64 = said.trim().parse().unwrap_or_else(|_| {
        let words = String::from_utf8_lossy(&output.stderr);
        panic!("{what}: {}: {said} {words}", output.status)
    });
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
    for (way, needles) in needles() {
        let found: Vec<&Path> = left
            .iter()
            .filter(|left| needles.iter().any(|needle| left.has(needle)))
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

/// The bytes of each canary, in a recording and in a snapshot.
fn needles() -> impl Iterator<Item = (&'static str, Vec<Vec<u8>>)> {
    let texts = TEXTS.map(|way| (way, vec![text(way).into_bytes()]));
    let numbers = NUMBERS.map(|way| {
        let number = number(way);
        let ways = [number.to_le_bytes(), number.to_be_bytes()];
        (way, ways.map(|bytes| bytes.to_vec()).to_vec())
    });
    texts.into_iter().chain(numbers)
}

impl Left {
    fn read(path: PathBuf) -> Left {
        let bytes = std::fs::read(&path).expect("a file");
        let bytes = match path.extension().is_some_and(|end| end == "bin") {
            true => {
                let mut plain = Vec::new();
                let mut frame = lz4_flex::frame::FrameDecoder::new(&bytes[..]);
                std::io::Read::read_to_end(&mut frame, &mut plain).expect("an LZ4 frame");
                plain
            }
            false => bytes,
        };
        Left { path, bytes }
    }

    fn is_a(&self, end: &str) -> bool {
        self.path.extension().is_some_and(|found| found == end)
    }

    fn has(&self, needle: &[u8]) -> bool {
        let mut windows = self.bytes.windows(needle.len());
        windows.any(|window| window == needle)
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
