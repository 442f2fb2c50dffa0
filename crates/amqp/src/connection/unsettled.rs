//! Deliveries that are not settled, in the order of their ids.
//!
//! Ids ascend with gaps (uamqp counts transfers) and wrap around (part 2 §2.8.8, RFC
//! 1982). Most deliveries are settled in their order, so this is a queue with holes,
//! not a tree.

use std::collections::VecDeque;
use std::ops::Range;

/// Unsettled deliveries of one direction of a session.
#[derive(Debug)]
pub(super) struct Unsettled<T> {
    /// None is a hole.
    entries: VecDeque<(u32, Option<T>)>,
    live: usize,
}

impl<T> Default for Unsettled<T> {
    fn default() -> Unsettled<T> {
        Unsettled { entries: VecDeque::new(), live: 0 }
    }
}

impl<T> Unsettled<T> {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.live
    }

    /// Adds a delivery whose id comes after all others'.
    pub(super) fn push(&mut self, number: u32, entry: T) {
        debug_assert!(self.entries.back().is_none_or(|(last, _)| is_after(number, *last)));
        self.entries.push_back((number, Some(entry)));
        self.live += 1;
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let index = self.index(number);
        match self.entries.get_mut(index) {
            Some((found, entry)) if *found == number => entry.as_mut(),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let index = self.index(number);
        let entry = match self.entries.get_mut(index) {
            Some((found, entry)) if *found == number => entry.take()?,
            _ => return None,
        };
        self.live -= 1;
        self.tidy();
        Some(entry)
    }

    /// The ids from `first` to `last` that are here. A peer may name a range of 2³¹:
    /// what is looked at is bounded by what is here.
    pub(super) fn numbers(&self, first: u32, last: u32) -> Vec<u32> {
        let Range { start, end } = self.index(first)..self.index(last.wrapping_add(1));
        self.entries
            .iter()
            .skip(start)
            .take(end.saturating_sub(start))
            .filter(|(_, entry)| entry.is_some())
            .map(|(number, _)| *number)
            .collect()
    }

    /// Removes all that `is_gone` says, and returns how many those were.
    pub(super) fn remove_all(&mut self, mut is_gone: impl FnMut(&T) -> bool) -> usize {
        let before = self.live;
        self.entries.retain(|(_, entry)| entry.as_ref().is_some_and(|entry| !is_gone(entry)));
        self.live = self.entries.len();
        self.tidy();
        before - self.live
    }

    /// Where `number` is, or would be.
    fn index(&self, number: u32) -> usize {
        match self.entries.front() {
            Some((first, _)) if *first == number => 0,
            _ => self.entries.partition_point(|(entry, _)| is_after(number, *entry)),
        }
    }

    /// Removes holes where they are cheap to remove, or many.
    fn tidy(&mut self) {
        while self.entries.front().is_some_and(|(_, entry)| entry.is_none()) {
            self.entries.pop_front();
        }
        if self.entries.len() > 2 * self.live + HOLES_MAX {
            self.entries.retain(|(_, entry)| entry.is_some());
        }
        if self.entries.is_empty() && self.entries.capacity() > IDLE_CAPACITY_MAX {
            self.entries = VecDeque::new();
        }
    }
}

/// Whether serial number `one` comes after `two`. RFC 1982.
pub(super) fn is_after(one: u32, two: u32) -> bool {
    one != two && one.wrapping_sub(two) <= SERIAL_HALF
}

/// Half of the serial numbers come after any one.
const SERIAL_HALF: u32 = u32::MAX / 2;
/// Holes that may be there beside as many as there are entries.
const HOLES_MAX: usize = 64;
/// Entries for which an idle session may keep memory.
const IDLE_CAPACITY_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_around() {
        let mut unsettled = Unsettled::default();
        for number in [u32::MAX - 1, u32::MAX, 0, 3] {
            unsettled.push(number, number);
        }
        assert_eq!(unsettled.numbers(u32::MAX, 2), [u32::MAX, 0]);
        assert_eq!(unsettled.numbers(u32::MAX - 9, 9), [u32::MAX - 1, u32::MAX, 0, 3]);
        assert_eq!(unsettled.numbers(4, 9), [] as [u32; 0]);
        assert_eq!(unsettled.numbers(u32::MAX - 9, u32::MAX - 5), [] as [u32; 0]);
        assert_eq!(unsettled.remove(0), Some(0));
        assert_eq!(unsettled.remove(0), None);
        assert_eq!(unsettled.remove(1), None);
        assert_eq!(unsettled.numbers(u32::MAX, 3), [u32::MAX, 3]);
        assert_eq!(unsettled.get_mut(3), Some(&mut 3));
        assert_eq!(unsettled.remove(u32::MAX - 1), Some(u32::MAX - 1));
        assert_eq!(unsettled.len(), 2);
    }

    #[test]
    fn holes_are_bounded() {
        let mut unsettled = Unsettled::default();
        unsettled.push(0, 0);
        for number in 1..10_000 {
            unsettled.push(number, number);
            assert_eq!(unsettled.remove(number), Some(number));
            assert!(unsettled.entries.len() <= 2 + HOLES_MAX);
        }
        assert_eq!(unsettled.remove_all(|_| true), 1);
        assert_eq!((unsettled.len(), unsettled.entries.len()), (0, 0));
    }
}
