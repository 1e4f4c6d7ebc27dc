//! Tallies for the eye: a few sentences, and tables.

use std::collections::HashSet;

use crate::advice::for_a_shell;
use crate::colour;
use crate::columns::{self, Column, Heads, Name, share, short_path, size};
use crate::escape::{escape, quoted};
use crate::page::Page;
use crate::text::{age, count};

use super::Told;
use super::reach::{FAR, Limit};
use super::rows::{By, Of, Row, Sort};
use super::tally::{Amount, At, Place, Says};

/// Columns that a place and what is said there take in a sentence.
const IN_A_SENTENCE: usize = 48;

const BYTES: Column = Column {
    head: "bytes",
    weight: 9,
};
const SHARE: Column = Column {
    head: "share",
    weight: 8,
};
const EVENTS: Column = Column {
    head: "events",
    weight: 7,
};
const RECORDS: Column = Column {
    head: "records",
    weight: 7,
};
const OF_SPANS: Column = Column {
    head: "of spans",
    weight: 2,
};
const RATE: Column = Column {
    head: "per s",
    weight: 4,
};
const BYTES_RATE: Column = Column {
    head: "bytes/s",
    weight: 1,
};
const EVENTS_IN: Column = Column {
    head: "events in",
    weight: 6,
};
const BYTES_IN: Column = Column {
    head: "bytes in",
    weight: 5,
};

/// What a name is given before a number that says little, and what a place is.
const NAME_MIN: usize = 28;
const PLACE_MIN: usize = 36;

/// Writes the sentences.
pub(super) fn summarize(told: &Told<'_>, page: &mut Page) {
    page.wrapped("", &what_there_is(told, page), "");
    if let Some(words) = what_takes_most(told) {
        page.wrapped("", &words, "");
    }
    advise(told, page);
}

/// `payments (pid 4711): 25,344 events and 1,204 records of spans are readable, 2.1 MiB. …`
fn what_there_is(told: &Told<'_>, page: &Page) -> String {
    let header = &told.recording.header;
    let (all, complete) = (&told.tallies.whole.all, &told.tallies.whole.complete);
    let about = if told.tallies.is_exact { "" } else { "about " };
    let asked = if told.is_everything {
        ""
    } else {
        " and asked for"
    };
    let mut words = format!(
        "{} (pid {}): {} and {} of spans are readable{asked}, {about}{}.",
        escape(header.name.as_bytes()),
        header.pid,
        several(all.events, "event"),
        several(all.span_records, "record"),
        size(all.bytes),
    );
    let reach = &told.reach;
    if let (Some(events), Some(bytes)) = (reach.rate(complete.events), reach.rate(complete.bytes)) {
        words += &format!(
            " The last {} are complete, since {}, at {} events and {} a second;",
            age(reach.complete_ns()),
            page.style.time(reach.from_ns),
            rate(events),
            size(bytes as u64),
        );
    }
    words + &what_there_was(told)
}

/// ` 5,619 events are overwritten.`
fn what_there_was(told: &Told<'_>) -> String {
    let ledger = &told.recording.ledger;
    let least = if ledger.exact { "" } else { "at least " };
    let mut words = match told.reach.limit {
        Limit::Beginning => " none is overwritten".to_owned(),
        Limit::Window => " what was before is not in this snapshot".to_owned(),
        Limit::Ring => {
            let overwritten = several(ledger.counts.overwritten, "older event");
            format!(" {least}{overwritten} overwritten")
        }
    };
    let others = [
        ("dropped", ledger.counts.dropped),
        ("torn", ledger.counts.torn),
    ];
    for (what, many) in others.into_iter().filter(|&(_, many)| many > 0) {
        words += &format!(", {least}{} {what}", count(many));
    }
    words + "."
}

/// `Most bytes are of the target hyper::proto (61.0 %), and at src/conn.rs:88 … (40.1 %).`
fn what_takes_most(told: &Told<'_>) -> Option<String> {
    let whole = told.tallies.whole.all.bytes;
    let first = |by| told.rows_by_bytes(by).into_iter().next();
    let (site, target) = (first(By::CallSite)?, first(By::Target)?);
    let (Of::Place(at), Of::Target(name)) = (site.of, target.of) else {
        return None;
    };
    let name = escape(name.unwrap_or("?").as_bytes());
    let level = at.place.level.map_or("?", |level| level.as_str());
    Some(format!(
        "Most bytes are of the target {} ({}), and of {level} {} ({}).",
        Name::of(name).fit(IN_A_SENTENCE),
        share(target.tally.all.bytes, whole),
        name_of_place(at).fit(IN_A_SENTENCE),
        share(site.tally.all.bytes, whole),
    ))
}

