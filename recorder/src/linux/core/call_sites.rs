//! Making call sites known, before the first record that names them.
//!
//! Every description is written twice, half a pool apart, by one thread at a time;
//! whoever comes meanwhile describes the call site in its own block.

use super::{Core, Here};
use crate::linux::open_block::OpenBlock;
use crate::linux::pool::Taken;
use crate::linux::ring::Ring;
use crate::linux::sites;
use crate::linux::sync::Ordering;
use tracing_core::Metadata;
use ttlog_format::RECORD_MAX_WORDS;
use ttlog_format::block;
use ttlog_format::header::totals;

impl Here<'_> {
    /// Makes a call site known before its first record.
    pub(crate) fn register(self, metadata: &'static Metadata<'static>) {
        if self.sites.find(metadata).is_none() {
            self.describe_site(None, metadata);
        }
    }
}

impl Core {
    /// Makes the call site of a record of so many words known.
    #[inline]
    pub(super) fn know(
        &self,
        ring: &Ring,
        metadata: &'static Metadata<'static>,
        record_words: usize,
    ) -> Option<u16> {
        let known = self.sites.find(metadata);
        if known.is_some() {
            known
        } else {
            self.describe_site(Some((ring, record_words)), metadata)
        }
    }

    #[cold]
    fn describe_site(
        &self,
        record: Option<(&Ring, usize)>,
        metadata: &'static Metadata<'static>,
    ) -> Option<u16> {
        let mut words = [0; RECORD_MAX_WORDS];
        let len = sites::encode(metadata, self.clock.ticks(), &mut words);
        let words = &words[..len];
        let Ok(mut writer) = self.sites.writer.try_lock() else {
            if let Some((ring, record_words)) = record {
                self.describe_site_inline(ring, words, record_words);
            }
            return None;
        };
        if let Some(known) = self.sites.find(metadata) {
            return Some(known);
        }
        let full = writer.copies.is_none_or(|[copy, _]| copy.room() < len);
        if full && !self.take_site_blocks(&mut writer) {
            let lost = self.sites_without_room.fetch_add(1, Ordering::Relaxed) + 1;
            self.store_total(totals::SITES_WITHOUT_ROOM, lost);
        } else if let Some(copies) = &mut writer.copies {
            copies
                .iter_mut()
                .for_each(|copy| copy.append(&self.memory, words, false));
        }
        self.sites.insert(metadata)
    }

    /// Describes a call site in the thread's own block, where others cannot wait for
    /// it, and the record that is to follow in the same, unless both are very long.
    fn describe_site_inline(&self, ring: &Ring, words: &[u64], record_words: usize) {
        let both = words.len() + super::DESCRIPTIONS_WORDS + record_words;
        if ring.room() < both {
            self.switch(ring);
        }
        if ring.room() >= words.len() {
            ring.append(|block| block.append(&self.memory, words, false));
        }
    }

    /// Takes two blocks for call sites, half a pool apart, while they fill no more than
    /// a quarter of it: those that are kept for them first.
    fn take_site_blocks(&self, writer: &mut sites::Writer) -> bool {
        let blocks = self.pool.blocks();
        if writer.blocks + 2 > (blocks / 4).max(2) {
            return false;
        }
        let Some(first) = self.pool.take_near(writer.blocks / 2) else {
            return false;
        };
        let second = self.pool.take_near(first.index as usize + blocks / 2);
        let copies = [Some(first), second].map(|taken| taken.map(|taken| self.begin_sites(taken)));
        writer.blocks += 2;
        writer.copies = match copies {
            [Some(first), Some(second)] => Some([first, second]),
            _ => None,
        };
        writer.copies.is_some()
    }

    fn begin_sites(&self, taken: Taken) -> OpenBlock {
        let (retired, pair) = self.retire(taken);
        let header = block::Header {
            recording: self.recording,
            sequence: taken.sequence,
            index: taken.index,
            kind: block::Kind::CallSites,
            thread: 0,
            thread_id: 0,
            thread_name: Default::default(),
            events_before: 0,
            previous_sequence: 0,
            previous_index: 0,
            previous_events: 0,
            clocks: self.clock.sample(),
            retired,
            pair,
        };
        let open = OpenBlock::begin(&self.memory, self.base(taken.index), &header);
        open.publish(&self.memory, &header, 0);
        open
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use ttlog_format::salvage::salvage;
    use ttlog_format::value::Value;

    /// An event from each of so many call sites, counted on.
    macro_rules! said_from {
        ($n:ident: $($site:literal)*) => { $( { $n += 1; tracing::info!(n = $n, site = $site); } )* };
    }

    #[test]
    fn call_sites_that_come_late_leave_no_hole_in_a_history() {
        let directory = tempfile::tempdir().unwrap();
        let builder = crate::builder().directory(directory.path());
        let recorder = builder.capacity_mib(1).create().unwrap();
        let mut n = 0u64;
        tracing::subscriber::with_default(recorder.subscriber(), || {
            (0..50_000).for_each(|_| said_from!(n: "early"));
            said_from!(n: "00" "01" "02" "03" "04" "05" "06" "07" "08" "09"
                          "10" "11" "12" "13" "14" "15" "16" "17" "18" "19"
                          "20" "21" "22" "23" "24" "25" "26" "27" "28" "29");
        });
        let recording = salvage(&std::fs::read(recorder.path()).unwrap()[..]).unwrap();
        let numbers = recording.entries.iter().filter_map(|entry| {
            entry.fields.iter().find_map(|field| match field.value {
                Value::U64(n) => Some(n),
                _ => None,
            })
        });
        let numbers: Vec<u64> = numbers.collect();
        let (first, last) = (numbers[0], n);
        assert!(first > 1 && numbers.len() > 5_000);
        assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
    }
}
