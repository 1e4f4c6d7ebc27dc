//! What the stream means, in the Trace Stream Description Language (CTF 1.8.3, section 7).

use std::collections::HashSet;
use std::fmt::Write;

use ttlog_format::header::Header;
use ttlog_format::salvage::{Entry, Recording};
use ttlog_format::site::Level;
use ttlog_format::value::{Borrowed, Value};

use crate::escape::escape;
use crate::json::word;
use crate::shown::Shown;

/// Bytes that a field's name keeps.
const NAME_BYTES: usize = 64;

const SECOND_NS: u64 = 1_000_000_000;

/// The identity of a trace: the recording's, twice, as a UUID of nobody's version (RFC 9562,
/// 5.8).
pub(super) fn uuid(header: &Header) -> [u8; 16] {
    let mut uuid = [0; 16];
    let identity = header.recording.to_le_bytes();
    for (to, from) in uuid.iter_mut().zip(identity.iter().cycle()) {
        *to = *from;
    }
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// What comes before the classes: moments are counted from `begin_ns`.
pub(super) fn head(header: &Header, uuid: &[u8; 16], begin_ns: u64) -> String {
    let (seconds, rest) = (begin_ns / SECOND_NS, begin_ns % SECOND_NS);
    let uuid = dashed(uuid);
    let [host, name] = [&header.host, &header.name].map(|text| literal(text));
    let pid = header.pid;
    format!(
        r#"/* CTF 1.8 */

typealias integer {{ size = 8; align = 8; signed = false; }} := uint8_t;
typealias integer {{ size = 32; align = 8; signed = false; }} := uint32_t;
typealias integer {{ size = 64; align = 8; signed = false; }} := uint64_t;
typealias integer {{ size = 64; align = 8; signed = true; }} := int64_t;
typealias floating_point {{ exp_dig = 11; mant_dig = 53; align = 8; }} := double;
typealias string {{ encoding = UTF8; }} := text;
typealias enum : uint8_t {{ "false" = 0, "true" = 1 }} := truth;

trace {{
	major = 1;
	minor = 8;
	uuid = "{uuid}";
	byte_order = le;
	packet.header := struct {{
		uint32_t magic;
		uint8_t uuid[16];
		uint32_t stream_id;
	}};
}};

env {{
	tracer_name = "ttlog";
	hostname = {host};
	procname = {name};
	vpid = {pid};
}};

clock {{
	name = wall;
	description = "the wall clock, UTC";
	freq = {SECOND_NS};
	offset_s = {seconds};
	offset = {rest};
	absolute = true;
}};

typealias integer {{ size = 64; align = 8; signed = false; map = clock.wall.value; }} := moment;

stream {{
	id = 0;
	packet.context := struct {{
		moment timestamp_begin;
		moment timestamp_end;
		uint64_t content_size;
		uint64_t packet_size;
	}};
	event.header := struct {{
		uint32_t id;
		moment timestamp;
	}};
	event.context := struct {{
		uint32_t _thread_id;
		text _thread_name;
		enum : uint8_t {{ "?" = 0, "ERROR" = 1, "WARN" = 2, "INFO" = 3, "DEBUG" = 4, "TRACE" = 5 }} _level;
		text _target;
		text _spans;
		uint64_t _span_id;
	}};
}};
"#
    )
}

/// The name of an event: of a call site, after what happened where that is no event.
pub(super) fn name(recording: &Recording, entry: &Entry) -> String {
    let site = recording.sites.get(&entry.site);
    let name = site.map_or("?", |site| site.name.as_str());
    match word(entry.what) {
        Some(word) => format!("{word}:{name}"),
        None => name.to_owned(),
    }
}

/// A class of events that are shown as this one.
pub(super) fn class(id: u32, name: &str, shown: &Shown<'_>) -> String {
    let mut words = format!(
        "\nevent {{\n\tname = {};\n\tid = {id};\n\tstream_id = 0;\n",
        literal(name)
    );
    if let Some(level) = shown.level {
        // Writing to memory cannot fail, here and below.
        let _ = writeln!(words, "\tloglevel = {};", loglevel(level));
    }
    words.push_str("\tfields := struct {\n");
    let mut taken = HashSet::new();
    for (name, value) in &shown.fields {
        let name = identifier(name, &mut taken);
        let _ = writeln!(words, "\t\t{} {name};", kind(value));
    }
    words.push_str("\t};\n};\n");
    words
}

/// The number that LTTng has for a level.
fn loglevel(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 14,
        Level::Trace => 13,
    }
}

fn kind(value: &Value<Borrowed<'_>>) -> &'static str {
    match value {
        Value::I64(_) => "int64_t",
        Value::U64(_) => "uint64_t",
        Value::F64(_) => "double",
        Value::Bool(_) => "truth",
        _ => "text",
    }
}

/// A name that is an identifier and not taken: an underscore, which readers take away, and
/// underscores for what no identifier has.
fn identifier(name: &str, taken: &mut HashSet<String>) -> String {
    let allowed = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '_',
    };
    let plain: String = name.chars().take(NAME_BYTES).map(allowed).collect();
    let mut found = format!("_{plain}");
    for number in 2.. {
        if taken.insert(found.clone()) {
            break;
        }
        found = format!("_{plain}_{number}");
    }
    found
}

/// A text between quotes.
fn literal(text: &str) -> String {
    let shown = escape(text.as_bytes());
    format!("\"{}\"", shown.replace('\\', r"\\").replace('"', "\\\""))
}

fn dashed(uuid: &[u8; 16]) -> String {
    let mut words = String::new();
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            words.push('-');
        }
        let _ = write!(words, "{byte:02x}");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_and_each_is_another() {
        let mut taken = HashSet::new();
        let names = ["message", "a b", "a.b", "größe", "", "a b"];
        let found = names.map(|name| identifier(name, &mut taken));
        assert_eq!(
            found,
            ["_message", "_a_b", "_a_b_2", "_gr__e", "_", "_a_b_3"]
        );
    }

    #[test]
    fn a_text_cannot_end_its_quotes() {
        assert_eq!(literal("a\" \\ \u{1b}"), r#""a\" \\ \\x1b""#);
    }
}
