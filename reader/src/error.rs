//! Why something could not be read or written, said as advice.
//!
//! Lower case, naming what was looked for, what was found, and the way out. What
//! is quoted from a file or an argument is escaped, so that an error can be
//! printed as it is.

use std::fmt;
use std::io;
use std::path::Path;

use ttlog_format::VERSION;
use ttlog_format::salvage;
use ttlog_format::snapshot;

use crate::escape::escape;

/// Why a recording could not be read, or what was read could not be written.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    words: String,
    cause: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Input,
    /// What was asked for makes no sense.
    Usage,
    /// A file that was to be made.
    File,
    Output,
    /// Whoever read the output has gone.
    ClosedPipe,
}

impl Error {
    /// The status that a command ends with: 1, or 2 where it was not asked right, and 0
    /// where whoever read its output has gone.
    pub fn exit_status(&self) -> u8 {
        match self.kind {
            Kind::ClosedPipe => 0,
            Kind::Usage => 2,
            Kind::Input | Kind::File | Kind::Output => 1,
        }
    }

    /// Whether there is nothing left to write to.
    pub(crate) fn is_output(&self) -> bool {
        matches!(self.kind, Kind::Output | Kind::ClosedPipe)
    }

    fn input(words: String) -> Error {
        Error {
            kind: Kind::Input,
            words,
            cause: None,
        }
    }

    pub(crate) fn usage(words: String) -> Error {
        Error {
            kind: Kind::Usage,
            ..Error::input(words)
        }
    }

    pub(crate) fn open(path: &Path, cause: io::Error) -> Error {
        let path = shown(path);
        let words = match cause.kind() {
            io::ErrorKind::NotFound => {
                format!("no such file: {path} (expected a recording, a directory of them or a pid)")
            }
            io::ErrorKind::PermissionDenied => format!(
                "cannot open {path}: permission denied (a recording is readable by its owner and root)"
            ),
            _ => format!("cannot open {path}: {cause}"),
        };
        Error {
            cause: Some(cause),
            ..Error::input(words)
        }
    }

    pub(crate) fn read(path: &Path, cause: io::Error) -> Error {
        let words = format!("cannot read {}: {cause}", shown(path));
        Error {
            cause: Some(cause),
            ..Error::input(words)
        }
    }

    pub(crate) fn not_regular(path: &Path, found: &str) -> Error {
        let path = shown(path);
        Error::input(format!(
            "not a ttlog recording: {path} is {found}, not a regular file"
        ))
    }

    pub(crate) fn empty(path: &Path) -> Error {
        Error::input(format!("not a ttlog recording: {} is empty", shown(path)))
    }

    pub(crate) fn no_recordings(directory: &Path) -> Error {
        let directory = shown(directory);
        Error::input(format!(
            "no recordings in {directory} (expected files named ttlog-<pid>-<timestamp>.ring or .bin)"
        ))
    }

    pub(crate) fn not_in(address: &Path, path: &Path) -> Error {
        let (address, path) = (shown(address), shown(path));
        Error::input(format!(
            "no such recording: {address} (ttlog-reader list {path} shows those that are there)"
        ))
    }

    pub(crate) fn no_process(pid: &str, places: &[String]) -> Error {
        let places = escape(places.join(", ").as_bytes());
        Error::input(format!(
            "no recording of process {pid} in {places} (give its file, its directory or TTLOG_DIR)"
        ))
    }

    pub(crate) fn salvage(path: &Path, cause: salvage::Error) -> Error {
        let path_shown = shown(path);
        match cause {
            salvage::Error::Read(cause) => Error::read(path, cause),
            salvage::Error::NotARecording(bytes) => {
                let begin = escape(&bytes[..bytes.len().min(8)]);
                Error::input(format!(
                    "not a ttlog recording: {path_shown} begins with \"{begin}\" \
                     (expected the ttlog magic)"
                ))
            }
            salvage::Error::Unsupported { version, features } => Error::input(format!(
                "{path_shown} is of format version {version}{}, this reader knows version \
                 {VERSION}: {}",
                Features(features),
                other_reader(version, VERSION)
            )),
            salvage::Error::NoHeader => Error::input(format!(
                "cannot read {path_shown}: the header at its beginning and its copy at the end \
                 are damaged or missing (if this is a copy, try the original)"
            )),
        }
    }

