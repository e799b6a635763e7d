//! Claims in a few words, for a table of metrics by pairs.

use crate::{
    judge::verdicts::{PairComparison, PairResult},
    stats::{
        comparison::Comparison,
        verdict::{Margin, Verdict},
    },
};

/// Says how the second arm of a pair compares with the first: `14 % lower (11-18)`.
pub(in crate::report) fn brief(pair: &PairComparison) -> String {
    let comparison = match &pair.result {
        PairResult::NotCompared => return "no data".to_owned(),
        PairResult::NotTested(_) => return "not tested".to_owned(),
        PairResult::BoundsDisagree(_) => return "bounds disagree".to_owned(),
        PairResult::Compared(comparison) => comparison,
    };
    let Size { size, least, most, unit } = Size::of(pair, comparison);
    let claim = match comparison.verdict {
        Verdict::Lower => format!("{size}{unit} lower ({least}-{most})"),
        Verdict::Higher => format!("{size}{unit} higher ({least}-{most})"),
        Verdict::LowerSizeUnclear => format!("lower, <={most}{unit}"),
        Verdict::HigherSizeUnclear => format!("higher, <={most}{unit}"),
        Verdict::Equivalent => format!("within {}", margin(pair)),
        Verdict::Inconclusive { smallest_effect, .. } => match pair.metric.margin {
            Margin::Ratio(_) => format!("open, sees {:.0} %", (smallest_effect - 1.0) * 100.0),
            Margin::Difference(_) => format!("open, sees {smallest_effect:.1}{unit}"),
        },
    };
    if pair.lag.is_some() && pair.claim().is_some() { format!("{claim}!") } else { claim }
}

/// What `within` means.
fn margin(pair: &PairComparison) -> String {
    match pair.metric.margin {
        Margin::Ratio(margin) => format!("{:.0} %", margin * 100.0),
        Margin::Difference(margin) => format!("{margin:.0}{}", pair.metric.unit),
    }
}

/// By how much the second arm lies from the first, without its sign: the estimate and both ends of the interval.
struct Size {
    size: String,
    /// 0 if the interval reaches to the other side.
    least: String,
    most: String,
    unit: &'static str,
}

impl Size {
    fn of(pair: &PairComparison, comparison: &Comparison) -> Self {
        let (low, high) = comparison.interval;
        let is_lower = matches!(comparison.verdict, Verdict::Lower | Verdict::LowerSizeUnclear);
        let sign = if is_lower { -1.0 } else { 1.0 };
        let is_ratio = matches!(pair.metric.margin, Margin::Ratio(_));
        let by = |value: f64| sign * if is_ratio { (value - 1.0) * 100.0 } else { value };
        let show = |by: f64| if is_ratio { format!("{:.0}", by.round() + 0.0) } else { format!("{by:.1}") };
        let (least, most) = (by(low).min(by(high)).max(0.0), by(low).max(by(high)));
        let unit = if is_ratio { " %" } else { pair.metric.unit };
        Self { size: show(by(comparison.estimate)), least: show(least), most: show(most), unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::pair;

    #[test]
    fn a_claim_is_told_from_the_side_of_the_second_arm() {
        let said = |estimate, interval, verdict| brief(&pair(0, estimate, interval, verdict));
        assert_eq!(said(0.86, (0.82, 0.89), Verdict::Lower), "14 % lower (11-18)");
        assert_eq!(said(1.82, (1.7, 1.95), Verdict::Higher), "82 % higher (70-95)");
        assert_eq!(said(0.9, (0.8, 1.02), Verdict::LowerSizeUnclear), "lower, <=20 %");
        assert_eq!(said(1.1, (0.98, 1.2), Verdict::HigherSizeUnclear), "higher, <=20 %");
        assert_eq!(said(1.0, (0.98, 1.02), Verdict::Equivalent), "within 3 %");
        let open = Verdict::Inconclusive { smallest_effect: 1.3, blocks_needed: 90 };
        assert_eq!(said(1.1, (0.8, 1.4), open), "open, sees 30 %");
    }

    #[test]
    fn what_is_not_claimed_has_no_figure() {
        let claimed = pair(0, 0.86, (0.82, 0.89), Verdict::Lower);
        let comparison = *claimed.comparison().unwrap();
        let said = |result| brief(&PairComparison { result, ..claimed.clone() });
        assert_eq!(said(PairResult::NotCompared), "no data");
        assert_eq!(said(PairResult::NotTested(comparison)), "not tested");
        assert_eq!(said(PairResult::BoundsDisagree(comparison)), "bounds disagree");
    }
}
