//! Command-line options about the host.

use std::{str::FromStr, time::Duration};

use clap::Args;

use super::{PacingChoice, PlacementKind, PlacementRequest, placement::cpus};

/// CPUs, threads and sockets of a measurement.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostArgs {
    /// Number of generator threads
    #[arg(long, default_value = "1", value_name = "N", help_heading = "Host")]
    pub(crate) threads: u32,

    /// Number of loopback addresses to connect from, each with one range of ephemeral ports
    #[arg(long, default_value = "1", value_name = "N", help_heading = "Host")]
    pub(crate) source_addresses: u32,

    /// How the generator waits for the next send time
    #[arg(long, default_value = "auto", value_enum, help_heading = "Host")]
    pub(crate) pacing: PacingChoice,

    /// Whether server and generator have CPUs of their own
    #[arg(long, default_value = "split", value_enum, help_heading = "Host")]
    pub(crate) placement: PlacementKind,

    /// CPUs of the server, which has as many workers [default: one]
    #[arg(long, value_name = "LIST", help_heading = "Host")]
    pub(crate) server_cpus: Option<CpuList>,

    /// CPUs of the generator [default: one per thread, on cores of their own]
    #[arg(long, value_name = "LIST", help_heading = "Host")]
    pub(crate) loadgen_cpus: Option<CpuList>,

    /// Leave Nagle's algorithm on, on both sides (an ablation)
    #[arg(long, help_heading = "Host")]
    pub(crate) nagle: bool,

    /// TCP congestion control, on both sides
    #[arg(long, default_value = "reno", value_name = "NAME", help_heading = "Host")]
    pub(crate) congestion: String,

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
            generator_delay: Duration::ZERO,
        }
    }

    pub(super) fn placement(&self) -> PlacementRequest {
        PlacementRequest {
            kind: self.placement,
            server_cpus: self.server_cpus.as_ref().map(|cpus| cpus.0.clone()),
            loadgen_cpus: self.loadgen_cpus.as_ref().map(|cpus| cpus.0.clone()),
            pacing: self.pacing,
            threads: self.threads,
        }
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
