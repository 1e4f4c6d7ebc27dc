//! Damaged headers of blocks, made out again.
//!
//! The records of a block pass their checks under a key that names its owner: sequence
//! number, thread and kind. So whose the block is may be taken from anywhere, and one
//! record that passes proves it. In turn are tried: the header with one byte other than it
//! was found; the words at the block's end; the words of the header on faith; what the
//! thread's blocks before and after say; and where all that has failed, owners that are
//! like those, and sequence numbers that nobody else has with the threads that are known.
//! Records of an older life may lie behind and pass as well. The numbers that the header
//! guards are the newest life's: an owner under whose key one of them is right comes first,
//! and where two of them are of one key there is no other. Where none is right, one of the
//! block's first records has to be the owner's, until nothing else is left; and of two
//! owners the newer is it.
//! At last, a copy of a block that is nowhere else is taken for the block.
//!
//! The law: nothing is guessed. What the header's check does not prove, and nothing else
//! tells, is not known: a name, a time, a total. The account says then that it is not exact.
//!
//! The bound on the work: so many keys for each place of the pool, whatever is in them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::Source;
use super::file::{File, Mended};
use super::pool::{Block, Pool};
use super::scan::Owner as Person;
use crate::block::{
    self, HEADER_WORDS, Header, Kind, MAGIC_TAKEN, Next, OWNER_WORD, Owner, Retired, State,
    are_near, corrected, near, word,
};
use crate::check::{Key, guarding};
use crate::{BLOCK_WORDS, record};

/// Keys that are tried for each place of the pool.
const KEYS_A_PLACE: u64 = 1 << 14;

/// Of an owner for whom no guard speaks: so many of what may be a block's first records are
/// asked. They are the newest life's; what lies behind may be an older one's.
const WITNESSES: usize = 16;

/// Threads that are tried with every sequence number that is like one that was found.
const THREADS_NEAR: usize = 16;

/// Sequence numbers past the last that is known: of blocks of which nothing else tells.
const PAST_LAST: u64 = 64;

/// What is tried in a round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// What the header's check tells.
    Check,
    /// What is said of the block.
    Said,
    /// What is like that.
    Like,
    /// What can be at all.
    Any,
    /// What is said of the block, though its guards do not speak for it.
    Unguarded,
    /// A copy of a block that is not to be had at its own place.
    Copy,
}

/// The rounds: what one has found out tells the next more.
pub(super) const ROUNDS: [Effort; 8] = [
    Effort::Check,
    Effort::Said,
    Effort::Said,
    Effort::Like,
    Effort::Any,
    Effort::Said,
    Effort::Unguarded,
    Effort::Copy,
];

/// What became of a damaged block.
pub(super) enum Outcome {
    /// Its header was made out, all of it or as much as the records need.
    Block {
        mended: Box<Mended>,
        is_proven: bool,
    },
    /// It was being taken.
    Taken,
}

/// How many keys may be tried yet.
pub(super) struct Budget {
    left: u64,
    /// Of those, for one block.
    block: u64,
}

impl Budget {
    /// For so many places.
    pub(super) fn new(places: u32) -> Budget {
        Budget {
            left: u64::from(places) * KEYS_A_PLACE,
            block: 0,
        }
    }

    /// Begins a block, one of so many that are left.
    pub(super) fn begin(&mut self, blocks: usize) {
        self.block = self.left / (blocks as u64).max(1);
    }

    fn spend(&mut self, keys: u64) -> bool {
        let is_left = self.block >= keys && self.left >= keys;
        if is_left {
            self.left -= keys;
            self.block -= keys;
        }
        is_left
    }
}

/// What the blocks that can be read say of those that cannot.
pub(super) struct Known {
    recording: u64,
    /// Of all blocks.
    sequences: HashSet<u64>,
    last: u64,
    /// By thread, oldest first: where its blocks lie.
    order: Vec<(u32, u64, u32)>,
    /// The threads, and what is known of them.
    threads: Vec<u32>,
    people: HashMap<u32, Person>,
    /// By place, whose block it should be, as the thread's next block says.
    before: HashMap<u32, Vec<Owner>>,
    /// By place, whose block should be there, as the thread's block before says.
    after: HashMap<u32, Vec<u32>>,
}

