//! How long echoes wait to be read, in a trial of its own: to ask the kernel for its time stamps makes every read dearer,
//! so nothing else is measured.
//!
//! It is the twin of the send lag: an echo that arrives while the generator sends waits until that is done, and the wait
//! is part of the response.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::separate;
use crate::{
    engine::Options,
    measure::{engine_thread::with_engine, target::Target},
    plan::Plan,
};

/// The receive lags under the plan's load in nanoseconds, one of each read that brought an echo.
///
/// # Errors
/// If the plan has no load, the host does not stamp arrivals, or the server cannot be reached.
pub(crate) fn receive_lag(plan: &Plan, target: &Target) -> Result<Histogram<u64>> {
    ensure!(!plan.windows.load.is_zero(), "with --duration 0s nothing is sent");
    let running = target.start()?;
    let lags = with_engine(plan, &running, |options| measure(plan, options))?;
    running.stop()?;
    Ok(lags)
}

fn measure(plan: &Plan, options: &Options) -> Result<Histogram<u64>> {
    let options = Options { stamps_arrivals: true, ..options.clone() };
    let mut engine = separate::connected(&options)?;
    if !plan.windows.warmup.is_zero() {
        separate::load(&mut engine, plan, plan.windows.warmup)?;
    }
    drop(engine.take_receive_lags()?);
    let window = separate::load(&mut engine, plan, plan.windows.load)?;
    let lags = engine.take_receive_lags()?;
    ensure!(!lags.is_empty() || window.tally.counts.echoed == 0, "this host's kernel stamps no arrival");
    ensure!(!lags.is_empty(), "nothing was echoed");
    Ok(lags)
}
