//! System calls per message, counted in a trial of their own: counting costs the server time, so nothing else is measured.

use anyhow::{Context, Result};

use super::separate;
use crate::{
    engine::Options,
    measure::{
        engine_thread::with_engine,
        target::{Running, Target},
    },
    observe::Syscalls,
    plan::Plan,
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
    let mut engine = separate::connected(options)?;
    let before = syscalls.so_far()?;
    let window = separate::load(&mut engine, plan, plan.windows.load)?;
    let calls = syscalls.so_far()? - before;
    Ok(calls as f64 / window.tally.counts.echoed.max(1) as f64)
}
