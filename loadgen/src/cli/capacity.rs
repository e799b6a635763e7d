//! `loadgen capacity`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use servers::cli::ServiceArgs;

use super::{RecordArgs, connections, server_names};
use crate::{
    judge::slo::Slo,
    plan::{HostArgs, Payloads, units},
};

/// A search for the highest rate that each server sustains.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen capacity
  loadgen capacity --servers mio,tokio --connections 1000 --slo 'p99<2ms'

Rates rise in fixed steps, with fresh processes for each step. A server sustains a step if, in most trials of the step,
it echoes 99 % of the messages in time, loses none and meets the objective. Trials in which the generator falls behind
its schedule are repeated, and end the search if they all do, with a lower bound; so are invalid ones.")]
pub struct CapacityArgs {
    /// Servers to measure
    #[arg(long, default_value = "mio,threads,tokio", value_delimiter = ',', value_parser = server_names(), value_name = "NAMES")]
    pub(crate) servers: Vec<String>,

    /// Latency objective that response times must also meet, such as p99<2ms: exit code 5 if fewer than 30 samples lie
    /// beyond the quantile (3,000 messages for p99)
    #[arg(long, value_name = "OBJECTIVE", value_parser = Slo::parse)]
    pub(crate) slo: Option<Slo>,

    /// Number of connections
    #[arg(long, default_value = "64", value_name = "N", value_parser = connections)]
    pub(crate) connections: u32,

    /// Message size, or several sizes with their shares of the messages; sizes without a share split the rest:
    /// 64B,1KiB:0.1
    #[arg(long, default_value = "64B", value_name = "SIZE")]
    pub(crate) payload: Payloads,

    /// Rate of the first step, in messages per second
    #[arg(long, default_value = "5k", value_name = "RATE", value_parser = units::per_second)]
    pub(crate) from: f64,

    /// Length of each trial's load window
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = units::duration)]
    pub(crate) duration: Duration,

    /// Seed of the send schedules
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) seed: u64,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) host: HostArgs,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    /// Session folder, which must be new or empty [default: results/TIME-HOST]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
}
