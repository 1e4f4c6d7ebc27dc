//! The program that says one thing and dies: see `ttlog_tests::mayfly`.
//!
//! It prints its recording's path, and then what its death has to tell.

use std::io::Read;
use std::path::Path;

use nix::libc;
use nix::sys::signal::{Signal, raise};
use nix::unistd::pause;
use ttlog_tests::mayfly::Fate;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [fate, number, home, retain @ ..] = args.as_slice() else {
        panic!("a fate, a number, a directory, and how much to retain: {args:?}")
    };
    let fate = Fate::from_name(fate).expect("a fate");
    let number: u64 = number.parse().expect("a number");
    if fate == Fate::AtOnce {
        wait();
    }
    let home = Path::new(home);
    let mut builder = ttlog::builder()
        .name("mayfly")
        .directory(home.join("recordings"))
        .snapshot_directory(home.join("snapshots"))
        .capacity_mib(1)
        .span_slots(64);
    if let [count, bytes] = retain {
        let number = |text: &String| text.parse::<u64>().expect("a number");
        builder = builder.retain(number(count) as usize, number(bytes));
    }
    let recorder = builder.init().expect("a recorder");
    tracing::info!(number, "here");
    println!("{}", recorder.path().display());
    match fate {
        Fate::Killed => {}
        Fate::Aborts => std::process::abort(),
        Fate::Panics => panic!("panic {number}"),
        Fate::Exits => return,
        Fate::Forks => fork(),
        Fate::Waits | Fate::AtOnce => wait_for_the_end(),
        Fate::Closes => {
            // SAFETY: no descriptor is used afterwards that was open before, but for
            // those that stay open.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
            assert_eq!(closed, 0);
            println!("closed");
            wait_for_the_end();
        }
    }
    raise(Signal::SIGKILL).expect("the end");
}

/// Waits for a byte.
fn wait() {
    let mut byte = [0];
    std::io::stdin().read_exact(&mut byte).expect("a byte");
}

/// Waits until nobody can say anything any more.
fn wait_for_the_end() {
    let end = std::io::stdin().read_to_end(&mut Vec::new());
    end.expect("the end of input");
}

/// Forks a child that does nothing.
fn fork() {
    // SAFETY: the process has one thread.
    match unsafe { libc::fork() } {
        0 => loop {
            pause();
        },
        child => println!("{child}"),
    }
}
