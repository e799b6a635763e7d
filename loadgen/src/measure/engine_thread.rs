//! The engine's thread: spawned, pinned and joined in one place for trials, the calibration and the count of system calls.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use super::target::Running;
use crate::{
    engine::{Options, progress::Progress},
    observe,
    plan::{PlacementKind, Plan},
};

/// Time between two looks at the progress.
const LOOK: Duration = Duration::from_millis(200);

/// Shows the progress of a measurement.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(&Progress);

/// Runs `measure` on a thread that is pinned where the plan has its generator, with the options of an engine for this
/// server. A thread of its own, since servers that are spawned from a pinned one would inherit its CPUs.
///
/// # Errors
/// Those of `measure`, and if the thread cannot be spawned or pinned.
pub(super) fn with_engine<T: Send>(
    plan: &Plan,
    running: &Running,
    measure: impl FnOnce(&Options) -> Result<T> + Send,
) -> Result<T> {
    with_watched_engine(plan, running, None, measure)
}

/// [`with_engine`], while the calling thread looks at the progress five times per second.
///
/// # Errors
/// As [`with_engine`].
pub(super) fn with_watched_engine<T: Send>(
    plan: &Plan,
    running: &Running,
    watch: Option<Watch<'_>>,
    measure: impl FnOnce(&Options) -> Result<T> + Send,
) -> Result<T> {
    let options = options(plan, running);
    let cpus = observe::available_cpus();
    if watch.is_some() && plan.placement.kind == PlacementKind::Split {
        // The observer leaves the CPUs of a spinning generator alone, if there are others.
        let others: Vec<usize> =
            cpus.iter().filter(|cpu| !plan.placement.loadgen_cpus.contains(cpu)).copied().collect();
        observe::pin_thread(&others)?;
    }
    let measured = thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        let body = || {
            let _ended = ended;
            pin(plan)?;
            measure(&options)
        };
        let engine = thread::Builder::new().name("engine".to_owned()).spawn_scoped(scope, body)?;
        if let Some(watch) = watch {
            while end.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                watch(&options.progress);
            }
        }
        engine.join().map_err(|_| anyhow!("the engine panicked"))?
    });
    observe::pin_thread(&cpus)?;
    measured
}

/// Pins the calling thread where the plan has its generator.
fn pin(plan: &Plan) -> Result<()> {
    match plan.placement.kind {
        PlacementKind::Split => observe::pin_thread(&plan.placement.loadgen_cpus).context("cannot pin the generator"),
        // The coordinator leaves the server's CPUs alone, if there are others.
        PlacementKind::Hosts if !plan.placement.spare_cpus.is_empty() => {
            observe::pin_thread(&plan.placement.spare_cpus).context("cannot pin the coordinator")
        }
        PlacementKind::Hosts | PlacementKind::Shared => Ok(()),
    }
}

/// The client's side of a plan.
fn options(plan: &Plan, running: &Running) -> Options {
    let pinned = plan.placement.kind.is_pinned();
    Options {
        addr: running.addr,
        hosts: plan.hosts.clone(),
        connections: plan.connections,
        payloads: plan.payloads.clone(),
        nodelay: plan.nodelay,
        congestion: Some(plan.congestion.clone()),
        handshake: plan.service.handshake.is_some(),
        pacing: plan.pacing,
        threads: plan.threads,
        cpus: if pinned { plan.placement.loadgen_cpus.clone() } else { Vec::new() },
        flood_cpus: if pinned { plan.placement.spare_cpus.clone() } else { Vec::new() },
        source_addresses: plan.source_addresses,
        generator_delay: plan.generator_delay,
        stamps_arrivals: false,
        cohorts: plan.cohorts,
        fan_out_span_ns: plan.fan_out_span().as_nanos() as u64,
        progress: Arc::new(Progress::default()),
    }
}
