//! The commands, and what they have in common.
//!
//! ```text
//! $ ttlog-reader view 4711
//! $ ttlog-reader info ./ttlog-4711-1764000000123.ring
//! $ ttlog-view /var/lib/payments/ttlog
//! ```
//!
//! Every command takes one or more recordings: files (whatever their names, the
//! content decides), directories (their newest recording), pids, or `-` for stdin.
//! `view` merges them by time, the others show them one after the other; and one that
//! cannot be read does not keep the others back.
//!
//! stdout is data, stderr is words. The exit status is 0 for whole recordings, 1
//! where one could not be read, 2 for wrong usage, and 3 where one was recovered
//! with damage. Whoever closes the pipe has seen enough: that is a 0.
//!
//! A recording is read piece by piece, whatever its size: in memory are an index of its
//! blocks, about 1 byte for 40 of the file, and what is open at the moment that is told.
//! Where that takes longer than a second and stderr is a terminal, a line on it says how
//! far it has come; it is wiped out before anything else is said.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use ttlog_format::salvage::Ledger;

use crate::error::Error;
use crate::input::{self, Located, Opened, Which};
use crate::interrupt;
use crate::pager::{Pager, Sink};
use crate::progress::{Beside, Progress};
use crate::reading::Reading;
use crate::{
    advice, damage, doctor, export, info, list, manual, postmortem, scrub, spans, stats, view,
};

const STATUS_FAILED: u8 = 1;
const STATUS_USAGE: u8 = 2;
const STATUS_WITH_DAMAGE: u8 = 3;

/// Read what a ttlog recorder left behind: after a crash, after kill -9, or live
#[derive(Clone, Debug, Parser)]
#[command(
    name = "ttlog-reader",
    version,
    after_help = "\
What was open when it died, and who brought the end:
  ttlog-reader postmortem DIR
The last errors:
  ttlog-reader view -p error -n 20 DIR
Everything about one request:
  ttlog-reader view --field id=7 DIR
What a thread did in its last 100 ms:
  ttlog-reader view --thread worker-1 --since -100ms DIR
Which call site floods the ring:
  ttlog-reader stats DIR
The timeline in a browser, at ui.perfetto.dev:
  ttlog-reader export --format perfetto DIR
What there is to look at, and whether a directory is a good home for it:
  ttlog-reader list
  ttlog-reader doctor DIR

DIR stands for its newest recording; a file, a pid, or - for stdin will do as well.
Exit status: 0 whole, 1 failed, 2 usage, 3 recovered with damage."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    View(Box<view::Arguments>),
    Export(Box<export::Arguments>),
    Scrub(scrub::Arguments),
    Info(info::Arguments),
    Postmortem(postmortem::Arguments),
    Spans(Box<spans::Arguments>),
    Stats(Box<stats::Arguments>),
    List(list::Arguments),
    Doctor(doctor::Arguments),
    Completions(manual::Completions),
    Man(manual::Pages),
}

/// Show the events of recordings, oldest first: the same as `ttlog-reader view`
#[derive(Clone, Debug, Parser)]
#[command(name = "ttlog-view", version)]
pub struct ViewArguments {
    #[command(flatten)]
    view: view::Arguments,
}

