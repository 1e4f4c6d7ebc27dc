//! Tallies as rows of tables, in an order.

use std::cmp::Ordering;

use clap::ValueEnum;
use ttlog_format::salvage::{Recording, Thread};
use ttlog_format::site::Level;

use super::tally::{Around, At, Place, Tallies, Tally};

/// By what it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// The lines of code that events and spans come from
    CallSite,
    /// How severe they are
    Level,
    /// Their targets: modules, unless the program says otherwise
    Target,
    /// Who recorded them
    Thread,
    /// The innermost spans that they are in, or are about
    Span,
}

/// All of them, in the order of what is asked first.
pub(super) const ALL: [By; 5] = [By::CallSite, By::Level, By::Target, By::Thread, By::Span];

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// What takes most of the ring
    #[default]
    Bytes,
    /// What there is most of
    Events,
    /// What there is most of in the time that is complete
    Rate,
    /// Names, from A on; levels by their severity
    Name,
}

/// What a row is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of<'t> {
    Place(&'t At),
    /// `None`: of a call site that is lost.
    Level(Option<Level>),
    Target(Option<&'t str>),
    /// `None`: one that the recording does not know.
    Thread(Option<&'t Thread>),
    Span(&'t Place),
    UnknownSpan,
    NoSpan,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'t> {
    pub(super) of: Of<'t>,
    pub(super) tally: Tally,
    /// Of a span: records about it, and events directly in it.
    pub(super) apart: [Tally; 2],
}

impl Row<'_> {
    /// By what it is found among the others: a name, and what tells it from its like.
    fn name(&self) -> (&str, u64, &str) {
        match self.of {
            Of::Place(at) => of_place(&at.place),
            Of::Level(level) => ("", level.map_or(u64::MAX, |level| level as u64), ""),
            Of::Target(target) => (target.unwrap_or(LAST), 0, ""),
            Of::Thread(None) => (LAST, 0, ""),
            Of::Thread(Some(thread)) => (&thread.name, thread.id.into(), ""),
            Of::Span(place) => (
                place.span.as_deref().unwrap_or(LAST),
                place.line,
                &place.file,
            ),
            Of::UnknownSpan => (LAST, 0, ""),
            Of::NoSpan => (LAST, 1, ""),
        }
    }
}

/// What stands behind all names.
const LAST: &str = "\u{10ffff}";

fn of_place(place: &Place) -> (&str, u64, &str) {
    match place.file.is_empty() {
        true => (LAST, place.address, &place.target),
        false => (&place.file, place.line, &place.target),
    }
}

/// The rows of a table, in their order; equal ones by their names.
pub(super) fn rows<'t>(
    tallies: &'t Tallies,
    recording: &'t Recording,
    by: By,
    sort: Sort,
) -> Vec<Row<'t>> {
    let mut rows = unordered(tallies, recording, by);
    rows.sort_by(|a, b| {
        let order = match sort {
            Sort::Bytes => b.tally.all.bytes.cmp(&a.tally.all.bytes),
            Sort::Events => b.tally.all.records().cmp(&a.tally.all.records()),
            Sort::Rate => b.tally.complete.records().cmp(&a.tally.complete.records()),
            Sort::Name => Ordering::Equal,
        };
        order.then_with(|| a.name().cmp(&b.name()))
    });
    rows
}

fn unordered<'t>(tallies: &'t Tallies, recording: &'t Recording, by: By) -> Vec<Row<'t>> {
    let row = |(of, tally)| Row {
        of,
        tally,
        apart: [Tally::default(); 2],
    };
    match by {
        By::CallSite => {
            let there = tallies.places.iter();
            let there = there.filter(|at| at.tally != Tally::default());
            let mut places: Vec<&At> = there.collect();
            places.sort_by(|a, b| a.place.cmp(&b.place));
            let rows = places.into_iter().map(|at| row((Of::Place(at), at.tally)));
            rows.collect()
        }
        By::Level => {
            let levels = tallies.by(|place| place.level).into_iter();
            levels
                .map(|(of, tally)| row((Of::Level(of), tally)))
                .collect()
        }
        By::Target => {
            let known = |place: &'t Place| place.level.map(|_| place.target.as_str());
            let targets = tallies.by(known).into_iter();
            targets
                .map(|(of, tally)| row((Of::Target(of), tally)))
                .collect()
        }
        By::Thread => {
            let mut threads: Vec<_> = tallies.threads.iter().collect();
            threads.sort_by_key(|&(&index, _)| index);
            let thread = |&index: &u32| recording.threads.get(index as usize);
            let threads = threads.into_iter();
            threads
                .map(|(index, &tally)| row((Of::Thread(thread(index)), tally)))
                .collect()
        }
        By::Span => {
            let mut spans: Vec<_> = tallies.spans.iter().collect();
            spans.sort_by_key(|&(&around, _)| around);
            spans
                .into_iter()
                .map(|(&around, &apart)| Row {
                    of: of_span(tallies, around),
                    tally: apart[0].plus(apart[1]),
                    apart,
                })
                .collect()
        }
    }
}

fn of_span(tallies: &Tallies, around: Around) -> Of<'_> {
    match around {
        Around::None => Of::NoSpan,
        Around::Unknown => Of::UnknownSpan,
        Around::Span(at) => {
            let at = tallies.places.get(at);
            at.map_or(Of::UnknownSpan, |at| Of::Span(&at.place))
        }
    }
}
