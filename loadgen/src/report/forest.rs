//! Intervals as small drawings within the page: a forest plot that needs no plotting program.

use crate::{
    judge::verdicts::Finding,
    stats::{comparison::Comparison, verdict::Margin},
};

/// A scale that all intervals of a kind share, so that they can be compared by eye.
pub(super) struct Scale {
    low: f64,
    high: f64,
    margin: Margin,
}

impl Scale {
    /// Wide enough for the intervals of all findings that are compared as `like` is, and for twice its margin.
    pub(super) fn of<'a>(findings: impl Iterator<Item = &'a Finding>, like: Margin) -> Self {
        let is_like = |finding: &&Finding| is_ratio(finding.metric.margin) == is_ratio(like);
        let intervals = findings.filter(is_like).filter_map(|finding| Some(finding.comparison?.interval));
        let (below, above) = match like {
            Margin::Ratio(margin) => ((1.0 + margin).powi(-2), (1.0 + margin).powi(2)),
            Margin::Difference(margin) => (-2.0 * margin, 2.0 * margin),
        };
        let (low, high) =
            intervals.fold((below, above), |(low, high), (from, to)| (f64::min(low, from), f64::max(high, to)));
        Self { low, high, margin: like }
    }

    /// What the line of equality and the two ends of the scale are worth.
    pub(super) fn axis(&self) -> String {
        let text = |value: f64, anchor: &str| {
            let shown = if is_ratio(self.margin) { format!("{value:.2}") } else { format!("{value:.1}") };
            let x = self.place(value);
            format!("<text x=\"{x:.1}\" y=\"12\" text-anchor=\"{anchor}\">{shown}</text>")
        };
        let middle = (self.place(self.equal()) - WIDTH / 2.0).abs() < WIDTH / 4.0;
        let equal = if middle { text(self.equal(), "middle") } else { String::new() };
        drawing(&format!("{}{equal}{}", text(self.low, "start"), text(self.high, "end")))
    }

    /// An interval with its estimate, over the margin in which arms count as equal.
    pub(super) fn interval(&self, comparison: &Comparison) -> String {
        let (from, to) = match self.margin {
            Margin::Ratio(margin) => ((1.0 + margin).recip(), 1.0 + margin),
            Margin::Difference(margin) => (-margin, margin),
        };
        let [from, to, equal] = [from, to, self.equal()].map(|value| self.place(value));
        let [low, high, estimate] =
            [comparison.interval.0, comparison.interval.1, comparison.estimate].map(|value| self.place(value));
        drawing(&format!(
            "<rect class=\"margin\" x=\"{from:.1}\" width=\"{:.1}\" height=\"{HEIGHT}\"/>\
             <path class=\"equal\" d=\"M{equal:.1} 0V{HEIGHT}\"/>\
             <path class=\"range\" d=\"M{low:.1} {MIDDLE}H{high:.1}\"/>\
             <circle cx=\"{estimate:.1}\" cy=\"{MIDDLE}\" r=\"3.5\"/>",
            to - from
        ))
    }

    fn equal(&self) -> f64 {
        if is_ratio(self.margin) { 1.0 } else { 0.0 }
    }

    /// Where a value lies, from one edge to the other; ratios by their logarithms.
    fn place(&self, value: f64) -> f64 {
        let by = |value: f64| if is_ratio(self.margin) { value.ln() } else { value };
        let share = (by(value) - by(self.low)) / (by(self.high) - by(self.low));
        EDGE + share * (WIDTH - 2.0 * EDGE)
    }
}

fn is_ratio(margin: Margin) -> bool {
    matches!(margin, Margin::Ratio(_))
}

/// The text beside it says all of it, so it is silent for those who are read to.
fn drawing(content: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-hidden=\"true\">{content}</svg>")
}

const WIDTH: f64 = 200.0;
const HEIGHT: f64 = 16.0;
const MIDDLE: f64 = 8.0;
const EDGE: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::verdicts::{MARGIN, PRIMARY},
        stats::verdict::Verdict,
    };

    fn comparison(estimate: f64, interval: (f64, f64)) -> Comparison {
        let verdict = Verdict::Equivalent;
        Comparison { estimate, interval, level: 0.95, blocks: 40, p_value: 1.0, p_adjusted: 1.0, verdict }
    }

    fn finding(metric: usize, estimate: f64, interval: (f64, f64)) -> Finding {
        let (first, second) = ("tokio".to_owned(), "mio".to_owned());
        let comparison = Some(comparison(estimate, interval));
        Finding { metric: PRIMARY[metric], first, second, comparison, ends_differ: false }
    }

    #[test]
    fn a_scale_holds_every_interval_of_its_kind() {
        let findings = [finding(0, 0.7, (0.5, 0.9)), finding(2, 1.1, (1.0, 1.6)), finding(3, -13.0, (-14.0, -12.0))];
        let ratios = Scale::of(findings.iter(), Margin::Ratio(MARGIN));
        assert_eq!((ratios.low, ratios.high), (0.5, 1.6));
        let differences = Scale::of(findings.iter(), Margin::Difference(1.0));
        assert_eq!((differences.low, differences.high), (-14.0, 2.0));
        assert_eq!(ratios.place(0.5), EDGE);
        assert_eq!(ratios.place(1.6), WIDTH - EDGE);
    }

    #[test]
    fn twice_and_half_are_equally_far_from_equal() {
        let scale = Scale::of([finding(0, 1.0, (0.5, 2.0))].iter(), Margin::Ratio(MARGIN));
        assert!((scale.place(1.0) - WIDTH / 2.0).abs() < 1e-9);
        assert!(scale.interval(&comparison(1.0, (0.5, 2.0))).contains("M5.0 8H195.0"));
    }

    #[test]
    fn without_a_comparison_there_is_still_a_scale() {
        let none = Finding { comparison: None, ..finding(0, 1.0, (1.0, 1.0)) };
        let scale = Scale::of([none].iter(), Margin::Ratio(MARGIN));
        assert!(scale.low < 1.0 && scale.high > 1.0 && !scale.axis().contains("NaN"));
    }
}
