//! Which plans cannot be carried out.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::{Load, Plan, Rate, footprint, silence, units::show_bytes};
use crate::{hosts::Hello, observe};

/// Descriptors that a process needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Connections of a burst in the drain window, if they fit: so many that what happens once per burst, such as the wake-up,
/// hardly counts.
const DRAIN_CONNECTIONS: u32 = 512;

/// The most bytes of a burst: they are all in buffers of the kernel at the same time.
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// The most work of a burst, if it is done on one CPU: with more, the window would last for minutes.
const DRAIN_WORK_MAX: Duration = Duration::from_secs(1);

/// Descriptors that each further thread of the generator needs: its poll, its timer, copies of both.
const THREAD_DESCRIPTORS: u64 = 4;

/// The most slots of one window: their times are drawn beforehand and kept in memory.
const SLOTS_MAX: f64 = 50e6;

/// The longest message, in bytes: longer ones would only measure memcpy.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// The most addresses to connect from: with the ports of so many, descriptors run out first.
const SOURCE_ADDRESSES_MAX: u32 = 200;

/// What this host lets the process have; `None` if there is no limit or it is not known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostLimits {
    /// Open descriptors.
    pub(super) descriptors: Option<u64>,
    /// Connections from one address to another.
    pub(super) ports: Option<u64>,
    /// How long a port of a connection that this process closed is in use.
    pub(super) time_wait: Duration,
    /// Memory that the process may still take, in bytes.
    pub(super) memory_bytes: Option<u64>,
}

impl HostLimits {
    /// The limits at this time.
    pub(super) fn current() -> Self {
        Self {
            descriptors: observe::descriptor_limit(),
            ports: observe::ephemeral_ports(),
            time_wait: observe::time_wait(),
            memory_bytes: observe::available_memory(),
        }
    }
}

impl Plan {
    /// Refuses what would make a trial impossible. Changes nothing.
    ///
    /// # Errors
    /// One line that names the cause and an option that avoids it.
    pub(super) fn check(&self, limits: &HostLimits) -> Result<()> {
        self.check_windows()?;
        self.check_payloads()?;
        self.check_load()?;
        self.check_threads()?;
        match &self.hosts {
            Some(hosts) => hosts.hellos().iter().try_for_each(|hello| self.check_host(hello, limits.time_wait))?,
            None => {
                self.check_descriptors(limits.descriptors)?;
                self.check_ports(limits.ports, limits.time_wait)?;
            }
        }
        silence::check(self)?;
        footprint::check(self, limits.memory_bytes)
    }

    /// Connections of a burst in the drain window: as many as descriptors, ports and buffers allow beside the others.
    pub(crate) fn drain_connections(&self) -> u32 {
        self.drain_fit(&HostLimits::current())
    }

    /// Descriptors and ports that the clients leave, here or on the hosts that carry the load: connections for bursts are
    /// dealt over those evenly.
    fn room_beside(&self, limits: &HostLimits) -> [Option<u64>; 2] {
        let own = |threads: u32| SPARE_DESCRIPTORS + THREAD_DESCRIPTORS * u64::from(threads);
        let Some(hosts) = &self.hosts else {
            let taken = self.all_connections();
            let ports = limits.ports.map(|ports| (ports * u64::from(self.source_addresses)).saturating_sub(taken));
            return [limits.descriptors.map(|limit| limit.saturating_sub(taken + own(self.threads))), ports];
        };
        let hellos = hosts.hellos();
        let least = |left: &dyn Fn(&Hello) -> Option<u64>| {
            hellos.iter().filter_map(left).min().map(|left| left * hellos.len() as u64)
        };
        let taken = |hello: &Hello| self.share_of(hello, self.all_connections());
        [
            least(&|hello| Some(hello.descriptors?.saturating_sub(taken(hello) + own(hello.threads)))),
            least(&|hello| Some(hello.ports?.saturating_sub(taken(hello)))),
        ]
    }

    /// A host's share of what is dealt over all threads.
    fn share_of(&self, host: &Hello, count: u64) -> u64 {
        (count * u64::from(host.threads)).div_ceil(u64::from(self.threads.max(1)))
    }

    fn drain_fit(&self, limits: &HostLimits) -> u32 {
        if self.windows.drain_bursts == 0 {
            return 0;
        }
        let [descriptors, ports] = self.room_beside(limits);
        let longest = self.payloads.sizes().iter().map(|(bytes, _)| *bytes).max().unwrap_or(0);
        let buffers = Some((DRAIN_BYTES_MAX / longest.max(1)) as u64);
        let work = self.service.work.mean();
        let working = (!work.is_zero()).then(|| (DRAIN_WORK_MAX.as_nanos() / work.as_nanos()).max(1) as u64);
        let fit = [descriptors, ports, buffers, working].into_iter().flatten().min().unwrap_or(0);
        u32::try_from(fit).unwrap_or(u32::MAX).min(DRAIN_CONNECTIONS)
    }

    /// What the server works for the messages of a burst in the drain window, if it has one CPU for it.
    pub(crate) fn drain_work(&self) -> Duration {
        self.service.work.mean() * self.drain_connections()
    }

    fn check_payloads(&self) -> Result<()> {
        for (bytes, _) in self.payloads.sizes() {
            ensure!(*bytes > 0, "a message of 0 bytes cannot come back: ask for --payload 1B or more");
            ensure!(
                *bytes <= PAYLOAD_BYTES_MAX,
                "a message of {} is too long: ask for --payload {} or less",
                show_bytes(*bytes as u64),
                show_bytes(PAYLOAD_BYTES_MAX as u64)
            );
        }
        Ok(())
    }

