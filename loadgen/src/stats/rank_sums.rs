//! The null distribution of the signed-rank statistic: the sum of ranks, each of which is included with probability one
//! half.

use super::normal;

/// The distribution of the sum.
///
/// Ranks and sums are doubled, which makes the mid-ranks of ties integers. The distribution is conditional on the ranks,
/// hence exact with ties too (Lehmann, Nonparametrics, 1975, chapter 3).
pub(super) enum RankSums {
    /// Exact: cumulative probabilities up to the middle; the other half is the mirror image.
    Exact(Vec<f64>),
    /// The normal approximation, for many ranks.
    Normal { mean: f64, deviation: f64 },
}

impl RankSums {
    /// The distribution for these doubled ranks.
    pub(super) fn of(doubled_ranks: &[usize]) -> Self {
        if doubled_ranks.len() <= EXACT_MAX { Self::Exact(exact(doubled_ranks)) } else { Self::normal(doubled_ranks) }
    }

    /// Each rank is included or not, so it contributes half of itself to the mean and a quarter of its square to the
    /// variance.
    fn normal(doubled_ranks: &[usize]) -> Self {
        let mean = doubled_ranks.iter().map(|rank| *rank as f64 / 2.0).sum();
        let variance = doubled_ranks.iter().map(|rank| (*rank as f64 / 2.0).powi(2)).sum::<f64>();
        Self::Normal { mean, deviation: variance.sqrt() }
    }

    /// The probability of a doubled sum of at most `sum`, which must lie in the lower half.
    pub(super) fn at_most(&self, doubled_sum: usize) -> f64 {
        match self {
            Self::Exact(cumulative) => cumulative[doubled_sum],
            Self::Normal { mean, deviation } => {
                normal::cumulative((doubled_sum as f64 + CONTINUITY - mean) / deviation)
            }
        }
    }

    /// The largest doubled sum whose cumulative probability is at most `probability` (at most one half).
    pub(super) fn largest_within(&self, probability: f64) -> Option<usize> {
        match self {
            Self::Exact(cumulative) => cumulative.partition_point(|up_to| *up_to <= probability).checked_sub(1),
            Self::Normal { mean, deviation } => {
                let sum = mean + deviation * normal::quantile(probability) - CONTINUITY;
                (sum >= 0.0).then_some(sum as usize)
            }
        }
    }
}

/// Counts, rank by rank, the number of ways to reach each sum up to the middle.
fn exact(doubled_ranks: &[usize]) -> Vec<f64> {
    let middle = doubled_ranks.iter().sum::<usize>() / 2;
    let mut ways = vec![0.0; middle + 1];
    ways[0] = 1.0;
    let mut reached = 0;
    for rank in doubled_ranks {
        reached = (reached + rank).min(middle);
        // Downwards, so that a sum without this rank is read before it is updated.
        for sum in (*rank..=reached).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let all = 2.0_f64.powi(doubled_ranks.len() as i32);
    let running = ways.into_iter().scan(0.0, |total, ways| {
        *total += ways;
        Some(*total / all)
    });
    running.collect()
}

/// Maximum number of ranks for the exact distribution, which takes milliseconds. Beyond, the error of the normal
/// approximation with continuity correction is below 0.0005, and conservative where it matters, below 2.5 %.
const EXACT_MAX: usize = 200;
/// Half a rank, doubled.
const CONTINUITY: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn untied(count: usize) -> Vec<usize> {
        (1..=count).map(|rank| 2 * rank).collect()
    }

    #[test]
    fn five_ranks_have_the_published_probabilities() {
        // Hollander and Wolfe, Nonparametric Statistical Methods, table of the signed-rank statistic, n = 5, in 32nds.
        let sums = RankSums::of(&untied(5));
        let found: Vec<f64> = (0..=7).map(|sum| sums.at_most(2 * sum) * 32.0).collect();
        assert_eq!(found, [1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 13.0, 16.0]);
        assert!(matches!(&sums, RankSums::Exact(lower_half) if lower_half.len() == 1 + 15), "the middle of 30 is 15");
    }

    #[test]
    fn critical_values_are_those_of_the_published_tables() {
        // McCornack, Extended tables of the Wilcoxon matched pair signed rank statistic, JASA 60 (1965); the same
        // numbers are OEIS A226330 (one-sided 2.5 %), n = 6 to 50.
        let published = [
            0, 2, 3, 5, 8, 10, 13, 17, 21, 25, 29, 34, 40, 46, 52, 58, 65, 73, 81, 89, 98, 107, 116, 126, 137, 147,
            159, 170, 182, 195, 208, 221, 235, 249, 264, 279, 294, 310, 327, 343, 361, 378, 396, 415, 434,
        ];
        let critical = |count, probability| RankSums::of(&untied(count)).largest_within(probability).map(|sum| sum / 2);
        for (count, published) in (6..).zip(published) {
            assert_eq!(critical(count, 0.025), Some(published), "{count} ranks");
        }
        // One-sided 0.5 %, n = 8 to 20.
        for (count, published) in (8..).zip([0, 1, 3, 5, 7, 9, 12, 15, 19, 23, 27, 32, 37]) {
            assert_eq!(critical(count, 0.005), Some(published), "{count} ranks");
        }
        assert_eq!(critical(5, 0.025), None);
        assert_eq!(critical(7, 0.005), None);
    }

    #[test]
    fn the_largest_sum_within_a_probability_is_the_last_whose_probability_does_not_exceed_it() {
        for count in [30, EXACT_MAX + 1] {
            let sums = RankSums::of(&untied(count));
            for probability in [0.0005, 0.004, 0.02, 0.3] {
                let largest = sums.largest_within(probability).unwrap();
                let around = (sums.at_most(largest), sums.at_most(largest + 1));
                assert!(around.0 <= probability && probability < around.1, "{count} ranks, {probability}: {around:?}");
            }
        }
    }

    #[test]
    fn the_normal_approximation_continues_the_exact_distribution() {
        let ranks = untied(EXACT_MAX);
        let exact = RankSums::of(&ranks);
        assert!(matches!(exact, RankSums::Exact(_)));
        assert!(matches!(RankSums::of(&untied(EXACT_MAX + 1)), RankSums::Normal { .. }));
        let normal = RankSums::normal(&ranks);
        for sum in 0..=10_050 {
            let [exact, normal] = [&exact, &normal].map(|sums| sums.at_most(2 * sum));
            assert!((exact - normal).abs() < 0.0005, "{sum}: {exact}, {normal}");
            assert!(exact > 0.025 || normal >= exact, "{sum}: {exact}, {normal}");
        }
        for probability in [0.025, 0.002] {
            let [exact, normal] = [&exact, &normal].map(|sums| sums.largest_within(probability).unwrap() / 2);
            assert!((exact - 20..=exact).contains(&normal), "{exact}, {normal} of 20,100");
        }
    }
}
