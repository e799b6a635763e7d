//! Drift and jitter of periodic events.

use super::quantile;

/// How much slower (or faster, below 0) than scheduled the emissions run, as a share: 1e-6 is one part per million. Takes
/// pairs of due time and emission time; `None` with fewer than 10.
///
/// The median of the slopes between all pairs (Theil-Sen), which is robust against a few late ticks.
pub fn drift(emissions: &[(f64, f64)]) -> Option<f64> {
    const FEWEST: usize = 10;
    /// Of more ticks, evenly spaced ones are taken: all pairs would be millions.
    const MOST: usize = 600;
    if emissions.len() < FEWEST {
        return None;
    }
    let taken: Vec<&(f64, f64)> = emissions.iter().step_by(emissions.len().div_ceil(MOST)).collect();
    let slope = |one: &(f64, f64), other: &(f64, f64)| (other.1 - one.1) / (other.0 - one.0) - 1.0;
    let slopes =
        taken.iter().flat_map(|one| taken.iter().filter(|other| other.0 > one.0).map(|other| slope(one, other)));
    quantile(&slopes.collect::<Vec<_>>(), 0.5)
}

/// The standard deviation of the time between emissions minus the time between their due times, in the given unit; `None`
/// with fewer than two such intervals.
pub fn jitter(emissions: &[(f64, f64)]) -> Option<f64> {
    let errors = emissions.windows(2).map(|pair| (pair[1].1 - pair[0].1) - (pair[1].0 - pair[0].0));
    let errors: Vec<f64> = errors.collect();
    let count = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let variance = errors.iter().map(|error| (error - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (errors.len() > 1).then(|| variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: f64 = 10e6;

    fn ticks(count: usize, drift: f64, late: &dyn Fn(usize) -> f64) -> Vec<(f64, f64)> {
        let tick = |number: usize| {
            let due = number as f64 * INTERVAL;
            (due, due * (1.0 + drift) + late(number))
        };
        (0..count).map(tick).collect()
    }

    #[test]
    fn late_ticks_do_not_hide_a_drift() {
        let late = |number: usize| if number % 7 == 3 { 5e6 } else { (number % 3) as f64 * 1e3 };
        for truth in [0.0, 100e-6, -50e-6] {
            let found = drift(&ticks(200, truth, &late)).unwrap();
            assert!((found - truth).abs() < 5e-6, "{truth} {found}");
        }
        assert_eq!(drift(&ticks(9, 0.0, &|_| 0.0)), None);
    }

    #[test]
    fn a_timer_that_adds_its_lateness_to_the_next_tick_drifts() {
        let ticks: Vec<(f64, f64)> =
            (0..200).map(|number| (f64::from(number) * INTERVAL, f64::from(number) * (INTERVAL + 60e3))).collect();
        assert!((drift(&ticks).unwrap() - 0.006).abs() < 1e-9);
        assert!(jitter(&ticks).unwrap() < 1e-3);
    }

    #[test]
    fn jitter_is_the_spread_of_the_intervals() {
        let ticks = ticks(101, 0.0, &|number| if number % 2 == 0 { 0.0 } else { 1e3 });
        assert!((jitter(&ticks).unwrap() - 1e3).abs() < 10.0);
        assert_eq!(jitter(&ticks[..2]), None);
    }

    #[test]
    fn emissions_that_were_all_due_at_once_have_no_drift() {
        assert_eq!(drift(&[(5.0, 6.0); 20]), None);
    }

    #[test]
    fn skipped_ticks_cause_no_jitter() {
        let ticks = [0.0, 10.0, 30.0, 40.0, 80.0].map(|due| (due, due + 3.0));
        assert_eq!(jitter(&ticks), Some(0.0));
    }

    #[test]
    fn jitter_is_a_sample_standard_deviation() {
        // The intervals are 2 longer and 2 shorter than scheduled.
        let found = jitter(&[(0.0, 0.0), (10.0, 12.0), (20.0, 20.0)]).unwrap();
        assert!((found - 8.0_f64.sqrt()).abs() < 1e-12, "{found}");
    }

    proptest! {
        #[test]
        fn drift_and_jitter_do_not_depend_on_the_origin_of_the_clock(
            late in prop::collection::vec(0.0..1e6_f64, 10..50), start in 0.0..1e12_f64,
        ) {
            let ticks = ticks(late.len(), 0.0, &|number| late[number]);
            let moved: Vec<(f64, f64)> = ticks.iter().map(|(due, emitted)| (*due, emitted + start)).collect();
            prop_assert!((drift(&ticks).unwrap() - drift(&moved).unwrap()).abs() < 1e-9);
            prop_assert!((jitter(&ticks).unwrap() - jitter(&moved).unwrap()).abs() < 1.0);
        }
    }
}
