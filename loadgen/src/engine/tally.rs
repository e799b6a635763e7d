//! Histograms and counters of one window. Pure: no clock is read here.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::histogram_text;

/// Longest time that a histogram can hold: 60 s, in nanoseconds.
const HIGHEST_NS: u64 = 60_000_000_000;

/// Seconds of one window that have histograms of their own; in longer windows only the first ones do.
const SECONDS_MAX: u64 = 600;

/// Everything that one window counts. Each window has a tally of its own, so nothing leaks from one into another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Received - intended send time, in nanoseconds: the main figure, free of coordinated omission.
    #[serde(with = "histogram_text")]
    pub(crate) response: Histogram<u64>,
    /// Received - first write attempt, in nanoseconds: what closed-loop tools call latency.
    #[serde(with = "histogram_text")]
    pub(crate) service: Histogram<u64>,
    /// First write attempt - intended, in nanoseconds, while the socket was writable: the generator's own delay.
    #[serde(with = "histogram_text")]
    pub(crate) send_lag: Histogram<u64>,
    /// The responses of messages that were intended while a tick was on its way to the clients.
    #[serde(with = "histogram_text")]
    pub(crate) response_in_fanout: Histogram<u64>,
    /// The responses of all other messages, if there was a tick.
    #[serde(with = "histogram_text")]
    pub(crate) response_outside_fanout: Histogram<u64>,
    /// The responses of messages that cost no more than most, if the server's work has shares.
    #[serde(with = "histogram_text")]
    pub(crate) response_light: Histogram<u64>,
    /// A status's emission - its due time, in nanoseconds, once per tick.
    #[serde(with = "histogram_text")]
    pub(crate) status_emit_lag: Histogram<u64>,
    /// A status's arrival - its due time, in nanoseconds, once per connection.
    #[serde(with = "histogram_text")]
    pub(crate) status_delivery: Histogram<u64>,
    /// Last arrival of a tick - its first arrival, in nanoseconds, of ticks that reached every connection.
    #[serde(with = "histogram_text")]
    pub(crate) status_spread: Histogram<u64>,
    /// connect() until the first echo, in nanoseconds.
    #[serde(with = "histogram_text")]
    pub(crate) connect: Histogram<u64>,
    /// The counts of the window.
    pub(crate) counts: Counts,
    /// Histograms second by second.
    pub(crate) seconds: Vec<Second>,
    /// When the window began, in nanoseconds of CLOCK_MONOTONIC: where its first second begins.
    pub(crate) start_ns: u64,
}

/// The counts of one window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Slots of the schedule, or messages of a closed loop.
    pub(crate) scheduled: u64,
    /// Slots that were processed: written, queued behind a full socket, or dropped since the connection had ended.
    pub(crate) handled: u64,
    /// Messages handed to the kernel or queued behind a full socket.
    pub(crate) sent: u64,
    /// Messages that came back unaltered.
    pub(crate) echoed: u64,
    /// Echoed messages that came back before the window's end and not while draining.
    pub(crate) echoed_in_time: u64,
    /// Messages that the server had received and not echoed 20 ms after the window's end.
    pub(crate) backlog: u64,
    /// Messages that never came back although a later one of the same connection did, or because the server closed it.
    pub(crate) lost: u64,
    /// Lost messages that were in flight when the server closed the connection.
    pub(crate) cut_off: u64,
    /// Messages that had not come back when the drain ended, nor had any later one of the same connection.
    pub(crate) unanswered: u64,
    /// Lines that are neither a message nor a status.
    pub(crate) corrupt: u64,
    /// Messages that came back twice.
    pub(crate) duplicate: u64,
    /// Messages that came back after a later one.
    pub(crate) reordered: u64,
    /// Connections that the server closed or reset.
    pub(crate) reset: u64,
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Connections that failed to open.
    pub(crate) connect_failed: u64,
    /// Connections that this host could not carry, which is no fault of the server.
    pub(crate) short: u64,
    /// Status lines received.
    pub(crate) statuses: u64,
    /// Status lines that a connection did not receive and others did.
    pub(crate) statuses_missed: u64,
    /// Status lines that a connection received twice in a row.
    pub(crate) statuses_duplicate: u64,
    /// Status lines that arrived after a newer one.
    pub(crate) statuses_reordered: u64,
    /// Status lines whose times are implausible: due after they arrived, or more than a minute before.
    pub(crate) statuses_out_of_range: u64,
    /// Echo times that do not fit into a histogram.
    pub(crate) out_of_range: u64,
    /// The number of messages in flight, from intended until received, integrated over the window in nanoseconds.
    pub(crate) under_way_ns: u64,
}

