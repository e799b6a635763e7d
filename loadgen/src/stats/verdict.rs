//! What may be said of two arms: five verdicts, none of them a ranking and none of them "the same" for want of evidence.
//!
//! Whether lower is better is the report's business.

use super::{normal, signed_rank::Interval};

/// What counts as a difference worth mentioning, and with it how values are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// By ratios: 0.03 is a factor of 1.03 upwards and of 1/1.03 downwards. For values above 0.
    Ratio(f64),
    /// By differences, in the unit of the values. For values that can be 0.
    Difference(f64),
}

impl Margin {
    /// On the scale on which differences are taken.
    pub(super) fn width(self) -> f64 {
        match self {
            Self::Ratio(share) => share.ln_1p(),
            Self::Difference(width) => width,
        }
    }

    /// From that scale back to the one that is shown.
    pub(super) fn shown(self, difference: f64) -> f64 {
        match self {
            Self::Ratio(_) => difference.exp(),
            Self::Difference(_) => difference,
        }
    }
}

/// What may be said of the second arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Lower by more than the margin.
    Lower,
    /// Higher by more than the margin.
    Higher,
    /// Lower; whether by more than the margin is open.
    LowerSizeUnclear,
    /// Higher; whether by more than the margin is open.
    HigherSizeUnclear,
    /// Within the margin in both directions.
    Equivalent,
    /// None of these.
    Undecided {
        /// The smallest true effect that would have had four chances in five to be found, as a ratio above 1 or as a
        /// difference above 0, like the estimate.
        smallest_effect: f64,
        /// With about how many blocks in all some other verdict is certain.
        blocks_needed: usize,
    },
}

/// The direction of a difference, as far as the test knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Below,
    Above,
    Unknown,
}

impl Sign {
    /// The side of 0 on which the estimate lies; one of 0 itself has none, whatever the test says.
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

/// The first of the verdicts, from the strongest down, that the interval or else the test supports.
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
        let smallest_effect = margin.shown(smallest_effect(interval));
        Verdict::Undecided { smallest_effect, blocks_needed: blocks_needed(interval, width, blocks) }
    }
}

/// The true effect at which the interval would miss "equal" in four sessions of five.
///
/// Half the interval's width is taken for as many standard errors of the estimate as its level has in a normal
/// distribution: an estimate of the noise that a few wild blocks do not blow up, as a standard deviation would be.
fn smallest_effect(interval: &Interval) -> f64 {
    let half_width = (interval.high - interval.low) / 2.0;
    let errors = -normal::quantile((1.0 - interval.level) / 2.0);
    half_width * (1.0 + normal::quantile(POWER) / errors)
}

/// How many blocks in all make the interval as narrow as the margin is wide, its width falling with the square root.
///
/// Such an interval either misses "equal" or lies within the margin, whatever the true effect. It is always more than
/// there are: an interval that does neither is wider.
fn blocks_needed(interval: &Interval, width: f64, blocks: usize) -> usize {
    (blocks as f64 * ((interval.high - interval.low) / width).powi(2)).ceil() as usize
}

/// With what probability an effect is to be found that is called findable: the convention.
const POWER: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_of_the_interval_has_its_verdict() {
        let margin = Margin::Difference(3.0);
        let verdict = |low, high, known| judge(&Interval { low, high, level: 0.95 }, known, margin, 40);
        let undecided = |verdict| matches!(verdict, Verdict::Undecided { .. });
        assert_eq!(verdict(-9.0, -3.1, Sign::Below), Verdict::Lower);
        assert_eq!(verdict(-9.0, -3.0, Sign::Below), Verdict::LowerSizeUnclear);
        assert_eq!(verdict(-9.0, -0.1, Sign::Unknown), Verdict::LowerSizeUnclear, "the interval alone is enough");
        assert_eq!(verdict(-9.0, 0.2, Sign::Below), Verdict::LowerSizeUnclear, "the test alone is enough");
        assert!(undecided(verdict(-9.0, 0.0, Sign::Unknown)));
        assert_eq!(verdict(-3.0, 3.0, Sign::Unknown), Verdict::Equivalent);
        assert_eq!(verdict(0.1, 2.9, Sign::Above), Verdict::Equivalent, "different, but not by much");
        assert!(undecided(verdict(-0.1, 3.1, Sign::Unknown)));
        assert_eq!(verdict(0.1, 3.1, Sign::Above), Verdict::HigherSizeUnclear);
        assert_eq!(verdict(3.1, 9.0, Sign::Above), Verdict::Higher);
    }

    #[test]
    fn an_undecided_comparison_tells_what_it_could_have_found() {
        // 1.96 standard errors to either side: one is 2; 1.96 + 0.84 of them have a power of 80 %.
        let interval = Interval { low: -2.92, high: 4.92, level: 0.95 };
        let verdict = judge(&interval, Sign::Unknown, Margin::Difference(4.0), 40);
        let Verdict::Undecided { smallest_effect, blocks_needed } = verdict else { panic!("{verdict:?}") };
        assert!((smallest_effect - 5.603).abs() < 0.001, "{smallest_effect}");
        // 7.84 wide and to be 4.
        assert_eq!(blocks_needed, 154);
    }
}
