//! How long spans lasted, by their names and call sites, while they are told.
//!
//! In memory are eight bytes of each span that was closed, which takes more than that in
//! the file, what is open at the moment that is told, the few closed ones that lasted
//! longest, and of those that are open at the end as many as are to be shown.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use ttlog_format::salvage::{Entry, Recording, Span, What};
use ttlog_format::site::{CallSite, Level};
use ttlog_format::span::SpanId;

/// Of how many spans around one the names are told.
const PARENTS_MAX: usize = 64;

/// Spans of one name, opened at one place.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) place: Place,
    /// How long those that were closed had been open.
    pub(super) closed_ns: Vec<u64>,
    /// Closed ones of which it is not known when they were opened.
    pub(super) unknown: u64,
    /// Opened ones that are not open any more, of which it is not known since when.
    pub(super) lost: u64,
    /// How long those that were open at the end had been that.
    pub(super) open_ns: Vec<u64>,
    /// Open ones of which it is not known when they were opened.
    pub(super) open_unknown: u64,
    /// For how long somebody was in them.
    pub(super) busy: Busy,
}

/// Where spans are opened: the same line of code, however often it was compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// `None` where the call site is lost, or all that told of the span.
    pub(super) name: Option<String>,
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) target: String,
    pub(super) level: Option<Level>,
}

impl Place {
    fn new(site: &CallSite) -> Place {
        Place {
            name: Some(site.name.clone()),
            file: site.file.clone(),
            line: site.line,
            target: site.target.clone(),
            level: Some(site.level),
        }
    }
}

/// For how long somebody was in a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Busy {
    pub(super) ns: u64,
    /// False where it is only what is left of it.
    pub(super) is_whole: bool,
}

impl Default for Busy {
    fn default() -> Busy {
        Busy {
            ns: 0,
            is_whole: true,
        }
    }
}

impl Busy {
    fn plus(self, other: Busy) -> Busy {
        Busy {
            ns: self.ns.saturating_add(other.ns),
            is_whole: self.is_whole && other.is_whole,
        }
    }
}

/// What has been told of a span that is not closed yet.
#[derive(Clone, Copy, Debug)]
struct Begun {
    thread: u32,
    /// How many times it is entered, and since when.
    entered: u32,
    since_ns: u64,
    busy: Busy,
}

impl Begun {
    /// By this thread; whole if its opening was told.
    fn by(thread: u32, is_whole: bool) -> Begun {
        Begun {
            thread,
            entered: 0,
            since_ns: 0,
            busy: Busy { ns: 0, is_whole },
        }
    }

    fn enter(&mut self, wall_ns: u64) {
        if self.entered == 0 {
            self.since_ns = wall_ns;
        }
        self.entered = self.entered.saturating_add(1);
    }

    fn leave(&mut self, wall_ns: u64) {
        match self.entered {
            0 => self.busy.is_whole = false,
            1 => {
                let ns = wall_ns.saturating_sub(self.since_ns);
                self.busy.ns = self.busy.ns.saturating_add(ns);
            }
            _ => {}
        }
        self.entered = self.entered.saturating_sub(1);
    }

    /// For how long somebody was in it by then.
    fn busy_by(mut self, wall_ns: u64) -> Busy {
        if self.entered > 0 {
            self.entered = 1;
            self.leave(wall_ns);
        }
        self.busy
    }
}

/// A span that lasted long.
#[derive(Clone, Debug)]
pub(super) struct Long {
    /// 0 if it is not known when it was opened.
    lasted_ns: u64,
    /// Of open ones, the level: what an application opened lasts less long than what its
    /// runtime did, and is asked for first.
    level: Option<Level>,
    /// How many were counted before it: of equal ones the first stays.
    order: u64,
    pub(super) span: Arc<Span>,
    /// Call sites of the spans around it, innermost first, 0 where that is not known;
    /// of an open one `None`, as they can be found as long as it can.
    parents: Option<Vec<u64>>,
    /// Index of a thread: that closed it, is in it, or opened it.
    pub(super) thread: Option<u32>,
    pub(super) busy: Busy,
}

impl Long {
    fn rank(&self) -> (Rank, Reverse<u64>) {
        (rank(self.level, self.lasted_ns), Reverse(self.order))
    }
}

/// What comes first has the highest: the most severe level, one that is not known last.
type Rank = (Option<Reverse<Level>>, u64);

fn rank(level: Option<Level>, lasted_ns: u64) -> Rank {
    (level.map(Reverse), lasted_ns)
}

impl Long {
    /// How long it lasted, if that is known.
    pub(super) fn lasted_ns(&self) -> Option<u64> {
        (self.span.opened_ns > 0).then_some(self.lasted_ns)
    }

    /// Names of the spans around it, innermost first; `None` where one is not known.
    pub(super) fn parents<'r>(
        &self,
        recording: &'r Recording,
    ) -> impl DoubleEndedIterator<Item = Option<&'r str>> {
        let sites = self.parents.clone();
        let sites = sites.unwrap_or_else(|| parents(recording, &self.span));
        let sites = sites.into_iter().map(|site| recording.sites.get(&site));
        sites.map(|site| site.map(|site| site.name.as_str()))
    }
}

