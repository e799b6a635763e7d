//! The figures of a session as github-action-benchmark reads them: `customSmallerIsBetter`, which warns of a change from
//! one commit to the next. It knows no interval and no control, so it is an alarm bell and no verdict.

use serde_json::{Value, json};

use super::{comparison::FIGURES, recorded::Recorded};
use crate::{
    judge::metrics::{contestants, is_usable},
    stats::quantile,
};

/// Those of which less is better.
const SMALLER: [&str; 5] =
    ["response p50, us", "response p99, us", "CPU/message, us", "idle CPU, us/s", "wake-ups/tick"];

/// The medians of every arm, with half the range of the quartiles.
pub(super) fn benchmark(recorded: &Recorded) -> String {
    let used = recorded.used();
    let mut entries: Vec<Value> = Vec::new();
    for arm in contestants(&recorded.arms) {
        for (name, value, _) in FIGURES.into_iter().filter(|(name, ..)| SMALLER.contains(name)) {
            let usable = used.of(name).iter().filter(|row| row.arm == arm && is_usable(row));
            let values: Vec<f64> = usable.filter_map(|row| value(row)).filter(|value| value.is_finite()).collect();
            let [Some(low), Some(median), Some(high)] = [0.25, 0.5, 0.75].map(|at| quantile(&values, at)) else {
                continue;
            };
            let (metric, unit) = name.split_once(", ").unwrap_or((name, "count"));
            // Latencies and CPU per message are recorded in nanoseconds.
            let scale = if unit == "us" { 1e-3 } else { 1.0 };
            let rounded = |number: f64| (number * scale * 1e3).round() / 1e3;
            entries.push(json!({
                "name": format!("{arm}: {metric}"),
                "unit": unit,
                "value": rounded(median),
                "range": format!("± {}", rounded((high - low) / 2.0)),
                "extra": format!("median over {} blocks of session {}", values.len(), recorded.metadata.session_id),
            }));
        }
    }
    // Values of this kind can always be written.
    serde_json::to_string_pretty(&entries).unwrap_or_default() + "\n"
}
