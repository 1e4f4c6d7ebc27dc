//! Idle spans: open, and no thread is in them. Of an async daemon, these are the
//! requests that it was working at.
//!
//! A parent may be any span, itself included where a recording is damaged, and may
//! lie thousands of spans deep: every walk here is over each span once, or bounded.

use std::collections::{HashMap, HashSet};

use ttlog_format::salvage::{Recording, Span};
use ttlog_format::site::Level;
use ttlog_format::span::SpanId;

/// The most ancestors that are told of a span, the nearest.
pub(super) const ANCESTORS_MAX: usize = 64;

/// An open span that no thread is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleSpan<'a> {
    pub(super) id: SpanId,
    pub(super) span: &'a Span,
}

/// Every idle span, oldest first.
pub(super) fn spans(recording: &Recording) -> Vec<IdleSpan<'_>> {
    let entered = entered(recording);
    let mut idle: Vec<IdleSpan<'_>> = recording
        .spans
        .iter()
        .filter(|(id, span)| span.open && !entered.contains(id))
        .map(|(&id, span)| IdleSpan { id, span })
        .collect();
    idle.sort_by_key(|idle| (idle.span.opened_ns, idle.id));
    idle
}

/// The spans that living threads are in.
fn entered(recording: &Recording) -> HashSet<SpanId> {
    let living = recording.threads.iter().filter(|thread| !thread.ended);
    living
        .flat_map(|thread| thread.stack.iter().copied())
        .collect()
}

/// The nearest ancestors of a span, outermost first, `None` for one of which nothing
/// is left; and whether there are more.
pub(super) fn ancestors<'a>(
    recording: &'a Recording,
    span: &Span,
    most: usize,
) -> (Vec<Option<&'a Span>>, bool) {
    let mut ancestors = Vec::new();
    let mut next = span.parent;
    while let Some(id) = next
        && ancestors.len() < most
    {
        let parent = recording.spans.get(&id).map(|span| &**span);
        ancestors.push(parent);
        next = parent.and_then(|parent| parent.parent);
    }
    ancestors.reverse();
    (ancestors, next.is_some())
}

/// Idle spans as trees: those that lie in no other idle one, with what is in them.
pub(super) struct Forest<'a> {
    pub(super) idle: &'a [IdleSpan<'a>],
    /// Of each span, by index: the idle spans right below it, oldest first.
    below: Vec<Vec<usize>>,
    /// Trees by the call sites of their roots, the group of the first tree first.
    pub(super) groups: Vec<Group>,
}

/// What a tree is looked at for: the oldest of its spans of the most severe level.
///
/// A request is what is asked for, and not the task of the runtime that it is in,
/// which may be as old as its connection.
type Rank = (Level, u64, SpanId);

/// Trees whose roots are of one call site.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Indexes of the roots, by the ranks of their trees.
    pub(super) roots: Vec<usize>,
    /// The level of the first tree.
    pub(super) level: Level,
    /// Spans in the roots: an index of the oldest of each call site, and how many there are.
    pub(super) within: Vec<(usize, usize)>,
}

impl<'a> Forest<'a> {
    pub(super) fn new(recording: &Recording, idle: &'a [IdleSpan<'a>]) -> Forest<'a> {
        let index: HashMap<SpanId, usize> = idle.iter().map(|idle| idle.id).zip(0..).collect();
        let parent = |idle: &IdleSpan<'_>| index.get(&idle.span.parent?).copied();
        let above: Vec<Option<usize>> = idle.iter().map(parent).collect();
        let mut below = vec![Vec::new(); idle.len()];
        for (i, parent) in above.iter().enumerate() {
            if let Some(parent) = *parent {
                below[parent].push(i);
            }
        }
        let mut forest = Forest {
            idle,
            below,
            groups: Vec::new(),
        };
        let roots = forest.roots(&above);
        let ranks: Vec<Rank> = idle.iter().map(|idle| rank(recording, idle)).collect();
        forest.group(&roots, &ranks);
        forest
    }

    /// The spans that lie in no other idle one, and one of each circle of spans that
    /// are their own ancestors, which is cut open there.
    fn roots(&mut self, above: &[Option<usize>]) -> Vec<usize> {
        let mut roots: Vec<usize> = (0..above.len()).filter(|&i| above[i].is_none()).collect();
        let mut reached = vec![false; above.len()];
        for &root in &roots {
            self.tree(root, |i, _| reached[i] = true);
        }
        let mut passed = vec![false; above.len()];
        for i in 0..above.len() {
            if !reached[i] {
                let root = in_circle(i, above, &mut passed);
                if let Some(parent) = above[root] {
                    self.below[parent].retain(|&below| below != root);
                }
                self.tree(root, |i, _| reached[i] = true);
                roots.push(root);
            }
        }
        roots.sort_unstable();
        roots
    }

    fn group(&mut self, roots: &[usize], ranks: &[Rank]) {
        let mut trees: Vec<(Rank, usize)> = roots
            .iter()
            .map(|&root| (self.rank(root, ranks), root))
            .collect();
        trees.sort_unstable();
        let mut groups: Vec<Group> = Vec::new();
        let mut of_site: HashMap<u64, usize> = HashMap::new();
        let mut within: HashMap<(usize, u64), usize> = HashMap::new();
        for ((level, ..), root) in trees {
            let next = groups.len();
            let group = *of_site.entry(self.idle[root].span.site).or_insert(next);
            if group == next {
                groups.push(Group {
                    level,
                    ..Group::default()
                });
            }
            groups[group].roots.push(root);
            let kinds = &mut groups[group].within;
            self.tree(root, |i, depth| {
                if depth > 0 {
                    let site = (group, self.idle[i].span.site);
                    let kind = *within.entry(site).or_insert(kinds.len());
                    match kinds.get_mut(kind) {
                        Some((_, count)) => *count += 1,
                        None => kinds.push((i, 1)),
                    }
                }
            });
        }
        self.groups = groups;
    }

    fn rank(&self, root: usize, ranks: &[Rank]) -> Rank {
        let mut rank = ranks[root];
        self.tree(root, |i, _| rank = rank.min(ranks[i]));
        rank
    }

    /// Visits a span and all that lie below it, with how deep they lie.
    fn tree(&self, root: usize, mut visit: impl FnMut(usize, usize)) {
        self.tree_until(root, |i, depth| {
            visit(i, depth);
            true
        });
    }

    /// Visits a span and what lies below it, until `visit` has seen enough.
    pub(super) fn tree_until(&self, root: usize, mut visit: impl FnMut(usize, usize) -> bool) {
        let mut next = vec![(root, 0)];
        while let Some((i, depth)) = next.pop() {
            if !visit(i, depth) {
                return;
            }
            next.extend(self.below[i].iter().rev().map(|&below| (below, depth + 1)));
        }
    }
}

