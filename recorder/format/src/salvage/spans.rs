//! What is known of each span, from its slot, its records and its descriptions.
//!
//! The same opening and the same value may be kept in several places, cut here
//! and whole there: of a value recorded at one moment, the longest copy counts.
//!
//! A span is known from the first that tells of it until it is closed and nothing is
//! left that lies in it, and for some time after, since two threads' clocks are read
//! back a little apart. Where its close is lost, it is forgotten when there are too many,
//! those first of which nothing was told for longest.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::file::File;
use super::timeline::Timeline;
use super::{CONTEXT_MAX, ENTRIES_AROUND, Error, Source, Span};
use crate::record::Kind;
use crate::span::{self, SLOT_BYTES, SLOT_WORDS, SpanId, word};
use crate::value::{self, Field};

/// How often a slot that changes while it is read is tried.
const ATTEMPTS: usize = 3;

/// The word of a slot in which its first record, an opening, names the span.
const NAMED_BY_OPENING: usize = span::SLOT_HEADER_WORDS + 3;

/// Slots that are looked at in one read.
const SLOTS_A_READ: u32 = 256;

/// Closed spans that are known for some time yet: an entry closes one at most.
const CLOSED_KEPT: usize = ENTRIES_AROUND;

/// Spans that are known whatever the recording's size, before any is forgotten that is
/// not known to be closed.
const KNOWN_MIN: usize = 1 << 14;

/// Of how many blocks there may be a span more.
const BLOCKS_A_SPAN: usize = 8;

/// What is known of spans, beside what is told of them.
#[derive(Clone, Default)]
pub(super) struct Known {
    about: HashMap<SpanId, About>,
    /// Spans that were closed last.
    closed: VecDeque<SpanId>,
    /// How many spans may be known before the oldest are forgotten; `None` where all stay.
    most: Option<usize>,
    /// How many there were left when that was last done.
    left: usize,
    /// Blocks that were begun.
    moment: u64,
    /// Those that were wanted, and are forgotten.
    forgotten: Vec<Arc<Span>>,
}

/// What is known of a span, in ticks.
#[derive(Clone, Default)]
struct About {
    opened: Option<u64>,
    /// When each of its fields was recorded.
    recorded: Vec<u64>,
    /// Known spans that lie in it.
    children: u32,
    /// By how many it is held besides.
    holds: u32,
    life: Life,
    /// Whether somebody waits for all that becomes of it.
    wanted: bool,
    /// When something was told of it, in blocks that had been begun.
    told: u64,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Life {
    /// As far as is known, it is open.
    #[default]
    Open,
    /// It is among those that were closed last.
    Closed,
    /// Nothing but what lies in it keeps it.
    Over,
}

/// Every span of which anything is known.
pub(super) struct Spans<'a> {
    /// Identity of the recording.
    pub(super) recording: u64,
    pub(super) timeline: &'a Timeline,
    pub(super) known: &'a mut Known,
    /// The spans themselves, with wall-clock times.
    pub(super) told: &'a mut HashMap<SpanId, Arc<Span>>,
}

impl Known {
    /// No spans yet, of a recording of so many blocks.
    pub(super) fn bounded(blocks: usize) -> Known {
        Known::at_most(KNOWN_MIN.max(blocks / BLOCKS_A_SPAN))
    }

    /// No spans yet, and room for so many that are neither open nor held.
    pub(super) fn at_most(spans: usize) -> Known {
        Known {
            most: Some(spans),
            ..Known::default()
        }
    }

    /// Notes that a block is begun.
    pub(super) fn begin_block(&mut self) {
        self.moment += 1;
    }

    /// Whether there are so many that some should be forgotten.
    pub(super) fn is_crowded(&self) -> bool {
        // Those that must stay may be more than that.
        let most = self.most.map(|most| most.max(self.left + self.left / 2));
        most.is_some_and(|most| self.about.len() > most)
    }

    /// Keeps a span, whatever becomes of it.
    pub(super) fn hold(&mut self, id: SpanId) {
        self.about.entry(id).or_default().holds += 1;
    }