impl Known {
    pub(super) fn new(recording: u64, pool: &Pool, people: &HashMap<u32, Person>) -> Known {
        let mut known = Known {
            recording,
            sequences: HashSet::new(),
            last: 0,
            order: Vec::new(),
            threads: people.keys().copied().collect(),
            people: people.clone(),
            before: HashMap::new(),
            after: HashMap::new(),
        };
        for (place, block) in pool.places.iter() {
            if let Some(block) = super::pool::as_block(block) {
                known.note(pool, place, block);
            }
        }
        known.order.sort_unstable();
        // Those that recorded last, first.
        let newest = |thread: &u32| people.get(thread).map_or(0, |person| person.sequence);
        known.threads.sort_by_key(|thread| Reverse(newest(thread)));
        known
    }

    fn note(&mut self, pool: &Pool, place: u32, block: &Block) {
        self.sequences.insert(block.sequence);
        self.last = self.last.max(block.sequence);
        if block.kind != Kind::Records {
            return;
        }
        self.order.push((block.thread, block.sequence, place));
        if let Some((sequence, index)) = block.previous().filter(|it| pool.is_lost(it.1)) {
            let owner = Owner {
                sequence,
                thread: block.thread,
                kind: Kind::Records,
            };
            self.before.entry(index).or_default().push(owner);
        }
        if let Some(Next::At(index)) = block.next
            && pool.is_lost(index)
        {
            self.after.entry(index).or_default().push(block.thread);
        }
    }

