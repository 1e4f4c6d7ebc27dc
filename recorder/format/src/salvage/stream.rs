//! A recording told from its file, entry by entry: the threads' blocks are read one after
//! the other, and merged by ticks.
//!
//! What is in memory is the index of the blocks, of each thread that is being told a
//! block, and the spans that are open then. A block that is taken for newer records before
//! its turn has come is overwritten, and no damage.
//!
//! Why is a thread's next block not read at once when it has told one? Of thousands of
//! threads that end, each has a block: one is read when the others have come to its first
//! record, and the index knows when that was.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::sync::Arc;

use super::entries::always_wanted;
use super::file::File;
use super::mark::Mark;
use super::pool::{Block, Pool};
use super::replay::Page;
use super::scan::{self, Part, Survey};
use super::spans::{Known, Spans};
use super::telling::{Held, Telling};
use super::timeline::Timeline;
use super::{
    Entries, Entry, Error, Found, Ledger, Origin, Recording, Room, Source, Span, Thread, What,
};
use super::{afterwards, ledger};
use crate::block::{HEADER_WORDS, MAGIC_BLOCK, Next, word};
use crate::header::text;
use crate::span::SpanId;
use crate::{BLOCK_BYTES, BLOCK_WORDS};

/// Blocks up to so many are kept in memory: the process may be alive, and what it has
/// recorded at one moment is more than what is left of it while it is told.
const KEPT_BLOCKS: usize = (16 << 20) / BLOCK_BYTES;

/// Call sites that are known to be known, by a few bits of their addresses.
const SITES_SEEN: usize = 64;

/// A recording that is told from its file.
pub struct Stream<'s, S: ?Sized> {
    file: File<'s, S>,
    pool: Pool,
    timeline: Timeline,
    /// Where in the timeline the entries have come to.
    near: usize,
    threads: Vec<Telling>,
    /// Of each thread that has more to tell: when, at the earliest, and its index.
    next: BinaryHeap<Reverse<(u64, u32)>>,
    known: Known,
    /// What is known of spans before anything is told.
    before: (Known, HashMap<SpanId, Arc<Span>>),
    /// The account before anything is told, and what is counted since.
    accounts: [Ledger; 2],
    sites_seen: [u64; SITES_SEEN],
    last_ns: Option<u64>,
    is_over: bool,
    /// What was told before, and is not told again.
    after: Mark,
    /// What is later than this is not told yet.
    until_ticks: u64,
    /// Room for a block that is read.
    words: Box<[u64; BLOCK_WORDS]>,
    /// Index of the thread that told an entry last.
    told_by: usize,
    /// What was told before there is anything.
    nothing: Entry,
    /// What the entry takes that was told last.
    room: Room,
    recording: Recording,
}

impl<'s, S: Source + ?Sized> Stream<'s, S> {
    /// Looks through the recording in `source`, which its process may still be writing,
    /// and begins to tell it.
    ///
    /// # Errors
    /// The bytes cannot be read, or they are no recording that this code knows:
    /// see [`Error`].
    ///
    /// # Panics
    /// Never.
    pub fn open(source: &'s S) -> Result<Self, Error> {
        Stream::open_in_parts(source, |_| {})
    }

    /// The same, by whoever has threads: `look` may have the parts of the recording looked
    /// at by them, at once. At those that it leaves, this does.
    ///
    /// # Errors
    /// As of [`Stream::open`].
    ///
    /// # Panics
    /// Never.
    pub fn open_in_parts(
        source: &'s S,
        look: impl FnOnce(&mut [Part<'_, '_, S>]),
    ) -> Result<Self, Error> {
        Stream::open_after(source, look, Mark::default(), true)
    }

    /// The same, of what is behind `mark`, and only up to the last moment that it knows of
    /// unless it is to be the `rest`: what is later may have been recorded by one thread
    /// when another's blocks had already been looked at, and will be told in its order.
    ///
    /// # Errors
    /// As of [`Stream::open`].
    ///
    /// # Panics
    /// Never.
    pub fn open_after(
        source: &'s S,
        look: impl FnOnce(&mut [Part<'_, '_, S>]),
        mark: Mark,
        rest: bool,
    ) -> Result<Self, Error> {
        let file = File::open(source)?;
        let blocks = file.header.layout.blocks as usize;
        let known = Known::bounded(blocks);
        let mut stream = Stream::index(file, blocks <= KEPT_BLOCKS, known, look)?;
        if !rest {
            stream.until_ticks = mark.seen_ticks;
        }
        stream.after = mark;
        stream.start();
        Ok(stream)
    }

