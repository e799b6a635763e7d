//! The figures of a session for github-action-benchmark (`customSmallerIsBetter`), which warns of changes from one commit
//! to the next. It knows neither intervals nor controls: an alarm, not a verdict.

use serde_json::{Value, json};

use super::{
    model::{FIGURES, Quantity},
    session::{JudgedSession, PrimaryRows},
};
use crate::judge::metrics::contestants;

/// The medians of every arm, with half the interquartile range.
pub(super) fn benchmark(session: &JudgedSession) -> String {
    let rows = session.primary_rows();
    let arms = contestants(&session.arms);
    let trends = || FIGURES.iter().filter(|quantity| quantity.is_trend);
    let entry = |arm, quantity| entry(arm, quantity, &rows, &session.metadata.session_id);
    let entries: Vec<Value> = arms.iter().flat_map(|arm| trends().filter_map(move |it| entry(arm, it))).collect();
    // Values of this kind can always be written.
    serde_json::to_string_pretty(&entries).unwrap_or_default() + "\n"
}

fn entry(arm: &str, quantity: &Quantity, rows: &PrimaryRows<'_>, session_id: &str) -> Option<Value> {
    let ([low, median, high], blocks) = quantity.quartiles(rows, arm)?;
    let rounded = |number: f64| (number * quantity.scale * 1e3).round() / 1e3;
    Some(json!({
        "name": format!("{arm}: {}", quantity.name),
        "unit": if quantity.unit.is_empty() { "count" } else { quantity.unit },
        "value": rounded(median),
        "range": format!("± {}", rounded((high - low) / 2.0)),
        "extra": format!("median over {blocks} blocks of session {session_id}"),
    }))
}
