//! What lies behind a check: records and their values, call sites, span slots, causes,
//! incidents, the header, totals and clock samples.
//!
//! The law of all of them: what was decoded and is encoded again is decoded as the same.

use std::fmt::Debug;

use ttlog_format::RECORD_MAX_WORDS;
use ttlog_format::cause::{CAUSE_WORDS, Cause};
use ttlog_format::check::Key;
use ttlog_format::clock::Sample;
use ttlog_format::header::{BLOCKS_MAX, HEADER_BYTES, Header, newest, totals};
use ttlog_format::incident::{self, Incident, PAGE_WORDS, Page};
use ttlog_format::record::{self, Raw};
use ttlog_format::site::{self, CallSite, Parts};
use ttlog_format::span::{self, SLOT_WORDS, SpanId};
use ttlog_format::value::{self, Field, Kind, Text, Value, head, text_head, words_of};

use super::block::is_sealed;
use super::{Input, are_same};
use crate::made::{self, RECORDING, seal_cause, seal_incident, seal_slot};

/// Whether checks are renewed, a bit of the first byte.
const SEALED: u8 = 0x80;

/// Where a record stands in its block.
const POSITION: usize = 24;

/// What comes of one decoder more at most.
const KINDS: u8 = 7;

/// The words of what the first byte says.
pub fn record(bytes: &[u8]) {
    record_by(bytes, record::at);
}

/// The same, with records found by `at`.
pub fn record_by(bytes: &[u8], at: impl for<'a> Fn(&'a [u64], usize, Key) -> Option<Raw<'a>>) {
    let mut input = Input(bytes);
    let which = input.byte();
    let is_sealed = which & SEALED != 0;
    match which % SEALED % KINDS {
        0 | 1 => of_a_block(input.rest(), is_sealed, at),
        2 => of_a_cause(&words(input), is_sealed),
        3 => of_an_incident(input.rest(), is_sealed),
        4 => of_a_slot(&words(input), is_sealed),
        5 => of_a_header(input, is_sealed),
        _ => of_what_changes(&mut input),
    }
}

fn words<const N: usize>(input: Input<'_>) -> [u64; N] {
    let mut words = [0; N];
    let given = made::words_of(input.rest());
    words
        .iter_mut()
        .zip(given)
        .for_each(|(word, it)| *word = it);
    words
}

/// Settles after one round: what `again` makes of it stays the same.
fn settles<T: PartialEq + Debug>(first: &T, again: impl Fn(&T) -> Option<T>) {
    let second = again(first).expect("what was encoded is decoded");
    let third = again(&second).expect("what was encoded is decoded");
    are_same(&second, &third, "encoded and decoded");
}

fn of_a_block(
    bytes: &[u8],
    is_to_seal: bool,
    at: impl for<'a> Fn(&'a [u64], usize, Key) -> Option<Raw<'a>>,
) {
    let key = Key::of_incident(RECORDING, 1);
    let mut area = vec![0; POSITION];
    area.extend(made::words_of(bytes).take(RECORD_MAX_WORDS + 8));
    if is_to_seal && area.len() > POSITION {
        let len = record::words(area[POSITION]).min(area.len() - POSITION);
        record::seal_in_place(&mut area[POSITION..POSITION + len], POSITION, key);
    }
    let Some(found) = at(&area, POSITION, key) else {
        return;
    };
    assert_eq!(found.position, POSITION);
    assert!(found.end() <= area.len());
    is_sealed(&area, found, key);
    if let Some(site) = site::decode(found) {
        of_a_site(&site);
    }
    for start in 2..found.words.len().min(6) {
        of_values(&found.words[start..]);
    }
}

/// Values are decoded in two ways, and are what they were when they are encoded again.
fn of_values(words: &[u64]) {
    let fields = value::decode(words);
    let in_place: Vec<Field> = value::fields(words).map(|field| field.owned()).collect();
    are_same(&in_place, &fields, "decoded in place");
    let encoded: Vec<u64> = fields.iter().flat_map(encoded).collect();
    are_same(&value::decode(&encoded), &fields, "encoded again");
    let len: usize = fields.iter().map(|field| field.value.words()).sum();
    assert_eq!(encoded.len(), len);
    for room in [0, 1, len / 2, len] {
        let mut fitted = Vec::new();
        let given = value::fit(words, room, |word| fitted.push(word));
        assert_eq!(given, fitted.len());
        assert!(given <= room);
        assert_eq!(consumed(&fitted), given);
    }
    for field in &fields {
        if let Some(text) = field.value.text() {
            assert!(text.whole_characters().len() <= text.bytes.len());
        }
    }
}

/// How many words hold whole values.
fn consumed(words: &[u64]) -> usize {
    let mut rest = words;
    while let Some(len) = value::len_words(rest) {
        rest = &rest[len..];
    }
    words.len() - rest.len()
}

/// The words of a value, as a recorder would write them.
fn encoded(field: &Field) -> Vec<u64> {
    let wide = |kind, low: u64, rest: Option<u64>| {
        let mut words = vec![head(field.index, kind, 0), low];
        words.extend(rest);
        words
    };
    let text = |kind, text: &Text| {
        let stored = text.bytes.len() as u16;
        let mut words = vec![text_head(field.index, kind, stored, text.whole)];
        words.extend(made::words_of(&text.bytes));
        assert_eq!(words.len(), 1 + words_of(text.bytes.len()));
        words
    };
    match &field.value {
        Value::I64(value) => match i32::try_from(*value) {
            Ok(small) => vec![head(field.index, Kind::I32, small as u32)],
            Err(_) => wide(Kind::I64, *value as u64, None),
        },
        Value::U64(value) => match u32::try_from(*value) {
            Ok(small) => vec![head(field.index, Kind::U32, small)],
            Err(_) => wide(Kind::U64, *value, None),
        },
        Value::I128(value) => wide(Kind::I128, *value as u64, Some((*value >> 64) as u64)),
        Value::U128(value) => wide(Kind::U128, *value as u64, Some((*value >> 64) as u64)),
        Value::F64(value) => wide(Kind::F64, value.to_bits(), None),
        Value::Bool(value) => vec![head(field.index, Kind::Bool, (*value).into())],
        Value::Str(it) => text(Kind::Str, it),
        Value::Bytes(it) => text(Kind::Bytes, it),
        Value::Debug(it) => text(Kind::Debug, it),
        Value::Error(it) => text(Kind::Error, it),
        Value::Redacted => vec![head(field.index, Kind::Redacted, 0)],
    }
}

