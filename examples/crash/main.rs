//! A daemon under load, killed with SIGKILL, and what is left of it.
//!
//! ```text
//! cargo run --release --example crash
//! ```
//!
//! The program starts itself again as an HTTP daemon that ttlog records, puts
//! load on it for two seconds, kills it in the middle, and runs the reader on
//! the recording. Nothing of the daemon runs at the moment of its death.
//!
//! What hyper and tokio say about themselves is recorded too, if they are built
//! with `RUSTFLAGS="--cfg hyper_unstable_tracing --cfg tokio_unstable"`.

mod daemon;
mod load;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use clap::Parser;
use ttlog_reader::Kind;
use ttlog_reader::command::Arguments;

use load::Load;

/// How long the daemon serves before it is killed.
const LOAD: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let outcome = match (arguments.next(), arguments.next()) {
        (None, _) => crash(),
        (Some(word), Some(directory)) if word == "daemon" => daemon::run(directory.into()),
        _ => Err("usage: crash (it takes no arguments)".into()),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The whole story, as the parent sees it.
fn crash() -> Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("ttlog-crash-")
        .tempdir()?
        .keep();
    kill_under_load(&directory)?;

    let recording = ttlog_reader::find(directory.as_os_str())?;
    let size_mib = fs::metadata(&recording)?.len() >> 20;
    println!("It left {size_mib} MiB:\n  {}", recording.display());

    read("info", &[], &recording)?;
    read("view", &["-n", "15", "-p", "debug"], &recording)?;
    print_next_steps(&directory);
    check_verdict(&recording)
}

fn kill_under_load(directory: &Path) -> Result<()> {
    let mut daemon = Daemon::start(directory)?;
    let pid = daemon.child.id();
    println!(
        "A daemon, pid {pid}, serves HTTP on 127.0.0.1:{}.",
        daemon.port
    );

    let load = Load::start(daemon.port)?;
    thread::sleep(LOAD);
    let status = daemon.kill()?;
    let answered = load.finish();

    let how = match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("{status}, and not a signal"),
    };
    println!(
        "It answered {answered} requests in {} s and died by {how}.",
        LOAD.as_secs()
    );
    match answered {
        0 => Err("the daemon answered no request".into()),
        _ => Ok(()),
    }
}

/// The child process. It is killed with this value, if not before.
struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    /// Starts this program again as the daemon, and waits for its port.
    fn start(directory: &Path) -> Result<Self> {
        let child = Command::new(env::current_exe()?)
            .arg("daemon")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut daemon = Self { child, port: 0 };
        let stdout = daemon.child.stdout.take().ok_or("no pipe to the daemon")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse();
        daemon.port = port.map_err(|_| "the daemon did not say its port")?;
        Ok(daemon)
    }

    /// SIGKILL: the daemon cannot catch, delay or notice it.
    fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Runs one command of the reader on the recording, as a shell would.
fn read(command: &str, flags: &[&str], recording: &Path) -> Result<()> {
    let mut arguments: Vec<OsString> = vec!["ttlog-reader".into(), command.into()];
    arguments.extend(flags.iter().map(OsString::from));
    println!("\n$ {} \\", arguments.join(" ".as_ref()).display());
    println!("    {}", recording.display());
    arguments.push(recording.into());
    io::stdout().flush()?;
    match Arguments::try_parse_from(arguments)?.run() {
        ExitCode::SUCCESS => Ok(()),
        _ => Err(format!("ttlog-reader {command} failed").into()),
    }
}

/// A directory stands for its newest recording.
fn print_next_steps(directory: &Path) {
    let directory = directory.display();
    println!("\nGo on from here:");
    for command in ["view", "view -p warn", "info -o json"] {
        println!("  cargo run --release -p ttlog-reader -- {command} {directory}");
    }
    println!("  rm -r {directory}");
}

fn check_verdict(recording: &Path) -> Result<()> {
    match ttlog_reader::open(recording)?.verdict.kind {
        Kind::Killed => Ok(()),
        kind => Err(format!("the verdict is {kind}, and not killed").into()),
    }
}
