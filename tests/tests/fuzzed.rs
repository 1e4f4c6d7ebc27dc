//! Files that a fuzzer found, each of which every decoder has to stand; and decoders with a
//! fault that these find.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use ttlog_format::block::{Commit, word};
use ttlog_format::check::Key;
use ttlog_format::record::{self, Raw};
use ttlog_tests::fuzzed::{TARGETS, block_by, filter_by, framed, record_by, ring_by, snapshot_by};

/// Changes of each file until a fault is given up.
const CHANGES: u64 = 64;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The paths of a target's files, in the order of their names.
fn paths_of(target: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus().join(target)).expect("a corpus");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort();
    paths
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let kept: BTreeSet<String> = fs::read_dir(corpus())
        .expect("corpora")
        .map(|entry| entry.expect("a directory").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    let targets: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
    assert_eq!(kept, targets);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("a manifest");
    for target in targets {
        assert!(paths_of(&target).len() > 5, "{target}");
        assert!(manifest.contains(&format!("name = \"{target}\"\n")));
    }
}

#[test]
fn every_file_that_was_found_is_stood() {
    for (name, target) in TARGETS {
        for path in paths_of(name) {
            let bytes = fs::read(&path).expect("a file");
            let stood = panic::catch_unwind(|| target(&bytes));
            assert!(stood.is_ok(), "{}", path.display());
        }
    }
}

/// Whether a target with a fault panics at a file of its corpus, or at one that is changed.
fn is_found(target: &str, with_fault: impl Fn(&[u8])) -> bool {
    let breaks =
        |bytes: &[u8]| panic::catch_unwind(AssertUnwindSafe(|| with_fault(bytes))).is_err();
    paths_of(target).iter().any(|path| {
        let bytes = fs::read(path).expect("a file");
        breaks(&bytes) || (0..CHANGES).any(|change| breaks(&changed(&bytes, change)))
    })
}

/// A file with one of its bytes changed.
fn changed(bytes: &[u8], change: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mixed = (change + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let at = (mixed >> 20) as usize % bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (mixed >> 61);
    }
    bytes
}

#[test]
fn a_decoder_with_a_fault_is_found() {
    let believes_any_length = |words: &[u64], key: Key| {
        let number = key.guarded(word::COMMIT, *words.get(word::COMMIT)?)?;
        Some(Commit {
            bytes: (number & 0xffff) as usize,
            events: number >> 16,
        })
    };
    assert!(is_found("block", |bytes| block_by(
        bytes,
        believes_any_length
    )));
    assert!(is_found("record", |bytes| record_by(bytes, unchecked)));
    assert!(is_found("ring", |bytes| ring_by(bytes, |entry| {
        entry.wall_ns % 7 != 0
    })));
    let is_no_root = |entry: &ttlog_format::salvage::Entry| entry.span.is_some();
    assert!(is_found("snapshot", |bytes| snapshot_by(
        bytes.get(1..).unwrap_or(&[]),
        is_no_root
    )));
    assert!(is_found("cbor", |bytes| {
        let items = bytes.get(1..).unwrap_or(&[]);
        snapshot_by(&framed(true, items), is_no_root);
    }));
    let forgets_spaces = |word: &str| word.replace(' ', "");
    assert!(is_found("filter", |bytes| filter_by(bytes, forgets_spaces)));
}

/// A record that is believed to be one without its check.
fn unchecked(area: &[u64], position: usize, key: Key) -> Option<Raw<'_>> {
    let header = *area.get(position)?;
    record::at(area, position, key).or_else(|| {
        Some(Raw {
            kind: record::kind(header)?,
            position,
            words: area.get(position..position + record::words(header))?,
            later: 0,
        })
    })
}
