//! The progress of a trial: written by the measuring threads without a lock, read by the display.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The phase of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Opening connections.
    Ramp,
    /// Connections open, nothing sent.
    Idle,
    /// Load that is not counted.
    WarmUp,
    /// Load that is measured.
    Load,
    /// Closed loop for throughput.
    Peak,
    /// Bursts that wait for a server that stands still.
    Drain,
}

impl Phase {
    const ALL: [Self; 6] = [Self::Ramp, Self::Idle, Self::WarmUp, Self::Load, Self::Peak, Self::Drain];

    /// The name on the display.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ramp => "connecting",
            Self::Idle => "idle",
            Self::WarmUp => "warm-up",
            Self::Load => "load",
            Self::Peak => "peak",
            Self::Drain => "drain",
        }
    }
}

/// The phase of a trial and its echoes so far. All accesses are relaxed: a value that is a little old does no harm.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    phase: AtomicU8,
    echoed: AtomicU64,
}

impl Progress {
    /// Begins a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.echoed.store(0, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Adds messages that came back.
    pub(crate) fn add_echoed(&self, count: u64) {
        self.echoed.fetch_add(count, Ordering::Relaxed);
    }

    /// The current phase.
    pub(crate) fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Relaxed);
        Phase::ALL.into_iter().find(|known| *known as u8 == phase).unwrap_or(Phase::Ramp)
    }

    /// Messages that came back in this phase, give or take a few hundred per thread.
    pub(crate) fn echoed(&self) -> u64 {
        self.echoed.load(Ordering::Relaxed)
    }
}
