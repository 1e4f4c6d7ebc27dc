//! What struck the process: incidents, and those causes that are no plain exit.

use std::fmt;

use ttlog_format::cause::{self, Cause};
use ttlog_format::header::Header;
use ttlog_format::incident::{self, Incident, Module};
use ttlog_format::salvage::Recording;
use ttlog_format::span::SpanId;

use crate::signal;
use crate::text::age;

/// What begins and ends the frames that are the program's own, in Rust's backtraces.
const MACHINERY_ENDS: &str = "__rust_end_short_backtrace";
const MACHINERY_BEGINS: &str = "__rust_begin_short_backtrace";

/// Something that struck the process.
#[derive(Debug)]
pub(super) struct Struck<'a> {
    /// `panic`, `snapshot`, `signal` or `terminate`.
    pub(super) kind: &'static str,
    pub(super) message: String,
    /// `file:line:column`, empty if it is not known.
    pub(super) location: &'a str,
    pub(super) thread_id: u32,
    pub(super) thread_name: &'a str,
    pub(super) wall_ns: u64,
    /// The spans around it, outermost first.
    pub(super) spans: Vec<SpanId>,
    /// Innermost first.
    pub(super) backtrace: Vec<Frame<'a>>,
}

/// A frame of a backtrace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Frame<'a> {
    /// In words.
    Symbol(&'a str),
    /// An address in the file of a module.
    In {
        /// The module's path.
        path: &'a str,
        /// Its build id, empty if it has none.
        build_id: &'a str,
        /// The address, counted from the module's base.
        offset: u64,
    },
    /// An address in none that is known.
    Address(u64),
}

/// All that struck, oldest first.
pub(super) fn of(recording: &Recording) -> Vec<Struck<'_>> {
    let incidents = recording.incidents.iter();
    let incidents = incidents.map(|incident| of_incident(recording, incident));
    let causes = recording.causes.iter();
    let causes = causes.filter_map(|cause| of_cause(recording, cause));
    let mut struck: Vec<Struck<'_>> = incidents.chain(causes).collect();
    struck.sort_by_key(|struck| struck.wall_ns);
    struck
}

fn of_incident<'a>(recording: &Recording, incident: &'a Incident) -> Struck<'a> {
    Struck {
        kind: match incident.kind {
            incident::Kind::Panic => "panic",
            incident::Kind::Snapshot => "snapshot",
        },
        message: incident.message.clone(),
        location: &incident.location,
        thread_id: incident.thread_id,
        thread_name: &incident.thread_name,
        wall_ns: incident.wall_ns,
        spans: around(recording, &incident.stack),
        backtrace: backtrace(incident),
    }
}

/// The innermost span that a thread was in, and its parents, which it need not be in;
/// all that it was in, where less is known of these.
fn around(recording: &Recording, stack: &[SpanId]) -> Vec<SpanId> {
    let context = recording.context(stack.last().copied());
    if context.len() < stack.len() {
        return stack.to_vec();
    }
    context.into_iter().map(|(id, _)| id).collect()
}

fn backtrace(incident: &Incident) -> Vec<Frame<'_>> {
    if !incident.symbols.is_empty() {
        return incident
            .symbols
            .iter()
            .map(|symbol| Frame::Symbol(symbol))
            .collect();
    }
    let frames = incident.frames.iter();
    frames
        .map(|&frame| Frame::find(frame, &incident.modules))
        .collect()
}

fn of_cause<'a>(recording: &'a Recording, cause: &Cause) -> Option<Struck<'a>> {
    let (kind, message) = match cause.kind {
        cause::Kind::Exit => return None,
        cause::Kind::Signal => ("signal", of_signal(recording, cause)),
        cause::Kind::Terminate => ("terminate", of_signal(recording, cause)),
    };
    let mut threads = recording.threads.iter();
    let thread = threads.find(|thread| cause.thread != 0 && thread.number == cause.thread);
    let mut modules = recording
        .incidents
        .iter()
        .map(|incident| &*incident.modules);
    let found = modules.find_map(|modules| Frame::find_in(cause.program_counter, modules));
    let found =
        found.or_else(|| Frame::find_in_executable(cause.program_counter, &recording.header));
    Some(Struck {
        kind,
        message,
        location: "",
        thread_id: cause.thread_id,
        thread_name: thread.map_or("", |thread| &thread.name),
        wall_ns: cause.wall_ns,
        spans: Vec::new(),
        backtrace: found
            .or(Some(Frame::Address(cause.program_counter)))
            .filter(|_| cause.program_counter != 0)
            .into_iter()
            .collect(),
    })
}

