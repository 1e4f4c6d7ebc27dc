//! What is written is read back, and of what is cut or damaged, what lies before.

use std::collections::HashSet;
use std::io::{Read, Write};

use ciborium::tag::Required;
use lz4_flex::frame::FrameEncoder;

use super::*;
use crate::cause;
use crate::redaction::Names;
use crate::salvage::image::{EVENT, Image, SPAN, number, text};
use crate::salvage::{Entries, Recording, Rule, Scrubbed, Stream, What, Whole};
use crate::span::SpanId;
use crate::value::{Borrowed, Field, REDACTED, Text, Value};

const SECOND: u64 = 1_000_000_000;

fn recording() -> Recording {
    let mut image = Image::new(4, 4);
    image.call_sites(0);
    image.take(1, 1, 10);
    for n in 0..20 {
        image.event(1, SECOND * u64::from(n), n);
    }
    let long = text(1, "a text", 6);
    let mut body = vec![20 * SECOND, EVENT, number(0, 20)];
    body.extend(long);
    image.append(1, crate::record::Kind::Event, &body);
    let mut recording = image.salvage();
    recording.causes.push(Cause {
        kind: cause::Kind::Signal,
        signal: 11,
        address: Some(8),
        ..Cause::default()
    });
    recording.incidents.push(Incident {
        message: "index out of bounds".into(),
        frames: vec![1, 2],
        ..Incident::default()
    });
    recording
}

fn snapshot(recording: &Recording, window_ns: Option<u64>) -> Vec<u8> {
    let made = Made {
        why: "a test".into(),
        window_ns,
        ..Made::default()
    };
    let mut bytes = Vec::new();
    write(recording, &made, &mut bytes).unwrap();
    bytes
}

fn reread(bytes: &[u8]) -> Result<(Recording, Made), Error> {
    read(bytes, bytes.len() as u64)
}

#[test]
fn all_of_a_recording_comes_back() {
    let whole = recording();
    let (read, made) = reread(&snapshot(&whole, None)).unwrap();
    assert_eq!(made.why, "a test");
    assert_eq!(read.header, whole.header);
    assert_eq!(read.causes, whole.causes);
    assert_eq!(read.incidents, whole.incidents);
    assert_eq!(read.threads, whole.threads);
    assert_eq!(read.ledger, whole.ledger);
    assert_eq!(read.entries, whole.entries);
    assert_eq!(read.end_ns, whole.end_ns);
    let [(address, site)] = read.sites.iter().collect::<Vec<_>>()[..] else {
        panic!("the call site that is named, and no other")
    };
    assert_eq!((*address, site), (EVENT, &whole.sites[&EVENT]));
}

/// Bytes that tell how many of them were read.
struct Counted<'a> {
    bytes: &'a [u8],
    read: &'a std::cell::Cell<usize>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.bytes.read(buffer)?;
        self.read.set(self.read.get() + len);
        Ok(len)
    }
}

#[test]
fn a_head_is_read_alone() {
    let mut whole = recording();
    // Such as does not compress to a block.
    let mut hash = 1u64;
    for thread in 0..100_000 {
        hash = hash.wrapping_mul(6_364_136_223_846_793_005) + 1;
        whole.threads.push(Thread {
            number: thread,
            id: (hash >> 32) as u32,
            ..Thread::default()
        });
    }
    let bytes = snapshot(&whole, None);
    let read = std::cell::Cell::new(0);
    let counted = Counted {
        bytes: &bytes,
        read: &read,
    };
    let (header, made) = read_head(counted).unwrap();
    assert_eq!((header, made.why.as_str()), (whole.header, "a test"));
    assert!(bytes.len() > 4 * (1 << 16), "{}", bytes.len());
    assert!(read.get() < bytes.len() / 2, "{} were read", read.get());

    let cut = read_head(&bytes[..100]);
    assert!(matches!(cut, Err(Error::NoHead(_))), "{cut:?}");
    let none = read_head(&b"no frame"[..]);
    assert!(matches!(none, Err(Error::NoHead(_))), "{none:?}");
}

#[test]
fn a_window_holds_what_is_recent_and_counts_the_rest() {
    let whole = recording();
    let (read, _) = reread(&snapshot(&whole, Some(5 * SECOND))).unwrap();
    assert_eq!(read.entries, whole.entries[whole.entries.len() - 6..]);
    assert_eq!(read.ledger.before_window, 15);
    assert_eq!(read.ledger.counts, whole.ledger.counts);
}