    /// The same, of a recording that was found by its blocks.
    ///
    /// # Errors
    /// As of [`Stream::open`].
    pub fn open_found(
        source: &'s S,
        found: &'s Found,
        look: impl FnOnce(&mut [Part<'_, '_, S>]),
    ) -> Result<Self, Error> {
        let file = File::of_found(source, Cow::Borrowed(found))?;
        let blocks = file.places() as usize;
        let mut stream = Stream::index(file, blocks <= KEPT_BLOCKS, Known::bounded(blocks), look)?;
        stream.start();
        Ok(stream)
    }

    /// The same, of which nothing is forgotten.
    pub(super) fn of_all(source: &'s S) -> Result<Self, Error> {
        Stream::begin(File::open(source)?, true, Known::default(), |_| {})
    }

    pub(super) fn begin(
        file: File<'s, S>,
        keep: bool,
        known: Known,
        look: impl FnOnce(&mut [Part<'_, '_, S>]),
    ) -> Result<Self, Error> {
        let mut stream = Stream::index(file, keep, known, look)?;
        stream.start();
        Ok(stream)
    }

    /// Looks through all of it, and begins nothing yet.
    fn index(
        file: File<'s, S>,
        keep: bool,
        known: Known,
        look: impl FnOnce(&mut [Part<'_, '_, S>]),
    ) -> Result<Self, Error> {
        let mut file = file;
        let (pool, survey, mended) = scan::scan(&file, keep, look)?;
        file.mend(mended);
        let samples = survey.samples(&pool).chain(file.samples()?);
        let timeline = Timeline::new(&file.header, samples);
        let mut account = ledger::of_recording(&pool, file.totals()?);
        account.missing_bytes = file.missing_bytes();
        let causes;
        (causes, account.damaged_causes) = file.causes()?;
        account.lacks_header = file.lacks_header();
        account.exact &= !account.lacks_header;
        account.lacks_rate = timeline.is_guessed;
        let threads = threads(&pool, &survey);
        let mut stream = Stream {
            recording: Recording {
                header: file.header.clone(),
                causes,
                incidents: Vec::new(),
                sites: survey.sites,
                threads: threads.iter().map(|(thread, _)| thread.clone()).collect(),
                ledger: account,
                spans: HashMap::new(),
                entries: Vec::new(),
                end_ns: 0,
            },
            threads: threads.into_iter().map(|(_, telling)| telling).collect(),
            next: BinaryHeap::new(),
            before: (known, HashMap::new()),
            known: Known::default(),
            near: 0,
            accounts: [account; 2],
            sites_seen: [0; SITES_SEEN],
            last_ns: None,
            is_over: false,
            after: Mark::default(),
            until_ticks: u64::MAX,
            words: Box::new([0; BLOCK_WORDS]),
            told_by: usize::MAX,
            nothing: Entry::default(),
            room: Room::default(),
            file,
            pool,
            timeline,
        };
        stream.read_spans()?;
        let last = (stream.pool.entries > 0).then_some(stream.pool.last_ticks);
        let last_ns = last.map(|ticks| stream.timeline.wall_ns(ticks));
        stream.recording.end_ns = stream.recording.end_after(last_ns);
        Ok(stream)
    }

    /// Reads what is known of spans beside the blocks.
    fn read_spans(&mut self) -> Result<(), Error> {
        let mut spans = Spans {
            recording: self.file.header.recording,
            timeline: &self.timeline,
            known: &mut self.before.0,
            told: &mut self.before.1,
        };
        self.accounts[0].damaged_spans = spans.read_table(&self.file)?;
        let incidents = self.file.incidents(|words| spans.description(words))?;
        for &id in incidents.iter().flat_map(|incident| &incident.stack) {
            self.before.0.hold(id);
        }
        self.recording.incidents = incidents;
        self.recording.ledger.damaged_spans = self.accounts[0].damaged_spans;
        Ok(())
    }

