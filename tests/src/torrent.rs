//! A process that records a torrent, and what whoever follows it is shown.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::reader;

/// By when whoever follows has looked for the first time.
const READY: Duration = Duration::from_millis(500);

/// What goes with the number of an event, and with no other.
pub fn check(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

/// What somebody was shown who followed a torrent.
#[derive(Debug, Default)]
pub struct Seen {
    /// Lines.
    pub shown: u64,
    /// Lines that are not what was said, a few of them.
    pub torn: Vec<String>,
    /// Events of a thread that were shown twice, or behind a later one.
    pub disordered: u64,
    /// Lines whose time is before that of the line before.
    pub backwards: u64,
    /// What was said on stderr.
    pub words: String,
    /// Events that the process says it had said, shortly before it was killed.
    pub said: u64,
}

/// Follows a process that records `rate` events a second by so many threads, for so
/// long, after which it is killed.
///
/// # Panics
/// If it cannot be started, or followed.
pub fn follow(torrent: &str, directory: &Path, threads: u64, rate: u64, for_s: f64) -> Seen {
    let program = reader::program(Path::new(torrent));
    let mut victim = Command::new(torrent)
        .arg(directory)
        .args([threads.to_string(), rate.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the torrent runs");
    let said = BufReader::new(victim.stdout.take().expect("a pipe"));
    // Its first word: by then there is a recording.
    let mut said = said.lines();
    said.next();
    let mut reader = Command::new(program)
        .args(["view", "-f", "--utc", "-o", "full"])
        .arg(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ttlog-reader runs");
    let seen = thread::scope(|scope| {
        let seen = scope.spawn(|| watch(&mut reader));
        thread::sleep(READY);
        let mut begin = victim.stdin.take().expect("a pipe");
        begin.write_all(b"\n").expect("somebody reads");
        thread::sleep(Duration::from_secs_f64(for_s));
        victim.kill().expect("kill(2)");
        victim.wait().expect("wait(2)");
        seen.join().expect("nobody panics")
    });
    let status = reader.wait().expect("wait(2)");
    assert_eq!(status.code(), Some(0), "{}", seen.words);
    let said = said.map_while(Result::ok).last();
    Seen {
        said: said.and_then(|said| said.parse().ok()).unwrap_or(0),
        ..seen
    }
}

fn watch(reader: &mut Child) -> Seen {
    let lines = BufReader::with_capacity(1 << 20, reader.stdout.take().expect("a pipe"));
    let mut seen = Seen::of_lines(lines);
    let words = reader.stderr.take().expect("a pipe");
    let mut words = BufReader::new(words);
    words.read_to_string(&mut seen.words).expect("UTF-8");
    seen
}

impl Seen {
    /// What is to be said of these lines.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn of_lines(lines: impl BufRead) -> Seen {
        let mut seen = Seen::default();
        let mut last: HashMap<String, u64> = HashMap::new();
        let mut moment = String::new();
        for line in lines.lines() {
            let line = line.expect("UTF-8");
            seen.shown += 1;
            let Some((time, thread, n)) = parsed(&line) else {
                seen.torn.extend((seen.torn.len() < 3).then_some(line));
                continue;
            };
            let before = match last.get_mut(thread) {
                Some(last) => Some(std::mem::replace(last, n)),
                None => last.insert(thread.to_owned(), n),
            };
            seen.disordered += u64::from(before.is_some_and(|before| before >= n));
            seen.backwards += u64::from(time < moment.as_str());
            time.clone_into(&mut moment);
        }
        seen
    }

    /// How many events it said that it could not show.
    pub fn missed(&self) -> u64 {
        let line = self.words.lines().find_map(|line| {
            let words = line.strip_prefix("ttlog-reader: ")?;
            words.strip_suffix(" events were overwritten before they could be shown")
        });
        line.map_or(0, |count| count.replace(',', "").parse().expect("a number"))
    }
}

/// Time, thread and number of a line, if it is what was said.
///
/// `2025-11-24 12:34:56.123456789+00:00 [INFO] torrent-0[12] torrent tests/… hundred{first=0}: one of many n=7 check=9`
fn parsed(line: &str) -> Option<(&str, &str, u64)> {
    let (time, rest) = line.split_at_checked(29)?;
    let rest = rest.strip_prefix("+00:00 [INFO] ")?;
    let (thread, rest) = rest.split_once(' ')?;
    let (head, said) = rest.split_once(": one of many n=")?;
    let (n, of) = said.split_once(" check=")?;
    let n: u64 = n.parse().ok()?;
    let first = head.split_once(" hundred{first=")?.1.strip_suffix('}')?;
    let first: u64 = first.parse().ok()?;
    let is_within = first <= n && n < first + 100;
    (of.parse() == Ok(check(n)) && is_within).then_some((time, thread, n))
}
