//! Misbehaving clients beside the measured ones: which kinds there are, and how many of each.

use std::time::Duration;

/// How a misbehaving client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CohortKind {
    /// Sends as much as the server takes, and reads 1 KiB ten times per second.
    SlowReader,
    /// Connects, has one message echoed and closes, every third time by a reset.
    Churn,
    /// Writes and reads as fast as it can.
    Flooder,
}

impl CohortKind {
    /// All kinds, in the order in which they are shown.
    pub(crate) const ALL: [Self; 3] = [Self::SlowReader, Self::Churn, Self::Flooder];

    /// The name in records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow_reader",
            Self::Churn => "churn",
            Self::Flooder => "flooder",
        }
    }
}

/// How many misbehaving clients there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Cohorts {
    /// Number of slow readers.
    pub(crate) slow_readers: u32,
    /// Connections per second that come and go.
    pub(crate) churn_per_sec: f64,
    /// Number of flooders.
    pub(crate) flooders: u32,
}

impl Cohorts {
    /// Whether there are no misbehaving clients.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The most connections that misbehaving clients have open at a time.
    pub(crate) fn connections(&self) -> u64 {
        u64::from(self.slow_readers) + u64::from(self.flooders) + self.churn_unanswered() as u64
    }

    /// The most connections of the churn that may be unanswered; at the limit no further one is opened. Those of 50 ms, so
    /// that none is left out for a short pause, but not as many as would fill the backlog of the listener.
    pub(crate) fn churn_unanswered(&self) -> usize {
        /// Seconds.
        const PAUSE: f64 = 0.05;
        if self.churn_per_sec > 0.0 { ((self.churn_per_sec * PAUSE) as usize).clamp(64, 1024) } else { 0 }
    }

    /// Ports that the churn leaves in TIME_WAIT, if it goes on for that long and each is kept for `hold`: those of the
    /// connections that are not reset, since the client closes first.
    pub(crate) fn ports_in_time_wait(&self, duration: Duration, hold: Duration) -> u64 {
        (self.churn_per_sec * duration.min(hold).as_secs_f64() * 2.0 / 3.0).ceil() as u64
    }

    /// The share of one of several engine threads. Flooders are in no share: they have a thread of their own.
    pub(crate) fn share(&self, index: u32, threads: u32) -> Self {
        let share = |count: u32| (index..count).step_by(threads as usize).len() as u32;
        let churn_per_sec = self.churn_per_sec / f64::from(threads);
        Self { slow_readers: share(self.slow_readers), churn_per_sec, flooders: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_threads_add_up_but_for_the_flooders() {
        let cohorts = Cohorts { slow_readers: 5, churn_per_sec: 9.0, flooders: 2 };
        let shares = [0, 1, 2].map(|index| cohorts.share(index, 3));
        assert_eq!(shares.map(|share| share.slow_readers), [2, 2, 1]);
        assert!(shares.iter().all(|share| share.churn_per_sec == 3.0 && share.flooders == 0));
    }

    #[test]
    fn two_of_three_ports_of_the_churn_are_kept() {
        let (cohorts, second) = (Cohorts { churn_per_sec: 900.0, ..Cohorts::default() }, Duration::from_secs(1));
        let ports = |duration, hold| cohorts.ports_in_time_wait(second * duration, second * hold);
        assert_eq!((ports(5, 60), ports(100, 60), ports(5, 1), ports(0, 1)), (3_000, 36_000, 600, 0));
    }

    #[test]
    fn the_churn_has_a_limited_number_of_connections_open() {
        let cohorts = Cohorts { slow_readers: 5, churn_per_sec: 1e6, flooders: 2 };
        assert_eq!(cohorts.connections(), 5 + 2 + 1_024);
        let unanswered = |churn_per_sec| Cohorts { churn_per_sec, ..cohorts }.churn_unanswered();
        assert_eq!([0.0, 0.1, 1_000.0, 5_000.0].map(unanswered), [0, 64, 64, 250]);
        assert_eq!(Cohorts { churn_per_sec: 0.0, ..cohorts }.connections(), 7);
    }
}
