//! Spans for the eye: what is open first, then names, then what lasted longest.

use std::collections::HashSet;

use ttlog_format::salvage::Recording;
use unicode_width::UnicodeWidthStr;

use crate::colour;
use crate::columns::{self, Column, Heads, Name};
use crate::escape::escape;
use crate::page::Page;
use crate::shown::shown_span;
use crate::text::{age, count, span as span_words};

use super::Told;
use super::account::{Busy, Long, Longest};
use super::rows::{Lasted, Row, Sort};

/// What a name is given before a number that says little.
const NAME_MIN: usize = 28;

/// From how many columns on there is room for how long somebody was in a span.
const WIDE: usize = 100;

/// Columns that a thread's name has room for.
const THREAD: usize = 16;

const OPEN: Column = Column {
    head: "open",
    weight: 9,
};
const OPEN_FOR: Column = Column {
    head: "open for",
    weight: 8,
};
const CLOSED: Column = Column {
    head: "closed",
    weight: 7,
};
const TOTAL: Column = Column {
    head: "total",
    weight: 4,
};
const P50: Column = Column {
    head: "p50",
    weight: 2,
};
const P99: Column = Column {
    head: "p99",
    weight: 5,
};
const LONGEST: Column = Column {
    head: "longest",
    weight: 6,
};
const BUSY: Column = Column {
    head: "busy",
    weight: 1,
};

const COLUMNS: [Column; 8] = [OPEN, OPEN_FOR, CLOSED, TOTAL, P50, P99, LONGEST, BUSY];

/// The columns that show what names are in order by.
fn ordering(sort: Sort) -> &'static [Column] {
    match sort {
        Sort::Total => &[TOTAL],
        Sort::Count => &[OPEN, CLOSED],
        Sort::P50 => &[P50],
        Sort::P99 => &[P99],
        Sort::Longest => &[LONGEST],
        Sort::Name => &[],
    }
}

/// Writes all of it.
pub(super) fn tell(told: &Told<'_>, width: Option<usize>, page: &mut Page) {
    page.wrapped("", &summary(told), "");
    let is_wide = width.is_none_or(|width| width >= WIDE);
    let open = "open at the end, by level, the longest first";
    list(told, &told.open, ("open for", open), is_wide, page);
    let shown = told.open.spans.len() as u64;
    let all = shown.saturating_add(told.open.more);
    tell_rest(
        shown,
        told.open.more,
        &format!(": --top {all} shows them"),
        page,
    );
    tabulate(told, width, page);
    let closed = "closed, the longest first";
    list(told, &told.closed, ("lasted", closed), is_wide, page);
    tell_rest(told.closed.spans.len() as u64, told.closed.more, "", page);
}

/// How many are not in a list, where there is one.
fn tell_rest(shown: u64, more: u64, way_out: &str, page: &mut Page) {
    if shown > 0 && more > 0 {
        page.line(&format!("… and {} more{way_out}", count(more)));
    }
}

/// `payments (pid 4711): 37 spans are open at the end; 5,678 were closed. …`
fn summary(told: &Told<'_>) -> String {
    let sum = |of: fn(&Row) -> u64| told.rows.iter().map(of).sum::<u64>();
    let header = &told.recording.header;
    let mut words = format!(
        "{} (pid {}): {}.",
        escape(header.name.as_bytes()),
        header.pid,
        how_many(told, sum(|row| row.open), sum(|row| row.closed)),
    );
    let unknown = [
        (
            sum(|row| row.group.unknown + row.group.open_unknown),
            "opened",
        ),
        (sum(|row| row.group.lost), "closed"),
    ];
    for (many, when) in unknown.into_iter().filter(|&(many, _)| many > 0) {
        words += &format!(" Of {} it is not known when they were {when}.", count(many));
    }
    let without_slot = told.recording.ledger.spans_without_slot;
    if without_slot > 0 {
        let many = count(without_slot);
        words += &format!(" {many} found no slot: of those, open ones may be missing.");
    }
    words
}

/// `37 spans are open at the end, …; 5,678 closed`
fn how_many(told: &Told<'_>, open: u64, closed: u64) -> String {
    if !told.is_everything && told.spans > 0 && (open, closed) == (0, 0) {
        let s = if told.spans == 1 { "" } else { "s" };
        let spans = count(told.spans);
        return format!("none of {spans} span{s} is what was asked for");
    }
    let asked = match told.is_everything {
        true => "",
        false => "of what was asked for ",
    };
    let (is, s) = if open == 1 { ("is", "") } else { ("are", "s") };
    format!(
        "{asked}{} span{s} {is} open at the end, {}; {} closed",
        count(open),
        told.style.moment(told.recording.end_ns),
        count(closed),
    )
}

