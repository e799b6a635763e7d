//! `loadgen report` on a recorded session: everything is made from the files, and made again the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// The newest session that the project keeps.
fn recorded() -> PathBuf {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
    let kept = Command::new("git").arg("-C").arg(&results).args(["ls-files", "*/session.json"]).output().unwrap();
    let kept = String::from_utf8(kept.stdout).unwrap();
    results.join(kept.lines().last().expect("a session is kept")).parent().unwrap().to_owned()
}

/// A copy of it that may be written to.
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
fn what_is_derived_can_be_made_again() {
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
    assert_eq!(titles[..2], ["May it be believed?", "Verdicts"], "the validity stands above all else");
    assert_eq!(titles.last(), Some(&"What this session cannot tell"));
    report(&[folder.path()]);
    assert_eq!(fs::read_to_string(folder.path().join("report.md")).unwrap(), made);
}

#[test]
fn the_reasons_of_invalid_trials_stand_everywhere_with_their_counts() {
    let folder = copy();
    let file = folder.path().join("trials.csv");
    let mut reader = csv::Reader::from_path(&file).unwrap();
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let (valid, reasons) = (column("valid"), column("invalid_reasons"));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let mut writer = csv::Writer::from_path(&file).unwrap();
    writer.write_record(&header).unwrap();
    for (index, row) in rows.iter().enumerate() {
        let mut row: Vec<&str> = row.iter().collect();
        (row[valid], row[reasons]) = match index {
            0..3 => ("invalid", "the hypervisor took CPU time: 5.1 %"),
            3 => ("invalid", "the hypervisor took CPU time: 7.1 %; this host ran short: 5 connections, no free port"),
            _ => ("valid", ""),
        };
        writer.write_record(row).unwrap();
    }
    writer.flush().unwrap();
    let output = report(&[folder.path()]);
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    for text in [String::from_utf8(output.stdout).unwrap(), read("report.md"), read("report.html")] {
        for line in ["invalid in 4: the hypervisor took CPU time", "invalid in 1: this host ran short"] {
            assert!(text.lines().any(|found| found.contains(line)), "{line} is not in:\n{text}");
        }
    }
}

#[test]
fn a_session_agrees_with_itself() {
    let folder = copy();
    let output = report(&[folder.path(), folder.path()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("they agree") && !text.contains("DISAGREE") && !text.contains("one of them only"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn a_session_of_another_host_agrees_without_its_figures() {
    let (one, other) = (copy(), copy());
    alter(other.path(), |about| about["environment"]["kernel"] = "2.6".into());
    let output = report(&[one.path(), other.path()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("another kernel") && text.contains("they agree"), "{text}");
    assert!(!text.contains("PSS"), "{text}");
}

#[test]
fn sessions_that_may_not_be_compared_are_refused_with_the_reason() {
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 2] = [
        (|about| about["build"]["debug_build"] = true.into(), "debug build"),
        (|about| about["configuration"]["profile"] = "smoke".into(), "another profile"),
    ];
    for (change, words) in changes {
        let (one, other) = (copy(), copy());
        alter(other.path(), change);
        let output = report(&[one.path(), other.path()]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{text}");
        assert!(text.contains(words), "{text}");
    }
    let (one, other, third) = (copy(), copy(), copy());
    assert_eq!(report(&[one.path(), other.path(), third.path()]).status.code(), Some(2));
}
