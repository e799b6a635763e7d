//! Service level objectives such as `p99<2ms`.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;

use crate::{
    plan::units::{duration, show_duration},
    stats::{is_told, samples_needed},
};

/// A quantile of the response that must stay below a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slo {
    /// The quantile's name: `p99`.
    name: &'static str,
    quantile: f64,
    below: Duration,
}

/// What response times say of an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is kept.
    Met,
    /// It is not.
    Missed,
    /// There are too few of them: what is called a quantile would be one of the slowest, and say nothing of the rest.
    NotJudged {
        /// How many there are.
        samples: u64,
    },
}

impl Judgement {
    /// As it is called in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotJudged { .. } => "not_judged",
        }
    }
}

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

impl Slo {
    /// Reads `p99<2ms`.
    ///
    /// # Errors
    /// One line that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = || QUANTILES.map(|(name, _)| name).join(", ");
        let (name, limit) = text.split_once('<').ok_or("write for example p99<2ms")?;
        let found = QUANTILES.into_iter().find(|(known, _)| *known == name.trim());
        let (name, quantile) = found.ok_or_else(|| format!("{name:?} is no quantile; there are {}", known()))?;
        let below = duration(limit.trim())?;
        if below.is_zero() { Err("no response takes no time".to_owned()) } else { Ok(Self { name, quantile, below }) }
    }

    /// What these response times say of it.
    pub fn judge(&self, response: &Histogram<u64>) -> Judgement {
        match response.len() {
            samples if !is_told(samples, self.quantile) => Judgement::NotJudged { samples },
            _ if response.value_at_quantile(self.quantile) < self.below.as_nanos() as u64 => Judgement::Met,
            _ => Judgement::Missed,
        }
    }

    /// What a judgement of it says, in words.
    pub fn tell(&self, judgement: Judgement) -> String {
        match judgement {
            Judgement::Met => format!("{self} met"),
            Judgement::Missed => format!("{self} missed"),
            Judgement::NotJudged { samples } => format!("{self} not judged: {}", self.want(samples)),
        }
    }

    /// What it wants for, if there are only so many response times.
    pub fn want(&self, samples: u64) -> String {
        format!("{samples} responses, and {} takes {}", self.name, samples_needed(self.quantile))
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}<{}", self.name, show_duration(self.below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(fast: u64, slow: u64) -> Histogram<u64> {
        let mut response = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        response.record_n(1_000_000, fast).unwrap();
        response.record_n(5_000_000, slow).unwrap();
        response
    }

    #[test]
    fn an_objective_is_read_and_judged() {
        let slo = Slo::parse("p99<2ms").unwrap();
        assert_eq!(slo.to_string(), "p99<2ms");
        assert_eq!(slo.judge(&response(9_900, 100)), Judgement::Met);
        assert_eq!(slo.judge(&response(9_900, 101)), Judgement::Missed);
    }

    #[test]
    fn an_objective_is_not_judged_on_no_or_too_few_samples() {
        for (text, few) in [("p50<1us", 59), ("p99<1us", 2_999), ("p99<1h", 2_999), ("p99.99<1h", 17), ("p99<1us", 0)] {
            let slo = Slo::parse(text).unwrap();
            assert_eq!(slo.judge(&response(few, 0)), Judgement::NotJudged { samples: few }, "{text}");
        }
        let slo = Slo::parse("p99.99<1h").unwrap();
        let words = slo.tell(slo.judge(&response(17, 0)));
        assert_eq!(words, "p99.99<1h not judged: 17 responses, and p99.99 takes 300000");
    }

    #[test]
    fn what_is_no_objective_is_refused_with_what_would_be_right() {
        for (text, words) in [("p99", "p99<2ms"), ("p98<2ms", "p99.9"), ("p99<2", "no unit"), ("p99<0s", "no time")] {
            assert!(Slo::parse(text).is_err_and(|error| error.contains(words)), "{text}");
        }
    }
}
