//! report.html: the report as one page that needs nothing else, neither script nor font nor network. Text of a record is
//! escaped by the templates.

mod forest;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::forest::Scale;
use super::{
    model::{Cell, MetricClaims, Report, Table},
    pictures::Picture,
    words::{
        claims::{sentence, withheld},
        head,
        notes::{self, limit, note},
        work::break_even,
    },
};
use crate::{
    judge::{metrics::is_control, verdicts::PairComparison},
    text::{Text, Tone},
};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let title = format!("Session {}", report.session_id);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { (title) }
                p { (head::origin(&report.origin)) }
                (section("Validity", &validity(report)))
                (section("Verdicts", &claims(report)))
                @if !report.scorecard.is_empty() { (section("The four rules", &scorecard(report))) }
                @if !report.figures.rows.is_empty() { (section("Figures", &figures(report))) }
                @if !report.loads.is_empty() { (section("Load by load", &loads(report))) }
                (section("Pictures", &pictures(&report.pictures)))
                (section("The host", &host(report)))
                (section("What this session cannot tell", &limits(report)))
            } }
        }
    };
    // One element per line, so that two pages can be compared.
    page.into_string().replace("><", ">\n<") + "\n"
}

fn section(title: &str, body: &Markup) -> Markup {
    html! { section { h2 { (title) } (body) } }
}

fn toned(text: &Text) -> Markup {
    html! { @for span in text.spans() {
        @match class(span.tone) {
            None => (span.text),
            Some(class) => span class=(class) { (span.text) },
        }
    } }
}

fn class(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Neutral => None,
        Tone::Good => Some("good"),
        Tone::Warning => Some("warning"),
        Tone::Bad => Some("bad"),
    }
}

fn validity(report: &Report) -> Markup {
    html! {
        p { @for (index, line) in head::lines(&report.head).iter().enumerate() {
            @if index > 0 { br; }
            (toned(line))
        } }
        p {
            (toned(&head::control(&report.control)))
            @for line in head::power(&report.powers) { br; (toned(&line)) }
        }
    }
}

/// Every claim under its metric, with its interval drawn; last the arm that runs twice.
fn claims(report: &Report) -> Markup {
    if let Some(reason) = report.withheld {
        return html! { p { "No claims: " (toned(&withheld(reason))) "." } };
    }
    html! {
        p {
            "Each line is the ratio or difference of two servers with its confidence interval: left of the line the first \
             named is lower, and lower is better. In the grey margin they are equivalent (TOST)."
        }
        @for group in &report.claims { (metric_claims(report, group)) }
        @let facts = report.shifts.iter().filter_map(head::crossing).chain(report.silent.as_ref().map(head::silent));
        p { @for (index, fact) in facts.enumerate() { @if index > 0 { br; } (toned(&fact)) } }
        p {
            "The intervals are simultaneous 95 % confidence intervals for a family of " (report.family_size())
            " comparisons. report.md has each claim as a sentence that can be quoted by itself."
        }
    }
}

fn metric_claims(report: &Report, group: &MetricClaims) -> Markup {
    let all = report.claims.iter().flat_map(|group| group.pairs.iter().chain(&group.control));
    let scale = Scale::of(all, group.margin);
    html! {
        h3 { (group.metric) }
        p.faint {
            @if !group.cell.is_empty() { (group.cell) ": " }
            (head::conditions(group.plan.as_ref())) "; " (group.blocks) " blocks"
        }
        table.verdicts {
            @for pair in group.pairs.iter().chain(&group.control) { (claim(pair, &scale)) }
            tr { th {} td { div { (scale.axis()) } } }
        }
    }
}

fn claim(pair: &PairComparison, scale: &Scale) -> Markup {
    let is_claim = pair.claim().is_some() && !is_control(&pair.second);
    html! {
        tr class=(if is_claim { "claim" } else { "faint" }) {
            th { (pair.second) " / " (pair.first) }
            td { div {
                @if let Some(comparison) = pair.comparison() { (scale.interval(comparison)) }
                span { (sentence(pair)) }
            } }
        }
    }
}

fn scorecard(report: &Report) -> Markup {
    html! {
        p { (notes::SCORECARD) }
        @for rule in &report.scorecard {
            h3 { (notes::rule(rule.rule)) }
            (table(&rule.table))
        }
    }
}

fn figures(report: &Report) -> Markup {
    html! {
        (table(&report.figures))
        ul { @for line in report.notes.iter().map(note) { @for line in line.lines() { li { (line) } } } }
    }
}

fn loads(report: &Report) -> Markup {
    html! {
        @for loads in &report.loads { (table(loads)) }
        @if !report.break_evens.is_empty() { p { @for (index, pair) in report.break_evens.iter().enumerate() {
            @if index > 0 { br; }
            (toned(&break_even(pair)))
        } } }
        ul { @for note in &report.load_notes { @for line in notes::load(*note).lines() { li { (line) } } } }
    }
}

fn table(table: &Table) -> Markup {
    html! {
        div.wide { table {
            tr { th { (table.corner) } @for column in &table.columns { th { (column) } } }
            @for row in &table.rows {
                tr { th { (row.name) } @for cell in &row.cells { (data(cell)) } }
            }
        } }
    }
}

fn data(cell: &Cell) -> Markup {
    html! {
        td class=[class(cell.tone())] {
            (cell.show())
            @if let Some([low, high]) = cell.ends() { " " small { "(" (low) " to " (high) ")" } }
        }
    }
}

/// As images, so that the definitions of one do not reach into another.
fn pictures(pictures: &[Picture]) -> Markup {
    html! {
        @if pictures.is_empty() {
            p { "None yet: " code { "scripts/plot.py DIR" } " draws them, " code { "loadgen report DIR" } " shows them here." }
        }
        @for picture in pictures {
            figure {
                img alt=(picture.title) src=(format!("data:image/svg+xml;base64,{}", STANDARD.encode(&picture.svg)));
            }
        }
    }
}

fn host(report: &Report) -> Markup {
    html! {
        details {
            summary { "All recorded facts about the host" }
            table {
                tr { th { "command" } td.text { (report.command) } }
                @for (name, value) in &report.host { tr { th { (name) } td.text { (value) } } }
            }
        }
    }
}

fn limits(report: &Report) -> Markup {
    html! { ul { @for it in &report.limits { li { (limit(it)) } } } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::fixture;

    /// Everything that begins or ends markup.
    fn markup(page: &str) -> Vec<char> {
        page.chars().filter(|character| matches!(character, '<' | '>' | '"')).collect()
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page(&fixture::report("mio"));
        assert!(page.contains("data:image/svg+xml;base64,PHN2Zy8+"), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn a_cell_has_the_class_of_its_tone() {
        use crate::judge::{cell_values::Estimate, scorecard::RuleOutcome};
        let shown = |cell: Cell| data(&cell).into_string();
        assert_eq!(shown(Cell::Outcome(RuleOutcome::Violated)), "<td class=\"bad\">NO</td>");
        let interval = Cell::Interval(Estimate { estimate: 3.0, low: -1.0, high: 4.0 });
        assert_eq!(shown(interval), "<td>3.0 <small>(-1.0 to 4.0)</small></td>");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_a_record_says_is_text_and_never_markup(strange in "([<>&\"'/a-z]|<script>|\\PC){0,20}") {
            // An arm with this sign in its name is a control.
            let strange = strange.replace('#', "");
            let (expected, found) = (page(&fixture::report("mio")), page(&fixture::report(&strange)));
            prop_assert!(markup(&found) == markup(&expected), "{strange:?}");
        }
    }
}
