//! The quantities that are shown of every arm under the primary load.

use super::tables::{Cell, Table, TableRow, usable_values};
use crate::{
    judge::metrics::{self, Metric, contestants},
    plan::units::{show_count, show_us},
    record::Row,
    report::session::{JudgedSession, PrimaryRows},
    stats::quantile,
};

/// A quantity of a trial.
pub(in crate::report) struct Quantity {
    pub(in crate::report) name: &'static str,
    /// Empty of a count.
    pub(in crate::report) unit: &'static str,
    pub(in crate::report) value: Metric,
    /// Multiplied by this a value is in the unit.
    pub(in crate::report) scale: f64,
    show: fn(f64) -> String,
    source: CellSource,
    /// A change of it over time is worth an alarm; less is better.
    pub(in crate::report) is_trend: bool,
}

/// The primary cell that a quantity is from.
#[derive(Clone, Copy)]
enum CellSource {
    Latency,
    Cpu,
}

/// What most quantities are like.
const COMMON: Quantity = Quantity {
    name: "",
    unit: "",
    value: |_| None,
    scale: 1.0,
    show: show_us,
    source: CellSource::Latency,
    is_trend: false,
};

/// In the order in which they are shown; those that no arm has are left out.
pub(in crate::report) const FIGURES: [Quantity; 14] = [
    Quantity { is_trend: true, ..latency("response p50", metrics::response_p50) },
    Quantity { is_trend: true, ..latency("response p90", metrics::response_p90) },
    latency("response p95", metrics::response_p95),
    Quantity { is_trend: true, ..latency("response p99", metrics::response_p99) },
    latency("send lag p99", metrics::send_lag_p99),
    Quantity {
        show: |ns| format!("{:.2}", ns / 1e3),
        source: CellSource::Cpu,
        is_trend: true,
        ..latency("CPU/message", metrics::cpu_per_message_ns)
    },
    Quantity {
        name: "run delay, server",
        unit: "%",
        value: metrics::server_run_delay_share,
        scale: 1e2,
        show: percent,
        ..COMMON
    },
    Quantity {
        name: "idle CPU/tick",
        unit: "us",
        value: metrics::idle_cpu_us_per_tick,
        show: whole,
        is_trend: true,
        ..COMMON
    },
    Quantity {
        name: "idle CPU/status",
        unit: "us",
        value: metrics::idle_cpu_us_per_status,
        show: |us| format!("{us:.2}"),
        ..COMMON
    },
    Quantity {
        name: "wake-ups/tick",
        value: metrics::wakeups_per_tick,
        show: |count| format!("{count:.2}"),
        is_trend: true,
        ..COMMON
    },
    Quantity { name: "drain rate", unit: "1/s", value: metrics::drain_rate_per_sec, show: show_count, ..COMMON },
    Quantity { name: "closed loop", unit: "1/s", value: |row| row.peak_rate_per_sec, show: show_count, ..COMMON },
    Quantity {
        name: "memory PSS",
        unit: "KiB",
        value: |row| Some(metrics::user_bytes(row)? / 1024.0),
        show: whole,
        ..COMMON
    },
    Quantity { name: "threads", value: |row| metrics::number(row.server_threads_max), show: whole, ..COMMON },
];

/// Recorded in nanoseconds and shown in microseconds.
const fn latency(name: &'static str, value: Metric) -> Quantity {
    Quantity { name, unit: "us", value, scale: 1e-3, ..COMMON }
}

/// A share in percent, with two or three digits.
fn percent(share: f64) -> String {
    let decimals = if share < 0.1 { 2 } else { 1 };
    format!("{:.decimals$}", share * 1e2)
}

fn whole(number: f64) -> String {
    format!("{number:.0}")
}

impl Quantity {
    /// Name and unit.
    pub(in crate::report) fn label(&self) -> String {
        if self.unit.is_empty() { self.name.to_owned() } else { format!("{}, {}", self.name, self.unit) }
    }

    /// The rows that it is computed from.
    pub(in crate::report) fn rows<'a, 'r>(&self, rows: &'a PrimaryRows<'r>) -> &'a [&'r Row] {
        match self.source {
            CellSource::Latency => &rows.latency,
            CellSource::Cpu => &rows.cpu,
        }
    }

    /// Lower quartile, median and upper quartile over the blocks of an arm, with the number of blocks.
    pub(in crate::report) fn quartiles(&self, rows: &PrimaryRows<'_>, arm: &str) -> Option<([f64; 3], usize)> {
        let values = usable_values(self.rows(rows), arm, self.value);
        match [0.25, 0.5, 0.75].map(|at| quantile(&values, at)) {
            [Some(low), Some(median), Some(high)] => Some(([low, median, high], values.len())),
            _ => None,
        }
    }

    pub(in crate::report) fn cell(&self, rows: &PrimaryRows<'_>, arm: &str) -> Cell {
        let Some((quartiles, _)) = self.quartiles(rows, arm) else { return Cell::Missing };
        Cell::Median { quartiles, show: self.show }
    }
}

/// Every quantity of every arm but the control, whose differences from its first run are noise and stand with the verdicts;
/// empty if there is no primary load.
pub(super) fn figures(session: &JudgedSession) -> Table {
    if session.is_exploratory() {
        return Table { corner: String::new(), columns: Vec::new(), rows: Vec::new() };
    }
    let rows = session.primary_rows();
    let columns = contestants(&session.arms);
    let line = |quantity: &Quantity| TableRow {
        name: quantity.label(),
        cells: columns.iter().map(|arm| quantity.cell(&rows, arm)).collect(),
    };
    let is_known = |row: &TableRow| !row.cells.iter().all(|cell| matches!(cell, Cell::Missing));
    let rows: Vec<TableRow> = FIGURES.iter().map(line).filter(is_known).collect();
    Table { corner: String::new(), columns, rows }
}
