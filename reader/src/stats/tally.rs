//! What takes how much: counted by call site, thread and span while it is told.
//!
//! Levels and targets are those of call sites, and are added up from them. In memory is
//! a row for each place that something was said at, and not for each event.

use std::collections::HashMap;

use ttlog_format::salvage::{Entry, Recording, Room, What};
use ttlog_format::site::{CallSite, Level};
use ttlog_format::span::SpanId;

use crate::shown::name_of;

/// Characters that are kept of what an event says.
const WORDS_MAX: usize = 120;

/// Places that are told apart where each event may bring its own: those of `log`, and
/// call sites that are lost. It is more than a program has, and a bound on memory.
const PLACES_MAX: usize = 1 << 14;

/// A thread that the recording does not know.
const NOBODY: u32 = u32::MAX;

/// So many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Amount {
    /// Events.
    pub(super) events: u64,
    /// Openings, enters and so on of spans.
    pub(super) span_records: u64,
    /// What all of them take of the ring.
    pub(super) bytes: u64,
}

impl Amount {
    fn plus(self, other: Amount) -> Amount {
        Amount {
            events: self.events + other.events,
            span_records: self.span_records + other.span_records,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Events and records of spans.
    pub(super) fn records(&self) -> u64 {
        self.events + self.span_records
    }
}

/// What there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// All that is readable.
    pub(super) all: Amount,
    /// What of it lies in the time that is complete.
    pub(super) complete: Amount,
}

impl Tally {
    fn add(&mut self, piece: &Piece) {
        self.all = self.all.plus(piece.amount);
        if piece.is_complete {
            self.complete = self.complete.plus(piece.amount);
        }
    }

    /// Both together.
    pub(super) fn plus(self, other: Tally) -> Tally {
        Tally {
            all: self.all.plus(other.all),
            complete: self.complete.plus(other.complete),
        }
    }
}

/// What is counted of an entry.
struct Piece {
    amount: Amount,
    is_complete: bool,
}

/// Where something is said: the same line of code, however often it was compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) target: String,
    pub(super) file: String,
    pub(super) line: u64,
    /// None where the call site is lost.
    pub(super) level: Option<Level>,
    /// The name of a span.
    pub(super) span: Option<String>,
    /// The address, where nothing else is known.
    pub(super) address: u64,
}

impl Place {
    fn new(site: &CallSite) -> Place {
        Place {
            target: site.target.clone(),
            file: site.file.clone(),
            line: site.line.into(),
            level: Some(site.level),
            span: site.is_span.then(|| site.name.clone()),
            address: 0,
        }
    }

    /// That of a record of `log`, which brings its own.
    fn of_log(site: &CallSite, entry: &Entry) -> Place {
        let mut place = Place::new(site);
        for field in entry.fields.iter() {
            let text = field.value.text().map(|text| text.lossy().into_owned());
            match (&*name_of(Some(site), field.index), text, &field.value) {
                ("log.target", Some(target), _) => place.target = target,
                ("log.file", Some(file), _) => place.file = file,
                ("log.line", _, &ttlog_format::value::Value::U64(line)) => place.line = line,
                _ => {}
            }
        }
        place
    }

    fn unknown(address: u64) -> Place {
        Place {
            address,
            ..Place::default()
        }
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Says {
    /// The beginning of its message.
    Message(String),
    /// The names of its fields, where it has no message.
    Fields(String),
}

/// What was said at a place.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) place: Place,
    /// What the first event there says.
    pub(super) says: Option<Says>,
    pub(super) tally: Tally,
}

/// Which span something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Around {
    /// Those opened at this one of the places.
    Span(usize),
    /// One of which nothing is left but its id.
    Unknown,
    /// None.
    None,
}

