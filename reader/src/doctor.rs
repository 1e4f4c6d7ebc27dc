//! `doctor`: whether a directory is a good home for recordings.
//!
//! ```text
//! $ ttlog-reader doctor
//! /dev/shm/ttlog-1000
//! ok   place     a directory of user 1000, for its owner alone
//! ok   files     tmpfs: in memory, so no store waits for a disk; gone after a reboot
//! ok   room      5.8 GiB are free, and a recording takes 11.0 MiB
//! ok   memory    no memory cgroup limits what this shell's processes may take
//! note deletion  logind removes what user 1000 has in /dev/shm when it logs out
//!                -> set RemoveIPC=no in logind.conf, or have a system user record
//! ok   stalls    of 963 writes half took 3.1 µs, one in 100 12.0 µs or more, the worst
//!                41.2 µs: a store can wait that long
//! usable: 1 thing to know
//! ```
//!
//! Without a directory it is the one where a recorder would record: `TTLOG_DIR`, else
//! `ttlog-<uid>` in /dev/shm, or in the temporary directory. What it says of limits is
//! true of this shell: run it as the user and in the unit or the container of the daemon.
//!
//! A line is `ok`, `note` (something to know) or `bad` (recordings will not be had, or
//! will not be there when they are wanted), with the reason, and below it the way out.
//! The verdict is `good`, `usable` where there are notes, or `bad`; the exit status is 1
//! where one is bad.
//!
//! Nothing is left behind. Stalls are measured for a second, with a file of 1 MiB that
//! has no name (one that is hidden, and removed at once, where such files cannot be had):
//! writes of a page at the pace of a busy recorder, while another thread
//! has the file synced, as the kernel's writeback would. `--quick` leaves that out.
//!
//! `-o json` writes one object a line: `path`, `verdict`, `findings` (each with `grade`,
//! `about`, `words` and `advice`, null where there is none) and `stalls` (`writes`,
//! `median_ns`, `p99_ns`, `worst_ns`; null where nothing was measured).

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::colour;
use crate::escape::escape;
use crate::json;
use crate::output::{Look, Output, terminal_width};
use crate::page::Page;

#[cfg(target_os = "linux")]
mod deletion;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod place;
#[cfg(target_os = "linux")]
mod stalls;
#[cfg(target_os = "linux")]
mod tmpfiles;

/// Look whether directories are good homes for recordings
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ttlog-reader doctor                      where a recorder of yours would record
  ttlog-reader doctor /var/lib/payments    another directory, there or not
  ttlog-reader doctor --capacity-mib 1024  with room for more

Exit status: 0 good or usable, 1 bad, 2 usage.")]
pub(crate) struct Arguments {
    /// Directories [default: TTLOG_DIR, else where recorders record by default]
    #[arg(value_name = "DIR")]
    directories: Vec<OsString>,

    /// How big recordings are to be
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    capacity_mib: u32,

    /// Do not measure how long a write can take
    #[arg(short, long)]
    quick: bool,

    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    look: Look,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Note,
    Bad,
}

/// Something about a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    grade: Grade,
    about: &'static str,
    words: String,
    advice: Option<String>,
}

impl Finding {
    fn ok(about: &'static str, words: impl Into<String>) -> Finding {
        Finding {
            grade: Grade::Ok,
            about,
            words: words.into(),
            advice: None,
        }
    }

    fn note(about: &'static str, words: impl Into<String>, advice: &str) -> Finding {
        Finding {
            grade: Grade::Note,
            advice: (!advice.is_empty()).then(|| advice.to_owned()),
            ..Finding::ok(about, words)
        }
    }

    fn bad(about: &'static str, words: impl Into<String>, advice: &str) -> Finding {
        Finding {
            grade: Grade::Bad,
            ..Finding::note(about, words, advice)
        }
    }
}

/// How long writes took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Stalls {
    writes: u64,
    median_ns: u64,
    p99_ns: u64,
    worst_ns: u64,
}

/// A directory that was looked at.
pub(crate) struct Examined {
    path: PathBuf,
    findings: Vec<Finding>,
    stalls: Option<Stalls>,
}

