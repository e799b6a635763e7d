//! The command line: sub-commands and the only home of defaults.

mod capacity;
mod compare;
mod run;
mod selftest;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use servers::cli::ServeArgs;

pub use self::{
    capacity::CapacityArgs,
    compare::{CompareArgs, ProfileName},
    run::RunArgs,
    selftest::{Fault, FaultServerArgs, Known, SelftestArgs},
};
pub(crate) use self::{compare::Guest, run::CohortArgs};

use crate::{
    measure::target::{Place, Template},
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
    /// When to use colours
    #[arg(long, global = true, default_value = "auto", value_enum, value_name = "WHEN", help_heading = "Output")]
    pub color: Colour,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Understands the words of a command line, the program's name first.
    ///
    /// # Errors
    /// What is wrong, or the help or version that is asked for.
    pub fn read(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().color(Colour::asked_for(&words).into()).try_get_matches_from(words)?;
        Self::from_arg_matches(&matches)
    }
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
    /// Find the highest rate that servers bear, as a bracket
    Capacity(Box<CapacityArgs>),
    /// Render recorded sessions again: report.md, verdicts.csv, and the text of the comparison
    Report(ReportArgs),
    /// Is this host fit to measure on? What could be better, and how
    Doctor,
    /// Prove the instrument on known answers (in less than five minutes)
    Selftest(SelftestArgs),
    /// Print the completions for a shell
    #[command(after_help = "Example:\n  loadgen completions bash > ~/.local/share/bash-completion/completions/loadgen")]
    Completions {
        /// Which one
        #[arg(value_enum, value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, or write those of all sub-commands into a folder
    #[command(after_help = "Examples:\n  loadgen man | man -l -\n  loadgen man ~/.local/share/man/man1")]
    Man {
        /// Where to
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// An echo server with known faults, for the self-test
    #[command(hide = true)]
    FaultServer(FaultServerArgs),
}

/// Recorded sessions.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  loadgen report results/SESSION\n  loadgen report results/MONDAY results/TUESDAY")]
pub struct ReportArgs {
    /// Folder of a session; two are put side by side
    #[arg(required = true, value_name = "DIR", num_args = 1..)]
    pub folders: Vec<PathBuf>,

    /// As what it is printed
    #[arg(long, default_value = "text", value_enum)]
    pub format: Format,

    /// Also put the text between `<!-- report -->` and `<!-- /report -->` of this file, likewise verdicts, scorecard and
    /// loads
    #[arg(long, value_name = "FILE")]
    pub splice: Option<PathBuf>,
}

/// As what a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For github-action-benchmark, as customSmallerIsBetter
    Gha,
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
    #[arg(long, value_name = "PROG", value_parser = OsStringValueParser::new().try_map(Template::parse),
          help_heading = "Target")]
    command: Option<Template>,

    /// Whatever echoes there
    #[arg(long, value_name = "ADDR", value_parser = Place::resolve, help_heading = "Target")]
    target: Option<Place>,
}

impl TargetArgs {
    /// Which one it is; `pid` is that of a foreign target.
    pub(crate) fn choice(&self, pid: Option<i32>) -> TargetChoice {
        match (&self.server, &self.command, &self.target) {
            (Some(server), ..) => TargetChoice::Server(server.clone()),
            (_, Some(template), _) => TargetChoice::Command(template.clone()),
            (.., Some(place)) => TargetChoice::Address { place: place.clone(), pid },
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
        place: Place,
        /// Its process.
        pid: Option<i32>,
    },
}

/// What the record says of the host.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecordArgs {
    /// What this host is called in the record and in its folder's name [default: its own name]
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

Exit codes: 0 every clause is kept or truly broken as declared, 3 one is not,
5 none could be checked, or this host lacks what it takes to look")]
pub struct VerifyArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The target's process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), requires = "target", help_heading = "Target")]
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

pub(crate) fn server_names() -> PossibleValuesParser {
    PossibleValuesParser::new(servers::SERVERS.iter().map(|server| server.name))
}

fn connections(text: &str) -> Result<u32, String> {
    units::count_u32(text)
}

fn host_name(text: &str) -> Result<String, String> {
    match record::host_name(text) {
        name if name == text => Ok(name),
        name => Err(format!("a host is called by letters, digits and -_. only, for example {name}")),
    }
}
