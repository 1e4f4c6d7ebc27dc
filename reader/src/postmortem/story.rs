//! What a postmortem tells, before it is told.

use std::cmp::Reverse;

use ttlog_format::salvage::{Entry, Recording, Span, Thread};
use ttlog_format::site::Level;
use ttlog_format::span::SpanId;
use ttlog_format::verdict::Kind;

use super::idle::{self, IdleSpan};
use super::incidents::{self, Struck};
use super::unwound::{self, AtPanic};
use crate::input::Opened;

/// The whole of it.
pub(super) struct Story<'a> {
    pub(super) opened: &'a Opened,
    /// Whether the process goes on while this is told.
    pub(super) lives: bool,
    /// When it is told.
    pub(super) now_ns: u64,
    /// Ages count back from here: the recording's end, and now for a process that lives.
    pub(super) until_ns: u64,
    /// Whoever brought the end, then the living, the last to speak first, then the dead.
    pub(super) threads: Vec<OfThread<'a>>,
    /// Open spans that no thread is in, oldest first.
    pub(super) idle: Vec<IdleSpan<'a>>,
    /// Incidents, and causes that are some, oldest first.
    pub(super) incidents: Vec<Struck<'a>>,
    /// Where what was open at the panic is to be found.
    pub(super) at_panic: Option<AtPanic>,
}

/// A thread, where it was and what it said.
pub(super) struct OfThread<'a> {
    pub(super) thread: &'a Thread,
    /// The open spans that it was in, outermost first; `None` where nothing is left of one.
    pub(super) spans: Vec<(SpanId, Option<&'a Span>)>,
    /// Its newest events, oldest first.
    pub(super) last: Vec<&'a Entry>,
    /// Where none of these is more than DEBUG: the newest event that is.
    pub(super) before_that: Option<&'a Entry>,
    /// Whether it is the verdict's.
    pub(super) brought_the_end: bool,
    /// Whether it was in a span, or spoke in the window before the end.
    pub(super) had_work: bool,
}

impl<'a> Story<'a> {
    /// The story of a recording as of `now_ns`, with the last `most` events of each thread.
    pub(super) fn new(opened: &'a Opened, most: usize, now_ns: u64) -> Story<'a> {
        let recording = &opened.recording;
        // A snapshot tells of the moment at which it was made, whoever lives since.
        let lives = opened.verdict.kind == Kind::Alive && opened.made.is_none();
        let until_ns = match lives {
            true => now_ns.max(recording.end_ns),
            false => recording.end_ns,
        };
        Story {
            opened,
            lives,
            now_ns,
            until_ns,
            threads: threads(opened, most),
            idle: idle::spans(recording),
            incidents: incidents::of(recording),
            at_panic: unwound::snapshot(opened),
        }
    }

    /// How long ago something was.
    pub(super) fn age_ns(&self, wall_ns: u64) -> u64 {
        self.until_ns.saturating_sub(wall_ns)
    }

    /// How long ago a span was opened, if that is known.
    pub(super) fn opened_ago_ns(&self, span: &Span) -> Option<u64> {
        (span.opened_ns != 0).then(|| self.age_ns(span.opened_ns))
    }

    /// How long ago a span was last entered, if it was.
    pub(super) fn entered_ago_ns(&self, span: &Span) -> Option<u64> {
        span.entered_ns.map(|entered_ns| self.age_ns(entered_ns))
    }
}

fn threads(opened: &Opened, most: usize) -> Vec<OfThread<'_>> {
    let recording = &opened.recording;
    let culprit = opened.verdict.thread.as_ref().map(|who| who.id);
    let window_ns = recording.end_ns.saturating_sub(recording.header.window_ns);
    let last = last_events(recording, most);
    let mut before_that = newest_of_note(recording, &last).into_iter();
    let mut last = last.into_iter();
    let mut threads: Vec<OfThread<'_>> = recording
        .threads
        .iter()
        .map(|thread| {
            let spans = stack(recording, thread);
            let spoke = thread.covered_ns.is_some_and(|(_, last)| last >= window_ns);
            OfThread {
                thread,
                had_work: !spans.is_empty() || spoke,
                spans,
                before_that: before_that.next().flatten(),
                last: last.next().unwrap_or_default(),
                brought_the_end: culprit == Some(thread.id),
            }
        })
        .collect();
    threads.sort_by_key(|of| {
        let newest = of.thread.covered_ns.map(|(_, last)| last);
        let culprit = of.brought_the_end;
        Reverse((culprit, !of.thread.ended, of.had_work, newest))
    });
    threads
}

/// The newest `most` events of each thread, oldest first.
fn last_events(recording: &Recording, most: usize) -> Vec<Vec<&Entry>> {
    let mut last = vec![Vec::new(); recording.threads.len()];
    let events = recording
        .entries
        .iter()
        .filter(|entry| entry.what.is_event());
    for entry in events.rev() {
        if let Some(own) = last.get_mut(entry.thread as usize)
            && own.len() < most
        {
            own.push(entry);
        }
    }
    for own in &mut last {
        own.reverse();
    }
    last
}

/// Of each thread that said nothing but DEBUG and TRACE last, the newest event that
/// is neither: what it was about may be lost among them.
fn newest_of_note<'a>(recording: &'a Recording, last: &[Vec<&Entry>]) -> Vec<Option<&'a Entry>> {
    let is_of_note = |entry: &Entry| {
        recording
            .level(entry)
            .is_none_or(|level| level <= Level::Info)
    };
    let mut open: Vec<bool> = last
        .iter()
        .map(|own| !own.is_empty() && !own.iter().any(|entry| is_of_note(entry)))
        .collect();
    let mut newest = vec![None; last.len()];
    let events = recording
        .entries
        .iter()
        .filter(|entry| entry.what.is_event());
    for entry in events.rev().filter(|entry| is_of_note(entry)) {
        let thread = entry.thread as usize;
        if open.get(thread) == Some(&true) {
            open[thread] = false;
            newest[thread] = Some(entry);
        }
    }
    newest
}

/// The open spans that a thread is in.
///
/// Where leaving a span could not be recorded, the thread seems to be in it still:
/// one that has a slot, and is not in it, is closed. That is not known where slots
/// are damaged or missing.
fn stack<'a>(recording: &'a Recording, thread: &Thread) -> Vec<(SpanId, Option<&'a Span>)> {
    let ledger = &recording.ledger;
    let whole = ledger.damaged_spans == 0 && ledger.missing_bytes == 0;
    let found = thread
        .stack
        .iter()
        .map(|id| (*id, recording.spans.get(id).map(|span| &**span)));
    found
        .filter(|(id, span)| !whole || id.slot().is_none() || span.is_none_or(|span| span.open))
        .collect()
}
