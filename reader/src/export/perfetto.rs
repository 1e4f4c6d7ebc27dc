//! `perfetto`: the same trace in Perfetto's own form, protobuf.
//!
//! Stretches and events are on their threads' tracks, each span has a track of its own below
//! the process: the UI shows those of one name together. Names and targets, of which there
//! are as many as call sites have, are written once and are numbers from then on; what
//! events say is not among them.
//!
//! Times are the wall clock's, in nanoseconds; a snapshot of all clocks at the recording's
//! start lets the UI show them so, and other traces of the machine lie beside them.

mod messages;

use std::collections::HashMap;
use std::io::{self, Write};

use prost::Message;
use ttlog_format::clock::Sample;
use ttlog_format::salvage::{Entry, Recording};
use ttlog_format::span::SpanId;
use ttlog_format::value::{Borrowed, REDACTED, Value};

use super::drawn::{Argument, Drawn};
use super::tracks::{Begin, Drawing, End, Moment, numbers};
use crate::shown::Shown;

use messages::*;

/// All packets are of one sequence.
const SEQUENCE: u32 = 1;

/// The process's track; others have higher numbers.
const PROCESS: u64 = 1;

/// A trace that is written to `out`.
pub(super) struct Perfetto<W> {
    /// The last track that was made.
    last_track: u64,
    /// The threads' tracks, by their indices.
    threads: HashMap<u32, u64>,
    /// The tracks of the spans that are open.
    spans: HashMap<SpanId, u64>,
    categories: Names,
    names: Names,
    annotations: Names,
    packet: Vec<u8>,
    out: W,
}

/// Names that are known by their numbers, and those that have to be told first.
#[derive(Default)]
struct Names {
    known: HashMap<String, u64>,
    new: Vec<Interned>,
}

impl Names {
    fn number(&mut self, name: &str) -> u64 {
        if let Some(&number) = self.known.get(name) {
            return number;
        }
        let number = self.known.len() as u64 + 1;
        self.known.insert(name.to_owned(), number);
        self.new.push(Interned {
            iid: Some(number),
            name: Some(name.to_owned()),
        });
        number
    }
}

impl<W: Write> Perfetto<W> {
    pub(super) fn new(out: W) -> Perfetto<W> {
        Perfetto {
            last_track: PROCESS,
            threads: HashMap::new(),
            spans: HashMap::new(),
            categories: Names::default(),
            names: Names::default(),
            annotations: Names::default(),
            packet: Vec::new(),
            out,
        }
    }

    fn write(&mut self, packet: &TracePacket) -> io::Result<()> {
        self.packet.clear();
        self.packet.push(PACKET_TAG);
        packet.encode_length_delimited(&mut self.packet)?;
        self.out.write_all(&self.packet)
    }

