//! What a viewer of traces draws of a recording: which spans each thread was in, which were
//! open, and what was said.
//!
//! A stretch is the time from when a thread enters a span to when it leaves it, and a span
//! is open from its opening to its closing, whoever is in it. The law, whatever was
//! recorded: what begins ends, and not before; the stretches of a thread lie in each other;
//! and what is behind something in time is drawn after it, save a span that turns out to
//! have been open before. Where the wall clock was set back, time stands still until it has
//! come to where it was.
//!
//! What began before the window begins with it. That a thread had entered a span is known
//! from its leaving it, too, and then its place below what was left before; so all is told
//! once before anything is drawn.
//!
//! A span that is left before those that were entered after it ends there; these end, too,
//! and begin again. Where more than [`SPLIT_MAX`] would, it ends with the last of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use ttlog_format::salvage::{ENTRIES_AROUND, Entry, Recording, Thread, What};
use ttlog_format::span::SpanId;
use ttlog_format::verdict::Kind;

use super::format::{Format, Place, Wanted};
use crate::error::Error;
use crate::reading::Reading;

/// How many stretches are ended and begun again for one around them.
const SPLIT_MAX: usize = 64;

/// How far from the innermost span the one that is left is looked for, as in salvage.
const DEPTH_MAX: usize = 1024;

/// Of how many spans it is known that they were closed.
const CLOSED_KEPT: usize = 2 * ENTRIES_AROUND;

/// How something begins that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// There and then.
    Then,
    /// It was there when the window began.
    Before,
    /// It goes on, after a stretch around it has ended.
    Again,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There and then.
    Then,
    /// It was there when the process died.
    AtDeath,
    /// It was there when the process was last looked at, which had not died.
    StillThere,
    /// It goes on, behind what is drawn or after a stretch around it has ended.
    GoesOn,
    /// It is not known when.
    Lost,
}

impl Begin {
    /// What is said of it, where that is something.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Begin::Then => None,
            Begin::Before => Some("began_before"),
            Begin::Again => Some("continued"),
        }
    }
}

impl End {
    /// What is said of it, where that is something.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            End::Then => None,
            End::AtDeath => Some("open_at_death"),
            End::StillThere => Some("still_open"),
            End::GoesOn => Some("goes_on"),
            End::Lost => Some("end_lost"),
        }
    }
}

/// A moment that is drawn, and what is known then.
#[derive(Clone, Copy)]
pub(super) struct Moment<'r> {
    pub(super) recording: &'r Recording,
    /// Nanoseconds since 1970, fewer than 2^63.
    pub(super) at_ns: u64,
}

