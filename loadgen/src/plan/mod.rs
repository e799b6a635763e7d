//! What is to be measured, checked: a plan that exists can be carried out.

mod cohorts;
pub mod footprint;
mod host;
mod pacing;
mod payloads;
pub(crate) mod prepare;
mod rate;
pub mod units;

use std::time::Duration;

use anyhow::{Result, bail, ensure};

pub(crate) use self::cohorts::{CHURN_UNANSWERED, CohortKind};
use self::units::show_bytes;
pub use self::{
    cohorts::Cohorts,
    host::HostArgs,
    pacing::Pacing,
    payloads::Payloads,
    rate::{Arrivals, Rate},
};
use crate::observe;

/// What a status line comes after if nothing else is asked for.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Descriptors that a process needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Descriptors that each further thread of the generator needs: its poll, its timer, copies of both.
const THREAD_DESCRIPTORS: u64 = 4;

/// The most slots of one window: their times are made beforehand and kept in memory.
const SLOTS_MAX: f64 = 50e6;

/// The longest message: longer ones would only measure memcpy.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// One trial: the load, the windows, and who runs where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections; 0 only if nothing is sent.
    pub connections: u32,
    /// How messages are sent in the load window.
    pub load: Load,
    /// How the generator waits for the next slot.
    pub pacing: Pacing,
    /// `--pacing spin` was given and not chosen by itself.
    pub spin_asked: bool,
    /// Sizes of the messages, newline included, each at least 1 byte.
    pub payloads: Payloads,
    /// The windows.
    pub windows: Windows,
    /// Time between two status lines; zero for none, `None` if a foreign target does not tell.
    pub status_interval: Option<Duration>,
    /// Seed of the schedule.
    pub seed: u64,
    /// Who runs where.
    pub placement: Placement,
    /// Threads of the generator, at least 1.
    pub threads: u32,
    /// Loopback addresses that it connects from, at least 1.
    pub source_addresses: u32,
    /// Clients that behave badly beside the measured ones.
    pub cohorts: Cohorts,
    /// TCP_NODELAY, on both sides.
    pub nodelay: bool,
    /// TCP_CONGESTION, on both sides.
    pub congestion: String,
    /// Conditions worth a flag on every trial, such as a generator without a CPU of its own.
    pub flags: Vec<Caveat>,
}

/// How messages are sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
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
pub struct Windows {
    /// Connections open, nothing sent; lasts whole status intervals. Zero leaves it out.
    pub idle: Duration,
    /// Load that is not counted.
    pub warmup: Duration,
    /// Load that is measured. Zero leaves it out, for a server that is watched while nothing is asked of it.
    pub load: Duration,
    /// Closed loop, for throughput. Zero leaves it out.
    pub peak: Duration,
}

/// Who runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Server and generator on CPUs of their own, or both wherever the scheduler puts them.
    pub kind: PlacementKind,
    /// CPUs of the server; its worker threads are as many.
    pub server_cpus: Vec<usize>,
    /// CPUs of the engine's threads.
    pub loadgen_cpus: Vec<usize>,
    /// CPUs of nobody: flooders may have them.
    pub spare_cpus: Vec<usize>,
}

/// A condition that every trial of a plan is flagged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caveat {
    /// Server and generator share the only CPU.
    OneCpu,
    /// A cgroup limits the CPU time.
    CpuQuota,
}

/// The two placements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlacementKind {
    /// Server on one set of CPUs, generator on another
    Split,
    /// Neither is pinned
    Shared,
}

impl PlacementKind {
    /// As it is called on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Shared => "shared",
        }
    }
}

/// How pacing is chosen on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PacingChoice {
    /// Spin where the generator owns a CPU, else timer
    Auto,
    /// Poll without a timeout and read the clock
    Spin,
    /// Sleep until an absolute timer
    Timer,
}

/// What the command line asks of CPUs.
#[derive(Clone, Debug)]
pub struct PlacementWish {
    /// Split or shared; split needs two CPUs.
    pub kind: PlacementKind,
    /// CPUs of the server; `None` chooses.
    pub server_cpus: Option<Vec<usize>>,
    /// CPUs of the generator; `None` chooses.
    pub loadgen_cpus: Option<Vec<usize>>,
}

