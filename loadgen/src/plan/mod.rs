//! The plan of a trial: connections, load, windows and placement. A plan that was prepared can be carried out.

mod cohorts;
mod footprint;
mod host;
mod pacing;
mod payloads;
mod placement;
mod prepare;
mod rate;
mod silence;
pub mod units;
mod validation;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use protocol::Service;

use crate::hosts::Hosts;

pub(crate) use self::{
    cohorts::{CohortKind, Cohorts},
    host::HostArgs,
    payloads::Payloads,
    prepare::{Shape, prepare},
    rate::Rate,
    validation::ensure_slots,
};
pub(crate) use self::{
    host::CpuList,
    placement::{cores_for_server, place_generator},
};
pub use self::{
    pacing::Pacing,
    placement::{Caveat, PacingChoice, Placed, Placement, PlacementKind, PlacementRequest},
    rate::Arrivals,
};

/// Default status interval.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Default of [`Plan::peak_delay`]: a tenth of what a message costs the generator, so that the pair works as before. A pair
/// that takes more than some 10 us per message takes a longer one: the noise of its rate hides this one.
pub(crate) const PEAK_DELAY: Duration = Duration::from_nanos(500);

/// One trial: the load, the windows and the placement.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Connections; 0 only if nothing is sent.
    pub(crate) connections: u32,
    /// How messages are sent in the load window.
    pub(crate) load: Load,
    /// How the generator waits for the next slot.
    pub(crate) pacing: Pacing,
    /// Spinning was requested with `--pacing spin`, and not chosen automatically.
    pub(crate) spin_requested: bool,
    /// Sizes of the messages, newline included, each at least 1 byte.
    pub(crate) payloads: Payloads,
    pub(crate) windows: Windows,
    /// Time between two status lines; zero for none, `None` if it is not known, as that of a foreign target.
    pub(crate) status_interval: Option<Duration>,
    pub(crate) seed: u64,
    pub(crate) placement: Placement,
    /// The generators on other hosts, if those carry the load.
    pub(crate) hosts: Option<Hosts>,
    /// Threads of all generators, at least 1.
    pub(crate) threads: u32,
    /// Loopback addresses of the generator, at least 1.
    pub(crate) source_addresses: u32,
    /// Misbehaving clients beside the measured ones.
    pub(crate) cohorts: Cohorts,
    /// What the server does besides echoing and broadcasting; of a target that runs already, what it was started with.
    pub(crate) service: Service,
    /// TCP_NODELAY, on both sides.
    pub(crate) nodelay: bool,
    /// TCP_CONGESTION, on both sides.
    pub(crate) congestion: String,
    /// Time that the generator wastes before each message, to see who follows; zero in a measurement.
    pub(crate) generator_delay: Duration,
    /// Time that the generator wastes before each message in half of the peak window; more than 0.
    pub(crate) peak_delay: Duration,
    /// Conditions worth a flag on every trial, such as a generator without a CPU of its own.
    pub(crate) flags: Vec<Caveat>,
}

/// How messages are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Load {
    /// At times that do not depend on the echoes.
    Open {
        /// Messages per second over all connections, more than 0 at some time.
        rate: Rate,
        arrivals: Arrivals,
    },
    /// A new message for each echo.
    Closed {
        /// Messages in flight on each connection, at least 1.
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
    /// Load that is measured. Zero leaves it out, for a server that is observed without any load.
    pub(crate) load: Duration,
    /// Closed loop, for throughput. Zero leaves it out.
    pub(crate) peak: Duration,
    /// Bursts of the drain window, each answered from a standstill. 0 leaves it out.
    pub(crate) drain_bursts: u32,
}

impl Plan {
    /// Messages of the longest window at this rate.
    pub(crate) fn slots(&self, rate: &Rate) -> f64 {
        rate.mean_per_sec() * self.windows.load.max(self.windows.warmup).as_secs_f64()
    }

    /// The address that servers listen on.
    pub(crate) fn listen(&self) -> IpAddr {
        self.hosts.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), Hosts::listen)
    }

    /// The measured connections and those beside them.
    pub(crate) fn all_connections(&self) -> u64 {
        u64::from(self.connections) + self.cohorts.connections()
    }

    /// How a closed loop waits: in the poll, unless spinning was requested. A client that spins for its echoes uses CPU
    /// time to no effect.
    pub(crate) fn closed_pacing(&self) -> Pacing {
        if self.spin_requested { Pacing::Spin } else { Pacing::Timer }
    }

    /// How the generator waits in the load window.
    pub(crate) fn load_pacing(&self) -> Pacing {
        match self.load {
            Load::Open { .. } => self.pacing,
            Load::Closed { .. } => self.closed_pacing(),
        }
    }

    /// How long after its due time a tick may still interfere with messages: as late as a punctual timer may be, and a
    /// status line's time for each connection, but not half of the interval. The same for every server, since one that is
    /// slow would otherwise choose the messages that it is judged by.
    pub(crate) fn fan_out_span(&self) -> Duration {
        /// Twice the millisecond to which epoll_wait(2) rounds its timeout.
        const LATENESS: Duration = Duration::from_millis(2);
        /// What a write to a socket with a sleeping reader takes, and some to spare.
        const PER_CONNECTION: Duration = Duration::from_micros(10);
        let span = LATENESS + PER_CONNECTION * self.connections;
        self.status_interval.filter(|interval| !interval.is_zero()).map_or(span, |interval| span.min(interval / 2))
    }

    /// The idle window rounded up to whole status intervals, and their number if ticks are to be expected.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_interferes_for_a_span_that_depends_on_the_load_alone() {
        let span = |connections: u32, status_interval: Option<Duration>| {
            let windows = Windows {
                idle: Duration::ZERO,
                warmup: Duration::ZERO,
                load: Duration::from_millis(100),
                peak: Duration::ZERO,
                drain_bursts: 0,
            };
            let load = Load::Closed { depth: 1 };
            let cohorts = Cohorts::default();
            let payloads = Payloads::one(64);
            let service = Service::default();
            let shape = Shape { connections, load, payloads, windows, status_interval, cohorts, service };
            let host = HostArgs::standard(PacingChoice::Timer, PlacementKind::Shared);
            prepare(shape, &host, 1).unwrap().fan_out_span()
        };
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        assert_eq!(span(1, Some(ms(1_000))), us(2_010));
        assert_eq!(span(64, Some(ms(100))), us(2_640));
        assert_eq!(span(64, Some(ms(5))), us(2_500), "half of the interval at most");
        assert_eq!([None, Some(ms(0))].map(|interval| span(10, interval)), [us(2_100); 2]);
    }
}
