//! Damaged copies of recordings, and whether what is not damaged is read from them.
//!
//! The truth is the undamaged recording, record by record: which bytes each takes, and
//! what is told from it. A copy is damaged by a seed, in one of five ways. The law: what
//! is told from every record whose own bytes are as they were is told from the copy, too,
//! and is the same; nothing else is told, and nothing twice.
//!
//! What cannot be known is not asked for: the spans that an event was in, where what came
//! before it in its block is damaged; a thread's name, where all of its headers are; a
//! call site of which every copy is damaged; and the moment to more than [`TIME_NS`], since
//! it is interpolated between clock samples that may be lost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::{AddAssign, Range};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use ttlog_format::block::{self, HEADER_WORDS, Owner, State, word};
use ttlog_format::check::Key;
use ttlog_format::header::Layout;
use ttlog_format::record::{Kind, Raw, Walk};
use ttlog_format::salvage::{Ledger, Origin, Stream, What};
use ttlog_format::site::CallSite;
use ttlog_format::span::SpanId;
use ttlog_format::value::Field;
use ttlog_format::{BLOCK_BYTES, BLOCK_WORDS};

use crate::Violation;
use crate::check::adds_up;
use crate::plan::{ADAPTERS, Adapter, What as Act};
use crate::scribble::Random;
use crate::{Plan, Victim};

/// How much earlier or later than in the undamaged recording a moment may be said to be.
pub const TIME_NS: u64 = 2_000_000;

/// Of how many bytes one may be damaged.
const BYTES_A_DAMAGED_ONE: usize = 100;

/// Bytes that are moved.
const MOVED_BYTES: usize = 64 << 10;

/// The longest run of ones or of noise.
const RUN_BYTES: usize = 8 << 10;

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Damage {
    /// Single bits are flipped.
    Bits,
    /// Whole pages are zeros.
    Pages,
    /// A stretch of 64 KiB lies over another.
    Moved,
    /// Stretches are ones.
    Ones,
    /// Bytes are random, scattered or in stretches.
    Noise,
}

/// All of them.
pub const DAMAGES: [Damage; 5] = [
    Damage::Bits,
    Damage::Pages,
    Damage::Moved,
    Damage::Ones,
    Damage::Noise,
];