fn rank(recording: &Recording, idle: &IdleSpan<'_>) -> Rank {
    let site = recording.sites.get(&idle.span.site);
    let level = site.map_or(Level::Info, |site| site.level);
    (level, idle.span.opened_ns, idle.id)
}

/// From a span that lies below no root, the first one above it that is its own ancestor.
fn in_circle(from: usize, above: &[Option<usize>], passed: &mut [bool]) -> usize {
    let mut at = from;
    while !passed[at] {
        passed[at] = true;
        at = above[at].unwrap_or(at);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::sync::Arc;

    fn counts(forest: &Forest<'_>) -> Vec<(usize, Vec<usize>)> {
        let within = |group: &Group| group.within.iter().map(|&(_, count)| count).collect();
        let groups = forest.groups.iter();
        groups
            .map(|group| (group.roots.len(), within(group)))
            .collect()
    }

    #[test]
    fn parents_and_children_that_no_thread_is_in_are_idle() {
        let recording = fixture::idle_pairs(1_500);
        let idle = spans(&recording);
        assert_eq!(idle.len(), 3_000);
        assert!(idle.is_sorted_by_key(|idle| idle.span.opened_ns));
        assert_eq!(
            counts(&Forest::new(&recording, &idle)),
            [(1_500, vec![1_500])]
        );
    }

    #[test]
    fn a_span_that_a_living_thread_is_in_is_not_idle_and_one_of_a_dead_thread_is() {
        let mut recording = fixture::recording();
        assert_eq!(spans(&recording).len(), 0);
        recording.threads[0].ended = true;
        assert_eq!(spans(&recording).len(), 2);
        recording.threads[0].ended = false;
        recording.threads[0].stack.truncate(1);
        let idle = spans(&recording);
        assert_eq!(idle[0].id, fixture::query());
        assert_eq!(counts(&Forest::new(&recording, &idle)), [(1, vec![])]);
    }

    #[test]
    fn spans_that_are_their_own_ancestors_are_each_shown_once() {
        let mut recording = fixture::idle_chain(3_000);
        let ids: Vec<SpanId> = spans(&recording).iter().map(|idle| idle.id).collect();
        let first = recording.spans.get_mut(&ids[0]).unwrap();
        Arc::make_mut(first).parent = ids.last().copied();
        let idle = spans(&recording);
        let forest = Forest::new(&recording, &idle);
        assert_eq!(counts(&forest), [(1, vec![2_999])]);
        let (known, more) = ancestors(&recording, idle[0].span, ANCESTORS_MAX);
        assert_eq!((known.len(), more), (ANCESTORS_MAX, true));
    }

    #[test]
    fn every_span_its_own_parent_is_no_more_work_than_one() {
        let mut recording = fixture::idle_pairs(1_500);
        for (id, span) in &mut recording.spans {
            Arc::make_mut(span).parent = Some(*id);
        }
        let idle = spans(&recording);
        let roots: usize = Forest::new(&recording, &idle)
            .groups
            .iter()
            .map(|group| group.roots.len())
            .sum();
        assert_eq!(roots, 3_000);
    }

    #[test]
    fn ancestors_are_outermost_first_and_a_lost_one_is_none() {
        let mut recording = fixture::recording();
        let query = recording.spans[&fixture::query()].clone();
        let (known, more) = ancestors(&recording, &query, ANCESTORS_MAX);
        assert_eq!((known.len(), more), (1, false));
        recording.spans.remove(&query.parent.unwrap());
        let (known, more) = ancestors(&recording, &query, ANCESTORS_MAX);
        assert_eq!((known, more), (vec![None], false));
    }
}