    /// Wants a span from [`Known::take_forgotten`] or [`Known::remaining`].
    pub(super) fn want(&mut self, id: SpanId) {
        if let Some(about) = self.about.get_mut(&id) {
            about.wanted = true;
        }
    }

    /// The wanted spans that were forgotten since.
    pub(super) fn take_forgotten(&mut self) -> Vec<Arc<Span>> {
        std::mem::take(&mut self.forgotten)
    }

    /// Spans that are wanted, open or held, and those around them, by their ids.
    pub(super) fn remaining(&self, told: &HashMap<SpanId, Arc<Span>>) -> Vec<SpanId> {
        let mut next: Vec<SpanId> = told
            .iter()
            .filter(|(id, span)| {
                let about = self.about.get(id);
                span.open || about.is_some_and(|about| about.wanted || about.holds > 0)
            })
            .map(|(&id, _)| id)
            .collect();
        let mut found = HashSet::new();
        while let Some(id) = next.pop() {
            if let Some(span) = told.get(&id)
                && found.insert(id)
            {
                next.extend(span.parent);
            }
        }
        let mut found: Vec<SpanId> = found.into_iter().collect();
        found.sort_unstable();
        found
    }
}

impl Spans<'_> {
    /// Reads the span table, and tells how many slots fail their checks.
    pub(super) fn read_table<S: Source + ?Sized>(
        &mut self,
        file: &File<'_, S>,
    ) -> Result<u64, Error> {
        let mut damaged = 0;
        let mut buffer = vec![0; SLOTS_A_READ as usize * SLOT_BYTES];
        for slots in file.slots(SLOTS_A_READ)? {
            let buffer = &mut buffer[..slots.len() * SLOT_BYTES];
            let found = file.read_slots(buffer, slots.start)?;
            for (slot, bytes) in slots.zip(buffer[..found].chunks_exact(SLOT_BYTES)) {
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
            return Ok(self.read_nearly_named(slot, id, words));
        }
        Ok(self.open_in_slot(id, &words))
    }

    /// Takes in a slot whose first word is not the id of the span in it: if it is but a bit
    /// of it that is wrong, its opening names it. A closed one's first word is 0.
    fn read_nearly_named(
        &mut self,
        slot: u32,
        found: SpanId,
        mut words: [u64; SLOT_WORDS],
    ) -> bool {
        let (found, named) = (found.to_u64(), words[NAMED_BY_OPENING]);
        let is_near = (found ^ named).is_power_of_two() && !found.is_power_of_two();
        let id = SpanId::from_u64(named).filter(|id| is_near && id.slot() == Some(slot));
        if let Some(id) = id {
            words[word::ID] = named;
            if self.describe(id, &words) {
                self.open_in_slot(id, &words);
            }
        }
        false
    }

    /// Notes that a span is open, as its slot says, and tells whether all of that is sound.
    fn open_in_slot(&mut self, id: SpanId, words: &[u64; SLOT_WORDS]) -> bool {
        let mut walk = span::records(words, self.recording, id);
        walk.by_ref().for_each(drop);
        let opened = self.known.about.get(&id).and_then(|about| about.opened);
        // Nobody enters before it is open; a slot's own words have no check.
        let entered = Some(words[word::ENTERED]).filter(|&ticks| ticks != 0);
        let entered = entered.filter(|&ticks| Some(ticks) >= opened);
        let entered_ns = entered.map(|ticks| self.timeline.wall_ns(ticks));
        let (_, span) = self.entry(id);
        (span.open, span.entered_ns) = (true, entered_ns);
        !walk.damaged()
    }

    /// Takes in a record of kind SpanOpen, which names this span.
    pub(super) fn open(&mut self, id: SpanId, words: &[u64]) {
        let &[_, ticks, site, _, parent, ref values @ ..] = words else {
            return;
        };
        let parent = SpanId::from_u64(parent).filter(|&parent| parent != id);
        let opened_ns = self.timeline.wall_ns(ticks);
        let (about, span) = self.entry(id);
        about.opened = Some(ticks);
        (span.site, span.opened_ns) = (site, opened_ns);
        let before = std::mem::replace(&mut span.parent, parent);
        if before != parent {
            self.move_child(before, parent);
        }
        self.values(id, ticks, values);
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
                    self.open(id, words);
                }
                (Kind::SpanValues, &[_, ticks, span, ref values @ ..]) if span == id.to_u64() => {
                    self.values(id, ticks, values);
                }
                _ => {}
            }
        }
        opened
    }

    fn entry(&mut self, id: SpanId) -> (&mut About, &mut Span) {
        let about = self.known.about.entry(id).or_default();
        about.told = self.known.moment;
        let span = self.told.entry(id).or_insert_with(|| {
            Arc::new(Span {
                id: Some(id),
                ..Span::default()
            })
        });
        (about, Arc::make_mut(span))
    }

    /// Takes in values that were recorded at a moment.
    pub(super) fn values(&mut self, id: SpanId, ticks: u64, values: &[u64]) {
        let stored = |field: &Field| field.value.text().map_or(0, |text| text.bytes.len());
        let timeline = self.timeline;
        let values = value::decode(values);
        let (about, span) = self.entry(id);
        let Span { fields, .. } = span;
        if fields.is_empty() {
            // Most spans have no more than what they were opened with.
            about.recorded.reserve_exact(values.len());
            fields.reserve_exact(values.len());
        }
        for field in values {
            // Nearly always it is the last.
            let at = about
                .recorded
                .iter()
                .zip(&*fields)
                .rposition(|(&then, (_, other))| (then, other.index) <= (ticks, field.index));
            match at {
                Some(at) if (about.recorded[at], fields[at].1.index) == (ticks, field.index) => {
                    if stored(&fields[at].1) < stored(&field) {
                        fields[at].1 = field;
                    }
                }
                _ => {
                    let at = at.map_or(0, |at| at + 1);
                    about.recorded.insert(at, ticks);
                    fields.insert(at, (timeline.wall_ns(ticks), field));
                }
            }
        }
        // Where the opening is lost, the first that is known of the span is its value.
        if about.opened.is_none() {
            span.opened_ns = fields.first().map_or(0, |&(wall_ns, _)| wall_ns);
        }
    }

    fn move_child(&mut self, from: Option<SpanId>, to: Option<SpanId>) {
        if let Some(parent) = to {
            let about = self.known.about.entry(parent).or_default();
            about.children = about.children.saturating_add(1);
        }
        if let Some(parent) = from {
            self.lose_child(parent);
        }
    }

    /// A span that lay in this one is gone from it.
    fn lose_child(&mut self, parent: SpanId) {
        if let Some(about) = self.known.about.get_mut(&parent) {
            about.children = about.children.saturating_sub(1);
        }
        self.forget_if_over(parent);
    }

    /// Notes that a span is closed.
    pub(super) fn close(&mut self, id: SpanId) {
        if self.known.most.is_none() {
            return;
        }
        if let Some(about) = self.known.about.get_mut(&id)
            && about.life == Life::Open
        {
            about.life = Life::Closed;
            self.known.closed.push_back(id);
        }
        let over = self.known.closed.len().saturating_sub(CLOSED_KEPT);
        let over: Vec<SpanId> = self.known.closed.drain(..over).collect();
        for id in over {
            if let Some(about) = self.known.about.get_mut(&id) {
                about.life = Life::Over;
            }
            self.forget_if_over(id);
        }
    }

    /// Lets go of a span that was held.
    pub(super) fn release(&mut self, id: SpanId) {
        if let Some(about) = self.known.about.get_mut(&id) {
            about.holds = about.holds.saturating_sub(1);
        }
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: SpanId) {
        let mut next = Some(id);
        while let Some(id) = next {
            next = None;
            let Some(about) = self.known.about.get(&id) else {
                return;
            };
            let span = self.told.get(&id);
            let over = about.life == Life::Over || span.is_none();
            let kept = about.children > 0 || about.holds > 0 || span.is_some_and(|span| span.open);
            if over && !kept {
                next = self.forget(id);
            }
        }
    }

    /// Forgets a span, and returns its parent, which lost a child.
    fn forget(&mut self, id: SpanId) -> Option<SpanId> {
        let about = self.known.about.remove(&id)?;
        let span = self.told.remove(&id)?;
        let parent = span.parent;
        if let Some(around) = parent.and_then(|parent| self.known.about.get_mut(&parent)) {
            around.children = around.children.saturating_sub(1);
            around.wanted |= about.wanted;
        }
        if about.wanted {
            self.known.forgotten.push(span);
        }
        parent
    }

    /// Forgets half of the spans, those of which nothing was told for longest, but none
    /// that is open or held, lies around one that stays, or is among `named`.
    pub(super) fn forget_oldest(&mut self, named: impl Iterator<Item = SpanId>) {
        let mut stay: HashSet<SpanId> = HashSet::new();
        let mut by_age: Vec<(u64, SpanId)> = Vec::new();
        let mut kept: Vec<SpanId> = named.collect();
        for (&id, about) in &self.known.about {
            let is_open = self.told.get(&id).is_some_and(|span| span.open);
            match is_open || about.holds > 0 {
                true => kept.push(id),
                false => by_age.push((about.told, id)),
            }
        }
        by_age.sort_unstable();
        let newer = by_age.split_off(by_age.len() / 2);
        kept.extend(newer.into_iter().map(|(_, id)| id));
        for id in kept {
            let mut next = Some(id);
            let mut depth = 0;
            while let Some(id) = next.filter(|&id| depth < CONTEXT_MAX && stay.insert(id)) {
                next = self.told.get(&id).and_then(|span| span.parent);
                depth += 1;
            }
        }
        for (_, id) in by_age {
            if !stay.contains(&id) {
                self.forget(id);
            }
        }
        self.known.left = self.known.about.len();
    }
}

