//! How far back a recording reaches, and which filter would let it reach further.

use ttlog_format::salvage::Recording;
use ttlog_format::site::Level;
use ttlog_format::snapshot::Made;

use crate::escape::is_hazard;

use super::tally::{Place, Tallies, Tally};

/// How far back it reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reach {
    /// From here on nothing of it is overwritten.
    pub(super) from_ns: u64,
    pub(super) end_ns: u64,
    /// What keeps it from reaching further.
    pub(super) limit: Limit,
}

/// What keeps a recording from reaching further back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    /// Its own beginning: nothing is overwritten.
    Beginning,
    /// The ring's size.
    Ring,
    /// The window of a snapshot.
    Window,
}

impl Reach {
    /// That of a recording of which all has been told, or which says so itself.
    ///
    /// A quiet thread's last words may be hours old: they count, but between them and what
    /// the others have left, events are missing. So it reaches back to where the last of
    /// the threads begins of which something is overwritten.
    pub(super) fn of(recording: &Recording, made: Option<&Made>) -> Reach {
        let end_ns = recording.end_ns;
        let threads = || recording.threads.iter();
        let firsts = threads().filter_map(|thread| thread.covered_ns);
        let first_ns = firsts.map(|(first, _)| first).min().unwrap_or(end_ns);
        let begins = |cut: bool| {
            let cut = threads().filter(move |thread| (thread.counts.overwritten > 0) == cut);
            cut.filter(|thread| thread.ended || thread.counts.overwritten > 0)
                .filter_map(|thread| thread.covered_ns)
                .map(|(first, _)| first)
        };
        let of_known: u64 = threads()
            .map(|thread| thread.counts.overwritten)
            .fold(0, u64::saturating_add);
        let overwritten = recording.ledger.counts.overwritten;
        // Of threads that are gone, the blocks that were given up first were taken first.
        let gone = begins(false).min().filter(|_| overwritten > of_known);
        let from_ns = begins(true).max().max(gone).unwrap_or(first_ns);
        let window = made.and_then(|made| made.window_ns);
        let window = window.filter(|_| recording.ledger.before_window > 0);
        let (from_ns, limit) = match window {
            Some(window_ns) => (from_ns.max(end_ns.saturating_sub(window_ns)), Limit::Window),
            None if overwritten > 0 => (from_ns, Limit::Ring),
            None => (first_ns, Limit::Beginning),
        };
        Reach {
            from_ns: from_ns.min(end_ns),
            end_ns,
            limit,
        }
    }

    /// What of it lies between two moments.
    pub(super) fn between(self, (since_ns, until_ns): (u64, u64)) -> Reach {
        Reach {
            from_ns: self.from_ns.max(since_ns),
            end_ns: self.end_ns.min(until_ns),
            ..self
        }
    }

    /// Whether a moment lies in the time that is complete.
    pub(super) fn is_complete_at(&self, wall_ns: u64) -> bool {
        (self.from_ns..=self.end_ns).contains(&wall_ns)
    }

    /// How much time is complete.
    pub(super) fn complete_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.from_ns)
    }

    /// Of so many, how many a second; `None` where no time is.
    pub(super) fn rate(&self, count: u64) -> Option<f64> {
        let complete_ns = self.complete_ns();
        (complete_ns > 0).then(|| count as f64 * 1e9 / complete_ns as f64)
    }
}

/// A filter that would let the ring reach further back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Advice<'t> {
    /// The target of which less would be recorded.
    pub(super) target: &'t str,
    /// The most that would still be.
    pub(super) level: &'static str,
    /// What would not be recorded.
    pub(super) silenced: Tally,
    /// What of all bytes that is, in the time that is complete.
    pub(super) share: f64,
    /// How far back the ring would reach, about; `None`: more than [`FAR`] times as far.
    pub(super) reach_ns: Option<u64>,
    /// The filter in force, with the directive, where the two go together.
    pub(super) filter: Option<String>,
}

/// From what share on something is worth a filter: a fifth.
const GOOD_PART: u64 = 5;

/// How many times as far is not worth a number: little is left to say what it would be.
pub(super) const FAR: u64 = 100;

/// The most bytes of a filter in the header: one that is longer is cut there.
const FILTER_MAX: usize = 1_000;

