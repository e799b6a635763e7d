//! The offered rate of messages, and how they are spread over time.

use std::{fmt, str::FromStr};

use super::units::{per_second, show_count};

/// How the times between two messages are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Independent exponential gaps, connections drawn at random
    Poisson,
    /// Equal gaps, connections in turn: for known answers, since it hides queueing
    Constant,
}

impl Arrivals {
    /// Name on the command line and in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Constant => "constant",
        }
    }
}

/// Messages offered per second over a window; it may be less than one.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Rate {
    /// Constant.
    Steady(f64),
    /// Grows or falls evenly.
    Ramp {
        /// Per second at the beginning.
        from: f64,
        /// Per second at the end.
        to: f64,
    },
    /// One after the other, each for an equal part of the window.
    Steps(Vec<f64>),
}

impl Rate {
    /// A few digits with their unit, as on the command line: `20.0k`, `1000..50.0k`.
    pub(crate) fn with_units(&self) -> String {
        let show = |rate: &f64| show_count(*rate);
        match self {
            Self::Steady(rate) => show(rate),
            Self::Ramp { from, to } => format!("{}..{}", show(from), show(to)),
            Self::Steps(rates) => rates.iter().map(show).collect::<Vec<_>>().join(","),
        }
    }

    /// The mean over the window, per second.
    pub(crate) fn mean_per_sec(&self) -> f64 {
        self.messages_until(1.0)
    }

    /// The least and the greatest, per second.
    pub(crate) fn extremes_per_sec(&self) -> (f64, f64) {
        match self {
            Self::Steady(rate) => (*rate, *rate),
            Self::Ramp { from, to } => (from.min(*to), from.max(*to)),
            Self::Steps(rates) => {
                let rates = rates.iter().copied();
                (rates.clone().reduce(f64::min).unwrap_or(0.0), rates.reduce(f64::max).unwrap_or(0.0))
            }
        }
    }

    /// Messages expected in the first `share` of a window of one second.
    fn messages_until(&self, share: f64) -> f64 {
        match self {
            Self::Steady(rate) => *rate * share,
            Self::Ramp { from, to } => *from * share + (*to - *from) * share * share / 2.0,
            Self::Steps(rates) => {
                let step = 1.0 / rates.len() as f64;
                let part = |(index, rate): (usize, &f64)| *rate * (share - index as f64 * step).clamp(0.0, step);
                rates.iter().enumerate().map(part).sum()
            }
        }
    }

    /// The share of a window of one second in which `messages` are expected: the inverse of `messages_until`.
    pub(crate) fn share_of(&self, messages: f64) -> f64 {
        match self {
            _ if messages == 0.0 => 0.0,
            Self::Steady(rate) => messages / *rate,
            Self::Ramp { from, to } => {
                // The root of slope/2 s^2 + from s = messages, in the form that does not cancel.
                let (from, slope) = (*from, *to - *from);
                2.0 * messages / (from + (from * from + 2.0 * slope * messages).max(0.0).sqrt())
            }
            Self::Steps(rates) => {
                let step = 1.0 / rates.len() as f64;
                let (mut before, mut left) = (0.0, messages);
                for rate in rates {
                    let here = *rate * step;
                    if left <= here {
                        return before + left / *rate;
                    }
                    (before, left) = (before + step, left - here);
                }
                1.0 + left
            }
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    /// Reads `20k`, `0.1`, `6/m`, a ramp `1k..50k` or steps `1k,5k,20k`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((from, to)) = text.split_once("..") {
            return Ok(Self::Ramp { from: per_second(from)?, to: per_second(to)? });
        }
        match text.split(',').map(per_second).collect::<Result<Vec<_>, _>>()?[..] {
            [rate] => Ok(Self::Steady(rate)),
            ref rates => Ok(Self::Steps(rates.to_vec())),
        }
    }
}

impl fmt::Display for Rate {
    /// All digits and no unit, as in records.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady(rate) => write!(formatter, "{rate}"),
            Self::Ramp { from, to } => write!(formatter, "{from}..{to}"),
            Self::Steps(rates) => {
                let rates: Vec<String> = rates.iter().map(f64::to_string).collect();
                formatter.write_str(&rates.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_and_steps_are_read() {
        let rate = str::parse::<Rate>;
        assert_eq!(rate("20k"), Ok(Rate::Steady(20_000.0)));
        assert_eq!(rate("1k..50k"), Ok(Rate::Ramp { from: 1_000.0, to: 50_000.0 }));
        assert_eq!(rate("1k,500"), Ok(Rate::Steps(vec![1_000.0, 500.0])));
        assert_eq!(rate("6/m"), Ok(Rate::Steady(0.1)));
        assert_eq!(rate("0..0.5"), Ok(Rate::Ramp { from: 0.0, to: 0.5 }));
        assert_eq!(rate("6/m,1.5"), Ok(Rate::Steps(vec![0.1, 1.5])));
        for text in ["", "1k..", "..", "1k..2k..3k", "1k,", "1k;2k"] {
            assert!(rate(text).is_err_and(|error| error.contains("20k")), "{text:?}");
        }
    }

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        for (text, digits, units) in
            [("20k", "20000", "20.0k"), ("1k..50k", "1000..50000", "1000..50.0k"), ("0.1,1.5", "0.1,1.5", "0.1,1.5")]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.to_string(), rate.with_units()), (digits.to_owned(), units.to_owned()));
            assert_eq!((digits.parse(), units.parse()), (Ok(rate.clone()), Ok(rate)));
        }
    }
}