/// Which filter would help, and what that would cost.
fn advise(told: &Told<'_>, page: &mut Page) {
    let Some(advice) = &told.advice else {
        return;
    };
    let reach = match advice.reach_ns {
        Some(reach_ns) => format!("about {}", age(reach_ns)),
        None => format!("more than {FAR} times as far"),
    };
    let longer = format!(
        "Without {} {} the ring would reach back {reach}, not {}:",
        silenced(advice.level),
        advice.target,
        age(told.reach.complete_ns()),
    );
    page.wrapped("", &longer, "");
    // To be pasted, so it is whole.
    let paste = match advice.filter.as_deref().and_then(for_a_shell) {
        Some(filter) => format!("TTLOG_FILTER={filter}"),
        None => format!("{}   (to be added to its filter)", advice.directive()),
    };
    page.whole(&format!("  {}", page.style.paint(colour::HEADING, &paste)));
    let Amount {
        events,
        span_records,
        ..
    } = advice.silenced.all;
    let context = match span_records {
        0 => "",
        _ => "; other events would be shown without these spans around them",
    };
    let price = format!(
        "Its price: {} and {} of spans would not have been recorded{context}.",
        several(events, "event"),
        several(span_records, "record"),
    );
    page.wrapped("", &price, "");
}

/// What a filter of this level keeps out.
fn silenced(level: &str) -> &'static str {
    match level {
        "off" => "anything of",
        "error" => "WARN, INFO, DEBUG and TRACE of",
        "warn" => "INFO, DEBUG and TRACE of",
        "info" => "DEBUG and TRACE of",
        _ => "TRACE of",
    }
}

fn several(many: u64, what: &str) -> String {
    let s = if many == 1 { "" } else { "s" };
    format!("{} {what}{s}", count(many))
}

/// Writes a table, with its heading.
pub(super) fn tabulate(
    told: &Told<'_>,
    by: By,
    most: usize,
    page: &mut Page,
    width: Option<usize>,
) {
    let rows = told.rows(by);
    if rows.is_empty() {
        return;
    }
    let (before, head, columns) = heads(by);
    let columns = columns::keeping(columns, ordering(by, told.sort));
    let namesakes = namesakes(&rows);
    let cells: Vec<columns::Row> = rows
        .iter()
        .take(most)
        .map(|row| columns::Row {
            before: level_of(row),
            name: name(row, &namesakes),
            numbers: numbers(told, by, row),
        })
        .collect();
    page.line("");
    let heads = Heads {
        before,
        name: head,
        name_min: match by {
            By::CallSite => PLACE_MIN,
            _ => NAME_MIN,
        },
        columns: &columns,
    };
    let lines = columns::lines(&heads, &cells, width);
    for (i, line) in lines.iter().enumerate() {
        let colour = if i == 0 { colour::HEADING } else { "" };
        let line = page.style.paint(colour, line);
        page.line(&line);
    }
    let left = rows.get(most..).unwrap_or(&[]);
    if !left.is_empty() {
        let bytes = left.iter().map(|row| row.tally.all.bytes).sum();
        let flag = match told.is_overview {
            true => format!(": --by {} shows them", flag(by)),
            false => String::new(),
        };
        let taken = share(bytes, told.tallies.whole.all.bytes);
        page.line(&format!(
            "… and {} more, {taken}{flag}",
            count(left.len() as u64)
        ));
    }
}

fn heads(by: By) -> (Option<&'static str>, &'static str, &'static [Column]) {
    match by {
        By::CallSite => (
            Some("level"),
            "call site",
            &[RECORDS, BYTES, SHARE, RATE, BYTES_RATE],
        ),
        By::Level => (None, "level", &OF_EVENTS),
        By::Target => (None, "target", &OF_EVENTS),
        By::Thread => (None, "thread", &OF_EVENTS),
        By::Span => (None, "span", &[RECORDS, BYTES, EVENTS_IN, BYTES_IN, SHARE]),
    }
}

/// The columns that show what rows are in order by.
fn ordering(by: By, sort: Sort) -> &'static [Column] {
    match (sort, by) {
        (Sort::Bytes, By::Span) => &[SHARE],
        (Sort::Bytes, _) => &[BYTES],
        (Sort::Events, By::CallSite) => &[RECORDS],
        (Sort::Events, By::Span) => &[RECORDS, EVENTS_IN],
        (Sort::Events, _) => &[EVENTS, OF_SPANS],
        (Sort::Rate, _) => &[RATE],
        (Sort::Name, _) => &[],
    }
}

