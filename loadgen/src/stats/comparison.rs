//! Comparisons of arms over the blocks of a session: from values to estimate, confidence interval and verdict.
//!
//! Ratios are compared by their logarithms, which makes the result independent of the order of the arms; values that can
//! be 0 are compared by their differences. In a family of comparisons
//!
//! - **directions** are claimed by tests in chains;
//! - **sizes** are claimed by simultaneous confidence intervals ([`graph`](super::graph) explains both, and why intervals do
//!   not follow the chains).
//!
//! Each of the two guarantees holds by itself with probability 1 - alpha: no direction is claimed for equal arms, and no
//! wrong size or equivalence is claimed. If some arms are equal and others are not, the probability that either fails is
//! below twice alpha. The tests are the more powerful of the two, so a direction may be significant although the
//! interval includes equality.
//!
//! That the tests also get the direction of a difference right is proven for Holm's procedure with independent comparisons
//! (Shaffer, Control of directional errors with stagewise multiple test procedures, Annals of Statistics 8, 1980), and for
//! a fixed sequence under conditions on the dependence (Grandhi, Guo and Romano, Control of directional errors in fixed
//! sequence multiple testing, Statistica Sinica 29, 2019); the simulations of the primary family count wrong directions
//! among the errors.
//!
//! **Two bounds.** Of some metrics only two bounds of the true value are measured, and a claim must hold at both. The
//! hypothesis of such a member is that the arms are equal at one bound at least, so its p-value is the larger of the two
//! (an intersection-union test: Berger, Technometrics 24, 1982), and 1 if the bounds differ in direction. Two families,
//! one for each bound, would have twice the error.

use super::{
    graph::{adjusted, holm, simultaneous_level},
    signed_rank,
    verdict::{Margin, Sign, Verdict, judge},
};

/// Two arms on one scale, with a value per block of each, in the same order.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// The reference arm.
    pub first: &'a [f64],
    /// The arm whose difference from the first is estimated.
    pub second: &'a [f64],
    /// The margin of equivalence.
    pub margin: Margin,
}

/// A member of a family: an endpoint, or the two bounds of one.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The endpoint, or its first bound.
    pub endpoint: Endpoint<'a>,
    /// The other bound.
    pub other_bound: Option<Endpoint<'a>>,
}

/// A comparison of two arms. Estimate and interval are ratios, second / first, or differences, second - first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The Hodges-Lehmann estimate.
    pub estimate: f64,
    /// The ends of the confidence interval, both included.
    pub interval: (f64, f64),
    /// The confidence level of this interval alone; the simultaneous level of a family is lower.
    pub level: f64,
    /// Number of blocks.
    pub blocks: usize,
    /// The p-value of the signed-rank test, for this comparison alone; the larger one of two bounds.
    pub p_value: f64,
    /// The adjusted p-value, for the family.
    pub p_adjusted: f64,
    /// The verdict.
    pub verdict: Verdict,
}

impl Comparison {
    /// The same comparison with the arms exchanged.
    pub(crate) fn reversed(&self, margin: Margin) -> Self {
        let turned = |shown: f64| margin.shown(-margin.scaled(shown));
        let (low, high) = self.interval;
        let verdict = match self.verdict {
            Verdict::Lower => Verdict::Higher,
            Verdict::Higher => Verdict::Lower,
            Verdict::LowerSizeUnclear => Verdict::HigherSizeUnclear,
            Verdict::HigherSizeUnclear => Verdict::LowerSizeUnclear,
            Verdict::Equivalent | Verdict::Inconclusive { .. } => self.verdict,
        };
        Self { estimate: turned(self.estimate), interval: (turned(high), turned(low)), verdict, ..*self }
    }
}

/// The comparisons of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// Of the endpoint, or of its first bound.
    pub endpoint: Comparison,
    /// Of the other bound, which has the same p-values.
    pub other_bound: Option<Comparison>,
}

