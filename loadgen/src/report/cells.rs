//! Sessions of many loads: what each server does under each of them.

use serde_json::Value;

use super::{comparison::arm_median, scorecard::heading, table, verdicts::sentences};
use crate::{
    judge::{counted::of_cell, verdicts::explore},
    plan::units::{show_count, show_us},
    record::{Figures, Row},
};

type Number = fn(&Figures<'_>) -> Option<f64>;

const SHOWN: [(&str, Number); 3] = [
    ("response p50, us", |row| row.quantile("response_ns_p50", 0.5)),
    ("response p99, us", |row| row.quantile("response_ns_p99", 0.99)),
    ("CPU/message, us", |row| Some(row.get("server_cpu_ns_load")? / row.get("echoed_count")?)),
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
    fn used(&self) -> Vec<Figures<'_>> {
        of_cell(&self.rows, self.name)
    }
}

/// The medians of every loaded cell, a table a figure.
pub(super) fn tables(configuration: &Value, rows: &[Row], arms: &[String]) -> Vec<Vec<Vec<String>>> {
    let cells = loaded(configuration, rows);
    let contestants: Vec<&String> = arms.iter().filter(|arm| !arm.contains('#')).collect();
    let table = |(title, value): (&str, Number)| {
        let header = [title.to_owned()].into_iter().chain(contestants.iter().map(|arm| (*arm).clone())).collect();
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
pub(super) fn findings(configuration: &Value, rows: &[Row]) -> String {
    let primary = [&configuration["primary"]["latency"], &configuration["primary"]["cpu"]];
    let mut text = String::new();
    for cell in loaded(configuration, rows).iter().filter(|cell| primary.iter().all(|name| **name != cell.name)) {
        text.push_str(&format!("{}, {} messages/s\n", cell.name, show_count(cell.rate_per_sec)));
        text.push_str(&sentences(explore(&cell.rows, &cell.arms, cell.name).iter()));
        text.push('\n');
    }
    text
}

/// Cells in which messages are sent, in the order of the session.
fn loaded<'a>(configuration: &'a Value, rows: &[Row]) -> Vec<Cell<'a>> {
    let cell = |cell: &'a Value| {
        let name = cell["cell"].as_str()?;
        let rows: Vec<Row> = rows.iter().filter(|row| Figures(row).text("cell") == name).cloned().collect();
        let arms = cell["arms"].as_array()?.iter().filter_map(Value::as_str).filter(|arm| !arm.contains('#'));
        let arms = arms.map(str::to_owned).collect();
        let rate_per_sec = Figures(rows.first()?).get("rate_offered_per_sec")?;
        (cell["plan"]["load_ms"].as_f64()? > 0.0).then_some(Cell { name, arms, rate_per_sec, rows })
    };
    configuration["cells"].as_array().into_iter().flatten().filter_map(cell).collect()
}

/// The median of an arm; of one that was saturated or failed in some blocks, in how many.
fn figure(used: &[Figures<'_>], arm: &str, value: Number) -> String {
    let own: Vec<&Figures<'_>> = used.iter().filter(|row| row.text("arm") == arm).collect();
    for (outcome, short) in [("failed", "failed"), ("saturated", "sat.")] {
        let count = own.iter().filter(|row| row.text("outcome") == outcome).count();
        if count > 0 {
            return format!("{short} {count}/{}", own.len());
        }
    }
    arm_median(used, arm, value).map_or_else(|| "-".to_owned(), show_us)
}
