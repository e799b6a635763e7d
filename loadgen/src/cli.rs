//! The command line: sub-commands and the only home of defaults.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use servers::cli::ServeArgs;

use crate::{
    engine::{Arrivals, Payloads, Rate},
    plan::{PacingChoice, PlacementKind, cpus},
    reference::ReferenceArgs,
    selftest::Known,
    target::{self, Template},
    units,
};

/// Measures echo-and-status servers: latency from the intended send time, idle CPU, CPU per message, throughput
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Examples:
  loadgen compare                        mio, threads and tokio side by side
  loadgen run --server mio --rate 50k    one server alone
  loadgen serve tokio                    then: nc 127.0.0.1 9000"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the servers, a line each
    List,
    /// Run one server
    #[command(after_help = "Example:\n  loadgen serve mio --status-interval 1s\n  nc 127.0.0.1 9000")]
    Serve(ServeArgs),
    /// Measure one server
    Run(Box<RunArgs>),
    /// Check one server against every clause of the specification, a line each
    Verify(VerifyArgs),
    /// Measure servers side by side, in interleaved blocks with a fresh process for each trial
    Compare(Box<CompareArgs>),
    /// Prove the instrument on known answers (in less than five minutes)
    Selftest(SelftestArgs),
    /// An echo server with known faults, for the self-test
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

/// A proof of the instrument.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  loadgen selftest
  loadgen selftest stall accounts        only these

Exit codes: 0 every answer is right, 1 one is wrong, 5 the host spoiled a measurement")]
pub struct SelftestArgs {
    /// Which known answers [default: all]
    #[arg(value_enum, value_name = "NAMES")]
    pub known: Vec<Known>,
}

/// One trial.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen run --server mio
  loadgen run --server threads --connections 1000 --rate 50k --duration 30s
  loadgen run --server mio --rate 10k..100k --payload 64B,16KiB:0.01
  loadgen run --server mio --slow-readers 4 --churn 200
  loadgen run --server tokio --closed --depth 4
  loadgen run --target 127.0.0.1:9000 --pid 4711 --json
  loadgen run --command 'python3 servers/guests/echo.py {addr} {status_interval_ms} {max_connections}'")]
pub struct RunArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The target's process, to observe its CPU time and memory
    #[arg(long, value_name = "PID", requires = "target", help_heading = "Target")]
    pid: Option<i32>,

    /// Connections
    #[arg(long, default_value = "64", value_name = "N", value_parser = connections, help_heading = "Load")]
    pub connections: u32,

    /// Messages per second over all connections, whatever the server does (open loop); 1k..50k grows evenly over the
    /// window, 1k,5k,20k goes in steps
    #[arg(long, default_value = "20k", value_name = "RATE", value_parser = units::rate, help_heading = "Load")]
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
    #[arg(long, default_value = "64B", value_name = "SIZE", value_parser = units::payloads, help_heading = "Load")]
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

    /// Count the server's system calls as well, in a trial of their own (takes root or CAP_PERFMON)
    #[arg(long, help_heading = "Output")]
    pub syscalls: bool,

    /// Do not measure the generator's own ceiling first: saves half a second, and the headroom stays unknown
    #[arg(long, help_heading = "Output")]
    pub no_baseline: bool,

    /// Print one JSON object with the columns of trials.csv
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Also record the trial in this folder, which must not exist
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
}

/// Which server is meant.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// A server of this project, in a fresh process
    #[arg(long, value_name = "NAME", value_parser = server_names(), help_heading = "Target")]
    server: Option<String>,

    /// Any program that says `listening on ADDR:PORT` first, in a fresh process; {addr}, {status_interval_ms} and
    /// {max_connections} are filled in
    #[arg(long, value_name = "PROG ...", value_parser = Template::parse, help_heading = "Target")]
    command: Option<Template>,

    /// Whatever echoes there
    #[arg(long, value_name = "HOST:PORT", value_parser = target::resolve, help_heading = "Target")]
    target: Option<SocketAddr>,
}

impl TargetArgs {
    /// Which one it is; `pid` is that of a foreign target.
    pub(crate) fn choice(&self, pid: Option<i32>) -> TargetChoice {
        match (&self.server, &self.command, self.target) {
            (Some(server), ..) => TargetChoice::Server(server.clone()),
            (_, Some(template), _) => TargetChoice::Command(template.clone()),
            (.., Some(addr)) => TargetChoice::Address { addr, pid },
            _ => unreachable!("clap requires one of the group"),
        }
    }
}

/// What is measured, taken apart.
#[derive(Clone, Debug)]
pub enum TargetChoice {
    /// A server of this project.
    Server(String),
    /// Any other program.
    Command(Template),
    /// Whatever echoes there.
    Address {
        /// Where.
        addr: SocketAddr,
        /// Its process.
        pid: Option<i32>,
    },
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
    #[arg(long, default_value = "0", value_name = "N", value_parser = units::count, help_heading = "Bad company")]
    pub(crate) slow_readers: u64,

    /// Connections a second that come, have one message echoed and go, every third by a reset
    #[arg(long, default_value = "0", value_name = "RATE", value_parser = units::count, help_heading = "Bad company")]
    pub(crate) churn: u64,

    /// Connections that send 64 KiB every millisecond each
    #[arg(long, default_value = "0", value_name = "N", value_parser = units::count, help_heading = "Bad company")]
    pub(crate) flooders: u64,
}

