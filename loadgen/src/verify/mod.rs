//! The conformance suite: every clause of SPEC.md, checked from outside over blocking sockets.
//!
//! `loadgen verify` and the tests run the same checks. A check waits for events with a deadline and never for time to
//! pass, so its result does not depend on the host's speed.

mod at_work;
mod broadcast;
mod client;
mod echo;
mod floods;
mod flow;
mod handshake;
mod idle;
mod idle_timeout;
mod shutdown;
mod subject;
mod timing;
mod work;

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use protocol::Feature;

use self::client::{Client, Endpoint};
use crate::error::{Shortage, Unreachable};

use subject::{BUSY, LONG, Options, PLAIN, QUIET, Served, Skipped};
pub use subject::{Candidate, Subject};

/// A check of one aspect of a clause.
#[derive(Debug)]
pub struct Check {
    /// The clause's number in SPEC.md.
    pub clause: &'static str,
    /// The property that must hold, as a sentence.
    pub name: &'static str,
    /// A clause that the check presupposes: a server for a single client, for example, cannot be checked with two.
    pub rests_on: Option<&'static str>,
    run: fn(&Subject) -> Result<()>,
}

impl Check {
    /// A check that needs only one connection at a time.
    const fn alone(clause: &'static str, name: &'static str, run: fn(&Subject) -> Result<()>) -> Self {
        Self { clause, name, rests_on: None, run }
    }

    /// A check that needs several connections at a time.
    const fn together(clause: &'static str, name: &'static str, run: fn(&Subject) -> Result<()>) -> Self {
        Self { clause, name, rests_on: Some("F2"), run }
    }

    /// A check that needs a server that sleeps.
    const fn at_rest(clause: &'static str, name: &'static str, run: fn(&Subject) -> Result<()>) -> Self {
        Self { clause, name, rests_on: Some("I1"), run }
    }

    /// The option that turns its clause on, by the clause's letter.
    pub fn feature(&self) -> Option<Feature> {
        Feature::ALL.iter().copied().find(|feature| self.clause.starts_with(feature.letter()))
    }
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The property holds.
    Pass,
    /// It does not hold, with the observation.
    Fail(String),
    /// It does not hold, as the server declares.
    Declared(String),
    /// It was not checked, with the reason.
    Skipped(String),
}

/// Time limit of a check that is expected to fail.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);

/// Every check, in the order of the clauses.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let always = [echo::CHECKS, broadcast::CHECKS, flow::CHECKS, floods::CHECKS, shutdown::CHECKS, idle::CHECKS];
    let optional = [work::CHECKS, handshake::CHECKS, idle_timeout::CHECKS, at_work::CHECKS];
    always.into_iter().chain(optional).flatten()
}

/// Runs one check against a server.
pub fn examine(subject: &Subject, check: &Check) -> Finding {
    if let Some(clause) = check.rests_on.filter(|clause| *clause != check.clause && subject.declares(clause)) {
        return Finding::Skipped(format!("requires {clause}, which is declared broken"));
    }
    let declared = subject.declares(check.clause);
    let patient = Subject { patience: if declared { SHORT_PATIENCE } else { subject.patience }, ..subject.clone() };
    match (check.run)(&patient) {
        Ok(()) => Finding::Pass,
        Err(error) => match error.downcast_ref::<Skipped>() {
            Some(Skipped(why)) => Finding::Skipped(why.clone()),
            None if declared => Finding::Declared(format!("{error:#}")),
            None => Finding::Fail(format!("{error:#}")),
        },
    }
}

/// The stale declarations: clauses that are declared broken although all their checks hold.
pub fn stale<'a>(subject: &'a Subject, findings: &[(&Check, Finding)]) -> Vec<&'a str> {
    let holds = |clause: &&str| {
        let mut about = findings.iter().filter(|(check, _)| check.clause == *clause).peekable();
        about.peek().is_some() && about.all(|(_, finding)| *finding == Finding::Pass)
    };
    subject.violates.iter().copied().filter(holds).collect()
}

/// One echo of a line. If it fails, every check would, each after its own time limit.
pub(crate) fn reach(addr: SocketAddr, shakes_hands: bool) -> Result<()> {
    /// The time limit of a ramp without progress.
    const PATIENCE: Duration = Duration::from_secs(5);
    let greeted =
        Client::connect(Endpoint { addr, patience: PATIENCE, shakes_hands }).and_then(|mut client| client.greet());
    greeted.map_err(|error| match error.downcast::<Skipped>() {
        Ok(Skipped(why)) => Shortage(why).into(),
        Err(error) => Unreachable(format!("{addr}: the server does not echo: {error:#}")).into(),
    })
}

/// Whether a server that a check would start shakes hands, if it is to: one that does not would fail every check, each
/// after its own time limit.
pub(crate) fn reach_afresh(subject: &Subject) -> Result<()> {
    let server = match subject.start(QUIET) {
        Err(error) if error.is::<Skipped>() => return Ok(()),
        started => started?,
    };
    reach(server.addr.addr, server.addr.shakes_hands)
}
