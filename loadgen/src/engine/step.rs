//! What an engine does with all its connections at once: an order that a thread carries out, on this host or on another.

use serde::{Deserialize, Serialize};

use crate::{hosts::ClockMap, plan::Pacing};

/// One thing that every thread of an engine does. Times are nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Opens every connection and waits for the first echo on each.
    Connect,
    /// Sleeps until a tick that is newer than the newest arrives, or until a time; measures nothing.
    WaitForTick { until_ns: u64 },
    /// Sends nothing, and receives what comes.
    Idle { until_ns: u64 },
    /// Sends every prepared slot when it is due; then waits for the messages in flight.
    OpenLoop { start_ns: u64, until_ns: u64 },
    /// Keeps `depth` messages in flight on every connection.
    ClosedLoop { depth: u32, start_ns: u64, until_ns: u64, pacing: Pacing },
    /// Lets the connections that come and go come to their ends.
    EndChurn { until_ns: u64 },
}

impl Step {
    /// The same by the other clock.
    pub(super) fn there(self, clock: &ClockMap) -> Self {
        let there = |ns| clock.there(ns);
        match self {
            Self::Connect => Self::Connect,
            Self::WaitForTick { until_ns } => Self::WaitForTick { until_ns: there(until_ns) },
            Self::Idle { until_ns } => Self::Idle { until_ns: there(until_ns) },
            // As long by every clock as it was planned: the schedule and the seconds depend on it.
            Self::OpenLoop { start_ns, until_ns } => {
                Self::OpenLoop { start_ns: there(start_ns), until_ns: there(start_ns) + (until_ns - start_ns) }
            }
            Self::ClosedLoop { depth, start_ns, until_ns, pacing } => {
                let until_ns = there(start_ns) + (until_ns - start_ns);
                Self::ClosedLoop { depth, start_ns: there(start_ns), until_ns, pacing }
            }
            Self::EndChurn { until_ns } => Self::EndChurn { until_ns: there(until_ns) },
        }
    }

    /// When it begins, if it was agreed on.
    pub(super) fn start_ns(self) -> Option<u64> {
        match self {
            Self::OpenLoop { start_ns, .. } | Self::ClosedLoop { start_ns, .. } => Some(start_ns),
            Self::Connect | Self::WaitForTick { .. } | Self::Idle { .. } | Self::EndChurn { .. } => None,
        }
    }

    /// When it is over but for its drain; `None` if it takes as long as the server does.
    pub(super) fn until_ns(self) -> Option<u64> {
        match self {
            Self::Connect => None,
            Self::WaitForTick { until_ns }
            | Self::Idle { until_ns }
            | Self::OpenLoop { until_ns, .. }
            | Self::ClosedLoop { until_ns, .. }
            | Self::EndChurn { until_ns } => Some(until_ns),
        }
    }
}
