//! Writing a snapshot: what of the recording is to be in it, then the tables, then the
//! events, each by going through the recording once.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Write};

use ciborium::tag::Required;
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use serde::Serialize;

use super::{FORMAT, Head, Item, Made, SELF_DESCRIBED, VERSION};
use crate::header::Header;
use crate::incident::Incident;
use crate::redaction::Names;
use crate::salvage::{
    Denied, Entries, Entry, Ledger, Recording, Rule, Scrubbed, Span, Thread, Whole,
};
use crate::value::{Field, REDACTED, Text, Value};
use crate::verdict::Verdict;

/// Writes a snapshot of `recording`: what `made.window_ns` says, the open spans, and
/// whatever these name. How many items there are is found out here.
///
/// # Errors
/// What `out` says.
///
/// # Panics
/// Never.
pub fn write(recording: &Recording, made: &Made, out: impl Write) -> io::Result<()> {
    let mut entries = Whole::new(recording);
    Part::of(&mut entries, made.window_ns)?.write(&mut entries, made, out)
}

/// The part of a recording that a snapshot shows.
#[derive(Debug)]
pub struct Part {
    from_ns: u64,
    /// The account, and the threads, when all had been told.
    ledger: Ledger,
    threads: Vec<Thread>,
    /// Addresses of the call sites that are named.
    sites: Vec<u64>,
    spans: u64,
    entries: u64,
}

impl Part {
    /// Goes through a recording, and finds what of it lies in so many nanoseconds before
    /// its end, or all.
    ///
    /// # Errors
    /// What `entries` says.
    ///
    /// # Panics
    /// Never.
    pub fn of(entries: &mut dyn Entries, window_ns: Option<u64>) -> io::Result<Part> {
        let from_ns = from_ns(entries.recording(), window_ns);
        let mut window = Window::from(from_ns);
        let mut sites = HashSet::new();
        let (mut spans, mut shown) = (0, 0);
        let mut found = |span: &Span| {
            spans += 1;
            sites.insert(span.site);
            Ok(())
        };
        let mut named = Named::default();
        while entries.tell()? {
            let entry = entries.told();
            if window.holds(entry) {
                shown += 1;
                named.add(entry.site);
                entry.span.into_iter().for_each(|id| entries.want(id));
            }
            entries.wanted(&mut found)?;
        }
        entries.wanted(&mut found)?;
        sites.extend(named.sites);
        let recording = entries.recording();
        let mut sites: Vec<u64> = sites.into_iter().collect();
        sites.retain(|address| recording.sites.contains_key(address));
        sites.sort_unstable();
        Ok(Part {
            from_ns,
            ledger: Ledger {
                before_window: recording.ledger.before_window + window.before,
                ..recording.ledger
            },
            threads: recording.threads.clone(),
            sites,
            spans,
            entries: shown,
        })
    }

