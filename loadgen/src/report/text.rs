//! The report of a session as text of 80 columns. The parts are public to this folder, since a Markdown document shows
//! some of them.

use super::{
    layout::{Widths, wrapped},
    model::{Cell, Report, RuleTable, SecondaryFamily, Table},
    words::{
        brief::brief,
        claims::{sentence, withheld},
        head,
        notes::{self, family, note},
        work::{break_even, with_service},
    },
};
use crate::{
    judge::{
        blocks::BlockCount,
        verdicts::{PairComparison, WithheldReason},
    },
    plan::units::show_count,
    text::{Text, plain},
};

/// Columns of the figures: `123.4 (120.1-130.2)` and a space.
const FIGURES: Widths = Widths { names: 16, others: 21 };
const FIGURES_ARMS: usize = 3;

/// `14 % lower (11-18)` and room for a pair's names.
const CLAIMS: Widths = Widths { names: 17, others: 21 };
const CLAIMS_PAIRS: usize = 3;

const SCORECARD: Widths = Widths { names: 36, others: 11 };
const SCORECARD_ARMS: usize = 4;

const LOADS: Widths = Widths { names: 26, others: 12 };
const LOADS_ARMS: usize = 4;

/// Everything that the terminal shows.
pub(super) fn terminal(report: &Report, folder: &str) -> Text {
    let parts = [scorecard(report), loads(report)].into_iter().filter(|part| part.width() > 0);
    let mut text = summary(report).with("\n").with(claims(report));
    parts.for_each(|part| {
        text.push("\n");
        text.push(part);
    });
    text.with(format!("files: {}\n", plain(folder)))
}

/// Head and figures.
pub(super) fn summary(report: &Report) -> Text {
    head(report).with(figures(report))
}

/// Configuration and validity.
pub(super) fn head(report: &Report) -> Text {
    let lines = head::lines(&report.head);
    Text::from("\n").with(lines.iter().map(|line| wrapped(line, 2)).collect::<Text>()).with("\n")
}

/// The head, with what the control shows and how small a difference it could have shown.
pub(super) fn validity(report: &Report) -> Text {
    let power = head::power(&report.powers).iter().map(|line| wrapped(line, 2)).collect::<Text>();
    head(report).with(head::control(&report.control)).with("\n").with(power)
}

/// The figures of the primary load, and what has to be known to read them.
pub(super) fn figures(report: &Report) -> Text {
    // Without a single figure there is no table to head.
    let columns = if report.figures.rows.is_empty() { 0 } else { report.figures.columns.len() };
    let tables = (0..columns).step_by(FIGURES_ARMS).map(|from| {
        let arms = from..columns.min(from + FIGURES_ARMS);
        let heading =
            FIGURES.line("", report.figures.columns[arms.clone()].iter().map(|arm| plain(arm).into_owned().into()));
        let rows =
            report.figures.rows.iter().map(|row| FIGURES.line(&row.name, row.cells[arms.clone()].iter().map(shown)));
        [heading].into_iter().chain(rows).chain(["\n".into()]).collect::<Text>()
    });
    let notes = report.notes.iter().map(|it| plain_note(&note(it)));
    tables.chain(notes).collect()
}

fn plain_note(note: &str) -> Text {
    note.lines().map(|line| wrapped(&line.into(), 2)).collect()
}

/// The claims, behind the result of the control.
pub(super) fn claims(report: &Report) -> Text {
    if report.withheld == Some(WithheldReason::Exploratory) {
        return explored(report);
    }
    let mut text = wrapped(&format!("verdicts on {}", blocks(&report.blocks)).into(), 2);
    text.push(head::control(&report.control));
    text.push("\n");
    text.push(head::power(&report.powers).iter().map(|line| wrapped(line, 2)).collect::<Text>());
    if let Some(reason) = report.withheld {
        text.push(wrapped(&Text::from("no claims: ").with(withheld(reason)), 2));
        text.push(
            report
                .claims
                .iter()
                .flat_map(|group| &group.control)
                .filter(|pair| pair.differs())
                .map(with_metric)
                .collect::<Text>(),
        );
        return text;
    }
    if report.claims.is_empty() {
        return text;
    }
    text.push("\n");
    text.push(claim_tables(report.claims.iter().map(|group| &group.pairs[..])));
    let has_lag = report.claims.iter().flat_map(|group| &group.pairs).any(|pair| pair.lag.is_some());
    let facts = report.shifts.iter().filter_map(head::crossing).chain(report.silent.as_ref().map(head::silent));
    text.push(facts.map(|fact| wrapped(&fact, 2)).collect::<Text>());
    text.with(family(report.family_size())).with(if has_lag { notes::LAG } else { "" })
}

/// A line per metric and a column per pair.
fn claim_tables<'a>(groups: impl Iterator<Item = &'a [PairComparison]>) -> Text {
    let groups: Vec<&[PairComparison]> = groups.collect();
    let Some(first) = groups.first() else { return Text::default() };
    let names: Vec<String> = first.iter().map(|pair| format!("{}/{}", pair.second, pair.first)).collect();
    let chunk = |from: usize| {
        let pairs = from..names.len().min(from + CLAIMS_PAIRS);
        let heading = CLAIMS.heading("", &names[pairs.clone()]);
        let line = |group: &&[PairComparison]| {
            CLAIMS.line(group[0].metric.name, group[pairs.clone()].iter().map(|pair| brief(pair).into()))
        };
        heading.with(groups.iter().map(line).collect::<Text>()).with("\n")
    };
    (0..names.len()).step_by(CLAIMS_PAIRS).map(chunk).collect()
}