#[test]
fn open_spans_are_there_with_their_parents_however_old() {
    let id = |slot| SpanId::in_slot(slot, 1);
    let mut whole = recording();
    let span = |slot, parent, open| Span {
        id: Some(id(slot)),
        parent,
        open,
        ..Span::default()
    };
    whole.spans = [
        (id(1), span(1, None, false).into()),
        (id(2), span(2, Some(id(1)), true).into()),
        (id(3), span(3, None, false).into()),
    ]
    .into();
    let (read, _) = reread(&snapshot(&whole, Some(0))).unwrap();
    let mut ids: Vec<SpanId> = read.spans.into_keys().collect();
    ids.sort();
    assert_eq!(ids, [id(1), id(2)]);
}

/// A thousand requests after each other, all but the last closed.
fn requests() -> Image {
    let mut image = Image::new(300, 4);
    image.call_sites(0);
    image.take(1, 1, 1);
    let mut places = 2..300;
    for n in 0..5_000u32 {
        let ticks = SECOND / 1_000 * u64::from(n);
        if image.room(1) < 30 {
            image.take(places.next().unwrap(), 1, ticks);
        }
        let (id, parent) = (SpanId::in_slot(n, 1), SpanId::in_slot(n & !1, 1));
        let opening = [ticks, SPAN, id.to_u64(), parent.to_u64(), number(0, n)];
        image.append(1, crate::record::Kind::SpanOpen, &opening);
        let in_it = [ticks + 1, EVENT, id.to_u64(), number(0, n)];
        image.append(1, crate::record::Kind::EventIn, &in_it);
        for (closed, after) in [(id, 2), (parent, 3)].into_iter().filter(|_| n % 2 == 1) {
            let body = [ticks + after, closed.to_u64()];
            image.append(1, crate::record::Kind::SpanClose, &body);
        }
    }
    image
}

#[test]
fn of_a_recording_that_is_told_it_is_that_of_the_whole() {
    let image = requests();
    let whole = image.salvage();
    for window_ns in [None, Some(SECOND), Some(0)] {
        let (expected, made) = reread(&snapshot(&whole, window_ns)).unwrap();
        let mut stream = Stream::open(&image.bytes).unwrap();
        let part = Part::of(&mut stream, window_ns).unwrap();
        let mut bytes = Vec::new();
        let asked = Made {
            items: 0,
            ..made.clone()
        };
        part.write(&mut stream, &asked, &mut bytes).unwrap();
        let (read, read_made) = reread(&bytes).unwrap();
        assert_eq!(read_made, made);
        assert_eq!(read.entries, expected.entries);
        assert_eq!(read.spans, expected.spans);
        assert_eq!(read.sites, expected.sites);
        assert_eq!(read.ledger, expected.ledger);
        assert_eq!(read.threads, expected.threads);
        let mut told = Told::open(io::Cursor::new(&bytes), bytes.len() as u64).unwrap();
        for _ in 0..2 {
            for expected in &expected.entries {
                assert!(told.tell().unwrap());
                assert_eq!(told.told().wall_ns, expected.wall_ns);
            }
            assert!(!told.tell().unwrap());
            assert_eq!(told.recording().ledger, expected.ledger);
            told.rewind().unwrap();
        }
    }
}

/// A recording whose second half is overwritten once it was gone through.
struct Overwritten<'r> {
    whole: Whole<'r>,
    left: Option<usize>,
}

impl Entries for Overwritten<'_> {
    fn recording(&self) -> &Recording {
        self.whole.recording()
    }
    fn into_recording(self: Box<Self>) -> Recording {
        Box::new(self.whole).into_recording()
    }
    fn tell(&mut self) -> io::Result<bool> {
        match &mut self.left {
            Some(0) => Ok(false),
            left => {
                *left = left.map(|left| left - 1);
                self.whole.tell()
            }
        }
    }
    fn told(&self) -> &Entry {
        self.whole.told()
    }
    fn rewind(&mut self) -> io::Result<()> {
        self.left = Some(self.recording().entries.len() / 2);
        self.whole.rewind()
    }
    fn want(&mut self, id: SpanId) {
        self.whole.want(id);
    }
    fn wanted(&mut self, give: &mut dyn FnMut(&Span) -> io::Result<()>) -> io::Result<()> {
        self.whole.wanted(give)
    }
}

#[test]
fn what_is_overwritten_while_it_is_written_is_counted_and_no_damage() {
    let whole = recording();
    let (kept, lost) = (whole.entries.len() / 2, whole.entries.len().div_ceil(2));
    let mut entries = Overwritten {
        whole: Whole::new(&whole),
        left: None,
    };
    let part = Part::of(&mut entries, None).unwrap();
    let mut bytes = Vec::new();
    part.write(&mut entries, &Made::default(), &mut bytes)
        .unwrap();
    let (read, _) = reread(&bytes).unwrap();
    assert_eq!(read.entries, whole.entries[..kept]);
    assert_eq!(read.ledger.missing_items, 0);
    assert_eq!(read.ledger.counts.readable, kept as u64);
    let before = whole.ledger.counts;
    assert_eq!(
        read.ledger.counts.overwritten,
        before.overwritten + lost as u64
    );
}

