//! `loadgen verify`: the suite on one server, a line a check.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use clap::Args;

use super::{Candidate, Finding, Subject, checks, examine, stale};
use crate::{
    cli::server_names,
    failure::Exit,
    interrupt,
    target::{self, Template},
    units,
};

/// Which server.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  loadgen verify --server mio
  loadgen verify --command 'python3 servers/guests/echo.py {addr} {status_interval_ms} {max_connections}'
  loadgen verify --target 127.0.0.1:9000 --status-interval 0s

Exit codes: 0 every clause is kept or truly broken as declared, 3 one is not")]
#[group(id = "candidate", required = true, multiple = false, args = ["server", "target", "command"])]
pub struct VerifyArgs {
    /// A server of this project
    #[arg(long, value_name = "NAME", value_parser = server_names())]
    server: Option<String>,

    /// Whatever listens there; what needs a server of its own is skipped
    #[arg(long, value_name = "HOST:PORT", value_parser = target::resolve)]
    target: Option<SocketAddr>,

    /// Any program that says `listening on ADDR:PORT` first; {addr}, {status_interval_ms} and {max_connections} are
    /// filled in, and what needs one that is absent is skipped
    #[arg(long, value_name = "PROG ...", value_parser = Template::parse)]
    command: Option<Template>,

    /// The target's process
    #[arg(long, value_name = "PID", requires = "target")]
    pid: Option<i32>,

    /// Time between two status lines of the target, 0s for none
    #[arg(long, value_name = "DURATION", value_parser = units::status_interval, requires = "target")]
    status_interval: Option<Duration>,
}

/// Runs every check and prints what it found.
///
/// # Errors
/// If this executable is gone.
pub fn verify(args: &VerifyArgs) -> Result<Exit> {
    let subject = subject(args)?;
    let mut findings = Vec::new();
    for check in checks() {
        if interrupt::asked() {
            return Ok(Exit::Interrupted);
        }
        let finding = examine(&subject, check);
        let (word, why) = match &finding {
            Finding::Pass => ("pass", String::new()),
            Finding::Fail(why) => ("FAIL", format!(": {why}")),
            Finding::Declared(why) => ("declared", format!(": {why}")),
            Finding::Skipped(why) => ("skipped", format!(": {why}")),
        };
        println!("{:<3} {word:<9} {}{why}", check.clause, check.name);
        findings.push((check, finding));
    }
    let stale = stale(&subject, &findings);
    for clause in &stale {
        println!("{clause:<3} FAIL      it is declared broken and was kept: the declaration is stale");
    }
    let count = |wanted: fn(&Finding) -> bool| findings.iter().filter(|(_, finding)| wanted(finding)).count();
    let failed = count(|finding| matches!(finding, Finding::Fail(_))) + stale.len();
    println!(
        "{} pass, {failed} fail, {} declared, {} skipped",
        count(|finding| *finding == Finding::Pass),
        count(|finding| matches!(finding, Finding::Declared(_))),
        count(|finding| matches!(finding, Finding::Skipped(_))),
    );
    Ok(if failed > 0 { Exit::Target } else { Exit::Ok })
}

fn subject(args: &VerifyArgs) -> Result<Subject> {
    let guest = match (&args.server, &args.command, args.target) {
        (Some(name), ..) => {
            let subject = Subject::server(std::env::current_exe()?, name);
            return Ok(subject.unwrap_or_else(|| unreachable!("clap knows the names")));
        }
        (_, Some(template), _) => Candidate::Command(template.clone()),
        (_, _, Some(addr)) => Candidate::Address { addr, pid: args.pid, status_interval: args.status_interval },
        _ => unreachable!("clap requires one of the group"),
    };
    Ok(Subject::guest(guest))
}