    fn write_clocks(&mut self, sample: &Sample) -> io::Result<()> {
        let clock = |(id, ns): (u32, u64)| Clock {
            clock_id: Some(id),
            timestamp: Some(ns),
        };
        let clocks = [
            (CLOCK_REALTIME, sample.wall_ns),
            (CLOCK_BOOTTIME, sample.boottime_ns),
            (CLOCK_MONOTONIC, sample.monotonic_ns),
        ];
        self.write(&TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: Some(SEQ_INCREMENTAL_STATE_CLEARED),
            trace_packet_defaults: Some(TracePacketDefaults {
                timestamp_clock_id: Some(CLOCK_REALTIME),
            }),
            clock_snapshot: Some(ClockSnapshot {
                clocks: clocks.map(clock).to_vec(),
            }),
            ..TracePacket::default()
        })
    }

    fn write_track(&mut self, track: TrackDescriptor) -> io::Result<()> {
        self.write(&TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            track_descriptor: Some(track),
            ..TracePacket::default()
        })
    }

    fn write_process(&mut self, recording: &Recording) -> io::Result<()> {
        let header = &recording.header;
        let path = Some(header.executable.clone());
        self.write_track(TrackDescriptor {
            uuid: Some(PROCESS),
            process: Some(ProcessDescriptor {
                pid: Some(header.pid as i32),
                cmdline: path.into_iter().filter(|path| !path.is_empty()).collect(),
                process_name: Some(header.name.clone()),
            }),
            ..TrackDescriptor::default()
        })
    }

    /// The tracks of threads. One whose id another had before has a track of no thread.
    fn write_threads(&mut self, recording: &Recording) -> io::Result<()> {
        let numbers = numbers(&recording.threads);
        for (index, (thread, number)) in (0..).zip(recording.threads.iter().zip(numbers)) {
            if number != u64::from(thread.id) {
                let name = format!("{} ({})", thread.name, thread.id);
                let track = self.named_track(&name)?;
                self.threads.insert(index, track);
                continue;
            }
            self.last_track += 1;
            self.threads.insert(index, self.last_track);
            self.write_track(TrackDescriptor {
                uuid: Some(self.last_track),
                thread: Some(ThreadDescriptor {
                    pid: Some(recording.header.pid as i32),
                    tid: Some(thread.id as i32),
                    thread_name: Some(thread.name.clone()),
                }),
                ..TrackDescriptor::default()
            })?;
        }
        Ok(())
    }

    /// A new track below the process.
    fn named_track(&mut self, name: &str) -> io::Result<u64> {
        self.last_track += 1;
        self.write_track(TrackDescriptor {
            uuid: Some(self.last_track),
            parent_uuid: Some(PROCESS),
            name: Some(name.to_owned()),
            ..TrackDescriptor::default()
        })?;
        Ok(self.last_track)
    }

    fn thread(&mut self, index: u32) -> io::Result<u64> {
        if let Some(&track) = self.threads.get(&index) {
            return Ok(track);
        }
        let track = self.named_track("?")?;
        self.threads.insert(index, track);
        Ok(track)
    }

    /// A moment on a track. Names that are those of events are not told apart from others'.
    fn write_event(
        &mut self,
        kind: i32,
        at: Moment<'_>,
        track: u64,
        drawn: Drawn<'_>,
    ) -> io::Result<()> {
        let (name_iid, name) = match kind {
            TYPE_SLICE_BEGIN => (Some(self.names.number(&drawn.name)), None),
            TYPE_INSTANT => (None, Some(drawn.name.into_owned())),
            _ => (None, None),
        };
        let category = match kind {
            TYPE_SLICE_END => None,
            _ => Some(self.categories.number(&drawn.target)),
        };
        let arguments = drawn.arguments.iter();
        let annotations = &mut self.annotations;
        let event = TrackEvent {
            r#type: Some(kind),
            track_uuid: Some(track),
            category_iids: category.into_iter().collect(),
            name_iid,
            name,
            debug_annotations: arguments
                .map(|(name, argument)| DebugAnnotation {
                    name_iid: Some(annotations.number(name)),
                    ..annotation(argument)
                })
                .collect(),
        };
        let packet = TracePacket {
            timestamp: Some(at.at_ns),
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: Some(SEQ_NEEDS_INCREMENTAL_STATE),
            interned_data: self.take_new_names(),
            track_event: Some(event),
            ..TracePacket::default()
        };
        self.write(&packet)
    }

    fn take_new_names(&mut self) -> Option<InternedData> {
        let new = InternedData {
            event_categories: std::mem::take(&mut self.categories.new),
            event_names: std::mem::take(&mut self.names.new),
            debug_annotation_names: std::mem::take(&mut self.annotations.new),
        };
        (new != InternedData::default()).then_some(new)
    }
}

/// A value, which has no name yet.
fn annotation(argument: &Argument<'_>) -> DebugAnnotation {
    let nothing = DebugAnnotation::default();
    match argument {
        Argument::Yes => DebugAnnotation {
            bool_value: Some(true),
            ..nothing
        },
        Argument::Text(text) => of_text(text),
        Argument::Value(value) => of_value(value),
    }
}

