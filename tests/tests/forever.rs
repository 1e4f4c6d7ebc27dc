//! What was written once is read for ever: of each version of the format a recording and
//! a snapshot were frozen, with what they said then.
//!
//! What is read of them today may be more, and nothing of it may be missing or other. The
//! files are never made again. When a version begins, a recording by the name of
//! `VERSION.ring.lz4` and a snapshot by that of `VERSION.bin` are put into `tests/forever`,
//! and what they say is written down, once:
//!
//! ```text
//! TTLOG_FREEZE=1 cargo test -p ttlog-tests --test forever
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};

use ciborium::Value as Cbor;
use serde::Serialize;
use serde_json::{Value, json};
use ttlog_format::salvage::{Recording, Span, salvage};
use ttlog_format::site::CallSite;
use ttlog_format::{VERSION, snapshot};

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("forever")
}

/// The bytes of a version's recording.
fn recording(version: u32) -> Vec<u8> {
    let path = kept().join(format!("{version}.ring.lz4"));
    let packed = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut bytes = Vec::new();
    let mut frame = lz4_flex::frame::FrameDecoder::new(packed);
    frame.read_to_end(&mut bytes).expect("an LZ4 frame");
    bytes
}

/// The bytes of a version's snapshot.
fn taken(version: u32) -> Vec<u8> {
    let path = kept().join(format!("{version}.bin"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The same in JSON, numbers that JSON has no room for as text.
fn in_json(it: impl Serialize) -> Value {
    fn of(it: Cbor) -> Value {
        match it {
            Cbor::Map(pairs) => {
                let pairs = pairs.into_iter().map(|(key, it)| (key_of(&key), of(it)));
                Value::Object(pairs.collect())
            }
            Cbor::Array(items) => items.into_iter().map(of).collect(),
            Cbor::Text(text) => text.into(),
            Cbor::Bool(is) => is.into(),
            Cbor::Null => Value::Null,
            Cbor::Integer(number) => match i64::try_from(number) {
                Ok(number) => number.into(),
                Err(_) => i128::from(number).to_string().into(),
            },
            other => format!("{other:?}").into(),
        }
    }
    fn key_of(key: &Cbor) -> String {
        key.as_text()
            .map_or_else(|| format!("{key:?}"), str::to_owned)
    }
    of(Cbor::serialized(&it).expect("CBOR"))
}

/// All that is read of a recording.
fn told(recording: &Recording) -> Value {
    let mut sites: Vec<&CallSite> = recording.sites.values().map(|site| &**site).collect();
    sites.sort_by_key(|site| site.address);
    let mut spans: Vec<&Span> = recording.spans.values().map(|span| &**span).collect();
    spans.sort_by_key(|span| span.id.map(|id| id.to_u64()));
    json!({
        "header": in_json(&recording.header),
        "ledger": in_json(recording.ledger),
        "causes": in_json(&recording.causes),
        "incidents": in_json(&recording.incidents),
        "threads": in_json(&recording.threads),
        "sites": in_json(sites),
        "spans": in_json(spans),
        "entries": in_json(&recording.entries),
        "end_ns": in_json(recording.end_ns),
    })
}

fn told_of(version: u32) -> Value {
    let read = salvage(&recording(version)).expect("a recording");
    let bytes = taken(version);
    let (taken, made) = snapshot::read(&bytes[..], bytes.len() as u64).expect("a snapshot");
    json!({"recording": told(&read), "snapshot": told(&taken), "made": in_json(made)})
}

/// Where something is missing of what was told once, or is told otherwise.
fn lost(then: &Value, now: &Value, path: &str) -> Option<String> {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => then.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match now.get(key) {
                Some(now) => lost(value, now, &path),
                None => Some(format!("{path} is gone")),
            }
        }),
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            let mut both = then.iter().zip(now).enumerate();
            both.find_map(|(at, (then, now))| lost(then, now, &format!("{path}[{at}]")))
        }
        _ if then == now => None,
        _ => Some(format!("{path} was {then}, and is {now}")),
    }
}

#[test]
fn what_was_frozen_is_read_as_it_was() {
    for version in 1..=VERSION {
        let now = told_of(version);
        let path = kept().join(format!("{version}.json"));
        if std::env::var_os("TTLOG_FREEZE").is_some() && !path.exists() {
            std::fs::write(&path, format!("{now:#}\n")).expect("it is written down");
        }
        let then = std::fs::read_to_string(&path).expect("what it said");
        let then: Value = then.parse().expect("JSON");
        if let Some(lost) = lost(&then, &now, "") {
            panic!("version {version}: {lost}");
        }
    }
}

/// Where it is cut makes no difference to what lies before: nothing is read that was not
/// there, and the account says what is missing.
#[test]
fn what_was_frozen_is_read_wherever_it_is_cut() {
    for version in 1..=VERSION {
        let whole = recording(version);
        let read = salvage(&whole).expect("a recording");
        // Where the pool begins, and every size of what a writer may have stored at once.
        let pool = read.header.layout.pool_offset() as usize;
        let cuts = (4096..whole.len()).step_by(4093).chain(pool..pool + 64);
        for cut in cuts {
            let cut_off = salvage(&whole[..cut]).unwrap_or_else(|error| panic!("{cut}: {error:?}"));
            let counts = cut_off.ledger.counts;
            let parts = [
                counts.readable,
                counts.overwritten,
                counts.dropped,
                counts.torn,
            ];
            assert_eq!(counts.written, parts.iter().sum::<u64>(), "{cut}");
            assert!(cut_off.ledger.missing_bytes > 0, "{cut}");
            // Times are another's where the clocks of other blocks are known.
            let events = |recording: &Recording| {
                let events = recording.entries.iter().filter(|it| it.what.is_event());
                let said = events.map(|it| (it.site, format!("{:?}", it.fields)));
                said.collect::<Vec<_>>()
            };
            let there = events(&read);
            let mut told = events(&cut_off).into_iter();
            assert!(told.all(|event| there.contains(&event)), "{cut}");
        }
    }
}

#[test]
fn what_is_gone_or_other_is_found() {
    let then = json!({"a": [{"b": 1}, {"b": 2}], "c": null});
    let lost = |now: Value| lost(&then, &now, "");
    assert_eq!(
        lost(json!({"a": [{"b": 1, "new": 7}, {"b": 2}], "c": null, "d": 1})),
        None
    );
    for now in [
        json!({"a": [{"b": 1}, {"b": 2}]}),
        json!({"a": [{"b": 1}], "c": null}),
        json!({"a": [{"b": 1}, {"b": 3}], "c": null}),
        json!({"a": [{"b": 1}, {"x": 2}], "c": null}),
    ] {
        assert!(lost(now.clone()).is_some(), "{now}");
    }
}