impl PartialEq for Long {
    fn eq(&self, other: &Long) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Long {}

impl PartialOrd for Long {
    fn partial_cmp(&self, other: &Long) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Long {
    fn cmp(&self, other: &Long) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// The spans that lasted longest, the longest first.
#[derive(Debug)]
pub(super) struct Longest {
    pub(super) spans: Vec<Long>,
    /// How many more there are.
    pub(super) more: u64,
}

/// The spans that lasted longest so far, and no more than were asked for.
#[derive(Debug, Default)]
struct Longer {
    most: usize,
    seen: u64,
    kept: BinaryHeap<Reverse<Long>>,
}

impl Longer {
    fn at_most(most: usize) -> Longer {
        Longer {
            most,
            ..Longer::default()
        }
    }

    /// Keeps what `long` makes, if it is among the longest so far.
    fn offer(&mut self, rank: Rank, long: impl FnOnce(u64) -> Long) {
        self.seen += 1;
        let is_full = self.kept.len() >= self.most;
        let last = self.kept.peek().map(|Reverse(long)| long.rank().0);
        if is_full && last.is_none_or(|last| last >= rank) {
            return;
        }
        if is_full {
            self.kept.pop();
        }
        self.kept.push(Reverse(long(self.seen)));
    }

    fn into_longest(self) -> Longest {
        let kept = self.kept.into_sorted_vec().into_iter();
        let spans: Vec<Long> = kept.map(|Reverse(long)| long).collect();
        Longest {
            more: self.seen.saturating_sub(spans.len() as u64),
            spans,
        }
    }
}

/// What is known of spans so far.
#[derive(Debug)]
pub(super) struct Account {
    groups: Vec<Group>,
    by_place: HashMap<Place, usize>,
    by_address: HashMap<u64, usize>,
    begun: HashMap<SpanId, Begun>,
    /// Closed ones that the span table held when it was read.
    closed_since: HashSet<SpanId>,
    longest: Longer,
    longest_open: Longer,
    /// How many spans there were, whether they pass or not.
    spans: u64,
}

/// What is known of the spans of a recording.
#[derive(Debug)]
pub(super) struct Found {
    /// By their places.
    pub(super) groups: Vec<Group>,
    /// Closed ones.
    pub(super) closed: Longest,
    /// Those that were open at the end, by their levels.
    pub(super) open: Longest,
    /// How many spans there are, whether they pass or not.
    pub(super) spans: u64,
}

impl Account {
    /// Nothing yet, to keep so many of those that lasted longest: of closed and of open ones.
    pub(super) fn keeping(closed: usize, open: usize) -> Account {
        Account {
            groups: Vec::new(),
            by_place: HashMap::new(),
            by_address: HashMap::new(),
            begun: HashMap::new(),
            closed_since: HashSet::new(),
            longest: Longer::at_most(closed),
            longest_open: Longer::at_most(open),
            spans: 0,
        }
    }

    /// Takes in an entry; a span counts if its closing passes.
    pub(super) fn add(
        &mut self,
        recording: &Recording,
        entry: &Entry,
        passes: impl FnOnce(&Recording, &Entry) -> bool,
    ) {
        let Some(id) = entry.span else {
            return;
        };
        match entry.what {
            What::Open => {
                self.begun(id, entry.thread, true);
            }
            What::Enter => self.begun(id, entry.thread, false).enter(entry.wall_ns),
            What::Exit => self.begun(id, entry.thread, false).leave(entry.wall_ns),
            What::Close => self.close(id, recording, entry, passes),
            What::Event | What::Values | What::Follows(_) => {}
        }
    }

    /// What has been told of a span, from this on if it is the first.
    fn begun(&mut self, id: SpanId, thread: u32, is_whole: bool) -> &mut Begun {
        let begun = Begun::by(thread, is_whole);
        self.begun.entry(id).or_insert(begun)
    }

    fn close(
        &mut self,
        id: SpanId,
        recording: &Recording,
        entry: &Entry,
        passes: impl FnOnce(&Recording, &Entry) -> bool,
    ) {
        let begun = self.begun.remove(&id);
        let span = recording.spans.get(&id);
        if span.is_some_and(|span| span.open) {
            self.closed_since.insert(id);
        }
        self.spans += 1;
        if !passes(recording, entry) {
            return;
        }
        let begun = begun.unwrap_or(Begun::by(entry.thread, false));
        let busy = begun.busy_by(entry.wall_ns);
        let group = self.group(recording, span.map_or(0, |span| span.site));
        group.busy = group.busy.plus(busy);
        let Some(span) = span.filter(|span| span.opened_ns > 0) else {
            group.unknown += 1;
            return;
        };
        let lasted_ns = entry.wall_ns.saturating_sub(span.opened_ns);
        group.closed_ns.push(lasted_ns);
        self.longest.offer(rank(None, lasted_ns), |order| Long {
            lasted_ns,
            level: None,
            order,
            span: Arc::clone(span),
            parents: Some(parents(recording, span)),
            thread: Some(entry.thread),
            busy,
        });
    }

    /// What has become of all of them, now that all is told.
    pub(super) fn settle(
        mut self,
        recording: &Recording,
        passes: impl Fn(&Recording, &Entry) -> bool,
    ) -> Found {
        let begun = std::mem::take(&mut self.begun);
        let in_table = recording
            .spans
            .iter()
            .filter(|&(id, span)| span.open && !self.closed_since.contains(id));
        let mut open: Vec<SpanId> = in_table.map(|(&id, _)| id).collect();
        let is_open = |id: &SpanId| recording.spans.get(id).is_some_and(|span| span.open);
        // Of one without a slot only its close would have told.
        open.extend(
            begun
                .keys()
                .filter(|id| id.slot().is_none() && !is_open(id)),
        );
        open.sort_unstable();
        let inside = who_is_inside(recording);
        for id in open {
            let begun = begun.get(&id).copied();
            let thread = inside.get(&id).copied().or(begun.map(|begun| begun.thread));
            self.leave_open(id, begun, thread, recording, &passes);
        }
        let mut lost: Vec<_> = begun.into_iter().collect();
        lost.retain(|(id, begun)| id.slot().is_some() && begun.busy.is_whole && !is_open(id));
        for (id, begun) in lost {
            let span = recording.spans.get(&id);
            let site = span.map_or(0, |span| span.site);
            self.spans += 1;
            if passes(
                recording,
                &at_the_end(recording, id, site, Some(begun.thread)),
            ) {
                let group = self.group(recording, site);
                group.lost += 1;
                let is_whole = false;
                let ns = begun.busy.ns;
                group.busy = group.busy.plus(Busy { ns, is_whole });
            }
        }
        self.groups.sort_by(|a, b| a.place.cmp(&b.place));
        Found {
            groups: self.groups,
            closed: self.longest.into_longest(),
            open: self.longest_open.into_longest(),
            spans: self.spans,
        }
    }

    fn leave_open(
        &mut self,
        id: SpanId,
        begun: Option<Begun>,
        thread: Option<u32>,
        recording: &Recording,
        passes: impl Fn(&Recording, &Entry) -> bool,
    ) {
        let known = recording.spans.get(&id).cloned();
        let span = known.unwrap_or_else(|| {
            let id = Some(id);
            Arc::new(Span {
                id,
                ..Span::default()
            })
        });
        self.spans += 1;
        if !passes(recording, &at_the_end(recording, id, span.site, thread)) {
            return;
        }
        // One that was entered, or left, by something that is overwritten.
        let is_untouched = span.entered_ns.is_none();
        let unseen = Busy {
            ns: 0,
            is_whole: is_untouched,
        };
        let busy = begun.map_or(unseen, |begun| begun.busy_by(recording.end_ns));
        let group = self.group(recording, span.site);
        group.busy = group.busy.plus(busy);
        let lasted_ns = match span.opened_ns {
            0 => 0,
            opened_ns => recording.end_ns.saturating_sub(opened_ns),
        };
        match span.opened_ns {
            0 => group.open_unknown += 1,
            _ => group.open_ns.push(lasted_ns),
        }
        let level = group.place.level;
        self.longest_open
            .offer(rank(level, lasted_ns), |order| Long {
                lasted_ns,
                level,
                order,
                parents: None,
                span,
                thread,
                busy,
            });
    }

    /// The spans that were opened at a call site.
    fn group(&mut self, recording: &Recording, address: u64) -> &mut Group {
        let at = match (self.by_address.get(&address), recording.sites.get(&address)) {
            (Some(&at), _) => at,
            (None, site) => {
                let place = site.map(|site| Place::new(site)).unwrap_or_default();
                let groups = self.groups.len();
                let at = *self.by_place.entry(place.clone()).or_insert(groups);
                if at == groups {
                    self.groups.push(Group {
                        place,
                        ..Group::default()
                    });
                }
                if site.is_some() {
                    self.by_address.insert(address, at);
                }
                at
            }
        };
        &mut self.groups[at]
    }
}

/// What would pass of a span that is open: its closing at the end, by this thread.
fn at_the_end(recording: &Recording, id: SpanId, site: u64, thread: Option<u32>) -> Entry {
    Entry {
        what: What::Close,
        wall_ns: recording.end_ns,
        thread: thread.unwrap_or(u32::MAX),
        site,
        span: Some(id),
        ..Entry::default()
    }
}

/// Which thread was in which spans at the end.
fn who_is_inside(recording: &Recording) -> HashMap<SpanId, u32> {
    let threads = (0..).zip(&recording.threads);
    let inside = threads.flat_map(|(index, thread)| {
        let stack = thread.stack.iter();
        stack.map(move |&id| (id, index))
    });
    inside.collect()
}

/// The call sites of the spans around one, innermost first.
fn parents(recording: &Recording, span: &Span) -> Vec<u64> {
    let mut sites = Vec::new();
    let mut next = span.parent;
    while let (Some(id), true) = (next, sites.len() < PARENTS_MAX) {
        let parent = recording.spans.get(&id);
        sites.push(parent.map_or(0, |parent| parent.site));
        next = parent.and_then(|parent| parent.parent);
    }
    sites
}
