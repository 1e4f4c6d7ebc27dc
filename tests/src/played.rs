//! A program that has played its act, and whether its recording adds up.

use std::path::{Path, PathBuf};

use ttlog_format::salvage::{Entry, Recording, What};
use ttlog_format::value::Value;
use ttlog_reader::Opened;

use crate::{Plan, Victim, Violation, check};

/// What is left of an act.
#[derive(Debug)]
pub struct Played {
    /// What can be read.
    pub opened: Opened,
    /// How many events were said.
    pub said: u64,
    lines: Vec<String>,
    victim: Victim,
}

/// A forked child of the program, as it was told of.
#[derive(Debug)]
pub struct Child {
    /// The recording of its own, if it has one.
    pub opened: Option<Opened>,
    /// How many events it said.
    pub said: u64,
    /// How it ended, for whoever waited for it.
    pub end: String,
}

impl Played {
    /// Has `program` play `act` to its end, and compares its account with the recording's.
    ///
    /// # Errors
    /// It does not end as it should, something is damaged, or an event is neither
    /// there nor counted.
    pub fn of(program: impl AsRef<Path>, act: &str, plan: &Plan) -> Result<Played, Violation> {
        let mut victim = Victim::start_act(program, act, plan);
        let words = std::iter::from_fn(|| Some(victim.says()).filter(|line| !line.is_empty()));
        let lines: Vec<String> = words.collect();
        let status = victim.ends();
        if !status.success() {
            return Err(Violation::new(format!("{act}: {status}, {lines:?}")));
        }
        let opened = recording_of(&victim, victim.pid().as_raw() as u32)?;
        let played = Played {
            opened: opened.ok_or_else(|| Violation::new("no recording"))?,
            said: victim.acks()[0],
            lines,
            victim,
        };
        check::verdict(&played.opened, "ended")?;
        check::accounted(&played.opened.recording, played.said)?;
        Ok(played)
    }

    /// The same, and its children.
    ///
    /// # Panics
    /// Where something is not so.
    #[track_caller]
    pub fn with_children(program: &str, act: &str, plan: &Plan) -> (Played, Vec<Child>) {
        let played = Played::of(program, act, plan);
        let played = played.unwrap_or_else(|violation| panic!("{act}: {violation}"));
        let children = played.children();
        let children = children.unwrap_or_else(|violation| panic!("{act}: {violation}"));
        (played, children)
    }

    /// The children of which it printed `child NUMBER PID END`, and that all that they
    /// said is in recordings of their own, or counted there. There is no other.
    ///
    /// # Errors
    /// As [`Played::of`]; or somebody else has left a recording.
    pub fn children(&self) -> Result<Vec<Child>, Violation> {
        let lines = self.lines.iter();
        let told = lines.filter_map(|line| line.strip_prefix("child "));
        let children: Result<Vec<Child>, _> = told.map(|line| self.child(line)).collect();
        let children = children?;
        let recordings = children.iter().filter(|child| child.opened.is_some());
        let files = self.victim.files();
        if files.len() != 1 + recordings.count() {
            return Err(Violation::new(format!("whose are these? {files:?}")));
        }
        Ok(children)
    }

    fn child(&self, line: &str) -> Result<Child, Violation> {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [number, pid, end] = words.as_slice() else {
            panic!("no child: {line}")
        };
        let [number, pid]: [u64; 2] = [number, pid].map(|word| word.parse().expect("a number"));
        let child = Child {
            opened: recording_of(&self.victim, pid as u32)?,
            said: self.victim.acks()[number as usize],
            end: (*end).to_owned(),
        };
        if let Some(opened) = &child.opened {
            check::accounted(&opened.recording, child.said)
                .map_err(|violation| Violation::new(format!("child {number}: {violation}")))?;
        }
        Ok(child)
    }

    /// The files in the directory of its recordings, whatever they are.
    pub fn files(&self) -> Vec<PathBuf> {
        self.victim.files()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.victim.pid().as_raw() as u32
    }

