//! System calls per message, counted in a trial of their own: counting costs the server time, so nothing else is measured.

use anyhow::{Context, Result, bail};

use crate::{
    engine::{Engine, Options, Workload},
    measure::{
        engine_thread::with_engine,
        target::{Running, Target},
    },
    observe::Syscalls,
    plan::{Load, Plan},
};

/// System calls of the server per message of the plan's load.
///
/// # Errors
/// If the host does not allow counting, or the server cannot be reached.
pub(crate) fn syscalls_per_message(plan: &Plan, target: &Target) -> Result<f64> {
    let running = target.start()?;
    let counted = with_engine(plan, &running, |options| count(plan, &running, options))?;
    running.stop()?;
    Ok(counted)
}

fn count(plan: &Plan, running: &Running, options: &Options) -> Result<f64> {
    running.pid().context("the server's process is not known (--pid)")?;
    // Before the first connection: threads started from then on are counted, earlier ones might be missed.
    let mut syscalls = Syscalls::count(&running.pids).context("this host does not let system calls be counted")?;
    let (mut engine, _) = Engine::connect(options)?;
    if let Some(problem) = engine.first_shortage().or(engine.first_problem()) {
        bail!("not every connection was established: {problem}");
    }
    let before = syscalls.so_far()?;
    let window = match &plan.load {
        Load::Open { rate, arrivals } => {
            let (payloads, connections) = (&plan.payloads, plan.connections);
            let workload = Workload { seed: plan.seed, rate, arrivals: *arrivals, payloads, connections };
            engine.open_loop(&workload.slots(plan.windows.load), plan.windows.load)?
        }
        Load::Closed { depth } => engine.closed_loop(*depth, plan.windows.load, plan.closed_pacing())?,
    };
    let calls = syscalls.so_far()? - before;
    Ok(calls as f64 / window.tally.counts.echoed.max(1) as f64)
}
