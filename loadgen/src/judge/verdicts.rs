//! From the rows of a session to the claims about its arms. Reads no file and opens no socket.
//!
//! The replicate is the block ([`blocks`](super::blocks)). A family of comparisons is the primary metrics times the pairs
//! of arms, with Holm's correction; the arm that runs twice is compared with itself in a family of its own, and if it
//! differs from itself no claim is made.

use super::{
    blocks::{BlockCount, Cells},
    metrics,
    primary::{ALPHA, PRIMARY, PrimaryMetric, secondary},
};
use crate::{
    record::{Primary, Row},
    stats::{
        comparison::{Comparison, Endpoint, compare},
        verdict::{Margin, Verdict},
    },
};

/// One metric of two arms.
#[derive(Clone, Debug)]
pub(crate) struct PairComparison {
    pub(crate) metric: PrimaryMetric,
    /// The reference of the ratio or difference.
    pub(crate) first: String,
    /// The arm that is lower or higher than the first.
    pub(crate) second: String,
    pub(crate) result: PairResult,
}

/// The result of comparing one metric of two arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PairResult {
    /// There are too few blocks, or a value is missing.
    NotCompared,
    /// Both bounds of the metric support the verdict.
    Compared(Comparison),
    /// The bounds of the metric lead to different verdicts, so neither is claimed. The numbers are the first bound's.
    BoundsDisagree(Comparison),
}

impl PairComparison {
    /// Estimate and interval, if there are any.
    pub(crate) fn comparison(&self) -> Option<&Comparison> {
        match &self.result {
            PairResult::NotCompared => None,
            PairResult::Compared(comparison) | PairResult::BoundsDisagree(comparison) => Some(comparison),
        }
    }

    /// What is claimed; `None` of what is inconclusive too.
    pub(crate) fn claim(&self) -> Option<Verdict> {
        match self.result {
            PairResult::Compared(Comparison { verdict: Verdict::Inconclusive { .. }, .. }) => None,
            PairResult::Compared(comparison) => Some(comparison.verdict),
            PairResult::NotCompared | PairResult::BoundsDisagree(_) => None,
        }
    }

    /// Whether the test finds a difference, after the family's correction.
    pub(crate) fn differs(&self) -> bool {
        self.comparison().is_some_and(|comparison| comparison.p_adjusted <= ALPHA)
    }
}

/// The claims of a session.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    /// Every primary metric of every pair of arms.
    pub(crate) pairs: Vec<PairComparison>,
    /// Every primary metric of the arm that runs twice.
    pub(crate) control: Vec<PairComparison>,
    /// For each cell that claims come from.
    pub(crate) blocks: Vec<BlockCount>,
}

/// What comparing the arm that runs twice with itself shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlResult {
    /// No arm runs twice, or one of its ratios is missing.
    Missing,
    /// No difference was found.
    Passed,
    /// A difference was found where there is none.
    Differs,
}

/// Why a session makes no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithheldReason {
    /// It has not all the blocks that were planned.
    Partial,
    /// There is no control.
    NoControl,
    /// The control differs from itself.
    Untrusted,
}

impl Judgement {
    /// The result of the control.
    pub(crate) fn control_result(&self) -> ControlResult {
        let mut ratios = self.control.iter().filter(|pair| matches!(pair.metric.margin, Margin::Ratio(_)));
        if self.control.is_empty() || ratios.any(|pair| pair.comparison().is_none()) {
            ControlResult::Missing
        } else if self.control.iter().any(PairComparison::differs) {
            ControlResult::Differs
        } else {
            ControlResult::Passed
        }
    }

    /// Why no claim is made, if so.
    pub(crate) fn withheld_reason(&self, is_complete: bool) -> Option<WithheldReason> {
        match self.control_result() {
            _ if !is_complete => Some(WithheldReason::Partial),
            ControlResult::Missing => Some(WithheldReason::NoControl),
            ControlResult::Differs => Some(WithheldReason::Untrusted),
            ControlResult::Passed => None,
        }
    }
}

