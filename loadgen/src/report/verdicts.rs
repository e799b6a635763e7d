//! Verdicts as sentences. Never a ranking: each names two arms, which of them is lower, by how much and how sure.

use crate::{
    judge::verdicts::{ALPHA, Finding, Judgement},
    stats::{
        comparison::Comparison,
        verdict::{Margin, Verdict},
    },
};

/// The verdicts of a session, a line each, behind the control's.
pub(super) fn verdicts(judgement: &Judgement, complete: bool) -> String {
    let mut text = format!("verdicts on {}; lower is better\n{}\n", blocks(judgement), control(judgement));
    if let Some(reason) = judgement.silence(complete) {
        text.push_str(&wrapped(&format!("nothing is claimed: {reason}")));
        text.push_str(&sentences(judgement.control.iter().filter(differs)));
        return text;
    }
    if judgement.findings.is_empty() {
        return text;
    }
    text.push_str(&sentences(judgement.findings.iter()));
    text.push_str(&format!(
        "The intervals hold together with {:.0} % (Bonferroni over {}); which of two is\n\
         lower is Holm's test, which is sharper. Could find: the smallest difference\n\
         that four sessions of five would have found.\n",
        (1.0 - ALPHA) * 100.0,
        judgement.findings.len()
    ));
    text
}

/// How many blocks there are to judge by, of each load.
fn blocks(judgement: &Judgement) -> String {
    let cell = |(name, used, left_out): &(String, usize, usize)| {
        let name = if name.is_empty() { String::new() } else { format!(" of {name}") };
        let left_out = if *left_out > 0 { format!(" ({left_out} left out)") } else { String::new() };
        format!("{used} blocks{name}{left_out}")
    };
    judgement.blocks.iter().map(cell).collect::<Vec<_>>().join(", ")
}

/// What the arm that runs twice says, with its widest interval: a pass excludes no less than that.
pub(super) fn control(judgement: &Judgement) -> String {
    let ratios = judgement.control.iter().filter(|finding| matches!(finding.metric.margin, Margin::Ratio(_)));
    let widest = ratios
        .filter_map(|finding| Some((finding, finding.comparison?)))
        .max_by(|(_, one), (_, other)| width(one).total_cmp(&width(other)));
    match (judgement.is_trusted(), widest) {
        (Some(trusted), Some((finding, comparison))) => format!(
            "{} against itself: {} ({} known to {:.2} to {:.2})",
            finding.first,
            if trusted { "no difference found" } else { "DIFFERENT" },
            finding.metric.name,
            comparison.interval.0,
            comparison.interval.1
        ),
        _ => "no control".to_owned(),
    }
}

fn width(comparison: &Comparison) -> f64 {
    comparison.interval.1 / comparison.interval.0
}

fn differs(finding: &&Finding) -> bool {
    finding.comparison.is_some_and(|comparison| comparison.p_adjusted <= ALPHA)
}

/// A line for each finding, under the name of its metric.
pub(super) fn sentences<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let mut last = "";
    let mut text = String::new();
    for finding in findings {
        let name = if finding.metric.name == last { "" } else { finding.metric.name };
        last = finding.metric.name;
        text.push_str(&wrapped(&format!("  {name:<16}{}", sentence(finding))));
    }
    text
}

/// A line of a verdict, on two if 80 columns do not hold it.
fn wrapped(line: &str) -> String {
    const WIDTH: usize = 80;
    const INDENT: usize = 20;
    // In front of what stands in brackets, rather than within it.
    let place = |beginning: &str| beginning.rfind(" (").or_else(|| beginning.rfind(' '));
    match line.get(..WIDTH).and_then(place) {
        Some(at) if line.len() > WIDTH => format!("{}\n{:INDENT$}{}\n", &line[..at], "", &line[at + 1..]),
        _ => format!("{line}\n"),
    }
}

