//! A story for the eye: what matters most first, and no more of the rest than a
//! screen has room for.

use ttlog_format::header::Header;
use ttlog_format::salvage::{Ledger, Recording, Span};
use ttlog_format::verdict::{Kind, Verdict};

use super::idle::{Forest, Group, IdleSpan, ancestors};
use super::incidents::{Frame, Struck, file_name, own_frames};
use super::object::span_then;
use super::story::{OfThread, Story};
use super::unwound::AtPanic;
use crate::colour;
use crate::columns::short_path;
use crate::damage;
use crate::escape::escape;
use crate::measure::{ago, as_shown, cut};
use crate::page::Page;
use crate::shown::{Shown, shown_span};
use crate::signal;
use crate::text::{age, count, line_words_first, span as span_words};

/// The most that is shown where not all was asked for.
struct Room {
    threads: usize,
    /// Spans of a thread, or in a tree.
    spans: usize,
    /// Kinds of idle spans, and of each so many trees.
    groups: usize,
    trees: usize,
    /// Frames, over all incidents.
    frames: usize,
    /// Characters of a message, which has no end of its own.
    message: usize,
}

/// Characters of a message that are enough to know it by.
const MESSAGE_MAX: usize = 400;

const SCREEN: Room = Room {
    threads: 8,
    spans: 6,
    groups: 6,
    trees: 3,
    frames: 24,
    message: MESSAGE_MAX,
};

const ALL: Room = Room {
    threads: usize::MAX,
    spans: usize::MAX,
    groups: usize::MAX,
    trees: usize::MAX,
    frames: usize::MAX,
    message: usize::MAX,
};

/// Trees of a kind whose spans are all less severe than those of the first kind.
const MINOR_TREES: usize = 1;

/// How deep a tree is indented; it may be deeper.
const INDENTED_MAX: usize = 12;

/// Names of ancestors that are shown before a tree.
const ANCESTORS_SHOWN: usize = 4;

/// Writes the story, all of it or what a screen has room for.
pub(super) fn tell(story: &Story<'_>, all: bool, page: &mut Page) {
    let room = if all { &ALL } else { &SCREEN };
    tell_verdict(story, room, page);
    tell_threads(story, room, page);
    tell_idle(story, room, page);
    tell_incidents(story, room, page);
    tell_ledger(&story.opened.recording, page);
}

fn tell_verdict(story: &Story<'_>, room: &Room, page: &mut Page) {
    let verdict = &story.opened.verdict;
    let words = verdict_words(&story.opened.recording.header, verdict);
    page.wrapped("", &words, colour::of_verdict(verdict.kind));
    // What was said is long enough without it.
    if let (Some(who), true) = (&verdict.thread, verdict.message.is_some()) {
        let who = thread_words(who.id, &who.name);
        page.wrapped("  ", &escape(format!("in thread {who}").as_bytes()), "");
    }
    for words in &verdict.evidence {
        let words = cut(&as_shown(&page.style, words), room.message);
        page.wrapped("  ", &escape(words.as_bytes()), "");
    }
    tell_life(story, page);
}

/// Who came to what end: `payments (pid 4711) died of SIGSEGV at 0x0 in thread main (4711)`
pub(crate) fn verdict_words(header: &Header, verdict: &Verdict) -> String {
    let name = if header.name.is_empty() {
        "process"
    } else {
        &header.name
    };
    let who = format!("{name} (pid {})", header.pid);
    escape(format!("{who} {}", headline(verdict)).as_bytes())
}

