//! Incidents: a panic, or a request for a snapshot, with all that was known of it.
//!
//! A page each, apart from the blocks, since a backtrace does not fit into one; the
//! first four pages and the last four are kept. A page is read like a small block:
//! records with checks, under the key of the incident, so that what is left of an
//! older incident in the same page is seen as such.
//!
//! ```text
//!   Incident      number, kind | thread number << 32, thread id, wall clock,
//!                 thread name (4 words), values: message, location
//!   Stack         the spans that the thread was in
//!   Description   of some of them, innermost first
//!   Frames        return addresses, innermost first
//!   Module        base, first address, first behind it, values: build id, name
//!   Symbols       values: a text, a line a frame        written last, or never
//! ```
//!
//! The first word of the page is stored last: a page either counts or does not.

use serde::{Deserialize, Serialize};

use crate::block::THREAD_NAME_BYTES;
use crate::check::Key;
use crate::header::{INCIDENT_BYTES, INCIDENTS, INCIDENTS_OFFSET, text};
use crate::record::{self, Kind as Record, Walk};
use crate::span::SpanId;
use crate::value::{self, REDACTED, Value, text_head};

/// Words of an incident's page.
pub const PAGE_WORDS: usize = INCIDENT_BYTES as usize / 8;

/// The most return addresses that are kept, the innermost.
pub const FRAMES: usize = 64;

/// Bytes kept of a message, a location, a module's name.
const MESSAGE_BYTES: usize = 1000;
const LOCATION_BYTES: usize = 256;
const MODULE_BYTES: usize = 128;

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// A panic, caught or not.
    #[default]
    Panic = 1,
    /// Somebody asked for a snapshot.
    Snapshot = 2,
}

/// An incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// What happened.
    pub kind: Kind,
    /// Its number, from 0, over all kinds.
    pub number: u64,
    /// When, in ticks.
    pub ticks: u64,
    /// When, in nanoseconds since 1970.
    pub wall_ns: u64,
    /// Number of the thread in the recording, 0 if it had recorded nothing.
    pub thread: u32,
    /// The operating system's id of the thread.
    pub thread_id: u32,
    /// Name of the thread.
    pub thread_name: String,
    /// What was said: the panic's message, or why there is a snapshot.
    pub message: String,
    /// Where: `file:line:column`, empty if it is not known.
    pub location: String,
    /// The spans that the thread was in, outermost first.
    #[serde(deserialize_with = "crate::snapshot::at_most::<_, _, 65536>")]
    pub stack: Vec<SpanId>,
    /// Return addresses, innermost first.
    #[serde(deserialize_with = "crate::snapshot::at_most::<_, _, 1024>")]
    pub frames: Vec<u64>,
    /// What the addresses lie in.
    #[serde(deserialize_with = "crate::snapshot::at_most::<_, _, 1024>")]
    pub modules: Vec<Module>,
    /// The frames in words, innermost first; empty where nobody found them out.
    #[serde(deserialize_with = "crate::snapshot::at_most::<_, _, 4096>")]
    pub symbols: Vec<String>,
}

/// An executable or a library as it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Module {
    /// What is added to the addresses in its file.
    pub base: u64,
    /// Its first address, and the first behind it.
    pub range: (u64, u64),
    /// GNU build id, in hexadecimal, empty if it has none.
    pub build_id: String,
    /// Its path.
    pub name: String,
}

/// The place of the `number`th incident: the first four stay, later ones share the last four.
pub fn place(number: u64) -> usize {
    crate::cause::place(number)
}

const _: () = assert!(INCIDENTS as usize == crate::cause::CAUSES);

/// Where the page at `place` lies, in bytes from the file's beginning.
pub fn offset(place: usize) -> u64 {
    INCIDENTS_OFFSET + place as u64 * INCIDENT_BYTES
}

/// A page that is being written, in memory of its own.
///
/// What finds no room is left out.
#[derive(Clone, Debug)]
pub struct Page {
    words: Vec<u64>,
    key: Key,
    ticks: u64,
}