/// Judges the rows of a session with these arms.
pub(crate) fn judge(rows: &[Row], arms: &[String], primary: &Primary) -> Judgement {
    let cells = Cells::of(rows, arms, [primary.latency.as_str(), primary.cpu.as_str()]);
    // A second run of an arm is a control and no contestant.
    let control = |again: usize| {
        let first = metrics::controlled(&arms[again])?;
        Some((arms.iter().position(|arm| arm == first)?, again))
    };
    let controls: Vec<(usize, usize)> = (0..arms.len()).filter_map(control).collect();
    Judgement {
        pairs: family(&cells, arms, &pairs(arms), &PRIMARY, primary),
        control: family(&cells, arms, &controls, &PRIMARY, primary),
        blocks: cells.counts(),
    }
}

/// Judges a cell other than the primary ones, as a family of its own: latency and CPU per message of every pair of arms.
pub(crate) fn explore(rows: &[Row], arms: &[String], cell: &str) -> Vec<PairComparison> {
    let primary = Primary { latency: cell.to_owned(), cpu: cell.to_owned() };
    family(&Cells::of(rows, arms, [cell]), arms, &pairs(arms), secondary(), &primary)
}

fn pairs(arms: &[String]) -> Vec<(usize, usize)> {
    let contestants: Vec<usize> = (0..arms.len()).filter(|arm| !metrics::is_control(&arms[*arm])).collect();
    let pairs = contestants.iter().enumerate();
    pairs.flat_map(|(index, second)| contestants[index + 1..].iter().map(|first| (*first, *second))).collect()
}

/// Compares every metric of these pairs of arms, corrected for their number.
fn family(
    cells: &Cells<'_>,
    arms: &[String],
    pairs: &[(usize, usize)],
    metrics: &[PrimaryMetric],
    primary: &Primary,
) -> Vec<PairComparison> {
    let members: Vec<(PrimaryMetric, usize, usize)> =
        metrics.iter().flat_map(|metric| pairs.iter().map(|(first, second)| (*metric, *first, *second))).collect();
    let compared = |bound: fn(&PrimaryMetric) -> metrics::Metric| -> Vec<Option<Comparison>> {
        // Without values there is no comparison, but it still counts as one of the family.
        let values = |arm: usize, metric: &PrimaryMetric| {
            cells.values(metric.cell(primary), arm, &arms[arm], bound(metric)).unwrap_or_default()
        };
        let series: Vec<(Vec<f64>, Vec<f64>)> =
            members.iter().map(|(metric, first, second)| (values(*first, metric), values(*second, metric))).collect();
        let endpoints: Vec<Endpoint<'_>> = members
            .iter()
            .zip(&series)
            .map(|((metric, ..), (first, second))| Endpoint { first, second, margin: metric.margin })
            .collect();
        compare(&endpoints, ALPHA)
    };
    let first_bounds = compared(|metric| metric.value);
    let other_bounds = compared(|metric| metric.other_bound.unwrap_or(metric.value));
    let pair = |((metric, first, second), (one, other)): (&(PrimaryMetric, usize, usize), _)| PairComparison {
        metric: *metric,
        first: arms[*first].clone(),
        second: arms[*second].clone(),
        result: at_both_bounds(one, other),
    };
    members.iter().zip(first_bounds.into_iter().zip(other_bounds)).map(pair).collect()
}

/// The direction of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Lower,
    Higher,
    Equivalent,
    Inconclusive,
}

impl From<Verdict> for Direction {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Lower | Verdict::LowerSizeUnclear => Self::Lower,
            Verdict::Higher | Verdict::HigherSizeUnclear => Self::Higher,
            Verdict::Equivalent => Self::Equivalent,
            Verdict::Inconclusive { .. } => Self::Inconclusive,
        }
    }
}

/// What holds at both bounds: the first comparison with the weaker of two verdicts of the same direction.
fn at_both_bounds(one: Option<Comparison>, other: Option<Comparison>) -> PairResult {
    // A metric without another bound has its value as both.
    let Some((one, other)) = one.zip(other) else { return PairResult::NotCompared };
    let (direction, other_direction) = (Direction::from(one.verdict), Direction::from(other.verdict));
    let verdict = match (one.verdict, other.verdict) {
        (Verdict::Lower, Verdict::LowerSizeUnclear) => Verdict::LowerSizeUnclear,
        (Verdict::Higher, Verdict::HigherSizeUnclear) => Verdict::HigherSizeUnclear,
        (verdict, _) => verdict,
    };
    let comparison = Comparison { verdict, ..one };
    if direction == Direction::Inconclusive || direction == other_direction {
        PairResult::Compared(comparison)
    } else {
        PairResult::BoundsDisagree(comparison)
    }
}

#[cfg(test)]
mod tests;
