//! The verdict on two arms. There are five; none is a ranking, and none claims equality for lack of evidence.
//!
//! The report decides whether lower is better.

use super::{
    power::{detectable, standard_error},
    signed_rank::Interval,
};

/// The margin of equivalence, which also determines how values are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// By ratios: 0.03 is a factor of 1.03 upwards and of 1/1.03 downwards. For values above 0.
    Ratio(f64),
    /// By differences, in the unit of the values. For values that can be 0.
    Difference(f64),
}

impl Margin {
    /// The margin on the scale on which differences are taken.
    pub(crate) fn width(self) -> f64 {
        match self {
            Self::Ratio(share) => share.ln_1p(),
            Self::Difference(width) => width,
        }
    }

    /// Converts an estimate, or the end of an interval, to that scale: a ratio to its logarithm.
    pub(crate) fn scaled(self, shown: f64) -> f64 {
        match self {
            Self::Ratio(_) => shown.ln(),
            Self::Difference(_) => shown,
        }
    }

    /// Converts back from that scale to the displayed one.
    pub(crate) fn shown(self, difference: f64) -> f64 {
        match self {
            Self::Ratio(_) => difference.exp(),
            Self::Difference(_) => difference,
        }
    }
}

/// The verdict on the second arm, relative to the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Lower by more than the margin.
    Lower,
    /// Higher by more than the margin.
    Higher,
    /// Lower, but perhaps by less than the margin.
    LowerSizeUnclear,
    /// Higher, but perhaps by less than the margin.
    HigherSizeUnclear,
    /// Within the margin in both directions.
    Equivalent,
    /// None of these.
    Inconclusive {
        /// The smallest true effect detected with 80 % power, as a ratio above 1 or a difference above 0, like the
        /// estimate.
        smallest_effect: f64,
        /// The approximate total number of blocks with which another verdict is certain.
        blocks_needed: usize,
    },
}

/// The direction of a difference, according to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Below,
    Above,
    Unknown,
}

impl Sign {
    /// The sign of the estimate; an estimate of 0 has no direction, even if the test rejects.
    pub(super) fn of(difference: f64) -> Self {
        if difference < 0.0 {
            Self::Below
        } else if difference > 0.0 {
            Self::Above
        } else {
            Self::Unknown
        }
    }
}

/// The strongest verdict that the interval or else the test supports.
pub(super) fn judge(interval: &Interval, known: Sign, margin: Margin, blocks: usize) -> Verdict {
    let Interval { low, high, .. } = *interval;
    let width = margin.width();
    if high < -width {
        Verdict::Lower
    } else if low > width {
        Verdict::Higher
    } else if -width <= low && high <= width {
        Verdict::Equivalent
    } else if high < 0.0 || known == Sign::Below {
        Verdict::LowerSizeUnclear
    } else if low > 0.0 || known == Sign::Above {
        Verdict::HigherSizeUnclear
    } else {
        let smallest_effect = margin.shown(detectable(standard_error(interval), interval.level));
        Verdict::Inconclusive { smallest_effect, blocks_needed: blocks_needed(interval, width, blocks) }
    }
}

/// The total number of blocks that makes the interval as narrow as the margin, if its width falls with the square root.
///
/// Such an interval either excludes equality or lies within the margin, for any true effect. The result always exceeds
/// the present number of blocks: an interval that does neither is wider than the margin.
fn blocks_needed(interval: &Interval, width: f64, blocks: usize) -> usize {
    (blocks as f64 * ((interval.high - interval.low) / width).powi(2)).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_of_the_interval_has_its_verdict() {
        let margin = Margin::Difference(3.0);
        let verdict = |low, high, known| judge(&Interval { low, high, level: 0.95 }, known, margin, 40);
        let is_inconclusive = |verdict| matches!(verdict, Verdict::Inconclusive { .. });
        assert_eq!(verdict(-9.0, -3.1, Sign::Below), Verdict::Lower);
        assert_eq!(verdict(-9.0, -3.0, Sign::Below), Verdict::LowerSizeUnclear);
        assert_eq!(verdict(-9.0, -0.1, Sign::Unknown), Verdict::LowerSizeUnclear, "the interval alone is enough");
        assert_eq!(verdict(-9.0, 0.2, Sign::Below), Verdict::LowerSizeUnclear, "the test alone is enough");
        assert!(is_inconclusive(verdict(-9.0, 0.0, Sign::Unknown)));
        assert_eq!(verdict(-3.0, 3.0, Sign::Unknown), Verdict::Equivalent);
        assert_eq!(verdict(0.1, 2.9, Sign::Above), Verdict::Equivalent, "different, but not by much");
        assert!(is_inconclusive(verdict(-0.1, 3.1, Sign::Unknown)));
        assert_eq!(verdict(0.1, 3.1, Sign::Above), Verdict::HigherSizeUnclear);
        assert_eq!(verdict(3.1, 9.0, Sign::Above), Verdict::Higher);
    }

    #[test]
    fn the_mirrored_interval_has_the_mirrored_verdict() {
        let verdict =
            |low, high, known| judge(&Interval { low, high, level: 0.95 }, known, Margin::Difference(3.0), 40);
        let mirrored = |verdict| match verdict {
            Verdict::Lower => Verdict::Higher,
            Verdict::Higher => Verdict::Lower,
            Verdict::LowerSizeUnclear => Verdict::HigherSizeUnclear,
            Verdict::HigherSizeUnclear => Verdict::LowerSizeUnclear,
            Verdict::Equivalent | Verdict::Inconclusive { .. } => verdict,
        };
        let ends = [-9.0, -3.1, -3.0, -2.9, -0.1, 0.0, 0.1, 2.9, 3.0, 3.1, 9.0];
        for (index, low) in ends.into_iter().enumerate() {
            for high in ends[index..].iter().copied() {
                let there = verdict(low, high, Sign::Unknown);
                assert_eq!(there, mirrored(verdict(-high, -low, Sign::Unknown)), "{low} to {high}");
                if low < 0.0 {
                    let there = verdict(low, high, Sign::Below);
                    assert_eq!(there, mirrored(verdict(-high, -low, Sign::Above)), "{low} to {high}, below 0");
                }
            }
        }
    }

    #[test]
    fn the_direction_is_the_sign_of_the_estimate_and_0_has_none() {
        let signs = [-0.1, 0.0, 0.1].map(Sign::of);
        assert_eq!(signs, [Sign::Below, Sign::Unknown, Sign::Above]);
    }

    #[test]
    fn an_inconclusive_comparison_states_its_detectable_effect() {
        // The interval is 1.96 standard errors to either side, so one is 2; 1.96 + 0.84 of them give 80 % power.
        let interval = Interval { low: -2.92, high: 4.92, level: 0.95 };
        let verdict = judge(&interval, Sign::Unknown, Margin::Difference(4.0), 40);
        let Verdict::Inconclusive { smallest_effect, blocks_needed } = verdict else { panic!("{verdict:?}") };
        assert!((smallest_effect - 5.603).abs() < 0.001, "{smallest_effect}");
        // The width is 7.84 and has to become 4.
        assert_eq!(blocks_needed, 154);
    }
}
