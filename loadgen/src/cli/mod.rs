//! The command line: sub-commands and the only home of defaults.

mod capacity;
mod compare;
mod generate;
mod run;
mod selftest;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use servers::cli::{ServeArgs, ServiceArgs};

pub use self::{
    capacity::CapacityArgs,
    compare::{CompareArgs, ProfileName},
    generate::GenerateArgs,
    run::RunArgs,
    selftest::{Fault, FaultServerArgs, Known, SelftestArgs},
};
pub(crate) use self::{compare::Guest, run::CohortArgs};

use crate::{
    measure::target::{HostPort, Template},
    plan::units,
    record,
    terminal::Colour,
};

/// Measures echo-and-status servers: latency from the intended send time, idle CPU, CPU per message, throughput
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    max_term_width = 80,
    after_help = "Examples:
  loadgen compare                        mio, threads and tokio side by side
  loadgen run --server mio --rate 50k    one server alone
  loadgen serve tokio                    then: nc 127.0.0.1 9000"
)]
pub struct Cli {
    /// When to colour the output
    #[arg(long, global = true, default_value = "auto", value_enum, value_name = "WHEN", help_heading = "Output")]
    pub(crate) color: Colour,

    /// The sub-command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses a command line, whose first word is the program's name.
    ///
    /// # Errors
    /// A usage error, or the help or version text that was requested.
    pub fn read(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().color(Colour::requested(&words).into()).try_get_matches_from(words)?;
        Self::from_arg_matches(&matches)
    }
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the servers, one per line
    List,
    /// Run one server
    #[command(after_help = "Example:\n  loadgen serve mio --status-interval 1s\n  nc 127.0.0.1 9000")]
    Serve(ServeArgs),
    /// Measure one server
    Run(Box<RunArgs>),
    /// Check one server against every clause of the specification
    Verify(VerifyArgs),
    /// Compare servers in interleaved blocks, with a fresh process per trial
    Compare(Box<CompareArgs>),
    /// Find the highest rate each server sustains, as a lower and an upper bound
    Capacity(Box<CapacityArgs>),
    /// Carry the load of a session whose server runs on another host
    Generate(GenerateArgs),
    /// Render recorded sessions: report.md, report.html, verdicts.csv and a text summary
    Report(ReportArgs),
    /// Check whether this host is fit for measurements, and suggest improvements
    Doctor,
    /// Verify the load generator against known answers (less than five minutes)
    Selftest(SelftestArgs),
    /// Generate shell completions
    #[command(after_help = "Example:\n  loadgen completions bash > ~/.local/share/bash-completion/completions/loadgen")]
    Completions {
        /// Shell to generate completions for
        #[arg(value_enum, value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the man page, or write one per sub-command into a folder
    #[command(after_help = "Examples:\n  loadgen man | man -l -\n  loadgen man ~/.local/share/man/man1")]
    Man {
        /// Folder for the man pages
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// An echo server with known faults, for the self-test
    #[command(hide = true)]
    FaultServer(FaultServerArgs),
}

/// Recorded sessions.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen report results/SESSION
  loadgen report results/MONDAY results/TUESDAY results/FRIDAY
  loadgen report results/MONDAY results/TUESDAY --format csv > forest.csv")]
pub struct ReportArgs {
    /// Session folder; of several, what each found stands side by side, with whether it replicates and, from three
    /// sessions on, the mean and what another session would find
    #[arg(required = true, value_name = "DIR", num_args = 1..)]
    pub(crate) folders: Vec<PathBuf>,

    /// Output format
    #[arg(long, default_value = "text", value_enum)]
    pub(crate) format: Format,

    /// Also replace the text between `<!-- report -->` and `<!-- /report -->` in this file; likewise `verdicts`,
    /// `scorecard` and `loads`
    #[arg(long, value_name = "FILE")]
    pub(crate) splice: Option<PathBuf>,
}

/// Output format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Plain text
    Text,
    /// The forest of several sessions
    Csv,
    /// JSON for github-action-benchmark (customSmallerIsBetter)
    Gha,
}

/// The server under test.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// Server of this project, started in a fresh process
    #[arg(long, value_name = "NAME", value_parser = server_names(), help_heading = "Target")]
    server: Option<String>,

    /// Program to start, which prints `listening on ADDR:PORT` first; {addr}, {status_interval_ms} and
    /// {max_connections} are substituted
    #[arg(long, value_name = "PROG", value_parser = OsStringValueParser::new().try_map(Template::parse),
          help_heading = "Target")]
    command: Option<Template>,

    /// Address of a running echo server
    #[arg(long, value_name = "ADDR", value_parser = HostPort::resolve, help_heading = "Target")]
    target: Option<HostPort>,
}

impl TargetArgs {
    /// The target that was chosen; `pid` is the process of a server that was not started here.
    pub(crate) fn choice(&self, pid: Option<i32>) -> TargetChoice {
        match (&self.server, &self.command, &self.target) {
            (Some(server), ..) => TargetChoice::Server(server.clone()),
            (_, Some(template), _) => TargetChoice::Command(template.clone()),
            (.., Some(place)) => TargetChoice::Address { place: place.clone(), pid },
            _ => unreachable!("clap requires one of the group"),
        }
    }
}

/// The server under test, parsed.
#[derive(Clone, Debug)]
pub enum TargetChoice {
    /// A server of this project.
    Server(String),
    /// A program to start.
    Command(Template),
    /// A running echo server.
    Address {
        /// Its address.
        place: HostPort,
        /// Its process, if known.
        pid: Option<i32>,
    },
}

/// How the host appears in the record.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecordArgs {
    /// Host name to record, also part of the session folder's name [default: the system's host name]
    #[arg(long, value_name = "NAME", value_parser = host_name, help_heading = "Output")]
    pub(crate) host_name: Option<String>,
}

/// A conformance check.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "loadgen verify [OPTIONS] <--server NAME|--command PROG|--target ADDR>")]
#[command(after_help = "Examples:
  loadgen verify --server mio
  loadgen verify --command './mine {addr} {status_interval_ms} {max_connections}'
  loadgen verify --target 127.0.0.1:9000 --status-interval 0s
  loadgen verify --target 127.0.0.1:9000 --handshake 5s    as it was started
  loadgen verify --server tokio --work 20us    every check under work

Exit codes: 0 every clause passes, or fails as declared; 3 a clause fails
undeclared, or passes although declared broken; 5 no clause could be checked,
or this host lacks resources for the checks")]
pub struct VerifyArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Process ID of the target
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), requires = "target", help_heading = "Target")]
    pid: Option<i32>,

    /// Status interval of the target; 0s for no status lines
    #[arg(long, value_name = "DURATION", value_parser = units::status_interval, requires = "target",
          help_heading = "Target")]
    pub(crate) status_interval: Option<Duration>,

    /// What a server is started with for the checks that do not choose it themselves; of a target, what it was started with.
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}

impl VerifyArgs {
    /// The server under test.
    pub(crate) fn target(&self) -> TargetChoice {
        self.target.choice(self.pid)
    }
}

pub(crate) fn server_names() -> PossibleValuesParser {
    PossibleValuesParser::new(servers::SERVERS.iter().map(|server| server.name))
}

fn connections(text: &str) -> Result<u32, String> {
    units::count_u32(text)
}

fn host_name(text: &str) -> Result<String, String> {
    match record::host_name(text) {
        name if name == text => Ok(name),
        name => Err(format!("a host name consists of letters, digits and -_. only, for example {name}")),
    }
}
