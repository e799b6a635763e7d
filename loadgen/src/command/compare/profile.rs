//! The profiles of one load.

use std::time::Duration;

use anyhow::Result;

use super::cells::ms;
use crate::{
    cli::CompareArgs,
    plan::{Arrivals, Cohorts, Load, Plan, Rate, Shape, Windows, prepare},
};

/// A profile of one load.
pub(super) struct Profile {
    /// The number of blocks that it asks for; on a slow host there are fewer.
    pub(super) blocks: u64,
    pub(super) budget: Duration,
    /// Whether its figures mean anything: then its blocks are whole squares, and enough for a verdict.
    pub(super) makes_claims: bool,
    connections: u32,
    rate_per_sec: f64,
    windows: Windows,
    status_interval: Duration,
}

/// Every window once, however short.
pub(super) const SMOKE: Profile = Profile {
    blocks: 2,
    budget: Duration::from_secs(60),
    makes_claims: false,
    connections: 8,
    rate_per_sec: 2_000.0,
    windows: Windows { idle: ms(200), warmup: ms(50), load: ms(200), peak: ms(100), drain_bursts: 3 },
    status_interval: ms(50),
};

/// Trials so short that host drift within a block is negligible. Throughput is the drain's: a closed loop would measure
/// the generator as well.
pub(super) const QUICK: Profile = Profile {
    blocks: 48,
    budget: Duration::from_secs(225),
    makes_claims: true,
    connections: 64,
    rate_per_sec: 20_000.0,
    windows: Windows { idle: ms(200), warmup: ms(100), load: ms(300), peak: ms(0), drain_bursts: 12 },
    status_interval: ms(100),
};

impl Profile {
    pub(super) fn plan(&self, args: &CompareArgs, seed: u64) -> Result<Plan> {
        let rate = args.rate.clone().unwrap_or(Rate::Steady(self.rate_per_sec));
        let shape = Shape {
            connections: args.connections.unwrap_or(self.connections),
            load: Load::Open { rate, arrivals: Arrivals::Poisson },
            payloads: args.payload.clone(),
            windows: self.windows,
            status_interval: Some(self.status_interval),
            cohorts: Cohorts::default(),
            service: args.service.service(),
        };
        prepare(shape, &args.host, seed)
    }
}
