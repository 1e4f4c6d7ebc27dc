//! A ring that the application scribbles over, and whether the reader shows anything
//! that was never said.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ttlog_format::BLOCK_WORDS;
use ttlog_format::salvage::{Entry, Recording, What};
use ttlog_format::value::Value;

use crate::Violation;
use crate::check::{named, span_fields};
use crate::story::{self, Said};

/// Random numbers, the same for the same seed (splitmix64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Those of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The next, from 0 to before `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end as u64) as usize
    }
}

/// The most words that a seed writes.
const WORDS: usize = 50;

/// How much of a recording's beginning is not blocks, but all that is there once.
const HEAD_WORDS: usize = 64 * 1024 / 8;

/// Writes wild words into a recording that this process has mapped.
#[derive(Debug)]
pub struct Scribbler {
    base: usize,
    words: usize,
    written: Vec<Wild>,
}

/// A wild write.
#[derive(Debug)]
struct Wild {
    word: usize,
    before: u64,
    after: u64,
}

impl Scribbler {
    /// One for the recording at `path`, wherever that is mapped.
    ///
    /// # Panics
    /// If it is not.
    pub fn over(path: &Path) -> Scribbler {
        let inode = std::fs::metadata(path).expect("the recording").ino();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("proc(5)");
        let range = maps.lines().find_map(|line| {
            let mut parts = line.split_ascii_whitespace();
            let range = parts.next()?.split_once('-')?;
            (parts.nth(3)?.parse() == Ok(inode)).then_some(range)
        });
        let (start, end) = range.expect("it is mapped");
        let [start, end] =
            [start, end].map(|text| usize::from_str_radix(text, 16).expect("an address"));
        Scribbler {
            base: start,
            words: (end - start) / 8,
            written: Vec::new(),
        }
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        let address = (self.base + word % self.words * 8) as *mut u64;
        // SAFETY: a word of the recorder's mapping, which it never unmaps; that it is
        // the recorder's, and nobody else should write there, is what is tested.
        unsafe { AtomicU64::from_ptr(address) }
    }

    /// A word that is there, of the same block or of any.
    fn word_elsewhere(&self, word: usize, random: &mut Random) -> u64 {
        let other = match random.below(2) {
            0 => word - word % BLOCK_WORDS + random.below(BLOCK_WORDS),
            _ => random.below(self.words),
        };
        self.word(other).load(Ordering::Relaxed)
    }

    /// Writes 1 to 50 words, anywhere.
    pub fn scribbles(&mut self, seed: u64) {
        let mut random = Random(seed);
        for _ in 0..=random.below(WORDS) {
            // What is there but once would else hardly ever be hit.
            let end = if random.below(32) == 0 {
                HEAD_WORDS
            } else {
                self.words
            };
            let word = random.below(end);
            let before = self.word(word).load(Ordering::Relaxed);
            let after = match random.below(6) {
                0 => 0,
                1 => u64::MAX,
                2 => random.draw(),
                3 => random.draw() & 0xfff,
                4 => before ^ 1 << random.below(64),
                _ => self.word_elsewhere(word, &mut random),
            };
            self.word(word).store(after, Ordering::Relaxed);
            self.written.push(Wild {
                word,
                before,
                after,
            });
        }
    }

    /// Takes back what it has written, where nobody has written since.
    pub fn heals(&mut self) {
        let written = std::mem::take(&mut self.written);
        for wild in written.iter().rev() {
            let (now, then) = (wild.after, wild.before);
            let word = self.word(wild.word);
            let _ = word.compare_exchange(now, then, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Checks that every event of a recording that may be damaged was said, once and just
/// so, by one of the workers that have said so many; what is missing is no matter. How
/// many events there are.
///
/// # Errors
/// The first event that is not true.
pub fn nothing_invented(recording: &Recording, said: &[u64]) -> Result<u64, Violation> {
    let mut seen = HashSet::new();
    let events = recording.entries.iter();
    for entry in events.filter(|entry| entry.what == What::Event) {
        // Without its call site nobody can say what it means: it has no names.
        if !recording.sites.contains_key(&entry.site) {
            continue;
        }
        let (worker, sequence) = told(recording, entry)?;
        let counted = said.get(worker as usize).copied().unwrap_or(0);
        if sequence > counted || !seen.insert((worker, sequence)) {
            let words = format!("{sequence} of worker {worker}, again or too early: {entry:?}");
            return Err(Violation::new(words));
        }
    }
    Ok(seen.len() as u64)
}

/// Which worker's event it is, and which, if it is as it was said.
fn told(recording: &Recording, entry: &Entry) -> Result<(u64, u64), Violation> {
    let fields = named(recording, entry.site, &entry.fields);
    let wrong = |why: &str| Err(Violation::new(format!("{why}: {fields:?} in {entry:?}")));
    let number = |wanted: &str| {
        fields.iter().find_map(|(name, value)| match value {
            Value::U64(number) if *name == wanted => Some(*number),
            _ => None,
        })
    };
    let (Some(worker), Some(sequence)) = (number("worker"), number("sequence")) else {
        return wrong("no numbers");
    };
    let Said {
        level,
        fields: said,
        spans,
    } = story::foretold(worker, sequence);
    let same = |(had, said): (&(&str, Value), &(&str, Value))| had.0 == said.0 && had.1 == said.1;
    if recording.level(entry) != Some(level)
        || fields.len() != said.len()
        || !fields.iter().zip(&said).all(same)
    {
        return wrong("never said");
    }
    let thread = &recording.threads[entry.thread as usize].name;
    if !thread.is_empty() && *thread != format!("worker-{worker}") {
        return wrong("said by another thread");
    }
    // Spans may be lost, and what was recorded of them later; none may be invented.
    let mut outer = spans.iter();
    for (_, span) in recording.context(entry.span) {
        let Some(site) = recording.sites.get(&span.site) else {
            continue;
        };
        let Some((_, said)) = outer.find(|(name, _)| *name == site.name) else {
            return wrong("in a span that it was not said in");
        };
        let has = span_fields(recording, span);
        if !has
            .iter()
            .all(|had| said.iter().any(|said| same((had, said))))
        {
            return wrong("in a span that was another");
        }
    }
    Ok((worker, sequence))
}
