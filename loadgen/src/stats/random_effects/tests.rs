use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::stats::verdict::Verdict;

fn estimates(values: &[(f64, f64)]) -> Vec<Estimate> {
    values.iter().map(|(value, standard_error)| Estimate { value: *value, standard_error: *standard_error }).collect()
}

/// A comparison with this estimate and interval, at 99.8 %.
fn comparison(estimate: f64, interval: (f64, f64)) -> Comparison {
    let verdict = Verdict::Equivalent;
    Comparison { estimate, interval, level: 0.998, blocks: 40, p_value: 0.0, p_adjusted: 0.0, verdict }
}

#[test]
fn two_sessions_with_disjoint_intervals_differ() {
    // mio/tokio, CPU per message, in two sessions that "agreed".
    let sessions = [comparison(0.900, (0.886, 0.925)), comparison(0.957, (0.934, 0.989))];
    let margin = Margin::Ratio(0.03);
    let found = Heterogeneity::of(&sessions.map(|session| Estimate::of(&session, margin))).unwrap();
    assert!(found.p_value < 1e-6 && found.i_squared > 0.95, "{found:?}");
    // With two, Q is the square of their difference in standard errors.
    let [one, other] = sessions.map(|session| Estimate::of(&session, margin));
    let errors = one.standard_error.hypot(other.standard_error);
    assert!((found.q - ((one.value - other.value) / errors).powi(2)).abs() < 1e-9);
    // And the mean of both variances and tau2 is their difference's.
    assert!((2.0 * found.tau.powi(2) + errors.powi(2) - (one.value - other.value).powi(2)).abs() < 1e-9);
}

#[test]
fn a_standard_error_is_half_the_interval_by_the_quantile_of_its_own_level() {
    let ratio = Estimate::of(&comparison(0.9, (0.9 / 1.02, 0.9 * 1.02)), Margin::Ratio(0.03));
    assert!((ratio.value - 0.9_f64.ln()).abs() < 1e-12);
    assert!((ratio.standard_error - 1.02_f64.ln() / 3.090_232).abs() < 1e-8, "{ratio:?}");
    let difference = Estimate::of(&comparison(-13.0, (-14.0, -11.0)), Margin::Difference(1.0));
    assert!((difference.value + 13.0).abs() < 1e-12 && (difference.standard_error - 1.5 / 3.090_232).abs() < 1e-6);
    let counted = Estimate::of(&comparison(-10.0, (-10.0, -10.0)), Margin::Difference(1.0));
    assert_eq!(counted.standard_error, 0.01, "a hundredth of the margin");
}

#[test]
fn a_published_example_has_its_published_result() {
    // The BCG vaccine: 13 trials with cases and others among the vaccinated and among the rest. Results as of metafor
    // (Viechtbauer, Journal of Statistical Software 36, 2010).
    let trials = [
        [4, 119, 11, 128],
        [6, 300, 29, 274],
        [3, 228, 11, 209],
        [62, 13_536, 248, 12_619],
        [33, 5_036, 47, 5_761],
        [180, 1_361, 372, 1_079],
        [8, 2_537, 10, 619],
        [505, 87_886, 499, 87_892],
        [29, 7_470, 45, 7_232],
        [17, 1_699, 65, 1_600],
        [186, 50_448, 141, 27_197],
        [5, 2_493, 3, 2_338],
        [27, 16_886, 29, 17_825],
    ];
    let log_risk_ratio = |counts: [i32; 4]| {
        let [cases, others, cases_else, others_else] = counts.map(f64::from);
        let (all, all_else) = (cases + others, cases_else + others_else);
        let variance = 1.0 / cases - 1.0 / all + 1.0 / cases_else - 1.0 / all_else;
        ((cases / all / (cases_else / all_else)).ln(), variance.sqrt())
    };
    let found = Heterogeneity::of(&estimates(&trials.map(log_risk_ratio))).unwrap();
    assert!((found.q - 152.233).abs() < 0.001 && (found.i_squared - 0.9212).abs() < 0.0001, "{found:?}");
    assert!((found.fixed_mean + 0.4303).abs() < 0.0001 && found.p_value < 1e-20, "{found:?}");
    assert!((found.tau.powi(2) - 0.3181).abs() < 0.0002, "Paule and Mandel: {found:?}");
}

#[test]
fn equal_sessions_have_no_variance_between_them_and_a_mean_no_surer_than_their_errors() {
    let found = Heterogeneity::of(&estimates(&[(-0.1, 0.02); 4])).unwrap();
    assert!(found.q < 1e-9 && found.tau == 0.0 && found.i_squared == 0.0 && found.p_value > 0.999, "{found:?}");
    let combined = RandomEffects::of(&estimates(&[(-0.1, 0.02); 4])).unwrap();
    // Student's t with 3 degrees of freedom, times the standard error of a mean of four.
    assert!((combined.interval.1 + 0.1 - 3.182_446 * 0.01).abs() < 1e-6, "{combined:?}");
    assert!((combined.mean + 0.1).abs() < 1e-12);
}

