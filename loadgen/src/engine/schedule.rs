//! When messages are due: a pure function of seed, rate, arrivals and duration.

use std::time::Duration;

use protocol::work::Work;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};
use serde::{Deserialize, Serialize};

use crate::plan::{Arrivals, Payloads, Rate};

/// One message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// When the message is due, in nanoseconds after the start of the window.
    pub(crate) due_ns: u64,
    /// Number of the connection.
    pub(crate) connection: u32,
    /// Index of the payload size.
    pub(crate) size: u16,
    /// Costs the server no more than most; never set unless [`Schedule::marks_light`].
    pub(crate) is_light: bool,
}

/// What an open loop sends. It travels to other hosts as it is: each draws all slots, and takes its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Equal seeds give equal schedules.
    pub(crate) seed: u64,
    /// Messages per second.
    pub(crate) rate: Rate,
    /// How their gaps are distributed.
    pub(crate) arrivals: Arrivals,
    /// Their sizes.
    pub(crate) payloads: Payloads,
    /// Number of connections that they are spread over.
    pub(crate) connections: u32,
    /// Length of the window.
    pub(crate) length: Duration,
    /// The server's work, if the slots whose messages cost it no more than most are to be marked.
    #[serde(with = "work_text")]
    pub(crate) marks_light: Option<Work>,
}

