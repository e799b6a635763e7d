//! Claims as sentences. Never a ranking: each names two arms, which of them is lower, by how much, and the confidence
//! interval.

use super::head::partial;
use crate::{
    judge::verdicts::{PairComparison, PairResult, WithheldReason},
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
    }
}

/// The claim about one metric of two arms.
pub(in crate::report) fn sentence(pair: &PairComparison) -> String {
    let (first, second) = (pair.first.as_str(), pair.second.as_str());
    let comparison = match &pair.result {
        PairResult::NotCompared => return format!("{second}, {first}: no claim, too few blocks or valid trials"),
        PairResult::BoundsDisagree(_) => {
            return format!("{second}, {first} inconclusive: response and service disagree");
        }
        PairResult::Compared(comparison) => comparison,
    };
    // The lower one is the subject, whichever of the two that is.
    let second_is_lower = matches!(comparison.verdict, Verdict::Lower | Verdict::LowerSizeUnclear);
    let (one, other) = if second_is_lower { (second, first) } else { (first, second) };
    let Amounts { size, least, most, unit, includes_higher } = Amounts::of(pair, comparison, second_is_lower);
    let range = format!("{least} to {most}{unit}");
    let margin = match pair.metric.margin {
        Margin::Ratio(margin) => format!("{:.0} %", margin * 100.0),
        Margin::Difference(margin) => format!("{margin:.0}{}", pair.metric.unit),
    };
    match comparison.verdict {
        Verdict::Lower | Verdict::Higher => format!("{one} {size}{unit} lower than {other} ({range})"),
        Verdict::LowerSizeUnclear | Verdict::HigherSizeUnclear => {
            // Holm's test knows the direction; the interval may include equality all the same.
            let range = if includes_higher { format!("up to {most}{unit}") } else { range };
            format!("{one} lower than {other}, size unclear ({range})")
        }
        Verdict::Equivalent => format!("{second} and {first} equivalent within {margin} ({range})"),
        Verdict::Inconclusive { smallest_effect, blocks_needed } => {
            let detectable = match pair.metric.margin {
                // As all claims: how much lower the lower one would have to be.
                Margin::Ratio(_) => format!("{:.0} %", (1.0 - 1.0 / smallest_effect) * 100.0),
                Margin::Difference(_) => format!("{smallest_effect:.1}{}", pair.metric.unit),
            };
            let more = match blocks_needed.saturating_sub(comparison.blocks) {
                more if more > BLOCKS_MAX => format!(">{BLOCKS_MAX} more blocks"),
                more => format!("{more} more blocks"),
            };
            format!("{second}, {first} inconclusive (80 % power to detect {detectable}; {more})")
        }
    }
}

/// By how much the lower arm is lower: the estimate and both ends of its interval.
pub(in crate::report) struct Amounts {
    pub(in crate::report) size: String,
    pub(in crate::report) least: String,
    pub(in crate::report) most: String,
    /// With a space in front, if it takes one.
    pub(in crate::report) unit: &'static str,
    /// Whether the interval extends to the lower arm being higher.
    includes_higher: bool,
}

impl Amounts {
    pub(in crate::report) fn of(pair: &PairComparison, comparison: &Comparison, second_is_lower: bool) -> Self {
        let (low, high) = comparison.interval;
        let values = [comparison.estimate, low, high];
        let (lower_by, show, unit): ([f64; 3], fn(f64) -> String, &str) = match pair.metric.margin {
            Margin::Ratio(_) => {
                let percent = |ratio: f64| (1.0 - if second_is_lower { ratio } else { 1.0 / ratio }) * 100.0;
                // 0 without a sign.
                (values.map(percent), |percent| format!("{:.0}", percent.round() + 0.0), " %")
            }
            Margin::Difference(_) => {
                let sign = if second_is_lower { -1.0 } else { 1.0 };
                (values.map(|value| sign * value), |difference| format!("{difference:.1}"), pair.metric.unit)
            }
        };
        let [size, one, other] = lower_by;
        let (least, most) = (one.min(other), one.max(other));
        Self { size: show(size), least: show(least), most: show(most), unit, includes_higher: least < 0.0 }
    }
}

/// Sessions of more blocks are impractical: host drift would dominate.
const BLOCKS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::primary::PRIMARY;

    fn pair(metric: usize, estimate: f64, interval: (f64, f64), verdict: Verdict) -> PairComparison {
        let comparison =
            Comparison { estimate, interval, level: 0.95, blocks: 40, p_value: 0.0, p_adjusted: 0.0, verdict };
        let (first, second) = ("tokio".to_owned(), "mio".to_owned());
        PairComparison { metric: PRIMARY[metric], first, second, result: PairResult::Compared(comparison) }
    }

    #[test]
    fn a_verdict_names_the_lower_one_and_by_how_much() {
        let lower = pair(2, 0.82, (0.8, 0.84), Verdict::Lower);
        assert_eq!(sentence(&lower), "mio 18 % lower than tokio (16 to 20 %)");
        let higher = pair(2, 1.25, (1.2, 1.3), Verdict::Higher);
        assert_eq!(sentence(&higher), "tokio 20 % lower than mio (17 to 23 %)");
        let wakeups = pair(3, -13.3, (-13.4, -13.2), Verdict::Lower);
        assert_eq!(sentence(&wakeups), "mio 13.3/s lower than tokio (13.2 to 13.4/s)");
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
        let none = PairComparison { result: PairResult::NotCompared, ..lower.clone() };
        assert_eq!(sentence(&none), "mio, tokio: no claim, too few blocks or valid trials");
        let differ = PairComparison { result: PairResult::BoundsDisagree(*lower.comparison().unwrap()), ..lower };
        assert_eq!(sentence(&differ), "mio, tokio inconclusive: response and service disagree");
    }
}
