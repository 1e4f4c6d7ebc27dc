//! Taking values out of a recording that was made without redaction: a copy of it in
//! which nobody finds them.
//!
//! The law: what is written was read here as what it is, and passed its check; all else is
//! zeros. So there is nothing in the copy of what lies in free blocks, behind what was
//! committed, in the slots of spans that are closed, or of earlier lives of a block. What
//! fails its check cannot be told from a secret: it is left out, and stays what it was in
//! the account, damaged or torn.
//!
//! A value is taken out by zeros in its place: records stay where they are and as long as
//! they were, and are sealed anew. Values whose field nobody can name are taken out, too:
//! those of a call site that is lost, or of a span of which nothing tells where it is from.
//!
//! The file is gone through three times: for headers that are to be mended, for the call
//! sites and for where spans are from, and then from its beginning to its end. In memory are
//! those, and a block.

use std::collections::HashMap;
use std::io::{self, Write};

use super::file::File;
use super::scan::{self, is_same_life};
use super::{Error, Source};
use crate::block::{self, HEADER_WORDS, OWNER_WORD, Retired, State, word};
use crate::cause::{self, CAUSE_WORDS, CAUSES};
use crate::check::Key;
use crate::header::{
    CAUSES_OFFSET, HEADER_BYTES, Header, INCIDENTS, INCIDENTS_OFFSET, Layout, TOTALS_OFFSET,
    newest, totals,
};
use crate::incident::{self, PAGE_WORDS};
use crate::record::{self, Kind, Raw, Walk};
use crate::redaction::Names;
use crate::site::{self, CallSite};
use crate::span::{self, SLOT_HEADER_WORDS, SLOT_WORDS, SpanId};
use crate::value::{self, Borrowed, Value};
use crate::{BLOCK_BYTES, BLOCK_WORDS};

/// What is taken out.
pub struct Rule<'r> {
    /// The values of fields with these names.
    pub names: &'r Names,
    /// Whatever value this says it of, messages included.
    pub value: &'r dyn Fn(&Value<Borrowed<'_>>) -> bool,
}

/// How much was taken out. What is kept in several places is counted in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Values.
    pub values: u64,
    /// Records that they were in.
    pub records: u64,
}

/// Why there is no copy.
#[derive(Debug)]
pub enum ScrubError {
    /// There is no recording to be read.
    Salvage(Error),
    /// The copy cannot be written.
    Write(io::Error),
}

impl From<Error> for ScrubError {
    fn from(error: Error) -> ScrubError {
        ScrubError::Salvage(error)
    }
}

/// Writes a copy of the recording in `source` to `out`, from its beginning to its end,
/// without what `rule` says.
///
/// # Errors
/// The bytes cannot be read, they are no recording that this code knows, or what `out`
/// says. Damage is none.
///
/// # Panics
/// Never.
pub fn scrub(
    source: &(impl Source + ?Sized),
    rule: &Rule<'_>,
    out: &mut dyn Write,
) -> Result<Scrubbed, ScrubError> {
    let mut file = File::open(source)?;
    let (_, _, mended) = scan::scan(&file, false, |_| {})?;
    file.mend(mended);
    let mut known = Known::default();
    known.learn(&file, rule.names)?;
    let mut scrub = Scrub {
        recording: file.header.recording,
        known,
        rule,
        scrubbed: Scrubbed::default(),
    };
    let left = file.end();
    scrub.write(&file, &mut Out { out, left })?;
    Ok(scrub.scrubbed)
}

/// What marks a place whose block is damaged: nothing that a recorder writes.
const DAMAGED: u64 = u64::from_le_bytes(*b"ttlgscrb");

/// The id in a slot that is damaged: of no span that has a slot.
const NO_SPAN: u64 = u64::MAX;

/// The word at a position if it is guarded, or one that is seen to be damaged.
fn guarded(position: usize, word: u64, key: Key) -> u64 {
    match key.guarded(position, word) {
        Some(_) => word,
        None => key.guard(position, 0) ^ (1 << 63),
    }
}

