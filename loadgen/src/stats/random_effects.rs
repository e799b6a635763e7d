//! Several sessions: whether they agree on a comparison, and what another session would find.
//!
//! Sessions are samples of hosts, builds of the kernel and days, so the true effect may differ from session to session:
//! a random-effects model with one estimate per session and its standard error, on the scale on which differences are
//! taken (logarithms of ratios). Sources: Cochran, The combination of estimates from different experiments, Biometrics
//! 10, 1954 (Q); Higgins and Thompson, Quantifying heterogeneity in a meta-analysis, Statistics in Medicine 21, 2002
//! (I2); Paule and Mandel, Consensus values and weighting factors, J. Res. NBS 87, 1982 (tau); Hartung and Knapp, A
//! refined method for the meta-analysis of controlled clinical trials, Statistics in Medicine 20, 2001 (the interval of
//! the mean); Nagashima, Noma and Furukawa, Prediction intervals for random-effects meta-analysis: a confidence
//! distribution approach, Statistical Methods in Medical Research 28, 2019 (the prediction interval).
//!
//! **tau** is estimated by Paule and Mandel: the value at which the weighted squares have their expectation. Hartung and
//! Knapp's factor is then 1 whenever tau is above 0, so that both follow from one equation.
//!
//! **The prediction interval** is not the usual one, mean +- t * sqrt(tau2 + variance of the mean). That one takes tau
//! for known; with five sessions, a true tau of 4 % and standard errors of 1 to 3 % it covers 90 % with k - 1 degrees of
//! freedom and 92.5 % with k - 2. Here the prediction is averaged over the confidence distribution of tau, which the same
//! equation yields: with tau at its true value the weighted squares have a chi-squared distribution with k - 1 degrees of
//! freedom. Without errors within the sessions the result is the exact interval, by Student's t with k - 1 degrees.

use statrs::distribution::{ChiSquared, ContinuousCDF, StudentsT};

use super::{comparison::Comparison, normal, verdict::Margin};

/// The result of a session on the scale on which differences are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The logarithm of a ratio, or a difference.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl Estimate {
    /// The estimate of a comparison. Its standard error is half the width of its interval, divided by the normal quantile
    /// of the interval's own level; at least a hundredth of the margin, since counters may agree exactly, and then no
    /// difference would be small.
    pub fn of(comparison: &Comparison, margin: Margin) -> Self {
        let (low, high) = comparison.interval;
        let half_width = (margin.scaled(high) - margin.scaled(low)) / 2.0;
        let errors = -normal::quantile((1.0 - comparison.level) / 2.0);
        let standard_error = (half_width / errors).max(margin.width() / 100.0);
        Self { value: margin.scaled(comparison.estimate), standard_error }
    }

    /// The variance of the estimate in a population of sessions with this variance.
    fn variance(&self, tau2: f64) -> f64 {
        self.standard_error.powi(2) + tau2
    }
}

/// Whether sessions differ by more than their standard errors explain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heterogeneity {
    /// The mean if all sessions had the same true effect.
    pub fixed_mean: f64,
    /// Cochran's Q.
    pub q: f64,
    /// Its p-value: the probability of such a Q if all sessions had the same true effect.
    pub p_value: f64,
    /// The share of Q that exceeds its expectation, from 0 to 1.
    pub i_squared: f64,
    /// Standard deviation of the true effect between sessions.
    pub tau: f64,
}

impl Heterogeneity {
    /// `None` with fewer than two estimates.
    pub fn of(estimates: &[Estimate]) -> Option<Self> {
        let freedom = degrees_of_freedom(estimates, 2)?;
        let Mean { mean, q, .. } = Mean::of(estimates, 0.0);
        let i_squared = if q > freedom { 1.0 - freedom / q } else { 0.0 };
        let p_value = ChiSquared::new(freedom).ok()?.sf(q);
        Some(Self { fixed_mean: mean, q, p_value, i_squared, tau: tau2_from(0.0, estimates, freedom).sqrt() })
    }
}

/// The mean over all sessions that might have been run, and what another session would find; at 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomEffects {
    /// The mean, by weights that count tau in.
    pub mean: f64,
    /// The confidence interval of the mean, by Hartung and Knapp. Their factor is at least 1: sessions that agree by luck
    /// make it no narrower than their standard errors do.
    pub interval: (f64, f64),
    /// The prediction interval of the true effect in another session; it includes the interval of the mean.
    pub prediction: (f64, f64),
}

impl RandomEffects {
    /// `None` with fewer than three estimates: two say next to nothing about tau.
    pub fn of(estimates: &[Estimate]) -> Option<Self> {
        let freedom = degrees_of_freedom(estimates, 3)?;
        Self::by(estimates, freedom, &chi_squared_quantiles(freedom)?)
    }