/// The claims of a session without primary ones, each load a family of its own.
fn explored(report: &Report) -> Text {
    let why = Text::from("no primary claims: ").with(withheld(WithheldReason::Exploratory));
    let how = "; each load is a family of its own at 95 %, so one in twenty errs by chance";
    wrapped(&why.with(how), 2).with("\n").with(secondary(&report.secondary))
}

/// The blocks that claims are based on, of each load.
fn blocks(blocks: &[BlockCount]) -> String {
    let cell = |count: &BlockCount| {
        let name = if count.cell.is_empty() { String::new() } else { format!(" of {}", count.cell) };
        let left_out = if count.left_out > 0 { format!(" ({} left out)", count.left_out) } else { String::new() };
        format!("{} blocks{name}{left_out}", count.used)
    };
    blocks.iter().map(cell).collect::<Vec<_>>().join(", ")
}

fn with_metric(pair: &PairComparison) -> Text {
    wrapped(&format!("  {}: {}", pair.metric.name, sentence(pair)).into(), 4)
}

/// The rules, with a part of the arms side by side; empty if there are none.
pub(super) fn scorecard(report: &Report) -> Text {
    let Some(first) = report.scorecard.first() else { return Text::default() };
    let columns = first.table.columns.len();
    let chunk = |from: usize| {
        let arms = from..columns.min(from + SCORECARD_ARMS);
        report.scorecard.iter().map(move |rule| Text::from("\n").with(rule_table(rule, arms.clone()))).collect::<Text>()
    };
    Text::from(notes::SCORECARD).with((0..columns).step_by(SCORECARD_ARMS).map(chunk).collect::<Text>())
}

fn rule_table(rule: &RuleTable, arms: std::ops::Range<usize>) -> Text {
    let table = &rule.table;
    let mut text = Text::from(format!("{}\n", notes::rule(rule.rule)));
    text.push(SCORECARD.heading("", &table.columns[arms.clone()]));
    for row in &table.rows {
        let cells = &row.cells[arms.clone()];
        text.push(SCORECARD.line(&format!("  {}", row.name), cells.iter().map(shown)));
        if cells.iter().any(|cell| cell.ends().is_some()) {
            for (end, name) in [(0, "    95 % CI from"), (1, "    to")] {
                let shown = |cell: &Cell| cell.ends().map_or("-".into(), |ends| Text::from(&ends[end]));
                text.push(SCORECARD.line(name, cells.iter().map(shown)));
            }
        }
    }
    text
}

/// The medians under every load; empty if there is only one.
pub(super) fn loads(report: &Report) -> Text {
    if report.loads.is_empty() {
        return Text::default();
    }
    let tables = report.loads.iter().map(load_table).collect::<Text>();
    let facts = report.break_evens.iter().map(|pair| wrapped(&break_even(pair), 2)).collect::<Text>();
    tables.with(facts).with(report.load_notes.iter().map(|note| notes::load(*note)).collect::<String>())
}

fn load_table(table: &Table) -> Text {
    let columns = table.columns.len();
    let chunk = |from: usize| {
        let arms = from..columns.min(from + LOADS_ARMS);
        let heading = LOADS.heading(&table.corner, &table.columns[arms.clone()]);
        let rows = table.rows.iter().map(|row| LOADS.line(&row.name, row.cells[arms.clone()].iter().map(shown)));
        [heading].into_iter().chain(rows).chain(["\n".into()]).collect::<Text>()
    };
    (0..columns).step_by(LOADS_ARMS).map(chunk).collect()
}

/// The claims under the other loads; empty if none are made.
pub(super) fn secondary(families: &[SecondaryFamily]) -> Text {
    let family = |family: &SecondaryFamily| {
        let title = format!("{}, {} messages/s", plain(&family.cell), show_count(family.rate_per_sec));
        let title = with_service(title, &family.plan) + "\n";
        let groups = family.pairs.chunk_by(|one, other| one.metric.name == other.metric.name);
        Text::from(title).with(claim_tables(groups))
    };
    families.iter().map(family).collect()
}

pub(super) fn shown(cell: &Cell) -> Text {
    Text::toned(cell.show(), cell.tone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, html, markdown::markdown};

    #[test]
    fn a_session_without_its_primary_cells_shows_what_the_others_say_and_claims_nothing_primary() {
        let report = Report::of(&fixture::of_one_cell("payload-1KiB", None), Vec::new());
        let text = terminal(&report, "results/x").without_tones();
        assert!(
            text.contains("no primary claims: the cells of the primary claims were not chosen (--cells)"),
            "{text}"
        );
        assert!(text.contains("payload-1KiB, 10.0k messages/s\n"), "{text}");
        assert!(text.contains("CPU per message  ") && !text.contains("configuration unknown"), "{text}");
        assert!(!text.contains("idle CPU"), "a table of dashes: {text}");
        let document = markdown(&report);
        assert!(document.contains("No claims: ") && document.contains("## Verdicts on the other loads"), "{document}");
        assert!(!document.contains("## Figures") && !html::page(&report).contains(">Figures<"), "{document}");
    }

    #[test]
    fn a_session_with_its_primary_cells_has_its_figures() {
        let text = terminal(&fixture::report("rate-50"), "results/x").without_tones();
        assert!(text.contains("idle CPU") && !text.contains("no primary claims"), "{text}");
    }
}
