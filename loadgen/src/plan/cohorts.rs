//! Clients that misbehave: their kinds, and the number of each.

/// The kinds of misbehaving clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Sends what the server takes and reads 1 KiB ten times a second
    SlowReader,
    /// Connects, has one message echoed and closes, every third time by a reset
    Churn,
    /// Writes and reads as fast as it can
    Flooder,
}

impl Kind {
    /// Every kind, in the order of records and reports.
    pub(crate) const ALL: [Self; 3] = [Self::SlowReader, Self::Churn, Self::Flooder];

    /// Name in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow_reader",
            Self::Churn => "churn",
            Self::Flooder => "flooder",
        }
    }
}

/// The number of misbehaving clients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cohorts {
    pub(crate) slow_readers: u32,
    /// Connections per second that are opened and closed.
    pub(crate) churn_per_sec: f64,
    pub(crate) flooders: u32,
}

impl Cohorts {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The greatest number of connections that they have open at a time.
    pub(crate) fn connections(&self) -> u64 {
        let churn = if self.churn_per_sec > 0.0 { CHURN_UNANSWERED as u64 } else { 0 };
        u64::from(self.slow_readers) + u64::from(self.flooders) + churn
    }

    /// The share of one of several threads; flooders have a thread of their own.
    pub(crate) fn part(&self, index: u32, threads: u32) -> Self {
        let part = |count: u32| (index..count).step_by(threads as usize).len() as u32;
        let churn_per_sec = self.churn_per_sec / f64::from(threads);
        Self { slow_readers: part(self.slow_readers), churn_per_sec, flooders: 0 }
    }
}

/// Limit of churn connections without an answer: at the limit no further one is opened.
pub(crate) const CHURN_UNANSWERED: usize = 64;
