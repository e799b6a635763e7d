//! Sessions of many loads: what each server does under each of them.

use super::{comparison::arm_median, scorecard::heading, table, verdicts::sentences};
use crate::{
    judge::{
        counted::of_cell,
        metrics::{self, Metric},
        verdicts::explore,
    },
    plan::units::{show_count, show_us},
    record::{CellRecord, Configuration, Outcome, Row},
};

const SHOWN: [(&str, Metric); 3] = [
    ("response p50, us", metrics::response_p50),
    ("response p99, us", metrics::response_p99),
    ("CPU/message, us", metrics::cpu_per_message_ns),
];

/// Width of the names and of each arm.
const WIDTHS: (usize, usize) = (26, 12);

/// What a session says of one cell.
struct Cell<'a> {
    name: &'a str,
    /// Without the control.
    arms: Vec<String>,
    /// Messages per second.
    rate_per_sec: f64,
    rows: Vec<Row>,
}

impl Cell<'_> {
    /// The rows that its figures rest on.
    fn used(&self) -> Vec<&Row> {
        of_cell(&self.rows, self.name)
    }
}

/// The medians of every loaded cell, a table a figure.
pub(super) fn tables(configuration: &Configuration, rows: &[Row], arms: &[String]) -> Vec<Vec<Vec<String>>> {
    let cells = loaded(configuration, rows);
    let contestants = metrics::contestants(arms);
    let table = |(title, value): (&str, Metric)| {
        let header = [title.to_owned()].into_iter().chain(contestants.iter().cloned()).collect();
        let line = |cell: &Cell<'_>| {
            let name = format!("{} {}/s", cell.name, show_count(cell.rate_per_sec));
            let used = cell.used();
            [name].into_iter().chain(contestants.iter().map(|arm| figure(&used, arm, value))).collect()
        };
        [header].into_iter().chain(cells.iter().map(line)).collect()
    };
    SHOWN.into_iter().map(table).collect()
}

/// The same as text.
pub(super) fn text(tables: &[Vec<Vec<String>>]) -> String {
    let mut text = String::new();
    for lines in tables {
        let Some((header, rows)) = lines.split_first() else { continue };
        let names: Vec<String> = header.iter().skip(1).cloned().collect();
        text.push_str(&heading(&header[0], &names, WIDTHS));
        text.push_str(&table(rows, WIDTHS.0, WIDTHS.1 - 1));
        text.push('\n');
    }
    text + "medians over blocks; sat. 3/15: saturated in 3 of 15, so nothing is claimed\n\
            rate-N: N % of what the slowest server bore in the pilot, or of --rate\n\
            cpu: as rate-50 with a client that sleeps; shared: nobody is pinned\n\
            connections-10000 has as many status lines as messages, and CPU/message pays\n\
            for both; stuck: beside four clients that hardly read\n"
}

/// What may be said of each cell beside the primary ones; each is a family of its own.
pub(super) fn findings(configuration: &Configuration, rows: &[Row]) -> String {
    let primary = configuration.primary.clone().unwrap_or_default();
    let mut text = String::new();
    for cell in
        loaded(configuration, rows).iter().filter(|cell| primary.latency != cell.name && primary.cpu != cell.name)
    {
        text.push_str(&format!("{}, {} messages/s\n", cell.name, show_count(cell.rate_per_sec)));
        text.push_str(&sentences(explore(&cell.rows, &cell.arms, cell.name).iter()));
        text.push('\n');
    }
    text
}

/// Cells in which messages are sent, in the order of the session.
fn loaded<'a>(configuration: &'a Configuration, rows: &[Row]) -> Vec<Cell<'a>> {
    let cell = |cell: &'a CellRecord| {
        let rows: Vec<Row> = rows.iter().filter(|row| row.cell_name() == cell.cell).cloned().collect();
        let rate_per_sec = rows.first()?.rate_offered_per_sec?;
        let arms = metrics::contestants(&cell.arms);
        (cell.plan.load_ms > 0.0).then_some(Cell { name: &cell.cell, arms, rate_per_sec, rows })
    };
    configuration.cells.iter().filter_map(cell).collect()
}

/// The median of an arm; of one that was saturated or failed in some blocks, in how many.
fn figure(used: &[&Row], arm: &str, value: Metric) -> String {
    let own: Vec<&&Row> = used.iter().filter(|row| row.arm == arm).collect();
    for (outcome, short) in [(Outcome::Failed, "failed"), (Outcome::Saturated, "sat.")] {
        let count = own.iter().filter(|row| row.outcome == outcome).count();
        if count > 0 {
            return format!("{short} {count}/{}", own.len());
        }
    }
    arm_median(used, arm, value).map_or_else(|| "-".to_owned(), show_us)
}
