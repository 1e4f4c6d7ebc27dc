//! Killed at random instants, by SIGKILL, nothing that was said is lost: hundreds of times,
//! or as often as `TTLOG_TESTS_KILLS` says, on a tmpfs and on ext4 in turn.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, statfs};
use ttlog_tests::plan::{ADAPTERS, CHURN_AT_ONCE};
use ttlog_tests::{Plan, Tally, Victim, Violation, What, build, check, tally};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const KILLS: u64 = 300;
const AT_A_TIME: u64 = 2;
const LONGEST_LIFE_US: u64 = 30_000;

/// Kills so many victims and reads what each left; the first violation.
fn kill_loop(
    program: &Path,
    plan: &Plan,
    kills: u64,
    killed: &(dyn Fn() + Sync),
) -> Result<(), Violation> {
    let disk = disk();
    let (next, found) = (AtomicU64::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let kill = next.fetch_add(1, Ordering::Relaxed);
                    if kill >= kills || found.lock().expect("no panic").is_some() {
                        return;
                    }
                    match one_kill(program, plan, kill, disk.as_deref()) {
                        Ok(()) => killed(),
                        Err(violation) => *found.lock().expect("no panic") = Some(violation),
                    }
                }
            });
        }
    });
    found.into_inner().expect("no panic").map_or(Ok(()), Err)
}

/// A directory on ext4, if this machine's cargo builds there.
fn disk() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(built).expect("cargo's directory");
    let kind = statfs(built).expect("statfs(2)").filesystem_type();
    if kind != EXT4_SUPER_MAGIC {
        eprintln!(
            "SKIPPED: {} is not on ext4, nobody is killed there",
            built.display()
        );
    }
    (kind == EXT4_SUPER_MAGIC).then(|| built.to_owned())
}

fn one_kill(program: &Path, plan: &Plan, kill: u64, disk: Option<&Path>) -> Result<(), Violation> {
    let random = RandomState::new().hash_one(kill);
    let threads = 1 + kill / 2 % 4;
    let adapter = ADAPTERS[(kill / 8 % 2) as usize];
    let life = Duration::from_micros(random % LONGEST_LIFE_US);
    let mut plan = plan.clone().adapter(adapter).threads(threads);
    let on_disk = disk.filter(|_| kill / 16 % 2 == 1);
    let home = on_disk.map(|disk| tempfile::tempdir_in(disk).expect("a directory"));
    if let Some(home) = &home {
        plan = plan.directory(home.path().join("recordings"));
    }
    let mut victim = Victim::start(program, &plan);
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
            "kill {kill}, {adapter:?}, {threads} threads, {life:?}, disk: {}: {violation}",
            on_disk.is_some()
        ))
    })
}

#[test]
fn killed_at_any_instant_nothing_that_was_said_is_lost_torn_or_invented() {
    let kills = Tally::of("kills", KILLS);
    let plan = Plan::new(What::Tell);
    let told = kill_loop(Path::new(VICTIM), &plan, kills.wanted(), &|| kills.add(1));
    told.unwrap_or_else(|violation| panic!("{violation}"));
    kills.note(match disk() {
        Some(_) => "on tmpfs and on ext4, 1 to 4 threads",
        None => "on tmpfs, 1 to 4 threads",
    });
}

/// A recorder that commits before it has written must not get past the loop.
#[test]
fn the_loop_finds_a_recorder_that_commits_too_early() {
    let plan = Plan::new(What::Tell).env(build::BUG, "commit-first");
    let seeded = build::seeded(VICTIM, "victim");
    let violation = kill_loop(&seeded, &plan, KILLS, &|| {}).expect_err("nothing was found");
    assert!(violation.to_string().contains("torn"), "{violation}");
    tally::found("kills", violation);
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
