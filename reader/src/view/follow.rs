//! `view -f`: recordings of living processes, as they go on.
//!
//! Nothing of the writer is touched: its file is read again, from where the last time
//! ended, every 10 ms while there is something to show, and every tenth of a second while
//! there is not. What is overwritten before its turn has come is counted, and told.
//!
//! The law: who is seen dead before its recording is read has written all of it. So the
//! last time is the one before which the process was gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ttlog_format::salvage::{Ledger, Mark};
use ttlog_format::verdict::Kind;

use super::lines::Show;
use super::merged::Merged;
use super::{Arguments, Seen};
use crate::error::Error;
use crate::filter::Filter;
use crate::input::Located;
use crate::interrupt;
use crate::postmortem::verdict_words;
use crate::reading::Reading;
use crate::text::count;

/// How long is waited between two looks.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(100);

/// A recording that is followed.
struct Followed<'l, 'p> {
    located: &'l Located<'p>,
    mark: Mark,
    /// Events that were told, and those that were overwritten before the first look.
    told: u64,
    lost_before: Option<u64>,
    /// Events that were overwritten before they were told.
    missed: u64,
    ledger: Ledger,
    /// What became of its process, once that has ended.
    end: Option<String>,
}

/// Has all shown that is recorded until the processes have ended, or somebody has seen
/// enough.
///
/// # Errors
/// One of them cannot be read.
pub(super) fn follow(
    located: &[(usize, &Located<'_>)],
    asked: &Arguments,
    filter: &Filter,
    show: Show<'_>,
    seen: &mut Seen,
) -> Result<(), Error> {
    let interrupted = interrupt::noted();
    let mut followed: Vec<(usize, Followed<'_, '_>)> = located
        .iter()
        .map(|&(of, it)| (of, Followed::new(it)))
        .collect();
    let mut is_looked_at = true;
    let mut last = asked.lines;
    let mut wait = SHORTEST;
    for round in 0.. {
        let mut readings = Vec::new();
        for (of, followed) in followed.iter_mut().filter(|(_, it)| it.end.is_none()) {
            readings.push((*of, followed.read_on()?));
        }
        let mut merged = Merged::new(readings, round);
        let mut shown = |batch: super::lines::Batch<'_>| {
            is_looked_at = show(batch);
            is_looked_at
        };
        match last {
            Some(most) => merged.show_last(most, filter, &mut shown),
            None => merged.show_all(filter, &mut shown),
        }
        seen.errors.append(&mut merged.errors);
        let told = merged.events.iter().sum::<u64>();
        last = last.filter(|_| told == 0);
        let events = merged.events.iter();
        for ((of, reading), &events) in merged.readings.iter().zip(events) {
            let own = followed.iter_mut().find(|(number, _)| number == of);
            if let Some((_, followed)) = own {
                followed.account_for(reading, events);
            }
        }
        let is_over = followed.iter().all(|(_, it)| it.end.is_some());
        if is_over || !is_looked_at || is_set(&interrupted) {
            break;
        }
        wait = if told > 0 || round == 0 {
            SHORTEST
        } else {
            LONGEST.min(wait * 2)
        };
        thread::sleep(wait);
    }
    for (_, followed) in followed {
        followed.tell(seen);
    }
    Ok(())
}

fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

impl<'l, 'p> Followed<'l, 'p> {
    fn new(located: &'l Located<'p>) -> Followed<'l, 'p> {
        Followed {
            located,
            mark: Mark::default(),
            told: 0,
            lost_before: None,
            missed: 0,
            ledger: Ledger::default(),
            end: None,
        }
    }

    fn read_on(&mut self) -> Result<Reading<'l>, Error> {
        self.located.reading_after(std::mem::take(&mut self.mark))
    }

    /// Takes in how far it was told, and so many events of it.
    fn account_for(&mut self, reading: &Reading<'_>, events: u64) {
        let recording = reading.entries.recording();
        self.ledger = recording.ledger;
        self.mark = reading.entries.mark();
        self.told += events;
        let counts = self.ledger.counts;
        let lost_before = *self.lost_before.get_or_insert(counts.overwritten);
        let known = [
            counts.dropped,
            counts.torn,
            lost_before,
            self.told,
            self.mark.behind(),
        ];
        let missed = known
            .iter()
            .fold(counts.written, |rest, &it| rest.saturating_sub(it));
        self.missed = self.missed.max(missed);
        let verdict = reading.verdict();
        if verdict.kind != Kind::Alive || reading.made.is_some() {
            self.end = Some(verdict_words(&recording.header, &verdict));
        }
    }

    fn tell(self, seen: &mut Seen) {
        seen.ledgers.push((self.located.path.clone(), self.ledger));
        if self.missed > 0 {
            let missed = count(self.missed);
            let words = format!("{missed} events were overwritten before they could be shown");
            seen.words.push(words);
        }
        seen.words.extend(self.end);
    }
}