    /// The account of the recording, which this is a part of.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn items(&self, recording: &Recording) -> u64 {
        let tables = recording.causes.len()
            + recording.incidents.len()
            + self.threads.len()
            + self.sites.len();
        1 + tables as u64 + self.spans + self.entries
    }

    /// Writes it as a snapshot; how many items there are is not for `made` to say.
    ///
    /// # Errors
    /// What `out` or `entries` says.
    ///
    /// # Panics
    /// Never.
    pub fn write(&self, entries: &mut dyn Entries, made: &Made, out: impl Write) -> io::Result<()> {
        self.write_by(entries, made, out, None)?;
        Ok(())
    }

    /// The same without what `rule` says, and how much that was.
    ///
    /// # Errors
    /// As [`Part::write`].
    ///
    /// # Panics
    /// Never.
    pub fn scrub(
        &self,
        entries: &mut dyn Entries,
        made: &Made,
        rule: &Rule<'_>,
        out: impl Write,
    ) -> io::Result<Scrubbed> {
        let scrub = Scrub::of(entries.recording(), rule);
        self.write_by(entries, made, out, Some(scrub))
    }

    fn write_by(
        &self,
        entries: &mut dyn Entries,
        made: &Made,
        out: impl Write,
        scrub: Option<Scrub<'_>>,
    ) -> io::Result<Scrubbed> {
        let info = FrameInfo::new()
            .block_size(BlockSize::Max64KB)
            .block_checksums(true)
            .content_checksum(true);
        let out = BufWriter::with_capacity(1 << 15, FrameEncoder::with_frame_info(info, out));
        let mut items = Items {
            out,
            left: 0,
            scrub,
        };
        let written = self.write_to(entries, made, &mut items);
        let written = written.and_then(|()| items.out.flush());
        // Taken apart, and not dropped: after an error it would write once more.
        let (frame, _) = items.out.into_parts();
        written?;
        frame.finish()?.flush()?;
        Ok(items
            .scrub
            .map_or(Scrubbed::default(), |scrub| scrub.scrubbed))
    }

    fn write_to(
        &self,
        entries: &mut dyn Entries,
        made: &Made,
        items: &mut Items<'_, impl Write>,
    ) -> io::Result<()> {
        let recording = entries.recording();
        items.left = self.items(recording);
        let head = Head {
            format: FORMAT.to_owned(),
            version: VERSION,
            made: Made {
                items: items.left,
                ..items.clean_making(made)
            },
            header: Header {
                scrubbed: recording.header.scrubbed || items.scrub.is_some(),
                ..recording.header.clone()
            },
            end_ns: recording.end_ns,
        };
        put(&Required::<_, SELF_DESCRIBED>(head), &mut items.out)?;
        items.put(&Item::Ledger(&self.ledger))?;
        let mut all = recording.causes.iter().map(Item::Cause);
        all.try_for_each(|item| items.put(&item))?;
        let mut all = recording.incidents.iter().map(Item::Incident);
        all.try_for_each(|item| items.put(&item))?;
        let mut all = self.threads.iter().map(Item::Thread);
        all.try_for_each(|item| items.put(&item))?;
        let sites = self.sites.iter();
        let mut all = sites.filter_map(|address| recording.sites.get(address));
        all.try_for_each(|site| items.put(&Item::CallSite(site)))?;
        self.write_spans(entries, items)?;
        self.write_entries(entries, items)?;
        items.make_up_for_the_rest(&self.ledger)
    }

    fn write_spans(
        &self,
        entries: &mut dyn Entries,
        items: &mut Items<'_, impl Write>,
    ) -> io::Result<()> {
        let mut left = self.spans;
        let mut give = |span: &Span| {
            let there = left > 0;
            left = left.saturating_sub(1);
            match there {
                true => items.put(&Item::Span(span)),
                false => Ok(()),
            }
        };
        let mut window = Window::from(self.from_ns);
        entries.rewind()?;
        while entries.tell()? {
            let entry = entries.told();
            if window.holds(entry) {
                entry.span.into_iter().for_each(|id| entries.want(id));
            }
            entries.wanted(&mut give)?;
        }
        entries.wanted(&mut give)
    }

    fn write_entries(
        &self,
        entries: &mut dyn Entries,
        items: &mut Items<'_, impl Write>,
    ) -> io::Result<()> {
        let mut window = Window::from(self.from_ns);
        entries.rewind()?;
        while items.left > 0 && entries.tell()? {
            let entry = entries.told();
            if window.holds(entry) {
                items.put(&Item::Event(entry))?;
            }
        }
        Ok(())
    }
}

/// When a window begins.
fn from_ns(recording: &Recording, window_ns: Option<u64>) -> u64 {
    window_ns.map_or(0, |window| recording.end_ns.saturating_sub(window))
}

/// What lies in a window: in time order, save where the wall clock was set back, so what
/// came after the first that is recent enough is in it.
struct Window {
    from_ns: u64,
    is_open: bool,
    /// How many entries were before it.
    before: u64,
}

impl Window {
    fn from(from_ns: u64) -> Window {
        Window {
            from_ns,
            is_open: false,
            before: 0,
        }
    }

    /// Whether the next entry is in it.
    fn holds(&mut self, entry: &Entry) -> bool {
        self.is_open |= entry.wall_ns >= self.from_ns;
        self.before += u64::from(!self.is_open);
        self.is_open
    }
}

/// Call sites that are named, most of them again and again.
#[derive(Default)]
struct Named {
    sites: HashSet<u64>,
    last: Option<u64>,
}

impl Named {
    fn add(&mut self, site: u64) {
        if self.last != Some(site) {
            self.last = Some(site);
            self.sites.insert(site);
        }
    }
}

/// Items that are written, as many as the head says.
struct Items<'r, W: Write> {
    out: BufWriter<W>,
    left: u64,
    scrub: Option<Scrub<'r>>,
}