/// What takes how much.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    pub(super) whole: Tally,
    pub(super) places: Vec<At>,
    /// By the index of the thread in the recording.
    pub(super) threads: HashMap<u32, Tally>,
    /// Of spans: the records about them, and the events directly in them.
    pub(super) spans: HashMap<Around, [Tally; 2]>,
    /// Whether the bytes are those in the ring, and not only about so many.
    pub(super) is_exact: bool,
    by_place: HashMap<Place, usize>,
    by_address: HashMap<u64, usize>,
    /// What each thread told last, where records have to be imagined.
    before: HashMap<u32, (What, Option<SpanId>)>,
}

impl Tallies {
    /// Nothing yet.
    pub(super) fn new() -> Tallies {
        Tallies {
            is_exact: true,
            ..Tallies::default()
        }
    }

    /// Counts an entry, which takes this of the ring, if that is known.
    pub(super) fn add(
        &mut self,
        recording: &Recording,
        entry: &Entry,
        room: Option<Room>,
        is_complete: bool,
    ) {
        let is_known = (entry.thread as usize) < recording.threads.len();
        let thread = if is_known { entry.thread } else { NOBODY };
        let room = room.unwrap_or_else(|| self.imagined(entry, thread));
        let at = self.place_of(recording, entry);
        let around = self.around(recording, entry);
        let is_event = entry.what.is_event();
        let amount = Amount {
            events: is_event.into(),
            span_records: (!is_event).into(),
            bytes: room.record.into(),
        };
        let record = Piece {
            amount,
            is_complete,
        };
        self.count(at, around, is_event, thread, &record);
        // What a span is, is said for the span, whatever it is that is in it.
        if room.spans > 0 {
            let amount = Amount {
                bytes: room.spans.into(),
                ..Amount::default()
            };
            let described = if let Around::Span(at) = around {
                at
            } else {
                at
            };
            let description = Piece {
                amount,
                is_complete,
            };
            self.count(described, around, false, thread, &description);
        }
    }

    /// Counts a piece at a place, and in or about a span.
    fn count(&mut self, at: usize, around: Around, is_in: bool, thread: u32, piece: &Piece) {
        self.whole.add(piece);
        if let Some(at) = self.places.get_mut(at) {
            at.tally.add(piece);
        }
        self.threads.entry(thread).or_default().add(piece);
        let spans = self.spans.entry(around).or_default();
        spans[usize::from(is_in)].add(piece);
    }

    /// What an entry would take, of which it is not known what it took: records say of
    /// spans that they were entered when they were opened, and closed when they were left.
    fn imagined(&mut self, entry: &Entry, thread: u32) -> Room {
        self.is_exact = false;
        let now = (entry.what, entry.span);
        let before = self.before.insert(thread, now);
        let is_said = match entry.what {
            What::Enter => before == Some((What::Open, entry.span)),
            What::Close => before == Some((What::Exit, entry.span)),
            _ => false,
        };
        Room {
            record: if is_said { 0 } else { entry.record_bytes() },
            spans: 0,
        }
    }

    fn place_of(&mut self, recording: &Recording, entry: &Entry) -> usize {
        let site = recording.sites.get(&entry.site).map(|site| &**site);
        let at = match site {
            Some(site) if site.is_log => self
                .place_of_many(Place::of_log(site, entry))
                .unwrap_or_else(|| self.place(Place::new(site))),
            _ => self.place_at(site, entry.site),
        };
        if let Some(at) = self.places.get_mut(at)
            && at.says.is_none()
            && entry.what.is_event()
        {
            at.says = Some(says(site, entry));
        }
        at
    }

    /// The place of a call site: found again by its address.
    fn place_at(&mut self, site: Option<&CallSite>, address: u64) -> usize {
        let Some(site) = site else {
            let place = self.place_of_many(Place::unknown(address));
            return place.unwrap_or_else(|| self.place(Place::unknown(0)));
        };
        if let Some(&at) = self.by_address.get(&address) {
            return at;
        }
        let at = self.place(Place::new(site));
        self.by_address.insert(address, at);
        at
    }

    /// One of places of which there may be any number, unless there are too many.
    fn place_of_many(&mut self, place: Place) -> Option<usize> {
        let is_room = self.places.len() < PLACES_MAX || self.by_place.contains_key(&place);
        is_room.then(|| self.place(place))
    }

