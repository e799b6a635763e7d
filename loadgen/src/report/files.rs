//! Sessions by their folders: reads them, renders them, and writes the files that are derived.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{
    csv::{break_evens, shifts, verdicts},
    github_action::benchmark,
    html::page,
    markdown::{fenced, markdown},
    model::Report,
    pictures::pictures,
    session::JudgedSession,
    sessions, text,
};
use crate::{
    error::Usage,
    terminal,
    text::{Text, plain},
};

/// The figures of a session for github-action-benchmark.
///
/// # Errors
/// If the folder holds no session.
pub(crate) fn render_trend(folder: &Path) -> Result<String> {
    Ok(benchmark(&JudgedSession::read(folder)?))
}

/// Several sessions side by side.
///
/// # Errors
/// If a folder holds no session or is named twice, or the sessions may not be compared.
pub(crate) fn render_sessions(folders: &[PathBuf]) -> Result<Text> {
    sessions::compare(&judged(folders)?)
}

/// The same as CSV.
///
/// # Errors
/// As [`render_sessions`].
pub(crate) fn render_sessions_csv(folders: &[PathBuf]) -> Result<Text> {
    Ok(String::from_utf8(sessions::table(&judged(folders)?)?)?.into())
}

fn judged(folders: &[PathBuf]) -> Result<Vec<JudgedSession>> {
    let mut seen = BTreeSet::new();
    for folder in folders {
        // A folder that is none is refused when it is read.
        let is_new = fs::canonicalize(folder).map_or(true, |place| seen.insert(place));
        ensure!(is_new, "{} is named twice: name each session once", folder.display());
    }
    folders.iter().map(|folder| JudgedSession::read(folder)).collect()
}

/// Renders a session as [`render`] does and puts parts of the report into a Markdown file as well.
///
/// # Errors
/// A [`Usage`] error if the folder holds no session or the file no place for it; else if the file cannot be written.
pub(crate) fn render_into(folder: &Path, file: &Path) -> Result<Text> {
    let document = Document::read(file).map_err(Usage::from)?;
    let report = rendered(folder).map_err(Usage::from)?;
    document.splice(&report)?;
    Ok(text::terminal(&report, &folder.to_string_lossy()))
}

/// Writes report.md, report.html, verdicts.csv, shift.csv and, if there is work to break even, break_even.csv, which are
/// derived and can be made again, and returns the text for the terminal. If they cannot be written, a warning is printed: the session can be read all the same.
///
/// # Errors
/// If the folder holds no session.
pub(crate) fn render(folder: &Path) -> Result<Text> {
    Ok(text::terminal(&rendered(folder)?, &folder.to_string_lossy()))
}

fn rendered(folder: &Path) -> Result<Report> {
    let report = Report::of(&JudgedSession::read(folder)?, pictures(folder));
    let mut files = vec![
        ("verdicts.csv", verdicts(&report)?),
        ("shift.csv", shifts(&report)?),
        ("report.md", markdown(&report).into_bytes()),
        ("report.html", page(&report).into_bytes()),
    ];
    if !report.break_evens.is_empty() {
        files.push(("break_even.csv", break_evens(&report)?));
    }
    let failed = files.iter().filter_map(|(name, text)| Some((*name, fs::write(folder.join(name), text).err()?)));
    let failed: Vec<_> = failed.collect();
    if let Some((_, error)) = failed.first() {
        let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
        terminal::say(format_args!(
            "warning: not written in {}: {}: {error}",
            plain(&folder.to_string_lossy()),
            names.join(", ")
        ));
    }
    Ok(report)
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
    fn splice(self, report: &Report) -> Result<()> {
        let document = spliced(self.text, report);
        fs::write(self.file, document).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// The lines around the place of a part.
fn marks(name: &str) -> (String, String) {
    (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"))
}

fn spliced(mut document: String, report: &Report) -> String {
    let parts = [
        ("report", text::summary(report)),
        ("verdicts", text::claims(report)),
        ("scorecard", text::scorecard(report)),
        ("loads", text::loads(report)),
    ];
    for (name, text) in parts {
        let (open, close) = marks(name);
        let place = document.split_once(&open).and_then(|(before, rest)| Some((before, rest.split_once(&close)?.1)));
        if let Some((before, after)) = place {
            document = format!("{before}{open}{}\n{close}{after}", fenced(&text));
        }
    }
    document
}
