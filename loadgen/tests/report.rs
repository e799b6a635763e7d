//! `loadgen report` on a recorded session: everything is derived from the files, reproducibly.

#[path = "support/recorded.rs"]
mod recorded;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use recorded::recorded;
use serde_json::Value;

/// A writable copy of that session.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(recorded()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

fn report(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen")).arg("report").args(arguments).output().unwrap()
}

/// Changes session.json.
fn alter(folder: &Path, change: impl FnOnce(&mut Value)) {
    let file = folder.join("session.json");
    let mut about: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut about);
    fs::write(file, about.to_string()).unwrap();
}

#[test]
fn derived_files_can_be_regenerated() {
    let folder = copy();
    for derived in ["report.md", "verdicts.csv"] {
        let _ = fs::remove_file(folder.path().join(derived));
    }
    let output = report(&[folder.path()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.starts_with("files:")), "{text}");
    let made = fs::read_to_string(folder.path().join("report.md")).unwrap();
    let titles: Vec<&str> = made.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(titles[..2], ["Validity", "Verdicts"], "the validity stands above all else");
    assert_eq!(titles.last(), Some(&"What this session cannot tell"));
    report(&[folder.path()]);
    assert_eq!(fs::read_to_string(folder.path().join("report.md")).unwrap(), made);
}

#[test]
fn the_reasons_of_invalid_trials_are_shown_everywhere_with_their_counts() {
    let folder = copy();
    let file = folder.path().join("trials.csv");
    let mut reader = csv::Reader::from_path(&file).unwrap();
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (valid, reasons) = (column("validity"), column("invalid_reasons"));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let mut writer = csv::Writer::from_path(&file).unwrap();
    writer.write_record(&header).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let mut row: Vec<&str> = row.iter().collect();
        (row[valid], row[reasons]) = match index {
            0..3 => ("invalid", "steal=0.051"),
            3 => ("invalid", "steal=0.071; host_shortage=5"),
            _ => ("valid", ""),
        };
        writer.write_record(row).unwrap();
    }
    writer.flush().unwrap();
    let output = report(&[folder.path()]);
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    for text in [String::from_utf8(output.stdout).unwrap(), read("report.md"), read("report.html")] {
        for line in ["invalid in 4: the hypervisor stole CPU time", "invalid in 1: this host ran short"] {
            assert!(text.lines().any(|found| found.contains(line)), "{line} is not in:\n{text}");
        }
    }
}

/// Changes every row of trials.csv: each cell, given its column and old value.
fn alter_rows(folder: &Path, change: impl Fn(&str, &str) -> Option<String>) {
    let file = folder.join("trials.csv");
    let mut table = csv::Reader::from_path(&file).unwrap();
    let header = table.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = table.records().map(|row| row.unwrap()).collect();
    let mut altered = csv::Writer::from_path(&file).unwrap();
    altered.write_record(&header).unwrap();
    for row in &rows {
        let cells =
            header.iter().zip(row).map(|(column, cell)| change(column, cell).unwrap_or_else(|| cell.to_owned()));
        altered.write_record(cells).unwrap();
    }
    altered.flush().unwrap();
}

/// Renames tokio everywhere in a session.
fn rename(folder: &Path, name: &str) {
    alter_rows(folder, |column, cell| (column == "arm" && cell == "tokio").then(|| name.to_owned()));
    let file = folder.join("session.json");
    let about = fs::read_to_string(&file).unwrap();
    fs::write(file, about.replace("\"tokio\"", &serde_json::to_string(name).unwrap())).unwrap();
}

#[test]
fn an_arm_whose_name_looks_like_a_number_is_judged_like_any_other() {
    let (plain, folder) = (copy(), copy());
    let mut before = "tokio".to_owned();
    let lines = |output: Output| String::from_utf8(output.stdout).unwrap().lines().count();
    let expected = lines(report(&[plain.path()]));
    for name in ["7", "true", "007", "1e5", "nan"] {
        alter_rows(folder.path(), |column, cell| (column == "arm" && cell == before).then(|| name.to_owned()));
        alter(folder.path(), |about| {
            let text = about.to_string().replace(&format!("\"{before}\""), &format!("\"{name}\""));
            *about = serde_json::from_str(&text).unwrap();
        });
        before = name.to_owned();
        let output = report(&[folder.path()]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("too few blocks"), "{name}: {text}");
        assert_eq!(lines(output), expected, "{name}: {text}");
    }
}

