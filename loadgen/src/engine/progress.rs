//! How far a trial is: written by the measuring threads without a lock, read by whoever shows it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What a trial is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
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
}

impl Phase {
    const ALL: [Self; 5] = [Self::Ramp, Self::Idle, Self::WarmUp, Self::Load, Self::Peak];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ramp => "connecting",
            Self::Idle => "idle",
            Self::WarmUp => "warm-up",
            Self::Load => "load",
            Self::Peak => "peak",
        }
    }
}

/// How far a trial is. Relaxed throughout: a value that is a little old does no harm.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    echoed: AtomicU64,
}

impl Progress {
    /// A phase begins.
    pub fn enter(&self, phase: Phase) {
        self.echoed.store(0, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// More messages came back.
    pub fn add_echoed(&self, count: u64) {
        self.echoed.fetch_add(count, Ordering::Relaxed);
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Relaxed);
        Phase::ALL.into_iter().find(|known| *known as u8 == phase).unwrap_or(Phase::Ramp)
    }

    /// Messages that came back in this phase, roughly.
    pub fn echoed(&self) -> u64 {
        self.echoed.load(Ordering::Relaxed)
    }
}