/// Compares every member of a family, with a family-wise error of `alpha` (0.05). The chains name the members by their
/// places.
///
/// `None` for a member with too few blocks for the level (12 members at 0.05 need 9), with different numbers of values per
/// arm, or with a value that cannot be compared: not finite, or not above 0 for a ratio. Such a member still counts,
/// since the family is fixed before the measurement.
pub fn compare(family: &[Member<'_>], chains: &[Vec<usize>], alpha: f64) -> Vec<Option<Compared>> {
    let level = simultaneous_level(alpha, family.len());
    let members: Vec<Option<Vec<Bound>>> = family.iter().map(|member| member.bounds(level)).collect();
    let p_values: Vec<f64> = members.iter().map(|bounds| bounds.as_deref().map_or(1.0, p_value)).collect();
    let adjusted = adjusted(chains, &p_values);
    let compare = |index: usize| {
        let bounds = members[index].as_deref()?;
        let comparison = |bound: &Bound| {
            let known = if adjusted[index] <= alpha { bound.sign() } else { Sign::Unknown };
            let signed_rank::Interval { low, high, level } = bound.interval;
            let margin = family[index].endpoint.margin;
            Comparison {
                estimate: margin.shown(bound.estimate),
                interval: (margin.shown(low), margin.shown(high)),
                level,
                blocks: bound.blocks,
                p_value: p_values[index],
                p_adjusted: adjusted[index],
                verdict: judge(&bound.interval, known, margin, bound.blocks),
            }
        };
        Some(Compared { endpoint: comparison(bounds.first()?), other_bound: bounds.get(1).map(comparison) })
    };
    (0..family.len()).map(compare).collect()
}

/// Compares an endpoint that is the only one of its family.
pub fn compare_alone(endpoint: Endpoint<'_>, alpha: f64) -> Option<Comparison> {
    let compared = compare(&[Member { endpoint, other_bound: None }], &holm(1), alpha);
    compared[0].map(|compared| compared.endpoint)
}

/// What the differences of an endpoint show, before the family is considered.
struct Bound {
    estimate: f64,
    interval: signed_rank::Interval,
    p_value: f64,
    blocks: usize,
}

impl Bound {
    fn sign(&self) -> Sign {
        Sign::of(self.estimate)
    }
}

/// The p-value of a member with these bounds: 1 if they differ in direction, or if one of two has none.
fn p_value(bounds: &[Bound]) -> f64 {
    let agree = bounds.windows(2).all(|both| both[0].sign() == both[1].sign() && both[0].sign() != Sign::Unknown);
    if agree { bounds.iter().fold(0.0, |largest, bound| largest.max(bound.p_value)) } else { 1.0 }
}

impl Member<'_> {
    /// One or two bounds, with intervals at this level; `None` if one cannot be compared.
    fn bounds(&self, level: f64) -> Option<Vec<Bound>> {
        [Some(self.endpoint), self.other_bound].into_iter().flatten().map(|endpoint| endpoint.bound(level)).collect()
    }
}

