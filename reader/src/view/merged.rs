//! Recordings that are told as one, by time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use ttlog_format::salvage::{ENTRIES_AROUND, Entry, Recording};

use crate::error::Error;
use crate::filter::Filter;
use crate::reading::Reading;

use super::lines::{Batch, Show};

/// Recordings that are told as one, each by its number among those that were asked for.
pub(super) struct Merged<'s> {
    pub(super) readings: Vec<(usize, Reading<'s>)>,
    /// When the entry was that each told last, and the place of each.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    /// The place of the one whose entry is at hand.
    at_hand: Option<usize>,
    /// The how-manieth time it is that they are read.
    round: u64,
    /// Events that were told, whether they passed or not.
    pub(super) events: Vec<u64>,
    /// Why some were not told to their end.
    pub(super) errors: Vec<Error>,
}

impl<'s> Merged<'s> {
    /// Nothing is told yet of any.
    pub(super) fn new(readings: Vec<(usize, Reading<'s>)>, round: u64) -> Merged<'s> {
        let mut merged = Merged {
            next: BinaryHeap::with_capacity(readings.len()),
            at_hand: None,
            round,
            events: vec![0; readings.len()],
            errors: Vec::new(),
            readings,
        };
        for place in 0..merged.readings.len() {
            merged.find(place);
        }
        merged
    }

    /// Tells the next entry, by time; false once all is told.
    fn tell(&mut self) -> bool {
        if let Some(place) = self.at_hand.take() {
            self.find(place);
        }
        self.at_hand = self.next.pop().map(|Reverse((_, place))| place);
        self.at_hand.is_some()
    }

    /// Has the next entry told of one of them, and puts it among the others'.
    fn find(&mut self, place: usize) {
        let reading = &mut self.readings[place].1;
        match reading.tell() {
            Ok(true) => {
                let entry = reading.entries.told();
                self.events[place] += u64::from(entry.what.is_event());
                self.next.push(Reverse((entry.wall_ns, place)));
            }
            Ok(false) => {}
            Err(error) => self.errors.push(error),
        }
    }

    /// The entry that was told last, whose it is, and by which number that goes.
    fn told(&self) -> Option<(usize, &Recording, &Entry)> {
        let (of, reading) = self.readings.get(self.at_hand?)?;
        Some((*of, reading.entries.recording(), reading.entries.told()))
    }

    /// Has all entries told, and those that pass shown, as long as that can be done.
    pub(super) fn show_all(&mut self, filter: &Filter, show: Show<'_>) {
        loop {
            let mut entries = Vec::with_capacity(ENTRIES_AROUND);
            let mut told = 0;
            while told < ENTRIES_AROUND && self.tell() {
                told += 1;
                if let Some((of, recording, entry)) = self.told()
                    && filter.passes(recording, entry)
                {
                    entries.push((of, entry.clone()));
                }
            }
            if told == 0 || !self.show(entries, show) {
                return;
            }
        }
    }

    /// Has all entries told, and the last `most` of those that pass shown.
    pub(super) fn show_last(&mut self, most: usize, filter: &Filter, show: Show<'_>) {
        let mut last: VecDeque<(usize, Entry)> = VecDeque::new();
        while self.tell() {
            let Some((_, recording, entry)) = self.told() else {
                break;
            };
            if most > 0 && filter.passes(recording, entry) {
                let entry = entry.clone().detached();
                let place = self.at_hand.unwrap_or(0);
                self.readings[place].1.hold(&entry);
                last.push_back((place, entry));
            }
            if last.len() > most
                && let Some((place, entry)) = last.pop_front()
            {
                self.readings[place].1.release(&entry);
            }
        }
        let number = |(place, entry): (usize, Entry)| (self.readings[place].0, entry);
        let entries = last.into_iter().map(number).collect();
        self.show(entries, show);
    }

    fn show(&self, entries: Vec<(usize, Entry)>, show: Show<'_>) -> bool {
        let recordings: Vec<(usize, &Recording)> = self
            .readings
            .iter()
            .map(|(of, reading)| (*of, reading.entries.recording()))
            .collect();
        show(Batch {
            recordings: &recordings,
            entries,
            round: self.round,
        })
    }
}
