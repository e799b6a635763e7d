//! The primary metrics: what the claims of a session are about.

use super::metrics;
use crate::{record::Primary, stats::verdict::Margin};

/// One of the metrics that a session makes claims about; lower is better.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrimaryMetric {
    pub(crate) name: &'static str,
    /// Unit of a difference; empty for ratios.
    pub(crate) unit: &'static str,
    /// The smallest difference worth mentioning.
    pub(crate) margin: Margin,
    cell: fn(&Primary) -> &str,
    pub(super) value: metrics::Metric,
    /// The second bound, if the true value lies between two measured ones: a claim must hold at both.
    pub(super) other_bound: Option<metrics::Metric>,
}

impl PrimaryMetric {
    /// The cell whose rows it is computed from.
    pub(crate) fn cell<'a>(&self, primary: &'a Primary) -> &'a str {
        (self.cell)(primary)
    }
}

/// The reference server of "no added latency": it blocks on its only connection, so latency above its is added by others.
pub(crate) const FLOOR: &str = "blocking";

/// Margin of the ratios: 3 %.
pub(crate) const MARGIN: f64 = 0.03;

/// Family-wise error rate.
pub(crate) const ALPHA: f64 = 0.05;

/// The family of every session.
pub(crate) const PRIMARY: [PrimaryMetric; 4] = [
    PrimaryMetric {
        name: "response p50",
        unit: "",
        margin: Margin::Ratio(MARGIN),
        cell: |primary| &primary.latency,
        value: metrics::response_p50,
        // The two differ by the generator's own send lag.
        other_bound: Some(metrics::service_p50),
    },
    PrimaryMetric {
        name: "response p99",
        unit: "",
        margin: Margin::Ratio(MARGIN),
        cell: |primary| &primary.latency,
        value: metrics::response_p99,
        other_bound: Some(metrics::service_p99),
    },
    PrimaryMetric {
        name: "CPU per message",
        unit: "",
        margin: Margin::Ratio(MARGIN),
        cell: |primary| &primary.cpu,
        value: metrics::cpu_per_message_ns,
        other_bound: None,
    },
    PrimaryMetric {
        name: "idle wake-ups",
        unit: "/s",
        // They may be 0, so that no ratio exists.
        margin: Margin::Difference(1.0),
        cell: |primary| &primary.latency,
        value: metrics::tick_wakeups_per_sec,
        other_bound: None,
    },
];

/// The metrics of the secondary family of a load: latency and CPU per message.
pub(super) fn secondary() -> &'static [PrimaryMetric] {
    const ALL: &[PrimaryMetric] = &PRIMARY;
    &ALL[..3]
}
