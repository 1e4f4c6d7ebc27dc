//! Which span of the recording each span of a Registry is.
//!
//! A table open to all threads: a key is put into the first free one of the few
//! places that its hash allows, and every lookup looks at all of them that may be in
//! use, so that taking one out leaves no hole that matters.

use crate::linux::sync::{AtomicU64, Ordering, zeros};
use tracing_core::span::Id;
use ttlog_format::span::SpanId;

/// How many places a key may have: eight cache lines, the first two of them its own.
const PLACES: usize = 32;
const OWN: usize = 8;

/// The index of a layer.
pub(crate) struct Index {
    places: Box<[Place]>,
    /// How many keys are, or are about to be, beyond their own places.
    displaced: AtomicU64,
}

#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
struct Place {
    /// The Registry's id, 0 where the place is free.
    key: AtomicU64,
    /// The recording's.
    span: AtomicU64,
}

impl Index {
    /// An index with places for twice as many spans; with none where memory does
    /// not suffice, and the Registry keeps them all.
    pub(crate) fn new(span_slots: usize) -> Index {
        let len = (span_slots.max(PLACES) * 2).next_power_of_two();
        Index {
            places: zeros(len).unwrap_or_default(),
            displaced: AtomicU64::new(0),
        }
    }

    /// What tells this index from others.
    pub(crate) fn number(&self) -> usize {
        self.places.as_ptr() as usize
    }

    /// The places of a key: `range` of those that its hash allows.
    #[inline]
    fn places(&self, key: u64, range: std::ops::Range<usize>) -> impl Iterator<Item = &Place> {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let first = (hash as usize) & !(OWN - 1);
        let mask = self.places.len().saturating_sub(1);
        range.filter_map(move |place| self.places.get((first + place) & mask))
    }

    /// Whether there was a place.
    #[inline]
    pub(crate) fn insert(&self, id: &Id, span: SpanId) -> bool {
        let key = id.into_u64();
        take(self.places(key, 0..OWN), key, span) || self.displace(key, span)
    }

    #[cold]
    fn displace(&self, key: u64, span: SpanId) -> bool {
        self.displaced.fetch_add(1, Ordering::Relaxed);
        let taken = take(self.places(key, OWN..PLACES), key, span);
        if !taken {
            self.displaced.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    #[inline]
    fn place(&self, id: &Id) -> Option<(&Place, bool)> {
        let key = id.into_u64();
        let is_it = |place: &&Place| place.key.load(Ordering::Acquire) == key;
        let own = self.places(key, 0..OWN).find(is_it);
        match own {
            Some(place) => Some((place, false)),
            None if self.displaced.load(Ordering::Relaxed) == 0 => None,
            None => {
                let further = self.places(key, OWN..PLACES).find(is_it);
                further.map(|place| (place, true))
            }
        }
    }

    /// The span of the recording that a span of the Registry is.
    #[inline]
    pub(crate) fn find(&self, id: &Id) -> Option<SpanId> {
        let (place, _) = self.place(id)?;
        SpanId::from_u64(place.span.load(Ordering::Acquire))
    }

    /// Takes a span out, which its closing alone does.
    #[inline]
    pub(crate) fn remove(&self, id: &Id) -> Option<SpanId> {
        let (place, is_displaced) = self.place(id)?;
        let span = place.span.load(Ordering::Acquire);
        place.span.store(0, Ordering::Relaxed);
        place.key.store(0, Ordering::Release);
        if is_displaced {
            self.displaced.fetch_sub(1, Ordering::Relaxed);
        }
        SpanId::from_u64(span)
    }
}

/// Takes the first free one of some places.
#[inline]
fn take<'a>(mut places: impl Iterator<Item = &'a Place>, key: u64, span: SpanId) -> bool {
    let free = places.find(|place| {
        place.key.load(Ordering::Relaxed) == 0
            && place
                .key
                .compare_exchange(0, key, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    });
    if let Some(place) = free {
        place.span.store(span.to_u64(), Ordering::Release);
    }
    free.is_some()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_found_until_it_is_taken_out() {
        let index = Index::new(64);
        let span = |n: u64| SpanId::in_slot(n as u32, 1);
        let ids: Vec<u64> = (1..=64).map(|n| n << 20 | n).collect();
        for round in 0..100 {
            for &n in &ids {
                assert!(index.insert(&Id::from_u64(n), span(n + round)));
            }
            for &n in &ids {
                assert_eq!(index.find(&Id::from_u64(n)), Some(span(n + round)));
            }
            for &n in &ids {
                assert_eq!(index.remove(&Id::from_u64(n)), Some(span(n + round)));
                assert_eq!(index.find(&Id::from_u64(n)), None);
            }
        }
    }

    #[test]
    fn ids_of_one_hash_have_their_own_places_then_others_and_then_none() {
        let index = Index::new(64);
        let first = |n: u64| index.places(n, 0..1).next().map(std::ptr::from_ref);
        let mut alike = (1..).filter(|&n| first(n) == first(1));
        let span = |n: u64| SpanId::in_slot(n as u32, 1);
        let insert = |n: u64| index.insert(&Id::from_u64(n), span(n));
        let find = |n: &u64| index.find(&Id::from_u64(*n));
        let ids: Vec<u64> = alike.by_ref().take(PLACES).collect();
        assert!(ids.iter().all(|&n| insert(n)));
        let displaced = || index.displaced.load(Ordering::Relaxed) as usize;
        assert_eq!(displaced(), PLACES - OWN);
        let other = alike.next().unwrap();
        assert!(!insert(other), "it has no place");
        assert_eq!((find(&other), displaced()), (None, PLACES - OWN));
        assert_eq!(index.remove(&Id::from_u64(other)), None);
        assert!(ids.iter().all(|n| find(n) == Some(span(*n))));
        for &n in &ids {
            assert_eq!(index.remove(&Id::from_u64(n)), Some(span(n)));
            assert_eq!(find(&n), None);
        }
        assert_eq!(displaced(), 0);
        assert!(insert(other));
    }
}
