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
use crate::{damage, info, view};

const STATUS_WITH_DAMAGE: u8 = 3;

/// Read what a ttlog recorder left behind: after a crash, after kill -9, or live
#[derive(Clone, Debug, Parser)]
#[command(
    name = "ttlog-reader",
    version,
    after_help = "\
Examples:
  ttlog-reader view 4711      what process 4711 recorded, dead or alive
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
    Info(info::Arguments),
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
            Command::Info(asked) => each("ttlog-reader", &asked.inputs, |opened, out| {
                info::write(opened, &asked, out)
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

fn run_view(program: &str, asked: &view::Arguments) -> ExitCode {
    each(program, &asked.inputs, |opened, out| {
        view::write(opened, asked, out)
    })
}

type Out<'a> = BufWriter<StdoutLock<'a>>;

/// Shows one input after the other, and makes one exit status of all.
fn each(
    program: &str,
    inputs: &[OsString],
    mut show: impl FnMut(&Opened, &mut Out<'_>) -> io::Result<()>,
) -> ExitCode {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut status = 0;
    for input in inputs {
        match one(Path::new(input), &mut out, &mut show) {
            Ok(None) => {}
            Ok(Some(words)) => {
                say(program, &words);
                status = worse(status, STATUS_WITH_DAMAGE);
            }
            Err(error) => {
                if error.exit_status() != 0 {
                    say(program, &error.to_string());
                }
                status = worse(status, error.exit_status());
                if error.is_output() {
                    status = error.exit_status();
                    break;
                }
            }
        }
    }
    // What could not be written is not to be tried again.
    let _ = out.into_parts();
    ExitCode::from(status)
}

/// Shows one input, and returns what was damaged.
fn one(
    input: &Path,
    out: &mut Out<'_>,
    show: &mut impl FnMut(&Opened, &mut Out<'_>) -> io::Result<()>,
) -> Result<Option<String>, Error> {
    let opened = input::open(input)?;
    show(&opened, out)
        .and_then(|()| out.flush())
        .map_err(Error::output)?;
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
