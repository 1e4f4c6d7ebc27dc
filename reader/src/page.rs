//! Lines that fit a width: cut where the rest can be done without, else wrapped.
//!
//! What is written here is escaped already: the only escape sequences are our colours.

use unicode_width::UnicodeWidthChar;

use crate::colour;
use crate::text::Style;

/// Columns for the names of named words.
const NAMED_AT: usize = 15;

/// Lines for the eye.
pub(crate) struct Page {
    pub(crate) style: Style,
    /// Columns, if the lines have to fit some.
    width: Option<usize>,
    text: String,
}

impl Page {
    /// No lines yet.
    pub(crate) fn new(style: Style, width: Option<usize>) -> Page {
        Page {
            style,
            width,
            text: String::new(),
        }
    }

    /// A line, of which the end is cut off where it does not fit.
    pub(crate) fn line(&mut self, line: &str) {
        match self.width {
            Some(width) => push_cut(&mut self.text, line, width),
            None => self.text.push_str(line),
        }
        self.text.push('\n');
    }

    /// A line that is wanted whole, whatever its width.
    pub(crate) fn whole(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A text without colours of its own, in as many lines as it takes.
    pub(crate) fn wrapped(&mut self, indent: &str, text: &str, colour: &str) {
        let width = self.room_behind(indent.len());
        for line in wrap(text, width) {
            self.text.push_str(indent);
            self.text.push_str(&self.style.paint(colour, line));
            self.text.push('\n');
        }
    }

    /// A name, and behind it words in as many lines as they take.
    pub(crate) fn named(&mut self, name: &str, text: &str, colour: &str) {
        let mut indent = format!("{name:<NAMED_AT$}");
        let width = self.room_behind(NAMED_AT);
        for line in wrap(text, width) {
            self.text.push_str(&indent);
            self.text.push_str(&self.style.paint(colour, line));
            self.text.push('\n');
            indent = " ".repeat(NAMED_AT);
        }
    }

    /// Lines that are as wide as they have to be.
    pub(crate) fn lines(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Columns, if the lines have to fit some.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    fn room_behind(&self, columns: usize) -> usize {
        let room = |width: usize| width.saturating_sub(columns);
        self.width.map_or(usize::MAX, room)
    }

    /// An empty line, and a heading.
    pub(crate) fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.wrapped("", text, colour::HEADING);
    }

    /// What was written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Appends as much of `line` as fits; colours take no room.
fn push_cut(out: &mut String, line: &str, width: usize) {
    let (mut taken, mut in_colour, mut coloured) = (0, false, false);
    // Where to cut, should the rest not fit: room is left for what tells of it.
    let mut cut = 0;
    for (at, c) in line.char_indices() {
        if c == '\x1b' {
            in_colour = true;
            coloured = true;
        }
        let columns = if in_colour { 0 } else { c.width().unwrap_or(0) };
        in_colour = in_colour && c != 'm';
        if taken + columns > width {
            out.push_str(&line[..cut]);
            out.push('…');
            out.push_str(if coloured { colour::PLAIN } else { "" });
            return;
        }
        taken += columns;
        if taken < width {
            cut = at + c.len_utf8();
        }
    }
    out.push_str(line);
}

/// The lines of `text`, broken at spaces; a word that is longer than a line is kept whole.
fn wrap(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut start, mut taken, mut space) = (0, 0, None);
    for (at, c) in text.char_indices() {
        if c == ' ' {
            space = Some((at, taken));
        }
        taken += c.width().unwrap_or(0);
        if taken > width
            && let Some((end, before)) = space.take()
        {
            lines.push(&text[start..end]);
            start = end + 1;
            taken -= before + 1;
        }
    }
    lines.push(&text[start..]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(line: &str, width: usize) -> String {
        let mut out = String::new();
        push_cut(&mut out, line, width);
        out
    }

    #[test]
    fn a_line_that_does_not_fit_is_cut_and_says_so() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("日本", 4), "日本");
        assert_eq!(cut("ab", 1), "…");
    }

    #[test]
    fn named_words_are_wrapped_behind_their_name_and_a_path_is_whole() {
        let style = Style {
            zone: jiff::tz::TimeZone::UTC,
            colour: false,
        };
        let mut page = Page::new(style, Some(30));
        page.named("evidence", "process 4711 is gone", "");
        page.named("", "/a/path/that/is/longer/than/the/line", "");
        let lines = [
            "evidence       process 4711 is",
            "               gone",
            "               /a/path/that/is/longer/than/the/line",
        ];
        assert_eq!(page.into_text(), lines.join("\n") + "\n");
    }

    #[test]
    fn a_colour_takes_no_room_and_ends_with_the_line() {
        let red = "\x1b[31mabc\x1b[0mdef";
        assert_eq!(cut(red, 6), red);
        assert_eq!(cut(red, 3), "\x1b[31mab…\x1b[0m");
    }

    #[test]
    fn a_text_is_broken_at_spaces_and_nothing_of_it_is_lost() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable words", 4), ["unbreakable", "words"]);
        assert_eq!(wrap("", 4), [""]);
        for width in 0..20 {
            let text = "a bb  ccc dddd 日本 e";
            assert_eq!(wrap(text, width).join(" "), text, "{width}");
        }
    }
}
