//! A daemon: it asks for what its arguments say, tells that it is ready, and obeys
//! what it reads, a word a line, until there is nothing more to read.
//!
//! The first argument is the directory for what it leaves behind. `terminate=15` and
//! `snapshot=10` are signals that it asks for, `fatal=no` is no handler of the fatal
//! ones, and `without` is no recorder at all.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use tracing::info;
use ttlog::Recorder;
use ttlog_tests::daemon::{RECORDINGS, SNAPSHOTS};

/// More than a memory cgroup of a test permits.
const MUCH_MIB: usize = 512;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (home, asked) = args.split_first().expect("a directory");
    let _recorder = match start(Path::new(home), asked) {
        Ok(recorder) => recorder,
        Err(error) => {
            println!("error {error}");
            return ExitCode::SUCCESS;
        }
    };
    info!("ready");
    println!("ready {}", std::process::id());
    obey();
    ExitCode::SUCCESS
}

fn start(home: &Path, asked: &[String]) -> Result<Option<Recorder>, ttlog::Error> {
    let mut builder = ttlog::builder()
        .name("daemon")
        .directory(home.join(RECORDINGS))
        .snapshot_directory(home.join(SNAPSHOTS))
        .capacity_mib(2);
    for word in asked {
        let number = |digits: &str| digits.parse().expect("a signal's number");
        builder = match word.split_once('=') {
            Some(("terminate", signal)) => builder.terminate_on(number(signal)),
            Some(("snapshot", signal)) => builder.snapshot_on(number(signal)),
            Some(("fatal", "no")) => builder.fatal_signals(false),
            None if word == "without" => return Ok(None),
            _ => panic!("nothing to ask for: {word:?}"),
        };
    }
    builder.init().map(Some)
}

/// Whoever started this process closes its end of the pipe, or dies: then it ends.
fn obey() {
    let mut line = String::new();
    while io::stdin().read_line(&mut line).expect("a word") > 0 {
        match line.trim_end() {
            "say" => say(),
            "fork" => fork(by_fork),
            "clone" => fork(by_clone),
            "reap" => reap(),
            "leave" => leave(),
            "allocate" => allocate(),
            "close" => close(),
            "execute" => execute(),
            other => panic!("nothing to obey: {other:?}"),
        }
        line.clear();
    }
}

/// How many files are opened in the place of what was closed.
const FILES: usize = 20;

/// Closes every descriptor but the first three, as daemons do, and opens files.
fn close() {
    // SAFETY: nothing of this program uses the descriptors, and the recorder's must not
    // be relied on: that is what is tested.
    let closed = unsafe { libc::close_range(3, u32::MAX, 0) };
    assert_eq!(closed, 0);
    for number in 0..FILES {
        let file = std::fs::File::create(format!("own-{number}")).expect("a file");
        // Open to the end.
        std::mem::forget(file);
    }
    println!("closed");
}

/// Becomes another program, which lives as long.
fn execute() {
    use std::os::unix::process::CommandExt;
    let error = std::process::Command::new("sh")
        .args(["-c", "echo executed; exec cat"])
        .exec();
    panic!("{error}");
}

fn say() {
    info!("still here");
    println!("said");
}

/// As fork(3) does it.
fn by_fork() -> i64 {
    // SAFETY: the child touches no lock that another thread could hold: it waits.
    i64::from(unsafe { libc::fork() })
}

/// As the kernel does it, without what the C library runs before and after.
fn by_clone() -> i64 {
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) }
}

/// Forks a child that does nothing, for as long as there is something to read.
fn fork(fork: fn() -> i64) {
    match fork() {
        0 => wait_for_the_end(),
        -1 => panic!("no child: {}", io::Error::last_os_error()),
        child => println!("child {child}"),
    }
}

fn wait_for_the_end() -> ! {
    let stdin = io::stdin();
    // Without events, the other end being closed is all that is waited for.
    let mut ends = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
    let ended = loop {
        match poll(&mut ends, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            ended => break ended,
        }
    };
    // SAFETY: it ends the process, and calls nothing of it.
    unsafe { libc::_exit(if ended.is_ok() { 0 } else { 1 }) }
}

/// Waits for the child, and tells how it ended.
fn reap() {
    let any = Pid::from_raw(-1);
    let status = nix::sys::wait::waitpid(any, None).expect("a child");
    println!("reaped {status:?}");
}

/// Ends the main thread as pthread_exit(3) does at last, and obeys on another.
fn leave() {
    std::thread::Builder::new()
        .name("heir".to_owned())
        .spawn(|| {
            obey();
            std::process::exit(0);
        })
        .expect("a thread");
    println!("left");
    // SAFETY: it ends this thread alone, which holds nothing that others wait for.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Takes memory, and writes to all of it, until the kernel has had enough.
fn allocate() {
    let taken: Vec<Vec<u8>> = (0..MUCH_MIB).map(|_| vec![1; 1 << 20]).collect();
    println!("took {} MiB", taken.len());
}
