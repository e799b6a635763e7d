//! A ladder of rates, climbed until one is not sustained.
//!
//! A ladder and no bisection: one unlucky probe of a bisection throws away the right half.

use std::ops::ControlFlow;

use anyhow::Result;

/// Rates that rise by a constant factor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ladder {
    /// The first rung, in messages per second; more than 0.
    pub(crate) from_per_sec: f64,
    /// Ratio of each rung to the one below, before both are rounded.
    pub(crate) step: f64,
    pub(crate) rounding: Rounding,
}

/// How the rates of a ladder are rounded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rounding {
    /// Down to whole messages per second.
    Whole,
    /// To three significant digits, so that all ladders from one rate have the same rungs.
    ThreeDigits,
}

/// Where a ladder ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Top<E> {
    /// The highest rung that was sustained, in messages per second.
    pub(crate) sustained_per_sec: Option<f64>,
    /// The rung at which the ladder ended.
    pub(crate) ended_at_per_sec: f64,
    pub(crate) end: E,
}

impl<E> Top<E> {
    /// This top with another account of its end.
    pub(crate) fn because<T>(self, end: T) -> Top<T> {
        Top { sustained_per_sec: self.sustained_per_sec, ended_at_per_sec: self.ended_at_per_sec, end }
    }
}

impl Ladder {
    /// Goes up until `rung` breaks; it gets the rate.
    ///
    /// # Errors
    /// The first error of `rung`.
    pub(crate) fn climb<E>(&self, mut rung: impl FnMut(f64) -> Result<ControlFlow<E>>) -> Result<Top<E>> {
        let mut sustained_per_sec = None;
        for rate_per_sec in (0..).map(|index| self.rate_per_sec(index)) {
            match rung(rate_per_sec)? {
                ControlFlow::Continue(()) => sustained_per_sec = Some(rate_per_sec),
                ControlFlow::Break(end) => return Ok(Top { sustained_per_sec, ended_at_per_sec: rate_per_sec, end }),
            }
        }
        unreachable!("the ladder has no last rung")
    }

    fn rate_per_sec(&self, index: i32) -> f64 {
        let rate = self.from_per_sec * self.step.powi(index);
        match self.rounding {
            Rounding::Whole => rate.floor(),
            Rounding::ThreeDigits => {
                // By whole numbers, so that the digits are those that are written.
                let places = 2 - rate.log10().floor() as i32;
                let scale = 10_f64.powi(places.abs());
                if places > 0 { (rate * scale).round() / scale } else { (rate / scale).round() * scale }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn rungs(from_per_sec: f64, step: f64, rounding: Rounding) -> Vec<f64> {
        let ladder = Ladder { from_per_sec, step, rounding };
        (0..30).map(|index| ladder.rate_per_sec(index)).collect()
    }

    #[test]
    fn rungs_rise_and_are_round() {
        let digits = |from| rungs(from, 1.1, Rounding::ThreeDigits);
        assert_eq!(digits(5e3)[..4], [5_000.0, 5_500.0, 6_050.0, 6_660.0]);
        assert!(digits(5e3).windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(digits(1.0)[..4], [1.0, 1.1, 1.21, 1.33], "no rung twice");
        assert_eq!(digits(0.1)[..2], [0.1, 0.11]);
        assert_eq!(rungs(5e3, 1.25, Rounding::Whole)[..4], [5_000.0, 6_250.0, 7_812.0, 9_765.0]);
    }

    #[test]
    fn a_climb_ends_at_the_first_rung_that_is_not_sustained() {
        let ladder = Ladder { from_per_sec: 1_000.0, step: 2.0, rounding: Rounding::Whole };
        let climb = |limit: f64| {
            let rung =
                |rate: f64| Ok(if rate <= limit { ControlFlow::Continue(()) } else { ControlFlow::Break("saturated") });
            ladder.climb(rung).unwrap()
        };
        let top = |sustained_per_sec, ended_at_per_sec| Top { sustained_per_sec, ended_at_per_sec, end: "saturated" };
        assert_eq!(climb(5_000.0), top(Some(4_000.0), 8_000.0));
        assert_eq!(climb(500.0), top(None, 1_000.0));
        assert!(ladder.climb(|_| -> Result<ControlFlow<()>> { bail!("broken") }).is_err());
    }
}
