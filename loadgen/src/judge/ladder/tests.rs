use super::*;
use crate::judge::primary::PRIMARY;

const INCONCLUSIVE: Verdict = Verdict::Inconclusive { smallest_effect: 1.2, blocks_needed: 99 };
const DIFFERS: f64 = 0.01;
const UNDECIDED: f64 = 0.5;

fn comparison(verdict: Verdict, p_adjusted: f64) -> Comparison {
    let interval = (0.9, 1.1);
    Comparison { estimate: 1.0, interval, level: 0.95, blocks: 40, p_value: p_adjusted, p_adjusted, verdict }
}

fn bounds(one: Verdict, other: Verdict, p_adjusted: f64) -> Compared {
    let [endpoint, other] = [one, other].map(|verdict| comparison(verdict, p_adjusted));
    Compared { endpoint, other_bound: Some(other) }
}

fn one_bound(verdict: Verdict, p_adjusted: f64) -> Option<Compared> {
    Some(Compared { endpoint: comparison(verdict, p_adjusted), other_bound: None })
}

#[test]
fn a_pair_has_a_ladder_of_three_and_a_chain_for_every_other_metric() {
    let expected = [vec![0, 2, 4], vec![1, 3, 5], vec![6], vec![7], vec![8], vec![9], vec![10], vec![11]];
    assert_eq!(chains(&PRIMARY, 2), expected);
    assert_eq!(chains(&PRIMARY, 0), [[0; 0]; 0]);
}

#[test]
fn a_claim_is_the_weaker_of_two_verdicts_of_the_same_direction() {
    use Verdict::{Equivalent, Higher, HigherSizeUnclear, Lower, LowerSizeUnclear};
    for (one, other, claim) in [
        (Lower, Lower, Lower),
        (Lower, LowerSizeUnclear, LowerSizeUnclear),
        (LowerSizeUnclear, Lower, LowerSizeUnclear),
        (LowerSizeUnclear, LowerSizeUnclear, LowerSizeUnclear),
        (Higher, Higher, Higher),
        (Higher, HigherSizeUnclear, HigherSizeUnclear),
        (HigherSizeUnclear, Higher, HigherSizeUnclear),
        (Equivalent, Equivalent, Equivalent),
        // Both bounds differ in this direction, one of them by less than the margin.
        (Equivalent, Lower, LowerSizeUnclear),
        (Lower, Equivalent, LowerSizeUnclear),
        (HigherSizeUnclear, Equivalent, HigherSizeUnclear),
        (Equivalent, HigherSizeUnclear, HigherSizeUnclear),
    ] {
        let result = at_both_bounds(&bounds(one, other, DIFFERS));
        assert_eq!(result, PairResult::Compared(comparison(claim, DIFFERS)), "{one:?} and {other:?}");
    }
}

#[test]
fn bounds_of_different_directions_allow_no_claim() {
    let verdicts = [Verdict::Lower, Verdict::HigherSizeUnclear, Verdict::Equivalent, INCONCLUSIVE];
    for (one, other) in verdicts.iter().flat_map(|one| verdicts.iter().map(move |other| (*one, *other))) {
        if one == other {
            continue;
        }
        let result = at_both_bounds(&bounds(one, other, UNDECIDED));
        // A verdict that is inconclusive anyway is not contradicted.
        let expected = if one == INCONCLUSIVE { PairResult::Compared } else { PairResult::BoundsDisagree };
        assert_eq!(result, expected(comparison(one, UNDECIDED)), "{one:?} and {other:?}");
    }
}

/// The results of a ladder with these verdicts.
fn ladder(rungs: [Option<Compared>; 3]) -> [PairResult; 3] {
    results(&[vec![0, 1, 2]], &rungs).try_into().unwrap()
}

fn not_tested(verdict: Verdict, p_adjusted: f64) -> PairResult {
    PairResult::NotTested(comparison(verdict, p_adjusted))
}