    pub(crate) fn snapshot(path: &Path, cause: snapshot::Error) -> Error {
        let path_shown = shown(path);
        match cause {
            snapshot::Error::Read(cause) => Error::read(path, cause),
            snapshot::Error::NoHead(why) => Error::input(format!(
                "cannot read {path_shown}: it begins as a snapshot does, but its head is damaged \
                 or missing: {} (if this is a copy, try the original)",
                escape(why.as_bytes())
            )),
            snapshot::Error::Unsupported { version } => Error::input(format!(
                "{path_shown} is a snapshot of version {version}, this reader knows version {}: {}",
                snapshot::VERSION,
                other_reader(version, snapshot::VERSION)
            )),
        }
    }

    pub(crate) fn taken(path: &Path) -> Error {
        let words = format!(
            "cannot write {}: it is there already; choose another name or say --force",
            shown(path)
        );
        Error {
            kind: Kind::File,
            ..Error::input(words)
        }
    }

    pub(crate) fn write(path: &Path, cause: io::Error) -> Error {
        let words = format!("cannot write {}: {cause}", shown(path));
        Error {
            kind: Kind::File,
            cause: Some(cause),
            ..Error::input(words)
        }
    }

    /// The same, where the output is this file.
    pub(crate) fn of_file(self, path: &Path) -> Error {
        match (self.kind, self.cause) {
            (Kind::Output | Kind::ClosedPipe, Some(cause)) => Error::write(path, cause),
            (kind, cause) => Error {
                kind,
                words: self.words,
                cause,
            },
        }
    }

    pub(crate) fn output(cause: io::Error) -> Error {
        let kind = match cause.kind() {
            io::ErrorKind::BrokenPipe => Kind::ClosedPipe,
            _ => Kind::Output,
        };
        let words = format!("cannot write the output: {cause}");
        Error {
            kind,
            words,
            cause: Some(cause),
        }
    }
}

struct Features(u64);

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            features => write!(f, " with features {features:#x}"),
        }
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

/// The reader that knows this version.
fn other_reader(version: u32, known: u32) -> &'static str {
    if version < known {
        "use the ttlog-reader that its recorder came with"
    } else {
        "use a newer ttlog-reader"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_found_and_the_way_out() {
        let path = Path::new("demo.bin");
        let other = salvage::Error::NotARecording(b"\x7fELF".to_vec());
        assert_eq!(
            Error::salvage(path, other).to_string(),
            r#"not a ttlog recording: demo.bin begins with "\x7fELF" (expected the ttlog magic)"#
        );
        let newer = salvage::Error::Unsupported {
            version: 9,
            features: 0,
        };
        assert_eq!(
            Error::salvage(path, newer).to_string(),
            "demo.bin is of format version 9, this reader knows version 1: use a newer ttlog-reader"
        );
        let older = salvage::Error::Unsupported {
            version: 0,
            features: 0,
        };
        assert_eq!(
            Error::salvage(path, older).to_string(),
            "demo.bin is of format version 0, this reader knows version 1: use the ttlog-reader \
             that its recorder came with"
        );
    }

    #[test]
    fn an_error_about_a_snapshot_says_the_way_out() {
        let path = Path::new("demo.bin");
        let newer = snapshot::Error::Unsupported { version: 9 };
        assert_eq!(
            Error::snapshot(path, newer).to_string(),
            "demo.bin is a snapshot of version 9, this reader knows version 1: \
             use a newer ttlog-reader"
        );
        let evil = snapshot::Error::NoHead("its format is \x1b[2J".into());
        let words = Error::snapshot(path, evil).to_string();
        assert!(words.contains(r"its format is \x1b[2J (if"), "{words}");
        assert_eq!(
            Error::taken(path).to_string(),
            "cannot write demo.bin: it is there already; choose another name or say --force"
        );
        assert!(!Error::taken(path).is_output());
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(
            Error::output(io::ErrorKind::BrokenPipe.into()).exit_status(),
            0
        );
        assert_eq!(
            Error::output(io::ErrorKind::StorageFull.into()).exit_status(),
            1
        );
        assert_eq!(Error::empty(Path::new("x")).exit_status(), 1);
    }
}
