//! What a session could have found, according to the arm that runs twice: the two differ by nothing but noise.

use super::{
    blocks::Cells,
    primary::{ALPHA, MARGIN, MEDIAN, PRIMARY, PrimaryMetric},
    verdicts::{controls, pairs},
};
use crate::{
    record::{Primary, Row},
    stats::{
        graph::simultaneous_level,
        power::{detectable, power, standard_error},
        signed_rank::{Interval, interval},
    },
};

/// Effects above this are not worth the name of a resolution: 10 %.
const RESOLUTION: f64 = 0.1;

/// How well one metric can be told apart, by the arm that runs twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Power {
    /// The metric's name.
    pub(crate) name: &'static str,
    /// The quantile of the latency that it is, if it is one.
    pub(crate) quantile: Option<f64>,
    /// The smallest true ratio, above 1, that the interval of a pair tells from equality in 80 % of such sessions; for a
    /// latency, at the noisier of the two bounds.
    pub(crate) detectable: f64,
    /// The probability that the control would have shown a bias as large as the margin, 3 %.
    pub(crate) of_bias: f64,
}

impl Power {
    /// The detectable effect as claims put it: the share by which the lower one is lower.
    pub(crate) fn lower_by(&self) -> f64 {
        1.0 - 1.0 / self.detectable
    }
}

/// Up to which quantile of the latency a host allows for comparisons.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resolution {
    /// The highest quantile.
    pub(crate) quantile: f64,
    /// The share by which an arm must be lower to be told apart at that quantile, and at all lower ones that are tested.
    pub(crate) lower_by: f64,
}

/// The power of the median and of every primary metric, in this order; without those that the control has no values of.
/// Empty without a control.
pub(crate) fn powers(rows: &[Row], arms: &[String], primary: &Primary) -> Vec<Power> {
    let Some((first, second)) = controls(arms).first().copied() else { return Vec::new() };
    let cells = Cells::of(rows, arms, [primary.latency.as_str(), primary.cpu.as_str()]);
    let of_pairs = simultaneous_level(ALPHA, pairs(arms).len() * PRIMARY.len());
    let of_control = simultaneous_level(ALPHA, controls(arms).len() * PRIMARY.len());
    let of = |metric: &PrimaryMetric| {
        let noise: Vec<Vec<f64>> = [Some(metric.value), metric.other_bound]
            .into_iter()
            .flatten()
            .map(|value| {
                let [one, other] = [first, second]
                    .map(|arm| cells.told_values(metric.cell(primary), arm, arms, value, metric.quantile));
                let pairs = one?.into_iter().zip(other?);
                Some(pairs.map(|(one, other)| other.ln() - one.ln()).collect())
            })
            .collect::<Option<_>>()?;
        let worst = |level: f64| {
            let intervals: Option<Vec<Interval>> = noise.iter().map(|noise| interval(noise, level)).collect();
            intervals?
                .into_iter()
                .map(|it| (standard_error(&it), it.level))
                .max_by(|one, other| one.0.total_cmp(&other.0))
        };
        let (pair, control) = (worst(of_pairs)?, worst(of_control)?);
        Some(Power {
            name: metric.name,
            quantile: metric.quantile,
            detectable: detectable(pair.0, pair.1).exp(),
            of_bias: power(MARGIN.ln_1p(), control.0, control.1),
        })
    };
    [MEDIAN].iter().chain(&PRIMARY).filter_map(of).collect()
}

