//! Whether a recording tells the story as it was told.

use std::collections::HashMap;
use std::fmt;

use ttlog_format::salvage::{Counts, Entry, Fields, Recording, Span, What};
use ttlog_format::value::Value;

use crate::story::{self, Said};

/// How a recording fails to tell what happened.
#[derive(Debug)]
pub struct Violation(String);

impl Violation {
    /// One that is described so.
    pub fn new(text: impl Into<String>) -> Violation {
        Violation(text.into())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! hold {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(Violation(format!($($text)+)));
        }
    };
}

/// Checks that the events of the workers `1..=threads`, of which the first
/// `acks[worker]` have returned, are all there as they were said, but for the
/// oldest, which are counted.
///
/// # Errors
/// The first thing that is not so.
pub fn story(recording: &Recording, acks: &[u64], threads: u64) -> Result<(), Violation> {
    story_of_some(recording, acks, threads, |_| false)
}

/// The same where some workers may be gone, and nothing of them be left but their number
/// of events among those of threads that are gone.
///
/// # Errors
/// The first thing that is not so.
pub fn story_of_some(
    recording: &Recording,
    acks: &[u64],
    threads: u64,
    may_be_gone: impl Fn(u64) -> bool,
) -> Result<(), Violation> {
    whole(recording)?;
    let sequences = told(recording)?;
    let in_whole: usize = sequences.iter().map(Vec::len).sum();
    hold!(
        in_whole as u64 == recording.ledger.counts.readable,
        "{in_whole} events are told in whole: {:?}",
        recording.ledger
    );
    let places = recording.threads.iter().enumerate().rev();
    let places: HashMap<u64, usize> = places
        .filter_map(|(at, thread)| Some((worker_of(&thread.name)?, at)))
        .collect();
    for worker in 1..=threads {
        let acked = acks[worker as usize];
        let Some(&at) = places.get(&worker) else {
            hold!(
                acked == 0 || may_be_gone(worker),
                "worker {worker} is not there, {acked} events had returned"
            );
            continue;
        };
        all_there(&sequences[at], &recording.threads[at].counts, worker, acked)?;
    }
    let (workers, written) = (&acks[1..=threads as usize], recording.ledger.counts.written);
    let acked: u64 = workers.iter().sum();
    hold!(
        written >= acked,
        "{acked} events had returned, {written} are counted: {:?}",
        recording.ledger
    );
    Ok(())
}

/// Checks that every event is one that its worker said, in the worker's order and at
/// most once, and in no span that it was not said in. The sequence numbers, by thread,
/// of those that are told in whole: where something is damaged or missing, it may not
/// be known which call site an event is of, or all the spans that it was said in.
///
/// # Errors
/// The first thing that is not so.
pub fn told(recording: &Recording) -> Result<Vec<Vec<u64>>, Violation> {
    let mut in_whole: Vec<Vec<u64>> = vec![Vec::new(); recording.threads.len()];
    let mut last = vec![None; recording.threads.len()];
    let events = recording.entries.iter();
    for entry in events.filter(|entry| entry.what == What::Event && has_sites(recording, entry)) {
        let at = entry.thread as usize;
        let thread = &recording.threads[at];
        let worker = worker_of(&thread.name)
            .ok_or_else(|| Violation(format!("an event of thread {:?}", thread.name)))?;
        let (sequence, is_whole) = as_said(recording, entry, worker)?;
        hold!(
            last[at] < Some(sequence),
            "worker {worker}: {sequence} follows {:?}",
            last[at]
        );
        last[at] = Some(sequence);
        in_whole[at].extend(is_whole.then_some(sequence));
    }
    Ok(in_whole)
}

fn has_sites(recording: &Recording, entry: &Entry) -> bool {
    let spans = recording.context(entry.span);
    let mut sites = spans.iter().map(|(_, span)| span.site).chain([entry.site]);
    sites.all(|site| recording.sites.contains_key(&site))
}

/// Checks that nothing is damaged, lost or guessed, and that the account adds up.
///
/// # Errors
/// The first thing that is not so.
pub fn whole(recording: &Recording) -> Result<(), Violation> {
    let ledger = &recording.ledger;
    hold!(ledger.counts.dropped == 0, "dropped events: {ledger:?}");
    undamaged(recording)
}

