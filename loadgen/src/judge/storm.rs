//! Connections that come, shake hands and go: how long they wait for the welcome, and what each costs the server.

use super::{
    cell_values::{CellValues, Tail},
    metrics::{Metric, load_cpu_ns_per_sec, number, opened_per_sec},
};
use crate::record::Row;

/// The quantiles of the time from connect() to the welcome.
pub(crate) const WELCOME: [(&str, Tail); 3] = [
    ("p50", Tail::of(0.5, |row| number(row.welcome_ns.p50), OPENED)),
    ("p95", Tail::of(0.95, |row| number(row.welcome_ns.p95), OPENED)),
    ("p99", Tail::of(0.99, |row| number(row.welcome_ns.p99), OPENED)),
];

const OPENED: Metric = |row| number(row.churn.opened_count);

/// The cells of a session with connections that come and go, by their rows.
pub(crate) struct Storms(CellValues);

impl Storms {
    pub(crate) fn of(rows: &[Row]) -> Self {
        Self(CellValues::of(rows))
    }

    /// The median over blocks of a quantile of [`WELCOME`], in nanoseconds; `None` if too few connections of all trials lie
    /// beyond it.
    pub(crate) fn welcome_ns(&self, arm: &str, cell: &str, quantile: &Tail) -> Option<f64> {
        self.0.tail(arm, cell, quantile)
    }

    /// CPU time of the server per connection, from accept to close, in nanoseconds: by how much its CPU time per second
    /// grows with the connections per second, from cell to cell. The messages beside them are the same in all of these
    /// cells, so that their cost, and that of everything else, is in the intercept. Least squares over the medians of the
    /// cells; `None` with fewer than two, or if one of them has none: a slope over other cells is another quantity.
    pub(crate) fn cpu_per_connection_ns(&self, arm: &str, cells: &[&str]) -> Option<f64> {
        let point = |cell: &&str| {
            let median = |value: Metric| self.0.median(arm, cell, value);
            Some((median(opened_per_sec)?, median(load_cpu_ns_per_sec)?))
        };
        slope(&cells.iter().map(point).collect::<Option<Vec<_>>>()?)
    }
}

/// The slope of the least-squares line; `None` if the points have only one place.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let common: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0).then(|| common / spread)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Latency, Misbehaving, Outcome};

    const SECOND_NS: u64 = 1_000_000_000;

    /// A second with so many connections, each of which costs 30 us, in addition to 80 ms for the rest.
    fn row(cell: &str, block: u64, opened: u64) -> Row {
        Row {
            cell: Some(cell.to_owned()),
            block,
            arm: "mio".to_owned(),
            churn: Misbehaving { opened_count: Some(opened), ..Misbehaving::default() },
            load_span_ns: Some(SECOND_NS),
            server_cpu_ns_load: Some(80_000_000 + opened * 30_000 + block * 10),
            welcome_ns: Latency {
                p50: Some(100_000 + block),
                p95: Some(200_000 + block),
                p99: Some(300_000 + block),
                ..Latency::default()
            },
            ..Row::default()
        }
    }

    fn rows() -> Vec<Row> {
        let cell = |(name, opened): (&'static str, u64)| (1..=12).map(move |block| row(name, block, opened));
        [("storm-100", 60), ("storm-1000", 1_000), ("storm-5000", 4_700)].into_iter().flat_map(cell).collect()
    }

    #[test]
    fn a_connection_costs_what_the_cpu_time_grows_by_whatever_the_rest_costs() {
        let storms = Storms::of(&rows());
        let cost = |cells: &[&str]| storms.cpu_per_connection_ns("mio", cells);
        assert!((cost(&["storm-100", "storm-1000", "storm-5000"]).unwrap() - 30_000.0).abs() < 1e-6);
        assert!((cost(&["storm-100", "storm-5000"]).unwrap() - 30_000.0).abs() < 1e-6);
        assert_eq!((cost(&["storm-100"]), cost(&[])), (None, None));
        assert_eq!(storms.cpu_per_connection_ns("tokio", &["storm-100", "storm-1000"]), None);
    }

    #[test]
    fn a_cell_in_which_a_server_is_saturated_leaves_it_without_a_slope() {
        let mut rows = rows();
        for row in rows.iter_mut().filter(|row| row.cell_name() == "storm-5000") {
            row.outcome = Outcome::Saturated;
            row.server_cpu_ns_load = Some(999);
        }
        let storms = Storms::of(&rows);
        let cost = |cells: &[&str]| storms.cpu_per_connection_ns("mio", cells);
        assert_eq!(
            cost(&["storm-100", "storm-1000", "storm-5000"]),
            None,
            "of fewer cells it would be another quantity"
        );
        assert!((cost(&["storm-100", "storm-1000"]).unwrap() - 30_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_wait_is_shown_if_enough_connections_lie_beyond_it() {
        let storms = Storms::of(&rows());
        let shown = |cell: &str| WELCOME.each_ref().map(|(_, tail)| storms.welcome_ns("mio", cell, tail));
        assert_eq!(shown("storm-100"), [Some(100_006.5), Some(200_006.5), None], "7 of 720 lie beyond the p99");
        assert_eq!(shown("storm-1000"), [Some(100_006.5), Some(200_006.5), Some(300_006.5)]);
        assert_eq!(shown("rate-50"), [None; 3]);
    }

    proptest! {
        #[test]
        fn a_line_has_its_own_slope(slope_of in -1e3..1e3_f64, start in -1e3..1e3_f64, xs in prop::collection::btree_set(0..10_000_u32, 2..6)) {
            let points: Vec<(f64, f64)> = xs.into_iter().map(|x| (f64::from(x), start + slope_of * f64::from(x))).collect();
            prop_assert!((slope(&points).unwrap() - slope_of).abs() < 1e-6);
        }
    }
}
