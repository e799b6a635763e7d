//! What the generator can do on this host at this time: its ceiling and the drift probe, both against the null server.
//!
//! The null server does nothing but echo. A rate near the ceiling says more about the generator than about any server;
//! a drift probe far below the session's best says that the host is slower than it was.

use std::time::Duration;

use anyhow::Result;

use crate::{
    engine::Engine,
    error::Shortage,
    measure::{engine_thread::with_engine, launch::fault_server, target::Running, validity::Conditions},
    plan::{Pacing, Plan},
};

/// Duration of the ceiling's measurement: long enough for every connection.
const CEILING: Duration = Duration::from_millis(300);

/// Duration of the drift probe.
const DRIFT_PROBE: Duration = Duration::from_millis(150);

/// A running null server, with the rates that were measured against it.
#[derive(Debug)]
pub(crate) struct Calibration {
    plan: Plan,
    running: Running,
    /// Echoes per second with the plan's connections and payloads, as many in flight as there are connections. The null
    /// server may be the bound, so the generator can do at least as much.
    pub(crate) ceiling_per_sec: f64,
    drift: DriftProbes,
}

/// The rates of the drift probes, in echoes per second.
#[derive(Clone, Copy, Debug, Default)]
struct DriftProbes {
    /// `None` if this host had no port or descriptor left.
    last: Option<f64>,
    best: f64,
}

impl DriftProbes {
    fn below_best(&self) -> f64 {
        self.last.filter(|_| self.best > 0.0).map_or(0.0, |last| 1.0 - last / self.best)
    }
}

impl Calibration {
    /// Starts the null server on the CPUs that the plan gives its server, and measures the ceiling.
    ///
    /// # Errors
    /// If it cannot be started, or this host cannot carry the plan's connections.
    pub(crate) fn measure(plan: &Plan) -> Result<Self> {
        let running = fault_server(plan, &[])?.start()?;
        let ceiling = closed_loop_rate(plan, &running, plan.connections, CEILING)?;
        let ceiling_per_sec = ceiling.map_err(|shortage| Shortage(format!("this host ran short: {shortage}")))?;
        Ok(Self { plan: plan.clone(), running, ceiling_per_sec, drift: DriftProbes::default() })
    }

    /// The ceiling alone; `None` if this host cannot carry the plan's connections, which the trials themselves report.
    ///
    /// # Errors
    /// If the null server cannot be started.
    pub(crate) fn ceiling(plan: &Plan) -> Result<Option<f64>> {
        match Self::measure(plan) {
            Err(error) if error.is::<Shortage>() => Ok(None),
            calibration => Ok(Some(calibration?.ceiling_per_sec)),
        }
    }

    /// Runs the drift probe: one connection, one message at a time. Returns the share by which its rate is below the
    /// session's best; 0 if this host had no port or descriptor left.
    ///
    /// # Errors
    /// If the null server is gone.
    pub(crate) fn probe_drift(&mut self) -> Result<f64> {
        self.drift.last = closed_loop_rate(&self.plan, &self.running, 1, DRIFT_PROBE)?.ok();
        self.drift.best = self.drift.best.max(self.drift.last.unwrap_or(0.0));
        Ok(self.drift.below_best())
    }

    /// The conditions of the next trial.
    pub(crate) fn conditions(&self) -> Conditions {
        let probed = self.drift.best > 0.0;
        Conditions {
            ceiling_per_sec: Some(self.ceiling_per_sec),
            drift_probe_per_sec: self.drift.last,
            drift_probe_best_per_sec: probed.then_some(self.drift.best),
        }
    }
}

/// Echoes per second in a closed loop of depth 1; or the resource that this host lacks for the connections.
fn closed_loop_rate(plan: &Plan, running: &Running, connections: u32, window: Duration) -> Result<Result<f64, String>> {
    let plan = Plan { connections, threads: plan.threads.min(connections), ..plan.clone() };
    with_engine(&plan, running, |options| {
        let (mut engine, _) = Engine::connect(options)?;
        if let Some(shortage) = engine.first_shortage() {
            return Ok(Err(shortage.to_owned()));
        }
        let window = engine.closed_loop(1, window, Pacing::Timer)?;
        Ok(Ok(window.tally.counts.echoed_in_time as f64 * 1e9 / window.planned_ns as f64))
    })
}
