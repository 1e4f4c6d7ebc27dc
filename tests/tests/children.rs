//! What becomes of forked children: how they end, where they can have no recording, and
//! in the middle of what they began.

use ttlog_reader::Kind;
use ttlog_tests::confined::is_root;
use ttlog_tests::plan::ADAPTERS;
use ttlog_tests::played::{Child, messages};
use ttlog_tests::victim::files;
use ttlog_tests::{Plan, Played, What};

const CHILDREN: &str = env!("CARGO_BIN_EXE_children");

fn plan() -> Plan {
    Plan::new(What::Wait).capacity_mib(1)
}

#[track_caller]
fn played(act: &str, plan: &Plan) -> (Played, Vec<Child>) {
    Played::with_children(CHILDREN, act, plan)
}

#[test]
fn every_end_of_a_child_is_told_in_its_own_recording_and_not_in_its_parents() {
    let ends = [
        ("exited 101", Kind::Panicked, None),
        ("SIGSEGV", Kind::Signal, Some(nix::libc::SIGSEGV)),
        ("SIGABRT", Kind::Signal, Some(nix::libc::SIGABRT)),
        ("exited 3", Kind::Ended, None),
        ("exited 1", Kind::Killed, None),
        ("SIGKILL", Kind::Killed, None),
    ];
    for adapter in ADAPTERS {
        let (played, children) = played("die", &plan().adapter(adapter));
        let parent = played.recording();
        assert_eq!(messages(parent), ["before", "after"]);
        assert_eq!((parent.incidents.len(), parent.causes.len()), (0, 1));
        let expected = ends.iter().flat_map(|end| [end, end]);
        for (child, (end, kind, signal)) in children.iter().zip(expected) {
            assert_eq!(child.end, *end);
            let Some(own) = &child.opened else {
                assert_eq!(child.said, 0, "{end}");
                continue;
            };
            let verdict = (own.verdict.kind, own.verdict.signal);
            assert_eq!(verdict, (*kind, *signal), "{:?}", own.verdict);
            let panics = usize::from(*kind == Kind::Panicked);
            assert_eq!(own.recording.incidents.len(), panics);
            let own = messages(&own.recording);
            assert_eq!(own.len() as u64, child.said);
        }
        // Who had not said a word has a recording if there is an incident for it.
        let has_one = children.iter().map(|child| child.opened.is_some());
        let expected = (0..12).map(|child| child < 2 || child % 2 == 0);
        assert!(has_one.eq(expected), "{children:?}");
        let snapshots = played.opened.path.parent().expect("a directory");
        let snapshots = files(&snapshots.with_file_name("snapshots"));
        let of = snapshots.iter().map(|path| {
            let recording = ttlog_reader::open(path).expect("a snapshot").recording;
            (recording.header.forked_from, recording.incidents.len())
        });
        assert!(of.eq([(played.pid(), 1); 2]), "{snapshots:?}");
    }
}

#[test]
fn a_child_without_room_or_descriptors_has_no_recording_and_counts() {
    for adapter in ADAPTERS {
        let (played, children) = played("nowhere", &plan().adapter(adapter));
        assert_eq!(messages(played.recording()), ["before", "after"]);
        assert_eq!(children.len(), 2);
        for child in children {
            assert!(child.opened.is_none());
            assert_eq!(child.end, "exited 0");
        }
    }
}

#[test]
fn a_child_that_is_somebody_else_or_sees_no_directory_counts_and_leaves_nothing_there() {
    if !is_root() {
        return;
    }
    for adapter in ADAPTERS {
        let (played, children) = played("nowhere-else", &plan().adapter(adapter));
        assert_eq!(messages(played.recording()), ["before", "after"]);
        assert_eq!(children.len(), 2);
        assert!(children.iter().all(|child| child.end == "exited 0"));
        assert!(children[0].opened.is_none(), "it may not");
        assert_eq!(played.number("left"), 0, "in the other's root");
    }
}

