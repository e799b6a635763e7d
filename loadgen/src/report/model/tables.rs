//! Tables of a report: numbers, how they are shown, and their tones.

use crate::{
    judge::{
        cell_values::Estimate,
        metrics::{Metric, is_usable},
        scorecard::{RuleOutcome, RuleValue},
    },
    plan::units::show_us,
    record::{Outcome, Row},
    text::Tone,
};

/// Names in the first column and a column per arm.
pub(in crate::report) struct Table {
    /// Above the names.
    pub(in crate::report) corner: String,
    pub(in crate::report) columns: Vec<String>,
    pub(in crate::report) rows: Vec<TableRow>,
}

pub(in crate::report) struct TableRow {
    pub(in crate::report) name: String,
    pub(in crate::report) cells: Vec<Cell>,
}

/// One value of one arm.
#[derive(Clone, Debug)]
pub(in crate::report) enum Cell {
    /// Not measured, or not defined.
    Missing,
    Number(f64),
    Count(u64),
    /// An estimate with its confidence interval.
    Interval(Estimate),
    /// A median over blocks with its quartiles.
    Median {
        quartiles: [f64; 3],
        show: fn(f64) -> String,
    },
    /// A latency or a CPU time in nanoseconds.
    Nanoseconds(f64),
    /// Trials of an arm that are not ok, so that there is no median.
    NotOk {
        outcome: Outcome,
        trials: usize,
        of: usize,
    },
    /// Whether the arm satisfies a rule.
    Outcome(RuleOutcome),
}

impl From<RuleValue> for Cell {
    fn from(value: RuleValue) -> Self {
        match value {
            RuleValue::Unknown => Self::Missing,
            RuleValue::Number(number) => Self::Number(number),
            RuleValue::Count(count) => Self::Count(count),
            RuleValue::Interval(estimate) => Self::Interval(estimate),
        }
    }
}

impl Cell {
    /// The value in words and digits; of an interval the estimate alone.
    pub(in crate::report) fn show(&self) -> String {
        match self {
            Self::Missing => "-".to_owned(),
            Self::Number(number) => digits(*number),
            Self::Count(count) => count.to_string(),
            Self::Interval(interval) => digits(interval.estimate),
            Self::Median { quartiles: [low, median, high], show } => {
                format!("{} ({}-{})", show(*median), show(*low), show(*high))
            }
            Self::Nanoseconds(ns) => show_us(*ns),
            Self::NotOk { outcome, trials, of } => {
                let outcome = if *outcome == Outcome::Saturated { "sat." } else { outcome.name() };
                format!("{outcome} {trials}/{of}")
            }
            Self::Outcome(RuleOutcome::Satisfied) => "yes".to_owned(),
            Self::Outcome(RuleOutcome::Violated) => "NO".to_owned(),
            Self::Outcome(RuleOutcome::Unclear) => "unclear".to_owned(),
        }
    }

    /// The ends of an interval.
    pub(in crate::report) fn ends(&self) -> Option<[String; 2]> {
        match self {
            Self::Interval(interval) => Some([digits(interval.low), digits(interval.high)]),
            _ => None,
        }
    }

    pub(in crate::report) fn tone(&self) -> Tone {
        match self {
            Self::Outcome(RuleOutcome::Satisfied) => Tone::Good,
            Self::Outcome(RuleOutcome::Violated) | Self::NotOk { outcome: Outcome::Failed, .. } => Tone::Bad,
            Self::NotOk { .. } => Tone::Warning,
            _ => Tone::Neutral,
        }
    }
}

/// Three significant digits, at most one of them behind the point from 1 on.
fn digits(number: f64) -> String {
    match number.abs() {
        small if small < 0.005 => "0".to_owned(),
        small if small < 1.0 => format!("{number:.2}"),
        middle if middle < 100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// The values of an arm in the trials that are usable.
pub(in crate::report) fn usable_values(rows: &[&Row], arm: &str, value: Metric) -> Vec<f64> {
    let usable = rows.iter().filter(|row| row.arm == arm && is_usable(row));
    usable.filter_map(|row| value(row)).filter(|value| value.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_the_tone_of_its_meaning() {
        let not_ok = |outcome| Cell::NotOk { outcome, trials: 3, of: 15 };
        let tones = [
            (Cell::Outcome(RuleOutcome::Satisfied), "yes", Tone::Good),
            (Cell::Outcome(RuleOutcome::Violated), "NO", Tone::Bad),
            (not_ok(Outcome::Failed), "failed 3/15", Tone::Bad),
            (not_ok(Outcome::Saturated), "sat. 3/15", Tone::Warning),
            (Cell::Number(1234.56), "1235", Tone::Neutral),
            (Cell::Interval(Estimate { estimate: -0.4, low: -12.3, high: 0.0 }), "-0.40", Tone::Neutral),
            (Cell::Missing, "-", Tone::Neutral),
        ];
        for (cell, shown, tone) in tones {
            assert_eq!((cell.show().as_str(), cell.tone()), (shown, tone));
        }
    }
}