/// The histograms of one second of a window, with two significant digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Responses by intended send time; empty in a closed loop.
    #[serde(with = "histogram_text")]
    pub(crate) response: Histogram<u64>,
    /// Service times by arrival.
    #[serde(with = "histogram_text")]
    pub(crate) service: Histogram<u64>,
    /// Send lags by intended send time.
    #[serde(with = "histogram_text")]
    pub(crate) send_lag: Histogram<u64>,
    /// Deliveries by the tick's due time.
    #[serde(with = "histogram_text")]
    pub(crate) status_delivery: Histogram<u64>,
}

impl Tally {
    /// An empty tally of a window that begins at `start_ns` and lasts `seconds`. It takes about 2 MB of address space, of
    /// which only what is used becomes memory.
    pub(crate) fn new(start_ns: u64, seconds: u64) -> Self {
        let fine = || histogram(3);
        let second = || Second {
            response: histogram(2),
            service: histogram(2),
            send_lag: histogram(2),
            status_delivery: histogram(2),
        };
        Self {
            response: fine(),
            service: fine(),
            send_lag: fine(),
            response_in_fanout: fine(),
            response_outside_fanout: fine(),
            response_light: fine(),
            status_emit_lag: fine(),
            status_delivery: fine(),
            status_spread: fine(),
            connect: fine(),
            counts: Counts::default(),
            seconds: (0..seconds.min(SECONDS_MAX)).map(|_| second()).collect(),
            start_ns,
        }
    }

    /// Records an echo of a message that was due at `intended_ns` and first tried at `tried_ns`.
    pub(crate) fn record_echo(&mut self, intended_ns: u64, tried_ns: u64, received_ns: u64) {
        self.counts.echoed += 1;
        self.counts.out_of_range += record_interval(&mut self.response, intended_ns, received_ns);
        self.counts.out_of_range += record_interval(&mut self.service, tried_ns, received_ns);
        if let Some(second) = self.second(intended_ns) {
            record_interval(&mut second.response, intended_ns, received_ns);
        }
        if let Some(second) = self.second(received_ns) {
            record_interval(&mut second.service, tried_ns, received_ns);
        }
    }

    /// Records an echo in a closed loop, where messages have no intended time of their own.
    pub(crate) fn record_closed_echo(&mut self, tried_ns: u64, received_ns: u64) {
        self.counts.echoed += 1;
        self.counts.out_of_range += record_interval(&mut self.service, tried_ns, received_ns);
        if let Some(second) = self.second(received_ns) {
            record_interval(&mut second.service, tried_ns, received_ns);
        }
    }

    /// Records a message that was first tried at `tried_ns` on a socket that had room.
    pub(crate) fn record_send(&mut self, intended_ns: u64, tried_ns: u64) {
        self.counts.out_of_range += record_interval(&mut self.send_lag, intended_ns, tried_ns);
        if let Some(second) = self.second(intended_ns) {
            record_interval(&mut second.send_lag, intended_ns, tried_ns);
        }
    }

    /// Records the first echo of a connection.
    pub(crate) fn record_connect(&mut self, started_ns: u64, echoed_ns: u64) {
        self.counts.out_of_range += record_interval(&mut self.connect, started_ns, echoed_ns);
    }

    /// Records the arrival of a status line.
    pub(crate) fn record_status(&mut self, due_ns: u64, received_ns: u64) {
        self.counts.statuses += 1;
        self.counts.statuses_out_of_range += record_interval(&mut self.status_delivery, due_ns, received_ns);
        if let Some(second) = self.second(due_ns) {
            record_interval(&mut second.status_delivery, due_ns, received_ns);
        }
    }

    /// Records a tick once, however many connections it reached.
    pub(crate) fn record_tick(&mut self, due_ns: u64, emit_ns: u64) {
        self.counts.statuses_out_of_range += record_interval(&mut self.status_emit_lag, due_ns, emit_ns);
    }

    /// Records the arrivals of a tick that reached every connection.
    pub(crate) fn record_spread(&mut self, first_ns: u64, last_ns: u64) {
        record_interval(&mut self.status_spread, first_ns, last_ns);
    }

    /// Records a response once more, by whether the message was intended during a fan-out.
    pub(crate) fn record_interference(&mut self, in_fanout: bool, response_ns: u64) {
        let histogram = if in_fanout { &mut self.response_in_fanout } else { &mut self.response_outside_fanout };
        record_interval(histogram, 0, response_ns);
    }

    /// Records a response once more, of a message that cost the server no more than most.
    pub(crate) fn record_light(&mut self, response_ns: u64) {
        record_interval(&mut self.response_light, 0, response_ns);
    }

