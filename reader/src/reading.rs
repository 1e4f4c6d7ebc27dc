//! A recording that is being read: its tables are there, and its entries are told one
//! after the other, as often as a command needs them.

use std::collections::VecDeque;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use ttlog_format::salvage::{Entries, Entry, Recording};
use ttlog_format::site::Level;
use ttlog_format::snapshot::Made;
use ttlog_format::verdict::Verdict;

use crate::error::Error;
use crate::filter::{self, Covered, Filter};
use crate::input::Opened;

/// A recording that is being read.
pub(crate) struct Reading<'s> {
    /// The file.
    pub(crate) path: PathBuf,
    /// Of a snapshot, how it came to be.
    pub(crate) made: Option<Made>,
    /// What is to be said of where it was found.
    pub(crate) note: Option<String>,
    /// What is told.
    pub(crate) entries: Box<dyn Entries + 's>,
    /// Judges it, once it has been told.
    pub(crate) judge: Box<dyn Fn(&Recording) -> Verdict + 's>,
}

impl Reading<'_> {
    /// What its process has come to, as far as all that was told tells.
    pub(crate) fn verdict(&self) -> Verdict {
        (self.judge)(self.entries.recording())
    }

    /// Tells the next entry; false once all is told.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn tell(&mut self) -> Result<bool, Error> {
        let told = self.entries.tell();
        told.map_err(|cause| Error::read(&self.path, cause))
    }

    /// When its first and its last event were, of the threads that are asked for. It is gone
    /// through for that, and begun again.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn covered(&mut self, asked: &filter::Arguments) -> Result<Covered, Error> {
        let covered = self.cover(asked)?;
        self.rewind()?;
        Ok(covered)
    }

    /// The same, which leaves it where it has been told.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn cover(&mut self, asked: &filter::Arguments) -> Result<Covered, Error> {
        let mut covered: Covered = None;
        while self.tell()? {
            let (entry, recording) = (self.entries.told(), self.entries.recording());
            if entry.what.is_event() && asked.is_of_thread(recording, entry) {
                let first = covered.map_or(entry.wall_ns, |(first, _)| first);
                covered = Some((first, entry.wall_ns));
            }
        }
        Ok(covered)
    }

    /// Begins it again.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn rewind(&mut self) -> Result<(), Error> {
        let begun = self.entries.rewind();
        begun.map_err(|cause| Error::read(&self.path, cause))
    }

    /// What passes of it, as it was asked for.
    ///
    /// # Errors
    /// It cannot be read, or what was asked for makes no sense.
    pub(crate) fn filter(
        &mut self,
        asked: &filter::Arguments,
        spans: bool,
        zone: &TimeZone,
    ) -> Result<Filter, Error> {
        let covered = match asked.needs_covered() {
            true => self.covered(asked)?,
            false => None,
        };
        asked.filter(spans, zone, covered)
    }

    /// Reads all of it, and keeps its tables, and of its entries the first alone.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn tables(self) -> Result<Opened, Error> {
        self.last_words(0)
    }

    /// Reads all of it, and keeps its tables, the first entry, the last `most` events of
    /// each thread, and its newest that is more than DEBUG.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn last_words(mut self, most: usize) -> Result<Opened, Error> {
        let mut words: Vec<Words> = Vec::new();
        let (mut first, mut at) = (None, 0u64);
        while self.tell()? {
            let entry = self.entries.told();
            at += 1;
            if first.is_none() {
                first = Some((at, entry.clone().detached()));
                entry.span.into_iter().for_each(|id| self.entries.hold(id));
            }
            let entry = self.entries.told();
            let thread = entry.thread as usize;
            let is_known = thread < self.entries.recording().threads.len();
            if most > 0 && is_known && entry.what.is_event() {
                if words.len() <= thread {
                    words.resize_with(thread + 1, Words::default);
                }
                if let Some(words) = words.get_mut(thread) {
                    let entry = entry.clone().detached();
                    self.keep(words, most, at, entry);
                }
            }
        }
        let kept = words.into_iter().flat_map(Words::into_entries);
        let mut kept: Vec<(u64, Entry)> = first.into_iter().chain(kept).collect();
        kept.sort_by_key(|&(at, _)| at);
        kept.dedup_by_key(|&mut (at, _)| at);
        let mut opened = self.ended();
        opened.recording.entries = kept.into_iter().map(|(_, entry)| entry).collect();
        Ok(opened)
    }

    /// Its tables, once it has been told.
    pub(crate) fn ended(self) -> Opened {
        Opened {
            verdict: self.verdict(),
            path: self.path,
            recording: self.entries.into_recording(),
            made: self.made,
        }
    }

    fn keep(&mut self, words: &mut Words, most: usize, at: u64, entry: Entry) {
        let level = self.entries.recording().level(&entry);
        if level.is_none_or(|level| level <= Level::Info) {
            self.hold(&entry);
            let before = words.of_note.replace((at, entry.clone()));
            before
                .into_iter()
                .for_each(|(_, entry)| self.release(&entry));
        }
        self.hold(&entry);
        words.last.push_back((at, entry));
        if words.last.len() > most
            && let Some((_, entry)) = words.last.pop_front()
        {
            self.release(&entry);
        }
    }

    /// Keeps the spans of an entry, until it is let go of.
    pub(crate) fn hold(&mut self, entry: &Entry) {
        entry.span.into_iter().for_each(|id| self.entries.hold(id));
    }

    /// Lets go of what was held of an entry.
    pub(crate) fn release(&mut self, entry: &Entry) {
        entry
            .span
            .into_iter()
            .for_each(|id| self.entries.release(id));
    }
}

/// What is kept of a thread's events, with their places in the whole.
#[derive(Default)]
struct Words {
    last: VecDeque<(u64, Entry)>,
    /// The newest that is more than DEBUG, or may be.
    of_note: Option<(u64, Entry)>,
}

impl Words {
    fn into_entries(self) -> impl Iterator<Item = (u64, Entry)> {
        self.last.into_iter().chain(self.of_note)
    }
}

/// What entries are made of where they are there.
///
/// # Errors
/// None.
#[cfg(test)]
pub(crate) fn of_recording<'r>(
    path: &str,
    recording: &'r Recording,
    verdict: &'r Verdict,
    made: Option<Made>,
) -> Reading<'r> {
    Reading {
        path: path.into(),
        made,
        note: None,
        entries: Box::new(ttlog_format::salvage::Whole::new(recording)),
        judge: Box::new(|_| verdict.clone()),
    }
}
