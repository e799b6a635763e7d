//! Signed-rank statistics of paired differences: Hodges-Lehmann estimate, Wilcoxon's exact interval and test.
//!
//! The only assumption is that differences are distributed symmetrically around the true value. With the order of the
//! arms drawn at random in each block, equal arms satisfy it for any distribution of the noise. Sources:
//! Wilcoxon, Individual comparisons by ranking methods (1945); Hodges and Lehmann, Estimates of location based on rank
//! tests (1963); Hollander and Wolfe, Nonparametric Statistical Methods, section 3.
//!
//! **Zeros and ties** occur in counts such as wake-ups. The test follows Pratt (Remarks on zeros and ties in the Wilcoxon
//! signed rank procedures, JASA 54, 1959): a zero takes part in the ranking and its rank is then left out, so that many
//! zeros weaken the evidence of the rest; ties share the mean of their ranks. The distribution is exact for these
//! ranks. The interval is closed and counts zeros and ties against any claim, which makes it conservative for
//! discrete values (Noether, Wilcoxon confidence intervals for location parameters in the discrete case, JASA 62, 1967).
//! Without zeros and ties the two agree exactly: the interval contains the values that the test does not reject.
//!
//! Values must be finite. Work and memory grow with the square of the number of blocks.

use super::rank_sums::RankSums;

/// A confidence interval of the true difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end, included.
    pub low: f64,
    /// The upper end, included.
    pub high: f64,
    /// The exact confidence level, at least the requested one, since rank sums are discrete.
    pub level: f64,
}

/// The Hodges-Lehmann estimate: the median of the means of all pairs of differences, including each with itself; `None`
/// without differences.
pub fn estimate(differences: &[f64]) -> Option<f64> {
    let means = walsh_averages(differences);
    let above = *means.get(means.len() / 2)?;
    Some(if means.len() % 2 == 1 { above } else { means[means.len() / 2 - 1].midpoint(above) })
}

/// The confidence interval of the true difference at `level` (such as 0.95) or more; `None` with too few differences: at
/// least 6 are needed for 0.95, 8 for 0.99.
pub fn interval(differences: &[f64], level: f64) -> Option<Interval> {
    let doubled_ranks: Vec<usize> = (1..=differences.len()).map(|rank| 2 * rank).collect();
    let sums = RankSums::of(&doubled_ranks);
    // The test rejects a value if at most this many of the means lie on one side of it.
    let rejected = sums.largest_within((1.0 - level) / 2.0)? / 2;
    let means = walsh_averages(differences);
    let [low, high] = [*means.get(rejected)?, means[means.len() - 1 - rejected]];
    Some(Interval { low, high, level: 1.0 - 2.0 * sums.at_most(2 * rejected) })
}

/// The smallest number of differences with which there is an interval at `level`: the extremes of n differences contain the
/// true one with probability 1 - 2 / 2^n.
pub fn blocks_for_interval(level: f64) -> u64 {
    // Of as many as are tried, the last one's probability is below any level's that a number can express.
    (1..=64).find(|blocks| 0.5_f64.powi(*blocks) <= (1.0 - level) / 2.0).map_or(64, |blocks| blocks as u64)
}

/// The two-sided p-value of equal arms, exact up to 200 differences other than 0; 1 if there are none.
pub fn p_value(differences: &[f64]) -> f64 {
    let ranked = doubled_ranks(differences);
    let sum = |has_sign: fn(f64) -> bool| -> usize {
        ranked.iter().filter(|(difference, _)| has_sign(*difference)).map(|(_, rank)| rank).sum()
    };
    let smaller = sum(f64::is_sign_negative).min(sum(f64::is_sign_positive));
    let ranks: Vec<usize> = ranked.iter().map(|(_, rank)| *rank).collect();
    (2.0 * RankSums::of(&ranks).at_most(smaller)).min(1.0)
}

