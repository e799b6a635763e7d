//! When ticks are due (B4): a pure function of the time.

use std::time::Duration;

/// One tick of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Its number k, counted from 1.
    pub number: u64,
    /// When it was due, in nanoseconds of the schedule's clock.
    pub due_ns: u64,
    /// Number of ticks skipped since the last one taken.
    pub skipped: u64,
}

/// The tick schedule: tick k is due at start + k * interval.
///
/// It reads no clock: a server waits until [`next_due_ns`](Self::next_due_ns) and passes the time to
/// [`take`](Self::take).
#[derive(Clone, Debug)]
pub struct Schedule {
    start_ns: u64,
    interval_ns: u64,
    taken: u64,
}

impl Schedule {
    /// A schedule that starts at `start_ns`; an interval of zero means that no tick ever comes.
    pub fn new(start_ns: u64, interval: Duration) -> Self {
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self { start_ns, interval_ns, taken: 0 }
    }

    /// When the next tick is due, or `None` if broadcasts are off.
    pub fn next_due_ns(&self) -> Option<u64> {
        (self.interval_ns > 0).then(|| self.due_ns(self.taken + 1))
    }

    /// The newest tick due at `now_ns` that has not been taken, if there is one.
    ///
    /// Older due ticks are skipped and counted in [`Tick::skipped`].
    pub fn take(&mut self, now_ns: u64) -> Option<Tick> {
        let number = now_ns.saturating_sub(self.start_ns).checked_div(self.interval_ns)?;
        if number <= self.taken {
            return None;
        }
        let skipped = number - self.taken - 1;
        self.taken = number;
        Some(Tick { number, due_ns: self.due_ns(number), skipped })
    }

    fn due_ns(&self, number: u64) -> u64 {
        self.start_ns.saturating_add(number.saturating_mul(self.interval_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn no_tick_comes_at_the_start_or_before_the_first_interval_has_passed() {
        let mut schedule = Schedule::new(5 * MS, Duration::from_millis(10));
        assert_eq!(schedule.take(0), None);
        assert_eq!(schedule.take(5 * MS), None);
        assert_eq!(schedule.take(15 * MS - 1), None);
        assert_eq!(schedule.take(15 * MS), Some(Tick { number: 1, due_ns: 15 * MS, skipped: 0 }));
    }

    #[test]
    fn a_late_server_takes_only_the_newest_due_tick() {
        let mut schedule = Schedule::new(0, Duration::from_millis(10));
        assert_eq!(schedule.take(57 * MS), Some(Tick { number: 5, due_ns: 50 * MS, skipped: 4 }));
        assert_eq!(schedule.take(59 * MS), None);
        assert_eq!(schedule.next_due_ns(), Some(60 * MS));
    }

    #[test]
    fn an_interval_of_zero_turns_broadcasts_off() {
        let mut schedule = Schedule::new(0, Duration::ZERO);
        assert_eq!(schedule.next_due_ns(), None);
        assert_eq!(schedule.take(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn every_tick_is_taken_once_or_counted_as_skipped_and_none_drifts(
            start in 0..1_000 * MS,
            interval_ms in 10_u64..100,
            pauses in prop::collection::vec(0..500 * MS, 1..50),
        ) {
            let interval = interval_ms * MS;
            let mut schedule = Schedule::new(start, Duration::from_millis(interval_ms));
            let (mut now, mut seen) = (start, 0);
            for pause in pauses {
                now += pause;
                if let Some(tick) = schedule.take(now) {
                    seen += 1 + tick.skipped;
                    prop_assert_eq!(tick.number, seen);
                    prop_assert_eq!(tick.due_ns, start + tick.number * interval);
                }
                prop_assert_eq!(seen, (now - start) / interval);
                prop_assert!(schedule.next_due_ns().unwrap() > now);
            }
        }

        #[test]
        fn extreme_times_and_intervals_do_not_overflow_and_a_clock_that_goes_back_repeats_no_tick(
            start: u64,
            interval in prop_oneof![
                Just(Duration::ZERO), Just(Duration::MAX),
                (10..u64::MAX / MS).prop_map(Duration::from_millis), (10..1_000_u64).prop_map(Duration::from_millis),
            ],
            readings in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let mut schedule = Schedule::new(start, interval);
            let mut taken = 0;
            for now in readings {
                let Some(tick) = schedule.take(now) else { continue };
                prop_assert_eq!(tick.number, taken + 1 + tick.skipped);
                prop_assert!(tick.due_ns > start && tick.due_ns <= now);
                prop_assert!(schedule.next_due_ns().is_some_and(|due_ns| due_ns > now || due_ns == u64::MAX));
                taken = tick.number;
            }
        }
    }
}
