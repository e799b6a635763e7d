//! What several sessions say about one metric of two arms: whether sign and size replicate.
//!
//! Each session has made its claims with an error rate of its own, and a sign is replicated by such claims alone. Equivalence within the margin is claimed for each host by itself and is never combined.

use super::verdicts::{Direction, PairComparison};
use crate::stats::random_effects::{Estimate, Heterogeneity, RandomEffects};

/// What sessions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// The sign is replicated, and the sizes differ by no more than their standard errors explain.
    Replicates,
    /// The sign is replicated; the sizes differ.
    SignOnly,
    /// The sizes differ, and the sign is not replicated.
    Heterogeneous,
    /// One session claims lower and another one higher.
    Contradicts,
    /// Every session claims equivalence, each for its own host.
    Equivalent,
    /// The sizes are not known to differ, and the sign is not replicated.
    Undecided,
}

/// One metric of two arms over several sessions.
#[derive(Clone, Debug)]
pub(crate) struct Replication {
    pub(crate) agreement: Agreement,
    /// The replicated sign: whether the second arm is lower or higher.
    pub(crate) sign: Option<Direction>,
    pub(crate) heterogeneity: Heterogeneity,
    /// From three sessions on.
    pub(crate) combined: Option<RandomEffects>,
    /// The smallest and the largest estimate, as ratios or differences.
    pub(crate) range: (f64, f64),
}

impl Replication {
    /// `None` of fewer than two comparisons.
    pub(crate) fn of(pairs: &[&PairComparison]) -> Option<Self> {
        let margin = pairs.first()?.metric.margin;
        let comparisons: Vec<_> = pairs.iter().filter_map(|pair| pair.comparison()).collect();
        let estimates: Vec<Estimate> = comparisons.iter().map(|it| Estimate::of(it, margin)).collect();
        let heterogeneity = Heterogeneity::of(&estimates)?;
        let combined = RandomEffects::of(&estimates);
        let claims = pairs.iter().filter(|pair| pair.comparison().is_some());
        let claims: Vec<Option<Direction>> = claims.map(|pair| pair.claim().map(Direction::from)).collect();
        let shown = comparisons.iter().map(|it| it.estimate);
        let range = (shown.clone().fold(f64::INFINITY, f64::min), shown.fold(f64::NEG_INFINITY, f64::max));
        let sign = replicated_sign(&claims, combined.as_ref());
        let agreement = agreement(&claims, sign, &heterogeneity);
        Some(Self { agreement, sign, heterogeneity, combined, range })
    }
}

fn count(claims: &[Option<Direction>], direction: Direction) -> usize {
    claims.iter().filter(|claim| **claim == Some(direction)).count()
}

/// The sign that every session claims; or that two or more claim, none the opposite, if another session would have it as
/// well, according to the prediction interval.
fn replicated_sign(claims: &[Option<Direction>], combined: Option<&RandomEffects>) -> Option<Direction> {
    let prediction = combined.map(|combined| combined.prediction);
    let (lower, higher) = (count(claims, Direction::Lower), count(claims, Direction::Higher));
    let (claimed, sign, is_predicted) = match (lower, higher) {
        (_, 0) => (lower, Direction::Lower, prediction.is_some_and(|(_, high)| high < 0.0)),
        (0, _) => (higher, Direction::Higher, prediction.is_some_and(|(low, _)| low > 0.0)),
        _ => return None,
    };
    (claimed == claims.len() || claimed >= 2 && is_predicted).then_some(sign)
}

fn agreement(claims: &[Option<Direction>], sign: Option<Direction>, heterogeneity: &Heterogeneity) -> Agreement {
    if count(claims, Direction::Lower) > 0 && count(claims, Direction::Higher) > 0 {
        return Agreement::Contradicts;
    }
    if count(claims, Direction::Equivalent) == claims.len() {
        return Agreement::Equivalent;
    }
    match (sign.is_some(), heterogeneity.p_value <= HETEROGENEOUS) {
        (true, false) => Agreement::Replicates,
        (true, true) => Agreement::SignOnly,
        (false, true) => Agreement::Heterogeneous,
        (false, false) => Agreement::Undecided,
    }
}