/// The block at a place.
enum Found {
    /// There is nothing to be kept of it.
    Free,
    /// Of what was there these totals count.
    Taken(Retired),
    /// It fails its check, or is not what belongs there.
    Damaged,
    /// It can be read, up to this word.
    Block(Box<block::Header>, Box<[u64; BLOCK_WORDS]>, usize),
}

/// How often a block that changes while it is read is tried.
const ATTEMPTS: usize = 3;

fn block_at<S: Source + ?Sized>(file: &File<'_, S>, index: u32) -> Result<Found, Error> {
    let place = file.place(index);
    let mut retired = Retired::default();
    for _ in 0..ATTEMPTS {
        let (before, _) = file.place_header(place)?;
        let mut words = Box::new([0; BLOCK_WORDS]);
        file.read_place(&mut words[..], place)?;
        let (after, _) = file.place_header(place)?;
        let is_one_life = is_same_life(&before, &words[..]) && is_same_life(&words[..], &after);
        if is_one_life {
            return Ok(found(file, index, &before, words));
        }
        // What is read of a block while it is taken looks damaged, and is not.
        retired = block::decode(&after).retired().unwrap_or(retired);
    }
    Ok(Found::Taken(retired))
}

/// What words are that were of one life while they were read, and begin as `before`.
fn found<S: ?Sized>(
    file: &File<'_, S>,
    index: u32,
    before: &[u64; HEADER_WORDS],
    mut words: Box<[u64; BLOCK_WORDS]>,
) -> Found {
    let header = match block::decode(&words[..]) {
        State::Free if words.iter().all(|&word| word == 0) => return Found::Free,
        State::Taken(totals) => return Found::Taken(totals),
        State::Free | State::Damaged => return Found::Damaged,
        State::Block(header) => header,
    };
    if header.recording != file.header.recording || header.index != index {
        return Found::Damaged;
    }
    // What was committed before the words were read is whole.
    let key = header.key();
    let commit = block::committed(before, key).map(|_| before[word::COMMIT]);
    words[word::COMMIT] = commit.unwrap_or(words[word::COMMIT]);
    let committed = block::committed(&words[..], key);
    let end = committed.map_or(OWNER_WORD, |commit| commit.bytes / 8);
    Found::Block(header, words, end)
}

/// A slot in which a span lives; `None` if there is none, or it changes while it is read.
fn slot_at<S: Source + ?Sized>(
    file: &File<'_, S>,
    slot: u32,
) -> Result<Option<(SpanId, [u64; SLOT_WORDS])>, Error> {
    for _ in 0..ATTEMPTS {
        let [before] = file.slot(slot)?;
        let words = file.slot::<SLOT_WORDS>(slot)?;
        let [after] = file.slot(slot)?;
        if before == words[0] && before == after {
            return Ok(SpanId::from_u64(before).map(|id| (id, words)));
        }
    }
    Ok(None)
}

/// What fields are called, and which spans have which.
#[derive(Default)]
struct Known {
    sites: Denied,
    /// By the ids of spans: where they are from; 0 where it is told in several ways.
    spans: HashMap<u64, u64>,
}

impl Known {
    fn learn<S: Source + ?Sized>(
        &mut self,
        file: &File<'_, S>,
        names: &Names,
    ) -> Result<(), Error> {
        for place in 0..INCIDENTS as usize {
            let page = file.words::<PAGE_WORDS>(incident::offset(place))?;
            let describe = |words: &[u64]| self.learn_record(Kind::Description, words, file);
            incident::decode(&page, file.header.recording, describe);
        }
        for slot in file.slots(1 << 8)?.into_iter().flatten() {
            if let Some((id, words)) = slot_at(file, slot)? {
                self.learn_slot(&words, id, file.header.recording);
            }
        }
        for place in 0..file.places() {
            let Found::Block(header, words, end) = block_at(file, file.index(place))? else {
                continue;
            };
            for found in Walk::new(&words[..], header.key(), HEADER_WORDS, end) {
                match site::decode(found) {
                    Some(site) => self.sites.learn(&site, names),
                    None => self.learn_record(found.kind, found.words, file),
                }
            }
        }
        Ok(())
    }