    fn place(&mut self, place: Place) -> usize {
        if let Some(&at) = self.by_place.get(&place) {
            return at;
        }
        let at = self.places.len();
        self.by_place.insert(place.clone(), at);
        self.places.push(At {
            place,
            says: None,
            tally: Tally::default(),
        });
        at
    }

    fn around(&mut self, recording: &Recording, entry: &Entry) -> Around {
        let Some(id) = entry.span else {
            return Around::None;
        };
        let site = recording.spans.get(&id).map_or(0, |span| span.site);
        match recording.sites.get(&site) {
            Some(known) => Around::Span(self.place_at(Some(known), site)),
            None => Around::Unknown,
        }
    }

    /// Adds up what is said at several places, by what `key` makes of each.
    pub(super) fn by<'t, K: Eq + std::hash::Hash>(
        &'t self,
        key: impl Fn(&'t Place) -> K,
    ) -> HashMap<K, Tally> {
        let mut found: HashMap<K, Tally> = HashMap::new();
        for at in self.places.iter().filter(|at| at.tally != Tally::default()) {
            let tally = found.entry(key(&at.place)).or_default();
            *tally = tally.plus(at.tally);
        }
        found
    }
}

fn says(site: Option<&CallSite>, entry: &Entry) -> Says {
    let message = entry
        .fields
        .iter()
        .find(|field| name_of(site, field.index) == "message");
    let text = message.as_ref().and_then(|field| field.value.text());
    if let Some(text) = text {
        return Says::Message(text.lossy().chars().take(WORDS_MAX).collect());
    }
    let names = entry.fields.iter().map(|field| name_of(site, field.index));
    let mut words = String::new();
    for name in names.filter(|name| !name.starts_with("log.")).take(8) {
        words.extend(name.chars().take(WORDS_MAX / 4).chain("=… ".chars()));
    }
    words.truncate(words.trim_end().len());
    Says::Fields(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn tallies() -> Tallies {
        let recording = fixture::recording();
        let mut tallies = Tallies::new();
        for entry in &recording.entries {
            let room = Room {
                record: 110,
                spans: 0,
            };
            let is_complete = entry.wall_ns >= fixture::at(2);
            tallies.add(&recording, entry, Some(room), is_complete);
        }
        tallies
    }

    fn tally(events: u64, span_records: u64, complete: (u64, u64)) -> Tally {
        let [all, complete] = [(events, span_records), complete].map(|(events, span_records)| {
            let bytes = (events + span_records) * 110;
            Amount {
                events,
                span_records,
                bytes,
            }
        });
        Tally { all, complete }
    }

    #[test]
    fn an_entry_counts_at_its_place_in_its_thread_and_in_its_span() {
        let tallies = tallies();
        assert_eq!(tallies.whole, tally(4, 2, (3, 1)));
        assert_eq!(tallies.threads, HashMap::from([(0, tally(4, 2, (3, 1)))]));
        let spans = |around| tallies.spans.get(&around).copied().unwrap_or_default();
        let [about, inside] = spans(Around::None);
        assert_eq!((about, inside), (Tally::default(), tally(2, 0, (2, 0))));
        assert_eq!(spans(Around::Unknown)[1], tally(1, 0, (1, 0)));
        let named = |name: &str| {
            let at = |at: &At| at.place.span.as_deref() == Some(name);
            spans(Around::Span(tallies.places.iter().position(at).unwrap()))
        };
        assert_eq!(named("request"), [tally(0, 1, (0, 0)), Tally::default()]);
        assert_eq!(named("query"), [tally(0, 1, (0, 1)), tally(1, 0, (0, 0))]);
    }

    #[test]
    fn what_a_span_is_counts_for_the_span_and_not_for_the_event_in_it() {
        let recording = fixture::recording();
        let mut tallies = Tallies::new();
        let room = Room {
            record: 100,
            spans: 40,
        };
        tallies.add(&recording, &recording.entries[1], Some(room), true);
        let bytes = |is_span: bool| {
            let is_it = |at: &&At| at.place.span.is_some() == is_span;
            let at = tallies.places.iter().find(is_it).unwrap();
            (at.tally.all.bytes, at.tally.complete.bytes)
        };
        assert_eq!((bytes(false), bytes(true)), ((100, 100), (40, 40)));
        let [about, inside] = *tallies.spans.values().next().unwrap();
        assert_eq!((about.all.bytes, about.all.records()), (40, 0));
        assert_eq!((inside.all.bytes, inside.all.records()), (100, 1));
        assert_eq!(tallies.whole.all.bytes, 140);
        assert_eq!(tallies.threads[&0].all.bytes, 140);
    }

    #[test]
    fn a_place_is_known_by_what_is_said_there() {
        let tallies = tallies();
        let places = tallies.places.iter();
        let said: Vec<_> = places.filter_map(|at| at.says.clone()).collect();
        assert!(said.contains(&Says::Message("user logged in".into())));
        assert!(said.contains(&Says::Fields("field0=… field1=…".into())));
    }

    #[test]
    fn a_record_of_log_counts_where_log_says_and_levels_and_targets_are_those_of_places() {
        let tallies = tallies();
        let by_target = tallies.by(|place| place.target.as_str());
        assert_eq!(by_target["hyper::client"], tally(1, 0, (1, 0)));
        assert_eq!(by_target["app::auth"], tally(2, 2, (1, 1)));
        let by_level = tallies.by(|place| place.level);
        assert_eq!(by_level[&Some(Level::Error)], tally(1, 0, (1, 0)));
        assert_eq!(by_level[&None], tally(1, 0, (1, 0)));
        let log = |at: &&At| at.place.file == "client.rs";
        let log = tallies.places.iter().find(log).unwrap();
        assert_eq!((log.place.line, log.tally), (88, tally(1, 0, (1, 0))));
    }

    #[test]
    fn the_same_line_compiled_twice_is_one_place() {
        let mut recording = fixture::recording();
        let twin = (*recording.sites[&3]).clone();
        recording.sites.insert(33, twin.into());
        let mut again = recording.entries[1].clone();
        again.site = 33;
        recording.entries.push(again);
        let mut tallies = Tallies::new();
        for entry in &recording.entries {
            tallies.add(&recording, entry, None, true);
        }
        let logins = |at: &&At| at.says == Some(Says::Message("user logged in".into()));
        let logins = tallies.places.iter().find(logins).unwrap();
        assert_eq!(logins.tally.all.events, 2);
        assert_eq!(logins.tally.all.bytes, 2 * 8 * (3 + 1 + 2 + 1));
        assert!(!tallies.is_exact);
    }

    #[test]
    fn places_without_end_and_threads_that_nobody_knows_take_no_memory_without_end() {
        let recording = fixture::recording();
        let mut tallies = Tallies::new();
        for number in 0..40_000 {
            let entry = Entry {
                site: 0xdead_0000 + u64::from(number),
                thread: number,
                ..Entry::default()
            };
            tallies.add(&recording, &entry, Some(Room::default()), true);
        }
        assert_eq!(tallies.places.len(), PLACES_MAX + 1);
        assert_eq!(
            tallies.places[PLACES_MAX].tally.all.events,
            40_000 - PLACES_MAX as u64
        );
        assert_eq!(tallies.threads.len(), 2);
        assert_eq!(tallies.threads[&NOBODY].all.events, 39_999);
    }

    #[test]
    fn where_records_are_imagined_one_that_says_what_came_later_is_counted_once() {
        let recording = fixture::recording();
        let mut tallies = Tallies::new();
        for what in [
            What::Open,
            What::Enter,
            What::Exit,
            What::Close,
            What::Enter,
        ] {
            let entry = Entry {
                what,
                span: Some(fixture::query()),
                site: 2,
                ..Entry::default()
            };
            tallies.add(&recording, &entry, None, true);
        }
        assert_eq!(tallies.whole.all.bytes, 8 * (6 + 4 + 3));
        assert_eq!(tallies.whole.all.span_records, 5);
    }
}
