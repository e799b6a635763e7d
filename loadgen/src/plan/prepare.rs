//! From the command line's options to a plan that is ready to run, in the same way for every command.

use std::time::Duration;

use anyhow::{Result, ensure};
use protocol::Service;

use super::{
    Cohorts, HostArgs, Load, PEAK_DELAY, Pacing, PacingChoice, Payloads, Placed, Plan, Windows, validation::HostLimits,
};
use crate::text::plain;

/// The parts of a plan that do not depend on the host.
pub(crate) struct Shape {
    pub(crate) connections: u32,
    pub(crate) load: Load,
    pub(crate) payloads: Payloads,
    pub(crate) windows: Windows,
    pub(crate) status_interval: Option<Duration>,
    pub(crate) cohorts: Cohorts,
    pub(crate) service: Service,
}

/// Completes a plan for this host, raises the process's descriptor limit for it, and checks it against the host.
///
/// # Errors
/// One line that names the option that does not fit this host or makes no trial.
pub(crate) fn prepare(shape: Shape, host: &HostArgs, seed: u64) -> Result<Plan> {
    let Placed { mut placement, mut pacing, flags } = host.placement().place()?;
    if let Some(hosts) = &host.hosts {
        let hellos = hosts.hellos();
        // All wait alike, or their send lags could not be compared.
        let spins = host.pacing != PacingChoice::Timer && hellos.iter().all(|hello| hello.spins);
        pacing = if spins { Pacing::Spin } else { Pacing::Timer };
        let names: Vec<&str> = hellos.iter().map(|hello| hello.host.as_str()).collect();
        placement.reason += &format!(": {}", plain(&names.join(", ")));
    } else if shape.cohorts.flooders > 0 && placement.spare_cpus.is_empty() {
        ensure!(
            host.pacing != PacingChoice::Spin,
            "--pacing spin leaves the flooders no CPU, since server and generator have all: use --pacing timer"
        );
        pacing = Pacing::Timer;
    }
    let plan = Plan {
        connections: shape.connections,
        load: shape.load,
        pacing,
        spin_requested: host.pacing == PacingChoice::Spin,
        payloads: shape.payloads,
        windows: shape.windows,
        status_interval: shape.status_interval,
        seed,
        placement,
        hosts: host.hosts.clone(),
        threads: host.all_threads(),
        source_addresses: host.source_addresses,
        cohorts: shape.cohorts,
        service: shape.service,
        nodelay: !host.nagle,
        congestion: host.congestion.clone(),
        generator_delay: host.generator_delay,
        peak_delay: PEAK_DELAY,
        flags,
    };
    // Connections need descriptors here, and the processes that are started inherit the limit.
    servers::listen::raise_descriptor_limit();
    plan.check(&HostLimits::current())?;
    Ok(plan)
}
