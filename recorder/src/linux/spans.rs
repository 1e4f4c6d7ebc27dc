//! The span table: who lives in which slot, and the slots' words in the recording.
//!
//! Who lives where is private memory (`lives`, `references`, `used`); the
//! recording mirrors it. A slot is taken by one compare-and-swap, its words are
//! written by the thread that opens the span, and later values are appended
//! under a bit that is only ever tried: who does not get it leaves the values to
//! the record in its ring.
//!
//! Free slots are looked for among eight neighbours, which stay in the cache, until they
//! have no ids any more: by turns through the table, each span had lines of its own.

use crate::linux::memory::Memory;
use crate::linux::seeded::{self, Bug};
use crate::linux::sync::{AtomicU64, Number, Ordering, fence, zeros};
use ttlog_format::check::Key;
use ttlog_format::header::Layout;
use ttlog_format::record;
use ttlog_format::span::{SLOT_HEADER_WORDS, SLOT_WORDS, SpanId, word};
use ttlog_format::value;

/// In `lives`: somebody is opening a span here.
const OPENING: u64 = u64::MAX;

/// How often a busy slot is tried before its values are left to the ring.
const TRIES: usize = 100;

/// The live spans.
pub(crate) struct Spans {
    /// By slot: the id of the span that lives there, 0 or [`OPENING`].
    lives: Box<[AtomicU64]>,
    /// By slot: how many handles and children the span has.
    references: Box<[AtomicU64]>,
    slots: Box<[Slot]>,
    without_slot: AtomicU64,
    /// How many ids without a slot the process had inherited when this began.
    inherited: Number,
}

#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
struct Slot {
    generation: Number,
    parent: Number,
    /// Its index, and whether it is plain.
    site: Number,
    /// Words written, and a bit while somebody appends.
    used: AtomicU64,
}

const APPENDING: u64 = 1 << 32;

/// In a slot's call site: nothing of it is redacted.
const PLAIN: u64 = 1 << 16;

/// A span to be opened.
pub(crate) struct Opening<'a> {
    /// The words of its record: header, ticks, call site, two that are filled in here
    /// (its id and its parent's), values.
    pub(crate) words: &'a mut [u64],
    pub(crate) site: u16,
    /// Whether nothing of the call site is redacted.
    pub(crate) is_plain: bool,
    pub(crate) parent: Option<SpanId>,
}

impl Spans {
    /// A table without a span; `None` where memory does not suffice.
    pub(crate) fn new(slots: u32) -> Option<Spans> {
        let slots = slots as usize;
        Some(Spans {
            lives: zeros(slots)?,
            references: zeros(slots)?,
            slots: zeros(slots)?,
            without_slot: AtomicU64::new(0),
            inherited: Number::new(0),
        })
    }

    /// Begins behind the ids of a parent, whose handles a forked child has inherited.
    pub(crate) fn begin_behind(&self, parent: &Spans) {
        for (own, inherited) in self.slots.iter().zip(&parent.slots) {
            own.generation.set(inherited.generation.get());
        }
        let without_slot = parent.without_slot.load(Ordering::Relaxed);
        self.inherited.set(parent.inherited.get() + without_slot);
    }

    /// Whether a span was opened here, and not by a process before a fork.
    pub(crate) fn knows(&self, span: SpanId) -> bool {
        match span.slot() {
            Some(_) => self.slot(span).is_some(),
            None => span.number() > self.inherited.get(),
        }
    }

    /// Takes a slot, looking from `hint` on.
    #[inline]
    fn claim(&self, hint: u64) -> Option<u32> {
        if self.try_claim(hint) {
            return Some(hint as u32);
        }
        self.claim_further(hint)
    }

    #[cold]
    fn claim_further(&self, hint: u64) -> Option<u32> {
        let slots = self.lives.len() as u64;
        let mut further = (0..slots).map(|step| (hint + step) % slots);
        let found = further.find(|&slot| self.try_claim(slot));
        found.map(|slot| slot as u32)
    }