    fn learn_record<S: Source + ?Sized>(&mut self, kind: Kind, words: &[u64], file: &File<'_, S>) {
        match (kind, words) {
            (Kind::SpanOpen, &[_, _, site, span, ..]) => self.learn_span(span, site),
            (Kind::Description, &[_, _, span, ref slot @ ..]) => {
                if let Some(id) = SpanId::from_u64(span) {
                    self.learn_slot(slot, id, file.header.recording);
                }
            }
            _ => {}
        }
    }

    fn learn_slot(&mut self, slot: &[u64], id: SpanId, recording: u64) {
        for found in span::records(slot, recording, id) {
            if let (Kind::SpanOpen, &[_, _, site, span, ..]) = (found.kind, found.words)
                && span == id.to_u64()
            {
                self.learn_span(span, site);
            }
        }
    }

    fn learn_span(&mut self, span: u64, site: u64) {
        let known = self.spans.entry(span).or_insert(site);
        if *known != site {
            *known = 0;
        }
    }
}

/// By the addresses of call sites, whether each of their fields is denied. One that is told
/// in several ways is denied what any of them says.
#[derive(Default)]
pub(crate) struct Denied(HashMap<u64, Vec<bool>>);

impl Denied {
    pub(crate) fn learn(&mut self, site: &CallSite, names: &Names) {
        let denied = self.0.entry(site.address).or_default();
        if denied.len() < site.fields.len() {
            denied.resize(site.fields.len(), false);
        }
        for (denied, field) in denied.iter_mut().zip(&site.fields) {
            *denied |= names.deny_field(field);
        }
    }

    /// Whether a field's value is denied for its name, or because nobody knows that.
    pub(crate) fn deny(&self, site: u64, index: u8) -> bool {
        let denied = self.0.get(&site);
        denied
            .and_then(|denied| denied.get(usize::from(index)))
            .copied()
            .unwrap_or(true)
    }
}

/// Where the copy goes, of which so many bytes are left to be written.
struct Out<'o> {
    out: &'o mut dyn Write,
    left: u64,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ScrubError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(most)];
        self.left -= bytes.len() as u64;
        self.out.write_all(bytes).map_err(ScrubError::Write)
    }

    fn put_words(&mut self, words: &[u64]) -> Result<(), ScrubError> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(&bytes)
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }
}

/// A copy that is being made.
struct Scrub<'r> {
    recording: u64,
    known: Known,
    rule: &'r Rule<'r>,
    scrubbed: Scrubbed,
}