    /// Puts everything to where it was before anything was told.
    fn start(&mut self) {
        // What is known need not be there twice.
        (self.known, self.recording.spans) = Default::default();
        (self.known, self.recording.spans) = self.before.clone();
        self.accounts[1] = self.accounts[0];
        (self.near, self.last_ns, self.is_over) = (0, None, false);
        self.told_by = usize::MAX;
        self.next.clear();
        let threads = self.recording.threads.iter().zip(&mut self.threads);
        for (index, (thread, telling)) in (0..).zip(threads) {
            let after = self.after.threads.get(&thread.number).copied();
            *telling = Telling::new(index, telling.chain.clone());
            telling.pass_over(after, &mut self.pool);
        }
        for index in 0..self.threads.len() {
            let next = self.next_block(index);
            self.next
                .extend(next.map(|ticks| Reverse((ticks, index as u32))));
        }
    }

    /// How many entries there are at most.
    pub(super) fn entries_max(&self) -> usize {
        self.pool.entries
    }

    /// The recording, which has no entries, once it is told.
    pub(super) fn into_recording(self) -> Recording {
        self.recording
    }

    /// Tells the next entry, in time order, a thread's own in their order; false once all
    /// is told.
    ///
    /// # Errors
    /// The bytes cannot be read.
    ///
    /// # Panics
    /// Never.
    pub fn tell(&mut self) -> Result<bool, Error> {
        self.let_go();
        while let Some(&Reverse((ticks, index))) = self.next.peek()
            && ticks <= self.until_ticks
        {
            let told = self.tell_of(index as usize)?;
            let next = self.find(index as usize)?;
            if let Some(mut top) = self.next.peek_mut() {
                match next {
                    Some(ticks) => *top = Reverse((ticks, index)),
                    None => drop(PeekMut::pop(top)),
                }
            }
            if told {
                return Ok(true);
            }
        }
        if !self.is_over {
            self.settle();
        }
        Ok(false)
    }

    /// The entry that was told last, made in the place of an earlier one.
    pub fn told(&self) -> &Entry {
        let telling = self.threads.get(self.told_by);
        telling.map_or(&self.nothing, |telling| &telling.told)
    }

    /// Which record the entry was told from that was told last; `None` before there is any.
    pub fn told_from(&self) -> Option<Origin> {
        let telling = self.threads.get(self.told_by)?;
        let (word, is_later) = telling.told_place;
        Some(Origin {
            sequence: telling.teller.before,
            word,
            is_later,
        })
    }

    /// Lets go of the block of the entry that was told last, if that is over.
    fn let_go(&mut self) {
        if let Some(telling) = self.threads.get_mut(self.told_by)
            && telling.page.is_none()
        {
            telling.told = Entry::default();
        }
    }

    /// Tells the entry that was found of a thread, or begins its next block.
    fn tell_of(&mut self, index: usize) -> Result<bool, Error> {
        let telling = &mut self.threads[index];
        let Some(page) = &mut telling.page else {
            self.begin_block(index)?;
            return Ok(false);
        };
        let mut spans = spans(&self.timeline, &mut self.known, &mut self.recording);
        let told = &mut telling.told;
        let place = page.next_place().unwrap_or_default();
        let Some(room) = telling.teller.tell_found(page, &mut spans, told) else {
            return Ok(false);
        };
        telling.told_place = place;
        self.room = room;
        self.told_by = index;
        self.finish(index);
        Ok(!self.threads[index].was_told(place))
    }

    /// Finds a thread's next entry, and tells when that is.
    fn find(&mut self, index: usize) -> Result<Option<u64>, Error> {
        let telling = &mut self.threads[index];
        if let Some(page) = &mut telling.page {
            let mut spans = spans(&self.timeline, &mut self.known, &mut self.recording);
            let ticks = telling.teller.find(page, &mut spans);
            if ticks.is_some() {
                return Ok(ticks);
            }
        }
        if let Some(page) = telling.page.take() {
            self.end_block(index, &page)?;
        }
        Ok(self.next_block(index))
    }

    /// When a thread's next block begins, at the earliest.
    fn next_block(&self, index: usize) -> Option<u64> {
        let block = self.threads[index].block(&self.pool);
        block.map(|block| block.first_ticks)
    }

