//! What systemd-tmpfiles would delete of a directory, by the rules of tmpfiles.d(5).
//!
//! A rule names a path, in which `*` and `?` stand for what they do in a shell, and may
//! have an age: what nobody has touched for so long is deleted below that path, unless
//! a rule with `x` or `X` keeps it. Of several rules with an age the one nearest to the
//! file counts. `D` and `R` empty or remove their paths at boot.

use std::path::Path;

/// A line of a file in tmpfiles.d.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    letter: u8,
    pub(super) path: String,
    /// As it is written; none where nothing is deleted for its age.
    age: Option<String>,
}

/// What becomes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// No rule deletes it.
    Stays,
    /// Deleted where nobody has touched it for so long, by the rule on a path.
    Ages { age: String, path: String },
    /// Deleted at boot, by the rule on a path.
    GoesAtBoot { path: String },
}

/// The rules of a text, in its order; lines that are none are passed over.
pub(super) fn rules(text: &str) -> impl Iterator<Item = Rule> {
    text.lines().filter_map(parse)
}

/// `q /tmp 1777 root root 10d`: the type, and modifiers behind its letter; path, mode,
/// user, group, age.
fn parse(line: &str) -> Option<Rule> {
    let line = line.trim();
    let letter = *line.as_bytes().first()?;
    if !letter.is_ascii_alphabetic() {
        return None;
    }
    let mut fields = fields(line);
    let path = fields.nth(1)?;
    let age = fields.nth(3).filter(|age| is_age(age));
    Some(Rule {
        letter,
        path: path.trim_end_matches('/').to_owned(),
        age: age.filter(|_| b"dDevqQC".contains(&letter)),
    })
}

/// Words between blanks; quotes hold a word with blanks together.
fn fields(line: &str) -> impl Iterator<Item = String> {
    let mut rest = line.trim_start();
    std::iter::from_fn(move || {
        let (word, after) = match rest.strip_prefix(['"', '\'']) {
            Some(quoted) => quoted.split_once(&rest[..1]).unwrap_or((quoted, "")),
            None => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
        };
        let is_over = rest.is_empty();
        rest = after.trim_start();
        (!is_over).then(|| word.to_owned())
    })
}

/// `10d`, `~1h30min`, `mM:1w`, and `0`: at every run.
fn is_age(word: &str) -> bool {
    let spans = word.rsplit(':').next().unwrap_or(word);
    spans
        .trim_start_matches('~')
        .starts_with(|c: char| c.is_ascii_digit())
}

/// What the rules make of a file, given by its absolute path.
pub(super) fn fate(rules: &[Rule], file: &Path) -> Fate {
    let file = file.to_string_lossy();
    let depth = |rule: &Rule| rule.path.matches('/').count();
    let goes = rules.iter().find(|rule| match rule.letter {
        b'R' | b'D' => is_around(&rule.path, &file),
        b'r' => is_the_same(&rule.path, &file),
        _ => false,
    });
    let is_kept = rules.iter().any(|rule| match rule.letter {
        b'x' => is_around(&rule.path, &file),
        b'X' => is_the_same(&rule.path, &file),
        _ => false,
    });
    let with_age = rules.iter().filter(|rule| rule.age.is_some() && !is_kept);
    let mut nearest: Option<&Rule> = None;
    for rule in with_age.filter(|rule| is_around(&rule.path, &file)) {
        // Of two lines on one path the first counts.
        if nearest.is_none_or(|known| depth(rule) > depth(known)) {
            nearest = Some(rule);
        }
    }
    match (
        goes,
        nearest.and_then(|rule| Some((rule, rule.age.clone()?))),
    ) {
        (Some(rule), _) => Fate::GoesAtBoot {
            path: rule.path.clone(),
        },
        (None, Some((rule, age))) => Fate::Ages {
            age,
            path: rule.path.clone(),
        },
        (None, None) => Fate::Stays,
    }
}

/// Whether a pattern is a file's path, or that of a directory around it.
fn is_around(pattern: &str, file: &str) -> bool {
    let mut parts = file.split('/');
    pattern
        .split('/')
        .all(|pattern| parts.next().is_some_and(|part| is_like(pattern, part)))
}

fn is_the_same(pattern: &str, file: &str) -> bool {
    pattern.matches('/').count() == file.matches('/').count() && is_around(pattern, file)
}