impl Plan {
    /// Looks for what would make a trial impossible.
    ///
    /// # Errors
    /// One line that says what was wrong and what would be right.
    pub fn check(&self) -> Result<()> {
        let watched_only = self.windows.load.is_zero() && self.windows.peak.is_zero();
        ensure!(
            self.connections > 0 || watched_only,
            "0 connections cannot carry a load: ask for --connections 1 or more, or for none at all with --duration 0s"
        );
        for (bytes, _) in self.payloads.sizes() {
            ensure!(*bytes > 0, "a message of 0 bytes cannot come back: ask for --payload 1B or more");
            ensure!(
                *bytes <= PAYLOAD_BYTES_MAX,
                "a message of {} is too long: ask for --payload {} or less",
                show_bytes(*bytes as u64),
                show_bytes(PAYLOAD_BYTES_MAX as u64)
            );
        }
        ensure!(
            !self.windows.load.is_zero() || !self.windows.idle.is_zero(),
            "a load window of 0s measures nothing: ask for a longer --duration, or for an --idle window"
        );
        ensure!(
            !self.windows.load.is_zero() || self.cohorts.is_empty(),
            "bad clients come with a load: ask for a longer --duration"
        );
        match &self.load {
            Load::Open { rate, .. } if rate.extremes_per_sec().1 == 0.0 => {
                bail!("a rate of 0 messages per second is no load: ask for a higher --rate, or for --closed")
            }
            Load::Open { rate, .. } => {
                ensure_slots(rate, self.windows.load.max(self.windows.warmup), "--rate", "window")?;
            }
            Load::Closed { depth } => {
                ensure!(*depth > 0, "a closed loop of depth 0 sends nothing: ask for --depth 1 or more");
            }
        }
        ensure!(self.threads > 0, "a generator without a thread sends nothing: ask for --threads 1 or more");
        ensure!(
            self.threads <= self.connections.max(1),
            "{} threads have nothing to do with {} connections: ask for fewer --threads",
            self.threads,
            self.connections
        );
        self.check_descriptors()?;
        self.check_ports()
    }

    /// Messages of its longest window at this rate.
    pub(crate) fn slots(&self, rate: &Rate) -> f64 {
        rate.mean_per_sec() * self.windows.load.max(self.windows.warmup).as_secs_f64()
    }

    /// A server's address and one of the client's have as many connections between them as there are free ports.
    fn check_ports(&self) -> Result<()> {
        ensure!(self.source_addresses > 0, "connections come from somewhere: ask for --source-addresses 1 or more");
        ensure!(
            self.source_addresses <= 200,
            "more than 200 source addresses are never needed: ask for fewer --source-addresses"
        );
        let Some(ports) = observe::ephemeral_ports() else { return Ok(()) };
        let needed = self.all_connections().div_ceil(ports);
        ensure!(
            needed <= u64::from(self.source_addresses),
            "{} connections ({}) need more ports than the {ports} of one address: ask for --source-addresses {needed}",
            self.all_connections(),
            self.connection_options()
        );
        Ok(())
    }

    /// The measured connections and those beside them.
    pub fn all_connections(&self) -> u64 {
        u64::from(self.connections) + self.cohorts.connections()
    }

    /// The options that its connections come from.
    fn connection_options(&self) -> String {
        let beside = [
            ("--slow-readers", self.cohorts.slow_readers > 0),
            ("--churn", self.cohorts.churn_per_sec > 0.0),
            ("--flooders", self.cohorts.flooders > 0),
        ];
        let beside = beside.iter().filter(|(_, is_there)| *is_there).map(|(option, _)| *option);
        ["--connections"].into_iter().chain(beside).collect::<Vec<_>>().join(" + ")
    }

    fn check_descriptors(&self) -> Result<()> {
        let limit = servers::listen::raise_descriptor_limit() as u64;
        let needed =
            self.all_connections() + SPARE_DESCRIPTORS + THREAD_DESCRIPTORS * u64::from(self.threads.saturating_sub(1));
        ensure!(
            needed <= limit,
            "{} connections ({}) need {needed} descriptors and the limit is {limit}: ask for at most {}, or raise the \
             limit (ulimit -Hn)",
            self.all_connections(),
            self.connection_options(),
            limit.saturating_sub(SPARE_DESCRIPTORS + THREAD_DESCRIPTORS * u64::from(self.threads.saturating_sub(1)))
        );
        Ok(())
    }

    /// How a closed loop waits: in the poll, unless spinning was asked for. A client that spins for its answers takes
    /// CPU time and gets nothing for it.
    pub fn closed_pacing(&self) -> Pacing {
        if self.spin_asked { Pacing::Spin } else { Pacing::Timer }
    }

