//! `info`: what became of a process, what its recording is, and its account.
//!
//! ```text
//! $ ttlog-reader info 4711
//! verdict        killed
//! evidence       no cause was written
//!                process 4711 is gone
//!                boot id unchanged
//! last heard of  2025-11-24 17:00:12.345, 2 min ago
//!
//! recording      /dev/shm/ttlog-1000/ttlog-4711-1764000000123.ring
//! name           payments
//! process        4711 of user 1000 on node-7
//! started        2025-11-24 17:00:00.123, recorded for 12.2 s
//! …
//!
//! id    thread  written  readable  overwritten  dropped  torn  covers   silent
//! ────────────────────────────────────────────────────────────────────────────
//! 4711  main         19         5           14        0     0    0 ns    1.9 s
//! 4713  worker   30,944    25,339        5,605        0     0   1.6 s  41.2 µs
//!       all      30,963    25,344        5,619        0     0
//!
//! counted        exactly
//! damage         none
//! ```
//!
//! `covers` is the time from a thread's first readable entry to its last, `silent`
//! that from its last to the end of the recording. Where a terminal has no room for all
//! of a table, the columns that say least are left out: what was lost is told longest.
//!
//! Counts are of events, and `written` is the sum of the four others. Where a
//! lost block makes a total a lower bound, `counted` says so. Of the rest of the account
//! what is not 0 is shown.
//!
//! `-o json` writes one object for each recording, with moments in UTC, durations in
//! nanoseconds and the whole account.

use std::ffi::OsString;
use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;
use ttlog_format::header::Header;
use ttlog_format::salvage::{Counts, Ledger, Thread};
use ttlog_format::snapshot::{Made, Maker};
use ttlog_format::verdict::{Kind, Verdict};
use unicode_width::UnicodeWidthStr;

use crate::advice;
use crate::colour;
use crate::damage;
use crate::escape::escape;
use crate::evidence;
use crate::input::Opened;
use crate::json;
use crate::measure::{as_shown, cut, moment, now_ns, size};
use crate::output::{Look, Output, terminal_width};
use crate::page::Page;
use crate::signal;
use crate::text::{age, count, utc};

/// Show what recordings are, what became of their processes, and their accounts
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader info 4711                                  what became of process 4711
  ttlog-reader info -o json FILE | jq -r .verdict.kind    for programs")]
pub(crate) struct Arguments {
    /// Files, directories (their newest recording), pids, or - for stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) inputs: Vec<OsString>,

    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    look: Look,
}

/// Writes what was asked for of one recording.
pub(crate) fn write(opened: &Opened, asked: &Arguments, mut out: impl Write) -> io::Result<()> {
    match asked.output {
        Output::Json => json::write_line(out, &Info::new(opened)),
        Output::Text => {
            let mut page = Page::new(asked.look.style(), terminal_width());
            tell(opened, now_ns(), &mut page);
            if asked.inputs.len() > 1 {
                page.line("");
            }
            out.write_all(page.into_text().as_bytes())
        }
    }
}

/// What to run next.
pub(crate) fn next(opened: &Opened, asked: &Arguments) -> Option<String> {
    let is_alone = asked.inputs.len() == 1 && asked.output == Output::Text;
    let typed = is_alone.then(|| advice::typed(&opened.path))??;
    Some(match opened.verdict.kind {
        Kind::Alive => format!("ttlog-reader view {typed}"),
        _ => format!("ttlog-reader postmortem {typed}"),
    })
}

fn tell(opened: &Opened, now_ns: u64, page: &mut Page) {
    tell_judgement(opened, now_ns, page);
    page.line("");
    tell_identity(opened, page);
    page.line("");
    page.lines(&threads(opened, page.width()));
    page.line("");
    tell_account(&opened.recording.ledger, page);
}

#[derive(Serialize)]
struct Info<'a> {
    name: &'a str,
    pid: u32,
    path: String,
    verdict: &'a Verdict,
    window_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<OfSnapshot<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    scrubbed: bool,
    threads: Vec<OfThread<'a>>,
    ledger: OfLedger,
}

#[derive(Serialize)]
struct OfSnapshot<'a> {
    by: Maker,
    why: &'a str,
    made: String,
    recording: &'a str,
    window_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'a str>,
}

#[derive(Serialize)]
struct OfThread<'a> {
    id: u32,
    name: &'a str,
    #[serde(flatten)]
    counts: OfCounts,
}

