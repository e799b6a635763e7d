//! Sessions of several loads: medians and claims under each of them.

use super::{
    services,
    tables::{Cell, Table, TableRow, usable_values},
};
use crate::{
    judge::{
        counted::of_cell,
        metrics::{self, Metric, contestants, fan_out_per_sec},
        verdicts::{PairComparison, explore},
    },
    plan::units::show_count,
    record::{CellRecord, Outcome, PlanRecord, Row},
    report::session::JudgedSession,
    stats::quantile,
};

const SHOWN: [(&str, Metric); 3] = [
    ("response p50, us", metrics::response_p50),
    ("response p99, us", metrics::response_p99),
    ("CPU/message, us", metrics::cpu_per_message_ns),
];

/// The cell in which every tick is due before the last one is out.
const FAN_OUT: &str = "fan-out";

/// The claims under a load that is not a primary one, a family of their own.
pub(in crate::report) struct SecondaryFamily {
    pub(in crate::report) cell: String,
    pub(in crate::report) plan: PlanRecord,
    pub(in crate::report) rate_per_sec: f64,
    pub(in crate::report) pairs: Vec<PairComparison>,
}

/// A cell in which messages are sent.
struct LoadedCell<'a> {
    name: &'a str,
    plan: &'a PlanRecord,
    /// Without the control.
    arms: Vec<String>,
    rate_per_sec: f64,
    rows: Vec<Row>,
}

/// A table per quantity, a line per load.
pub(super) fn tables(session: &JudgedSession) -> Vec<Table> {
    let (cells, columns) = (loaded(session), contestants(&session.arms));
    if cells.is_empty() {
        return Vec::new();
    }
    let line = |cell: &LoadedCell<'_>, value: Metric| {
        let rows = of_cell(&cell.rows, cell.name);
        TableRow {
            name: format!("{} {}/s", cell.name, show_count(cell.rate_per_sec)),
            cells: columns.iter().map(|arm| median(&rows, arm, value)).collect(),
        }
    };
    let table = |(title, value): (&str, Metric)| Table {
        corner: title.to_owned(),
        columns: columns.clone(),
        rows: cells.iter().map(|cell| line(cell, value)).collect(),
    };
    SHOWN.into_iter().map(table).chain(fan_out(session)).chain(services::tables(session)).collect()
}

/// How many status lines per second each server delivers, if every tick is due before the last one is out.
fn fan_out(session: &JudgedSession) -> Option<Table> {
    let columns = contestants(&session.arms);
    let rows = of_cell(&session.rows, FAN_OUT);
    let median = |arm: &String| quantile(&usable_values(&rows, arm, fan_out_per_sec), 0.5);
    let cells: Vec<Cell> = columns.iter().map(|arm| median(arm).map_or(Cell::Missing, Cell::Number)).collect();
    let is_measured = cells.iter().any(|cell| !matches!(cell, Cell::Missing));
    let row = TableRow { name: FAN_OUT.to_owned(), cells };
    is_measured.then(|| Table { corner: "status lines/s".to_owned(), columns, rows: vec![row] })
}

/// The claims under every load that is not a primary one.
pub(in crate::report) fn secondary(session: &JudgedSession) -> Vec<SecondaryFamily> {
    let primary = &session.primary;
    let others = loaded(session).into_iter().filter(|cell| primary.latency != cell.name && primary.cpu != cell.name);
    let family = |cell: LoadedCell<'_>| SecondaryFamily {
        cell: cell.name.to_owned(),
        plan: cell.plan.clone(),
        rate_per_sec: cell.rate_per_sec,
        pairs: explore(&cell.rows, &cell.arms, cell.name),
    };
    others.map(family).collect()
}

/// In the order of the session.
fn loaded(session: &JudgedSession) -> Vec<LoadedCell<'_>> {
    let cell = |cell: &'_ CellRecord| {
        let rows: Vec<Row> = session.rows.iter().filter(|row| row.cell_name() == cell.cell).cloned().collect();
        let rate_per_sec = rows.first()?.rate_offered_per_sec?;
        (cell.plan.load_ms > 0.0).then_some((rate_per_sec, rows))
    };
    let cells = session.metadata.configuration.cells.iter();
    let loaded = cells.filter_map(|record| {
        let (rate_per_sec, rows) = cell(record)?;
        Some(LoadedCell { name: &record.cell, plan: &record.plan, arms: contestants(&record.arms), rate_per_sec, rows })
    });
    loaded.collect()
}

/// The median of an arm; if it failed or was saturated in some blocks, their number.
pub(super) fn median(rows: &[&Row], arm: &str, value: Metric) -> Cell {
    let own: Vec<&&Row> = rows.iter().filter(|row| row.arm == arm).collect();
    for outcome in [Outcome::Failed, Outcome::Saturated] {
        let trials = own.iter().filter(|row| row.outcome == outcome).count();
        if trials > 0 {
            return Cell::NotOk { outcome, trials, of: own.len() };
        }
    }
    quantile(&usable_values(rows, arm, value), 0.5).map_or(Cell::Missing, Cell::Nanoseconds)
}