#[derive(Serialize)]
struct Object<'a> {
    path: String,
    verdict: &'static str,
    findings: &'a [Finding],
    stalls: Option<Stalls>,
}

/// The directories that are asked for.
pub(crate) fn directories(asked: &Arguments) -> Vec<PathBuf> {
    match asked.directories.is_empty() {
        false => asked.directories.iter().map(PathBuf::from).collect(),
        true => vec![by_default(asked)],
    }
}

#[cfg(target_os = "linux")]
fn by_default(asked: &Arguments) -> PathBuf {
    let own = std::env::var_os("TTLOG_DIR").filter(|own| !own.is_empty());
    own.map_or_else(|| place::by_default(asked.file_bytes()), PathBuf::from)
}

#[cfg(not(target_os = "linux"))]
fn by_default(_asked: &Arguments) -> PathBuf {
    let own = std::env::var_os("TTLOG_DIR").filter(|own| !own.is_empty());
    own.map_or_else(std::env::temp_dir, PathBuf::from)
}

/// Looks at a directory.
#[cfg(target_os = "linux")]
pub(crate) fn examine(directory: &Path, asked: &Arguments) -> Examined {
    let mut examined = Examined {
        path: directory.to_owned(),
        findings: Vec::new(),
        stalls: None,
    };
    let found = place::look(directory, &mut examined.findings);
    let Some(place) = found else {
        return examined;
    };
    let system = System::here();
    let mounts = system.text("proc/self/mountinfo");
    let mount = mounts::covering(&mounts, &place.path);
    let file_system = place.file_system(mount.as_ref());
    examined.findings.push(file_system.finding());
    place.room(asked.file_bytes(), &mut examined.findings);
    if file_system.is_in_memory() {
        let memory = memory::finding(&system, &mounts, asked.file_bytes());
        examined.findings.push(memory);
    }
    let deletion = deletion::findings(&system, &place.path, place.uid, &mounts);
    examined.findings.extend(deletion);
    if place.is_writable && !file_system.is_refused() {
        let (stalls, finding) = stalls::measure(&place, asked.quick);
        examined.stalls = stalls;
        examined.findings.extend(finding);
    }
    examined
}

/// Looks at a directory, where there is nothing to be seen.
#[cfg(not(target_os = "linux"))]
pub(crate) fn examine(directory: &Path, _asked: &Arguments) -> Examined {
    let words = "nothing is recorded on this system, and nothing can be told of its directories";
    Examined {
        path: directory.to_owned(),
        findings: vec![Finding::bad(
            "place",
            words,
            "run this on Linux, where the daemon runs",
        )],
        stalls: None,
    }
}

impl Arguments {
    /// Bytes of a recording of that capacity.
    #[cfg(target_os = "linux")]
    fn file_bytes(&self) -> u64 {
        const BLOCKS_PER_MIB: u32 = (1 << 20) / ttlog_format::BLOCK_BYTES as u32;
        let layout = ttlog_format::header::Layout {
            span_slots: 4096,
            blocks: self.capacity_mib.saturating_mul(BLOCKS_PER_MIB),
        };
        layout.file_bytes()
    }
}

impl Examined {
    /// Whether recordings are better kept elsewhere.
    pub(crate) fn is_bad(&self) -> bool {
        self.grade() == Grade::Bad
    }

    fn grade(&self) -> Grade {
        let grades = self.findings.iter().map(|finding| finding.grade);
        grades.max().unwrap_or(Grade::Ok)
    }