const OF_EVENTS: [Column; 6] = [EVENTS, OF_SPANS, BYTES, SHARE, RATE, BYTES_RATE];

/// The word for it on the command line.
fn flag(by: By) -> &'static str {
    match by {
        By::CallSite => "call-site",
        By::Level => "level",
        By::Target => "target",
        By::Thread => "thread",
        By::Span => "span",
    }
}

fn numbers(told: &Told<'_>, by: By, row: &Row<'_>) -> Vec<String> {
    let whole = told.tallies.whole.all.bytes;
    let (all, complete) = (&row.tally.all, &row.tally.complete);
    let rate = |count| told.reach.rate(count).map_or("–".into(), rate);
    let per_second = told.reach.rate(complete.bytes);
    let bytes_rate = per_second.map_or("–".into(), |bytes| size(bytes as u64));
    let bytes = [size(all.bytes), share(all.bytes, whole)];
    match by {
        By::CallSite => {
            let [size, share] = bytes;
            let records = count(all.records());
            vec![records, size, share, rate(complete.records()), bytes_rate]
        }
        By::Span => {
            let [about, inside] = row.apart.map(|tally| tally.all);
            vec![
                count(about.span_records),
                size(about.bytes),
                count(inside.events),
                size(inside.bytes),
                share(all.bytes, whole),
            ]
        }
        _ => {
            let [size, share] = bytes;
            vec![
                count(all.events),
                count(all.span_records),
                size,
                share,
                rate(complete.records()),
                bytes_rate,
            ]
        }
    }
}

fn rate(per_second: f64) -> String {
    match per_second > 0.0 && per_second < 10.0 {
        true => format!("{per_second:.1}"),
        false => count(per_second as u64),
    }
}

fn level_of(row: &Row<'_>) -> Option<&'static str> {
    match row.of {
        Of::Place(at) => Some(at.place.level.map_or("?", |level| level.as_str())),
        _ => None,
    }
}

/// Names that several spans of different places have.
fn namesakes<'t>(rows: &[Row<'t>]) -> HashSet<&'t str> {
    let mut seen = HashSet::new();
    let names = rows.iter().filter_map(|row| match row.of {
        Of::Span(place) => place.span.as_deref(),
        _ => None,
    });
    names.filter(|&name| !seen.insert(name)).collect()
}

fn name(row: &Row<'_>, namesakes: &HashSet<&str>) -> Name {
    Name::of(match row.of {
        Of::Place(at) => return name_of_place(at),
        Of::Level(level) => level.map_or("?", |level| level.as_str()).to_owned(),
        Of::Target(target) => escape(target.unwrap_or("?").as_bytes()),
        Of::Thread(None) => "?".into(),
        Of::Thread(Some(thread)) => match thread.name.is_empty() {
            true => thread.id.to_string(),
            false => format!("{} ({})", escape(thread.name.as_bytes()), thread.id),
        },
        Of::Span(place) => {
            let name = place.span.as_deref().unwrap_or("?");
            let words = match namesakes.contains(name) {
                true => file_words(place),
                false => String::new(),
            };
            return Name {
                name: escape(name.as_bytes()),
                words,
            };
        }
        Of::UnknownSpan => "?".into(),
        Of::NoSpan => "(in no span)".into(),
    })
}

/// `src/conn.rs:88 "flushed 90 bytes"`
fn name_of_place(at: &At) -> Name {
    let words = match (&at.place.span, &at.says) {
        (Some(span), _) => format!("span {}", escape(span.as_bytes())),
        (None, Some(Says::Message(message))) => quoted(message.as_bytes()),
        (None, Some(Says::Fields(names))) => escape(names.as_bytes()),
        (None, None) => String::new(),
    };
    Name {
        name: place_words(&at.place),
        words,
    }
}

/// `conn.rs:88`
fn file_words(place: &Place) -> String {
    let file = place.file.rsplit('/').next().unwrap_or_default();
    format!("{}:{}", escape(file.as_bytes()), place.line)
}

/// `src/conn.rs:88`
fn place_words(place: &Place) -> String {
    match (place.level, place.address) {
        (Some(_), _) => {}
        (None, 0) => return "(lost call sites)".into(),
        (None, address) => return format!("{address:#x}"),
    }
    match place.file.is_empty() {
        true => escape(place.target.as_bytes()),
        false => format!(
            "{}:{}",
            escape(short_path(&place.file).as_bytes()),
            place.line
        ),
    }
}