impl Scrub<'_> {
    fn write<S: Source + ?Sized>(
        &mut self,
        file: &File<'_, S>,
        out: &mut Out<'_>,
    ) -> Result<(), ScrubError> {
        let layout = file.header.layout;
        let header = Header {
            scrubbed: true,
            ..file.header.clone()
        };
        out.put(&header.encode()[..])?;
        out.put_words(&totals_of(file)?)?;
        out.put_words(&causes_of(file)?)?;
        for place in 0..INCIDENTS as usize {
            let page = file.words::<PAGE_WORDS>(incident::offset(place))?;
            out.put_words(&self.incident(&page, place))?;
        }
        for slot in 0..layout.span_slots {
            if out.is_full() {
                break;
            }
            let words = match slot_at(file, slot)? {
                Some((id, words)) => self.living(slot, id, &words),
                None => vec![0; SLOT_WORDS],
            };
            out.put_words(&words)?;
        }
        let slots = u64::from(layout.span_slots) * span::SLOT_BYTES as u64;
        let padding = layout.spans_bytes() - slots;
        out.put(&vec![0; padding as usize])?;
        for index in 0..layout.blocks {
            if out.is_full() {
                break;
            }
            let block = block_at(file, index)?;
            out.put_words(&self.block(&block))?;
        }
        out.put(&header.encode()[..])
    }

    fn block(&mut self, found: &Found) -> Vec<u64> {
        let mut clean = vec![0; HEADER_WORDS];
        match found {
            Found::Free => {}
            Found::Damaged => clean[word::MAGIC] = DAMAGED,
            Found::Taken(retired) => {
                clean[word::MAGIC] = block::MAGIC_TAKEN[0];
                clean[word::RETIRED] = retired.events;
                clean[word::RETIRED + 1] = retired.dropped;
            }
            Found::Block(header, words, end) => {
                let key = header.key();
                clean.copy_from_slice(&words[..HEADER_WORDS]);
                let unused = word::RETIRED + 2 * (1 - (header.pair & 1));
                clean[unused..unused + 2].fill(0);
                for at in [word::COMMIT, word::DROPPED, word::NEXT] {
                    clean[at] = guarded(at, clean[at], key);
                }
                let walk = Walk::new(&words[..], key, HEADER_WORDS, *end);
                self.records(walk, &mut clean, key, is_of_block);
                clean.resize(OWNER_WORD, 0);
                clean.extend(header.encode_owner());
            }
        }
        clean.resize(BLOCK_WORDS, 0);
        clean
    }

    /// Puts the records that pass their checks, and are of the right kind, to their places
    /// behind what there is, without what is to be taken out; and tells whether there were
    /// any.
    fn records(
        &mut self,
        walk: Walk<'_>,
        clean: &mut Vec<u64>,
        key: Key,
        belongs: impl Fn(Kind) -> bool,
    ) -> bool {
        let mut any = false;
        for found in walk.filter(|found| belongs(found.kind)) {
            clean.resize(found.position, 0);
            clean.extend(found.words);
            self.record(&found, &mut clean[found.position..]);
            clean.resize(found.end(), found.later.into());
            record::seal_in_place(&mut clean[found.position..], found.position, key);
            any = true;
        }
        any
    }

    /// Takes out what is to be of a record, whose later word is not among these.
    fn record(&mut self, found: &Raw<'_>, words: &mut [u64]) {
        let before = self.scrubbed.values;
        match (found.kind, words) {
            (Kind::Event | Kind::EventRoot, [_, _, site, values @ ..]) => {
                self.values(*site, values);
            }
            (Kind::EventIn, [_, _, site, _, values @ ..]) => self.values(*site, values),
            (Kind::SpanOpen, [_, _, site, _, _, values @ ..]) => self.values(*site, values),
            (Kind::SpanValues, [_, _, span, values @ ..]) => {
                let site = self.known.spans.get(span).copied().unwrap_or(0);
                self.values(site, values);
            }
            (Kind::Description, [_, _, span, slot @ ..]) => {
                let slot_of = SpanId::from_u64(*span).filter(|_| slot.first() == Some(span));
                match slot_of {
                    Some(id) => slot.copy_from_slice(&self.slot(id, slot).0),
                    None => slot.fill(0),
                }
                // Its records were counted themselves.
                return;
            }
            (Kind::Incident, [_, _, _, _, _, _, _, _, _, _, values @ ..]) => {
                self.values_by(values, |scrub, _, value| (scrub.rule.value)(value));
            }
            _ => {}
        }
        self.scrubbed.records += u64::from(self.scrubbed.values > before);
    }

    fn values(&mut self, site: u64, values: &mut [u64]) {
        self.values_by(values, |scrub, index, value| {
            scrub.known.sites.deny(site, index) || (scrub.rule.value)(value)
        });
    }

    fn values_by(
        &mut self,
        values: &mut [u64],
        deny: impl Fn(&Self, u8, &Value<Borrowed<'_>>) -> bool,
    ) {
        let mut at = 0;
        while let Some((field, behind)) = value::take_in_place(&values[at..]) {
            let (index, len) = (field.index, values.len() - at - behind.len());
            let was_there = field.value != Value::Redacted;
            if !was_there || deny(self, index, &field.value) {
                let redacted = value::redacted(index, len);
                let place = values[at..].iter_mut();
                place.zip(redacted).for_each(|(to, word)| *to = word);
                self.scrubbed.values += u64::from(was_there);
            }
            at += len;
        }
        // What is no value is shown to nobody.
        values[at..].fill(0);
    }

    /// A slot, or a copy of one, as it is kept; and whether there is a record in it.
    fn slot(&mut self, id: SpanId, slot: &[u64]) -> (Vec<u64>, bool) {
        let key = Key::of_span(self.recording, id.to_u64());
        let mut clean = slot[..SLOT_HEADER_WORDS.min(slot.len())].to_vec();
        if let Some(committed) = clean.get_mut(span::word::COMMITTED) {
            *committed = guarded(span::word::COMMITTED, *committed, key);
        }
        let walk = span::records(slot, self.recording, id);
        let of_span = |kind| matches!(kind, Kind::SpanOpen | Kind::SpanValues);
        let any = self.records(walk, &mut clean, key, of_span);
        clean.resize(slot.len(), 0);
        (clean, any)
    }

    /// A slot of the table. If there is no record in it, nothing says that a span lives
    /// there: it is damaged.
    fn living(&mut self, slot: u32, id: SpanId, words: &[u64]) -> Vec<u64> {
        let (clean, any) = self.slot(id, words);
        if any && id.slot() == Some(slot) {
            return clean;
        }
        let mut damaged = vec![0; SLOT_WORDS];
        damaged[span::word::ID] = NO_SPAN;
        damaged
    }

    /// An incident's page; zeros if it holds none.
    fn incident(&mut self, page: &[u64; PAGE_WORDS], place: usize) -> Vec<u64> {
        let mut clean = Vec::with_capacity(PAGE_WORDS);
        let found = incident::decode(page, self.recording, |_| ());
        if let Some(found) = found.filter(|found| incident::place(found.number) == place) {
            let key = Key::of_incident(self.recording, found.number);
            let walk = Walk::new(page, key, 0, PAGE_WORDS);
            self.records(walk, &mut clean, key, is_of_incident);
        }
        clean.resize(PAGE_WORDS, 0);
        clean
    }
}

