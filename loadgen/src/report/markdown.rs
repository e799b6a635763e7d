//! report.md: the report in the order in which it should be read.

use super::{
    model::{MetricClaims, Report},
    pictures::Picture,
    text,
    words::{
        claims::{Amounts, sentence, withheld},
        head,
        notes::limit,
    },
};
use crate::{
    judge::verdicts::{PairComparison, PairResult},
    stats::verdict::{Margin, Verdict},
    text::{Text, plain_lines},
};

/// The whole document.
pub(super) fn markdown(report: &Report) -> String {
    let mut text =
        format!("# Session {}\n\n{}.\n\n", escape(&report.session_id), escape(&head::origin(&report.origin)));
    section(&mut text, "Validity", &fenced(&text::validity(report)));
    section(&mut text, "Verdicts", &claims(report));
    if !report.scorecard.is_empty() {
        section(&mut text, "The four rules", &fenced(&text::scorecard(report)));
    }
    if !report.figures.rows.is_empty() {
        section(&mut text, "Figures", &fenced(&text::figures(report)));
    }
    if !report.pictures.is_empty() {
        section(&mut text, "Pictures", &report.pictures.iter().map(picture).collect::<String>());
    }
    if !report.loads.is_empty() {
        section(&mut text, "Load by load", &fenced(&text::loads(report)));
    }
    if !report.secondary.is_empty() {
        let note =
            "Secondary claims: each load is a family of its own at 95 %, so one family in twenty errs by chance.\n\n";
        section(
            &mut text,
            "Verdicts on the other loads",
            &(note.to_owned() + &fenced(&text::secondary(&report.secondary))),
        );
    }
    let limits: String = report.limits.iter().map(|it| format!("- {}\n", limit(it))).collect();
    section(&mut text, "What this session cannot tell", &limits);
    plain_lines(&text).into_owned()
}

fn section(text: &mut String, title: &str, body: &str) {
    text.push_str(&format!("## {title}\n\n{}\n\n", body.trim()));
}

/// Text between fences that are longer than any within it.
pub(super) fn fenced(text: &Text) -> String {
    let text = text.without_tones();
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}text\n{}\n{fence}", text.trim_matches('\n'))
}

/// In angle brackets a file name may hold anything but these and an end of the line.
fn picture(picture: &Picture) -> String {
    let title = escape(&picture.title);
    if picture.name.contains(['<', '>', '\\']) {
        String::new()
    } else if picture.name.contains(|c: char| !c.is_alphanumeric() && c != '-') {
        format!("![{title}](<{}.svg>)\n\n", picture.name)
    } else {
        format!("![{title}]({}.svg)\n\n", picture.name)
    }
}

/// Text of a record that is no markup: neither HTML nor links, code or emphasis.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' => escaped.extend(['\\', character]),
            character => escaped.push(character),
        }
    }
    escaped
}

/// The claims as sentences that can be quoted by themselves.
fn claims(report: &Report) -> String {
    if let Some(reason) = report.withheld {
        return format!("No claims: {}.", escape(&withheld(reason).without_tones()));
    }
    let sentences = report.claims.iter().flat_map(|group| group.pairs.iter().map(move |pair| quotable(group, pair)));
    let list: String = sentences.map(|sentence| format!("- {sentence}\n")).collect();
    format!(
        "{list}\nLower is better. The intervals are simultaneous 95 % confidence intervals for a family of {} comparisons. \
         \"Equivalent\": by two one-sided tests (TOST).",
        report.family_size()
    )
}

/// A claim with everything that it depends on.
fn quotable(group: &MetricClaims, pair: &PairComparison) -> String {
    let (metric, short) = (group.metric, escape(&sentence(pair)));
    let PairResult::Compared(comparison) = &pair.result else { return format!("**{metric}**: {short}") };
    let conditions = escape(&head::conditions(group.plan.as_ref()));
    let blocks = comparison.blocks;
    if !matches!(comparison.verdict, Verdict::Lower | Verdict::Higher) {
        return format!("**{metric}**: {short} ({conditions}; {blocks} blocks)");
    }
    let Amounts { second_is_better, word, size, least, most, unit, .. } = Amounts::of(pair, comparison);
    let (one, other) = if second_is_better { (&pair.second, &pair.first) } else { (&pair.first, &pair.second) };
    let (one, other) = (escape(one), escape(other));
    let size = match group.margin {
        Margin::Ratio(_) => format!("{size}{unit} {word}"),
        Margin::Difference(_) => format!("{word} by {size}{unit}"),
    };
    format!(
        "**{metric}** of {one} is {size} than that of {other} ({conditions}): interval {least} to {most}{unit}, {blocks} \
         blocks"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{plan::Pacing, record::PlanRecord, report::fixture};

    #[test]
    fn a_claim_can_be_quoted_by_itself() {
        let plan = PlanRecord { pacing: Pacing::Timer, ..fixture::plan_record() };
        let quoted = |metric: usize, estimate, interval, verdict| {
            let pair = fixture::pair(metric, estimate, interval, verdict);
            let group = fixture::metric_claims(Some(plan.clone()), vec![pair.clone()]);
            quotable(&group, &pair)
        };
        assert_eq!(
            quoted(3, 0.82, (0.8, 0.84), Verdict::Lower),
            "**CPU per message** of mio is 18 % lower than that of tokio (split placement, 1 worker, timer pacing): \
             interval 16 to 20 %, 40 blocks"
        );
        let drain = quoted(5, 1.82, (1.7, 1.95), Verdict::Higher);
        assert!(drain.contains("**drain rate** of mio is 82 % higher than that of tokio"), "{drain}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_document_has_no_control_character_and_no_markup_of_a_record(strange in "(\\PC|\\p{Cc}|<script>|```){0,12}") {
            let strange = strange.replace(['#', '\n'], "");
            let document = markdown(&fixture::report(&strange));
            prop_assert!(!document.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{strange:?}");
            let outside: String = document.split("\n```").step_by(2).collect();
            prop_assert!(strange.contains("```") || !outside.contains("<script"), "{strange:?}");
        }
    }
}
