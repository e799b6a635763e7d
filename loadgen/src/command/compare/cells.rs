//! The loads of a profile: one, or for `full` many.

use std::time::Duration;

use anyhow::Result;

use super::arms::Arm;
use crate::{
    cli::CompareArgs,
    judge::primary::FLOOR,
    plan::{
        Arrivals, Cohorts, HostArgs, Load, PacingChoice, Payloads, PlacementKind, Plan, Rate, Shape, Windows, prepare,
    },
    record::{CellRecord, DroppedCell, PlanRecord, Primary},
};

/// One load of a session, with its arms.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Name in records; `None` if a session has only one load.
    pub(super) label: Option<String>,
    pub(super) plan: Plan,
    pub(super) arms: Vec<Arm>,
    pub(super) blocks: u64,
}

/// A profile of one load.
pub(super) struct Profile {
    pub(super) blocks: u64,
    /// On a slow host there are fewer blocks, but never fewer than this.
    pub(super) blocks_min: u64,
    pub(super) budget: Duration,
    connections: u32,
    rate_per_sec: f64,
    windows: Windows,
    status_interval: Duration,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) const SMOKE: Profile = Profile {
    blocks: 2,
    blocks_min: 2,
    budget: Duration::from_secs(60),
    connections: 8,
    rate_per_sec: 2_000.0,
    windows: Windows { idle: ms(200), warmup: ms(50), load: ms(200), peak: ms(100), drain_bursts: 0 },
    status_interval: ms(50),
};

/// Trials so short that host drift within a block is negligible.
pub(super) const QUICK: Profile = Profile {
    blocks: 40,
    blocks_min: 12,
    budget: Duration::from_secs(225),
    connections: 64,
    rate_per_sec: 20_000.0,
    windows: Windows { idle: ms(300), warmup: ms(150), load: ms(500), peak: ms(200), drain_bursts: 0 },
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
        };
        prepare(shape, &args.host, seed)
    }
}

/// Percentages of the slowest server's capacity.
const FRACTIONS: [u64; 5] = [10, 30, 50, 70, 85];

/// The percentage at which the primary claims on latency are made.
const PRIMARY_FRACTION: u64 = 50;

/// The percentage at which everything but the rate is varied: low enough for a thousand connections and long messages.
const SWEEP_FRACTION: u64 = 30;

/// Cells of the primary claims have all blocks, others this share of them, but not fewer than needed for an interval.
const SWEEP_BLOCKS: (u64, u64) = (15, 40);

/// The share of blocks for idle cells: counts that hardly vary need few.
const IDLE_BLOCKS: (u64, u64) = (6, 40);

/// The connections of the pilot, and of every cell that does not vary them.
pub(super) const CONNECTIONS: u32 = 64;

/// The cells of `full`, made for rates of a pilot and one host.
pub(super) struct Full<'a> {
    args: &'a CompareArgs,
    /// Every arm but the control.
    contestants: Vec<Arm>,
    /// Every arm.
    arms: Vec<Arm>,
    /// Messages per second that the slowest server sustains, of those that declare no clause broken.
    slowest_per_sec: f64,
    blocks: u64,
    seed: u64,
}

/// What varies from cell to cell.
struct Variant {
    connections: u32,
    percent: u64,
    payload_bytes: usize,
    windows: Windows,
    status_interval: Duration,
    cohorts: Cohorts,
    pacing: PacingChoice,
    placement: PlacementKind,
}

impl Variant {
    fn new(percent: u64, load: Duration) -> Self {
        Self {
            connections: CONNECTIONS,
            percent,
            payload_bytes: 64,
            windows: Windows { idle: Duration::ZERO, warmup: ms(150), load, peak: Duration::ZERO, drain_bursts: 0 },
            status_interval: ms(100),
            cohorts: Cohorts::default(),
            pacing: PacingChoice::Auto,
            placement: PlacementKind::Split,
        }
    }
}

impl<'a> Full<'a> {
    pub(super) fn new(args: &'a CompareArgs, arms: Vec<Arm>, slowest_per_sec: f64, seed: u64) -> Self {
        let contestants = arms.iter().filter(|arm| !arm.is_control()).cloned().collect();
        Self { args, contestants, arms, slowest_per_sec, blocks: args.blocks.unwrap_or(40), seed }
    }

    /// The cells of the primary claims.
    pub(super) fn primary() -> Primary {
        Primary { latency: format!("rate-{PRIMARY_FRACTION}"), cpu: "cpu".to_owned() }
    }

    /// Every cell that this host can carry, and the names of the others with the reason.
    pub(super) fn cells(&self) -> (Vec<Cell>, Vec<DroppedCell>) {
        let (mut cells, mut dropped) = (Vec::new(), Vec::new());
        for (label, variant) in self.rates().into_iter().chain(self.sweeps()).chain(self.scorecard()) {
            match self.cell(&label, variant) {
                Ok(cell) => cells.push(cell),
                Err(error) => dropped.push(DroppedCell { cell: label, reason: format!("{error:#}") }),
            }
        }
        (cells, dropped)
    }