impl Damage {
    /// Damages a recording that is laid out so, by a seed.
    pub fn befalls(self, bytes: &mut [u8], layout: Layout, seed: u64) {
        let mut random = Random::new(seed);
        // Often little, sometimes all that it may be.
        let most = ((bytes.len() / BYTES_A_DAMAGED_ONE) >> random.below(12)).max(1);
        match self {
            Damage::Bits => {
                for _ in 0..most {
                    let at = place(bytes.len(), layout, &mut random);
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            Damage::Pages => {
                for _ in 0..1 + most / 4096 {
                    let at = place(bytes.len(), layout, &mut random) / 4096 * 4096;
                    let end = bytes.len().min(at + 4096);
                    bytes[at..end].fill(0);
                }
            }
            Damage::Moved => {
                let unit = [1, 8, 4096][random.below(3)];
                let last = bytes.len() - MOVED_BYTES;
                let from = random.below(last) / unit * unit;
                let to = place(last, layout, &mut random) / unit * unit;
                bytes.copy_within(from..from + MOVED_BYTES, to);
            }
            Damage::Ones => runs(bytes, layout, most, &mut random, |_| 0xff),
            Damage::Noise if random.below(2) == 0 => {
                for _ in 0..most {
                    let at = place(bytes.len(), layout, &mut random);
                    bytes[at] = random.draw() as u8;
                }
            }
            Damage::Noise => runs(bytes, layout, most, &mut random, |it| it.draw() as u8),
        }
    }
}

/// Fills stretches of so many bytes in all.
fn runs(
    bytes: &mut [u8],
    layout: Layout,
    mut most: usize,
    random: &mut Random,
    fill: impl Fn(&mut Random) -> u8,
) {
    while most > 0 {
        let len = (1 + random.below(RUN_BYTES)).min(most);
        let at = place(bytes.len(), layout, random);
        let end = bytes.len().min(at + len);
        bytes[at..end]
            .iter_mut()
            .for_each(|byte| *byte = fill(random));
        most -= len;
    }
}

/// A byte, anywhere; more often than others those of which much depends.
fn place(end: usize, layout: Layout, random: &mut Random) -> usize {
    let at = match random.below(16) {
        0 => random.below(4096),
        1 => layout.copy_offset() as usize + random.below(4096),
        2 => random.below(layout.pool_offset() as usize),
        3 => {
            let index = random.below(layout.blocks as usize) as u32;
            layout.block_offset(index) as usize + random.below(block::HEADER_BYTES)
        }
        _ => random.below(end),
    };
    at.min(end - 1)
}

/// What is told from a record, as far as it can be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// What happened.
    pub what: What,
    /// Number of the thread.
    pub thread: u32,
    /// When, in nanoseconds since 1970.
    pub wall_ns: u64,
    /// Of an event, the address of its call site.
    pub site: u64,
    /// The span.
    pub span: Option<SpanId>,
    /// What is known of the span: its call site and its parent.
    pub about: Option<(u64, Option<SpanId>)>,
    /// The values.
    pub fields: Vec<Field>,
}

/// All that is told of a recording.
#[derive(Debug, Default)]
pub struct Telling {
    /// In the order in which it is told: from which record, and what.
    pub shown: Vec<(Origin, Shown)>,
    /// The threads' ids and names, by number.
    pub threads: HashMap<u32, (u32, String)>,
    /// The call sites, by address.
    pub sites: HashMap<u64, CallSite>,
    /// The account.
    pub ledger: Ledger,
}

/// Whoever reads a recording.
pub type Reader = fn(&[u8]) -> Result<Telling, String>;

/// The reader whom the harness is for.
///
/// # Errors
/// The bytes are said to be no recording.
pub fn salvaged(bytes: &[u8]) -> Result<Telling, String> {
    let mut stream = Stream::open(bytes).map_err(|error| format!("{error:?}"))?;
    let mut telling = Telling::default();
    while stream.tell().map_err(|error| format!("{error:?}"))? {
        let (entry, recording) = (stream.told(), recording(&stream));
        let span = entry.span.and_then(|id| recording.spans.get(&id));
        let shown = Shown {
            what: entry.what,
            thread: recording.threads[entry.thread as usize].number,
            wall_ns: entry.wall_ns,
            site: if entry.what.is_event() { entry.site } else { 0 },
            span: entry.span,
            about: span.map(|span| (span.site, span.parent)),
            fields: entry.fields.to_vec(),
        };
        telling
            .shown
            .push((stream.told_from().expect("a record"), shown));
    }
    let recording = recording(&stream);
    telling.ledger = recording.ledger;
    let threads = recording.threads.iter();
    telling.threads = threads
        .map(|thread| (thread.number, (thread.id, thread.name.clone())))
        .collect();
    let sites = recording.sites.iter();
    telling.sites = sites
        .map(|(&at, site)| (at, CallSite::clone(site)))
        .collect();
    Ok(telling)
}

fn recording<'r>(stream: &'r Stream<'_, [u8]>) -> &'r ttlog_format::salvage::Recording {
    ttlog_format::salvage::Entries::recording(stream)
}

/// A double that believes every record at its face: whatever a record's length leads to is
/// the next, and its check is taken to be right.
///
/// # Errors
/// The bytes are said to be no recording.
pub fn believed(bytes: &[u8]) -> Result<Telling, String> {
    let stream = Stream::open(bytes).map_err(|error| format!("{error:?}"))?;
    let header = recording(&stream).header.clone();
    let mut bytes = bytes.to_vec();
    for index in 0..header.layout.blocks {
        let found = words_of(&bytes, header.layout, index);
        let State::Block(block) = block::decode(&found) else {
            continue;
        };
        let mut words = found;
        let key = block.key();
        let end = block::committed(&words, key).map_or(HEADER_WORDS, |it| it.bytes / 8);
        let mut at = HEADER_WORDS;
        while at < end {
            let len = ttlog_format::record::words(words[at]);
            let Some(record) = words[..end].get_mut(at..at + len.max(2)) else {
                break;
            };
            if ttlog_format::record::at(&found, at, key).is_none() {
                ttlog_format::record::seal_in_place(record, at, key);
            }
            at += len.max(2);
        }
        put_words(&mut bytes, header.layout, index, &words);
    }
    salvaged(&bytes)
}

/// A record of the undamaged recording.
#[derive(Debug)]
struct Record {
    /// Where its bytes are.
    bytes: Range<usize>,
    /// Where the records of its block begin.
    block: usize,
    kind: Kind,
    /// The span that it describes, if it does.
    describes: Option<SpanId>,
    /// The call site that it describes, if it does.
    site: Option<CallSite>,
}

/// An undamaged recording, and what is true of it.
#[derive(Debug)]
pub struct Original {
    bytes: Vec<u8>,
    layout: Layout,
    recording: u64,
    /// By sequence number of the block, and place in it, every record.
    records: BTreeMap<(u64, usize), Record>,
    /// What is told, and in which place of the whole that is.
    shown: HashMap<Origin, (usize, Shown)>,
    telling: Telling,
    /// Records that are there and not told: not committed, or given up.
    beside: HashSet<(u64, usize)>,
}

fn words_of(bytes: &[u8], layout: Layout, index: u32) -> [u64; BLOCK_WORDS] {
    let offset = layout.block_offset(index) as usize;
    let mut words = [0; BLOCK_WORDS];
    let block = bytes.get(offset..offset + BLOCK_BYTES).unwrap_or(&[]);
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

fn put_words(bytes: &mut [u8], layout: Layout, index: u32, words: &[u64; BLOCK_WORDS]) {
    let offset = layout.block_offset(index) as usize;
    let block = bytes[offset..offset + BLOCK_BYTES].as_chunks_mut::<8>().0;
    for (bytes, word) in block.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
}

impl Original {
    /// What is true of a recording that is whole.
    ///
    /// # Errors
    /// It is not, or what is told of it is not what its records say.
    pub fn new(bytes: Vec<u8>) -> Result<Original, Violation> {
        let telling = salvaged(&bytes).map_err(Violation::new)?;
        let ledger = telling.ledger;
        if ledger.damaged_blocks + ledger.damaged_spans + ledger.counts.torn > 0 {
            return Err(Violation::new(format!("not undamaged: {ledger:?}")));
        }
        let header = ttlog_format::header::Header::decode(&bytes);
        let header = header.map_err(|fault| Violation::new(format!("{fault:?}")))?;
        let mut original = Original {
            layout: header.layout,
            recording: header.recording,
            records: BTreeMap::new(),
            shown: HashMap::new(),
            beside: HashSet::new(),
            telling,
            bytes,
        };
        for index in 0..original.layout.blocks {
            original.take_in(index);
        }
        let shown = original.telling.shown.iter().enumerate();
        let shown = shown.map(|(at, (origin, shown))| (*origin, (at, shown.clone())));
        original.shown = shown.collect();
        original.agrees()?;
        Ok(original)
    }

    /// Takes in the records of a block.
    fn take_in(&mut self, index: u32) {
        let mut words = words_of(&self.bytes, self.layout, index);
        let is_whole = matches!(block::decode(&words), State::Block(_));
        if let Some(pair) = block::MAGIC_TAKEN
            .iter()
            .position(|&it| it == words[word::MAGIC])
        {
            words[word::MAGIC] = block::MAGIC_BLOCK[pair];
        }
        let Some(owner) = block::named(words.first_chunk().expect("a block")) else {
            return;
        };
        let key = owner.key(words[word::RECORDING]);
        let committed = block::committed(&words, key).map_or(HEADER_WORDS, |it| it.bytes / 8);
        let block = self.layout.block_offset(index) as usize + block::HEADER_BYTES;
        for record in Walk::new(&words, key, HEADER_WORDS, block::OWNER_WORD) {
            let at = (owner.sequence, record.position);
            if is_whole && record.position < committed {
                self.records.insert(at, self.record(&record, block));
            } else {
                self.beside.insert(at);
            }
        }
    }

    fn record(&self, record: &Raw<'_>, block: usize) -> Record {
        let start = block - block::HEADER_BYTES;
        let named = match record.kind {
            Kind::SpanOpen => record.words.get(3),
            Kind::Description => record.words.get(2),
            _ => None,
        };
        Record {
            bytes: start + record.position * 8..start + record.end() * 8,
            block,
            kind: record.kind,
            describes: named.copied().and_then(SpanId::from_u64),
            site: ttlog_format::site::decode(*record),
        }
    }

    /// Checks that what is told of the recording is what its records say.
    fn agrees(&self) -> Result<(), Violation> {
        let told: HashSet<(u64, usize)> = self
            .shown
            .keys()
            .map(|origin| (origin.sequence, origin.word))
            .collect();
        if told.len() > self.shown.len() || self.shown.len() != self.telling.shown.len() {
            return Err(Violation::new("something is told twice"));
        }
        let is_entry = |kind: Kind| kind as u8 <= Kind::SpanFollows as u8;
        for (at, record) in &self.records {
            if is_entry(record.kind) != told.contains(at) {
                return Err(Violation::new(format!(
                    "{at:?} is not told right: {record:?}"
                )));
            }
        }
        match told.iter().find(|at| !self.records.contains_key(at)) {
            Some(at) => Err(Violation::new(format!("{at:?} is told and not there"))),
            None => Ok(()),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where everything lies in it.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// Checks what is told of a damaged copy; what of the copy was checked.
    ///
    /// # Errors
    /// The first thing that is not told, not true, or told twice.
    pub fn judge(&self, copy: &Copy<'_>, told: &Telling) -> Result<Figures, Violation> {
        let mut figures = Figures::default();
        let whole = Whole::of(self, copy);
        let shown = self.all_true(told, &whole)?;
        for (origin, (_, truth)) in &self.shown {
            let at = (origin.sequence, origin.word);
            if !whole.records.contains(&at) {
                continue;
            }
            figures.records += 1;
            if !shown.contains(origin) {
                return Err(Violation::new(format!(
                    "lost: {at:?} at byte {:?}, undamaged: {truth:?}",
                    self.records[&at].bytes
                )));
            }
        }
        for address in &whole.sites {
            if told.sites.get(address) != self.telling.sites.get(address) {
                return Err(Violation::new(format!("lost: the call site {address:#x}")));
            }
        }
        self.accounts(told)?;
        let shown = shown.len() as u64;
        figures.copies = 1;
        figures.damaged = self.shown.len() as u64 - figures.records;
        figures.mended = told.ledger.mended_blocks;
        figures.without_header = u64::from(told.ledger.lacks_header);
        figures.more = shown.saturating_sub(figures.records);
        Ok(figures)
    }

    /// Checks that all that is told is true, and told once and in order; from which
    /// records it is told.
    fn all_true(&self, told: &Telling, whole: &Whole) -> Result<HashSet<Origin>, Violation> {
        let mut seen = HashSet::new();
        let mut last: HashMap<u32, usize> = HashMap::new();
        for (origin, shown) in &told.shown {
            if !seen.insert(*origin) {
                return Err(Violation::new(format!("twice: {origin:?}: {shown:?}")));
            }
            let Some((place, truth)) = self.shown.get(origin) else {
                let is_beside = self.beside.contains(&(origin.sequence, origin.word));
                if is_beside || self.is_of_a_life_before(origin, shown.thread) {
                    seen.remove(origin);
                    continue;
                }
                return Err(Violation::new(format!("false: {origin:?}: {shown:?}")));
            };
            if last
                .insert(shown.thread, *place)
                .is_some_and(|last| last > *place)
            {
                return Err(Violation::new(format!(
                    "out of order: {origin:?}: {shown:?}"
                )));
            }
            let what = differs(shown, truth, whole.knows(origin, shown.span));
            if let Some(what) = what {
                return Err(Violation::new(format!(
                    "false: {what} of {origin:?}: {shown:?} instead of {truth:?}"
                )));
            }
        }
        for (number, (id, name)) in &told.threads {
            let truth = self.telling.threads.get(number);
            let is_true = truth.is_none_or(|truth| {
                (*id == 0 || *id == truth.0) && (name.is_empty() || *name == truth.1)
            });
            if !is_true {
                return Err(Violation::new(format!(
                    "false: thread {number} is {id}, {name:?}"
                )));
            }
        }
        Ok(seen)
    }

    /// Whether a record that is told was written where a newer life of its block now is,
    /// which has not reached it: nothing is left of that life, and the record is true.
    fn is_of_a_life_before(&self, origin: &Origin, thread: u32) -> bool {
        let owner = Owner {
            sequence: origin.sequence,
            thread,
            kind: block::Kind::Records,
        };
        let key = owner.key(self.recording);
        (0..self.layout.blocks).any(|index| {
            let words = words_of(&self.bytes, self.layout, index);
            ttlog_format::record::at(&words[..block::OWNER_WORD], origin.word, key).is_some()
        })
    }

    /// Checks the account.
    fn accounts(&self, told: &Telling) -> Result<(), Violation> {
        let (ledger, truth) = (told.ledger, self.telling.ledger);
        let events = told.shown.iter();
        let events = events.filter(|(_, shown)| shown.what.is_event()).count() as u64;
        let is_right = adds_up(&ledger.counts) && ledger.counts.readable == events;
        // What is said to be exact is.
        let is_exact = !ledger.exact
            || (ledger.counts.written == truth.counts.written
                && ledger.counts.dropped == truth.counts.dropped);
        if is_right && is_exact {
            return Ok(());
        }
        Err(Violation::new(format!(
            "the account, of {events} events: {ledger:?} instead of {truth:?}"
        )))
    }
}

/// In what that differs which was told and what is true, if it does.
fn differs(shown: &Shown, truth: &Shown, knows: Knows) -> Option<&'static str> {
    let has_span = shown.span == truth.span || (!knows.context && shown.span.is_none());
    let about = |a: Option<(u64, Option<SpanId>)>| a.unwrap_or((0, None));
    let ((site, parent), (true_site, true_parent)) = (about(shown.about), about(truth.about));
    let nothing_invented =
        (site == 0 || site == true_site) && (parent.is_none() || parent == true_parent);
    let differences = [
        (shown.what != truth.what, "what it is"),
        (shown.thread != truth.thread, "the thread"),
        (shown.site != truth.site, "the call site"),
        (shown.fields != truth.fields, "the values"),
        (shown.wall_ns.abs_diff(truth.wall_ns) > TIME_NS, "the time"),
        (!has_span, "the span"),
        (
            shown.span == truth.span && !nothing_invented,
            "what is known of the span",
        ),
        (
            knows.span && shown.about != truth.about,
            "what must be known of the span",
        ),
    ];
    let found = differences.into_iter().find(|(differs, _)| *differs);
    found.map(|(_, what)| what)
}

/// What of a copy is as it was.
#[derive(Debug, Default)]
struct Whole {
    records: HashSet<(u64, usize)>,
    /// Records before which all of their blocks' records are, too: what they are in is
    /// known.
    contexts: HashSet<(u64, usize)>,
    /// By block and span, where the block first says what the span is.
    described: HashMap<(u64, SpanId), usize>,
    sites: HashSet<u64>,
}

/// What a reader can know of a record beside what it says.
#[derive(Clone, Copy, Debug)]
struct Knows {
    /// In which span it is.
    context: bool,
    /// What that span is.
    span: bool,
}

impl Whole {
    fn knows(&self, origin: &Origin, span: Option<SpanId>) -> Knows {
        let described = span.and_then(|span| self.described.get(&(origin.sequence, span)));
        Knows {
            context: self.contexts.contains(&(origin.sequence, origin.word)),
            span: described.is_some_and(|&at| at < origin.word),
        }
    }

    fn of(original: &Original, copy: &Copy<'_>) -> Whole {
        let mut whole = Whole::default();
        // Of the block that is gone through: where it begins, and up to where it is whole.
        let mut block = (0, 0);
        for (&at, record) in &original.records {
            if record.block != block.0 {
                block = (record.block, record.block);
            }
            let is_whole = copy.is_whole(&original.bytes, record.bytes.clone());
            if is_whole {
                whole.records.insert(at);
                whole
                    .sites
                    .extend(record.site.iter().map(|site| site.address));
                if let Some(span) = record.describes {
                    let first = whole.described.entry((at.0, span)).or_insert(at.1);
                    *first = at.1.min(*first);
                }
            }
            if is_whole && block.1 == record.bytes.start {
                block.1 = record.bytes.end;
                whole.contexts.insert(at);
            }
        }
        whole
    }
}

/// A damaged copy.
#[derive(Debug)]
pub struct Copy<'b> {
    bytes: &'b [u8],
}

impl<'b> Copy<'b> {
    /// The copy of these bytes, as long as the original.
    pub fn new(bytes: &'b [u8]) -> Copy<'b> {
        Copy { bytes }
    }

    fn is_whole(&self, original: &[u8], range: Range<usize>) -> bool {
        self.bytes.get(range.clone()) == original.get(range)
    }
}

/// What came of damaged copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Copies.
    pub copies: u64,
    /// Of those, how many had no header left.
    pub without_header: u64,
    /// Undamaged entries that were there, each of which was told.
    pub records: u64,
    /// Damaged ones.
    pub damaged: u64,
    /// Of those, how many were told from elsewhere: from a copy of their block.
    pub more: u64,
    /// Blocks whose headers were made out.
    pub mended: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.copies += other.copies;
        self.without_header += other.without_header;
        self.records += other.records;
        self.damaged += other.damaged;
        self.more += other.more;
        self.mended += other.mended;
    }
}

/// What came of damaged copies, by kind, and those that were not read right.
#[derive(Debug, Default)]
pub struct Report {
    /// By kind of damage.
    pub figures: BTreeMap<Damage, Figures>,
    /// The seeds of copies that were not read right, and what was not.
    pub failures: Vec<(u64, Damage, Violation)>,
}

impl Report {
    /// Takes another in.
    pub fn append(&mut self, mut other: Report) {
        for (damage, figures) in other.figures {
            *self.figures.entry(damage).or_default() += figures;
        }
        self.failures.append(&mut other.failures);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (damage, it) in &self.figures {
            writeln!(
                f,
                "{damage:?}: {} copies, {} without a header; {} undamaged entries, {} damaged, \
                 {} of them told from copies; {} headers of blocks made out",
                it.copies, it.without_header, it.records, it.damaged, it.more, it.mended
            )?;
        }
        for (seed, damage, violation) in &self.failures {
            writeln!(f, "seed {seed}, {damage:?}: {violation}")?;
        }
        Ok(())
    }
}

/// Recordings that have wrapped and such that have not, of several threads, in spans, left
/// by processes of the binary `victim` that were killed.
///
/// # Panics
/// If they are not whole.
pub fn originals(victim: &Path) -> Vec<Original> {
    let tell = |adapter: Adapter, threads, life_ms| {
        let plan = Plan::new(Act::Tell).adapter(adapter).threads(threads);
        left_by(victim, &plan.capacity_mib(1), life_ms)
    };
    let churn = Plan::new(Act::Churn).threads(1 << 40).events(30);
    vec![
        tell(ADAPTERS[0], 4, 200),
        tell(ADAPTERS[1], 3, 200),
        tell(ADAPTERS[0], 1, 100),
        tell(ADAPTERS[1], 8, 3),
        left_by(victim, &churn.capacity_mib(1), 200),
    ]
}

/// What a victim of this plan leaves, killed after so long.
fn left_by(victim: &Path, plan: &Plan, life_ms: u64) -> Original {
    let mut victim = Victim::start(victim, plan);
    victim.until("began");
    victim
        .after(Duration::from_millis(life_ms))
        .dies_by(Signal::SIGKILL);
    let bytes = std::fs::read(victim.path()).expect("the recording");
    Original::new(bytes).unwrap_or_else(|violation| panic!("{plan:?}: {violation}"))
}

/// Damages a copy of the originals for each seed, on two threads; `each` is called after
/// every copy.
///
/// # Panics
/// If there is no original.
pub fn damaged(originals: &[Original], seeds: Range<u64>, each: impl Fn() + Sync) -> Report {
    const LANES: u64 = 2;
    let each = &each;
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let seeds = (seeds.start + lane..seeds.end).step_by(LANES as usize);
                scope.spawn(move || damage(originals, seeds, salvaged, each))
            })
            .collect();
        let mut report = Report::default();
        for lane in lanes {
            report.append(lane.join().expect("no panic"));
        }
        report
    })
}

