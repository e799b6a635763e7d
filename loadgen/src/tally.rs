//! Histograms and counters of one window. No clock is read here.

use hdrhistogram::Histogram;

/// Longest time that a histogram takes: 60 s, in nanoseconds.
const HIGHEST_NS: u64 = 60_000_000_000;

/// Everything one window counts. Each window has its own, so nothing leaks from one into another.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Received - intended send time, in nanoseconds: the headline, free of coordinated omission.
    pub response: Histogram<u64>,
    /// Received - first write attempt, in nanoseconds: what closed-loop tools call latency.
    pub service: Histogram<u64>,
    /// First write attempt - intended, in nanoseconds, while the socket was writable: the generator's own fault.
    pub send_lag: Histogram<u64>,
    /// A status's emission - its due time, in nanoseconds, once a tick.
    pub status_emit_lag: Histogram<u64>,
    /// A status's arrival - its due time, in nanoseconds, for every connection.
    pub status_delivery: Histogram<u64>,
    /// connect() until the first echo, in nanoseconds.
    pub connect: Histogram<u64>,
    /// The counts of the same window.
    pub counts: Counts,
}

/// What one window counts besides times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Slots of the schedule, or messages of a closed loop.
    pub scheduled: u64,
    /// Slots whose turn came: written, queued behind a full socket, or refused by a dead connection.
    pub handled: u64,
    /// Messages handed to the kernel or queued behind a full socket.
    pub sent: u64,
    /// Messages that came back unaltered.
    pub echoed: u64,
    /// Of these, before the window's end and not while draining.
    pub echoed_in_time: u64,
    /// Messages that never came back.
    pub lost: u64,
    /// Lines that are neither a message nor a status.
    pub corrupt: u64,
    /// Messages that came back twice.
    pub duplicate: u64,
    /// Messages that came back after a later one.
    pub reordered: u64,
    /// Connections that the server closed or reset.
    pub reset: u64,
    /// Connections that were not established.
    pub connect_failed: u64,
    /// Status lines received.
    pub statuses: u64,
    /// Status lines whose times make no sense to this clock: due after they arrived, or more than a minute before.
    pub statuses_out_of_range: u64,
    /// Echo times that do not fit into a histogram.
    pub out_of_range: u64,
}

impl Tally {
    /// An empty one: about 1.3 MB.
    pub fn new() -> Self {
        // The bounds are constants that the crate accepts.
        let histogram = || Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("valid bounds");
        Self {
            response: histogram(),
            service: histogram(),
            send_lag: histogram(),
            status_emit_lag: histogram(),
            status_delivery: histogram(),
            connect: histogram(),
            counts: Counts::default(),
        }
    }

    /// A message came back that was due at `intended_ns` and first tried at `tried_ns`.
    pub fn record_echo(&mut self, intended_ns: u64, tried_ns: u64, received_ns: u64) {
        self.counts.echoed += 1;
        self.counts.out_of_range += misfits(&mut self.response, intended_ns, received_ns);
        self.counts.out_of_range += misfits(&mut self.service, tried_ns, received_ns);
    }

    /// A message was first tried at `tried_ns` on a socket that had room.
    pub fn record_send(&mut self, intended_ns: u64, tried_ns: u64) {
        self.counts.out_of_range += misfits(&mut self.send_lag, intended_ns, tried_ns);
    }

    /// A connection had its first echo.
    pub fn record_connect(&mut self, started_ns: u64, echoed_ns: u64) {
        self.counts.out_of_range += misfits(&mut self.connect, started_ns, echoed_ns);
    }

    /// A status line arrived.
    pub fn record_status(&mut self, due_ns: u64, received_ns: u64) {
        self.counts.statuses += 1;
        self.counts.statuses_out_of_range += misfits(&mut self.status_delivery, due_ns, received_ns);
    }

    /// The first status line of a tick arrived.
    pub fn record_tick(&mut self, due_ns: u64, emit_ns: u64) {
        self.counts.statuses_out_of_range += misfits(&mut self.status_emit_lag, due_ns, emit_ns);
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// Records the time between two readings of the clock; 1 if that is not possible. Nothing is ever clamped.
fn misfits(histogram: &mut Histogram<u64>, from_ns: u64, to_ns: u64) -> u64 {
    let recorded = to_ns.checked_sub(from_ns).map(|ns| histogram.record(ns.max(1)));
    u64::from(!matches!(recorded, Some(Ok(()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_the_intended_time_and_service_from_the_attempt() {
        let mut tally = Tally::new();
        tally.record_echo(1_000, 4_000, 9_000);
        assert!(tally.response.equivalent(tally.response.max(), 8_000));
        assert!(tally.service.equivalent(tally.service.max(), 5_000));
        assert_eq!(tally.counts.echoed, 1);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_never_clamped() {
        let mut tally = Tally::new();
        tally.record_echo(0, 0, 3 * HIGHEST_NS);
        tally.record_status(5, 4);
        assert_eq!((tally.response.len(), tally.status_delivery.len()), (0, 0));
        assert_eq!((tally.counts.out_of_range, tally.counts.statuses_out_of_range), (2, 1));
    }
}
