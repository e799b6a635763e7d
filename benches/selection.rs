//! Decides whether criterion would run a benchmark, for the comparison, which criterion does not run because it lasts
//! minutes and has its own report. To be called once criterion has accepted the arguments.

use regex::Regex;

/// How a benchmark is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Not to run: filtered out, only listed, or replaced by the figures of a past run.
    Nothing,
    /// To run once, as a functional test.
    Test,
    /// To measure.
    Measure,
}

/// Criterion's options with a value, which must not be mistaken for a filter.
const WITH_VALUE: [&str; 20] = [
    "-b",
    "-c",
    "-s",
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

/// How these arguments (without the program's name) request the benchmark `name`.
pub(crate) fn requested(arguments: &[String], name: &str) -> Request {
    let has = |flag: &str| arguments.iter().any(|argument| argument.split('=').next() == Some(flag));
    if has("--list") || has("--ignored") || has("--load-baseline") || !is_selected(arguments, name, has("--exact")) {
        Request::Nothing
    } else if has("--test") || has("--profile-time") || !has("--bench") {
        // `cargo test --benches` passes no --bench and needs only a functional test; so does profiling.
        Request::Test
    } else {
        Request::Measure
    }
}

/// Whether the benchmark matches the filter, which is the argument that is neither an option nor the value of one.
fn is_selected(arguments: &[String], name: &str, exact: bool) -> bool {
    let before = [""].into_iter().chain(arguments.iter().map(String::as_str));
    let mut pairs = before.zip(arguments.iter().map(String::as_str));
    match pairs.find(|(before, it)| !it.starts_with('-') && !WITH_VALUE.contains(before)) {
        None => true,
        Some((_, filter)) if exact => filter == name,
        Some((_, filter)) => Regex::new(filter).is_ok_and(|filter| filter.is_match(name)),
    }
}
