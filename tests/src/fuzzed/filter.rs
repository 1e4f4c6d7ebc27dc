//! Filters and moments, as they are typed: a letter for the flag, what is behind it, and a
//! line's end before the next.
//!
//! What was asked for, told as words and asked for by those, is the same and lets the same
//! pass; so is what is told as a line for a shell, once a shell has taken it apart.

use std::sync::OnceLock;

use ttlog_format::salvage::{Recording, salvage};
use ttlog_reader::Asked;

use crate::made::story;

/// Flags by their letters.
const FLAGS: [(u8, &str); 8] = [
    (b'l', "level"),
    (b'g', "grep"),
    (b't', "target"),
    (b'T', "thread"),
    (b'f', "field"),
    (b'n', "span"),
    (b's', "since"),
    (b'u', "until"),
];

/// Bytes of a pattern at most: those that take long are measured elsewhere.
const PATTERN_MAX: usize = 24;

/// Filters, a line each.
pub fn filter(bytes: &[u8]) {
    filter_by(bytes, |word| word.to_owned());
}

/// The same, with words that are told changed by `tell`.
pub fn filter_by(bytes: &[u8], tell: impl Fn(&str) -> String) {
    let text = String::from_utf8_lossy(bytes);
    let mut asked = Asked::default();
    for line in text.split('\n') {
        let (letter, typed) = line.split_at(line.len().min(1).min(line.floor_char_boundary(1)));
        let flag = FLAGS.iter().find(|(it, _)| [*it] == letter.as_bytes());
        if let Some((_, flag)) = flag
            && !(*flag == "grep" && typed.len() > PATTERN_MAX)
            && let Err(words) = asked.ask(flag, typed)
        {
            assert!(!words.is_empty());
        }
    }
    let mut again = Asked::default();
    for (flag, word) in asked.words() {
        let asked = again.ask(flag, &tell(&word));
        asked.unwrap_or_else(|words| panic!("--{flag} {word:?}: {words}"));
    }
    is_same(&asked, &again);
    let line = asked.to_string();
    if asked.words().iter().all(|(_, word)| is_plain(word)) {
        let mut pasted = Asked::default();
        let words = in_a_shell(&line);
        for pair in words.chunks(2) {
            let flag = pair[0].strip_prefix("--").expect("a flag");
            let asked = pasted.ask(flag, &pair[1]);
            asked.unwrap_or_else(|words| panic!("{line}: {words}"));
        }
        is_same(&asked, &pasted);
    }
}

/// Whether a word is told as a shell takes it.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| (' '..='~').contains(&c))
}

/// Both let the same pass, and are told in the same words.
fn is_same(asked: &Asked, again: &Asked) {
    static RECORDING: OnceLock<Recording> = OnceLock::new();
    let recording = RECORDING.get_or_init(|| salvage(&story().bytes).expect("a recording"));
    assert_eq!(asked.words(), again.words());
    let passing = |asked: &Asked| {
        let passing = asked.passing(recording).ok()?;
        let at = passing.iter().map(|entry| std::ptr::from_ref(*entry));
        Some(at.collect::<Vec<_>>())
    };
    assert_eq!(passing(asked), passing(again), "{asked}");
}

/// The words of a line as a shell takes it apart: quotes keep all between them together,
/// and behind a backslash a quote is none.
fn in_a_shell(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if is_escaped => {
                word.get_or_insert_default().push(c);
                is_escaped = false;
            }
            '\'' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' if !is_quoted => is_escaped = true,
            ' ' if !is_quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
