//! Power: which effects a test finds, given how much the blocks vary.

use super::{normal, signed_rank::Interval};

/// The power at which an effect counts as detectable, by convention.
pub const POWER: f64 = 0.8;

/// The standard error of the estimate within its interval, on the scale of the interval.
///
/// It is estimated from half the width, assuming a normal distribution of the estimate: unlike a standard deviation, this
/// is robust against a few extreme blocks.
pub fn standard_error(interval: &Interval) -> f64 {
    (interval.high - interval.low) / 2.0 / critical(interval.level)
}

/// The true effect at which an interval at this level excludes equality with 80 % power.
pub fn detectable(standard_error: f64, level: f64) -> f64 {
    standard_error * (critical(level) + normal::quantile(POWER))
}

/// The probability that an interval at this level excludes equality, on either side, if this is the true effect.
pub fn power(effect: f64, standard_error: f64, level: f64) -> f64 {
    if standard_error == 0.0 {
        return if effect == 0.0 { 0.0 } else { 1.0 };
    }
    let errors = effect.abs() / standard_error;
    normal::cumulative(errors - critical(level)) + normal::cumulative(-errors - critical(level))
}

/// How many standard errors an interval at this level extends to either side.
fn critical(level: f64) -> f64 {
    -normal::quantile((1.0 - level) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_interval_is_1_96_standard_errors_wide_on_either_side_and_0_84_more_are_detectable() {
        let interval = Interval { low: -2.92, high: 4.92, level: 0.95 };
        assert!((standard_error(&interval) - 2.0).abs() < 0.001);
        assert!((detectable(2.0, 0.95) - 5.603).abs() < 0.001);
        assert!((power(5.603, 2.0, 0.95) - 0.8).abs() < 0.001);
        assert!((power(0.0, 2.0, 0.95) - 0.05).abs() < 1e-9, "without an effect, the error of the test");
    }

    #[test]
    fn without_noise_every_effect_is_found() {
        let interval = Interval { low: 1.0, high: 1.0, level: 0.95 };
        assert_eq!((standard_error(&interval), detectable(0.0, 0.95)), (0.0, 0.0));
        assert_eq!([0.0, 1e-9, -1e-9].map(|effect| power(effect, 0.0, 0.95)), [0.0, 1.0, 1.0]);
    }

    proptest! {
        #[test]
        fn the_detectable_effect_has_80_percent_power_and_a_larger_one_more(
            error in 0.001..10.0_f64, level in 0.9..0.9999_f64, more in 1.0..3.0_f64,
        ) {
            let effect = detectable(error, level);
            // Rejections on the wrong side are negligible.
            prop_assert!((power(effect, error, level) - POWER).abs() < 0.001);
            prop_assert!(power(effect * more, error, level) >= power(effect, error, level) - 1e-12);
            prop_assert_eq!(power(-effect, error, level), power(effect, error, level));
        }
    }
}