fn headline(verdict: &Verdict) -> String {
    let signal = verdict.signal.map(signal::name);
    let mut words = match verdict.kind {
        Kind::Alive => "is alive".into(),
        Kind::Ended => "ended of its own accord".into(),
        Kind::Panicked => "panicked".into(),
        Kind::Signal => format!("died of {}", signal.as_deref().unwrap_or("a signal")),
        Kind::Terminated => format!(
            "was terminated by {}",
            signal.as_deref().unwrap_or("a signal")
        ),
        Kind::Killed => "was killed".into(),
        Kind::Rebooted => "went down with its machine".into(),
        Kind::Unknown if verdict.message.is_some() => "was panicking".into(),
        Kind::Unknown => "recorded this; what became of it is not known".into(),
    };
    if let Some(address) = verdict.address {
        // A handler may have aborted because of a fault.
        let of_fault = verdict.signal != Some(signal::SIGABRT);
        words += if of_fault { " at" } else { " after a fault at" };
        words += &format!(" {address:#x}");
    }
    if let (Some(who), true) = (&verdict.thread, verdict.message.is_none()) {
        words += &format!(" in thread {}", thread_words(who.id, &who.name));
    }
    if let Some(location) = verdict
        .location
        .as_deref()
        .filter(|location| !location.is_empty())
    {
        words += &format!(" at {location}");
    }
    if let Some(message) = &verdict.message {
        words += &format!(": {}", cut(message, MESSAGE_MAX));
    }
    words
}

fn tell_life(story: &Story<'_>, page: &mut Page) {
    let recording = &story.opened.recording;
    let style = &page.style;
    let began_ns = recording.header.samples[0].wall_ns;
    let recorded = age(story.until_ns.saturating_sub(began_ns));
    let began = style.moment(began_ns);
    let words = match story.lives {
        true => format!("started {began}, {recorded} ago; ages below count back from now"),
        false => format!(
            "started {began}, recorded for {recorded}, last heard of {}, {}; ages below count back from then",
            style.time(recording.end_ns),
            ago(story.now_ns, recording.end_ns)
        ),
    };
    page.wrapped("  ", &words, "");
    if let Some(AtPanic { panic_ns, path }) = &story.at_panic {
        let path = escape(path.as_os_str().as_encoded_bytes());
        let panic = page.style.time(*panic_ns);
        // The path is to be copied, so it is whole.
        page.whole(&format!(
            "  what was open at the panic of {panic} is in the snapshot {path}"
        ));
    }
}

fn thread_words(id: u32, name: &str) -> String {
    match name {
        "" => id.to_string(),
        name => format!("{name} ({id})"),
    }
}

fn tell_threads(story: &Story<'_>, room: &Room, page: &mut Page) {
    let living = story.threads.iter().filter(|of| !of.thread.ended).count();
    let ended = story.threads.len() - living;
    let when = if story.lives { "now" } else { "at the end" };
    let before = match ended {
        0 => String::new(),
        ended => format!(", {} had ended before", count(ended)),
    };
    page.heading(&format!("threads: {} {when}{before}", count(living)));

    let all = room.threads == usize::MAX;
    let of_interest = |of: &&OfThread<'_>| all || of.brought_the_end || !of.thread.ended;
    let mut told = 0;
    for of in story.threads.iter().filter(of_interest).take(room.threads) {
        tell_thread(story, of, room, page);
        told += usize::from(!of.thread.ended);
    }
    tell_rest(living - told, "thread", page);
}

fn tell_rest(rest: usize, noun: &str, page: &mut Page) {
    if rest > 0 {
        let plural = if rest == 1 { "" } else { "s" };
        let words = format!("and {} more {noun}{plural}: --all shows them", count(rest));
        page.wrapped("", &words, colour::FAINT);
    }
}

fn tell_thread(story: &Story<'_>, of: &OfThread<'_>, room: &Room, page: &mut Page) {
    let thread = of.thread;
    let mut words = escape(thread_words(thread.id, &thread.name).as_bytes());
    if of.brought_the_end {
        words += match story.opened.verdict.kind {
            Kind::Panicked => " panicked",
            Kind::Signal | Kind::Terminated => " got the signal",
            _ => "",
        };
    }
    let colour = if of.brought_the_end {
        colour::of_verdict(story.opened.verdict.kind)
    } else {
        colour::HEADING
    };
    let mut line = page.style.paint(colour, &words);
    if let Some((_, last)) = thread.covered_ns {
        line += &match story.age_ns(last) {
            0 => ", the last to speak".into(),
            silent => format!(", silent for {}", age(silent)),
        };
    }
    if thread.ended {
        line += ", ended";
    }
    page.line(&line);
    tell_stack(story, of, room, page);
    tell_last_words(story, of, page);
}

