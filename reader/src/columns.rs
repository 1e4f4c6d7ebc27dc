//! Tables that fit a width: the column of names gives way, and then the numbers that say
//! least.
//!
//! What is written here is escaped already.

use comfy_table::ContentArrangement;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::info;
use crate::output::terminal_width;

/// Columns between two of them.
const APART: u16 = 2;

/// The width that lines have to fit: the one asked for, else the terminal's. Whoever
/// writes to a file or a pipe wants whole lines, to search them.
pub(crate) fn width(asked: Option<u16>) -> Option<usize> {
    asked.map(usize::from).or_else(terminal_width)
}

/// A name, and words that say more about it where there is room.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) words: String,
}

impl Name {
    /// A name without any words.
    pub(crate) fn of(name: String) -> Name {
        Name {
            name,
            words: String::new(),
        }
    }

    fn width(&self) -> usize {
        let words = match self.words.width() {
            0 => 0,
            words => words + 1,
        };
        self.name.width() + words
    }

    /// As much of it as fits: the end of a path, both ends of a name, the beginning of words.
    pub(crate) fn fit(&self, room: usize) -> String {
        if self.words.is_empty() {
            return cut_name(&self.name, room);
        }
        let words = (self.words.width() + 1).min(room / 2);
        let name = cut_name(&self.name, room - words);
        match room.saturating_sub(name.width()) {
            0..3 => name,
            left => format!("{name} {}", cut_end(&self.words, left - 1)),
        }
    }
}

/// A column of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) head: &'static str,
    /// How much it says: what says least goes first.
    pub(crate) weight: u8,
}

/// Columns, of which those that show what rows are in order by are left out last.
pub(crate) fn keeping(columns: &[Column], ordering: &[Column]) -> Vec<Column> {
    let is_kept = |column: &Column| ordering.iter().any(|it| it.head == column.head);
    let columns = columns.iter().map(|&column| Column {
        weight: if is_kept(&column) {
            u8::MAX
        } else {
            column.weight
        },
        ..column
    });
    columns.collect()
}

/// What stands over the rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'h> {
    /// Over what stands before names.
    pub(crate) before: Option<&'static str>,
    pub(crate) name: &'static str,
    /// What a name is given before a number that says little.
    pub(crate) name_min: usize,
    pub(crate) columns: &'h [Column],
}

/// A row: what stands before its name, the name, and its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) before: Option<&'static str>,
    pub(crate) name: Name,
    pub(crate) numbers: Vec<String>,
}

/// The lines of a table: its heads, a line below them, and one for each row.
pub(crate) fn lines(heads: &Heads<'_>, rows: &[Row], width: Option<usize>) -> Vec<String> {
    let Heads {
        before,
        name: head,
        columns,
        ..
    } = *heads;
    let widths: Vec<usize> = (0..columns.len()).map(|i| wide(columns, rows, i)).collect();
    let indent = before.map_or(0, |before| {
        let words = rows.iter().filter_map(|row| row.before);
        let widest = words.chain([before]).map(str::width).max();
        widest.unwrap_or(0) + usize::from(APART)
    });
    let names = rows.iter().map(|row| row.name.width()).chain([head.len()]);
    let widest = names.max().unwrap_or(0);
    let room = width.map(|width| width.saturating_sub(indent));
    let shown = shown(columns, &widths, widest.min(heads.name_min), room);
    let taken: usize = shown.iter().map(|&i| widths[i] + usize::from(APART)).sum();
    let room = room.map_or(widest, |room| room.saturating_sub(taken).max(1));
    let mut table = info::table();
    table.set_content_arrangement(ContentArrangement::Disabled);
    let heads = shown.iter().map(|&i| columns[i].head);
    table.set_header(before.into_iter().chain([head]).chain(heads));
    for row in rows {
        let left = before.map(|_| row.before.unwrap_or("").to_owned());
        let name = [row.name.fit(room)].into_iter();
        let numbers = shown
            .iter()
            .map(|&i| row.numbers.get(i).cloned().unwrap_or_default());
        table.add_row(left.into_iter().chain(name).chain(numbers));
    }
    // Between two columns a table has one of its own.
    let text = info::lines(table, APART - 1, 1 + usize::from(before.is_some()));
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn wide(columns: &[Column], rows: &[Row], i: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.numbers.get(i));
    let widths = cells.map(|cell| cell.width());
    widths.chain([columns[i].head.width()]).max().unwrap_or(0)
}

/// Which columns of numbers there is room for beside names, in their order.
fn shown(columns: &[Column], widths: &[usize], name: usize, room: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let Some(room) = room else {
        return shown;
    };
    loop {
        let taken: usize = shown.iter().map(|&i| widths[i] + usize::from(APART)).sum();
        let least = (0..shown.len()).min_by_key(|&at| columns[shown[at]].weight);
        match least {
            Some(at) if taken + name > room && shown.len() > 1 => {
                shown.remove(at);
            }
            _ => return shown,
        }
    }
}

/// The beginning of `text`, and `…` where that is not all.
pub(crate) fn cut_end(text: &str, room: usize) -> String {
    match text.width() <= room {
        true => text.to_owned(),
        false => beginning(text, room.saturating_sub(1)).to_owned() + "…",
    }
}

/// The end of a path, or both ends of another name.
fn cut_name(name: &str, room: usize) -> String {
    if name.width() <= room {
        return name.to_owned();
    }
    let room = room.saturating_sub(1);
    if name.contains('/') {
        let end = end(name, room);
        let whole = end.find('/').filter(|&at| at > 0 && at + 8 < end.len());
        return format!("…{}", &end[whole.unwrap_or(0)..]);
    }
    let last = end(name, room / 2);
    format!("{}…{last}", beginning(name, room - last.width()))
}

