//! Command-line options about the host.

use clap::Args;

use super::{PacingChoice, PlacementKind, cpus};

/// CPUs, threads and sockets of a measurement.
#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    /// Number of generator threads
    #[arg(long, default_value = "1", value_name = "N", help_heading = "Host")]
    pub threads: u32,

    /// Number of loopback addresses to connect from, each with one range of ephemeral ports
    #[arg(long, default_value = "1", value_name = "N", help_heading = "Host")]
    pub source_addresses: u32,

    /// How the generator waits for the next send time
    #[arg(long, default_value = "auto", value_enum, help_heading = "Host")]
    pub pacing: PacingChoice,

    /// Whether server and generator have CPUs of their own
    #[arg(long, default_value = "split", value_enum, help_heading = "Host")]
    pub placement: PlacementKind,

    /// CPUs of the server [default: the first half]
    #[arg(long, value_name = "LIST", value_parser = cpu_list, help_heading = "Host")]
    pub server_cpus: Option<CpuList>,

    /// CPUs of the generator [default: one per thread, from the second half]
    #[arg(long, value_name = "LIST", value_parser = cpu_list, help_heading = "Host")]
    pub loadgen_cpus: Option<CpuList>,

    /// Leave Nagle's algorithm on, on both sides (an ablation)
    #[arg(long, help_heading = "Host")]
    pub nagle: bool,

    /// TCP congestion control, on both sides
    #[arg(long, default_value = "reno", value_name = "NAME", help_heading = "Host")]
    pub congestion: String,
}

impl HostArgs {
    /// What the self-test measures with: one thread, one source address, no ablation.
    pub fn standard(pacing: PacingChoice, placement: PlacementKind) -> Self {
        Self {
            threads: 1,
            source_addresses: 1,
            pacing,
            placement,
            server_cpus: None,
            loadgen_cpus: None,
            nagle: false,
            congestion: "reno".to_owned(),
        }
    }
}

/// CPUs, in order. (A type of its own, since clap takes a bare vector for a repeated option.)
#[derive(Clone, Debug)]
pub struct CpuList(pub Vec<usize>);

fn cpu_list(text: &str) -> Result<CpuList, String> {
    cpus(text).map(CpuList)
}
