//! How much a harness does, and how far it has come.
//!
//! As a test it does what a test has time for. `TTLOG_TESTS_KILLS`, and so on by the
//! name of what is counted, asks for more; where `TTLOG_TESTS_TALLY` names a file, what
//! was counted is appended to it, a line of JSON each, for whoever waits for it: see
//! `torture`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The variable that names the file of tallies.
pub const FILE: &str = "TTLOG_TESTS_TALLY";

/// How often it is said how far a harness has come.
const EVERY: Duration = Duration::from_millis(500);

/// What a harness has done of what it is to do.
#[derive(Debug)]
pub struct Tally {
    what: &'static str,
    /// Tells it from others of the same name, whose numbers are added to its.
    name: String,
    wanted: u64,
    so_far: Mutex<(u64, Option<Instant>)>,
}

impl Tally {
    /// Nothing yet of `what`, of which there are to be so many unless more are asked for.
    ///
    /// # Panics
    /// If what is asked for is no number.
    pub fn of(what: &'static str, by_default: u64) -> Tally {
        let asked = std::env::var(variable(what));
        let wanted = asked.map_or(by_default, |asked| {
            let number = asked.parse();
            number.unwrap_or_else(|_| panic!("{} is {asked:?}, and no number", variable(what)))
        });
        static TALLIES: AtomicU64 = AtomicU64::new(0);
        let number = TALLIES.fetch_add(1, Ordering::Relaxed);
        Tally {
            what,
            name: format!("{}.{number}", std::process::id()),
            wanted,
            so_far: Mutex::default(),
        }
    }

    /// How many there are to be.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// So many more are done, and were as they should be.
    pub fn add(&self, more: u64) {
        let mut so_far = self.so_far.lock().expect("no panic");
        so_far.0 += more;
        if so_far.1.is_none_or(|said| said.elapsed() >= EVERY) {
            so_far.1 = Some(Instant::now());
            self.say(so_far.0);
        }
    }

    /// What else there is to be said of them, in a few words.
    pub fn note(&self, words: &str) {
        say(&json!({"what": self.what, "note": words}));
    }

    fn say(&self, done: u64) {
        let (what, name, wanted) = (self.what, &self.name, self.wanted);
        say(&json!({"what": what, "name": name, "done": done, "wanted": wanted}));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.say(self.so_far.lock().expect("no panic").0);
        }
    }
}

/// The control of `what` has found the bug that it was to find, as these words say.
pub fn found(what: &str, words: impl ToString) {
    let words = words.to_string();
    eprintln!("found: {words}");
    say(&json!({"what": what, "found": words}));
}

/// The variable that says how many there are to be.
pub fn variable(what: &str) -> String {
    format!("TTLOG_TESTS_{}", what.replace('-', "_").to_uppercase())
}

fn say(line: &Value) {
    let Some(path) = std::env::var_os(FILE) else {
        return;
    };
    let file = File::options().append(true).create(true).open(path);
    let said = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    said.expect("the file of tallies");
}

/// What was last said of `what` in a file of tallies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// How many were done, of how many.
    pub done: Option<(u64, u64)>,
    /// What else there was to be said.
    pub notes: Vec<String>,
    /// What its controls have found.
    pub found: Vec<String>,
}

impl Said {
    /// Reads what the file says of `what`, nothing if there is no file yet.
    pub fn of(what: &str, file: &Path) -> Said {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.parse::<Value>().ok());
        let mut said = Said::default();
        let mut tallies = BTreeMap::new();
        for line in lines.filter(|line| line["what"] == what) {
            if let (Some(done), Some(wanted)) = (line["done"].as_u64(), line["wanted"].as_u64()) {
                tallies.insert(line["name"].to_string(), done);
                said.done = Some((tallies.values().sum(), wanted));
            }
            said.notes.extend(line["note"].as_str().map(str::to_owned));
            said.found.extend(line["found"].as_str().map(str::to_owned));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_is_read_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = [
            json!({"what": "kills", "done": 1, "wanted": 9}),
            json!({"what": "forks", "done": 5, "wanted": 5}),
            json!({"what": "kills", "done": 4, "wanted": 9}),
            json!({"what": "kills", "name": "other", "done": 5, "wanted": 9}),
            json!({"what": "kills", "note": "on ext4"}),
            json!({"what": "kills", "found": "torn"}),
        ];
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(file.path(), text + "{\"what\": \"ki").unwrap();
        let said = Said::of("kills", file.path());
        assert_eq!(said.done, Some((9, 9)));
        assert_eq!(
            (said.notes, said.found),
            (vec!["on ext4".into()], vec!["torn".into()])
        );
        assert_eq!(Said::of("kills", Path::new("/nowhere")), Said::default());
    }
}