    /// How the generator waits in the load window.
    pub fn load_pacing(&self) -> Pacing {
        match self.load {
            Load::Open { .. } => self.pacing,
            Load::Closed { .. } => self.closed_pacing(),
        }
    }

    /// The idle window rounded up to whole status intervals, and how many these are if ticks are to be expected.
    pub fn idle_ticks(&self) -> (Duration, Option<u64>) {
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

/// Refuses a rate that makes a window's schedule too long.
///
/// # Errors
/// One line that names these options.
pub(crate) fn ensure_slots(rate: &Rate, window: Duration, rate_option: &str, window_option: &str) -> Result<()> {
    let slots = rate.mean_per_sec() * window.as_secs_f64();
    ensure!(
        slots <= SLOTS_MAX,
        "{slots:.0} messages in one window are too many: at most {SLOTS_MAX:.0}, so ask for a lower {rate_option} or a \
         shorter {window_option}"
    );
    Ok(())
}

/// Decides who runs where and how the generator waits; the third value is what has to be flagged.
///
/// # Errors
/// If the wish names CPUs that this process may not use, or gives the server and a spinning generator the same one.
pub fn place(wish: &PlacementWish, pacing: PacingChoice, threads: u32) -> Result<(Placement, Pacing, Vec<Caveat>)> {
    let available = observe::available_cpus();
    for (option, cpus) in [("--server-cpus", &wish.server_cpus), ("--loadgen-cpus", &wish.loadgen_cpus)] {
        for cpu in cpus.iter().flatten() {
            ensure!(
                available.contains(cpu),
                "{option}: CPU {cpu} is not available: this process may use {available:?}"
            );
        }
    }
    let mut flags = Vec::new();
    let kind = if available.len() < 2 { PlacementKind::Shared } else { wish.kind };
    if kind != wish.kind {
        flags.push(Caveat::OneCpu);
    }
    let (first, second) = match kind {
        // One for each of the generator's threads; what is left over stays idle.
        PlacementKind::Split => {
            let half = available.len() / 2;
            let generator = available[half..].iter().copied().take(threads.max(1) as usize).collect();
            (available[..half].to_vec(), generator)
        }
        PlacementKind::Shared => (available.clone(), available.clone()),
    };
    let server_cpus = wish.server_cpus.clone().unwrap_or(first);
    let loadgen_cpus = wish.loadgen_cpus.clone().unwrap_or(second);
    let taken = |cpu: &usize| server_cpus.contains(cpu) || loadgen_cpus.contains(cpu);
    let spare_cpus = available.iter().copied().filter(|cpu| !taken(cpu)).collect();
    let placement = Placement { kind, server_cpus, loadgen_cpus, spare_cpus };
    let apart = placement.loadgen_cpus.iter().all(|cpu| !placement.server_cpus.contains(cpu));
    let enough = placement.loadgen_cpus.len() >= threads as usize;
    let quota = observe::has_cpu_quota();
    if quota {
        flags.push(Caveat::CpuQuota);
    }
    let pacing = match pacing {
        PacingChoice::Auto if kind == PlacementKind::Split && apart && enough && !quota => Pacing::Spin,
        PacingChoice::Auto | PacingChoice::Timer => Pacing::Timer,
        PacingChoice::Spin => {
            ensure!(
                apart,
                "--pacing spin needs a CPU of its own, but server and generator share CPUs {:?}: use --pacing timer",
                placement.loadgen_cpus
            );
            ensure!(
                enough,
                "--pacing spin needs a CPU for each of the {threads} threads, and the generator has {:?}: use --pacing timer",
                placement.loadgen_cpus
            );
            Pacing::Spin
        }
    };
    Ok((placement, pacing, flags))
}

/// Reads a list of CPUs such as `0,2-3`.
///
/// # Errors
/// One line that says what would be right.
pub fn cpus(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || "write for example 0, 0,2 or 0-3".to_owned();
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| wrong())?;
        let last: usize = last.parse().map_err(|_| wrong())?;
        if last < first || last > 4096 {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("0"), Ok(vec![0]));
        assert_eq!(cpus("3,0-1"), Ok(vec![0, 1, 3]));
        for text in ["", "a", "1-", "3-1", "0,,1", "-1"] {
            assert!(cpus(text).is_err(), "{text:?}");
        }
    }
}
