//! A snapshot, and what lies in its frame.
//!
//! What is read, written and read again is the same; numbers may have become smaller kinds
//! of numbers in the first round, and texts that are none have become texts.

use std::sync::OnceLock;

use ttlog_format::salvage::{Entries, Entry, Recording, salvage};
use ttlog_format::snapshot::{self, Error, MAGIC, Made, Told};

use super::{add_up, are_same};
use crate::made::story;

/// What stands behind the magic: version 1, blocks that are linked, of 64 KiB at most, and
/// no checks but the header's own.
const DESCRIPTOR: [u8; 3] = [0x40, 0x40, 0xc0];

/// The bit of a block's length by which it is not compressed.
const STORED: u32 = 1 << 31;

/// Bytes of a block at most.
const BLOCK_MAX: usize = 64 << 10;

/// Bytes that are written again at most: beyond that it takes long.
const REWRITTEN_MAX: usize = 1 << 12;

/// A file: plain, or a block of LZ4 without its frame.
pub fn snapshot(bytes: &[u8]) {
    let (&which, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    match which % 2 {
        0 => snapshot_by(bytes, |_| true),
        _ => snapshot_by(&frame(bytes, 0), |_| true),
    }
}

/// CBOR items in a frame, behind a head that is one or as the first of them.
pub fn cbor(bytes: &[u8]) {
    let (&which, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    snapshot_by(&framed(which % 2 == 1, bytes), |_| true);
}

/// CBOR items in a frame, behind a head if that is wanted.
pub fn framed(with_head: bool, items: &[u8]) -> Vec<u8> {
    match with_head {
        true => frame(&[head(), items].concat(), STORED),
        false => frame(items, STORED),
    }
}

/// Reads a snapshot, with entries told alone for which `is_told` holds.
pub fn snapshot_by(bytes: &[u8], is_told: impl Fn(&Entry) -> bool) {
    let len = bytes.len() as u64;
    let of_head = snapshot::read_head(bytes);
    let (recording, made) = match snapshot::read(bytes, len) {
        Ok(read) => read,
        Err(error) => {
            assert!(!matches!(error, Error::Read(_)), "bytes in memory");
            assert!(Told::open(std::io::Cursor::new(bytes), len).is_err());
            return;
        }
    };
    if let Ok((header, of_head)) = of_head {
        assert_eq!((&header, &of_head), (&recording.header, &made));
    }
    told_one_by_one(bytes, &recording, &made, is_told);
    if bytes.len() <= REWRITTEN_MAX {
        written_again(&recording, &made);
    }
}

fn told_one_by_one(
    bytes: &[u8],
    recording: &Recording,
    made: &Made,
    is_told: impl Fn(&Entry) -> bool,
) {
    let cursor = std::io::Cursor::new(bytes);
    let mut told = Told::open(cursor, bytes.len() as u64).expect("it was read");
    assert_eq!(told.made(), made);
    for _ in 0..2 {
        let mut entries = Vec::new();
        while told.tell().expect("bytes in memory") {
            entries.push(told.told().clone());
        }
        entries.retain(&is_told);
        are_same(&entries, &recording.entries, "told and read");
        assert_eq!(told.recording().ledger, recording.ledger);
        told.rewind().expect("bytes in memory");
    }
    let whole = recording.entries.iter().all(|entry| {
        entry.fields.iter().for_each(drop);
        recording.around(entry.span).count() <= 1024
    });
    assert!(whole);
}

fn written_again(recording: &Recording, made: &Made) {
    let again = |recording: &Recording, made: &Made| {
        let mut bytes = Vec::new();
        snapshot::write(recording, made, &mut bytes).expect("memory");
        snapshot::read(&bytes[..], bytes.len() as u64).expect("what was written is read")
    };
    let made = Made {
        window_ns: None,
        ..made.clone()
    };
    let (first, made) = again(recording, &made);
    assert_eq!(first.entries.len(), recording.entries.len());
    assert_eq!(first.ledger.missing_items, 0);
    assert_eq!(first.threads, recording.threads);
    assert_eq!(first.causes, recording.causes);
    let (second, made_again) = again(&first, &made);
    assert_eq!(made_again, made);
    are_same(&tables(&second), &tables(&first), "written again");
    are_same(&second.entries, &first.entries, "written again");
}

fn tables(recording: &Recording) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut spans: Vec<_> = recording.spans.values().cloned().collect();
    spans.sort_by_key(|span| span.id);
    let mut sites: Vec<_> = recording.sites.values().cloned().collect();
    sites.sort_by_key(|site| site.address);
    (
        recording.header.clone(),
        (recording.causes.clone(), recording.incidents.clone()),
        (recording.threads.clone(), recording.ledger),
        (spans, sites),
        recording.end_ns,
    )
}

/// A frame around bytes that are blocks of LZ4, or are not compressed.
fn frame(bytes: &[u8], stored: u32) -> Vec<u8> {
    let mut frame = [&MAGIC[..], &DESCRIPTOR].concat();
    for block in bytes.chunks(BLOCK_MAX) {
        frame.extend((block.len() as u32 | stored).to_le_bytes());
        frame.extend(block);
    }
    frame.extend([0; 4]);
    frame
}

/// The head of a snapshot, in CBOR.
pub fn head() -> &'static [u8] {
    static HEAD: OnceLock<Vec<u8>> = OnceLock::new();
    HEAD.get_or_init(|| {
        let items = items();
        // The ledger is the first item behind it.
        let key = b"\xa1\x66ledger";
        let at = items.windows(key.len()).position(|it| it == key);
        items[..at.expect("a ledger")].to_vec()
    })
}

/// All items of a snapshot of the story.
fn items() -> Vec<u8> {
    let recording = salvage(&story().bytes).expect("a recording");
    add_up(recording.ledger.counts);
    let mut bytes = Vec::new();
    snapshot::write(&recording, &Made::default(), &mut bytes).expect("memory");
    let mut items = Vec::new();
    let mut decoder = lz4_flex::frame::FrameDecoder::new(&bytes[..]);
    std::io::Read::read_to_end(&mut decoder, &mut items).expect("what was written");
    items
}