impl Page {
    /// A page with the incident's own record; its stack, frames, modules and
    /// symbols are not looked at.
    pub fn new(incident: &Incident, recording: u64) -> Page {
        let mut page = Page {
            words: Vec::with_capacity(PAGE_WORDS),
            key: Key::of_incident(recording, incident.number),
            ticks: incident.ticks,
        };
        let mut name = [0; THREAD_NAME_BYTES];
        let len = incident.thread_name.floor_char_boundary(THREAD_NAME_BYTES);
        name[..len].copy_from_slice(&incident.thread_name.as_bytes()[..len]);
        let mut body = vec![
            incident.number,
            incident.kind as u64 | (u64::from(incident.thread) << 32),
            u64::from(incident.thread_id),
            incident.wall_ns,
        ];
        body.extend(
            name.as_chunks::<8>()
                .0
                .iter()
                .copied()
                .map(u64::from_le_bytes),
        );
        push_text(&mut body, 0, &incident.message, MESSAGE_BYTES);
        push_text(&mut body, 1, &incident.location, LOCATION_BYTES);
        page.push(Record::Incident, &body);
        page
    }

    /// Adds the spans that the thread was in, outermost first.
    pub fn push_stack(&mut self, stack: &[SpanId]) {
        let mut body = vec![stack.len() as u64, stack.len() as u64];
        body.extend(stack.iter().map(|span| span.to_u64()));
        self.push(Record::Stack, &body);
    }

    /// Adds what a span is: the words of its slot.
    pub fn push_description(&mut self, span: SpanId, slot: &[u64]) {
        let mut body = vec![span.to_u64()];
        body.extend(slot);
        self.push(Record::Description, &body);
    }

    /// Adds return addresses, innermost first.
    pub fn push_frames(&mut self, frames: &[u64]) {
        self.push(Record::Frames, &frames[..frames.len().min(FRAMES)]);
    }

    /// Adds a module.
    pub fn push_module(&mut self, module: &Module) {
        let mut body = vec![module.base, module.range.0, module.range.1];
        push_text(&mut body, 0, &module.build_id, MODULE_BYTES);
        push_text(&mut body, 1, &module.name, MODULE_BYTES);
        self.push(Record::Module, &body);
    }

    /// Adds the frames in words, as many as have room, and returns the word of the
    /// page at which they begin.
    pub fn push_symbols(&mut self, symbols: &[String]) -> usize {
        let at = self.words.len();
        let room = (PAGE_WORDS - at).saturating_sub(3) * 8;
        let mut lines = String::new();
        for symbol in symbols {
            if lines.len() + symbol.len() + 1 > room {
                break;
            }
            lines.push_str(symbol);
            lines.push('\n');
        }
        let mut body = Vec::new();
        push_text(&mut body, 0, &lines, room);
        self.push(Record::Symbols, &body);
        at
    }

    /// Appends a record, if it has room.
    fn push(&mut self, kind: Record, body: &[u64]) {
        let (position, len) = (self.words.len(), body.len() + 2);
        if position + len > PAGE_WORDS {
            return;
        }
        self.words.push(record::header(kind, len));
        self.words.push(self.ticks);
        self.words.extend(body);
        record::seal_in_place(&mut self.words[position..], position, self.key);
    }

    /// The words of the page.
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}

fn push_text(body: &mut Vec<u64>, index: u8, text: &str, most: usize) {
    let kept = &text.as_bytes()[..text.floor_char_boundary(most.min(usize::from(u16::MAX)))];
    let whole = u32::try_from(text.len()).unwrap_or(u32::MAX);
    body.push(text_head(index, value::Kind::Str, kept.len() as u16, whole));
    for chunk in kept.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        body.push(u64::from_le_bytes(word));
    }
}

