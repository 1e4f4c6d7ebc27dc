//! Whatever it reads, the reader takes no more memory than it may, and comes to an end; and
//! what is twice as much takes twice as much of reading.

use std::path::Path;
use std::process::Command;

use ttlog_tests::bounded::{self, MOST_KIB, Programs, Work};
use ttlog_tests::peak::peak_kib;
use ttlog_tests::reader::program;
use ttlog_tests::victim::scratch;
use ttlog_tests::{Tally, tally};

const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile");

/// Of the commands every input is read with, here, a few: which, differs from one to the
/// next. All of them where the build is not slow.
const NTH: usize = if cfg!(debug_assertions) { 24 } else { 1 };

/// How often a recording's bytes are read at most: for the index, once more where a place
/// has to be looked at with care, and to be told.
const TIMES_READ: u64 = 4;

fn programs() -> Programs<'static> {
    Programs {
        reader: program(Path::new(HOSTILE)),
        maker: Path::new(HOSTILE),
    }
}

#[test]
fn whatever_is_read_takes_no_more_than_it_may() {
    let home = scratch();
    let inputs = Tally::of("hostile-inputs", 0);
    let (count, faults) = bounded::run(programs(), NTH, home.path(), |outcome| {
        inputs.add(1);
        println!(
            "{}, {}: {} KiB in {:?}",
            outcome.case, outcome.command, outcome.used.kib, outcome.took
        );
    });
    assert!(count > 40, "{count}");
    assert!(faults.is_empty(), "of {count}: {faults:#?}");
}

#[test]
fn twice_as_much_is_twice_the_work() {
    let [once, twice] = [256, 512].map(bounded::work);
    for ((name, once), (_, twice)) in once.into_iter().zip(twice) {
        assert!(once.read <= TIMES_READ * once.bytes, "{name}: {once:?}");
        assert!(twice.read <= TIMES_READ * twice.bytes, "{name}: {twice:?}");
        // Records of two words, each of which says two things.
        assert!(once.entries <= once.bytes / 8, "{name}: {once:?}");
        let at_most = |once: u64| once * 2 + once / 5;
        assert!(
            twice.read <= at_most(once.read),
            "{name}: {once:?} {twice:?}"
        );
        assert!(
            twice.entries <= at_most(once.entries),
            "{name}: {once:?} {twice:?}"
        );
        assert_ne!(once, Work::default());
    }
}

/// What would have been found, had it been so.
#[test]
fn whoever_believes_what_is_declared_is_found_out() {
    let home = scratch();
    let cases = bounded::cases();
    let declared = cases
        .iter()
        .find(|case| case.name.contains("only declared"));
    let path = bounded::made(programs(), declared.expect("a case"), home.path());
    let (kib, status) = peak_kib(Command::new(HOSTILE).arg("believe").arg(&path));
    assert_eq!(status, 0);
    assert!(kib > MOST_KIB, "{kib} KiB");
    tally::found("hostile-inputs", format!("{kib} KiB of what is declared"));
}
