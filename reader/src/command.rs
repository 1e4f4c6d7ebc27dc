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
//! They are shown one after the other, and one that cannot be read does not keep
//! the others back.
//!
//! stdout is data, stderr is words. The exit status is 0 for whole recordings, 1
//! where one could not be read, 2 for wrong usage, and 3 where one was recovered
//! with damage. Whoever closes the pipe has seen enough: that is a 0.

use std::ffi::OsString;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::input::{self, Opened};
use crate::{damage, export, info, list, postmortem, view};

const STATUS_USAGE: u8 = 2;
const STATUS_WITH_DAMAGE: u8 = 3;

/// Read what a ttlog recorder left behind: after a crash, after kill -9, or live
#[derive(Clone, Debug, Parser)]
#[command(
    name = "ttlog-reader",
    version,
    after_help = "\
Examples:
  ttlog-reader postmortem DIR what the process of the newest recording in DIR was doing
  ttlog-reader view 4711      what process 4711 recorded, dead or alive
  ttlog-reader export 4711    its last seconds, into a file to keep or to send
  ttlog-reader info DIR       what became of the process of the newest recording in DIR

Exit status: 0 whole, 1 failed, 2 usage, 3 recovered with damage."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    View(view::Arguments),
    Export(export::Arguments),
    Info(info::Arguments),
    Postmortem(postmortem::Arguments),
    List(list::Arguments),
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
            Command::Info(asked) => each("ttlog-reader", &asked.inputs, |opened, out| {
                info::write(opened, &asked, out)
            }),
            Command::Postmortem(asked) => each("ttlog-reader", &asked.inputs, |opened, out| {
                postmortem::write(opened, &asked, out)
            }),
            Command::List(asked) => run_list("ttlog-reader", &asked),
        }
    }
}

impl ViewArguments {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        run_view("ttlog-view", &self.view)
    }
}

fn run_view(program: &str, asked: &view::Arguments) -> ExitCode {
    each(program, &asked.inputs, |opened, out| {
        view::write(opened, asked, out)
    })
}

fn run_list(program: &str, asked: &list::Arguments) -> ExitCode {
    let mut run = Run::new(program);
    let found = list::find(asked);
    if let Some(words) = found.none() {
        say(program, &words);
    }
    for error in found.errors {
        run.account_for(Err(error));
    }
    let mut listed = list::Listed::new(asked);
    run.each(&found.paths, |opened, out| listed.add(opened, out));
    let written = listed.write(&mut run.out).and_then(|()| run.out.flush());
    run.account_for(written.map(|()| None).map_err(Error::output));
    run.end()
}

fn run_export(program: &str, asked: &export::Arguments) -> ExitCode {
    if export::is_crowded(asked) {
        let words = "several recordings do not go into one file: give a directory, or no -o";
        say(program, words);
        return ExitCode::from(STATUS_USAGE);
    }
    let mut run = Run::new(program);
    run.try_each(&asked.inputs, |opened, out| {
        export::write(opened, asked, out)
    });
    run.end()
}

type Out<'a> = BufWriter<StdoutLock<'a>>;

/// Shows one input after the other, and makes one exit status of all.
fn each(
    program: &str,
    inputs: &[OsString],
    show: impl FnMut(&Opened, &mut Out<'_>) -> io::Result<()>,
) -> ExitCode {
    let mut run = Run::new(program);
    run.each(inputs, show);
    run.end()
}

/// A command that runs: where it writes to, and what it has come to.
struct Run<'a> {
    program: &'a str,
    out: Out<'a>,
    status: u8,
    /// Whether there is nothing left to write to.
    is_over: bool,
}

impl<'a> Run<'a> {
    fn new(program: &'a str) -> Run<'a> {
        Run {
            program,
            out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
            status: 0,
            is_over: false,
        }
    }

    /// Shows one input after the other.
    fn each(
        &mut self,
        inputs: &[impl AsRef<Path>],
        mut show: impl FnMut(&Opened, &mut Out<'_>) -> io::Result<()>,
    ) {
        self.try_each(inputs, |opened, out| {
            show(opened, out).map_err(Error::output)
        });
    }

    /// The same, where more than the output can fail.
    fn try_each(
        &mut self,
        inputs: &[impl AsRef<Path>],
        mut show: impl FnMut(&Opened, &mut Out<'_>) -> Result<(), Error>,
    ) {
        for input in inputs {
            if self.is_over {
                return;
            }
            let outcome = one(input.as_ref(), &mut self.out, &mut show);
            self.account_for(outcome);
        }
    }

    /// Says what was damaged or went wrong, and makes it part of the exit status.
    fn account_for(&mut self, outcome: Result<Option<String>, Error>) {
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

    fn end(self) -> ExitCode {
        // What could not be written is not to be tried again.
        let _ = self.out.into_parts();
        ExitCode::from(self.status)
    }
}

/// Shows one input, and returns what was damaged.
fn one(
    input: &Path,
    out: &mut Out<'_>,
    show: &mut impl FnMut(&Opened, &mut Out<'_>) -> Result<(), Error>,
) -> Result<Option<String>, Error> {
    let opened = input::open(input)?;
    show(&opened, out)?;
    out.flush().map_err(Error::output)?;
    let path = crate::escape(opened.path.as_os_str().as_encoded_bytes());
    Ok(damage::words(&opened.recording.ledger).map(|words| format!("{path}: {words}")))
}

/// Failed is worse than damaged, and damaged than whole.
fn worse(a: u8, b: u8) -> u8 {
    [1, STATUS_WITH_DAMAGE]
        .into_iter()
        .find(|&status| a == status || b == status)
        .unwrap_or(0)
}

/// A word on stderr, unless nobody listens.
fn say(program: &str, words: &str) {
    let _ = writeln!(io::stderr(), "{program}: {words}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_consistent() {
        Arguments::command().debug_assert();
        ViewArguments::command().debug_assert();
    }

    #[test]
    fn failed_is_worse_than_damaged() {
        assert_eq!(worse(0, 0), 0);
        assert_eq!(worse(0, 3), 3);
        assert_eq!(worse(3, 1), 1);
        assert_eq!(worse(1, 3), 1);
    }
}
