//! Command-line options about the host.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use clap::Args;

use super::{PacingChoice, PlacementKind, PlacementRequest, placement::cpus};
use crate::hosts::Hosts;

/// CPUs, threads and sockets of a measurement.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostArgs {
    /// Number of generator threads
    #[arg(long, default_value = "1", value_name = "N", conflicts_with = "generators", help_heading = "Host")]
    pub(crate) threads: u32,

    /// Number of loopback addresses to connect from, each with one range of ephemeral ports
    #[arg(long, default_value = "1", value_name = "N", conflicts_with = "generators", help_heading = "Host")]
    pub(crate) source_addresses: u32,

    /// How the generator waits for the next send time
    #[arg(long, default_value = "auto", value_enum, conflicts_with = "generators", help_heading = "Host")]
    pub(crate) pacing: PacingChoice,

    /// Whether server and generator have CPUs of their own
    #[arg(long, default_value = "split", value_enum, conflicts_with = "generators", help_heading = "Host")]
    pub(crate) placement: PlacementKind,

    /// CPUs of the server, which has as many workers [default: one]
    #[arg(long, value_name = "LIST", help_heading = "Host")]
    pub(crate) server_cpus: Option<CpuList>,

    /// CPUs of the generator [default: one per thread, on cores of their own]
    #[arg(long, value_name = "LIST", conflicts_with = "generators", help_heading = "Host")]
    pub(crate) loadgen_cpus: Option<CpuList>,

    /// Leave Nagle's algorithm on, on both sides (an ablation)
    #[arg(long, help_heading = "Host")]
    pub(crate) nagle: bool,

    /// TCP congestion control, on both sides
    #[arg(long, default_value = "reno", value_name = "NAME", help_heading = "Host")]
    pub(crate) congestion: String,

    /// Number of generators on other hosts, which carry the load instead of this one; each is started with `loadgen generate
    /// ADDR:PORT`
    #[arg(long, value_name = "N", requires = "listen", help_heading = "Host",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) generators: Option<u32>,

    /// Address of this host at which the generators find it; the servers listen there as well
    #[arg(long, value_name = "ADDR:PORT", requires = "generators", value_parser = listen, help_heading = "Host")]
    pub(crate) listen: Option<SocketAddr>,

    /// How long they are waited for
    #[arg(long, hide = true, default_value = "60s", value_parser = super::units::duration, value_name = "DURATION", help_heading = "Host")]
    pub(crate) gather_for: Duration,

    /// The generators that have come.
    #[arg(skip)]
    pub(crate) hosts: Option<Hosts>,

    /// Time to waste before each message, to see who follows
    #[arg(long, hide = true, default_value = "0s", value_parser = super::units::duration, value_name = "DURATION", help_heading = "Host")]
    pub(crate) generator_delay: Duration,
}

impl HostArgs {
    /// The options of the self-test: one thread, one source address, no ablation.
    pub(crate) fn standard(pacing: PacingChoice, placement: PlacementKind) -> Self {
        Self {
            threads: 1,
            source_addresses: 1,
            pacing,
            placement,
            server_cpus: None,
            loadgen_cpus: None,
            nagle: false,
            congestion: "reno".to_owned(),
            generators: None,
            listen: None,
            gather_for: Duration::ZERO,
            hosts: None,
            generator_delay: Duration::ZERO,
        }
    }

    /// Generator threads on this host.
    pub(crate) fn local_threads(&self) -> u32 {
        if self.generators.is_some() { 0 } else { self.threads }
    }

    /// Threads of all generators.
    pub(super) fn all_threads(&self) -> u32 {
        match &self.hosts {
            Some(hosts) => hosts.hellos().iter().map(|hello| hello.threads).sum(),
            // As long as they have not come, each has one.
            None => self.generators.unwrap_or(self.threads),
        }
    }

    pub(super) fn placement(&self) -> PlacementRequest {
        PlacementRequest {
            kind: if self.generators.is_some() { PlacementKind::Hosts } else { self.placement },
            server_cpus: self.server_cpus.as_ref().map(|cpus| cpus.0.clone()),
            loadgen_cpus: self.loadgen_cpus.as_ref().map(|cpus| cpus.0.clone()),
            pacing: self.pacing,
            threads: self.threads,
        }
    }
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.port() == 0 => {
            Err("generators cannot guess a port: write for example 10.0.0.1:7700".to_owned())
        }
        Ok(addr) => Ok(addr),
        Err(_) => Err("write an address of this host and a port, for example 10.0.0.1:7700".to_owned()),
    }
}

/// CPUs, in order. (A type of its own, since clap takes a bare vector for a repeated option.)
#[derive(Clone, Debug)]
pub(crate) struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    /// Reads `0`, `0,2` or `0-3`.
    fn from_str(text: &str) -> Result<Self, String> {
        cpus(text).map(Self)
    }
}
