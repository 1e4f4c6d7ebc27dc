//! What is known of each span, from its slot, its records and its descriptions.
//!
//! The same opening and the same value may be kept in several places, cut here
//! and whole there: of a value recorded at one moment, the longest copy counts.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, HashMap};

use super::file::File;
use super::timeline::Timeline;
use super::{Error, Source, Span};
use crate::header::Layout;
use crate::record::Kind;
use crate::span::{self, SLOT_BYTES, SLOT_WORDS, SpanId, word};
use crate::value::{self, Field};

/// How often a slot that changes while it is read is tried.
const ATTEMPTS: usize = 3;

/// Slots that are looked at in one read.
const SLOTS_A_READ: usize = 256;

/// Every span of which anything is known.
pub(super) struct Spans {
    recording: u64,
    known: HashMap<SpanId, Known>,
}

/// What is known of a span, in ticks.
#[derive(Default)]
struct Known {
    site: u64,
    parent: Option<SpanId>,
    opened: Option<u64>,
    fields: BTreeMap<(u64, u8), Field>,
    open: bool,
    entered: Option<u64>,
}

impl Spans {
    /// No spans yet, of the recording with this identity.
    pub(super) fn new(recording: u64) -> Spans {
        Spans {
            recording,
            known: HashMap::new(),
        }
    }

    /// Reads the span table, and tells how many slots fail their checks.
    pub(super) fn read_table<S: Source + ?Sized>(
        &mut self,
        file: &File<'_, S>,
    ) -> Result<u64, Error> {
        let slots = file.header.layout.span_slots;
        let mut damaged = 0;
        let mut buffer = vec![0; SLOTS_A_READ * SLOT_BYTES];
        for first in (0..slots).step_by(SLOTS_A_READ) {
            let found = file.read(&mut buffer, file.header.layout.slot_offset(first))?;
            let there = (found / SLOT_BYTES).min((slots - first) as usize);
            for (slot, bytes) in (first..).zip(buffer.chunks(SLOT_BYTES).take(there)) {
                if bytes[..8] != [0; 8] {
                    damaged += u64::from(!self.read_slot(file, slot)?);
                }
            }
            if found < buffer.len() {
                break;
            }
        }
        Ok(damaged)
    }

    /// Reads a slot, and tells whether it passes its checks.
    fn read_slot<S: Source + ?Sized>(
        &mut self,
        file: &File<'_, S>,
        slot: u32,
    ) -> Result<bool, Error> {
        let Some((id, words)) = copy_slot(file, slot)? else {
            return Ok(true);
        };
        if id.slot() != Some(slot) || !self.describe(id, &words) {
            return Ok(false);
        }
        let mut walk = span::records(&words, self.recording, id);
        walk.by_ref().for_each(drop);
        let known = self.known.entry(id).or_default();
        known.open = true;
        // Nobody enters before it is open; a slot's own words have no check.
        let entered = Some(words[word::ENTERED]).filter(|&ticks| ticks != 0);
        known.entered = entered.filter(|&ticks| Some(ticks) >= known.opened);
        Ok(!walk.damaged())
    }

    /// Takes in a record of kind SpanOpen.
    pub(super) fn open(&mut self, words: &[u64]) {
        let &[_, ticks, site, span, parent, ref values @ ..] = words else {
            return;
        };
        let Some(id) = SpanId::from_u64(span) else {
            return;
        };
        let known = self.known.entry(id).or_default();
        known.site = site;
        known.parent = SpanId::from_u64(parent).filter(|&parent| parent != id);
        known.opened = Some(ticks);
        known.keep(ticks, values);
    }

    /// Takes in a record of kind SpanValues.
    pub(super) fn values(&mut self, words: &[u64]) {
        let &[_, ticks, span, ref values @ ..] = words else {
            return;
        };
        if let Some(id) = SpanId::from_u64(span) {
            self.known.entry(id).or_default().keep(ticks, values);
        }
    }

    /// Takes in a record of kind Description.
    pub(super) fn description(&mut self, words: &[u64]) {
        let &[_, _, span, ref slot @ ..] = words else {
            return;
        };
        if let Some(id) = SpanId::from_u64(span).filter(|_| slot.first() == Some(&span)) {
            self.describe(id, slot);
        }
    }

    /// Takes in the words of a slot or of a copy, and tells whether it has an opening.
    fn describe(&mut self, id: SpanId, slot: &[u64]) -> bool {
        let mut opened = false;
        for record in span::records(slot, self.recording, id) {
            match (record.kind, record.words) {
                (Kind::SpanOpen, words @ [_, _, _, span, _, ..]) if *span == id.to_u64() => {
                    opened = true;
                    self.open(words);
                }
                (Kind::SpanValues, words @ [_, _, span, ..]) if *span == id.to_u64() => {
                    self.values(words);
                }
                _ => {}
            }
        }
        opened
    }

    /// The spans, with wall-clock times.
    pub(super) fn dated(self, timeline: &Timeline) -> HashMap<SpanId, Span> {
        self.known
            .into_iter()
            .map(|(id, known)| (id, known.dated(id, timeline)))
            .collect()
    }
}

impl Known {
    fn keep(&mut self, ticks: u64, values: &[u64]) {
        let stored = |field: &Field| field.value.text().map_or(0, |text| text.bytes.len());
        for field in value::decode(values) {
            match self.fields.entry((ticks, field.index)) {
                Place::Vacant(place) => {
                    place.insert(field);
                }
                Place::Occupied(mut place) if stored(place.get()) < stored(&field) => {
                    place.insert(field);
                }
                Place::Occupied(_) => {}
            }
        }
    }

    fn dated(self, id: SpanId, timeline: &Timeline) -> Span {
        // Where the opening is lost, the first that is known of the span is its value.
        let opened = self
            .opened
            .or(self.fields.keys().next().map(|&(ticks, _)| ticks));
        let dated = |((ticks, _), field)| (timeline.wall_ns(ticks), field);
        Span {
            id: Some(id),
            site: self.site,
            parent: self.parent,
            opened_ns: opened.map_or(0, |ticks| timeline.wall_ns(ticks)),
            fields: self.fields.into_iter().map(dated).collect(),
            open: self.open,
            entered_ns: self.entered.map(|ticks| timeline.wall_ns(ticks)),
        }
    }
}

/// A slot and the id that it had before and after it was read; `None` if it is
/// free, or taken faster than it can be read.
fn copy_slot<S: Source + ?Sized>(
    file: &File<'_, S>,
    slot: u32,
) -> Result<Option<(SpanId, [u64; SLOT_WORDS])>, Error> {
    let offset = file.header.layout.slot_offset(slot);
    for _ in 0..ATTEMPTS {
        let ([before], _) = file.words::<1>(offset)?;
        let (words, _) = file.words::<SLOT_WORDS>(offset)?;
        let ([after], _) = file.words::<1>(offset)?;
        if before == words[word::ID] && before == after {
            return Ok(SpanId::from_u64(before).map(|id| (id, words)));
        }
    }
    Ok(None)
}

const _: () = assert!(Layout::SPANS_OFFSET.is_multiple_of(SLOT_BYTES as u64));
