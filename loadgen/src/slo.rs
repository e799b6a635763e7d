//! Service level objectives such as `p99<2ms`.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::units::{duration, show_duration};

/// A quantile of the response that must stay below a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slo {
    /// The quantile's name: `p99`.
    name: &'static str,
    quantile: f64,
    below: Duration,
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

    /// Whether these response times keep it.
    pub fn is_met(&self, response: &Histogram<u64>) -> bool {
        response.value_at_quantile(self.quantile) < self.below.as_nanos() as u64
    }
}

impl std::fmt::Display for Slo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}<{}", self.name, show_duration(self.below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_read_and_judged() {
        let slo = Slo::parse("p99<2ms").unwrap();
        assert_eq!(slo.to_string(), "p99<2ms");
        let mut response = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        response.record_n(1_000_000, 99).unwrap();
        response.record(5_000_000).unwrap();
        assert!(slo.is_met(&response));
        response.record(5_000_000).unwrap();
        assert!(!slo.is_met(&response));
    }

    #[test]
    fn what_is_no_objective_is_refused_with_what_would_be_right() {
        for (text, words) in [("p99", "p99<2ms"), ("p98<2ms", "p99.9"), ("p99<2", "no unit"), ("p99<0s", "no time")] {
            assert!(Slo::parse(text).is_err_and(|error| error.contains(words)), "{text}");
        }
    }
}
