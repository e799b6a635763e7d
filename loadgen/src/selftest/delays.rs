//! Known delays, one by one and in a queue.

use std::time::Duration;

use anyhow::Result;

use super::{Answer, Setup, Spoiled, fault_server::Statement, known, load, statement};
use crate::{
    measure::{retry::Retry, trial::Trial},
    plan::Arrivals,
    stats::quantile,
};

/// A delay by the fault server's statement, in nanoseconds.
type Injected = fn(&Statement) -> f64;

/// The compared quantiles, with those of the injected delays.
const QUANTILES: [(f64, &str, Injected); 3] = [
    (0.5, "p50", |statement| statement.delay_ns_p50),
    (0.9, "p90", |statement| statement.delay_ns_p90),
    (0.99, "p99", |statement| statement.delay_ns_p99),
];

/// A fixed delay shifts p50, p90 and p99 by the delays that the server reports, host-made tail included.
pub(super) fn fixed() -> Result<Vec<Answer>> {
    /// The median of so many: the p99 of a trial rests on two messages, which one stall of the host makes late.
    const TRIALS: usize = 5;
    // At equal intervals and 60 % load nothing queues. The delay is much longer than the round trip.
    let setup = Setup::open(60, Arrivals::Constant, Duration::from_secs(4));
    let way = Setup { duration: Duration::from_secs(2), ..setup.clone() };
    let mut delays = [const { Vec::new() }; QUANTILES.len()];
    let mut differences = [const { Vec::new() }; QUANTILES.len()];
    for _ in 0..TRIALS {
        let way_ns = load(&way.fault_server(&[])?)?.window.tally.response.value_at_quantile(0.5) as f64;
        let delayed = undisturbed(&setup)?;
        for (index, (at, _, injected_ns)) in QUANTILES.into_iter().enumerate() {
            let shift = load(&delayed)?.window.tally.response.value_at_quantile(at) as f64 - way_ns;
            let delay = injected_ns(&statement(&delayed)?);
            delays[index].push(delay);
            // Within one trial, so that the host's effect on the delays is in both.
            differences[index].push(shift - delay);
        }
    }
    let answer = |(index, (_, name, _)): (usize, (f64, &str, Injected))| {
        let median = |values: &[f64]| quantile(values, 0.5).unwrap_or(f64::NAN);
        let (expected, difference) = (median(&delays[index]), median(&differences[index]));
        let tolerance = (0.02 * expected).max(3e3);
        Answer::time(format!("delay of 10 ms: shift of {name}"), expected, expected + difference, tolerance)
    };
    Ok(QUANTILES.into_iter().enumerate().map(answer).collect())
}

/// A trial in which the fault server had its CPU nearly all the time.
fn undisturbed(setup: &Setup) -> Result<Trial> {
    let attempted = Retry::PATIENT.until_accepted(|_| {
        let trial = setup.fault_server(&["--delay", "10ms"])?;
        // A message comes every 16.7 ms: a delay that is longer would keep the next one waiting.
        let was_short = statement(&trial)?.delay_ns_p99 < 1.5 * 10e6;
        Ok(if was_short { Ok(trial) } else { Err(()) })
    })?;
    attempted.map_err(|()| {
        Spoiled("this host keeps its own processes waiting: delays of 10 ms become longer ones".to_owned()).into()
    })
}

/// M/D/1 and M/M/1: the mean response is service, wait and the response without a queue.
pub(super) fn queues() -> Result<Vec<Answer>> {
    Ok(vec![
        queue("M/D/1 at half load: mean response", &[])?,
        queue("M/M/1 at half load: mean response", &["--exponential"])?,
    ])
}

fn queue(what: &str, arguments: &[&str]) -> Result<Answer> {
    const TRIALS: u64 = 12;
    const RATE: u64 = 1_000;
    let mut setup = Setup::open(RATE, Arrivals::Poisson, Duration::from_millis(1_500));
    let arguments: Vec<&str> = ["--delay", "500us"].iter().chain(arguments).copied().collect();
    let mut expected = Vec::new();
    let mut got = Vec::new();
    for seed in 0..TRIALS {
        setup.seed = seed;
        // The round trip, and the server's work besides the delay.
        let plain = setup.fault_server(&[])?;
        let way_ns = load(&plain)?.window.tally.response.mean();
        let trial = setup.fault_server(&arguments)?;
        let loaded = load(&trial)?;
        let statement = statement(&trial)?;
        let (delay_ns, deviation_ns) = (statement.delay_ns_mean, statement.delay_ns_stdev);
        let cpu_ns = loaded.server.as_ref().map_or(0, |usage| usage.cpu_ns) as f64;
        // All of the server's time for a message keeps the next one waiting.
        let service_ns = (cpu_ns / loaded.window.tally.counts.echoed as f64).max(delay_ns);
        let square_ns2 = service_ns * service_ns + deviation_ns * deviation_ns;
        expected.push(delay_ns + way_ns + known::queueing_ns(RATE as f64 / 1e9, service_ns, square_ns2));
        got.push(loaded.window.tally.response.mean());
    }
    // The arrivals of a trial are a sample: the standard error is that of its difference from the theory.
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let differences: Vec<f64> = got.iter().zip(&expected).map(|(got, expected)| got - expected).collect();
    let centre = mean(&differences);
    let variance =
        differences.iter().map(|difference| (difference - centre).powi(2)).sum::<f64>() / (TRIALS - 1) as f64;
    let standard_error = (variance / TRIALS as f64).sqrt();
    Ok(Answer::time(what, mean(&expected), mean(&got), 3.0 * standard_error))
}
