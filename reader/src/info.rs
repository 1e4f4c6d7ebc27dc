//! `info`: what a recording is, what became of its process, and its account.
//!
//! ```text
//! $ ttlog-reader info 4711
//! recording    /dev/shm/ttlog-1000/ttlog-4711-1764000000123.ring
//! name         payments
//! process      4711 of user 1000 on node-7
//! …
//! verdict      killed
//! evidence     no cause was written
//!              process 4711 is gone
//!              boot id unchanged
//!
//! id     thread  written  readable  overwritten  dropped  torn   covers   silent
//! ──────────────────────────────────────────────────────────────────────────────
//! 4711   main         19         5           14        0     0  0.000 s  1.998 s
//! 4713   worker    30944     25339         5605        0     0  1.659 s  0.000 s
//!        all       30963     25344         5619        0     0
//!
//! events are counted           exactly
//! …
//! ```
//!
//! `covers` is the time from a thread's first readable entry to its last, `silent`
//! that from its last to the end of the recording.
//!
//! Counts are of events, and `written` is the sum of the four others. Where a
//! lost block makes a total a lower bound, it is marked by `at least`.
//!
//! `-o json` writes one object for each recording.

use std::ffi::OsString;
use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;
use ttlog_format::header::Header;
use ttlog_format::salvage::{Counts, Ledger, Thread};
use ttlog_format::snapshot::{Made, Maker};
use ttlog_format::verdict::Verdict;

use crate::escape::escape;
use crate::evidence;
use crate::input::Opened;
use crate::json;
use crate::output::Output;
use crate::signal;
use crate::text::utc;

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
}

