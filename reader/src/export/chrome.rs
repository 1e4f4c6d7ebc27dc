//! `chrome`: the Trace Event Format, which ui.perfetto.dev, speedscope and chrome://tracing
//! show.
//!
//! Stretches are `B` and `E` on their threads, spans are `b` and `e` of their ids, events
//! are instants. Times are microseconds since the recording's start, with the nanoseconds
//! behind the point; when that was is in `otherData`.
//!
//! What is said of something besides its fields (`open_at_death`, `level`) is among its
//! `args`; a field of such a name is there as `fields.level`.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use ttlog_format::salvage::{Entry, Recording, Span};
use ttlog_format::site::Level;
use ttlog_format::span::SpanId;
use ttlog_format::verdict::Verdict;

use super::tracks::{Begin, Drawing, End, Moment, nobodys, numbers};
use crate::json::{self, Json};
use crate::shown::{Named, Shown, ShownSpan, shown_span};
use crate::text::{utc, value_text};

/// A trace that is written to `out`.
pub(super) struct Chrome<W> {
    verdict: Verdict,
    start_ns: u64,
    pid: u32,
    /// The threads' numbers, by their indices.
    threads: Vec<u64>,
    is_first: bool,
    line: Vec<u8>,
    out: W,
}

/// What a mark says.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Yes(bool),
    Text(&'a str),
}

type Marks<'a> = &'a [(&'a str, Said<'a>)];

/// A line of the trace.
struct Line<'a> {
    phase: &'a str,
    at_ns: u64,
    thread: u64,
    name: &'a str,
    category: &'a str,
    span: Option<SpanId>,
    args: Args<'a>,
}

struct Args<'a> {
    marks: Marks<'a>,
    fields: &'a [Named<'a>],
}

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, said) in self.marks {
            map.serialize_entry(name, said)?;
        }
        let mut known = std::collections::HashSet::new();
        for (name, value) in self.fields.iter().filter(|(name, _)| known.insert(name)) {
            match self.marks.iter().any(|(mark, _)| mark == name) {
                true => map.serialize_entry(&format!("fields.{name}"), &Json(value))?,
                false => map.serialize_entry(&**name, &Json(value))?,
            }
        }
        map.end()
    }
}

impl<W: Write> Chrome<W> {
    pub(super) fn new(verdict: Verdict, out: W) -> Chrome<W> {
        Chrome {
            verdict,
            start_ns: 0,
            pid: 0,
            threads: Vec::new(),
            is_first: true,
            line: Vec::new(),
            out,
        }
    }