    /// The same, given the quantiles of the weighted squares.
    fn by(estimates: &[Estimate], freedom: f64, quantiles: &[f64]) -> Option<Self> {
        let Mean { mean, variance, q } = Mean::of(estimates, tau2_from(0.0, estimates, freedom));
        let student = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(1.0 - ALPHA / 2.0);
        let half_width = student * (variance * (q / freedom).max(1.0)).sqrt();
        let interval = (mean - half_width, mean + half_width);
        let predictions = predictions(estimates, quantiles);
        let [low, high] = [ALPHA / 2.0, 1.0 - ALPHA / 2.0].map(|share| quantile(&predictions, share));
        Some(Self { mean, interval, prediction: (low.min(interval.0), high.max(interval.1)) })
    }
}

/// The number of estimates less one, if there are at least so many, all of them finite.
fn degrees_of_freedom(estimates: &[Estimate], at_least: usize) -> Option<f64> {
    let is_sound = |it: &Estimate| it.value.is_finite() && it.standard_error.is_finite() && it.standard_error > 0.0;
    (estimates.len() >= at_least && estimates.iter().all(is_sound)).then_some(estimates.len() as f64 - 1.0)
}

/// A weighted mean.
struct Mean {
    mean: f64,
    /// The variance of the mean, if tau is what was assumed.
    variance: f64,
    /// The weighted squares of the deviations from the mean.
    q: f64,
}

impl Mean {
    fn of(estimates: &[Estimate], tau2: f64) -> Self {
        let weights: f64 = estimates.iter().map(|it| 1.0 / it.variance(tau2)).sum();
        let mean = estimates.iter().map(|it| it.value / it.variance(tau2)).sum::<f64>() / weights;
        let q = estimates.iter().map(|it| (it.value - mean).powi(2) / it.variance(tau2)).sum();
        Self { mean, variance: 1.0 / weights, q }
    }
}

/// The variance between sessions at which the weighted squares are this much, sought upwards from `tau2`; `tau2` itself if
/// they are less there.
fn tau2_from(mut tau2: f64, estimates: &[Estimate], squares: f64) -> f64 {
    // Newton's method. The squares fall as a convex function of tau2, so each step falls short of the solution, and the
    // iteration ends at rounding precision.
    loop {
        let Mean { mean, q, .. } = Mean::of(estimates, tau2);
        let slope: f64 = estimates.iter().map(|it| ((it.value - mean) / it.variance(tau2)).powi(2)).sum();
        let next = tau2 + (q - squares) / slope;
        if next > tau2 {
            tau2 = next;
        } else {
            return tau2;
        }
    }
}

/// The true effect in another session if tau were known: a normal distribution.
struct Prediction {
    mean: f64,
    deviation: f64,
}

/// A prediction for each of these weighted squares, which fall.
fn predictions(estimates: &[Estimate], squares: &[f64]) -> Vec<Prediction> {
    let prediction = |tau2: &mut f64, squares: &f64| {
        *tau2 = tau2_from(*tau2, estimates, *squares);
        let Mean { mean, variance, .. } = Mean::of(estimates, *tau2);
        Some(Prediction { mean, deviation: (*tau2 + variance).sqrt() })
    };
    squares.iter().scan(0.0, prediction).collect()
}

/// A quantile of the mixture of these distributions, each with the same weight.
fn quantile(mixture: &[Prediction], share: f64) -> f64 {
    let cumulative = |x: f64| {
        let shares = mixture.iter().map(|it| normal::cumulative((x - it.mean) / it.deviation));
        shares.sum::<f64>() / mixture.len() as f64
    };
    // The quantile of a mixture lies between those of its parts.
    let errors = normal::quantile(share);
    let parts = || mixture.iter().map(|it| it.mean + errors * it.deviation);
    let (mut low, mut high) = (parts().fold(f64::INFINITY, f64::min), parts().fold(f64::NEG_INFINITY, f64::max));
    for _ in 0..HALVINGS {
        let middle = low.midpoint(high);
        if cumulative(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    low.midpoint(high)
}

/// Quantiles of the chi-squared distribution at the middles of equal shares, from the highest to the lowest.
fn chi_squared_quantiles(freedom: f64) -> Option<Vec<f64>> {
    let squares = ChiSquared::new(freedom).ok()?;
    Some((0..SHARES).rev().map(|index| squares.inverse_cdf((f64::from(index) + 0.5) / f64::from(SHARES))).collect())
}

/// The intervals are at 95 %.
const ALPHA: f64 = 0.05;
/// Parts of the confidence distribution of tau.
const SHARES: u32 = 100;
/// Bisections of the range in which an end of the prediction interval lies: to a billionth.
const HALVINGS: usize = 30;

#[cfg(test)]
mod tests;
