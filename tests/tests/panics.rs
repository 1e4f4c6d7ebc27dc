//! Panics that are caught: incidents, few snapshots, and a recording that goes on.

use ttlog_format::incident::Kind as Incident;
use ttlog_format::salvage::What as Happened;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::snapper::{all_whole, info, messages, snapshots};
use ttlog_tests::victim::{files, scratch};
use ttlog_tests::{Plan, Victim, What, check};

const PROGRAM: &str = env!("CARGO_BIN_EXE_snapper");

#[test]
fn a_storm_of_ten_thousand_panics_gets_few_snapshots_and_an_exact_account() {
    const PANICS: u64 = 10_000;
    for adapter in ADAPTERS {
        let plan = Plan::new(What::Wait)
            .adapter(adapter)
            .threads(4)
            .events(PANICS)
            .capacity_mib(10);
        let mut victim = Victim::start_act(PROGRAM, "storm", &plan);
        let mut number = |word: &str| -> u64 { victim.until(word).parse().expect("a number") };
        assert_eq!(number("hooked"), PANICS);
        assert_eq!(number("incidents"), PANICS);
        let (made, skipped) = (number("snapshots"), number("skipped"));
        assert!((1..=8).contains(&made), "{made}");
        assert_eq!(made + skipped, PANICS);
        assert_eq!(number("events"), 2 * PANICS + 1);
        assert!(victim.ends().success());
        assert_eq!(
            all_whole(PROGRAM, &snapshots(&victim)).map_err(|v| v.to_string()),
            Ok(made)
        );
        assert_eq!(files(&snapshots(&victim)).len() as u64, made);

        let opened = victim.recording();
        check::whole(&opened.recording)
            .and_then(|()| check::verdict(&opened, "ended"))
            .unwrap_or_else(|violation| panic!("{violation}"));
        let counts = opened.recording.ledger.counts;
        assert_eq!((counts.written, counts.overwritten), (2 * PANICS + 1, 0));
        assert_eq!(
            messages(&opened).last().map(String::as_str),
            Some("after the storm")
        );
        let ledger = info(PROGRAM, &victim.path())["ledger"].take();
        assert_eq!(ledger["incidents"], PANICS);
        assert_eq!(ledger["snapshots_skipped"], skipped);

        let incidents = &opened.recording.incidents;
        let numbers: Vec<_> = incidents.iter().map(|incident| incident.number).collect();
        let expected: Vec<_> = (0..4).chain(PANICS - 4..PANICS).collect();
        assert_eq!(numbers, expected);
        for incident in incidents {
            assert_eq!(incident.kind, Incident::Panic);
            assert!(incident.message.starts_with("panic "), "{incident:?}");
            assert!(incident.thread_name.starts_with("worker-"), "{incident:?}");
            assert!(incident.location.contains("snapper.rs:"), "{incident:?}");
        }
    }
}

#[test]
fn a_panic_is_an_incident_of_every_recorder_that_wants_it() {
    let homes = [(); 3].map(|()| scratch());
    let [told, homeless, deaf] = homes.each_ref().map(|home| {
        let builder = ttlog::builder().directory(home.path());
        builder.capacity_mib(1)
    });
    let snapshots = homes[1].path().join("snapshots");
    let recorders = [
        told,
        homeless.snapshot_directory(&snapshots),
        deaf.panic_hook(false),
    ];
    let recorders = recorders.map(|builder| builder.create().expect("a recorder"));
    let _ = std::fs::remove_dir(&snapshots);
    std::fs::write(&snapshots, "no directory").expect("a file");
    std::panic::catch_unwind(|| panic!("for all who want it")).unwrap_err();
    let stats = recorders.map(|recorder| recorder.stats());
    let told = stats.map(|stats| (stats.incidents, stats.snapshots));
    assert_eq!(told, [(1, 1), (1, 0), (0, 0)]);
}

#[test]
fn a_panic_in_display_costs_what_was_being_said_and_nothing_else() {
    for adapter in ADAPTERS {
        let mut victim =
            Victim::start_act(PROGRAM, "explode", &Plan::new(What::Wait).adapter(adapter));
        assert_eq!(victim.until("events"), "5");
        assert!(victim.ends().success());
        let opened = victim.recording();
        check::whole(&opened.recording)
            .and_then(|()| check::verdict(&opened, "ended"))
            .unwrap_or_else(|violation| panic!("{violation}"));
        let said = [
            "before",
            "after an event's",
            "after a span's",
            "after a later field's",
            "after all",
        ];
        assert_eq!(messages(&opened), said);
        for (number, entry) in opened
            .recording
            .entries
            .iter()
            .filter(|entry| entry.what == Happened::Event)
            .enumerate()
        {
            let spans = opened.recording.context(entry.span).len();
            assert_eq!(spans, usize::from(number < 4), "{adapter:?}: {entry:?}");
        }
        assert!(opened.recording.spans.values().all(|span| !span.open));
        let messages: Vec<_> = opened
            .recording
            .incidents
            .iter()
            .map(|i| i.message.as_str())
            .collect();
        assert_eq!(messages, ["panic while being shown"; 3]);
    }
}