/// As much of the beginning as fits.
fn beginning(text: &str, room: usize) -> &str {
    &text[..fitting(text.char_indices(), room).map_or(0, |(at, c)| at + c.len_utf8())]
}

/// As much of the end as fits.
fn end(text: &str, room: usize) -> &str {
    &text[fitting(text.char_indices().rev(), room).map_or(text.len(), |(at, _)| at)..]
}

/// The last of the characters that fit.
fn fitting(characters: impl Iterator<Item = (usize, char)>, room: usize) -> Option<(usize, char)> {
    let mut taken = 0;
    let fit = characters.take_while(|&(_, c)| {
        taken += c.width().unwrap_or(0);
        taken <= room
    });
    fit.last()
}

/// Of a crate from a registry, what follows the registry: `tower-http-0.6.6/src/trace/make_span.rs`.
pub(crate) fn short_path(path: &str) -> &str {
    match path.split_once("/registry/src/") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_, file)| file),
        None => path,
    }
}

/// Bytes in the unit that leaves few digits.
pub(crate) fn size(bytes: u64) -> String {
    let tenths = |shift: u32| {
        let tenths = (u128::from(bytes) * 10) >> shift;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..1024 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{} KiB", tenths(10)),
        0x10_0000..0x4000_0000 => format!("{} MiB", tenths(20)),
        _ => format!("{} GiB", tenths(30)),
    }
}

/// What `part` is of `whole`, in per cent.
pub(crate) fn share(part: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let tenths = (u128::from(part) * 1_000 + whole / 2) / whole;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str, words: &str) -> Name {
        Name {
            name: name.into(),
            words: words.into(),
        }
    }

    #[test]
    fn a_path_keeps_its_end_a_name_both_and_words_their_beginning() {
        assert_eq!(Name::of("src/conn.rs:88".into()).fit(14), "src/conn.rs:88");
        let long = Name::of("hyper-1.9.0/src/proto/h1/io.rs:215".into());
        assert_eq!(long.fit(20), "…/proto/h1/io.rs:215");
        assert_eq!(long.fit(19), "…/h1/io.rs:215");
        assert_eq!(
            Name::of("tokio::runtime::task".into()).fit(11),
            "tokio…:task"
        );
        let both = name("src/conn.rs:88", "flushed 90 bytes");
        assert_eq!(both.fit(31), "src/conn.rs:88 flushed 90 bytes");
        assert_eq!(both.fit(24), "…/conn.rs:88 flushed 90…");
        assert_eq!(Name::of("日本語日本語".into()).fit(6), "日…語");
    }

    #[test]
    fn whatever_the_room_is_no_more_than_that_is_taken() {
        let names = [
            name("src/conn.rs:88", "flushed 90 bytes"),
            name("日本語/日本語", "日本語"),
            name("a", ""),
            name("", "words"),
            name("tokio::runtime", ""),
        ];
        for room in 1..40 {
            for name in &names {
                assert!(name.fit(room).width() <= room, "{name:?} in {room}");
            }
        }
    }

    #[test]
    fn numbers_that_say_least_go_first_and_the_name_is_cut_then() {
        let columns = [("events", 3), ("bytes", 4), ("per s", 1)];
        let columns = columns.map(|(head, weight)| Column { head, weight });
        let row = Row {
            before: Some("INFO"),
            name: name("src/a/long/path/to/a/file.rs:88", "says something"),
            numbers: ["1,234", "12.3 MiB", "99"].map(str::to_owned).into(),
        };
        let table = |width| {
            let heads = Heads {
                before: Some("level"),
                name: "call site",
                name_min: 28,
                columns: &columns,
            };
            lines(&heads, std::slice::from_ref(&row), width)
        };
        let whole =
            "INFO   src/a/long/path/to/a/file.rs:88 says something   1,234  12.3 MiB     99";
        assert_eq!(table(None)[2], whole);
        assert_eq!(table(Some(60))[2].width(), 60);
        assert!(table(Some(60))[0].ends_with("per s"));
        assert!(table(Some(50))[0].ends_with("bytes"));
        for width in 26..100 {
            let lines = table(Some(width));
            assert!(lines.iter().all(|line| line.width() <= width), "{lines:?}");
        }
    }

    #[test]
    fn what_rows_are_in_order_by_goes_last() {
        let columns = [("events", 3), ("bytes", 4), ("per s", 1)];
        let columns = columns.map(|(head, weight)| Column { head, weight });
        let kept = keeping(&columns, &columns[2..]);
        for room in 0..20 {
            let shown = shown(&kept, &[6, 5, 5], 1, Some(room));
            assert!(shown.contains(&2), "{shown:?} in {room}");
        }
        assert_eq!(shown(&kept, &[6, 5, 5], 1, Some(15)), [1, 2]);
        assert_eq!(shown(&columns, &[6, 5, 5], 1, Some(16)), [0, 1]);
    }

    #[test]
    fn sizes_and_shares_have_few_digits() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (3 << 20, "3.0 MiB"),
        ];
        for (bytes, words) in sizes {
            assert_eq!(size(bytes), words);
        }
        assert_eq!(size(u64::MAX), "17179869183.9 GiB");
        assert_eq!(
            (share(1, 3), share(0, 0)),
            ("33.3 %".into(), "0.0 %".into())
        );
        assert_eq!(share(u64::MAX, u64::MAX), "100.0 %");
    }
}