/// The means of all pairs, in order.
fn walsh_averages(differences: &[f64]) -> Vec<f64> {
    let pairs = differences
        .iter()
        .enumerate()
        .flat_map(|(index, left)| differences[index..].iter().map(|right| left.midpoint(*right)));
    let mut means: Vec<f64> = pairs.collect();
    means.sort_unstable_by(f64::total_cmp);
    means
}

/// Each nonzero difference with twice its rank by size; the zeros have the lowest ranks.
fn doubled_ranks(differences: &[f64]) -> Vec<(f64, usize)> {
    let mut sorted = differences.to_vec();
    sorted.sort_unstable_by(|left, right| left.abs().total_cmp(&right.abs()));
    let mut ranked = Vec::with_capacity(sorted.len());
    let mut below = 0;
    for tied in sorted.chunk_by(|left, right| left.abs() == right.abs()) {
        // The mean of the ranks below + 1 to below + len, twice.
        let doubled = 2 * below + tied.len() + 1;
        below += tied.len();
        ranked.extend(tied.iter().filter(|difference| **difference != 0.0).map(|difference| (*difference, doubled)));
    }
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By definition, over all 2^n assignments of signs.
    fn p_value_by_enumeration(differences: &[f64]) -> f64 {
        let size: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
        let rank = |of: f64| {
            let below = size.iter().filter(|other| **other < of).count() as f64;
            below + (size.iter().filter(|other| **other == of).count() as f64 + 1.0) / 2.0
        };
        let ranks: Vec<f64> = size.iter().filter(|size| **size > 0.0).map(|size| rank(*size)).collect();
        let unevenness = |plus: f64| (plus - ranks.iter().sum::<f64>() / 2.0).abs();
        let observed: f64 = differences.iter().filter(|difference| **difference > 0.0).map(|value| rank(*value)).sum();
        let at_least = (0..1_u32 << ranks.len()).filter(|signs| {
            let plus: f64 =
                ranks.iter().enumerate().filter(|(bit, _)| signs >> bit & 1 == 1).map(|(_, rank)| rank).sum();
            unevenness(plus) >= unevenness(observed)
        });
        at_least.count() as f64 / f64::from(1_u32 << ranks.len())
    }

    #[test]
    fn the_classic_example_has_the_published_result() {
        // Hollander and Wolfe, example 3.1 (Hamilton depression scale, 9 patients): W+ = 5, p = 0.039, estimate -0.46,
        // interval (-0.786, -0.010) at 96.1 %.
        let differences = [-0.952, 0.147, -1.022, -0.430, -0.620, -0.590, -0.490, 0.080, -0.010];
        assert!((p_value(&differences) - 20.0 / 512.0).abs() < 1e-12);
        assert!((estimate(&differences).unwrap() + 0.46).abs() < 1e-9);
        let found = interval(&differences, 0.95).unwrap();
        assert!((found.low + 0.786).abs() < 1e-9 && (found.high + 0.010).abs() < 1e-9, "{found:?}");
        assert!((found.level - (1.0 - 20.0 / 512.0)).abs() < 1e-12);
    }

    #[test]
    fn too_few_differences_give_no_interval() {
        let differences: Vec<f64> = (0..20).map(f64::from).collect();
        for (level, enough) in [(0.95, 6), (0.99, 8), (1.0 - 0.05 / 12.0, 9)] {
            assert_eq!(interval(&differences[..enough - 1], level), None);
            let found = interval(&differences[..enough], level).unwrap();
            assert_eq!((found.low, found.high), (0.0, (enough - 1) as f64), "all the range");
        }
        assert_eq!((interval(&[], 0.95), estimate(&[]), p_value(&[])), (None, None, 1.0));
    }

    #[test]
    fn zeros_alone_are_no_evidence_and_many_zeros_weaken_the_rest() {
        assert_eq!(p_value(&[0.0; 40]), 1.0);
        let found = interval(&[0.0; 40], 0.95).unwrap();
        assert_eq!((found.low, found.high), (0.0, 0.0));
        // Nine above and three below: with zeros, the order among the rest, which favoured the nine, has less weight.
        let mut differences: Vec<f64> =
            (1..=12).map(|value| f64::from(if value <= 3 { -value } else { value })).collect();
        let without = p_value(&differences);
        differences.extend([0.0; 28]);
        assert!(p_value(&differences) > without);
        let found = interval(&differences, 0.95).unwrap();
        assert!(found.low <= 0.0 && found.high >= 0.0);
    }

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(doubled_ranks(&[3.0, 0.0, -1.0, 1.0, -2.0, 0.0]), [(-1.0, 7), (1.0, 7), (-2.0, 10), (3.0, 12)]);
        // 12 of 12 on one side: the same result for any ranks.
        assert_eq!(p_value(&[1.0; 12]), 2.0 / 4_096.0);
    }

    #[test]
    fn hundreds_of_differences_use_the_normal_approximation() {
        let differences: Vec<f64> = (0..300).map(|index| f64::from(index * 7919 % 1_000) - 470.0).collect();
        let [lower, found, upper] = [-0.01, 0.0, 0.01].map(|shift| interval(&differences, 0.95 + shift).unwrap());
        assert!(found.low > lower.low.min(upper.low) && found.high < upper.high);
        assert!((0.95..0.951).contains(&found.level));
        let shifted = |by: f64| p_value(&differences.iter().map(|value| value - by).collect::<Vec<f64>>());
        assert!(shifted(found.low + 0.3) > 0.05 && shifted(found.low - 0.3) <= 0.05);
    }

    proptest! {
        #[test]
        fn the_p_value_equals_the_enumeration_of_all_signs(values in prop::collection::vec(-4..=4_i32, 0..10)) {
            let differences: Vec<f64> = values.into_iter().map(f64::from).collect();
            prop_assert!((p_value(&differences) - p_value_by_enumeration(&differences)).abs() < 1e-12);
        }

        #[test]
        fn the_interval_contains_exactly_the_values_that_the_test_does_not_reject(
            differences in prop::collection::vec(-1.0..1.0_f64, 6..25), at in -1.0..1.0_f64, level in 0.5..0.96_f64,
        ) {
            // At the mean of a pair the test has a tie.
            prop_assume!(walsh_averages(&differences).iter().all(|mean| (mean - at).abs() > 1e-9));
            let found = interval(&differences, level).unwrap();
            let shifted: Vec<f64> = differences.iter().map(|difference| difference - at).collect();
            prop_assert_eq!(p_value(&shifted) > 1.0 - level, found.low <= at && at <= found.high);
        }

        #[test]
        fn the_interval_contains_the_estimate_and_grows_with_the_level(
            values in prop::collection::vec(-20..20_i32, 9..40), unit in 0.001..1e6_f64,
        ) {
            let differences: Vec<f64> = values.into_iter().map(|value| f64::from(value) * unit).collect();
            let [narrow, wide] = [0.8, 0.99].map(|level| interval(&differences, level).unwrap());
            let estimate = estimate(&differences).unwrap();
            prop_assert!(wide.low <= narrow.low && narrow.low <= estimate);
            prop_assert!(estimate <= narrow.high && narrow.high <= wide.high);
            prop_assert!(narrow.level >= 0.8 && wide.level >= 0.99 && wide.level < 1.0);
        }

        #[test]
        fn changing_every_sign_mirrors_everything(
            values in prop::collection::vec(-20..20_i32, 6..40),
        ) {
            let differences: Vec<f64> = values.iter().copied().map(f64::from).collect();
            let mirrored: Vec<f64> = values.iter().map(|value| f64::from(-value)).collect();
            prop_assert_eq!(p_value(&differences), p_value(&mirrored));
            prop_assert_eq!(estimate(&differences), estimate(&mirrored).map(|value| -value));
            let [one, other] = [&differences, &mirrored].map(|differences| interval(differences, 0.95).unwrap());
            prop_assert_eq!((one.low, one.high), (-other.high, -other.low));
        }
    }
}
