//! Recordings that are kept in the repository, and what commands show of them.
//!
//! They are made by `tests/golden/make`, and restored as if they had been recorded on this
//! machine since it was booted. What differs from machine to machine all the same is
//! masked in what is shown.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lz4_flex::frame::FrameDecoder;
use nix::pty::{Winsize, openpty};
use regex::{Captures, Regex};
use ttlog_format::header::Header;
use ttlog_format::snapshot;

/// What became of a process whose recording is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it was when it was recorded.
    AsRecorded,
    /// Its process is this one.
    Alive,
    /// The machine was booted since.
    Rebooted,
}

/// Where the recordings are kept, and outputs beside them.
pub fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Puts a recording that is kept into a directory, under its own name.
///
/// # Panics
/// If it is not kept, or cannot be written.
pub fn restore(of: &str, as_name: &str, end: End, directory: &Path) -> PathBuf {
    let kept = kept().join("recordings");
    let (path, bytes) = match as_name.rsplit_once('.') {
        Some((_, "bin")) => {
            let bytes = fs::read(kept.join(format!("{of}.bin"))).expect("a snapshot");
            let read = snapshot::read(&bytes[..], bytes.len() as u64);
            let (mut recording, made) = read.expect("a snapshot that can be read");
            settle(&mut recording.header, end);
            let mut out = Vec::new();
            snapshot::write(&recording, &made, &mut out).expect("room");
            (directory.join(as_name), out)
        }
        _ => {
            let file = File::open(kept.join(format!("{of}.ring.lz4"))).expect("a recording");
            let mut bytes = Vec::new();
            let unpacked = FrameDecoder::new(file).read_to_end(&mut bytes);
            unpacked.expect("a recording that can be unpacked");
            let mut header = Header::decode(&bytes[..4096]).expect("a header");
            settle(&mut header, end);
            let page = header.encode();
            bytes[..page.len()].copy_from_slice(&page[..]);
            let copy = header.layout.copy_offset() as usize;
            bytes[copy..][..page.len()].copy_from_slice(&page[..]);
            (directory.join(as_name), bytes)
        }
    };
    fs::write(&path, bytes).expect("room");
    path
}

/// Has a header say that it was recorded here.
fn settle(header: &mut Header, end: End) {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("procfs");
    header.boot_id = boot_id.trim().replace('-', "");
    header.pid_namespace = namespace();
    header.cgroup.clear();
    match end {
        End::AsRecorded => {}
        End::Alive => {
            header.pid = std::process::id();
            header.start_time = start_time();
        }
        End::Rebooted => header.boot_id = "0123456789abcdef0123456789abcdef".into(),
    }
}

fn namespace() -> u64 {
    let link = fs::read_link("/proc/self/ns/pid").expect("procfs");
    let words = link.to_string_lossy().into_owned();
    let digits = words.trim_start_matches("pid:[").trim_end_matches(']');
    digits.parse().expect("a number")
}

/// Of this process, in clock ticks since boot: field 22 of proc_pid_stat(5).
fn start_time() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("procfs");
    let behind_name = stat.rsplit_once(')').expect("a name").1;
    let field = behind_name.split_whitespace().nth(19);
    field.and_then(|it| it.parse().ok()).expect("a number")
}

/// What a command prints into a pipe: its output, what it says, and its status.
///
/// # Panics
/// If it cannot be run.
pub fn printed(reader: &Path, arguments: &[&str], directory: &Path) -> String {
    let output = command(reader, arguments, directory).output();
    let output = output.expect("ttlog-reader runs");
    let mut text = String::from_utf8(output.stdout).expect("UTF-8");
    let words = String::from_utf8(output.stderr).expect("UTF-8");
    text.extend(words.lines().map(|line| format!("stderr: {line}\n")));
    match output.status.code() {
        Some(0) => {}
        status => text += &format!("status: {status:?}\n"),
    }
    masked(&text, directory)
}

/// What a command prints on a terminal of so many columns.
///
/// # Panics
/// If there is no terminal, or it cannot be run.
pub fn on_terminal(
    reader: &Path,
    arguments: &[&str],
    directory: &Path,
    columns: u16,
    environment: &[(&str, &str)],
) -> String {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(&size, None).expect("openpty(3)");
    let duplicate = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("dup(2)"));
    let mut child = command(reader, arguments, directory)
        .envs(environment.iter().copied())
        .stdout(duplicate(&terminal.slave))
        .stderr(duplicate(&terminal.slave))
        .spawn()
        .expect("ttlog-reader runs");
    drop(terminal.slave);
    let mut bytes = Vec::new();
    // It ends with an error once nobody is at the other side.
    let _ = File::from(terminal.master).read_to_end(&mut bytes);
    child.wait().expect("wait(2)");
    let text = String::from_utf8(bytes).expect("UTF-8");
    masked(&text.replace("\r\n", "\n"), directory)
}

fn command(reader: &Path, arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(reader);
    for name in [
        "NO_COLOR",
        "PAGER",
        "LESS",
        "TTLOG_DIR",
        "TTLOG_SNAPSHOT_DIR",
    ] {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .current_dir(directory)
        .env("TZ", "Europe/Berlin")
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null());
    command
}

/// The same, without what differs from machine to machine and from day to day: paths, this
/// process's id, whether another's is in use again, and how long ago something was, with
/// the room that it takes in a line, a paragraph or a table.
fn masked(text: &str, directory: &Path) -> String {
    let pattern = |pattern: &str| Regex::new(pattern).expect("a pattern");
    let own = std::process::id();
    let own = pattern(&format!(r#"(?m)(^|process +|\(pid |"[pt]id":){own}\b"#));
    let again = pattern("( is gone): its number is now another process's");
    let long = pattern("x{100,}");
    let told = pattern(r"started [^;]*;\s+ages\s+below\s+count\s+back\s+from\s+\w+");
    let ago = pattern("just now|[0-9,]+ (s|min|h|d) ago|ahead of the clock here");
    let moment = pattern("([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}:[0-9]{2}:[0-9]{2}), AGO");
    let text = text.replace(&*directory.to_string_lossy(), "DIR");
    let text = own.replace_all(&text, "${1}SELF");
    let text = again.replace_all(&text, "$1");
    let text = long.replace_all(&text, "x…");
    let text = told.replace_all(&text, |told: &Captures<'_>| in_one_line(&told[0]));
    let text = ago.replace_all(&text, "AGO");
    match moment.is_match(&text) {
        true => without_columns(&moment.replace_all(&text, "MOMENT, AGO")),
        false => text.into_owned(),
    }
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A table of which a column has no width of its own any more.
fn without_columns(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('─'));
    let lines = lines.map(|line| {
        let indent = if line.starts_with(' ') { "  " } else { "" };
        format!("{indent}{}\n", in_one_line(line))
    });
    lines.collect()
}
