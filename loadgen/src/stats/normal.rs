//! The standard normal distribution, which the standard library lacks.
//!
//! Abramowitz and Stegun, Handbook of Mathematical Functions (1964): the series 26.2.11 near the centre and the
//! continued fraction 26.2.14 in the tails, where the series would cancel.

use std::f64::consts::PI;

/// The cumulative distribution function, to about 14 significant digits in either tail.
pub(super) fn cumulative(x: f64) -> f64 {
    if x.abs() < CENTRE {
        // x + x^3/3 + x^5/(3*5) + ...
        let terms = (1..).scan(x, |term, k| Some(std::mem::replace(term, *term * x * x / f64::from(2 * k + 1))));
        return 0.5 + density(x) * terms.take(TERMS).sum::<f64>();
    }
    let fraction = (1..=TERMS).rev().fold(x.abs(), |fraction, k| x.abs() + k as f64 / fraction);
    let tail = density(x) / fraction;
    if x.is_sign_negative() { tail } else { 1.0 - tail }
}

/// The quantile function: the inverse of [`cumulative`].
pub(super) fn quantile(probability: f64) -> f64 {
    if probability > 0.5 {
        return -quantile(1.0 - probability);
    }
    // Newton's method. Below 0 the distribution function is convex, so each step falls short of the solution, and the
    // iteration ends at rounding precision.
    let mut x = 0.0;
    loop {
        let next = x - (cumulative(x) - probability) / density(x);
        if next < x {
            x = next;
        } else {
            return x;
        }
    }
}

fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * PI).sqrt()
}

/// Where the continued fraction takes over.
const CENTRE: f64 = 2.5;
/// Number of terms of either that suffices for the precision of an `f64`.
const TERMS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_published_values() {
        // Abramowitz and Stegun, tables 26.1 and 26.2, and the usual quantiles.
        for (x, probability) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_543),
            (2.0, 0.977_249_868_051_821),
            (-2.4, 0.008_197_535_924_596),
            (-2.6, 0.004_661_188_023_719),
            (-5.0, 2.866_515_718_791_939e-7),
        ] {
            assert!((cumulative(x) / probability - 1.0).abs() < 1e-12, "{x}: {}", cumulative(x));
        }
        for (probability, x) in [(0.975, 1.959_963_984_540_054), (0.8, 0.841_621_233_572_914), (0.5, 0.0)] {
            assert!((quantile(probability) - x).abs() < 1e-12, "{probability}: {}", quantile(probability));
        }
    }

    #[test]
    fn the_quantile_undoes_the_distribution_and_both_parts_meet() {
        for step in -300..=20 {
            let x = f64::from(step) / 10.0;
            assert!((quantile(cumulative(x)) - x).abs() < 1e-9, "{x}");
            assert!((cumulative(x) + cumulative(-x) - 1.0).abs() < 1e-14, "{x}");
        }
        assert!((cumulative(CENTRE) - cumulative(CENTRE - 1e-9)).abs() < 1e-10);
    }
}
