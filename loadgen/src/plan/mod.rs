//! What is to be measured, checked: a plan that exists can be carried out.

mod cohorts;
mod footprint;
mod host;
mod pacing;
mod payloads;
mod placement;
mod prepare;
mod rate;
pub mod units;
mod validation;

use std::time::Duration;

pub use self::{
    cohorts::Cohorts,
    pacing::Pacing,
    payloads::Payloads,
    placement::{Caveat, PacingChoice, Placed, Placement, PlacementKind, PlacementRequest},
    rate::{Arrivals, Rate},
};
pub(crate) use self::{
    cohorts::{CHURN_UNANSWERED, Kind},
    host::HostArgs,
    prepare::{Shape, prepare},
    validation::ensure_slots,
};

/// What a status line comes after if nothing else is asked for.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// One trial: the load, the windows, and who runs where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Connections; 0 only if nothing is sent.
    pub(crate) connections: u32,
    /// How messages are sent in the load window.
    pub(crate) load: Load,
    /// How the generator waits for the next slot.
    pub(crate) pacing: Pacing,
    /// `--pacing spin` was given and not chosen by itself.
    pub(crate) spin_asked: bool,
    /// Sizes of the messages, newline included, each at least 1 byte.
    pub(crate) payloads: Payloads,
    /// The windows.
    pub(crate) windows: Windows,
    /// Time between two status lines; zero for none, `None` if a foreign target does not tell.
    pub(crate) status_interval: Option<Duration>,
    /// Seed of the schedule.
    pub(crate) seed: u64,
    /// Who runs where.
    pub(crate) placement: Placement,
    /// Threads of the generator, at least 1.
    pub(crate) threads: u32,
    /// Loopback addresses that it connects from, at least 1.
    pub(crate) source_addresses: u32,
    /// Clients that behave badly beside the measured ones.
    pub(crate) cohorts: Cohorts,
    /// TCP_NODELAY, on both sides.
    pub(crate) nodelay: bool,
    /// TCP_CONGESTION, on both sides.
    pub(crate) congestion: String,
    /// Conditions worth a flag on every trial, such as a generator without a CPU of its own.
    pub(crate) flags: Vec<Caveat>,
}

/// How messages are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Load {
    /// At times that do not depend on the answers.
    Open {
        /// Messages per second over all connections, more than 0 at some time.
        rate: Rate,
        /// How their gaps are distributed.
        arrivals: Arrivals,
    },
    /// A new message for each that comes back.
    Closed {
        /// Messages under way on each connection, at least 1.
        depth: u32,
    },
}

/// Lengths of the windows of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Connections open, nothing sent; lasts whole status intervals. Zero leaves it out.
    pub(crate) idle: Duration,
    /// Load that is not counted.
    pub(crate) warmup: Duration,
    /// Load that is measured. Zero leaves it out, for a server that is watched while nothing is asked of it.
    pub(crate) load: Duration,
    /// Closed loop, for throughput. Zero leaves it out.
    pub(crate) peak: Duration,
}

impl Plan {
    /// Messages of its longest window at this rate.
    pub(crate) fn slots(&self, rate: &Rate) -> f64 {
        rate.mean_per_sec() * self.windows.load.max(self.windows.warmup).as_secs_f64()
    }

    /// The measured connections and those beside them.
    pub(crate) fn all_connections(&self) -> u64 {
        u64::from(self.connections) + self.cohorts.connections()
    }

    /// How a closed loop waits: in the poll, unless spinning was asked for. A client that spins for its answers takes
    /// CPU time and gets nothing for it.
    pub(crate) fn closed_pacing(&self) -> Pacing {
        if self.spin_asked { Pacing::Spin } else { Pacing::Timer }
    }

    /// How the generator waits in the load window.
    pub(crate) fn load_pacing(&self) -> Pacing {
        match self.load {
            Load::Open { .. } => self.pacing,
            Load::Closed { .. } => self.closed_pacing(),
        }
    }

    /// The idle window rounded up to whole status intervals, and how many these are if ticks are to be expected.
    pub(crate) fn idle_ticks(&self) -> (Duration, Option<u64>) {
        match self.status_interval {
            Some(interval) if !interval.is_zero() && !self.windows.idle.is_zero() => {
                let ticks = self.windows.idle.as_nanos().div_ceil(interval.as_nanos());
                (interval.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)), Some(ticks as u64))
            }
            Some(_) => (self.windows.idle, Some(0)),
            None => (self.windows.idle, None),
        }
    }
}