/// A slot and the id that it had before and after it was read; `None` if it is
/// free, or taken faster than it can be read.
fn copy_slot<S: Source + ?Sized>(
    file: &File<'_, S>,
    slot: u32,
) -> Result<Option<(SpanId, [u64; SLOT_WORDS])>, Error> {
    for _ in 0..ATTEMPTS {
        let [before] = file.slot::<1>(slot)?;
        let words = file.slot::<SLOT_WORDS>(slot)?;
        let [after] = file.slot::<1>(slot)?;
        if before == words[word::ID] && before == after {
            return Ok(SpanId::from_u64(before).map(|id| (id, words)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::image::{SPAN, header};
    use super::*;

    #[test]
    fn a_span_whose_parent_was_forgotten_may_be_told_to_lie_in_another_or_in_none() {
        let header = header(1, 0);
        let timeline = Timeline::new(&header, std::iter::empty());
        let (mut known, mut told) = (Known::at_most(9), HashMap::new());
        let mut spans = Spans {
            recording: header.recording,
            timeline: &timeline,
            known: &mut known,
            told: &mut told,
        };
        let [first, second, child] = [1, 2, 3].map(|slot| SpanId::in_slot(slot, 1));
        for (id, parent) in [(first, 0), (second, 0), (child, first.to_u64())] {
            spans.open(id, &[0, 5, SPAN, id.to_u64(), parent]);
        }
        spans.forget(first);
        spans.open(child, &[0, 5, SPAN, child.to_u64(), second.to_u64()]);
        assert_eq!(told[&child].parent, Some(second));
        assert_eq!(known.about[&second].children, 1);
        assert!(!known.about.contains_key(&first) && !told.contains_key(&first));
        let mut spans = Spans {
            recording: header.recording,
            timeline: &timeline,
            known: &mut known,
            told: &mut told,
        };
        spans.open(child, &[0, 5, SPAN, child.to_u64(), 0]);
        assert_eq!(told[&child].parent, None);
        assert_eq!(known.about[&second].children, 0);
    }
}