/// The highest quantile up to which an effect of at most 10 % is detectable; `None` if it is not even at the lowest.
pub(crate) fn resolves(powers: &[Power]) -> Option<Resolution> {
    let quantiles = powers.iter().filter_map(|power| Some((power.quantile?, power.lower_by())));
    quantiles.take_while(|(_, lower_by)| *lower_by <= RESOLUTION).fold(None, |so_far: Option<Resolution>, found| {
        let lower_by = so_far.map_or(found.1, |so_far| so_far.lower_by.max(found.1));
        Some(Resolution { quantile: found.0, lower_by })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Latency;

    fn of(quantile: Option<f64>, detectable: f64) -> Power {
        Power { name: "", quantile, detectable, of_bias: 0.5 }
    }

    #[test]
    fn a_host_resolves_up_to_the_highest_quantile_before_the_first_that_it_cannot() {
        let resolved = |effects: [f64; 4]| {
            let mut powers: Vec<Power> =
                [0.5, 0.9, 0.95, 0.99].iter().zip(effects).map(|(at, effect)| of(Some(*at), effect)).collect();
            powers.push(of(None, 1.001));
            resolves(&powers).map(|found| (found.quantile, (found.lower_by * 1e3).round()))
        };
        assert_eq!(resolved([1.01, 1.02, 1.0 / 0.94, 1.5]), Some((0.95, 60.0)));
        assert_eq!(resolved([1.01, 1.0 / 0.93, 1.02, 1.0 / 0.9 - 1e-9]), Some((0.99, 100.0)), "of all up to it");
        assert_eq!(resolved([1.01, 1.2, 1.02, 1.03]), Some((0.5, 10.0)), "no gap");
        assert_eq!(resolved([1.2, 1.01, 1.01, 1.01]), None);
        assert_eq!(resolves(&[of(None, 1.01)]), None, "no latency");
        assert_eq!(resolves(&[]), None);
    }

    /// 40 blocks in which the second run of mio varies by so much, at p99 ten times as much, against the first.
    fn session(noise: f64) -> Vec<Row> {
        let row = |block: u64, arm: &str| {
            // Between -1 and 1, without a pattern that the signed ranks could see.
            let wave = if arm == "mio" { 0.0 } else { ((block * 7 % 40) as f64 - 19.5) / 19.5 };
            let ns = |ns: f64, noise: f64| Some((ns * (noise * wave).exp()) as u64);
            let latency = Latency {
                p50: ns(1e7, noise),
                p90: ns(2e7, noise),
                p95: ns(3e7, 2.0 * noise),
                p99: ns(9e7, 10.0 * noise),
                ..Latency::default()
            };
            Row {
                block,
                arm: arm.to_owned(),
                response_ns: latency.clone(),
                service_ns: latency,
                echoed_count: Some(100_000),
                server_cpu_ns_load: ns(1e9, 0.0),
                ..Row::default()
            }
        };
        (0..40).flat_map(|block| ["mio", "tokio", "mio#2"].map(|arm| row(block, arm))).collect()
    }

    #[test]
    fn the_power_is_that_of_the_noise_between_two_runs_of_one_arm() {
        let names = ["mio", "tokio", "mio#2"].map(str::to_owned);
        let powers = powers(&session(0.02), &names, &Primary::default());
        let found: Vec<&str> = powers.iter().map(|power| power.name).collect();
        assert_eq!(found, ["response p50", "response p90", "response p95", "response p99", "CPU per message"]);
        let effect = |index: usize| powers[index].detectable.ln();
        assert!(effect(0) > 0.0 && (effect(1) / effect(0) - 1.0).abs() < 1e-4);
        assert!((effect(2) / effect(0) - 2.0).abs() < 1e-4 && (effect(3) / effect(0) - 10.0).abs() < 1e-3);
        assert_eq!((powers[4].detectable, powers[4].of_bias), (1.0, 1.0), "no noise");
        assert!(powers[0].of_bias > powers[2].of_bias && powers[2].of_bias > powers[3].of_bias);
        // A uniform noise of 2 % at most, 1.15 % by its standard deviation, over 40 blocks: 0.18 % of error.
        assert!((0.004..0.012).contains(&effect(0)), "{}", effect(0));
        assert!(powers[0].of_bias > 0.99 && powers[3].of_bias < 0.5, "{powers:?}");
        assert_eq!(resolves(&powers).map(|found| found.quantile), Some(0.99));
    }

    #[test]
    fn the_noisier_bound_decides() {
        let names = ["mio", "tokio", "mio#2"].map(str::to_owned);
        let quiet = session(0.02);
        let mut noisy = session(0.04);
        noisy.iter_mut().zip(&quiet).for_each(|(row, quiet)| row.response_ns = quiet.response_ns.clone());
        let [quiet, noisy, both] =
            [quiet, noisy, session(0.04)].map(|rows| powers(&rows, &names, &Primary::default())[0]);
        assert!(noisy.detectable > quiet.detectable && noisy == both, "{quiet:?} {noisy:?}");
    }

    #[test]
    fn without_a_control_there_is_no_power() {
        let names = ["mio", "tokio"].map(str::to_owned);
        assert!(powers(&session(0.02), &names, &Primary::default()).is_empty());
        let names = ["mio", "tokio", "mio#2"].map(str::to_owned);
        assert!(powers(&session(0.02)[..18], &names, &Primary::default()).is_empty(), "six blocks");
        assert!(powers(&[], &names, &Primary::default()).is_empty());
    }
}
