//! `loadgen verify`: the suite on one server, a line a check.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::{Candidate, Finding, Subject, checks, examine, stale};
use crate::{
    cli::{TargetArgs, TargetChoice},
    failure::Exit,
    interrupt, units,
};

/// Which server.
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
    Ok(match args.target.choice(args.pid) {
        TargetChoice::Server(name) => {
            let subject = Subject::server(std::env::current_exe()?, &name);
            subject.unwrap_or_else(|| unreachable!("clap knows the names"))
        }
        TargetChoice::Command(template) => Subject::guest(Candidate::Command(template)),
        TargetChoice::Address { addr, pid } => {
            Subject::guest(Candidate::Address { addr, pid, status_interval: args.status_interval })
        }
    })
}
