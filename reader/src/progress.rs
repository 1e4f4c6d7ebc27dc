//! How far a command has come, on stderr, where it takes longer than a second.
//!
//! One line, written again and again, and wiped out before anything else is said. It is
//! there where stderr is a terminal; where stdout is one, too, only until the first line
//! is written to it: whoever sees lines coming needs nothing else, and the two would mix.
//!
//! What counts is bytes that were read. Whoever shows a recording goes over it several
//! times, and knows how often.

use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ttlog_format::salvage::Source;

use crate::escape::escape;

/// What takes no longer is not shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the line is written at most.
const EVERY: Duration = Duration::from_millis(100);

/// Bytes that are read between two looks at the clock.
const STEP: u64 = 1 << 18;

/// Columns of the line, and those of the bar and the name in it.
const COLUMNS: usize = 78;
const BAR: usize = 20;
const NAME: usize = 36;

/// How far a command has come, some of whose threads read while others write.
pub(crate) struct Progress {
    begun: Instant,
    is_wanted: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is being read, and which of how many that is.
    name: String,
    /// Bytes that were read of it, that will have been, and at which the clock is asked.
    passed: u64,
    all: u64,
    next: u64,
    drawn: Option<Instant>,
    /// Whether lines are written where it would be.
    is_over: bool,
}

impl Progress {
    /// Of a command that begins now.
    pub(crate) fn new() -> Progress {
        Progress::wanted(io::stderr().is_terminal())
    }

    fn wanted(is_wanted: bool) -> Progress {
        Progress {
            begun: Instant::now(),
            is_wanted,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes will be read of `path`, the `at`th of `inputs`, from 1.
    pub(crate) fn begin(&self, path: &Path, bytes: u64, (at, inputs): (usize, usize)) {
        let which = match inputs {
            1 => String::new(),
            inputs => format!("{at} of {inputs}: "),
        };
        self.begin_with(&which, path, bytes, "");
    }

    /// So many bytes will be read of `path` and `others` besides.
    pub(crate) fn begin_all(&self, path: &Path, bytes: u64, others: usize) {
        let more = match others {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        self.begin_with("", path, bytes, &more);
    }

    fn begin_with(&self, before: &str, path: &Path, bytes: u64, after: &str) {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name: String = escape(name.as_encoded_bytes()).chars().take(NAME).collect();
        let mut state = self.state();
        *state = State {
            name: format!("{before}{name}{after}"),
            all: bytes,
            next: STEP,
            drawn: state.drawn,
            ..State::default()
        };
    }

    fn pass(&self, bytes: usize) {
        if !self.is_wanted {
            return;
        }
        let mut state = self.state();
        state.passed = state.passed.saturating_add(bytes as u64);
        if state.passed >= state.next {
            state.next = state.passed.saturating_add(STEP);
            state.look(Instant::now(), self.begun);
        }
    }

    /// Wipes the line out.
    pub(crate) fn clear(&self) {
        self.state().clear();
    }

    /// Wipes the line out, and writes none from now on: lines are where it would be.
    fn make_way(&self) {
        let mut state = self.state();
        state.is_over = true;
        state.clear();
    }
}

impl State {
    fn look(&mut self, now: Instant, begun: Instant) {
        let waited = self.drawn.is_none_or(|drawn| now - drawn >= EVERY);
        if !self.is_over && waited && now - begun >= PATIENCE {
            self.drawn = Some(now);
            let line = line(&self.name, self.passed, self.all);
            // Whether anybody sees it changes nothing.
            let _ = write!(io::stderr(), "\r{line:COLUMNS$}\r");
        }
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r{:COLUMNS$}\r", "");
        }
    }
}

/// `[######..............]  30 %  ttlog-4711-1764000000123.ring`
fn line(name: &str, passed: u64, all: u64) -> String {
    let percent = u128::from(passed.min(all)) * 100 / u128::from(all.max(1));
    let full = percent as usize * BAR / 100;
    let bar: String = (0..BAR).map(|i| if i < full { '#' } else { '.' }).collect();
    format!("[{bar}] {percent:>3} %  {name}")
}

/// Something that is read, and counted.
pub(crate) struct Watched<'p, T> {
    pub(crate) of: T,
    pub(crate) progress: &'p Progress,
}

impl<T: Source> Source for Watched<'_, T> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let found = self.of.read_at(buffer, offset)?;
        self.progress.pass(found);
        Ok(found)
    }

    fn len(&self) -> io::Result<u64> {
        self.of.len()
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        self.of.data_from(offset)
    }
}

impl<T: Read> Read for Watched<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let found = self.of.read(buffer)?;
        self.progress.pass(found);
        Ok(found)
    }
}

impl<T: Seek> Seek for Watched<'_, T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.of.seek(to)
    }
}

/// An output, before which the line goes.
pub(crate) struct Beside<'p, W> {
    out: W,
    progress: &'p Progress,
    is_terminal: bool,
}

impl<'p, W: Write> Beside<'p, W> {
    /// `out`, which may lead to where the line is.
    pub(crate) fn new(out: W, is_terminal: bool, progress: &'p Progress) -> Beside<'p, W> {
        Beside {
            out,
            progress,
            is_terminal,
        }
    }
}

impl<W: Write> Write for Beside<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_terminal {
            self.progress.make_way();
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_a_terminal_whatever_the_name() {
        let progress = Progress::wanted(false);
        let name = "x".repeat(300);
        progress.begin(Path::new(&name), 10, (10, 10));
        let text = line(&progress.state().name, 3, 10);
        assert!(
            text.starts_with("[######..............]  30 %  10 of 10: xx"),
            "{text}"
        );
        assert!(text.chars().count() <= COLUMNS, "{text}");
        assert!(line("evil", u64::MAX, 1).contains(" 100 %"));
        assert!(line("none", 0, 0).contains("   0 %"));
    }

    #[test]
    fn what_is_read_is_counted_and_seldom_looked_at() {
        let progress = Progress::wanted(true);
        progress.begin(Path::new("a"), 4 * STEP, (1, 1));
        let watched = Watched {
            of: vec![0u8; 3 * STEP as usize],
            progress: &progress,
        };
        let mut buffer = vec![0; 2 * STEP as usize];
        assert_eq!(watched.read_at(&mut buffer, STEP * 2).unwrap() as u64, STEP);
        let begun = progress.begun;
        let look = |after: Duration| {
            let mut state = progress.state();
            state.look(begun + after, begun);
            state.drawn
        };
        assert_eq!(progress.state().passed, STEP);
        assert_eq!(progress.state().next, 2 * STEP);
        // Before a second is over, nothing is drawn; after it, it is.
        assert_eq!(progress.state().drawn, None);
        assert!(look(PATIENCE).is_some());
        progress.make_way();
        assert_eq!(look(3 * PATIENCE), None, "lines are there");
    }
}