impl Arguments {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::View(asked) => run_view("ttlog-reader", &asked),
            Command::Export(asked) => run_export("ttlog-reader", &asked),
            Command::Scrub(asked) => run("ttlog-reader", |run| run.scrub(&asked)),
            Command::Info(asked) => run("ttlog-reader", |run| {
                let mut next = None;
                run.each_table(&asked.inputs, |opened, out| {
                    next = info::next(opened, &asked);
                    info::write(opened, &asked, out)
                });
                run.advise(next);
            }),
            Command::Postmortem(asked) => run("ttlog-reader", |run| {
                let mut next = None;
                run.each(&asked.inputs, TO_SHOW, |reading, out| {
                    let opened = reading.last_words(asked.last_words())?;
                    next = postmortem::next(&opened, &asked);
                    let written = postmortem::write(&opened, &asked, out);
                    written.map_err(Error::output)?;
                    Ok(opened.recording.ledger)
                });
                run.advise(next);
            }),
            Command::Spans(asked) => run("ttlog-reader", |run| {
                run.each(&asked.inputs, TO_SHOW, |reading, out| {
                    spans::write(reading, &asked, out)
                });
            }),
            Command::Stats(asked) => run("ttlog-reader", |run| {
                run.each(&asked.inputs, TO_COUNT, |reading, out| {
                    stats::write(reading, &asked, out)
                });
            }),
            Command::List(asked) => run_list("ttlog-reader", &asked),
            Command::Doctor(asked) => run_doctor("ttlog-reader", &asked),
            Command::Completions(asked) => run("ttlog-reader", |run| {
                let written = manual::complete(programs(), &asked, &mut run.out);
                run.account_for_written(written.map_err(Error::output));
            }),
            Command::Man(asked) => run("ttlog-reader", |run| {
                let written = manual::write_pages(programs(), &asked, &mut run.out);
                run.account_for_written(written);
            }),
        }
    }
}

impl ViewArguments {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        run_view("ttlog-view", &self.view)
    }
}

/// The commands as they are typed, for who tells of them.
fn programs() -> manual::Programs {
    manual::Programs {
        reader: Arguments::command(),
        view: ViewArguments::command(),
    }
}

fn run_view(program: &str, asked: &view::Arguments) -> ExitCode {
    let pager = if asked.is_paged() {
        Pager::start()
    } else {
        None
    };
    let on_screen = io::stdout().is_terminal();
    run_into(program, pager, |run| {
        let located = run.locate(&asked.inputs);
        let shown = view::show(&located, asked, on_screen, &mut run.out);
        match shown.and_then(|seen| run.out.flush().map(|()| seen).map_err(Error::output)) {
            Ok(seen) => run.account_for_all(seen),
            Err(error) => run.account_for(Err(error)),
        }
    })
}

fn run_list(program: &str, asked: &list::Arguments) -> ExitCode {
    let mut found = list::find(asked);
    if let Some(words) = found.none() {
        say(program, &words);
    }
    run(program, |run| {
        for error in std::mem::take(&mut found.errors) {
            run.account_for(Err(error));
        }
        let mut listed = list::Listed::new(asked);
        let paths = found.paths.iter();
        let paths: Vec<_> = paths
            .flat_map(|path| input::each_in(path, run.progress))
            .collect();
        run.each_table(&paths, |opened, out| listed.add(opened, out));
        run.progress.clear();
        let written = listed.write(&mut run.out);
        run.account_for_written(written.map_err(Error::output));
        for words in found.elsewhere() {
            run.tell(&words);
        }
        run.advise(listed.next());
    })
}

fn run_doctor(program: &str, asked: &doctor::Arguments) -> ExitCode {
    run(program, |run| {
        for directory in doctor::directories(asked) {
            let examined = doctor::examine(&directory, asked);
            let written = examined.write(asked, &mut run.out);
            run.account_for_written(written.map_err(Error::output));
            if examined.is_bad() && !run.is_over {
                run.status = worse(run.status, STATUS_FAILED);
            }
        }
    })
}

fn run_export(program: &str, asked: &export::Arguments) -> ExitCode {
    if export::is_crowded(asked) {
        let words = "several recordings do not go into one file: give a directory, or no -o";
        say(program, words);
        return ExitCode::from(STATUS_USAGE);
    }
    run(program, |run| {
        run.each(&asked.inputs, asked.passes(), |reading, out| {
            export::write(reading, asked, out)
        });
    })
}

/// How often a recording is read to be shown: for its index, and for its entries; to be
/// counted: for how far back it reaches, too.
const TO_SHOW: u64 = 2;
const TO_COUNT: u64 = 3;

/// To be copied: twice for its tables, once for its call sites, and once as it is written.
const TO_SCRUB: u64 = 4;

type Out<'p> = BufWriter<Beside<'p, Sink>>;