impl Endpoint<'_> {
    fn bound(&self, level: f64) -> Option<Bound> {
        let differences = self.differences()?;
        Some(Bound {
            estimate: signed_rank::estimate(&differences)?,
            interval: signed_rank::interval(&differences, level)?,
            p_value: signed_rank::p_value(&differences),
            blocks: differences.len(),
        })
    }

    /// Second - first of each block, of logarithms if ratios are compared; `None` if a block has no difference.
    fn differences(&self) -> Option<Vec<f64>> {
        if self.first.len() != self.second.len() {
            return None;
        }
        let difference = |(first, second): (&f64, &f64)| {
            let difference = match self.margin {
                Margin::Ratio(_) => second.ln() - first.ln(),
                Margin::Difference(_) => second - first,
            };
            difference.is_finite().then_some(difference)
        };
        self.first.iter().zip(self.second).map(difference).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ratio_margin_is_the_same_factor_in_both_directions() {
        let first = [100.0; 12];
        for (second, expected) in [
            (102.9, Verdict::Equivalent),
            (103.1, Verdict::Higher),
            (100.0 / 1.029, Verdict::Equivalent),
            (100.0 / 1.031, Verdict::Lower),
        ] {
            let found = one(&first, &[second; 12], Margin::Ratio(0.03)).unwrap();
            assert_eq!(found.verdict, expected, "{second}");
            assert!((found.estimate - second / 100.0).abs() < 1e-12);
        }
    }

    #[test]
    fn counts_that_are_mostly_zero_are_compared_by_differences() {
        let idle = [0.0; 12];
        let mut stirring = [0.0; 12];
        (stirring[3], stirring[7]) = (0.5, 2.0);
        let margin = Margin::Difference(1.0);
        assert_eq!(one(&idle, &idle, margin).unwrap().verdict, Verdict::Equivalent);
        let found = one(&idle, &stirring, margin).unwrap();
        assert!(found.interval.0 == 0.0 && found.interval.1 >= 0.0 && found.p_value == 0.5, "{found:?}");
        assert_eq!(one(&idle, &[100.0; 12], margin).unwrap().verdict, Verdict::Higher);
        assert_eq!(one(&idle, &stirring, Margin::Ratio(0.03)), None, "a ratio to 0");
    }

    #[test]
    fn an_endpoint_that_cannot_be_compared_still_counts_as_a_member() {
        let (first, second) = ([100.0; 12], [110.0; 12]);
        let margin = Margin::Ratio(0.03);
        let good = Endpoint { first: &first, second: &second, margin };
        let short = Endpoint { first: &first[..3], second: &second[..3], margin };
        let uneven = Endpoint { first: &first, second: &second[1..], margin };
        let broken = Endpoint { first: &first, second: &[f64::NAN; 12], margin };
        let found = by_holm(&[good, short, uneven, broken]);
        assert_eq!(found[1..], [None; 3]);
        let found = found[0].unwrap();
        assert_eq!((found.p_adjusted, found.blocks), (4.0 * found.p_value, 12));
        assert!(found.level >= 1.0 - 0.05 / 4.0);
        assert!(by_holm(&[]).is_empty());
    }

    #[test]
    fn a_direction_can_be_significant_although_the_interval_includes_equality() {
        // After eleven clear differences, Holm tests the twelfth at 5 %, while its interval is still at 99.6 %.
        let first = [100.0; 12];
        let clear: Vec<f64> = (0..12).map(|block| 150.0 + f64::from(block)).collect();
        let slight: Vec<f64> =
            (0..12).map(|block| if block == 2 { 97.0 } else { 100.5 + 0.6 * f64::from(block) }).collect();
        let margin = Margin::Ratio(0.03);
        let mut family = vec![Endpoint { first: &first, second: &clear, margin }; 11];
        family.push(Endpoint { first: &first, second: &slight, margin });
        let found = by_holm(&family)[11].unwrap();
        assert!(found.interval.0 < 1.0 && found.interval.1 > 1.03 && found.p_adjusted < 0.05, "{found:?}");
        assert_eq!(found.verdict, Verdict::HigherSizeUnclear);
    }

    #[test]
    fn a_member_with_two_bounds_differs_only_if_it_does_at_both_and_in_the_same_direction() {
        let margin = Margin::Ratio(0.03);
        let first: Vec<f64> = (0..12).map(|block| 100.0 + f64::from(block * 5 % 12)).collect();
        let times = |factor: f64| -> Vec<f64> { first.iter().map(|value| value * factor).collect() };
        let wavering: Vec<f64> =
            first.iter().enumerate().map(|(block, value)| value * if block == 3 { 0.9 } else { 1.1 }).collect();
        let compared = |one: &[f64], other: &[f64]| {
            let member = Member {
                endpoint: Endpoint { first: &first, second: one, margin },
                other_bound: Some(Endpoint { first: &first, second: other, margin }),
            };
            compare(&[member], &holm(1), 0.05)[0]
        };
        let [lower, higher] = [times(0.8), times(1.2)];
        let found = compared(&higher, &wavering).unwrap();
        let weaker = one(&first, &wavering, margin).unwrap();
        assert_eq!((found.endpoint.p_value, found.other_bound.unwrap().p_value), (weaker.p_value, weaker.p_value));
        assert_eq!(compared(&wavering, &higher).unwrap().endpoint.p_value, weaker.p_value);
        let opposed = compared(&lower, &higher).unwrap();
        assert_eq!((opposed.endpoint.p_value, opposed.endpoint.p_adjusted), (1.0, 1.0));
        assert_eq!(compared(&first, &higher).unwrap().endpoint.p_value, 1.0, "equal at one bound");
        assert_eq!(compared(&higher, &higher[1..]), None, "a bound is missing");
    }

    #[test]
    fn the_second_of_a_chain_is_tested_at_the_level_of_the_first() {
        let margin = Margin::Ratio(0.03);
        let first = [100.0; 12];
        let second: Vec<f64> = (0..12).map(|block| if block == 0 { 99.9 } else { 101.0 + f64::from(block) }).collect();
        let endpoint = Endpoint { first: &first, second: &second, margin };
        let family = [Member { endpoint, other_bound: None }; 4];
        let adjusted = |chains: &[Vec<usize>]| {
            let compared = compare(&family, chains, 0.05);
            compared.iter().map(|compared| compared.unwrap().endpoint.p_adjusted).collect::<Vec<f64>>()
        };
        let alone = one(&first, &second, margin).unwrap();
        assert_eq!(adjusted(&[vec![0, 1, 2, 3]]), [alone.p_value; 4]);
        assert_eq!(adjusted(&holm(4)), [4.0 * alone.p_value; 4]);
        let compared = compare(&family, &[vec![0, 1, 2, 3]], 0.05)[0].unwrap().endpoint;
        assert!(compared.level >= 1.0 - 0.05 / 4.0, "an interval is at the level of all members");
    }

    proptest! {
        #[test]
        fn swapping_the_labels_flips_the_verdict(
            first in prop::collection::vec(90.0..110.0_f64, 20), factor in 0.9..1.1_f64, noise in 0.0..0.1_f64,
            second in prop::collection::vec(-1.0..1.0_f64, 20),
        ) {
            let second: Vec<f64> =
                first.iter().zip(second).map(|(first, value)| first * factor * (noise * value).exp()).collect();
            for margin in [Margin::Ratio(0.03), Margin::Difference(3.0)] {
                let [there, back] = [one(&first, &second, margin), one(&second, &first, margin)].map(Option::unwrap);
                prop_assert!(alike(there.verdict, mirrored(back.verdict)), "{:?} {:?}", there, back);
                prop_assert_eq!(there.p_value, back.p_value);
            }
        }

        #[test]
        fn scaling_one_arm_scales_the_ratio_and_scaling_both_changes_nothing(
            first in prop::collection::vec(90.0..110.0_f64, 20), second in prop::collection::vec(90.0..110.0_f64, 20),
            factor in 0.1..10.0_f64,
        ) {
            let margin = Margin::Ratio(0.03);
            let scaled = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value * factor).collect() };
            let plain = one(&first, &second, margin).unwrap();
            let both = one(&scaled(&first), &scaled(&second), margin).unwrap();
            prop_assert!(alike(plain.verdict, both.verdict) && (plain.estimate / both.estimate - 1.0).abs() < 1e-9);
            let second_only = one(&first, &scaled(&second), margin).unwrap();
            prop_assert!((second_only.estimate / plain.estimate / factor - 1.0).abs() < 1e-9);
            prop_assert!((second_only.interval.0 / plain.interval.0 / factor - 1.0).abs() < 1e-9);
        }

        #[test]
        fn an_inconclusive_comparison_always_asks_for_more_blocks(
            first in prop::collection::vec(90.0..110.0_f64, 20), second in prop::collection::vec(90.0..110.0_f64, 20),
        ) {
            let found = one(&first, &second, Margin::Ratio(0.03)).unwrap();
            prop_assert!(found.interval.0 <= found.estimate && found.estimate <= found.interval.1);
            if let Verdict::Inconclusive { smallest_effect, blocks_needed } = found.verdict {
                prop_assert!(smallest_effect > 1.0 && blocks_needed > found.blocks);
            }
        }
    }

    fn one(first: &[f64], second: &[f64], margin: Margin) -> Option<Comparison> {
        compare_alone(Endpoint { first, second, margin }, 0.05)
    }

    fn by_holm(endpoints: &[Endpoint<'_>]) -> Vec<Option<Comparison>> {
        let family: Vec<Member<'_>> =
            endpoints.iter().map(|endpoint| Member { endpoint: *endpoint, other_bound: None }).collect();
        let compared = compare(&family, &holm(family.len()), 0.05);
        compared.into_iter().map(|compared| compared.map(|compared| compared.endpoint)).collect()
    }

    fn mirrored(verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Lower => Verdict::Higher,
            Verdict::Higher => Verdict::Lower,
            Verdict::LowerSizeUnclear => Verdict::HigherSizeUnclear,
            Verdict::HigherSizeUnclear => Verdict::LowerSizeUnclear,
            Verdict::Equivalent | Verdict::Inconclusive { .. } => verdict,
        }
    }

    /// Equal up to rounding.
    fn alike(one: Verdict, other: Verdict) -> bool {
        match (one, other) {
            (
                Verdict::Inconclusive { smallest_effect: one, blocks_needed: blocks },
                Verdict::Inconclusive { smallest_effect: other, blocks_needed },
            ) => (one / other - 1.0).abs() < 1e-9 && blocks.abs_diff(blocks_needed) <= 1,
            _ => one == other,
        }
    }
}
