//! Making call sites known, before the first record that names them.
//!
//! Every description is written twice, half a pool apart, by one thread at a time;
//! whoever comes meanwhile describes the call site in its own block.
//!
//! What is redacted is decided before, where the user's code may run.

use super::{Core, Here};
use crate::linux::open_block::OpenBlock;
use crate::linux::pool::Taken;
use crate::linux::ring::Ring;
use crate::linux::seeded::{self, Bug};
use crate::linux::sites;
use crate::linux::sync::Ordering;
use crate::redaction::Redactions;
use tracing_core::Metadata;
use ttlog_format::RECORD_MAX_WORDS;
use ttlog_format::block;
use ttlog_format::header::totals;

/// How a call site was seen before its record was encoded.
#[derive(Clone, Copy)]
pub(crate) enum Seen {
    /// Known by this index, in the recording that the adapter has, and nothing redacted.
    Plain(u16),
    /// Otherwise.
    With(Redactions),
}

impl Seen {
    /// What is redacted.
    #[inline]
    pub(crate) fn redactions(self) -> Redactions {
        match self {
            Seen::Plain(_) => Redactions::NONE,
            Seen::With(redactions) => redactions,
        }
    }

    /// The same, where the recording is another.
    pub(crate) fn elsewhere(self) -> Seen {
        Seen::With(self.redactions())
    }
}

impl Core {
    /// Makes a call site known before its first record. May run the user's code.
    pub(crate) fn register(&self, metadata: &'static Metadata<'static>) {
        let is_known = |here: Here<'_>| here.sites.find(metadata).is_some();
        if seeded::is(Bug::SiteLate) || self.here_already().is_none_or(is_known) {
            return;
        }
        let redactions = self.redactions(metadata);
        if let Some(here) = self.here_already() {
            here.describe_site(None, metadata, redactions);
        }
    }

    /// The index of a call site of which nothing is redacted, as far as one look tells.
    #[inline]
    pub(crate) fn plain(&self, metadata: &'static Metadata<'static>) -> Option<u16> {
        self.sites.plain(metadata)
    }

    /// What is redacted of a call site: what is known, here or by the process that this one
    /// was forked from, or else decided now, which may run the user's code.
    #[cold]
    pub(crate) fn redactions(&self, metadata: &'static Metadata<'static>) -> Redactions {
        let known = |core: &Core| core.sites.redactions(core.sites.find(metadata)?);
        known(self)
            .or_else(|| known(self.here_already()?.core()))
            .unwrap_or_else(|| self.redaction.of(metadata))
    }

    /// Makes the call site of a record of so many words known.
    #[cold]
    pub(super) fn know(
        &self,
        ring: &Ring,
        metadata: &'static Metadata<'static>,
        record_words: usize,
        redactions: Redactions,
    ) -> Option<u16> {
        let known = self.sites.find(metadata);
        known.or_else(|| self.describe_site(Some((ring, record_words)), metadata, redactions))
    }

    #[cold]
    fn describe_site(
        &self,
        record: Option<(&Ring, usize)>,
        metadata: &'static Metadata<'static>,
        redactions: Redactions,
    ) -> Option<u16> {
        let mut words = [0; RECORD_MAX_WORDS];
        let len = sites::encode(metadata, self.clock.ticks(), &mut words);
        let words = &words[..len];
        let decided = redactions != Redactions::UNDECIDED;
        let writer = decided.then(|| self.sites.writer.try_lock().ok()).flatten();
        let Some(mut writer) = writer else {
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
        self.sites.insert(metadata, redactions)
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
        let header = self.about.write(block::Header {
            recording: self.recording,
            sequence: taken.sequence,
            index: taken.index,
            clocks: self.clock.sample(),
            retired,
            pair,
            ..block::Header::default()
        });
        let open = OpenBlock::begin(&self.memory, self.base(taken.index), &header);
        self.count_place(taken);
        open.store_owner(&self.memory, &header);
        open.publish(&self.memory, &header, 0);
        open
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Metadata;
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
    /// A call site that is made while the program runs.
    struct Late(std::sync::OnceLock<Metadata<'static>>);

    impl tracing_core::Callsite for Late {
        fn set_interest(&self, _: tracing_core::Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            self.0.get().unwrap()
        }
    }

    fn late() -> &'static Metadata<'static> {
        let late: &'static Late = Box::leak(Box::new(Late(std::sync::OnceLock::new())));
        late.0.get_or_init(|| {
            let id = tracing_core::identify_callsite!(late);
            let fields = tracing_core::field::FieldSet::new(&["password", "note"], id);
            let kind = tracing_core::metadata::Kind::EVENT;
            let level = tracing_core::Level::INFO;
            Metadata::new("late", "late", level, None, None, None, fields, kind)
        })
    }

    #[test]
    fn what_is_redacted_is_decided_of_call_sites_past_the_table_too() {
        const SITES: usize = 10_000;
        let directory = tempfile::tempdir().unwrap();
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = asked.clone();
        let builder = crate::builder()
            .directory(directory.path())
            .redact_nothing();
        let builder = builder.capacity_mib(4).redact_with(move |_, field| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            field == "password"
        });
        let recorder = builder.create().unwrap();
        tracing::subscriber::with_default(recorder.subscriber(), || {
            let sites: Vec<_> = (0..SITES).map(|_| late()).collect();
            for &metadata in sites.iter().chain(&sites) {
                let values: [Option<&dyn tracing_core::field::Value>; 2] =
                    [Some(&"a canary"), Some(&"a note")];
                let fields = metadata.fields();
                tracing_core::Event::dispatch(metadata, &fields.value_set_all(&values));
            }
        });
        let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
        assert!(
            (2 * SITES..4 * SITES).contains(&asked),
            "some are asked about twice: {asked}"
        );
        let bytes = std::fs::read(recorder.path()).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|bytes| bytes == text);
        assert!(has(b"a note") && !has(b"a canary"));
        assert_eq!(recorder.stats().events, 2 * SITES as u64);
    }
}