/// Checks that nothing is damaged, and that the `said` events are all there,
/// overwritten, or counted as dropped.
///
/// # Errors
/// The first thing that is not so.
pub fn accounted(recording: &Recording, said: u64) -> Result<(), Violation> {
    undamaged(recording)?;
    let ledger = &recording.ledger;
    hold!(
        ledger.counts.written == said,
        "{said} were said: {ledger:?}"
    );
    Ok(())
}

/// Checks that nothing is damaged or guessed, and that the account adds up.
///
/// # Errors
/// The first thing that is not so.
pub fn undamaged(recording: &Recording) -> Result<(), Violation> {
    let ledger = &recording.ledger;
    hold!(ledger.exact, "the ledger is not exact: {ledger:?}");
    hold!(ledger.counts.torn == 0, "torn events: {ledger:?}");
    hold!(
        ledger.damaged_blocks == 0 && ledger.damaged_spans == 0,
        "damage: {ledger:?}"
    );
    hold!(
        ledger.events_without_site == 0,
        "events without a call site: {ledger:?}"
    );
    hold!(
        ledger.sites_without_room == 0,
        "call sites without room: {ledger:?}"
    );
    hold!(
        ledger.missing_bytes == 0 && ledger.truncated == 0,
        "something is cut: {ledger:?}"
    );
    hold!(
        adds_up(&ledger.counts),
        "the ledger does not add up: {ledger:?}"
    );
    let readable = recording
        .entries
        .iter()
        .filter(|entry| entry.what == What::Event)
        .count();
    hold!(
        readable as u64 == ledger.counts.readable,
        "{readable} events can be read: {ledger:?}"
    );
    for thread in &recording.threads {
        hold!(
            adds_up(&thread.counts),
            "the account does not add up: {thread:?}"
        );
    }
    Ok(())
}

/// Whether the account adds up.
pub fn adds_up(counts: &Counts) -> bool {
    counts.written == counts.readable + counts.overwritten + counts.dropped + counts.torn
}

/// The worker of a thread of this name; the main thread may be the first.
pub fn worker_of(thread_name: &str) -> Option<u64> {
    if matches!(thread_name, "main" | "victim") {
        return Some(1);
    }
    thread_name.strip_prefix("worker-")?.parse().ok()
}

/// More events than a block holds.
const BLOCK_EVENTS: usize = 64;

/// How many blocks of a worker may be older than its oldest contiguous events.
const STRAYS: usize = 2;

/// What is there must be contiguous up to the newest.
fn all_there(sequences: &[u64], counts: &Counts, worker: u64, acked: u64) -> Result<(), Violation> {
    let newest = sequences.last().map_or(0, |newest| newest + 1);
    hold!(
        newest >= acked,
        "worker {worker}: {acked} had returned, {newest} are there: {counts:?}"
    );
    hold!(
        newest <= acked + 1,
        "worker {worker}: {acked} had returned, but {newest} are there"
    );
    hold!(
        counts.written == newest,
        "worker {worker}: said {newest}, the account: {counts:?}"
    );
    let gone = newest - sequences.len() as u64;
    hold!(
        counts.overwritten == gone,
        "worker {worker}: {gone} are gone, {counts:?}"
    );
    without_a_gap(sequences, worker)
}

/// Checks that a worker's events are in order and contiguous, but for a few single
/// blocks: one that somebody had claimed, and not yet begun, when the process
/// died; one whose thread stood still between taking the next and giving it up.
///
/// # Errors
/// If they are not.
pub fn without_a_gap(sequences: &[u64], worker: u64) -> Result<(), Violation> {
    for pair in sequences.windows(2) {
        hold!(
            pair[1] > pair[0],
            "worker {worker}: {} follows {}",
            pair[1],
            pair[0]
        );
    }
    let runs: Vec<_> = sequences
        .chunk_by(|earlier, later| *later == earlier + 1)
        .collect();
    let Some((_, strays)) = runs.split_last() else {
        return Ok(());
    };
    let are_blocks = strays.iter().all(|run| run.len() <= BLOCK_EVENTS);
    let ends = || {
        runs.iter()
            .map(|run| (run[0], run[run.len() - 1]))
            .collect::<Vec<_>>()
    };
    hold!(
        are_blocks && strays.len() <= STRAYS,
        "worker {worker}: gaps between {:?}",
        ends()
    );
    Ok(())
}

