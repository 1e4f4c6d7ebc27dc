//! What a recording tells of how its process ended, and whose it was.
//!
//! Three pages at the file's beginning tell it, and nothing that they say is believed
//! unless its check holds: what cannot be read speaks of a crash.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::fstat;
use ttlog_format::cause::{CAUSE_WORDS, CAUSES, Cause, Kind, offset, place};
use ttlog_format::header::{HEADER_BYTES, Header, INCIDENTS_OFFSET, MAGIC, TOTALS_OFFSET, totals};

/// The status of a program whose `main` panicked.
const STATUS_PANICKED: i32 = 101;

/// Bytes before the incidents: the header, totals and causes.
const BYTES: usize = INCIDENTS_OFFSET as usize;

/// What is known of an old process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Whether it ended as it should, and did not crash.
    pub(super) of_an_end: bool,
    /// Name of its service, empty where that cannot be read.
    pub(super) service: String,
}

impl Evidence {
    /// What a recording tells; `None` if the file is no recording.
    pub(super) fn of_recording(file: &File) -> Option<Evidence> {
        let mut bytes = vec![0; BYTES];
        let found = read(file, &mut bytes, 0);
        if !bytes[..found].starts_with(&MAGIC) {
            return None;
        }
        let header = Header::decode(&bytes[..found.min(HEADER_BYTES)]).ok();
        let header = header.or_else(|| copy(file)).unwrap_or_default();
        Some(Evidence {
            of_an_end: has_ended(&bytes, header.recording),
            service: header.name,
        })
    }
}

/// The header's copy at the end of the file.
fn copy(file: &File) -> Option<Header> {
    let len = u64::try_from(fstat(file).ok()?.st_size).ok()?;
    let mut bytes = vec![0; HEADER_BYTES];
    let found = read(file, &mut bytes, len.checked_sub(HEADER_BYTES as u64)?);
    Header::decode(&bytes[..found]).ok()
}

/// Fills what there is from `offset` on, and tells how much that was.
fn read(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut found = 0;
    while let Ok(more @ 1..) = file.read_at(&mut buffer[found..], offset + found as u64) {
        found += more;
    }
    found
}

/// Whether the last cause is an end: an exit, whatever its status, but for that of a
/// panic in `main`, or an obeyed signal that had been asked for.
fn has_ended(bytes: &[u8], recording: u64) -> bool {
    let causes = (0..CAUSES).filter_map(|place| cause_at(bytes, place, recording));
    match causes.max_by_key(|cause| cause.number) {
        Some(Cause {
            kind: Kind::Terminate,
            ..
        }) => true,
        Some(Cause {
            kind: Kind::Exit,
            status,
            ..
        }) => match status {
            Some(status) => status != STATUS_PANICKED,
            // Without a status it may have been that of a panic, if there were any.
            None => incidents(bytes, recording) == Some(0),
        },
        Some(Cause {
            kind: Kind::Signal, ..
        })
        | None => false,
    }
}

fn cause_at(bytes: &[u8], at: usize, recording: u64) -> Option<Cause> {
    let words: [u64; CAUSE_WORDS] = std::array::from_fn(|i| word(bytes, offset(at) as usize, i));
    Cause::decode(&words, recording).filter(|cause| place(cause.number) == at)
}

fn incidents(bytes: &[u8], recording: u64) -> Option<u64> {
    let total = word(bytes, TOTALS_OFFSET as usize, totals::INCIDENTS);
    totals::decode(totals::INCIDENTS, total, recording)
}

/// The `i`th word behind `offset`, which lies among the bytes.
fn word(bytes: &[u8], offset: usize, i: usize) -> u64 {
    let words = bytes.as_chunks::<8>().0;
    words
        .get(offset / 8 + i)
        .map_or(0, |&word| u64::from_le_bytes(word))
}
