//! Statistics: pure functions over slices. Nothing here reads a clock, a file or a random number that is not seeded.
//!
//! The replicate is the block: a slice holds one value per block, never windows or messages. [`comparison`] compares
//! two arms by signed ranks ([`signed_rank`]), adjusts for the family ([`graph`]) and arrives at a [`verdict`];
//! [`simulate`] checks on synthetic data that the intervals have their nominal coverage. [`random_effects`] combines the
//! comparisons of several sessions.

pub mod comparison;
pub mod graph;
mod normal;
pub mod pace;
pub mod power;
pub mod random_effects;
mod rank_sums;
pub mod signed_rank;
pub mod simulate;
pub mod verdict;

/// The `quantile` of `values` (0.5 is the median), interpolated between neighbours; `None` if there are none.
pub fn quantile(values: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = quantile * (sorted.len().checked_sub(1)? as f64);
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    Some(below + (above - below) * position.fract())
}

/// Minimum number of samples beyond a quantile that is printed or judged.
pub const SAMPLES_BEYOND: u64 = 30;

/// Minimum number of samples to estimate a `quantile` between 0 and 1: 60 for 0.5, 3,000 for 0.99.
pub fn samples_needed(quantile: f64) -> u64 {
    // In parts per million, finer than any requested quantile, since 1 - quantile is not exact in floating point.
    let beyond_ppm = ((1.0 - quantile) * 1e6).round().max(1.0);
    (SAMPLES_BEYOND as f64 * 1e6 / beyond_ppm).ceil() as u64
}

/// Number of samples that lie beyond the `quantile` of so many: the whole part of their share.
pub fn samples_beyond(samples: u64, quantile: f64) -> u64 {
    let beyond_ppm = ((1.0 - quantile) * 1e6).round();
    (u128::from(samples) * beyond_ppm as u128 / 1_000_000) as u64
}

/// Whether the number of samples suffices to estimate a quantile.
pub fn is_told(samples: u64, quantile: f64) -> bool {
    samples >= samples_needed(quantile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quantile_takes_thirty_samples_beyond_it() {
        for (quantile, samples) in [(0.5, 60), (0.9, 300), (0.99, 3_000), (0.999, 30_000), (0.9999, 300_000)] {
            assert_eq!(samples_needed(quantile), samples);
            assert!(is_told(samples, quantile) && !is_told(samples - 1, quantile), "{quantile}");
        }
        assert!(!is_told(0, 0.5));
    }

    #[test]
    fn thirty_samples_lie_beyond_a_quantile_exactly_when_there_are_enough() {
        for quantile in [0.5, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999] {
            let enough = samples_needed(quantile);
            assert_eq!([enough - 1, enough].map(|samples| samples_beyond(samples, quantile)), [29, 30], "{quantile}");
        }
        assert_eq!((samples_beyond(0, 0.5), samples_beyond(99, 0.99), samples_beyond(100, 0.99)), (0, 0, 1));
        assert_eq!(samples_beyond(u64::MAX, 0.5), u64::MAX / 2);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[7.0], 0.25), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    proptest! {
        #[test]
        fn a_quantile_lies_between_the_extremes_and_scales(
            values in prop::collection::vec(0.0..1e9_f64, 1..50), at in 0.0..=1.0_f64,
        ) {
            let found = quantile(&values, at).unwrap();
            prop_assert!(values.iter().any(|value| *value <= found) && values.iter().any(|value| *value >= found));
            let doubled: Vec<f64> = values.iter().map(|value| value * 2.0).collect();
            prop_assert!((quantile(&doubled, at).unwrap() - 2.0 * found).abs() <= 1e-6 * found.max(1.0));
        }
    }
}
