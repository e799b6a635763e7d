//! Whether the generator treated two arms alike: by its send lag, which is part of the response and not of the service time.

use super::{
    metrics::{self, Metric},
    primary::MARGIN,
};
use crate::{record::Row, stats::quantile};

/// The share of a claim's margin that the generator's lag may take up.
const MARGIN_SHARE: f64 = 1.0 / 3.0;

/// The generator sent later to one of two arms, by so much that a claim about their latency would be partly about the
/// generator. A lag that both have alike is harmless to a comparison, however long it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LagDifference {
    /// The second arm's typical lag less the first arm's: of the medians over blocks of the mean lag, in nanoseconds.
    pub(crate) ns: f64,
    /// How much it might have been: a third of the margin of the median response, that of the faster arm.
    pub(crate) limit_ns: f64,
}

impl LagDifference {
    /// Of the trials of the first arm and of the second; `None` if the difference is within the limit or unknown.
    pub(super) fn of(arms: [Vec<&Row>; 2]) -> Option<Self> {
        let median = |rows: &Vec<&Row>, value: Metric| {
            let values: Vec<f64> = rows.iter().filter_map(|row| value(row)).collect();
            quantile(&values, 0.5)
        };
        let lag = |arm: usize| median(&arms[arm], metrics::send_lag_mean);
        let response = |arm: usize| median(&arms[arm], metrics::response_p50);
        let ns = lag(1)? - lag(0)?;
        let limit_ns = MARGIN_SHARE * MARGIN * response(0)?.min(response(1)?);
        (ns.abs() > limit_ns).then_some(Self { ns, limit_ns })
    }
}