#[test]
fn every_kind_of_value_comes_back() {
    let kept = |bytes: &[u8]| Text {
        bytes: bytes.to_vec(),
        whole: bytes.len() as u32,
    };
    let cut = |bytes: &[u8]| Text {
        whole: 5000,
        ..kept(bytes)
    };
    let values = [
        Value::I64(i64::MIN),
        Value::U64(u64::MAX),
        Value::I128(i128::MIN),
        Value::U128(u128::MAX),
        Value::F64(1.0),
        Value::F64(0.1),
        Value::Bool(true),
        Value::Str(kept(b"a")),
        Value::Bytes(kept(&[0, 255])),
        Value::Debug(kept(b"Some(1)")),
        Value::Error(kept(b"no such file")),
        Value::Str(cut(b"a")),
        Value::Bytes(cut(&[0, 255])),
        Value::Debug(cut(b"Some(1")),
        Value::Redacted,
    ];
    let fields = |values: &[Value]| -> Vec<Field> {
        let values = values.iter().cloned().zip(0..);
        values
            .map(|(value, index)| Field { index, value })
            .collect()
    };
    let entry = Entry {
        fields: fields(&values).into(),
        ..Entry::default()
    };
    let mut bytes = Vec::new();
    ciborium::into_writer(&entry, &mut bytes).unwrap();
    let read: Entry = ciborium::from_reader(&bytes[..]).unwrap();
    assert_eq!(read, entry);

    let broken = Value::Str(cut(b"caf\xc3"));
    ciborium::into_writer(&broken, &mut bytes).unwrap();
}

#[test]
fn of_a_snapshot_that_is_cut_what_lies_before_is_read() {
    let mut whole = recording();
    let entry = whole.entries[0].clone();
    let moment = |n| Entry {
        wall_ns: entry.wall_ns + n * n,
        ..entry.clone()
    };
    whole.entries = (0..5000u64).map(moment).collect();
    let bytes = snapshot(&whole, None);
    let mut readable = HashSet::new();
    for len in (0..bytes.len() - 8).step_by(41) {
        let Ok((read, made)) = reread(&bytes[..len]) else {
            continue;
        };
        assert_eq!(made.why, "a test");
        assert!(whole.entries.starts_with(&read.entries));
        let missing = whole.entries.len() - read.entries.len();
        assert_eq!(read.ledger.missing_items, missing as u64);
        assert!(!read.ledger.exact);
        readable.insert(read.entries.len());
    }
    assert!(readable.len() > 2, "cut between blocks: {readable:?}");
}