impl<'t> Advice<'t> {
    /// Advice on a recording of which everything was counted, if there is any: what takes
    /// most is silenced, one level below its own.
    pub(super) fn on(tallies: &'t Tallies, reach: &Reach, filter: &str) -> Option<Advice<'t>> {
        if reach.limit != Limit::Ring {
            return None;
        }
        let (target, loud) = loudest(tallies)?;
        let level = below(loud);
        let is_silenced = |place: &Place| {
            let is_loud = place.level.is_some_and(|level| level >= loud);
            is_loud && place.target.starts_with(target) && !is_set_apart(filter, target, place)
        };
        let silenced = tallies.by(is_silenced).remove(&true).unwrap_or_default();
        let whole = tallies.whole.complete.bytes;
        let left = whole.saturating_sub(silenced.complete.bytes).max(1);
        let reach_ns = u128::from(reach.complete_ns()) * u128::from(whole) / u128::from(left);
        let is_far = left.saturating_mul(FAR) < whole;
        Some(Advice {
            target,
            level,
            silenced,
            share: silenced.complete.bytes as f64 / whole.max(1) as f64,
            reach_ns: u64::try_from(reach_ns).ok().filter(|_| !is_far),
            filter: with_directive(filter, target, level),
        })
    }

    /// `hyper::proto=info`
    pub(super) fn directive(&self) -> String {
        format!("{}={}", self.target, self.level)
    }
}

/// The target and level of what takes a good part: a place, else a target as a whole.
fn loudest(tallies: &Tallies) -> Option<(&str, Level)> {
    let whole = tallies.whole.complete.bytes;
    let is_good_part = |bytes: u64| bytes > 0 && bytes.saturating_mul(GOOD_PART) >= whole;
    let known = || {
        tallies
            .places
            .iter()
            .filter(|at| is_target(&at.place.target))
    };
    let most = known().max_by_key(|at| (at.tally.complete.bytes, std::cmp::Reverse(&at.place)))?;
    if is_good_part(most.tally.complete.bytes)
        && let Some(level) = most.place.level
    {
        return Some((&most.place.target, level));
    }
    let by_target = tallies.by(|place| place.target.as_str());
    let targets = by_target
        .into_iter()
        .filter(|(target, _)| is_target(target));
    let (target, _) =
        targets.max_by_key(|&(target, tally)| (tally.complete.bytes, std::cmp::Reverse(target)))?;
    // As little of it as is a good part: what is most verbose first.
    let levels = (1..=5).rev().filter_map(Level::from_u8);
    let mut bytes = 0;
    for level in levels {
        let here = known().filter(|at| at.place.target == target && at.place.level == Some(level));
        bytes += here.map(|at| at.tally.complete.bytes).sum::<u64>();
        if is_good_part(bytes) {
            return Some((target, level));
        }
    }
    None
}

/// What a filter lets through that keeps this level out.
fn below(level: Level) -> &'static str {
    match level {
        Level::Error => "off",
        Level::Warn => "error",
        Level::Info => "warn",
        Level::Debug => "info",
        Level::Trace => "debug",
    }
}

/// Whether a target can stand in a filter: no comma or bracket, which mean something
/// there, and nothing that would have to be escaped.
fn is_target(target: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '.' | '/');
    !target.is_empty() && target.chars().all(is_plain)
}

/// The targets of a filter's directives: of `info` none, of `hyper=warn` that.
fn target_of(directive: &str) -> &str {
    let end = directive.find(['=', '[']).unwrap_or(directive.len());
    let target = directive[..end].trim();
    let is_level = matches!(
        target.to_ascii_lowercase().as_str(),
        "off" | "error" | "warn" | "info" | "debug" | "trace"
    );
    let is_number = target.parse::<u8>().is_ok();
    match (is_level || is_number) && end == directive.len() {
        true => "",
        false => target,
    }
}

/// Whether the filter in force has a directive that says more exactly than `target` what
/// is recorded at a place: that would go on to hold.
fn is_set_apart(filter: &str, target: &str, place: &Place) -> bool {
    filter
        .split(',')
        .map(target_of)
        .any(|exact| exact.len() > target.len() && place.target.starts_with(exact))
}

