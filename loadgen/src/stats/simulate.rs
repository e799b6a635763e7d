//! Checks the statistics on synthetic sessions with known effects: the coverage of the intervals. The family-wise error of
//! the primary family is checked where that is defined, in `judge`.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{
    comparison::{Endpoint, compare_alone},
    verdict::Margin,
};

/// The coverage of the 95 % confidence interval: the share of synthetic sessions with `blocks` blocks whose interval
/// contains the true ratio, 1.05. It should be between 0.93 and 0.97 with a few thousand `simulations`. (Rank sums are
/// discrete: the exact coverage is 0.9575 with 12 blocks and 0.9502 with 40.)
///
/// Every second session is disturbed: one trial in ten takes half as much again. The same seed gives the same result
/// everywhere. With fewer than 6 blocks there is no interval, hence 0.
pub fn simulated_coverage(seed: u64, blocks: usize, simulations: usize) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let noises = [Noise::Normal, Noise::Disturbed].into_iter().cycle();
    let covered = noises.take(simulations).filter(|noise| covers(&mut random, *noise, blocks)).count();
    covered as f64 / simulations as f64
}

/// Whether the interval of one synthetic session contains the true ratio.
fn covers(random: &mut ChaCha8Rng, noise: Noise, blocks: usize) -> bool {
    let truth = 1.05;
    let [first, second] = session(random, noise, blocks, [1.0, truth]);
    let compared = compare_alone(Endpoint { first: &first, second: &second, margin: Margin::Ratio(0.03) }, 0.05);
    compared.is_some_and(|found| (found.interval.0..=found.interval.1).contains(&truth))
}

#[derive(Clone, Copy, Debug)]
enum Noise {
    Normal,
    /// The same noise, with one trial in ten disturbed.
    Disturbed,
}

/// One value per block of each arm: the arm's cost, times a factor of the block, times noise.
fn session<const ARMS: usize>(
    random: &mut ChaCha8Rng,
    noise: Noise,
    blocks: usize,
    costs: [f64; ARMS],
) -> [Vec<f64>; ARMS] {
    let mut arms = costs.map(|_| Vec::with_capacity(blocks));
    for _ in 0..blocks {
        let block = (BLOCK_SPREAD * normal(random)).exp();
        for (arm, cost) in arms.iter_mut().zip(costs) {
            let hit = matches!(noise, Noise::Disturbed) && random.random_bool(HIT_SHARE);
            let trial = (TRIAL_SPREAD * normal(random)).exp() * if hit { HIT_FACTOR } else { 1.0 };
            arm.push(cost * block * trial);
        }
    }
    arms
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(random)
}

/// Spread of the host's speed between blocks, and between the trials of a block.
const BLOCK_SPREAD: f64 = 0.1;
const TRIAL_SPREAD: f64 = 0.03;
/// Share of disturbed trials, and the factor of a disturbance.
const HIT_SHARE: f64 = 0.1;
const HIT_FACTOR: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{
        signed_rank::{estimate, p_value},
        verdict::Verdict,
    };

    #[test]
    fn a_synthetic_session_has_the_spreads_and_the_disturbances_of_its_noise() {
        let mut random = ChaCha8Rng::seed_from_u64(15);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let deviation = |values: &[f64]| {
            let squares: Vec<f64> = values.iter().map(|value| (value - mean(values)).powi(2)).collect();
            mean(&squares).sqrt()
        };
        let [first, second] = session(&mut random, Noise::Normal, 10_000, [1.0, 1.05]);
        let logarithms: Vec<f64> = first.iter().map(|value| value.ln()).collect();
        assert!((deviation(&logarithms) / BLOCK_SPREAD.hypot(TRIAL_SPREAD) - 1.0).abs() < 0.05);
        let ratios = log_ratios(&first, &second);
        assert!((deviation(&ratios) / TRIAL_SPREAD / 2.0_f64.sqrt() - 1.0).abs() < 0.05, "the block cancels out");
        assert!((mean(&ratios) - 1.05_f64.ln()).abs() < 0.002);

        let [disturbed] = session(&mut random, Noise::Disturbed, 10_000, [1.0]);
        let logarithms: Vec<f64> = disturbed.iter().map(|value| value.ln()).collect();
        assert!((mean(&logarithms) - HIT_SHARE * HIT_FACTOR.ln()).abs() < 0.01, "a disturbed trial takes longer");
    }

    #[test]
    fn the_interval_has_its_nominal_coverage() {
        for (blocks, simulations) in [(12, 1_500), (40, 800)] {
            for noise in [Noise::Normal, Noise::Disturbed] {
                let mut random = ChaCha8Rng::seed_from_u64(9);
                let covered = (0..simulations).filter(|_| covers(&mut random, noise, blocks)).count();
                let share = covered as f64 / f64::from(simulations);
                assert!((0.93..=0.97).contains(&share), "{share} with {blocks} blocks, {noise:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_coverage() {
        let coverage = simulated_coverage(1, 12, 400);
        assert_eq!(coverage, simulated_coverage(1, 12, 400));
        assert!((0.9..=1.0).contains(&coverage));
        assert_eq!(simulated_coverage(1, 5, 10), 0.0);
    }

    #[test]
    fn forty_blocks_nearly_always_detect_five_percent() {
        let mut random = ChaCha8Rng::seed_from_u64(13);
        let mut found = |noise, alpha| {
            let found = (0..100).filter(|_| {
                let [first, second] = session(&mut random, noise, 40, [1.0, 1.05]);
                let endpoint = Endpoint { first: &first, second: &second, margin: Margin::Ratio(0.03) };
                matches!(compare_alone(endpoint, alpha).unwrap().verdict, Verdict::Higher | Verdict::HigherSizeUnclear)
            });
            found.count()
        };
        // One of twelve comparisons, at its Bonferroni level.
        assert!(found(Noise::Normal, 0.05 / 12.0) >= 98);
        assert!(found(Noise::Disturbed, 0.05) >= 90);
    }

    #[test]
    fn the_detectable_effect_is_detected_with_about_80_percent_power() {
        let mut random = ChaCha8Rng::seed_from_u64(14);
        let margin = Margin::Ratio(0.001);
        let effects: Vec<f64> = (0..100)
            .filter_map(|_| {
                let [first, second] = session(&mut random, Noise::Normal, 40, [1.0; 2]);
                match compare_alone(Endpoint { first: &first, second: &second, margin }, 0.05)?.verdict {
                    Verdict::Inconclusive { smallest_effect, .. } => Some(smallest_effect),
                    _ => None,
                }
            })
            .collect();
        let typical = estimate(&effects).unwrap();
        let found = (0..400).filter(|_| {
            let [first, second] = session(&mut random, Noise::Normal, 40, [1.0, typical]);
            p_value(&log_ratios(&first, &second)) <= 0.05
        });
        let share = found.count() as f64 / 400.0;
        assert!((0.7..0.9).contains(&share), "{share} at {typical}");
    }

    fn log_ratios(first: &[f64], second: &[f64]) -> Vec<f64> {
        first.iter().zip(second).map(|(first, second)| (second / first).ln()).collect()
    }
}
