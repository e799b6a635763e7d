//! `loadgen report A B C ...`: what replicates, and what may not be compared.

#[path = "support/recorded.rs"]
mod recorded;

use std::{
    fs,
    process::{Command, Output},
};

use recorded::recorded;
use serde_json::Value;

/// A copy of that session, as if recorded at another time, with another change of session.json.
fn session(started: u64, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(recorded().join("trials.csv"), folder.path().join("trials.csv")).unwrap();
    let mut about: Value = serde_json::from_slice(&fs::read(recorded().join("session.json")).unwrap()).unwrap();
    about["session_id"] = format!("session-{started}").into();
    about["started_at_unix_ms"] = started.into();
    change(&mut about);
    fs::write(folder.path().join("session.json"), about.to_string()).unwrap();
    folder
}

fn same(started: u64) -> tempfile::TempDir {
    session(started, |_| {})
}

fn report(folders: &[&tempfile::TempDir], options: &[&str]) -> Output {
    let folders = folders.iter().map(|folder| folder.path());
    Command::new(env!("CARGO_BIN_EXE_loadgen")).arg("report").args(folders).args(options).output().unwrap()
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    text
}

/// The one line with which these are refused.
fn refused(folders: &[&tempfile::TempDir], options: &[&str]) -> String {
    let output = report(folders, options);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{text}");
    assert!(output.stdout.is_empty());
    text
}

#[test]
fn the_same_figures_three_times_replicate_with_a_prediction() {
    let sessions = [same(1), same(2), same(3)];
    let text = told(&report(&[&sessions[0], &sessions[1], &sessions[2]], &[]));
    assert!(text.contains("replicates, mio lower") && !text.contains("CONTRADICTS"), "{text}");
    assert!(text.contains("\n  C    ") && text.contains("\n  mean ") && text.contains("\n  next "), "{text}");
    assert!(text.contains("I2 0 %, tau 0.0 %") && !text.contains("sign only"), "{text}");
    assert!(text.contains("largest replicated loss of each server\n  mio: "), "{text}");
    // On one host, medians stand side by side.
    assert!(text.contains("median (quartiles)"), "{text}");
    let text = told(&report(&[&sessions[0], &sessions[1]], &[]));
    assert!(text.contains("\n  range ") && !text.contains("\n  mean "), "two have a range alone: {text}");
}

#[test]
fn another_build_is_another_server_and_is_shown_but_not_combined() {
    let change = |about: &mut Value| {
        about["build"]["git_revision"] = "0123456789ab".into();
        about["build"]["binary_sha256"] = "00".into();
    };
    let (one, other, changed) = (same(1), same(2), session(3, change));
    let text = told(&report(&[&one, &other, &changed], &[]));
    assert!(text.contains("\n  B    ") && text.contains("\n  C*   ") && !text.contains("\n  mean "), "{text}");
    let text = told(&report(&[&one, &changed], &[]));
    assert!(text.contains("not combined, no two of one build") && !text.contains("replicates,"), "{text}");
    assert!(text.contains("mio: none"), "{text}");
}

#[test]
fn sessions_of_another_host_are_combined_without_their_medians() {
    let other = session(2, |about| about["environment"]["kernel"] = "2.6".into());
    let text = told(&report(&[&same(1), &other], &[]));
    assert!(text.contains("no figures side by side: another kernel") && text.contains("replicates"), "{text}");
    assert!(!text.contains("PSS") && !text.contains("median"), "{text}");
}

#[test]
fn a_session_that_makes_no_claims_is_listed_with_its_reason_and_does_not_enter() {
    let partial = session(3, |about| about["state"] = "partial".into());
    let text = told(&report(&[&same(1), &partial, &same(2)], &[]));
    assert!(text.contains("B  session-3") && text.contains("not used: the session is PARTIAL"), "{text}");
    assert!(text.contains("\n  A    ") && text.contains("\n  C    ") && !text.contains("\n  B"), "{text}");
    let words = refused(&[&same(1), &partial], &[]);
    assert!(words.contains("two or more sessions") && words.contains("B: the session is PARTIAL"), "{words}");
}

#[test]
fn a_session_with_too_few_blocks_is_left_out_with_the_number_that_is_needed() {
    let short = same(2);
    let file = short.path().join("trials.csv");
    let mut table = csv::Reader::from_path(&file).unwrap();
    let header = table.headers().unwrap().clone();
    let block = header.iter().position(|column| column == "block").unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let mut fewer = csv::Writer::from_path(&file).unwrap();
    fewer.write_record(&header).unwrap();
    for row in rows.iter().filter(|row| row[block].parse::<u64>().unwrap() <= 4) {
        fewer.write_record(row).unwrap();
    }
    fewer.flush().unwrap();
    let words = refused(&[&same(1), &short], &[]);
    assert!(words.contains("B: ") && words.contains(" valid blocks are too few for any verdict, 1"), "{words}");
}

