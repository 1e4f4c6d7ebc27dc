//! What to do next, for whoever looks at a terminal.
//!
//! It goes to stderr, and there alone where stdout is a terminal too: what a program or
//! a file gets is data, and the words around it would be in somebody's way.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use crate::colour;
use crate::escape::is_hazard;
use crate::find::is_found_by_pid;

/// A line for whoever looks.
pub(crate) fn tell(words: &str) {
    if !(io::stdout().is_terminal() && io::stderr().is_terminal()) {
        return;
    }
    let line = match colour::When::Auto.decide() {
        true => format!("{}{words}{}", colour::FAINT, colour::PLAIN),
        false => words.to_owned(),
    };
    let _ = writeln!(io::stderr(), "{line}");
}

/// What to type for a recording: the pid of its process where that finds it, else its
/// path as a shell takes it; nothing where that cannot be shown as it is.
pub(crate) fn typed(path: &Path) -> Option<String> {
    if path.as_os_str() == "-" {
        return None;
    }
    let in_full = || match path.to_str()? {
        // Else it would be taken for a flag.
        flag if flag.starts_with('-') => for_a_shell(&format!("./{flag}")),
        path => for_a_shell(path),
    };
    is_found_by_pid(path).or_else(in_full)
}

/// A text as one word of a shell's.
pub(crate) fn for_a_shell(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if text.is_empty() || text.chars().any(is_hazard) {
        return None;
    }
    // What begins with = is a program's path to some.
    Some(match text.chars().all(is_plain) && !text.starts_with('=') {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_typed_as_one_word() {
        for (path, word) in [
            ("/dev/shm/a-1.ring", Some("/dev/shm/a-1.ring")),
            ("a b's", Some(r"'a b'\''s'")),
            ("$(reboot)", Some("'$(reboot)'")),
            ("$(rm)'`", Some(r"'$(rm)'\''`'")),
            ("=ls", Some("'=ls'")),
            ("info,a::b=warn", Some("info,a::b=warn")),
            ("a\nb", None),
            ("", None),
        ] {
            assert_eq!(for_a_shell(path).as_deref(), word, "{path:?}");
        }
        assert_eq!(typed(Path::new("-")), None);
        assert_eq!(typed(Path::new("-f")).as_deref(), Some("./-f"));
    }
}
