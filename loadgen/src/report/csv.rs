//! verdicts.csv: a line per comparison; shift.csv: a line per quantile of each pair; break_even.csv: a line per amount of
//! work of each pair.

use anyhow::Result;

use super::{
    model::Report,
    words::claims::{sentence, withheld},
};
use crate::{
    judge::verdicts::{Direction, PairComparison, PairResult},
    stats::verdict::Verdict,
};

const COLUMNS: [&str; 14] = [
    "family",
    "metric",
    "first",
    "second",
    "estimate",
    "low",
    "high",
    "level",
    "blocks",
    "p_value",
    "p_adjusted",
    "verdict",
    "claim",
    "flag",
];

/// The whole file.
///
/// # Errors
/// If a line cannot be written.
pub(super) fn verdicts(report: &Report) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMNS)?;
    let primary = report.claims.iter().flat_map(|group| &group.pairs).map(|pair| ("primary", pair));
    let control = report.claims.iter().flat_map(|group| &group.control).map(|pair| ("control", pair));
    for (family, pair) in primary.chain(control) {
        let (verdict, claim) = match report.withheld {
            Some(reason) => ("withheld", withheld(reason).without_tones()),
            None => (kind(pair), sentence(pair)),
        };
        let names = [family, pair.metric.name, &pair.first, &pair.second].map(str::to_owned);
        csv.write_record(names.into_iter().chain(numbers(pair)).chain([verdict.to_owned(), claim, flag(pair)]))?;
    }
    Ok(csv.into_inner()?)
}

/// The ratios of the quantiles of every pair, with their band.
///
/// # Errors
/// If a line cannot be written.
pub(super) fn shifts(report: &Report) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["first", "second", "quantile", "estimate", "low", "high"])?;
    for shift in &report.shifts {
        for point in &shift.points {
            let (low, high) = point.band;
            let numbers = [point.quantile, point.ratio, low, high].map(|number| number.to_string());
            csv.write_record([&shift.first, &shift.second].into_iter().chain(&numbers))?;
        }
    }
    Ok(csv.into_inner()?)
}

/// The ratios of CPU time per message of every pair for each amount of work, with their intervals.
///
/// # Errors
/// If a line cannot be written.
pub(super) fn break_evens(report: &Report) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["first", "second", "work_us", "estimate", "low", "high", "finding"])?;
    for pair in &report.break_evens {
        for point in &pair.points {
            let (low, high) = point.interval;
            let numbers = [point.work.as_nanos() as f64 / 1e3, point.ratio, low, high].map(|number| number.to_string());
            let finding = match point.direction {
                Direction::Lower => "lower",
                Direction::Higher => "higher",
                Direction::Equivalent => "equivalent",
                Direction::Inconclusive => "inconclusive",
            };
            let texts = [&pair.first, &pair.second].into_iter().chain(&numbers).map(String::as_str);
            csv.write_record(texts.chain([finding]))?;
        }
    }
    Ok(csv.into_inner()?)
}

/// The verdict in a word, for scripts.
pub(super) fn kind(pair: &PairComparison) -> &'static str {
    match &pair.result {
        PairResult::NotCompared => "not_compared",
        PairResult::NotTested(_) => "not_tested",
        PairResult::BoundsDisagree(_) => "bounds_disagree",
        PairResult::Compared(comparison) => match comparison.verdict {
            Verdict::Lower => "lower",
            Verdict::Higher => "higher",
            Verdict::LowerSizeUnclear => "lower_size_unclear",
            Verdict::HigherSizeUnclear => "higher_size_unclear",
            Verdict::Equivalent => "equivalent",
            Verdict::Inconclusive { .. } => "inconclusive",
        },
    }
}

/// A reservation about what is claimed; empty if there is none.
fn flag(pair: &PairComparison) -> String {
    pair.lag.map_or_else(String::new, |_| "send_lag".to_owned())
}

/// From the estimate to the adjusted p value; empty if there is no comparison.
fn numbers(pair: &PairComparison) -> [String; 7] {
    let numbers = pair.comparison().map(|it| {
        let (low, high) = it.interval;
        [it.estimate, low, high, it.level, it.blocks as f64, it.p_value, it.p_adjusted].map(|number| number.to_string())
    });
    numbers.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::{
        judge::{
            break_even::{BreakEven, WorkPoint},
            lag::LagDifference,
        },
        report::fixture,
    };

    #[test]
    fn every_result_has_a_word_and_what_is_not_claimed_keeps_its_numbers() {
        let pair = fixture::pair(1, 0.8, (0.7, 0.9), Verdict::Lower);
        let comparison = *pair.comparison().unwrap();
        let of = |result| PairComparison { result, ..pair.clone() };
        let words = [
            PairResult::NotCompared,
            PairResult::NotTested(comparison),
            PairResult::BoundsDisagree(comparison),
            PairResult::Compared(comparison),
        ]
        .map(|result| (kind(&of(result)), numbers(&of(result))[0].clone()));
        let words = words.each_ref().map(|(word, estimate)| (*word, estimate.as_str()));
        assert_eq!(words, [("not_compared", ""), ("not_tested", "0.8"), ("bounds_disagree", "0.8"), ("lower", "0.8")]);
    }

    #[test]
    fn a_break_even_has_a_line_per_amount_of_work() {
        let point = |us, ratio, direction| WorkPoint {
            work: Duration::from_micros(us),
            ratio,
            interval: (ratio - 0.125, ratio + 0.125),
            direction,
        };
        let points = vec![point(0, 0.875, Direction::Lower), point(50, 1.0, Direction::Equivalent)];
        let pair = BreakEven { first: "tokio".to_owned(), second: "mio".to_owned(), points };
        let report = Report { break_evens: vec![pair], ..fixture::report("mio") };
        let text = String::from_utf8(break_evens(&report).unwrap()).unwrap();
        let expected = "tokio,mio,0,0.875,0.75,1,lower\ntokio,mio,50,1,0.875,1.125,equivalent\n";
        assert_eq!(text.split_once('\n').unwrap().1, expected);
    }

    #[test]
    fn a_claim_about_arms_that_were_not_sent_to_alike_is_flagged() {
        let pair = fixture::pair(1, 0.8, (0.7, 0.9), Verdict::Lower);
        assert_eq!(flag(&pair), "");
        let lag = Some(LagDifference { ns: 400.0, limit_ns: 300.0 });
        assert_eq!(flag(&PairComparison { lag, ..pair }), "send_lag");
    }
}