fn tabulate(told: &Told<'_>, width: Option<usize>, page: &mut Page) {
    if told.rows.is_empty() {
        return;
    }
    let namesakes = namesakes(&told.rows);
    let shown = told.rows.iter().take(told.most);
    let rows: Vec<columns::Row> = shown
        .clone()
        .map(|row| columns::Row {
            before: None,
            name: name(row, &namesakes),
            numbers: numbers(row),
        })
        .collect();
    let columns = columns::keeping(&COLUMNS, ordering(told.sort));
    let heads = Heads {
        before: None,
        name: "span",
        name_min: NAME_MIN,
        columns: &columns,
    };
    page.line("");
    let lines = columns::lines(&heads, &rows, width);
    let open = shown.map(|row| row.open > 0);
    let open = [false; 2].into_iter().chain(open);
    for (i, (line, is_open)) in lines.iter().zip(open).enumerate() {
        let colour = match (i, is_open) {
            (0, _) => colour::HEADING,
            (_, true) => colour::DOUBTFUL,
            _ => "",
        };
        let line = page.style.paint(colour, line);
        page.line(&line);
    }
    let left = told.rows.len().saturating_sub(told.most);
    if left > 0 {
        let names = if left == 1 { "name" } else { "names" };
        page.line(&format!("… and {} more {names}", count(left as u64)));
    }
}

/// Names that spans of several places have.
fn namesakes(rows: &[Row]) -> HashSet<&str> {
    let mut seen = HashSet::new();
    let names = rows
        .iter()
        .filter_map(|row| row.group.place.name.as_deref());
    names.filter(|&name| !seen.insert(name)).collect()
}

fn name(row: &Row, namesakes: &HashSet<&str>) -> Name {
    let place = &row.group.place;
    let name = place.name.as_deref();
    let is_shared = name.is_some_and(|name| namesakes.contains(name));
    let words = match (is_shared, place.file.is_empty()) {
        (false, _) => String::new(),
        (true, true) => escape(place.target.as_bytes()),
        (true, false) => {
            let file = place.file.rsplit('/').next().unwrap_or_default();
            format!("{}:{}", escape(file.as_bytes()), place.line)
        }
    };
    Name {
        name: name.map_or("?".into(), |name| escape(name.as_bytes())),
        words,
    }
}

fn numbers(row: &Row) -> Vec<String> {
    let time = |lasted: &Option<Lasted>, of: fn(&Lasted) -> u64| {
        lasted.as_ref().map_or("–".into(), |lasted| age(of(lasted)))
    };
    let some = |many: u64| if many == 0 { "–".into() } else { count(many) };
    let lasted = &row.lasted;
    vec![
        some(row.open),
        time(&row.open_for, |open| open.longest_ns),
        some(row.closed),
        time(lasted, |lasted| lasted.total_ns),
        time(lasted, |lasted| lasted.p50_ns),
        time(lasted, |lasted| lasted.p99_ns),
        time(lasted, |lasted| lasted.longest_ns),
        busy(row.group.busy),
    ]
}

/// `≥ 3.1 ms` where enters are overwritten.
fn busy(busy: Busy) -> String {
    match (busy.is_whole, busy.ns) {
        (true, ns) => age(ns),
        (false, 0) => "?".into(),
        (false, ns) => format!("≥ {}", age(ns)),
    }
}

fn list(
    told: &Told<'_>,
    longest: &Longest,
    (lasted, heading): (&str, &str),
    is_wide: bool,
    page: &mut Page,
) {
    let spans = &longest.spans;
    if spans.is_empty() {
        return;
    }
    let threads = spans.iter().map(|long| thread(told.recording, long));
    let threads: Vec<String> = threads.collect();
    let widths = threads.iter().map(|thread| thread.width());
    let widest = widths.chain(["thread".len()]).max().unwrap_or(0);
    let row = |cells: [&str; 5]| {
        let [lasted, busy, opened, thread, words] = cells;
        let busy = if is_wide {
            format!("{busy:>10}  ")
        } else {
            String::new()
        };
        let space = " ".repeat(widest - thread.width());
        format!("{lasted:>10}  {busy}{opened:<12}  {thread}{space}  {words}")
    };
    page.heading(heading);
    page.line(&row([lasted, "busy", "opened", "thread", "span"]));
    for (long, thread) in spans.iter().zip(&threads) {
        let lasted_ns = long.lasted_ns();
        let opened = lasted_ns.map(|_| page.style.time(long.span.opened_ns));
        let opened = opened.unwrap_or("?".into());
        let line = row([
            &lasted_ns.map_or("?".into(), age),
            &busy(long.busy),
            &opened,
            thread,
            &words(told.recording, long),
        ]);
        page.line(&line);
    }
}

fn thread(recording: &Recording, long: &Long) -> String {
    let thread = long
        .thread
        .and_then(|index| recording.threads.get(index as usize));
    thread.map_or("?".into(), |thread| match thread.name.is_empty() {
        true => thread.id.to_string(),
        false => {
            let name = columns::cut_end(&escape(thread.name.as_bytes()), THREAD);
            format!("{name} ({})", thread.id)
        }
    })
}

/// `query{table="users"} in request`
fn words(recording: &Recording, long: &Long) -> String {
    let mut words = span_words(&shown_span(recording, &long.span, u64::MAX));
    for (i, parent) in long.parents(recording).enumerate() {
        words += if i == 0 { " in " } else { " < " };
        words += &escape(parent.unwrap_or("?").as_bytes());
    }
    words
}