/// The filter in force with a directive more, in the place of the one for that target;
/// `None` where that filter is not whole, or nothing to be pasted.
fn with_directive(filter: &str, target: &str, level: &str) -> Option<String> {
    if filter.is_empty() || filter.len() >= FILTER_MAX || filter.chars().any(is_hazard) {
        return None;
    }
    let others = filter
        .split(',')
        .filter(|directive| target_of(directive) != target && !directive.trim().is_empty());
    let own = format!("{target}={level}");
    let directives: Vec<&str> = others.chain([own.as_str()]).collect();
    Some(directives.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, at};
    use ttlog_format::salvage::{Counts, Entry, Room, Thread};

    fn thread(first: u64, last: u64, overwritten: u64, ended: bool) -> Thread {
        Thread {
            covered_ns: Some((at(first), at(last))),
            counts: Counts {
                overwritten,
                ..Counts::default()
            },
            ended,
            ..Thread::default()
        }
    }

    fn reach(threads: &[Thread], overwritten: u64) -> Reach {
        let mut recording = fixture::recording();
        recording.threads = threads.to_vec();
        recording.ledger.counts.overwritten = overwritten;
        recording.end_ns = at(100);
        Reach::of(&recording, None)
    }

    #[test]
    fn it_reaches_back_to_where_nothing_is_overwritten_any_more() {
        let quiet = thread(0, 1, 0, false);
        let noisy = thread(60, 100, 9, false);
        let found = reach(&[quiet.clone(), noisy, thread(50, 99, 9, false)], 18);
        assert_eq!((found.from_ns, found.limit), (at(60), Limit::Ring));
        let found = reach(&[quiet.clone(), thread(7, 100, 0, false)], 0);
        assert_eq!((found.from_ns, found.limit), (at(0), Limit::Beginning));
        // Threads that came and went, of which only the last are left.
        let gone = [thread(80, 81, 0, true), thread(90, 91, 0, true)];
        let found = reach(&[&[quiet], &gone[..]].concat(), 5);
        assert_eq!((found.from_ns, found.limit), (at(80), Limit::Ring));
        assert_eq!(reach(&[], 5).complete_ns(), 0);
    }

    #[test]
    fn a_snapshot_reaches_as_far_as_its_window() {
        let mut recording = fixture::recording();
        recording.ledger.before_window = 1;
        let made = Made {
            window_ns: Some(2_000_000),
            ..Made::default()
        };
        let found = Reach::of(&recording, Some(&made));
        assert_eq!((found.from_ns, found.limit), (at(3), Limit::Window));
    }

    /// So many bytes of each of the fixture's call sites.
    fn tallies(bytes: &[(u64, u32)]) -> Tallies {
        let recording = fixture::recording();
        let mut tallies = Tallies::new();
        for &(site, record) in bytes {
            let entry = Entry {
                site,
                ..Entry::default()
            };
            let room = Room { record, spans: 0 };
            tallies.add(&recording, &entry, Some(room), true);
        }
        tallies
    }

    const RING: Reach = Reach {
        from_ns: 0,
        end_ns: 1_000,
        limit: Limit::Ring,
    };

    #[test]
    fn what_takes_most_is_silenced_and_what_is_as_verbose_beside_it() {
        // An INFO event, a DEBUG span beside it, an ERROR, and one of unknown place.
        let tallies = tallies(&[(3, 500), (2, 100), (4, 200), (0xdead, 200)]);
        let advice = Advice::on(&tallies, &RING, "debug").unwrap();
        assert_eq!(advice.directive(), "app::auth=warn");
        assert_eq!(advice.filter.as_deref(), Some("debug,app::auth=warn"));
        assert_eq!(advice.silenced.all.bytes, 600);
        assert_eq!(advice.reach_ns, Some(2_500));
        let nearly_all = self::tallies(&[(3, 1_000_000), (0xdead, 9)]);
        let advice = Advice::on(&nearly_all, &RING, "debug").unwrap();
        assert_eq!(advice.reach_ns, None);
        let whole = Reach {
            limit: Limit::Beginning,
            ..RING
        };
        assert_eq!(Advice::on(&tallies, &whole, "debug"), None);
    }

    #[test]
    fn where_no_place_takes_a_good_part_a_target_may_and_else_nothing_is_to_be_gained() {
        let all = Advice::on;
        let several = tallies(&[(3, 150), (2, 120), (4, 180), (0xdead, 700)]);
        let advice = all(&several, &RING, "debug").unwrap();
        assert_eq!((advice.level, advice.silenced.all.bytes), ("warn", 270));
        let little = tallies(&[(3, 100), (0xdead, 700)]);
        assert_eq!(all(&little, &RING, "debug"), None);
        assert_eq!(all(&Tallies::new(), &RING, "debug"), None);
    }

    #[test]
    fn a_directive_takes_the_place_of_the_one_for_that_target() {
        let with = |filter: &str| with_directive(filter, "app::auth", "warn");
        let replaced = with("info, app::auth=trace,app=debug").unwrap();
        assert_eq!(replaced, "info,app=debug,app::auth=warn");
        assert_eq!(with("app::auth").unwrap(), "app::auth=warn");
        assert_eq!(with(""), None);
        assert_eq!(with("a\u{1b}[2J"), None);
        assert_eq!(with(&"a,".repeat(600)), None);
    }

    #[test]
    fn what_a_more_exact_directive_lets_through_is_not_silenced() {
        let tallies = tallies(&[(3, 500)]);
        let mut place = tallies.places[0].place.clone();
        place.target = "app::auth::token".into();
        assert!(is_set_apart(
            "info,app::auth::token=debug",
            "app::auth",
            &place
        ));
        assert!(!is_set_apart("info,app=debug", "app::auth", &place));
        assert!(!is_set_apart("trace,app::auth=debug", "app::auth", &place));
    }

    #[test]
    fn what_no_directive_can_name_is_no_target() {
        assert!(!is_target("a;b") && !is_target("") && !is_target("a b"));
    }
}
