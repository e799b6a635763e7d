//! When messages are due: a pure function of seed, rate, arrivals and duration.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

/// How the times between two messages are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Independent exponential gaps, connections drawn at random
    Poisson,
    /// Equal gaps, connections in turn: for known answers, since it hides queueing
    Constant,
}

impl Arrivals {
    /// As it is called on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Constant => "constant",
        }
    }
}

/// One message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When it is due, in nanoseconds after the start of the window.
    pub due_ns: u64,
    /// On which connection.
    pub connection: u32,
}

/// Every slot of a window, in the order of their times.
///
/// The generator is ChaCha8, whose output is specified, so that a seed means the same schedule everywhere.
pub fn slots(seed: u64, arrivals: Arrivals, rate_per_sec: u64, window: Duration, connections: u32) -> Vec<Slot> {
    let window_ns = window.as_nanos() as f64;
    let gap_ns = 1e9 / rate_per_sec as f64;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut slots = Vec::with_capacity((window_ns / gap_ns * 1.05) as usize + 16);
    let mut due_ns = 0.0;
    loop {
        let connection = match arrivals {
            Arrivals::Poisson => {
                let gap: f64 = Exp1.sample(&mut random);
                due_ns += gap_ns * gap;
                random.random_range(0..connections)
            }
            Arrivals::Constant => {
                // Multiplied, not added up: no error grows.
                due_ns = gap_ns * slots.len() as f64;
                (slots.len() % connections as usize) as u32
            }
        };
        if due_ns >= window_ns {
            return slots;
        }
        slots.push(Slot { due_ns: due_ns as u64, connection });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_take_the_connections_in_turn() {
        let slots = slots(1, Arrivals::Constant, 1_000, SECOND, 3);
        assert_eq!(slots.len(), 1_000);
        assert_eq!(slots[999], Slot { due_ns: 999_000_000, connection: 0 });
        assert_eq!(slots[1], Slot { due_ns: 1_000_000, connection: 1 });
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let slots = slots(7, Arrivals::Poisson, 100_000, SECOND, 64);
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
        // Values of record: if they change, sessions recorded before are no longer comparable.
        let slots = slots(42, Arrivals::Poisson, 1_000, SECOND, 64);
        let first: Vec<(u64, u32)> = slots.iter().take(3).map(|slot| (slot.due_ns, slot.connection)).collect();
        assert_eq!((slots.len(), first), (1_026, vec![(875_883, 9), (1_559_866, 27), (3_028_567, 47)]));
    }

    proptest! {
        #[test]
        fn slots_are_in_order_within_the_window_and_the_same_for_the_same_seed(
            seed: u64, rate in 1..20_000_u64, millis in 1..500_u64, connections in 1..100_u32,
            poisson: bool,
        ) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let window = Duration::from_millis(millis);
            let made = slots(seed, arrivals, rate, window, connections);
            prop_assert!(made.is_sorted_by_key(|slot| slot.due_ns));
            prop_assert!(made.iter().all(|slot| slot.due_ns < millis * 1_000_000 && slot.connection < connections));
            prop_assert_eq!(&made, &slots(seed, arrivals, rate, window, connections));
        }
    }
}
