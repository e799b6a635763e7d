//! The clocks of two hosts. Pure.
//!
//! CLOCK_MONOTONIC counts from a host's boot, so two of them may be days apart; and they run apart, by some millionths at
//! most. The offset is taken from the quickest of several round trips, as NTP does (RFC 5905): it is wrong by half of that
//! at most.

use serde::{Deserialize, Serialize};

/// How long two samples have to be apart for a rate: over a shorter time the error of the samples would be taken for one.
const BASELINE_NS: u64 = 5_000_000_000;

/// The most that one clock may run faster than the other, in billionths: what the kernel slews a clock by (adjtimex(2)),
/// twice.
const RATE_MAX_PPB: i128 = 1_000_000;

/// Translates times of this host's clock into those of another host's, and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClockMap {
    /// When the offset was taken, by this host's clock.
    at_ns: u64,
    /// The other clock less this one, in nanoseconds.
    offset_ns: i64,
    /// Nanoseconds that the other clock gains per second.
    rate_ppb: i64,
}

impl ClockMap {
    /// The other clock less this one when that was taken, in nanoseconds.
    pub(crate) fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// A time of this host by the other clock.
    pub(crate) fn there(&self, here_ns: u64) -> u64 {
        shifted(here_ns, self.offset_at(here_ns))
    }

    /// A time of the other host by this clock.
    pub(crate) fn here(&self, there_ns: u64) -> u64 {
        // The offset depends on the time by this clock, which a first estimate without the rate and a second one with it
        // bring near enough.
        let roughly_ns = shifted(there_ns, -i128::from(self.offset_ns));
        let nearly_ns = shifted(there_ns, -self.offset_at(roughly_ns));
        shifted(there_ns, -self.offset_at(nearly_ns))
    }

    fn offset_at(&self, here_ns: u64) -> i128 {
        let since_ns = i128::from(here_ns) - i128::from(self.at_ns);
        i128::from(self.offset_ns) + since_ns * i128::from(self.rate_ppb) / 1_000_000_000
    }
}

/// A time that a server claims may be anything, so the sum ends where times end.
fn shifted(ns: u64, by_ns: i128) -> u64 {
    (i128::from(ns) + by_ns).clamp(0, i128::from(u64::MAX)) as u64
}

/// The offset at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// By this host's clock.
    at_ns: u64,
    offset_ns: i64,
    /// Half of the round trip.
    pub(super) error_ns: u64,
}

impl Sample {
    /// Of one round trip: this clock before and after it, the other one in between.
    pub(super) fn of(before_ns: u64, there_ns: u64, after_ns: u64) -> Self {
        let error_ns = after_ns.saturating_sub(before_ns).div_ceil(2);
        let at_ns = before_ns + error_ns;
        Self { at_ns, offset_ns: there_ns.cast_signed().wrapping_sub(at_ns.cast_signed()), error_ns }
    }
}

/// What is known of another host's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    first: Option<Sample>,
    last: Option<Sample>,
}

impl Clock {
    /// Adds a sample; returns how far it is from what was foreseen, in nanoseconds.
    pub(super) fn add(&mut self, sample: Sample) -> u64 {
        let foreseen = self.map().offset_at(sample.at_ns);
        let is_known = self.last.is_some();
        self.first.get_or_insert(sample);
        self.last = Some(sample);
        if is_known { (i128::from(sample.offset_ns) - foreseen).unsigned_abs() as u64 } else { 0 }
    }

    /// The offset of the latest sample, and the rate since the first.
    pub(super) fn map(&self) -> ClockMap {
        let Some((first, last)) = self.first.zip(self.last) else { return ClockMap::default() };
        let span_ns = last.at_ns.saturating_sub(first.at_ns);
        let rate = if span_ns < BASELINE_NS {
            0
        } else {
            let gained = i128::from(last.offset_ns) - i128::from(first.offset_ns);
            (gained * 1_000_000_000 / i128::from(span_ns)).clamp(-RATE_MAX_PPB, RATE_MAX_PPB)
        };
        ClockMap { at_ns: last.at_ns, offset_ns: last.offset_ns, rate_ppb: rate as i64 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn the_offset_is_taken_in_the_middle_of_a_round_trip() {
        let sample = Sample::of(1_000, 86_400_001_010, 1_020);
        assert_eq!(sample, Sample { at_ns: 1_010, offset_ns: 86_400_000_000, error_ns: 10 });
        let behind = Sample::of(5_000_000, 7, 5_000_010);
        assert_eq!(behind.offset_ns, 7 - 5_000_005);
    }

    #[test]
    fn a_clock_that_runs_faster_is_foreseen_once_it_was_watched_for_long_enough() {
        let mut clock = Clock::default();
        // 20 us per second.
        let sample =
            |second: u64| Sample { at_ns: second * SECOND_NS, offset_ns: 1_000 + 20_000 * second as i64, error_ns: 5 };
        assert_eq!(clock.add(sample(1)), 0, "nothing was foreseen");
        assert_eq!(clock.add(sample(3)), 40_000);
        assert_eq!(clock.add(sample(11)), 160_000);
        assert_eq!(clock.add(sample(21)), 0);
        assert_eq!(clock.map().there(31 * SECOND_NS), 31 * SECOND_NS + 1_000 + 20_000 * 31);
    }

    #[test]
    fn absurd_times_stay_absurd() {
        let map = ClockMap { at_ns: 0, offset_ns: -1_000, rate_ppb: 0 };
        assert_eq!((map.there(10), map.here(u64::MAX)), (0, u64::MAX));
    }

    proptest! {
        #[test]
        fn a_time_comes_back_as_it_was(
            at_ns in 0..u64::MAX / 4, offset_ns in -(1_i64 << 60)..1 << 60, rate_ppb in -100_000..100_000_i64, later in 0..600_u64,
        ) {
            let map = ClockMap { at_ns: at_ns + (1 << 61), offset_ns, rate_ppb };
            let here_ns = map.at_ns + later * SECOND_NS;
            prop_assert!(map.here(map.there(here_ns)).abs_diff(here_ns) <= 10);
        }
    }
}
