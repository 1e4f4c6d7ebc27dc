//! What was asked for, in the words in which it can be asked for again.

use std::fmt;

use clap::ValueEnum;

use super::Arguments;
use crate::advice::for_a_shell;
use crate::escape::quoted;

impl Arguments {
    /// What was asked for: flags, and what is typed behind them.
    pub(super) fn words(&self) -> Vec<(&'static str, String)> {
        let Arguments {
            level,
            grep,
            target,
            thread,
            field,
            span,
            since,
            until,
        } = self;
        let level = level.and_then(|level| level.to_possible_value());
        let level = level.map(|value| value.get_name().to_owned());
        let mut words: Vec<(&str, String)> = Vec::new();
        words.extend(level.map(|level| ("level", level)));
        words.extend(grep.iter().map(|it| ("grep", it.to_string())));
        for (name, wanted) in [("target", target), ("thread", thread), ("span", span)] {
            words.extend(wanted.iter().map(|it| (name, it.clone())));
        }
        words.extend(field.iter().map(|it| ("field", it.to_string())));
        words.extend(since.iter().map(|it| ("since", it.to_string())));
        words.extend(until.iter().map(|it| ("until", it.to_string())));
        words
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, wanted)) in self.words().iter().enumerate() {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}--{name} {}", in_a_shell(wanted))?;
        }
        Ok(())
    }
}

/// A word as a shell takes it for one, and escaped where it cannot be shown as it is.
fn in_a_shell(word: &str) -> String {
    for_a_shell(word).unwrap_or_else(|| quoted(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        filter: Arguments,
    }

    fn words(asked: &[&str]) -> String {
        let line = ["view"].iter().chain(asked);
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        line.filter.to_string()
    }

    #[test]
    fn what_was_asked_for_is_told_as_it_was_asked() {
        assert_eq!(words(&[]), "");
        assert_eq!(words(&["-p", "WARN"]), "--level warn");
        let all = [
            "--level", "info", "--grep", "no row", "--target", "app::db", "--thread", "a b",
            "--span", "query", "--field", "id=7", "--field", "ms>=100", "--since", "-2s",
            "--until", "12:34",
        ];
        let expected = concat!(
            "--level info --grep 'no row' --target app::db --thread 'a b' --span query ",
            "--field id=7 --field 'ms>=100' --since -2s --until 12:34"
        );
        assert_eq!(words(&all), expected);
        assert_eq!(words(&["-g", "$(reboot)"]), "--grep '$(reboot)'");
        assert_eq!(words(&["-t", "a\x1b"]), r#"--target "a\x1b""#);
    }
}
