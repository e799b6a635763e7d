//! The primary metrics: what the claims of a session are about.
//!
//! For every pair of servers: the tail of the latency, CPU time per message, CPU time per tick when idle, and the rate at
//! which waiting messages are answered. The quantiles of the latency are a **tail ladder**: p90, p95 and p99 in a fixed
//! sequence, so that none of them is chosen after the fact and the later ones cost the first nothing (see
//! [`graph`](crate::stats::graph)). The median is shown and not tested: it is where the distributions of servers cross.

use super::metrics;
use crate::{
    record::Primary,
    stats::{graph::simultaneous_level, signed_rank::blocks_for_interval, verdict::Margin},
};

/// One of the metrics that a session makes claims about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrimaryMetric {
    pub(crate) name: &'static str,
    /// Unit of a difference; empty for ratios.
    pub(crate) unit: &'static str,
    /// The smallest difference worth mentioning.
    pub(crate) margin: Margin,
    /// Which of two values is the better one.
    pub(crate) better: Better,
    /// The fixed sequence that it belongs to; its place there is that of the family.
    pub(crate) chain: Chain,
    /// The quantile of the latency that it is, if it is one.
    pub(crate) quantile: Option<f64>,
    cell: fn(&Primary) -> &str,
    pub(super) value: metrics::Metric,
    /// The second bound, if the true value lies between two measured ones: a claim must hold at both.
    pub(super) other_bound: Option<metrics::Metric>,
}

/// The direction in which a metric improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// A cost.
    Lower,
    /// A rate.
    Higher,
}

/// A sequence of metrics, each of which is tested only if all before it differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// The tail ladder.
    Tail,
    /// CPU time per message.
    Cpu,
    /// CPU time when idle.
    Idle,
    /// The drain rate.
    Throughput,
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

/// The family of every session, for each pair of servers. The metrics of a chain stand in the order in which they are
/// tested.
pub(crate) const PRIMARY: [PrimaryMetric; 6] = [
    rung("response p90", 0.9, metrics::response_p90, metrics::service_p90),
    rung("response p95", 0.95, metrics::response_p95, metrics::service_p95),
    rung("response p99", 0.99, metrics::response_p99, metrics::service_p99),
    PrimaryMetric {
        chain: Chain::Cpu,
        cell: |primary| &primary.cpu,
        ..ratio("CPU per message", metrics::cpu_per_message_ns)
    },
    PrimaryMetric { chain: Chain::Idle, ..ratio("idle CPU per tick", metrics::idle_cpu_us_per_tick) },
    PrimaryMetric {
        chain: Chain::Throughput,
        better: Better::Higher,
        ..ratio("drain rate", metrics::drain_rate_per_sec)
    },
];

/// The median of the response, which is shown and not tested.
pub(super) const MEDIAN: PrimaryMetric = rung("response p50", 0.5, metrics::response_p50, metrics::service_p50);

/// The metrics of the secondary family of a load: the tail ladder and CPU per message.
pub(super) fn secondary() -> &'static [PrimaryMetric] {
    const ALL: &[PrimaryMetric] = &PRIMARY;
    &ALL[..4]
}

/// The metrics of the family of a load with a few messages that cost much more than the others: what happens to the others
/// meanwhile. That is seen in their p99, which is the only quantile that is tested: fewer messages than one in ten come
/// while a heavy one is worked on. There is no service time of them to be a second bound; the send lag is microseconds and the effect
/// milliseconds.
pub(super) const BESIDE_HEAVY: [PrimaryMetric; 2] = [
    PrimaryMetric { quantile: Some(0.99), ..ratio("light p99", metrics::light_p99) },
    PrimaryMetric { chain: Chain::Cpu, ..ratio("CPU per message", metrics::cpu_per_message_ns) },
];

/// A quantile of the latency, between its two bounds: they differ by the generator's own send lag.
const fn rung(name: &'static str, quantile: f64, response: metrics::Metric, service: metrics::Metric) -> PrimaryMetric {
    PrimaryMetric { quantile: Some(quantile), other_bound: Some(service), ..ratio(name, response) }
}

/// A metric that is above 0, from the cell of the latency; lower is better.
const fn ratio(name: &'static str, value: metrics::Metric) -> PrimaryMetric {
    PrimaryMetric {
        name,
        unit: "",
        margin: Margin::Ratio(MARGIN),
        better: Better::Lower,
        chain: Chain::Tail,
        quantile: None,
        cell: |primary| &primary.latency,
        value,
        other_bound: None,
    }
}

/// The smallest number of blocks with which the family of so many servers can lead to any verdict: with fewer, there is no
/// interval at its simultaneous level, however large the difference. The server that runs twice is not one of them.
pub(crate) fn blocks_needed(contestants: usize) -> u64 {
    // With one server there is only the control, which is one pair.
    let pairs = (contestants * contestants.saturating_sub(1) / 2).max(1);
    blocks_for_interval(simultaneous_level(ALPHA, pairs * PRIMARY.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::signed_rank::interval;

    #[test]
    fn with_the_blocks_that_are_needed_there_is_an_interval_and_with_one_fewer_there_is_none() {
        assert_eq!([2, 3, 4].map(blocks_needed), [8, 10, 11]);
        assert_eq!([0, 1].map(blocks_needed), [8, 8], "the control alone");
        for contestants in 2..30_usize {
            let level = simultaneous_level(ALPHA, PRIMARY.len() * contestants * (contestants - 1) / 2);
            let differences = |blocks: u64| (1..=blocks).map(|block| block as f64).collect::<Vec<f64>>();
            let blocks = blocks_needed(contestants);
            assert!(interval(&differences(blocks), level).is_some_and(|interval| interval.low > 0.0));
            assert_eq!(interval(&differences(blocks - 1), level), None, "{contestants} servers");
        }
    }

    #[test]
    fn the_ladder_is_one_chain_in_rising_order_and_every_other_metric_is_one_by_itself() {
        let chains: Vec<&[PrimaryMetric]> = PRIMARY.chunk_by(|one, other| one.chain == other.chain).collect();
        assert_eq!(chains.iter().map(|chain| chain.len()).collect::<Vec<_>>(), [3, 1, 1, 1]);
        assert!(chains[0].iter().map(|rung| rung.quantile).eq([0.9, 0.95, 0.99].map(Some)));
        assert!(chains[0].iter().all(|rung| rung.other_bound.is_some()), "response and service");
        let higher: Vec<&str> =
            PRIMARY.iter().filter(|metric| metric.better == Better::Higher).map(|metric| metric.name).collect();
        assert_eq!(higher, ["drain rate"]);
    }
}
