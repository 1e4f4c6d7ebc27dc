//! Which entries are wanted: the same flags for every command that goes through them.
//!
//! ```text
//! $ ttlog-reader view -p warn 4711                       warnings and errors
//! $ ttlog-reader view --field id=7 4711                  everything about request 7
//! $ ttlog-reader view --field 'elapsed_ms>100' 4711      what took long
//! $ ttlog-reader view --thread worker-1 --since -100ms 4711
//! $ ttlog-reader view --span query -g 'no such (row|table)' 4711
//! ```
//!
//! Flags of different kinds must all hold. Of `--target`, `--thread` and `--span`, given
//! several times, one must; every `--field` must.
//!
//! An entry whose level or target is not known passes those two: it may be what was asked
//! for. What nothing is known of has no message, field or span to be found by.

mod asked;
mod condition;
mod moment;
mod pattern;
mod words;

use std::borrow::Cow;
use std::collections::BTreeSet;

use clap::ValueEnum;
use jiff::tz::TimeZone;
use ttlog_format::salvage::{Entry, Recording, Thread, What};
use ttlog_format::site::{CallSite, Level};

use crate::error::Error;
use crate::escape::{self, escape};
use crate::shown::name_of;
use crate::text::push_fields;

pub use asked::Asked;
use condition::Condition;
use moment::Moment;
use pattern::Pattern;

/// Threads that are named where none is the one that was asked for.
const NAMES_SAID: usize = 10;

/// Which entries are wanted, as it was asked for.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters")]
#[group(skip)]
pub(crate) struct Arguments {
    /// This level and more severe ones alone
    #[arg(short = 'p', long, value_enum, ignore_case = true)]
    level: Option<Severity>,

    /// Events whose message matches a regular expression, and where there is none, whose
    /// fields do; its case counts if it has capitals
    #[arg(short, long, value_name = "PATTERN", value_parser = Pattern::parse)]
    grep: Option<Pattern>,

    /// Those of a target, such as app::db, and of the targets in it
    #[arg(short, long)]
    target: Vec<String>,

    /// Those of a thread, by its name or its id
    #[arg(long)]
    thread: Vec<String>,

    /// Those with a field, their own or of a span around them: id=7, id!=7, ms>100, ms<=9
    #[arg(long, value_name = "CONDITION", value_parser = Condition::parse)]
    field: Vec<Condition>,

    /// Those in a span of this name
    #[arg(long, value_name = "NAME")]
    span: Vec<String>,

    /// From a moment on: 12:34:56, "2025-11-24 12:34", 2025-11-24T12:34:56Z, or -2s, which
    /// counts back from the last event, of the thread if one is asked for
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = Moment::parse)]
    since: Option<Moment>,

    /// Up to the end of a moment, a second, a minute or a day
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = Moment::parse)]
    until: Option<Moment>,
}

/// A level, and all that are more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Severity {
    /// Errors alone.
    #[value(alias = "err")]
    Error,
    /// And warnings.
    #[value(alias = "warning")]
    Warn,
    /// And what a reader wants to know.
    Info,
    /// And what helps whoever debugs.
    Debug,
    /// Everything.
    Trace,
}

impl Severity {
    fn level(self) -> Level {
        match self {
            Severity::Error => Level::Error,
            Severity::Warn => Level::Warn,
            Severity::Info => Level::Info,
            Severity::Debug => Level::Debug,
            Severity::Trace => Level::Trace,
        }
    }
}

/// When the first and the last event were, nanoseconds since 1970; `None` if there are none.
pub(crate) type Covered = Option<(u64, u64)>;

impl Arguments {
    /// Whether it is for what messages say.
    pub(crate) fn is_for_messages(&self) -> bool {
        self.grep.is_some()
    }

    /// Whether it says from when on.
    pub(crate) fn has_since(&self) -> bool {
        self.since.is_some()
    }

