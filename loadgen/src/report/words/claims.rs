//! Claims as sentences. Never a ranking: each names two arms, which of them is better (lower, or higher of a rate), by how
//! much, and the confidence interval.

use super::head::partial;
use crate::{
    judge::{
        primary::Better,
        verdicts::{PairComparison, PairResult, WithheldReason},
    },
    stats::{
        comparison::Comparison,
        verdict::{Margin, Verdict},
    },
    text::{Text, Tone},
};

/// Why a session makes no claim.
pub(in crate::report) fn withheld(reason: WithheldReason) -> Text {
    match reason {
        WithheldReason::Partial => Text::from("the session is ")
            .with(partial())
            .with(", and judging fewer blocks than planned would be optional stopping"),
        WithheldReason::NoControl => "there is no control: too few valid blocks, or no server that runs twice".into(),
        WithheldReason::Untrusted => Text::from("the session is ")
            .with(Text::toned("UNTRUSTED", Tone::Bad))
            .with(": a server differs from itself"),
        WithheldReason::Exploratory => "the cells of the primary claims were not chosen (--cells)".into(),
    }
}

/// The claim about one metric of two arms.
pub(in crate::report) fn sentence(pair: &PairComparison) -> String {
    let (first, second) = (pair.first.as_str(), pair.second.as_str());
    let comparison = match &pair.result {
        PairResult::NotCompared => return format!("{second}, {first}: no claim, not measured or too few valid blocks"),
        PairResult::NotTested(_) => {
            return format!("{second}, {first}: not tested, as a lower quantile is not decided");
        }
        PairResult::BoundsDisagree(_) => {
            return format!("{second}, {first} inconclusive: response and service disagree");
        }
        PairResult::Compared(comparison) => comparison,
    };
    let Amounts { second_is_better, word, size, least, most, unit, includes_opposite } = Amounts::of(pair, comparison);
    // The better one is the subject, whichever of the two that is.
    let (one, other) = if second_is_better { (second, first) } else { (first, second) };
    let range = format!("{least} to {most}{unit}");
    let margin = match pair.metric.margin {
        Margin::Ratio(margin) => format!("{:.0} %", margin * 100.0),
        Margin::Difference(margin) => format!("{margin:.0}{}", pair.metric.unit),
    };
    let claim = match comparison.verdict {
        Verdict::Lower | Verdict::Higher => format!("{one} {size}{unit} {word} than {other} ({range})"),
        Verdict::LowerSizeUnclear | Verdict::HigherSizeUnclear => {
            // The test knows the direction; the interval may include equality all the same.
            let range = if includes_opposite { format!("up to {most}{unit}") } else { range };
            format!("{one} {word} than {other}, size unclear ({range})")
        }
        Verdict::Equivalent => format!("{second} and {first} equivalent within {margin} ({range})"),
        Verdict::Inconclusive { smallest_effect, blocks_needed } => {
            let detectable = match (pair.metric.margin, pair.metric.better) {
                // As all claims: how much lower the lower one would have to be, or how much higher the higher one.
                (Margin::Ratio(_), Better::Lower) => format!("{:.0} %", (1.0 - 1.0 / smallest_effect) * 100.0),
                (Margin::Ratio(_), Better::Higher) => format!("{:.0} %", (smallest_effect - 1.0) * 100.0),
                (Margin::Difference(_), _) => format!("{smallest_effect:.1}{}", pair.metric.unit),
            };
            let more = match blocks_needed.saturating_sub(comparison.blocks) {
                more if more > BLOCKS_MAX => format!(">{BLOCKS_MAX} more blocks"),
                more => format!("{more} more blocks"),
            };
            format!("{second}, {first} inconclusive (80 % power to detect {detectable}; {more})")
        }
    };
    match pair.lag {
        Some(lag) if pair.claim().is_some() => format!("{claim}; send lags differ by {:.0} ns", lag.ns.abs()),
        _ => claim,
    }
}

