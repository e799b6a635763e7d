//! Deadlines of connections, for a loop that sleeps until the first of them: a pure queue, without a clock.
//!
//! Handshakes and idle timeouts both need it, so its lines count for each.

use std::{cmp::Reverse, collections::BinaryHeap};

// region: handshake
// region: idle timeout
/// Entries below which the queue is not swept.
const SWEEP_MIN: usize = 64;

/// A queue of deadlines, each with what it concerns.
///
/// A deadline that is no longer wanted is not searched for, but forgotten when it comes first; when there are many, all of
/// them are. A deadline later than all others, which is the rule if all are given the same time, is added in constant
/// time.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    queue: BinaryHeap<Reverse<(u64, T)>>,
    /// The length at which the queue is swept.
    sweep_at: usize,
}

impl<T: Copy + Ord> Deadlines<T> {
    pub(crate) fn new() -> Self {
        Self { queue: BinaryHeap::new(), sweep_at: SWEEP_MIN }
    }

    /// Adds a deadline; `is_wanted` tells which of the earlier ones still are.
    pub(crate) fn push(&mut self, at_ns: u64, of: T, is_wanted: impl Fn(T) -> bool) {
        if self.queue.len() >= self.sweep_at {
            self.queue.retain(|Reverse((_, of))| is_wanted(*of));
            self.sweep_at = SWEEP_MIN.max(2 * self.queue.len());
        }
        self.queue.push(Reverse((at_ns, of)));
    }

    /// The first deadline that is wanted.
    pub(crate) fn next_ns(&mut self, is_wanted: impl Fn(T) -> bool) -> Option<u64> {
        while let Some(Reverse((at_ns, of))) = self.queue.peek() {
            if is_wanted(*of) {
                return Some(*at_ns);
            }
            self.queue.pop();
        }
        None
    }

    /// Takes the first deadline, wanted or not, if it has passed.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<T> {
        let Reverse((at_ns, _)) = self.queue.peek()?;
        if *at_ns > now_ns {
            return None;
        }
        self.queue.pop().map(|Reverse((_, of))| of)
    }
}

// endregion
// endregion

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn nothing_is_taken_before_its_deadline() {
        let mut deadlines = Deadlines::new();
        deadlines.push(20, 'b', |_| true);
        deadlines.push(10, 'a', |_| true);
        assert_eq!(deadlines.next_ns(|_| true), Some(10));
        assert_eq!(deadlines.take(9), None);
        assert_eq!(deadlines.take(10), Some('a'));
        assert_eq!(deadlines.take(19), None);
        assert_eq!(deadlines.take(u64::MAX), Some('b'));
        assert_eq!((deadlines.take(u64::MAX), deadlines.next_ns(|_| true)), (None, None));
    }

    #[test]
    fn deadlines_that_are_no_longer_wanted_neither_wake_nor_pile_up() {
        let mut deadlines = Deadlines::new();
        deadlines.push(u64::MAX, 0, |_| true);
        for number in 1..100_000 {
            // All but the first, which is silent, and the last are done.
            deadlines.push(number, number, |of| of == 0 || of + 1 == number);
            assert!(deadlines.queue.len() <= SWEEP_MIN, "{}", deadlines.queue.len());
        }
        assert_eq!(deadlines.next_ns(|of| of == 0), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn every_wanted_deadline_is_taken_once_in_order_and_is_the_next_until_then(
            given in prop::collection::vec((0..1_000_u64, any::<bool>()), 0..300),
            pauses in prop::collection::vec(0..50_u64, 1..60),
        ) {
            let mut deadlines = Deadlines::new();
            for (number, (at_ns, _)) in given.iter().enumerate() {
                deadlines.push(*at_ns, number, |of| given[of].1);
            }
            let wanted = given.iter().enumerate().filter(|(_, (_, wanted))| *wanted);
            let mut left: BTreeSet<(u64, usize)> = wanted.map(|(number, (at_ns, _))| (*at_ns, number)).collect();
            let mut now_ns = 0;
            for pause in pauses {
                now_ns += pause;
                while let Some(number) = deadlines.take(now_ns) {
                    if given[number].1 {
                        prop_assert_eq!(left.pop_first(), Some((given[number].0, number)));
                    }
                }
                prop_assert!(left.first().is_none_or(|(at_ns, _)| *at_ns > now_ns));
                prop_assert_eq!(deadlines.next_ns(|of| given[of].1), left.first().map(|(at_ns, _)| *at_ns));
            }
        }
    }
}
