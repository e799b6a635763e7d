//! One load of a session, and the time that it takes.

use std::time::Duration;

use super::arms::Arm;
use crate::{
    plan::{Plan, Windows},
    record::{CellRecord, PlanRecord},
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

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The drift probe of a block; that after it is the one before the next.
pub(super) const PROBES: Duration = ms(160);

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

    /// Approximate duration of all blocks.
    pub(super) fn estimate(&self) -> Duration {
        let trial = trial_estimate(
            &self.plan.windows,
            self.plan.status_interval.unwrap_or_default(),
            self.plan.connections,
            !self.plan.cohorts.is_empty(),
        );
        blocks_estimate(trial, self.arms.len(), self.blocks)
    }
}

/// Approximate duration of so many blocks of trials.
pub(super) fn blocks_estimate(trial: Duration, arms: usize, blocks: u64) -> Duration {
    (trial * arms as u32 + PROBES) * blocks as u32
}

/// Approximate duration of a trial, with the start and the end of the server. `runs_twice` if its load does.
pub(super) fn trial_estimate(
    windows: &Windows,
    status_interval: Duration,
    connections: u32,
    runs_twice: bool,
) -> Duration {
    /// Starting the server, the snapshots, and ending it.
    const AROUND: Duration = ms(50);
    /// Opening and closing one connection.
    const CONNECTION: Duration = Duration::from_micros(125);
    /// One burst of the drain.
    const BURST: Duration = ms(10);
    /// The connections of the drain, which are opened for it.
    const DRAIN_CONNECTIONS: u32 = 512;
    let idle = match windows.idle {
        idle if idle.is_zero() || status_interval.is_zero() || connections == 0 => idle,
        // Whole intervals, after the first tick and half an interval.
        idle => status_interval.mul_f64(idle.div_duration_f64(status_interval).ceil() + 1.5),
    };
    let loads = if runs_twice { 2 } else { 1 };
    let drain = match windows.drain_bursts {
        0 => Duration::ZERO,
        bursts => BURST * bursts + CONNECTION * DRAIN_CONNECTIONS,
    };
    AROUND + CONNECTION * connections + idle + (windows.warmup + windows.load) * loads + windows.peak + drain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_takes_its_windows_and_an_idle_window_waits_for_the_ticks() {
        let windows = Windows { idle: ms(250), warmup: ms(100), load: ms(500), peak: ms(200), drain_bursts: 0 };
        let takes = |windows: &Windows, interval, runs_twice| trial_estimate(windows, interval, 0, runs_twice);
        let connected = trial_estimate(&windows, ms(100), 8, false);
        assert_eq!(connected, ms(50 + 1 + 300 + 150 + 600 + 200), "whole ticks, and up to one and a half before");
        assert_eq!(takes(&windows, ms(0), false), ms(50 + 250 + 600 + 200), "without a tick nothing is waited for");
        assert_eq!(takes(&windows, ms(0), true), ms(50 + 250 + 1_200 + 200), "the load runs twice");
        let drain = Windows { drain_bursts: 20, ..windows };
        assert_eq!(takes(&drain, ms(0), false) - takes(&windows, ms(0), false), ms(200 + 64));
        assert_eq!(blocks_estimate(ms(1_000), 4, 10), (ms(4_000) + PROBES) * 10);
    }
}
