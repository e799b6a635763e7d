//! What a message costs a server that works on it.

use std::time::Duration;

use anyhow::{Context, Result};
use protocol::{Service, work::Work};

use super::{Answer, Setup, believable, load};
use crate::{
    measure::{launch::server, target::Target},
    plan::Arrivals,
    stats::quantile,
};

/// A message with 100 us more work costs 100 us more CPU time. Both servers work, so that what else a message costs is in
/// neither figure.
pub(super) fn work() -> Result<Vec<Answer>> {
    const PAIRS: u64 = 9;
    const WORK: [Duration; 2] = [Duration::from_micros(20), Duration::from_micros(120)];
    let more_ns = (WORK[1] - WORK[0]).as_nanos() as f64;
    let mut found = Vec::new();
    for pair in 0..PAIRS {
        let mut cost_ns = [0.0; 2];
        // Each is first in turn.
        for place in 0..WORK.len() {
            let which = (pair as usize + place) % WORK.len();
            cost_ns[which] = cpu_per_message_ns(WORK[which], pair)?;
        }
        found.push(cost_ns[1] - cost_ns[0]);
    }
    let got = quantile(&found, 0.5).unwrap_or(f64::NAN);
    Ok(vec![Answer::time("100 us more work: CPU per message", more_ns, got, 0.02 * more_ns)])
}

/// CPU time per message of mio with so much work on each.
fn cpu_per_message_ns(work: Duration, seed: u64) -> Result<f64> {
    let setup = Setup::open(2_000, Arrivals::Constant, Duration::from_millis(500));
    let service = Service::working(Work::each(work));
    let plan = Setup { service, seed, ..setup }.plan()?;
    let trial = believable(&plan, &Target::Server(server("mio", &plan)?))?;
    let loaded = load(&trial)?;
    let usage = loaded.server.as_ref().context("the server was not observed")?;
    Ok(usage.cpu_ns as f64 / loaded.window.tally.counts.echoed as f64)
}
