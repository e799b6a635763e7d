//! Short runs of the generator against a peer that is already listening.

use std::{
    net::SocketAddr,
    process::{Command, Output},
};

use serde_json::Value;

/// The record of a run with these arguments, which are short unless they are given.
pub(crate) fn run(addr: SocketAddr, arguments: &[&str]) -> Output {
    let unless_given = |option, value| if arguments.contains(&option) { vec![] } else { vec![option, value] };
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", "--target", &addr.to_string(), "--json", "--pacing", "timer", "--placement", "shared"])
        .arg("--no-calibration")
        .args(unless_given("--idle", "0s"))
        .args(unless_given("--duration", "300ms"))
        .args(unless_given("--connections", "2"))
        .args(unless_given("--warmup", "0s"))
        .args(arguments)
        .output()
        .unwrap()
}

/// The summary as text.
pub(crate) fn summary(addr: SocketAddr, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", "--target", &addr.to_string(), "--pacing", "timer", "--placement", "shared"])
        .args(["--idle", "0s", "--duration", "300ms", "--no-calibration", "--connections", "2"])
        .args(if arguments.contains(&"--warmup") { &[][..] } else { &["--warmup", "0s"] })
        .args(arguments)
        .output()
        .unwrap()
}

/// The record of a run that ended with `code`, or with 5 if it is invalid: a busy host may invalidate the measurement, but
/// not the counts.
pub(crate) fn record(output: &Output, code: i32) -> Value {
    let complaint = String::from_utf8_lossy(&output.stderr);
    let row: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no record: {complaint}"));
    let expected = if row["validity"] == "invalid" { 5 } else { code };
    assert_eq!(output.status.code(), Some(expected), "{row}: {complaint}");
    row
}
