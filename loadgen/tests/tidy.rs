//! Documents match the code.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value};
use servers::SERVERS;

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The names in backticks in the first cells of a document's tables.
fn first_cells(text: &str) -> Vec<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_column_is_explained_and_every_explained_column_exists() {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", "--server", "mio", "--json", "--pacing", "timer", "--placement", "shared", "--rate", "100"])
        .args(["--connections", "1", "--idle", "0s", "--warmup", "0s", "--duration", "50ms"])
        .output()
        .unwrap();
    let row: Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = read("results/README.md");
    let (_, dictionary) = text.split_once("## trials.csv").unwrap();
    let (dictionary, _) = dictionary.split_once("\n## ").unwrap();
    let explained: Vec<String> = first_cells(dictionary).into_iter().flat_map(expand).collect();
    let columns: Vec<String> = row.keys().cloned().collect();
    assert_eq!(explained, columns, "results/README.md lists the columns in their order");
}

/// `response_ns_*` stands for its eight statistics.
fn expand(name: &str) -> Vec<String> {
    match name.strip_suffix('*') {
        None => vec![name.to_owned()],
        Some(metric) => {
            ["min", "mean", "p50", "p90", "p95", "p99", "p999", "p9999", "max"].map(|it| format!("{metric}{it}")).into()
        }
    }
}

#[test]
fn the_figures_of_the_readme_are_those_of_its_session() {
    let readme = read("README.md");
    let (_, name) = readme.split_once("(results/").unwrap();
    let (name, _) = name.split_once('/').unwrap();
    let folder = tempfile::tempdir().unwrap();
    for file in ["session.json", "trials.csv"] {
        fs::write(folder.path().join(file), read(&format!("results/{name}/{file}"))).unwrap();
    }
    let copy = folder.path().join("README.md");
    fs::write(&copy, &readme).unwrap();
    let mut report = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    let output = report.arg("report").arg(folder.path()).arg("--splice").arg(&copy).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read_to_string(copy).unwrap() == readme, "loadgen report results/{name} --splice README.md");
}

#[test]
fn every_server_has_its_row_in_the_readme() {
    let text = read("servers/README.md");
    for server in SERVERS {
        let row = text.lines().find(|line| line.starts_with(&format!("| {} |", server.name)));
        let row = row.unwrap_or_else(|| panic!("servers/README.md has no row for {}", server.name));
        assert!(row.contains(server.summary), "{row}\nshould say: {}", server.summary);
    }
}

#[test]
fn every_clause_of_the_specification_is_checked() {
    let specification = read("servers/protocol/SPEC.md");
    let clauses = specification.lines().filter_map(|line| line.strip_prefix("**")?.split(' ').next());
    let checked: Vec<&str> = loadgen::verify::checks().map(|check| check.clause).collect();
    for clause in clauses.filter(|clause| clause.len() == 2) {
        assert!(checked.contains(&clause), "{clause} is not checked");
    }
}

#[test]
fn no_file_has_more_than_450_lines() {
    for folder in ["servers", "loadgen", "benches"] {
        for (path, text) in sources(&workspace().join(folder)) {
            let lines = text.lines().count();
            assert!(lines <= 450, "{} has {lines} lines", path.display());
        }
    }
}

/// Every Rust file of a folder and its sub-folders, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    files
}

#[test]
fn every_folder_has_a_readme() {
    for folder in [".", "servers", "servers/protocol", "loadgen", "benches", "results", "scripts"] {
        assert!(read(&format!("{folder}/README.md")).lines().count() >= 3, "{folder}/README.md");
    }
}

#[test]
fn only_the_terminal_writes_to_stdout_and_stderr() {
    // `print!` and `eprintln!` panic on a full disk or a closed pipe, and an ignored result hides the error.
    let writes = ["println!(", "print!(", "io::stdout()", "io::stderr()", "dbg!("];
    for (path, text) in sources(&workspace().join("loadgen/src")) {
        for line in text.lines().filter(|_| !path.ends_with("terminal.rs")) {
            assert!(!writes.iter().any(|write| line.contains(write)), "{}: {line}", path.display());
        }
    }
}
