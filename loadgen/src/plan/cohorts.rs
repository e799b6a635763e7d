//! Clients that behave badly: which kinds there are, and how many of each.

/// What each kind of bad client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sends what the server takes and reads 1 KiB ten times a second
    SlowReader,
    /// Connects, has one message echoed and closes, every third time by a reset
    Churn,
    /// Writes and reads as fast as it can
    Flooder,
}

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::SlowReader, Self::Churn, Self::Flooder];

    /// As it is called in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow_reader",
            Self::Churn => "churn",
            Self::Flooder => "flooder",
        }
    }
}

/// How many bad clients there are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cohorts {
    /// Slow readers.
    pub slow_readers: u32,
    /// Connections a second that come and go.
    pub churn_per_sec: f64,
    /// Flooders.
    pub flooders: u32,
}

impl Cohorts {
    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The most connections that they have open at a time.
    pub fn connections(&self) -> u64 {
        let churn = if self.churn_per_sec > 0.0 { CHURN_UNANSWERED as u64 } else { 0 };
        u64::from(self.slow_readers) + u64::from(self.flooders) + churn
    }

    /// The part of one of several threads; flooders have one of their own.
    pub(crate) fn part(&self, index: u32, threads: u32) -> Self {
        let part = |count: u32| (index..count).step_by(threads as usize).len() as u32;
        let churn_per_sec = self.churn_per_sec / f64::from(threads);
        Self { slow_readers: part(self.slow_readers), churn_per_sec, flooders: 0 }
    }
}

/// Connections of the churn that may be unanswered; while there are as many no further one is begun.
pub(crate) const CHURN_UNANSWERED: usize = 64;