#[test]
fn without_errors_within_the_sessions_the_prediction_is_by_students_t() {
    let values = [-0.14, -0.12, -0.09, -0.07, -0.03];
    let combined = RandomEffects::of(&estimates(&values.map(|value| (value, 1e-9)))).unwrap();
    let mean = values.iter().sum::<f64>() / 5.0;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 4.0;
    let half_width = 2.776_445 * (variance * (1.0 + 1.0 / 5.0)).sqrt();
    let (low, high) = combined.prediction;
    // The distribution of tau is cut into shares, the ends of which are cut off.
    assert!(((high - low) / 2.0 / half_width - 1.0).abs() < 0.01, "{combined:?} {half_width}");
    let of_mean = 2.776_445 * (variance / 5.0).sqrt();
    assert!((combined.interval.1 - combined.mean - of_mean).abs() < 1e-5, "{combined:?}");
}

#[test]
fn too_few_sessions_or_senseless_ones_have_no_result() {
    assert_eq!(Heterogeneity::of(&estimates(&[(0.1, 0.1)])), None);
    assert_eq!(RandomEffects::of(&estimates(&[(0.1, 0.1), (0.2, 0.1)])), None, "two say next to nothing about tau");
    for senseless in [(f64::NAN, 0.1), (0.1, 0.0), (0.1, f64::INFINITY)] {
        let sessions = estimates(&[(0.1, 0.1), (0.2, 0.1), senseless]);
        assert!(Heterogeneity::of(&sessions).is_none() && RandomEffects::of(&sessions).is_none(), "{senseless:?}");
    }
}

/// The share of simulated groups of sessions whose prediction interval contains the true effect of another session, and
/// the share whose interval of the mean contains the mean.
fn coverage(seed: u64, sessions: usize, tau: f64, runs: usize) -> (f64, f64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let freedom = sessions as f64 - 1.0;
    let quantiles = chi_squared_quantiles(freedom).unwrap();
    let mean = 0.9_f64.ln();
    let (mut predicted, mut contained) = (0, 0);
    for _ in 0..runs {
        let effect = |random: &mut ChaCha8Rng| mean + tau * normal(random);
        let group: Vec<Estimate> = (0..sessions)
            .map(|_| {
                // Standard errors as in the recorded sessions, and not the same in all of them.
                let standard_error = random.random_range(0.01..0.03);
                Estimate { value: effect(&mut random) + standard_error * normal(&mut random), standard_error }
            })
            .collect();
        let found = RandomEffects::by(&group, freedom, &quantiles).unwrap();
        let another = effect(&mut random);
        predicted += usize::from((found.prediction.0..=found.prediction.1).contains(&another));
        contained += usize::from((found.interval.0..=found.interval.1).contains(&mean));
    }
    (predicted as f64 / runs as f64, contained as f64 / runs as f64)
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(random)
}

#[test]
fn the_prediction_interval_contains_another_session() {
    let (predicted, contained) = coverage(1, 5, 0.04, 300);
    // Three standard errors around 95 %.
    assert!((0.912..=0.988).contains(&predicted) && contained > 0.912, "{predicted} {contained}");
}

#[test]
#[ignore = "half a minute in a release build, in which .ci/run runs it"]
fn the_prediction_interval_has_its_nominal_coverage() {
    for (sessions, tau) in [(5, 0.04), (5, 0.02), (3, 0.04), (8, 0.04)] {
        let (predicted, contained) = coverage(2, sessions, tau, 4_000);
        let text = format!("{sessions} sessions, tau {tau}: prediction {predicted}, mean {contained}");
        crate::terminal::say(format_args!("{text}"));
        assert!((0.93..=0.97).contains(&predicted) && contained >= 0.93, "{text}");
    }
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_order_scale_or_sign(
        values in prop::collection::vec((-0.3..0.3_f64, 0.005..0.05_f64), 3..7), factor in 0.1..10.0_f64,
    ) {
        let close = |one: f64, other: f64| (one - other).abs() <= 1e-6 * (1.0 + one.abs());
        let found = RandomEffects::of(&estimates(&values)).unwrap();
        prop_assert!(found.prediction.0 <= found.interval.0 && found.interval.1 <= found.prediction.1);
        prop_assert!(found.interval.0 < found.mean && found.mean < found.interval.1);
        let mut turned: Vec<(f64, f64)> = values.iter().map(|(value, error)| (-value * factor, error * factor)).collect();
        turned.reverse();
        let other = RandomEffects::of(&estimates(&turned)).unwrap();
        prop_assert!(close(-found.mean * factor, other.mean));
        prop_assert!(close(-found.prediction.0 * factor, other.prediction.1), "{:?} {:?}", found, other);
        let [one, other] = [&values, &turned].map(|values| Heterogeneity::of(&estimates(values)).unwrap());
        prop_assert!(close(one.q, other.q) && close(one.tau * factor, other.tau) && close(one.p_value, other.p_value));
    }

    #[test]
    fn tau_is_where_the_squares_have_their_expectation(
        values in prop::collection::vec((-0.3..0.3_f64, 0.005..0.05_f64), 2..7),
    ) {
        let sessions = estimates(&values);
        let found = Heterogeneity::of(&sessions).unwrap();
        let squares = Mean::of(&sessions, found.tau.powi(2)).q;
        let freedom = sessions.len() as f64 - 1.0;
        let is_expected = if found.tau == 0.0 { squares <= freedom } else { (squares - freedom).abs() < 1e-6 };
        prop_assert!(is_expected, "{:?} {}", found, squares);
    }
}
