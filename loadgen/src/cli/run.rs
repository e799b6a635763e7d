//! `loadgen run`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{RecordArgs, TargetArgs, TargetChoice, connections};
use crate::{
    judge::slo::Slo,
    plan::{Arrivals, HostArgs, Payloads, Rate, units},
};

/// One trial.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen run --server mio
  loadgen run --server threads --connections 1000 --rate 50k --duration 30s
  loadgen run --server mio --rate 10k..100k --payload 64B,16KiB:0.01
  loadgen run --server mio --slow-readers 4 --churn 200
  loadgen run --server tokio --closed --depth 4
  loadgen run --server mio --connections 0 --duration 0s    idle, nobody there
  loadgen run --target 127.0.0.1:9000 --pid 4711 --json
  loadgen run --command './mine {addr} {status_interval_ms}'")]
pub struct RunArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The target's process, to observe its CPU time and memory
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), requires = "target", help_heading = "Target")]
    pid: Option<i32>,

    /// Connections
    #[arg(long, default_value = "64", value_name = "N", value_parser = connections, help_heading = "Load")]
    pub connections: u32,

    /// Messages per second over all connections, whatever the server does (open loop): 20k, 0.1, 6/m; 1k..50k grows
    /// evenly over the window, 1k,5k,20k goes in steps
    #[arg(long, default_value = "20k", value_name = "RATE", help_heading = "Load")]
    pub rate: Rate,

    /// Times between two messages
    #[arg(long, default_value = "poisson", value_enum, help_heading = "Load")]
    pub arrivals: Arrivals,

    /// A new message only when one has come back (closed loop): for throughput; its latency is service time
    #[arg(long, conflicts_with_all = ["rate", "arrivals"], help_heading = "Load")]
    pub closed: bool,

    /// Messages under way on each connection of a closed loop
    #[arg(long, default_value = "1", value_name = "N", requires = "closed", help_heading = "Load")]
    pub depth: u32,

    /// Size of a message; several with the share of messages that have them: 64B,1KiB:0.1
    #[arg(long, default_value = "64B", value_name = "SIZE", help_heading = "Load")]
    pub payload: Payloads,

    /// Window with open connections and no messages; lasts whole status intervals; 0s leaves it out
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = units::duration, help_heading = "Load")]
    pub idle: Duration,

    /// Load that is not counted
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = units::duration, help_heading = "Load")]
    pub warmup: Duration,

    /// Load that is measured
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = units::duration, help_heading = "Load")]
    pub duration: Duration,

    /// Closed loop after the load, for throughput; 0s leaves it out
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = units::duration, help_heading = "Load")]
    pub peak: Duration,

    /// Time between two status lines; 0s for none [default: 1s; with --target: unknown]
    #[arg(long, value_name = "DURATION", value_parser = units::status_interval, help_heading = "Load")]
    pub status_interval: Option<Duration>,

    /// Seed of the schedule
    #[arg(long, default_value = "1", value_name = "N", help_heading = "Load")]
    pub seed: u64,

    #[command(flatten)]
    pub(crate) cohorts: CohortArgs,

    #[command(flatten)]
    pub(crate) host: HostArgs,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    /// Count the server's system calls as well, in a trial of their own (takes root or CAP_PERFMON)
    #[arg(long, help_heading = "Output")]
    pub syscalls: bool,

    /// Do not measure the generator's own ceiling first: saves half a second, and the headroom stays unknown
    #[arg(long, help_heading = "Output")]
    pub no_baseline: bool,

    /// What the response must keep, such as p99<2ms; if a valid trial does not, the exit code is 4; without 30 samples
    /// beyond the quantile (3,000 for p99) it is not judged, and the exit code is 5
    #[arg(long, value_name = "OBJECTIVE", value_parser = Slo::parse, conflicts_with = "closed", help_heading = "Output")]
    pub slo: Option<Slo>,

    /// Print one JSON object with the columns of trials.csv, and with --slo what became of it
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Also record the trial in this folder, new or empty
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
}

impl RunArgs {
    /// What is measured.
    pub fn target(&self) -> TargetChoice {
        self.target.choice(self.pid)
    }
}

/// Clients that behave badly beside the measured ones; what they do to them is shown against the same load without.
#[derive(Args, Clone, Debug)]
pub(crate) struct CohortArgs {
    /// Connections that send what the server takes and hardly read
    #[arg(long, default_value = "0", value_name = "N", value_parser = units::count_u32, help_heading = "Bad company")]
    pub(crate) slow_readers: u32,

    /// Connections a second that come, have one message echoed and go, every third by a reset
    #[arg(long, default_value = "0", value_name = "RATE", value_parser = churn, help_heading = "Bad company")]
    pub(crate) churn: f64,

    /// Connections that write and read as fast as they can
    #[arg(long, default_value = "0", value_name = "N", value_parser = units::count_u32, help_heading = "Bad company")]
    pub(crate) flooders: u32,
}

fn churn(text: &str) -> Result<f64, String> {
    /// Loopback takes tens of microseconds for a connection.
    const MOST: f64 = 1e6;
    match units::per_second(text)? {
        rate if rate > MOST => Err("no host opens so many; at most 1M".to_owned()),
        rate => Ok(rate),
    }
}
