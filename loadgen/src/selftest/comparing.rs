//! Comparisons whose result is known.

use std::time::Duration;

use anyhow::Result;

use super::{Answer, Setup, Spoiled, load, statement};
use crate::{
    measure::trial::Trial,
    plan::Arrivals,
    stats::{
        comparison::{Comparison, Endpoint, compare_alone},
        simulate::simulated_coverage,
        verdict::Margin,
    },
};

const BLOCKS: usize = 40;

/// A server does not differ from itself; one that spends 5 % more CPU time per message does.
pub(super) fn injected() -> Result<Vec<Answer>> {
    let setup = Setup::open(10_000, Arrivals::Poisson, Duration::from_millis(300));
    let cpu_ns = |trial: &Trial| -> Result<f64> {
        let loaded = load(trial)?;
        Ok(loaded.server.as_ref().map_or(0, |usage| usage.cpu_ns) as f64 / loaded.window.tally.counts.echoed as f64)
    };
    let spun_ns = |trial: &Trial| -> Result<f64> {
        let statement = statement(trial)?;
        Ok(statement.spun_ns as f64 / statement.messages as f64)
    };
    // Both spin, so that they differ only in the duration: by 5 % of the CPU time per message. A good part of that is the
    // spinning, whose noise is small: whether a host's noise allows for 5 % is a question for a comparison, not a proof.
    let base = ["--delay", "20us"];
    let more = format!("{}ns", 20_000 + (0.05 * cpu_ns(&setup.fault_server(&base)?)?) as u64);
    let arms = [&base[..], &base, &["--delay", &more]];
    let (mut values, mut spun) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    for block in 0..BLOCKS {
        let setup = Setup { seed: block as u64, ..setup.clone() };
        // Every order in turn: each arm is as often first as last.
        for place in 0..arms.len() {
            let arm = (block + place * if block % 2 == 0 { 1 } else { 2 }) % arms.len();
            let trial = setup.fault_server(arms[arm])?;
            values[arm].push(cpu_ns(&trial)?);
            spun[arm].push(spun_ns(&trial)?);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let expected = 1.0 + (mean(&spun[2]) - mean(&spun[0])) / mean(&values[0]);
    let same = ratio(&values[0], &values[1])?;
    let different = ratio(&values[0], &values[2])?;
    // Half of a 95 % interval, widened to about 99.5 %: a proof that fails one time in twenty proves nothing.
    let half = |comparison: &Comparison| 1.45 * (comparison.interval.1 - comparison.interval.0) / 2.0;
    Ok(vec![
        Answer::number("CPU per message, against itself: ratio", 1.0, same.estimate, half(&same).max(0.01)),
        Answer::fact("  no difference is claimed", same.p_value > 0.005),
        Answer::number("  with 5 % more injected: ratio", expected, different.estimate, half(&different).max(0.01)),
        Answer::fact("  the difference is found", different.interval.0 > 1.0),
    ])
}

/// The ratio of the second series to the first one.
pub(super) fn ratio(first: &[f64], second: &[f64]) -> Result<Comparison> {
    let compared = compare_alone(Endpoint { first, second, margin: Margin::Ratio(0.03) }, 0.05);
    compared.ok_or_else(|| Spoiled("a trial without CPU time".to_owned()).into())
}

/// 95 % intervals hold the true value in 95 of 100 made-up sessions.
pub(super) fn coverage() -> Answer {
    Answer::number("coverage of 95 % intervals, 40 blocks", 0.95, simulated_coverage(1, BLOCKS, 4_000), 0.02)
}
