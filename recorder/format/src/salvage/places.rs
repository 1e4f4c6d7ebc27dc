//! What was found at every place of a pool, where a place that was never used costs nothing:
//! a file may declare millions of them, and be a hole.

use std::collections::BTreeMap;

use super::pool::Place;

/// What was found at the places of a pool.
#[derive(Default)]
pub(super) struct Places {
    /// By the index of their first, stretches that do not overlap; all between is free.
    stretches: BTreeMap<u32, Vec<Place>>,
    /// How many places there are.
    len: u32,
}

impl Places {
    /// So many places, all of them free.
    pub(super) fn free(len: u32) -> Places {
        Places {
            len,
            ..Places::default()
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// What is at a place; `None` if there is no such place.
    pub(super) fn get(&self, index: u32) -> Option<&Place> {
        let before = self.stretches.range(..=index).next_back();
        let held = before.and_then(|(first, places)| places.get((index - first) as usize));
        held.or((index < self.len).then_some(&Place::Free))
    }

    /// What is at a place, to be changed; `None` if nothing ever was.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Place> {
        let before = self.stretches.range_mut(..=index).next_back();
        before.and_then(|(first, places)| places.get_mut((index - first) as usize))
    }

    /// Puts something to a place.
    pub(super) fn put(&mut self, index: u32, place: Place) {
        if let Some(there) = self.get_mut(index) {
            *there = place;
            return;
        }
        // Places are found in their order, mostly.
        match self.stretches.range_mut(..=index).next_back() {
            Some((first, places)) if first + places.len() as u32 == index => places.push(place),
            _ => drop(self.stretches.insert(index, vec![place])),
        }
        self.len = self.len.max(index.saturating_add(1));
    }

    /// Takes in places behind these.
    pub(super) fn append(&mut self, mut other: Places) {
        for places in other.stretches.values_mut() {
            places.shrink_to_fit();
        }
        self.stretches.append(&mut other.stretches);
        self.len = self.len.max(other.len);
    }

    /// All that something was found at, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Place)> {
        let stretches = self.stretches.iter();
        stretches.flat_map(|(&first, places)| (first..).zip(places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(places: &Places) -> Vec<u32> {
        let is_damaged = |place: &Place| matches!(place, Place::Damaged);
        let found = places.iter().filter(|(_, place)| is_damaged(place));
        found.map(|(index, _)| index).collect()
    }

    #[test]
    fn what_is_put_is_there_and_all_else_is_free() {
        for order in [[1, 2, 7, 3, 0], [7, 3, 2, 1, 0], [0, 1, 2, 3, 7]] {
            let mut places = Places::free(9);
            for index in order {
                places.put(index, Place::Damaged);
                assert!(matches!(places.get(index), Some(Place::Damaged)));
            }
            assert_eq!(damaged(&places), [0, 1, 2, 3, 7]);
            assert!(matches!(places.get(8), Some(Place::Free)));
            assert!(places.get(9).is_none() && places.get_mut(8).is_none());
            places.put(3, Place::Free);
            assert_eq!(damaged(&places), [0, 1, 2, 7]);
        }
    }

    #[test]
    fn stretches_are_put_together() {
        let mut places = Places::free(20);
        for first in [0, 10] {
            let mut part = Places::default();
            (first..first + 3).for_each(|index| part.put(index, Place::Damaged));
            places.append(part);
        }
        assert_eq!(damaged(&places), [0, 1, 2, 10, 11, 12]);
        assert!(matches!(places.get(3), Some(Place::Free)));
        assert_eq!(places.len, 20);
    }
}
