//! From the comparisons of a family to what may be claimed: how the tail ladder is read, and metrics with two bounds.
//!
//! Directions are tested by a graph ([`graph`](crate::stats::graph)) whose chains are those of the metrics, for each pair of
//! arms. The chain of the latency's quantiles is read from p90 upwards, so that no quantile is chosen after the fact, and it
//! ends at the first inconclusive one. Those above it are [not tested](PairResult::NotTested), even if their intervals
//! exclude equality.
//!
//! - A quantile that **differs** hands its whole share of alpha to the next.
//! - One that is **equivalent** without being shown to differ has no share to hand on, as its hypothesis of equality is not
//!   rejected. It is a decision all the same, made by its interval, and the intervals of all quantiles hold
//!   simultaneously. So the ladder goes on, but only for such decisions: a quantile above may still be called equivalent,
//!   and none lower or higher. If intervals alone could claim a difference there, two equal arms would have two chances of
//!   a false one, and the family-wise error of the directions would exceed alpha.
//! - One that is **inconclusive**, whose bounds disagree, or that could not be compared, ends the ladder.
//!
//! So every direction that is claimed has been rejected by the graph, and every size or equivalence is that of a
//! simultaneous interval.

use super::{
    primary::{ALPHA, PrimaryMetric},
    verdicts::{Direction, PairResult},
};
use crate::stats::{
    comparison::{Compared, Comparison},
    verdict::Verdict,
};

/// The chains of a family whose members are these metrics of so many pairs, the pairs of a metric next to each other.
pub(super) fn chains(metrics: &[PrimaryMetric], pairs: usize) -> Vec<Vec<usize>> {
    let mut first = 0;
    let mut chains = Vec::new();
    for chain in metrics.chunk_by(|one, other| one.chain == other.chain) {
        let places = first..first + chain.len();
        chains.extend((0..pairs).map(|pair| places.clone().map(|place| place * pairs + pair).collect()));
        first += chain.len();
    }
    chains
}

/// What may be claimed about the next metric of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// All before it differ.
    Test,
    /// All before it are decided, but not all differ.
    EquivalenceOnly,
    /// One before it decides nothing.
    Nothing,
}

/// The result of every member of a family with these chains.
pub(super) fn results(chains: &[Vec<usize>], compared: &[Option<Compared>]) -> Vec<PairResult> {
    let mut results = vec![PairResult::NotCompared; compared.len()];
    for chain in chains {
        let mut step = Step::Test;
        for member in chain {
            (results[*member], step) = read(compared[*member].as_ref(), step);
        }
    }
    results
}

/// The result of a metric of which so much may be claimed, and how much of the next one.
fn read(compared: Option<&Compared>, step: Step) -> (PairResult, Step) {
    let Some(compared) = compared else { return (PairResult::NotCompared, Step::Nothing) };
    let result = at_both_bounds(compared);
    let not_tested = (PairResult::NotTested(compared.endpoint), Step::Nothing);
    let PairResult::Compared(Comparison { verdict, p_adjusted, .. }) = result else {
        return if step == Step::Test { (result, Step::Nothing) } else { not_tested };
    };
    match (step, Direction::from(verdict)) {
        (Step::Test, Direction::Inconclusive) => (result, Step::Nothing),
        (Step::Test, _) if p_adjusted <= ALPHA => (result, Step::Test),
        (Step::Test, _) | (Step::EquivalenceOnly, Direction::Equivalent) => (result, Step::EquivalenceOnly),
        (Step::EquivalenceOnly | Step::Nothing, _) => not_tested,
    }
}

/// What holds at both bounds: the first comparison, with the weaker of two verdicts of the same direction.
fn at_both_bounds(compared: &Compared) -> PairResult {
    use Verdict::{Equivalent, Higher, HigherSizeUnclear, Inconclusive, Lower, LowerSizeUnclear};
    let one = compared.endpoint;
    // A metric without another bound has its value as both.
    let other = compared.other_bound.unwrap_or(one).verdict;
    let differs = one.p_adjusted <= ALPHA;
    let verdict = match (one.verdict, other) {
        (verdict @ Inconclusive { .. }, _) => verdict,
        (Lower, Lower) | (Higher, Higher) | (Equivalent, Equivalent) => other,
        (Lower | LowerSizeUnclear, Lower | LowerSizeUnclear) => LowerSizeUnclear,
        (Higher | HigherSizeUnclear, Higher | HigherSizeUnclear) => HigherSizeUnclear,
        // The test rejects at both bounds in the same direction; only the size is in doubt.
        (Equivalent, Lower | LowerSizeUnclear) | (Lower | LowerSizeUnclear, Equivalent) if differs => LowerSizeUnclear,
        (Equivalent, Higher | HigherSizeUnclear) | (Higher | HigherSizeUnclear, Equivalent) if differs => {
            HigherSizeUnclear
        }
        _ => return PairResult::BoundsDisagree(one),
    };
    PairResult::Compared(Comparison { verdict, ..one })
}

#[cfg(test)]
mod tests;
