//! What a header says comes back, and what it cannot say is not believed.

use super::*;

fn header() -> Header {
    Header {
        recording: 42,
        layout: Layout {
            span_slots: 4096,
            blocks: 2560,
        },
        pid: 4711,
        uid: 1000,
        forked_from: 4710,
        start_time: 99,
        pid_namespace: 4_026_531_836,
        inode: 12,
        cgroup_inode: 13,
        oom_kills: 1,
        executable_range: (0x1000, 0x9000),
        cgroup: "/sys/fs/cgroup/system.slice/payments.service".into(),
        boot_id: "0123456789abcdef0123456789abcdef".into(),
        executable: "/usr/bin/payments".into(),
        build_id: "deadbeef".into(),
        host: "node-7".into(),
        name: "payments".into(),
        clock: Source::Tsc,
        samples: [
            Sample {
                ticks: 1,
                monotonic_ns: 2,
                boottime_ns: 3,
                wall_ns: 4,
            },
            Sample {
                ticks: 5,
                monotonic_ns: 6,
                boottime_ns: 7,
                wall_ns: 8,
            },
        ],
        window_ns: 5_000_000_000,
        sync_interval_ns: 100_000_000,
        asked_bytes: 10 << 20,
        limited_by: String::new(),
        filter: "debug".into(),
        scrubbed: false,
    }
}

#[test]
fn a_header_comes_back() {
    for scrubbed in [false, true] {
        let header = Header {
            scrubbed,
            ..header()
        };
        assert_eq!(Header::decode(&header.encode()[..]), Ok(header));
    }
}

#[test]
fn a_wrong_byte_anywhere_in_a_header_is_made_right() {
    let right = header().encode();
    for at in (0..size_of::<Bytes>()).step_by(7) {
        let mut bytes = right.clone();
        bytes[at] ^= 0x5a;
        assert_eq!(Header::corrected(&bytes[..]), Some(header()), "byte {at}");
        bytes[(at + 64) % 2048] ^= 1;
        assert_eq!(Header::corrected(&bytes[..]), None, "byte {at}");
    }
    assert_eq!(Header::corrected(&[0; HEADER_BYTES]), None);
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unseen() {
    let bytes = header().encode();
    for i in 0..size_of::<Bytes>() {
        assert!(Header::decode(&bytes[..i]).is_err(), "cut at {i}");
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << bit;
            assert!(Header::decode(&flipped[..]).is_err(), "byte {i} bit {bit}");
        }
    }
}

