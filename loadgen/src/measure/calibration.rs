//! What the generator can do on this host at this time: its ceiling and the drift probe, both against the null server.
//!
//! The null server does nothing but echo. A rate near the ceiling says more about the generator than about any server;
//! a drift probe far below the session's median says that the host is slower than it mostly is.

use std::time::{Duration, Instant};

use anyhow::Result;
use protocol::Service;

use crate::{
    engine::Engine,
    error::{Shortage, Unreachable},
    measure::{engine_thread::with_engine, launch::fault_server, target::Running, validity::Conditions},
    plan::{Pacing, Plan},
};

/// Duration of the ceiling's measurement: long enough for every connection.
const CEILING: Duration = Duration::from_millis(300);

/// Duration of the drift probe.
const DRIFT_PROBE: Duration = Duration::from_millis(150);

/// How long a drift probe speaks for what follows it.
const SPEAKS_FOR: Duration = Duration::from_millis(500);

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

/// The drift probes of a session, in echoes per second.
#[derive(Clone, Debug, Default)]
struct DriftProbes {
    /// In ascending order.
    sorted: Vec<f64>,
    /// The latest; `None` if this host had no port or descriptor left.
    last: Option<f64>,
    /// When the latest ended.
    ended: Option<Instant>,
}

impl DriftProbes {
    fn add(&mut self, rate_per_sec: Option<f64>) {
        (self.last, self.ended) = (rate_per_sec, Some(Instant::now()));
        if let Some(rate) = rate_per_sec {
            self.sorted.insert(self.sorted.partition_point(|other| *other < rate), rate);
        }
    }

    /// The median of all probes so far. The best would be beaten again and again, and in the end hardly ever be reached.
    fn median(&self) -> Option<f64> {
        let middle = self.sorted.len() / 2;
        match self.sorted.len() {
            0 => None,
            count if count % 2 == 1 => Some(self.sorted[middle]),
            _ => Some(f64::midpoint(self.sorted[middle - 1], self.sorted[middle])),
        }
    }

    /// The share by which the latest probe is below the median; 0 if nothing is known.
    fn below_median(&self) -> f64 {
        self.last.zip(self.median()).map_or(0.0, |(last, median)| 1.0 - last / median)
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
    /// session's median; 0 if this host had no port or descriptor left.
    ///
    /// # Errors
    /// If the null server is gone.
    pub(crate) fn probe_drift(&mut self) -> Result<f64> {
        self.drift.add(closed_loop_rate(&self.plan, &self.running, 1, DRIFT_PROBE)?.ok());
        Ok(self.drift.below_median())
    }

    /// What [`probe_drift`](Self::probe_drift) returned, if that was just now: the probe after a block serves as the one
    /// before the next.
    pub(crate) fn drift_just_now(&self) -> Option<f64> {
        self.drift.ended.filter(|ended| ended.elapsed() < SPEAKS_FOR).map(|_| self.drift.below_median())
    }

    /// The rate of the latest drift probe, in echoes per second.
    pub(crate) fn drift_probe_per_sec(&self) -> Option<f64> {
        self.drift.last
    }

    /// The conditions of the trials that follow.
    pub(crate) fn conditions(&self) -> Conditions {
        Conditions {
            ceiling_per_sec: Some(self.ceiling_per_sec),
            drift_probe_per_sec: self.drift.last,
            drift_probe_after_per_sec: None,
            drift_probe_median_per_sec: self.drift.median(),
        }
    }
}

/// Echoes per second in a closed loop of depth 1; or the resource that this host lacks for the connections.
fn closed_loop_rate(plan: &Plan, running: &Running, connections: u32, window: Duration) -> Result<Result<f64, String>> {
    let threads = plan.threads.min(connections);
    // The null server does nothing but echo.
    let plan = Plan { connections, threads, service: Service::default(), ..plan.clone() };
    with_engine(&plan, running, |options| {
        let (mut engine, _) = Engine::connect(options)?;
        if let Some(shortage) = engine.first_shortage() {
            return Ok(Err(shortage.to_owned()));
        }
        if engine.connected() < connections && !engine.is_interrupted() {
            // A rate of those that were left would be taken for the generator's.
            let problem = engine.first_problem().unwrap_or("no connection was established");
            return Err(Unreachable(format!("the null server at {}: {problem}", options.addr)).into());
        }
        let window = engine.closed_loop(1, window, Pacing::Timer, |_| {})?;
        Ok(Ok(window.tally.counts.echoed_in_time as f64 * 1e9 / window.planned_ns as f64))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probes(rates: &[f64]) -> DriftProbes {
        let mut probes = DriftProbes::default();
        rates.iter().for_each(|rate| probes.add(Some(*rate)));
        probes
    }

    #[test]
    fn a_probe_is_compared_with_the_median_of_all_so_far() {
        let below = |rates: &[f64]| probes(rates).below_median();
        assert_eq!((probes(&[]).median(), below(&[])), (None, 0.0));
        assert_eq!((probes(&[7.0]).median(), below(&[7.0])), (Some(7.0), 0.0));
        assert_eq!(probes(&[6.0, 8.0]).median(), Some(7.0));
        assert_eq!(below(&[100.0, 104.0, 96.0, 100.0, 75.0]), 0.25);
        assert_eq!(below(&[100.0, 100.0, 150.0, 100.0]), 0.0, "one that is much better sets no standard");
        assert!(below(&[100.0, 100.0, 150.0]) < 0.0);
    }

    #[test]
    fn a_host_that_stays_slower_is_no_longer_slow() {
        let mut probes = probes(&[100.0; 4]);
        let below = [(); 5].map(|()| {
            probes.add(Some(70.0));
            probes.below_median() > 0.15
        });
        assert_eq!(below, [true, true, true, true, false]);
    }

    #[test]
    fn a_probe_that_was_not_possible_says_nothing() {
        let mut probes = probes(&[100.0, 50.0]);
        probes.add(None);
        assert_eq!((probes.last, probes.median(), probes.below_median()), (None, Some(75.0), 0.0));
    }

    proptest! {
        #[test]
        fn the_median_has_as_many_below_as_above(rates in prop::collection::vec(1.0..1e6_f64, 1..40)) {
            let median = probes(&rates).median().unwrap();
            let below = rates.iter().filter(|rate| **rate < median).count();
            let above = rates.iter().filter(|rate| **rate > median).count();
            prop_assert!(below <= rates.len() / 2 && above <= rates.len() / 2);
        }
    }
}
