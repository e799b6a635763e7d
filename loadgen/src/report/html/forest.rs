//! Intervals as small drawings within the page: a forest plot that needs no plotting program.

use maud::{Markup, html};

use crate::{
    judge::verdicts::PairComparison,
    stats::{comparison::Comparison, verdict::Margin},
};

/// A scale that all intervals of a kind share, so that they can be compared by eye.
pub(super) struct Scale {
    low: f64,
    high: f64,
    margin: Margin,
}

impl Scale {
    /// Wide enough for the intervals of all pairs with such a margin, and for twice the margin.
    pub(super) fn of<'a>(pairs: impl Iterator<Item = &'a PairComparison>, like: Margin) -> Self {
        let is_like = |pair: &&PairComparison| is_ratio(pair.metric.margin) == is_ratio(like);
        let intervals = pairs.filter(is_like).filter_map(|pair| Some(pair.comparison()?.interval));
        let (below, above) = match like {
            Margin::Ratio(margin) => ((1.0 + margin).powi(-2), (1.0 + margin).powi(2)),
            Margin::Difference(margin) => (-2.0 * margin, 2.0 * margin),
        };
        let (low, high) =
            intervals.fold((below, above), |(low, high), (from, to)| (f64::min(low, from), f64::max(high, to)));
        Self { low, high, margin: like }
    }

    /// The values of the line of equality and of the two ends of the scale.
    pub(super) fn axis(&self) -> Markup {
        let text = |value: f64, anchor: &str| {
            let shown = if is_ratio(self.margin) { format!("{value:.2}") } else { format!("{value:.1}") };
            html! { text x=(place(self.place(value))) y="12" text-anchor=(anchor) { (shown) } }
        };
        let is_middle = (self.place(self.equal()) - WIDTH / 2.0).abs() < WIDTH / 4.0;
        drawing(&html! {
            (text(self.low, "start"))
            @if is_middle { (text(self.equal(), "middle")) }
            (text(self.high, "end"))
        })
    }

    /// An interval with its estimate, over the margin of equivalence.
    pub(super) fn interval(&self, comparison: &Comparison) -> Markup {
        let (from, to) = match self.margin {
            Margin::Ratio(margin) => ((1.0 + margin).recip(), 1.0 + margin),
            Margin::Difference(margin) => (-margin, margin),
        };
        let [from, to, equal] = [from, to, self.equal()].map(|value| self.place(value));
        let [low, high, estimate] =
            [comparison.interval.0, comparison.interval.1, comparison.estimate].map(|value| self.place(value));
        drawing(&html! {
            rect.margin x=(place(from)) width=(place(to - from)) height=(HEIGHT) {}
            path.equal d=(format!("M{equal:.1} 0V{HEIGHT}")) {}
            path.range d=(format!("M{low:.1} {MIDDLE}H{high:.1}")) {}
            circle cx=(place(estimate)) cy=(MIDDLE) r="3.5" {}
        })
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

/// To a tenth of a pixel.
fn place(value: f64) -> String {
    format!("{value:.1}")
}

/// The text beside it has the same content, so screen readers skip it.
fn drawing(content: &Markup) -> Markup {
    html! { svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) aria-hidden="true" { (content) } }
}

const WIDTH: f64 = 200.0;
const HEIGHT: f64 = 16.0;
const MIDDLE: f64 = 8.0;
const EDGE: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::{primary::MARGIN, verdicts::PairResult},
        report::fixture::pair,
        stats::verdict::Verdict,
    };

    fn measured(metric: usize, estimate: f64, interval: (f64, f64)) -> PairComparison {
        pair(metric, estimate, interval, Verdict::Equivalent)
    }

    #[test]
    fn a_scale_holds_every_interval_of_its_kind() {
        let mut pairs =
            [measured(0, 0.7, (0.5, 0.9)), measured(2, 1.1, (1.0, 1.6)), measured(3, -13.0, (-14.0, -12.0))];
        pairs[2].metric.margin = Margin::Difference(1.0);
        let ratios = Scale::of(pairs.iter(), Margin::Ratio(MARGIN));
        assert_eq!((ratios.low, ratios.high), (0.5, 1.6));
        let differences = Scale::of(pairs.iter(), Margin::Difference(1.0));
        assert_eq!((differences.low, differences.high), (-14.0, 2.0));
        assert_eq!(ratios.place(0.5), EDGE);
        assert_eq!(ratios.place(1.6), WIDTH - EDGE);
    }

    #[test]
    fn twice_and_half_are_equally_far_from_equal() {
        let wide = measured(0, 1.0, (0.5, 2.0));
        let scale = Scale::of([wide.clone()].iter(), Margin::Ratio(MARGIN));
        assert!((scale.place(1.0) - WIDTH / 2.0).abs() < 1e-9);
        assert!(scale.interval(wide.comparison().unwrap()).into_string().contains("M5.0 8H195.0"));
    }

    #[test]
    fn without_a_comparison_there_is_still_a_scale() {
        let none = PairComparison { result: PairResult::NotCompared, ..measured(0, 1.0, (1.0, 1.0)) };
        let scale = Scale::of([none].iter(), Margin::Ratio(MARGIN));
        assert!(scale.low < 1.0 && scale.high > 1.0 && !scale.axis().into_string().contains("NaN"));
    }
}