/// Runs a command, and makes an exit status of what it came to.
fn run(program: &str, command: impl FnOnce(&mut Run<'_, '_>)) -> ExitCode {
    run_into(program, None, command)
}

/// The same, with its output shown by a pager where there is one.
fn run_into(
    program: &str,
    mut pager: Option<Pager>,
    command: impl FnOnce(&mut Run<'_, '_>),
) -> ExitCode {
    // Who interrupts a pager means what it shows, and not who writes to it.
    let _noted = pager.as_ref().map(|_| interrupt::noted());
    let progress = Progress::new();
    let sink = match pager.as_mut().and_then(Pager::input) {
        Some(input) => Sink::Pager(input),
        None => Sink::Stdout(io::stdout()),
    };
    let out = Beside::new(sink, io::stdout().is_terminal(), &progress);
    let mut run = Run {
        program,
        out: BufWriter::with_capacity(1 << 16, out),
        progress: &progress,
        status: 0,
        is_over: false,
    };
    command(&mut run);
    progress.clear();
    // What could not be written is not to be tried again.
    drop(run.out.into_parts());
    let status = run.status;
    if let Some(pager) = pager {
        pager.wait();
    }
    ExitCode::from(status)
}

/// A command that runs: where it writes to, and what it has come to.
struct Run<'a, 'p> {
    program: &'a str,
    out: Out<'p>,
    progress: &'p Progress,
    status: u8,
    /// Whether there is nothing left to write to.
    is_over: bool,
}

impl<'p> Run<'_, 'p> {
    /// Shows the tables of one input after the other.
    fn each_table(
        &mut self,
        inputs: &[impl AsRef<Path>],
        mut show: impl FnMut(&Opened, &mut Out<'p>) -> io::Result<()>,
    ) {
        self.each(inputs, TO_SHOW, |reading, out| {
            let opened = reading.tables()?;
            show(&opened, out).map_err(Error::output)?;
            Ok(opened.recording.ledger)
        });
    }

    /// Shows one input after the other, each of which is read so often.
    fn each(
        &mut self,
        inputs: &[impl AsRef<Path>],
        passes: u64,
        mut show: impl FnMut(Reading<'_>, &mut Out<'p>) -> Result<Ledger, Error>,
    ) {
        for (at, input) in (1..).zip(inputs) {
            if self.is_over {
                return;
            }
            let which = Which {
                progress: self.progress,
                at: (at, inputs.len()),
                passes,
            };
            let mut note = None;
            let outcome = one(input.as_ref(), &which, &mut self.out, &mut note, &mut show);
            self.note(note);
            self.account_for(outcome);
        }
    }

    /// Makes a copy of one input, and says what was taken out.
    fn scrub(&mut self, asked: &scrub::Arguments) {
        let located = input::locate(asked.input.as_ref(), self.progress);
        let done = located.and_then(|located| {
            let bytes = located.bytes().saturating_mul(TO_SCRUB);
            self.progress.begin(&located.path, bytes, (1, 1));
            let done = scrub::write(&located, asked, &mut self.out)?;
            self.out.flush().map_err(Error::output)?;
            Ok((located.path, done))
        });
        let outcome = done.map(|(path, done)| {
            self.progress.clear();
            say(self.program, &done.words);
            damage_words(&path, &done.ledger)
        });
        self.account_for(outcome);
    }

    /// Finds all that can be found of what was typed, which will be shown at once.
    fn locate(&mut self, inputs: &[impl AsRef<Path>]) -> Vec<Located<'p>> {
        let mut located: Vec<Located<'p>> = Vec::new();
        for input in inputs {
            match input::locate(input.as_ref(), self.progress) {
                Ok(found) => {
                    self.note(found.note.clone());
                    located.push(found);
                }
                Err(error) => self.account_for(Err(error)),
            }
        }
        if let Some(first) = located.first() {
            let bytes = located.iter().map(Located::bytes);
            let bytes = bytes.fold(0, u64::saturating_add).saturating_mul(TO_SHOW);
            let others = located.len() - 1;
            self.progress.begin_all(&first.path, bytes, others);
        }
        located
    }

    /// Says what there is to say of where something was found.
    fn note(&mut self, note: Option<String>) {
        self.progress.clear();
        if let Some(note) = note.filter(|_| !self.is_over) {
            say(self.program, &note);
        }
    }

    /// Says what came of showing several at once.
    fn account_for_all(&mut self, seen: view::Seen) {
        for error in seen.errors {
            self.account_for(Err(error));
        }
        for (path, ledger) in &seen.ledgers {
            self.account_for(Ok(damage_words(path, ledger)));
        }
        for words in &seen.words {
            say(self.program, words);
        }
    }

    /// Says what to run next, if somebody looks and there is anything left to look at.
    fn advise(&mut self, next: Option<String>) {
        if let Some(next) = next {
            self.tell(&format!("next: {next}"));
        }
    }

    /// A word for whoever looks.
    fn tell(&mut self, words: &str) {
        self.progress.clear();
        if !self.is_over {
            advice::tell(words);
        }
    }

    /// Says what went wrong with what was written, to the end of it.
    fn account_for_written(&mut self, written: Result<(), Error>) {
        let flushed = written.and_then(|()| self.out.flush().map_err(Error::output));
        self.account_for(flushed.map(|()| None));
    }

    /// Says what was damaged or went wrong, and makes it part of the exit status.
    fn account_for(&mut self, outcome: Result<Option<String>, Error>) {
        self.progress.clear();
        match outcome {
            _ if self.is_over => {}
            Ok(None) => {}
            Ok(Some(words)) => {
                say(self.program, &words);
                self.status = worse(self.status, STATUS_WITH_DAMAGE);
            }
            Err(error) => {
                if error.exit_status() != 0 {
                    say(self.program, &error.to_string());
                }
                self.status = worse(self.status, error.exit_status());
                if error.is_output() {
                    self.status = error.exit_status();
                    self.is_over = true;
                }
            }
        }
    }
}

