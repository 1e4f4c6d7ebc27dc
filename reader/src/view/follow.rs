//! `view -f`: recordings of living processes, as they go on.
//!
//! Nothing of the writer is touched: its file is read again, from where the last time
//! ended, every 10 ms while there is something to show, and every tenth of a second while
//! there is not. What is overwritten before its turn has come is counted, and told.
//!
//! The law: who is seen dead before its recording is read has written all of it. So the
//! last time is the one before which the process was gone.

use std::cell::Cell;
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
    /// Its number among those that were asked for.
    of: usize,
    located: &'l Located<'p>,
    mark: Mark,
    /// Events that were told, and those that were overwritten before the first look.
    told: u64,
    lost_before: Option<u64>,
    /// Events that were overwritten before they were told.
    missed: u64,
    ledger: Ledger,
    /// Whether there is no more to come, and what became of its process.
    is_over: bool,
    end: Option<String>,
}

/// Has all shown that is recorded until the processes have ended, or somebody has seen
/// enough.
pub(super) fn follow(
    located: &[(usize, &Located<'_>)],
    asked: &Arguments,
    filter: &Filter,
    show: Show<'_>,
    seen: &mut Seen,
) {
    let interrupted = interrupt::noted();
    let followed = located
        .iter()
        .map(|&(of, located)| Followed::new(of, located));
    let mut followed: Vec<Followed<'_, '_>> = followed.collect();
    let is_looked_at = Cell::new(true);
    let show: Show<'_> = &mut |batch| {
        is_looked_at.set(show(batch));
        is_looked_at.get()
    };
    let mut wait = SHORTEST;
    for round in 0.. {
        // What was there at the first look is told by the second, if not by the first.
        let last = asked.lines.filter(|_| round < 2);
        let told = look(&mut followed, round, last, filter, show, seen);
        let is_over = followed.iter().all(|it| it.is_over) || is_set(&interrupted);
        if is_over || !is_looked_at.get() {
            break;
        }
        wait = match told {
            0 if round > 0 => LONGEST.min(wait * 2),
            _ => SHORTEST,
        };
        thread::sleep(wait);
    }
    for followed in followed {
        followed.tell(seen);
    }
}

/// Has shown what there is since the last look, and of that the `last` alone if so many
/// are wanted; returns how many events were told.
fn look(
    followed: &mut [Followed<'_, '_>],
    round: u64,
    last: Option<usize>,
    filter: &Filter,
    show: Show<'_>,
    seen: &mut Seen,
) -> u64 {
    let mut readings = Vec::new();
    for followed in followed.iter_mut().filter(|it| !it.is_over) {
        match followed.read_on() {
            Ok(reading) => readings.push((followed.of, reading)),
            Err(error) => {
                followed.is_over = true;
                seen.errors.push(error);
            }
        }
    }
    let mut merged = Merged::new(readings, round);
    match last {
        Some(most) => merged.show_last(most, filter, show),
        None => merged.show_all(filter, show),
    }
    seen.errors.append(&mut merged.errors);
    for ((of, reading), &events) in merged.readings.iter().zip(&merged.events) {
        let own = followed.iter_mut().find(|followed| followed.of == *of);
        if let Some(followed) = own {
            followed.account_for(reading, events);
        }
    }
    merged.events.iter().sum()
}

fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

impl<'l, 'p> Followed<'l, 'p> {
    fn new(of: usize, located: &'l Located<'p>) -> Followed<'l, 'p> {
        Followed {
            of,
            located,
            mark: Mark::default(),
            told: 0,
            lost_before: None,
            missed: 0,
            ledger: Ledger::default(),
            is_over: false,
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
            self.is_over = true;
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