/// Writes what was asked for of one recording.
pub(crate) fn write(opened: &Opened, asked: &Arguments, mut out: impl Write) -> io::Result<()> {
    match asked.output {
        Output::Json => json::write_line(out, &Info::new(opened)),
        Output::Text => {
            writeln!(out, "{}\n", identity(opened))?;
            writeln!(out, "{}\n", threads(opened))?;
            writeln!(out, "{}", account(&opened.recording.ledger))
        }
    }
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
    damaged_spans: u64,
    damaged_totals: u64,
    truncated: u64,
    spans_without_slot: u64,
    sites_without_room: u64,
    events_without_site: u64,
    incidents: u64,
    snapshots_skipped: u64,
    lost_stretches: u64,
    failed_syncs: u64,
    missing_bytes: u64,
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
            damaged_spans: ledger.damaged_spans,
            damaged_totals: ledger.damaged_totals,
            truncated: ledger.truncated,
            spans_without_slot: ledger.spans_without_slot,
            sites_without_room: ledger.sites_without_room,
            events_without_site: ledger.events_without_site,
            incidents: ledger.incidents,
            snapshots_skipped: ledger.snapshots_skipped,
            lost_stretches: ledger.lost_stretches,
            failed_syncs: ledger.failed_syncs,
            missing_bytes: ledger.missing_bytes,
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

fn identity(opened: &Opened) -> String {
    let header = &opened.recording.header;
    let mut table = table();
    let mut row = |name: &str, words: &str| {
        if !words.is_empty() {
            table.add_row([name, &escape(words.as_bytes())]);
        }
    };
    row("recording", &opened.path.to_string_lossy());
    row("name", &header.name);
    row("process", &process(header));
    row("executable", &header.executable);
    row("build id", &header.build_id);
    row("started", &utc(header.samples[0].wall_ns));
    row("ends", &utc(opened.recording.end_ns));
    row("window", &seconds(header.window_ns));
    if header.sync_interval_ns > 0 {
        let interval = seconds(header.sync_interval_ns);
        row("on disk", &format!("written every {interval}"));
    }
    row("capacity", &capacity(opened));
    row("filter", &header.filter);
    for (name, words) in opened.made.iter().flat_map(making) {
        row(name, &words);
    }
    for (name, words) in judgement(&opened.verdict) {
        row(name, &words);
    }
    lines(table, 2, 2)
}

fn process(header: &Header) -> String {
    let process = format!("{} of user {} on {}", header.pid, header.uid, header.host);
    match header.forked_from {
        0 => process,
        parent => format!("{process}, forked from {parent}"),
    }
}

/// How a snapshot came to be.
fn making(made: &Made) -> [(&'static str, String); 4] {
    let by = match made.by {
        Maker::Process => "the process itself",
        Maker::Reader => "a reader",
    };
    let holds = match made.window_ns {
        None => "all that was readable".into(),
        Some(window_ns) => format!("the last {}, and open spans", seconds(window_ns)),
    };
    [
        ("snapshot", format!("made by {by} at {}", utc(made.wall_ns))),
        ("because of", made.why.clone()),
        ("holds", holds),
        ("made of", made.recording.clone()),
    ]
}

/// What became of the process, and how that is known.
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
    rows.extend(verdict.message.clone().map(|words| ("message", words)));
    rows.extend(verdict.location.clone().map(|words| ("location", words)));
    let names = ["evidence"].into_iter().chain(std::iter::repeat(""));
    rows.extend(names.zip(verdict.evidence.iter().cloned()));
    rows
}

fn capacity(opened: &Opened) -> String {
    let header = &opened.recording.header;
    let taken = u64::from(header.layout.blocks) * ttlog_format::BLOCK_BYTES as u64;
    if header.limited_by.is_empty() {
        return format!("{} KiB", taken >> 10);
    }
    let (taken, asked) = (taken >> 10, header.asked_bytes >> 10);
    format!(
        "{taken} KiB of the {asked} KiB asked for: {}",
        header.limited_by
    )
}

fn seconds(ns: u64) -> String {
    format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}

fn threads(opened: &Opened) -> String {
    let recording = &opened.recording;
    let mut table = table();
    table.set_header([
        "id",
        "thread",
        "written",
        "readable",
        "overwritten",
        "dropped",
        "torn",
        "covers",
        "silent",
    ]);
    for thread in &recording.threads {
        let [covers, before_end] = covered(thread, recording.end_ns);
        let id = thread.id.to_string();
        let name = escape(thread.name.as_bytes());
        let counts = of_counts(&thread.counts);
        table.add_row(
            [id, name]
                .into_iter()
                .chain(counts)
                .chain([covers, before_end]),
        );
    }
    let totals = of_counts(&recording.ledger.counts);
    let all = [String::new(), "all".into()].into_iter().chain(totals);
    table.add_row(all.chain([String::new(), String::new()]));
    lines(table, 1, 2)
}

fn of_counts(counts: &Counts) -> [String; 5] {
    let Counts {
        written,
        readable,
        overwritten,
        dropped,
        torn,
    } = *counts;
    [written, readable, overwritten, dropped, torn].map(|count| count.to_string())
}

/// How much time a thread's readable entries cover, and how long before the end the
/// last of them was.
fn covered(thread: &Thread, end_ns: u64) -> [String; 2] {
    match thread.covered_ns {
        Some((first, last)) => [
            seconds(last.saturating_sub(first)),
            seconds(end_ns.saturating_sub(last)),
        ],
        None => [String::new(), String::new()],
    }
}

fn account(ledger: &Ledger) -> String {
    let mut table = table();
    let rows = [
        (
            "events are counted",
            if ledger.exact {
                "exactly"
            } else {
                "at least: something is lost"
            }
            .into(),
        ),
        ("damaged blocks", ledger.damaged_blocks.to_string()),
        ("damaged spans", ledger.damaged_spans.to_string()),
        ("damaged totals", ledger.damaged_totals.to_string()),
        ("missing bytes", ledger.missing_bytes.to_string()),
        ("events with a value cut", ledger.truncated.to_string()),
        (
            "spans without a slot",
            ledger.spans_without_slot.to_string(),
        ),
        (
            "call sites without room",
            ledger.sites_without_room.to_string(),
        ),
        (
            "events without a call site",
            ledger.events_without_site.to_string(),
        ),
        ("incidents", ledger.incidents.to_string()),
        ("snapshots not made", ledger.snapshots_skipped.to_string()),
        (
            "stretches that lost their file",
            ledger.lost_stretches.to_string(),
        ),
        ("failed syncs", ledger.failed_syncs.to_string()),
        (
            "entries before the window",
            ledger.before_window.to_string(),
        ),
        ("missing items", ledger.missing_items.to_string()),
    ];
    for (name, words) in rows {
        table.add_row([name.to_owned(), words]);
    }
    lines(table, 2, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use ttlog_format::verdict::{Kind, Who};

    fn opened() -> Opened {
        let evidence = vec!["process 4711 is gone".to_owned()];
        let mut recording = fixture::recording();
        recording.threads[0].name = "evil\x1b[2J".into();
        Opened {
            path: "demo.ring".into(),
            recording,
            verdict: Verdict {
                kind: Kind::Killed,
                evidence,
                ..Verdict::default()
            },
            made: None,
        }
    }

    fn snapshot() -> Opened {
        let made = Made {
            by: Maker::Process,
            why: "panic\x1b[2J".into(),
            window_ns: Some(5_000_000_000),
            ..Made::default()
        };
        let verdict = Verdict {
            kind: Kind::Panicked,
            signal: Some(6),
            address: Some(16),
            thread: Some(Who {
                id: 4712,
                name: "worker-1".into(),
            }),
            message: Some("no\nroom".into()),
            location: Some("src/main.rs:7:5".into()),
            evidence: vec!["one".into(), "two".into()],
        };
        Opened {
            made: Some(made),
            verdict,
            ..opened()
        }
    }

    fn written(output: Output) -> String {
        written_of(&opened(), output)
    }

    fn written_of(opened: &Opened, output: Output) -> String {
        let mut out = Vec::new();
        write(
            opened,
            &Arguments {
                inputs: Vec::new(),
                output,
            },
            &mut out,
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract() {
        let info: serde_json::Value = serde_json::from_str(&written(Output::Json)).unwrap();
        assert_eq!(info["pid"], 4711);
        assert_eq!(info["verdict"]["kind"], "killed");
        assert_eq!(info["verdict"]["evidence"][0], "process 4711 is gone");
        assert_eq!(info["threads"][0]["overwritten"], 1);
        assert_eq!(info["ledger"]["written"], 6);
        assert_eq!(info["ledger"]["exact"], true);
        assert_eq!(info["window_ns"], 5_000_000_000u64);
    }

    #[test]
    fn tables_show_names_escaped() {
        let text = written(Output::Text);
        assert!(text.contains(r"evil\x1b[2J"), "{text}");
        assert!(!text.contains('\x1b'));
        assert!(text.contains("killed") && text.contains("/usr/bin/payments"));
    }

    #[test]
    fn of_a_snapshot_it_is_told_how_it_came_to_be() {
        let text = written_of(&snapshot(), Output::Text);
        assert!(
            text.contains("made by the process itself at 1970"),
            "{text}"
        );
        assert!(text.contains(r"panic\x1b[2J"), "{text}");
        assert!(text.contains("the last 5.000 s"), "{text}");
        let json = written_of(&snapshot(), Output::Json);
        let info: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(info["snapshot"]["by"], "process");
        assert_eq!(info["snapshot"]["window_ns"], 5_000_000_000u64);
        assert_eq!(info["ledger"]["missing_items"], 0);
    }

    #[test]
    fn a_verdict_is_shown_with_all_that_is_known_of_it() {
        let text = written_of(&snapshot(), Output::Text);
        for words in [
            "SIGABRT (6) at address 0x10",
            r#"thread "worker-1" (4712)"#,
            r"no\nroom",
            "src/main.rs:7:5",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
        let json = written_of(&snapshot(), Output::Json);
        let info: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(info["verdict"]["signal"], 6);
        assert_eq!(info["verdict"]["address"], 16);
        assert_eq!(info["verdict"]["thread"]["id"], 4712);
        assert_eq!(info["verdict"]["message"], "no\nroom");
    }
}
