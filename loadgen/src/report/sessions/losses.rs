//! Each server's largest replicated loss: what a headline about several sessions must not leave out.

use super::{
    admission::{Candidate, used},
    comparisons::SessionComparisons,
    forest::state_word,
};
use crate::{
    judge::{metrics::contestants, primary::Better, replication::Replication, verdicts::Direction},
    report::layout::wrapped,
    stats::verdict::Margin,
    text::{Text, plain},
};

/// A metric in which a server is worse than another one, in every session or by prediction.
struct Loss {
    /// The smallest loss of a session in margins of the metric, so that metrics can be compared.
    margins: f64,
    sentence: String,
}

/// A line for each server.
pub(super) fn losses(candidates: &[Candidate<'_>], comparisons: &[SessionComparisons<'_>]) -> Text {
    let mut servers: Vec<String> = Vec::new();
    for server in used(candidates).flat_map(|it| contestants(&it.session.arms)) {
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    let line = |server: &String| {
        let losses = comparisons.iter().filter_map(|comparisons| loss(server, comparisons));
        let largest = losses.max_by(|one, other| one.margins.total_cmp(&other.margins));
        let sentence = largest.map_or_else(|| "none".to_owned(), |loss| loss.sentence);
        wrapped(&format!("  {}: {sentence}", plain(server)).into(), 4)
    };
    Text::from("\nlargest replicated loss of each server\n").with(servers.iter().map(line).collect::<Text>())
}

/// How much worse a server is than the other one of a pair, if that is replicated.
fn loss(server: &str, comparisons: &SessionComparisons<'_>) -> Option<Loss> {
    let SessionComparisons { cell, metric, first, second, replication, lines } = comparisons;
    let replication: &Replication = replication.as_ref()?;
    let sign = replication.sign?;
    let second_is_better = (sign == Direction::Lower) == (metric.better == Better::Lower);
    let (loser, winner) = if second_is_better { (first, second) } else { (second, first) };
    if loser != server {
        return None;
    }
    // From the winner to the loser.
    let turned = |value: f64| match metric.margin {
        Margin::Ratio(_) if loser == first => 1.0 / value,
        Margin::Difference(_) if loser == first => -value,
        _ => value,
    };
    let (low, high) = replication.range;
    let ends = [turned(low), turned(high)];
    let size = |value: f64| match metric.margin {
        Margin::Ratio(_) => 100.0 * if metric.better == Better::Lower { value - 1.0 } else { 1.0 - value },
        Margin::Difference(_) => {
            if metric.better == Better::Lower {
                value
            } else {
                -value
            }
        }
    };
    let [one, other] = ends.map(size);
    let amounts = match metric.margin {
        Margin::Ratio(_) => format!("{:.0} to {:.0} %", one.min(other), one.max(other)),
        Margin::Difference(_) => format!("{:.1} to {:.1}{}", one.min(other), one.max(other), metric.unit),
    };
    let word = if metric.better == Better::Lower { "higher" } else { "lower" };
    let state = state_word(replication).replace('_', " ");
    let count = lines.iter().filter(|line| line.is_combined).count();
    let load = if cell.is_empty() { String::new() } else { format!(" under {}", plain(cell)) };
    let sentence = format!("{}{load} {amounts} {word} than {} ({state}, {count} sessions)", metric.name, plain(winner));
    let margins = |value: f64| match metric.better {
        Better::Lower => metric.margin.scaled(value) / metric.margin.width(),
        Better::Higher => -metric.margin.scaled(value) / metric.margin.width(),
    };
    let [one, other] = ends.map(margins);
    Some(Loss { margins: one.min(other), sentence })
}
