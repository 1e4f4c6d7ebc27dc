//! Wrong usage, said in one line: what was wrong, and what may have been meant.
//!
//! ```text
//! $ ttlog-reader veiw 4711
//! ttlog-reader: unrecognized subcommand 'veiw' (did you mean 'view'?)
//! $ ttlog-reader view -p loud 4711
//! ttlog-reader: invalid value 'loud' for '--level <LEVEL>' (possible values: error, warn, info, debug, trace)
//! $ ttlog-reader 4711
//! ttlog-reader: unrecognized subcommand '4711' (did you mean 'ttlog-reader postmortem 4711'?)
//! ```
//!
//! The status is 2. Help and version that were asked for go to stdout, and are no error;
//! who gives nothing at all gets the short help, on stderr, and a 2.
//!
//! What was typed is quoted escaped: a name with a line's end in it makes no second line.

use std::error::Error as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::advice::for_a_shell;
use crate::escape::escape;

const STATUS: u8 = 2;

/// The arguments of this process.
///
/// # Errors
/// The status to end with, once all is said: that of wrong usage, or 0 where help or the
/// version was asked for.
pub fn parsed<P: Parser>(program: &str) -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| said(program, &error))
}

/// Says what is to be said, and what status that is.
fn said(program: &str, error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever closes the pipe has seen enough.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(STATUS)
        }
        _ => {
            let _ = writeln!(io::stderr(), "{program}: {}", words(program, error));
            ExitCode::from(STATUS)
        }
    }
}

/// What was wrong, in one line without a period.
fn words(program: &str, error: &Error) -> String {
    let said = match error.kind() {
        ErrorKind::InvalidSubcommand => subcommand(program, error),
        ErrorKind::UnknownArgument => argument(error),
        ErrorKind::InvalidValue => value(error),
        ErrorKind::ValueValidation => refused_value(error),
        ErrorKind::MissingRequiredArgument => missing(error),
        ErrorKind::ArgumentConflict => conflict(error),
        _ => None,
    };
    escape(said.unwrap_or_else(|| of_clap(error)).as_bytes())
}

/// `unrecognized subcommand 'veiw' (did you mean 'view'?)`
fn subcommand(program: &str, error: &Error) -> Option<String> {
    let found = one(error, ContextKind::InvalidSubcommand)?;
    let recording = for_a_shell(found).filter(|_| is_recording(found));
    let meant = match recording {
        Some(typed) => did_you_mean(Some(&format!("{program} postmortem {typed}"))),
        // The nearest comes last.
        None => did_you_mean(many(error, ContextKind::SuggestedSubcommand).last()),
    };
    Some(format!("unrecognized subcommand '{found}'{meant}"))
}

/// Whether somebody named a recording, and forgot what to do with it.
fn is_recording(found: &str) -> bool {
    let is_pid = !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_digit());
    is_pid || Path::new(found).exists()
}

/// `unexpected argument '--gerp' (did you mean '--grep'?)`
fn argument(error: &Error) -> Option<String> {
    let found = one(error, ContextKind::InvalidArg)?;
    let meant = one(error, ContextKind::SuggestedArg);
    // The words for one that belongs elsewhere are clap's; those on how to give such a
    // thing as a value help nobody here.
    let elsewhere = many(error, ContextKind::Suggested);
    let elsewhere = elsewhere.iter().find(|tip| tip.contains(" exist"));
    let tip = match (meant, elsewhere) {
        (None, Some(tip)) => format!(" ({tip})"),
        (meant, _) => did_you_mean(meant),
    };
    Some(format!("unexpected argument '{found}'{tip}"))
}

/// `invalid value 'loud' for '--level <LEVEL>' (possible values: error, warn)`
fn value(error: &Error) -> Option<String> {
    let option = one(error, ContextKind::InvalidArg)?;
    let said = match one(error, ContextKind::InvalidValue)? {
        "" => format!("'{option}' wants a value"),
        found => format!("invalid value '{found}' for '{option}'"),
    };
    let possible = many(error, ContextKind::ValidValue).join(", ");
    Some(match one(error, ContextKind::SuggestedValue) {
        _ if possible.is_empty() => said,
        None => format!("{said} (possible values: {possible})"),
        Some(meant) => format!("{said} (did you mean '{meant}'? possible values: {possible})"),
    })
}

/// The words of whoever looked at a value follow as they are.
fn refused_value(error: &Error) -> Option<String> {
    let option = one(error, ContextKind::InvalidArg)?;
    let found = one(error, ContextKind::InvalidValue)?;
    let why = error.source().map(|why| format!(": {why}"));
    let why = why.unwrap_or_default();
    Some(format!("invalid value '{found}' for '{option}'{why}"))
}