    /// Whether it depends on when the events were that there are.
    pub(crate) fn needs_covered(&self) -> bool {
        let moments = self.since.iter().chain(&self.until);
        moments.into_iter().any(Moment::needs_covered)
    }

    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.to_string().is_empty()
    }

    /// What passes, by the clock of `zone`, with `spans` what happened to spans, too.
    ///
    /// # Errors
    /// Nothing can lie between the two moments.
    pub(crate) fn filter(
        &self,
        spans: bool,
        zone: &TimeZone,
        covered: Covered,
    ) -> Result<Filter, Error> {
        let since = self.since.as_ref();
        let since_ns = since.map(|moment| moment.beginning_ns(zone, covered));
        let until = self.until.as_ref();
        let until_ns = until.map(|moment| moment.end_ns(zone, covered));
        if let (Some(since), Some(until)) = (since, until)
            && since_ns > until_ns
        {
            return Err(Error::usage(format!(
                "nothing lies between --since {since} and --until {until}: the first is later"
            )));
        }
        Ok(Filter {
            passes_all: self.is_empty(),
            asked: self.clone(),
            spans,
            since_ns: since_ns.unwrap_or(0),
            until_ns: until_ns.unwrap_or(u64::MAX),
        })
    }
}

/// What passes.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    asked: Arguments,
    /// Whether nothing was asked for.
    passes_all: bool,
    spans: bool,
    since_ns: u64,
    until_ns: u64,
}

impl Filter {
    /// From when to when: what lies outside does not pass.
    pub(crate) fn between_ns(&self) -> (u64, u64) {
        (self.since_ns, self.until_ns)
    }

    /// Whether an entry was asked for.
    pub(crate) fn passes(&self, recording: &Recording, entry: &Entry) -> bool {
        if entry.what != What::Event && !self.spans {
            return false;
        }
        if self.passes_all {
            return true;
        }
        if entry.wall_ns < self.since_ns || entry.wall_ns > self.until_ns {
            return false;
        }
        let asked = &self.asked;
        let site = recording.sites.get(&entry.site).map(|site| &**site);
        asked.passes_level(site)
            && asked.passes_target(site, entry)
            && asked.is_of_thread(recording, entry)
            && asked.passes_span(recording, entry)
            && asked.passes_fields(recording, site, entry)
            && asked.passes_grep(site, entry)
    }
}

impl Arguments {
    fn passes_level(&self, site: Option<&CallSite>) -> bool {
        let (Some(severity), Some(site)) = (self.level, site) else {
            return true;
        };
        site.level <= severity.level()
    }

    fn passes_target(&self, site: Option<&CallSite>, entry: &Entry) -> bool {
        let (false, Some(site)) = (self.target.is_empty(), site) else {
            return true;
        };
        let target = target(site, entry);
        self.target.iter().any(|wanted| is_within(&target, wanted))
    }

    /// Whether an entry is of a thread that is asked for.
    pub(crate) fn is_of_thread(&self, recording: &Recording, entry: &Entry) -> bool {
        if self.thread.is_empty() {
            return true;
        }
        let thread = recording.threads.get(entry.thread as usize);
        thread.is_some_and(|thread| self.thread.iter().any(|wanted| is_named(thread, wanted)))
    }

    /// That a thread is asked for that nobody is, and who there is.
    pub(crate) fn missing_thread<'r>(
        &self,
        threads: impl Iterator<Item = &'r Thread> + Clone,
    ) -> Option<String> {
        let is_missing = |wanted: &&String| !threads.clone().any(|it| is_named(it, wanted));
        let missing = self.thread.iter().find(is_missing)?;
        let names: BTreeSet<&str> = threads.map(|thread| thread.name.as_str()).collect();
        let more = if names.len() > NAMES_SAID {
            ", …"
        } else {
            ""
        };
        let names: Vec<String> = names.into_iter().take(NAMES_SAID).map(shown).collect();
        let missing = shown(missing);
        Some(format!(
            "no thread is called {missing}: there are {}{more}",
            names.join(", ")
        ))
    }

    fn passes_span(&self, recording: &Recording, entry: &Entry) -> bool {
        if self.span.is_empty() {
            return true;
        }
        let mut sites = recording
            .around(entry.span)
            .filter_map(|(_, span)| recording.sites.get(&span.site));
        sites.any(|site| self.span.contains(&site.name))
    }

    fn passes_fields(&self, recording: &Recording, site: Option<&CallSite>, entry: &Entry) -> bool {
        let mut conditions = self.field.iter();
        conditions.all(|condition| condition.holds(recording, site, entry))
    }

    fn passes_grep(&self, site: Option<&CallSite>, entry: &Entry) -> bool {
        let Some(pattern) = &self.grep else {
            return true;
        };
        if entry.what != What::Event {
            return false;
        }
        let mut fields = entry.fields.iter();
        let message = fields.find(|field| name_of(site, field.index) == "message");
        match message {
            Some(message) => pattern.matches(&message.value),
            None => pattern.matches_text(&fields_text(site, entry)),
        }
    }
}

