//! What a thread does for each step of the engine.

use std::io;

use super::Shard;
use crate::engine::{step::Step, window::ShardWindow};

/// How long before its start a window begins to be recorded.
const CALM_NS: u64 = 1_000_000;

impl Shard {
    /// Carries out a step; returns its window, if it is one.
    pub(crate) fn carry_out(&mut self, step: Step) -> io::Result<Option<ShardWindow>> {
        match step {
            Step::Connect => self.connect(),
            Step::WaitForTick { until_ns } => return self.wait_for_tick(until_ns).map(|()| None),
            Step::Idle { until_ns } => self.idle_until(until_ns),
            Step::OpenLoop { start_ns, until_ns } => {
                // What came before belongs to no window.
                self.receive_until(start_ns.saturating_sub(CALM_NS))?;
                self.open_loop(start_ns, until_ns)
            }
            Step::ClosedLoop { depth, start_ns, until_ns, pacing } => {
                self.receive_until(start_ns)?;
                self.closed_loop(depth, until_ns, pacing)
            }
            Step::EndChurn { until_ns } => self.end_churn(until_ns),
        }
        .map(Some)
    }
}