/// Shows one input, and returns what was damaged.
fn one<'p>(
    input: &Path,
    which: &Which<'_>,
    out: &mut Out<'p>,
    note: &mut Option<String>,
    show: &mut impl FnMut(Reading<'_>, &mut Out<'p>) -> Result<Ledger, Error>,
) -> Result<Option<String>, Error> {
    input::read(input, which, |reading| {
        let path = reading.path.clone();
        note.clone_from(&reading.note);
        let ledger = show(reading, out)?;
        out.flush().map_err(Error::output)?;
        Ok(damage_words(&path, &ledger))
    })
}

/// What was damaged of a recording, if anything was.
fn damage_words(path: &Path, ledger: &Ledger) -> Option<String> {
    let path = crate::escape(path.as_os_str().as_encoded_bytes());
    damage::words(ledger).map(|words| format!("{path}: {words}"))
}

/// Not asked right is worse than failed, that than damaged, and that than whole.
fn worse(a: u8, b: u8) -> u8 {
    [STATUS_USAGE, 1, STATUS_WITH_DAMAGE]
        .into_iter()
        .find(|&status| a == status || b == status)
        .unwrap_or(0)
}

/// A word on stderr, unless nobody listens.
fn say(program: &str, words: &str) {
    let _ = writeln!(io::stderr(), "{program}: {words}");
}

#[cfg(test)]
mod everywhere;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_are_consistent() {
        Arguments::command().debug_assert();
        ViewArguments::command().debug_assert();
    }

    #[test]
    fn the_examples_of_the_help_are_command_lines() {
        let help = Arguments::command().get_after_help().unwrap().to_string();
        let lines = help
            .lines()
            .filter(|line| line.starts_with("  ttlog-reader "));
        let lines: Vec<Vec<&str>> = lines
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), 8, "{help}");
        for words in lines {
            let parsed = Arguments::try_parse_from(&words);
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn failed_is_worse_than_damaged() {
        assert_eq!(worse(0, 0), 0);
        assert_eq!(worse(0, 3), 3);
        assert_eq!(worse(3, 1), 1);
        assert_eq!(worse(1, 3), 1);
        assert_eq!(worse(1, 2), 2);
    }
}