    /// Checks that of what a worker told of the story all is there from the oldest that
    /// is, and as it was said; events with the message of `others` are somebody else's.
    ///
    /// # Errors
    /// The first gap, or what was invented.
    pub fn told_without_a_gap(&self, worker: u64, others: Option<&str>) -> Result<(), Violation> {
        let recording = self.recording();
        let name = format!("worker-{worker}");
        let own = self.events().filter(|event| {
            let is_others = others.is_some_and(|others| self.message(event) == others);
            recording.threads[event.thread as usize].name == name && !is_others
        });
        let sequences: Result<Vec<u64>, _> = own
            .map(|event| match check::as_said(recording, event, worker)? {
                (sequence, true) => Ok(sequence),
                (sequence, false) => Err(Violation::new(format!("{sequence} is told in part"))),
            })
            .collect();
        let sequences = sequences?;
        if sequences.is_empty() {
            return Err(Violation::new(format!("nothing of worker {worker}")));
        }
        check::without_a_gap(&sequences, worker)
    }

    /// The recording.
    pub fn recording(&self) -> &Recording {
        &self.opened.recording
    }

    /// How many events were dropped.
    pub fn dropped(&self) -> u64 {
        self.recording().ledger.counts.dropped
    }

    /// The number that it printed behind `word`.
    ///
    /// # Panics
    /// If it printed none.
    pub fn number(&self, word: &str) -> u64 {
        let mut lines = self.lines.iter();
        let rest = lines.find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        rest.unwrap_or_else(|| panic!("no {word} in {:?}", self.lines))
    }

    /// Its events, in time order.
    pub fn events(&self) -> impl Iterator<Item = &Entry> {
        let entries = self.recording().entries.iter();
        entries.filter(|entry| entry.what == What::Event)
    }

    /// A field of an event.
    pub fn field(&self, event: &Entry, name: &str) -> Option<Value> {
        let named = check::named(self.recording(), event.site, &event.fields);
        let mut named = named.into_iter();
        named.find_map(|(field, value)| (field == name).then_some(value))
    }

    /// An event's message, empty if it has none.
    pub fn message(&self, event: &Entry) -> String {
        let message = self.field(event, "message");
        let text = message.as_ref().and_then(Value::text);
        text.map_or(String::new(), |text| {
            String::from_utf8_lossy(&text.bytes).into_owned()
        })
    }

    /// The names of the spans that an event was said in, outermost first.
    pub fn spans(&self, event: &Entry) -> Vec<&str> {
        let recording = self.recording();
        let context = recording.context(event.span).into_iter();
        let name = |site| recording.sites.get(site).map_or("?", |site| &site.name);
        context.map(|(_, span)| name(&span.site)).collect()
    }
}

/// The recording of a process, if it has left one.
fn recording_of(victim: &Victim, pid: u32) -> Result<Option<Opened>, Violation> {
    let name = format!("ttlog-{pid}-");
    let mut paths = victim.files();
    paths.retain(|path| {
        let file = path.file_name().and_then(|file| file.to_str());
        file.is_some_and(|file| file.starts_with(&name))
    });
    let [path] = paths.as_slice() else {
        let none = paths.is_empty().then_some(None);
        return none.ok_or_else(|| Violation::new(format!("one recording, not {paths:?}")));
    };
    let opened = ttlog_reader::open(path).map_err(|error| Violation::new(error.to_string()))?;
    Ok(Some(opened))
}

/// The messages of a recording's events, in time order; of those that have one.
pub fn messages(recording: &Recording) -> Vec<String> {
    let events = recording.entries.iter();
    let events = events.filter(|entry| entry.what == What::Event);
    let message = |event: &Entry| {
        let named = check::named(recording, event.site, &event.fields);
        let (_, value) = named.into_iter().find(|(name, _)| *name == "message")?;
        Some(String::from_utf8_lossy(&value.text()?.bytes).into_owned())
    };
    events.filter_map(message).collect()
}