#[test]
fn what_is_shown_of_a_flipped_snapshot_was_written() {
    let mut whole = recording();
    whole.entries.retain(|entry| entry.what == What::Event);
    let bytes = snapshot(&whole, None);
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match reread(&flipped) {
            Ok((read, _)) => assert!(whole.entries.starts_with(&read.entries), "bit {bit}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
}

#[test]
fn other_bytes_are_no_snapshot() {
    assert!(matches!(reread(b"\x7fELF"), Err(Error::NoHead(_))));
    assert!(matches!(reread(&[]), Err(Error::NoHead(_))));
    let mut other = FrameEncoder::new(Vec::new());
    other.write_all(b"hello").unwrap();
    assert!(matches!(
        reread(&other.finish().unwrap()),
        Err(Error::NoHead(_))
    ));
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let head = Head {
        format: FORMAT.into(),
        version: 9,
        ..Head::default()
    };
    let mut frame = FrameEncoder::new(Vec::new());
    ciborium::into_writer(&Required::<_, SELF_DESCRIBED>(head), &mut frame).unwrap();
    let read = reread(&frame.finish().unwrap());
    assert!(matches!(read, Err(Error::Unsupported { version: 9 })));
}

#[test]
fn another_format_is_told_from_damage() {
    let head = Head {
        format: "weather".into(),
        version: VERSION,
        ..Head::default()
    };
    let mut frame = FrameEncoder::new(Vec::new());
    ciborium::into_writer(&Required::<_, SELF_DESCRIBED>(head), &mut frame).unwrap();
    let Err(Error::NoHead(words)) = reread(&frame.finish().unwrap()) else {
        panic!("it is no snapshot of ours");
    };
    assert!(words.contains("weather"), "{words}");
}

#[test]
fn what_cannot_be_read_is_no_damage() {
    struct Unreadable;
    impl Read for Unreadable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    let head = read_head(Unreadable).expect_err("nothing can be read");
    assert!(matches!(head, Error::Read(error) if error.kind() == io::ErrorKind::PermissionDenied));
}

#[test]
fn items_and_keys_that_are_not_known_are_passed_over() {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Newer {
        Weather(Vec<String>),
        Event(NewerEvent),
    }
    #[derive(Serialize)]
    struct NewerEvent {
        wall_ns: u64,
        mood: (String, Option<u8>),
    }
    let head = Head {
        format: FORMAT.into(),
        version: VERSION,
        made: Made {
            items: 2,
            ..Made::default()
        },
        ..Head::default()
    };
    let mut frame = FrameEncoder::new(Vec::new());
    ciborium::into_writer(&Required::<_, SELF_DESCRIBED>(head), &mut frame).unwrap();
    let mood = ("good".to_owned(), None);
    for item in [
        Newer::Weather(vec!["rain".into()]),
        Newer::Event(NewerEvent { wall_ns: 7, mood }),
    ] {
        ciborium::into_writer(&item, &mut frame).unwrap();
    }
    let (read, _) = reread(&frame.finish().unwrap()).unwrap();
    assert_eq!(read.ledger.missing_items, 0);
    assert_eq!(read.entries.len(), 1);
    assert_eq!(read.entries[0].wall_ns, 7);
}

/// A snapshot of which there is nothing but the head yet.
fn begun() -> FrameEncoder<Vec<u8>> {
    let mut frame = FrameEncoder::new(Vec::new());
    let head = Head {
        format: FORMAT.into(),
        version: VERSION,
        ..Head::default()
    };
    ciborium::into_writer(&Required::<_, SELF_DESCRIBED>(head), &mut frame).unwrap();
    frame
}

#[test]
fn a_bomb_is_cut_short() {
    let mut frame = begun();
    let zeros = vec![0u8; 1 << 20];
    // An item of a gigabyte of text, of which nothing is true.
    frame.write_all(&[0xa1, 0x65]).unwrap();
    frame.write_all(b"event").unwrap();
    frame.write_all(&[0x7b, 0, 0, 0, 0, 0x40, 0, 0, 0]).unwrap();
    (0..256).for_each(|_| frame.write_all(&zeros).unwrap());
    let bytes = frame.finish().unwrap();
    let (read, _) = reread(&bytes).unwrap();
    assert!(read.entries.is_empty());
}

#[test]
fn tables_that_have_no_room_are_counted_as_missing() {
    let mut frame = begun();
    let threads = 200_000;
    (0..threads).for_each(|_| frame.write_all(b"\xa1\x66thread\xa0").unwrap());
    let (read, _) = reread(&frame.finish().unwrap()).unwrap();
    let missing = threads - read.threads.len() as u64;
    assert!(missing > 0 && !read.threads.is_empty());
    assert_eq!(read.ledger.missing_items, missing);
    assert!(!read.ledger.exact);
}

/// A disk that is full after so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = bytes.len().min(self.0);
        self.0 -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_is_full_is_an_error_wherever_it_is_met() {
    let mut recording = recording();
    recording.entries = vec![recording.entries[0].clone(); 5_000];
    let made = Made::default();
    let mut bytes = Vec::new();
    write(&recording, &made, &mut bytes).unwrap();
    let whole = bytes.len();
    for room in (0..whole).step_by(whole / 100) {
        let error = write(&recording, &made, Full(room)).unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::StorageFull,
            "{room} of {whole}"
        );
    }
}

#[test]
fn what_a_rule_takes_out_of_a_copy_is_not_in_it_and_a_copy_of_that_says_so_too() {
    let (names, value) = (Names::none(), |_: &Value<Borrowed<'_>>| true);
    let rule = Rule {
        names: &names,
        value: &value,
    };
    let scrubbed = |recording: &Recording| {
        let mut entries = Whole::new(recording);
        let part = Part::of(&mut entries, None).unwrap();
        let mut bytes = Vec::new();
        let scrubbed = part.scrub(&mut entries, &Made::default(), &rule, &mut bytes);
        (scrubbed.unwrap(), reread(&bytes).unwrap().0)
    };
    // 21 numbers, a text and the incident's message.
    let (taken_out, copy) = scrubbed(&recording());
    assert_eq!((taken_out.values, taken_out.records), (23, 22));
    let values = copy.entries.iter().flat_map(|entry| entry.fields.to_vec());
    assert!(values.clone().count() == 22 && values.clone().all(|it| it.value == Value::Redacted));
    assert_eq!(copy.incidents[0].message, REDACTED);
    assert!(copy.header.scrubbed);
    let (nothing, again) = scrubbed(&copy);
    assert_eq!(nothing, Scrubbed::default());
    assert_eq!(again.entries, copy.entries);
    let (plain, _) = reread(&snapshot(&copy, None)).unwrap();
    assert!(plain.header.scrubbed);
}