/// Draws.
pub(super) trait Drawing {
    /// What comes first.
    ///
    /// # Errors
    /// It cannot be written, as everywhere here.
    fn begin(&mut self, begin: Moment<'_>) -> io::Result<()>;

    /// A thread, by its index, enters a span.
    fn enter(&mut self, at: Moment<'_>, thread: u32, span: SpanId, how: Begin) -> io::Result<()>;

    /// A thread leaves the span that it has entered last.
    fn leave(&mut self, at: Moment<'_>, thread: u32, span: SpanId, how: End) -> io::Result<()>;

    /// A span opens, by a thread if that is known.
    fn open(
        &mut self,
        at: Moment<'_>,
        thread: Option<u32>,
        span: SpanId,
        how: Begin,
    ) -> io::Result<()>;

    /// An open span closes.
    fn close(
        &mut self,
        at: Moment<'_>,
        thread: Option<u32>,
        span: SpanId,
        how: End,
    ) -> io::Result<()>;

    /// Something is said.
    fn event(&mut self, at: Moment<'_>, event: &Entry) -> io::Result<()>;

    /// What comes last.
    fn end(&mut self, end: Moment<'_>) -> io::Result<()>;
}

/// What is known only when all has been told.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// The spans that each thread was in before the first that is told of it, outermost
    /// first.
    before: Vec<Vec<SpanId>>,
    /// When that is.
    first_ns: u64,
    /// What has become of what is there at the end.
    end: End,
}

impl Survey {
    /// Has all of a recording told.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn of(reading: &mut Reading<'_>) -> Result<Survey, Error> {
        let mut threads: Vec<Surveyed> = Vec::new();
        let mut first_ns = None;
        while reading.tell()? {
            let entry = reading.entries.told();
            first_ns = first_ns.or(Some(entry.wall_ns));
            let known = reading.entries.recording().threads.len();
            threads.resize_with(known.max(threads.len()), Surveyed::default);
            if let Some(thread) = threads.get_mut(entry.thread as usize) {
                thread.take_in(entry);
            }
        }
        let recording = reading.entries.recording();
        threads.resize_with(recording.threads.len(), Surveyed::default);
        let threads = threads.into_iter().zip(&recording.threads);
        Ok(Survey {
            first_ns: first_ns.unwrap_or(recording.end_ns),
            before: threads
                .map(|(surveyed, thread)| surveyed.before(thread))
                .collect(),
            end: match reading.verdict().kind {
                Kind::Alive => End::StillThere,
                _ => End::AtDeath,
            },
        })
    }
}

/// A thread that is being surveyed.
#[derive(Default)]
struct Surveyed {
    stack: Vec<SpanId>,
    /// Spans that were left and never entered, innermost first.
    left: Vec<SpanId>,
}

impl Surveyed {
    fn take_in(&mut self, entry: &Entry) {
        let Some(id) = entry.span else {
            return;
        };
        match entry.what {
            What::Enter => self.stack.push(id),
            What::Exit => match last_of(&self.stack, |&other| other == id) {
                Some(at) => drop(self.stack.remove(at)),
                None => self.left.push(id),
            },
            _ => {}
        }
    }

    /// The spans that it was in at first: some it has not left since, around those it has.
    fn before(self, thread: &Thread) -> Vec<SpanId> {
        let entered: HashSet<SpanId> = self.stack.into_iter().collect();
        let stay = thread.stack.iter().filter(|id| !entered.contains(id));
        stay.copied().chain(self.left.into_iter().rev()).collect()
    }
}

/// The last of them, no deeper than spans lie in each other.
fn last_of<T>(stack: &[T], is_it: impl Fn(&T) -> bool) -> Option<usize> {
    let from = stack.len().saturating_sub(DEPTH_MAX);
    stack[from..].iter().rposition(is_it).map(|at| from + at)
}

/// Finds out what is to be drawn, and has it drawn.
pub(super) struct Tracks<'w, D> {
    drawing: D,
    wanted: &'w Wanted,
    end: End,
    threads: Vec<Vec<Stretch>>,
    /// The spans that are open, and whether they are drawn.
    open: HashMap<SpanId, bool>,
    closed: Closed,
    begin_ns: u64,
    now_ns: u64,
    has_begun: bool,
}

/// A span that a thread is in.
#[derive(Clone, Copy)]
struct Stretch {
    span: SpanId,
    is_drawn: bool,
    /// Whether the thread has left it, and too much lies in it to end it there.
    is_left: bool,
}

/// What is asked of an entry that stands for what began before.
fn stand_in(recording: &Recording, what: What, thread: u32, span: SpanId, wall_ns: u64) -> Entry {
    let known = recording.spans.get(&span);
    Entry {
        what,
        wall_ns,
        thread,
        site: known.map_or(0, |span| span.site),
        span: Some(span),
        ..Entry::default()
    }
}

/// A thread of which nothing is known.
const NO_THREAD: u32 = u32::MAX;

impl<'w, D: Drawing> Tracks<'w, D> {
    pub(super) fn new(survey: &Survey, wanted: &'w Wanted, drawing: D) -> Tracks<'w, D> {
        let stretch = |&span: &SpanId| Stretch {
            span,
            is_drawn: false,
            is_left: false,
        };
        let before = survey.before.iter();
        let begin_ns = cut(survey.first_ns.max(wanted.from_ns));
        Tracks {
            drawing,
            wanted,
            end: survey.end,
            threads: before
                .clone()
                .map(|stack| stack.iter().map(stretch).collect())
                .collect(),
            open: before.flatten().map(|&span| (span, false)).collect(),
            closed: Closed::default(),
            begin_ns,
            now_ns: begin_ns,
            has_begun: false,
        }
    }

    fn moment<'r>(&self, recording: &'r Recording) -> Moment<'r> {
        Moment {
            recording,
            at_ns: self.now_ns,
        }
    }

    /// Draws what was there when the window begins.
    fn begin_window(&mut self, recording: &Recording) -> io::Result<()> {
        self.has_begun = true;
        let begin = self.moment(recording);
        self.drawing.begin(begin)?;
        let begin_ns = self.begin_ns;
        let known = recording.spans.iter();
        let known = known.filter(|(_, span)| span.open && span.opened_ns < begin_ns);
        let known: Vec<SpanId> = known.map(|(&id, _)| id).collect();
        for id in known {
            self.open.entry(id).or_insert(false);
        }
        for id in sorted(self.open.keys().copied()) {
            let is_drawn = self.has_opened(recording, None, id, begin_ns, Begin::Before)?;
            self.open.insert(id, is_drawn);
        }
        for thread in 0..self.threads.len() {
            self.begin_stretches(begin, thread)?;
        }
        Ok(())
    }

    fn begin_stretches(&mut self, begin: Moment<'_>, thread: usize) -> io::Result<()> {
        let index = thread as u32;
        for stretch in &mut self.threads[thread] {
            let span = stretch.span;
            let entry = stand_in(begin.recording, What::Enter, index, span, begin.at_ns);
            stretch.is_drawn = self.wanted.filter.passes(begin.recording, &entry);
            if stretch.is_drawn {
                self.drawing.enter(begin, index, span, Begin::Before)?;
            }
        }
        Ok(())
    }

    /// Draws a span that has opened, if it is wanted, and tells whether it is.
    fn has_opened(
        &mut self,
        recording: &Recording,
        thread: Option<u32>,
        id: SpanId,
        at_ns: u64,
        how: Begin,
    ) -> io::Result<bool> {
        let index = thread.unwrap_or(NO_THREAD);
        let entry = stand_in(recording, What::Open, index, id, at_ns);
        let is_drawn = self.has_begun && self.wanted.filter.passes(recording, &entry);
        if is_drawn {
            let at = Moment { recording, at_ns };
            self.drawing.open(at, thread, id, how)?;
        }
        Ok(is_drawn)
    }

    fn tell(
        &mut self,
        recording: &Recording,
        entry: &Entry,
        place: Place,
        is_wanted: bool,
    ) -> io::Result<()> {
        if place == Place::After {
            return Ok(());
        }
        if place == Place::Within && !self.has_begun {
            self.begin_window(recording)?;
        }
        if self.has_begun {
            self.now_ns = self.now_ns.max(cut(entry.wall_ns));
        }
        if let Some(id) = entry.span {
            self.tell_of_span(recording, entry, id, is_wanted)?;
        }
        match is_wanted && entry.what.is_event() {
            true => self.drawing.event(self.moment(recording), entry),
            false => Ok(()),
        }
    }

    fn tell_of_span(
        &mut self,
        recording: &Recording,
        entry: &Entry,
        id: SpanId,
        is_wanted: bool,
    ) -> io::Result<()> {
        match entry.what {
            What::Open => self.opened(recording, entry.thread, id),
            What::Close => self.is_closed(recording, entry.thread, id),
            What::Enter => self.entered(recording, entry.thread, id, is_wanted),
            What::Exit => self.left(recording, entry.thread, id),
            What::Event | What::Values | What::Follows(_) => self.meet(recording, id),
        }
    }

    fn opened(&mut self, recording: &Recording, thread: u32, id: SpanId) -> io::Result<()> {
        if !self.open.contains_key(&id) {
            let now_ns = self.now_ns;
            let is_drawn = self.has_opened(recording, Some(thread), id, now_ns, Begin::Then)?;
            self.open.insert(id, is_drawn);
        }
        Ok(())
    }

    /// A span is spoken of: if it is known, and its opening is lost, it and those around it
    /// were open all the time.
    fn meet(&mut self, recording: &Recording, id: SpanId) -> io::Result<()> {
        let mut met = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next
            && let Some(span) = recording.spans.get(&id)
            && !self.closed.holds(id)
            && !self.open.contains_key(&id)
        {
            self.open.insert(id, false);
            met.push((id, span.opened_ns));
            next = span.parent;
        }
        for (id, opened_ns) in met.into_iter().rev() {
            let how = match opened_ns < self.begin_ns {
                true => Begin::Before,
                false => Begin::Then,
            };
            let at_ns = opened_ns.clamp(self.begin_ns, self.now_ns);
            let is_drawn = self.has_opened(recording, None, id, at_ns, how)?;
            self.open.insert(id, is_drawn);
        }
        Ok(())
    }

    fn is_closed(&mut self, recording: &Recording, thread: u32, id: SpanId) -> io::Result<()> {
        self.meet(recording, id)?;
        self.closed.insert(id);
        match self.open.remove(&id) {
            Some(true) => {
                let at = self.moment(recording);
                self.drawing.close(at, Some(thread), id, End::Then)
            }
            _ => Ok(()),
        }
    }

    fn entered(
        &mut self,
        recording: &Recording,
        thread: u32,
        id: SpanId,
        is_wanted: bool,
    ) -> io::Result<()> {
        self.meet(recording, id)?;
        let at = self.moment(recording);
        let Some(stack) = self.threads.get_mut(thread as usize) else {
            return Ok(());
        };
        stack.push(Stretch {
            span: id,
            is_drawn: is_wanted,
            is_left: false,
        });
        match is_wanted {
            true => self.drawing.enter(at, thread, id, Begin::Then),
            false => Ok(()),
        }
    }

    fn left(&mut self, recording: &Recording, thread: u32, id: SpanId) -> io::Result<()> {
        self.meet(recording, id)?;
        let at = self.moment(recording);
        let Some(stack) = self.threads.get_mut(thread as usize) else {
            return Ok(());
        };
        let is_it = |stretch: &Stretch| stretch.span == id && !stretch.is_left;
        let Some(place) = last_of(stack, is_it) else {
            return Ok(());
        };
        if stack.len() - place - 1 > SPLIT_MAX {
            stack[place].is_left = true;
            return Ok(());
        }
        let inside = stack.split_off(place + 1);
        let Some(ended) = stack.pop() else {
            return Ok(());
        };
        let is_split = ended.is_drawn;
        stack.extend(
            inside
                .iter()
                .filter(|stretch| !is_split || !stretch.is_left),
        );
        if is_split {
            self.split(at, thread, ended.span, &inside)?;
        }
        self.end_left(at, thread)
    }

    /// Ends a stretch and those in it, and begins these again that go on.
    fn split(
        &mut self,
        at: Moment<'_>,
        thread: u32,
        ended: SpanId,
        inside: &[Stretch],
    ) -> io::Result<()> {
        for stretch in inside.iter().rev().filter(|stretch| stretch.is_drawn) {
            let how = match stretch.is_left {
                true => End::Then,
                false => End::GoesOn,
            };
            self.drawing.leave(at, thread, stretch.span, how)?;
        }
        self.drawing.leave(at, thread, ended, End::Then)?;
        let mut stays = inside.iter().filter(|it| it.is_drawn && !it.is_left);
        stays.try_for_each(|it| self.drawing.enter(at, thread, it.span, Begin::Again))
    }

    /// Ends those stretches that were left before, and in which nothing lies any more.
    fn end_left(&mut self, at: Moment<'_>, thread: u32) -> io::Result<()> {
        let Some(stack) = self.threads.get_mut(thread as usize) else {
            return Ok(());
        };
        while let Some(ended) = stack.pop_if(|stretch| stretch.is_left) {
            if ended.is_drawn {
                self.drawing.leave(at, thread, ended.span, End::Then)?;
            }
        }
        Ok(())
    }

    /// How what is there at the end has ended.
    fn end_of(&self, recording: &Recording, is_there: bool) -> End {
        match is_there {
            _ if self.wanted.until_ns < recording.end_ns => End::GoesOn,
            true => self.end,
            false => End::Lost,
        }
    }

    fn end_stretches(&mut self, end: Moment<'_>) -> io::Result<()> {
        for (index, stack) in (0..).zip(std::mem::take(&mut self.threads)) {
            let thread = end.recording.threads.get(index as usize);
            let there: HashSet<SpanId> = thread.map_or_else(HashSet::new, |thread| {
                thread.stack.iter().copied().collect()
            });
            for stretch in stack.into_iter().rev().filter(|stretch| stretch.is_drawn) {
                let how = match stretch.is_left {
                    true => End::Then,
                    false => self.end_of(end.recording, there.contains(&stretch.span)),
                };
                self.drawing.leave(end, index, stretch.span, how)?;
            }
        }
        Ok(())
    }

    fn end_spans(&mut self, end: Moment<'_>) -> io::Result<()> {
        let recording = end.recording;
        let open = recording.spans.iter();
        let open = open.filter(|(_, span)| span.open && span.opened_ns <= self.now_ns);
        for id in sorted(open.map(|(&id, _)| id)) {
            self.meet(recording, id)?;
        }
        for id in sorted(self.open.iter().filter(|it| *it.1).map(|(&id, _)| id)) {
            let span = recording.spans.get(&id);
            let how = self.end_of(recording, span.is_some_and(|span| span.open));
            self.drawing.close(end, None, id, how)?;
        }
        Ok(())
    }
}

impl<D: Drawing> Format for Tracks<'_, D> {
    fn begin(&mut self, _: &Recording) -> io::Result<()> {
        Ok(())
    }

