//! `loadgen compare`.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use servers::cli::ServiceArgs;

use super::{RecordArgs, connections, server_names};
use crate::{
    measure::target::Template,
    plan::{HostArgs, Payloads, Rate},
};

/// A comparison.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen compare
  loadgen compare --servers mio,tokio --blocks 20
  loadgen compare --servers mio,mio        the noise of this host
  loadgen compare --profile full
  loadgen compare --profile full --cells connections,payload
  loadgen compare --rate 50k --connections 1000 --seed 7
  loadgen compare --resume results/SESSION --keep-going
  loadgen compare --command mine='./mine {addr} {status_interval_ms}'")]
pub struct CompareArgs {
    /// Servers to compare; name one twice to compare it with itself (if none is named twice, the first one runs twice).
    /// --profile full adds tokio-current-thread
    #[arg(long, default_value = "mio,threads,tokio", value_delimiter = ',', value_parser = server_names(), value_name = "NAMES")]
    pub(crate) servers: Vec<String>,

    /// Guest to compare as well, a program that prints `listening on ADDR:PORT` first; may be repeated
    #[arg(long = "command", value_name = "NAME='PROG ...'",
          value_parser = OsStringValueParser::new().try_map(|text| guest(&text)))]
    pub(crate) guests: Vec<Guest>,

    /// Thoroughness of the comparison
    #[arg(long, default_value = "quick", value_enum)]
    pub(crate) profile: ProfileName,

    /// Cells of --profile full to run, by their names or first words: rate,payload-1KiB [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) cells: Vec<String>,

    /// Number of blocks, in each of which every server runs once, rounded up to a balanced order; with --profile full
    /// that of the primary cells, or of each of --cells [default: the profile's, fewer on a slow host]
    #[arg(long, value_name = "N")]
    pub(crate) blocks: Option<u64>,

    /// Rate of messages over all connections: 20k per second, 6/m per minute; with --profile full the rate that stands
    /// for 100 %, instead of the pilot's [default: the profile's]
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: Option<Rate>,

    /// Number of connections [default: the profile's]
    #[arg(long, value_name = "N", value_parser = connections)]
    pub(crate) connections: Option<u32>,

    /// Message size, or several sizes with their shares of the messages; sizes without a share split the rest:
    /// 64B,1KiB:0.1
    #[arg(long, default_value = "64B", value_name = "SIZE")]
    pub(crate) payload: Payloads,

    /// Seed of the order of the trials and of the send schedules [default: random, and printed]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Go on even if the first blocks show that this host cannot be measured on
    #[arg(long)]
    pub(crate) keep_going: bool,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) host: HostArgs,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    /// Session folder, which must be new or empty [default: results/TIME-HOST]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,

    /// Resume the interrupted session in this folder, with its original options
    #[arg(long, value_name = "DIR", conflicts_with_all = BEGINNING, help_heading = "Output")]
    pub(crate) resume: Option<PathBuf>,

    /// Run the recorded commands even if the session was begun by another user, on another host or before the last
    /// boot
    #[arg(long, requires = "resume", help_heading = "Output")]
    pub(crate) trust: bool,
}

/// The options that --resume takes from the session.
const BEGINNING: [&str; 11] =
    ["servers", "guests", "profile", "cells", "blocks", "rate", "connections", "payload", "seed", "out", "HostArgs"];

/// Thoroughness of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileName {
    /// Functional check within 60 s; its figures mean nothing
    Smoke,
    /// One load in 48 short blocks, within 225 s on two CPUs
    Quick,
    /// Many loads and the scorecard of the four rules, within an hour; a pilot finds the rates
    Full,
}

impl ProfileName {
    /// Its name on the command line and in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// A program in a comparison, with the name of its arm.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) template: Template,
}

/// Parses `NAME=PROG`; the name is plain text, the program need not be UTF-8.
fn guest(text: &OsStr) -> Result<Guest, String> {
    let mut halves = text.as_bytes().splitn(2, |byte| *byte == b'=');
    let (name, program) =
        halves.next().zip(halves.next()).ok_or("write NAME='PROG ...', for example echo='python3 echo.py {addr}'")?;
    let name = String::from_utf8_lossy(name);
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !plain || servers::by_name(&name).is_some() {
        return Err(format!(
            "{name:?} cannot name a guest: use letters, digits and -_. only, and no server's own name"
        ));
    }
    Ok(Guest { name: name.into_owned(), template: Template::parse(OsStr::from_bytes(program))? })
}

#[cfg(test)]
mod tests {
    use clap::{ArgAction, CommandFactory, Parser};

    use crate::cli::Cli;

    #[test]
    fn resume_accepts_no_option_that_the_session_has_fixed() {
        let command = Cli::command();
        let compare = command.find_subcommand("compare").unwrap();
        let mut refused = 0;
        for argument in compare.get_arguments().filter(|argument| !argument.is_global_set()) {
            let Some(long) =
                argument.get_long().filter(|long| !["resume", "trust", "keep-going", "help"].contains(long))
            else {
                continue;
            };
            let value = match (argument.get_action(), argument.get_possible_values().first()) {
                (ArgAction::SetTrue, _) => String::new(),
                (_, Some(value)) => format!("={}", value.get_name()),
                (_, None) => "=x='y {addr}'".to_owned(),
            };
            let option = format!("--{long}{value}");
            let error = Cli::try_parse_from(["loadgen", "compare", "--resume", "d", &option]).unwrap_err().to_string();
            let is_read = !error.contains("invalid value");
            assert!(!is_read || error.contains("cannot be used with"), "{option}: {error}");
            refused += usize::from(is_read);
        }
        assert!(refused >= 5, "{refused} options were tried");
        assert!(Cli::try_parse_from(["loadgen", "compare", "--resume", "d", "--trust", "--keep-going"]).is_ok());
    }
}
