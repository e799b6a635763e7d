//! `loadgen report`: what a session says, from its files alone.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{comparison::comparison, verdicts::sentence};
use crate::{
    cli::ReportArgs,
    failure::{Exit, Usage},
    record::{Figures, Row, read_rows},
    verdicts::{Judgement, judge},
};

/// Renders sessions again and prints them.
///
/// # Errors
/// If a folder holds no session, or a file has no place for the text.
pub fn report(args: &ReportArgs) -> Result<Exit> {
    for folder in &args.folders {
        let text = render(folder).map_err(Usage::from)?;
        if let Some(file) = &args.splice {
            splice(file, &text).map_err(Usage::from)?;
        }
        // A reader that has seen enough is no error.
        drop(std::io::stdout().write_all(text.as_bytes()));
    }
    Ok(Exit::Ok)
}

/// Writes report.md and verdicts.csv, which are derived and can be made again, and returns the text for the terminal.
///
/// # Errors
/// If the folder holds no session, or cannot be written.
pub fn render(folder: &Path) -> Result<String> {
    let file = folder.join("session.json");
    let about = fs::read_to_string(&file)
        .with_context(|| format!("{} holds no session: there is no session.json", folder.display()))?;
    let about: Value = serde_json::from_str(&about).with_context(|| format!("cannot read {}", file.display()))?;
    let rows = read_rows(folder)?;
    let arms = arms(&about, &rows);
    let judgement = judge(&rows, &arms);
    let complete = about["state"] == "complete";
    let text = comparison(&about["configuration"]["plan"], &arms, &rows, complete, &judgement);
    write_verdicts(&folder.join("verdicts.csv"), &judgement)?;
    fs::write(folder.join("report.md"), markdown(&about, &text)).context("cannot write report.md")?;
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

fn markdown(about: &Value, text: &str) -> String {
    let of = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let (environment, build) = (&about["environment"], &about["build"]);
    format!(
        "# Session {}\n\n{}, kernel {}; {} of {}, {}.\n\n```text{text}```\n\n\
         ## What this session cannot tell\n\n\
         - One host, loopback, one load: other hosts and loads may turn the order round.\n\
         - What holds in one session is replicated only if another one, on another day or host, agrees.\n\
         - \"Undecided\" is not \"the same\"; \"equivalent\" is, within the margin.\n\
         - CPU time in a fan-out contains the clients' receive path, since loopback does it in the sender's system call.\n",
        of(&about["session_id"]),
        of(&environment["cpu_model"]),
        of(&environment["kernel"]),
        "loadgen",
        of(&build["git_revision"]),
        of(&build["rustc"]),
    )
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