/// Damages a copy of one of the originals for each seed, has it read and judges what is
/// told; `each` is called after every copy.
///
/// # Panics
/// If there is no original.
pub fn damage(
    originals: &[Original],
    seeds: impl IntoIterator<Item = u64>,
    reader: Reader,
    mut each: impl FnMut(),
) -> Report {
    let mut report = Report::default();
    let mut bytes = Vec::new();
    for seed in seeds {
        let damage = DAMAGES[(seed % DAMAGES.len() as u64) as usize];
        let which = seed / DAMAGES.len() as u64 % originals.len() as u64;
        let original = &originals[which as usize];
        bytes.clone_from(&original.bytes);
        damage.befalls(&mut bytes, original.layout, seed);
        let told = reader(&bytes).map_err(|error| Violation::new(format!("not read: {error}")));
        let judged = told.and_then(|told| original.judge(&Copy::new(&bytes), &told));
        match judged {
            Ok(figures) => *report.figures.entry(damage).or_default() += figures,
            Err(violation) => {
                keep(seed, original, &bytes);
                report.failures.push((seed, damage, violation));
            }
        }
        each();
    }
    report
}

/// Keeps a copy that was not read right, and its original, in the directory that
/// `TTLOG_TESTS_KEEP` names, if it names one.
fn keep(seed: u64, original: &Original, copy: &[u8]) {
    let Some(directory) = std::env::var_os("TTLOG_TESTS_KEEP") else {
        return;
    };
    let directory = Path::new(&directory);
    for (what, bytes) in [("original", original.bytes()), ("copy", copy)] {
        let path = directory.join(format!("{seed}.{what}"));
        std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }
}

/// Alters the last value of an event in a block, and makes its check right: a lie that no
/// check tells.
pub fn altered(original: &Original) -> Option<Vec<u8>> {
    const LONG: usize = 6;
    let mut bytes = original.bytes.clone();
    for index in 0..original.layout.blocks {
        let mut words = words_of(&bytes, original.layout, index);
        let State::Block(header) = block::decode(&words) else {
            continue;
        };
        let key: Key = header.key();
        let end = block::committed(&words, key).map_or(HEADER_WORDS, |it| it.bytes / 8);
        let mut walk = Walk::new(&words, key, HEADER_WORDS, end);
        let long = walk.find(|it| it.kind == Kind::Event && it.words.len() >= LONG);
        if let Some((at, len)) = long.map(|it| (it.position, it.words.len())) {
            words[at + len - 1] ^= 1;
            ttlog_format::record::seal_in_place(&mut words[at..at + len], at, key);
            put_words(&mut bytes, original.layout, index, &words);
            return Some(bytes);
        }
    }
    None
}
