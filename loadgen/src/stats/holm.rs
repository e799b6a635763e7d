//! Multiple comparisons: Holm's step-down procedure for the tests, Bonferroni's level for the intervals.
//!
//! With a dozen comparisons of equal arms, nearly every second session has one with p below 5 %. Holm (A simple
//! sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979) keeps the probability of
//! any false rejection in the family below alpha for any dependence between the comparisons (pairs of three servers are
//! dependent), and rejects everything that Bonferroni rejects, and more.
//!
//! **Intervals do not step down.** It is tempting to take each interval at the level of its test, alpha / (m - rank + 1),
//! but wrong: the simultaneous level falls short, since the probability that some interval misses can reach
//! alpha (1 + 1/2 + ... + 1/m), three times alpha for a dozen. Step-down relies on hypotheses that are settled once
//! rejected, but after "they differ" follows "by more than the margin?", so a comparison is never settled. Intervals
//! that match Holm's procedure exist, but contain no more than the direction of a rejected hypothesis (Strassburger and
//! Bretz, Statistics in Medicine 27, 2008; Guilbaud, Biometrical Journal 50, 2008). Holm's test therefore decides
//! whether two arms differ, and intervals at 1 - alpha / m, which hold simultaneously with probability 1 - alpha, tell
//! by how much.

/// Holm's adjusted p-values, in the order given: the smallest family-wise alpha at which each hypothesis is rejected.
pub fn adjusted(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut so_far = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        // No hypothesis is rejected before those with a smaller p.
        so_far = so_far.max(p_values[index] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[index] = so_far;
    }
    adjusted
}

/// Which comparisons differ, with a probability of at most `alpha` of any false rejection.
pub fn rejected(p_values: &[f64], alpha: f64) -> Vec<bool> {
    adjusted(p_values).into_iter().map(|p_value| p_value <= alpha).collect()
}

/// The level of each of `comparisons` intervals for a simultaneous level of 1 - `alpha` (Bonferroni).
pub fn simultaneous_level(alpha: f64, comparisons: usize) -> f64 {
    1.0 - alpha / comparisons.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By definition: step down from the smallest, stop at the first that fails.
    fn rejected_step_by_step(p_values: &[f64], alpha: f64) -> Vec<bool> {
        let mut order: Vec<usize> = (0..p_values.len()).collect();
        order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
        let mut rejected = vec![false; p_values.len()];
        for (rank, index) in order.into_iter().enumerate() {
            if p_values[index] * (p_values.len() - rank) as f64 > alpha {
                break;
            }
            rejected[index] = true;
        }
        rejected
    }

    #[test]
    fn steps_down_and_stops_at_the_first_that_fails() {
        // The result of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
        let adjusted = adjusted(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!(rejected(&[0.01, 0.04, 0.03, 0.005], 0.05), [true, false, false, true]);
        // 0.04 would be rejected alone, but not after a hypothesis that was not.
        assert_eq!(rejected(&[0.03, 0.04], 0.05), [false, false]);
        assert_eq!(super::adjusted(&[]), [0.0; 0]);
        assert_eq!(super::adjusted(&[0.2, 1.0]), [0.4, 1.0]);
    }

    #[test]
    fn the_intervals_of_a_dozen_are_taken_at_99_58_percent() {
        assert!((simultaneous_level(0.05, 12) - 0.995_833_333).abs() < 1e-9);
        assert_eq!(simultaneous_level(0.05, 1), 0.95);
    }

    proptest! {
        #[test]
        fn rejects_by_the_definition_and_no_less_than_bonferroni(
            p_values in prop::collection::vec(0.0..0.2_f64, 0..15), alpha in 0.001..0.3_f64,
        ) {
            let rejected = rejected(&p_values, alpha);
            prop_assert_eq!(&rejected, &rejected_step_by_step(&p_values, alpha));
            for (p_value, rejected) in p_values.iter().zip(rejected) {
                prop_assert!(rejected || *p_value > alpha / p_values.len() as f64);
            }
            prop_assert!(adjusted(&p_values).iter().zip(&p_values).all(|(adjusted, raw)| adjusted >= raw));
        }
    }
}
