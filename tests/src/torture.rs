//! The promises, each with the harness that tries to break it, and the bug that shows
//! that the harness can.
//!
//! A harness is a test of this crate. As a test it does what a test has time for; here it
//! is asked for more, and what it counts is told by its [`tally`].

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::tally::{self, Said};

/// A promise, and what tries to break it.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// What is counted: the row's name, and the tally's.
    pub what: &'static str,
    /// The promise, in a sentence.
    pub promise: &'static str,
    /// The test targets of the harness.
    pub targets: &'static [&'static str],
    /// The tests of the harness in these, by a part of their names; empty: all.
    pub tests: &'static str,
    /// The tests in which a seeded bug is found, by their target and a part of their names.
    pub controls: &'static [(&'static str, &'static str)],
    /// How many there are to be in a run of some hours; 0 where it is not asked.
    pub wanted: u64,
}

/// All promises.
pub fn promises() -> &'static [Promise] {
    &[
        Promise {
            what: "kills",
            promise: "what was recorded before a SIGKILL is there after it",
            targets: &["kill_loop"],
            tests: "killed_at_any_instant",
            controls: &[("kill_loop", "the_loop_finds")],
            wanted: 20_000,
        },
        Promise {
            what: "instructions",
            promise: "dead after any one instruction it is read as if nothing had happened",
            targets: &["single_step"],
            tests: "dead_after_any",
            controls: &[("single_step", "at_the_wrong_time")],
            wanted: 1_000_000,
        },
        Promise {
            what: "deaths",
            promise: "however it dies, it dies as it would have, and that is told",
            targets: &["deaths"],
            tests: "every_death",
            controls: &[
                ("deaths", "a_handler_that_ends"),
                ("handlers", "the_storm_finds"),
            ],
            wanted: 2_000,
        },
        Promise {
            what: "environment-cases",
            promise: "whatever befalls files, memory and limits, the host goes on as without",
            targets: &[
                "denied",
                "disks",
                "faults",
                "frozen",
                "limits",
                "lost",
                "memory",
                "moved",
                "places",
                "scribbled",
            ],
            tests: "",
            controls: &[("faults", "who_ends_otherwise")],
            wanted: 0,
        },
        Promise {
            what: "power-cuts",
            promise: "a power cut costs an interval and a sync, and nothing false is shown",
            targets: &["power_cut"],
            tests: "a_power_cut_costs",
            controls: &[("power_cut", "the_check_finds")],
            wanted: 2_000,
        },
        Promise {
            what: "corruptions",
            promise: "what is not damaged is read, all of it, once, and nothing false is shown",
            targets: &["corrupted"],
            tests: "what_is_not_damaged",
            controls: &[
                ("corrupted", "a_reader_that_asks"),
                ("corrupted", "an_event_that_nobody_said"),
            ],
            wanted: 10_000,
        },
        Promise {
            what: "hostile-inputs",
            promise: "whatever it reads, the reader takes 64 MiB at most and comes to an end",
            targets: &["bounded"],
            tests: "",
            controls: &[("bounded", "whoever_believes")],
            wanted: 0,
        },
        Promise {
            what: "planted-objects",
            promise: "what others planted where a file is to be made stays, and harms nobody",
            targets: &["planted"],
            tests: "",
            controls: &[("planted", "a_double_that_opens")],
            wanted: 0,
        },
        Promise {
            what: "secrets",
            promise: "the value of a denied field reaches no file, however it comes",
            targets: &["redaction"],
            tests: "",
            controls: &[("redaction", "a_recorder_that_redacts_nothing")],
            wanted: 0,
        },
        Promise {
            what: "live-reads",
            promise: "who follows a living process is shown what was said, once, in order",
            targets: &["followed"],
            tests: "who_follows",
            controls: &[("followed", "what_is_wrong")],
            wanted: 100_000_000,
        },
        Promise {
            what: "forks",
            promise: "a forked child leaves its parent's recording alone, and has its own",
            targets: &["forks"],
            tests: "forks_by_the_thousand",
            controls: &[("forks", "a_recorder_that_writes")],
            wanted: 10_000,
        },
        Promise {
            what: "interrupted-records",
            promise: "a signal handler that logs harms no record that it interrupts",
            targets: &["storms"],
            tests: "what_handlers_say",
            controls: &[("storms", "without_the_guard")],
            wanted: 1_000_000,
        },
    ]
}