fn of_a_site(site: &CallSite) {
    settles(site, |site| {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let parts = Parts {
            address: site.address,
            level: site.level,
            flags: flag(site.is_span, site::SPAN) | flag(site.is_log, site::LOG),
            name: &site.name,
            target: &site.target,
            file: &site.file,
            line: site.line,
            fields: site.fields.iter().map(String::as_str),
        };
        let mut words = [0; RECORD_MAX_WORDS];
        let len = site::encode(parts, 1, &mut words);
        let key = Key::of_incident(RECORDING, 1);
        record::seal_in_place(&mut words[..len], 0, key);
        site::decode(record::at(&words, 0, key)?)
    });
}

fn of_a_cause(words: &[u64; CAUSE_WORDS], is_to_seal: bool) {
    let mut words = *words;
    if is_to_seal {
        seal_cause(&mut words);
    }
    if let Some(cause) = Cause::decode(&words, RECORDING) {
        settles(&cause, |it| Cause::decode(&it.encode(RECORDING), RECORDING));
    }
}

fn of_an_incident(bytes: &[u8], is_to_seal: bool) {
    let mut page = [0; PAGE_WORDS];
    let given = made::words_of(bytes);
    page.iter_mut().zip(given).for_each(|(word, it)| *word = it);
    if is_to_seal {
        seal_incident(&mut page);
    }
    let decode = |page: &[u64]| {
        incident::decode(page, RECORDING, |words| {
            if let Some(id) = words.get(2).copied().and_then(SpanId::from_u64) {
                walked(&words[3..], id);
            }
        })
    };
    if let Some(found) = decode(&page) {
        settles(&found, |it: &Incident| {
            let mut page = Page::new(it, RECORDING);
            page.push_stack(&it.stack);
            page.push_frames(&it.frames);
            it.modules.iter().for_each(|it| page.push_module(it));
            page.push_symbols(&it.symbols);
            assert!(page.words().len() <= PAGE_WORDS);
            decode(page.words())
        });
    }
}

fn of_a_slot(words: &[u64; SLOT_WORDS], is_to_seal: bool) {
    let mut words = *words;
    if is_to_seal {
        seal_slot(&mut words);
    }
    if let Some(id) = SpanId::from_u64(words[span::word::ID]) {
        walked(&words, id);
        walked(&words[..SLOT_WORDS / 2], id);
        match id.slot() {
            Some(slot) => assert_eq!(SpanId::in_slot(slot, id.generation()), id),
            None => assert_eq!(SpanId::without_slot(id.tag(), id.number()), id),
        }
    }
}

fn walked(slot: &[u64], id: SpanId) {
    let key = Key::of_span(RECORDING, id.to_u64());
    let mut at = 0;
    for found in span::records(slot, RECORDING, id) {
        assert!(found.position >= at && found.end() <= slot.len());
        at = found.end();
        is_sealed(slot, found, key);
        of_values(found.words.get(3..).unwrap_or(&[]));
    }
}

fn of_a_header(input: Input<'_>, is_to_seal: bool) {
    let mut page = [0; HEADER_BYTES];
    let bytes = input.rest();
    let len = bytes.len().min(HEADER_BYTES);
    page[..len].copy_from_slice(&bytes[..len]);
    if is_to_seal {
        // As many of the bytes as may be anything.
        let mut header = made::header(7, 4);
        let mut input = Input(bytes);
        header.recording = input.word();
        header.layout.blocks = input.word() as u32 % (BLOCKS_MAX + 1);
        header.layout.span_slots = input.below(9);
        header.samples = [(); 2].map(|()| Sample::from_words([(); 4].map(|()| input.word())));
        let text = String::from_utf8_lossy(input.rest()).into_owned();
        (header.name, header.filter) = (text.clone(), text);
        page = *header.encode();
    }
    let decoded = Header::decode(&page);
    assert!(decoded.is_ok() || !is_to_seal, "{decoded:?}");
    if let Ok(header) = decoded {
        let layout = header.layout;
        assert!(layout.block_offset(layout.blocks) == layout.copy_offset());
        settles(&header, |header| Header::decode(&header.encode()[..]).ok());
    }
}

fn of_what_changes(input: &mut Input<'_>) {
    let (which, word) = (usize::from(input.byte() % 7), input.word());
    if let Some(total) = totals::decode(which, word, RECORDING) {
        assert_eq!(totals::encode(which, total, RECORDING), word);
    }
    let total = totals::encode(which, word, RECORDING);
    let most = (1 << 40) - 1;
    assert_eq!(
        totals::decode(which, total, RECORDING),
        Some(word.min(most))
    );
    let sample = Sample::from_words([(); 4].map(|()| input.word()));
    let words = newest::encode(sample, RECORDING, which % 2);
    assert_eq!(newest::decode(&words, RECORDING, which % 2), Some(sample));
    assert_eq!(newest::decode(&words, RECORDING, 1 - which % 2), None);
}
