//! Snapshots that were made to be dear: of a few KiB, most of them.

use std::fs;
use std::io::Write;
use std::path::Path;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::Case;
use crate::fuzzed;

/// Bytes of a bomb once it has gone off.
const BYTES: usize = 64 << 20;

pub(super) fn cases() -> Vec<Case> {
    let case = |name, make| Case { name, make };
    vec![
        case("nothing but zeros", |path| bomb(path, &[0; 1 << 16], b"")),
        case("a frame in a frame", nested_frames),
        case("a frame that declares more than there can be", |path| {
            // Version 1, the size of the content, linked blocks of 4 MiB.
            let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x48, 0x70];
            frame.extend(u64::MAX.to_le_bytes());
            frame.push(0);
            frame.extend(0x7fff_ffffu32.to_le_bytes());
            frame.extend([0; 64]);
            fs::write(path, frame).expect("room");
        }),
        case("an array of nulls", |path| {
            item(path, b"\xa1\x67unknown\x9f", &[0xf6; 1 << 16]);
        }),
        case("an array that declares 2^40", |path| {
            item(path, b"\xa1\x67unknown\x9b\0\0\x01\0\0\0\0\0", &[0xf6; 64]);
        }),
        case("a stack that declares 2^63", |path| {
            let begun = b"\xa1\x68incident\xa1\x65stack\x9b\x80\0\0\0\0\0\0\0";
            item(path, begun, &[0x01; 1 << 16]);
        }),
        case("a text that declares 2^40", |path| {
            let begun = b"\xa1\x68incident\xa1\x67message\x7b\0\0\x01\0\0\0\0\0";
            item(path, begun, &[b'x'; 1 << 16]);
        }),
        case("a text without an end", |path| {
            let begun = b"\xa1\x68incident\xa1\x67message\x7f";
            item(
                path,
                begun,
                &b"\x78\xff"
                    .iter()
                    .copied()
                    .chain([b'x'; 255])
                    .collect::<Vec<_>>(),
            );
        }),
        case("bytes without an end", |path| {
            let begun = b"\xa1\x65event\xa1\x66fields\x9f\x82\0\x5f";
            item(
                path,
                begun,
                &b"\x58\xff"
                    .iter()
                    .copied()
                    .chain([0; 255])
                    .collect::<Vec<_>>(),
            );
        }),
        case("arrays nested deep", |path| {
            item(path, b"\xa1\x67unknown", &[0x81; 1 << 16]);
        }),
        case("frames of an incident", |path| {
            item(
                path,
                b"\xa1\x68incident\xa1\x66frames\x9f",
                &[0x01; 1 << 16],
            );
        }),
        case("modules of an incident", |path| {
            item(
                path,
                b"\xa1\x68incident\xa1\x67modules\x9f",
                &[0xa0; 1 << 16],
            );
        }),
        case("symbols of an incident", |path| {
            item(
                path,
                b"\xa1\x68incident\xa1\x67symbols\x9f",
                &[0x60; 1 << 16],
            );
        }),
        case("fields of an event", |path| {
            item(
                path,
                b"\xa1\x65event\xa1\x66fields\x9f",
                &b"\x82\0\0".repeat(1 << 14),
            );
        }),
        case("fields of a span", |path| {
            item(
                path,
                b"\xa1\x64span\xa2\x62id\x01\x66fields\x9f",
                &b"\x82\0\x82\0\0".repeat(1 << 14),
            );
        }),
        case("names of a call site", |path| {
            item(
                path,
                b"\xa1\x69call_site\xa1\x66fields\x9f",
                &[0x60; 1 << 16],
            );
        }),
        case("a stack of a thread", |path| {
            item(path, b"\xa1\x66thread\xa1\x65stack\x9f", &[0x01; 1 << 16]);
        }),
        case("threads", |path| {
            item(path, b"", &b"\xa1\x66thread\xa0".repeat(1 << 14))
        }),
        case("threads with names", |path| {
            let thread = [&b"\xa1\x66thread\xa1\x64name\x78\xff"[..], &[b'x'; 255]].concat();
            item(path, b"", &thread.repeat(1 << 8));
        }),
        case("causes", |path| {
            item(path, b"", &b"\xa1\x65cause\xa0".repeat(1 << 14))
        }),
        case("incidents", |path| {
            item(path, b"", &b"\xa1\x68incident\xa0".repeat(1 << 14))
        }),
        case("spans", |path| {
            numbered(path, b"\xa1\x64span\xa2\x64open\xf5\x62id");
        }),
        case("spans in each other", |path| {
            numbered(path, b"\xa1\x64span\xa2\x66parent\x01\x62id");
        }),
        case("call sites", |path| {
            numbered(path, b"\xa1\x69call_site\xa1\x67address");
        }),
        case("events of as many threads", |path| {
            numbered(path, b"\xa1\x65event\xa1\x66thread");
        }),
        case("events of as many call sites", |path| {
            numbered(path, b"\xa1\x65event\xa1\x64site");
        }),
        case("events that say nothing", |path| {
            item(path, b"", &b"\xa1\x65event\xa0".repeat(1 << 14));
        }),
        case("items that are not known", |path| {
            item(path, b"", &[0xa0; 1 << 16])
        }),
    ]
}

/// A frame that begins as a snapshot and goes on with `then`, and with `again` until it is
/// as big as it may become.
fn item(path: &Path, then: &[u8], again: &[u8]) {
    let head = fuzzed::head();
    bomb(path, again, &[head, then].concat());
}

fn bomb(path: &Path, again: &[u8], first: &[u8]) {
    let mut frame = encoder();
    frame.write_all(first).expect("memory");
    for _ in 0..BYTES / again.len() {
        frame.write_all(again).expect("memory");
    }
    fs::write(path, frame.finish().expect("memory")).expect("room");
}

/// Items that differ by a number, which is their last word.
fn numbered(path: &Path, item: &[u8]) {
    let mut frame = encoder();
    frame.write_all(fuzzed::head()).expect("memory");
    for number in 1..(BYTES / 4 / (item.len() + 5)) as u32 {
        frame.write_all(item).expect("memory");
        frame.write_all(&[0x1a]).expect("memory");
        frame.write_all(&number.to_be_bytes()).expect("memory");
    }
    fs::write(path, frame.finish().expect("memory")).expect("room");
}

fn encoder() -> FrameEncoder<Vec<u8>> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max4MB)
        .block_mode(BlockMode::Linked);
    FrameEncoder::with_frame_info(info, Vec::new())
}

fn nested_frames(path: &Path) {
    let mut inner = encoder();
    for _ in 0..BYTES >> 20 {
        inner.write_all(&[0; 1 << 20]).expect("memory");
    }
    let inner = inner.finish().expect("memory");
    let mut outer = encoder();
    outer.write_all(&inner).expect("memory");
    fs::write(path, outer.finish().expect("memory")).expect("room");
}