/// How often it is looked how far a harness has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often that is said where no terminal is.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// What came of a promise.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many were tried.
    pub figure: u64,
    /// What could not be tried here, in the words of the tests.
    pub skipped: Vec<String>,
    /// What else the harness says of them.
    pub notes: Vec<String>,
    /// The names of the tests that failed: of the harness, or of its control.
    pub failed: Vec<String>,
    /// What the controls found; nothing where one did not run.
    pub found: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether the promise was kept, and the control would have told.
    pub fn holds(&self) -> bool {
        self.failed.is_empty() && !self.found.is_empty() && self.figure > 0
    }
}

/// Where cargo is, and where what it prints goes.
#[derive(Debug)]
pub struct Runner {
    cargo: PathBuf,
    directory: PathBuf,
    shows: bool,
}

impl Runner {
    /// A runner that keeps what tests print in `directory`, which is made.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(directory: PathBuf) -> io::Result<Runner> {
        std::fs::create_dir_all(&directory)?;
        // Tests run in another directory.
        let directory = directory.canonicalize()?;
        Ok(Runner {
            cargo: std::env::var_os("CARGO").map_or("cargo".into(), PathBuf::from),
            directory,
            shows: io::stderr().is_terminal(),
        })
    }

    /// Tries to break a promise so many times, and then whether that would be found.
    ///
    /// # Errors
    /// cargo cannot be run.
    pub fn tries(&self, promise: &Promise, wanted: u64) -> io::Result<Outcome> {
        let begun = Instant::now();
        let file = self.path(promise.what, "tally");
        let _ = std::fs::remove_file(&file);
        let mut outcome = Outcome::default();
        let harness = self.path(promise.what, "log");
        let mut command = self.tests(promise.targets, promise.tests);
        if wanted > 0 {
            command.env(tally::variable(promise.what), wanted.to_string());
        }
        for (_, control) in promise.controls {
            command.args(["--skip", control]);
        }
        self.run(&mut command, &harness, &file, promise, &mut outcome)?;
        for (number, (target, control)) in promise.controls.iter().enumerate() {
            let log = self.path(promise.what, &format!("control-{number}.log"));
            let mut command = self.tests(&[target], control);
            let (figure, skipped) = (outcome.figure, outcome.skipped.clone());
            self.run(&mut command, &log, &file, promise, &mut outcome)?;
            // What is counted is the harness's.
            (outcome.figure, outcome.skipped) = (figure, skipped);
        }
        let said = Said::of(promise.what, &file);
        if let Some((done, _)) = said.done {
            outcome.figure = done;
        }
        (outcome.notes, outcome.found) = (said.notes, said.found);
        outcome.took = begun.elapsed();
        Ok(outcome)
    }

    fn path(&self, what: &str, kind: &str) -> PathBuf {
        self.directory.join(format!("{what}.{kind}"))
    }

    fn tests(&self, targets: &[&str], tests: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        command.args([
            "test",
            "--release",
            "--no-fail-fast",
            "--package",
            "ttlog-tests",
        ]);
        for target in targets {
            command.args(["--test", target]);
        }
        command.args(["--", "--nocapture", "--test-threads=1"]);
        command.args((!tests.is_empty()).then_some(tests));
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }

    /// Runs tests to their end, telling how far they have come, and takes in what they say.
    fn run(
        &self,
        command: &mut Command,
        log: &Path,
        file: &Path,
        promise: &Promise,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        let output = File::create(log)?;
        command.env(tally::FILE, file);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut child = command.spawn()?;
        let status = self.wait(&mut child, file, promise)?;
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        outcome.take_in(&text);
        if !status.success() && outcome.failed.is_empty() {
            outcome
                .failed
                .push(format!("it did not run: {}", log.display()));
        }
        Ok(())
    }

    fn wait(
        &self,
        child: &mut Child,
        file: &Path,
        promise: &Promise,
    ) -> io::Result<std::process::ExitStatus> {
        let (mut said, begun) = (Instant::now(), Instant::now());
        loop {
            if let Some(status) = child.try_wait()? {
                if self.shows {
                    eprint!("\r\x1b[K");
                }
                return Ok(status);
            }
            if self.shows || said.elapsed() > SAY_EVERY {
                said = Instant::now();
                let far = progress(promise.what, &Said::of(promise.what, file), begun.elapsed());
                let (before, after) = if self.shows {
                    ("\r\x1b[K", "")
                } else {
                    ("", "\n")
                };
                eprint!("{before}{far}{after}");
                io::stderr().flush()?;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// How far a harness has come, in a line.
fn progress(what: &str, said: &Said, since: Duration) -> String {
    let far = match said.done {
        Some((done, wanted)) if wanted > 0 => {
            format!("{} of {}", grouped(done), grouped(wanted))
        }
        Some((done, _)) => grouped(done),
        None => "building, or not counted yet".to_owned(),
    };
    format!("{what}: {far}, {} s", since.as_secs())
}

impl Outcome {
    /// Takes in what tests have printed: how many passed, which failed, what was skipped.
    fn take_in(&mut self, text: &str) {
        let mut lists_failures = false;
        for line in text.lines() {
            if let Some(counted) = line.strip_prefix("test result: ") {
                let passed = counted.split(['.', ';']).nth(1).unwrap_or_default();
                let passed = passed.trim().strip_suffix(" passed");
                self.figure += passed.and_then(|passed| passed.parse().ok()).unwrap_or(0);
                lists_failures = false;
            } else if line == "failures:" {
                lists_failures = true;
            } else if let Some(name) = line.strip_prefix("    ").filter(|_| lists_failures) {
                let is_name = !name.contains(' ') && !self.failed.iter().any(|it| it == name);
                self.failed.extend(is_name.then(|| name.to_owned()));
            } else if line.to_lowercase().starts_with("skipped") {
                self.skipped.push(line.to_owned());
            }
        }
    }
}

/// The longest line of words below the table, in characters.
const WORDS_MAX: usize = 200;

/// The table, for whoever has waited for it, and below it what else there is to be said.
pub fn table(rows: &[(&Promise, Outcome)]) -> String {
    let mut table = format!(
        "{:<21} {:>13} {:>8}  {:<7} {:>8}\n",
        "what", "figure", "failures", "control", "seconds"
    );
    for (promise, outcome) in rows {
        let _ = writeln!(table, "{}", row(promise, outcome));
    }
    for (promise, outcome) in rows {
        for (kind, words) in [
            ("", &outcome.notes),
            ("the control found ", &outcome.found),
            ("FAILED: ", &outcome.failed),
            ("", &outcome.skipped),
        ] {
            for words in words {
                let words: String = words.chars().take(WORDS_MAX).collect();
                let _ = writeln!(table, "{}: {kind}{words}", promise.what);
            }
        }
    }
    table
}

/// What came of a promise, in a line of the table.
pub fn row(promise: &Promise, outcome: &Outcome) -> String {
    let is_found = !outcome.found.is_empty();
    format!(
        "{:<21} {:>13} {:>8}  {:<7} {:>8}",
        promise.what,
        grouped(outcome.figure),
        outcome.failed.len(),
        if is_found { "found" } else { "MISSED" },
        outcome.took.as_secs()
    )
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
running 3 tests
test a_disk_is_full ... ok
SKIPPED: no Btrfs can be had: only root can mount
test a_thread_dies ... thread 'a_thread_dies' panicked at here.rs:1:2:
FAILED

failures:

failures:
    a_thread_dies

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.01s
";

    #[test]
    fn what_tests_print_is_taken_in() {
        let mut outcome = Outcome::default();
        outcome.take_in(PRINTED);
        outcome.take_in("test result: ok. 40 passed; 0 failed; 0 ignored");
        assert_eq!(outcome.figure, 42);
        assert_eq!(outcome.failed, ["a_thread_dies"]);
        let skipped = "SKIPPED: no Btrfs can be had: only root can mount";
        assert_eq!(outcome.skipped, [skipped]);
        assert!(!outcome.holds());
    }

    #[test]
    fn nothing_holds_of_which_the_control_has_found_nothing() {
        let mut outcome = Outcome {
            figure: 7,
            ..Outcome::default()
        };
        assert!(!outcome.holds());
        let promise = &promises()[0];
        assert!(table(&[(promise, outcome.clone())]).contains("MISSED"));
        outcome.found.push("a torn event".into());
        assert!(outcome.holds());
        outcome.failed.push("a_test".into());
        assert!(!outcome.holds());
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let outcome = Outcome {
            figure: 100_000_000,
            took: Duration::from_secs(99_999),
            ..Outcome::default()
        };
        let rows: Vec<_> = promises().iter().map(|it| (it, outcome.clone())).collect();
        let table = table(&rows);
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        assert!(table.contains("100,000,000"));
    }

    #[test]
    fn every_test_that_is_named_is_there() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let text =
            |target: &str| std::fs::read_to_string(sources.join(target).with_extension("rs"));
        for promise in promises() {
            for target in promise.targets {
                assert!(text(target).unwrap().contains(promise.tests), "{promise:?}");
            }
            assert!(!promise.controls.is_empty(), "{promise:?}");
            for (target, control) in promise.controls {
                assert!(text(target).unwrap().contains(control), "{promise:?}");
            }
        }
    }
}