    fn thread(&self, index: Option<u32>) -> u64 {
        let Some(index) = index else {
            return self.pid.into();
        };
        let number = self.threads.get(index as usize).copied();
        number.unwrap_or(nobodys(index.into()))
    }

    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.begin_line();
        let since = i128::from(line.at_ns) - i128::from(self.start_ns);
        let (sign, since) = (if since < 0 { "-" } else { "" }, since.unsigned_abs());
        let (phase, thread, pid) = (line.phase, line.thread, self.pid);
        let out = &mut self.line;
        write!(
            out,
            r#"{{"ph":"{phase}","ts":{sign}{}.{:03},"pid":{pid},"tid":{thread},"name":"#,
            since / 1_000,
            since % 1_000
        )?;
        json::write(&mut *out, line.name)?;
        out.extend_from_slice(br#","cat":"#);
        json::write(&mut *out, line.category)?;
        if let Some(id) = line.span {
            write!(out, r#","id":"{:#x}""#, id.to_u64())?;
        }
        if line.phase == "i" {
            out.extend_from_slice(br#","s":"t""#);
        }
        if !line.args.marks.is_empty() || !line.args.fields.is_empty() {
            out.extend_from_slice(br#","args":"#);
            json::write(&mut *out, &line.args)?;
        }
        out.push(b'}');
        self.out.write_all(out)
    }

    fn begin_line(&mut self) {
        let between: &[u8] = if self.is_first { b"\n" } else { b",\n" };
        self.is_first = false;
        self.line.clear();
        self.line.extend_from_slice(between);
    }

    fn write_name(&mut self, of: &str, thread: u64, name: &str) -> io::Result<()> {
        self.begin_line();
        let pid = self.pid;
        let out = &mut self.line;
        write!(
            out,
            r#"{{"ph":"M","pid":{pid},"tid":{thread},"name":"{of}","args":{{"name":"#
        )?;
        json::write(&mut *out, name)?;
        out.extend_from_slice(b"}}");
        self.out.write_all(out)
    }

    fn write_names(&mut self, recording: &Recording) -> io::Result<()> {
        let header = &recording.header;
        self.write_name("process_name", header.pid.into(), &header.name)?;
        for index in 0..recording.threads.len() {
            let (thread, number) = (&recording.threads[index], self.threads[index]);
            match number == u64::from(thread.id) {
                true => self.write_name("thread_name", number, &thread.name)?,
                false => {
                    let name = format!("{} ({})", thread.name, thread.id);
                    self.write_name("thread_name", number, &name)?;
                }
            }
        }
        Ok(())
    }

    fn write_span(
        &mut self,
        phase: &str,
        at: Moment<'_>,
        thread: u64,
        id: SpanId,
        marks: Marks<'_>,
        with_fields: bool,
    ) -> io::Result<()> {
        let drawn = Drawn::of(at, id);
        let fields: &[Named<'_>] = if with_fields {
            &drawn.shown.fields
        } else {
            &[]
        };
        self.write(&Line {
            phase,
            at_ns: at.at_ns,
            thread,
            name: drawn.shown.name.unwrap_or("?"),
            category: drawn.target,
            span: matches!(phase, "b" | "e").then_some(id),
            args: Args { marks, fields },
        })
    }
}

/// A span as it is drawn.
struct Drawn<'r> {
    shown: ShownSpan<'r>,
    target: &'r str,
    known: Option<&'r Span>,
}

impl<'r> Drawn<'r> {
    fn of(at: Moment<'r>, id: SpanId) -> Drawn<'r> {
        let known = at.recording.spans.get(&id).map(|span| &**span);
        let site = known.and_then(|span| at.recording.sites.get(&span.site));
        let nothing = || ShownSpan {
            name: None,
            fields: Vec::new(),
        };
        Drawn {
            shown: known.map_or_else(nothing, |span| shown_span(at.recording, span, at.at_ns)),
            target: site.map_or("?", |site| site.target.as_str()),
            known,
        }
    }
}

impl<W: Write> Drawing for Chrome<W> {
    fn begin(&mut self, begin: Moment<'_>) -> io::Result<()> {
        let header = &begin.recording.header;
        (self.start_ns, self.pid) = (header.samples[0].wall_ns, header.pid);
        self.threads = numbers(&begin.recording.threads);
        self.out.write_all(br#"{"traceEvents":["#)?;
        self.write_names(begin.recording)
    }

    fn enter(&mut self, at: Moment<'_>, thread: u32, span: SpanId, how: Begin) -> io::Result<()> {
        let mark = how.word().map(|word| (word, Said::Yes(true)));
        let thread = self.thread(Some(thread));
        self.write_span("B", at, thread, span, mark.as_slice(), true)
    }

    fn leave(&mut self, at: Moment<'_>, thread: u32, span: SpanId, how: End) -> io::Result<()> {
        let mark = how.word().map(|word| (word, Said::Yes(true)));
        let thread = self.thread(Some(thread));
        self.write_span("E", at, thread, span, mark.as_slice(), false)
    }

    fn open(
        &mut self,
        at: Moment<'_>,
        thread: Option<u32>,
        span: SpanId,
        how: Begin,
    ) -> io::Result<()> {
        let known = Drawn::of(at, span).known;
        let opened = known.map_or(String::new(), |span| utc(span.opened_ns));
        let parent = known.and_then(|span| span.parent);
        let parent = parent.map(|id| format!("{:#x}", id.to_u64()));
        let mut marks = Vec::new();
        marks.extend(how.word().map(|word| (word, Said::Yes(true))));
        if how == Begin::Before && !opened.is_empty() {
            marks.push(("opened", Said::Text(&opened)));
        }
        marks.extend(parent.iter().map(|id| ("parent", Said::Text(id))));
        let thread = self.thread(thread);
        self.write_span("b", at, thread, span, &marks, true)
    }

    fn close(
        &mut self,
        at: Moment<'_>,
        thread: Option<u32>,
        span: SpanId,
        how: End,
    ) -> io::Result<()> {
        let mark = how.word().map(|word| (word, Said::Yes(true)));
        let thread = self.thread(thread);
        self.write_span("e", at, thread, span, mark.as_slice(), true)
    }

    fn event(&mut self, at: Moment<'_>, event: &Entry) -> io::Result<()> {
        let shown = Shown::new(at.recording, event);
        let source = match (&shown.file, shown.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (file, _) => file.as_deref().unwrap_or("").to_owned(),
        };
        let mut marks = vec![("level", Said::Text(shown.level.map_or("?", Level::as_str)))];
        if !source.is_empty() {
            marks.push(("source", Said::Text(&source)));
        }
        if shown.truncated {
            marks.push(("truncated", Said::Yes(true)));
        }
        self.write(&Line {
            phase: "i",
            at_ns: at.at_ns,
            thread: self.thread(Some(event.thread)),
            name: &name(&shown),
            category: shown.target.as_deref().unwrap_or("?"),
            span: None,
            args: Args {
                marks: &marks,
                fields: &shown.fields,
            },
        })
    }

    fn end(&mut self, end: Moment<'_>) -> io::Result<()> {
        let about = About::new(end.recording, &self.verdict);
        self.out
            .write_all(b"\n],\n\"displayTimeUnit\":\"ns\",\n\"otherData\":")?;
        json::write(&mut self.out, &about)?;
        self.out.write_all(b"}\n")
    }
}

/// What an event is called: what it says, else where it comes from.
pub(super) fn name(shown: &Shown<'_>) -> String {
    match (shown.message(), &shown.target) {
        (Some(message), _) => value_text(message).into_owned(),
        (None, Some(target)) => format!("event of {target}"),
        (None, None) => format!("(call site {:#x})", shown.address),
    }
}

/// Whose trace it is.
#[derive(serde::Serialize)]
struct About<'a> {
    name: &'a str,
    pid: u32,
    host: &'a str,
    executable: &'a str,
    started: String,
    /// As text: no number of JavaScript holds it.
    started_ns: String,
    verdict: String,
}

impl<'a> About<'a> {
    fn new(recording: &'a Recording, verdict: &Verdict) -> About<'a> {
        let header = &recording.header;
        let start_ns = header.samples[0].wall_ns;
        About {
            name: &header.name,
            pid: header.pid,
            host: &header.host,
            executable: &header.executable,
            started: utc(start_ns),
            started_ns: start_ns.to_string(),
            verdict: verdict.kind.to_string(),
        }
    }
}