    fn verdict(&self) -> &'static str {
        match self.grade() {
            Grade::Ok => "good",
            Grade::Note => "usable",
            Grade::Bad => "bad",
        }
    }

    /// Writes what was found.
    pub(crate) fn write(&self, asked: &Arguments, mut out: impl Write) -> io::Result<()> {
        match asked.output {
            Output::Json => json::write_line(out, &self.object()),
            Output::Text => {
                let mut page = Page::new(asked.look.style(), terminal_width());
                self.tell(&mut page);
                if asked.directories.len() > 1 {
                    page.line("");
                }
                out.write_all(page.into_text().as_bytes())
            }
        }
    }

    fn object(&self) -> Object<'_> {
        Object {
            path: self.path.to_string_lossy().into_owned(),
            verdict: self.verdict(),
            findings: &self.findings,
            stalls: self.stalls,
        }
    }

    fn tell(&self, page: &mut Page) {
        let path = escape(self.path.as_os_str().as_encoded_bytes());
        page.wrapped("", &path, colour::HEADING);
        for finding in &self.findings {
            let (grade, colour) = match finding.grade {
                Grade::Ok => ("ok", ""),
                Grade::Note => ("note", colour::DOUBTFUL),
                Grade::Bad => ("bad", colour::BAD),
            };
            let name = format!("{grade:<5}{}", finding.about);
            page.named(&name, &escape(finding.words.as_bytes()), colour);
            if let Some(advice) = &finding.advice {
                page.named("", &escape(format!("-> {advice}").as_bytes()), "");
            }
        }
        page.wrapped("", &self.verdict_words(), self.colour());
    }

    fn colour(&self) -> &'static str {
        match self.grade() {
            Grade::Ok => colour::GOOD,
            Grade::Note => colour::DOUBTFUL,
            Grade::Bad => colour::BAD,
        }
    }

    /// `usable: 2 things to know`
    fn verdict_words(&self) -> String {
        let count = |grade| {
            let those = self.findings.iter().filter(|found| found.grade == grade);
            match those.count() {
                1 => "1 thing".to_owned(),
                many => format!("{many} things"),
            }
        };
        match self.grade() {
            Grade::Ok => "good: record here".into(),
            Grade::Note => format!("usable: {} to know", count(Grade::Note)),
            Grade::Bad => format!(
                "bad: {} to be put right, or another directory to be taken",
                count(Grade::Bad)
            ),
        }
    }
}

/// The system's files, below a root.
#[cfg(target_os = "linux")]
struct System {
    root: PathBuf,
}

/// What a file of the system's is shorter than.
#[cfg(target_os = "linux")]
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(target_os = "linux")]
impl System {
    fn here() -> System {
        System {
            root: PathBuf::from("/"),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The text of a file, or none: what cannot be read limits nothing.
    fn text(&self, path: &str) -> String {
        text(&self.path(path))
    }
}

#[cfg(target_os = "linux")]
fn text(path: &Path) -> String {
    use std::io::Read;

    let mut bytes = Vec::new();
    if let Ok(file) = crate::file::open_named(path) {
        // What was read before an error counts.
        let _ = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Style;
    use jiff::tz::TimeZone;

    fn examined(findings: Vec<Finding>) -> Examined {
        Examined {
            path: "/var/lib/a\x1b[2J".into(),
            findings,
            stalls: None,
        }
    }

    #[test]
    fn the_verdict_is_that_of_the_worst_finding() {
        let (ok, note) = (Finding::ok("room", "a"), Finding::note("files", "b", ""));
        let bad = Finding::bad("place", "c", "d");
        for (findings, verdict) in [
            (vec![], "good"),
            (vec![ok.clone()], "good"),
            (vec![note.clone(), ok.clone()], "usable"),
            (vec![ok, bad, note], "bad"),
        ] {
            assert_eq!(examined(findings).verdict(), verdict);
        }
    }

    #[test]
    fn a_finding_is_a_grade_a_reason_and_a_way_out() {
        let style = Style {
            zone: TimeZone::UTC,
            colour: false,
        };
        let mut page = Page::new(style, Some(40));
        let findings = vec![
            Finding::ok("room", "enough"),
            Finding::bad("place", "somebody else's\x07", "take another one, or ask"),
        ];
        examined(findings).tell(&mut page);
        let expected = r"/var/lib/a\x1b[2J
ok   room      enough
bad  place     somebody else's\x07
               -> take another one, or
               ask
bad: 1 thing to be put right, or another
directory to be taken
";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn the_json_has_every_finding() {
        let examined = examined(vec![Finding::note("files", "b", "c")]);
        let object = serde_json::to_value(examined.object()).unwrap();
        assert_eq!(object["verdict"], "usable");
        let finding = serde_json::json!({
            "grade": "note", "about": "files", "words": "b", "advice": "c"
        });
        assert_eq!(object["findings"], serde_json::json!([finding]));
        assert_eq!(object["stalls"], serde_json::Value::Null);
    }
}