/// `user_id=42 table="users"`, as they are shown.
fn fields_text(site: Option<&CallSite>, entry: &Entry) -> String {
    let fields = entry.fields.iter();
    let named = fields.map(|field| (name_of(site, field.index), field.value));
    let named: Vec<_> = named.collect();
    let mut out = Vec::new();
    push_fields(&mut out, named.iter());
    escape::text(out)
}

/// The target of an entry; a record of `log` brings its own.
fn target<'a>(site: &'a CallSite, entry: &Entry) -> Cow<'a, str> {
    let own = || {
        let mut fields = entry.fields.iter();
        let own = fields.find(|field| name_of(Some(site), field.index) == "log.target")?;
        Some(own.value.text()?.lossy().into_owned())
    };
    let own = if site.is_log { own() } else { None };
    own.map_or(Cow::Borrowed(&*site.target), Cow::Owned)
}

/// Whether a target is `wanted`, or a module in it.
fn is_within(target: &str, wanted: &str) -> bool {
    let rest = target.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether a thread is meant by its name, its id or both, as `worker[12]` or `worker (12)`.
fn is_named(thread: &Thread, wanted: &str) -> bool {
    let rest = wanted.strip_prefix(&*thread.name).unwrap_or(wanted).trim();
    let id = match (rest.strip_prefix(['[', '(']), rest.strip_suffix([']', ')'])) {
        (Some(_), Some(_)) => &rest[1..rest.len() - 1],
        _ => rest,
    };
    wanted == thread.name || (id.parse() == Ok(thread.id) && (rest == wanted || rest != id))
}

fn shown(name: &str) -> String {
    match name {
        "" => "one without a name".into(),
        name => escape(name.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, at};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        filter: Arguments,
    }

    fn arguments(asked: &[&str]) -> Arguments {
        let line = ["view"].iter().chain(asked);
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        line.filter
    }

    const NONE: [u64; 0] = [];

    /// Which entries pass, by the milliseconds at which they were.
    fn passing(asked: &[&str]) -> Vec<u64> {
        let recording = fixture::recording();
        let covered = Some((at(1), at(5)));
        let filter = arguments(asked).filter(false, &TimeZone::UTC, covered);
        let filter = filter.unwrap();
        let entries = recording.entries.iter();
        let passing = entries.filter(|entry| filter.passes(&recording, entry));
        passing
            .map(|entry| (entry.wall_ns - at(0)) / 1_000_000)
            .collect()
    }

    #[test]
    fn a_level_lets_more_severe_ones_and_unknown_ones_through() {
        assert_eq!(passing(&[]), [1, 3, 4, 5]);
        assert_eq!(passing(&["-p", "trace"]), [1, 3, 4, 5]);
        assert_eq!(passing(&["-p", "WARNING"]), [3, 4, 5]);
        assert_eq!(passing(&["-p", "error"]), [3, 5]);
    }

    #[test]
    fn a_target_has_those_in_it_and_log_records_have_their_own() {
        assert_eq!(passing(&["-t", "app"]), [1, 3, 5]);
        assert_eq!(passing(&["-t", "app::auth"]), [1, 3, 5]);
        assert_eq!(passing(&["-t", "ap"]), [5]);
        assert_eq!(passing(&["-t", "hyper"]), [4, 5]);
        assert_eq!(passing(&["-t", "hyper", "-t", "app"]), [1, 3, 4, 5]);
    }

    #[test]
    fn a_thread_goes_by_its_name_or_its_id() {
        let recording = fixture::recording();
        let thread = &recording.threads[0];
        assert_eq!(passing(&["--thread", &thread.name]), [1, 3, 4, 5]);
        assert_eq!(passing(&["--thread", &thread.id.to_string()]), [1, 3, 4, 5]);
        for both in [
            format!("{}[{}]", thread.name, thread.id),
            format!("{} ({})", thread.name, thread.id),
        ] {
            assert_eq!(passing(&["--thread", &both]), [1, 3, 4, 5], "{both}");
        }
        for other in ["nobody", "worker-1[7]", "[4712", "worker-14712", "4712)"] {
            assert_eq!(passing(&["--thread", other]), NONE, "{other}");
        }
        let missing = |asked| arguments(asked).missing_thread(recording.threads.iter());
        assert_eq!(missing(&["--thread", "worker-1"]), None);
        assert_eq!(
            missing(&["--thread", "w\x1b"]).unwrap(),
            r"no thread is called w\x1b: there are worker-1"
        );
    }

    #[test]
    fn a_span_is_one_of_those_around() {
        assert_eq!(passing(&["--span", "request"]), [1]);
        assert_eq!(passing(&["--span", "query"]), [1]);
        assert_eq!(passing(&["--span", "other"]), NONE);
    }

    #[test]
    fn a_field_is_an_events_own_or_of_a_span_around_it() {
        assert_eq!(passing(&["--field", "user_id=42"]), [1]);
        assert_eq!(passing(&["--field", "id=7"]), [1]);
        assert_eq!(passing(&["--field", "request.id=7"]), [1]);
        assert_eq!(passing(&["--field", "query.id=7"]), NONE);
        assert_eq!(passing(&["--field", "table=users"]), [1]);
        assert_eq!(passing(&["--field", "id=7", "--field", "user_id>42"]), NONE);
    }

    #[test]
    fn what_is_asked_for_is_known_of_it() {
        assert!(arguments(&[]).is_empty());
        for asked in [
            "-perror",
            "-gx",
            "-tx",
            "--thread=x",
            "--field=x=1",
            "--span=x",
        ] {
            assert!(!arguments(&[asked]).is_empty(), "{asked}");
        }
        assert!(!arguments(&["--since=-1s"]).is_empty());
        assert!(!arguments(&["--until=-1s"]).is_empty());
        assert!(arguments(&["-gx"]).is_for_messages() && !arguments(&["-tx"]).is_for_messages());
        let filter = arguments(&["--since=-1ms", "--until", "22:13:20.004"]);
        let filter = filter.filter(true, &TimeZone::UTC, Some((at(1), at(5))));
        let (since_ns, until_ns) = filter.unwrap().between_ns();
        assert!(since_ns <= at(4) && until_ns >= at(4) && until_ns < at(5));
    }

    #[test]
    fn a_pattern_is_looked_for_in_messages_alone() {
        assert_eq!(passing(&["-g", "logged (in|out)"]), [1]);
        assert_eq!(passing(&["-g", "42"]), NONE);
        assert_eq!(passing(&["-g", "RESET"]), NONE);
        assert_eq!(passing(&["-g", "reset$"]), [4]);
        assert_eq!(passing(&["-g", "field0=-1"]), [5], "it has no message");
    }

    #[test]
    fn moments_are_those_of_a_clock_or_counted_back_from_the_last_event() {
        assert_eq!(passing(&["--since", "-1ms"]), [4, 5]);
        assert_eq!(passing(&["--until=-2ms"]), [1, 3]);
        assert_eq!(
            passing(&["--since", "22:13:20.003", "--until", "-1ms"]),
            [3, 4]
        );
        let error = arguments(&["--since", "-1ms", "--until", "-2ms"]);
        let error = error.filter(false, &TimeZone::UTC, Some((at(1), at(5))));
        let words = error.unwrap_err().to_string();
        assert_eq!(
            words,
            "nothing lies between --since -1ms and --until -2ms: the first is later"
        );
    }
}