/// By how much the better arm is lower, or higher where that is better: the estimate and both ends of its interval.
pub(in crate::report) struct Amounts {
    /// Whether that is the second arm; without a direction, either may be meant.
    pub(in crate::report) second_is_better: bool,
    /// Lower or higher.
    pub(in crate::report) word: &'static str,
    pub(in crate::report) size: String,
    pub(in crate::report) least: String,
    pub(in crate::report) most: String,
    /// With a space in front, if it takes one.
    pub(in crate::report) unit: &'static str,
    /// Whether the interval extends to the better arm being worse.
    includes_opposite: bool,
}

impl Amounts {
    pub(in crate::report) fn of(pair: &PairComparison, comparison: &Comparison) -> Self {
        let (low, high) = comparison.interval;
        let values = [comparison.estimate, low, high];
        let second_is_lower = matches!(comparison.verdict, Verdict::Lower | Verdict::LowerSizeUnclear);
        let (second_is_better, word) = match pair.metric.better {
            Better::Lower => (second_is_lower, "lower"),
            Better::Higher => (!second_is_lower, "higher"),
        };
        let by: [f64; 3] = match (pair.metric.margin, pair.metric.better) {
            (Margin::Ratio(_), better) => values.map(|ratio| {
                let ratio = if second_is_better { ratio } else { 1.0 / ratio };
                100.0 * if better == Better::Lower { 1.0 - ratio } else { ratio - 1.0 }
            }),
            (Margin::Difference(_), better) => {
                let sign = if second_is_better == (better == Better::Lower) { -1.0 } else { 1.0 };
                values.map(|value| sign * value)
            }
        };
        let (show, unit): (fn(f64) -> String, &str) = match pair.metric.margin {
            // 0 without a sign.
            Margin::Ratio(_) => (|percent| format!("{:.0}", percent.round() + 0.0), " %"),
            Margin::Difference(_) => (|difference| format!("{difference:.1}"), pair.metric.unit),
        };
        let [size, one, other] = by;
        let (least, most) = (one.min(other), one.max(other));
        let [size, shown_least, shown_most] = [size, least, most].map(show);
        let includes_opposite = least < 0.0;
        Self { second_is_better, word, size, least: shown_least, most: shown_most, unit, includes_opposite }
    }
}

