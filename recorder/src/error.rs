//! Why a recorder could not be had, or a snapshot not be written.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

type Source = Box<dyn StdError + Send + Sync>;

/// What the recorder could not do, why, and what would help.
///
/// Its text is whole in itself, the cause included; [`source`](StdError::source)
/// gives the cause to those who want to look at it.
#[derive(Debug)]
pub struct Error {
    kind: Box<Kind>,
}

#[derive(Debug)]
enum Kind {
    Unsupported,
    AlreadyInstalled(Source),
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    Filter {
        text: String,
        source: Source,
    },
    Value {
        name: &'static str,
        found: String,
        expected: String,
    },
    NoRoom {
        path: PathBuf,
        needed: u64,
        free: u64,
    },
    NetworkFileSystem {
        path: PathBuf,
        kind: &'static str,
    },
    Directory {
        path: PathBuf,
        found: String,
        remedy: &'static str,
    },
    Limit {
        least: u64,
        reason: String,
    },
    NoPlace(Vec<Error>),
    NoSnapshot {
        reason: &'static str,
        remedy: &'static str,
    },
    Recording {
        path: PathBuf,
        source: Source,
    },
}

impl Error {
    fn new(kind: Kind) -> Error {
        Error {
            kind: Box::new(kind),
        }
    }

    /// Whether there is no recorder for this target at all, which nothing can be
    /// done about.
    pub fn is_unsupported(&self) -> bool {
        matches!(*self.kind, Kind::Unsupported)
    }

    /// A target for which there is no recorder.
    pub(crate) fn unsupported() -> Error {
        Error::new(Kind::Unsupported)
    }

    /// The process has a global default subscriber, as `source` says.
    pub(crate) fn already_installed_by(source: impl Into<Source>) -> Error {
        Error::new(Kind::AlreadyInstalled(source.into()))
    }

    /// `action` is a verb, with a noun where the path alone would not say what
    /// it names: "create", "open the directory".
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Error {
        Error::new(Kind::Io {
            action,
            path: path.into(),
            source: source.into(),
        })
    }

    /// A filter that is none.
    pub(crate) fn filter(text: &str, source: impl Into<Source>) -> Error {
        Error::new(Kind::Filter {
            text: text.to_owned(),
            source: source.into(),
        })
    }

    /// A setting or a variable whose value is out of bounds or malformed.
    pub(crate) fn value(
        name: &'static str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Error {
        Error::new(Kind::Value {
            name,
            found: found.into(),
            expected: expected.into(),
        })
    }

    /// A file system with fewer bytes free than it takes.
    pub(crate) fn no_room(path: &Path, needed: u64, free: u64) -> Error {
        Error::new(Kind::NoRoom {
            path: path.to_owned(),
            needed,
            free,
        })
    }

    /// A file system whose mappings cannot be relied on.
    pub(crate) fn network_file_system(path: &Path, kind: &'static str) -> Error {
        Error::new(Kind::NetworkFileSystem {
            path: path.to_owned(),
            kind,
        })
    }

    /// A directory that is not fit for recordings.
    pub(crate) fn directory(path: &Path, found: impl Into<String>, remedy: &'static str) -> Error {
        Error::new(Kind::Directory {
            path: path.to_owned(),
            found: found.into(),
            remedy,
        })
    }

    /// A limit that leaves less than the `least` bytes that a recording has.
    pub(crate) fn limit(least: u64, reason: impl Into<String>) -> Error {
        Error::new(Kind::Limit {
            least,
            reason: reason.into(),
        })
    }

    /// Nothing that a snapshot could be made of, or nobody to make it.
    pub(crate) fn no_snapshot(reason: &'static str, remedy: &'static str) -> Error {
        Error::new(Kind::NoSnapshot { reason, remedy })
    }

    /// The recorder's own recording cannot be read back.
    pub(crate) fn recording(path: &Path, source: impl Into<Source>) -> Error {
        Error::new(Kind::Recording {
            path: path.to_owned(),
            source: source.into(),
        })
    }