#[derive(Serialize)]
struct OfLedger {
    #[serde(flatten)]
    counts: OfCounts,
    damaged_blocks: u64,
    mended_blocks: u64,
    damaged_spans: u64,
    damaged_totals: u64,
    damaged_causes: u64,
    truncated: u64,
    spans_without_slot: u64,
    sites_without_room: u64,
    events_without_site: u64,
    incidents: u64,
    snapshots_skipped: u64,
    lost_stretches: u64,
    failed_syncs: u64,
    missing_bytes: u64,
    lacks_header: bool,
    lacks_rate: bool,
    before_window: u64,
    missing_items: u64,
    exact: bool,
}

#[derive(Serialize)]
struct OfCounts {
    written: u64,
    readable: u64,
    overwritten: u64,
    dropped: u64,
    torn: u64,
}

impl<'a> Info<'a> {
    fn new(opened: &'a Opened) -> Info<'a> {
        let Opened {
            path,
            recording,
            verdict,
            made,
        } = opened;
        Info {
            name: &recording.header.name,
            pid: recording.header.pid,
            path: path.to_string_lossy().into_owned(),
            verdict,
            window_ns: recording.header.window_ns,
            snapshot: made.as_ref().map(OfSnapshot::new),
            scrubbed: recording.header.scrubbed,
            threads: recording.threads.iter().map(OfThread::new).collect(),
            ledger: OfLedger::new(&recording.ledger),
        }
    }
}

impl OfSnapshot<'_> {
    fn new(made: &Made) -> OfSnapshot<'_> {
        OfSnapshot {
            by: made.by,
            why: &made.why,
            made: utc(made.wall_ns),
            recording: &made.recording,
            window_ns: made.window_ns,
            filter: made.filter.as_deref(),
        }
    }
}

impl OfThread<'_> {
    fn new(thread: &Thread) -> OfThread<'_> {
        OfThread {
            id: thread.id,
            name: &thread.name,
            counts: OfCounts::new(&thread.counts),
        }
    }
}

impl OfLedger {
    fn new(ledger: &Ledger) -> OfLedger {
        OfLedger {
            counts: OfCounts::new(&ledger.counts),
            damaged_blocks: ledger.damaged_blocks,
            mended_blocks: ledger.mended_blocks,
            damaged_spans: ledger.damaged_spans,
            damaged_totals: ledger.damaged_totals,
            damaged_causes: ledger.damaged_causes,
            truncated: ledger.truncated,
            spans_without_slot: ledger.spans_without_slot,
            sites_without_room: ledger.sites_without_room,
            events_without_site: ledger.events_without_site,
            incidents: ledger.incidents,
            snapshots_skipped: ledger.snapshots_skipped,
            lost_stretches: ledger.lost_stretches,
            failed_syncs: ledger.failed_syncs,
            missing_bytes: ledger.missing_bytes,
            lacks_header: ledger.lacks_header,
            lacks_rate: ledger.lacks_rate,
            before_window: ledger.before_window,
            missing_items: ledger.missing_items,
            exact: ledger.exact,
        }
    }
}

impl OfCounts {
    fn new(counts: &Counts) -> OfCounts {
        let Counts {
            written,
            readable,
            overwritten,
            dropped,
            torn,
        } = *counts;
        OfCounts {
            written,
            readable,
            overwritten,
            dropped,
            torn,
        }
    }
}