#[track_caller]
fn first_words_in_malloc(act: &str) {
    for adapter in ADAPTERS {
        let (_, children) = played(act, &plan().adapter(adapter).events(50));
        assert_eq!(children.len(), 50);
        for child in children {
            assert_eq!(child.end, "exited 0", "{adapter:?}");
            let recording = &child.opened.as_ref().expect("a recording").recording;
            assert_eq!(
                messages(recording).last().map(String::as_str),
                Some("out of the handler")
            );
        }
    }
}

#[test]
fn a_childs_first_words_in_a_handler_in_the_middle_of_malloc_are_counted() {
    first_words_in_malloc("in-malloc");
}

/// As daemons do that wait for signals: it tells nothing that the signal is blocked.
#[test]
fn so_they_are_where_the_signal_was_blocked_around_the_fork() {
    first_words_in_malloc("in-malloc-blocked");
}

/// Nor does it that it is not, where its handler wants it so.
#[test]
fn so_they_are_where_the_signal_is_not_blocked_in_its_handler() {
    first_words_in_malloc("in-malloc-unblocked");
}

#[test]
fn threads_of_a_child_that_all_begin_at_once_are_recorded_or_counted() {
    for adapter in ADAPTERS {
        let (played, children) = played("threads", &plan().adapter(adapter).events(20));
        assert_eq!(messages(played.recording()), ["before", "after"]);
        for child in children {
            assert_eq!((child.end.as_str(), child.said), ("exited 0", 801));
            assert!(child.opened.is_some());
        }
    }
}

#[test]
fn who_divides_while_something_is_shown_says_it_in_both_halves() {
    for adapter in ADAPTERS {
        let (played, children) = played("shown", &plan().adapter(adapter));
        assert_eq!(messages(played.recording()), ["while shown", "in the span"]);
        let own = children.iter().map(|child| {
            let own = child.opened.as_ref().expect("a recording of its own");
            messages(&own.recording)
        });
        assert_eq!(own.collect::<Vec<_>>(), [["while shown"], ["in the span"]]);
    }
}

#[test]
fn who_divides_in_a_handler_in_the_middle_of_a_record_leaves_it_to_the_parent() {
    for adapter in ADAPTERS {
        let (played, children) = played("handler", &plan().adapter(adapter));
        let told = played.told_without_a_gap(1, None);
        told.unwrap_or_else(|violation| panic!("{adapter:?}: {violation}"));
        assert_eq!(children.len(), 200);
        for child in &children {
            assert_eq!(child.end, "exited 0");
            let own = child.opened.as_ref().expect("a recording of its own");
            assert_eq!(own.recording.ledger.counts.dropped, 0);
        }
        let interrupted = children.iter().filter(|child| child.said == 9).count();
        assert!(interrupted > 0, "no signal came within a record");
        eprintln!("{adapter:?}: {interrupted} of 200 came within a record");
    }
}

/// The child goes on with the record that the handler interrupted, where nothing is
/// mapped: it must not commit it over what its parent has committed since.
#[test]
fn who_does_so_by_a_bare_clone_leaves_it_to_the_parent_too() {
    let (played, children) = played("handler-clone", &plan());
    let told = played.told_without_a_gap(1, None);
    told.unwrap_or_else(|violation| panic!("{violation}"));
    assert!(children.iter().all(|child| child.opened.is_none()));
}

#[test]
fn what_the_hosts_own_functions_at_a_fork_say_does_no_harm() {
    for adapter in ADAPTERS {
        let (played, children) = played("hooks", &plan().adapter(adapter));
        let said = messages(played.recording());
        let half = ["in the parent's half"; 2];
        assert_eq!(said, [["about to divide"; 2], half].concat());
        let own = children[0].opened.as_ref().expect("a recording of its own");
        assert_eq!(
            messages(&own.recording),
            ["in the child's half", "in a child"]
        );
        assert_eq!(children[0].end, "exited 0");
    }
}

/// It is the same memory, and the thread that would write there stands still.
#[test]
fn a_child_that_shares_its_parents_memory_speaks_in_its_parents_place() {
    for adapter in ADAPTERS {
        let (played, children) = played("shares", &plan().adapter(adapter));
        assert_eq!((children.len(), played.dropped()), (0, 0));
        let words = [["in a child that shares", "after"]; 100].concat();
        assert_eq!(messages(played.recording()), words);
    }
}