    fn begin_block(&mut self, index: usize) -> Result<(), Error> {
        self.known.begin_block();
        if self.known.is_crowded() {
            self.forget_spans();
        }
        let telling = &mut self.threads[index];
        let Some(Held { place, block, kept }) = telling.block_mut(&mut self.pool) else {
            return Ok(());
        };
        let words = match kept {
            Some(words) => Some(Arc::clone(words)),
            None => read_block(&self.file, place, block, &mut self.words)?,
        };
        block.readable = 0;
        match words {
            Some(words) => {
                telling
                    .teller
                    .begin(block.sequence, block.previous_sequence);
                let owner = block.owner();
                let key = owner.key(self.file.header.recording);
                let page = Page::new(words, key, kept.is_some() && block.is_sound);
                telling.page = Some(Box::new(page));
                telling.told_place = (0, false);
                telling.ticks_before = telling.teller.ticks;
            }
            None => {
                block.taken_since = true;
                telling.at += 1;
            }
        }
        Ok(())
    }

    fn end_block(&mut self, index: usize, page: &Page) -> Result<(), Error> {
        let telling = &mut self.threads[index];
        let held = telling.block_mut(&mut self.pool);
        telling.at += 1;
        if telling.at == telling.chain.end {
            let stack = telling.teller.stack.iter();
            stack.for_each(|&id| self.known.hold(id));
        }
        if let Some(Held { place, block, kept }) = held {
            block.readable = page.events;
            if page.is_damaged && kept.is_none() {
                let (now, found) = self.file.place_header(place)?;
                let there = found == HEADER_WORDS * 8;
                block.taken_since = there && !is_of_life(&now, block.sequence);
            }
        }
        Ok(())
    }

    fn forget_spans(&mut self) {
        let threads = self.threads.iter();
        let named = threads.flat_map(|telling| {
            let next = telling.page.as_ref().and_then(|page| page.named());
            telling.teller.stack.iter().copied().chain(next)
        });
        let mut spans = spans(&self.timeline, &mut self.known, &mut self.recording);
        spans.forget_oldest(named);
    }

    /// Dates a thread's entry, whose turn has come, and tells spans and threads what
    /// follows from it.
    fn finish(&mut self, index: usize) {
        let telling = &mut self.threads[index];
        let entry = &mut telling.told;
        entry.wall_ns = self.timeline.wall_ns_near(entry.wall_ns, &mut self.near);
        if let Some(after) = &telling.after {
            entry.wall_ns = entry.wall_ns.max(after.wall_ns);
        }
        self.last_ns = Some(entry.wall_ns);
        let first = telling.covered_ns.map_or(entry.wall_ns, |(first, _)| first);
        telling.covered_ns = Some((first, entry.wall_ns));
        if entry.what == What::Event {
            let account = &mut self.accounts[1];
            account.truncated += u64::from(entry.fields.are_truncated());
            let site = entry.site;
            let is_known = self.knows_site(site);
            self.accounts[1].events_without_site += u64::from(!is_known);
            return;
        }
        let spans_told = &mut self.recording.spans;
        if let Some(span) = entry.span.and_then(|id| spans_told.get_mut(&id)) {
            entry.site = span.site;
            if entry.what == What::Enter {
                let entered_ns = span.entered_ns.max(Some(entry.wall_ns));
                Arc::make_mut(span).entered_ns = entered_ns;
            }
        }
        if let (What::Close, Some(id)) = (entry.what, entry.span) {
            spans(&self.timeline, &mut self.known, &mut self.recording).close(id);
        }
    }

    fn knows_site(&mut self, site: u64) -> bool {
        let seen = (site >> 4) as usize % SITES_SEEN;
        if self.sites_seen[seen] == site && site != 0 {
            return true;
        }
        let known = self.recording.sites.contains_key(&site);
        if known {
            self.sites_seen[seen] = site;
        }
        known
    }

    /// Makes up the account of what has been told.
    fn settle(&mut self) {
        self.is_over = true;
        let mut account = self.accounts[1];
        let mut last = Vec::with_capacity(self.threads.len());
        self.believe_untold();
        for (thread, telling) in self.recording.threads.iter_mut().zip(&mut self.threads) {
            thread.counts = account.settle(self.pool.chain(&telling.chain), &self.pool);
            thread.stack = telling.teller.stack.clone();
            thread.covered_ns = telling.covered_ns;
            last.push((thread.number, telling.teller.ticks));
        }
        self.recording.ledger = account;
        afterwards::look(&mut self.recording.causes, &last, &self.timeline);
        self.recording.end_ns = self.recording.end_after(self.last_ns);
    }
}