/// A table without lines but one below its header, no wider than the terminal.
pub(crate) fn table() -> Table {
    let below_header = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table
        .load_style(TableStyle::new().header_separator(below_header))
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// The table's lines. All columns but the first stand apart from the one before, and
/// those from `numbers` on are right-aligned.
pub(crate) fn lines(mut table: Table, apart: u16, numbers: usize) -> String {
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if i > 0 { apart } else { 0 }, 0));
        if i >= numbers {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Rows as wide as they have to be: where that is too wide, columns are left out, the
/// first of `spare` first.
pub(crate) fn fitted(
    header: &[&str],
    rows: &[Vec<String>],
    numbers: usize,
    spare: &[&str],
    width: Option<usize>,
) -> String {
    let without = |left_out: &[&str]| {
        let kept: Vec<usize> = (0..header.len())
            .filter(|&i| !left_out.contains(&header[i]))
            .collect();
        let mut table = table();
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(kept.iter().map(|&i| header[i]));
        for row in rows {
            let cell = |&i: &usize| row.get(i).map_or("", String::as_str);
            table.add_row(kept.iter().map(cell));
        }
        lines(table, 1, kept.iter().filter(|&&i| i < numbers).count())
    };
    let fits = |text: &String| {
        let fits = |width: usize| text.lines().all(|line| line.width() <= width);
        width.is_none_or(fits)
    };
    let mut left_out = 0;
    loop {
        let text = without(&spare[..left_out]);
        if left_out == spare.len() || fits(&text) {
            return text;
        }
        left_out += 1;
    }
}

/// What became of the process, and how that is known: that is asked first.
fn tell_judgement(opened: &Opened, now_ns: u64, page: &mut Page) {
    let colour = colour::of_verdict(opened.verdict.kind);
    for (i, (name, words)) in judgement(&opened.verdict).into_iter().enumerate() {
        let colour = if i == 0 { colour } else { "" };
        let words = cut(&as_shown(&page.style, &words), MESSAGE_MAX);
        page.named(name, &escape(words.as_bytes()), colour);
    }
    let heard = moment(&page.style, now_ns, opened.recording.end_ns);
    page.named("last heard of", &heard, "");
}

fn tell_identity(opened: &Opened, page: &mut Page) {
    let header = &opened.recording.header;
    let began_ns = header.samples[0].wall_ns;
    let recorded = match opened.verdict.kind {
        Kind::Alive => String::new(),
        _ => format!(
            ", recorded for {}",
            age(opened.recording.end_ns.saturating_sub(began_ns))
        ),
    };
    let started = format!("{}{recorded}", page.style.moment(began_ns));
    let mut row = |name: &str, words: &str| {
        if !words.is_empty() {
            page.named(name, &escape(words.as_bytes()), "");
        }
    };
    row("recording", &opened.path.to_string_lossy());
    row("name", &header.name);
    row("process", &process(header));
    row("executable", &header.executable);
    row("build id", &header.build_id);
    row("started", &started);
    row("window", &age(header.window_ns));
    if header.sync_interval_ns > 0 {
        let interval = age(header.sync_interval_ns);
        row("on disk", &format!("written every {interval}"));
    }
    row("capacity", &capacity(opened));
    row("filter", &header.filter);
    if header.scrubbed {
        row(
            "scrubbed",
            "values were taken out, and what was damaged left out",
        );
    }
    if let Some(made) = &opened.made {
        tell_making(made, page);
    }
}

fn process(header: &Header) -> String {
    let process = format!("{} of user {} on {}", header.pid, header.uid, header.host);
    match header.forked_from {
        0 => process,
        parent => format!("{process}, forked from {parent}"),
    }
}

/// Characters of a message that are enough to know it by.
const MESSAGE_MAX: usize = 400;

/// How a snapshot came to be.
fn tell_making(made: &Made, page: &mut Page) {
    let by = match made.by {
        Maker::Process => "the process itself",
        Maker::Reader => "a reader",
    };
    let holds = match made.window_ns {
        None => "all that was readable".into(),
        Some(window_ns) => format!("the last {}, and open spans", age(window_ns)),
    };
    let at = page.style.moment(made.wall_ns);
    // A panic's message has no end of its own; all of it is in the JSON.
    let why = cut(&made.why, MESSAGE_MAX);
    for (name, words) in [
        ("snapshot", &format!("made by {by} at {at}")),
        ("because of", &why),
        ("holds", &holds),
        ("of that", made.filter.as_ref().unwrap_or(&String::new())),
        ("made of", &made.recording),
    ] {
        if !words.is_empty() {
            page.named(name, &escape(words.as_bytes()), "");
        }
    }
}

fn judgement(verdict: &Verdict) -> Vec<(&'static str, String)> {
    let signal = verdict.signal.map(|signal| {
        let address = verdict
            .address
            .map(|address| format!(" at address {address:#x}"));
        format!(
            "{} ({signal}){}",
            signal::name(signal),
            address.unwrap_or_default()
        )
    });
    let mut rows = vec![("verdict", verdict.kind.to_string())];
    rows.extend(signal.map(|words| ("signal", words)));
    rows.extend(
        verdict
            .thread
            .as_ref()
            .map(|who| ("in", evidence::thread(who))),
    );
    let message = verdict.message.as_deref();
    rows.extend(message.map(|words| ("message", words.to_owned())));
    rows.extend(verdict.location.clone().map(|words| ("location", words)));
    let names = ["evidence"].into_iter().chain(std::iter::repeat(""));
    rows.extend(names.zip(verdict.evidence.iter().cloned()));
    rows
}

fn capacity(opened: &Opened) -> String {
    let header = &opened.recording.header;
    let taken = u64::from(header.layout.blocks) * ttlog_format::BLOCK_BYTES as u64;
    if header.limited_by.is_empty() {
        return size(taken);
    }
    let (taken, asked) = (size(taken), size(header.asked_bytes));
    format!("{taken} of the {asked} asked for: {}", header.limited_by)
}

/// Its columns that can be done without, the first first. Those of what was lost are
/// before or behind them: nobody misses what is 0, and what is not is told longest.
const SPARE: [&str; 4] = ["covers", "silent", "readable", "written"];

fn spare(threads: &[Thread], all: &Counts) -> Vec<&'static str> {
    let counts = threads.iter().map(|thread| &thread.counts).chain([all]);
    let is_any = |of: fn(&Counts) -> u64| counts.clone().any(|counts| of(counts) > 0);
    let lost = [
        ("torn", is_any(|counts| counts.torn)),
        ("dropped", is_any(|counts| counts.dropped)),
        ("overwritten", is_any(|counts| counts.overwritten)),
    ];
    let those = |lost_any: bool| {
        let those = lost
            .into_iter()
            .filter(move |&(_, is_any)| is_any == lost_any);
        those.map(|(name, _)| name)
    };
    those(false).chain(SPARE).chain(those(true)).collect()
}

