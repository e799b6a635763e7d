//! Throughput in a closed loop, and the perturbation test: whose is it?
//!
//! Short windows without and with a known delay in the generator take turns. A rate that falls as the delay alone would
//! make it fall is the generator's; one that does not is the server's. Busy shares cannot tell: both sides may be busy
//! all the time, since a side that is faster than the other does its work in smaller batches, at a higher price.

use std::{io, time::Duration};

use servers::clock;

use super::{Measurement, Peak};
use crate::{
    engine::Window,
    plan::{Load, Pacing, Plan},
};

/// Whether a window has the delay, in the order of the windows. No trend is in the difference of the two halves, neither
/// a linear nor a quadratic one (Thue-Morse).
const DELAYED: [bool; 8] = [false, true, true, false, true, false, false, true];

/// The shortest useful window.
const SHORTEST: Duration = Duration::from_millis(20);

/// All windows together: those of a closed loop take a fifth of its time, if no other is asked for.
pub(crate) fn length(plan: &Plan) -> Duration {
    let windows = &plan.windows;
    match plan.load {
        Load::Closed { .. } if windows.peak.is_zero() && !windows.load.is_zero() => {
            (windows.load / 5).max(SHORTEST * DELAYED.len() as u32)
        }
        Load::Open { .. } | Load::Closed { .. } => windows.peak,
    }
}

impl Measurement<'_> {
    /// The closed loop of the load or, after an open loop, one of depth 1; none after a signal.
    pub(super) fn peak(&mut self) -> io::Result<Option<Peak>> {
        let (depth, pacing) = match self.plan.load {
            Load::Closed { depth } => (depth, self.plan.closed_pacing()),
            // Blocking, since a client that spins for its echoes only competes with itself.
            Load::Open { .. } => (1, Pacing::Timer),
        };
        // Rates divide by it.
        let each = (length(self.plan) / DELAYED.len() as u32).max(Duration::from_nanos(1));
        let read_ns = clock::now_ns();
        let server_before = self.usage();
        self.catch_up(clock::now_ns() - read_ns)?;
        let (mut halves, mut rates_per_sec) = ([None, None], [Vec::new(), Vec::new()]);
        for is_delayed in DELAYED {
            if self.engine.is_interrupted() {
                break;
            }
            let extra = if is_delayed { self.plan.peak_delay } else { Duration::ZERO };
            self.engine.set_delay(self.plan.generator_delay + extra)?;
            let window = self.engine.closed_loop(depth, each, pacing, |_| {})?;
            let half = usize::from(is_delayed);
            rates_per_sec[half].push(window.rate_per_sec());
            match &mut halves[half] {
                None => halves[half] = Some(window),
                Some(earlier) => Window::add(earlier, window),
            }
        }
        self.engine.set_delay(self.plan.generator_delay)?;
        let server = self.usage().zip(server_before).map(|(after, before)| after.since(&before));
        let [plain, delayed] = halves;
        Ok(plain.map(|plain| Peak { plain, delayed, rates_per_sec, server }))
    }
}

#[cfg(test)]
mod tests {
    use protocol::Service;

    use super::*;
    use crate::plan::{
        Arrivals, Cohorts, HostArgs, PacingChoice, Payloads, PlacementKind, Rate, Shape, Windows, prepare,
    };

    fn plan(load: Load, load_ms: u64, peak_ms: u64) -> Plan {
        let ms = Duration::from_millis;
        let windows = Windows { idle: ms(1), warmup: ms(0), load: ms(load_ms), peak: ms(peak_ms), drain_bursts: 0 };
        let (payloads, cohorts, service) = (Payloads::one(64), Cohorts::default(), Service::default());
        let shape = Shape { connections: 1, load, payloads, windows, status_interval: None, cohorts, service };
        prepare(shape, &HostArgs::standard(PacingChoice::Timer, PlacementKind::Shared), 1).unwrap()
    }

    #[test]
    fn a_closed_loop_is_always_perturbed_and_an_open_one_on_request() {
        let ms = Duration::from_millis;
        let (open, closed) =
            (Load::Open { rate: Rate::Steady(1e3), arrivals: Arrivals::Poisson }, Load::Closed { depth: 4 });
        let lengths = |load: &Load| {
            [(5_000, 0), (100, 0), (5_000, 300), (0, 0), (0, 300)]
                .map(|(load_ms, peak_ms)| length(&plan(load.clone(), load_ms, peak_ms)))
        };
        assert_eq!(lengths(&open), [ms(0), ms(0), ms(300), ms(0), ms(300)]);
        assert_eq!(lengths(&closed), [ms(1_000), ms(160), ms(300), ms(0), ms(300)]);
    }

    #[test]
    fn no_trend_of_the_host_is_mistaken_for_the_delay() {
        for power in 0..=2 {
            let moment = |of: bool| -> i32 {
                let places = DELAYED.iter().zip(0_i32..).filter(|(delayed, _)| **delayed == of);
                places.map(|(_, place)| place.pow(power)).sum()
            };
            assert_eq!(moment(false), moment(true), "t^{power}");
        }
    }
}
