//! Damage: what a recording holds no more and should.
//!
//! What was overwritten, dropped or cut is no damage: a recording of fixed size
//! gives up its oldest, and says how much.

use ttlog_format::salvage::Ledger;

/// What was damaged, in words, or `None` if nothing was.
pub(crate) fn words(ledger: &Ledger) -> Option<String> {
    let counts = [
        (u64::from(ledger.lacks_header), "header that is gone", ""),
        (
            u64::from(ledger.lacks_rate),
            "clock whose rate had to be guessed",
            "",
        ),
        (ledger.damaged_blocks, "damaged block", "damaged blocks"),
        (
            ledger.mended_blocks,
            "block whose header was made out",
            "blocks whose headers were made out",
        ),
        (ledger.damaged_spans, "damaged span", "damaged spans"),
        (ledger.damaged_totals, "damaged total", "damaged totals"),
        (ledger.damaged_causes, "damaged cause", "damaged causes"),
        (ledger.counts.torn, "torn event", "torn events"),
        (ledger.missing_bytes, "missing byte", "missing bytes"),
        (
            lost_sites(ledger),
            "event that lost its call site",
            "events that lost their call site",
        ),
        (
            ledger.lost_stretches,
            "stretch that lost its file",
            "stretches that lost their file",
        ),
    ];
    let found: Vec<String> = counts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, more)| format!("{count} {}", if *count == 1 { one } else { more }))
        .collect();
    let damage =
        (!found.is_empty()).then(|| format!("recovered with damage: {}", found.join(", ")));
    let clauses: Vec<String> = damage.into_iter().chain(early_end(ledger)).collect();
    (!clauses.is_empty()).then(|| clauses.join("; "))
}

/// Events whose call site is gone, though there was room for it.
fn lost_sites(ledger: &Ledger) -> u64 {
    match ledger.sites_without_room {
        0 => ledger.events_without_site,
        _ => 0,
    }
}

/// That a snapshot was cut.
fn early_end(ledger: &Ledger) -> Option<String> {
    let missing = match ledger.missing_items {
        0 => return None,
        1 => "1 item is missing".to_owned(),
        items => format!("{items} items are missing"),
    };
    Some(format!("the snapshot ends early: {missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_no_damage_and_what_was_torn_is() {
        let mut ledger = Ledger::default();
        ledger.counts.overwritten = 5;
        (ledger.truncated, ledger.spans_without_slot) = (1, 1);
        assert_eq!(words(&ledger), None);
        (ledger.sites_without_room, ledger.events_without_site) = (1, 7);
        assert_eq!(words(&ledger), None);
        ledger.counts.torn = 1;
        ledger.damaged_blocks = 2;
        assert_eq!(
            words(&ledger).as_deref(),
            Some("recovered with damage: 2 damaged blocks, 1 torn event")
        );
    }

    #[test]
    fn a_snapshot_that_was_cut_is_damage() {
        let mut ledger = Ledger {
            missing_items: 12,
            before_window: 3,
            ..Ledger::default()
        };
        assert_eq!(
            words(&ledger).as_deref(),
            Some("the snapshot ends early: 12 items are missing")
        );
        (ledger.missing_items, ledger.counts.torn) = (1, 1);
        assert_eq!(
            words(&ledger).as_deref(),
            Some("recovered with damage: 1 torn event; the snapshot ends early: 1 item is missing")
        );
    }
}