/// What may be said of one finding.
pub(super) fn sentence(finding: &Finding) -> String {
    let (first, second) = (finding.first.as_str(), finding.second.as_str());
    let Some(comparison) = &finding.comparison else {
        return format!("{second}, {first}: no claim, for want of blocks or of sound trials");
    };
    if finding.ends_differ {
        return format!("{second}, {first} undecided: response and service do not agree");
    }
    // Said of the lower one, whichever of the two that is.
    let lower = matches!(comparison.verdict, Verdict::Lower | Verdict::LowerSizeUnclear);
    let (one, other) = if lower { (second, first) } else { (first, second) };
    let (size, range) = amounts(finding, comparison, lower);
    let margin = match finding.metric.margin {
        Margin::Ratio(margin) => format!("{:.0} %", margin * 100.0),
        Margin::Difference(margin) => format!("{margin:.0}{}", finding.metric.unit),
    };
    match comparison.verdict {
        Verdict::Lower | Verdict::Higher => format!("{one} {size} lower than {other} ({range})"),
        Verdict::LowerSizeUnclear | Verdict::HigherSizeUnclear => {
            // That it is lower is known by the sharper test; its interval may reach past "equal" all the same.
            let range = match range.split_once(" to ") {
                Some((least, most)) if least.starts_with('-') => format!("up to {most}"),
                _ => range,
            };
            format!("{one} lower than {other}, size unclear ({range})")
        }
        Verdict::Equivalent => format!("{second} and {first} equivalent within {margin} ({range})"),
        Verdict::Inconclusive { smallest_effect, blocks_needed } => {
            let found = match finding.metric.margin {
                // As all claims: how much lower the lower one would have to be.
                Margin::Ratio(_) => format!("{:.0} %", (1.0 - 1.0 / smallest_effect) * 100.0),
                Margin::Difference(_) => format!("{smallest_effect:.1}{}", finding.metric.unit),
            };
            let more = match blocks_needed.saturating_sub(comparison.blocks) {
                more if more > BLOCKS_MAX => "too noisy here".to_owned(),
                more => format!("{more} more blocks"),
            };
            format!("{second}, {first} undecided (could find {found}; {more})")
        }
    }
}

/// By how much the lower one is lower, and from where to where.
pub(super) fn amounts(finding: &Finding, comparison: &Comparison, second_is_lower: bool) -> (String, String) {
    let (low, high) = comparison.interval;
    match finding.metric.margin {
        Margin::Ratio(_) => {
            // Of the lower to the other one.
            let ratios =
                [comparison.estimate, low, high].map(|ratio| if second_is_lower { ratio } else { 1.0 / ratio });
            // Rounded, and 0 without a sign.
            let percent = |ratio: f64| ((1.0 - ratio) * 100.0).round() + 0.0;
            let (least, most) = (percent(ratios[1].max(ratios[2])), percent(ratios[1].min(ratios[2])));
            (format!("{:.0} %", percent(ratios[0])), format!("{least:.0} to {most:.0} %"))
        }
        Margin::Difference(_) => {
            let unit = finding.metric.unit;
            let sign = if second_is_lower { -1.0 } else { 1.0 };
            let (one, other) = (sign * low, sign * high);
            let estimate = format!("{:.1}{unit}", sign * comparison.estimate);
            (estimate, format!("{:.1} to {:.1}{unit}", one.min(other), one.max(other)))
        }
    }
}

/// Nobody measures for more, and the host will not be the same in the end.
const BLOCKS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdicts::PRIMARY;

    fn finding(metric: usize, estimate: f64, interval: (f64, f64), verdict: Verdict) -> Finding {
        let comparison =
            Comparison { estimate, interval, level: 0.95, blocks: 40, p_value: 0.0, p_adjusted: 0.0, verdict };
        let (first, second) = ("tokio".to_owned(), "mio".to_owned());
        Finding { metric: PRIMARY[metric], first, second, comparison: Some(comparison), ends_differ: false }
    }

    #[test]
    fn a_verdict_names_the_lower_one_and_by_how_much() {
        let lower = finding(2, 0.82, (0.8, 0.84), Verdict::Lower);
        assert_eq!(sentence(&lower), "mio 18 % lower than tokio (16 to 20 %)");
        let higher = finding(2, 1.25, (1.2, 1.3), Verdict::Higher);
        assert_eq!(sentence(&higher), "tokio 20 % lower than mio (17 to 23 %)");
        let wakeups = finding(3, -13.3, (-13.4, -13.2), Verdict::Lower);
        assert_eq!(sentence(&wakeups), "mio 13.3/s lower than tokio (13.2 to 13.4/s)");
    }

    #[test]
    fn a_direction_that_is_known_comes_with_no_range_to_the_other_side() {
        let unclear = finding(1, 0.8, (0.6, 1.05), Verdict::LowerSizeUnclear);
        assert_eq!(sentence(&unclear), "mio lower than tokio, size unclear (up to 40 %)");
    }

    #[test]
    fn what_is_not_decided_says_what_it_could_have_found() {
        let undecided = Verdict::Inconclusive { smallest_effect: 1.06, blocks_needed: 120 };
        let text = sentence(&finding(1, 1.01, (0.95, 1.07), undecided));
        assert_eq!(text, "mio, tokio undecided (could find 6 %; 80 more blocks)");
        let hopeless = Verdict::Inconclusive { smallest_effect: 1.06, blocks_needed: 20_000 };
        let text = sentence(&finding(1, 1.01, (0.95, 1.07), hopeless));
        assert_eq!(text, "mio, tokio undecided (could find 6 %; too noisy here)");
        let none = Finding { comparison: None, ..finding(1, 1.0, (1.0, 1.0), Verdict::Equivalent) };
        assert!(sentence(&none).contains("no claim"));
        let differ = Finding { ends_differ: true, ..finding(1, 0.8, (0.7, 0.9), Verdict::Lower) };
        assert!(sentence(&differ).contains("do not agree"));
    }
}