/// Whether a name is like a pattern, with `*` for any characters, `?` for one, and `[…]`
/// for one: which, is not looked at.
fn is_like(pattern: &str, name: &str) -> bool {
    let pattern = tokens(pattern);
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how much of the name it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p, n));
                p += 1;
            }
            Some(Token::One) => (p, n) = (p + 1, n + 1),
            Some(Token::Only(c)) if *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                None => return false,
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
            },
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Any)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Only(char),
}

/// A pattern is no longer than this, nor is a name: what is takes too long to compare.
const NAME_MAX: usize = 255;

fn tokens(pattern: &str) -> Vec<Token> {
    let mut rest = pattern;
    let mut tokens = Vec::new();
    while let Some(c) = rest.chars().next().filter(|_| tokens.len() < NAME_MAX) {
        rest = &rest[c.len_utf8()..];
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => match rest.split_once(']') {
                Some((_, after)) => {
                    rest = after;
                    Token::One
                }
                None => Token::Only('['),
            },
            c => Token::Only(c),
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEBIAN: &str = "\
# Clear tmp directories separately, to make them easier to override
D /tmp 1777 root root -
#q /var/tmp 1777 root root 30d
x /tmp/systemd-private-%b-*
";
    const FEDORA: &str = "\
q /tmp 1777 root root 10d
q /var/tmp 1777 root root 30d
x /tmp/keep*
X /var/tmp/ttlog-1000/ttlog-9-*.ring
d \"/srv/with space\" 0755 - - 1w2d
e! /run/payments - - - 0
R /srv/old
";

    fn of(text: &str, file: &str) -> Fate {
        fate(&rules(text).collect::<Vec<_>>(), Path::new(file))
    }

    fn ages(age: &str, path: &str) -> Fate {
        let (age, path) = (age.into(), path.into());
        Fate::Ages { age, path }
    }

    #[test]
    fn the_nearest_rule_with_an_age_counts() {
        let file = "ttlog-1000/ttlog-4711-1.ring";
        assert_eq!(of(FEDORA, &format!("/tmp/{file}")), ages("10d", "/tmp"));
        assert_eq!(
            of(FEDORA, &format!("/var/tmp/{file}")),
            ages("30d", "/var/tmp")
        );
        let nearer = format!("{FEDORA}v /tmp/ttlog-* - - - 1h\nq /tmp - - - 99d\n");
        assert_eq!(
            of(&nearer, &format!("/tmp/{file}")),
            ages("1h", "/tmp/ttlog-*")
        );
        assert_eq!(of(FEDORA, "/tmpother/a"), Fate::Stays);
        assert_eq!(of(FEDORA, "/var/lib/payments/a"), Fate::Stays);
    }

    #[test]
    fn what_is_kept_stays_and_what_is_removed_at_boot_goes() {
        assert_eq!(of(FEDORA, "/tmp/keep-it/a.ring"), Fate::Stays);
        assert_eq!(
            of(FEDORA, "/var/tmp/ttlog-1000/ttlog-9-1.ring"),
            Fate::Stays
        );
        let boot = |path: &str| Fate::GoesAtBoot { path: path.into() };
        assert_eq!(of(FEDORA, "/srv/old/a.ring"), boot("/srv/old"));
        assert_eq!(of(DEBIAN, "/tmp/ttlog-0/a.ring"), boot("/tmp"));
        assert_eq!(of(DEBIAN, "/var/tmp/a.ring"), Fate::Stays);
    }

    #[test]
    fn quotes_modifiers_and_ages_are_understood() {
        let spaced = of(FEDORA, "/srv/with space/a.ring");
        assert_eq!(spaced, ages("1w2d", "/srv/with space"));
        assert_eq!(
            of(FEDORA, "/run/payments/a.ring"),
            ages("0", "/run/payments")
        );
        for (age, is) in [("10d", true), ("~1h", true), ("aM:5m", true), ("-", false)] {
            assert_eq!(is_age(age), is, "{age}");
        }
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name, is) in [
            ("ttlog-*", "ttlog-1000", true),
            ("*-*-*", "a-b", false),
            ("a*b*c", "aXXbYYc", true),
            ("?[0-9]*", "x7", true),
            ("", "", true),
            ("[", "[", true),
            ("a", "ab", false),
        ] {
            assert_eq!(is_like(pattern, name), is, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "([a-zA-Z!+] )?[ -~\t\n\"'é*?/\\[\\]]*") {
            of(&text, "/tmp/ttlog-1000/ttlog-1-1.ring");
        }
    }
}
