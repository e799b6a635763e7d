//! Which plans cannot be carried out.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::{Load, Plan, Rate, units::show_bytes};
use crate::observe;

/// Descriptors that a process needs besides its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Descriptors that each further thread of the generator needs: its poll, its timer, copies of both.
const THREAD_DESCRIPTORS: u64 = 4;

/// The most slots of one window: their times are made beforehand and kept in memory.
const SLOTS_MAX: f64 = 50e6;

/// The longest message: longer ones would only measure memcpy.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

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
