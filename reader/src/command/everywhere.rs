//! Whatever is in a recording, at every place where a text can be, through every output:
//! nothing reaches a terminal that could mislead it, and where an entry is a line, it is
//! one.

use clap::Parser;
use regex::Regex;
use ttlog_format::salvage::{Entry, Recording};
use ttlog_format::snapshot::Made;
use ttlog_format::value::{Field, Text, Value};
use ttlog_format::verdict::{Kind, Verdict, Who};

use super::{Arguments, Command};
use crate::fixture::{self, any_byte, encoded};
use crate::input::Opened;
use crate::reading::{Reading, of_recording};
use crate::{export, info, list, postmortem, spans, stats, view};

/// Every output that is made for a terminal, or may get to one.
const OUTPUTS: &[&str] = &[
    "view --spans",
    "view -o full --spans",
    "view -o cat",
    "view -o json --spans",
    "view -r",
    "info",
    "info -o json",
    "postmortem --all -n 2000",
    "postmortem --width 80",
    "postmortem -o json",
    "list",
    "list -o json",
    "stats",
    "stats --width 80",
    "stats -o json",
    "spans",
    "spans -o json",
    "export --all -o - --format jsonl --spans",
    "export --all -o - --format csv",
    "export --all -o - --format chrome",
];

/// A recording, and all else that is said of it.
struct Told {
    recording: Recording,
    verdict: Verdict,
    made: Made,
}

impl Told {
    /// One with these texts at all of its places; of the events, each says two.
    fn of(mut text: impl FnMut() -> Vec<u8>, events: usize) -> Told {
        let mut recording = fixture::panicked();
        let mut words = || String::from_utf8_lossy(&text()).into_owned();
        let header = &mut recording.header;
        header.name = words();
        header.host = words();
        header.executable = words();
        header.build_id = words();
        header.filter = words();
        header.limited_by = words();
        recording.threads[0].name = words();
        for site in recording.sites.values_mut() {
            let site = std::sync::Arc::make_mut(site);
            site.name = words();
            site.target = words();
            site.file = words();
            let fields = site.fields.iter_mut().skip(1);
            fields.for_each(|name| *name = words());
        }
        let incident = &mut recording.incidents[0];
        incident.message = words();
        incident.location = words();
        incident.thread_name = words();
        incident.modules[0].name = words();
        incident.modules[0].build_id = words();
        incident.symbols = vec![words(), words()];
        let verdict = Verdict {
            kind: Kind::Panicked,
            thread: Some(Who {
                id: 4712,
                name: words(),
            }),
            message: Some(words()),
            location: Some(words()),
            evidence: vec![words()],
            ..Verdict::default()
        };
        let made = Made {
            why: words(),
            recording: words(),
            ..Made::default()
        };
        for span in recording.spans.values_mut() {
            let span = std::sync::Arc::make_mut(span);
            let fields = span.fields.iter_mut();
            fields.for_each(|(_, field)| field.value = Value::Str(kept(text())));
        }
        let event = recording.entries[1].clone();
        recording.entries.extend((0..events).map(|_| {
            Entry {
                fields: vec![
                    field(0, Value::Debug(kept(text()))),
                    field(1, Value::Str(kept(text()))),
                ]
                .into(),
                ..event.clone()
            }
        }));
        Told {
            recording,
            verdict,
            made,
        }
    }

    fn reading(&self) -> Reading<'_> {
        let path = "/a/ttlog-4711-1.ring";
        let made = Some(self.made.clone());
        of_recording(path, &self.recording, &self.verdict, made)
    }

    fn opened(&self) -> Opened {
        Opened {
            path: "/a/ttlog-4711-1.ring".into(),
            recording: self.recording.clone(),
            verdict: self.verdict.clone(),
            made: Some(self.made.clone()),
        }
    }

    /// What a command shows of it.
    fn shown(&self, output: &str) -> String {
        let words = output.split_whitespace();
        let line = ["ttlog-reader"].into_iter().chain(words).chain(["4711"]);
        let mut out = Vec::new();
        match Arguments::try_parse_from(line).unwrap().command {
            Command::View(asked) => {
                let readings = vec![(0, self.reading())];
                let mut seen = view::Seen::default();
                let none = |_| None;
                view::show_readings(readings, &asked, true, none, &mut out, &mut seen).unwrap();
            }
            Command::Export(asked) => {
                export::write(self.reading(), &asked, &mut out).unwrap();
            }
            Command::Info(asked) => info::write(&self.opened(), &asked, &mut out).unwrap(),
            Command::Postmortem(asked) => {
                let opened = self.reading().last_words(asked.last_words()).unwrap();
                postmortem::write(&opened, &asked, &mut out).unwrap();
            }
            Command::List(asked) => {
                let mut listed = list::Listed::new(&asked);
                listed.add(&self.opened(), &mut out).unwrap();
                listed.write(&mut out).unwrap();
            }
            Command::Stats(asked) => drop(stats::write(self.reading(), &asked, &mut out).unwrap()),
            Command::Spans(asked) => drop(spans::write(self.reading(), &asked, &mut out).unwrap()),
            // What is written is a recording, and not shown.
            Command::Scrub(_) => {}
            Command::Doctor(_) | Command::Completions(_) | Command::Man(_) => {}
        }
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn misleads_nobody(&self, forbidden: &Regex) {
        for output in OUTPUTS {
            let shown = self.shown(output);
            let found = forbidden.find(&shown);
            assert!(
                found.is_none(),
                "{output}: {:?} in {shown:?}",
                found.unwrap()
            );
            assert!(!shown.is_empty(), "{output}");
        }
        for (output, entries) in [
            ("view -o full --spans", self.recording.entries.len()),
            ("view -o json --spans", self.recording.entries.len()),
        ] {
            assert_eq!(self.shown(output).lines().count(), entries, "{output}");
        }
    }
}

fn kept(bytes: Vec<u8>) -> Text {
    let whole = bytes.len() as u32;
    Text { bytes, whole }
}

fn field(index: u8, value: Value) -> Field {
    Field { index, value }
}

/// What is to be seen nowhere; the ends of lines are ours.
fn forbidden() -> Regex {
    let misleading = fixture::misleading();
    Regex::new(&format!("[{misleading}--\\n]")).unwrap()
}

#[test]
fn no_code_point_that_misleads_reaches_a_terminal() {
    let forbidden = forbidden();
    for first in (0..0x11_0000u32).step_by(1024) {
        let points = || (first..first + 1024).flat_map(encoded).collect();
        Told::of(points, 1).misleads_nobody(&forbidden);
    }
}

#[test]
fn no_bytes_that_mislead_reach_a_terminal() {
    let forbidden = forbidden();
    let mut state = 1u64;
    let mut texts = 0u32;
    while texts < 1_000_000 {
        let bytes = || {
            texts += 1;
            let len = any_byte(&mut state) % 24;
            (0..len).map(|_| any_byte(&mut state)).collect()
        };
        Told::of(bytes, 20_000).misleads_nobody(&forbidden);
    }
}

#[test]
fn what_is_in_a_recording_does_come_to_every_output_and_would_be_found_there() {
    let told = Told::of(|| "a\u{202e}".into(), 3);
    for output in OUTPUTS {
        assert!(told.shown(output).contains("202e"), "{output}");
    }
    let forbidden = forbidden();
    for misleading in ["\u{202e}", "\x1b[2J", "\u{200b}", "\u{ad}", "\r", "\u{9b}"] {
        assert!(forbidden.is_match(misleading), "{misleading:?}");
    }
    assert!(!forbidden.is_match("é ツ 🦀\n"));
}