#[test]
fn the_newest_sample_comes_back_and_no_flipped_bit_does() {
    let sample = header().samples[1];
    for place in 0..newest::PLACES {
        let words = newest::encode(sample, 42, place);
        assert_eq!(newest::decode(&words, 42, place), Some(sample));
        assert_eq!(newest::decode(&words, 42, 1 - place), None);
        for bit in 0..newest::WORDS * 64 {
            let mut flipped = words;
            flipped[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(newest::decode(&flipped, 42, place), None, "bit {bit}");
        }
    }
    assert_eq!(newest::decode(&[0; newest::WORDS], 42, 0), None);
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut bytes = header().encode();
    bytes[8] = 9;
    assert_eq!(
        Header::decode(&bytes[..]),
        Err(Fault::Version {
            version: 9,
            features: 0
        })
    );
}

#[test]
fn what_a_header_whose_check_is_right_declares_has_to_be_possible() {
    let declarations: [fn(&mut Bytes); 8] = [
        |it| it.block_bytes.set(8192),
        |it| it.slot_bytes.set(512),
        |it| it.span_slots.set(u32::MAX),
        |it| it.blocks.set(u32::MAX),
        |it| it.spans_offset.set(0),
        |it| it.pool_offset.set(0),
        |it| it.file_bytes.set(u64::MAX),
        |it| it.clock.set(u64::MAX),
    ];
    for (number, declare) in declarations.iter().enumerate() {
        let encoded = header().encode();
        let (mut bytes, _) = Bytes::read_from_prefix(&encoded[..]).unwrap();
        declare(&mut bytes);
        bytes.check.set(check(&bytes));
        let read = Header::decode(bytes.as_bytes());
        assert_eq!(read, Err(Fault::Damaged), "{number}");
    }
}

#[test]
fn a_text_that_is_too_long_ends_with_a_character() {
    assert_eq!(padded::<4>("aéé"), *b"a\xc3\xa9\0");
    assert_eq!(padded::<4>("aé"), *b"a\xc3\xa9\0");
}

#[test]
fn the_layout_of_the_defaults_is_11_mib_and_a_bit() {
    let layout = header().layout;
    assert_eq!(layout.pool_offset(), 64 * 1024 + 1024 * 1024);
    assert_eq!(
        layout.file_bytes(),
        layout.pool_offset() + (10 << 20) + 4096
    );
}

/// Every region of a layout: where it begins, and the first byte behind it.
fn regions(layout: Layout) -> [(u64, u64); 7] {
    let header = HEADER_BYTES as u64;
    [
        (0, header),
        (TOTALS_OFFSET, TOTALS_OFFSET + 4096),
        (CAUSES_OFFSET, CAUSES_OFFSET + 4096),
        (
            INCIDENTS_OFFSET,
            INCIDENTS_OFFSET + INCIDENTS * INCIDENT_BYTES,
        ),
        (
            Layout::SPANS_OFFSET,
            Layout::SPANS_OFFSET + layout.spans_bytes(),
        ),
        (layout.pool_offset(), layout.copy_offset()),
        (layout.copy_offset(), layout.file_bytes()),
    ]
}

/// Numbers of slots or blocks at which something might change.
fn boundaries() -> impl Iterator<Item = u32> + Clone {
    let powers = (0..32).map(|bit| 1u32 << bit);
    let around = powers.flat_map(|power| [power - 1, power, power.saturating_add(1)]);
    around.chain([u32::MAX - 1, u32::MAX])
}

#[test]
fn the_regions_of_every_layout_lie_one_behind_the_other_without_a_gap() {
    for span_slots in boundaries() {
        for blocks in boundaries() {
            let layout = Layout { span_slots, blocks };
            let regions = regions(layout);
            let mut end = 0;
            for (from, to) in regions {
                assert!(from == end && to >= from, "{layout:?}: {regions:?}");
                end = to;
            }
            // No sum has wrapped around.
            let spans = (u128::from(span_slots) * 256).next_multiple_of(65536);
            let whole = 65536 + spans + u128::from(blocks) * 4096 + 4096;
            assert_eq!(u128::from(layout.file_bytes()), whole, "{layout:?}");
        }
    }
}

#[test]
fn every_slot_and_every_block_lies_in_its_region_and_in_no_other_ones_place() {
    let lie_in = |offsets: &mut dyn Iterator<Item = u64>, bytes: u64, (from, to): (u64, u64)| {
        let mut end = from;
        for offset in offsets {
            assert_eq!(offset, end, "a gap, or two in one place");
            end = offset + bytes;
            assert!(end <= to, "{offset} is not within {from} to {to}");
        }
    };
    for count in 0..=1030 {
        let layout = Layout {
            span_slots: count,
            blocks: count,
        };
        let [.., spans, pool, _] = regions(layout);
        let slots = &mut (0..count).map(|slot| layout.slot_offset(slot));
        lie_in(slots, span::SLOT_BYTES as u64, spans);
        let blocks = &mut (0..count).map(|index| layout.block_offset(index));
        lie_in(blocks, BLOCK_BYTES as u64, pool);
        assert_eq!(layout.block_offset(count), layout.copy_offset());
    }
    for count in boundaries().filter(|&count| count > 0) {
        let layout = Layout {
            span_slots: count,
            blocks: count,
        };
        let [.., spans, pool, _] = regions(layout);
        let last = layout.slot_offset(count - 1);
        assert!((spans.0..spans.1).contains(&last) && last + 256 <= spans.1);
        assert_eq!(layout.block_offset(count - 1) + 4096, pool.1);
    }
}

#[test]
fn totals_and_samples_have_places_of_their_own_in_their_page() {
    let totals = (0..totals::WORDS as u64).map(|which| (TOTALS_OFFSET + 8 * which, 8));
    let bytes = 8 * newest::WORDS as u64;
    let samples = (0..newest::PLACES as u64).map(|place| (newest::OFFSET + place * bytes, bytes));
    let mut end = TOTALS_OFFSET;
    for (offset, bytes) in totals.chain(samples) {
        assert!(offset >= end);
        end = offset + bytes;
    }
    assert!(end <= CAUSES_OFFSET);
}