    fn entry(&mut self, recording: &Recording, entry: &Entry) -> io::Result<()> {
        self.tell(recording, entry, Place::Within, true)
    }

    fn passed_over(
        &mut self,
        recording: &Recording,
        entry: &Entry,
        place: Place,
    ) -> io::Result<()> {
        self.tell(recording, entry, place, false)
    }

    fn end(&mut self, recording: &Recording) -> io::Result<()> {
        if !self.has_begun {
            self.begin_window(recording)?;
        }
        let end_ns = recording.end_ns.min(self.wanted.until_ns);
        self.now_ns = self.now_ns.max(cut(end_ns));
        let end = self.moment(recording);
        self.end_stretches(end)?;
        self.end_spans(end)?;
        self.drawing.end(end)
    }
}

/// A moment that fits the signed numbers of those who read traces.
fn cut(wall_ns: u64) -> u64 {
    wall_ns.min(i64::MAX as u64)
}

fn sorted(ids: impl Iterator<Item = SpanId>) -> Vec<SpanId> {
    let mut ids: Vec<SpanId> = ids.collect();
    ids.sort_unstable();
    ids
}

/// Spans that were closed last, of which something may still be told: two threads' clocks
/// are read back a little apart.
#[derive(Default)]
struct Closed {
    ids: HashSet<SpanId>,
    order: VecDeque<SpanId>,
}

impl Closed {
    fn holds(&self, id: SpanId) -> bool {
        self.ids.contains(&id)
    }

    fn insert(&mut self, id: SpanId) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > CLOSED_KEPT
            && let Some(id) = self.order.pop_front()
        {
            self.ids.remove(&id);
        }
    }
}

/// The numbers by which the threads of a recording are told apart: their ids, and where
/// another had that before, one that is nobody's.
pub(super) fn numbers(threads: &[Thread]) -> Vec<u64> {
    let mut known = HashSet::new();
    let number = |(index, thread): (u64, &Thread)| match known.insert(thread.id) {
        true => thread.id.into(),
        false => nobodys(index),
    };
    (0..).zip(threads).map(number).collect()
}

/// A number that no thread has.
pub(super) fn nobodys(index: u64) -> u64 {
    (1 << 32) + index
}