/// `missing <RECORDING>... (usage: ttlog-reader view [OPTIONS] <RECORDING>...)`
fn missing(error: &Error) -> Option<String> {
    let missing = many(error, ContextKind::InvalidArg).join(", ");
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let usage = usage.trim().trim_start_matches("Usage: ");
    Some(match usage.is_empty() {
        true => format!("missing {missing}"),
        false => format!("missing {missing} (usage: {usage})"),
    })
}

/// `'--follow' cannot be used with '--reverse'`
fn conflict(error: &Error) -> Option<String> {
    let one_of = one(error, ContextKind::InvalidArg)?;
    let others = many(error, ContextKind::PriorArg);
    if others.len() == 1 && others[0] == one_of {
        return Some(format!("'{one_of}' cannot be given more than once"));
    }
    let others: Vec<String> = others.iter().map(|other| format!("'{other}'")).collect();
    Some(match others.is_empty() {
        true => format!("'{one_of}' cannot be used with what else was given"),
        false => format!("'{one_of}' cannot be used with {}", others.join(", ")),
    })
}

/// The first paragraph of what clap says.
fn of_clap(error: &Error) -> String {
    let rendered = error.render().to_string();
    let first = rendered.split("\n\n").next().unwrap_or_default();
    let words = first.split_whitespace().collect::<Vec<_>>().join(" ");
    words.trim_start_matches("error: ").to_owned()
}

fn did_you_mean(meant: Option<impl AsRef<str>>) -> String {
    meant.map_or_else(String::new, |meant| {
        format!(" (did you mean '{}'?)", meant.as_ref())
    })
}

fn one(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

fn many(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStrs(texts)) => {
            texts.iter().map(|text| text.to_string()).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Arguments, ViewArguments};

    fn reader(arguments: &[&str]) -> String {
        let line = ["ttlog-reader"].iter().chain(arguments);
        words(
            "ttlog-reader",
            &Arguments::try_parse_from(line).unwrap_err(),
        )
    }

    fn view(arguments: &[&str]) -> String {
        let line = ["ttlog-view"].iter().chain(arguments);
        let error = ViewArguments::try_parse_from(line).unwrap_err();
        words("ttlog-view", &error)
    }

    #[test]
    fn a_typo_is_told_with_what_is_near() {
        assert_eq!(
            reader(&["veiw", "x"]),
            "unrecognized subcommand 'veiw' (did you mean 'view'?)"
        );
        assert_eq!(
            reader(&["view", "--levle", "warn", "x"]),
            "unexpected argument '--levle' (did you mean '--level'?)"
        );
        assert_eq!(reader(&["zzz"]), "unrecognized subcommand 'zzz'");
        let json = reader(&["info", "-o", "jsno", "x"]);
        assert_eq!(
            json,
            "invalid value 'jsno' for '--output <OUTPUT>' (did you mean 'json'? \
             possible values: text, json)"
        );
    }

    #[test]
    fn a_value_that_is_none_is_told_with_those_that_are() {
        let loud = "invalid value 'loud' for '--level <LEVEL>' \
                    (possible values: error, warn, info, debug, trace)";
        assert_eq!(reader(&["view", "-p", "loud", "x"]), loud);
        assert_eq!(view(&["--level=loud", "x"]), loud);
        let number = reader(&["view", "-n", "many", "x"]);
        assert!(
            number.starts_with("invalid value 'many' for '--lines <N>': "),
            "{number}"
        );
        let none = reader(&["view", "x", "--level"]);
        assert!(
            none.starts_with("'--level <LEVEL>' wants a value ("),
            "{none}"
        );
    }

    #[test]
    fn who_names_a_recording_alone_is_told_what_to_do_with_it() {
        assert_eq!(
            reader(&["4711"]),
            "unrecognized subcommand '4711' (did you mean 'ttlog-reader postmortem 4711'?)"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        assert!(reader(&[path]).ends_with(&format!("'ttlog-reader postmortem {path}'?)")));
    }

    #[test]
    fn what_is_missing_is_told_with_the_usage() {
        let missing = reader(&["view"]);
        assert!(
            missing.starts_with("missing <RECORDING>... (usage: ttlog-reader view "),
            "{missing}"
        );
        let missing = view(&[]);
        assert!(missing.contains("(usage: ttlog-view "), "{missing}");
    }

    #[test]
    fn it_is_one_line_whatever_was_typed() {
        for typed in [
            &["a\nb\x1b[2J"][..],
            &["view", "--a\nb", "x"],
            &["view", "-p", "a\r\nb\u{202e}", "x"],
            &["view", "-n", "1\n2", "x"],
            &["view", "-n"],
            &["view", "-n", "1", "-n", "2", "x"],
            &["view", "--utc=yes", "x"],
            &["-n", "5", "view"],
            &["help", "veiw"],
        ] {
            let words = reader(typed);
            assert!(
                !words.is_empty() && words == escape(words.as_bytes()),
                "{words:?}"
            );
        }
    }
}