    /// Forgets what compares the server's clock with the generator's.
    pub(crate) fn forget_server_clock(&mut self) {
        self.forget_delivery();
        self.response_in_fanout.reset();
        self.response_outside_fanout.reset();
        self.counts.statuses_out_of_range = 0;
    }

    /// Forgets how late statuses arrived.
    pub(crate) fn forget_delivery(&mut self) {
        self.status_delivery.reset();
        self.seconds.iter_mut().for_each(|second| second.status_delivery.reset());
    }

    /// Adds what another thread recorded in the same window.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, part) in self.histograms_mut().into_iter().zip(other.histograms()) {
            add(sum, part);
        }
        for (sum, part) in self.seconds.iter_mut().zip(&other.seconds) {
            add(&mut sum.response, &part.response);
            add(&mut sum.service, &part.service);
            add(&mut sum.send_lag, &part.send_lag);
            add(&mut sum.status_delivery, &part.status_delivery);
        }
        self.counts.add(&other.counts);
    }

    fn histograms(&self) -> [&Histogram<u64>; 10] {
        [
            &self.response,
            &self.service,
            &self.send_lag,
            &self.response_in_fanout,
            &self.response_outside_fanout,
            &self.response_light,
            &self.status_emit_lag,
            &self.status_delivery,
            &self.status_spread,
            &self.connect,
        ]
    }

    fn histograms_mut(&mut self) -> [&mut Histogram<u64>; 10] {
        [
            &mut self.response,
            &mut self.service,
            &mut self.send_lag,
            &mut self.response_in_fanout,
            &mut self.response_outside_fanout,
            &mut self.response_light,
            &mut self.status_emit_lag,
            &mut self.status_delivery,
            &mut self.status_spread,
            &mut self.connect,
        ]
    }

    /// The second of this window that contains a time.
    fn second(&mut self, at_ns: u64) -> Option<&mut Second> {
        let index = at_ns.checked_sub(self.start_ns)? / 1_000_000_000;
        self.seconds.get_mut(index as usize)
    }
}

impl Default for Tally {
    /// A tally of no window, which has no seconds.
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Counts {
    /// Adds what another thread counted.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            scheduled,
            handled,
            sent,
            echoed,
            echoed_in_time,
            backlog,
            lost,
            cut_off,
            unanswered,
            corrupt,
            duplicate,
            reordered,
            reset,
            opened,
            connect_failed,
            short,
            statuses,
            statuses_missed,
            statuses_duplicate,
            statuses_reordered,
            statuses_out_of_range,
            out_of_range,
            under_way_ns,
        } = other;
        for (sum, part) in [
            (&mut self.scheduled, scheduled),
            (&mut self.handled, handled),
            (&mut self.sent, sent),
            (&mut self.echoed, echoed),
            (&mut self.echoed_in_time, echoed_in_time),
            (&mut self.backlog, backlog),
            (&mut self.lost, lost),
            (&mut self.cut_off, cut_off),
            (&mut self.unanswered, unanswered),
            (&mut self.corrupt, corrupt),
            (&mut self.duplicate, duplicate),
            (&mut self.reordered, reordered),
            (&mut self.reset, reset),
            (&mut self.opened, opened),
            (&mut self.connect_failed, connect_failed),
            (&mut self.short, short),
            (&mut self.statuses, statuses),
            (&mut self.statuses_missed, statuses_missed),
            (&mut self.statuses_duplicate, statuses_duplicate),
            (&mut self.statuses_reordered, statuses_reordered),
            (&mut self.statuses_out_of_range, statuses_out_of_range),
            (&mut self.out_of_range, out_of_range),
            (&mut self.under_way_ns, under_way_ns),
        ] {
            *sum += part;
        }
    }
}

/// An empty histogram from 1 ns to 60 s.
pub(super) fn histogram(digits: u8) -> Histogram<u64> {
    // The bounds are constants that the crate accepts.
    Histogram::new_with_bounds(1, HIGHEST_NS, digits).expect("valid bounds")
}

/// Adds a part, which has the bounds of all histograms here.
pub(super) fn add(sum: &mut Histogram<u64>, part: &Histogram<u64>) {
    // Both have the same bounds, and no value is beyond them.
    sum.add(part).expect("histograms of the same bounds");
}

/// Records the time between two readings of the clock. Returns 1 if it is out of range, which is counted and not clamped,
/// and 0 otherwise.
fn record_interval(histogram: &mut Histogram<u64>, from_ns: u64, to_ns: u64) -> u64 {
    let recorded = to_ns.checked_sub(from_ns).map(|ns| histogram.record(ns.max(1)));
    u64::from(!matches!(recorded, Some(Ok(()))))
}

#[cfg(test)]
mod tests;
