//! How the distributions of two arms differ: the ratio of their quantiles, from p10 to p99, with a band.
//!
//! The shift function (Doksum, Empirical probability plots and statistical inference for nonlinear models in the
//! two-sample case, Annals of Statistics 2, 1974) over blocks. It is shown and claims nothing: p90, p95 and p99 are
//! tested in the primary family.

use super::{
    blocks::Cells,
    metrics::{self, Metric, defined},
    primary::{ALPHA, MARGIN},
    verdicts::pairs,
};
use crate::{
    record::Row,
    stats::{
        comparison::{Endpoint, compare_alone},
        verdict::Margin,
    },
};

/// The response of two arms, quantile by quantile.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shift {
    /// The reference.
    pub(crate) first: String,
    /// The arm whose quantiles are divided by those of the first.
    pub(crate) second: String,
    /// In rising order, without quantiles that are unknown or not told by enough messages.
    pub(crate) points: Vec<ShiftPoint>,
}

/// The ratio of one quantile: second / first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ShiftPoint {
    /// The quantile's name, such as `p90`.
    pub(crate) name: &'static str,
    /// Between 0 and 1.
    pub(crate) quantile: f64,
    /// The Hodges-Lehmann estimate over blocks.
    pub(crate) ratio: f64,
    /// The ends of the band, which contains the true ratios of all quantiles of the pair with 95 % confidence.
    pub(crate) band: (f64, f64),
}

/// Two arms of which one is lower below and higher above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    /// The highest quantile below the crossing at which one arm is lower.
    pub(crate) from: &'static str,
    /// The lowest quantile above the crossing at which the other one is.
    pub(crate) to: &'static str,
    /// Whether it is the second arm that is lower up to `from`.
    pub(crate) second_is_lower_before: bool,
}

const QUANTILES: [(&str, f64, Metric); 12] = [
    ("p10", 0.1, |row| defined(row, row.response_shape_ns.p10, 0.1)),
    ("p20", 0.2, |row| defined(row, row.response_shape_ns.p20, 0.2)),
    ("p30", 0.3, |row| defined(row, row.response_shape_ns.p30, 0.3)),
    ("p40", 0.4, |row| defined(row, row.response_shape_ns.p40, 0.4)),
    ("p50", 0.5, metrics::response_p50),
    ("p60", 0.6, |row| defined(row, row.response_shape_ns.p60, 0.6)),
    ("p70", 0.7, |row| defined(row, row.response_shape_ns.p70, 0.7)),
    ("p80", 0.8, |row| defined(row, row.response_shape_ns.p80, 0.8)),
    ("p90", 0.9, metrics::response_p90),
    ("p95", 0.95, metrics::response_p95),
    ("p98", 0.98, |row| defined(row, row.response_shape_ns.p98, 0.98)),
    ("p99", 0.99, metrics::response_p99),
];

/// The shift of every pair of arms in a cell, without the arm that runs twice.
pub(crate) fn shifts(rows: &[Row], arms: &[String], cell: &str) -> Vec<Shift> {
    let cells = Cells::of(rows, arms, [cell]);
    let point = |pair: [usize; 2], (name, quantile, value): (&'static str, f64, Metric)| {
        let [first, second] = pair.map(|arm| cells.told_values(cell, arm, arms, value, Some(quantile)));
        let (first, second) = (first?, second?);
        // For a band over all quantiles (Bonferroni).
        let endpoint = Endpoint { first: &first, second: &second, margin: Margin::Ratio(MARGIN) };
        let found = compare_alone(endpoint, ALPHA / QUANTILES.len() as f64)?;
        Some(ShiftPoint { name, quantile, ratio: found.estimate, band: found.interval })
    };
    let shift = |(first, second): (usize, usize)| Shift {
        first: arms[first].clone(),
        second: arms[second].clone(),
        points: QUANTILES.into_iter().filter_map(|at| point([first, second], at)).collect(),
    };
    pairs(arms).into_iter().map(shift).collect()
}

