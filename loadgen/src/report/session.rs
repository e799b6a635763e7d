//! `loadgen report`: what a session says, from its files alone.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::{
    cells::{findings, tables},
    comparison::comparison,
    markdown::{Parts, markdown},
    side_by_side::side_by_side,
    verdicts::{sentence, verdicts},
};
use crate::{
    cli::ReportArgs,
    failure::{Exit, Usage},
    record::{Figures, Row, read_rows},
    scorecard::scorecard,
    verdicts::{Judgement, Places, judge},
};

/// Renders a session again and prints it; two of them side by side.
///
/// # Errors
/// If a folder holds no session, if two may not be compared, or a file has no place for the text.
pub fn report(args: &ReportArgs) -> Result<Exit> {
    let text = match &args.folders[..] {
        [folder] => render(folder).map_err(Usage::from)?,
        [first, second] => {
            let both = (Recorded::read(first).map_err(Usage::from)?, Recorded::read(second).map_err(Usage::from)?);
            side_by_side(&both.0, &both.1).map_err(Usage::from)?
        }
        _ => return Err(Usage::from(anyhow!("three sessions do not stand side by side: name one or two"))),
    };
    if let Some(file) = &args.splice {
        splice(file, &text).map_err(Usage::from)?;
    }
    // A reader that has seen enough is no error.
    drop(std::io::stdout().write_all(text.as_bytes()));
    Ok(Exit::Ok)
}

/// A session, read from its files and judged.
pub(super) struct Recorded {
    pub(super) about: Value,
    pub(super) rows: Vec<Row>,
    pub(super) arms: Vec<String>,
    pub(super) places: Places,
    pub(super) judgement: Judgement,
}

impl Recorded {
    /// # Errors
    /// If the folder holds no session.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("session.json");
        let about = fs::read_to_string(&file)
            .with_context(|| format!("{} holds no session: there is no session.json", folder.display()))?;
        let about: Value = serde_json::from_str(&about).with_context(|| format!("cannot read {}", file.display()))?;
        let rows = read_rows(folder)?;
        let arms = arms(&about, &rows);
        let place = |key: &str| about["configuration"]["primary"][key].as_str().unwrap_or_default().to_owned();
        let places = Places { latency: place("latency"), cpu: place("cpu") };
        let judgement = judge(&rows, &arms, &places);
        Ok(Self { about, rows, arms, places, judgement })
    }

    /// The rows of the load that the primary claims are made at.
    pub(super) fn primary_rows(&self) -> Vec<Row> {
        let primary = |row: &&Row| Figures(row).text("cell") == self.places.latency;
        self.rows.iter().filter(primary).cloned().collect()
    }

    fn configuration(&self) -> &Value {
        &self.about["configuration"]
    }

    /// The plan of a cell, or of the only load.
    pub(super) fn plan_of(&self, cell: &str) -> &Value {
        let cells = self.configuration()["cells"].as_array();
        let found = cells.and_then(|cells| cells.iter().find(|other| other["cell"] == cell));
        found.map_or(&self.configuration()["plan"], |cell| &cell["plan"])
    }
}

/// Writes report.md and verdicts.csv, which are derived and can be made again, and returns the text for the terminal.
///
/// # Errors
/// If the folder holds no session, or cannot be written.
pub fn render(folder: &Path) -> Result<String> {
    let recorded = Recorded::read(folder)?;
    let complete = recorded.about["state"] == "complete";
    let rows = recorded.primary_rows();
    let contestants: Vec<String> = recorded.arms.iter().filter(|arm| !arm.contains('#')).cloned().collect();
    let sections = scorecard(&recorded.rows, &contestants);
    let many = !recorded.configuration()["cells"].is_null();
    let (head, table) = comparison(recorded.plan_of(&recorded.places.latency), &recorded.arms, &rows, complete);
    let parts = Parts {
        head,
        table,
        scorecard: super::scorecard::scorecard(&sections, &contestants),
        loads: if many { tables(recorded.configuration(), &recorded.rows, &recorded.arms) } else { String::new() },
        findings: if many { findings(recorded.configuration(), &recorded.rows) } else { String::new() },
    };
    write_verdicts(&folder.join("verdicts.csv"), &recorded.judgement)?;
    fs::write(folder.join("report.md"), markdown(&recorded, &parts)).context("cannot write report.md")?;
    let mut text = format!("{}{}\n{}", parts.head, parts.table, verdicts(&recorded.judgement));
    for part in [&parts.scorecard, &parts.loads].into_iter().filter(|part| !part.is_empty()) {
        text.push_str(&format!("\n{part}"));
    }
    Ok(format!("{text}files: {}\n", folder.display()))
}

/// Puts the text into a Markdown file, between two marks; the last line, which names the folder, is left out.
fn splice(file: &Path, text: &str) -> Result<()> {
    const MARKS: (&str, &str) = ("<!-- report -->\n", "<!-- /report -->");
    let document = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let no_marks = || format!("{} has no line {} with {} behind it", file.display(), MARKS.0.trim_end(), MARKS.1);
    let (before, rest) = document.split_once(MARKS.0).with_context(no_marks)?;
    let (_, after) = rest.split_once(MARKS.1).with_context(no_marks)?;
    let lines: Vec<&str> = text.trim().lines().filter(|line| !line.starts_with("files: ")).collect();
    let spliced = format!("{before}{}```text\n{}\n```\n{}{after}", MARKS.0, lines.join("\n"), MARKS.1);
    fs::write(file, spliced).with_context(|| format!("cannot write {}", file.display()))
}

/// The arms in the order in which they were asked for; a single run has one.
fn arms(about: &Value, rows: &[Row]) -> Vec<String> {
    let named = about["configuration"]["arms"].as_array().into_iter().flatten();
    let mut arms: Vec<String> = named.filter_map(|arm| arm.as_str().map(str::to_owned)).collect();
    for row in rows.iter().map(Figures).filter(|_| about["configuration"]["arms"].is_null()) {
        let arm = row.text("arm").to_owned();
        if !arms.contains(&arm) {
            arms.push(arm);
        }
    }
    arms
}

fn write_verdicts(file: &Path, judgement: &Judgement) -> Result<()> {
    let mut csv = csv::Writer::from_path(file).with_context(|| format!("cannot write {}", file.display()))?;
    csv.write_record([
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
    ])?;
    let families = [("primary", &judgement.findings), ("control", &judgement.control)];
    for (family, finding) in families.iter().flat_map(|(family, findings)| findings.iter().map(move |it| (family, it)))
    {
        let mut record = vec![(*family).to_owned(), finding.metric.name.to_owned()];
        record.extend([finding.first.clone(), finding.second.clone()]);
        let numbers = finding.comparison.map(|it| {
            let (low, high) = it.interval;
            [it.estimate, low, high, it.level, it.blocks as f64, it.p_value, it.p_adjusted]
                .map(|number| number.to_string())
        });
        record.extend(numbers.unwrap_or_default());
        record.push(sentence(finding));
        csv.write_record(record)?;
    }
    csv.flush().context("cannot write verdicts.csv")
}
