//! What background clients experienced.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::engine::{echo_verifier::Found, end_cause::EndCause, histogram_text, in_flight::Sent, tally};

/// What one kind of background client experienced in a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CohortTally {
    /// Received - first write attempt, in nanoseconds.
    #[serde(with = "histogram_text")]
    pub(crate) service: Histogram<u64>,
    /// connect() until the first echo, in nanoseconds.
    #[serde(with = "histogram_text")]
    pub(crate) connect: Histogram<u64>,
    /// connect() until the server's welcome, in nanoseconds; none without a handshake, nor of flooders.
    #[serde(with = "histogram_text")]
    pub(crate) welcome: Histogram<u64>,
    /// Connections that were opened and had their first echo.
    pub(crate) opened: u64,
    /// Messages sent.
    pub(crate) sent: u64,
    /// Messages that came back unaltered.
    pub(crate) echoed: u64,
    /// Status lines received.
    pub(crate) statuses: u64,
    /// Lines that are no echo, out of order, or duplicates.
    pub(crate) wrong: u64,
    /// Connections that were refused, or that the server closed.
    pub(crate) closed: u64,
    /// Connections that this host could not carry, which is no fault of the server.
    pub(crate) short: u64,
    /// What this host lacked when that first happened.
    pub(crate) shortage: Option<String>,
}

impl Default for CohortTally {
    fn default() -> Self {
        // The bounds are constants that the crate accepts.
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("valid bounds");
        let (service, connect, welcome) = (histogram(), histogram(), tally::histogram(3));
        let (opened, sent, echoed, statuses, wrong, closed, short) = Default::default();
        Self { service, connect, welcome, opened, sent, echoed, statuses, wrong, closed, short, shortage: None }
    }
}

impl CohortTally {
    /// Records a finding in what arrived at `now_ns`.
    pub(crate) fn record(&mut self, found: Found, now_ns: u64) {
        match found {
            Found::Echo(Sent { tried_ns, .. }) => {
                self.echoed += 1;
                // A time that does not fit is longer than a minute, and the trial is invalid for other reasons by then.
                let _ = self.service.record(now_ns.saturating_sub(tried_ns).max(1));
            }
            Found::Status(_) => self.statuses += 1,
            Found::Corrupt | Found::Duplicate | Found::Reordered(_) => self.wrong += 1,
        }
    }

    /// A connection had its first echo.
    pub(crate) fn record_opened(&mut self, started_ns: u64, now_ns: u64) {
        self.opened += 1;
        let _ = self.connect.record(now_ns.saturating_sub(started_ns).max(1));
    }

    /// The handshake of a connection is complete.
    pub(crate) fn record_welcome(&mut self, started_ns: u64, now_ns: u64) {
        let _ = self.welcome.record(now_ns.saturating_sub(started_ns).max(1));
    }

    /// A connection has ended, or could not be opened.
    pub(crate) fn record_end(&mut self, cause: EndCause) {
        match cause {
            EndCause::Completed => {}
            EndCause::Closed(_) | EndCause::NotAnEcho(_) => self.closed += 1,
            EndCause::Shortage(what) => {
                self.short += 1;
                self.shortage.get_or_insert(what);
            }
        }
    }

    /// Adds what another thread recorded.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, and no value is beyond them.
        self.service.add(&other.service).expect("histograms of the same bounds");
        self.connect.add(&other.connect).expect("histograms of the same bounds");
        tally::add(&mut self.welcome, &other.welcome);
        self.opened += other.opened;
        self.sent += other.sent;
        self.echoed += other.echoed;
        self.statuses += other.statuses;
        self.wrong += other.wrong;
        self.closed += other.closed;
        self.short += other.short;
        self.shortage = self.shortage.take().or_else(|| other.shortage.clone());
    }
}