#[test]
fn sessions_that_cannot_be_compared_are_refused_with_the_reason() {
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 4] = [
        (|about| about["build"]["debug_build"] = true.into(), "A and B may not be compared: a debug build"),
        (|about| about["configuration"]["profile"] = "smoke".into(), "another profile (full and smoke)"),
        (
            |about| {
                let cells = about["configuration"]["cells"].as_array_mut().unwrap();
                cells.iter_mut().for_each(|cell| cell["plan"]["connections"] = 65.into());
            },
            "another load, connections is 64 in one and 65 in the other",
        ),
        (|about| about["schema_version"] = 2.into(), "it was recorded in schema 2"),
    ];
    for (change, words) in changes {
        let text = refused(&[&same(1), &session(2, change)], &[]);
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn sessions_without_two_servers_in_common_are_refused() {
    let other = same(2);
    for (file, old, new) in [
        ("session.json", "\"mio\"", "\"epoll\""),
        ("session.json", "\"mio#2\"", "\"epoll#2\""),
        ("session.json", "\"threads\"", "\"blocking\""),
        ("session.json", "\"tokio-current-thread\"", "\"busy-loop\""),
        ("trials.csv", ",mio,", ",epoll,"),
        ("trials.csv", ",mio#2,", ",epoll#2,"),
        ("trials.csv", ",threads,", ",blocking,"),
        ("trials.csv", ",tokio-current-thread,", ",busy-loop,"),
    ] {
        let file = other.path().join(file);
        let text = fs::read_to_string(&file).unwrap();
        // Fields that stand beside each other share their comma.
        fs::write(&file, text.replace(old, new).replace(old, new)).unwrap();
    }
    let words = refused(&[&same(1), &other], &[]);
    assert!(words.contains("A has no two servers in common with another session: it has mio, threads"), "{words}");
}

#[test]
fn a_session_counts_once_whatever_its_folder_is_called() {
    let one = same(1);
    let words = refused(&[&one, &same(2), &one], &[]);
    assert!(words.contains("is named twice"), "{words}");
    let words = refused(&[&same(1), &same(2), &same(1)], &[]);
    assert!(words.contains("A and C are the same session, session-1"), "{words}");
}

#[test]
fn options_and_folders_that_do_not_fit_several_sessions_are_refused() {
    let (one, other, empty) = (same(1), same(2), tempfile::tempdir().unwrap());
    assert!(refused(&[&one], &["--format", "csv"]).contains("takes two or more sessions"));
    assert!(refused(&[&one, &other], &["--format", "gha"]).contains("takes one session alone"));
    assert!(refused(&[&one, &other], &["--splice", "README.md"]).contains("takes one session"));
    assert!(refused(&[&one, &empty, &other], &[]).contains("holds no session"));
}

#[test]
fn the_table_has_a_row_for_every_session_mean_and_prediction() {
    let sessions = [same(1), same(2), same(3)];
    let output = report(&[&sessions[0], &sessions[1], &sessions[2]], &["--format", "csv"]);
    assert!(output.status.success());
    let mut table = csv::Reader::from_reader(&output.stdout[..]);
    let rows: Vec<std::collections::BTreeMap<String, String>> = table.deserialize().map(Result::unwrap).collect();
    let of = |row: &str| -> Vec<_> {
        rows.iter()
            .filter(|it| it["row"] == row && it["cell"].is_empty() && it["metric"] == "CPU per message")
            .collect()
    };
    // Six pairs of four servers.
    assert_eq!([of("session").len(), of("mean").len(), of("prediction").len()], [18, 6, 6]);
    for (mean, prediction) in of("mean").into_iter().zip(of("prediction")) {
        let number =
            |row: &std::collections::BTreeMap<String, String>, column: &str| row[column].parse::<f64>().unwrap();
        assert!(number(prediction, "low") <= number(mean, "low") && number(mean, "low") < number(mean, "estimate"));
        assert!(number(mean, "estimate") < number(mean, "high") && number(mean, "high") <= number(prediction, "high"));
    }
    assert!(rows.iter().any(|row| !row["cell"].is_empty()), "the other loads are there as well");
}