fn is_of_block(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Incident | Kind::Frames | Kind::Module | Kind::Symbols
    )
}

fn is_of_incident(kind: Kind) -> bool {
    let described = matches!(kind, Kind::Stack | Kind::Description);
    described || !is_of_block(kind)
}

/// The words between two offsets of the head.
const fn words_between(from: u64, to: u64) -> usize {
    (to - from) as usize / 8
}

/// The page of totals and newest samples.
fn totals_of<S: Source + ?Sized>(file: &File<'_, S>) -> Result<Vec<u64>, Error> {
    let recording = file.header.recording;
    let mut clean = vec![0; words_between(TOTALS_OFFSET, CAUSES_OFFSET)];
    let words = file.words::<{ totals::WORDS }>(TOTALS_OFFSET)?;
    for (which, (clean, word)) in clean.iter_mut().zip(words).enumerate() {
        let is_total = totals::decode(which, word, recording).is_some();
        *clean = if is_total { word } else { 0 };
    }
    let first = words_between(TOTALS_OFFSET, newest::OFFSET);
    for place in 0..newest::PLACES {
        let at = first + place * newest::WORDS;
        let offset = TOTALS_OFFSET + at as u64 * 8;
        let words = file.words::<{ newest::WORDS }>(offset)?;
        if newest::decode(&words, recording, place).is_some() {
            clean[at..at + newest::WORDS].copy_from_slice(&words);
        }
    }
    Ok(clean)
}

/// The page of causes.
fn causes_of<S: Source + ?Sized>(file: &File<'_, S>) -> Result<Vec<u64>, Error> {
    let mut clean = vec![0; words_between(CAUSES_OFFSET, INCIDENTS_OFFSET)];
    for (place, clean) in clean.chunks_mut(CAUSE_WORDS).take(CAUSES).enumerate() {
        let mut words = file.words::<CAUSE_WORDS>(cause::offset(place))?;
        match cause::find(&words, file.header.recording, place) {
            cause::Found::Cause(found) => {
                words[cause::SURVIVED] = match found.survived_ticks {
                    Some(ticks) => cause::survived(file.header.recording, found.number, ticks),
                    None => 0,
                };
                clean.copy_from_slice(&words);
            }
            cause::Found::None | cause::Found::Begun => clean[0] = words[0],
            cause::Found::Damaged => {}
        }
    }
    Ok(clean)
}

const _: () = assert!(TOTALS_OFFSET as usize == HEADER_BYTES);
const _: () =
    assert!(Layout::SPANS_OFFSET == INCIDENTS_OFFSET + INCIDENTS * (PAGE_WORDS as u64 * 8));
const _: () = assert!(BLOCK_WORDS * 8 == BLOCK_BYTES);