    /// The same load at several rates; and at the primary one with a client that sleeps, which the server has to wake.
    fn rates(&self) -> Vec<(String, Variant)> {
        let primary = |variant: Variant| Variant {
            // Ten ticks: an occasional wake-up for a turn of a timer wheel would weigh much among three.
            windows: Windows { idle: ms(1_000), load: ms(800), peak: ms(200), ..variant.windows },
            ..variant
        };
        let mut cells: Vec<(String, Variant)> = FRACTIONS
            .into_iter()
            .map(|percent| match Variant::new(percent, ms(500)) {
                variant if percent == PRIMARY_FRACTION => (format!("rate-{percent}"), primary(variant)),
                variant => (format!("rate-{percent}"), variant),
            })
            .collect();
        let cpu = primary(Variant::new(PRIMARY_FRACTION, ms(800)));
        cells.push(("cpu".to_owned(), Variant { pacing: PacingChoice::Timer, ..cpu }));
        cells
    }

    /// One factor at a time.
    fn sweeps(&self) -> Vec<(String, Variant)> {
        let base = || Variant::new(SWEEP_FRACTION, ms(500));
        let connections = [1, 64, 1_000, 10_000].map(|connections| {
            // Their memory is read when they are idle. Two ticks per window: with ten thousand connections that is as
            // many statuses as messages.
            let windows = Windows { idle: ms(500), ..Variant::new(0, ms(1_000)).windows };
            let variant = Variant { connections, windows, status_interval: ms(500), ..base() };
            (format!("connections-{connections}"), variant)
        });
        let payloads = [(1 << 10, "1KiB"), (8 << 10, "8KiB")]
            .map(|(payload_bytes, name)| (format!("payload-{name}"), Variant { payload_bytes, ..base() }));
        // At a higher rate the generator would wait for the server's CPU, and every trial would be invalid.
        let shared = Variant::new(FRACTIONS[0], ms(500));
        let shared = Variant { pacing: PacingChoice::Timer, placement: PlacementKind::Shared, ..shared };
        connections.into_iter().chain(payloads).chain([("shared".to_owned(), shared)]).collect()
    }

    /// What the scorecard of the four rules needs.
    fn scorecard(&self) -> Vec<(String, Variant)> {
        let floor = Variant { connections: 1, ..Variant::new(FRACTIONS[0], ms(500)) };
        // 200 ticks and more in each window.
        let ticks = Variant::new(SWEEP_FRACTION, ms(2_100));
        let ticks = Variant { windows: Windows { idle: ms(2_100), ..ticks.windows }, status_interval: ms(10), ..ticks };
        let stuck = Variant::new(SWEEP_FRACTION, ms(500));
        let stuck = Variant {
            cohorts: Cohorts { slow_readers: 4, ..Cohorts::default() },
            // Until all buffers are full.
            windows: Windows { warmup: ms(500), ..stuck.windows },
            ..stuck
        };
        let windows = Windows {
            idle: ms(2_000),
            warmup: Duration::ZERO,
            load: Duration::ZERO,
            peak: Duration::ZERO,
            drain_bursts: 0,
        };
        let idle = [0, 100, 1_000].into_iter().flat_map(|connections| {
            [("", ms(1_000)), ("-silent", Duration::ZERO)].map(|(suffix, status_interval)| {
                let idle = Variant { connections, windows, status_interval, ..Variant::new(1, Duration::ZERO) };
                (format!("idle-{connections}{suffix}"), idle)
            })
        });
        let others = [("floor".to_owned(), floor), ("ticks".to_owned(), ticks), ("stuck".to_owned(), stuck)];
        others.into_iter().chain(idle).collect()
    }

    fn cell(&self, label: &str, variant: Variant) -> Result<Cell> {
        let primary = Self::primary();
        let primary = [&primary.latency, &primary.cpu].into_iter().any(|place| place == label);
        let part = |(share, of): (u64, u64), least: u64| {
            (self.blocks * share).div_ceil(of).clamp(1, self.blocks).max(least.min(self.blocks))
        };
        let blocks = match label {
            _ if primary => self.blocks,
            label if label.starts_with("idle-") => part(IDLE_BLOCKS, 1),
            _ => part(SWEEP_BLOCKS, 12),
        };
        let mut arms = if primary { self.arms.clone() } else { self.contestants.clone() };
        if label == "floor" && !arms.iter().any(|arm| arm.label == FLOOR) {
            arms.push(Arm::server(FLOOR));
        }
        let rate = whole_rate(self.slowest_per_sec * variant.percent as f64 / 100.0);
        let shape = Shape {
            connections: variant.connections,
            load: Load::Open { rate: Rate::Steady(rate), arrivals: Arrivals::Poisson },
            payloads: Payloads::one(variant.payload_bytes),
            windows: variant.windows,
            status_interval: Some(variant.status_interval),
            cohorts: variant.cohorts,
        };
        let host = HostArgs { pacing: variant.pacing, placement: variant.placement, ..self.args.host.clone() };
        let host = if variant.placement == PlacementKind::Shared {
            HostArgs { server_cpus: None, loadgen_cpus: None, ..host }
        } else {
            host
        };
        let plan = prepare(shape, &host, self.seed)?;
        arms.iter().try_for_each(|arm| arm.target(&plan).map(drop))?;
        Ok(Cell { label: Some(label.to_owned()), plan, arms, blocks })
    }
}