/// Decodes a page, or `None` if it holds no incident of this recording; `describe`
/// is given the words of each description in it.
pub fn decode(page: &[u64], recording: u64, mut describe: impl FnMut(&[u64])) -> Option<Incident> {
    let key = Key::of_incident(recording, *page.get(2)?);
    let first = record::at(page, 0, key).filter(|first| first.kind == Record::Incident)?;
    let mut incident = of_record(first.words)?;
    for record in Walk::new(page, key, first.words.len(), page.len()) {
        let body = record.words.get(2..).unwrap_or(&[]);
        match record.kind {
            Record::Stack => {
                let ids = body.get(2..).unwrap_or(&[]);
                incident.stack = ids.iter().copied().filter_map(SpanId::from_u64).collect();
            }
            Record::Description => describe(record.words),
            Record::Frames => incident.frames = body.to_vec(),
            Record::Module => incident.modules.extend(module(body)),
            Record::Symbols => {
                let lines = value_text(body, 0);
                // Not `lines`, which takes a carriage return for a part of the end.
                let lines = lines.split_terminator('\n');
                incident.symbols = lines.map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    Some(incident)
}

fn of_record(words: &[u64]) -> Option<Incident> {
    let &[_, ticks, number, kind, thread_id, wall_ns, ref rest @ ..] = words else {
        return None;
    };
    let (name, values) = rest.split_at_checked(THREAD_NAME_BYTES / 8)?;
    let name: Vec<u8> = name.iter().flat_map(|word| word.to_le_bytes()).collect();
    Some(Incident {
        kind: match kind as u32 {
            1 => Kind::Panic,
            2 => Kind::Snapshot,
            _ => return None,
        },
        number,
        ticks,
        wall_ns,
        thread: (kind >> 32) as u32,
        thread_id: thread_id as u32,
        thread_name: text(&name),
        message: value_text(values, 0),
        location: value_text(values, 1),
        ..Incident::default()
    })
}

fn module(body: &[u64]) -> Option<Module> {
    let &[base, start, end, ref values @ ..] = body else {
        return None;
    };
    Some(Module {
        base,
        range: (start, end),
        build_id: value_text(values, 0),
        name: value_text(values, 1),
    })
}

/// The text among `values` with this index.
fn value_text(values: &[u64], index: u8) -> String {
    let found = value::decode(values)
        .into_iter()
        .find(|field| field.index == index);
    match found.map(|field| field.value) {
        Some(Value::Str(text)) => String::from_utf8_lossy(&text.bytes).into_owned(),
        Some(Value::Redacted) => REDACTED.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident() -> Incident {
        Incident {
            kind: Kind::Panic,
            number: 6,
            ticks: 1,
            wall_ns: 2,
            thread: 3,
            thread_id: 4711,
            thread_name: "worker-1".into(),
            message: "index out of bounds".into(),
            location: "src/main.rs:7:5".into(),
            stack: vec![SpanId::in_slot(1, 1), SpanId::in_slot(2, 1)],
            frames: vec![0x1000, 0x2000],
            modules: vec![Module {
                base: 0x1000,
                range: (0x1000, 0x9000),
                build_id: "deadbeef".into(),
                name: "/usr/bin/payments".into(),
            }],
            symbols: vec!["main at src/main.rs:7".into(), "start\r".into()],
        }
    }

    fn page(incident: &Incident) -> Vec<u64> {
        let mut page = Page::new(incident, 42);
        page.push_stack(&incident.stack);
        page.push_description(incident.stack[0], &[1, 2, 3]);
        page.push_frames(&incident.frames);
        incident
            .modules
            .iter()
            .for_each(|module| page.push_module(module));
        page.push_symbols(&incident.symbols);
        page.words().to_vec()
    }

    #[test]
    fn records_that_are_too_short_say_nothing() {
        let key = Key::of_incident(42, 6);
        let sealed = |kind, body: &[u64], position| {
            let mut words = vec![record::header(kind, body.len() + 1)];
            words.extend(body);
            record::seal_in_place(&mut words, position, key);
            words
        };
        // Of an incident, that it has the number 6.
        for len in 2..5 + THREAD_NAME_BYTES / 8 {
            let mut body = vec![1, 6, 1, 4711, 2];
            body.resize(len, 0);
            let page = sealed(Record::Incident, &body, 0);
            assert_eq!(decode(&page, 42, |_| {}), None, "{len}");
        }
        // Of a module, where it begins.
        let mut words = page(&incident());
        let whole = decode(&words, 42, |_| {}).unwrap();
        words.extend(sealed(Record::Module, &[1, 0x1000], words.len()));
        assert_eq!(decode(&words, 42, |_| {}), Some(whole));
    }

    #[test]
    fn what_has_no_room_in_a_page_is_left_out() {
        let incident = incident();
        let mut page = Page::new(&incident, 42);
        (0..1000).for_each(|_| page.push_module(&incident.modules[0]));
        assert!(page.words().len() <= PAGE_WORDS);
        let kept = decode(page.words(), 42, |_| {}).unwrap().modules;
        assert!(kept.len() > 10 && kept.iter().all(|module| *module == incident.modules[0]));
    }

    #[test]
    fn an_incident_comes_back() {
        let mut described = 0;
        let read = decode(&page(&incident()), 42, |_| described += 1);
        assert_eq!(read, Some(incident()));
        assert_eq!(described, 1);
    }

    #[test]
    fn a_flipped_bit_costs_its_record_alone_and_no_number_comes_of_it() {
        let without = |lose: fn(&mut Incident)| {
            let mut rest = incident();
            lose(&mut rest);
            rest
        };
        // A description is not part of what is compared.
        let expected = [
            incident(),
            without(|incident| incident.stack.clear()),
            without(|incident| incident.frames.clear()),
            without(|incident| incident.modules.clear()),
            without(|incident| incident.symbols.clear()),
        ];
        let words = page(&incident());
        let mut seen = [false; 5];
        for bit in 0..words.len() * 64 {
            let mut flipped = words.clone();
            flipped[bit / 64] ^= 1 << (bit % 64);
            if let Some(read) = decode(&flipped, 42, |_| ()) {
                let found = expected.iter().position(|expected| *expected == read);
                seen[found.unwrap_or_else(|| panic!("bit {bit}: {read:?}"))] = true;
            }
        }
        assert_eq!(seen, [true; 5]);
    }

    #[test]
    fn what_an_older_incident_left_in_the_page_is_not_taken_for_the_newer_ones() {
        let old = page(&incident());
        let newer = Incident {
            number: 10,
            ..incident()
        };
        let mut words = Page::new(&newer, 42).words().to_vec();
        words.extend(&old[words.len()..]);
        let read = decode(&words, 42, |_| ()).unwrap();
        assert_eq!(
            (read.number, read.frames.len(), read.modules.len()),
            (10, 0, 0)
        );
    }

    #[test]
    fn what_is_long_is_cut_and_the_page_never_overflows() {
        let long = "ö".repeat(5000);
        let incident = Incident {
            message: long.clone(),
            location: long.clone(),
            thread_name: long.clone(),
            stack: vec![SpanId::in_slot(1, 1); 32],
            frames: vec![7; 200],
            modules: vec![
                Module {
                    name: long.clone(),
                    ..Module::default()
                };
                20
            ],
            symbols: vec![long; 20],
            ..incident()
        };
        let words = page(&incident);
        assert!(words.len() <= PAGE_WORDS);
        let read = decode(&words, 42, |_| ()).unwrap();
        assert_eq!(read.message.len(), MESSAGE_BYTES);
        assert_eq!(read.frames.len(), FRAMES);
        assert_eq!(read.thread_name.len(), THREAD_NAME_BYTES);
    }

    #[test]
    fn arbitrary_words_are_no_incident() {
        let words: Vec<u64> = (0..PAGE_WORDS as u64)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        assert_eq!(decode(&words, 42, |_| ()), None);
        assert_eq!(decode(&[], 42, |_| ()), None);
    }
}
