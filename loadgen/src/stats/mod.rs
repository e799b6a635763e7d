//! Statistics: pure functions over slices. Nothing here reads a clock, a file or a random number that is not seeded.
//!
//! The replicate is the block: a slice holds one value per block, never windows or messages. [`comparison`] sets two
//! arms side by side, by the signed ranks of [`signed_rank`] and within a family as [`holm`] says, and comes to a
//! [`verdict`]; [`simulate`] shows on made-up data that the intervals hold what they promise.

pub mod comparison;
pub mod holm;
mod normal;
pub mod pace;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
