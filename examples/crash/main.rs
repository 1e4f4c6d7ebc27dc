//! A daemon under load, killed or made to die, and what is left of it.
//!
//! ```text
//! cargo run --release --example crash
//! cargo run --release --example crash -- --how segv
//! ```
//!
//! The program starts itself again as an HTTP daemon that ttlog records, puts
//! load on it for two seconds, ends it in the middle, and runs the reader on what
//! it left. By default it is killed by SIGKILL: nothing of the daemon runs at the
//! moment of its death.
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

use clap::{Parser, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use ttlog_reader::Kind;
use ttlog_reader::command::Arguments;

use load::Load;

/// How long the daemon serves before it dies.
const LOAD: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Run a daemon under load, end it, and read what it left
#[derive(Debug, Parser)]
#[command(name = "crash")]
struct Crash {
    /// How the daemon dies
    #[arg(long, value_enum, default_value_t)]
    how: How,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum How {
    /// A task panics, and `main` because of it
    Panic,
    /// It calls abort
    Abort,
    /// It reads where nothing is
    Segv,
    /// It overflows its stack
    Overflow,
    /// It is sent SIGTERM, which the recorder was asked to wait for
    Term,
    /// It exits
    Exit,
    /// It is killed by SIGKILL
    #[default]
    Kill,
}

impl How {
    fn verdict(self) -> Kind {
        match self {
            How::Panic => Kind::Panicked,
            How::Abort | How::Segv | How::Overflow => Kind::Signal,
            How::Term => Kind::Terminated,
            How::Exit => Kind::Ended,
            How::Kill => Kind::Killed,
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let outcome = match (arguments.next(), arguments.next()) {
        (Some(word), Some(directory)) if word == "daemon" => daemon::run(directory.into()),
        _ => crash(Crash::parse().how),
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
fn crash(how: How) -> Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("ttlog-crash-")
        .tempdir()?
        .keep();
    die_under_load(&directory, how)?;

    let recording = ttlog_reader::find(directory.as_os_str())?;
    println!("It left:");
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let kib = entry.metadata()?.len() >> 10;
        println!("  {kib:>6} KiB  {}", entry.path().display());
    }
    read("postmortem", &[], &recording)?;
    read("view", &["-n", "10", "-p", "debug"], &recording)?;
    print_next_steps(&directory);
    check_verdict(&recording, how)
}

fn die_under_load(directory: &Path, how: How) -> Result<()> {
    let mut daemon = Daemon::start(directory)?;
    let pid = daemon.child.id();
    println!(
        "A daemon, pid {pid}, serves HTTP on 127.0.0.1:{}.",
        daemon.port
    );

    let load = Load::start(daemon.port)?;
    thread::sleep(LOAD);
    let status = daemon.dies(how)?;
    let answered = load.finish();

    let how = match status.signal() {
        Some(signal) => format!("died by signal {signal}"),
        None => format!("ended with {status}"),
    };
    println!(
        "It answered {answered} requests in {} s and {how}.",
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

    /// Ends it, and waits for the end.
    fn dies(&mut self, how: How) -> Result<ExitStatus> {
        match how {
            // It cannot catch, delay or notice it.
            How::Kill => self.child.kill()?,
            How::Term => {
                let pid = Pid::from_child(&self.child);
                kill_process(pid, Signal::TERM)?;
            }
            How::Panic | How::Abort | How::Segv | How::Overflow | How::Exit => {
                let how = how
                    .to_possible_value()
                    .map_or_else(String::new, |how| how.get_name().to_owned());
                load::ask_once(self.port, &format!("/die/{how}"));
            }
        }
        Ok(self.child.wait()?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    for command in ["view -p warn", "info", "postmortem -o json", "export"] {
        println!("  cargo run --release -p ttlog-reader -- {command} {directory}");
    }
    println!("  rm -r {directory}");
}

fn check_verdict(recording: &Path, how: How) -> Result<()> {
    let (kind, expected) = (ttlog_reader::open(recording)?.verdict.kind, how.verdict());
    if kind == expected {
        Ok(())
    } else {
        Err(format!("the verdict is {kind}, and not {expected}").into())
    }
}
