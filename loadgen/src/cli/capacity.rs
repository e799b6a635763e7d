//! `loadgen capacity`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{RecordArgs, connections, server_names};
use crate::{
    judge::slo::Slo,
    plan::{HostArgs, Payloads, units},
};

/// A search for the highest rate that a server bears.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen capacity
  loadgen capacity --servers mio,tokio --connections 1000 --slo 'p99<2ms'

Rates go up a fixed ladder, each rung with fresh processes. A rung is passed if most of its trials echo 99 % in time,
lose nothing and meet the objective; what the generator or the host spoiled is run again.")]
pub struct CapacityArgs {
    /// Which servers
    #[arg(long, default_value = "mio,threads,tokio", value_delimiter = ',', value_parser = server_names(), value_name = "NAMES")]
    pub servers: Vec<String>,

    /// What the response must keep as well, such as p99<2ms; a trial must have 30 samples beyond the quantile (3,000 for
    /// p99), else the exit code is 5
    #[arg(long, value_name = "OBJECTIVE", value_parser = Slo::parse)]
    pub slo: Option<Slo>,

    /// Connections
    #[arg(long, default_value = "64", value_name = "N", value_parser = connections)]
    pub connections: u32,

    /// Size of a message; several with the share of messages that have them: 64B,1KiB:0.1
    #[arg(long, default_value = "64B", value_name = "SIZE")]
    pub payload: Payloads,

    /// The first rung, in messages per second
    #[arg(long, default_value = "5k", value_name = "RATE", value_parser = units::per_second)]
    pub from: f64,

    /// Load of a trial that is measured
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = units::duration)]
    pub duration: Duration,

    /// Seed of the schedules
    #[arg(long, default_value = "1", value_name = "N")]
    pub seed: u64,

    #[command(flatten)]
    pub(crate) host: HostArgs,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    /// Folder of the session, new or empty [default: results/TIME-HOST]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
}