/// Threads in the table at most, the newest: a table is made in memory before it is shown.
/// The JSON has all of them.
const THREADS_SHOWN: usize = 4096;

fn threads(opened: &Opened, width: Option<usize>) -> String {
    let recording = &opened.recording;
    let header = [
        "id",
        "thread",
        "written",
        "readable",
        "overwritten",
        "dropped",
        "torn",
        "covers",
        "silent",
    ];
    let row = |id: String, name: String, counts: &Counts, times: [String; 2]| {
        let counts = of_counts(counts).into_iter();
        [id, name].into_iter().chain(counts).chain(times).collect()
    };
    let left_out = recording.threads.len().saturating_sub(THREADS_SHOWN);
    let newest = &recording.threads[left_out..];
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(newest.len() + 2);
    if left_out > 0 {
        let words = format!("{} before these", count(left_out as u64));
        rows.push(vec![String::new(), words]);
    }
    for thread in newest {
        let times = covered(thread, recording.end_ns);
        let name = escape(thread.name.as_bytes());
        rows.push(row(thread.id.to_string(), name, &thread.counts, times));
    }
    let all = &recording.ledger.counts;
    rows.push(row(String::new(), "all".into(), all, Default::default()));
    let spare = spare(&recording.threads, all);
    fitted(&header, &rows, 2, &spare, width)
}

fn of_counts(counts: &Counts) -> [String; 5] {
    let Counts {
        written,
        readable,
        overwritten,
        dropped,
        torn,
    } = *counts;
    [written, readable, overwritten, dropped, torn].map(count)
}

/// How much time a thread's readable entries cover, and how long before the end the
/// last of them was.
fn covered(thread: &Thread, end_ns: u64) -> [String; 2] {
    match thread.covered_ns {
        Some((first, last)) => [
            age(last.saturating_sub(first)),
            age(end_ns.saturating_sub(last)),
        ],
        None => [String::new(), String::new()],
    }
}

/// What is counted besides, as far as there was any.
fn tell_account(ledger: &Ledger, page: &mut Page) {
    let counted = match ledger.exact {
        true => "exactly",
        false => "at least: something is lost",
    };
    page.named("counted", counted, "");
    match damage::words(ledger) {
        None => page.named("damage", "none", ""),
        Some(words) => page.named("damage", &words, colour::DOUBTFUL),
    }
    let rows = [
        ("damaged blocks", ledger.damaged_blocks),
        ("damaged spans", ledger.damaged_spans),
        ("damaged totals", ledger.damaged_totals),
        ("damaged causes", ledger.damaged_causes),
        ("missing bytes", ledger.missing_bytes),
        ("events with a value cut", ledger.truncated),
        ("spans without a slot", ledger.spans_without_slot),
        ("call sites without room", ledger.sites_without_room),
        ("events without a call site", ledger.events_without_site),
        ("panics and snapshot requests", ledger.incidents),
        ("snapshots not made", ledger.snapshots_skipped),
        ("stretches that lost their file", ledger.lost_stretches),
        ("failed syncs", ledger.failed_syncs),
        ("entries before the window", ledger.before_window),
        ("missing items", ledger.missing_items),
    ];
    let found = rows.iter().filter(|(_, count)| *count > 0);
    let found: Vec<String> = found
        .map(|(name, n)| format!("{name}: {}", count(*n)))
        .collect();
    if !found.is_empty() {
        page.named("and", &found.join(", "), "");
    }
}

#[cfg(test)]
mod tests;
