//! Rows of trials.csv, read again.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Row;

/// Every row of a session's trials.csv, with the types that `--json` has.
///
/// # Errors
/// If there is no such file or it is no CSV.
pub fn read_rows(folder: &Path) -> Result<Vec<Row>> {
    let file = folder.join("trials.csv");
    let mut reader = csv::Reader::from_path(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let header = reader.headers()?.clone();
    let row = |record: csv::StringRecord| header.iter().map(str::to_owned).zip(record.iter().map(value)).collect();
    reader.records().map(|record| Ok(row(record?))).collect()
}

/// An empty cell is null; what looks like an integer is one.
fn value(cell: &str) -> Value {
    match cell {
        "" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        cell => cell.parse::<i64>().map_or_else(|_| cell.into(), Value::from),
    }
}

/// A row, to be asked for its columns by their names.
#[derive(Clone, Copy, Debug)]
pub struct Figures<'a>(pub &'a Row);

impl Figures<'_> {
    /// A number; `None` if it is unknown.
    pub fn get(&self, column: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == column)?.1.as_f64()
    }

    /// A text; empty if it is unknown.
    pub fn text(&self, column: &str) -> &str {
        self.0.iter().find(|(name, _)| name == column).and_then(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether its figures may be used: no gate found it invalid, and the server did what was asked.
    pub fn is_usable(&self) -> bool {
        self.text("valid") != "invalid" && self.text("outcome") == "ok"
    }
}
