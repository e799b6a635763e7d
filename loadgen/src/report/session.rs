//! What a session says, from its files alone.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::{
    benchmark::benchmark,
    cells::{self, findings, tables},
    comparison,
    html::{Content, page},
    markdown::{Parts, fenced, markdown},
    pictures::pictures,
    recorded::Recorded,
    side_by_side::side_by_side,
    verdicts::{sentence, verdicts},
};
use crate::{
    error::Usage,
    judge::{metrics::contestants, scorecard::scorecard},
    terminal,
    text::plain,
};

/// The figures of a session for github-action-benchmark.
///
/// # Errors
/// If the folder holds no session.
pub fn benchmark_of(folder: &Path) -> Result<String> {
    Ok(benchmark(&Recorded::read(folder)?))
}

/// Two sessions side by side.
///
/// # Errors
/// If a folder holds no session, or they may not be compared.
pub fn beside(first: &Path, second: &Path) -> Result<String> {
    side_by_side(&Recorded::read(first)?, &Recorded::read(second)?)
}

/// Renders a session as [`render`] does and puts its parts into a Markdown file as well.
///
/// # Errors
/// A [`Usage`] error if the folder holds no session or the file no place for it; else if the file cannot be written.
pub fn render_into(folder: &Path, file: &Path) -> Result<String> {
    let document = Document::read(file).map_err(Usage::from)?;
    let (recorded, parts) = rendered(folder).map_err(Usage::from)?;
    document.splice(&recorded, &parts)?;
    Ok(terminal(folder, &recorded, &parts))
}

/// Writes report.md, report.html and verdicts.csv, which are derived and can be made again, and returns the text for the
/// terminal. If they cannot be written a word on stderr says so: the session is read all the same.
///
/// # Errors
/// If the folder holds no session.
pub fn render(folder: &Path) -> Result<String> {
    let (recorded, parts) = rendered(folder)?;
    Ok(terminal(folder, &recorded, &parts))
}

fn rendered(folder: &Path) -> Result<(Recorded, Parts)> {
    let recorded = Recorded::read(folder)?;
    let (arms, used) = (&recorded.arms, recorded.used());
    let contestants = contestants(arms);
    let configuration = recorded.configuration();
    let many = !configuration.cells.is_empty();
    let sections = scorecard(&recorded.rows, &contestants, &recorded.metadata.logic_lines);
    let plan = recorded.plan_of(&recorded.places.latency);
    let loads = if many { tables(configuration, &recorded.rows, arms) } else { Vec::new() };
    let parts = Parts {
        head: comparison::head(plan, &recorded.rows, recorded.metadata.state, &configuration.pilot),
        table: comparison::text(plan, &recorded.places.cpu, &used, arms),
        scorecard: super::scorecard::scorecard(&sections, &contestants),
        loads: if many { cells::text(&loads) } else { String::new() },
        findings: match recorded.silence() {
            None if many => findings(configuration, &recorded.rows),
            _ => String::new(),
        },
    };
    let figures = comparison::figures(&used, arms);
    let content = Content { head: &parts.head, sections: &sections, contestants: &contestants, figures, loads };
    let pictures = pictures(folder);
    let files = [
        ("verdicts.csv", verdicts_table(&recorded)?),
        ("report.md", markdown(&recorded, &parts, &pictures).into_bytes()),
        ("report.html", page(&recorded, &content, &pictures).into_bytes()),
    ];
    let failed = files.iter().filter_map(|(name, text)| Some((name, fs::write(folder.join(name), text).err()?)));
    let failed: Vec<_> = failed.collect();
    if let Some((_, error)) = failed.first() {
        let names: Vec<&str> = failed.iter().map(|(name, _)| **name).collect();
        terminal::say(format_args!(
            "warning: not written in {}: {}: {error}",
            plain(&folder.to_string_lossy()),
            names.join(", ")
        ));
    }
    Ok((recorded, parts))
}

fn terminal(folder: &Path, recorded: &Recorded, parts: &Parts) -> String {
    let mut text = format!("{}{}\n{}", parts.head, parts.table, verdicts(&recorded.judgement, recorded.is_complete()));
    for part in [&parts.scorecard, &parts.loads].into_iter().filter(|part| !part.is_empty()) {
        text.push_str(&format!("\n{part}"));
    }
    format!("{text}files: {}\n", plain(&folder.to_string_lossy()))
}

/// A Markdown file with places for parts of a report.
struct Document<'a> {
    file: &'a Path,
    text: String,
}

impl<'a> Document<'a> {
    /// # Errors
    /// If it cannot be read or written, or has no place for the report.
    fn read(file: &'a Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let writable = fs::OpenOptions::new().append(true).open(file);
        writable.with_context(|| format!("cannot write {}", file.display()))?;
        let (open, close) = marks("report");
        let place = text.split_once(&open).filter(|(_, rest)| rest.contains(&close));
        ensure!(place.is_some(), "{} has no line {} with {close} behind it", file.display(), open.trim_end());
        Ok(Self { file, text })
    }

    /// Puts parts of a report into it, each between its two marks.
    ///
    /// # Errors
    /// If it cannot be written.
    fn splice(self, recorded: &Recorded, parts: &Parts) -> Result<()> {
        let document = spliced(self.text, recorded, parts);
        fs::write(self.file, document).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// What stands around the place of a part.
fn marks(name: &str) -> (String, String) {
    (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"))
}

fn spliced(mut document: String, recorded: &Recorded, parts: &Parts) -> String {
    let (report, verdicts) =
        (format!("{}{}", parts.head, parts.table), verdicts(&recorded.judgement, recorded.is_complete()));
    let texts =
        [("report", &report), ("verdicts", &verdicts), ("scorecard", &parts.scorecard), ("loads", &parts.loads)];
    for (name, text) in texts {
        let (open, close) = marks(name);
        let place = document.split_once(&open).and_then(|(before, rest)| Some((before, rest.split_once(&close)?.1)));
        if let Some((before, after)) = place {
            document = format!("{before}{open}{}\n{close}{after}", fenced(text));
        }
    }
    document
}

/// verdicts.csv: a line for each comparison.
fn verdicts_table(recorded: &Recorded) -> Result<Vec<u8>> {
    let judgement = &recorded.judgement;
    let mut csv = csv::Writer::from_writer(Vec::new());
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
        record.push(match recorded.silence() {
            Some(reason) => format!("no claim: {reason}"),
            None => sentence(finding),
        });
        csv.write_record(record)?;
    }
    Ok(csv.into_inner()?)
}
