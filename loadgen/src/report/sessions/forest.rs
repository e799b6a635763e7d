//! The forest in text: for each metric and pair of servers a line per session with its interval as a bar, and below it
//! what they say together.

use super::{
    comparisons::{Line, SessionComparisons},
    word,
};
use crate::{
    judge::replication::{Agreement, Replication},
    report::layout::wrapped,
    stats::{
        random_effects::{Heterogeneity, RandomEffects},
        verdict::Margin,
    },
    text::{Text, Tone, plain},
};

/// Columns of the bars.
const BAR: usize = 46;

/// Every primary metric and pair; of the other loads only how many comparisons there are.
pub(super) fn forest(comparisons: &[SessionComparisons<'_>]) -> Text {
    let (primary, others): (Vec<_>, Vec<_>) = comparisons.iter().partition(|it| it.cell.is_empty());
    let text: Text = primary.into_iter().map(tree).collect();
    match others.len() {
        0 => text,
        count => text.with(format!("\n{count} comparisons under other loads: --format csv\n")),
    }
}

fn tree(comparisons: &SessionComparisons<'_>) -> Text {
    let SessionComparisons { metric, first, second, lines, replication, .. } = comparisons;
    let axis = Axis::of(comparisons);
    let title = Text::from(format!("{}, {} to {}: ", metric.name, plain(second), plain(first)));
    let mut text = Text::from("\n").with(wrapped(&title.with(state(comparisons)), 2));
    text.push(lines.iter().map(|line| session(line, &axis)).collect::<Text>());
    let Some(replication) = replication else { return text };
    text.push(spread(&replication.heterogeneity, metric.margin, metric.unit));
    match &replication.combined {
        Some(combined) => text.push(of_all(combined, &axis)),
        None => {
            let (low, high) = replication.range;
            let [low, high] = [low, high].map(|end| number(end, metric.margin));
            text.push(format!("  range {low} to {high}{}\n", metric.unit));
        }
    }
    text
}

/// The state, and what replicates.
fn state(comparisons: &SessionComparisons<'_>) -> Text {
    let Some(replication) = &comparisons.replication else { return "not combined, no two of one build".into() };
    let state = match replication.agreement {
        Agreement::Replicates => Text::toned("replicates", Tone::Good),
        Agreement::SignOnly => Text::toned("sign only", Tone::Good),
        Agreement::Heterogeneous => Text::toned("heterogeneous", Tone::Warning),
        Agreement::Contradicts => Text::toned("CONTRADICTS", Tone::Bad),
        Agreement::Equivalent => "equivalent on each host".into(),
        Agreement::Undecided => "undecided".into(),
    };
    match replication.sign {
        Some(sign) => state.with(format!(", {} {}", plain(&comparisons.second), word(sign))),
        None => state,
    }
}

/// The word for a state in the table.
pub(super) fn state_word(replication: &Replication) -> &'static str {
    match replication.agreement {
        Agreement::Replicates => "replicates",
        Agreement::SignOnly => "sign_only",
        Agreement::Heterogeneous => "heterogeneous",
        Agreement::Contradicts => "contradicts",
        Agreement::Equivalent => "equivalent",
        Agreement::Undecided => "undecided",
    }
}

/// A session's estimate and interval.
fn session(line: &Line<'_>, axis: &Axis) -> Text {
    let Some(comparison) = line.pair.comparison() else { return Text::default() };
    let name = if line.is_combined { line.label.to_owned() } else { format!("{}*", line.label) };
    let bar = axis.bar(comparison.interval, Some(comparison.estimate), '-');
    row(&name, &estimate(comparison.estimate, comparison.interval, axis.margin), &bar)
}

/// Whether and by how much the sessions differ.
fn spread(heterogeneity: &Heterogeneity, margin: Margin, unit: &str) -> Text {
    let Heterogeneity { q, p_value, i_squared, tau, .. } = heterogeneity;
    let p_value = if *p_value < 0.001 { "p < 0.001".to_owned() } else { format!("p {p_value:.3}") };
    let tau = match margin {
        Margin::Ratio(_) => format!("{:.1} %", tau.exp_m1() * 100.0),
        Margin::Difference(_) => format!("{tau:.1}{unit}"),
    };
    format!("  Q {q:.1} ({p_value}), I2 {:.0} %, tau {tau}\n", i_squared * 100.0).into()
}

/// The mean, and what another session would find.
fn of_all(combined: &RandomEffects, axis: &Axis) -> Text {
    let shown = |(low, high): (f64, f64)| (axis.margin.shown(low), axis.margin.shown(high));
    let (mean, interval, prediction) =
        (axis.margin.shown(combined.mean), shown(combined.interval), shown(combined.prediction));
    let [low, high] = [prediction.0, prediction.1].map(|end| number(end, axis.margin));
    row("mean", &estimate(mean, interval, axis.margin), &axis.bar(interval, Some(mean), '=')).with(row(
        "next",
        &format!("      {low} to {high}"),
        &axis.bar(prediction, None, '.'),
    ))
}

fn row(name: &str, numbers: &str, bar: &str) -> Text {
    format!("  {name:<5}{numbers:<26}{}\n", bar.trim_end()).into()
}

fn estimate(estimate: f64, (low, high): (f64, f64), margin: Margin) -> String {
    let [estimate, low, high] = [estimate, low, high].map(|value| number(value, margin));
    format!("{estimate} ({low} to {high})")
}

fn number(value: f64, margin: Margin) -> String {
    match margin {
        Margin::Ratio(_) => format!("{value:.3}"),
        // 0 without a sign.
        Margin::Difference(_) => format!("{:.1}", (value * 10.0).round() / 10.0 + 0.0),
    }
}

/// The scale that the bars of a metric and pair have in common: logarithms of ratios, or differences.
struct Axis {
    margin: Margin,
    low: f64,
    high: f64,
}

impl Axis {
    /// From the lowest end of an interval to the highest, no difference included.
    fn of(comparisons: &SessionComparisons<'_>) -> Self {
        let margin = comparisons.metric.margin;
        let intervals = comparisons.lines.iter().filter_map(|line| line.pair.comparison().map(|it| it.interval));
        let mut ends: Vec<f64> = intervals.flat_map(|(low, high)| [margin.scaled(low), margin.scaled(high)]).collect();
        if let Some(combined) = comparisons.replication.as_ref().and_then(|it| it.combined.as_ref()) {
            ends.extend([combined.prediction.0, combined.prediction.1]);
        }
        let bound = |of: fn(f64, f64) -> f64| ends.iter().copied().filter(|end| end.is_finite()).fold(0.0, of);
        Self { margin, low: bound(f64::min), high: bound(f64::max) }
    }

    /// An interval as a bar, with its estimate and the place of no difference.
    fn bar(&self, (low, high): (f64, f64), estimate: Option<f64>, line: char) -> String {
        let place = |shown: f64| self.place(self.margin.scaled(shown));
        let mut bar = [' '; BAR];
        bar[place(low)..=place(high)].fill(line);
        bar[self.place(0.0)] = '|';
        if let Some(estimate) = estimate {
            bar[place(estimate)] = 'o';
        }
        bar.iter().collect()
    }

    fn place(&self, value: f64) -> usize {
        let share = (value - self.low) / (self.high - self.low).max(f64::MIN_POSITIVE);
        (share.clamp(0.0, 1.0) * (BAR - 1) as f64).round() as usize
    }
}
