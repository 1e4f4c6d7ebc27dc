//! A regular expression that messages are matched against.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use ttlog_format::value::{Borrowed, Value};

use crate::escape::quoted;
use crate::text::value_text;

/// A regular expression.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Pattern {
    /// The expression of `text`, for which case counts if it has capitals.
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        let is_small = !text.chars().any(char::is_uppercase);
        regex_syntax::parse(text).map_err(|error| words(text, &error))?;
        let built = RegexBuilder::new(text).case_insensitive(is_small).build();
        built.map(Pattern).map_err(|error| error.to_string())
    }

    /// Whether a text matches.
    pub(crate) fn matches_text(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }

    /// Whether a message matches, as it was recorded.
    pub(crate) fn matches(&self, message: &Value<Borrowed<'_>>) -> bool {
        match message {
            Value::Bytes(_) => self.0.is_match(value_text(message).as_bytes()),
            _ => match message.text() {
                Some(text) => self.0.is_match(text.whole_characters()),
                None => self.0.is_match(value_text(message).as_bytes()),
            },
        }
    }
}

/// Why it is none, and where.
fn words(text: &str, error: &regex_syntax::Error) -> String {
    use regex_syntax::Error::{Parse, Translate};
    let (why, span) = match error {
        Parse(error) => (error.kind().to_string(), error.span()),
        Translate(error) => (error.kind().to_string(), error.span()),
        other => return other.to_string(),
    };
    let from = text.get(span.start.offset..).unwrap_or("");
    let at = span.start.column;
    format!("{why}, at character {at}: {}", quoted(from.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ttlog_format::value::Text;

    fn matches(pattern: &str, message: &str) -> bool {
        let message = Value::Str(Text {
            bytes: message.as_bytes().into(),
            whole: message.len() as u32,
        });
        Pattern::parse(pattern).unwrap().matches(&message)
    }

    #[test]
    fn case_counts_where_there_are_capitals() {
        assert!(matches("reset", "Connection RESET"));
        assert!(matches("RESET", "Connection RESET"));
        assert!(!matches("Reset", "Connection RESET"));
        assert!(matches("^a.c$", "abc"));
        assert!(Pattern::parse("7").unwrap().matches(&Value::U64(1729)));
    }

    #[test]
    fn what_is_no_pattern_says_where() {
        let words = |pattern| Pattern::parse(pattern).unwrap_err();
        assert_eq!(words("a(b"), r#"unclosed group, at character 2: "(b""#);
        assert_eq!(
            words("*"),
            r#"repetition operator missing expression, at character 1: "*""#
        );
        assert!(words("a{9999}{9999}").lines().count() == 1);
    }
}
