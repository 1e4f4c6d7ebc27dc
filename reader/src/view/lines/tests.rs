//! How entries look on lines of any width.

use std::collections::HashSet;

use super::*;
use crate::fixture;
use jiff::tz::TimeZone;
use ttlog_format::value::{Field, Text};

/// What can take so many bytes.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.0.checked_sub(bytes.len());
        self.0 = left.ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static STYLE: Style = Style {
    zone: TimeZone::UTC,
    colour: false,
};

fn layout(output: Output, on_screen: bool, reverse: bool) -> Layout<'static> {
    Layout {
        output,
        style: &STYLE,
        on_screen,
        reverse,
        at_once: false,
    }
}

fn batch<'a>(recordings: &'a [(usize, &'a Recording)], round: u64) -> Batch<'a> {
    let of = |&(of, recording): &(usize, &Recording)| {
        let entries = recording.entries.iter().cloned();
        entries.map(move |entry| (of, entry)).collect::<Vec<_>>()
    };
    Batch {
        entries: recordings.iter().flat_map(of).collect(),
        recordings,
        round,
    }
}

/// The lines of recordings with these names.
fn lines(layout: Layout<'_>, recordings: &[(&str, &Recording)]) -> Vec<String> {
    let names: Vec<String> = recordings.iter().map(|(name, _)| (*name).into()).collect();
    let recordings: Vec<(usize, &Recording)> =
        recordings.iter().map(|(_, it)| *it).enumerate().collect();
    let mut out = Vec::new();
    let writer = Writer::new(layout, &names, &mut out);
    write_beside(writer, |show| {
        show(batch(&recordings, 0));
        Ok(())
    })
    .unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn nothing_more_is_told_where_nothing_more_can_be_written() {
    let recording = fixture::recording();
    let recordings = [(0, &recording)];
    let writer = Writer::new(
        layout(Output::Short, false, false),
        &["".into()],
        Room(10_000),
    );
    let mut lots = 0;
    let written = write_beside(writer, |show| {
        while show(batch(&recordings, 0)) {
            lots += 1;
        }
        Ok(())
    });
    assert!(written.unwrap_err().is_output());
    assert!((1..10_000).contains(&lots), "{lots}");
}

#[test]
fn a_lot_whose_spans_have_a_lot_of_values_is_waited_for() {
    let mut recording = fixture::recording();
    let bytes = vec![b'x'; LIGHT_BYTES];
    let whole = LIGHT_BYTES as u32;
    let value = Value::Str(Text { bytes, whole });
    let span = recording.spans.get_mut(&fixture::query()).unwrap();
    let field = Field { index: 0, value };
    Arc::make_mut(span).fields.push((0, field));
    let (recordings, names) = ([(0, &recording)], ["".into()]);
    let writer = Writer::new(layout(Output::Cat, false, false), &names, io::sink());
    let written = write_beside(writer, |show| {
        for _ in 0..100 {
            assert!(show(batch(&recordings, 0)));
            let mut spans = recording.spans.values();
            assert!(spans.all(|span| Arc::strong_count(span) == 1));
        }
        Ok(())
    });
    written.unwrap();
}

#[test]
fn a_lot_has_the_spans_around_its_entries_and_tables_that_are_new() {
    let mut recording = fixture::recording();
    let mut noted = Noted::new();
    let mut lot = |recording: &Recording, round| {
        let entries = vec![(3, recording.entries[1].clone())];
        let recordings = &[(3, recording)];
        let batch = Batch {
            recordings,
            entries,
            round,
        };
        let lot = Lot::new(batch, &mut noted);
        let part = lot.parts.into_iter().next().unwrap();
        (
            part.spans.len(),
            part.tables.map(|tables| tables.sites.len()),
        )
    };
    let sites = recording.sites.len();
    assert_eq!(lot(&recording, 0), (2, Some(sites)));
    assert_eq!(lot(&recording, 0), (2, None));
    assert_eq!(
        lot(&recording, 1),
        (2, Some(sites)),
        "threads may be others"
    );
    recording.sites.clear();
    recording.spans.clear();
    assert_eq!(lot(&recording, 1), (0, Some(0)));
}

#[test]
fn a_lot_has_what_is_around_each_entry_and_no_more_of_spans_that_are_nested_deep() {
    let id = |n: u32| SpanId::in_slot(n, 1);
    let depth = 5 * CONTEXT_MAX as u32;
    let spans = (0..depth).map(|n| {
        let parent = n.checked_sub(1).map(id);
        let span = Span {
            id: Some(id(n)),
            parent,
            ..Span::default()
        };
        (id(n), Arc::new(span))
    });
    let recording = Recording {
        spans: spans.collect(),
        ..fixture::recording()
    };
    let entry = |n| Entry {
        span: Some(id(n)),
        ..recording.entries[1].clone()
    };
    // One after the other, from the inside to the outside, and in leaps.
    for of in [
        vec![200, 201, 202],
        vec![202, 170, 169],
        vec![300, 0, 230, 260],
    ] {
        let entries: Vec<_> = of.iter().map(|&n| (0, entry(n))).collect();
        let part = Recording {
            spans: spans_around(&recording, 0, &entries),
            ..fixture::recording()
        };
        let mut around = HashSet::new();
        for &n in &of {
            assert_eq!(part.context(Some(id(n))), recording.context(Some(id(n))));
            around.extend(recording.context(Some(id(n))).iter().map(|(id, _)| *id));
        }
        assert_eq!(part.spans.len(), around.len());
    }
}

#[test]
fn the_newest_may_come_first() {
    let recording = fixture::recording();
    for output in [Output::Short, Output::Full, Output::Json, Output::Cat] {
        let mut all = lines(layout(output, false, false), &[("", &recording)]);
        all.reverse();
        assert_eq!(lines(layout(output, false, true), &[("", &recording)]), all);
    }
}

#[test]
fn where_there_are_several_each_line_has_a_name() {
    let recording = fixture::recording();
    let both = [("web[1]", &recording), ("d\x1bb[2]", &recording)];
    let short = lines(layout(Output::Short, false, false), &both);
    let half = recording.entries.len();
    assert_eq!(short[0], "22:13:20.000 web[1] [INFO] request{id=7}: opened");
    assert!(
        short[half].starts_with("22:13:20.000 d\\x1bb[2] [INFO] "),
        "{short:?}"
    );
    for line in &lines(layout(Output::Json, false, false), &both)[half..] {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["recording"], "d\x1bb[2]");
    }
}

#[test]
fn the_day_is_said_where_it_changes() {
    let mut recording = fixture::recording();
    recording.entries.truncate(3);
    recording.entries[2].wall_ns += 86_400_000_000_000;
    let begins = |lines: &[String]| -> Vec<String> {
        let begin = |line: &String| line.chars().take(20).collect();
        lines.iter().map(begin).collect()
    };
    let piped = lines(layout(Output::Short, false, false), &[("", &recording)]);
    assert_eq!(
        begins(&piped),
        [
            "22:13:20.000 [INFO] ",
            "22:13:20.001 [INFO] ",
            "2023-11-15 22:13:20."
        ]
    );
    let reversed = lines(layout(Output::Short, false, true), &[("", &recording)]);
    assert_eq!(
        begins(&reversed),
        [
            "22:13:20.002 [DEBUG]",
            "2023-11-14 22:13:20.",
            "22:13:20.000 [INFO] "
        ]
    );
    let on_screen = lines(layout(Output::Short, true, false), &[("", &recording)]);
    assert_eq!(
        begins(&on_screen),
        [
            "── 2023-11-14 ──",
            "22:13:20.000 [INFO]  ".trim_end(),
            "22:13:20.001 [INFO]  ".trim_end(),
            "── 2023-11-15 ──",
            "22:13:20.002 [DEBUG]",
        ]
        .map(|it| it.chars().take(20).collect::<String>())
        .map(|it| if it.len() == 19 { it + " " } else { it })
    );
}

#[test]
fn on_a_screen_what_is_said_begins_at_one_column() {
    let recording = fixture::recording();
    let lines = lines(layout(Output::Short, true, false), &[("", &recording)]);
    let said: Vec<&str> = lines[1..].iter().map(|line| &line[21..]).collect();
    assert_eq!(said[0], "request{id=7}: opened");
    assert!(said[3].starts_with("evil"), "{said:?}");
    assert_eq!(said[4], "connection reset");
}

#[test]
fn a_line_says_all_or_the_message_alone() {
    let recording = fixture::recording();
    let full = lines(layout(Output::Full, false, false), &[("", &recording)]);
    let thread = &recording.threads[0];
    assert_eq!(
        full[1],
        format!(
            "2023-11-14 22:13:20.001000000+00:00 [INFO] {}[{}] app::auth src/auth.rs:7 \
             request{{id=7}}:query{{table=\"users\"}}: user logged in user_id=42",
            thread.name, thread.id
        )
    );
    assert!(
        full[4].contains(" hyper::client client.rs:88 connection reset"),
        "{}",
        full[4]
    );
    let words = lines(layout(Output::Cat, false, false), &[("", &recording)]);
    assert_eq!(words[1], "user logged in");
    assert_eq!(words[4], "connection reset");
    assert_eq!(words[5], "(call site 0xdead) field0=-1 field1=1.0");
}
