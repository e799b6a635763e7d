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

/// Whether response times meet an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SloResult {
    /// The quantile is below the limit.
    Met,
    /// It is not below the limit.
    Missed,
    /// There are too few response times: the quantile would be one of the slowest, not an estimate.
    NotJudged {
        /// Number of response times.
        samples: u64,
    },
}

impl SloResult {
    /// The name in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotJudged { .. } => "not_judged",
        }
    }
}

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

impl Slo {
    /// Parses `p99<2ms`.
    ///
    /// # Errors
    /// One line with the accepted form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = || QUANTILES.map(|(name, _)| name).join(", ");
        let (name, limit) = text.split_once('<').ok_or("write for example p99<2ms")?;
        let found = QUANTILES.into_iter().find(|(known, _)| *known == name.trim());
        let (name, quantile) = found.ok_or_else(|| format!("{name:?} is no quantile; there are {}", known()))?;
        let below = duration(limit.trim())?;
        if below.is_zero() {
            Err("the limit must be greater than 0".to_owned())
        } else {
            Ok(Self { name, quantile, below })
        }
    }

    /// Whether these response times meet it.
    pub(crate) fn judge(&self, response: &Histogram<u64>) -> SloResult {
        match response.len() {
            samples if !is_told(samples, self.quantile) => SloResult::NotJudged { samples },
            _ if response.value_at_quantile(self.quantile) < self.below.as_nanos() as u64 => SloResult::Met,
            _ => SloResult::Missed,
        }
    }

    /// A result in words.
    pub(crate) fn describe(&self, judgement: SloResult) -> String {
        match judgement {
            SloResult::Met => format!("{self} met"),
            SloResult::Missed => format!("{self} missed"),
            SloResult::NotJudged { samples } => format!("{self} not judged: {}", self.shortfall(samples)),
        }
    }

    /// How many response times it needs, if there are only so many.
    pub(crate) fn shortfall(&self, samples: u64) -> String {
        format!("{samples} responses; {} needs {}", self.name, samples_needed(self.quantile))
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
        assert_eq!(slo.judge(&response(9_900, 100)), SloResult::Met);
        assert_eq!(slo.judge(&response(9_900, 101)), SloResult::Missed);
    }

    #[test]
    fn a_response_that_takes_as_long_as_the_limit_misses_it() {
        let mut response = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        response.record_n(1_000, 100).unwrap();
        assert_eq!(Slo::parse("p50<1us").unwrap().judge(&response), SloResult::Missed);
        assert_eq!(Slo::parse("p50<1001ns").unwrap().judge(&response), SloResult::Met);
    }

    #[test]
    fn a_result_has_a_name_in_records_and_a_description_in_reports() {
        let slo = Slo::parse("p99<2ms").unwrap();
        let results = [SloResult::Met, SloResult::Missed, SloResult::NotJudged { samples: 9 }]
            .map(|result| (result.name(), slo.describe(result)));
        let results: Vec<(&str, &str)> = results.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let not_judged = "p99<2ms not judged: 9 responses; p99 needs 3000";
        assert_eq!(results, [("met", "p99<2ms met"), ("missed", "p99<2ms missed"), ("not_judged", not_judged)]);
    }

    #[test]
    fn an_objective_is_not_judged_on_no_or_too_few_samples() {
        for (text, few) in [("p50<1us", 59), ("p99<1us", 2_999), ("p99<1h", 2_999), ("p99.99<1h", 17), ("p99<1us", 0)] {
            let slo = Slo::parse(text).unwrap();
            assert_eq!(slo.judge(&response(few, 0)), SloResult::NotJudged { samples: few }, "{text}");
        }
        let slo = Slo::parse("p99.99<1h").unwrap();
        let words = slo.describe(slo.judge(&response(17, 0)));
        assert_eq!(words, "p99.99<1h not judged: 17 responses; p99.99 needs 300000");
    }

    #[test]
    fn what_is_no_objective_is_refused_with_what_would_be_right() {
        for (text, words) in
            [("p99", "p99<2ms"), ("p98<2ms", "p99.9"), ("p99<2", "no unit"), ("p99<0s", "greater than 0")]
        {
            assert!(Slo::parse(text).is_err_and(|error| error.contains(words)), "{text}");
        }
    }
}