    /// None of the default places took the recording; each says why.
    pub(crate) fn no_place(reasons: Vec<Error>) -> Error {
        Error::new(Kind::NoPlace(reasons))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            Kind::Unsupported => write!(
                f,
                "nothing can be recorded on {} on {} (expected Linux on x86_64 or aarch64); \
                 go on without a recorder",
                std::env::consts::OS,
                std::env::consts::ARCH
            ),
            Kind::AlreadyInstalled(source) => write!(
                f,
                "a global default subscriber is installed already ({source}); install ttlog \
                 first, or add the layer of `create()` to it"
            ),
            Kind::Io {
                action,
                path,
                source,
            } => {
                write!(f, "cannot {action} {}: {source}", path.display())?;
                way_out(source).map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
            }
            Kind::Filter { text, source } => write!(
                f,
                "not a filter: {text:?}: {source} (expected targets and levels, such as \
                 \"info,payments=debug\")"
            ),
            Kind::Value {
                name,
                found,
                expected,
            } => {
                write!(f, "{name} is {found:?} (expected {expected})")
            }
            Kind::NoRoom { path, needed, free } => write!(
                f,
                "no room for a recording of {} in {}: {} are to be had; ask for less capacity \
                 or for another directory",
                Mib(*needed),
                path.display(),
                Mib(*free),
            ),
            Kind::NetworkFileSystem { path, kind } => write!(
                f,
                "{} is on {kind}, where a mapped file can kill its process; choose a directory \
                 on a local file system",
                path.display()
            ),
            Kind::Directory {
                path,
                found,
                remedy,
            } => {
                write!(
                    f,
                    "cannot keep recordings in {}: {found}; {remedy}",
                    path.display()
                )
            }
            Kind::Limit { least, reason } => write!(
                f,
                "a recording takes at least {}: {reason}; raise the limit or ask for another \
                 directory",
                Mib(*least)
            ),
            Kind::NoSnapshot { reason, remedy } => {
                write!(f, "no snapshot was made: {reason}; {remedy}")
            }
            Kind::Recording { path, source } => write!(
                f,
                "cannot read the recording {} back: {source}; it may have been changed by others",
                path.display()
            ),
            Kind::NoPlace(reasons) => {
                f.write_str("no place for the recording")?;
                for (i, reason) in reasons.iter().enumerate() {
                    write!(f, "{} {reason}", if i == 0 { ":" } else { ";" })?;
                }
                f.write_str(" (a directory can be set with TTLOG_DIR)")
            }
        }
    }
}

/// What would help against what the system says, where that is known.
fn way_out(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind::{
        FileTooLarge, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        StorageFull, WouldBlock,
    };
    const EMFILE: i32 = 24;
    if error.raw_os_error() == Some(EMFILE) {
        return Some("raise the limit on open files");
    }
    Some(match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "make room, or ask for less capacity or another directory"
        }
        OutOfMemory => "ask for less capacity, or raise the limit on memory",
        PermissionDenied | ReadOnlyFilesystem => "choose a directory that may be written to",
        WouldBlock => "raise the limit on threads",
        _ => return None,
    })
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.kind {
            Kind::Io { source, .. } => Some(source),
            Kind::Filter { source, .. }
            | Kind::Recording { source, .. }
            | Kind::AlreadyInstalled(source) => Some(source.as_ref()),
            Kind::NoPlace(reasons) => reasons.last().map(|reason| reason as _),
            _ => None,
        }
    }
}

/// Bytes as MiB, with two decimals.
pub(crate) struct Mib(pub(crate) u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = u128::from(self.0) * 100 / (1 << 20);
        write!(f, "{}.{:02} MiB", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_what_was_found_and_the_way_out() {
        let error = Error::no_room(Path::new("/mnt/x"), 11 << 20, 1 << 19);
        assert_eq!(
            error.to_string(),
            "no room for a recording of 11.00 MiB in /mnt/x: 0.50 MiB are to be had; ask for less \
             capacity or for another directory"
        );
    }

    #[test]
    fn the_cause_is_in_the_text_and_can_be_looked_at() {
        let error = Error::io("create", "/x/y", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(error.to_string(), "cannot create /x/y: entity not found");
        let source = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn what_the_system_says_comes_with_a_way_out_where_there_is_one() {
        let text = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            Error::io("map", "/x", error).to_string()
        };
        let (emfile, enospc, eio) = (24, 28, 5);
        assert!(text(emfile).ends_with("; raise the limit on open files"));
        assert!(text(enospc).contains("; make room, or ask for less"));
        assert!(!text(eio).contains(';'));
    }

    #[test]
    fn every_place_says_why_it_was_none() {
        let reasons = vec![Error::limit(1 << 20, "a"), Error::value("b", "1", "2")];
        let text = Error::no_place(reasons).to_string();
        assert!(
            text.contains(": a; raise") && text.contains("; b is \"1\" (expected 2)"),
            "{text}"
        );
    }

    #[test]
    fn an_error_travels() {
        fn travels<T: Send + Sync + 'static>() {}
        travels::<Error>();
    }
}
