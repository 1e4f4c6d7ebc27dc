//! Spans of one name as a row of a table.

use std::cmp::Ordering;

use clap::ValueEnum;

use super::account::Group;

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// Those that lasted longest together
    #[default]
    Total,
    /// Those that there are most of
    Count,
    /// Those of which half lasted so long or longer
    P50,
    /// Those of which one in a hundred lasted so long or longer
    P99,
    /// Those of which one lasted longest
    Longest,
    /// Names, from A on
    Name,
}

/// What is to be told of the spans of a name.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) group: Group,
    /// How many there are, whatever is known of them.
    pub(super) count: u64,
    pub(super) closed: u64,
    pub(super) open: u64,
    /// Of those that were closed, of which it is known how long they lasted.
    pub(super) lasted: Option<Lasted>,
    /// Of those that were open at the end, which is not how long they would have lasted.
    pub(super) open_for: Option<Lasted>,
}

/// How long spans lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lasted {
    pub(super) total_ns: u64,
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
    pub(super) longest_ns: u64,
}

impl Lasted {
    /// Of those that lasted so long: percentiles are values that occurred.
    fn of(mut lasted_ns: Vec<u64>) -> Option<Lasted> {
        let longest_ns = lasted_ns.iter().copied().max()?;
        let total_ns = lasted_ns
            .iter()
            .fold(0u64, |sum, &ns| sum.saturating_add(ns));
        let mut percentile = |percent: usize| {
            let rank = (lasted_ns.len() * percent).div_ceil(100);
            *lasted_ns.select_nth_unstable(rank.saturating_sub(1)).1
        };
        Some(Lasted {
            total_ns,
            p50_ns: percentile(50),
            p99_ns: percentile(99),
            longest_ns,
        })
    }
}

impl Row {
    fn new(mut group: Group) -> Row {
        let open = group.open_ns.len() as u64 + group.open_unknown;
        let closed = group.closed_ns.len() as u64 + group.unknown + group.lost;
        Row {
            count: open + closed,
            closed,
            open,
            lasted: Lasted::of(std::mem::take(&mut group.closed_ns)),
            open_for: Lasted::of(std::mem::take(&mut group.open_ns)),
            group,
        }
    }
}

/// The rows, in their order; equal ones by their names and places, as they come.
pub(super) fn rows(groups: Vec<Group>, sort: Sort) -> Vec<Row> {
    let mut rows: Vec<Row> = groups.into_iter().map(Row::new).collect();
    let by = |key: fn(&Lasted) -> u64| {
        move |a: &Row, b: &Row| {
            let key = |row: &Row| (row.lasted.as_ref().map(key), row.open_for.as_ref().map(key));
            key(b).cmp(&key(a))
        }
    };
    match sort {
        Sort::Total => rows.sort_by(by(|lasted| lasted.total_ns)),
        Sort::Count => rows.sort_by_key(|row| std::cmp::Reverse(row.count)),
        Sort::P50 => rows.sort_by(by(|lasted| lasted.p50_ns)),
        Sort::P99 => rows.sort_by(by(|lasted| lasted.p99_ns)),
        Sort::Longest => rows.sort_by(by(|lasted| lasted.longest_ns)),
        Sort::Name => rows.sort_by(|_, _| Ordering::Equal),
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::account::Place;
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let lasted = |values: &[u64]| Lasted::of(values.to_vec());
        assert_eq!(lasted(&[]), None);
        let expected = |total_ns, p50_ns, p99_ns, longest_ns| {
            Some(Lasted {
                total_ns,
                p50_ns,
                p99_ns,
                longest_ns,
            })
        };
        assert_eq!(lasted(&[7]), expected(7, 7, 7, 7));
        assert_eq!(lasted(&[4, 1, 3, 2]), expected(10, 2, 4, 4));
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(lasted(&hundred), expected(5050, 50, 99, 100));
        assert_eq!(lasted(&[u64::MAX; 2]).unwrap().total_ns, u64::MAX);
    }

    fn group(name: &str, closed_ns: &[u64], open_ns: &[u64]) -> Group {
        Group {
            place: Place {
                name: Some(name.into()),
                ..Place::default()
            },
            closed_ns: closed_ns.to_vec(),
            open_ns: open_ns.to_vec(),
            ..Group::default()
        }
    }

    #[test]
    fn equal_rows_stay_in_the_order_of_their_names() {
        let order = |sort| {
            let groups = vec![
                group("a", &[5, 5], &[]),
                group("b", &[1, 9], &[]),
                group("c", &[], &[100]),
                group("d", &[2, 2, 2], &[]),
                group("e", &[10], &[3, 4]),
            ];
            let rows = rows(groups, sort);
            let names = rows.into_iter().filter_map(|row| row.group.place.name);
            names.collect::<String>()
        };
        assert_eq!(order(Sort::Name), "abcde");
        assert_eq!(order(Sort::Total), "eabdc");
        assert_eq!(order(Sort::Count), "deabc");
        assert_eq!(order(Sort::P50), "eadbc");
        assert_eq!(order(Sort::P99), "ebadc");
        assert_eq!(order(Sort::Longest), "ebadc");
    }
}