/// The spans that a thread is in: the outermost and the innermost, where they are many.
fn tell_stack(story: &Story<'_>, of: &OfThread<'_>, room: &Room, page: &mut Page) {
    let depth = of.spans.len();
    let outer = if depth > room.spans {
        room.spans / 2
    } else {
        depth
    };
    let inner = depth
        - if depth > room.spans {
            room.spans - outer
        } else {
            0
        };
    for (i, &(id, span)) in of.spans.iter().enumerate() {
        if i == outer && i < inner {
            page.line(&format!("{:12}…{} more", "", count(inner - outer)));
        }
        if i < outer || i >= inner {
            let open = span.and_then(|span| story.opened_ago_ns(span));
            let open = open.map_or("?".into(), age);
            let words = span_words(&span_then(&story.opened.recording, id, u64::MAX));
            page.line(&format!("{open:>12}  {}{words}", indent(i)));
        }
    }
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth.min(INDENTED_MAX))
}

/// A thread's newest events, with the spans that they were in where these are not
/// those above.
fn tell_last_words(story: &Story<'_>, of: &OfThread<'_>, page: &mut Page) {
    for entry in of.before_that.iter().chain(&of.last) {
        let shown = Shown::new(&story.opened.recording, entry);
        let is_above = of.spans.iter().any(|(id, _)| Some(*id) == entry.span);
        let line = line_words_first(&shown, &page.style, !is_above);
        page.line(&format!("  {line}"));
    }
}

fn tell_idle(story: &Story<'_>, room: &Room, page: &mut Page) {
    if story.idle.is_empty() {
        return;
    }
    let forest = Forest::new(&story.opened.recording, &story.idle);
    page.heading(&format!(
        "open spans that no thread is in: {}",
        count(story.idle.len())
    ));
    page.line(
        &page
            .style
            .paint(colour::FAINT, "    open for   last entered"),
    );
    for group in forest.groups.iter().take(room.groups) {
        // What only a runtime says of itself gets less room.
        let is_minor = group.level > forest.groups[0].level;
        let trees = room
            .trees
            .min(if is_minor { MINOR_TREES } else { usize::MAX });
        tell_group(story, &forest, group, trees, room, page);
    }
    let rest = forest.groups.len().saturating_sub(room.groups);
    tell_rest(rest, "kind", page);
}

fn tell_group(
    story: &Story<'_>,
    forest: &Forest<'_>,
    group: &Group,
    trees: usize,
    room: &Room,
    page: &mut Page,
) {
    let roots: Vec<&Span> = group.roots.iter().map(|&i| forest.idle[i].span).collect();
    if roots.len() > 1 {
        tell_kind(story, forest, group, &roots, page);
    }
    for &root in group.roots.iter().take(trees) {
        tell_tree(story, forest, root, room, page);
    }
    let rest = roots.len().saturating_sub(trees);
    if rest > 0 {
        let words = format!("{:>12}  and {} more like these", "…", count(rest));
        page.line(&page.style.paint(colour::FAINT, &words));
    }
}

/// How many spans there are of a kind, what lies in them, and their ages.
fn tell_kind(
    story: &Story<'_>,
    forest: &Forest<'_>,
    group: &Group,
    roots: &[&Span],
    page: &mut Page,
) {
    let recording = &story.opened.recording;
    let kind = kind_words(recording, roots[0]);
    let heading = format!("{} × {kind}", count(roots.len()));
    let line = page.style.paint(colour::HEADING, &heading);
    page.line(&format!("{line}{}", place(recording, roots[0])));
    tell_within(recording, forest, group, page);
    page.line(&format!("  {}", ages(story, roots)));
}

