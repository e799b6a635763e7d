//! What trials of their own have in common: they measure one thing that would disturb all others.

use std::{io, time::Duration};

use anyhow::{Result, bail};

use crate::{
    engine::{Engine, Options, Schedule, Window},
    plan::{Load, Plan},
};

/// An engine with all of its connections.
///
/// # Errors
/// If one of them was not established.
pub(super) fn connected(options: &Options) -> Result<Engine> {
    let (engine, _) = Engine::connect(options)?;
    if let Some(problem) = engine.first_shortage().or(engine.first_problem()) {
        bail!("not every connection was established: {problem}");
    }
    Ok(engine)
}

/// So much of the plan's load.
///
/// # Errors
/// If polling fails.
pub(super) fn load(engine: &mut Engine, plan: &Plan, length: Duration) -> io::Result<Window> {
    match &plan.load {
        Load::Open { rate, arrivals } => {
            let (payloads, connections) = (plan.payloads.clone(), plan.connections);
            let (seed, rate, arrivals) = (plan.seed, rate.clone(), *arrivals);
            engine.prepare(&Schedule { seed, rate, arrivals, payloads, connections, length, marks_light: None })?;
            engine.open_loop(length, |_| {})
        }
        Load::Closed { depth } => engine.closed_loop(*depth, length, plan.closed_pacing(), |_| {}),
    }
}
