//! Values of the arms over the blocks of a cell: medians, extremes and paired differences.

use std::collections::BTreeMap;

use super::{
    blocks::blocks,
    counted::of_cell,
    metrics::{Metric, is_usable},
    primary::FLOOR,
};
use crate::{
    record::Row,
    stats::{is_told, quantile, signed_rank},
};

/// Level of the confidence intervals, each by itself.
const LEVEL: f64 = 0.95;

/// An estimate with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) estimate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// A quantile that is shown if at least 30 samples of all trials lie beyond it.
pub(crate) struct Tail {
    pub(super) value: Metric,
    /// The number of samples of a trial.
    samples: Metric,
    /// The share of them that lies beyond.
    beyond: f64,
}

impl Tail {
    pub(super) const fn p99(value: Metric, samples: Metric) -> Self {
        Self { value, samples, beyond: 0.01 }
    }

    /// Another quantile.
    pub(super) const fn of(quantile: f64, value: Metric, samples: Metric) -> Self {
        Self { value, samples, beyond: 1.0 - quantile }
    }
}

/// The rows of a session by their cells.
pub(super) struct CellValues(BTreeMap<String, Vec<Row>>);

impl CellValues {
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut cells: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows {
            cells.entry(row.cell_name().to_owned()).or_default().push(row.clone());
        }
        Self(cells)
    }

    /// Whether the session has several loads.
    pub(super) fn has_cells(&self) -> bool {
        self.0.keys().any(|name| !name.is_empty())
    }

    /// One value per usable trial of an arm in a cell.
    fn values(&self, arm: &str, cell: &str, value: impl Fn(&Row) -> Option<f64>) -> Vec<f64> {
        let Some(rows) = self.0.get(cell) else { return Vec::new() };
        let own = of_cell(rows, cell).into_iter().filter(|row| row.arm == arm && is_usable(row));
        own.filter_map(value).collect()
    }

    pub(super) fn median(&self, arm: &str, cell: &str, value: Metric) -> Option<f64> {
        quantile(&self.values(arm, cell, value), 0.5)
    }

    /// The median of a quantile, if enough samples lie beyond it.
    pub(super) fn tail(&self, arm: &str, cell: &str, tail: &Tail) -> Option<f64> {
        self.median(arm, cell, tail.value).filter(|_| self.is_shown(arm, cell, tail))
    }

    pub(super) fn is_shown(&self, arm: &str, cell: &str, tail: &Tail) -> bool {
        let samples = self.values(arm, cell, tail.samples).iter().sum::<f64>();
        is_told(samples as u64, 1.0 - tail.beyond)
    }

    /// The highest value of all blocks.
    pub(super) fn most(&self, arm: &str, cell: &str, value: Metric) -> Option<f64> {
        self.values(arm, cell, value).into_iter().reduce(f64::max)
    }

    /// Whether the median is at most the limit; `None` if its interval contains the limit.
    pub(super) fn within(
        &self,
        arm: &str,
        cell: &str,
        value: impl Fn(&Row) -> Option<f64>,
        limit: f64,
    ) -> Option<bool> {
        let interval = signed_rank::interval(&self.values(arm, cell, value), LEVEL)?;
        match interval {
            _ if interval.high <= limit => Some(true),
            _ if interval.low > limit => Some(false),
            _ => None,
        }
    }

    /// Cost per connection, between 1 connection and as many as were measured.
    pub(super) fn slope(&self, arm: &str, value: Metric) -> Option<f64> {
        let few = self.median(arm, "connections-1", value)?;
        let more = [10_000, 1_000].into_iter().find_map(|connections| {
            let many = self.median(arm, &format!("connections-{connections}"), value)?;
            Some((many, f64::from(connections)))
        });
        more.map(|(many, connections)| (many - few) / (connections - 1.0))
    }

    /// The latency that an arm adds to that of [`FLOOR`], in nanoseconds, over the blocks in which both are usable.
    pub(super) fn added(&self, arm: &str, value: Metric) -> Option<Estimate> {
        let pair = [arm.to_owned(), FLOOR.to_owned()];
        let difference = |block: &Vec<&Row>| {
            let usable = block.iter().all(|row| is_usable(row));
            Some(value(block[0])? - value(block[1])?).filter(|_| usable)
        };
        let differences: Vec<f64> =
            blocks(self.0.get("floor")?, &pair, "floor").iter().filter_map(difference).collect();
        let estimate = signed_rank::estimate(&differences)?;
        let interval = signed_rank::interval(&differences, LEVEL)?;
        Some(Estimate { estimate, low: interval.low, high: interval.high })
    }
}