/// The level of Cochran's test: 10 %, as is usual, since its power is low with few sessions. A rejection takes a claim
/// away, so it needs no correction for the number of comparisons.
const HETEROGENEOUS: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::{primary::PRIMARY, verdicts::PairResult},
        stats::{comparison::Comparison, verdict::Verdict},
    };

    const INCONCLUSIVE: Verdict = Verdict::Inconclusive { smallest_effect: 1.05, blocks_needed: 90 };

    /// A comparison with this ratio, whose interval extends by so many percent to either side.
    fn pair(ratio: f64, percent: f64, verdict: Verdict) -> PairComparison {
        let interval = (ratio / (1.0 + percent / 100.0), ratio * (1.0 + percent / 100.0));
        let comparison =
            Comparison { estimate: ratio, interval, level: 0.998, blocks: 40, p_value: 0.0, p_adjusted: 0.0, verdict };
        PairComparison {
            metric: PRIMARY[0],
            first: "tokio".to_owned(),
            second: "mio".to_owned(),
            result: PairResult::Compared(comparison),
            lag: None,
        }
    }

    fn of(pairs: &[PairComparison]) -> Replication {
        Replication::of(&pairs.iter().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_every_session_claims_replicates_and_only_the_sign_if_sizes_differ() {
        let alike = of(&[pair(0.90, 3.0, Verdict::Lower), pair(0.92, 3.0, Verdict::LowerSizeUnclear)]);
        assert_eq!((alike.agreement, alike.range), (Agreement::Replicates, (0.90, 0.92)));
        assert!(alike.combined.is_none() && alike.sign == Some(Direction::Lower));
        // Their intervals do not even touch.
        let apart = of(&[pair(0.900, 2.2, Verdict::Lower), pair(0.957, 2.9, Verdict::LowerSizeUnclear)]);
        assert_eq!(apart.agreement, Agreement::SignOnly);
        let higher = of(&[pair(1.10, 3.0, Verdict::Higher), pair(1.09, 3.0, Verdict::Higher)]);
        assert_eq!((higher.agreement, higher.sign), (Agreement::Replicates, Some(Direction::Higher)));
    }

    #[test]
    fn opposite_claims_contradict_whatever_the_others_say() {
        let pairs = [
            pair(0.9, 3.0, Verdict::Lower),
            pair(0.9, 3.0, Verdict::Lower),
            pair(1.06, 5.0, Verdict::HigherSizeUnclear),
        ];
        assert_eq!(of(&pairs).agreement, Agreement::Contradicts);
        assert_eq!(of(&pairs).sign, None);
    }

    #[test]
    fn a_session_that_claims_nothing_keeps_two_from_replicating_but_not_four() {
        let lower = || pair(0.9, 3.0, Verdict::Lower);
        let unclear = || pair(0.93, 9.0, INCONCLUSIVE);
        assert_eq!(of(&[lower(), unclear()]).agreement, Agreement::Undecided);
        assert_eq!(of(&[lower(), lower(), lower(), unclear()]).agreement, Agreement::Replicates);
        // One claim is not replicated by those that claim nothing, however narrow the prediction.
        assert_eq!(of(&[lower(), unclear(), unclear(), unclear()]).agreement, Agreement::Undecided);
    }

    #[test]
    fn different_sizes_without_a_common_sign_are_heterogeneous() {
        let pairs = [pair(0.90, 3.0, Verdict::Lower), pair(1.0, 2.0, Verdict::Equivalent)];
        assert_eq!(of(&pairs).agreement, Agreement::Heterogeneous);
        let pairs = [pair(1.0, 2.0, Verdict::Equivalent), pair(1.01, 1.5, Verdict::Equivalent)];
        assert_eq!(of(&pairs).agreement, Agreement::Equivalent, "each on its own host");
        let pairs = [pair(1.0, 9.0, INCONCLUSIVE), pair(1.01, 9.0, INCONCLUSIVE)];
        assert_eq!(of(&pairs).agreement, Agreement::Undecided);
    }

    #[test]
    fn one_comparison_is_no_replication() {
        let none = PairComparison { result: PairResult::NotCompared, ..pair(0.9, 3.0, Verdict::Lower) };
        assert!(Replication::of(&[]).is_none());
        assert!(Replication::of(&[&pair(0.9, 3.0, Verdict::Lower)]).is_none());
        assert!(Replication::of(&[&pair(0.9, 3.0, Verdict::Lower), &none]).is_none());
    }
}
