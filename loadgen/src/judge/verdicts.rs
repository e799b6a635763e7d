//! From the rows of a session to the claims about its arms. Reads no file and opens no socket.
//!
//! The replicate is the block ([`blocks`](super::blocks)). A family of comparisons is the primary metrics times the pairs
//! of arms; the arm that runs twice is compared with itself in a family of its own, and if it differs from itself no claim
//! is made.

use super::{
    blocks::{BlockCount, Cells},
    ladder::{chains, results},
    lag::LagDifference,
    metrics,
    primary::{ALPHA, BESIDE_HEAVY, PRIMARY, PrimaryMetric, secondary},
};
use crate::{
    record::{Primary, Row},
    stats::{
        comparison::{Comparison, Endpoint, Member, compare},
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
    /// Of a latency, if the generator sent later to one of the two, by more than a claim can bear.
    pub(crate) lag: Option<LagDifference>,
}

/// The result of comparing one metric of two arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PairResult {
    /// There are too few blocks, or a value is missing.
    NotCompared,
    /// A metric before it in the chain decides nothing, so nothing is claimed about this one, whatever its numbers are.
    NotTested(Comparison),
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
            PairResult::NotTested(comparison)
            | PairResult::Compared(comparison)
            | PairResult::BoundsDisagree(comparison) => Some(comparison),
        }
    }

    /// What is claimed; `None` of what is inconclusive too.
    pub(crate) fn claim(&self) -> Option<Verdict> {
        match self.result {
            PairResult::Compared(Comparison { verdict: Verdict::Inconclusive { .. }, .. }) => None,
            PairResult::Compared(comparison) => Some(comparison.verdict),
            PairResult::NotCompared | PairResult::NotTested(_) | PairResult::BoundsDisagree(_) => None,
        }
    }

    /// The same with the arms exchanged.
    pub(crate) fn reversed(&self) -> Self {
        let reversed = |it: &Comparison| it.reversed(self.metric.margin);
        let result = match &self.result {
            PairResult::NotCompared => PairResult::NotCompared,
            PairResult::NotTested(it) => PairResult::NotTested(reversed(it)),
            PairResult::Compared(it) => PairResult::Compared(reversed(it)),
            PairResult::BoundsDisagree(it) => PairResult::BoundsDisagree(reversed(it)),
        };
        Self { first: self.second.clone(), second: self.first.clone(), result, lag: self.lag, ..*self }
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
    /// No arm runs twice, or it lacks a metric in which others are compared.
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
    /// The loads of the primary claims were not chosen: the others only explore.
    Exploratory,
}

impl Judgement {
    /// The result of the control.
    pub(crate) fn control_result(&self) -> ControlResult {
        let is_compared = |pairs: &[PairComparison], name: &str| {
            pairs.iter().any(|pair| pair.metric.name == name && pair.comparison().is_some())
        };
        let lacks =
            |pair: &PairComparison| pair.comparison().is_some() && !is_compared(&self.control, pair.metric.name);
        let compared = self.control.iter().any(|pair| pair.comparison().is_some());
        if !compared || self.pairs.iter().any(lacks) {
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
    Judgement {
        pairs: family(&cells, arms, &pairs(arms), &PRIMARY, primary),
        control: family(&cells, arms, &controls(arms), &PRIMARY, primary),
        blocks: cells.counts(),
    }
}

/// Judges a cell other than the primary ones, as a family of its own: latency and CPU per message of every pair of arms. The
/// latency is that of the light messages, if there are heavy ones.
pub(crate) fn explore(rows: &[Row], arms: &[String], cell: &str) -> Vec<PairComparison> {
    let primary = Primary { latency: cell.to_owned(), cpu: cell.to_owned() };
    let is_beside_heavy = rows.iter().any(|row| row.cell_name() == cell && metrics::has_light(row));
    let metrics = if is_beside_heavy { &BESIDE_HEAVY[..] } else { secondary() };
    family(&Cells::of(rows, arms, [cell]), arms, &pairs(arms), metrics, &primary)
}

/// A second run of an arm, which is a control and no contestant, behind its first run.
pub(super) fn controls(arms: &[String]) -> Vec<(usize, usize)> {
    let control = |again: usize| {
        let first = metrics::controlled(&arms[again])?;
        Some((arms.iter().position(|arm| arm == first)?, again))
    };
    (0..arms.len()).filter_map(control).collect()
}

/// Every pair of contestants, the reference first.
pub(super) fn pairs(arms: &[String]) -> Vec<(usize, usize)> {
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
    let members: Vec<FamilyMember> = metrics
        .iter()
        .flat_map(|metric| {
            pairs.iter().map(|(first, second)| FamilyMember { metric: *metric, arms: [*first, *second] })
        })
        .collect();
    let first_bounds: Vec<Series> = members.iter().map(|it| it.values(it.metric.value, cells, arms, primary)).collect();
    let other_bounds: Vec<Option<Series>> =
        members.iter().map(|it| it.metric.other_bound.map(|value| it.values(value, cells, arms, primary))).collect();
    let bounds = first_bounds.iter().zip(&other_bounds);
    let family: Vec<Member<'_>> = members
        .iter()
        .zip(bounds)
        .map(|(member, (first, other))| Member {
            endpoint: first.endpoint(member.metric.margin),
            other_bound: other.as_ref().map(|other| other.endpoint(member.metric.margin)),
        })
        .collect();
    let chains = chains(metrics, pairs.len());
    let compared = compare(&family, &chains, ALPHA);
    let pair = |(member, result): (&FamilyMember, PairResult)| PairComparison {
        metric: member.metric,
        first: arms[member.arms[0]].clone(),
        second: arms[member.arms[1]].clone(),
        result,
        lag: member.lag(cells, primary),
    };
    members.iter().zip(results(&chains, &compared)).map(pair).collect()
}

/// One metric of two arms, by their places.
struct FamilyMember {
    metric: PrimaryMetric,
    arms: [usize; 2],
}

/// The values of two arms, one per block of each; empty if there is nothing to compare.
struct Series([Vec<f64>; 2]);

impl FamilyMember {
    /// Without values there is no comparison, but it still counts as one of the family.
    fn values(&self, value: metrics::Metric, cells: &Cells<'_>, arms: &[String], primary: &Primary) -> Series {
        let cell = self.metric.cell(primary);
        Series(self.arms.map(|arm| cells.told_values(cell, arm, arms, value, self.metric.quantile).unwrap_or_default()))
    }

    fn lag(&self, cells: &Cells<'_>, primary: &Primary) -> Option<LagDifference> {
        self.metric.quantile?;
        LagDifference::of(self.arms.map(|arm| cells.of_arm(self.metric.cell(primary), arm)))
    }
}

impl Series {
    fn endpoint(&self, margin: Margin) -> Endpoint<'_> {
        Endpoint { first: &self.0[0], second: &self.0[1], margin }
    }
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

#[cfg(test)]
mod tests;