/// What lies in the spans of a group, by kind.
fn tell_within(recording: &Recording, forest: &Forest<'_>, group: &Group, page: &mut Page) {
    const KINDS: usize = 3;
    let kinds = group.within.iter().take(KINDS).map(|&(example, many)| {
        let kind = kind_words(recording, forest.idle[example].span);
        format!("{} × {kind}", count(many))
    });
    let mut kinds: Vec<String> = kinds.collect();
    match group.within.len().saturating_sub(KINDS) {
        0 => {}
        rest => kinds.push(format!("{} more kinds", count(rest))),
    }
    if !kinds.is_empty() {
        page.line(&format!("  in them {}", kinds.join(", ")));
    }
}

/// `opened 2.1 s to 3.4 s ago, last entered 1.9 s ago`
fn ages(story: &Story<'_>, spans: &[&Span]) -> String {
    let opened = spans.iter().filter_map(|span| story.opened_ago_ns(span));
    let youngest = opened.clone().min().map_or("?".into(), age);
    let oldest = opened.max().map_or("?".into(), age);
    let entered = spans
        .iter()
        .filter_map(|span| story.entered_ago_ns(span))
        .min();
    let entered = match entered {
        Some(ns) => format!("last entered {} ago", age(ns)),
        None => "none ever entered".into(),
    };
    match youngest == oldest {
        true => format!("opened {oldest} ago, {entered}"),
        false => format!("opened {youngest} to {oldest} ago, {entered}"),
    }
}

/// `request{id=…}`
fn kind_words(recording: &Recording, span: &Span) -> String {
    const FIELDS: usize = 2;
    let Some(site) = recording.sites.get(&span.site) else {
        return format!("? (call site {:#x})", span.site);
    };
    let mut fields: Vec<String> = site
        .fields
        .iter()
        .take(FIELDS)
        .map(|name| format!("{name}=…"))
        .collect();
    if site.fields.len() > FIELDS {
        fields.push("…".into());
    }
    let fields = match fields.is_empty() {
        true => String::new(),
        false => format!("{{{}}}", fields.join(" ")),
    };
    escape(format!("{}{fields}", site.name).as_bytes())
}

/// ` at src/http.rs:12`
fn place(recording: &Recording, span: &Span) -> String {
    match recording.sites.get(&span.site) {
        Some(site) if !site.file.is_empty() => {
            format!(
                " at {}:{}",
                escape(short_path(&site.file).as_bytes()),
                site.line
            )
        }
        _ => String::new(),
    }
}

/// A span, and what lies in it: as many as there is room for.
fn tell_tree(story: &Story<'_>, forest: &Forest<'_>, root: usize, room: &Room, page: &mut Page) {
    let mut told = 0;
    forest.tree_until(root, |i, depth| {
        if told < room.spans {
            let before = if depth == 0 {
                path(story, &forest.idle[i])
            } else {
                indent(depth)
            };
            tell_row(story, forest.idle[i].span, &before, page);
        } else {
            page.line(&format!("{:29}…", ""));
        }
        told += 1;
        told <= room.spans
    });
}

fn tell_row(story: &Story<'_>, span: &Span, before: &str, page: &mut Page) {
    let open = story.opened_ago_ns(span).map_or("?".into(), age);
    let entered = story.entered_ago_ns(span);
    let entered = entered.map_or("never".into(), |ns| format!("{} ago", age(ns)));
    let words = span_words(&shown_span(&story.opened.recording, span, u64::MAX));
    page.line(&format!("{open:>12}  {entered:>13}  {before}{words}"));
}

/// The spans around a tree, which are no idle ones: `serve:connection:`
fn path(story: &Story<'_>, idle: &IdleSpan<'_>) -> String {
    let recording = &story.opened.recording;
    let (known, more) = ancestors(recording, idle.span, ANCESTORS_SHOWN);
    let mut out = String::from(if more { "…:" } else { "" });
    for span in known {
        let site = span.and_then(|span| recording.sites.get(&span.site));
        out += &escape(site.map_or("?", |site| &site.name).as_bytes());
        out.push(':');
    }
    out
}

