//! Small runs and their output.

use std::{
    ffi::OsStr,
    process::{Command, Output},
};

use serde_json::Value;

/// A small load without windows, and default windows.
pub(crate) const LOAD: &str =
    "--connections 4 --rate 200 --warmup 0s --pacing timer --placement shared --no-calibration";
pub(crate) const WINDOWS: &str = "--idle 0s --duration 300ms";

pub(crate) fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

pub(crate) fn loadgen<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments);
    command
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The printed record of a run. A busy host may make it invalid, which is not the guest's fault.
pub(crate) fn row(output: &Output) -> Value {
    let text = stderr(output);
    let row: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    let is_unclear = row["outcome"] == "unclear" && row["validity"] == "invalid";
    assert!(is_unclear || row["outcome"] == "ok", "{row}\n{text}");
    row
}
