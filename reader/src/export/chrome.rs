//! `chrome`: the Trace Event Format, which ui.perfetto.dev, speedscope and chrome://tracing
//! show.
//!
//! Stretches are `B` and `E` on their threads, spans are `b` and `e` of their ids, events
//! are instants. Times are microseconds since the recording's start, with the nanoseconds
//! behind the point; when that was is in `otherData`.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use ttlog_format::salvage::{Entry, Recording};
use ttlog_format::span::SpanId;
use ttlog_format::verdict::Verdict;

use super::drawn::{Argument, Drawn};
use super::tracks::{Begin, Drawing, End, Moment, nobodys, numbers};
use crate::json::{self, Json};
use crate::shown::Shown;
use crate::text::utc;

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

/// A line of the trace.
struct Line<'a> {
    phase: &'a str,
    at_ns: u64,
    thread: u64,
    span: Option<SpanId>,
    drawn: Drawn<'a>,
}

struct Arguments<'a>(&'a [(Cow<'a, str>, Argument<'a>)]);

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, argument) in self.0 {
            match argument {
                Argument::Yes => map.serialize_entry(&**name, &true)?,
                Argument::Text(text) => map.serialize_entry(&**name, text)?,
                Argument::Value(value) => map.serialize_entry(&**name, &Json(value))?,
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
        json::write(&mut *out, &*line.drawn.name)?;
        out.extend_from_slice(br#","cat":"#);
        json::write(&mut *out, &*line.drawn.target)?;
        if let Some(id) = line.span {
            write!(out, r#","id":"{:#x}""#, id.to_u64())?;
        }
        if line.phase == "i" {
            out.extend_from_slice(br#","s":"t""#);
        }
        if !line.drawn.arguments.is_empty() {
            out.extend_from_slice(br#","args":"#);
            json::write(&mut *out, &Arguments(&line.drawn.arguments))?;
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
        self.write(&Line {
            phase: "B",
            at_ns: at.at_ns,
            thread: self.thread(Some(thread)),
            span: None,
            drawn: Drawn::entered(at, span, how),
        })
    }

    fn leave(&mut self, at: Moment<'_>, thread: u32, span: SpanId, how: End) -> io::Result<()> {
        self.write(&Line {
            phase: "E",
            at_ns: at.at_ns,
            thread: self.thread(Some(thread)),
            span: None,
            drawn: Drawn::left(at, span, how),
        })
    }

    fn open(
        &mut self,
        at: Moment<'_>,
        thread: Option<u32>,
        span: SpanId,
        how: Begin,
    ) -> io::Result<()> {
        self.write(&Line {
            phase: "b",
            at_ns: at.at_ns,
            thread: self.thread(thread),
            span: Some(span),
            drawn: Drawn::opened(at, span, how),
        })
    }

    fn close(
        &mut self,
        at: Moment<'_>,
        thread: Option<u32>,
        span: SpanId,
        how: End,
    ) -> io::Result<()> {
        self.write(&Line {
            phase: "e",
            at_ns: at.at_ns,
            thread: self.thread(thread),
            span: Some(span),
            drawn: Drawn::closed(at, span, how),
        })
    }

    fn event(&mut self, at: Moment<'_>, event: &Entry) -> io::Result<()> {
        let shown = Shown::alone(at.recording, event);
        self.write(&Line {
            phase: "i",
            at_ns: at.at_ns,
            thread: self.thread(Some(event.thread)),
            span: None,
            drawn: Drawn::event(shown),
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
