//! CPU time, wake-ups and counts.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Answer, Setup, load, statement};
use crate::{measure::trial::Trial, observe::Usage, plan::Arrivals};

/// Spinning 5 ms in every 100 ms is 50 ms of CPU time per second, in addition to the cost of waking up: in a virtual
/// machine that alone may be 1 %.
pub(super) fn cpu_time() -> Result<Vec<Answer>> {
    let per_second = |trial: &Trial| idle(trial).map(|usage| usage.cpu_ns as f64 / usage.at_ns as f64 * 1e9);
    let trial = at_rest(&["--wake", "100ms", "--spin", "5ms"])?;
    let waking = at_rest(&["--wake", "100ms"])?;
    // A whole number of periods; the real duration of the spins is known.
    let statement = statement(&trial)?;
    let expected = statement.spun_ns as f64 / statement.wakes as f64 * 10.0;
    let got = per_second(&trial)? - per_second(&waking)?;
    Ok(vec![Answer::time("spinning 5 ms every 100 ms: CPU per second", expected, got, 0.01 * expected)])
}

/// A timer of 100 Hz is 100 wake-ups per second.
pub(super) fn wakeups() -> Result<Vec<Answer>> {
    let trial = at_rest(&["--wake", "10ms"])?;
    let usage = idle(&trial)?;
    let wakeups = usage.voluntary_switches.context("this host does not tell wake-ups")?;
    Ok(vec![Answer::number(
        "timer of 100 Hz: wake-ups per second",
        100.0,
        wakeups as f64 / usage.at_ns as f64 * 1e9,
        2.0,
    )])
}

/// One message in a thousand is faulty.
pub(super) fn faults() -> Result<Vec<Answer>> {
    // The last faulty message is far enough from the end to be exchanged with a later one.
    let setup = Setup::open(20_000, Arrivals::Constant, Duration::from_millis(1_020));
    let mut answers = Vec::new();
    for (fault, what) in [
        ("drop", "dropped 1 in 1000: lost"),
        ("duplicate", "doubled 1 in 1000: duplicates"),
        ("corrupt", "altered 1 in 1000: corrupt"),
        ("reorder", "exchanged 1 in 1000: reordered"),
    ] {
        let trial = Setup { warmup: Duration::ZERO, ..setup.clone() }.fault_server(&["--fault", fault])?;
        let counts = &load(&trial)?.window.tally.counts;
        let kinds = [counts.lost, counts.duplicate, counts.corrupt, counts.reordered];
        let found =
            ["drop", "duplicate", "corrupt", "reorder"].iter().position(|name| *name == fault).map(|at| kinds[at]);
        answers.push(Answer::count(what, statement(&trial)?.faults, found.unwrap_or(0)));
        let others = kinds.iter().sum::<u64>() - found.unwrap_or(0);
        answers.push(Answer::count("  and taken for something else", 0, others));
    }
    Ok(answers)
}

/// A trial with an idle window and next to no load.
fn at_rest(arguments: &[&str]) -> Result<Trial> {
    let setup = Setup::open(100, Arrivals::Constant, Duration::from_millis(100));
    Setup { idle: Duration::from_secs(3), ..setup }.fault_server(arguments)
}

fn idle(trial: &Trial) -> Result<&Usage> {
    trial.idle.as_ref().and_then(|idle| idle.server.as_ref()).context("the server was not observed")
}