/// Sessions of more blocks are impractical: host drift would dominate.
const BLOCKS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{lag::LagDifference, primary::PRIMARY};

    fn of_a_difference(mut pair: PairComparison) -> PairComparison {
        (pair.metric.margin, pair.metric.unit) = (Margin::Difference(1.0), "/s");
        pair
    }

    fn pair(metric: usize, estimate: f64, interval: (f64, f64), verdict: Verdict) -> PairComparison {
        let comparison =
            Comparison { estimate, interval, level: 0.95, blocks: 40, p_value: 0.0, p_adjusted: 0.0, verdict };
        let (first, second) = ("tokio".to_owned(), "mio".to_owned());
        let result = PairResult::Compared(comparison);
        PairComparison { metric: PRIMARY[metric], first, second, result, lag: None }
    }

    #[test]
    fn a_verdict_names_the_better_one_and_by_how_much() {
        let lower = pair(3, 0.82, (0.8, 0.84), Verdict::Lower);
        assert_eq!(sentence(&lower), "mio 18 % lower than tokio (16 to 20 %)");
        let higher = pair(3, 1.25, (1.2, 1.3), Verdict::Higher);
        assert_eq!(sentence(&higher), "tokio 20 % lower than mio (17 to 23 %)");
        let wakeups = of_a_difference(pair(3, -13.3, (-13.4, -13.2), Verdict::Lower));
        assert_eq!(sentence(&wakeups), "mio 13.3/s lower than tokio (13.2 to 13.4/s)");
        let wakeups = of_a_difference(pair(3, 13.3, (13.2, 13.4), Verdict::Higher));
        assert_eq!(sentence(&wakeups), "tokio 13.3/s lower than mio (13.2 to 13.4/s)");
    }

    #[test]
    fn of_a_rate_the_higher_one_is_named() {
        let drain = |estimate, interval, verdict| {
            let pair = pair(5, estimate, interval, verdict);
            assert_eq!((pair.metric.name, pair.metric.better), ("drain rate", Better::Higher));
            sentence(&pair)
        };
        assert_eq!(drain(1.82, (1.7, 1.95), Verdict::Higher), "mio 82 % higher than tokio (70 to 95 %)");
        assert_eq!(drain(0.5, (0.4, 0.625), Verdict::Lower), "tokio 100 % higher than mio (60 to 150 %)");
        let unclear = drain(1.1, (0.98, 1.2), Verdict::HigherSizeUnclear);
        assert_eq!(unclear, "mio higher than tokio, size unclear (up to 20 %)");
        let unclear = drain(0.9, (0.8, 0.99), Verdict::LowerSizeUnclear);
        assert_eq!(unclear, "tokio higher than mio, size unclear (1 to 25 %)");
        let equivalent = drain(1.0, (0.98, 1.02), Verdict::Equivalent);
        assert_eq!(equivalent, "mio and tokio equivalent within 3 % (-2 to 2 %)");
        let inconclusive = Verdict::Inconclusive { smallest_effect: 1.25, blocks_needed: 50 };
        let inconclusive = drain(1.0, (0.9, 1.1), inconclusive);
        assert_eq!(inconclusive, "mio, tokio inconclusive (80 % power to detect 25 %; 10 more blocks)");
    }

    #[test]
    fn a_claim_about_arms_that_were_not_sent_to_alike_says_so() {
        let lag = Some(LagDifference { ns: -431.4, limit_ns: 300.0 });
        let flagged = PairComparison { lag, ..pair(0, 0.82, (0.8, 0.84), Verdict::Lower) };
        assert_eq!(sentence(&flagged), "mio 18 % lower than tokio (16 to 20 %); send lags differ by 431 ns");
        let inconclusive = Verdict::Inconclusive { smallest_effect: 1.06, blocks_needed: 120 };
        let flagged = PairComparison { lag, ..pair(0, 1.0, (0.9, 1.1), inconclusive) };
        assert!(!sentence(&flagged).contains("lag"), "there is no claim");
    }

    #[test]
    fn a_direction_that_is_known_comes_with_no_range_to_the_other_side() {
        let unclear = pair(1, 0.8, (0.6, 1.05), Verdict::LowerSizeUnclear);
        assert_eq!(sentence(&unclear), "mio lower than tokio, size unclear (up to 40 %)");
    }

    #[test]
    fn what_is_inconclusive_comes_with_its_power() {
        let inconclusive = Verdict::Inconclusive { smallest_effect: 1.06, blocks_needed: 120 };
        let text = sentence(&pair(1, 1.01, (0.95, 1.07), inconclusive));
        assert_eq!(text, "mio, tokio inconclusive (80 % power to detect 6 %; 80 more blocks)");
        let hopeless = Verdict::Inconclusive { smallest_effect: 1.06, blocks_needed: 20_000 };
        let text = sentence(&pair(1, 1.01, (0.95, 1.07), hopeless));
        assert_eq!(text, "mio, tokio inconclusive (80 % power to detect 6 %; >1000 more blocks)");
        let lower = pair(1, 0.8, (0.7, 0.9), Verdict::Lower);
        let not_tested = PairResult::NotTested(*lower.comparison().unwrap());
        let not_tested = PairComparison { result: not_tested, ..lower.clone() };
        assert_eq!(sentence(&not_tested), "mio, tokio: not tested, as a lower quantile is not decided");
        let none = PairComparison { result: PairResult::NotCompared, ..lower.clone() };
        assert_eq!(sentence(&none), "mio, tokio: no claim, not measured or too few valid blocks");
        let differ = PairComparison { result: PairResult::BoundsDisagree(*lower.comparison().unwrap()), ..lower };
        assert_eq!(sentence(&differ), "mio, tokio inconclusive: response and service disagree");
    }
}