impl Shift {
    /// Where the distributions cross: the first time that the band lies on the other side of 1 than before. `None` if it
    /// never does, so that one arm is not shown to be lower at one quantile and higher at another.
    pub(crate) fn crossing(&self) -> Option<Crossing> {
        let mut decided = self.points.iter().filter(|point| point.band.1 < 1.0 || point.band.0 > 1.0);
        let mut before = decided.next()?;
        for point in decided {
            let is_lower = |point: &ShiftPoint| point.ratio < 1.0;
            if is_lower(point) != is_lower(before) {
                return Some(Crossing { from: before.name, to: point.name, second_is_lower_before: is_lower(before) });
            }
            before = point;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Latency, Outcome, Shape};

    /// A trial whose quantiles are those of the first arm times these factors, from p10 to p99.
    fn row(block: u64, arm: &str, factors: [f64; 12]) -> Row {
        let noise = 1.0 + 0.001 * ((block * 7 + arm.len() as u64 * 3) % 11) as f64;
        let at = |index: usize| Some((1e7 * (index + 1) as f64 * factors[index] * noise) as u64);
        let response_ns = Latency { p50: at(4), p90: at(8), p95: at(9), p99: at(11), ..Latency::default() };
        let response_shape_ns =
            Shape { p10: at(0), p20: at(1), p30: at(2), p40: at(3), p60: at(5), p70: at(6), p80: at(7), p98: at(10) };
        let echoed_count = Some(10_000);
        Row { block, arm: arm.to_owned(), response_ns, response_shape_ns, echoed_count, ..Row::default() }
    }

    fn rows(factors: [f64; 12]) -> Vec<Row> {
        let block = |block| [row(block, "mio", factors), row(block, "tokio", [1.0; 12]), row(block, "mio#2", factors)];
        (1..=20).flat_map(block).collect()
    }

    fn shift(rows: &[Row]) -> Shift {
        let found = shifts(rows, &["mio", "tokio", "mio#2"].map(str::to_owned), "");
        assert_eq!(found.len(), 1, "the control is no pair");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn the_ratio_of_every_quantile_is_that_of_its_column() {
        let factors = [1.12, 1.1, 1.08, 1.06, 1.04, 1.02, 0.98, 0.96, 0.94, 0.92, 0.9, 0.88];
        let shift = shift(&rows(factors));
        assert_eq!((shift.first.as_str(), shift.second.as_str()), ("tokio", "mio"));
        let names: Vec<&str> = shift.points.iter().map(|point| point.name).collect();
        assert_eq!(names, ["p10", "p20", "p30", "p40", "p50", "p60", "p70", "p80", "p90", "p95", "p98", "p99"]);
        for (point, factor) in shift.points.iter().zip(factors) {
            assert!((point.ratio - factor).abs() < 0.005, "{point:?}");
            assert!(point.band.0 < point.ratio && point.ratio < point.band.1);
            assert_eq!(point.name[1..].parse::<f64>().unwrap() / 100.0, point.quantile);
        }
    }

    #[test]
    fn distributions_cross_between_the_quantiles_where_the_band_changes_sides() {
        let crossing = |factors| shift(&rows(factors)).crossing();
        let between = [1.1, 1.1, 1.1, 1.1, 1.0, 1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9];
        assert_eq!(crossing(between), Some(Crossing { from: "p40", to: "p70", second_is_lower_before: false }));
        let other = between.map(|factor: f64| factor.recip());
        assert_eq!(crossing(other), Some(Crossing { from: "p40", to: "p70", second_is_lower_before: true }));
        assert_eq!(crossing([1.0; 12]), None);
        assert_eq!(crossing([0.9; 12]), None);
        let mut once = [1.0; 12];
        once[11] = 1.2;
        assert_eq!(crossing(once), None, "equal elsewhere is no crossing");
    }

    #[test]
    fn a_quantile_that_is_unknown_or_told_by_too_few_messages_is_left_out() {
        let mut few = rows([1.0; 12]);
        few.iter_mut().for_each(|row| row.echoed_count = Some(100));
        assert_eq!(shift(&few).points.last().unwrap().name, "p98", "20 messages lie beyond p99");
        few.iter_mut().for_each(|row| row.response_shape_ns = Shape::default());
        let names: Vec<&str> = shift(&few).points.iter().map(|point| point.name).collect();
        assert_eq!(names, ["p50", "p90", "p95"], "a record of before the shape");
        let mut saturated = rows([1.0; 12]);
        saturated[0].outcome = Outcome::Saturated;
        assert!(shift(&saturated).points.is_empty());
        assert_eq!(shift(&saturated).crossing(), None);
        assert!(shift(&rows([1.0; 12])[..9]).points.is_empty(), "three blocks");
    }
}
