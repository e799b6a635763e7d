//! CPU time on demand, the same for every server (W1).

use std::{hint::black_box, time::Duration};

use protocol::{
    Service,
    work::{Line, Work},
};
use rustix::time::{ClockId, clock_gettime};

/// The work on messages, measured out in steps of a computation instead of by a clock: reading a clock costs more than
/// short work takes, and one that keeps running while the thread does not would end the work too soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worker {
    work: Work,
    /// Known once, since it is asked for every message.
    has_work: bool,
    steps_per_us: f64,
}

impl Worker {
    /// Calibrates on this thread's CPU, if there is any work to do.
    pub(crate) fn new(service: &Service) -> Self {
        let (work, has_work) = (service.work, !service.work.is_none());
        Self { work, has_work, steps_per_us: if has_work { calibrate() } else { 0.0 } }
    }

    /// Whether any message costs anything.
    pub(crate) fn has_work(&self) -> bool {
        self.has_work
    }

    /// Splits off the beginning of `input` that may be echoed together, after working on it as long as it costs.
    ///
    /// Returns that beginning and its cost, which is zero without work.
    pub(crate) fn first_line<'a>(&self, line: &mut Line, input: &'a [u8]) -> (&'a [u8], Duration) {
        let (first, cost) = self.split(line, input);
        self.spend(cost);
        (first, cost)
    }

    /// The same, but the work is still to be done.
    pub(crate) fn split<'a>(&self, line: &mut Line, input: &'a [u8]) -> (&'a [u8], Duration) {
        if self.has_work { self.work.first_line(line, input) } else { (input, Duration::ZERO) }
    }

    /// Keeps the CPU busy for that long.
    pub(crate) fn spend(&self, cost: Duration) {
        if cost.is_zero() {
            return;
        }
        compute((cost.as_nanos() as f64 * 1e-3 * self.steps_per_us) as u64);
    }
}

/// Steps per microsecond of CPU time: the most of several short runs, since whatever disturbs one makes it slower.
fn calibrate() -> f64 {
    const RUNS: usize = 20;
    const STEPS: u64 = 200_000;
    let rate = |_| {
        let begun_us = thread_cpu_us();
        compute(STEPS);
        STEPS as f64 / (thread_cpu_us() - begun_us)
    };
    (0..RUNS).map(rate).fold(0.0, f64::max)
}

/// So many steps of a linear congruential generator, each of which needs the one before: no CPU finds a shortcut, and
/// no cache matters.
fn compute(steps: u64) {
    let mut state = 1_u64;
    for _ in 0..steps {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// CPU time of this thread, in microseconds.
fn thread_cpu_us() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 * 1e-3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_costs_what_it_should_by_the_cpu_clock_of_its_thread() {
        let worker = Worker::new(&Service::working(Work::each(Duration::from_micros(200))));
        let mut ratios: Vec<f64> = (0..41)
            .map(|_| {
                let begun_us = thread_cpu_us();
                let (first, cost) = worker.first_line(&mut Line::default(), b"a message\nanother\n");
                assert_eq!((first, cost), (&b"a message\n"[..], Duration::from_micros(200)));
                (thread_cpu_us() - begun_us) / 200.0
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        // The selftest holds 2 %; here a neighbour may slow the CPU down at any time.
        assert!((0.5..2.0).contains(&ratios[ratios.len() / 2]), "{ratios:?}");
    }

    #[test]
    fn without_work_nothing_is_split_and_nothing_calibrated() {
        let worker = Worker::new(&Service::default());
        assert_eq!(worker.first_line(&mut Line::default(), b"one\ntwo\n"), (&b"one\ntwo\n"[..], Duration::ZERO));
        assert_eq!(worker.steps_per_us, 0.0);
    }
}
