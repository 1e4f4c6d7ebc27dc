//! A host that does what its stdin says, a word a line, and says when it is done: the
//! program of `ttlog_tests::planted`. It is `planted HOW DIRECTORY SNAPSHOTS`, where HOW is
//! `ttlog`, `none`, or `double`: who opens predictable names as one must not; and a DIRECTORY
//! of `-` leaves the place to the recorder.

use std::io::{BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc;
use ttlog::Recorder;
use ttlog_tests::planted::{FREE, STATUS};

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<String> = std::env::args().collect();
    let [_, how, directory, snapshots] = &arguments[..] else {
        panic!("planted HOW DIRECTORY SNAPSHOTS");
    };
    let (directory, snapshots) = (Path::new(directory), Path::new(snapshots));
    let mut recorder: Option<Recorder> = None;
    for word in std::io::stdin().lock().lines() {
        let word = word.expect("a word");
        let said = match (word.as_str(), how.as_str()) {
            ("start", "ttlog") => start(directory, snapshots).map(|started| {
                let path = started.path().to_owned();
                recorder = Some(started);
                path
            }),
            ("start", "double") => naively(directory, "ring"),
            ("snapshot", "double") => naively(snapshots, "bin"),
            ("snapshot", "ttlog") => match &recorder {
                Some(recorder) => {
                    let made = recorder.flush_snapshot("a test");
                    made.map_err(|error| error.to_string())
                }
                None => Err("no recorder".into()),
            },
            ("log", _) => {
                say(recorder.as_ref());
                Ok(PathBuf::new())
            }
            ("end", _) => std::process::exit(STATUS),
            _ => Ok(PathBuf::new()),
        };
        match said {
            Ok(path) => println!("done {}", path.display()),
            Err(error) => println!("error {error}"),
        }
        std::io::stdout().flush().expect("somebody listens");
    }
}

fn start(directory: &Path, snapshots: &Path) -> Result<Recorder, String> {
    let builder = ttlog::builder().capacity_mib(1).name(HOSTILE.repeat(12));
    let builder = builder.snapshot_directory(snapshots);
    let builder = match directory.to_str() {
        Some("-") => builder,
        _ => builder.directory(directory),
    };
    builder.create().map_err(|error| error.to_string())
}

/// A name of a service that nobody should take for a path.
const HOSTILE: &str = "../../x\n\u{7}/etc/passwd\0.ring";

/// Says something on this thread and on one whose name is no path; and panics, caught.
fn say(recorder: Option<&Recorder>) {
    let heard = recorder.map(|recorder| tracing::Dispatch::new(recorder.subscriber()));
    let heard = heard.unwrap_or_default();
    tracing::dispatcher::with_default(&heard, || {
        (0..100).for_each(|number| tracing::info!(number, "said"));
        let _ = std::panic::catch_unwind(|| panic!("of something else"));
    });
    let speaks = move || {
        tracing::dispatcher::with_default(&heard, || tracing::info!("../../said elsewhere"));
    };
    let named = std::thread::Builder::new().name("../../\nx".into());
    named
        .spawn(speaks)
        .expect("a thread")
        .join()
        .expect("its end");
}

/// Opens the names that a recorder would take, whatever is there.
fn naively(directory: &Path, kind: &str) -> Result<PathBuf, String> {
    let stamp = loop {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let stamp = since.expect("after 1970").as_millis() as u64;
        if !stamp.is_multiple_of(FREE) {
            break stamp;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let _ = std::fs::create_dir_all(directory);
    let pid = std::process::id();
    let unfinished = directory.join(format!(".ttlog-{pid}-{stamp}.tmp"));
    let path = directory.join(format!("ttlog-{pid}-{stamp}.{kind}"));
    let mut options = std::fs::OpenOptions::new();
    // Not to wait where a FIFO is.
    options.custom_flags(libc::O_NONBLOCK);
    options.read(true).write(true).create(true).truncate(true);
    for path in [&unfinished, &path] {
        let file = options.open(path);
        let written = file.and_then(|mut file| file.write_all(b"recorded over what was there"));
        written.map_err(|error| error.to_string())?;
    }
    Ok(path)
}
