//! `loadgen run`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use servers::cli::ServiceArgs;

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
  loadgen run --server mio --drain
  loadgen run --server mio --connections 0 --duration 0s    idle server
  loadgen run --target 127.0.0.1:9000 --pid 4711 --json
  loadgen run --command './mine {addr} {status_interval_ms}'")]
pub struct RunArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Process ID of the target, to observe its CPU time and memory
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), requires = "target", help_heading = "Target")]
    pid: Option<i32>,

    /// Number of connections
    #[arg(long, default_value = "64", value_name = "N", value_parser = connections, help_heading = "Load")]
    pub(crate) connections: u32,

    /// Rate of messages over all connections (open loop): 20k or 0.1 per second, 6/m per minute; a linear ramp 1k..50k;
    /// steps 1k,5k,20k
    #[arg(long, default_value = "20k", value_name = "RATE", help_heading = "Load")]
    pub(crate) rate: Rate,

    /// Distribution of the gaps between messages
    #[arg(long, default_value = "poisson", value_enum, help_heading = "Load")]
    pub(crate) arrivals: Arrivals,

    /// Send a message only when an echo has arrived (closed loop, for throughput); latency is then service time
    #[arg(long, conflicts_with_all = ["rate", "arrivals"], help_heading = "Load")]
    pub(crate) closed: bool,

    /// Messages in flight per connection in a closed loop
    #[arg(long, default_value = "1", value_name = "N", requires = "closed", help_heading = "Load")]
    pub(crate) depth: u32,

    /// Message size, or several sizes with their shares of the messages; sizes without a share split the rest:
    /// 64B,1KiB:0.1
    #[arg(long, default_value = "64B", value_name = "SIZE", help_heading = "Load")]
    pub(crate) payload: Payloads,

    /// Length of the window without messages, rounded up to whole status intervals; 0s to skip
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = units::duration, help_heading = "Load")]
    pub(crate) idle: Duration,

    /// Length of the warm-up, which is not measured
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = units::duration, help_heading = "Load")]
    pub(crate) warmup: Duration,

    /// Length of the measured load window
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = units::duration, help_heading = "Load")]
    pub(crate) duration: Duration,

    /// Length of a closed loop after the load: throughput of server and generator together, half of the time with a delay
    /// of 0.5 us per message in the generator, which shows whose it is; 0s to skip, but with --closed a fifth of --duration
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = units::duration, help_heading = "Load")]
    pub(crate) peak: Duration,

    /// Also measure how fast the server answers one message on each of 512 further connections, for which it is stopped
    /// (SIGSTOP) and continued: throughput that is the server's alone
    #[arg(long, help_heading = "Load")]
    pub(crate) drain: bool,

    /// How often --drain does that, for a median
    #[arg(long, default_value = "20", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), requires = "drain", help_heading = "Load")]
    drain_bursts: u32,

    /// Interval between status lines; 0s for none [default: 1s; with --target: unknown]
    #[arg(long, value_name = "DURATION", value_parser = units::status_interval, help_heading = "Load")]
    pub(crate) status_interval: Option<Duration>,

    /// Seed of the send schedule
    #[arg(long, default_value = "1", value_name = "N", help_heading = "Load")]
    pub(crate) seed: u64,

    #[command(flatten)]
    pub(crate) cohorts: CohortArgs,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) host: HostArgs,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    /// Also count the server's system calls, in a separate trial (needs root or CAP_PERFMON)
    #[arg(long, help_heading = "Output")]
    pub(crate) syscalls: bool,

    /// Also measure how long echoes wait to be read, by the kernel's time stamps, in a separate trial
    #[arg(long, help_heading = "Output")]
    pub(crate) receive_lag: bool,

    /// Skip measuring the generator's ceiling, which takes half a second; the headroom is then unknown
    #[arg(long, help_heading = "Output")]
    pub(crate) no_calibration: bool,

    /// Latency objective for the response, such as p99<2ms: exit code 4 if a valid trial misses it, 5 if fewer than 30
    /// samples lie beyond the quantile (3,000 messages for p99)
    #[arg(long, value_name = "OBJECTIVE", value_parser = Slo::parse, conflicts_with = "closed", help_heading = "Output")]
    pub(crate) slo: Option<Slo>,

    /// Print one JSON object with the columns of trials.csv, and the outcome of --slo
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Also record the trial in this folder, which must be new or empty
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
}

impl RunArgs {
    /// The server under test.
    pub(crate) fn target(&self) -> TargetChoice {
        self.target.choice(self.pid)
    }

    /// The same with other options about the host.
    pub(crate) fn with_host(&self, host: HostArgs) -> Self {
        Self { host, ..self.clone() }
    }

    /// Bursts of the drain window.
    pub(crate) fn drain_bursts(&self) -> u32 {
        if self.drain { self.drain_bursts } else { 0 }
    }
}

/// Misbehaving clients beside the measured ones. The same load is measured without them first, for comparison.
#[derive(Args, Clone, Debug)]
pub(crate) struct CohortArgs {
    /// Number of clients that send as much as the server accepts and hardly read
    #[arg(long, default_value = "0", value_name = "N", value_parser = units::count_u32, help_heading = "Misbehaving clients")]
    pub(crate) slow_readers: u32,

    /// Connections per second that are opened for one echo and closed, every third by a reset
    #[arg(long, default_value = "0", value_name = "RATE", value_parser = churn, help_heading = "Misbehaving clients")]
    pub(crate) churn: f64,

    /// Number of clients that write and read as fast as they can
    #[arg(long, default_value = "0", value_name = "N", value_parser = units::count_u32, help_heading = "Misbehaving clients")]
    pub(crate) flooders: u32,
}

fn churn(text: &str) -> Result<f64, String> {
    /// A connection over loopback takes tens of microseconds.
    const MOST: f64 = 1e6;
    match units::per_second(text)? {
        rate if rate > MOST => Err("too many connections per second; at most 1M".to_owned()),
        rate => Ok(rate),
    }
}
