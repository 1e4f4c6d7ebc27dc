//! A pager between a command and the terminal.
//!
//! It is the one of `PAGER`, a program and its arguments with spaces between them, and
//! else `less`, if there is one. Nothing is paged where `PAGER` is empty or `cat`. `less`
//! is told by `LESS`, unless that is set, to end at once where all fits on the screen, and
//! to let colours through.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Flags of `less`: end where one screen is enough, let colours through, leave the screen
/// as it is.
const LESS: &str = "FRX";

/// A pager that shows what is written.
pub(crate) struct Pager(Child);

impl Pager {
    /// Starts the pager where stdout is a terminal, and there is one.
    pub(crate) fn start() -> Option<Pager> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let wanted = env::var_os("PAGER").unwrap_or_else(|| "less".into());
        let mut command = command(&wanted)?;
        if env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        command.stdin(Stdio::piped()).spawn().ok().map(Pager)
    }

    /// Where to write.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Waits until whoever looks has seen enough.
    pub(crate) fn wait(mut self) {
        let _ = self.0.wait();
    }
}

fn command(wanted: &OsString) -> Option<Command> {
    let wanted = wanted.to_str()?;
    let mut words = wanted.split_whitespace();
    let program = words.next().filter(|&program| program != "cat")?;
    let mut command = Command::new(program);
    command.args(words);
    Some(command)
}

/// Where a command's output goes.
pub(crate) enum Sink {
    Stdout(io::Stdout),
    Pager(ChildStdin),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Stdout(out) => out.write(bytes),
            Sink::Pager(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Stdout(out) => out.flush(),
            Sink::Pager(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pager_is_a_program_and_its_arguments() {
        let words = |wanted: &str| {
            let command = command(&wanted.into())?;
            let arguments = command.get_args().map(|it| it.to_str().unwrap().to_owned());
            let program = command.get_program().to_str().unwrap().to_owned();
            Some([program].into_iter().chain(arguments).collect::<Vec<_>>())
        };
        assert_eq!(words("less -S"), Some(vec!["less".into(), "-S".into()]));
        for none in ["", " ", "cat"] {
            assert_eq!(words(none), None);
        }
    }
}
