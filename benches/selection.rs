//! Whether criterion would run a benchmark, for one that criterion does not run: it lasts minutes and has a report of its
//! own. To be asked once criterion has accepted the arguments.

use regex::Regex;

/// What is asked of a benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Not to run: it is filtered out or only listed, or figures of a past run are to be shown again.
    Nothing,
    /// To run once, to see whether it works.
    Test,
    /// To measure.
    Measure,
}

/// Criterion's options that take a value, which is no filter.
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

/// What these arguments, the program's name left out, ask of the benchmark `name`.
pub(crate) fn asked(arguments: &[String], name: &str) -> Asked {
    let has = |flag: &str| arguments.iter().any(|argument| argument.split('=').next() == Some(flag));
    if has("--list") || has("--ignored") || has("--load-baseline") || !is_selected(arguments, name, has("--exact")) {
        Asked::Nothing
    } else if has("--test") || has("--profile-time") || !has("--bench") {
        // `cargo test --benches` gives no --bench, and wants to know whether it works; a profile leaves nothing behind.
        Asked::Test
    } else {
        Asked::Measure
    }
}

/// Whether the filter, if there is one, takes the benchmark. It is what is neither an option nor the value of one.
fn is_selected(arguments: &[String], name: &str, exact: bool) -> bool {
    let before = [""].into_iter().chain(arguments.iter().map(String::as_str));
    let mut pairs = before.zip(arguments.iter().map(String::as_str));
    match pairs.find(|(before, it)| !it.starts_with('-') && !WITH_VALUE.contains(before)) {
        None => true,
        Some((_, filter)) if exact => filter == name,
        Some((_, filter)) => Regex::new(filter).is_ok_and(|filter| filter.is_match(name)),
    }
}
