//! `scrub`: a copy of a recording or of a snapshot without what nobody shall have.
//!
//! ```text
//! $ ttlog-reader scrub 4711 -o /var/tmp
//! ttlog-reader: 12 values redacted in 7 records
//! /var/tmp/ttlog-4711-1764000000123.ring
//! $ ttlog-reader scrub --field iban --match '\b\d{16}\b' FILE -o clean.bin
//! ttlog-reader: 31 values redacted in 30 records
//! clean.bin
//! ```
//!
//! For what was recorded with redaction off, or before a name was denied. Taken out are the
//! values of the fields whose names are denied by default, and of those that `--field`
//! names, by the rule of the recorder's `redact`; and with `--match` any value in whose text
//! an expression is found, messages and what panics said included. `[redacted]` is shown in
//! their place. A value whose field nobody can name, since its call site is lost, is taken
//! out, too.
//!
//! All else is there as it was, and every command reads it. The copy of a recording holds
//! nothing that is not shown: not what lies in free blocks, nor behind what was committed,
//! nor in the places of spans that are closed. What is damaged cannot be told from a secret,
//! and is left out; the account counts it as before. How long a value was, in eights of
//! bytes, can still be seen.
//!
//! What is not looked into: names, of the service, of threads, of spans and of files; and,
//! without `--match`, messages.
//!
//! A copy says that it is one: `info` shows it as scrubbed. The input is not written to, and
//! `-o` is as that of `export`: a file that is not there yet unless `--force`, a directory, or
//! `-` for stdout.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use regex::Regex;
use ttlog_format::redaction::Names;
use ttlog_format::salvage::{Ledger, Rule, Scrubbed};
use ttlog_format::value::{Borrowed, Value};

use crate::error::Error;
use crate::export::hidden::{Hidden, refused};
use crate::export::{NAMES_MAX, Name};
use crate::input::Located;
use crate::text::{count, value_text};

/// Write a copy of a recording without the values of fields that speak of secrets
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader scrub 4711 -o /var/tmp                   what process 4711 left, fit to be sent
  ttlog-reader scrub --field iban FILE -o clean.ring    without the values of iban, too
  ttlog-reader scrub --match 'sk_live_' FILE -o clean.bin")]
pub(crate) struct Arguments {
    /// A file, a directory (its newest recording), a pid, or - for stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) input: OsString,

    /// Where to: a file that is not there yet, a directory, or - for stdout
    #[arg(short, long, value_name = "OUT", required = true)]
    output: OsString,

    /// Put OUT in the place of a file of that name
    #[arg(long)]
    force: bool,

    /// Take the values of this field out, too; may be given several times
    #[arg(long, value_name = "NAME")]
    field: Vec<String>,

    /// Take out any value in whose text this regular expression is found
    #[arg(long = "match", value_name = "REGEX")]
    pattern: Option<Regex>,
}

/// What was done.
pub(crate) struct Done {
    /// The account of the recording.
    pub(crate) ledger: Ledger,
    /// How much was taken out, in words.
    pub(crate) words: String,
}

/// Writes the copy, and its path to `out`.
///
/// # Errors
/// It cannot be read, the file cannot be made, or `out` cannot be written.
pub(crate) fn write(
    located: &Located<'_>,
    asked: &Arguments,
    mut out: impl Write,
) -> Result<Done, Error> {
    let mut names = Names::default();
    if let Some(name) = asked.field.iter().find(|name| !names.deny(name)) {
        let name = crate::escape(name.as_bytes());
        let words = format!("--field {name} is no name: it has neither letters nor digits");
        return Err(Error::usage(words));
    }
    if is_same_file(&located.path, Path::new(&asked.output)) {
        let words = "a copy does not take the place of what it is made of: choose another name";
        return Err(Error::usage(words.into()));
    }
    let pattern = asked.pattern.as_ref();
    let by_text = |value: &Value<Borrowed<'_>>| {
        pattern.is_some_and(|pattern| pattern.is_match(&value_text(value)))
    };
    let rule = Rule {
        names: &names,
        value: &by_text,
    };
    let tables = located.reading()?.tables()?;
    let copy = Copy { located, rule };
    let scrubbed = if asked.output == "-" {
        copy.write(&mut out)?
    } else {
        let header = &tables.recording.header;
        let ending = if tables.made.is_some() { "bin" } else { "ring" };
        let name = Name::of(&tables.path, header, ending);
        let (path, scrubbed) = copy.to_file(Path::new(&asked.output), &name, asked.force)?;
        let line = [path.as_os_str().as_encoded_bytes(), b"\n"].concat();
        out.write_all(&line).map_err(Error::output)?;
        scrubbed
    };
    Ok(Done {
        ledger: tables.recording.ledger,
        words: words(scrubbed),
    })
}

/// Whether both are names of one file.
fn is_same_file(input: &Path, output: &Path) -> bool {
    let places = [input, output].map(fs::canonicalize);
    matches!(places, [Ok(input), Ok(output)] if input == output)
}

fn words(Scrubbed { values, records }: Scrubbed) -> String {
    let of = |number: u64, one: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", count(number)),
    };
    format!(
        "{} redacted in {}",
        of(values, "value"),
        of(records, "record")
    )
}

/// A copy to be made.
struct Copy<'c, 'p> {
    located: &'c Located<'p>,
    rule: Rule<'c>,
}

impl Copy<'_, '_> {
    fn write(&self, out: &mut dyn Write) -> Result<Scrubbed, Error> {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        let scrubbed = self.located.scrub(&self.rule, &mut out)?;
        out.flush().map_err(Error::output)?;
        Ok(scrubbed)
    }

    /// Makes the file, which has its name when it is whole.
    fn to_file(
        &self,
        output: &Path,
        name: &Name,
        force: bool,
    ) -> Result<(PathBuf, Scrubbed), Error> {
        let into = output.is_dir();
        let directory = if into { Some(output) } else { output.parent() };
        let here = directory.filter(|it| *it != OsStr::new(""));
        let here = here.unwrap_or(Path::new(".")).to_owned();
        let failed = |cause: io::Error| refused(output, cause);
        let (mut file, hidden) = Hidden::create(here).map_err(failed)?;
        let scrubbed = self
            .write(&mut file)
            .map_err(|error| error.of_file(output))?;
        file.sync_all().map_err(failed)?;
        let path = match (into, force) {
            (true, _) => {
                let names = (0..NAMES_MAX).map(|number| output.join(name.numbered(number)));
                hidden.publish_at_first_free(names)?
            }
            (false, true) => hidden
                .replace(output)
                .map(|()| output.to_owned())
                .map_err(failed)?,
            (false, false) => hidden
                .publish(output)
                .map(|()| output.to_owned())
                .map_err(failed)?,
        };
        Ok((path, scrubbed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_was_taken_out_is_told_in_words() {
        let told = |values, records| words(Scrubbed { values, records });
        assert_eq!(told(0, 0), "0 values redacted in 0 records");
        assert_eq!(told(1, 1), "1 value redacted in 1 record");
        assert_eq!(told(2000, 1), "2,000 values redacted in 1 record");
    }

    #[test]
    fn a_file_is_the_same_by_whatever_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        assert!(!is_same_file(&file, &file), "there is none");
        fs::write(&file, "").unwrap();
        assert!(is_same_file(
            &file,
            &directory.path().join(".").join("file")
        ));
        assert!(!is_same_file(&file, directory.path()));
    }
}