/// `SIGSEGV (address not mapped) at address 0x0`
fn of_signal(recording: &Recording, cause: &Cause) -> String {
    let mut words = signal::name(cause.signal);
    let origin = signal::origin(cause, recording.header.pid);
    // It goes on where a thread is named.
    words += origin.trim_end_matches(',');
    if cause.overflow {
        words += ": the stack has overflowed";
    }
    if cause.own_after_ns > 0 {
        words += &format!("; its thread went on for {}", age(cause.own_after_ns));
    }
    words
}

impl<'a> Frame<'a> {
    fn find(address: u64, modules: &'a [Module]) -> Frame<'a> {
        Frame::find_in(address, modules).unwrap_or(Frame::Address(address))
    }

    fn find_in(address: u64, modules: &'a [Module]) -> Option<Frame<'a>> {
        let module = modules
            .iter()
            .find(|module| (module.range.0..module.range.1).contains(&address))?;
        Some(Frame::In {
            path: &module.name,
            build_id: &module.build_id,
            offset: address.wrapping_sub(module.base),
        })
    }

    fn find_in_executable(address: u64, header: &'a Header) -> Option<Frame<'a>> {
        let (start, end) = header.executable_range;
        (start..end).contains(&address).then(|| Frame::In {
            path: &header.executable,
            build_id: &header.build_id,
            offset: address - start,
        })
    }
}

/// `payments+0x1234 (deadbeef)`; strings are as they were recorded.
impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Symbol(words) => f.write_str(words),
            Frame::Address(address) => write!(f, "{address:#x}"),
            Frame::In {
                path,
                build_id,
                offset,
            } => {
                write!(f, "{}+{offset:#x}", file_name(path))?;
                match *build_id {
                    "" => Ok(()),
                    build_id => write!(f, " ({build_id})"),
                }
            }
        }
    }
}

/// The last part of a path of the system that recorded.
pub(super) fn file_name(path: &str) -> &str {
    match path.rsplit('/').next() {
        Some("") | None => path,
        Some(name) => name,
    }
}

/// The frames between the machinery of a panic and that of a thread's start; all
/// of them where these are not marked.
pub(super) fn own_frames<'f, 'a>(backtrace: &'f [Frame<'a>]) -> &'f [Frame<'a>] {
    let marked = |mark: &str, frame: &Frame<'_>| matches!(frame, Frame::Symbol(words) if words.contains(mark));
    let ends = backtrace
        .iter()
        .rposition(|frame| marked(MACHINERY_ENDS, frame));
    let own = &backtrace[ends.map_or(0, |at| at + 1)..];
    let begins = own.iter().position(|frame| marked(MACHINERY_BEGINS, frame));
    &own[..begins.unwrap_or(own.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_fatal_signal_is_an_incident_and_an_exit_is_none() {
        let recording = fixture::signalled();
        let struck = of(&recording);
        assert_eq!(struck.len(), 1);
        assert_eq!(
            (struck[0].kind, &*struck[0].message),
            ("signal", "SIGSEGV (address not mapped) at address 0x0")
        );
        assert_eq!(
            (struck[0].thread_id, struck[0].thread_name),
            (4712, "worker-1")
        );
    }

    #[test]
    fn a_frame_without_a_symbol_is_an_address_in_the_file_of_its_module() {
        let mut recording = fixture::panicked();
        recording.incidents[0].symbols.clear();
        let words: Vec<String> = of(&recording)[0]
            .backtrace
            .iter()
            .map(Frame::to_string)
            .collect();
        assert_eq!(
            words,
            [
                "payments+0x1234 (deadbeef)",
                "payments+0x2000 (deadbeef)",
                "0x10"
            ]
        );
    }

    #[test]
    fn the_machinery_of_panics_is_left_out_where_it_is_marked() {
        let frames = |words: &[&'static str]| {
            let frames: Vec<Frame<'_>> = words.iter().map(|&words| Frame::Symbol(words)).collect();
            let own = own_frames(&frames).iter().map(Frame::to_string);
            own.collect::<Vec<_>>()
        };
        let marked = [
            "rust_begin_unwind",
            "std::sys::backtrace::__rust_end_short_backtrace",
            "payments::main at src/main.rs:7",
            "std::sys::backtrace::__rust_begin_short_backtrace",
            "main",
        ];
        assert_eq!(frames(&marked), ["payments::main at src/main.rs:7"]);
        assert_eq!(frames(&marked[2..3]).len(), 1);
        assert_eq!(frames(&[]).len(), 0);
    }
}
