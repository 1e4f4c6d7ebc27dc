//! `completions` and `man`: what a package installs beside the program.
//!
//! ```text
//! $ ttlog-reader completions bash > /usr/share/bash-completion/completions/ttlog-reader
//! $ ttlog-reader completions zsh --of ttlog-view > ~/.zfunc/_ttlog-view
//! $ ttlog-reader man | man -l -
//! $ ttlog-reader man /usr/share/man/man1
//! /usr/share/man/man1/ttlog-reader.1
//! /usr/share/man/man1/ttlog-reader-view.1
//! …
//! ```
//!
//! Both are made of the commands as they are, and so are never behind them. `man` writes
//! the main page to stdout, and into a directory a page for each command, whose paths it
//! prints; a page that is there is replaced.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::error::Error;
use crate::escape::escape;

/// Write the completions of a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(ttlog-reader completions bash)
  ttlog-reader completions zsh > ~/.zfunc/_ttlog-reader
  ttlog-reader completions fish > ~/.config/fish/completions/ttlog-reader.fish")]
pub(crate) struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,

    /// Of which program
    #[arg(long, value_enum, value_name = "PROGRAM", default_value_t)]
    of: Program,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Program {
    #[default]
    #[value(name = "ttlog-reader")]
    Reader,
    #[value(name = "ttlog-view")]
    View,
}

/// Write man pages
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader man | man -l -             the main page
  ttlog-reader man /usr/share/man/man1    a page for every command")]
pub(crate) struct Pages {
    /// Write a page for every command into this directory
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// What is to be told of.
pub(crate) struct Programs {
    pub(crate) reader: clap::Command,
    pub(crate) view: clap::Command,
}

/// Writes the completions that are asked for.
pub(crate) fn complete(
    programs: Programs,
    asked: &Completions,
    mut out: impl Write,
) -> io::Result<()> {
    let mut program = match asked.of {
        Program::Reader => programs.reader,
        Program::View => programs.view,
    };
    let name = program.get_name().to_owned();
    // Writing to memory cannot fail, and that is what it would panic for.
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut program, name, &mut script);
    out.write_all(&script)
}

/// Writes the pages that are asked for.
///
/// # Errors
/// A page, or `out`, cannot be written.
pub(crate) fn write_pages(
    programs: Programs,
    asked: &Pages,
    mut out: impl Write,
) -> Result<(), Error> {
    let pages = pages(programs);
    let Some(directory) = &asked.directory else {
        let main = pages.first().map_or(&[][..], |page| &page.roff);
        return out.write_all(main).map_err(Error::output);
    };
    fs::create_dir_all(directory).map_err(|cause| Error::write(directory, cause))?;
    for page in &pages {
        let path = directory.join(&page.name);
        write_whole(&path, &page.roff).map_err(|cause| Error::write(&path, cause))?;
        let words = escape(path.as_os_str().as_encoded_bytes());
        writeln!(out, "{words}").map_err(Error::output)?;
    }
    Ok(())
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.flush()
}

struct Page {
    /// `ttlog-reader-view.1`
    name: String,
    roff: Vec<u8>,
}

/// The main page, those of the commands, and that of the other program.
fn pages(programs: Programs) -> Vec<Page> {
    let mut reader = programs.reader.disable_help_subcommand(true);
    let mut view = programs.view;
    reader.build();
    view.build();
    let commands: Vec<clap::Command> = reader.get_subcommands().cloned().collect();
    let all = [reader].into_iter().chain(commands).chain([view]);
    all.map(page).collect()
}

fn page(command: clap::Command) -> Page {
    let examples = command.get_after_help().map(ToString::to_string);
    let has_commands = command.has_subcommands();
    let name = command.get_display_name().unwrap_or(command.get_name());
    let name = name.to_owned();
    let man = Man::new(command).manual("ttlog").title(name);
    let mut roff = Vec::new();
    // Writing to memory cannot fail.
    let _ = man.render_title(&mut roff);
    let _ = man.render_name_section(&mut roff);
    let _ = man.render_synopsis_section(&mut roff);
    let _ = man.render_description_section(&mut roff);
    let _ = man.render_options_section(&mut roff);
    if has_commands {
        let _ = man.render_subcommands_section(&mut roff);
    }
    push_examples(&mut roff, &examples.unwrap_or_default());
    Page {
        name: man.get_filename(),
        roff,
    }
}

/// Examples as they are, indented ones each on its line, under the headings that they have.
fn push_examples(roff: &mut Vec<u8>, text: &str) {
    let mut is_open = false;
    if !text.is_empty() {
        push_line(roff, ".SH EXAMPLES");
    }
    for line in text.lines() {
        let is_example = line.starts_with(' ');
        if is_open != is_example {
            push_line(roff, if is_example { ".nf" } else { ".fi" });
            is_open = is_example;
        }
        if is_example {
            push_line(roff, &roffed(line));
        } else if let Some(status) = line.strip_prefix("Exit status: ") {
            push_line(roff, ".SH \"EXIT STATUS\"");
            push_line(roff, &roffed(status));
        } else if !line.is_empty() && line != "Examples:" {
            push_line(roff, ".PP");
            push_line(roff, &roffed(line));
        }
    }
    if is_open {
        push_line(roff, ".fi");
    }
}

fn push_line(roff: &mut Vec<u8>, line: &str) {
    roff.extend_from_slice(line.as_bytes());
    roff.push(b'\n');
}

/// A line as roff takes it: nothing in it is a command (roff(7)).
fn roffed(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Arguments, ViewArguments};
    use clap::CommandFactory;

    fn programs() -> Programs {
        Programs {
            reader: Arguments::command(),
            view: ViewArguments::command(),
        }
    }

    #[test]
    fn every_shell_has_completions_of_every_command() {
        for &shell in Shell::value_variants() {
            for (of, words) in [(Program::Reader, "postmortem"), (Program::View, "level")] {
                let mut out = Vec::new();
                complete(programs(), &Completions { shell, of }, &mut out).unwrap();
                let script = String::from_utf8(out).unwrap();
                assert!(script.contains(words), "{shell} {of:?}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_examples() {
        let pages = pages(programs());
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        for name in [
            "ttlog-reader.1",
            "ttlog-reader-view.1",
            "ttlog-reader-doctor.1",
            "ttlog-view.1",
        ] {
            assert!(names.contains(&name), "{names:?}");
        }
        for page in &pages {
            let roff = String::from_utf8(page.roff.clone()).unwrap();
            assert!(roff.contains(".SH NAME"), "{}", page.name);
            let count = |of: &str| roff.lines().filter(|line| *line == of).count();
            assert!(count(".nf") > 0 && count(".nf") == count(".fi"), "{roff}");
        }
        let main = String::from_utf8(pages[0].roff.clone()).unwrap();
        assert!(main.contains("ttlog\\-reader view \\-p error"), "{main}");
        assert!(main.contains(".SH \"EXIT STATUS\""), "{main}");
    }

    #[test]
    fn no_line_of_an_example_is_a_command_of_roffs() {
        let mut roff = Vec::new();
        push_examples(&mut roff, "Examples:\n  .so a\n  a\\b -x\n\n.x:\n'x\n");
        let expected = ".SH EXAMPLES\n.nf\n  .so a\n  a\\eb \\-x\n.fi\n\
                        .PP\n\\&.x:\n.PP\n\\&'x\n";
        assert_eq!(String::from_utf8(roff).unwrap(), expected);
    }
}