    fn check_windows(&self) -> Result<()> {
        let watched_only = self.windows.load.is_zero() && self.windows.peak.is_zero();
        ensure!(
            self.connections > 0 || watched_only,
            "0 connections cannot carry a load: ask for --connections 1 or more, or for none at all with --duration 0s"
        );
        ensure!(
            !self.windows.load.is_zero() || !self.windows.idle.is_zero() || self.windows.drain_bursts > 0,
            "a load window of 0s measures nothing: ask for a longer --duration, or for an --idle window"
        );
        ensure!(
            !self.windows.load.is_zero() || self.cohorts.is_empty(),
            "misbehaving clients need a load beside them: ask for a longer --duration"
        );
        Ok(())
    }

    fn check_load(&self) -> Result<()> {
        match &self.load {
            Load::Open { rate, .. } if rate.extremes_per_sec().1 == 0.0 => {
                bail!("a rate of 0 messages per second is no load: ask for a higher --rate, or for --closed")
            }
            Load::Open { rate, .. } => {
                ensure_slots(rate, self.windows.load.max(self.windows.warmup), "--rate", "window")
            }
            Load::Closed { depth } => {
                ensure!(*depth > 0, "a closed loop of depth 0 sends nothing: ask for --depth 1 or more");
                Ok(())
            }
        }
    }

    fn check_threads(&self) -> Result<()> {
        ensure!(self.threads > 0, "a generator without a thread sends nothing: ask for --threads 1 or more");
        ensure!(
            self.threads <= self.connections.max(1),
            "{} threads have nothing to do with {} connections: ask for fewer --threads",
            self.threads,
            self.connections
        );
        Ok(())
    }

    fn check_descriptors(&self, limit: Option<u64>) -> Result<()> {
        let Some(limit) = limit else { return Ok(()) };
        let own = SPARE_DESCRIPTORS + THREAD_DESCRIPTORS * u64::from(self.threads.saturating_sub(1));
        let needed = self.all_connections() + own;
        ensure!(
            needed <= limit,
            "{} connections ({}) need {needed} descriptors and the limit is {limit}: ask for at most {}, or raise the \
             limit (ulimit -Hn)",
            self.all_connections(),
            self.connection_options(),
            limit.saturating_sub(own)
        );
        Ok(())
    }

    /// A server's address and one of the client's have as many connections between them as there are free ports.
    fn check_ports(&self, ports: Option<u64>, time_wait: Duration) -> Result<()> {
        ensure!(
            self.source_addresses > 0,
            "without a source address there is no connection: ask for --source-addresses 1 or more"
        );
        ensure!(
            self.source_addresses <= SOURCE_ADDRESSES_MAX,
            "more than {SOURCE_ADDRESSES_MAX} source addresses are never needed: ask for fewer --source-addresses"
        );
        let Some(ports) = ports else { return Ok(()) };
        let needed = self.all_connections().div_ceil(ports);
        ensure!(
            needed <= u64::from(self.source_addresses),
            "{} connections ({}) need more ports than the {ports} of one address: ask for --source-addresses {needed}",
            self.all_connections(),
            self.connection_options()
        );
        let kept = self.cohorts.ports_in_time_wait(self.windows.warmup + self.windows.load, time_wait);
        let needed = (self.all_connections() + kept).div_ceil(ports);
        ensure!(
            needed <= u64::from(self.source_addresses),
            "--churn leaves {kept} ports in TIME_WAIT, and one address has {ports}: ask for --source-addresses \
             {needed}{}",
            if needed > u64::from(SOURCE_ADDRESSES_MAX) { ", or rather for a lower --churn" } else { "" }
        );
        Ok(())
    }

    /// Whether a generator on another host has descriptors and ports for its share of the connections.
    fn check_host(&self, host: &Hello, time_wait: Duration) -> Result<()> {
        let share = |count: u64| self.share_of(host, count);
        let connections = share(self.all_connections());
        let kept = share(self.cohorts.ports_in_time_wait(self.windows.warmup + self.windows.load, time_wait));
        let descriptors = connections + SPARE_DESCRIPTORS + THREAD_DESCRIPTORS * u64::from(host.threads);
        for (needed, limit, what) in
            [(descriptors, host.descriptors, "descriptors"), (connections + kept, host.ports, "ports")]
        {
            ensure!(
                limit.is_none_or(|limit| needed <= limit),
                "{connections} of {} connections ({}) need {needed} {what} on {} and it has {}: ask for more --generators",
                self.all_connections(),
                self.connection_options(),
                host.host,
                limit.unwrap_or_default()
            );
        }
        Ok(())
    }

    /// The options that add up to [`Plan::all_connections`].
    fn connection_options(&self) -> String {
        let beside = [
            ("--slow-readers", self.cohorts.slow_readers > 0),
            ("--churn", self.cohorts.churn_per_sec > 0.0),
            ("--flooders", self.cohorts.flooders > 0),
        ];
        let beside = beside.iter().filter(|(_, is_there)| *is_there).map(|(option, _)| *option);
        ["--connections"].into_iter().chain(beside).collect::<Vec<_>>().join(" + ")
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

#[cfg(test)]
mod tests;