    /// Makes out what the words of a damaged place must have been.
    pub(super) fn mend<S: Source + ?Sized>(
        &mut self,
        words: &[u64; BLOCK_WORDS],
        place: u32,
        (file, pool): (&File<'_, S>, &Pool),
        effort: Effort,
        budget: &mut Budget,
    ) -> Option<Outcome> {
        let was = *words.first_chunk::<HEADER_WORDS>()?;
        let index = file.index(place);
        if MAGIC_TAKEN
            .iter()
            .any(|&magic| are_near(magic, was[word::MAGIC]))
        {
            return Some(Outcome::Taken);
        }
        let owner = match effort {
            Effort::Check => {
                let header = self.by_check(&was, index)?;
                return Some(self.outcome(&was, &header, true));
            }
            Effort::Copy => {
                let header = self.copy(&was, index)?;
                return Some(self.outcome(&was, &header, false));
            }
            Effort::Said | Effort::Unguarded => self.said(words, place, index, effort),
            Effort::Like | Effort::Any => self.sought(words, place, index, effort, budget),
        };
        let header = self.header(owner?, place, index, (file, pool));
        Some(self.outcome(&was, &header, false))
    }

    /// Whose the block is, where nothing that is said of it is true.
    fn sought(
        &self,
        words: &[u64; BLOCK_WORDS],
        place: u32,
        index: u32,
        effort: Effort,
        budget: &mut Budget,
    ) -> Option<Owner> {
        if block::owner(words, self.recording, index).is_some() {
            return None;
        }
        let witnesses = Witnesses::of(words);
        let mut seek = Seek {
            known: self,
            witnesses: &witnesses,
            budget,
        };
        match effort {
            Effort::Like => seek.like(words, place),
            _ => seek.any(),
        }
    }

    fn outcome(&mut self, was: &[u64; HEADER_WORDS], header: &Header, is_proven: bool) -> Outcome {
        self.sequences.insert(header.sequence);
        let mut is = header.encode(0);
        // These have checks of their own.
        for own in [word::COMMIT, word::DROPPED, word::NEXT] {
            is[own] = was[own];
        }
        let unused = word::RETIRED + 2 * (1 - (header.pair & 1));
        is[unused..unused + 2].copy_from_slice(&was[unused..unused + 2]);
        Outcome::Block {
            mended: Box::new(Mended { was: *was, is }),
            is_proven,
        }
    }

    /// The header by its check, if but a byte of it is wrong beside what is certain.
    fn by_check(&self, was: &[u64; HEADER_WORDS], index: u32) -> Option<Box<Header>> {
        if self.copied(was, index).is_some() {
            return None;
        }
        let kinds = [Kind::Records, Kind::CallSites];
        let certain = kinds.map(|kind| u64::from(index) | u64::from(kind as u32) << 32);
        let is_right = certain.contains(&was[word::INDEX]);
        certain.into_iter().find_map(|certain| {
            let mut words = *was;
            let may_be = match is_right {
                true => words[word::INDEX] == certain,
                false => are_near(words[word::INDEX], certain),
            };
            if !may_be {
                return None;
            }
            words[word::INDEX] = certain;
            words[word::RECORDING] = self.recording;
            corrected(&words).filter(|header| {
                let is_here = header.index == index && header.recording == self.recording;
                is_here && !self.sequences.contains(&header.sequence)
            })
        })
    }

    /// What is whole, and does not belong here: the header of a copy of another block.
    fn copied(&self, was: &[u64; HEADER_WORDS], index: u32) -> Option<Box<Header>> {
        match block::decode(was) {
            State::Block(header) if header.index != index => Some(header),
            _ => None,
        }
    }

    /// The same, if that block is to be had nowhere else: a header as of a block that
    /// belongs here.
    fn copy(&self, was: &[u64; HEADER_WORDS], index: u32) -> Option<Header> {
        let mut header = *self.copied(was, index)?;
        let is_own = header.recording == self.recording;
        (header.index, header.retired) = (index, Retired::default());
        (is_own && !self.sequences.contains(&header.sequence)).then_some(header)
    }

    /// Whose the block is, as its end, its header, or the thread's other blocks say.
    fn said(
        &self,
        words: &[u64; BLOCK_WORDS],
        place: u32,
        index: u32,
        effort: Effort,
    ) -> Option<Owner> {
        if let Some(owner) = block::owner(words, self.recording, index) {
            return self.proven(words, owner);
        }
        let (sequences, threads) = self.named(words, place, index);
        let mut pairs = Vec::new();
        for &sequence in &sequences {
            for &thread in &threads {
                pairs.extend(owners(sequence, thread));
            }
        }
        let before = self.before.get(&place).into_iter().flatten().copied();
        pairs.extend(before);
        let witnesses = Witnesses::of(words);
        let is_guarded = |owner: &Owner| witnesses.guards.any_is_of(owner.key(self.recording));
        // Records of an older life may lie behind those of a newer one, and pass, too.
        pairs.sort_by_key(|owner| Reverse((is_guarded(owner), owner.sequence)));
        let may_be = |owner: &Owner| {
            effort == Effort::Unguarded || witnesses.speak_for(owner.key(self.recording))
        };
        let mut pairs = pairs.into_iter().filter(may_be);
        pairs.find_map(|owner| self.proven(words, owner))
    }

    /// Whether the words at the block's beginning are its own, and not a copy of another's.
    fn has_own_header(&self, words: &[u64], index: u32) -> bool {
        let was = words.first_chunk::<HEADER_WORDS>();
        let is_own = was.is_some_and(|was| self.copied(was, index).is_none());
        is_own && are_near(words[word::INDEX] & u64::from(u32::MAX), index.into())
    }

    /// Sequence numbers and threads that the block, and the threads' other blocks, name.
    fn named(&self, words: &[u64; BLOCK_WORDS], place: u32, index: u32) -> (Vec<u64>, Vec<u32>) {
        let (mut sequences, mut threads) = (Vec::new(), Vec::new());
        if self.has_own_header(words, index) {
            sequences.push(words[word::SEQUENCE]);
            threads.push(words[word::THREAD] as u32);
        }
        let &[.., sequence, thread] = words;
        sequences.push(sequence);
        threads.push(thread as u32);
        for owner in self.before.get(&place).into_iter().flatten() {
            sequences.push(owner.sequence);
            threads.push(owner.thread);
        }
        threads.extend(self.after.get(&place).into_iter().flatten());
        let mut seen = HashSet::new();
        threads.retain(|thread| seen.insert(*thread));
        sequences.dedup();
        (sequences, threads)
    }

    /// The owner, if a record of the block passes under its key, and no other block is its.
    fn proven(&self, words: &[u64], owner: Owner) -> Option<Owner> {
        if owner.sequence == 0 || self.sequences.contains(&owner.sequence) {
            return None;
        }
        let key = owner.key(self.recording);
        let mut places = HEADER_WORDS..OWNER_WORD;
        let records = words.get(..OWNER_WORD)?;
        places
            .any(|at| record::at(records, at, key).is_some())
            .then_some(owner)
    }

    /// What can be said of the header of a block whose owner is proven.
    fn header<S: Source + ?Sized>(
        &self,
        owner: Owner,
        place: u32,
        index: u32,
        (file, pool): (&File<'_, S>, &Pool),
    ) -> Header {
        let person = self.people.get(&owner.thread).copied().unwrap_or_default();
        let mut header = Header {
            recording: self.recording,
            sequence: owner.sequence,
            index,
            kind: owner.kind,
            thread: owner.thread,
            ..Header::default()
        };
        if owner.kind == Kind::CallSites {
            return header;
        }
        (header.thread_id, header.thread_name) = (person.id, person.name);
        let at = self.order.partition_point(|&(thread, sequence, _)| {
            (thread, sequence) < (owner.thread, owner.sequence)
        });
        let of_thread = |at: Option<usize>| {
            let &(thread, _, place) = self.order.get(at?)?;
            let block = pool.block(place).filter(|_| thread == owner.thread);
            block.map(|block| (place, block))
        };
        if let Some((before, block)) = of_thread(at.checked_sub(1)) {
            let events = block.said_events().unwrap_or(block.readable.into());
            // There were so many at least.
            header.events_before = block.events_before.saturating_add(events);
            if block.next == Some(Next::At(place)) {
                header.previous_sequence = block.sequence;
                header.previous_index = file.index(before);
                header.previous_events = events as u32;
            }
        }
        if let Some((_, block)) = of_thread(Some(at))
            && block.previous_sequence == owner.sequence
        {
            let events = u64::from(block.previous_events);
            header.events_before = block.events_before.saturating_sub(events);
        }
        header
    }
}

/// A block of records or of call sites with this sequence number.
fn owners(sequence: u64, thread: u32) -> impl Iterator<Item = Owner> + Clone {
    let of = move |thread, kind| Owner {
        sequence,
        thread,
        kind,
    };
    [of(thread, Kind::Records), of(0, Kind::CallSites)].into_iter()
}

/// The guarded numbers of a block's header, of which each has its check: by which bits of
/// a key each is guarded.
#[derive(Clone, Copy)]
struct Guards([u32; 3]);

fn guards_of(words: &[u64]) -> Guards {
    let own = [word::COMMIT, word::DROPPED, word::NEXT];
    Guards(own.map(|at| guarding(at, words.get(at).copied().unwrap_or(0))))
}

impl Guards {
    fn any_is_of(self, key: Key) -> bool {
        self.0.into_iter().any(|bits| key.guards(bits))
    }

    /// Whether two are of one key, whichever that is: of three words of a run no two are.
    fn agree(self) -> bool {
        let Guards([a, b, c]) = self;
        a == b || b == c || a == c
    }
}

/// What of a block tells the right key from others.
struct Witnesses<'w> {
    records: &'w [u64],
    /// Where records may begin.
    places: Vec<usize>,
    guards: Guards,
}

impl<'w> Witnesses<'w> {
    fn of(words: &'w [u64]) -> Witnesses<'w> {
        let records = words.get(..OWNER_WORD).unwrap_or(&[]);
        let may_begin = |&at: &usize| {
            let len = record::words(records[at]);
            let fits = len >= record::RECORD_MIN_WORDS && at + len <= records.len();
            fits && record::kind(records[at]).is_some()
        };
        Witnesses {
            records,
            places: (HEADER_WORDS..records.len()).filter(may_begin).collect(),
            guards: guards_of(words),
        }
    }

    /// Those that are asked of an owner for whom no guard speaks.
    fn first(&self) -> &[usize] {
        match self.guards.agree() {
            true => &[],
            false => &self.places[..self.places.len().min(WITNESSES)],
        }
    }

    fn speak_for(&self, key: Key) -> bool {
        let asked = match self.guards.any_is_of(key) {
            true => &self.places,
            false => self.first(),
        };
        let passes = |&at: &usize| record::at(self.records, at, key).is_some();
        asked.iter().any(passes)
    }
}

/// Somebody who tries many keys.
struct Seek<'k, 'w, 'b> {
    known: &'k Known,
    witnesses: &'k Witnesses<'w>,
    budget: &'b mut Budget,
}

impl Seek<'_, '_, '_> {
    /// Whose it is of these, where a guard speaks for one, and else where the first records do.
    fn one_of(&mut self, among: impl Iterator<Item = Owner> + Clone) -> Option<Owner> {
        let witnesses = self.witnesses;
        let first = witnesses.first().len() as u64;
        let guarded = self.find(among.clone(), 1, |key| {
            witnesses.guards.any_is_of(key) && witnesses.speak_for(key)
        });
        guarded.or_else(|| match first {
            0 => None,
            _ => self.find(among, first.div_ceil(2), |key| witnesses.speak_for(key)),
        })
    }