/// A rate in whole messages per second, except for low rates, for which the rounding would be coarse.
fn whole_rate(per_sec: f64) -> f64 {
    if per_sec < 100.0 { per_sec } else { per_sec.floor() }
}

impl Cell {
    /// For session.json.
    pub(super) fn recorded(&self) -> CellRecord {
        CellRecord {
            cell: self.label.clone().unwrap_or_default(),
            arms: self.arms.iter().map(|arm| arm.label.clone()).collect(),
            blocks: self.blocks,
            plan: PlanRecord::of(&self.plan),
        }
    }

    /// Approximate duration of all blocks, with the starts and ends of the servers.
    pub(super) fn estimate(&self) -> Duration {
        const AROUND: Duration = ms(200);
        /// Opening and closing one connection: ten thousand take seconds.
        const CONNECTION: Duration = Duration::from_micros(250);
        let windows = &self.plan.windows;
        let loads = if self.plan.cohorts.is_empty() { 1 } else { 2 };
        let idle = if windows.idle.is_zero() { Duration::ZERO } else { self.plan.idle_ticks().0 * 3 / 2 };
        let trial =
            idle + (windows.warmup + windows.load) * loads + windows.peak + AROUND + CONNECTION * self.plan.connections;
        (trial * self.arms.len() as u32 + ms(160)) * self.blocks as u32
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        command::compare::arms::arms,
    };

    /// The cells of a session of so many blocks; none if this host has one CPU only.
    fn cells(blocks: &str) -> (Vec<Cell>, Vec<DroppedCell>) {
        let words = ["loadgen", "compare", "--profile", "full", "--servers", "mio,tokio", "--blocks", blocks];
        let Command::Compare(args) = Cli::try_parse_from(words).unwrap().command else { panic!("another command") };
        let arms = arms(&args.servers, &[]);
        Full::new(&args, arms, 50_000.0, 7).cells()
    }

    fn labels(cell: &Cell) -> Vec<&str> {
        cell.arms.iter().map(|arm| arm.label.as_str()).collect()
    }

    fn find<'a>(cells: &'a [Cell], label: &str) -> Option<&'a Cell> {
        cells.iter().find(|cell| cell.label.as_deref() == Some(label))
    }

    #[test]
    fn every_rate_is_a_fraction_of_the_slowest_and_the_same_for_all() {
        let (cells, _) = cells("40");
        for (label, rate) in [("rate-10", 5e3), ("rate-50", 25e3), ("rate-85", 42_500.0), ("payload-1KiB", 15e3)] {
            let Some(cell) = find(&cells, label) else { continue };
            let load = Load::Open { rate: Rate::Steady(rate), arrivals: Arrivals::Poisson };
            assert_eq!(cell.plan.load, load, "{label}");
        }
    }

    #[test]
    fn the_control_runs_where_the_primary_claims_are_made_and_the_floor_where_it_is_needed() {
        let (cells, _) = cells("40");
        for (label, arms, blocks) in [
            ("rate-50", &["mio", "tokio", "mio#2"][..], 40),
            ("cpu", &["mio", "tokio", "mio#2"], 40),
            ("rate-10", &["mio", "tokio"], 15),
            ("floor", &["mio", "tokio", "blocking"], 15),
            ("idle-100", &["mio", "tokio"], 6),
        ] {
            let Some(cell) = find(&cells, label) else { continue };
            assert_eq!((&labels(cell)[..], cell.blocks), (arms, blocks), "{label}");
        }
    }

    #[test]
    fn fewer_blocks_are_fewer_everywhere_and_never_none() {
        let (cells, _) = cells("1");
        assert!(cells.iter().all(|cell| cell.blocks == 1));
        let (cells, _) = self::cells("20");
        assert!(cells.iter().all(|cell| (1..=20).contains(&cell.blocks)));
    }

    #[test]
    fn what_a_host_cannot_carry_is_left_out_with_the_reason() {
        let (cells, dropped) = cells("40");
        assert_eq!(cells.len() + dropped.len(), 22);
        assert!(dropped.iter().all(|cell| !cell.reason.is_empty()));
    }
}
