//! The main job: the quick comparison of the three servers. It understands the arguments that `cargo bench` hands to
//! every target (filters, `--test`, `--list`, criterion's options), and leaves the session in results/.

use std::{
    env,
    process::{Command, ExitCode},
};

const NAME: &str = "side_by_side";

/// Criterion's options that take a value, which is no filter.
const WITH_VALUE: [&str; 19] = [
    "-b",
    "-c",
    "--baseline",
    "--baseline-lenient",
    "--color",
    "--colour",
    "--confidence-level",
    "--format",
    "--load-baseline",
    "--measurement-time",
    "--noise-threshold",
    "--nresamples",
    "--output-format",
    "--plotting-backend",
    "--profile-time",
    "--sample-size",
    "--save-baseline",
    "--significance-level",
    "--warm-up-time",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        println!("{NAME}: benchmark");
        return ExitCode::SUCCESS;
    }
    if filters(&arguments).next().is_some() && !filters(&arguments).any(|filter| NAME.contains(filter)) {
        return ExitCode::SUCCESS;
    }
    // `cargo test --benches` gives no --bench, and wants to know whether it works.
    if has("--test") || !has("--bench") { test() } else { compare(&["--profile", "quick"]) }
}

/// What is neither an option nor the value of one.
fn filters(arguments: &[String]) -> impl Iterator<Item = &str> {
    let before = [""].into_iter().chain(arguments.iter().map(String::as_str));
    let pairs = before.zip(arguments.iter().map(String::as_str));
    pairs.filter(|(before, it)| !it.starts_with('-') && !WITH_VALUE.contains(before)).map(|(_, it)| it)
}

/// Runs the comparison. Once the session is recorded a noisy host is no failed build: it says so on the screen.
fn compare(arguments: &[&str]) -> ExitCode {
    const INVALID: i32 = 5;
    let status = Command::new(env!("CARGO_BIN_EXE_loadgen")).arg("compare").args(arguments).status();
    match status.map(|status| status.code()) {
        Ok(Some(0 | INVALID)) => ExitCode::SUCCESS,
        Ok(code) => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: cannot start loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One small block, into a folder that does not stay.
fn test() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let session = folder.path().join("session");
    let exit = compare(&["--profile", "smoke", "--blocks", "1", "--out", session.to_str().expect("a plain path")]);
    println!("Testing {NAME}: {}", if exit == ExitCode::SUCCESS { "Success" } else { "failed" });
    exit
}