impl<W: Write> Items<'_, W> {
    fn put(&mut self, item: &Item<'_>) -> io::Result<()> {
        self.left = self.left.saturating_sub(1);
        let Some(scrub) = &mut self.scrub else {
            return put(item, &mut self.out);
        };
        match item {
            Item::Event(entry) => put(&Item::Event(&scrub.entry(entry)), &mut self.out),
            Item::Span(span) => put(&Item::Span(&scrub.span(span)), &mut self.out),
            Item::Incident(incident) => {
                put(&Item::Incident(&scrub.incident(incident)), &mut self.out)
            }
            Item::Ledger(_) | Item::Cause(_) | Item::Thread(_) | Item::CallSite(_) => {
                put(item, &mut self.out)
            }
        }
    }

    /// How it came to be, which may quote what a panic said.
    fn clean_making(&mut self, made: &Made) -> Made {
        match &mut self.scrub {
            None => made.clone(),
            Some(scrub) => Made {
                why: scrub.text(&made.why),
                verdict: made.verdict.clone().map(|verdict| Verdict {
                    message: verdict.message.map(|message| scrub.text(&message)),
                    evidence: verdict
                        .evidence
                        .iter()
                        .map(|words| scrub.text(words))
                        .collect(),
                    ..verdict
                }),
                ..made.clone()
            },
        }
    }

    /// What was overwritten between the first time it was told and the last is counted
    /// as that by a second ledger; items that tell nothing are in its place.
    fn make_up_for_the_rest(&mut self, ledger: &Ledger) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        let mut ledger = *ledger;
        let lost = self.left.min(ledger.counts.readable);
        ledger.counts.readable -= lost;
        ledger.counts.overwritten += lost;
        self.put(&Item::Ledger(&ledger))?;
        while self.left > 0 {
            self.left -= 1;
            put(&HashMap::<&str, ()>::new(), &mut self.out)?;
        }
        Ok(())
    }
}

/// What is taken out of items, and how much it was.
struct Scrub<'r> {
    rule: &'r Rule<'r>,
    denied: Denied,
    scrubbed: Scrubbed,
}

impl<'r> Scrub<'r> {
    fn of(recording: &Recording, rule: &'r Rule<'r>) -> Scrub<'r> {
        let mut denied = Denied::default();
        let names: &Names = rule.names;
        recording
            .sites
            .values()
            .for_each(|site| denied.learn(site, names));
        Scrub {
            rule,
            denied,
            scrubbed: Scrubbed::default(),
        }
    }

    /// Takes out what is to be of the values of one record.
    fn fields<'f>(&mut self, site: u64, fields: impl Iterator<Item = &'f mut Field>) {
        let before = self.scrubbed.values;
        for field in fields {
            let is_there = field.value != Value::Redacted;
            let denied = self.denied.deny(site, field.index);
            if is_there && (denied || (self.rule.value)(&field.value.borrowed())) {
                field.value = Value::Redacted;
                self.scrubbed.values += 1;
            }
        }
        self.scrubbed.records += u64::from(self.scrubbed.values > before);
    }

    fn entry(&mut self, entry: &Entry) -> Entry {
        let mut fields = entry.fields.to_vec();
        self.fields(entry.site, fields.iter_mut());
        Entry {
            fields: fields.into(),
            ..entry.clone()
        }
    }

    fn span(&mut self, span: &Span) -> Span {
        let mut span = span.clone();
        self.fields(span.site, span.fields.iter_mut().map(|(_, field)| field));
        span
    }

    fn incident(&mut self, incident: &Incident) -> Incident {
        Incident {
            message: self.text(&incident.message),
            location: self.text(&incident.location),
            ..incident.clone()
        }
    }

    /// A text that is no field's.
    fn text(&mut self, text: &str) -> String {
        let value = Value::Str(Text {
            bytes: text.as_bytes().to_vec(),
            whole: u32::try_from(text.len()).unwrap_or(u32::MAX),
        });
        if text.is_empty() || text == REDACTED || !(self.rule.value)(&value.borrowed()) {
            return text.to_owned();
        }
        self.scrubbed.values += 1;
        self.scrubbed.records += 1;
        REDACTED.to_owned()
    }
}

fn put(item: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    ciborium::into_writer(item, out).map_err(|error| match error {
        ciborium::ser::Error::Io(error) => error,
        ciborium::ser::Error::Value(words) => io::Error::other(words),
    })
}