    #[inline]
    fn try_claim(&self, slot: u64) -> bool {
        self.lives.get(slot as usize).is_some_and(|life| {
            life.load(Ordering::Relaxed) == 0
                && life
                    .compare_exchange(0, OPENING, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        })
    }

    /// Opens a span; the number of those that found no slot is given where this
    /// is another.
    pub(crate) fn open(
        &self,
        memory: &Memory,
        recording: u64,
        hint: &Number,
        span: Opening<'_>,
    ) -> (SpanId, Option<u64>) {
        let Opening {
            words,
            site,
            is_plain,
            parent,
        } = span;
        let parent_id = parent.map_or(0, SpanId::to_u64);
        let Some(slot) = self.claim(hint.get()) else {
            let number = self.without_slot.fetch_add(1, Ordering::Relaxed) + 1;
            let id = SpanId::without_slot(site, self.inherited.get() + number);
            fill_in(words, id, parent_id);
            return (id, Some(number));
        };
        let own = &self.slots[slot as usize];
        let generation = own.generation.get() + 1;
        own.generation.set(generation);
        hint.set(after(slot, generation));
        let id = SpanId::in_slot(slot, generation);
        own.parent.set(parent_id);
        // A parent outlives its children, in the table as in a registry; of those
        // without a slot nobody could say when they are closed.
        if let Some(parent) = parent {
            self.retain(parent);
        }
        own.site
            .set(u64::from(site) | if is_plain { PLAIN } else { 0 });
        self.references[slot as usize].store(1, Ordering::Relaxed);

        fill_in(words, id, parent_id);
        let base = base(slot);
        // Whoever copies the span that lived here and sees one of the words below
        // sees its id gone too.
        fence(Ordering::Release);
        if seeded::is(Bug::IdFirst) {
            memory.publish(base + word::ID, id.to_u64());
        }
        memory.store(base + word::ENTERED, 0);
        memory.store(base + word::ENTERED_BY, 0);
        let used = if words.len() <= OPENING_ROOM {
            write_opening(memory, recording, id, words)
        } else {
            write_cut(memory, recording, id, words)
        };
        own.used.store(used as u64, Ordering::Relaxed);
        memory.publish(base + word::ID, id.to_u64());
        self.lives[slot as usize].store(id.to_u64(), Ordering::Release);
        (id, None)
    }

    /// The slot of a live span.
    #[inline]
    fn slot(&self, span: SpanId) -> Option<u32> {
        let slot = span.slot()?;
        let life = self.lives.get(slot as usize)?.load(Ordering::Acquire);
        (life == span.to_u64()).then_some(slot)
    }

    /// Appends later values to a span's slot, as many as fit.
    pub(crate) fn values(
        &self,
        memory: &Memory,
        recording: u64,
        span: SpanId,
        ticks: u64,
        values: &[u64],
    ) {
        let Some(slot) = self.slot(span) else { return };
        let used = &self.slots[slot as usize].used;
        let Some(at) = (0..TRIES).find_map(|_| {
            let at = used.fetch_or(APPENDING, Ordering::Acquire);
            (at & APPENDING == 0).then_some(at as usize)
        }) else {
            return;
        };
        let mut words = [0; SLOT_WORDS];
        words[1] = ticks;
        words[2] = span.to_u64();
        let mut len = 3;
        value::fit(values, SLOT_WORDS.saturating_sub(at + 3), |word| {
            words[len] = word;
            len += 1;
        });
        words[0] = record::header(record::Kind::SpanValues, len);
        let end = if len > 3 {
            write_values(memory, recording, span, at, &words[..len])
        } else {
            at
        };
        used.store(end as u64, Ordering::Release);
    }

    /// A thread enters a span.
    #[inline]
    pub(crate) fn enter(&self, memory: &Memory, span: SpanId, ticks: u64, by: u64) {
        if let Some(slot) = span
            .slot()
            .filter(|&slot| (slot as usize) < self.slots.len())
        {
            memory.store(base(slot) + word::ENTERED, ticks);
            memory.store(base(slot) + word::ENTERED_BY, by);
        }
    }

    /// One more handle or child.
    pub(crate) fn retain(&self, span: SpanId) {
        if let Some(slot) = self.slot(span) {
            self.references[slot as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One handle or child fewer; whether it was the last.
    pub(crate) fn release(&self, span: SpanId) -> bool {
        self.slot(span).is_some_and(|slot| {
            let references = &self.references[slot as usize];
            // Who holds the only one is alone with it: nobody has another to copy.
            references.load(Ordering::Acquire) == 1
                || references.fetch_sub(1, Ordering::AcqRel) == 1
        })
    }

    /// Closes a span; gives its parent.
    pub(crate) fn close(&self, memory: &Memory, span: SpanId) -> Option<SpanId> {
        let slot = self.slot(span)?;
        let parent = SpanId::from_u64(self.slots[slot as usize].parent.get());
        memory.publish(base(slot) + word::ID, 0);
        self.lives[slot as usize].store(0, Ordering::Release);
        parent
    }

    /// The parent of a live span.
    pub(crate) fn parent(&self, span: SpanId) -> Option<SpanId> {
        SpanId::from_u64(self.slots[self.slot(span)? as usize].parent.get())
    }

    /// The index of a span's call site.
    pub(crate) fn site(&self, span: SpanId) -> Option<u16> {
        match span.slot() {
            None => Some(span.tag()),
            Some(_) => Some(self.slots[self.slot(span)? as usize].site.get() as u16),
        }
    }

    /// Whether a live span's later values are known to have nothing redacted.
    #[inline]
    pub(crate) fn is_plain(&self, span: SpanId) -> bool {
        self.slot(span)
            .is_some_and(|slot| self.slots[slot as usize].site.get() & PLAIN != 0)
    }

    /// Spans that are open.
    pub(crate) fn open_spans(&self) -> usize {
        self.lives
            .iter()
            .filter(|life| life.load(Ordering::Relaxed) != 0)
            .count()
    }

    /// Copies a live span's slot to `words`, and says how many words of it count.
    ///
    /// The id is read before and after: what lies between is one span's.
    pub(crate) fn copy(
        &self,
        memory: &Memory,
        recording: u64,
        span: SpanId,
        words: &mut [u64; SLOT_WORDS],
    ) -> Option<usize> {
        let base = base(self.slot(span)?);
        if memory.load(base + word::ID, Ordering::Acquire) != span.to_u64() {
            return None;
        }
        let key = Key::of_span(recording, span.to_u64());
        let committed = memory.load(base + word::COMMITTED, Ordering::Acquire);
        let committed = key.guarded(word::COMMITTED, committed)?;
        let len = (SLOT_HEADER_WORDS + committed as usize).min(SLOT_WORDS);
        for (i, word) in words[..len].iter_mut().enumerate() {
            *word = memory.load(base + i, Ordering::Relaxed);
        }
        words[word::COMMITTED] = key.guard(word::COMMITTED, committed);
        fence(Ordering::Acquire);
        (memory.load(base + word::ID, Ordering::Relaxed) == span.to_u64()).then_some(len)
    }
}

/// Where to look for a free slot when this one was taken for so many spans: among a few
/// neighbours, which stay in the cache. They are left before they have no ids any more,
/// of which a slot has 2^39.
#[inline]
fn after(slot: u32, generation: u64) -> u64 {
    const NEIGHBOURS: u64 = 8;
    const STAY: u64 = 1 << 36;
    let slot = u64::from(slot);
    if generation.is_multiple_of(STAY) || slot % NEIGHBOURS != NEIGHBOURS - 1 {
        slot + 1
    } else {
        slot + 1 - NEIGHBOURS
    }
}

/// The most words of an opening that a slot has room for, without the one that is
/// stored later.
const OPENING_ROOM: usize = SLOT_WORDS - SLOT_HEADER_WORDS - 1;

/// Puts the ids of a span and of its parent into the words of its opening.
#[inline]
fn fill_in(words: &mut [u64], id: SpanId, parent: u64) {
    if let Some([own, parents]) = words.get_mut(3..5) {
        *own = id.to_u64();
        *parents = parent;
    }
}

/// Writes an opening into its slot, which says itself when the span was entered; gives
/// the word after it.
#[inline]
fn write_opening(memory: &Memory, recording: u64, span: SpanId, words: &[u64]) -> usize {
    let base = span.slot().map_or(usize::MAX / 2, base);
    let key = Key::of_span(recording, span.to_u64());
    memory.store_record(base + SLOT_HEADER_WORDS, words, key, SLOT_HEADER_WORDS);
    let end = SLOT_HEADER_WORDS + words.len();
    memory.store(base + end, key.guard(end, 0));
    commit(memory, base, key, end + 1)
}

/// The same of one that has to be cut.
#[cold]
fn write_cut(memory: &Memory, recording: u64, span: SpanId, words: &[u64]) -> usize {
    let mut cut = [0; OPENING_ROOM];
    let (fixed, values) = words.split_at(5);
    cut[..5].copy_from_slice(fixed);
    let mut len = 5;
    value::fit(values, OPENING_ROOM - 5, |word| {
        cut[len] = word;
        len += 1;
    });
    cut[0] = record::header(record::Kind::SpanOpen, len + 1);
    write_opening(memory, recording, span, &cut[..len])
}

/// Writes later values into a slot at word `at` and commits them; gives the word after.
fn write_values(memory: &Memory, recording: u64, span: SpanId, at: usize, words: &[u64]) -> usize {
    let base = span.slot().map_or(usize::MAX / 2, base);
    let key = Key::of_span(recording, span.to_u64());
    memory.store_record(base + at, words, key, at);
    commit(memory, base, key, at + words.len())
}

/// Commits the words of a slot before `end`, and gives it back.
#[inline]
fn commit(memory: &Memory, base: usize, key: Key, end: usize) -> usize {
    let committed = key.guard(word::COMMITTED, (end - SLOT_HEADER_WORDS) as u32);
    memory.publish(base + word::COMMITTED, committed);
    end
}

/// The table's first word; a model's memory holds nothing before it.
const TABLE: usize = if cfg!(loom) {
    0
} else {
    Layout::SPANS_OFFSET as usize / 8
};

fn base(slot: u32) -> usize {
    TABLE + slot as usize * SLOT_WORDS
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn open(spans: &Spans, memory: &Memory, hint: &Number) -> SpanId {
        let header = record::header(record::Kind::SpanOpen, 6);
        let opening = Opening {
            words: &mut [header, 1, 2, 0, 0],
            site: 3,
            is_plain: true,
            parent: None,
        };
        spans.open(memory, 42, hint, opening).0
    }

    #[test]
    fn ids_are_never_used_twice_and_those_without_a_slot_are_told_apart() {
        let memory = Memory::heap(Layout::SPANS_OFFSET as usize / 8 + 2 * SLOT_WORDS);
        let (spans, hint) = (Spans::new(2).unwrap(), Number::new(0));
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10 {
            let ids = [(); 4].map(|()| open(&spans, &memory, &hint));
            assert_eq!(ids.iter().filter(|id| id.slot().is_some()).count(), 2);
            assert!(ids.iter().all(|id| seen.insert(id.to_u64())));
            for id in ids {
                assert_eq!(spans.site(id), Some(3));
                assert_eq!(spans.release(id), id.slot().is_some());
                spans.close(&memory, id);
                assert!(!spans.release(id), "a stale id does no harm");
            }
        }
        assert_eq!(spans.open_spans(), 0);
    }

    #[test]
    fn later_values_are_appended_until_the_slot_is_full() {
        let memory = Memory::heap(Layout::SPANS_OFFSET as usize / 8 + SLOT_WORDS);
        let (spans, hint) = (Spans::new(1).unwrap(), Number::new(0));
        let id = open(&spans, &memory, &hint);
        for n in 0..20 {
            spans.values(
                &memory,
                42,
                id,
                n,
                &[value::head(0, value::Kind::U32, n as u32)],
            );
        }
        let mut words = [0; SLOT_WORDS];
        let len = spans.copy(&memory, 42, id, &mut words).unwrap();
        let mut walk = ttlog_format::span::records(&words[..len], 42, id);
        let kinds: Vec<_> = walk.by_ref().map(|record| record.kind).collect();
        assert_eq!(kinds[0], record::Kind::SpanOpen);
        assert_eq!(kinds.len(), 1 + (OPENING_ROOM - 5) / 4);
        assert!(!walk.damaged());
    }

    #[test]
    fn later_values_are_left_to_the_ring_while_somebody_appends_others() {
        let memory = Memory::heap(Layout::SPANS_OFFSET as usize / 8 + SLOT_WORDS);
        let (spans, hint) = (Spans::new(1).unwrap(), Number::new(0));
        let id = open(&spans, &memory, &hint);
        let mut words = [0; SLOT_WORDS];
        let mut len = || spans.copy(&memory, 42, id, &mut words).unwrap();
        let values = [value::head(0, value::Kind::U32, 1)];
        let before = len();
        let used = &spans.slots[0].used;
        used.fetch_or(APPENDING, Ordering::Relaxed);
        spans.values(&memory, 42, id, 1, &values);
        assert_eq!(len(), before);
        used.fetch_and(!APPENDING, Ordering::Relaxed);
        spans.values(&memory, 42, id, 1, &values);
        assert_eq!(len(), before + 4);
    }

    #[test]
    fn handles_of_a_span_that_is_closed_keep_no_other_alive() {
        let memory = Memory::heap(Layout::SPANS_OFFSET as usize / 8 + SLOT_WORDS);
        let (spans, hint) = (Spans::new(1).unwrap(), Number::new(0));
        let closed = open(&spans, &memory, &hint);
        assert!(spans.release(closed));
        spans.close(&memory, closed);
        let next = open(&spans, &memory, &hint);
        spans.retain(closed);
        assert!(spans.release(next), "nobody else has a handle of it");
        let mut short = [1, 2, 3];
        fill_in(&mut short, next, 7);
        assert_eq!(short, [1, 2, 3], "no opening");
    }

    #[test]
    fn a_slot_lies_where_the_layout_says_and_the_next_hint_is_its_neighbour() {
        let layout = Layout {
            span_slots: 1 << 24,
            blocks: 0,
        };
        let slots = (0..1 << 12).chain((12..24).flat_map(|bit| [(1 << bit) - 1, 1 << bit]));
        for slot in slots {
            assert_eq!(base(slot) as u64 * 8, layout.slot_offset(slot));
            let generations = [1, 2, 7, (1 << 36) - 1, (1 << 36) + 1, (1 << 37) - 1];
            for generation in generations {
                let next = after(slot, generation);
                let group = u64::from(slot) / 8;
                assert_eq!(next / 8, group, "it stays among eight");
                assert_ne!(next, u64::from(slot));
            }
            // Eight take turns until they have no ids any more.
            let mut seen: Vec<u64> = vec![slot.into()];
            (1..8).for_each(|_| seen.push(after(seen[seen.len() - 1] as u32, 1)));
            seen.sort_unstable();
            let group = u64::from(slot) / 8 * 8;
            assert_eq!(seen, (group..group + 8).collect::<Vec<_>>());
            assert_eq!(after(slot, 1 << 36), u64::from(slot) + 1);
        }
    }

    #[test]
    fn what_is_written_to_a_slot_stays_in_it_however_long_it_is() {
        for values in 0..=SLOT_WORDS + 4 {
            let slots = Layout::SPANS_OFFSET as usize / 8;
            let memory = Memory::heap(slots + 3 * SLOT_WORDS);
            let spans = Spans::new(3).unwrap();
            let hint = Number::new(1);
            let mut words = vec![
                record::header(record::Kind::SpanOpen, 6 + values),
                1,
                2,
                0,
                0,
            ];
            words.extend((0..values).map(|n| value::head(n as u8, value::Kind::U32, n as u32)));
            let opening = Opening {
                is_plain: true,
                words: &mut words,
                site: 3,
                parent: None,
            };
            let (id, _) = spans.open(&memory, 42, &hint, opening);
            assert_eq!(id.slot(), Some(1));
            for n in 0..12 {
                let value = value::head(0, value::Kind::U32, n);
                spans.values(&memory, 42, id, 5, &[value]);
            }
            spans.enter(&memory, id, 6, 7);
            let others =
                (0..slots + SLOT_WORDS).chain(slots + 2 * SLOT_WORDS..slots + 3 * SLOT_WORDS);
            for word in others {
                assert_eq!(memory.load(word, Ordering::Relaxed), 0, "{values} values");
            }
            let mut copy = [0; SLOT_WORDS];
            let len = spans.copy(&memory, 42, id, &mut copy).unwrap();
            let mut walk = ttlog_format::span::records(&copy[..len], 42, id);
            assert!(walk.by_ref().count() > 0 && !walk.damaged());
            spans.close(&memory, id);
            assert_eq!(memory.load(slots + SLOT_WORDS, Ordering::Relaxed), 0);
        }
    }
}
