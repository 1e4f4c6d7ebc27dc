//! Dead after any one instruction: what a reader finds then is whole.
//!
//! As a test it steps a part of what there is, and all of it where
//! `TTLOG_TESTS_INSTRUCTIONS` asks for a million: two minutes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::ops::ControlFlow::{self, Break, Continue};
use std::path::Path;

use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::stepped::{Phase, SCENES, Scene};
use ttlog_tests::stepper::{self, Figures};
use ttlog_tests::{Adapter, Tally, build, tally};

const STEPPED: &str = env!("CARGO_BIN_EXE_stepped");

/// What is seen of a scene, `None` where nothing can be.
fn played(
    program: &Path,
    scene: Scene,
    adapter: Adapter,
    bug: Option<&str>,
    progress: &mut dyn FnMut(&Figures) -> ControlFlow<()>,
) -> Option<Vec<Figures>> {
    match stepper::play(program, scene, adapter, bug, progress) {
        Ok(seen) => Some(seen),
        Err(error) => {
            eprintln!("SKIPPED: ptrace is not permitted here: {error}");
            None
        }
    }
}

/// What a test has time for: of the own subscriber all but what starts once more and what
/// looks its frames up, of the Layer what is its own.
fn in_short(adapter: Adapter) -> &'static [Scene] {
    match adapter {
        Adapter::Layer => &[Scene::Story],
        Adapter::Own => &SCENES[..7],
    }
}

fn dies_after_every_instruction(adapter: Adapter) {
    let tally = Tally::of("instructions", 100_000);
    let is_long = tally.wanted() > 100_000;
    let scenes = if is_long {
        &SCENES[..]
    } else {
        in_short(adapter)
    };
    let (mut instructions, mut compared) = (0, 0);
    for &scene in scenes {
        let go_on = &mut |_: &Figures| Continue(());
        let Some(seen) = played(STEPPED.as_ref(), scene, adapter, None, go_on) else {
            return;
        };
        for figures in &seen {
            println!(
                "{adapter:?}: {scene:?}, {:?}: {} instructions, {} compared without need, \
                 {} states, {} events",
                figures.phase,
                figures.instructions,
                figures.compared,
                figures.states,
                figures.events
            );
            assert_eq!(
                (figures.violations, &figures.first),
                (0, &None),
                "{scene:?}"
            );
            assert!(figures.states > 0, "{figures:?}");
            instructions += figures.instructions;
            compared += figures.compared;
            tally.add(figures.instructions);
        }
    }
    let least = if is_long { 1_000_000 } else { 80_000 };
    assert!(instructions > least, "{instructions}");
    assert!(compared > least / 4096, "{compared} of {instructions}");
}

#[test]
fn dead_after_any_instruction_of_the_own_subscriber() {
    dies_after_every_instruction(ADAPTERS[0]);
}

#[test]
fn dead_after_any_instruction_of_the_layer() {
    dies_after_every_instruction(ADAPTERS[1]);
}

/// A recorder that takes one step of its protocol too early, or too late, is found out: by
/// what it has told falsely, and where.
#[test]
fn a_recorder_that_takes_a_step_at_the_wrong_time_is_found_out() {
    let bugs = [
        ("name-first", Scene::Start, Phase::Start, "NotARecording"),
        (
            "site-late",
            Scene::Story,
            Phase::First,
            "events without a call site",
        ),
        ("commit-first", Scene::Story, Phase::First, "torn events"),
        (
            "later-bare",
            Scene::Story,
            Phase::First,
            "are told in whole",
        ),
        ("id-first", Scene::Spans, Phase::Spans, "damaged_spans: 1"),
        (
            "header-first",
            Scene::Crowd,
            Phase::Begin,
            "the ledger is not exact",
        ),
        (
            "totals-late",
            Scene::Crowd,
            Phase::Switch,
            "events had returned",
        ),
    ];
    let program = build::seeded(STEPPED, "stepped");
    for ((bug, scene, phase, words), adapter) in bugs.into_iter().zip(ADAPTERS.into_iter().cycle())
    {
        let found = &mut |figures: &Figures| match figures.violations {
            0 => Continue(()),
            _ => Break(()),
        };
        let Some(seen) = played(&program, scene, adapter, Some(bug), found) else {
            return;
        };
        let last = seen.last().expect("something is stepped");
        let first = last.first.as_deref().unwrap_or("nothing");
        println!("{bug}: {:?}, {first}", last.phase);
        tally::found("instructions", format!("{bug}: {first}"));
        assert!(
            last.phase == phase && first.contains(words),
            "{bug}: {last:?}"
        );
    }
}