fn tell_incidents(story: &Story<'_>, room: &Room, page: &mut Page) {
    let recording = &story.opened.recording;
    let not_kept = recording
        .ledger
        .incidents
        .saturating_sub(recording.incidents.len() as u64);
    if story.incidents.is_empty() && not_kept == 0 {
        return;
    }
    let not_kept = match not_kept {
        0 => String::new(),
        more => format!(", {} more were not kept", count(more)),
    };
    page.heading(&format!(
        "incidents: {}{not_kept}",
        count(story.incidents.len())
    ));
    let traced = story
        .incidents
        .iter()
        .filter(|struck| !struck.backtrace.is_empty())
        .count();
    let frames = room.frames / traced.max(1);
    for struck in &story.incidents {
        tell_struck(recording, struck, room.message, frames, page);
    }
}

fn tell_struck(
    recording: &Recording,
    struck: &Struck<'_>,
    message: usize,
    frames: usize,
    page: &mut Page,
) {
    let time = page.style.time(struck.wall_ns);
    let who = thread_words(struck.thread_id, struck.thread_name);
    let location = match struck.location {
        "" => String::new(),
        location => format!(" at {location}"),
    };
    let words = format!(
        "{time} {} in thread {who}{location}: {}",
        struck.kind,
        cut(&struck.message, message)
    );
    let colour = match struck.kind {
        "panic" | "signal" => colour::BAD,
        "terminate" => colour::DOUBTFUL,
        _ => "",
    };
    page.wrapped("", &escape(words.as_bytes()), colour);
    let spans = struck
        .spans
        .iter()
        .map(|id| span_then(recording, *id, struck.wall_ns));
    let spans: Vec<String> = spans.map(|span| span_words(&span)).collect();
    if !spans.is_empty() {
        page.wrapped("  ", &format!("in {}", spans.join(":")), "");
    }
    tell_backtrace(&struck.backtrace, frames, page);
}

fn tell_backtrace(backtrace: &[Frame<'_>], most: usize, page: &mut Page) {
    let frames = if most == usize::MAX {
        backtrace
    } else {
        own_frames(backtrace)
    };
    for (i, frame) in frames.iter().take(most).enumerate() {
        let words = match frame {
            // Its build id is too long to be said with each.
            Frame::In { path, offset, .. } => format!("{}+{offset:#x}", file_name(path)),
            other => other.to_string(),
        };
        page.line(&format!("  {i:>3}: {}", escape(words.as_bytes())));
    }
    let rest = backtrace.len() - frames.len().min(most);
    if rest > 0 {
        let words = format!("and {} more frames: --all shows them", count(rest));
        page.wrapped("       ", &words, colour::FAINT);
    }
    tell_modules(&frames[..frames.len().min(most)], page);
}

/// The files that frames lie in, and their build ids: where symbols can be looked up.
fn tell_modules(frames: &[Frame<'_>], page: &mut Page) {
    let mut told: Vec<&str> = Vec::new();
    for frame in frames {
        if let Frame::In { path, build_id, .. } = frame
            && !told.contains(path)
        {
            told.push(path);
            let build_id = if build_id.is_empty() {
                "none"
            } else {
                build_id
            };
            let words = format!("{path}: build id {build_id}");
            page.wrapped("       ", &escape(words.as_bytes()), colour::FAINT);
        }
    }
}

fn tell_ledger(recording: &Recording, page: &mut Page) {
    page.line("");
    page.wrapped("", &account(recording), "");
    if let Some(words) = damage::words(&recording.ledger) {
        page.wrapped("", &words, colour::DOUBTFUL);
    }
}

/// `events: 25,344 of 30,963 readable, 5,619 overwritten, 0 dropped; they cover 1.9 s`
fn account(recording: &Recording) -> String {
    let Ledger { counts, exact, .. } = recording.ledger;
    let least = if exact { "" } else { "at least " };
    let covered = match recording.entries.first() {
        Some(first) => format!(
            "; the last {} are covered",
            age(recording.end_ns.saturating_sub(first.wall_ns))
        ),
        None => String::new(),
    };
    format!(
        "events: {} of {least}{} readable, {} overwritten, {} dropped{covered}",
        count(counts.readable),
        count(counts.written),
        count(counts.overwritten),
        count(counts.dropped),
    )
}
