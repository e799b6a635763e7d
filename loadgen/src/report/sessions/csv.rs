//! The forest as a table, for pictures and other programs.

use anyhow::Result;

use super::{
    comparisons::{Line, SessionComparisons},
    forest::state_word,
};
use crate::{
    report::csv::kind,
    stats::{
        random_effects::{Estimate, RandomEffects},
        verdict::Margin,
    },
};

const COLUMNS: [&str; 19] = [
    "cell",
    "metric",
    "first",
    "second",
    "row",
    "session",
    "estimate",
    "low",
    "high",
    "level",
    "blocks",
    "standard_error",
    "verdict",
    "combined",
    "q",
    "q_p_value",
    "i_squared",
    "tau",
    "state",
];

/// The whole table. The cell is empty for the primary family. Estimates and ends are ratios or differences; `standard_error` and `tau` are on the scale on which
/// differences are taken, logarithms of ratios.
///
/// # Errors
/// If a line cannot be written.
pub(super) fn table(comparisons: &[SessionComparisons<'_>]) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMNS)?;
    for comparisons in comparisons {
        let SessionComparisons { cell, metric, first, second, lines, replication } = comparisons;
        let names = [cell, metric.name, first, second].map(str::to_owned);
        let common: [String; 5] = replication.as_ref().map_or_else(Default::default, |replication| {
            let it = &replication.heterogeneity;
            let [q, p_value, i_squared, tau] =
                [it.q, it.p_value, it.i_squared, it.tau].map(|number| number.to_string());
            [q, p_value, i_squared, tau, state_word(replication).to_owned()]
        });
        let combined = replication.as_ref().and_then(|it| it.combined.as_ref());
        let sessions = lines.iter().filter_map(|line| session(line, metric.margin));
        for own in sessions.chain(combined.into_iter().flat_map(|it| of_all(it, metric.margin))) {
            csv.write_record(names.iter().chain(&own).chain(&common))?;
        }
    }
    Ok(csv.into_inner()?)
}

fn session(line: &Line<'_>, margin: Margin) -> Option<[String; 10]> {
    let it = line.pair.comparison()?;
    let (low, high) = it.interval;
    let error = Estimate::of(it, margin).standard_error;
    let [estimate, low, high, level, error] =
        [it.estimate, low, high, it.level, error].map(|number| number.to_string());
    let (id, verdict) = (line.session.metadata.session_id.clone(), kind(&line.pair).to_owned());
    let combined = line.is_combined.to_string();
    Some(["session".to_owned(), id, estimate, low, high, level, it.blocks.to_string(), error, verdict, combined])
}

/// The mean, and the prediction of another session.
fn of_all(combined: &RandomEffects, margin: Margin) -> [[String; 10]; 2] {
    let row = |name: &str, estimate: String, (low, high): (f64, f64)| {
        let [low, high] = [low, high].map(|end| margin.shown(end).to_string());
        let none = String::new;
        [name.to_owned(), none(), estimate, low, high, "0.95".to_owned(), none(), none(), none(), none()]
    };
    let mean = margin.shown(combined.mean).to_string();
    [row("mean", mean, combined.interval), row("prediction", String::new(), combined.prediction)]
}
