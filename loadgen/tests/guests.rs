//! Guests: `--command` in verify, run and compare.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

fn loadgen(arguments: &[&str]) -> Output {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).current_dir(workspace).output().unwrap()
}

const ECHO: &str = "python3 servers/guests/echo.py {addr} {status_interval_ms} {max_connections}";

/// Whether the host has Python, in which the guest is written.
fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: there is no python3 on this host, and the guest is written in it");
    }
    found
}

#[test]
fn the_guest_keeps_every_clause() {
    if !has_python() {
        return;
    }
    let output = loadgen(&["verify", "--command", ECHO]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    // Only checks that the host does not support are skipped (a shortage of threads needs a user other than root), and
    // those of what the guest is not asked for.
    let reasons = ["RLIMIT_NPROC", "no {work}", "no {handshake_ms}", "no {idle_timeout_ms}"];
    let is_expected = |line: &str| reasons.iter().any(|reason| line.contains(reason));
    assert!(text.lines().filter(|line| line.contains(" skipped ")).all(is_expected), "{text}");
    assert!(text.lines().last().unwrap().contains(" 0 fail, 0 declared, "), "{text}");
}

#[test]
fn a_check_that_needs_an_absent_placeholder_is_skipped_with_the_reason() {
    if !has_python() {
        return;
    }
    let output = loadgen(&["verify", "--command", "python3 servers/guests/echo.py {addr} {status_interval_ms}"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.lines().any(|line| line.starts_with("F3  skipped") && line.contains("{max_connections}")), "{text}");
}

#[test]
fn the_guest_is_measured_and_compared_like_any_other() {
    if !has_python() {
        return;
    }
    let load = ["--pacing", "timer", "--placement", "shared", "--connections", "4", "--rate", "200"];
    let windows = ["--idle", "0s", "--warmup", "0s", "--duration", "200ms"];
    let output = loadgen(&[&["run", "--json", "--command", ECHO], &load[..], &windows].concat());
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&row["outcome"], &row["target_kind"]), (&"ok".into(), &"command".into()), "{row}");
    assert!(row["server"].is_null() && row["server_cpu_ns_load"].as_u64().unwrap() > 0);

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("session");
    let guest = format!("guest={ECHO}");
    let compare = ["compare", "--profile", "smoke", "--blocks", "1", "--servers", "mio", "--command", &guest];
    let output = loadgen(&[&compare, &load[..], &["--out", out.to_str().unwrap()]].concat());
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", String::from_utf8_lossy(&output.stderr));
    let mut trials = csv::Reader::from_path(out.join("trials.csv")).unwrap();
    let arm = trials.headers().unwrap().iter().position(|column| column == "arm").unwrap();
    let mut arms: Vec<String> = trials.records().map(|row| row.unwrap()[arm].to_owned()).collect();
    arms.sort_unstable();
    // A block with a trial that a busy host has made invalid is repeated.
    arms.dedup();
    assert_eq!(arms, ["guest", "mio", "mio#2"]);
}

#[test]
fn an_invalid_command_is_refused() {
    let cases = [
        ("", 2, "names no program"),
        ("server {adr}", 2, "{adr} is no placeholder"),
        ("server 'open", 2, "quote"),
        ("no-such-program-anywhere {addr}", 3, "cannot start no-such-program-anywhere"),
        ("echo hello {addr}", 3, "listening on ADDR:PORT"),
        ("true", 3, "exited before it said that it listens"),
    ];
    for (command, code, words) in cases {
        let output = loadgen(&["run", "--command", command]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
        assert!(text.contains(words), "{command:?}: {text}");
    }
    let output = loadgen(&["compare", "--command", "mio=server"]);
    assert_eq!(output.status.code(), Some(2), "a guest may not take a server's name");
}