#[test]
fn a_ladder_goes_on_as_long_as_its_quantiles_differ() {
    let rungs = [Verdict::Lower, Verdict::LowerSizeUnclear, Verdict::Higher];
    let found = ladder(rungs.map(|verdict| one_bound(verdict, DIFFERS)));
    assert_eq!(found, rungs.map(|verdict| PairResult::Compared(comparison(verdict, DIFFERS))));
}

#[test]
fn above_a_quantile_that_is_not_decided_nothing_is_claimed_not_even_a_size() {
    let (lower, equivalent) = (one_bound(Verdict::Lower, UNDECIDED), one_bound(Verdict::Equivalent, UNDECIDED));
    let undecided = one_bound(INCONCLUSIVE, UNDECIDED);
    let untested = [not_tested(Verdict::Lower, UNDECIDED), not_tested(Verdict::Equivalent, UNDECIDED)];
    let inconclusive = PairResult::Compared(comparison(INCONCLUSIVE, UNDECIDED));
    assert_eq!(ladder([undecided, lower, equivalent]), [inconclusive, untested[0], untested[1]]);
    assert_eq!(ladder([None, lower, equivalent]), [PairResult::NotCompared, untested[0], untested[1]]);
    let disagree = Some(bounds(Verdict::Lower, Verdict::Equivalent, UNDECIDED));
    let found = ladder([disagree, lower, None]);
    let disagreeing = PairResult::BoundsDisagree(comparison(Verdict::Lower, UNDECIDED));
    assert_eq!(found, [disagreeing, untested[0], PairResult::NotCompared]);
    let found = ladder([one_bound(Verdict::Lower, DIFFERS), undecided, lower]);
    assert_eq!(found, [PairResult::Compared(comparison(Verdict::Lower, DIFFERS)), inconclusive, untested[0]]);
}

#[test]
fn above_an_equivalent_quantile_only_equivalence_may_be_claimed() {
    let equivalent = one_bound(Verdict::Equivalent, UNDECIDED);
    let claimed = PairResult::Compared(comparison(Verdict::Equivalent, UNDECIDED));
    assert_eq!(ladder([equivalent; 3]), [claimed; 3]);
    let higher = one_bound(Verdict::Higher, UNDECIDED);
    let untested = not_tested(Verdict::Higher, UNDECIDED);
    assert_eq!(ladder([equivalent, equivalent, higher]), [claimed, claimed, untested]);
    // What ends the ladder ends it for good.
    let above = not_tested(Verdict::Equivalent, UNDECIDED);
    assert_eq!(ladder([equivalent, higher, equivalent]), [claimed, untested, above]);
    let undecided = not_tested(INCONCLUSIVE, UNDECIDED);
    assert_eq!(ladder([equivalent, one_bound(INCONCLUSIVE, UNDECIDED), equivalent]), [claimed, undecided, above]);
    let disagree = Some(bounds(Verdict::Equivalent, INCONCLUSIVE, UNDECIDED));
    assert_eq!(ladder([equivalent, disagree, equivalent]), [claimed, above, above]);
}

#[test]
fn above_a_quantile_that_differs_within_the_margin_everything_is_tested() {
    let slight = one_bound(Verdict::Equivalent, DIFFERS);
    let found = ladder([slight, one_bound(Verdict::Lower, DIFFERS), one_bound(INCONCLUSIVE, UNDECIDED)]);
    assert_eq!(found[1], PairResult::Compared(comparison(Verdict::Lower, DIFFERS)));
    assert_eq!(found[2], PairResult::Compared(comparison(INCONCLUSIVE, UNDECIDED)));
}

#[test]
fn chains_do_not_hold_each_other_up() {
    let compared =
        [one_bound(INCONCLUSIVE, UNDECIDED), one_bound(Verdict::Lower, DIFFERS), one_bound(Verdict::Lower, DIFFERS)];
    let found = results(&[vec![0, 2], vec![1]], &compared);
    assert_eq!(found[1], PairResult::Compared(comparison(Verdict::Lower, DIFFERS)));
    assert_eq!(found[2], not_tested(Verdict::Lower, DIFFERS));
}