/// Checks one event of a worker; its sequence number, and whether it is told in whole.
///
/// # Errors
/// It is not what the worker said.
pub fn as_said(
    recording: &Recording,
    entry: &Entry,
    worker: u64,
) -> Result<(u64, bool), Violation> {
    let said = said_by(recording, entry)?;
    let sequence = said.1.iter().find_map(|(name, value)| match value {
        Value::U64(sequence) if *name == "sequence" => Some(*sequence),
        _ => None,
    });
    let sequence = sequence.ok_or_else(|| Violation(format!("no sequence number: {said:?}")))?;
    let foretold = story::foretold(worker, sequence);
    hold!(
        is_true(&said, &foretold),
        "invented:\n{said:?}\nwas said as\n{foretold:?}"
    );
    Ok((sequence, is_whole(&said, &foretold)))
}

type Named<'a> = Vec<(&'a str, Value)>;
type Told<'a> = (
    ttlog_format::site::Level,
    Named<'a>,
    Vec<(&'a str, Named<'a>)>,
);

fn said_by<'a>(recording: &'a Recording, entry: &'a Entry) -> Result<Told<'a>, Violation> {
    let level = recording
        .level(entry)
        .ok_or_else(|| Violation(format!("no call site: {entry:?}")))?;
    let spans = recording
        .context(entry.span)
        .into_iter()
        .map(|(_, span)| {
            let name = recording
                .sites
                .get(&span.site)
                .map_or("?", |site| site.name.as_str());
            (name, span_fields(recording, span))
        })
        .collect();
    Ok((level, named(recording, entry.site, &entry.fields), spans))
}

/// The fields of an entry, with their names.
pub fn named<'a>(recording: &'a Recording, site: u64, fields: &Fields) -> Vec<(&'a str, Value)> {
    fields
        .iter()
        .map(|field| (name_of(recording, site, field.index), field.value.owned()))
        .collect()
}

/// The fields of a span, with their names.
pub fn span_fields<'a>(recording: &'a Recording, span: &Span) -> Vec<(&'a str, Value)> {
    let fields = span.fields.iter();
    fields
        .map(|(_, f)| (name_of(recording, span.site, f.index), f.value.clone()))
        .collect()
}

fn name_of(recording: &Recording, site: u64, index: u8) -> &str {
    let site = recording.sites.get(&site);
    site.and_then(|site| site.fields.get(usize::from(index)))
        .map_or("?", String::as_str)
}

/// Whether nothing is told that was not said.
fn is_true((level, fields, spans): &Told<'_>, said: &Said) -> bool {
    let mut said_spans = said.spans.iter();
    let true_spans = spans.iter().all(|(name, fields)| {
        said_spans.any(|said| *name == said.0 && fields.iter().all(|field| said.1.contains(field)))
    });
    *level == said.level && same_fields(fields, &said.fields) && true_spans
}

/// Whether the spans of what is true are all there, with all their fields.
fn is_whole((_, _, spans): &Told<'_>, said: &Said) -> bool {
    let mut pairs = spans.iter().zip(&said.spans);
    spans.len() == said.spans.len() && pairs.all(|(told, said)| same_fields(&told.1, &said.1))
}

fn same_fields(fields: &Named<'_>, said: &[(&str, Value)]) -> bool {
    fields.len() == said.len()
        && fields
            .iter()
            .zip(said)
            .all(|((name, value), (said_name, said_value))| {
                name == said_name && value == said_value
            })
}

/// Checks what the reader says of the process's end.
///
/// # Errors
/// If it says anything else.
pub fn verdict(opened: &ttlog_reader::Opened, expected: &str) -> Result<(), Violation> {
    let verdict = &opened.verdict;
    hold!(
        verdict.kind.to_string() == expected,
        "not {expected}: {verdict:?}"
    );
    Ok(())
}