#[test]
fn a_read_only_session_is_reported_with_a_warning() {
    let folder = copy();
    let expected = report(&[folder.path()]).stdout;
    // Not even root can write to these.
    for derived in ["report.md", "report.html", "verdicts.csv"] {
        let file = folder.path().join(derived);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
    }
    let output = report(&[folder.path()]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), words.lines().count()), (Some(0), 1), "{words}");
    assert!(words.starts_with("warning: not written") && words.contains("report.md"), "{words}");
    assert_eq!(output.stdout, expected);
}

#[test]
fn a_document_without_marks_for_the_report_is_refused_before_anything_is_written() {
    let folder = copy();
    let document = folder.path().join("document.md");
    for (text, words) in [(None, "cannot read"), (Some("<!-- report -->\n"), "has no line")] {
        fs::remove_file(folder.path().join("report.md")).or_else(|_| fs::metadata(folder.path()).map(drop)).unwrap();
        text.into_iter().for_each(|text| fs::write(&document, text).unwrap());
        let output = report(&[folder.path(), Path::new("--splice"), &document]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains(words) && !folder.path().join("report.md").exists(), "{said}");
    }
}

/// Text without the colours of `loadgen`.
fn uncoloured(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| match part.split_once('m') {
        Some((colour, rest)) if colour.chars().all(|c| c.is_ascii_digit() || c == ';') => plain + rest,
        _ => plain + "\u{1b}[" + part,
    })
}

#[test]
fn control_sequences_and_markup_in_a_record_are_escaped() {
    /// Clears the screen, sets the title, forges a line, turns the direction round, and three kinds of markup.
    const STRANGE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\nforged\r\u{9b}31m\u{202e}<script>alert(1)</script>```[x](y)";
    let is_text = |text: &str| {
        let hidden = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
        assert!(!text.contains(hidden) && !text.lines().any(|line| line.starts_with("forged")), "{text:?}");
    };
    let (folder, other) = (copy(), copy());
    alter(other.path(), |about| about["started_at_unix_ms"] = 1.into());
    for session in [&folder, &other] {
        rename(session.path(), STRANGE);
        alter_rows(session.path(), |column, cell| {
            matches!(column, "error" | "host_shortage" | "git_revision").then(|| format!("{cell}{STRANGE}"))
        });
        alter(session.path(), |about| {
            for path in
                [&["session_id"][..], &["environment", "host"], &["environment", "cpu_model"], &["build", "rustc"]]
            {
                *path.iter().fold(&mut *about, |value, key| &mut value[*key]) = STRANGE.into();
            }
            about["command"].as_array_mut().unwrap().push(STRANGE.into());
            about["environment"][STRANGE] = STRANGE.into();
        });
        let svg = format!("<svg><title>{STRANGE}</title></svg>");
        fs::write(session.path().join("strange.svg"), &svg).unwrap();
        fs::write(session.path().join("\u{1b}[2J<script>.svg"), &svg).unwrap();
    }
    for folders in [&[folder.path()][..], &[folder.path(), other.path()], &[Path::new(STRANGE)]] {
        // As on a terminal, except for the colours: in a pipe no sequence is printed at all.
        let output = report(&[&[Path::new("--color=always")], folders].concat());
        is_text(&uncoloured(&String::from_utf8(output.stdout).unwrap()));
        is_text(&String::from_utf8(output.stderr).unwrap());
    }
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    is_text(&page);
    assert!(!page.contains("<script"), "{page}");
    let markdown = fs::read_to_string(folder.path().join("report.md")).unwrap();
    is_text(&markdown);
    // Inside fences it is plain text; the fence is longer than any in the text.
    let mut fence: Option<&str> = None;
    for line in markdown.lines() {
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        match fence {
            Some(open) if ticks == open && line == ticks => fence = None,
            Some(_) => {}
            None if ticks.len() > 2 => fence = Some(ticks),
            None => assert!(!line.contains("<script") && !line.contains("[x](y)"), "{line}"),
        }
    }
    assert_eq!(fence, None, "a fence is never closed");
}
