//! `loadgen verify`: the suite on one server, one line per check.

use anyhow::Result;

use crate::{
    cli::{TargetChoice, VerifyArgs},
    error::Usage,
    exit::Exit,
    interrupt,
    measure::{
        launch::{ensure_has, ensure_service},
        target::OWN_EXECUTABLE,
    },
    terminal::print,
    text::{Text, Tone},
    verify::{Candidate, Finding, Subject, checks, examine, reach, reach_afresh, stale},
};

/// Runs every check and prints what it found.
///
/// # Errors
/// If no address of the target answers, or the findings cannot be printed.
pub fn verify(args: &VerifyArgs) -> Result<Exit> {
    let subject = subject(args)?;
    match subject.candidate {
        Candidate::Address { addr, .. } => reach(addr, subject.service.handshake.is_some())?,
        _ if subject.service.handshake.is_some() => reach_afresh(&subject)?,
        _ => {}
    }
    let mut findings = Vec::new();
    for check in checks() {
        if interrupt::requested() {
            return Ok(Exit::Interrupted);
        }
        let finding = examine(&subject, check);
        if interrupt::requested() {
            // What it found may be of the signal's making.
            return Ok(Exit::Interrupted);
        }
        let (word, tone, why) = match &finding {
            Finding::Pass => ("pass", Tone::Neutral, String::new()),
            Finding::Fail(why) => ("FAIL", Tone::Bad, format!(": {why}")),
            Finding::Declared(why) => ("declared", Tone::Neutral, format!(": {why}")),
            Finding::Skipped(why) => ("skipped", Tone::Neutral, format!(": {why}")),
        };
        print(line(check.clause, word, tone, &format!("{}{why}", check.name)))?;
        findings.push((check, finding));
    }
    let stale = stale(&subject, &findings);
    for clause in &stale {
        print(line(clause, "FAIL", Tone::Bad, "declared broken, but passed: the declaration is stale"))?;
    }
    let count = |wanted: fn(&Finding) -> bool| findings.iter().filter(|(_, finding)| wanted(finding)).count();
    let failed = count(|finding| matches!(finding, Finding::Fail(_))) + stale.len();
    let skipped = count(|finding| matches!(finding, Finding::Skipped(_)));
    print(format!(
        "{} pass, {failed} fail, {} declared, {skipped} skipped\n",
        count(|finding| *finding == Finding::Pass),
        count(|finding| matches!(finding, Finding::Declared(_))),
    ))?;
    Ok(match failed {
        // Of nothing that was looked at nothing is kept.
        0 if skipped == findings.len() => {
            print("not judged: no clause could be checked\n")?;
            Exit::Invalid
        }
        0 => Exit::Ok,
        _ => Exit::Target,
    })
}

/// A clause, the word for its finding, and the rest.
fn line(clause: &str, word: &str, tone: Tone, rest: &str) -> Text {
    let gap = " ".repeat(10_usize.saturating_sub(word.len()));
    Text::from(format!("{clause:<3} ")).with(Text::toned(word, tone)).with(format!("{gap}{rest}\n"))
}

fn subject(args: &VerifyArgs) -> Result<Subject> {
    let service = args.service.service();
    let subject = match args.target() {
        TargetChoice::Server(name) => {
            ensure_has(&name, &service)?;
            let subject = Subject::server(OWN_EXECUTABLE.into(), &name);
            subject.unwrap_or_else(|| unreachable!("clap knows the names"))
        }
        TargetChoice::Command(template) => {
            ensure_service(&template, &service).map_err(Usage::from)?;
            Subject::guest(Candidate::Command(template))
        }
        TargetChoice::Address { place, pid } => {
            let (addr, status_interval) = (place.reach()?, args.status_interval);
            Subject::guest(Candidate::Address { addr, pid, status_interval })
        }
    };
    Ok(subject.with_service(service))
}
