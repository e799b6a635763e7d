//! Sessions of many loads: what each server does under each of them.

use serde_json::Value;

use super::{comparison::arm_median, table, verdicts::sentences};
use crate::{
    record::{Figures, Row},
    units::{show_count, show_us},
    verdicts::explore,
};

type Number = fn(&Figures<'_>) -> Option<f64>;

const SHOWN: [(&str, Number); 3] = [
    ("response p50, us", |row| row.get("response_ns_p50")),
    ("response p99, us", |row| row.get("response_ns_p99")),
    ("CPU/message, us", |row| Some(row.get("server_cpu_ns_load")? / row.get("echoed_count")?)),
];

/// Width of the names and of each arm.
const WIDTHS: (usize, usize) = (26, 12);

/// What a session says of one cell.
struct Cell<'a> {
    name: &'a str,
    arms: Vec<String>,
    /// Messages per second.
    rate_per_sec: f64,
    rows: Vec<Row>,
}

/// The medians of every loaded cell, a table a figure.
pub(super) fn tables(configuration: &Value, rows: &[Row], arms: &[String]) -> String {
    let cells = loaded(configuration, rows);
    let contestants: Vec<&String> = arms.iter().filter(|arm| !arm.contains('#')).collect();
    let mut text = String::new();
    for (title, value) in SHOWN {
        let short = contestants.iter().map(|arm| arm.chars().take(WIDTHS.1 - 1).collect());
        let mut lines: Vec<Vec<String>> = vec![[title.to_owned()].into_iter().chain(short).collect()];
        for cell in &cells {
            let name = format!("{} {}/s", cell.name, show_count(cell.rate_per_sec));
            let figures = contestants.iter().map(|arm| figure(cell, arm, value));
            lines.push([name].into_iter().chain(figures).collect());
        }
        text.push_str(&table(&lines, WIDTHS.0, WIDTHS.1));
        text.push('\n');
    }
    text + "medians over blocks; saturated: it could not keep up, so its latency is the backlog's\n"
}

/// What may be said of each cell beside the primary ones; each is a family of its own.
pub(super) fn findings(configuration: &Value, rows: &[Row]) -> String {
    let primary = [&configuration["primary"]["latency"], &configuration["primary"]["cpu"]];
    let mut text = String::new();
    for cell in loaded(configuration, rows).iter().filter(|cell| primary.iter().all(|name| **name != cell.name)) {
        let arms: Vec<String> = cell.arms.iter().filter(|arm| !arm.contains('#')).cloned().collect();
        text.push_str(&format!("{}, {} messages/s\n", cell.name, show_count(cell.rate_per_sec)));
        text.push_str(&sentences(explore(&cell.rows, &arms, cell.name).iter()));
        text.push('\n');
    }
    text
}

/// Cells in which messages are sent, in the order of the session.
fn loaded<'a>(configuration: &'a Value, rows: &[Row]) -> Vec<Cell<'a>> {
    let cell = |cell: &'a Value| {
        let name = cell["cell"].as_str()?;
        let rows: Vec<Row> = rows.iter().filter(|row| Figures(row).text("cell") == name).cloned().collect();
        let arms = cell["arms"].as_array()?.iter().filter_map(|arm| arm.as_str().map(str::to_owned)).collect();
        let rate_per_sec = Figures(rows.first()?).get("rate_offered_per_sec")?;
        (cell["plan"]["load_ms"].as_u64()? > 0).then_some(Cell { name, arms, rate_per_sec, rows })
    };
    configuration["cells"].as_array().into_iter().flatten().filter_map(cell).collect()
}

fn figure(cell: &Cell<'_>, arm: &str, value: Number) -> String {
    let own: Vec<Figures<'_>> = cell.rows.iter().map(Figures).filter(|row| row.text("arm") == arm).collect();
    let count = |outcome: &str| own.iter().filter(|row| row.text("outcome") == outcome).count();
    if let Some(outcome) = ["saturated", "failed"].into_iter().find(|outcome| count(outcome) * 2 > own.len()) {
        return outcome.to_owned();
    }
    arm_median(&own, arm, value).map_or_else(|| "-".to_owned(), show_us)
}