impl<S: Source + ?Sized> Stream<'_, S> {
    /// Takes what is not told yet for what can be read, as long as nobody has tried.
    fn believe_untold(&mut self) {
        for telling in &self.threads {
            self.pool.believe(telling.at..telling.chain.end);
        }
    }

    /// How far it has been told, so that another stream can go on from there.
    pub fn mark(&self) -> Mark {
        let mut mark = Mark {
            seen_ticks: self.pool.last_ticks,
            ..Mark::default()
        };
        for (thread, telling) in self.recording.threads.iter().zip(&self.threads) {
            let last = telling.last(&self.pool);
            let newest = self.pool.chain(&telling.chain).last();
            let newest = newest.and_then(|&place| self.pool.block(place));
            let recorded = newest.map_or(0, |block| {
                let said = block.said_events().unwrap_or(0);
                block.events_before.saturating_add(said)
            });
            let told = last.map_or(0, |last| last.events);
            let behind = recorded.saturating_sub(told);
            mark.behind = mark.behind.saturating_add(behind);
            mark.threads.extend(last.map(|last| (thread.number, last)));
        }
        mark
    }
}

/// The threads, in the order of their numbers.
fn threads(pool: &Pool, survey: &Survey) -> Vec<(Thread, Telling)> {
    let chains = pool.chains();
    let threads = (0..).zip(chains).map(|(index, (number, chain))| {
        let newest = pool.chain(&chain).last();
        let newest = newest.and_then(|&place| pool.block(place));
        let owner = survey.owners.get(&number).copied().unwrap_or_default();
        let thread = Thread {
            number,
            id: owner.id,
            name: text(&owner.name),
            ended: newest.is_some_and(|block| block.next == Some(Next::Ended)),
            ..Thread::default()
        };
        (thread, Telling::new(index, chain))
    });
    threads.collect()
}

fn spans<'a>(
    timeline: &'a Timeline,
    known: &'a mut Known,
    recording: &'a mut Recording,
) -> Spans<'a> {
    Spans {
        recording: recording.header.recording,
        timeline,
        known,
        told: &mut recording.spans,
    }
}

/// A block's words up to what is committed; `None` if it was taken since the scan.
fn read_block<S: Source + ?Sized>(
    file: &File<'_, S>,
    place: u32,
    block: &Block,
    words: &mut [u64; BLOCK_WORDS],
) -> Result<Option<Arc<[u64]>>, Error> {
    let found = file.read_place(words, place)?;
    if found == BLOCK_BYTES && !is_of_life(words, block.sequence) {
        return Ok(None);
    }
    Ok(words.get(..block.end()).map(Arc::from))
}

/// Whether these are words of a block with this sequence number.
fn is_of_life(words: &[u64], sequence: u64) -> bool {
    MAGIC_BLOCK.contains(&words[word::MAGIC]) && words[word::SEQUENCE] == sequence
}

impl<S: Source + ?Sized> Entries for Stream<'_, S> {
    fn recording(&self) -> &Recording {
        &self.recording
    }

    fn tell(&mut self) -> io::Result<bool> {
        Stream::tell(self).map_err(|error| match error {
            Error::Read(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }

    fn told(&self) -> &Entry {
        Stream::told(self)
    }

    fn room(&self) -> Option<Room> {
        Some(self.room)
    }

    fn into_recording(self: Box<Self>) -> Recording {
        self.recording
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.start();
        Ok(())
    }

    fn mark(&self) -> Mark {
        Stream::mark(self)
    }

    fn hold(&mut self, id: SpanId) {
        self.known.hold(id);
    }

    fn release(&mut self, id: SpanId) {
        spans(&self.timeline, &mut self.known, &mut self.recording).release(id);
    }

    fn want(&mut self, id: SpanId) {
        self.known.want(id);
    }

    fn wanted(&mut self, give: &mut dyn FnMut(&Span) -> io::Result<()>) -> io::Result<()> {
        self.known
            .take_forgotten()
            .iter()
            .try_for_each(|span| give(span))?;
        if self.is_over {
            for id in always_wanted(&self.recording) {
                self.known.want(id);
            }
            let remaining = self.known.remaining(&self.recording.spans);
            let spans = remaining
                .iter()
                .filter_map(|id| self.recording.spans.get(id));
            spans.into_iter().try_for_each(|span| give(span))?;
        }
        Ok(())
    }
}