    /// The first whose key is right, if all that may be tried, at so much each, has one.
    fn find(
        &mut self,
        among: impl Iterator<Item = Owner>,
        cost: u64,
        is_right: impl Fn(Key) -> bool,
    ) -> Option<Owner> {
        let known = self.known;
        let may_be = |owner: &Owner| {
            let is_another = known.sequences.contains(&owner.sequence);
            owner.sequence != 0 && !is_another
        };
        for owner in among.filter(may_be) {
            if !self.budget.spend(cost) {
                return None;
            }
            if is_right(owner.key(known.recording)) {
                return Some(owner);
            }
        }
        None
    }

    /// Whose it is, by what is said of it with another byte.
    fn like(&mut self, words: &[u64; BLOCK_WORDS], place: u32) -> Option<Owner> {
        if self.witnesses.places.is_empty() {
            return None;
        }
        let known = self.known;
        let &[.., sequence, thread] = words;
        let sequences = [words[word::SEQUENCE], sequence];
        let said = [words[word::THREAD] as u32, thread as u32];
        let before = known.before.get(&place).into_iter().flatten();
        let chained: Vec<u64> = before.map(|owner| owner.sequence).collect();
        let every = known.threads.iter().copied();
        let few = said.into_iter().chain(every.clone().take(THREADS_NEAR));
        let few: Vec<u32> = few.collect();
        // A sequence number that was found, with every thread that is known.
        let found = sequences.into_iter().chain(chained);
        let found: Vec<u64> = found.collect();
        let as_found = found
            .iter()
            .flat_map(|&sequence| every.clone().flat_map(move |it| owners(sequence, it)));
        if let Some(owner) = self.one_of(as_found) {
            return Some(owner);
        }
        // One that is like it, with those that were found, and some that are known.
        let alike = sequences
            .into_iter()
            .flat_map(near)
            .filter(|&sequence| sequence <= known.last.saturating_add(PAST_LAST))
            .flat_map(|sequence| few.iter().flat_map(move |&it| owners(sequence, it)));
        if let Some(owner) = self.one_of(alike) {
            return Some(owner);
        }
        // A thread of which there is no other block.
        let unknown = found.iter().flat_map(|&sequence| {
            let threads = said.into_iter().map(u64::from).flat_map(near);
            let threads = threads.filter_map(|thread| u32::try_from(thread).ok());
            threads.flat_map(move |thread| owners(sequence, thread))
        });
        self.one_of(unknown)
    }

    /// Whose it is, of all that can be.
    fn any(&mut self) -> Option<Owner> {
        if self.witnesses.places.is_empty() {
            return None;
        }
        let known = self.known;
        let sequences = (1..=known.last.saturating_add(PAST_LAST)).rev();
        let threads = [0].into_iter().chain(known.threads.iter().copied());
        let all = sequences
            .filter(|sequence| !known.sequences.contains(sequence))
            .flat_map(|sequence| {
                threads.clone().map(move |thread| Owner {
                    sequence,
                    thread,
                    kind: if thread == 0 {
                        Kind::CallSites
                    } else {
                        Kind::Records
                    },
                })
            });
        self.one_of(all)
    }
}