/// Work as it is written on a command line.
mod work_text {
    use protocol::work::Work;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(work: &Option<Work>, serializer: S) -> Result<S::Ok, S::Error> {
        work.as_ref().map(Work::to_string).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Work>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

impl Schedule {
    /// The slots of a window, by time.
    ///
    /// Arrivals of rate 1 are stretched by the inverse of the expected count (Cinlar's method), so that a ramp of
    /// Poisson arrivals is a Poisson process as well. Random numbers come from ChaCha8, whose output is specified, so
    /// that a seed gives the same schedule everywhere.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let window_ns = self.length.as_nanos() as f64;
        let seconds = window_ns / 1e9;
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut slots = Vec::with_capacity((self.rate.mean_per_sec() * seconds * 1.05) as usize + 16);
        let mut arrived = 0.0;
        loop {
            let connection = match self.arrivals {
                Arrivals::Poisson => {
                    let gap: f64 = Exp1.sample(&mut random);
                    arrived += gap;
                    random.random_range(0..self.connections)
                }
                Arrivals::Constant => {
                    arrived = slots.len() as f64;
                    (slots.len() % self.connections as usize) as u32
                }
            };
            let due_ns = self.rate.share_of(arrived / seconds) * window_ns;
            if due_ns.is_nan() || due_ns >= window_ns {
                return slots;
            }
            let size = match self.payloads.sizes() {
                [_] => 0,
                _ => self.payloads.pick(random.random()),
            };
            slots.push(Slot { due_ns: due_ns as u64, connection, size, is_light: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn slots(seed: u64, arrivals: Arrivals, rate: &Rate, window: Duration, connections: u32) -> Vec<Slot> {
        let payloads = Payloads::one(64);
        Schedule { seed, rate: rate.clone(), arrivals, payloads, connections, length: window, marks_light: None }
            .slots()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_use_the_connections_in_turn() {
        let slots = slots(1, Arrivals::Constant, &Rate::Steady(1_000.0), SECOND, 3);
        assert_eq!(slots.len(), 1_000);
        assert_eq!(slots[999], Slot { due_ns: 999_000_000, connection: 0, size: 0, is_light: false });
        assert_eq!(slots[1], Slot { due_ns: 1_000_000, connection: 1, size: 0, is_light: false });
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let slots = slots(7, Arrivals::Poisson, &Rate::Steady(100_000.0), SECOND, 64);
        let mut gaps: Vec<f64> =
            slots.windows(2).map(|pair| (pair[1].due_ns - pair[0].due_ns) as f64 / 10_000.0).collect();
        gaps.sort_by(f64::total_cmp);
        // Distance between the observed and the exponential distribution, as an effect size (Kolmogorov-Smirnov).
        let distance = gaps.iter().enumerate().map(|(index, gap)| {
            let expected = 1.0 - (-gap).exp();
            (index as f64 / gaps.len() as f64 - expected).abs()
        });
        assert!(distance.fold(0.0, f64::max) < 0.01);
        // The count is Poisson as well: five standard deviations around its mean.
        assert!((slots.len() as f64 - 1e5).abs() < 5.0 * 1e5_f64.sqrt());
    }

    #[test]
    fn the_schedule_of_a_seed_never_changes() {
        // If these values change, sessions recorded before are no longer comparable.
        let slots = slots(42, Arrivals::Poisson, &Rate::Steady(1_000.0), SECOND, 64);
        let first: Vec<(u64, u32)> = slots.iter().take(3).map(|slot| (slot.due_ns, slot.connection)).collect();
        assert_eq!((slots.len(), first), (1_026, vec![(875_883, 9), (1_559_866, 27), (3_028_567, 47)]));
    }

    #[test]
    fn a_rate_below_one_per_second_has_its_messages_at_their_times() {
        let minute = Duration::from_secs(60);
        let due = |rate| -> Vec<u64> {
            slots(1, Arrivals::Constant, &rate, minute, 1)
                .iter()
                .map(|slot| (slot.due_ns + 1) / 1_000_000_000)
                .collect()
        };
        assert_eq!(due(Rate::Steady(0.1)), [0, 10, 20, 30, 40, 50]);
        assert_eq!(due(Rate::Steps(vec![0.1, 0.0]))[..3], [0, 10, 20]);
        assert_eq!(due(Rate::Ramp { from: 0.0, to: 0.1 })[..3], [0, 34, 48]);
    }

    #[test]
    fn a_ramp_offers_its_rate_at_all_times() {
        for (from, to) in [(1e3, 50e3), (50e3, 1e3), (0.0, 20e3), (20e3, 0.0), (9e3, 9e3)] {
            let slots = slots(1, Arrivals::Constant, &Rate::Ramp { from, to }, SECOND, 1);
            let mean = (from + to) / 2.0;
            assert!((slots.len() as f64 - mean).abs() <= 2.0, "{from}..{to}: {}", slots.len());
            let quarter = slots.iter().filter(|slot| slot.due_ns < 250_000_000).count() as f64;
            let expected = 0.25 * from + (to - from) / 32.0;
            assert!((quarter - expected).abs() <= 2.0, "{from}..{to}: {quarter} in the first quarter, not {expected}");
        }
    }

    #[test]
    fn steps_divide_the_window_equally() {
        let slots = slots(1, Arrivals::Constant, &Rate::Steps(vec![1_000.0, 0.0, 4_000.0, 2_000.0]), SECOND, 1);
        let in_step = |step: u64| slots.iter().filter(|slot| slot.due_ns / 250_000_000 == step).count();
        let counts: Vec<usize> = (0..4).map(in_step).collect();
        assert!(counts.iter().zip([250, 0, 1_000, 500]).all(|(got, wanted)| got.abs_diff(wanted) <= 1), "{counts:?}");
    }

    #[test]
    fn sizes_occur_as_often_as_requested() {
        let payloads = Payloads::mix(&[(64, None), (1024, Some(0.1))]).unwrap();
        let rate = Rate::Steady(100_000.0);
        let schedule = Schedule {
            seed: 3,
            rate,
            arrivals: Arrivals::Poisson,
            payloads,
            connections: 8,
            length: SECOND,
            marks_light: None,
        };
        let slots = schedule.slots();
        let long = slots.iter().filter(|slot| slot.size == 1).count() as f64 / slots.len() as f64;
        assert!((long - 0.1).abs() < 0.005, "{long}");
        assert_eq!(slots, schedule.slots());
    }

    proptest! {
        #[test]
        fn slots_are_in_order_within_the_window_and_the_same_for_the_same_seed(
            seed: u64, rates in prop::collection::vec(0.0..20_000.0_f64, 1..5), millis in 1..500_u64,
            connections in 1..100_u32, poisson: bool, ramp: bool,
        ) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let rate = match rates[..] {
                [rate] => Rate::Steady(rate + 1.0),
                [from, to, ..] if ramp => Rate::Ramp { from, to: to + 1.0 },
                _ => Rate::Steps(rates.clone()),
            };
            let window = Duration::from_millis(millis);
            let made = slots(seed, arrivals, &rate, window, connections);
            prop_assert!(made.is_sorted_by_key(|slot| slot.due_ns));
            prop_assert!(made.iter().all(|slot| slot.due_ns < millis * 1_000_000 && slot.connection < connections));
            prop_assert_eq!(&made, &slots(seed, arrivals, &rate, window, connections));
        }
    }
}