fn of_text(text: &str) -> DebugAnnotation {
    DebugAnnotation {
        string_value: Some(text.to_owned()),
        ..DebugAnnotation::default()
    }
}

fn of_uint(uint: u64) -> DebugAnnotation {
    DebugAnnotation {
        uint_value: Some(uint),
        ..DebugAnnotation::default()
    }
}

fn of_int(int: i64) -> DebugAnnotation {
    DebugAnnotation {
        int_value: Some(int),
        ..DebugAnnotation::default()
    }
}

/// Numbers past 64 bits are texts, and bytes are lists of numbers, as in JSON.
fn of_value(value: &Value<Borrowed<'_>>) -> DebugAnnotation {
    let nothing = DebugAnnotation::default();
    match value {
        Value::I64(int) => of_int(*int),
        Value::U64(uint) => of_uint(*uint),
        Value::I128(wide) => match i64::try_from(*wide) {
            Ok(int) => of_int(int),
            Err(_) => of_text(&wide.to_string()),
        },
        Value::U128(wide) => match u64::try_from(*wide) {
            Ok(uint) => of_uint(uint),
            Err(_) => of_text(&wide.to_string()),
        },
        Value::F64(float) => DebugAnnotation {
            double_value: Some(*float),
            ..nothing
        },
        Value::Bool(yes) => DebugAnnotation {
            bool_value: Some(*yes),
            ..nothing
        },
        Value::Bytes(text) => DebugAnnotation {
            array_values: text
                .bytes
                .iter()
                .map(|&byte| of_uint(byte.into()))
                .collect(),
            ..nothing
        },
        Value::Str(text) | Value::Debug(text) | Value::Error(text) => of_text(&text.lossy()),
        Value::Redacted => of_text(REDACTED),
    }
}

impl<W: Write> Drawing for Perfetto<W> {
    fn begin(&mut self, begin: Moment<'_>) -> io::Result<()> {
        self.write_clocks(&begin.recording.header.samples[1])?;
        self.write_process(begin.recording)?;
        self.write_threads(begin.recording)
    }

    fn enter(&mut self, at: Moment<'_>, thread: u32, span: SpanId, how: Begin) -> io::Result<()> {
        let track = self.thread(thread)?;
        self.write_event(TYPE_SLICE_BEGIN, at, track, Drawn::entered(at, span, how))
    }

    fn leave(&mut self, at: Moment<'_>, thread: u32, span: SpanId, how: End) -> io::Result<()> {
        let track = self.thread(thread)?;
        self.write_event(TYPE_SLICE_END, at, track, Drawn::left(at, span, how))
    }

    fn open(&mut self, at: Moment<'_>, _: Option<u32>, span: SpanId, how: Begin) -> io::Result<()> {
        let drawn = Drawn::opened(at, span, how);
        let track = self.named_track(&drawn.name)?;
        self.spans.insert(span, track);
        self.write_event(TYPE_SLICE_BEGIN, at, track, drawn)
    }

    fn close(&mut self, at: Moment<'_>, _: Option<u32>, span: SpanId, how: End) -> io::Result<()> {
        match self.spans.remove(&span) {
            Some(track) => {
                self.write_event(TYPE_SLICE_END, at, track, Drawn::closed(at, span, how))
            }
            None => Ok(()),
        }
    }

    fn event(&mut self, at: Moment<'_>, event: &Entry) -> io::Result<()> {
        let track = self.thread(event.thread)?;
        let drawn = Drawn::event(Shown::alone(at.recording, event));
        self.write_event(TYPE_INSTANT, at, track, drawn)
    }

    fn end(&mut self, _: Moment<'_>) -> io::Result<()> {
        Ok(())
    }
}
