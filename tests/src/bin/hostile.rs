//! Makes inputs that are dear to read, so that whoever measures that stays small itself:
//!
//! ```text
//! hostile make NAME PATH      the input of this name
//! hostile run READER HOME     all of them, read by READER in all ways: what each takes
//! hostile believe PATH        the double of a reader that believes what a header declares
//! ```

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lz4_flex::frame::FrameDecoder;
use ttlog_format::header::{HEADER_BYTES, Header};
use ttlog_tests::bounded::{self, Programs};

/// What a block takes in an index.
const ENTRY_BYTES: usize = 100;

/// Beyond that it is plain.
const ENOUGH_BYTES: usize = 256 << 20;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", name, path] => {
            let cases = bounded::cases();
            let case = cases.iter().find(|case| case.name == name);
            (case.expect("a case of this name").make)(Path::new(path));
        }
        ["believe", path] => believe(Path::new(path)),
        ["run", reader, home] => run(Path::new(reader), Path::new(home)),
        _ => panic!("hostile make NAME PATH | hostile run READER HOME | hostile believe PATH"),
    }
}

/// Prints what each input takes at most, over all commands, and what is wrong. A MiB is one
/// of what there is to read, and at least there is one.
fn run(reader: &Path, home: &Path) {
    let maker = std::env::current_exe().expect("a path");
    let programs = Programs {
        reader,
        maker: &maker,
    };
    let mut worst: Vec<(&'static str, u64, f64)> = Vec::new();
    let mut bytes = 0;
    let (count, faults) = bounded::run(programs, 1, home, |outcome| {
        if worst.last().is_none_or(|it| it.0 != outcome.case) {
            bytes = held(&outcome.path);
            worst.push((outcome.case, 0, 0.0));
        }
        if let Some((_, kib, seconds)) = worst.last_mut() {
            let mib = (bytes as f64 / f64::from(1 << 20)).max(1.0);
            *kib = outcome.used.kib.max(*kib);
            *seconds = (outcome.used.cpu.as_secs_f64() / mib).max(*seconds);
        }
    });
    for (case, kib, seconds) in worst {
        let mib = kib as f64 / 1024.0;
        println!("{case:<48} {mib:>6.1} MiB {seconds:>7.3} s a MiB");
    }
    faults.iter().for_each(|fault| println!("{fault}"));
    println!("{count} runs, {} faults", faults.len());
    std::process::exit(i32::from(!faults.is_empty()));
}

/// Bytes of a file that are there and no hole, or, if they are more, those that are compressed
/// in it.
fn held(path: &Path) -> u64 {
    let metadata = std::fs::metadata(path).expect("the input is there");
    let in_file = (metadata.blocks() * 512).min(metadata.len());
    let mut frame = FrameDecoder::new(File::open(path).expect("the input is there"));
    let mut piece = vec![0; 1 << 16];
    let mut in_frame = 0;
    // Up to where it is no frame any more, as far as the reader gets.
    while let Ok(count @ 1..) = frame.read(&mut piece) {
        in_frame += count as u64;
    }
    in_frame.max(in_file)
}

/// Makes room for all that is declared, before any of it is looked for.
fn believe(path: &Path) {
    let mut page = [0; HEADER_BYTES];
    let mut file = File::open(path).expect("a file");
    file.read_exact(&mut page).expect("a header");
    let blocks = Header::decode(&page).expect("a header").layout.blocks;
    let bytes = (blocks as usize).saturating_mul(ENTRY_BYTES);
    let index = vec![1u8; bytes.min(ENOUGH_BYTES)];
    std::hint::black_box(index);
}
