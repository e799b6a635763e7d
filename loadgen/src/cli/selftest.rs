//! `loadgen selftest`, and its server with known faults.

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use crate::plan::units;

/// A verification of the load generator.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  loadgen selftest
  loadgen selftest stall faults          two of them

Exit codes: 0 every answer is right, 1 an answer is wrong, 5 a measurement is invalid")]
pub struct SelftestArgs {
    /// Known answers to verify [default: all]
    #[arg(value_enum, value_name = "NAMES")]
    pub known: Vec<Known>,
}

/// A question whose answer is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Known {
    /// A fixed delay shifts the quantiles by that delay
    Delay,
    /// A stopped server delays the messages intended meanwhile, which a closed loop does not see
    Stall,
    /// A stopped generator is not mistaken for a slow server
    Pause,
    /// A server that spins 5 ms in every 100 ms uses 50 ms of CPU per second
    Spin,
    /// A timer of 100 Hz makes 100 wake-ups per second
    Wakeups,
    /// Lost, duplicate, corrupt and reordered messages are counted exactly
    Faults,
    /// Mean response times match queueing theory
    Queues,
    /// A server does not differ from itself, and 5 % more CPU time is detected
    Compare,
    /// 5 % more work per message lowers the drain rate by 5 %, and a delay in the generator does not
    Drain,
    /// A send delay for one of two arms flags the claims about their latency, and one for both does not
    SendDelay,
    /// The closed loop follows the side that is the limit
    Perturbation,
    /// A message costs a server as much CPU time more as it has more work
    Work,
    /// Confidence intervals contain the true value as often as they claim
    Coverage,
}

impl Known {
    /// All of them, in the order of the self-test.
    pub(crate) const ALL: [Self; 13] = [
        Self::Delay,
        Self::Stall,
        Self::Pause,
        Self::Spin,
        Self::Wakeups,
        Self::Faults,
        Self::Queues,
        Self::Compare,
        Self::Drain,
        Self::SendDelay,
        Self::Perturbation,
        Self::Work,
        Self::Coverage,
    ];
}

/// The faults of the server.
#[derive(Args, Clone, Debug)]
pub struct FaultServerArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub(crate) addr: SocketAddr,

    /// CPU time to spin per message
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = units::duration)]
    pub(crate) delay: Duration,

    /// Draw the delay from an exponential distribution whose mean is --delay
    #[arg(long)]
    pub(crate) exponential: bool,

    /// Fault to inject
    #[arg(long, value_enum)]
    pub(crate) fault: Option<Fault>,

    /// Inject the fault into one of every N messages
    #[arg(long, default_value = "1000", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) every: u64,

    /// Wake up at this interval, with or without messages
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) wake: Option<Duration>,

    /// CPU time to spin per wake-up
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = units::duration)]
    pub(crate) spin: Duration,

    /// TCP congestion control
    #[arg(long, default_value = "reno", value_name = "NAME")]
    pub(crate) congestion: String,
}

/// A fault of a message's echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Never sent
    Drop,
    /// Sent twice
    Duplicate,
    /// One byte altered
    Corrupt,
    /// Sent after the next echo of its connection
    Reorder,
}