/// Who runs where.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostArgs {
    /// Threads of the generator
    #[arg(long, default_value = "1", value_name = "N", help_heading = "Host")]
    pub(crate) threads: u32,

    /// Loopback addresses to connect from: one has as many connections to a server as it has ports
    #[arg(long, default_value = "1", value_name = "N", help_heading = "Host")]
    pub(crate) source_addresses: u32,

    /// How the generator waits for the next slot
    #[arg(long, default_value = "auto", value_enum, help_heading = "Host")]
    pub(crate) pacing: PacingChoice,

    /// Who runs where
    #[arg(long, default_value = "split", value_enum, help_heading = "Host")]
    pub(crate) placement: PlacementKind,

    /// CPUs of the server [default: the first half]
    #[arg(long, value_name = "LIST", value_parser = cpu_list, help_heading = "Host")]
    pub(crate) server_cpus: Option<CpuList>,

    /// CPUs of the generator [default: of the second half, one a thread]
    #[arg(long, value_name = "LIST", value_parser = cpu_list, help_heading = "Host")]
    pub(crate) loadgen_cpus: Option<CpuList>,

    /// Leave Nagle's algorithm on, on both sides: an ablation
    #[arg(long, help_heading = "Host")]
    pub(crate) nagle: bool,

    /// TCP congestion control, on both sides
    #[arg(long, default_value = "reno", value_name = "NAME", help_heading = "Host")]
    pub(crate) congestion: String,
}

impl HostArgs {
    /// What the self-test measures with: one thread, one source address, no ablation.
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
        }
    }
}

/// CPUs, in order. (A type of its own, since clap takes a bare vector for a repeated option.)
#[derive(Clone, Debug)]
pub(crate) struct CpuList(pub(crate) Vec<usize>);

/// A comparison.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen compare
  loadgen compare --servers mio,tokio --blocks 20
  loadgen compare --servers mio,mio        how much noise there is
  loadgen compare --rate 50k --connections 1000 --seed 7
  loadgen compare --servers mio --command guest='python3 servers/guests/echo.py {addr} {status_interval_ms}'")]
pub struct CompareArgs {
    /// Which servers; one named twice is compared with itself, and if none is the first one runs twice
    #[arg(long, default_value = "mio,threads,tokio", value_delimiter = ',', value_parser = server_names(), value_name = "NAMES")]
    pub servers: Vec<String>,

    /// A guest beside them: any program that says `listening on ADDR:PORT` first; may be repeated
    #[arg(long = "command", value_name = "NAME='PROG ...'", value_parser = guest)]
    pub(crate) guests: Vec<Guest>,

    /// How thorough
    #[arg(long, default_value = "quick", value_enum)]
    pub profile: ProfileName,

    /// Blocks; every server runs once in each [default: the profile's, fewer on a slow host]
    #[arg(long, value_name = "N")]
    pub blocks: Option<u64>,

    /// Messages per second over all connections [default: the profile's]
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    pub rate: Option<Rate>,

    /// Connections [default: the profile's]
    #[arg(long, value_name = "N", value_parser = connections)]
    pub connections: Option<u32>,

    /// Size of a message; several with the share of messages that have them: 64B,1KiB:0.1
    #[arg(long, default_value = "64B", value_name = "SIZE", value_parser = units::payloads)]
    pub payload: Payloads,

    /// Seed of the order and of the schedules [default: drawn, and printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    #[command(flatten)]
    pub(crate) host: HostArgs,

    /// Folder of the session, which must not exist [default: results/TIME-HOST]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
}

/// How thorough a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileName {
    /// Does it work? Within 60 s; no figures to quote
    Smoke,
    /// 40 short blocks within 225 s on two cores
    Quick,
}

impl ProfileName {
    /// As it is called on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
        }
    }
}

/// A conformance check.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen verify --server mio
  loadgen verify --command 'python3 servers/guests/echo.py {addr} {status_interval_ms} {max_connections}'
  loadgen verify --target 127.0.0.1:9000 --status-interval 0s

Exit codes: 0 every clause is kept or truly broken as declared, 3 one is not")]
pub struct VerifyArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The target's process
    #[arg(long, value_name = "PID", requires = "target", help_heading = "Target")]
    pid: Option<i32>,

    /// Time between two status lines of the target, 0s for none
    #[arg(long, value_name = "DURATION", value_parser = units::status_interval, requires = "target",
          help_heading = "Target")]
    pub status_interval: Option<Duration>,
}

impl VerifyArgs {
    /// What is checked.
    pub fn target(&self) -> TargetChoice {
        self.target.choice(self.pid)
    }
}

/// A program that takes part in a comparison under a name.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) template: Template,
}

fn guest(text: &str) -> Result<Guest, String> {
    let (name, program) =
        text.split_once('=').ok_or("write NAME='PROG ...', for example echo='python3 echo.py {addr}'")?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !plain || servers::by_name(name).is_some() {
        return Err(format!("{name:?} is no name for a guest: letters, digits and -_. only, and no server's own name"));
    }
    Ok(Guest { name: name.to_owned(), template: Template::parse(program)? })
}

pub(crate) fn server_names() -> PossibleValuesParser {
    PossibleValuesParser::new(servers::SERVERS.iter().map(|server| server.name))
}

fn connections(text: &str) -> Result<u32, String> {
    u32::try_from(units::count(text)?).map_err(|_| "no host has that many".to_owned())
}

fn cpu_list(text: &str) -> Result<CpuList, String> {
    cpus(text).map(CpuList)
}
