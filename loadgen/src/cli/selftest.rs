//! `loadgen selftest`, and the server that it needs.

use std::time::Duration;

use clap::Args;

use crate::plan::units;

/// A proof of the instrument.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  loadgen selftest
  loadgen selftest stall faults          only these

Exit codes: 0 every answer is right, 1 one is wrong, 5 the host spoiled a measurement")]
pub struct SelftestArgs {
    /// Which known answers [default: all]
    #[arg(value_enum, value_name = "NAMES")]
    pub known: Vec<Known>,
}

/// What is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Known {
    /// A fixed delay shifts the quantiles by itself
    Delay,
    /// A stopped server delays what was intended meanwhile, and a closed loop does not see it
    Stall,
    /// A stopped generator is told from a slow server
    Pause,
    /// A server that spins 5 ms in 100 ms uses 50 ms of CPU a second
    Spin,
    /// A timer of 100 Hz is 100 wake-ups a second
    Wakeups,
    /// Dropped, doubled, altered and exchanged messages are counted exactly
    Faults,
    /// Mean response times of queues are those of the theory
    Queues,
    /// A server does not differ from itself, and 5 % more CPU time is found
    Compare,
    /// Intervals hold the true value as often as they say
    Coverage,
}

impl Known {
    /// All of them, in the order in which they are asked.
    pub(crate) const ALL: [Self; 9] = [
        Self::Delay,
        Self::Stall,
        Self::Pause,
        Self::Spin,
        Self::Wakeups,
        Self::Faults,
        Self::Queues,
        Self::Compare,
        Self::Coverage,
    ];
}

/// What is wrong with it.
#[derive(Args, Clone, Debug)]
pub struct FaultServerArgs {
    /// Time that it spins for each message, by its thread's CPU clock
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = units::duration)]
    pub delay: Duration,

    /// The delay is only the mean of exponential ones
    #[arg(long)]
    pub exponential: bool,

    /// What happens to one in --every messages
    #[arg(long, value_enum)]
    pub fault: Option<Fault>,

    /// How seldom
    #[arg(long, default_value = "1000", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,

    /// Wake up at this interval, whatever comes
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub wake: Option<Duration>,

    /// Time to spin at each wake-up
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = units::duration)]
    pub spin: Duration,

    /// TCP congestion control
    #[arg(long, default_value = "reno", value_name = "NAME")]
    pub congestion: String,
}

/// What can happen to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// It does not come back
    Drop,
    /// It comes back twice
    Duplicate,
    /// A byte is altered
    Corrupt,
    /// It comes back after the next one of its connection
    Reorder,
}
