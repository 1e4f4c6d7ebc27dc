//! Killed at three hundred random instants, by SIGKILL, nothing that was said is lost.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use ttlog_tests::plan::{ADAPTERS, CHURN_AT_ONCE};
use ttlog_tests::{Plan, Victim, Violation, What, build, check};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const KILLS: u64 = 300;
const AT_A_TIME: u64 = 2;
const LONGEST_LIFE_US: u64 = 30_000;

/// Kills so many victims and reads what each left; the first violation.
fn kill_loop(program: &Path) -> Result<(), Violation> {
    let found = Mutex::new(None);
    std::thread::scope(|scope| {
        for lane in 0..AT_A_TIME {
            let found = &found;
            scope.spawn(move || {
                for kill in (lane..KILLS).step_by(AT_A_TIME as usize) {
                    if found.lock().expect("no panic").is_some() {
                        return;
                    }
                    if let Err(violation) = one_kill(program, kill) {
                        *found.lock().expect("no panic") = Some(violation);
                    }
                }
            });
        }
    });
    found.into_inner().expect("no panic").map_or(Ok(()), Err)
}

fn one_kill(program: &Path, kill: u64) -> Result<(), Violation> {
    let random = RandomState::new().hash_one(kill);
    let threads = 1 + kill / 2 % 4;
    let adapter = ADAPTERS[(kill / 8 % 2) as usize];
    let life = Duration::from_micros(random % LONGEST_LIFE_US);
    let mut victim = Victim::start(
        program,
        &Plan::new(What::Tell).adapter(adapter).threads(threads),
    );
    victim.until("began");
    victim.after(life).dies_by(SIGKILL);

    let opened = victim.recording();
    let told = check::story(&opened.recording, &victim.acks(), threads)
        .and_then(|()| check::verdict(&opened, "killed"));
    told.map_err(|violation| {
        if let Some(kept) = std::env::var_os("TTLOG_TESTS_KEEP") {
            let _ = std::fs::copy(&opened.path, kept);
        }
        Violation::new(format!(
            "kill {kill}, {adapter:?}, {threads} threads, {life:?}: {violation}"
        ))
    })
}

#[test]
fn killed_at_any_instant_nothing_that_was_said_is_lost_torn_or_invented() {
    if let Err(violation) = kill_loop(Path::new(VICTIM)) {
        panic!("{violation}");
    }
}

/// A recorder that commits before it has written must not get past the loop.
#[test]
fn the_loop_finds_a_recorder_that_commits_too_early() {
    match kill_loop(&build::seeded(VICTIM, "victim")) {
        Ok(()) => panic!("{KILLS} kills, and nothing was found"),
        Err(violation) => {
            assert!(
                violation.to_string().contains("torn"),
                "found something else: {violation}"
            );
        }
    }
}

/// What threads that are gone have said is counted too, at whatever instant one
/// of them ends, or the last block of one is taken for another.
#[test]
fn killed_while_threads_come_and_go_the_account_is_exact() {
    const CHURN_KILLS: u64 = 100;
    let mut with_threads_gone = 0;
    for kill in 0..CHURN_KILLS {
        let life = Duration::from_micros(RandomState::new().hash_one(kill) % 60_000);
        let plan = Plan::new(What::Churn).adapter(ADAPTERS[(kill % 2) as usize]);
        let plan = plan
            .threads(1 << 40)
            .events(1 + kill % 5 * 50)
            .capacity_mib(1);
        let mut victim = Victim::start(VICTIM, &plan);
        victim.until("began");
        victim.after(life).dies_by(SIGKILL);

        let opened = victim.recording();
        let told = check::whole(&opened.recording).and_then(|()| check::verdict(&opened, "killed"));
        told.unwrap_or_else(|violation| panic!("kill {kill}: {violation}"));
        let (acked, counts) = (victim.acks()[0], opened.recording.ledger.counts);
        let possible = acked..=acked + CHURN_AT_ONCE;
        assert!(
            possible.contains(&counts.written),
            "kill {kill}: {acked} events had returned: {counts:?}"
        );
        let threads = opened.recording.threads.iter();
        let known: u64 = threads.map(|thread| thread.counts.written).sum();
        with_threads_gone += u64::from(known < counts.written);
    }
    assert!(with_threads_gone > CHURN_KILLS / 4, "{with_threads_gone}");
}
